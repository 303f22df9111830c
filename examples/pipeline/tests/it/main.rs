//! The pipeline as a whole: started in process on a small corpus, asked over HTTP, and judged by
//! the files it writes.

#![cfg(test)]

mod amqp;
mod cli;
mod disconnect;
mod input;
mod kafka;
mod load;
mod logs;
mod otlp;
mod reranking;
mod shape;
mod sink;
mod support;
mod trace;
