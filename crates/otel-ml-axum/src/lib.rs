#![doc = include_str!("../README.md")]

mod extract;
mod framework;
mod layer;

pub use axum;
pub use otel_ml_tower::server::ConfiguredOtelMlLayer;
pub use otel_ml_tower::{DefaultFilter, NoHealthChecks, NoStaticFiles, RequestHead, otel_ml};

pub use extract::MlSpan;
pub use framework::Axum;
pub use layer::{OtelMlLayer, OtelMlLayerBuilder};
