//! A queue as its telemetry knows it, and what an item takes into it.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml::semconv::ml;
use otel_ml::{CancelReason, QueueLevel, Telemetry, queue_wait_span};

use crate::carry::attach_anywhere;
use crate::job::Job;
use crate::traced::Traced;

/// A queue of the application's own, as its telemetry knows it: a channel, a pool's backlog, a
/// batcher's inbox. It holds nothing but a name, options and a count; clones are the same queue.
///
/// | recorded | |
/// |---|---|
/// | `ml.queue.wait.duration` | from [`traced`](Self::traced) or [`job`](Self::job) to the opening, or the start |
/// | `ml.queue.size`, `ml.queue.limit` | while somebody holds the queue, if it has a name |
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
    level: Arc<QueueLevel>,
    has_name: bool,
    wants_span: bool,
    watched: OnceLock<()>,
}

impl Queue {
    /// A queue named `name` with settings of its own.
    pub fn builder(name: impl Into<Cow<'static, str>>) -> QueueBuilder {
        QueueBuilder {
            name: Some(name.into()),
            system: ml::queue_system::TASK,
            telemetry: None,
            limit: None,
            wants_span: false,
        }
    }

    /// The queue of work that was not given one: without a name, and so without a size. It
    /// records by the telemetry of the operation around it.
    pub(crate) fn unnamed() -> Self {
        static GLOBAL: LazyLock<Queue> = LazyLock::new(|| Queue::without_name(Telemetry::global()));
        let telemetry = Telemetry::current();
        if telemetry.is_global() {
            GLOBAL.clone()
        } else {
            Self::without_name(telemetry)
        }
    }

    fn without_name(telemetry: Telemetry) -> Self {
        let builder = QueueBuilder {
            name: None,
            ..Self::builder("")
        };
        builder.telemetry(telemetry).build()
    }

    /// `item` with the current context and the time: put it into the queue.
    pub fn traced<T>(&self, item: T) -> Traced<T> {
        Traced::new_in(self, item)
    }

    /// A job that is handed to whatever works on this queue, and the span that it will have.
    ///
    /// # Cardinality
    /// The name is a span's name: of low cardinality.
    pub fn job(&self, name: impl Into<Cow<'static, str>>) -> Job {
        Job::new(Ticket::new(self), name.into())
    }

    /// How many wait in it.
    #[must_use]
    pub fn size(&self) -> i64 {
        self.0.level.size()
    }

    /// Where it records.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    /// Has the level collected, once there are instruments. A queue without a name has none.
    #[inline]
    fn watch(&self) {
        if self.0.has_name && self.0.watched.get().is_none() {
            self.watch_now();
        }
    }

    #[cold]
    fn watch_now(&self) {
        if let Some(instruments) = self.0.telemetry.instruments() {
            self.0
                .watched
                .get_or_init(|| instruments.ml_queues.watch(&self.0.level));
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
    name: Option<Cow<'static, str>>,
    system: &'static str,
    telemetry: Option<Telemetry>,
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
        Self {
            telemetry: Some(telemetry),
            ..self
        }
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
        let mut labels = vec![KeyValue::new(ml::QUEUE_SYSTEM, self.system)];
        let has_name = self.name.is_some();
        labels.extend(self.name.map(|name| KeyValue::new(ml::QUEUE_NAME, name)));
        Queue(Arc::new(State {
            telemetry: self.telemetry.unwrap_or_default(),
            level: Arc::new(QueueLevel::new(labels, self.limit)),
            has_name,
            wants_span: self.wants_span,
            watched: OnceLock::new(),
        }))
    }
}

/// What an item or a job takes into a queue: where it comes from, and since when it waits.
pub(crate) struct Ticket {
    pub(crate) queue: Queue,
    pub(crate) cx: Context,
    since: Instant,
    is_waiting: bool,
}

impl Ticket {
    #[inline]
    pub(crate) fn new(queue: &Queue) -> Self {
        queue.0.level.enter();
        queue.watch();
        Self {
            queue: queue.clone(),
            cx: Context::current(),
            since: Instant::now(),
            is_waiting: true,
        }
    }

    pub(crate) fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    /// It is being worked on from now. How long it waited; what is recorded of that is.
    #[inline]
    pub(crate) fn open(&mut self) -> Duration {
        self.leave(None)
    }

    fn leave(&mut self, cancelled: Option<CancelReason>) -> Duration {
        let waited = self.since.elapsed();
        if !std::mem::take(&mut self.is_waiting) {
            return waited;
        }
        // First, as whatever processes the span is not ours and may panic.
        self.queue.0.level.leave();
        if self.queue.0.wants_span {
            self.wait_span(waited, cancelled);
        }
        self.queue.watch();
        if cancelled.is_none()
            && let Some(instruments) = self.queue.0.telemetry.instruments()
        {
            instruments
                .ml_queue_wait_duration
                .record(waited.as_secs_f64(), self.queue.0.level.labels());
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
        queue_wait_span(&self.queue.0.telemetry, &self.cx, since, now, cancelled);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_waiting {
            self.leave(Some(CancelReason::NeverRun));
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("waited", &self.since.elapsed())
            .finish_non_exhaustive()
    }
}
