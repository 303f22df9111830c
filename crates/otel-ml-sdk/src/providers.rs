//! The SDK's providers, made from settings.

use std::sync::Arc;
use std::time::Duration;

#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{
    BatchConfigBuilder as LogBatchConfig, BatchLogProcessor, LoggerProviderBuilder,
    SdkLoggerProvider,
};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{Instrument, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, TracerProviderBuilder,
};
use otel_ml::semconv::Metric;
use otel_ml::semconv::otel;

use crate::builder::{Add, AddReader, Builder, Destination};
#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
use crate::choices::temporality;
use crate::choices::{Queue, destinations, limits, sampler, view};
#[cfg(not(any(feature = "otlp-grpc", feature = "otlp-http")))]
use crate::error::ErrorKind;
use crate::error::InitError;
use crate::file::FileExporter;
use crate::otlp::{Resolved, Signal};
use crate::tally::{Cause, Counted, Tally};
use crate::variables::Variables;

#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
use crate::otlp::Transport;

/// The `otel.component.type` of an exporter that the conventions do not know: its full name.
const FILE_EXPORTER: &str = "otel_ml_sdk::file::FileExporter";

/// Makes the providers one after the other, and gathers what they share.
pub(crate) struct Maker<'a> {
    pub(crate) variables: &'a Variables,
    pub(crate) settings: &'a Builder,
    pub(crate) resource: Resource,
    #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
    pub(crate) transport: Transport,
    pub(crate) tallies: Tallies,
    /// Where something is sent to, and what looks wrong about it.
    pub(crate) endpoints: Vec<Resolved>,
}

/// The counts of the exporters, by signal.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    pub(crate) spans: Vec<Arc<Tally>>,
    pub(crate) points: Vec<Arc<Tally>>,
    pub(crate) records: Vec<Arc<Tally>>,
}

