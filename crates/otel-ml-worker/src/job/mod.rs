//! Jobs: work that is handed over and has a span of its own.

mod run;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;

use futures_core::Stream;
use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml::opentelemetry::{Key, KeyValue, Value};
use otel_ml::semconv::ml;
use otel_ml::{CancelReason, End, Fallible, Handle, Infallible, Operation, Outcome, Record};

use crate::carry::attach_anywhere;
use crate::queue::Ticket;
use run::Deferred;
pub use run::RunJob;

/// A job that waits in no queue of a name. See [`Queue::job`](crate::Queue::job) for one that does.
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
    Job::new(Ticket::unnamed(), name.into())
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
/// its runtime (`ml.cancel.reason` = `dropped`, no error). Work that was dropped before it began
/// has a span of no length that says `never_run`. A `Job` that was given no work, dropped before
/// [`run`](Self::run), [`wrap`](Self::wrap) or another of them, leaves its queue and has no span.
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

    /// Adds an attribute of one's own: the last value of a key counts, and the work can't write
    /// it again. `ml.queue.wait.duration` is the job's to say.
    pub fn attribute(mut self, key: impl Into<Key>, value: impl Into<Value>) -> Self {
        let attribute = KeyValue::new(key, value);
        let known = self.attributes.iter_mut();
        match known.into_iter().find(|known| known.key == attribute.key) {
            Some(known) => *known = attribute,
            None if attribute.key.as_str() == ml::QUEUE_WAIT_DURATION => {}
            None => self.attributes.push(attribute),
        }
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
        Operation::builder(&ticket.telemetry(), SpanKind::Internal, name)
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
