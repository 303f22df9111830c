//! [`TestTelemetry`]: providers of a test's own.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, ShouldSample, SpanData, SpanLimits};

use crate::fail::fail;
use crate::metrics::Metrics;
use crate::recorder::Recorder;
use crate::spans::describe;

/// How long [`TestTelemetry::wait_for_spans`] waits before it fails, unless set.
const DEADLINE: Duration = Duration::from_secs(10);

/// Metrics are read on demand, never by the clock.
const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// A tracer provider and a meter provider that keep what they get in memory.
///
/// Nothing global is touched, so tests can run side by side. A clone looks at the
/// same spans and metrics. What was recorded stays readable after
/// [`shutdown`](Self::shutdown).
///
/// ```
/// use opentelemetry::trace::{Tracer as _, TracerProvider as _};
/// use otel_ml_testing::{SpansExt as _, TestTelemetry};
///
/// let test = TestTelemetry::new();
/// let tracer = test.tracer_provider().tracer("demo");
/// tracer.in_span("predict", |_cx| ());
/// assert_eq!(test.spans().named("predict").name, "predict");
/// ```
#[derive(Clone)]
pub struct TestTelemetry {
    recorder: Recorder,
    resource: Resource,
    tracer_provider: SdkTracerProvider,
    meter_provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
    last_metrics: Arc<Mutex<Arc<ResourceMetrics>>>,
    deadline: Duration,
}

impl TestTelemetry {
    /// Providers that record every root span and follow the parent's decision.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Providers with another sampler, other limits or another service name.
    #[must_use]
    pub fn builder() -> TestTelemetryBuilder {
        TestTelemetryBuilder::default()
    }

    /// The spans that have ended, in the order in which they did.
    #[must_use]
    pub fn spans(&self) -> Vec<SpanData> {
        self.recorder.finished()
    }

    /// Like [`spans`](Self::spans), and forgets them.
    #[must_use = "`reset` forgets the spans without returning them"]
    pub fn take_spans(&self) -> Vec<SpanData> {
        self.recorder.take()
    }

    /// The names of spans that have started and not ended, sorted.
    ///
    /// A span that ends after [`shutdown`](Self::shutdown) stays in this list: the
    /// SDK no longer tells anyone of its end.
    #[must_use]
    pub fn open_spans(&self) -> Vec<String> {
        self.recorder.open()
    }

    /// Waits until `count` spans have ended (since the last
    /// [`take_spans`](Self::take_spans) or [`reset`](Self::reset)) and returns them.
    ///
    /// For spans that end on another task. Needs a tokio runtime with its clock on;
    /// a paused clock shortens the wait when nothing is left to do.
    ///
    /// # Panics
    /// When the deadline passes first (10 s, or as set by the builder), with a list
    /// of the spans that are there and those still open.
    pub async fn wait_for_spans(&self, count: usize) -> Vec<SpanData> {
        if !self.recorder.until(count, self.deadline).await {
            self.too_few(count);
        }
        self.spans()
    }

    /// [`wait_for_spans`](Self::wait_for_spans) for tests without a runtime. Blocks
    /// the thread: on a single-threaded runtime nothing else would run meanwhile.
    ///
    /// # Panics
    /// As [`wait_for_spans`](Self::wait_for_spans).
    #[track_caller]
    #[must_use]
    pub fn block_for_spans(&self, count: usize) -> Vec<SpanData> {
        if !self.recorder.block_until(count, self.deadline) {
            self.too_few(count);
        }
        self.spans()
    }

    #[track_caller]
    fn too_few(&self, count: usize) -> ! {
        fail(&format!(
            "waited {:?} for {count} spans; still open: {:?}; ended:\n{}",
            self.deadline,
            self.open_spans(),
            describe(&self.spans()),
        ))
    }

