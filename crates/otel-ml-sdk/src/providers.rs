//! The SDK's providers, made from settings.

use std::sync::Arc;
use std::time::Duration;

#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
use opentelemetry_otlp as otlp;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{
    BatchConfigBuilder as LogBatchConfig, BatchLogProcessor, LogExporter, LoggerProviderBuilder,
    SdkLoggerProvider,
};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{Instrument, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanExporter, TracerProviderBuilder,
};
use otel_ml::semconv::Metric;
use otel_ml::semconv::otel;

use crate::builder::{Add, AddReader, Builder, Destination};
#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
use crate::choices::temporality;
use crate::choices::{Queue, cardinality_limit, destinations, limits, sampler, view};
use crate::counted::{Counted, CountedReader};
#[cfg(not(any(feature = "otlp-grpc", feature = "otlp-http")))]
use crate::error::ErrorKind;
use crate::error::InitError;
use crate::file::FileExporter;
use crate::otlp::{Resolved, Signal};
use crate::tally::Tally;
use crate::told::Told;
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
    pub(crate) points: Vec<CountedReader>,
    pub(crate) records: Vec<Arc<Tally>>,
}

impl Tallies {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Tally>> {
        let points = self.points.iter().map(|points| &points.tally);
        self.spans.iter().chain(points).chain(&self.records)
    }
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
        let limit = cardinality_limit(self.settings.cardinality_limit)?;
        let mut provider = SdkMeterProvider::builder()
            .with_resource(self.resource.clone())
            .with_view(move |instrument: &Instrument| view(instrument, limit));
        for destination in to {
            provider = match destination {
                #[cfg(not(any(feature = "otlp-grpc", feature = "otlp-http")))]
                Destination::Otlp => return Err(no_otlp()),
                #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
                Destination::Otlp => match self.otlp_metrics() {
                    Ok((exporter, tally)) => {
                        provider.with_reader(self.counted(exporter, tally, interval))
                    }
                    Err(error) => {
                        // A reader's thread ends by a shutdown alone.
                        let _ = provider.build().shutdown();
                        return Err(error);
                    }
                },
                Destination::Console => {
                    let exporter = opentelemetry_stdout::MetricExporter::default();
                    provider.with_reader(periodic(exporter, interval))
                }
                Destination::File(file) => {
                    let metric = otel::metric::SDK_EXPORTER_METRIC_DATA_POINT_EXPORTED;
                    let tally = file_tally(metric, "metric points", &file);
                    provider.with_reader(self.counted(file.metrics(), tally, interval))
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
        let queue = Queue::read(
            &self.settings.spans,
            "OTEL_BSP",
            Duration::from_secs(5),
            self.variables,
        )?;
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
                    provider.with_span_processor(self.span_queue(exporter, tally, &queue))
                }
                Destination::Console => {
                    provider.with_simple_exporter(opentelemetry_stdout::SpanExporter::default())
                }
                Destination::File(file) => {
                    let metric = otel::metric::SDK_EXPORTER_SPAN_EXPORTED;
                    let tally = file_tally(metric, "spans", &file);
                    provider.with_span_processor(self.span_queue(file.spans(), tally, &queue))
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
        let queue = Queue::read(
            &self.settings.records,
            "OTEL_BLRP",
            Duration::from_secs(1),
            self.variables,
        )?;
        let mut provider = SdkLoggerProvider::builder().with_resource(self.resource.clone());
        for destination in to {
            provider = match destination {
                #[cfg(not(any(feature = "otlp-grpc", feature = "otlp-http")))]
                Destination::Otlp => return Err(no_otlp()),
                #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
                Destination::Otlp => {
                    let (exporter, tally) = self.otlp_logs()?;
                    provider.with_log_processor(self.log_queue(exporter, tally, &queue))
                }
                Destination::Console => {
                    provider.with_simple_exporter(opentelemetry_stdout::LogExporter::default())
                }
                Destination::File(file) => {
                    let metric = otel::metric::SDK_EXPORTER_LOG_EXPORTED;
                    let tally = file_tally(metric, "log records", &file);
                    provider.with_log_processor(self.log_queue(file.logs(), tally, &queue))
                }
            };
        }
        let provider = own
            .into_iter()
            .fold(provider, |provider, add| add(provider));
        Ok(Some(provider.build()))
    }

    fn counted<E: PushMetricExporter>(
        &mut self,
        exporter: E,
        tally: Arc<Tally>,
        interval: Duration,
    ) -> PeriodicReader<Counted<E>> {
        let reader = periodic(Counted::new(exporter, Arc::clone(&tally)), interval);
        let counted = CountedReader::new(tally, reader.clone());
        self.tallies.points.push(counted);
        reader
    }

    fn span_queue(
        &mut self,
        exporter: impl SpanExporter + 'static,
        tally: Arc<Tally>,
        queue: &Queue,
    ) -> Counted<BatchSpanProcessor> {
        self.tallies.spans.push(Arc::clone(&tally));
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(queue.queue_size)
            .with_max_export_batch_size(queue.batch_size)
            .with_scheduled_delay(queue.delay)
            .build();
        let exporter = Counted::new(exporter, Arc::clone(&tally));
        Counted::new(BatchSpanProcessor::new(exporter, config), tally)
    }

    fn log_queue(
        &mut self,
        exporter: impl LogExporter + 'static,
        tally: Arc<Tally>,
        queue: &Queue,
    ) -> Counted<BatchLogProcessor> {
        self.tallies.records.push(Arc::clone(&tally));
        let config = LogBatchConfig::default()
            .with_max_queue_size(queue.queue_size)
            .with_max_export_batch_size(queue.batch_size)
            .with_scheduled_delay(queue.delay)
            .build();
        let exporter = Counted::new(exporter, Arc::clone(&tally));
        let processor = BatchLogProcessor::builder(exporter).with_batch_config(config);
        Counted::new(processor.build(), tally)
    }
}

#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
impl Maker<'_> {
    fn otlp_spans(&mut self) -> Result<(otlp::SpanExporter, Arc<Tally>), InitError> {
        use otel::component_type::{OTLP_GRPC_SPAN_EXPORTER, OTLP_HTTP_SPAN_EXPORTER};
        let settings = self.endpoint(Signal::Traces)?;
        let exporter = self.transport.spans(&settings)?;
        let component = [OTLP_GRPC_SPAN_EXPORTER, OTLP_HTTP_SPAN_EXPORTER];
        let metric = otel::metric::SDK_EXPORTER_SPAN_EXPORTED;
        Ok((exporter, otlp_tally(metric, component, "spans", &settings)))
    }

    fn otlp_metrics(&mut self) -> Result<(otlp::MetricExporter, Arc<Tally>), InitError> {
        use otel::component_type::{OTLP_GRPC_METRIC_EXPORTER, OTLP_HTTP_METRIC_EXPORTER};
        let settings = self.endpoint(Signal::Metrics)?;
        let temporality = temporality(self.variables)?;
        let exporter = self.transport.metrics(&settings, temporality)?;
        let component = [OTLP_GRPC_METRIC_EXPORTER, OTLP_HTTP_METRIC_EXPORTER];
        let metric = otel::metric::SDK_EXPORTER_METRIC_DATA_POINT_EXPORTED;
        let tally = otlp_tally(metric, component, "metric points", &settings);
        Ok((exporter, tally))
    }

    fn otlp_logs(&mut self) -> Result<(otlp::LogExporter, Arc<Tally>), InitError> {
        use otel::component_type::{OTLP_GRPC_LOG_EXPORTER, OTLP_HTTP_LOG_EXPORTER};
        let settings = self.endpoint(Signal::Logs)?;
        let exporter = self.transport.logs(&settings)?;
        let component = [OTLP_GRPC_LOG_EXPORTER, OTLP_HTTP_LOG_EXPORTER];
        let metric = otel::metric::SDK_EXPORTER_LOG_EXPORTED;
        let tally = otlp_tally(metric, component, "log records", &settings);
        Ok((exporter, tally))
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
    let target = settings.target();
    Tally::new(metric, component, things, target, settings.told.clone())
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
    Tally::new(metric, FILE_EXPORTER, things, target, Told::default())
}

fn periodic<E: PushMetricExporter>(exporter: E, interval: Duration) -> PeriodicReader<E> {
    PeriodicReader::builder(exporter)
        .with_interval(interval)
        .build()
}
