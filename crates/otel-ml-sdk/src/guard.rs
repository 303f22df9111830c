//! What is set up, until it is shut down.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use opentelemetry::global;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use otel_ml::Telemetry;

use crate::builder::Builder;
use crate::checks::{propagator, reach, tell_doubts};
use crate::error::InitError;
#[cfg(any(feature = "tracing", feature = "log"))]
use crate::log::Logs;
#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
use crate::otlp::Transport;
use crate::providers::{Maker, Tallies};
use crate::resource::resource;
use crate::say::say;
use crate::tally::{Exported, Tally};

/// Keeps telemetry going. Hold it for as long as the program runs: when it is dropped, what
/// still waits is exported and everything shut down.
///
/// # When it ends
/// By [`shutdown`](Self::shutdown) or when dropped, within the time that
/// [`Builder::shutdown_within`] allows, whatever the Collector does and on whatever runtime:
/// exporting has threads of its own. What is not exported by then is lost, and counted.
#[derive(Debug)]
#[must_use = "dropping it shuts telemetry down"]
pub struct Guard {
    live: Option<Live>,
    telemetry: Telemetry,
    tallies: Arc<Tallies>,
    within: Duration,
}

#[derive(Clone, Debug, Default)]
struct Providers {
    tracers: Option<SdkTracerProvider>,
    meters: Option<SdkMeterProvider>,
    loggers: Option<SdkLoggerProvider>,
}

#[derive(Debug)]
struct Live {
    providers: Providers,
    #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
    transport: Transport,
}

/// What became of all telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Whether everything was flushed and shut down in time.
    pub in_time: bool,
    /// Spans that went to a Collector.
    pub spans: Exported,
    /// Metric points that went to a Collector.
    pub metric_points: Exported,
    /// Log records that went to a Collector.
    pub log_records: Exported,
}