impl Maker<'_> {
    pub(crate) fn meters(
        &mut self,
        own: Vec<AddReader>,
    ) -> Result<Option<SdkMeterProvider>, InitError> {
        let to = destinations(
            self.settings.metrics.as_deref(),
            Signal::Metrics,
            self.variables,
        )?;
        if to.is_empty() && own.is_empty() {
            return Ok(None);
        }
        let interval = match self.settings.metric_interval {
            Some(interval) => interval,
            None => self
                .variables
                .millis("OTEL_METRIC_EXPORT_INTERVAL")?
                .unwrap_or(Duration::from_secs(60)),
        };
        let limit = self.settings.cardinality_limit;
        let mut provider = SdkMeterProvider::builder()
            .with_resource(self.resource.clone())
            .with_view(move |instrument: &Instrument| view(instrument, limit));
        for destination in to {
            provider = match destination {
                #[cfg(not(any(feature = "otlp-grpc", feature = "otlp-http")))]
                Destination::Otlp => return Err(no_otlp()),
                #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
                Destination::Otlp => {
                    let exporter = self.otlp_metrics()?;
                    provider.with_reader(periodic(exporter, interval))
                }
                Destination::Console => {
                    let exporter = opentelemetry_stdout::MetricExporter::default();
                    provider.with_reader(periodic(exporter, interval))
                }
                Destination::File(file) => {
                    let metric = otel::metric::SDK_EXPORTER_METRIC_DATA_POINT_EXPORTED;
                    let tally = file_tally(metric, "metric points", &file);
                    self.tallies.points.push(Arc::clone(&tally));
                    let exporter = Counted::new(file.metrics(), tally);
                    provider.with_reader(periodic(exporter, interval))
                }
            };
        }
        let provider = own
            .into_iter()
            .fold(provider, |provider, add| add(provider, interval));
        Ok(Some(provider.build()))
    }

    pub(crate) fn tracers(
        &mut self,
        own: Vec<Add<TracerProviderBuilder>>,
    ) -> Result<Option<SdkTracerProvider>, InitError> {
        let to = destinations(
            self.settings.traces.as_deref(),
            Signal::Traces,
            self.variables,
        )?;
        if to.is_empty() && own.is_empty() {
            return Ok(None);
        }
        let batch = Queue::read(
            &self.settings.spans,
            "OTEL_BSP",
            Duration::from_secs(5),
            self.variables,
        )?;
        let config = || {
            BatchConfigBuilder::default()
                .with_max_queue_size(batch.queue_size)
                .with_max_export_batch_size(batch.batch_size)
                .with_scheduled_delay(batch.delay)
                .build()
        };
        let mut provider = SdkTracerProvider::builder()
            .with_resource(self.resource.clone())
            .with_sampler(sampler(self.variables)?)
            .with_span_limits(limits(self.variables)?);
        for destination in to {
            provider = match destination {
                #[cfg(not(any(feature = "otlp-grpc", feature = "otlp-http")))]
                Destination::Otlp => return Err(no_otlp()),
                #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
                Destination::Otlp => {
                    let (exporter, tally) = self.otlp_spans()?;
                    let processor = BatchSpanProcessor::new(exporter, config());
                    provider.with_span_processor(Counted::new(processor, tally))
                }
                Destination::Console => {
                    provider.with_simple_exporter(opentelemetry_stdout::SpanExporter::default())
                }
                Destination::File(file) => {
                    let metric = otel::metric::SDK_EXPORTER_SPAN_EXPORTED;
                    let tally = file_tally(metric, "spans", &file);
                    self.tallies.spans.push(Arc::clone(&tally));
                    let exporter = Counted::new(file.spans(), Arc::clone(&tally));
                    let processor = BatchSpanProcessor::new(exporter, config());
                    provider.with_span_processor(Counted::new(processor, tally))
                }
            };
        }
        let provider = own
            .into_iter()
            .fold(provider, |provider, add| add(provider));
        Ok(Some(provider.build()))
    }

    pub(crate) fn loggers(
        &mut self,
        own: Vec<Add<LoggerProviderBuilder>>,
    ) -> Result<Option<SdkLoggerProvider>, InitError> {
        let to = destinations(self.settings.logs.as_deref(), Signal::Logs, self.variables)?;
        if to.is_empty() && own.is_empty() {
            return Ok(None);
        }
        let batch = Queue::read(
            &self.settings.records,
            "OTEL_BLRP",
            Duration::from_secs(1),
            self.variables,
        )?;
        let config = || {
            LogBatchConfig::default()
                .with_max_queue_size(batch.queue_size)
                .with_max_export_batch_size(batch.batch_size)
                .with_scheduled_delay(batch.delay)
                .build()
        };
        let mut provider = SdkLoggerProvider::builder().with_resource(self.resource.clone());
        for destination in to {
            provider = match destination {
                #[cfg(not(any(feature = "otlp-grpc", feature = "otlp-http")))]
                Destination::Otlp => return Err(no_otlp()),
                #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
                Destination::Otlp => {
                    let (exporter, tally) = self.otlp_logs()?;
                    let processor = BatchLogProcessor::builder(exporter)
                        .with_batch_config(config())
                        .build();
                    provider.with_log_processor(Counted::new(processor, tally))
                }
                Destination::Console => {
                    provider.with_simple_exporter(opentelemetry_stdout::LogExporter::default())
                }
                Destination::File(file) => {
                    let metric = otel::metric::SDK_EXPORTER_LOG_EXPORTED;
                    let tally = file_tally(metric, "log records", &file);
                    self.tallies.records.push(Arc::clone(&tally));
                    let processor =
                        BatchLogProcessor::builder(Counted::new(file.logs(), Arc::clone(&tally)))
                            .with_batch_config(config())
                            .build();
                    provider.with_log_processor(Counted::new(processor, tally))
                }
            };
        }
        let provider = own
            .into_iter()
            .fold(provider, |provider, add| add(provider));
        Ok(Some(provider.build()))
    }
}

