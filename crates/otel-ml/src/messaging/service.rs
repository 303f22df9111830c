use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tower_service::Service;

use super::Message;
use super::consumer::{ProcessRecord, context_of, process, process_batch};
use super::layer::DefaultHooks;
use crate::hooks::AllHooks;
use crate::operation::{Operation, Scoped};
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
        let operation = begin(&message, &self.options);
        ProcessFuture::new(operation, &self.options, || self.inner.call(message))
    }
}

fn begin<M: Message, H: AllHooks<M>>(
    message: &M,
    options: &Options<H>,
) -> Operation<ProcessRecord> {
    let telemetry = &options.telemetry;
    let is_recorded = telemetry.is_tracing() || telemetry.instruments().is_some();
    if is_recorded && options.hooks.accepts(message) {
        process(message, options)
    } else if is_recorded || telemetry.is_propagating() {
        Operation::passing(context_of(message, options))
    } else {
        Operation::none()
    }
}

/// Processes `message` by `handler`, which is called now: what [`OtelMlConsumerLayer`] does,
/// for consumers that are no services.
///
/// [`OtelMlConsumerLayer`]: super::OtelMlConsumerLayer
pub fn process_by<M, H, F>(
    message: &M,
    options: &Arc<Options<H>>,
    handler: impl FnOnce() -> F,
) -> ProcessFuture<F, H>
where
    M: Message,
    H: AllHooks<M>,
{
    ProcessFuture::new(begin(message, options), options, handler)
}

/// Processes `messages` as one by `handler`, which is called now. No message is no operation.
pub fn process_batch_by<M, H, F>(
    messages: &[M],
    options: &Arc<Options<H>>,
    handler: impl FnOnce() -> F,
) -> ProcessFuture<F, H>
where
    M: Message,
    H: AllHooks<M>,
{
    let telemetry = &options.telemetry;
    let is_recorded = telemetry.is_tracing() || telemetry.instruments().is_some();
    let operation = is_recorded.then(|| process_batch(messages, options));
    let operation = operation.flatten().unwrap_or_else(Operation::none);
    ProcessFuture::new(operation, options, handler)
}

impl<S: Clone, H> Clone for OtelMlConsumer<S, H> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            options: Arc::clone(&self.options),
        }
    }
}

/// The future of [`OtelMlConsumer`], and of [`process_by`] and [`process_batch_by`].
///
/// # Cancel safety
/// Dropping it ends the operation as cancelled.
#[pin_project]
pub struct ProcessFuture<F, H> {
    #[pin]
    inner: Scoped<F, ProcessRecord>,
    options: Arc<Options<H>>,
}

impl<F, H> ProcessFuture<F, H> {
    fn new(
        mut operation: Operation<ProcessRecord>,
        options: &Arc<Options<H>>,
        handler: impl FnOnce() -> F,
    ) -> Self {
        let inner = operation.scope(handler);
        Self {
            inner: Scoped::new(inner, operation),
            options: Arc::clone(options),
        }
    }
}

impl<F, H, T, E> Future for ProcessFuture<F, H>
where
    F: Future<Output = Result<T, E>>,
    E: 'static,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let result = ready!(this.inner.as_mut().poll(|inner| inner.poll(cx)));
        let operation = this.inner.operation_mut();
        let is_recorded = operation.record_mut().is_some();
        operation.end(&match &result {
            Err(error) if is_recorded => Outcome::Failed(this.options.error_type(error)),
            _ => Outcome::Ok,
        });
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
