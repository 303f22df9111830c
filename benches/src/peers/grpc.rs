//! Layers around gRPC services.

use tonic_tracing_opentelemetry::middleware;

/// The peer's layer of a server.
pub(crate) fn server() -> middleware::server::OtelGrpcLayer {
    middleware::server::OtelGrpcLayer::default()
}

/// The peer's layer of a client.
pub(crate) fn client() -> middleware::client::OtelGrpcLayer {
    middleware::client::OtelGrpcLayer
}
