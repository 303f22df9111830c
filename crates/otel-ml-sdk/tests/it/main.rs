//! The set-up through its public API.

#![cfg(test)]

mod alone;
mod file;
mod files_alone;
#[cfg(any(feature = "tracing", feature = "log"))]
mod log;
#[cfg(all(feature = "otlp-grpc", feature = "otlp-http"))]
mod otlp;
#[cfg(all(feature = "otlp-grpc", feature = "otlp-http"))]
mod propagators;
mod readme;
#[cfg(all(feature = "otlp-grpc", feature = "otlp-http"))]
mod settings;
