use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::Body;
use otel_ml::opentelemetry::Context as OtelContext;
use otel_ml::opentelemetry::trace::SpanContext;
use otel_ml::{Operation, Outcome};
use pin_project::pin_project;

use crate::body::{Exchange, InstrumentedBody, State, UNTOUCHED_UP_TO, WrapBody, is_small};

/// The future of a traced service: runs the inner future in its operation's context, and
/// hands the operation on to the body of the answer.
///
/// # Cancel safety
/// Dropping it before the answer's head ends the operation as cancelled.
#[pin_project]
pub struct ResponseFuture<F, X: Exchange, W> {
    // Dropped before the state: what the handler writes while it is dropped still counts.
    #[pin]
    inner: F,
    state: State<X>,
    framework: PhantomData<fn() -> W>,
}

impl<F, X: Exchange, W> ResponseFuture<F, X, W> {
    /// Runs `inner` as if there were no layer.
    pub const fn untouched(inner: F) -> Self {
        Self {
            inner,
            state: State::Untouched,
            framework: PhantomData,
        }
    }

    /// Runs `inner` in the context of its sender, unrecorded.
    pub const fn passing(inner: F, sender: OtelContext) -> Self {
        Self {
            inner,
            state: State::Passing(sender),
            framework: PhantomData,
        }
    }

    /// Runs `inner` in `operation`.
    pub const fn recording(inner: F, operation: Operation<X>) -> Self {
        Self {
            inner,
            state: State::Recording(operation),
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

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.state.scope(|| this.inner.poll(cx)));
        let mut operation = match std::mem::replace(this.state, State::Untouched) {
            State::Untouched => {
                return Poll::Ready(result.map(|response| response.map(W::untouched)));
            }
            State::Passing(sender) => {
                return Poll::Ready(result.map(|response| pass::<W, X, B>(response, sender)));
            }
            State::Recording(operation) => operation,
        };
        Poll::Ready(match result {
            Ok(response) => Ok(head::<W, X, B>(response, operation)),
            Err(error) => {
                let class = operation
                    .record_mut()
                    .map(|exchange| exchange.options().error_type(&error));
                operation.finish(class.map_or(Outcome::Ok, Outcome::Failed));
                Err(error)
            }
        })
    }
}

/// An unrecorded answer: what its body still does is done in its sender's context.
fn pass<W, X, B>(response: Response<B>, sender: OtelContext) -> Response<W::Body>
where
    W: WrapBody<B, X>,
    X: Exchange,
    B: Body,
{
    response.map(|body| {
        if is_small(&body, UNTOUCHED_UP_TO) {
            W::untouched(body)
        } else {
            W::wrapped(InstrumentedBody::passing(body, sender))
        }
    })
}

fn head<W, X, B>(response: Response<B>, mut operation: Operation<X>) -> Response<W::Body>
where
    W: WrapBody<B, X>,
    X: Exchange,
    B: Body,
{
    let (mut head, body) = response.into_parts();
    let Some(exchange) = operation.record_mut() else {
        return Response::from_parts(head, W::untouched(body));
    };
    let is_over = exchange.head(&head);
    if let Some(name) = exchange.trace_id_header().cloned() {
        tell_trace_id(&operation.span_context(), name, &mut head.headers);
    }
    let Some(exchange) = operation.record_mut() else {
        return Response::from_parts(head, W::untouched(body));
    };
    if is_over || is_small(&body, exchange.untouched_up_to()) {
        let outcome = exchange.outcome();
        operation.finish(outcome);
        return Response::from_parts(head, W::untouched(body));
    }
    Response::from_parts(head, W::wrapped(InstrumentedBody::new(body, operation)))
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
