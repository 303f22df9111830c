//! What the tests across crates share.

mod memory;

pub use memory::{MemoryHeaders, MemoryMessage};
