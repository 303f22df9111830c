//! A span around a piece of work of one's own: what stages and model operations share.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, Key, KeyValue, Value};
use pin_project::pin_project;
use smallvec::SmallVec;

use crate::attributes::Attributes;
use crate::instruments::Instruments;
use crate::intern::span_name;
use crate::ml_span::MlSpan;
use crate::operation::{Handle, Operation, Record, Scoped};
use crate::outcome::Outcome;
use crate::stream::{InstrumentedStream, Items};
use crate::telemetry::Telemetry;

/// The span name `{operation} {target}`.
pub(crate) fn name_of(operation: &'static str, target: &str) -> Cow<'static, str> {
    span_name(operation, target).map_or_else(
        || format!("{operation} {target}").into(),
        |known| known.name.into(),
    )
}

/// What a task records, beyond its span.
pub trait TaskRecord: Record {
    /// The span's name: asked for only where there may be a span.
    fn name(&self) -> Cow<'static, str>;

    /// What its stream has yielded, if it ends with one.
    fn items(&mut self) -> &mut Items;

    /// The attributes that label its metrics, too.
    fn labels(&self, _to: &mut Attributes) {}

    /// The attribute that says that the answer is asked for as a stream, if there is one.
    fn stream_key(&self) -> Option<&'static str> {
        None
    }

    /// The stream has yielded an item, `gap` after the one before it.
    fn yielded(&mut self, _gap: Option<Duration>, _instruments: Option<&Instruments>) {}
}

/// A piece of work that is about to start, and how it will be recorded.
///
/// Made by [`stage`](crate::stage()), [`genai`](crate::genai), [`db`](crate::db) and
/// [`model`](crate::model). The span's parent is the context that is current when the work
/// starts; inside, [`MlSpan::current`] finds this operation. It records through the
/// [`Telemetry`] of the operation around it, else through the global one.
///
/// The plain forms take work that returns a `Result`, so that no error goes unrecorded;
/// the `_infallible` forms take any other.
///
/// # When it ends
/// When the work returns, fails (`error.type` is the name of the error's type), panics
/// (`panic`), or is dropped half-way (`ml.cancel.reason`, no error).
#[must_use = "nothing is recorded until the work is run"]
pub struct Task<R: TaskRecord> {
    pub(crate) telemetry: Telemetry,
    pub(crate) kind: SpanKind,
    /// As they were set. On the stack, as where nothing is recorded they come to nothing.
    attributes: SmallVec<[KeyValue; 4]>,
    pub(crate) record: R,
}

impl<R: TaskRecord> Task<R> {
    #[inline]
    pub(crate) fn new(kind: SpanKind, record: R) -> Self {
        Self {
            telemetry: Telemetry::current(),
            kind,
            attributes: SmallVec::new(),
            record,
        }
    }

    /// An attribute that the sampler sees; the last value of a key counts. It can't be written
    /// again once the work runs.
    #[inline]
    pub(crate) fn set(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        self.attributes.push(KeyValue::new(key, value));
    }

    /// Records through `telemetry`.
    #[inline]
    pub fn telemetry(self, telemetry: &Telemetry) -> Self {
        Self {
            telemetry: telemetry.clone(),
            ..self
        }
    }

    /// Adds an attribute of one's own.
    pub fn attribute(mut self, key: impl Into<Key>, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }

    /// Starts it by hand; the guard ends it. For work that no closure, future or stream holds.
    pub fn start(self) -> Running<R> {
        let operation = if self.is_recorded() {
            self.start_recorded()
        } else {
            Operation::passing(Context::current())
        };
        Running { operation }
    }

    /// Whether anything may come of it.
    #[inline]
    fn is_recorded(&self) -> bool {
        self.telemetry.is_tracing() || self.telemetry.instruments().is_some()
    }

    fn start_recorded(self) -> Operation<R> {
        let Self {
            telemetry,
            kind,
            attributes: own,
            record,
        } = self;
        let name = if telemetry.is_tracing() {
            record.name()
        } else {
            Cow::Borrowed("")
        };
        Operation::builder(&telemetry, kind, name)
            .parent(Context::current())
            .handle(Handle::Always)
            .start_of(
                record,
                |record, to| {
                    to.take_keys();
                    record.labels(to);
                    for attribute in own {
                        to.set(attribute);
                    }
                },
                |record| record,
            )
    }

