//! What `otel-ml` costs: the programs that are measured.
//!
//! A measured process holds one [`Subject`]: a suite's work in one variant under one
//! condition. There is one process for each, since global providers are set once.

pub mod condition;
pub mod floor;
pub mod layers;
#[cfg(feature = "peers")]
mod peers;
pub mod plot;
mod poll;
pub mod rounds;
mod subject;
pub mod suites;

pub use subject::{Choice, Counted, Subject, SubjectError};
