//! Jobs: work that is handed over and has a span of its own.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};

use futures_core::Stream;
use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml::opentelemetry::{Context, Key, KeyValue, Value};
use otel_ml::semconv::ml;
use otel_ml::{
    CancelReason, End, Fallible, Handle, Infallible, Operation, Outcome, Record, TellOutcome,
};
use pin_project::{pin_project, pinned_drop};

use crate::carry::attach_anywhere;
use crate::queue::{Queue, Ticket};

/// A job that waits in no queue of a name. See [`Queue::job`] for one that does.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let job = otel_ml_worker::job("score").run(async { Ok::<_, std::fmt::Error>(0.93) });
/// let score = tokio::spawn(job).await.unwrap();
/// assert_eq!(score, Ok(0.93));
/// # }
/// ```
///
/// # Cardinality
/// The name is a span's name: of low cardinality.
pub fn job(name: impl Into<Cow<'static, str>>) -> Job {
    Job::new(Ticket::new(&Queue::unnamed()), name.into())
}

/// Work that is handed over now and done elsewhere, later: the context is that of who made the
/// job, and the time in between is its wait.
///
/// | recorded | |
/// |---|---|
/// | span | `{name}`, INTERNAL, child of what was active when the job was made; inside, `MlSpan::current()` finds it |
/// | attributes | `ml.queue.wait.duration` (s, double); `ml.cancel.reason`, `error.type`; whatever is written to `MlSpan::current()` |
/// | metrics | `ml.queue.wait.duration`, `ml.queue.size`, `ml.queue.limit`; those that follow from facts |
///
/// The plain forms take work that returns a `Result`, so that no error goes unrecorded; the
/// `_infallible` forms take any other.
///
/// # When it ends
/// The span starts when the work does. It ends when the work returns, fails (`error.type` is the
/// name of the error's type), panics (`panic`), or is dropped half-way, aborted or shut down with
/// its runtime (`ml.cancel.reason` = `dropped`, no error). A job that was dropped before it began
/// has a span of no length that says `never_run`.
#[must_use = "a job that is not handed over never runs"]
pub struct Job {
    ticket: Ticket,
    name: Cow<'static, str>,
    attributes: Vec<KeyValue>,
}

impl Job {
    pub(crate) const fn new(ticket: Ticket, name: Cow<'static, str>) -> Self {
        Self {
            ticket,
            name,
            attributes: Vec::new(),
        }
    }

