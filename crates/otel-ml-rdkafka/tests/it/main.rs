//! Against a broker inside the process, or the one that `KAFKA_BOOTSTRAP` names.

#![cfg(test)]

mod batches;
mod commits;
mod forwarding;
mod headers;
mod processing;
mod sends;
mod sends_fail;
mod stats;
mod support;
mod topics;
mod unrecorded;
