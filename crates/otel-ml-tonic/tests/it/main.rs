//! gRPC over loopback connections.

#![cfg(test)]

mod clocks;
mod cuts;
mod ends;
mod http;
mod metrics;
mod names;
mod options;
mod streams;
mod support;
mod wire;
