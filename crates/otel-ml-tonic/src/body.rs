//! A request's body whose messages are counted, in the type that it had.

use std::any::Any;
use std::mem::take;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use otel_ml_tower::otel_ml::MlSpan;
use pin_project::pin_project;

use crate::messages::Messages;

/// Where a count goes.
pub(crate) trait Report: Send + 'static {
    fn report(&self, count: u64);
}

/// A server's operation has facts.
impl Report for MlSpan {
    fn report(&self, count: u64) {
        self.request_messages(count);
    }
}

/// A client's has none.
impl Report for Arc<AtomicU64> {
    fn report(&self, count: u64) {
        self.store(count, Ordering::Relaxed);
    }
}

/// Counts the messages of `body` from now on. The layers below want the type that they know, so
/// it is done for the two bodies that can hold any other: tonic's and axum's.
pub(crate) fn count_messages<B: 'static>(body: &mut B, report: impl Report) {
    let body: &mut dyn Any = body;
    if let Some(body) = body.downcast_mut::<tonic::body::Body>() {
        *body = tonic::body::Body::new(Counted::new(take(body), report));
    } else if let Some(body) = body.downcast_mut::<axum::body::Body>() {
        *body = axum::body::Body::new(Counted::new(take(body), report));
    }
}

#[pin_project]
struct Counted<B, R> {
    #[pin]
    inner: B,
    messages: Messages,
    report: R,
}

impl<B, R> Counted<B, R> {
    fn new(inner: B, report: R) -> Self {
        Self {
            inner,
            messages: Messages::default(),
            report,
        }
    }
}

impl<B: Body<Data = Bytes>, R: Report> Body for Counted<B, R> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        if let Some(data) = frame
            .as_ref()
            .and_then(|frame| frame.as_ref().ok()?.data_ref())
        {
            let before = this.messages.count();
            this.messages.add(data);
            let count = this.messages.count();
            // One message is a unary call, most often, and costs nothing more.
            if count > before.max(1) {
                this.report.report(count);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
