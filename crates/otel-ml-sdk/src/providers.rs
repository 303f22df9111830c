//! The SDK's providers, made from settings.

use std::sync::Arc;
use std::time::Duration;

#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
use opentelemetry_otlp as otlp;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LoggerProviderBuilder, SdkLoggerProvider};
use opentelemetry_sdk::metrics::{Instrument, MeterProviderBuilder, SdkMeterProvider};
use opentelemetry_sdk::trace::{SdkTracerProvider, TracerProviderBuilder};
use otel_ml::semconv::Metric;
use otel_ml::semconv::otel;

use crate::builder::{Add, AddReader, Builder, Destination};
#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
use crate::choices::temporality;
use crate::choices::{
    Queue, cardinality_limit, destinations, limits, logs_by_default, sampler, view,
};
#[cfg(not(any(feature = "otlp-grpc", feature = "otlp-http")))]
use crate::error::ErrorKind;
use crate::error::InitError;
use crate::exporting::{AddTo, Tallies, made, periodic, queued_records, queued_spans, read_by};
use crate::file::FileExporter;
use crate::otlp::{Resolved, Signal};
use crate::tally::Tally;
use crate::told::Told;
use crate::variables::Variables;

#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
use crate::otlp::Transport;

/// The `otel.component.type` of an exporter that the conventions do not know: its full name.
const FILE_EXPORTER: &str = "otel_ml_sdk::file::FileExporter";

/// Makes a provider, and adds to the counts. It starts threads, whose last export even a shutdown
/// makes: so it is called when all settings of all signals are known to do, and can't fail.
pub(crate) type Make<T> = Box<dyn FnOnce(&mut Tallies) -> T>;

/// Reads what the providers are to be, one after the other, and gathers what they share.
pub(crate) struct Maker<'a> {
    pub(crate) variables: &'a Variables,
    pub(crate) settings: &'a Builder,
    pub(crate) resource: Resource,
    #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
    pub(crate) transport: Transport,
    /// Where something is sent to, and what looks wrong about it.
    pub(crate) endpoints: Vec<Resolved>,
}

