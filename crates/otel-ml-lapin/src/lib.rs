#![doc = include_str!("../README.md")]

pub mod carrier;
mod consumer;
mod delivery;
mod destination;
mod error;
mod producer;
mod publish;
mod puller;
mod received;
mod returns;
mod settle;

pub use lapin;
pub use otel_ml;

pub use consumer::{OtelMlConsumer, OtelMlConsumerBuilder};
pub use delivery::OtelMlDelivery;
pub use error::error_type;
pub use producer::{OtelMlProducer, OtelMlProducerBuilder};
pub use publish::{Confirming, Outgoing};
pub use puller::{OtelMlPuller, Pulled};
pub use received::Received;

/// The hooks of a producer or consumer that was not told otherwise.
pub type DefaultHooks = otel_ml::hooks::Hooks<(), (), ()>;
