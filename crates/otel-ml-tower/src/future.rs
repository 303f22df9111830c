use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use otel_ml::opentelemetry::Context as OtelContext;
use otel_ml::{Operation, Outcome};
use pin_project::pin_project;

use crate::body::{Exchange, InstrumentedBody, WrapBody, is_small};

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

enum State<X: Exchange> {
    /// Nothing is installed.
    Untouched,
    /// Not recorded, but passed on.
    Passing(OtelContext),
    Recording(Operation<X>),
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
        let result = match this.state {
            State::Untouched => ready!(this.inner.poll(cx)),
            State::Passing(sender) => {
                let _attached = sender.clone().attach();
                ready!(this.inner.poll(cx))
            }
            State::Recording(operation) => ready!(operation.scope(|| this.inner.poll(cx))),
        };
        let State::Recording(mut operation) = std::mem::replace(this.state, State::Untouched)
        else {
            return Poll::Ready(result.map(|response| response.map(W::untouched)));
        };
        Poll::Ready(match result {
            Ok(response) => Ok(Self::head(response, operation)),
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

impl<F, X: Exchange, W> ResponseFuture<F, X, W> {
    fn head<B: Body>(response: Response<B>, mut operation: Operation<X>) -> Response<W::Body>
    where
        W: WrapBody<B, X>,
    {
        let (mut head, body) = response.into_parts();
        let span = operation.span_context();
        let Some(exchange) = operation.record_mut() else {
            return Response::from_parts(head, W::untouched(body));
        };
        let is_over = exchange.head(&mut head, &span);
        if is_over || is_small(&body, exchange.untouched_up_to()) {
            let outcome = exchange.outcome();
            operation.finish(outcome);
            return Response::from_parts(head, W::untouched(body));
        }
        Response::from_parts(head, W::wrapped(InstrumentedBody::new(body, operation)))
    }
}

impl<F: fmt::Debug, X: Exchange, W> fmt::Debug for ResponseFuture<F, X, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
