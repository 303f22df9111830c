//! How every assertion of this crate speaks.

/// Panics with `message`, at the line of the test that asserted.
#[track_caller]
#[expect(clippy::panic, reason = "an assertion speaks by panicking")]
pub(crate) fn fail(message: &str) -> ! {
    panic!("{message}")
}
