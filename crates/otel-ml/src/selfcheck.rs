//! Is anything listening, and does context get through?

use std::collections::HashMap;
use std::fmt;

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

use crate::carrier::{ExtractCarrier, Field, InjectCarrier};
use crate::telemetry::Telemetry;

/// Something that keeps traces or metrics from arriving, and what to do about it: its
/// `Display` form is meant for a log line at start-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Finding {
    /// No tracer provider can be seen.
    NoTracerProvider,
    /// No meter provider can be seen.
    NoMeterProvider,
    /// The global tracer provider that is in use was shut down, and another one was set: the first
    /// one found is kept for the life of the process.
    ProviderReplaced,
    /// The propagator wrote nothing for a valid context: calls to others start new traces.
    NothingInjected,
    /// The propagator did not read back what it had written: calls from others start new traces.
    NothingExtracted,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoTracerProvider => {
                "no tracer provider is visible to otel-ml, so no span is recorded. Install one with \
                 opentelemetry::global::set_tracer_provider; if the program does, it has two versions of \
                 `opentelemetry` (see `cargo tree --duplicates`), and otel-ml sees only the one it re-exports"
            }
            Self::NoMeterProvider => {
                "no meter provider is visible to otel-ml, so no metric is recorded. Install one with \
                 opentelemetry::global::set_meter_provider, or ignore this if only traces are wanted"
            }
            Self::ProviderReplaced => {
                "the tracer provider that otel-ml found first was shut down, and the one that was set since is \
                 not used, so no span is recorded. Set one provider for the life of the process, or hand each \
                 layer its own by Telemetry::builder().tracer_provider(..)"
            }
            Self::NothingInjected => {
                "the configured propagator writes nothing for a valid span: outgoing calls will not be part \
                 of the trace. Set a W3C propagator, or none and let otel-ml use its own"
            }
            Self::NothingExtracted => {
                "the configured propagator does not read what it writes: incoming calls will not be part of \
                 their caller's trace. Set a W3C propagator, or none and let otel-ml use its own"
            }
        })
    }
}

/// Checks the global telemetry: see [`Telemetry::selfcheck`].
///
/// ```
/// for finding in otel_ml::selfcheck() {
///     eprintln!("telemetry: {finding}");
/// }
/// ```
#[must_use]
pub fn selfcheck() -> Vec<Finding> {
    Telemetry::global().selfcheck()
}

impl Telemetry {
    /// What keeps traces or metrics from arriving; empty when all is well. Starts no span.
    ///
    /// Call it once, after the providers have been installed.
    #[must_use]
    pub fn selfcheck(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.look_now();
        if !self.is_tracing() {
            findings.push(Finding::NoTracerProvider);
        }
        if self.is_replaced() {
            findings.push(Finding::ProviderReplaced);
        }
        if self.instruments().is_none() {
            findings.push(Finding::NoMeterProvider);
        }
        let span = SpanContext::new(
            TraceId::from(0xabcd),
            SpanId::from(0xef),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        );
        let mut carrier = Headers::default();
        self.inject(
            &Context::new().with_remote_span_context(span.clone()),
            &mut carrier,
        );
        if carrier.0.is_empty() {
            findings.push(Finding::NothingInjected);
        } else if self.extract(&carrier).span().span_context().trace_id() != span.trace_id() {
            findings.push(Finding::NothingExtracted);
        }
        findings
    }
}

#[derive(Default)]
struct Headers(HashMap<String, String>);

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        self.0.set(key, value);
    }
}

impl InjectCarrier for Headers {
    fn replace(&mut self, field: Field, value: &[u8]) {
        self.set(field.name(), String::from_utf8_lossy(value).into_owned());
    }

    fn remove(&mut self, field: Field) {
        self.0.remove(field.name());
    }
}

impl Extractor for Headers {
    fn get(&self, key: &str) -> Option<&str> {
        Extractor::get(&self.0, key)
    }

    fn keys(&self) -> Vec<&str> {
        Extractor::keys(&self.0)
    }
}

impl ExtractCarrier for Headers {
    const TRANSPORT: &'static str = "memory";

    fn values(&self, field: Field) -> impl Iterator<Item = &[u8]> {
        self.0.get(field.name()).into_iter().map(String::as_bytes)
    }
}
