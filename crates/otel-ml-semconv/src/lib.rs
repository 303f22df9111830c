#![doc = include_str!("../README.md")]
#![no_std]

mod attribute;
mod brokers;
pub mod db;
pub mod deployment;
mod errors;
pub mod gen_ai;
pub mod http;
pub mod metric;
pub mod ml;
pub mod otel;
mod peers;
pub mod rpc;
pub mod service;
pub mod url;
mod users;

pub use attribute::{Attribute, Stability, ValueType};
pub use brokers::{kafka, messaging, rabbitmq};
pub use errors::{error, exception};
pub use metric::{Instrument, Metric};
pub use peers::{client, network, server};
pub use users::{user, user_agent};

/// The schema the names of this crate follow, to be set on the instrumentation scope.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.45.0";

const ATTRIBUTES: &[&[Attribute]] = &[
    client::ATTRIBUTES,
    db::ATTRIBUTES,
    deployment::ATTRIBUTES,
    error::ATTRIBUTES,
    exception::ATTRIBUTES,
    gen_ai::ATTRIBUTES,
    http::ATTRIBUTES,
    kafka::ATTRIBUTES,
    messaging::ATTRIBUTES,
    ml::ATTRIBUTES,
    network::ATTRIBUTES,
    otel::ATTRIBUTES,
    rabbitmq::ATTRIBUTES,
    rpc::ATTRIBUTES,
    server::ATTRIBUTES,
    service::ATTRIBUTES,
    url::ATTRIBUTES,
    user::ATTRIBUTES,
    user_agent::ATTRIBUTES,
];

const METRICS: &[&[Metric]] = &[
    db::metric::METRICS,
    gen_ai::metric::METRICS,
    http::metric::METRICS,
    messaging::metric::METRICS,
    ml::metric::METRICS,
    otel::metric::METRICS,
    rpc::metric::METRICS,
];

/// Every attribute of this crate.
pub fn attributes() -> impl Iterator<Item = &'static Attribute> {
    ATTRIBUTES.iter().copied().flatten()
}

/// Every metric of this crate.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().copied().flatten()
}

/// The type of the attribute recorded as `key`, a member of a key family included; `None` for a key
/// this crate doesn't know.
///
/// Searches the whole registry: for tests and tools, not for a request's path.
#[must_use]
pub fn attribute_type(key: &str) -> Option<ValueType> {
    attributes()
        .find(|attribute| attribute.matches(key))
        .map(|attribute| attribute.value_type)
}
