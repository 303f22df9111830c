//! gRPC over loopback connections.

#![cfg(test)]

mod cuts;
mod ends;
mod metrics;
mod names;
mod options;
mod streams;
mod support;
mod wire;
