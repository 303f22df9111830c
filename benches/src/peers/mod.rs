//! The crates that do a like job, each set up as its documentation says: one file for what they
//! wrap, and here who stands beside us in which suite.

pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod spans;

use opentelemetry_sdk::trace::SdkTracerProvider;
use otel_ml_tower::otel_ml::opentelemetry::trace::TracerProvider;
use tracing::Level;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;

use crate::layers::Variant::{
    self, AxumTracingOpentelemetry, OpentelemetryInstrumentationTower,
    OpentelemetryInstrumentationTowerSpans, TonicTracingOpentelemetry, TowerHttpTrace, TowerOtel,
    TowerOtelBody, TowerOtelMetrics, TracingOpentelemetry,
};

/// Our peers in a suite.
pub(crate) fn of(suite: &str) -> &'static [Variant] {
    match suite {
        "http-server" | "http-server-500-routes" | "http-server-20-headers" => &[
            OpentelemetryInstrumentationTower,
            OpentelemetryInstrumentationTowerSpans,
            TowerOtelMetrics,
            TowerOtel,
            AxumTracingOpentelemetry,
            TowerHttpTrace,
        ],
        // A hundred thousand requests take their time: the best of each kind.
        "http-server-after-100000" => &[
            OpentelemetryInstrumentationTower,
            OpentelemetryInstrumentationTowerSpans,
            AxumTracingOpentelemetry,
        ],
        "http-client" => &[TowerOtelMetrics, TowerOtel],
        "http-stream" => &[
            OpentelemetryInstrumentationTower,
            TowerOtel,
            TowerOtelBody,
            AxumTracingOpentelemetry,
            TowerHttpTrace,
        ],
        "grpc-server" | "grpc-client" => &[TonicTracingOpentelemetry],
        "mlspan" | "mlspan-stage" | "mlspan-genai" => &[TracingOpentelemetry],
        _ => &[],
    }
}

/// Installs a subscriber for a peer that is built on `tracing`, its layer with its defaults.
pub(crate) fn subscribe(variant: Variant, tracers: &SdkTracerProvider) {
    let targets = match variant {
        TowerOtel
        | TowerOtelBody
        | TowerOtelMetrics
        | AxumTracingOpentelemetry
        | TonicTracingOpentelemetry
        | TracingOpentelemetry => Targets::new(),
        // Its spans are of a level that is off in the others' filter.
        TowerHttpTrace => Targets::new().with_target("tower_http", Level::DEBUG),
        _ => return,
    };
    let targets = targets
        .with_default(LevelFilter::INFO)
        .with_target("otel::tracing", Level::TRACE);
    let layer = OpenTelemetryLayer::new(tracers.tracer("tracing-opentelemetry"));
    let subscriber = Registry::default().with(targets).with(layer);
    let installed = tracing::subscriber::set_global_default(subscriber);
    assert!(installed.is_ok(), "a process has one subscriber");
}