    /// What the instruments hold now; after [`shutdown`](Self::shutdown) what they
    /// held then. Counts and histograms are totals since the start.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::new(&self.resource_metrics())
    }

    /// The same in the SDK's form, for an exporter.
    #[must_use]
    pub fn resource_metrics(&self) -> Arc<ResourceMetrics> {
        let mut last = self
            .last_metrics
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Fails after a shutdown; the last export, made by the shutdown, is then good.
        let _ = self.meter_provider.force_flush();
        let exported = self.exporter.get_finished_metrics().unwrap_or_default();
        self.exporter.reset();
        if let Some(newest) = exported.into_iter().next_back() {
            *last = Arc::new(newest);
        }
        Arc::clone(&last)
    }

    /// Forgets the ended spans. Metrics are totals and go on.
    pub fn reset(&self) {
        drop(self.recorder.take());
    }

    /// Shuts both providers down, as a program does at its end. A second call does
    /// nothing.
    pub fn shutdown(&self) {
        let _ = self.tracer_provider.shutdown();
        let _ = self.meter_provider.shutdown();
    }

    /// What spans and metrics belong to: the service and its instance.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The provider that spans are recorded by.
    #[must_use]
    pub fn tracer_provider(&self) -> &SdkTracerProvider {
        &self.tracer_provider
    }

    /// The provider that metrics are recorded by.
    #[must_use]
    pub fn meter_provider(&self) -> &SdkMeterProvider {
        &self.meter_provider
    }
}

// === impl TestTelemetry ===

impl Default for TestTelemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TestTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestTelemetry")
            .field("spans", &self.spans().len())
            .field("open_spans", &self.open_spans())
            .finish_non_exhaustive()
    }
}

/// Made by [`TestTelemetry::builder`].
#[derive(Debug)]
pub struct TestTelemetryBuilder {
    sampler: Box<dyn ShouldSample>,
    limits: SpanLimits,
    resource: Resource,
    deadline: Duration,
}

impl TestTelemetryBuilder {
    /// Decides which spans are recorded. Default: every root span, and below a
    /// parent what the parent's flag says.
    #[must_use]
    pub fn sampler(mut self, sampler: impl ShouldSample + 'static) -> Self {
        self.sampler = Box::new(sampler);
        self
    }

    /// Records nothing, whatever a parent says.
    #[must_use]
    pub fn always_off(self) -> Self {
        self.sampler(Sampler::AlwaysOff)
    }

    /// Records no root span, and below a parent what the parent's flag says.
    #[must_use]
    pub fn parent_based_always_off(self) -> Self {
        self.sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)))
    }

    /// Limits the number of attributes, events and links of a span.
    #[must_use]
    pub fn span_limits(mut self, limits: SpanLimits) -> Self {
        self.limits = limits;
        self
    }

    /// A resource with nothing but this `service.name`. Default: `test`.
    #[must_use]
    pub fn service(self, name: impl Into<String>) -> Self {
        let resource = Resource::builder_empty().with_service_name(name.into());
        self.resource(resource.build())
    }

    /// The resource that spans and metrics belong to.
    #[must_use]
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resource = resource;
        self
    }

    /// How long to wait for spans before failing. Default: 10 s.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Makes the providers.
    #[must_use]
    pub fn build(self) -> TestTelemetry {
        let recorder = Recorder::new();
        let exporter = InMemoryMetricExporter::default();
        TestTelemetry {
            tracer_provider: SdkTracerProvider::builder()
                .with_sampler(self.sampler)
                .with_span_limits(self.limits)
                .with_resource(self.resource.clone())
                .with_span_processor(recorder.clone())
                .build(),
            meter_provider: SdkMeterProvider::builder()
                .with_resource(self.resource.clone())
                .with_reader(
                    PeriodicReader::builder(exporter.clone())
                        .with_interval(NEVER)
                        .build(),
                )
                .build(),
            recorder,
            resource: self.resource,
            exporter,
            last_metrics: Arc::default(),
            deadline: self.deadline,
        }
    }
}

// === impl TestTelemetryBuilder ===

impl Default for TestTelemetryBuilder {
    fn default() -> Self {
        Self {
            sampler: Box::new(Sampler::ParentBased(Box::new(Sampler::AlwaysOn))),
            limits: SpanLimits::default(),
            resource: Resource::builder_empty().with_service_name("test").build(),
            deadline: DEADLINE,
        }
    }
}
