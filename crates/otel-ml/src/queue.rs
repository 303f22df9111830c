//! Queues within the process: how many wait in them, and the wait as a span.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use opentelemetry::metrics::{AsyncInstrument, Meter};
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use otel_ml_semconv::ml;

use crate::outcome::CancelReason;
use crate::telemetry::Telemetry;

/// How many wait in a queue, and how many it can hold.
///
/// Counting is an atomic addition; `ml.queue.size` and `ml.queue.limit` ask for the numbers
/// when metrics are collected, once the queue is [watched](Queues::watch).
#[derive(Debug)]
pub struct QueueLevel {
    labels: Vec<KeyValue>,
    limit: Option<u64>,
    size: AtomicI64,
}

impl QueueLevel {
    /// An empty queue, labelled with `labels`: of low cardinality, as they are metric labels.
    #[must_use]
    pub const fn new(labels: Vec<KeyValue>, limit: Option<u64>) -> Self {
        Self {
            labels,
            limit,
            size: AtomicI64::new(0),
        }
    }

    /// What its metrics are labelled with.
    #[must_use]
    pub fn labels(&self) -> &[KeyValue] {
        &self.labels
    }

    /// One more waits.
    #[inline]
    pub fn enter(&self) {
        self.size.fetch_add(1, Ordering::Relaxed);
    }

    /// One waits no longer.
    #[inline]
    pub fn leave(&self) {
        self.size.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many wait.
    #[must_use]
    pub fn size(&self) -> i64 {
        self.size.load(Ordering::Relaxed)
    }
}

/// The queues whose levels are collected.
///
/// Queues with the same labels are one series, the sum of them. One that is gone counts as
/// empty: an SDK would go on reporting the last number that it was told.
pub struct Queues(Arc<Mutex<Vec<Series>>>);

/// The queues that have the same labels.
struct Series {
    labels: Vec<KeyValue>,
    levels: Vec<Weak<QueueLevel>>,
    /// Whether one of them, gone or not, had a limit.
    had_limit: bool,
}

impl Queues {
    pub(crate) fn new(meter: &Meter) -> Self {
        let all = Arc::new(Mutex::new(Vec::new()));
        let (sizes, limits) = (Arc::clone(&all), Arc::clone(&all));
        let size = ml::metric::QUEUE_SIZE;
        meter
            .i64_observable_up_down_counter(size.name)
            .with_unit(size.unit)
            .with_description(size.description)
            .with_callback(move |observer| {
                observe(&sizes, observer, |_, levels| {
                    Some(levels.map(QueueLevel::size).sum())
                });
            })
            .build();
        let limit = ml::metric::QUEUE_LIMIT;
        meter
            .u64_observable_gauge(limit.name)
            .with_unit(limit.unit)
            .with_description(limit.description)
            .with_callback(move |observer| {
                observe(&limits, observer, |had_limit, levels| {
                    let limits = levels.filter_map(|level| level.limit);
                    let limit = limits.reduce(u64::saturating_add);
                    limit.or(had_limit.then_some(0))
                });
            })
            .build();
        Self(all)
    }

    pub(crate) fn is_observed(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Collects the numbers of `level` for as long as somebody holds it. Call it once for each.
    ///
    /// # Cardinality
    /// Labels are kept for the life of the process.
    pub fn watch(&self, level: &Arc<QueueLevel>) {
        let mut all = lock(&self.0);
        let known = all.iter_mut().find(|series| series.labels == level.labels);
        match known {
            Some(series) => {
                series.levels.retain(|level| level.strong_count() > 0);
                series.levels.push(Arc::downgrade(level));
                series.had_limit |= level.limit.is_some();
            }
            None => all.push(Series {
                labels: level.labels.clone(),
                levels: vec![Arc::downgrade(level)],
                had_limit: level.limit.is_some(),
            }),
        }
    }
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = lock(&self.0);
        f.debug_list()
            .entries(all.iter().map(|series| &series.labels))
            .finish()
    }
}

/// A panic while the lock was held can't leave a list in two minds.
fn lock(all: &Mutex<Vec<Series>>) -> MutexGuard<'_, Vec<Series>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reports a number for each series, if it has one.
fn observe<T>(
    all: &Mutex<Vec<Series>>,
    observer: &dyn AsyncInstrument<T>,
    number: impl Fn(bool, &mut dyn Iterator<Item = &QueueLevel>) -> Option<T>,
) {
    for series in lock(all).iter() {
        let levels: Vec<_> = series.levels.iter().filter_map(Weak::upgrade).collect();
        if let Some(number) = number(series.had_limit, &mut levels.iter().map(Arc::as_ref)) {
            observer.observe(number, &series.labels);
        }
    }
}

/// Records the time in a queue, from `since` to `until`, as a span of its own, `queue_wait`: the
/// form that the wait has everywhere. It is a child of `parent`; what was `cancelled` left the
/// queue without being worked on.
pub fn queue_wait_span(
    telemetry: &Telemetry,
    parent: &Context,
    since: SystemTime,
    until: SystemTime,
    cancelled: Option<CancelReason>,
) {
    let is_wanted = parent.span().span_context().is_sampled() && !parent.is_telemetry_suppressed();
    let Some(tracer) = telemetry.tracer().filter(|_| is_wanted) else {
        return;
    };
    let mut builder = SpanBuilder::from_name("queue_wait")
        .with_kind(SpanKind::Internal)
        .with_start_time(since);
    if let Some(reason) = cancelled {
        let reason = KeyValue::new(ml::CANCEL_REASON, reason.as_str());
        builder = builder.with_attributes([reason]);
    }
    let mut span = tracer.build_with_context(builder, parent);
    // Where clocks disagree, the wait is nothing.
    span.end_with_timestamp(until.max(since));
}
