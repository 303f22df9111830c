//! Who is at the other end of a connection.

use std::net::SocketAddr;

use otel_ml::semconv::network;
use otel_ml::{Attributes, End};

/// The address at the other end of the connection, as an extension: of a request, for servers
/// that know it; of a response, for clients that do. It becomes `network.peer.*` and, on a
/// server without a forwarding proxy, `client.address`.
///
/// hyper-util's client says it in an extension of its own, `HttpInfo`. A `map_response` between
/// it and the layer hands it on:
///
/// ```
/// use std::net::SocketAddr;
/// use otel_ml_tower::PeerAddress;
///
/// # #[derive(Clone)] struct HttpInfo(SocketAddr);
/// # impl HttpInfo { fn remote_addr(&self) -> SocketAddr { self.0 } }
/// fn with_peer<B>(mut response: http::Response<B>) -> http::Response<B> {
///     if let Some(info) = response.extensions().get::<HttpInfo>() {
///         let peer = PeerAddress(info.remote_addr());
///         response.extensions_mut().insert(peer);
///     }
///     response
/// }
/// # let mut response = http::Response::new(());
/// # response.extensions_mut().insert(HttpInfo(([10, 0, 0, 7], 443).into()));
/// # let peer = with_peer(response).extensions().get::<PeerAddress>().copied();
/// # assert_eq!(peer, Some(PeerAddress(([10, 0, 0, 7], 443).into())));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

impl PeerAddress {
    /// Adds it to what a span starts with.
    pub fn push(self, to: &mut Attributes) {
        to.push(network::PEER_ADDRESS, self.0.ip().to_string());
        to.push(network::PEER_PORT, i64::from(self.0.port()));
    }

    /// Adds it to a span that ends.
    pub fn record(self, end: &mut End<'_>) {
        if end.is_recording() {
            end.set(network::PEER_ADDRESS, self.0.ip().to_string());
            end.set(network::PEER_PORT, i64::from(self.0.port()));
        }
    }
}
