use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::Body;
use otel_ml::opentelemetry::trace::SpanContext;
use otel_ml::{Leave, Operation};
use pin_project::{pin_project, pinned_drop};

use crate::body::{Exchange, InstrumentedBody, UNTOUCHED_UP_TO, WrapBody, is_small};

/// The future of a traced service: runs the inner future in its operation's context, and
/// hands the operation on to the body of the answer.
///
/// # Cancel safety
/// Dropping it before the answer's head ends the operation as cancelled.
#[pin_project(PinnedDrop)]
pub struct ResponseFuture<F, X: Exchange, W> {
    // A `Scoped` in parts: its copies would cost more than the rest of it.
    #[pin]
    inner: F,
    leave: Leave,
    operation: Operation<X>,
    framework: PhantomData<fn() -> W>,
}

impl<F, X: Exchange, W> ResponseFuture<F, X, W> {
    /// Runs `inner` in `operation`.
    #[inline]
    pub const fn new(inner: F, operation: Operation<X>) -> Self {
        Self {
            inner,
            leave: Leave::new(),
            operation,
            framework: PhantomData,
        }
    }
}

impl<F, X, W, B, E> Future for ResponseFuture<F, X, W>
where
    F: Future<Output = Result<Response<B>, E>>,
    X: Exchange,
    W: WrapBody<B, X>,
    B: Body,
    E: 'static,
{
    type Output = Result<Response<W::Body>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let operation = this.operation;
        let entered = operation.enter();
        let result = this.inner.poll(cx);
        entered.leave();
        match result {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(head::<W, X, B>(response, operation))),
            Poll::Ready(Err(error)) => {
                if let Some(exchange) = operation.record_mut() {
                    let outcome = exchange.failed(&error);
                    operation.end(&outcome);
                }
                Poll::Ready(Err(error))
            }
        }
    }
}

#[pinned_drop]
impl<F, X: Exchange, W> PinnedDrop for ResponseFuture<F, X, W> {
    #[inline]
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        this.leave.enter(this.operation);
    }
}

/// Ends the operation with the answer's head, or hands it on to the answer's body.
fn head<W, X, B>(response: Response<B>, operation: &mut Operation<X>) -> Response<W::Body>
where
    W: WrapBody<B, X>,
    X: Exchange,
    B: Body,
{
    let Some(exchange) = operation.record_mut() else {
        let Some(cx) = operation.take_passing() else {
            return response.map(W::untouched);
        };
        // What a streamed body still does is done in its sender's context.
        return response.map(|body| {
            if is_small(&body, UNTOUCHED_UP_TO) {
                W::untouched(body)
            } else {
                W::wrapped(InstrumentedBody::new(body, Operation::passing(cx)))
            }
        });
    };
    let (mut head, body) = response.into_parts();
    let ends = exchange.head(&head) || is_small(&body, exchange.untouched_up_to());
    if !ends {
        exchange.watched(&head);
        exchange.streamed().is_uncounted |= is_small(&body, exchange.uncounted_up_to());
    }
    let outcome = exchange.outcome();
    if let Some(name) = exchange.trace_id_header().cloned() {
        tell_trace_id(&operation.span_context(), name, &mut head.headers);
    }
    let body = if ends {
        operation.end(&outcome);
        W::untouched(body)
    } else {
        W::wrapped(InstrumentedBody::new(body, operation.take()))
    };
    Response::from_parts(head, body)
}

fn tell_trace_id(span: &SpanContext, name: HeaderName, headers: &mut HeaderMap) {
    if span.is_valid()
        && let Ok(id) = HeaderValue::try_from(span.trace_id().to_string())
    {
        headers.insert(name, id);
    }
}

impl<F: fmt::Debug, X: Exchange, W> fmt::Debug for ResponseFuture<F, X, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
