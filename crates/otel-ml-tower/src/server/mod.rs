//! HTTP requests that are served.

mod exchange;
mod layer;
mod service;

pub use exchange::ServerExchange;
pub use layer::{
    ConfiguredOtelMlLayer, DefaultHooks, OtelMlLayer, OtelMlLayerBuilder, ServerOptions,
};
pub use service::{Framework, OtelMl, Route, Tower};
