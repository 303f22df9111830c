use otel_ml_tower::server::{DefaultHooks, OtelMl, ServerOptions};
use tower_layer::Layer;

use crate::framework::Axum;

/// Traces the requests that a router, a method router or a single handler answers.
///
/// It works as it stands and is configured by [`OtelMlLayer::builder`].
///
/// # When it ends
/// A request's span and its duration end with the response's body. An answer of known
/// length up to 16 KiB ends at its head; an upgraded connection ends at the `101`.
///
/// # Where to put it
/// Below (after) layers that answer on their own and are not worth a trace, above (before)
/// the work: axum runs the layer added last first. On a `Router` it sees matched routes and
/// the fallback.
#[derive(Clone, Copy, Debug, Default)]
pub struct OtelMlLayer;

impl OtelMlLayer {
    /// A layer with settings of its own.
    pub fn builder() -> OtelMlLayerBuilder {
        otel_ml_tower::OtelMlLayer::builder().for_framework()
    }
}

/// Settings of a layer: see [`otel_ml_tower::OtelMlLayerBuilder`].
pub type OtelMlLayerBuilder<H = DefaultHooks> = otel_ml_tower::OtelMlLayerBuilder<H, Axum>;

impl<S> Layer<S> for OtelMlLayer {
    type Service = OtelMl<S, DefaultHooks, Axum>;

    fn layer(&self, inner: S) -> Self::Service {
        OtelMl::new(inner, ServerOptions::shared())
    }
}
