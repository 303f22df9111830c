//! A queue as its telemetry knows it, and what an item takes into it.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml::semconv::ml;
use otel_ml::{CancelReason, LabelSet, Level, LevelOf, Telemetry, queue_wait_span};

use crate::carry::attach_anywhere;
use crate::job::Job;
use crate::traced::Traced;

/// A queue of the application's own, as its telemetry knows it: a channel, a pool's backlog, a
/// batcher's inbox. It holds nothing but a name, options and a count; clones are the same queue.
///
/// | recorded | |
/// |---|---|
/// | `ml.queue.wait.duration` | from [`traced`](Self::traced) or [`job`](Self::job) to the opening, or the start |
/// | `ml.queue.size`, `ml.queue.limit` | while somebody holds the queue |
/// | span `queue_wait` | on request, see [`queue_wait_span`](QueueBuilder::queue_wait_span) |
///
/// ```
/// use otel_ml_worker::Queue;
///
/// let queue = Queue::builder("rerank").limit(64).build();
/// let (sender, receiver) = std::sync::mpsc::sync_channel(64);
/// sender.send(queue.traced("a request")).unwrap();
/// assert_eq!(queue.size(), 1);
///
/// let opened = receiver.recv().unwrap().open();
/// assert_eq!((opened.item, queue.size()), ("a request", 0));
/// ```
///
/// # Cardinality
/// The name labels metrics: make queues of few names, and each once.
#[derive(Clone)]
pub struct Queue(Arc<State>);

struct State {
    telemetry: Telemetry,
    level: Arc<Level>,
    waits: OnceLock<LabelSet>,
    wants_span: bool,
}

impl Queue {
    /// A queue named `name` with settings of its own.
    pub fn builder(name: impl Into<Cow<'static, str>>) -> QueueBuilder {
        QueueBuilder {
            name: name.into(),
            system: ml::queue_system::TASK,
            telemetry: Telemetry::global(),
            limit: None,
            wants_span: false,
        }
    }

    /// `item` with the current context and the time: put it into the queue.
    #[inline]
    pub fn traced<T>(&self, item: T) -> Traced<T> {
        Traced::with(Ticket::of(self), item)
    }

    /// A job that is handed to whatever works on this queue, and the span that it will have.
    ///
    /// # Cardinality
    /// The name is a span's name: of low cardinality.
    pub fn job(&self, name: impl Into<Cow<'static, str>>) -> Job {
        Job::new(Ticket::of(self), name.into())
    }

    /// How many wait in it.
    #[must_use]
    pub fn size(&self) -> i64 {
        self.0.level.now()
    }

