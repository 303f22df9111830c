//! A stream that ends its operation when it ends.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use opentelemetry::Key;
use otel_ml_semconv::ml;
use pin_project::pin_project;

use crate::ml_span::{MlSpan, whole};
use crate::operation::{End, Operation, Scoped};
use crate::outcome::Outcome;
use crate::task::{TaskRecord, TellOutcome};

/// What a stream has yielded so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Items {
    /// Whether there is a stream at all.
    pub is_stream: bool,
    /// How many items.
    pub count: u64,
    /// From the operation's start to the first of them.
    pub first: Option<Duration>,
    /// From the operation's start to the latest of them.
    pub last: Duration,
}

impl Items {
    /// Counts an item; returns the gap to the one before it.
    fn add(&mut self, elapsed: Duration) -> Option<Duration> {
        let gap = self.first.map(|_| elapsed.saturating_sub(self.last));
        self.count += 1;
        self.first.get_or_insert(elapsed);
        self.last = elapsed;
        gap
    }

    /// Adds the count, and the time to the first item under `first_key`, to the span.
    pub(crate) fn record(&self, end: &mut End<'_>, first_key: &'static str) {
        if let Some(first) = self.first.filter(|_| end.is_recording()) {
            end.set(Key::from_static_str(first_key), first.as_secs_f64());
            end.set(ml::RESPONSE_CHUNK_COUNT, whole(self.count));
        }
    }
}

/// A stream that belongs to an operation: the inner stream runs in its context.
///
/// # When it ends
/// The operation ends with the stream's end, with its first error, or when the stream is
/// dropped before either, as cancelled. After an error the stream may be polled on; what it
/// yields then is not recorded.
#[pin_project]
#[must_use = "streams do nothing unless polled"]
pub struct InstrumentedStream<S, R: TaskRecord, O> {
    #[pin]
    inner: Scoped<S, R>,
    outcome: O,
}

impl<S: Stream, R: TaskRecord, O> InstrumentedStream<S, R, O> {
    pub(crate) fn new(inner: S, mut operation: Operation<R>, outcome: O) -> Self {
        if let Some(record) = operation.record_mut() {
            record.items().is_stream = true;
        }
        Self {
            inner: Scoped::new(inner, operation),
            outcome,
        }
    }

    /// The handle to write facts by, from outside the stream: with each chunk, say.
    #[must_use]
    pub fn span(&self) -> MlSpan {
        self.inner
            .operation()
            .context()
            .map(MlSpan::from_context)
            .unwrap_or_default()
    }
}

impl<S: Stream, R: TaskRecord, O: TellOutcome<S::Item>> Stream for InstrumentedStream<S, R, O> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut this = self.project();
        let item = ready!(this.inner.as_mut().poll(|inner| inner.poll_next(cx)));
        let operation = this.inner.operation_mut();
        match &item {
            None => operation.end(&Outcome::Ok),
            Some(item) => match this.outcome.tell(item) {
                Outcome::Ok => {
                    let elapsed = operation.elapsed();
                    if let Some((record, instruments)) = operation.record_and_instruments() {
                        let gap = record.items().add(elapsed);
                        record.yielded(gap, instruments);
                    }
                }
                failed => operation.end(&failed),
            },
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.work().size_hint()
    }
}

impl<S: fmt::Debug, R: TaskRecord, O> fmt::Debug for InstrumentedStream<S, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstrumentedStream")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