impl Guard {
    pub(crate) fn global(
        #[cfg_attr(
            not(any(feature = "tracing", feature = "log")),
            allow(unused_mut, reason = "there are no lines to take out")
        )]
        mut settings: Builder,
    ) -> Result<Self, InitError> {
        #[cfg(any(feature = "tracing", feature = "log"))]
        let lines = settings.lines.take();
        #[cfg(any(feature = "tracing", feature = "log"))]
        lines.as_ref().map_or(Ok(()), Logs::check)?;
        let guard = Self::make(settings, true)?;
        #[cfg(any(feature = "tracing", feature = "log"))]
        if let Some(lines) = lines {
            lines.export(guard.logger_provider()).install()?;
        }
        for finding in otel_ml::selfcheck() {
            if guard.is_wanted(finding) {
                say(&finding.to_string());
            }
        }
        Ok(guard)
    }

    pub(crate) fn local(settings: Builder) -> Result<Self, InitError> {
        Self::make(settings, false)
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "installing the providers is what an application asks this crate to do"
    )]
    fn make(mut settings: Builder, is_global: bool) -> Result<Self, InitError> {
        let variables = settings.variables.clone();
        let within = settings.shutdown_within;
        let propagator = propagator(&variables, std::mem::take(&mut settings.propagators))?;
        if variables.flag("OTEL_SDK_DISABLED")? == Some(true) {
            // Context still passes through.
            if let Some(propagator) = propagator.filter(|_| is_global) {
                global::set_text_map_propagator(propagator);
            }
            return Ok(Self {
                live: None,
                telemetry: Telemetry::builder()
                    .without_traces()
                    .without_metrics()
                    .build(),
                tallies: Arc::default(),
                within,
            });
        }
        let own = std::mem::take(&mut settings.own);
        let mut maker = Maker {
            variables: &variables,
            resource: resource(&settings.attributes, settings.detects, &variables)?,
            settings: &settings,
            #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
            transport: Transport::default(),
            tallies: Tallies::default(),
            endpoints: Vec::new(),
        };
        let meters = maker.meters(own.meters)?;
        // The SDK counts what its queues drop by the global meter, looked up when they are made.
        if let Some(meters) = meters.as_ref().filter(|_| is_global) {
            global::set_meter_provider(meters.clone());
        }
        let made = maker
            .tracers(own.tracers)
            .and_then(|tracers| Ok((tracers, maker.loggers(own.loggers)?)));
        let (tracers, loggers) = made.inspect_err(|_| {
            // The global one is a clone, which would keep exporting.
            let _ = meters.as_ref().map(SdkMeterProvider::shutdown);
        })?;
        let providers = Providers {
            tracers,
            loggers,
            meters,
        };
        if let Some(meters) = &providers.meters {
            let meter = meters.meter("otel-ml-sdk");
            let Tallies {
                spans,
                points,
                records,
            } = &maker.tallies;
            for tally in spans.iter().chain(points).chain(records) {
                tally.count_in(&meter);
            }
        }
        tell_doubts(&maker.endpoints);
        reach(&maker.endpoints);
        let telemetry = telemetry(&providers);
        if is_global {
            if let Some(tracers) = &providers.tracers {
                global::set_tracer_provider(tracers.clone());
            }
            if let Some(propagator) = propagator {
                global::set_text_map_propagator(propagator);
            }
        }
        Ok(Self {
            telemetry,
            tallies: Arc::new(maker.tallies),
            within,
            live: Some(Live {
                providers,
                #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
                transport: maker.transport,
            }),
        })
    }

    fn is_wanted(&self, finding: otel_ml::Finding) -> bool {
        let providers = self.live.as_ref().map(|live| &live.providers);
        match finding {
            otel_ml::Finding::NoTracerProvider => {
                providers.is_some_and(|providers| providers.tracers.is_some())
            }
            otel_ml::Finding::NoMeterProvider => {
                providers.is_some_and(|providers| providers.meters.is_some())
            }
            _ => providers.is_some(),
        }
    }

    /// What layers record by, where this is not what the whole program uses.
    #[must_use]
    pub const fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// The provider of spans; `None` where spans go nowhere.
    #[must_use]
    pub fn tracer_provider(&self) -> Option<&SdkTracerProvider> {
        self.live.as_ref()?.providers.tracers.as_ref()
    }

    /// The provider of metrics; `None` where metrics go nowhere.
    #[must_use]
    pub fn meter_provider(&self) -> Option<&SdkMeterProvider> {
        self.live.as_ref()?.providers.meters.as_ref()
    }

    /// The provider of log records; `None` where log records go nowhere.
    #[must_use]
    pub fn logger_provider(&self) -> Option<&SdkLoggerProvider> {
        self.live.as_ref()?.providers.loggers.as_ref()
    }

    /// What became of what was recorded so far.
    #[must_use]
    pub fn report(&self) -> Report {
        Report {
            in_time: true,
            spans: sum(&self.tallies.spans),
            metric_points: sum(&self.tallies.points),
            log_records: sum(&self.tallies.records),
        }
    }

    /// Exports what waits. Whether all of it was exported within `longest`, and within the 5
    /// seconds that the SDK allows for spans and for log records: what could not be is lost, and
    /// counted.
    #[must_use = "it may not have been exported"]
    pub fn flush(&self, longest: Duration) -> bool {
        let Some(live) = &self.live else { return true };
        let providers = live.providers.clone();
        on_a_thread(longest, move || providers.flush())
    }

    /// Exports what waits and shuts down, within the time allowed.
    pub fn shutdown(mut self) -> Report {
        let in_time = self.shut_down();
        let ended = |exported: Exported| Exported {
            dropped: exported.waiting,
            waiting: 0,
            ..exported
        };
        let report = self.report();
        Report {
            in_time,
            spans: ended(report.spans),
            metric_points: ended(report.metric_points),
            log_records: ended(report.log_records),
        }
    }

    fn shut_down(&mut self) -> bool {
        let Some(Live {
            providers,
            // Kept to the end of this: exports need their connections.
            #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
                transport: _transport,
        }) = self.live.take()
        else {
            return true;
        };
        let within = self.within;
        let in_time = on_a_thread(within, move || providers.shut_down(within));
        if !in_time {
            say(&format!(
                "telemetry was not shut down within {within:?}: what was still waiting is lost"
            ));
        }
        in_time
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl Providers {
    fn flush(&self) -> bool {
        let tracers = self.tracers.as_ref().map(SdkTracerProvider::force_flush);
        let loggers = self.loggers.as_ref().map(SdkLoggerProvider::force_flush);
        let meters = self.meters.as_ref().map(SdkMeterProvider::force_flush);
        [tracers, loggers, meters]
            .iter()
            .all(|result| !matches!(result, Some(Err(_))))
    }

    /// Whether it was in time. Metrics last: they tell what became of the others.
    fn shut_down(&self, longest: Duration) -> bool {
        // One that hangs must not cost the others their last export.
        let most = longest.mul_f64(0.75);
        let (tracers, loggers) = std::thread::scope(|scope| {
            let tracers = scope.spawn(|| {
                let tracers = self.tracers.as_ref();
                tracers.is_none_or(|it| is_in_time(&it.shutdown_with_timeout(most)))
            });
            let loggers = self.loggers.as_ref();
            let loggers = loggers.is_none_or(|it| is_in_time(&it.shutdown_with_timeout(most)));
            (tracers.join().unwrap_or(false), loggers)
        });
        if let Some(meters) = &self.meters {
            // Fails also when the last export did, which is counted.
            let _ = meters.shutdown_with_timeout(longest);
        }
        tracers && loggers
    }
}

/// Other errors than of time are no reason to say that something was out of it. The providers
/// wrap those of their processors as text.
fn is_in_time(result: &OTelSdkResult) -> bool {
    match result {
        Err(OTelSdkError::Timeout(_)) => false,
        Err(OTelSdkError::InternalFailure(text)) => !text.contains("Timeout"),
        _ => true,
    }
}

/// Runs `work` where it may block, and waits for what it says for no longer than `longest`.
/// False when it took longer; it then goes on alone.
fn on_a_thread(longest: Duration, work: impl FnOnce() -> bool + Send + 'static) -> bool {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::Builder::new().name("otel-ml-shutdown".to_owned());
    let spawned = thread.spawn(move || {
        // Nobody may be waiting any more.
        let _ = done.send(work());
    });
    spawned.is_ok() && wait.recv_timeout(longest) == Ok(true)
}

fn sum(tallies: &[Arc<Tally>]) -> Exported {
    let all = tallies.iter().map(|tally| tally.exported());
    all.fold(Exported::default(), |sum, one| Exported {
        exported: sum.exported + one.exported,
        failed: sum.failed + one.failed,
        waiting: sum.waiting + one.waiting,
        dropped: sum.dropped + one.dropped,
    })
}

fn telemetry(providers: &Providers) -> Telemetry {
    let builder = Telemetry::builder();
    let builder = match &providers.tracers {
        Some(tracers) => builder.tracer_provider(tracers),
        None => builder.without_traces(),
    };
    let builder = match &providers.meters {
        Some(meters) => builder.meter_provider(meters),
        None => builder.without_metrics(),
    };
    builder.build()
}
