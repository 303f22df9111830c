//! What was exported, and what was lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use otel_ml::semconv::{error, otel};

use crate::say::say;
use crate::told::Told;

/// Failures are said at once, and then once in so long.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Counts of one exporter, also kept as its `otel.sdk.exporter.*.exported` metric.
#[derive(Debug)]
pub(crate) struct Tally {
    metric: otel_ml::semconv::Metric,
    component: &'static str,
    /// What it counts, for messages.
    things: &'static str,
    /// Where it goes to, for messages.
    target: String,
    taken: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
    /// What the last export would have had, if that did not begin.
    left: AtomicU64,
    is_ending: AtomicBool,
    has_begun_last: AtomicBool,
    counter: OnceLock<Counter<u64>>,
    said: Mutex<Said>,
    told: Told,
}

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    lost: u64,
}

impl Tally {
    pub(crate) fn new(
        metric: otel_ml::semconv::Metric,
        component: &'static str,
        things: &'static str,
        target: String,
        told: Told,
    ) -> Arc<Self> {
        Arc::new(Self {
            metric,
            component,
            things,
            target,
            taken: AtomicU64::new(0),
            exported: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            left: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
            has_begun_last: AtomicBool::new(false),
            counter: OnceLock::new(),
            said: Mutex::default(),
            told,
        })
    }

    /// Counts in `meter`, too, from now on.
    pub(crate) fn count_in(&self, meter: &Meter) {
        let counter = meter
            .u64_counter(self.metric.name)
            .with_unit(self.metric.unit)
            .with_description(self.metric.description);
        let _ = self.counter.set(counter.build());
    }

    /// So much was handed over for export.
    pub(crate) fn take(&self, count: usize) {
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// An export of metric points begins.
    pub(crate) fn begin(&self, count: usize) {
        self.take(count);
        let is_last = self.is_ending.load(Ordering::Acquire);
        self.has_begun_last.fetch_or(is_last, Ordering::AcqRel);
    }

    /// An export that begins from now on is the last one.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::Release);
    }

    /// So much is left, as there is no time for the last export any more.
    pub(crate) fn leave(&self, count: usize) {
        self.left.store(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn has_begun_last(&self) -> bool {
        self.has_begun_last.load(Ordering::Acquire)
    }

    /// What became of an export.
    pub(crate) fn tell(&self, count: usize, result: &OTelSdkResult) {
        let count = count as u64;
        // Also where all went well: what failed before that is no cause of what comes.
        let told = self.told.take();
        let (failed, class, error) = match result {
            Ok(()) => (told.rejected.min(count), "rejected", "rejected".to_owned()),
            Err(error) => (count, class(error), error.to_string()),
        };
        self.exported.fetch_add(count - failed, Ordering::Relaxed);
        self.failed.fetch_add(failed, Ordering::Relaxed);
        if failed > 0 {
            self.say(failed, &error, told.why);
        }
        let Some(counter) = self.counter.get() else {
            return;
        };
        let component = KeyValue::new(otel::COMPONENT_TYPE, self.component);
        if failed > 0 {
            let error = KeyValue::new(error::TYPE, class);
            counter.add(failed, &[component.clone(), error]);
        }
        if failed < count {
            counter.add(count - failed, &[component]);
        }
    }

    fn say(&self, count: u64, error: &str, why: Option<String>) {
        let lost = {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            said.lost += count;
            if said.last.is_some_and(|last| last.elapsed() < SAID_EVERY) {
                return;
            }
            said.last = Some(Instant::now());
            std::mem::take(&mut said.lost)
        };
        let Self { things, target, .. } = self;
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        say(&format!(
            "{lost} {things} lost: {target} did not take them ({error}{why})"
        ));
    }

    pub(crate) fn exported(&self) -> Exported {
        let exported = self.exported.load(Ordering::Relaxed);
        let failed = self.failed.load(Ordering::Relaxed);
        let taken = self.taken.load(Ordering::Relaxed);
        Exported {
            exported,
            failed,
            waiting: taken.saturating_sub(exported + failed),
            dropped: match self.has_begun_last() {
                true => 0,
                false => self.left.load(Ordering::Relaxed),
            },
        }
    }
}

/// What became of what one exporter was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Taken by the other side.
    pub exported: u64,
    /// Lost when an export failed, or was rejected in part (over HTTP: gRPC's exporter does not
    /// tell).
    pub failed: u64,
    /// In the queue, in an export under way, or dropped as the queue was full: after the
    /// shutdown these are [`dropped`](Self::dropped).
    pub waiting: u64,
    /// Lost without an answer, as the queue was full or the time for the shutdown over. Metrics
    /// don't queue: these are the points of an export that was under way, and those that the
    /// last one would have had.
    pub dropped: u64,
}

const fn class(error: &OTelSdkError) -> &'static str {
    match error {
        OTelSdkError::AlreadyShutdown => "already_shutdown",
        OTelSdkError::Timeout(_) => "timeout",
        _ => "export_failed",
    }
}
