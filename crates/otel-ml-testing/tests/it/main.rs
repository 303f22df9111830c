//! The crate as its users see it.

mod invariants;
mod matrix;
mod metrics;
mod mock;
mod setup;
mod tree;
mod waterfall;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `assertion` says when it fails; the test fails when it does not.
#[track_caller]
#[expect(clippy::expect_used, reason = "a test helper")]
fn message_of<T: std::fmt::Debug>(assertion: impl FnOnce() -> T) -> String {
    let payload = catch_unwind(AssertUnwindSafe(assertion)).expect_err("the assertion held");
    *payload.downcast::<String>().expect("a text")
}
