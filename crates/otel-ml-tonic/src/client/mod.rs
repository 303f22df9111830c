//! Calls that are made.

mod exchange;
mod layer;
mod service;

pub use exchange::ClientExchange;
pub use layer::{
    ClientOptions, ConfiguredOtelMlClientLayer, DefaultHooks, OtelMlClientLayer,
    OtelMlClientLayerBuilder,
};
pub use service::OtelMlClient;
