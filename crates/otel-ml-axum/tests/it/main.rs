//! Routers as their users run them: served over the loopback interface.

#![cfg(test)]

mod extract;
mod instrument;
mod network;
mod panics;
mod routes;
mod streams;
mod support;
mod upgrade;
