//! What the tests across crates share.

mod memory;
#[allow(clippy::expect_used, clippy::panic, reason = "it is part of tests")]
mod peers;

pub use memory::{MemoryHeaders, MemoryMessage};
pub use peers::{Running, free_port, of_kind, python, unique};

/// The repository's front page: its example is compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct FrontPage;
