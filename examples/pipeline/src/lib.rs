//! An inference platform in one process: eight services that answer questions from a folder of
//! text files, each with telemetry of its own, and the command that runs them.
//!
//! Start with [`hops`]: a file for each service, to copy from. [`client`] and [`rpc`] are how they
//! call each other, [`pipeline`] starts them, [`telemetry`] sets their providers up, [`engine`] is what
//! they compute.

pub mod amqp;
pub mod app;
pub mod asker;
pub mod cli;
pub mod client;
pub mod engine;
pub mod hops;
pub mod kafka;
pub mod load;
pub mod openai;
pub mod pipeline;
pub mod print;
pub mod problem;
pub mod rpc;
pub mod service;
pub mod telemetry;
pub mod verify;
