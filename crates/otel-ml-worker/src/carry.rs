//! Work that runs in the context in which it was wrapped, wherever and whenever it runs.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{self, Poll};

use futures_core::Stream;
use otel_ml::opentelemetry::{Context, ContextGuard};
use pin_project::{pin_project, pinned_drop};

/// Wraps a future: it is polled, and dropped, in the context that is current now.
///
/// No span is made: what the future starts becomes a child of what is active here. Pass the
/// result to any spawner, executor or actor.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let local = tokio::task::LocalSet::new();
/// let answer = local.run_until(async {
///     tokio::task::spawn_local(otel_ml_worker::carry(async { 42 })).await
/// });
/// assert_eq!(answer.await.unwrap(), 42);
/// # }
/// ```
pub fn carry<F>(work: F) -> Carried<F> {
    Carried::new(Context::current(), work)
}

/// Wraps a stream in the same way as [`carry`] a future.
pub fn carry_stream<S>(stream: S) -> Carried<S> {
    carry(stream)
}

/// Wraps a closure that is called once: it is called, or dropped uncalled, in the context that
/// is current now.
///
/// ```
/// let handle = std::thread::Builder::new()
///     .name("reader".into())
///     .spawn(otel_ml_worker::carry_fn(|| 6 * 7))
///     .unwrap();
/// assert_eq!(handle.join().unwrap(), 42);
/// ```
pub fn carry_fn<T, F: FnOnce() -> T>(work: F) -> impl FnOnce() -> T + use<T, F> {
    let carried = CarriedFn::new(work);
    move || carried.call(|work| work())
}

/// Wraps a closure that is called for each of many items: the calls run in the context that is
/// current now. For parallel iterators, and for whatever else takes a function of an item.
///
/// ```
/// let lengths: Vec<_> = ["a", "bc"]
///     .into_iter()
///     .map(otel_ml_worker::carry_each(|text: &str| text.len()))
///     .collect();
/// assert_eq!(lengths, [1, 2]);
/// ```
pub fn carry_each<A, T, F: Fn(A) -> T>(work: F) -> impl Fn(A) -> T + use<A, T, F> {
    let cx = Context::current();
    move |item| {
        let _attached = cx.clone().attach();
        work(item)
    }
}

/// A future or stream that runs in the context in which it was wrapped. Made by [`carry`] and
/// [`carry_stream`].
///
/// # Cancel safety
/// That of the inner one, which is also dropped in its context. A future that is done is dropped
/// at once; polled again after that, it waits forever. A stream is kept, and polled again after
/// its end does what the inner one does.
#[pin_project(PinnedDrop)]
#[must_use = "it does nothing unless polled"]
pub struct Carried<F> {
    #[pin]
    inner: Option<F>,
    cx: Context,
}

impl<F> Carried<F> {
    pub(crate) const fn new(cx: Context, inner: F) -> Self {
        Self {
            inner: Some(inner),
            cx,
        }
    }
}

impl<F: Future> Future for Carried<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _attached = this.cx.clone().attach();
        poll_and_drop(this.inner, cx)
    }
}

/// Polls a future until it is done, and drops it then: in the context that is current, where what
/// it writes while it is dropped still counts. After that it waits forever.
#[inline]
pub(crate) fn poll_and_drop<F: Future>(
    mut work: Pin<&mut Option<F>>,
    cx: &mut task::Context<'_>,
) -> Poll<F::Output> {
    let Some(running) = work.as_mut().as_pin_mut() else {
        return Poll::Pending;
    };
    let polled = running.poll(cx);
    if polled.is_ready() {
        work.set(None);
    }
    polled
}

impl<S: Stream> Stream for Carried<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else {
            return Poll::Ready(None);
        };
        let _attached = this.cx.clone().attach();
        inner.poll_next(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.as_ref().map_or((0, Some(0)), Stream::size_hint)
    }
}

#[pinned_drop]
impl<F> PinnedDrop for Carried<F> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        if this.inner.is_some() {
            let _attached = attach_anywhere(this.cx);
            this.inner.set(None);
        }
    }
}

impl<F: fmt::Debug> fmt::Debug for Carried<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Carried").field(&self.inner).finish()
    }
}

/// Makes `cx` current, also where a thread is about to end and has no current context any
/// more: a runtime kept in a thread-local drops its tasks there.
pub(crate) fn attach_anywhere(cx: &Context) -> Option<ContextGuard> {
    catch_unwind(AssertUnwindSafe(|| cx.clone().attach())).ok()
}

/// A closure and the context to call or drop it in.
pub(crate) struct CarriedFn<F> {
    cx: Context,
    work: Option<F>,
}

impl<F> CarriedFn<F> {
    pub(crate) fn new(work: F) -> Self {
        Self {
            cx: Context::current(),
            work: Some(work),
        }
    }

    /// Hands the closure to `call`, in its context.
    pub(crate) fn call<T>(mut self, call: impl FnOnce(F) -> T) -> T {
        let Some(work) = self.work.take() else {
            unreachable!("it is taken by value, here or by the drop");
        };
        let _attached = self.cx.clone().attach();
        call(work)
    }
}

impl<F> Drop for CarriedFn<F> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            let _attached = attach_anywhere(&self.cx);
            drop(work);
        }
    }
}
