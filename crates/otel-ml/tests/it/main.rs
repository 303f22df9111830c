//! The crate as its users see it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests"
)]

mod b3;
mod carriers;
mod instruments;
mod messaging;
mod ml_span;
mod operation;
mod propagation;
mod selfcheck;
mod support;
mod tasks;
mod telemetry;