    #[inline]
    fn record_wait(&self, seconds: f64) {
        if let Some(instruments) = self.0.telemetry.instruments() {
            let histogram = &instruments.ml_queue_wait_duration;
            let waits = self.0.waits.get_or_init(|| {
                let labels = self.0.level.labels();
                LabelSet::new(histogram, labels)
            });
            waits.record(histogram, seconds);
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("level", &self.0.level)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`Queue`]. Setters take and return it by value.
#[derive(Clone, Debug)]
#[must_use]
pub struct QueueBuilder {
    name: Cow<'static, str>,
    system: &'static str,
    telemetry: Telemetry,
    limit: Option<u64>,
    wants_span: bool,
}

impl QueueBuilder {
    /// The kind of queue, `ml.queue.system`: one of [`queue_system`](ml::queue_system). `task`
    /// if not called; a batcher's inbox is `batch`.
    pub fn system(self, system: &'static str) -> Self {
        Self { system, ..self }
    }

    /// Records through `telemetry` in place of the global providers.
    pub fn telemetry(self, telemetry: Telemetry) -> Self {
        Self { telemetry, ..self }
    }

    /// How many it can hold, for `ml.queue.limit`. It is told, not enforced.
    pub fn limit(self, limit: u64) -> Self {
        Self {
            limit: Some(limit),
            ..self
        }
    }

    /// Makes the time in the queue a span of its own, `queue_wait`, besides the attribute and
    /// the metric: a child of what was active when the item was put in. Off by default.
    pub fn queue_wait_span(self, wanted: bool) -> Self {
        Self {
            wants_span: wanted,
            ..self
        }
    }

    /// The queue.
    #[must_use]
    pub fn build(self) -> Queue {
        let labels = vec![
            KeyValue::new(ml::QUEUE_SYSTEM, self.system),
            KeyValue::new(ml::QUEUE_NAME, self.name),
        ];
        let level = Arc::new(Level::new(labels, self.limit));
        self.telemetry.watch(LevelOf::Queue, &level);
        Queue(Arc::new(State {
            telemetry: self.telemetry,
            level,
            waits: OnceLock::new(),
            wants_span: self.wants_span,
        }))
    }
}

/// What an item or a job takes into a queue: where it comes from, and since when it waits.
pub(crate) struct Ticket {
    /// None has no name, and so no size.
    queue: Option<Queue>,
    pub(crate) cx: Context,
    /// None once it waits no longer.
    since: Option<Instant>,
}

impl Ticket {
    #[inline]
    fn of(queue: &Queue) -> Self {
        queue.0.level.add(1);
        // Metrics that are there from now on tell also of a queue that nobody takes from.
        let _ = queue.0.telemetry.instruments();
        Self::new(Some(queue.clone()))
    }

    /// Of work that was given no queue.
    pub(crate) fn unnamed() -> Self {
        Self::new(None)
    }

    #[inline]
    fn new(queue: Option<Queue>) -> Self {
        Self {
            queue,
            cx: Context::current(),
            since: Some(Instant::now()),
        }
    }

    /// The queue's; without one that of the operation around who made it.
    pub(crate) fn telemetry(&self) -> Telemetry {
        match &self.queue {
            Some(queue) => queue.0.telemetry.clone(),
            None => Telemetry::of(&self.cx),
        }
    }

    #[inline]
    pub(crate) fn waited(&self) -> Duration {
        self.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// It is being worked on from now. How long it waited; what is recorded of that is.
    #[inline]
    pub(crate) fn open(&mut self) -> Duration {
        let waited = self.leave(None);
        match &self.queue {
            Some(queue) => queue.record_wait(waited.as_secs_f64()),
            None => self.record_unnamed(waited),
        }
        waited
    }

    #[cold]
    fn record_unnamed(&self, waited: Duration) {
        if let Some(instruments) = self.telemetry().instruments() {
            let labels = [KeyValue::new(ml::QUEUE_SYSTEM, ml::queue_system::TASK)];
            let histogram = &instruments.ml_queue_wait_duration;
            histogram.record(waited.as_secs_f64(), &labels);
        }
    }

    /// It waits no longer.
    #[inline]
    fn leave(&mut self, cancelled: Option<CancelReason>) -> Duration {
        let waited = self.waited();
        self.since = None;
        if let Some(queue) = &self.queue {
            // First, as whatever processes the span is not ours and may panic.
            queue.0.level.add(-1);
            if queue.0.wants_span {
                self.wait_span(waited, cancelled);
            }
        }
        waited
    }

    #[cold]
    fn wait_span(&self, waited: Duration, cancelled: Option<CancelReason>) {
        // A thread that is about to end has nothing left that an SDK needs.
        let Some(_attached) = attach_anywhere(&self.cx) else {
            return;
        };
        let now = SystemTime::now();
        let since = now.checked_sub(waited).unwrap_or(now);
        queue_wait_span(&self.telemetry(), &self.cx, since, now, cancelled);
    }
}

impl Drop for Ticket {
    #[inline]
    fn drop(&mut self) {
        if self.since.is_some() {
            self.leave(Some(CancelReason::NeverRun));
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("waited", &self.waited())
            .finish_non_exhaustive()
    }
}