#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
impl Maker<'_> {
    fn otlp_spans(&mut self) -> Result<(Counted<SpanExporter>, Arc<Tally>), InitError> {
        use otel::component_type::{OTLP_GRPC_SPAN_EXPORTER, OTLP_HTTP_SPAN_EXPORTER};
        let settings = self.endpoint(Signal::Traces)?;
        let exporter = self.transport.spans(&settings)?;
        let component = [OTLP_GRPC_SPAN_EXPORTER, OTLP_HTTP_SPAN_EXPORTER];
        let metric = otel::metric::SDK_EXPORTER_SPAN_EXPORTED;
        let tally = otlp_tally(metric, component, "spans", &settings);
        self.tallies.spans.push(Arc::clone(&tally));
        Ok((Counted::new(exporter, Arc::clone(&tally)), tally))
    }

    fn otlp_metrics(&mut self) -> Result<Counted<MetricExporter>, InitError> {
        use otel::component_type::{OTLP_GRPC_METRIC_EXPORTER, OTLP_HTTP_METRIC_EXPORTER};
        let settings = self.endpoint(Signal::Metrics)?;
        let temporality = temporality(self.variables)?;
        let exporter = self.transport.metrics(&settings, temporality)?;
        let component = [OTLP_GRPC_METRIC_EXPORTER, OTLP_HTTP_METRIC_EXPORTER];
        let metric = otel::metric::SDK_EXPORTER_METRIC_DATA_POINT_EXPORTED;
        let tally = otlp_tally(metric, component, "metric points", &settings);
        self.tallies.points.push(Arc::clone(&tally));
        Ok(Counted::new(exporter, tally))
    }

    fn otlp_logs(&mut self) -> Result<(Counted<LogExporter>, Arc<Tally>), InitError> {
        use otel::component_type::{OTLP_GRPC_LOG_EXPORTER, OTLP_HTTP_LOG_EXPORTER};
        let settings = self.endpoint(Signal::Logs)?;
        let exporter = self.transport.logs(&settings)?;
        let component = [OTLP_GRPC_LOG_EXPORTER, OTLP_HTTP_LOG_EXPORTER];
        let metric = otel::metric::SDK_EXPORTER_LOG_EXPORTED;
        let tally = otlp_tally(metric, component, "log records", &settings);
        self.tallies.records.push(Arc::clone(&tally));
        Ok((Counted::new(exporter, Arc::clone(&tally)), tally))
    }

    fn endpoint(&mut self, signal: Signal) -> Result<Resolved, InitError> {
        let settings = self.settings.otlp.resolve(signal, self.variables)?;
        self.endpoints.push(settings.clone());
        Ok(settings)
    }
}

#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
fn otlp_tally(
    metric: Metric,
    [grpc, http]: [&'static str; 2],
    things: &'static str,
    settings: &Resolved,
) -> Arc<Tally> {
    let component = match settings.protocol {
        crate::otlp::Protocol::Grpc => grpc,
        crate::otlp::Protocol::HttpProtobuf => http,
    };
    // Without the query, which may hold a key.
    let target = settings.target();
    Tally::new(metric, component, things, target, settings.cause.clone())
}

#[cfg(not(any(feature = "otlp-grpc", feature = "otlp-http")))]
fn no_otlp() -> InitError {
    InitError::new(
        ErrorKind::Feature,
        "OTLP is asked for, as it is by default, but not compiled in: enable the feature \
         `otlp-grpc` or `otlp-http` of otel-ml-sdk, or say where else to send to",
    )
}

fn file_tally(metric: Metric, things: &'static str, file: &FileExporter) -> Arc<Tally> {
    let target = file.path().display().to_string();
    Tally::new(metric, FILE_EXPORTER, things, target, Cause::default())
}

fn periodic<E: PushMetricExporter>(exporter: E, interval: Duration) -> PeriodicReader<E> {
    PeriodicReader::builder(exporter)
        .with_interval(interval)
        .build()
}
