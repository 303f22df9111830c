//! Each service's own telemetry, as if it ran in a process of its own, and where all of it goes.

mod files;
mod traces;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor};
use otel_ml::Telemetry;
use otel_ml::opentelemetry::trace::Span as _;
use otel_ml::opentelemetry::{Context, KeyValue};

pub use files::FileError;
use files::{MetricsFile, SpanFile, SpanSender};
pub use traces::{Ended, Following, Traces};

/// Metrics are written once, at the end.
const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// Where spans and metrics of all services go.
#[derive(Debug, Default)]
pub struct Outputs {
    traces: Arc<Traces>,
    spans: Option<SpanFile>,
    metrics: Option<MetricsFile>,
    meters: Mutex<Vec<SdkMeterProvider>>,
}

impl Outputs {
    /// Spans go to the file `spans` as they end, metrics to the file `metrics` at the end, each
    /// as OTLP/JSON lines. What was in the files is lost.
    ///
    /// # Errors
    /// When a file can't be made.
    pub fn open(spans: Option<&Path>, metrics: Option<&Path>) -> Result<Self, FileError> {
        Ok(Self {
            spans: spans.map(SpanFile::create).transpose()?,
            metrics: metrics.map(MetricsFile::create).transpose()?,
            ..Self::default()
        })
    }

    /// The spans of the traces that somebody follows.
    pub fn traces(&self) -> &Arc<Traces> {
        &self.traces
    }

    /// Providers for `service`, with a resource of its own.
    pub fn telemetry(&self, service: &'static str) -> Telemetry {
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attributes([
                KeyValue::new("service.namespace", "otel-ml-demo"),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new(
                    "service.instance.id",
                    format!("{:032x}", fastrand::u128(..)),
                ),
            ])
            .build();
        let tracers = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_span_processor(Handover {
                service,
                resource: resource.clone(),
                traces: Arc::clone(&self.traces),
                file: self.spans.as_ref().map(SpanFile::sender),
            })
            .build();
        let mut meters = SdkMeterProvider::builder().with_resource(resource);
        if let Some(file) = &self.metrics {
            let reader = PeriodicReader::builder(file.exporter()).with_interval(NEVER);
            meters = meters.with_reader(reader.build());
        }
        let meters = meters.build();
        let telemetry = Telemetry::builder()
            .tracer_provider(&tracers)
            .meter_provider(&meters)
            .build();
        let mut all = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(meters);
        telemetry
    }

    /// Writes what is left. Spans that end later are lost.
    ///
    /// # Errors
    /// When a file could not be written to its end.
    pub fn finish(self) -> Result<(), FileError> {
        let meters = self.meters.into_inner();
        for meters in meters.unwrap_or_else(PoisonError::into_inner) {
            // Fails only when writing did, which the file tells better.
            let _ = meters.shutdown();
        }
        let spans = self.spans.map_or(Ok(()), SpanFile::finish);
        spans.and(self.metrics.map_or(Ok(()), MetricsFile::finish))
    }
}

/// Hands the spans of one service over.
#[derive(Debug)]
struct Handover {
    service: &'static str,
    resource: Resource,
    traces: Arc<Traces>,
    file: Option<SpanSender>,
}

impl SpanProcessor for Handover {
    fn on_start(&self, span: &mut Span, _cx: &Context) {
        self.traces.started(span.span_context().trace_id());
    }

    fn on_end(&self, span: SpanData) {
        // The file first: once a trace is complete all of it is on its way there.
        if let Some(file) = &self.file {
            file.send(self.service, &self.resource, span.clone());
        }
        self.traces.ended(Ended {
            service: self.service,
            span,
        });
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
