//! Numbers that are asked for when metrics are collected: how many wait, how much is held.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, AsyncInstrumentBuilder, Meter};
use otel_ml_semconv::{Metric, ml};

/// A number that goes up and down, and what it may be at most.
///
/// Changing it is an atomic operation; the metrics ask for it when they are collected, once it
/// is [watched](crate::Telemetry::watch), and count it as nothing once nobody holds it.
#[derive(Debug)]
pub struct Level {
    labels: Vec<KeyValue>,
    limit: Option<i64>,
    now: AtomicI64,
}

/// What a [`Level`] is of, and so which metrics tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelOf {
    /// [`ml.queue.size`](ml::metric::QUEUE_SIZE) and [`ml.queue.limit`](ml::metric::QUEUE_LIMIT)
    Queue,
    /// [`ml.model.memory.usage`](ml::metric::MODEL_MEMORY_USAGE)
    ModelMemory,
    /// [`ml.model.state.size`](ml::metric::MODEL_STATE_SIZE)
    ModelState,
    /// [`ml.kv_cache.usage`](ml::metric::KV_CACHE_USAGE),
    /// [`ml.kv_cache.limit`](ml::metric::KV_CACHE_LIMIT) and
    /// [`ml.kv_cache.utilization`](ml::metric::KV_CACHE_UTILIZATION)
    KvCache,
}

impl Level {
    /// A level of nothing, labelled with `labels`: of low cardinality, as they are metric labels.
    #[must_use]
    pub fn new(labels: Vec<KeyValue>, limit: Option<u64>) -> Self {
        Self {
            labels,
            limit: limit.map(saturated),
            now: AtomicI64::new(0),
        }
    }

    /// What its metrics are labelled with.
    #[must_use]
    pub fn labels(&self) -> &[KeyValue] {
        &self.labels
    }

    /// So many more, or less.
    #[inline]
    pub fn add(&self, difference: i64) {
        self.now.fetch_add(difference, Ordering::Relaxed);
    }

    /// So much it is now.
    pub fn set(&self, now: u64) {
        self.now.store(saturated(now), Ordering::Relaxed);
    }

    /// What it is now.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }
}

fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The levels that are collected.
///
/// Those with the same labels are one series, the sum of them. One that is gone is nothing: an
/// SDK would go on reporting the last number that it was told.
#[derive(Default)]
pub(crate) struct Levels(Mutex<Vec<Series>>);

/// The levels of one kind that have the same labels.
struct Series {
    of: LevelOf,
    labels: Vec<KeyValue>,
    levels: Vec<Weak<Level>>,
    /// Whether one of them, gone or not, had a limit.
    had_limit: bool,
}

/// What a series comes to.
#[derive(Clone, Copy)]
struct Sum {
    now: i64,
    limit: Option<i64>,
}

impl Levels {
    /// Those of whoever uses the global meter provider, which may not be there yet: what was told
    /// before is not lost.
    pub(crate) fn global() -> &'static Arc<Self> {
        static GLOBAL: LazyLock<Arc<Levels>> = LazyLock::new(Arc::default);
        &GLOBAL
    }

    /// Collects the numbers of `level` for as long as somebody holds it.
    pub(crate) fn watch(&self, of: LevelOf, level: &Arc<Level>) {
        let mut all = self.lock();
        let known = all
            .iter_mut()
            .find(|series| series.of == of && series.labels == level.labels);
        match known {
            Some(series) => {
                series.levels.retain(|level| level.strong_count() > 0);
                series.levels.push(Arc::downgrade(level));
                series.had_limit |= level.limit.is_some();
            }
            None => all.push(Series {
                of,
                labels: level.labels.clone(),
                levels: vec![Arc::downgrade(level)],
                had_limit: level.limit.is_some(),
            }),
        }
    }

    /// Has `meter` ask for them. Whether it is going to: the API's no-op meter drops callbacks.
    pub(crate) fn observe_by(self: &Arc<Self>, meter: &Meter) -> bool {
        use LevelOf::{KvCache, ModelMemory, ModelState, Queue};
        let asked = Arc::new(Asked(Arc::clone(self)));
        for (metric, of, number) in [
            (&ml::metric::QUEUE_SIZE, Queue, Sum::now as fn(Sum) -> _),
            (&ml::metric::MODEL_MEMORY_USAGE, ModelMemory, Sum::now),
            (&ml::metric::MODEL_STATE_SIZE, ModelState, Sum::now),
            (&ml::metric::KV_CACHE_USAGE, KvCache, Sum::now),
            (&ml::metric::KV_CACHE_LIMIT, KvCache, Sum::limit),
        ] {
            let builder = meter.i64_observable_up_down_counter(metric.name);
            asking(builder, metric, &asked, of, number).build();
        }
        let metric = &ml::metric::QUEUE_LIMIT;
        let builder = meter.i64_observable_gauge(metric.name);
        asking(builder, metric, &asked, Queue, Sum::limit).build();
        let metric = &ml::metric::KV_CACHE_UTILIZATION;
        let builder = meter.f64_observable_gauge(metric.name);
        asking(builder, metric, &asked, KvCache, Sum::utilization).build();
        Arc::strong_count(&asked) > 1
    }

    fn report<T>(
        &self,
        of: LevelOf,
        observer: &dyn AsyncInstrument<T>,
        number: fn(Sum) -> Option<T>,
    ) {
        for series in self.lock().iter().filter(|series| series.of == of) {
            if let Some(number) = number(series.sum()) {
                observer.observe(number, &series.labels);
            }
        }
    }

    /// A panic while the lock was held can't leave a list in two minds.
    fn lock(&self) -> MutexGuard<'_, Vec<Series>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.lock();
        f.debug_list()
            .entries(all.iter().map(|series| (series.of, &series.labels)))
            .finish()
    }
}

impl Series {
    fn sum(&self) -> Sum {
        let mut sum = Sum {
            now: 0,
            limit: self.had_limit.then_some(0),
        };
        for level in self.levels.iter().filter_map(Weak::upgrade) {
            sum.now = sum.now.saturating_add(level.now());
            if let Some(limit) = level.limit {
                sum.limit = Some(limit.saturating_add(sum.limit.unwrap_or(0)));
            }
        }
        sum
    }
}

impl Sum {
    #[allow(
        clippy::unnecessary_wraps,
        reason = "one of several that may have no number"
    )]
    const fn now(self) -> Option<i64> {
        Some(self.now)
    }

    const fn limit(self) -> Option<i64> {
        self.limit
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "a share needs no more than 52 bits"
    )]
    fn utilization(self) -> Option<f64> {
        let limit = self.limit?;
        Some(if limit > 0 {
            self.now as f64 / limit as f64
        } else {
            0.0
        })
    }
}

/// Held by the callbacks of one meter's instruments, and by nobody else once they are made.
struct Asked(Arc<Levels>);

/// An instrument that asks for `number` of each series.
fn asking<'a, I, M: 'static>(
    builder: AsyncInstrumentBuilder<'a, I, M>,
    metric: &Metric,
    asked: &Arc<Asked>,
    of: LevelOf,
    number: fn(Sum) -> Option<M>,
) -> AsyncInstrumentBuilder<'a, I, M> {
    let asked = Arc::clone(asked);
    builder
        .with_unit(metric.unit)
        .with_description(metric.description)
        .with_callback(move |observer| asked.0.report(of, observer, number))
}
