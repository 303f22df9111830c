//! What otel-ml-worker does, through its public API.

#![cfg(test)]

mod batch;
mod batch_ends;
mod batch_links;
mod buffer;
mod carry;
mod consumer;
mod envelope;
mod envelope_bytes;
mod job_ends;
mod jobs;
mod many;
mod matrix;
mod memory;
mod overload;
mod phases;
mod producer;
#[cfg(feature = "rayon")]
mod rayon;
mod support;
mod traced;
