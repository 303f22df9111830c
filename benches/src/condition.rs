//! What an application has installed while it is measured.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::{ManualReader, SdkMeterProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfig, BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span,
    SpanData, SpanExporter, SpanProcessor,
};
use otel_ml_tower::otel_ml::opentelemetry::{Context, global};
use serde::Serialize;

/// What is installed, and what the caller says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Nothing: no-op tracer, meter and propagator.
    A,
    /// A propagator alone.
    P,
    /// The SDK, below a caller that is not sampled.
    B,
    /// The SDK, below a sampled caller; a processor drops every span.
    C,
    /// As `C`, with a batch processor and an exporter that discards.
    D,
}

impl Condition {
    /// Whether spans are recorded.
    #[must_use]
    pub const fn is_recording(self) -> bool {
        matches!(self, Self::C | Self::D)
    }

    /// The caller's `traceparent`.
    #[must_use]
    pub const fn traceparent(self) -> &'static str {
        match self {
            Self::B => "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            _ => "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        }
    }

    /// Installs the global providers: a user's process has one set of them.
    #[must_use]
    pub fn install(self, exports: Exports) -> Installed {
        let spans = Spans::default();
        if self == Self::P {
            set_propagator();
        }
        let sampler = match self {
            Self::A | Self::P => {
                return Installed {
                    spans,
                    tracers: None,
                    meters: None,
                };
            }
            Self::B => Sampler::AlwaysOff,
            Self::C | Self::D => Sampler::AlwaysOn,
        };
        let builder =
            SdkTracerProvider::builder().with_sampler(Sampler::ParentBased(Box::new(sampler)));
        let tracers = if self == Self::D {
            let batch = BatchSpanProcessor::builder(spans.clone())
                .with_batch_config(exports.config())
                .build();
            builder.with_span_processor(batch).build()
        } else {
            builder.with_span_processor(spans.clone()).build()
        };
        let meters = SdkMeterProvider::builder()
            .with_reader(ManualReader::builder().build())
            .build();
        set_providers(&tracers, &meters);
        Installed {
            spans,
            tracers: Some(tracers),
            meters: Some(meters),
        }
    }
}

/// When a batch processor's thread exports what the measured thread hands to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exports {
    /// As batches fill, on its own core: what a user waits for.
    Meanwhile,
    /// Once the measurement is over. What the thread frees meanwhile makes the next allocations
    /// of the measured one cheaper or dearer, by who comes first: parked, it lets counts repeat.
    Afterwards,
}

impl Exports {
    fn config(self) -> BatchConfig {
        let queue = 1 << 16;
        let config = BatchConfigBuilder::default().with_max_queue_size(queue);
        match self {
            Self::Meanwhile => config.build(),
            Self::Afterwards => config
                .with_max_export_batch_size(queue)
                .with_scheduled_delay(Duration::from_secs(3_600))
                .build(),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name on the command line, which is that in the JSON too.
        let name = self.to_possible_value();
        f.write_str(name.as_ref().map_or("", PossibleValue::get_name))
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "this is the application, and what it costs is the question"
)]
fn set_propagator() {
    global::set_text_map_propagator(TraceContextPropagator::new());
}

#[allow(
    clippy::disallowed_methods,
    reason = "this is the application, and what it costs is the question"
)]
fn set_providers(tracers: &SdkTracerProvider, meters: &SdkMeterProvider) {
    set_propagator();
    global::set_tracer_provider(tracers.clone());
    global::set_meter_provider(meters.clone());
}

/// What a condition has installed.
#[derive(Debug)]
pub struct Installed {
    spans: Spans,
    tracers: Option<SdkTracerProvider>,
    /// Kept: a provider that is dropped shuts down.
    #[allow(dead_code, reason = "held for its life alone")]
    meters: Option<SdkMeterProvider>,
}

impl Installed {
    /// The tracer provider, where there is one: for what doesn't use the global one.
    #[cfg(feature = "peers")]
    #[must_use]
    pub const fn tracers(&self) -> Option<&SdkTracerProvider> {
        self.tracers.as_ref()
    }

    /// How many spans were exported so far.
    ///
    /// # Errors
    /// When the batch processor can't be flushed.
    pub fn exported(&self) -> Result<u64, OTelSdkError> {
        self.tracers
            .as_ref()
            .map_or(Ok(()), SdkTracerProvider::force_flush)?;
        Ok(self.spans.0.load(Ordering::Relaxed))
    }
}

/// Counts spans and drops them.
#[derive(Clone, Debug, Default)]
struct Spans(Arc<AtomicU64>);

impl SpanProcessor for Spans {
    fn on_start(&self, _span: &mut Span, _cx: &Context) {}

    fn on_end(&self, _span: SpanData) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl SpanExporter for Spans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}
