//! Who asks, and with which program.

/// The user on whose behalf something is done: `user.*`. Personal data: opt-in, spans only.
pub mod user {
    use crate::attribute::attributes;

    attributes! {
        source: "semantic-conventions 1.45.0, user";

        /// The user's identifier. Opt-in.
        ID: String, Development = "user.id";
        /// The roles the user holds. Opt-in.
        ROLES: StringArray, Development = "user.roles";
    }
}

/// The calling program: `user_agent.*`.
pub mod user_agent {
    use crate::attribute::attributes;

    attributes! {
        source: "semantic-conventions 1.45.0, user_agent";

        /// The `User-Agent` header. Recommended on HTTP server spans.
        ORIGINAL: String, Stable = "user_agent.original";
        /// One of [`synthetic_type`], when the caller is no person's program. Opt-in.
        SYNTHETIC_TYPE: String, Development = "user_agent.synthetic.type";
    }

    /// Values of [`SYNTHETIC_TYPE`].
    pub mod synthetic_type {
        crate::attribute::values! {
            /// A crawler or the like.
            BOT = "bot";
            /// A test or a probe.
            TEST = "test";
        }
    }
}