    /// Runs `work`, from its first poll to its result.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn run<T, E, F: Future<Output = Result<T, E>>>(self, work: F) -> Run<F, R, Fallible> {
        Run::new(self, work, Fallible)
    }

    /// Runs `work` that can't fail.
    pub fn run_infallible<F: Future>(self, work: F) -> Run<F, R, Infallible> {
        Run::new(self, work, Infallible)
    }

    /// Runs `work` on this thread.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn in_scope<T, E>(self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        if !self.is_recorded() {
            return work();
        }
        let mut operation = self.start_recorded();
        let result = operation.scope(work);
        operation.end(&Outcome::of(&result));
        result
    }

    /// Runs `work` that can't fail on this thread.
    pub fn in_scope_infallible<T>(self, work: impl FnOnce() -> T) -> T {
        if !self.is_recorded() {
            return work();
        }
        let mut operation = self.start_recorded();
        let value = operation.scope(work);
        operation.end(&Outcome::Ok);
        value
    }

    /// Starts now and ends with `stream`: at its end, at its first error, or when dropped.
    pub fn stream<T, E, S: Stream<Item = Result<T, E>>>(
        self,
        stream: S,
    ) -> InstrumentedStream<S, R, Fallible> {
        InstrumentedStream::new(stream, self.start_stream().operation, Fallible)
    }

    /// Starts now and ends with `stream`, whose items are no errors.
    pub fn stream_infallible<S: Stream>(self, stream: S) -> InstrumentedStream<S, R, Infallible> {
        InstrumentedStream::new(stream, self.start_stream().operation, Infallible)
    }

    fn start_stream(mut self) -> Running<R> {
        if let Some(key) = self.record.stream_key() {
            self.set(key, true);
        }
        self.start()
    }
}

impl<R: TaskRecord> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("name", &self.record.name())
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Tells the outcome of a value.
pub trait TellOutcome<T> {
    /// The outcome that `value` is.
    fn tell(&self, value: &T) -> Outcome;
}

/// The outcome of a `Result`.
#[derive(Clone, Copy, Debug)]
pub struct Fallible;

impl<T, E> TellOutcome<Result<T, E>> for Fallible {
    fn tell(&self, result: &Result<T, E>) -> Outcome {
        Outcome::of(result)
    }
}

/// The outcome of anything else: it is fine.
#[derive(Clone, Copy, Debug)]
pub struct Infallible;

impl<T> TellOutcome<T> for Infallible {
    fn tell(&self, _value: &T) -> Outcome {
        Outcome::Ok
    }
}

/// A task that has started.
///
/// # When it ends
/// By [`finish`](Self::finish); dropped before, as cancelled.
#[must_use = "dropping it ends the operation as cancelled"]
pub struct Running<R: TaskRecord> {
    operation: Operation<R>,
}

impl<R: TaskRecord> Running<R> {
    /// Runs a part of the work in the operation's context.
    pub fn scope<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.operation.scope(work)
    }

    /// The context of the operation, to hand to work elsewhere.
    #[must_use]
    pub fn context(&self) -> Context {
        self.operation.context().cloned().unwrap_or_default()
    }

    /// The handle to write facts by.
    #[must_use]
    pub fn span(&self) -> MlSpan {
        self.operation
            .context()
            .map(MlSpan::from_context)
            .unwrap_or_default()
    }

    /// Ends it.
    pub fn finish(self, outcome: Outcome) {
        self.operation.finish(outcome);
    }
}

impl<R: TaskRecord> fmt::Debug for Running<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Running").field(&self.operation).finish()
    }
}

/// The future of [`Task::run`].
///
/// # Cancel safety
/// Dropped before its first poll it records nothing; dropped later it ends as cancelled.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct Run<F, R: TaskRecord, O> {
    /// Until the first poll.
    task: Option<Task<R>>,
    #[pin]
    work: Scoped<F, R>,
    outcome: O,
}

impl<F, R: TaskRecord, O> Run<F, R, O> {
    const fn new(task: Task<R>, work: F, outcome: O) -> Self {
        Self {
            task: Some(task),
            work: Scoped::new(work, Operation::none()),
            outcome,
        }
    }
}

impl<F: Future, R: TaskRecord, O: TellOutcome<F::Output>> Future for Run<F, R, O> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if let Some(task) = this.task.take() {
            *this.work.as_mut().operation_mut() = task.start().operation;
        }
        let value = ready!(this.work.as_mut().poll(|work| work.poll(cx)));
        this.work.operation_mut().end(&this.outcome.tell(&value));
        Poll::Ready(value)
    }
}

impl<F: fmt::Debug, R: TaskRecord, O> fmt::Debug for Run<F, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}
