//! The ways in which a measured service can be wrapped.

use std::fmt;
use std::task::{Context, Poll};

use clap::ValueEnum;
use clap::builder::PossibleValue;
use otel_ml_tower::otel_ml::Telemetry;
use serde::Serialize;
use tower_layer::Layer;
use tower_service::Service;

/// What is put around the service that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// A layer that does nothing: what a framework charges for any layer.
    Identity,
    /// The least that the same span costs, written by hand.
    Floor,
    /// Our layer as shipped.
    OtelMl,
    /// As shipped, the response's body always watched to its end.
    OtelMlWrapped,
    /// As shipped, the handler's facts those of a GenAI operation, which has metrics of its own.
    OtelMlGenai,
    /// As shipped, a fact written with every chunk.
    OtelMlFact,
    /// Our layer without metrics.
    OtelMlSpans,
    /// Without metrics, the response's body always watched to its end.
    OtelMlSpansWrapped,
    /// opentelemetry-instrumentation-tower as shipped: a span and four metrics.
    #[cfg(feature = "peers")]
    OpentelemetryInstrumentationTower,
    /// opentelemetry-instrumentation-tower without its metrics.
    #[cfg(feature = "peers")]
    OpentelemetryInstrumentationTowerSpans,
    /// tower-otel's layer for spans.
    #[cfg(feature = "peers")]
    TowerOtel,
    /// tower-otel's layer for spans, watching bodies.
    #[cfg(feature = "peers")]
    TowerOtelBody,
    /// tower-otel's layers for spans and for metrics.
    #[cfg(feature = "peers")]
    TowerOtelMetrics,
    /// axum-tracing-opentelemetry.
    #[cfg(feature = "peers")]
    AxumTracingOpentelemetry,
    /// tonic-tracing-opentelemetry.
    #[cfg(feature = "peers")]
    TonicTracingOpentelemetry,
    /// tower-http's `TraceLayer`, its spans exported by tracing-opentelemetry.
    #[cfg(feature = "peers")]
    TowerHttpTrace,
    /// `tracing` spans and fields, exported by tracing-opentelemetry.
    #[cfg(feature = "peers")]
    TracingOpentelemetry,
}

impl Variant {
    /// Whether it makes spans.
    #[must_use]
    pub const fn is_tracing(self) -> bool {
        !matches!(self, Self::Identity)
    }

    /// Whether it is ours, and may have budgets.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        matches!(
            self,
            Self::OtelMl
                | Self::OtelMlWrapped
                | Self::OtelMlGenai
                | Self::OtelMlFact
                | Self::OtelMlSpans
                | Self::OtelMlSpansWrapped
        )
    }

    /// Whether every body is to be watched to its end.
    #[must_use]
    pub const fn is_wrapped(self) -> bool {
        matches!(self, Self::OtelMlWrapped | Self::OtelMlSpansWrapped)
    }

    /// The telemetry of a layer that is not as shipped.
    #[must_use]
    pub fn telemetry(self) -> Telemetry {
        match self {
            Self::OtelMlSpans | Self::OtelMlSpansWrapped => {
                Telemetry::builder().without_metrics().build()
            }
            _ => Telemetry::global(),
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name on the command line, which is that in the JSON too.
        let name = self.to_possible_value();
        f.write_str(name.as_ref().map_or("", PossibleValue::get_name))
    }
}

/// A layer that does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Identity;

impl<S> Layer<S> for Identity {
    type Service = Unchanged<S>;

    fn layer(&self, inner: S) -> Unchanged<S> {
        Unchanged(inner)
    }
}

/// A service that passes everything on.
#[derive(Clone, Copy, Debug)]
pub struct Unchanged<S>(S);

impl<S: Service<R>, R> Service<R> for Unchanged<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}
