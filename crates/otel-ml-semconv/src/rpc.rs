//! Remote procedure calls, gRPC above all: `rpc.*`.

use crate::attribute::attributes;

attributes! {
    source: "semantic-conventions 1.45.0, rpc";

    /// The system, one of [`system`]. Required.
    SYSTEM_NAME: String, Stable = "rpc.system.name";
    /// `package.Service/Method` without a leading slash, or [`METHOD_OTHER`] on a server that
    /// doesn't have it. Required on clients, and on servers where known.
    METHOD: String, Stable = "rpc.method";
    /// The method as sent. Required when [`METHOD`] is [`METHOD_OTHER`].
    METHOD_ORIGINAL: String, Stable = "rpc.method_original";
    /// The status by name, one of [`grpc_status`] for gRPC. Required.
    STATUS_CODE: String, Stable = "rpc.status_code";
    /// Prefix, followed by a lower-case key: that request metadata's values. Opt-in, by an
    /// allow-list only.
    REQUEST_METADATA_PREFIX: StringArray, Development = "rpc.request.metadata.";
    /// Prefix, followed by a lower-case key: that response metadata's values. Opt-in, by an
    /// allow-list only.
    RESPONSE_METADATA_PREFIX: StringArray, Development = "rpc.response.metadata.";
}

/// [`METHOD`] of a call to a method the server doesn't have.
pub const METHOD_OTHER: &str = "_OTHER";

/// Values of [`SYSTEM_NAME`].
pub mod system {
    crate::attribute::values! {
        /// gRPC.
        GRPC = "grpc";
    }
}

/// Values of [`STATUS_CODE`] for gRPC. [`ALL`](grpc_status::ALL) is in the order of the numeric
/// codes, so that the code is the index.
pub mod grpc_status {
    crate::attribute::values! {
        /// 0: success.
        OK = "OK";
        /// 1: cancelled, as a rule by the caller.
        CANCELLED = "CANCELLED";
        /// 2: an error nothing is known of.
        UNKNOWN = "UNKNOWN";
        /// 3: an argument is wrong whatever the system's state.
        INVALID_ARGUMENT = "INVALID_ARGUMENT";
        /// 4: the deadline passed first.
        DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED";
        /// 5: what was asked for doesn't exist.
        NOT_FOUND = "NOT_FOUND";
        /// 6: what was to be made exists already.
        ALREADY_EXISTS = "ALREADY_EXISTS";
        /// 7: the caller may not do this.
        PERMISSION_DENIED = "PERMISSION_DENIED";
        /// 8: a quota or a resource is used up.
        RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED";
        /// 9: the system's state doesn't allow it.
        FAILED_PRECONDITION = "FAILED_PRECONDITION";
        /// 10: aborted, as a rule by a conflict.
        ABORTED = "ABORTED";
        /// 11: past the valid range.
        OUT_OF_RANGE = "OUT_OF_RANGE";
        /// 12: no such method.
        UNIMPLEMENTED = "UNIMPLEMENTED";
        /// 13: an invariant is broken.
        INTERNAL = "INTERNAL";
        /// 14: not to be reached now; worth a retry.
        UNAVAILABLE = "UNAVAILABLE";
        /// 15: data is lost or damaged.
        DATA_LOSS = "DATA_LOSS";
        /// 16: who the caller is isn't known.
        UNAUTHENTICATED = "UNAUTHENTICATED";
    }

    /// The codes that make a **server** span an error; on a client every code but [`OK`] does.
    pub const SERVER_ERRORS: &[&str] = &[
        UNKNOWN,
        DEADLINE_EXCEEDED,
        UNIMPLEMENTED,
        INTERNAL,
        UNAVAILABLE,
        DATA_LOSS,
    ];
}

/// Metrics of RPC servers and clients.
pub mod metric {
    use crate::metric::{boundaries::REQUEST_SECONDS, metrics};

    metrics! {
        source: "semantic-conventions 1.45.0, rpc";

        "Time a server spends on a call, all its messages included."
        /// Labels: system; where they apply method, status code, error type.
        SERVER_CALL_DURATION: Histogram, Stable = "rpc.server.call.duration", "s", REQUEST_SECONDS;

        "Time a client waits for a call, all its messages and retries included."
        /// Labels: system; where they apply method, status code, error type, server address and
        /// port.
        CLIENT_CALL_DURATION: Histogram, Stable = "rpc.client.call.duration", "s", REQUEST_SECONDS;
    }
}
