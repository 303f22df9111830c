//! Gauges whose values are read elsewhere, now and then, for changing sets of labels.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use otel_ml_semconv::Metric;

/// One value, and what it is the value of.
pub type Reading = (Vec<KeyValue>, i64);

/// A gauge that several sources read, each for labels of its own. What a source no longer
/// reports is gone from the metric, and so is all of a source that is dropped: a gauge that is
/// set would go on telling its last value.
#[derive(Debug)]
pub struct Readings {
    sources: Arc<Sources>,
}

#[derive(Debug, Default)]
struct Sources {
    last: Mutex<HashMap<u64, Vec<Reading>>>,
    next: AtomicU64,
}

impl Sources {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<Reading>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observe(&self, observer: &dyn AsyncInstrument<i64>) {
        for (labels, value) in self.lock().values().flatten() {
            observer.observe(*value, labels);
        }
    }
}

impl Readings {
    pub(crate) fn new(meter: &Meter, metric: &Metric) -> Self {
        let sources = Arc::new(Sources::default());
        let observed = Arc::clone(&sources);
        meter
            .i64_observable_gauge(metric.name)
            .with_unit(metric.unit)
            .with_description(metric.description)
            .with_callback(move |observer| observed.observe(observer))
            .build();
        Self { sources }
    }

    /// A source, which has read nothing yet.
    #[must_use]
    pub fn source(&self) -> ReadingsSource {
        ReadingsSource {
            sources: Arc::clone(&self.sources),
            id: self.sources.next.fetch_add(1, Ordering::Relaxed),
        }
    }
}

/// One source of [`Readings`]. Dropping it takes its values away.
#[derive(Debug)]
pub struct ReadingsSource {
    sources: Arc<Sources>,
    id: u64,
}

impl ReadingsSource {
    /// What it reads now, in place of what it read before.
    pub fn set(&self, readings: Vec<Reading>) {
        self.sources.lock().insert(self.id, readings);
    }
}

impl Drop for ReadingsSource {
    fn drop(&mut self) {
        self.sources.lock().remove(&self.id);
    }
}
