//! The settings of a set-up.

use std::fmt;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_sdk::logs::{LogProcessor, LoggerProviderBuilder};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, PeriodicReader};
use opentelemetry_sdk::trace::{SpanProcessor, TracerProviderBuilder};
use otel_ml::semconv::{deployment, service};

use crate::error::InitError;
use crate::file::FileExporter;
use crate::guard::Guard;
#[cfg(any(feature = "tracing", feature = "log"))]
use crate::log::Logs;
use crate::otlp::Otlp;
use crate::variables::Variables;

/// Where a signal goes to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Destination {
    /// A Collector, by OTLP.
    Otlp,
    /// The standard output, to be read by people: for development.
    Console,
    /// A file of OTLP/JSON lines.
    File(FileExporter),
}

/// How spans and log records wait for their export. What is not said is as the `OTEL_BSP_*`
/// (spans) and `OTEL_BLRP_*` (log records) variables say, or as the specification has it.
///
/// What waits is all the memory that exporting takes: a queue that is full drops what is new,
/// and counts it.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Batch {
    pub(crate) queue_size: Option<usize>,
    pub(crate) batch_size: Option<usize>,
    pub(crate) delay: Option<Duration>,
}

impl Batch {
    /// Nothing said.
    pub fn new() -> Self {
        Self::default()
    }

    /// The most that may wait. 2048 by default.
    pub const fn queue_size(self, most: usize) -> Self {
        Self {
            queue_size: Some(most),
            ..self
        }
    }

    /// The most that is exported at once. 512 by default.
    pub const fn batch_size(self, most: usize) -> Self {
        Self {
            batch_size: Some(most),
            ..self
        }
    }

    /// How long something waits at most. 5 seconds for spans, 1 for log records by default.
    pub const fn delay(self, longest: Duration) -> Self {
        Self {
            delay: Some(longest),
            ..self
        }
    }
}

/// Adds what is the application's own to a provider that is made.
pub(crate) type Add<T> = Box<dyn FnOnce(T) -> T + Send>;

/// The same, with the interval at which metrics are exported.
pub(crate) type AddReader =
    Box<dyn FnOnce(MeterProviderBuilder, Duration) -> MeterProviderBuilder + Send>;

/// What the application adds to the providers.
#[derive(Default)]
pub(crate) struct Own {
    pub(crate) tracers: Vec<Add<TracerProviderBuilder>>,
    pub(crate) meters: Vec<AddReader>,
    pub(crate) loggers: Vec<Add<LoggerProviderBuilder>>,
}

