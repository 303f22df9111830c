//! Sending envelopes.

use std::borrow::Cow;
use std::future::Future;

use otel_ml::messaging::{self, Client, ClientRecord, Destination};
use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::trace::{SpanContext, TraceContextExt};
use otel_ml::{Operation, Options, Outcome, Telemetry};

use crate::envelope::Envelope;
use crate::scoped::run_in;

/// Puts jobs into a queue outside the process: any, as the putting itself is a closure of the
/// caller's.
///
/// | recorded | |
/// |---|---|
/// | span | `send {queue}`, PRODUCER, child of the current context; `messaging.*` |
/// | metrics | `messaging.client.operation.duration`, `messaging.client.sent.messages` |
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use otel_ml_worker::OtelMlProducer;
///
/// let jobs = OtelMlProducer::new("redis", "rerank-jobs");
/// let pushed = jobs.send(vec![0.25], async |envelope| {
///     let line = envelope.to_json()?; // LPUSH rerank-jobs line
///     Ok::<_, otel_ml_worker::EnvelopeError>(line.len())
/// });
/// assert!(pushed.await.unwrap() > 0);
/// # }
/// ```
///
/// # When it ends
/// With the result of the closure's future; dropped before, as cancelled.
///
/// # Cardinality
/// System and queue are metric labels; the queue is part of the span's name.
#[derive(Clone, Debug)]
pub struct OtelMlProducer {
    options: Options,
    system: &'static str,
    queue: Cow<'static, str>,
}

impl OtelMlProducer {
    /// A producer for `queue` of `system`: `redis`, `celery`, `postgresql`, ….
    pub fn new(system: &'static str, queue: impl Into<Cow<'static, str>>) -> Self {
        Self {
            options: Options::default(),
            system,
            queue: queue.into(),
        }
    }

    /// Records through `telemetry` in place of the global providers.
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.options.telemetry = telemetry;
        self
    }

    /// Sends `payload` by `put`, in an envelope that carries the context of this sending.
    ///
    /// # Errors
    /// Those of `put`.
    pub async fn send<T, R, E, F, Fut>(&self, payload: T, put: F) -> Result<R, E>
    where
        F: FnOnce(Envelope<T>) -> Fut,
        Fut: Future<Output = Result<R, E>>,
    {
        let mut operation = self.operation(None);
        let envelope = self.envelope(payload, &operation);
        let putting = operation.scope(|| put(envelope));
        let result = run_in(&mut operation, putting).await;
        operation.finish(Outcome::of(&result));
        result
    }

    /// The same for a client that blocks.
    ///
    /// # Errors
    /// Those of `put`.
    pub fn send_blocking<T, R, E>(
        &self,
        payload: T,
        put: impl FnOnce(Envelope<T>) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut operation = self.operation(None);
        let envelope = self.envelope(payload, &operation);
        let result = operation.scope(|| put(envelope));
        operation.finish(Outcome::of(&result));
        result
    }

    /// Sends a job once more, as its next [attempt](Envelope::retry). The envelope keeps the
    /// context of its first sender: the span is CLIENT, and links to it.
    ///
    /// # Errors
    /// Those of `put`.
    pub async fn resend<T, R, E, F, Fut>(&self, envelope: Envelope<T>, put: F) -> Result<R, E>
    where
        F: FnOnce(Envelope<T>) -> Fut,
        Fut: Future<Output = Result<R, E>>,
    {
        let sender = envelope.context(&self.options.telemetry);
        let mut operation = self.operation(Some(sender.span().span_context().clone()));
        let putting = operation.scope(|| put(envelope.retry()));
        let result = run_in(&mut operation, putting).await;
        operation.finish(Outcome::of(&result));
        result
    }

    fn operation(&self, kept: Option<SpanContext>) -> Operation<ClientRecord> {
        messaging::send(
            "send",
            &Client::of(self.system),
            &Destination::named(&self.queue),
            kept,
            None,
            &self.options,
            |_to| {},
        )
    }

    fn envelope<T>(&self, payload: T, operation: &Operation<ClientRecord>) -> Envelope<T> {
        let cx = operation.context().cloned();
        let cx = cx.unwrap_or_else(Context::current);
        Envelope::from_context(payload, &cx, &self.options.telemetry)
    }
}