impl Maker<'_> {
    pub(crate) fn meters(
        &mut self,
        own: Vec<AddReader>,
    ) -> Result<Option<Make<SdkMeterProvider>>, InitError> {
        let to = destinations(
            self.settings.metrics.as_deref(),
            Signal::Metrics,
            self.variables,
            vec![Destination::Otlp],
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
        let provider = SdkMeterProvider::builder()
            .with_resource(self.resource.clone())
            .with_view(move |instrument: &Instrument| view(instrument, limit));
        let mut exporters: Vec<AddTo<MeterProviderBuilder>> = Vec::new();
        for destination in to {
            exporters.push(match destination {
                #[cfg(not(any(feature = "otlp-grpc", feature = "otlp-http")))]
                Destination::Otlp => return Err(no_otlp(Signal::Metrics)),
                #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
                Destination::Otlp => {
                    let (exporter, tally) = self.otlp_metrics()?;
                    read_by(exporter, tally, interval)
                }
                Destination::Console => Box::new(move |provider, _| {
                    let exporter = opentelemetry_stdout::MetricExporter::default();
                    provider.with_reader(periodic(exporter, interval))
                }),
                Destination::File(file) => {
                    let metric = otel::metric::SDK_EXPORTER_METRIC_DATA_POINT_EXPORTED;
                    let tally = file_tally(metric, "metric points", &file);
                    read_by(file.metrics(), tally, interval)
                }
            });
        }
        Ok(Some(Box::new(move |tallies| {
            let provider = made(provider, exporters, tallies);
            let add_own = |provider, add: AddReader| add(provider, interval);
            own.into_iter().fold(provider, add_own).build()
        })))
    }

    pub(crate) fn tracers(
        &mut self,
        own: Vec<Add<TracerProviderBuilder>>,
    ) -> Result<Option<Make<SdkTracerProvider>>, InitError> {
        let to = destinations(
            self.settings.traces.as_deref(),
            Signal::Traces,
            self.variables,
            vec![Destination::Otlp],
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
        let provider = SdkTracerProvider::builder()
            .with_resource(self.resource.clone())
            .with_sampler(sampler(self.variables)?)
            .with_span_limits(limits(self.variables)?);
        let mut exporters: Vec<AddTo<TracerProviderBuilder>> = Vec::new();
        for destination in to {
            exporters.push(match destination {
                #[cfg(not(any(feature = "otlp-grpc", feature = "otlp-http")))]
                Destination::Otlp => return Err(no_otlp(Signal::Traces)),
                #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
                Destination::Otlp => {
                    let (exporter, tally) = self.otlp_spans()?;
                    queued_spans(exporter, tally, queue)
                }
                Destination::Console => Box::new(|provider, _| {
                    provider.with_simple_exporter(opentelemetry_stdout::SpanExporter::default())
                }),
                Destination::File(file) => {
                    let metric = otel::metric::SDK_EXPORTER_SPAN_EXPORTED;
                    let tally = file_tally(metric, "spans", &file);
                    queued_spans(file.spans(), tally, queue)
                }
            });
        }
        Ok(Some(Box::new(move |tallies| {
            let provider = made(provider, exporters, tallies);
            let add_own = |provider, add: Add<TracerProviderBuilder>| add(provider);
            own.into_iter().fold(provider, add_own).build()
        })))
    }

    pub(crate) fn loggers(
        &mut self,
        own: Vec<Add<LoggerProviderBuilder>>,
    ) -> Result<Option<Make<SdkLoggerProvider>>, InitError> {
        let has_otlp = cfg!(any(feature = "otlp-grpc", feature = "otlp-http"));
        let to = destinations(
            self.settings.logs.as_deref(),
            Signal::Logs,
            self.variables,
            logs_by_default(has_otlp, self.settings.is_logging()),
        )?;
        if to.is_empty() && own.is_empty() {
            return Ok(None);
        }
        let queue = Queue::read(
            &self.settings.records,
            "OTEL_BLRP",
            Duration::from_secs(1),
            self.variables,
        )?;
        let provider = SdkLoggerProvider::builder().with_resource(self.resource.clone());
        let mut exporters: Vec<AddTo<LoggerProviderBuilder>> = Vec::new();
        for destination in to {
            exporters.push(match destination {
                #[cfg(not(any(feature = "otlp-grpc", feature = "otlp-http")))]
                Destination::Otlp => return Err(no_otlp(Signal::Logs)),
                #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
                Destination::Otlp => {
                    let (exporter, tally) = self.otlp_logs()?;
                    queued_records(exporter, tally, queue)
                }
                Destination::Console => Box::new(|provider, _| {
                    provider.with_simple_exporter(opentelemetry_stdout::LogExporter::default())
                }),
                Destination::File(file) => {
                    let metric = otel::metric::SDK_EXPORTER_LOG_EXPORTED;
                    let tally = file_tally(metric, "log records", &file);
                    queued_records(file.logs(), tally, queue)
                }
            });
        }
        Ok(Some(Box::new(move |tallies| {
            let provider = made(provider, exporters, tallies);
            let add_own = |provider, add: Add<LoggerProviderBuilder>| add(provider);
            own.into_iter().fold(provider, add_own).build()
        })))
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
fn no_otlp(signal: Signal) -> InitError {
    let name = signal.name();
    let things = name.to_ascii_lowercase();
    InitError::new(
        ErrorKind::Feature,
        format!(
            "{things} go by OTLP unless told otherwise, which is not compiled in: enable the \
             feature `otlp-grpc` or `otlp-http` of otel-ml-sdk, or say where else they go, by \
             `Builder::{things}_to` or by OTEL_{name}_EXPORTER=none"
        ),
    )
}

fn file_tally(metric: Metric, things: &'static str, file: &FileExporter) -> Arc<Tally> {
    let target = file.path().display().to_string();
    Tally::new(metric, FILE_EXPORTER, things, target, Told::default())
}
