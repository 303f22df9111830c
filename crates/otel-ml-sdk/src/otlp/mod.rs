//! Export by OTLP.

#[cfg(feature = "otlp-grpc")]
mod grpc;
mod headers;
#[cfg(feature = "otlp-http")]
mod http;
mod resolve;
mod settings;
#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
mod tls;
#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
mod transport;

#[cfg(feature = "otlp-http")]
pub(crate) use http::proxy_for;
pub(crate) use resolve::{Resolved, Signal};
pub use settings::{Compression, Otlp, Protocol};
#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
pub(crate) use transport::Transport;
