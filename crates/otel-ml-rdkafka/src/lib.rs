#![doc = include_str!("../README.md")]

pub mod carrier;
mod consumer;
mod error;
mod producer;
mod received;
mod record;
mod send;
mod settle;
mod stats;
mod topic;

pub use otel_ml;
pub use rdkafka;

pub use consumer::{OtelMlConsumer, OtelMlConsumerBuilder};
pub use error::error_type;
pub use producer::{OtelMlProducer, OtelMlProducerBuilder};
pub use received::{Batch, IntoReceived, Received};
pub use record::Record;
pub use send::{Delivering, Outgoing};
pub use stats::{StatsContext, StatsMetrics};

/// The hooks of a producer or consumer that was not told otherwise.
pub type DefaultHooks = otel_ml::hooks::Hooks<(), (), ()>;