/// Settings of the set-up. Setters take and return it by value. What is said here counts more
/// than what the `OTEL_*` variables say; the README has a table of those.
#[must_use]
pub struct Builder {
    pub(crate) variables: Variables,
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) detects: bool,
    pub(crate) otlp: Otlp,
    pub(crate) traces: Option<Vec<Destination>>,
    pub(crate) metrics: Option<Vec<Destination>>,
    pub(crate) logs: Option<Vec<Destination>>,
    pub(crate) spans: Batch,
    pub(crate) records: Batch,
    pub(crate) metric_interval: Option<Duration>,
    pub(crate) cardinality_limit: Option<usize>,
    pub(crate) own: Own,
    pub(crate) propagators: Vec<(String, Box<dyn TextMapPropagator + Send + Sync>)>,
    pub(crate) shutdown_within: Duration,
    #[cfg(any(feature = "tracing", feature = "log"))]
    pub(crate) lines: Option<Logs>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            variables: Variables::of_process(),
            attributes: Vec::new(),
            detects: true,
            otlp: Otlp::new(),
            traces: None,
            metrics: None,
            logs: None,
            spans: Batch::new(),
            records: Batch::new(),
            metric_interval: None,
            cardinality_limit: None,
            own: Own::default(),
            propagators: Vec::new(),
            shutdown_within: Duration::from_secs(10),
            #[cfg(any(feature = "tracing", feature = "log"))]
            lines: None,
        }
    }

    /// The service's name, the same for all its instances: `service.name`.
    pub fn service_name(self, name: impl Into<String>) -> Self {
        self.attribute(KeyValue::new(service::NAME, name.into()))
    }

    /// The service's version: `service.version`.
    pub fn service_version(self, version: impl Into<String>) -> Self {
        self.attribute(KeyValue::new(service::VERSION, version.into()))
    }

    /// What groups several services: `service.namespace`.
    pub fn service_namespace(self, namespace: impl Into<String>) -> Self {
        self.attribute(KeyValue::new(service::NAMESPACE, namespace.into()))
    }

    /// `production`, `staging`, …: `deployment.environment.name`.
    pub fn environment(self, name: impl Into<String>) -> Self {
        self.attribute(KeyValue::new(deployment::ENVIRONMENT_NAME, name.into()))
    }

    /// Any other attribute of the resource. Of two with one key the last counts.
    pub fn attribute(mut self, attribute: KeyValue) -> Self {
        self.attributes.push(attribute);
        self
    }

    /// Leaves out what is found out about host, process, container and Kubernetes, and the
    /// instance id.
    pub fn without_detectors(self) -> Self {
        Self {
            detects: false,
            ..self
        }
    }

    /// Where and how OTLP is sent, for all signals.
    pub fn otlp(self, otlp: Otlp) -> Self {
        Self { otlp, ..self }
    }

    /// Where spans go to; nowhere for an empty list. `OTEL_TRACES_EXPORTER` says otherwise, and
    /// OTLP is the default.
    pub fn traces_to(self, destinations: impl IntoIterator<Item = Destination>) -> Self {
        Self {
            traces: Some(destinations.into_iter().collect()),
            ..self
        }
    }

    /// Where metrics go to: as [`traces_to`](Self::traces_to), by `OTEL_METRICS_EXPORTER`.
    pub fn metrics_to(self, destinations: impl IntoIterator<Item = Destination>) -> Self {
        Self {
            metrics: Some(destinations.into_iter().collect()),
            ..self
        }
    }

    /// Where log records go to: as [`traces_to`](Self::traces_to), by `OTEL_LOGS_EXPORTER`. Where
    /// OTLP is not compiled in and logs are not set up, they go nowhere by default.
    pub fn logs_to(self, destinations: impl IntoIterator<Item = Destination>) -> Self {
        Self {
            logs: Some(destinations.into_iter().collect()),
            ..self
        }
    }

    /// How spans wait for their export.
    pub fn span_batches(self, batch: Batch) -> Self {
        Self {
            spans: batch,
            ..self
        }
    }

    /// How log records wait for their export.
    pub fn log_batches(self, batch: Batch) -> Self {
        Self {
            records: batch,
            ..self
        }
    }

    /// How often metrics are exported. 60 seconds by default (`OTEL_METRIC_EXPORT_INTERVAL`).
    pub fn metric_interval(self, interval: Duration) -> Self {
        Self {
            metric_interval: Some(interval),
            ..self
        }
    }

    /// The most series of one instrument; what is beyond goes into one with
    /// `otel.metric.overflow`. At least 1; the SDK's 2000 by default.
    pub fn cardinality_limit(self, limit: usize) -> Self {
        Self {
            cardinality_limit: Some(limit),
            ..self
        }
    }

    /// A span processor of the application's own, beside the exporters.
    pub fn span_processor(mut self, processor: impl SpanProcessor + 'static) -> Self {
        let add = |to: TracerProviderBuilder| to.with_span_processor(processor);
        self.own.tracers.push(Box::new(add));
        self
    }

    /// An exporter of metrics of the application's own, beside the others.
    pub fn metric_exporter(mut self, exporter: impl PushMetricExporter) -> Self {
        let add = |to: MeterProviderBuilder, interval| {
            let reader = PeriodicReader::builder(exporter).with_interval(interval);
            to.with_reader(reader.build())
        };
        self.own.meters.push(Box::new(add));
        self
    }

    /// A log processor of the application's own, beside the exporters.
    pub fn log_processor(mut self, processor: impl LogProcessor + 'static) -> Self {
        let add = |to: LoggerProviderBuilder| to.with_log_processor(processor);
        self.own.loggers.push(Box::new(add));
        self
    }

    /// The propagator that `OTEL_PROPAGATORS` means by `name`, for names other than
    /// `tracecontext` and `baggage`: `b3`, `xray`, ….
    pub fn propagator(
        mut self,
        name: impl Into<String>,
        propagator: impl TextMapPropagator + Send + Sync + 'static,
    ) -> Self {
        self.propagators.push((name.into(), Box::new(propagator)));
        self
    }

    /// Logs with the ids of the current span, by `tracing` (feature `tracing`) and by `log`
    /// (feature `log`), and to where log records go to. Only [`init`](Self::init) installs it.
    #[cfg(any(feature = "tracing", feature = "log"))]
    pub fn log(self, lines: Logs) -> Self {
        Self {
            lines: Some(lines),
            ..self
        }
    }

    /// Whether logs are set up.
    #[cfg(any(feature = "tracing", feature = "log"))]
    pub(crate) const fn is_logging(&self) -> bool {
        self.lines.is_some()
    }

    /// Whether logs are set up.
    #[cfg(not(any(feature = "tracing", feature = "log")))]
    #[allow(clippy::unused_self, reason = "as where there are lines")]
    pub(crate) const fn is_logging(&self) -> bool {
        false
    }

    /// How long the shutdown may take, flushing included. 10 seconds by default. Spans and log
    /// records have three quarters of it, metrics what is left, and 5 seconds at most.
    pub fn shutdown_within(self, longest: Duration) -> Self {
        Self {
            shutdown_within: longest,
            ..self
        }
    }

    /// Reads variables from `source` in place of the process's environment, `RUST_LOG` too. What
    /// proxies the HTTP client goes by is still the process's.
    pub fn variables(
        self,
        source: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            variables: Variables::from(source),
            ..self
        }
    }

    /// Sets all up, and makes it what the whole program uses: the global providers and
    /// propagator. Nothing waits for a Collector: one that can't be reached is told of as soon
    /// as that is known.
    ///
    /// # Errors
    /// When a setting won't do: the message names it, and what is wanted. All settings are looked
    /// at before anything is set up, so nothing is left behind and nothing was exported.
    pub fn init(self) -> Result<Guard, InitError> {
        Guard::global(self)
    }

    /// Sets all up beside what the program uses otherwise: for several services in one process,
    /// and for tests. [`Guard::telemetry`] is what layers take.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub fn build(self) -> Result<Guard, InitError> {
        Guard::local(self)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("attributes", &self.attributes)
            .field("traces", &self.traces)
            .field("metrics", &self.metrics)
            .field("logs", &self.logs)
            .finish_non_exhaustive()
    }
}
