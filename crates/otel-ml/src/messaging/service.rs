use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use opentelemetry::Context as OtelContext;
use pin_project::pin_project;
use tower_service::Service;

use super::Message;
use super::consumer::{ProcessRecord, process, unrecorded};
use super::layer::DefaultHooks;
use crate::hooks::AllHooks;
use crate::operation::Operation;
use crate::options::Options;
use crate::outcome::Outcome;

/// The service that [`OtelMlConsumerLayer`](super::OtelMlConsumerLayer) makes.
///
/// `poll_ready` and the errors are the inner service's; the inner service is never cloned.
#[derive(Debug)]
pub struct OtelMlConsumer<S, H = DefaultHooks> {
    inner: S,
    options: Arc<Options<H>>,
}

impl<S, H> OtelMlConsumer<S, H> {
    /// Wraps `inner`.
    pub const fn new(inner: S, options: Arc<Options<H>>) -> Self {
        Self { inner, options }
    }

    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, H, M> Service<M> for OtelMlConsumer<S, H>
where
    S: Service<M>,
    S::Error: 'static,
    H: AllHooks<M>,
    M: Message,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ProcessFuture<S::Future, H>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, message: M) -> Self::Future {
        let telemetry = &self.options.telemetry;
        let is_recorded = telemetry.is_tracing() || telemetry.instruments().is_some();
        let mut state = if is_recorded && self.options.hooks.accepts(&message) {
            State::Recording(process(&message, &self.options), Arc::clone(&self.options))
        } else if is_recorded || telemetry.is_propagating() {
            State::Passing(unrecorded(&message, &self.options))
        } else {
            State::Untouched
        };
        let inner = state.scope(|| self.inner.call(message));
        ProcessFuture { inner, state }
    }
}

impl<S: Clone, H> Clone for OtelMlConsumer<S, H> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            options: Arc::clone(&self.options),
        }
    }
}

enum State<H> {
    /// Nothing is installed.
    Untouched,
    /// Not recorded, but passed on.
    Passing(OtelContext),
    Recording(Operation<ProcessRecord>, Arc<Options<H>>),
}

impl<H> State<H> {
    fn scope<T>(&mut self, work: impl FnOnce() -> T) -> T {
        match self {
            Self::Untouched => work(),
            Self::Passing(sender) => {
                let _attached = sender.clone().attach();
                work()
            }
            Self::Recording(operation, _) => operation.scope(work),
        }
    }
}

/// The future of [`OtelMlConsumer`].
///
/// # Cancel safety
/// Dropping it ends the operation as cancelled.
#[pin_project]
pub struct ProcessFuture<F, H> {
    // Dropped before the state: what the handler writes while it is dropped still counts.
    #[pin]
    inner: F,
    state: State<H>,
}

impl<F, H, T, E> Future for ProcessFuture<F, H>
where
    F: Future<Output = Result<T, E>>,
    E: 'static,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.state.scope(|| this.inner.poll(cx)));
        if let State::Recording(operation, options) = this.state {
            let outcome = match &result {
                Ok(_) => Outcome::Ok,
                Err(error) => Outcome::Failed(options.error_type(error)),
            };
            operation.end(&outcome);
        }
        *this.state = State::Untouched;
        Poll::Ready(result)
    }
}

impl<F: fmt::Debug, H> fmt::Debug for ProcessFuture<F, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessFuture")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
