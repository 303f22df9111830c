//! What is set up, until it is shut down.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use otel_ml::{Telemetry, TelemetryBuilder};

use crate::builder::Builder;
use crate::checks::{Propagators, reach, tell_doubts};
use crate::counted::CountedReader;
use crate::ending::{COUNTED_WITHIN, Providers, on_a_thread};
use crate::error::InitError;
use crate::exporting::Tallies;
#[cfg(any(feature = "tracing", feature = "log"))]
use crate::log::Logs;
#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
use crate::otlp::Transport;
use crate::providers::Maker;
use crate::resource::resource;
use crate::say::say;
use crate::tally::{Exported, Tally};

/// Keeps telemetry going. Hold it for as long as the program runs: when it is dropped, what
/// still waits is exported and everything shut down.
///
/// # When it ends
/// By [`shutdown`](Self::shutdown) or when dropped, within the time that
/// [`Builder::shutdown_within`] allows, whatever the Collector does and on whatever runtime:
/// exporting has threads of its own. What is not exported by then is lost, and counted, which
/// may take a quarter of a second more.
#[derive(Debug)]
#[must_use = "dropping it shuts telemetry down"]
pub struct Guard {
    live: Option<Live>,
    telemetry: Telemetry,
    /// Whether context is passed on at all.
    propagates: bool,
    tallies: Arc<Tallies>,
    within: Duration,
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
    pub(crate) fn global(settings: Builder) -> Result<Self, InitError> {
        #[cfg(any(feature = "tracing", feature = "log"))]
        let lines = settings.lines.clone();
        #[cfg(any(feature = "tracing", feature = "log"))]
        let lines = lines.map(|lines| lines.reading(settings.variables.clone()));
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
        let propagators = Propagators::read(&variables, std::mem::take(&mut settings.propagators))?;
        let propagates = !propagators.is_none();
        // What is global follows what others may set later.
        let pass_on = move |telemetry: TelemetryBuilder| {
            if is_global {
                global::set_text_map_propagator(propagators.composite());
                return telemetry.build();
            }
            propagators.add_to(telemetry).build()
        };
        if variables.flag("OTEL_SDK_DISABLED")? == Some(true) {
            // Context still passes through.
            let telemetry = Telemetry::builder().without_traces().without_metrics();
            return Ok(Self {
                live: None,
                telemetry: pass_on(telemetry),
                propagates,
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
            endpoints: Vec::new(),
        };
        let meters = maker.meters(own.meters)?;
        let tracers = maker.tracers(own.tracers)?;
        let loggers = maker.loggers(own.loggers)?;
        // Nothing is refused from here on, so there is nothing to take back.
        let mut tallies = Tallies::default();
        let meters = meters.map(|make| make(&mut tallies));
        // The SDK counts what its queues drop by the global meter, looked up when they are made.
        if let Some(meters) = meters.as_ref().filter(|_| is_global) {
            global::set_meter_provider(meters.clone());
        }
        let providers = Providers {
            tracers: tracers.map(|make| make(&mut tallies)),
            loggers: loggers.map(|make| make(&mut tallies)),
            meters,
        };
        if let Some(meters) = &providers.meters {
            let meter = meters.meter("otel-ml-sdk");
            for tally in tallies.all() {
                tally.count_in(&meter);
            }
        }
        tell_doubts(&maker.endpoints);
        reach(&maker.endpoints);
        if let Some(tracers) = providers.tracers.as_ref().filter(|_| is_global) {
            global::set_tracer_provider(tracers.clone());
        }
        Ok(Self {
            telemetry: pass_on(telemetry(&providers, is_global)),
            propagates,
            tallies: Arc::new(tallies),
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
            // It was asked for.
            otel_ml::Finding::NothingInjected if !self.propagates => false,
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
            metric_points: sum(self.tallies.points.iter().map(|points| &points.tally)),
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
        self.shut_down()
    }

    /// What became of all, where nothing is waited for any more.
    fn ended(&self, in_time: bool) -> Report {
        let ended = |exported: Exported| Exported {
            dropped: exported.dropped + exported.waiting,
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

    fn shut_down(&mut self) -> Report {
        let Some(Live {
            providers,
            // Kept to the end of this: exports need their connections, and one that is cut off
            // fails. What is reported is how things were in the time that was allowed.
            #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
                transport: _transport,
        }) = self.live.take()
        else {
            return self.ended(true);
        };
        let within = self.within;
        for points in &self.tallies.points {
            points.tally.end();
        }
        // What is to be counted is with the provider.
        let _meters = providers.meters.clone();
        if on_a_thread(within, move || providers.shut_down(within)) {
            return self.ended(true);
        }
        let tallies = Arc::clone(&self.tallies);
        let counted = on_a_thread(COUNTED_WITHIN, move || {
            tallies.points.iter().for_each(CountedReader::leave);
            true
        });
        let report = self.ended(false);
        let lost = |exported: Exported| exported.failed + exported.dropped;
        let more = if counted { "" } else { ", or more," };
        say(&format!(
            "telemetry was not shut down within {within:?}: {} spans, {} metric points{more} \
             and {} log records were lost in all",
            lost(report.spans),
            lost(report.metric_points),
            lost(report.log_records),
        ));
        report
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shut_down();
    }
}

fn sum<'a>(tallies: impl IntoIterator<Item = &'a Arc<Tally>>) -> Exported {
    let all = tallies.into_iter().map(|tally| tally.exported());
    all.fold(Exported::default(), |sum, one| Exported {
        exported: sum.exported + one.exported,
        failed: sum.failed + one.failed,
        waiting: sum.waiting + one.waiting,
        dropped: sum.dropped + one.dropped,
    })
}

fn telemetry(providers: &Providers, is_global: bool) -> TelemetryBuilder {
    let builder = Telemetry::builder();
    let builder = match &providers.tracers {
        Some(tracers) => builder.tracer_provider(tracers),
        None => builder.without_traces(),
    };
    match &providers.meters {
        // What is global already is counted in one place, whoever counts.
        Some(_) if is_global => builder,
        Some(meters) => builder.meter_provider(meters),
        None => builder.without_metrics(),
    }
}
