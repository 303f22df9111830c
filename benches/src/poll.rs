//! Running futures and bodies by hand: a runtime would be measured too.

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use futures_util::FutureExt as _;
use futures_util::future::maybe_done;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

/// Sends `request` and reads the response's body to its end. Nothing in a suite ever waits,
/// so what is pending after one poll is a mistake in the suite.
pub(crate) fn answer<S, A, B>(service: &mut S, request: Request<A>)
where
    S: Service<Request<A>, Response = Response<B>, Error = Infallible>,
    B: Body,
{
    let cx = &mut Context::from_waker(Waker::noop());
    let response = match pin!(service.call(request)).poll(cx) {
        Poll::Ready(Ok(response)) => response,
        Poll::Ready(Err(never)) => match never {},
        Poll::Pending => unreachable!("a response that is not ready"),
    };
    assert_eq!(
        response.status(),
        StatusCode::OK,
        "what is measured is the request that succeeds"
    );
    let mut body = pin!(response.into_body());
    loop {
        match body.as_mut().poll_frame(cx) {
            Poll::Ready(Some(frame)) => {
                assert!(frame.is_ok(), "what is measured is the body that succeeds");
                drop(black_box(frame));
            }
            Poll::Ready(None) => return,
            Poll::Pending => unreachable!("a chunk that is not ready"),
        }
    }
}

/// Wakes a thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for `what` on this thread, which sleeps meanwhile: nothing is counted then.
pub(crate) fn wait<F: Future>(what: F) -> F::Output {
    thread_local! {
        static WAKER: Waker = Arc::new(Unpark(std::thread::current())).into();
    }
    let mut what = pin!(what);
    WAKER.with(|waker| {
        let cx = &mut Context::from_waker(waker);
        loop {
            match what.as_mut().poll(cx) {
                Poll::Ready(output) => return output,
                Poll::Pending => std::thread::park(),
            }
        }
    })
}

/// Does `one` so many times, of which `width` begin before the first is waited for.
pub(crate) fn side_by_side<F: Future>(
    times: u32,
    width: u32,
    one: impl Fn() -> F,
    is_well: impl Fn(F::Output) -> bool,
) {
    let begun = |_| {
        let mut begun = Box::pin(maybe_done(one()));
        // Some may be done already.
        let _ = (&mut begun).now_or_never();
        begun
    };
    for first in (0..times).step_by(width as usize) {
        let mut all: Vec<_> = (first..times.min(first + width)).map(begun).collect();
        // The last one is done last.
        for one in all.iter_mut().rev() {
            wait(one.as_mut());
            let output = one.as_mut().take_output();
            assert!(output.is_some_and(&is_well), "what is measured goes well");
        }
    }
}