    /// Adds an attribute of one's own. Each key once: it can't be written again.
    pub fn attribute(mut self, key: impl Into<Key>, value: impl Into<Value>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// The future that does the job: hand it to any spawner or executor.
    pub fn run<T, E, F: Future<Output = Result<T, E>>>(self, work: F) -> RunJob<F, Fallible> {
        RunJob::new(self, work, Fallible)
    }

    /// The same for work that can't fail.
    pub fn run_infallible<F: Future>(self, work: F) -> RunJob<F, Infallible> {
        RunJob::new(self, work, Infallible)
    }

    /// The stream that does the job: it starts when first polled, and ends with its end, with
    /// its first error, or when dropped.
    pub fn stream<T, E, S: Stream<Item = Result<T, E>>>(self, stream: S) -> RunJob<S, Fallible> {
        RunJob::new(self, stream, Fallible)
    }

    /// The same for a stream whose items are no errors.
    pub fn stream_infallible<S: Stream>(self, stream: S) -> RunJob<S, Infallible> {
        RunJob::new(self, stream, Infallible)
    }

    /// The closure that does the job: hand it to any pool or thread.
    ///
    /// ```
    /// let job = otel_ml_worker::job("tokenize");
    /// let handle = std::thread::spawn(job.wrap(|| "12".parse::<u32>()));
    /// assert_eq!(handle.join().unwrap(), Ok(12));
    /// ```
    pub fn wrap<T, E, F>(self, work: F) -> impl FnOnce() -> Result<T, E> + use<T, E, F>
    where
        F: FnOnce() -> Result<T, E>,
    {
        let job = Deferred::new(self, work);
        move || job.call(&Fallible)
    }

    /// The same for a closure that can't fail.
    pub fn wrap_infallible<T, F: FnOnce() -> T>(self, work: F) -> impl FnOnce() -> T + use<T, F> {
        let job = Deferred::new(self, work);
        move || job.call(&Infallible)
    }

    /// Starts it: its wait is over.
    fn begin(mut self) -> Operation<JobRecord> {
        let waited = self.ticket.open();
        self.operation(waited.as_secs_f64())
    }

    fn operation(self, waited: f64) -> Operation<JobRecord> {
        let Self {
            ticket,
            name,
            attributes,
        } = self;
        Operation::builder(ticket.queue.telemetry(), SpanKind::Internal, name)
            .parent(ticket.cx.clone())
            .handle(Handle::Always)
            .start(JobRecord::default, |to| {
                to.take_keys();
                to.push(ml::QUEUE_WAIT_DURATION, waited);
                to.extend(attributes);
            })
    }

    /// Ends it without having begun: what would have done it is dropped in its context.
    fn never_run(self, drop_work: impl FnOnce()) {
        let attached = attach_anywhere(&self.ticket.cx);
        if attached.is_none() {
            return drop_work();
        }
        let waited = self.ticket.waited();
        let mut operation = self.operation(waited.as_secs_f64());
        operation.scope(drop_work);
        operation.finish(Outcome::Cancelled(CancelReason::NeverRun));
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a job records.
#[derive(Debug, Default)]
struct JobRecord {
    /// How many items its stream has yielded, if it is one.
    items: Option<u64>,
}

impl Record for JobRecord {
    fn record(&mut self, end: &mut End<'_>) {
        if let Some(items) = self.items {
            end.set(
                ml::RESPONSE_CHUNK_COUNT,
                i64::try_from(items).unwrap_or(i64::MAX),
            );
        }
        end.record_gen_ai_server();
    }
}

/// How far a job is.
enum State {
    Waiting(Job),
    Begun {
        operation: Operation<JobRecord>,
        /// The context, which outlives the operation: a stream may go on after its first error.
        cx: Context,
    },
    /// It has ended, and what did the work is gone.
    Over,
}

impl State {
    fn begin(&mut self) {
        if matches!(self, Self::Waiting(_))
            && let Self::Waiting(job) = std::mem::replace(self, Self::Over)
        {
            let operation = job.begin();
            let cx = operation.context().cloned().unwrap_or_default();
            *self = Self::Begun { operation, cx };
        }
    }

    /// Runs `work` in the context of the job.
    fn scope<T>(&mut self, work: impl FnOnce() -> T) -> T {
        match self {
            Self::Begun { operation, .. } if operation.context().is_some() => operation.scope(work),
            Self::Begun { cx, .. } => {
                let _attached = attach_anywhere(cx);
                work()
            }
            Self::Waiting(_) | Self::Over => work(),
        }
    }

    fn end(&mut self, outcome: &Outcome) {
        if let Self::Begun { operation, .. } = self {
            operation.end(outcome);
        }
    }

    fn yielded(&mut self) {
        if let Self::Begun { operation, .. } = self
            && let Some(record) = operation.record_mut()
        {
            *record.items.get_or_insert(0) += 1;
        }
    }

    /// Drops what does the work: it ends as never run, or as cancelled.
    fn drop_with(&mut self, drop_work: impl FnOnce()) {
        match std::mem::replace(self, Self::Over) {
            Self::Waiting(job) => job.never_run(drop_work),
            Self::Begun { mut operation, cx } => match attach_anywhere(&cx) {
                Some(_attached) => operation.scope(drop_work),
                None => drop_work(),
            },
            Self::Over => drop_work(),
        }
    }
}

/// The future or stream of a [`Job`].
///
/// # Cancel safety
/// That of the inner one, which is also dropped in the job's context. Dropped before its first
/// poll the job has never run; dropped later it ends as cancelled. Polled after its end, it
/// waits forever.
#[pin_project(PinnedDrop)]
#[must_use = "it does nothing unless polled"]
pub struct RunJob<F, O> {
    #[pin]
    work: Option<F>,
    state: State,
    outcome: O,
}

impl<F, O> RunJob<F, O> {
    const fn new(job: Job, work: F, outcome: O) -> Self {
        Self {
            work: Some(work),
            state: State::Waiting(job),
            outcome,
        }
    }
}

impl<F: Future, O: TellOutcome<F::Output>> Future for RunJob<F, O> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        this.state.begin();
        let value = ready!(this.state.scope(|| {
            let Some(work) = this.work.as_mut().as_pin_mut() else {
                return Poll::Pending;
            };
            let polled = work.poll(cx);
            if polled.is_ready() {
                // What it writes while it is dropped still counts.
                this.work.set(None);
            }
            polled
        }));
        this.state.end(&this.outcome.tell(&value));
        Poll::Ready(value)
    }
}

impl<S: Stream, O: TellOutcome<S::Item>> Stream for RunJob<S, O> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<S::Item>> {
        let mut this = self.project();
        this.state.begin();
        let item = ready!(this.state.scope(|| {
            let stream = this.work.as_mut().as_pin_mut();
            stream.map_or(Poll::Ready(None), |stream| stream.poll_next(cx))
        }));
        match &item {
            None => this.state.end(&Outcome::Ok),
            Some(item) => match this.outcome.tell(item) {
                Outcome::Ok => this.state.yielded(),
                failed => this.state.end(&failed),
            },
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.work.as_ref().map_or((0, Some(0)), Stream::size_hint)
    }
}

#[pinned_drop]
impl<F, O> PinnedDrop for RunJob<F, O> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        if this.work.is_some() {
            this.state.drop_with(|| this.work.set(None));
        }
    }
}

impl<F: fmt::Debug, O> fmt::Debug for RunJob<F, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunJob")
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}

/// A closure that is a job.
struct Deferred<F>(Option<(Job, F)>);

impl<F> Deferred<F> {
    const fn new(job: Job, work: F) -> Self {
        Self(Some((job, work)))
    }

    fn call<T>(mut self, outcome: &impl TellOutcome<T>) -> T
    where
        F: FnOnce() -> T,
    {
        let Some((job, work)) = self.0.take() else {
            unreachable!("it is taken by value, here or by the drop");
        };
        let mut operation = job.begin();
        let value = operation.scope(work);
        operation.end(&outcome.tell(&value));
        value
    }
}

impl<F> Drop for Deferred<F> {
    fn drop(&mut self) {
        if let Some((job, work)) = self.0.take() {
            job.never_run(|| drop(work));
        }
    }
}
