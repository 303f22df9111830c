//! What the pipeline computes: question answering over a folder of text files.
//!
//! Every hop is a plain function or a small type, without telemetry, HTTP or async,
//! so that each service file shows only what wrapping such a piece takes.
//! In the order a request meets them: [`preprocess`], [`features`], [`embed`],
//! [`retrieve`], [`rerank`], [`generate`], [`postprocess`].
//! The same input always gives the same output.
//!
//! [`corpus`] loads the files and is shared, read only, by the hops that look at text;
//! between hops only questions, vectors, ids and scores travel.

pub mod compose;
pub mod corpus;
pub mod embed;
pub mod features;
pub mod generate;
pub mod passage;
pub mod postprocess;
pub mod preprocess;
pub mod questions;
pub mod rerank;
pub mod retrieve;
pub mod tokens;

mod cutter;
mod extract;
mod folder;
mod markdown;
mod plain;
mod text;

#[cfg(test)]
mod story;
