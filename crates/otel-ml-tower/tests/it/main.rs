//! The HTTP layers as their users see them: over services made by hand, without a network.

#![cfg(test)]

mod body_passes;
mod client_attributes;
mod client_ends;
mod context;
mod filters;
mod forwarded;
mod isolation;
mod panics;
mod propagation;
mod relay;
mod secrets;
mod server_attributes;
mod server_body;
mod server_ends;
mod server_hooks;
mod server_metrics;
mod service;
mod support;
mod unrecorded;
