#![doc = include_str!("../README.md")]

mod body;
pub mod client;
mod filter;
mod future;
mod peer;
mod request;
pub mod server;
mod start;

pub use otel_ml;

pub use body::{Exchange, InstrumentedBody, Streamed, WrapBody, is_small};
pub use client::{OtelMlClientLayer, OtelMlClientLayerBuilder, ResendCount, UrlTemplate};
pub use filter::{DefaultFilter, NoHealthChecks, NoStaticFiles};
pub use future::ResponseFuture;
pub use peer::PeerAddress;
pub use request::RequestHead;
pub use server::{OtelMlLayer, OtelMlLayerBuilder, Route};
pub use start::{receive, send};
