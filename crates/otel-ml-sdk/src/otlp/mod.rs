//! Export by OTLP.

mod resolve;
mod settings;
#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
mod tls;
#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
mod transport;

pub(crate) use resolve::{Resolved, Signal};
pub use settings::{Compression, Otlp, Protocol};
#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
pub(crate) use transport::Transport;
