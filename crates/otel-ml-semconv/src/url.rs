//! What a request is addressed to: `url.*`.

use crate::attribute::attributes;

attributes! {
    source: "semantic-conventions 1.45.0, url";

    /// The absolute address, without credentials and with [`REDACTED_QUERY_KEYS`] and
    /// [`CREDENTIAL_QUERY_KEYS`] redacted.
    /// Required on HTTP client spans.
    FULL: String, Stable = "url.full";
    /// The path. Required on HTTP server spans; unbounded, never a metric label.
    PATH: String, Stable = "url.path";
    /// The query without its question mark, redacted as [`FULL`]. Required on HTTP server spans
    /// that have one.
    QUERY: String, Stable = "url.query";
    /// The scheme the caller used. Required on HTTP server spans.
    SCHEME: String, Stable = "url.scheme";
    /// The template a client made the path from. Opt-in.
    TEMPLATE: String, Development = "url.template";
}

/// Query keys whose values are credentials: the key stays, the value becomes [`REDACTED`]. Compared
/// with case.
pub const REDACTED_QUERY_KEYS: &[&str] = &[
    "AWSAccessKeyId",
    "Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Goog-Signature",
    "sig",
];

/// Query keys that are credentials by what they are called, beyond those of the conventions: model
/// providers take API keys this way. Compared without case.
pub const CREDENTIAL_QUERY_KEYS: &[&str] = &[
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "client_secret",
    "key",
    "password",
    "secret",
    "token",
];

/// Stands in place of a user name, a password or a credential.
pub const REDACTED: &str = "REDACTED";
