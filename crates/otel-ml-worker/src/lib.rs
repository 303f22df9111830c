#![doc = include_str!("../README.md")]

mod batch;
mod buffer;
mod carry;
mod envelope;
mod job;
mod memory;
mod phases;
mod producer;
mod queue;
#[cfg(feature = "rayon")]
pub mod rayon;
mod scoped;
mod task;
mod traced;

pub use otel_ml;
pub use tokio;

pub use batch::{BatchBuilder, BatchOperation, Trigger};
pub use buffer::{BufferLayers, Capture, CaptureLayer, Restore, RestoreLayer};
pub use carry::{Carried, carry, carry_each, carry_fn, carry_stream};
pub use envelope::{Envelope, EnvelopeError, EnvelopeErrorKind};
pub use job::{Job, RunJob, job};
pub use memory::{KvCache, ModelBytes};
pub use phases::Phases;
pub use producer::OtelMlProducer;
pub use queue::{Queue, QueueBuilder};
pub use task::{JoinSet, spawn, spawn_blocking, spawn_thread};
pub use traced::{Opened, Traced};
