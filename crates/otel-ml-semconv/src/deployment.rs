//! Where a program is deployed, on its resource: `deployment.*`.

use crate::attribute::attributes;

attributes! {
    source: "semantic-conventions 1.45.0, deployment";

    /// The environment: see [`environment`]. Recommended.
    ENVIRONMENT_NAME: String, Stable = "deployment.environment.name";
}

/// Values of [`ENVIRONMENT_NAME`]; others are allowed.
pub mod environment {
    crate::attribute::values! {
        /// Where it is written.
        DEVELOPMENT = "development";
        /// Where it is used.
        PRODUCTION = "production";
        /// Where it is tried before.
        STAGING = "staging";
        /// Where it is tested.
        TEST = "test";
    }
}
