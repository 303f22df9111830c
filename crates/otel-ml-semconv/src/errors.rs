//! Why an operation failed.

/// The class of a failure: `error.*`.
pub mod error {
    use crate::attribute::attributes;

    attributes! {
        source: "semantic-conventions 1.45.0, error";

        /// A low-cardinality class of the failure: a status, a type's name, or one of the constants
        /// below. Required on whatever failed, absent from what succeeded.
        TYPE: String, Stable = "error.type";
    }

    /// A failure no better class is known for.
    pub const OTHER: &str = "_OTHER";
    /// The instrumented code panicked. Ours.
    pub const PANIC: &str = "panic";
    /// A time limit passed. Ours.
    pub const TIMEOUT: &str = "timeout";
    /// The operation was given up before its end; `ml.cancel.reason` says why. Ours.
    pub const CANCELLED: &str = "cancelled";
}

/// An exception or error value: `exception.*`.
pub mod exception {
    use crate::attribute::attributes;

    attributes! {
        source: "semantic-conventions 1.45.0, exception";

        /// The error's message. Required where [`TYPE`] is absent; may hold user data.
        MESSAGE: String, Stable = "exception.message";
        /// The stack as text. Recommended.
        STACKTRACE: String, Stable = "exception.stacktrace";
        /// The error's type. Required where [`MESSAGE`] is absent.
        TYPE: String, Stable = "exception.type";
    }

    /// Name of the span event that carries these attributes.
    pub const EVENT: &str = "exception";
}
