//! What was exported, and what was lost.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::metrics::{Counter, Meter};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use otel_ml::semconv::{error, otel};

use crate::say::say;

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
    counter: OnceLock<Counter<u64>>,
    said: Mutex<Said>,
    cause: Cause,
}

/// Why the last request failed, where the exporter itself does not say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cause(Arc<Mutex<Option<String>>>);

impl Cause {
    /// `error` and all that are behind it.
    #[cfg(feature = "otlp-http")]
    pub(crate) fn set(&self, error: &dyn std::error::Error) {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let behind = error.to_string();
            if !text.contains(&behind) {
                text = format!("{text}: {behind}");
            }
            source = error.source();
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
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
        cause: Cause,
    ) -> Arc<Self> {
        Arc::new(Self {
            metric,
            component,
            things,
            target,
            taken: AtomicU64::new(0),
            exported: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            counter: OnceLock::new(),
            said: Mutex::default(),
            cause,
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

    /// Something was handed over for export.
    fn take(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    fn tell(&self, count: usize, result: &OTelSdkResult) {
        let count = count as u64;
        // Also where all went well: what failed before that is no cause of what comes.
        let cause = self.cause.take();
        let mut labels = vec![KeyValue::new(otel::COMPONENT_TYPE, self.component)];
        match result {
            Ok(()) => {
                self.exported.fetch_add(count, Ordering::Relaxed);
            }
            Err(error) => {
                self.failed.fetch_add(count, Ordering::Relaxed);
                labels.push(KeyValue::new(error::TYPE, class(error)));
                self.say(count, error, cause);
            }
        }
        if let Some(counter) = self.counter.get() {
            counter.add(count, &labels);
        }
    }

    fn say(&self, count: u64, error: &OTelSdkError, cause: Option<String>) {
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
        let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
        say(&format!(
            "{lost} {things} lost: {target} did not take them ({error}{cause})"
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
            dropped: 0,
        }
    }
}

/// What became of what one exporter was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Taken by the other side.
    pub exported: u64,
    /// Lost when an export failed.
    pub failed: u64,
    /// In the queue, in an export under way, or dropped as the queue was full: after the
    /// shutdown these are [`dropped`](Self::dropped).
    pub waiting: u64,
    /// Never tried, as the queue was full or the time for the shutdown over. Not known for
    /// metrics, which don't queue.
    pub dropped: u64,
}

const fn class(error: &OTelSdkError) -> &'static str {
    match error {
        OTelSdkError::AlreadyShutdown => "already_shutdown",
        OTelSdkError::Timeout(_) => "timeout",
        _ => "export_failed",
    }
}

/// An exporter or a processor that is counted.
pub(crate) struct Counted<T> {
    inner: T,
    tally: Arc<Tally>,
}

impl<T> Counted<T> {
    pub(crate) const fn new(inner: T, tally: Arc<Tally>) -> Self {
        Self { inner, tally }
    }
}

impl<T> fmt::Debug for Counted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counted").field(&self.tally).finish()
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.inner.export(batch).await;
        self.tally.tell(count, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Counted<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let count = batch.iter().count();
        let result = self.inner.export(batch).await;
        self.tally.tell(count, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn event_enabled(
        &self,
        level: opentelemetry::logs::Severity,
        target: &str,
        name: Option<&str>,
    ) -> bool {
        self.inner.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Counted<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let count = points(metrics);
        let result = self.inner.export(metrics).await;
        self.tally.tell(count, &result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

fn points(metrics: &ResourceMetrics) -> usize {
    fn of<T>(data: &MetricData<T>) -> usize {
        match data {
            MetricData::Gauge(gauge) => gauge.data_points().count(),
            MetricData::Sum(sum) => sum.data_points().count(),
            MetricData::Histogram(histogram) => histogram.data_points().count(),
            MetricData::ExponentialHistogram(histogram) => histogram.data_points().count(),
        }
    }
    let all = metrics.scope_metrics().flat_map(|scope| scope.metrics());
    all.map(|metric| match metric.data() {
        AggregatedMetrics::F64(data) => of(data),
        AggregatedMetrics::U64(data) => of(data),
        AggregatedMetrics::I64(data) => of(data),
    })
    .sum()
}

impl<P: SpanProcessor> SpanProcessor for Counted<P> {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        self.inner.on_start(span, cx);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.tally.take();
        }
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<P: opentelemetry_sdk::logs::LogProcessor> opentelemetry_sdk::logs::LogProcessor
    for Counted<P>
{
    fn emit(
        &self,
        record: &mut opentelemetry_sdk::logs::SdkLogRecord,
        scope: &opentelemetry::InstrumentationScope,
    ) {
        self.tally.take();
        self.inner.emit(record, scope);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn event_enabled(
        &self,
        level: opentelemetry::logs::Severity,
        target: &str,
        name: Option<&str>,
    ) -> bool {
        self.inner.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
