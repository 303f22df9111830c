//! Each service's own telemetry, as if it ran in a process of its own, and where all of it goes.

mod collector;
mod files;
pub mod logs;
mod traces;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use otel_ml::Telemetry;
use otel_ml::opentelemetry::trace::Span as _;
use otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml_sdk::{Builder, Guard, InitError};
use thiserror::Error;

use crate::asker;
use crate::hops::{Stage, audit};
pub use collector::{Collector, Losses};
pub use files::FileError;
use files::{MetricsFile, SpanFile, SpanSender};
pub use traces::{Ended, Following, Traces};

/// Metrics are written once, at the end.
const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// The telemetry of all services, and where it goes.
#[derive(Debug)]
pub struct Outputs {
    traces: Arc<Traces>,
    spans: Option<SpanFile>,
    metrics: Option<MetricsFile>,
    collector: Option<Collector>,
    services: BTreeMap<&'static str, Guard>,
}

/// Somewhere that telemetry can't go to.
#[derive(Debug, Error)]
pub enum OutputError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The Collector.
    #[error("--otlp: {0}")]
    Collector(InitError),
}

impl Outputs {
    /// Spans go to the file `spans` as they end, metrics to the file `metrics` at the end, each
    /// as OTLP/JSON lines: what was in the files is lost. To `collector` go both as well, and
    /// what is logged.
    ///
    /// # Errors
    /// When a file can't be made, or what is said of the Collector won't do.
    pub fn open(
        spans: Option<&Path>,
        metrics: Option<&Path>,
        collector: Option<Collector>,
    ) -> Result<Self, OutputError> {
        let mut outputs = Self {
            traces: Arc::default(),
            spans: spans.map(SpanFile::create).transpose()?,
            metrics: metrics.map(MetricsFile::create).transpose()?,
            collector,
            services: BTreeMap::new(),
        };
        for service in Stage::ALL
            .map(Stage::as_str)
            .into_iter()
            .chain([asker::SERVICE, audit::SERVICE])
        {
            let guard = outputs.set_up(service).build();
            let guard = guard.map_err(OutputError::Collector)?;
            outputs.services.insert(service, guard);
        }
        Ok(outputs)
    }

    /// What `service` would do at the top of its `main`, with `init` in place of `build`.
    fn set_up(&self, service: &'static str) -> Builder {
        let instance = format!("{:032x}", fastrand::u128(..));
        let mut builder = otel_ml_sdk::builder()
            .service_name(service)
            .service_namespace("otel-ml-demo")
            .service_version(env!("CARGO_PKG_VERSION"))
            .attribute(KeyValue::new("service.instance.id", instance))
            .without_detectors()
            .metric_interval(NEVER)
            .span_processor(Handover {
                service,
                resource: Resource::builder_empty().build(),
                traces: Arc::clone(&self.traces),
                file: self.spans.as_ref().map(SpanFile::sender),
            });
        if let Some(file) = &self.metrics {
            builder = builder.metric_exporter(file.exporter());
        }
        match &self.collector {
            Some(collector) => collector.receive(builder),
            None => builder
                .variables(|_| None)
                .traces_to([])
                .metrics_to([])
                .logs_to([]),
        }
    }

    /// The spans of the traces that somebody follows.
    pub fn traces(&self) -> &Arc<Traces> {
        &self.traces
    }

    /// What the layers of `service` record by: that of the program for a name that is none of
    /// the services'.
    pub fn telemetry(&self, service: &str) -> Telemetry {
        let guard = self.services.get(service);
        guard.map_or_else(Telemetry::global, |guard| guard.telemetry().clone())
    }

    /// Writes and sends what is left. Tells what the Collector did not get, and whether a file
    /// could not be written to its end. Spans that end later are lost.
    pub fn finish(self) -> (Losses, Result<(), FileError>) {
        // All at once: each may have to wait for a Collector that does not answer.
        let reports = std::thread::scope(|scope| {
            let shutdowns = self.services.into_values();
            let shutdowns: Vec<_> = shutdowns
                .map(|guard| scope.spawn(|| guard.shutdown()))
                .collect();
            shutdowns
                .into_iter()
                .filter_map(|shutdown| shutdown.join().ok())
                .collect::<Vec<_>>()
        });
        let spans = self.spans.map_or(Ok(()), SpanFile::finish);
        let metrics = self.metrics.map_or(Ok(()), MetricsFile::finish);
        (Losses::of(self.collector, &reports), spans.and(metrics))
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

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.clone();
    }
}
