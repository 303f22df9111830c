//! HTTP requests, served and sent: `http.*`.
//!
//! Sizes count bytes of the body as transferred. Levels are those of the HTTP span conventions.

use crate::attribute::attributes;

attributes! {
    source: "semantic-conventions 1.45.0, http";

    /// The method, one of [`method::ALL`] or [`method::OTHER`]. Required.
    REQUEST_METHOD: String, Stable = "http.request.method";
    /// The method as sent. Required when it differs from [`REQUEST_METHOD`].
    REQUEST_METHOD_ORIGINAL: String, Stable = "http.request.method_original";
    /// How often this request had been sent before, on a client. Recommended from 1 on.
    REQUEST_RESEND_COUNT: Int, Stable = "http.request.resend_count";
    /// Prefix, followed by a lower-case header name: that request header's values. Opt-in, by an
    /// allow-list only.
    REQUEST_HEADER_PREFIX: StringArray, Stable = "http.request.header.";
    /// Bytes of the request's body. Opt-in.
    REQUEST_BODY_SIZE: Int, Development = "http.request.body.size";
    /// The request's body itself. Opt-in, never by default: it is user content.
    REQUEST_BODY_CONTENT: Any, Development = "http.request.body.content";
    /// Bytes of the whole request: line, headers and body. Opt-in.
    REQUEST_SIZE: Int, Development = "http.request.size";
    /// The status code. Required once one was sent or received.
    RESPONSE_STATUS_CODE: Int, Stable = "http.response.status_code";
    /// Prefix, followed by a lower-case header name: that response header's values. Opt-in, by an
    /// allow-list only.
    RESPONSE_HEADER_PREFIX: StringArray, Stable = "http.response.header.";
    /// Bytes of the response's body. Opt-in.
    RESPONSE_BODY_SIZE: Int, Development = "http.response.body.size";
    /// The response's body itself. Opt-in, never by default: it is user content.
    RESPONSE_BODY_CONTENT: Any, Development = "http.response.body.content";
    /// Bytes of the whole response: line, headers and body. Opt-in.
    RESPONSE_SIZE: Int, Development = "http.response.size";
    /// The matched route template with the application's root, on a server. Required when the
    /// framework knows it; never the path.
    ROUTE: String, Stable = "http.route";
}

/// Stands for the method in a span's name when [`REQUEST_METHOD`] is [`method::OTHER`].
pub const SPAN_NAME_METHOD_OTHER: &str = "HTTP";

/// Environment variable that replaces [`method::ALL`] by a comma-separated list of its own.
pub const KNOWN_METHODS_ENV: &str = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS";

/// Values of [`REQUEST_METHOD`].
pub mod method {
    crate::attribute::values! {
        /// A tunnel to the server the target names.
        CONNECT = "CONNECT";
        /// Removes the target.
        DELETE = "DELETE";
        /// Reads the target.
        GET = "GET";
        /// As `GET`, without the body.
        HEAD = "HEAD";
        /// Asks what the target allows.
        OPTIONS = "OPTIONS";
        /// Changes a part of the target.
        PATCH = "PATCH";
        /// Hands content to the target.
        POST = "POST";
        /// Replaces the target.
        PUT = "PUT";
        /// A safe request that carries its query as content. In development upstream.
        QUERY = "QUERY";
        /// Echoes the request.
        TRACE = "TRACE";
    }

    /// Any method outside [`ALL`]; compared exactly, case included.
    pub const OTHER: &str = "_OTHER";
}

/// Metrics of HTTP servers and clients.
///
/// The body-size histograms have no bounds of their own upstream: the SDK's apply.
pub mod metric {
    use crate::metric::{boundaries::REQUEST_SECONDS, metrics};

    metrics! {
        source: "semantic-conventions 1.45.0, http";

        "Time a server spends on a request, to the end of the response body."
        /// Labels: method and scheme; where they apply error type, status code, route, protocol.
        SERVER_REQUEST_DURATION: Histogram, Stable =
            "http.server.request.duration", "s", REQUEST_SECONDS;

        "Requests a server is working on."
        /// Labels: method and scheme, the same when it goes up and when it goes down.
        SERVER_ACTIVE_REQUESTS: UpDownCounter, Development =
            "http.server.active_requests", "{request}";

        "Size of the request bodies a server received."
        /// Labels: as the duration.
        SERVER_REQUEST_BODY_SIZE: Histogram, Development = "http.server.request.body.size", "By";

        "Size of the response bodies a server sent."
        /// Labels: as the duration.
        SERVER_RESPONSE_BODY_SIZE: Histogram, Development = "http.server.response.body.size", "By";

        "Time from sending a request to the end of its response."
        /// Labels: method, server address and port; where they apply error type, status code,
        /// protocol.
        CLIENT_REQUEST_DURATION: Histogram, Stable =
            "http.client.request.duration", "s", REQUEST_SECONDS;

        "Requests a client has sent and not finished."
        /// Labels: server address and port, method.
        CLIENT_ACTIVE_REQUESTS: UpDownCounter, Development =
            "http.client.active_requests", "{request}";

        "Size of the request bodies a client sent."
        /// Labels: as the duration.
        CLIENT_REQUEST_BODY_SIZE: Histogram, Development = "http.client.request.body.size", "By";

        "Size of the response bodies a client received."
        /// Labels: as the duration.
        CLIENT_RESPONSE_BODY_SIZE: Histogram, Development = "http.client.response.body.size", "By";
    }
}
