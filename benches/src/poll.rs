//! Running futures and bodies by hand: a runtime would be measured too.

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

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
