//! Both ends of an exchange, and the network between them.

/// The logical caller: `client.*`.
pub mod client {
    use crate::attribute::attributes;

    attributes! {
        source: "semantic-conventions 1.45.0, client";

        /// The caller behind all proxies, from `Forwarded` or `X-Forwarded-For`, else the peer.
        /// Recommended on server spans.
        ADDRESS: String, Stable = "client.address";
        /// The caller's port. Opt-in.
        PORT: Int, Stable = "client.port";
    }
}

/// The logical server: `server.*`.
pub mod server {
    use crate::attribute::attributes;

    attributes! {
        source: "semantic-conventions 1.45.0, server";

        /// The server's name as the caller knows it. Required on HTTP and gRPC client spans,
        /// recommended elsewhere.
        ADDRESS: String, Stable = "server.address";
        /// The server's port. Required with [`ADDRESS`] where one is known.
        PORT: Int, Stable = "server.port";
    }
}

/// The connection itself: `network.*`.
pub mod network {
    use crate::attribute::attributes;

    attributes! {
        source: "semantic-conventions 1.45.0, network";

        /// Address of the other end of the socket. Recommended.
        PEER_ADDRESS: String, Stable = "network.peer.address";
        /// Port of the other end of the socket. Recommended with [`PEER_ADDRESS`].
        PEER_PORT: Int, Stable = "network.peer.port";
        /// Address of this end of the socket. Opt-in.
        LOCAL_ADDRESS: String, Stable = "network.local.address";
        /// Port of this end of the socket. Opt-in.
        LOCAL_PORT: Int, Stable = "network.local.port";
        /// The application protocol. Required on HTTP spans when it is not `http`.
        PROTOCOL_NAME: String, Stable = "network.protocol.name";
        /// The protocol's version, one of [`protocol_version`] for HTTP. Recommended.
        PROTOCOL_VERSION: String, Stable = "network.protocol.version";
        /// The transport, one of [`transport`]. Opt-in.
        TRANSPORT: String, Stable = "network.transport";
    }

    /// Values of [`PROTOCOL_VERSION`] for HTTP.
    pub mod protocol_version {
        crate::attribute::values! {
            /// HTTP/1.0.
            HTTP_1_0 = "1.0";
            /// HTTP/1.1.
            HTTP_1_1 = "1.1";
            /// HTTP/2, without a minor number.
            HTTP_2 = "2";
            /// HTTP/3, without a minor number.
            HTTP_3 = "3";
        }
    }

    /// Values of [`TRANSPORT`].
    pub mod transport {
        crate::attribute::values! {
            /// TCP.
            TCP = "tcp";
            /// UDP.
            UDP = "udp";
            /// A pipe, named or anonymous.
            PIPE = "pipe";
            /// A Unix domain socket.
            UNIX = "unix";
            /// QUIC.
            QUIC = "quic";
        }
    }
}
