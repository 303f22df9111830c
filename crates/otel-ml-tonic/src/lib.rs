#![doc = include_str!("../README.md")]

mod body;
mod call;
pub mod carrier;
pub mod client;
mod filter;
mod interceptor;
mod messages;
mod method;
pub mod server;
mod status;
mod target;

pub use otel_ml_tower::{InstrumentedBody, PeerAddress, RequestHead, ResponseFuture, otel_ml};
pub use tonic;

pub use client::{OtelMlClientLayer, OtelMlClientLayerBuilder};
pub use filter::{DefaultFilter, NoHealthChecks, NoReflection};
pub use interceptor::{OtelMlClientInterceptor, OtelMlInterceptor, SenderContext};
pub use server::{OtelMlLayer, OtelMlLayerBuilder};
