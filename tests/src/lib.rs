//! What the tests across crates share.

mod memory;

pub use memory::{MemoryHeaders, MemoryMessage};

/// The repository's front page: its example is compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct FrontPage;
