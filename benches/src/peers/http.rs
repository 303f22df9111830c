//! Layers around HTTP services.

use axum::Router;
use axum_tracing_opentelemetry::middleware::OtelAxumLayer;
use opentelemetry_instrumentation_tower::http::server::{Layer, LayerBuilder};
use otel_ml_tower::otel_ml::opentelemetry::global;
use tower_http::trace::TraceLayer;
use tracing::Level;

use crate::layers::Variant;

/// Puts a peer's layer on `router`.
pub(crate) fn server(router: Router, peer: Variant) -> Router {
    match peer {
        Variant::OpentelemetryInstrumentationTower => router.layer(Layer::new()),
        Variant::OpentelemetryInstrumentationTowerSpans => {
            match LayerBuilder::builder().with_metrics(false).build() {
                Ok(layer) => router.layer(layer),
                Err(error) => unreachable!("a layer with its defaults: {error}"),
            }
        }
        Variant::TowerOtel => router.layer(tower_otel::trace::HttpLayer::server(Level::INFO)),
        Variant::TowerOtelBody => {
            router.layer(tower_otel::trace::HttpLayer::server(Level::INFO).trace_body())
        }
        Variant::TowerOtelMetrics => {
            let meter = global::meter("tower-otel");
            router
                .layer(tower_otel::metrics::HttpLayer::server(&meter))
                .layer(tower_otel::trace::HttpLayer::server(Level::INFO))
        }
        Variant::AxumTracingOpentelemetry => router.layer(OtelAxumLayer::default()),
        Variant::TowerHttpTrace => router.layer(TraceLayer::new_for_http()),
        other => unreachable!("{other} is no peer of a server"),
    }
}

/// The only peer's layer for a client's spans that needs no client of its own.
pub(crate) fn client() -> tower_otel::trace::HttpLayer {
    tower_otel::trace::HttpLayer::client(Level::INFO)
}

/// Its layer for a client's metrics.
pub(crate) fn client_metrics() -> tower_otel::metrics::HttpLayer {
    tower_otel::metrics::HttpLayer::client(&global::meter("tower-otel"))
}
