//! What services send by OTLP, and a real OpenTelemetry Collector: what arrives there, and what
//! becomes of the service and of its telemetry where the Collector is down, slow, refuses or is
//! not to be trusted.
//!
//! It wants the Collector's binary, by the variable `OTEL_ML_OTELCOL`, and is therefore no part
//! of a plain `cargo test`: `./scripts/test --only collector` builds the one and runs the other.

#![cfg(test)]

mod arrives;
mod hanging;
mod memory;
mod otelcol;
mod outages;
mod pipeline;
mod received;
mod refusals;
mod service;
mod tls;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use otel_ml_sdk::{Batch, Builder, Exported, Otlp, Protocol, builder};

/// Long enough that what takes longer has failed.
const LONG: Duration = Duration::from_secs(60);

/// The start-up and the end wait for no Collector: what waits for one takes [`LONG`], or the time
/// that an export has.
const AT_ONCE: Duration = Duration::from_secs(5);

/// What a shutdown may take unless told otherwise, and what a busy machine adds.
const BY_DEFAULT: Duration = Duration::from_secs(10 + 5);

/// Runs `test` over both protocols, side by side; a failure names the one it was over.
fn over_both(test: impl Fn(Protocol) + Sync) {
    thread::scope(|scope| {
        for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
            let name = format!("over {protocol:?}");
            let test = &test;
            let thread = thread::Builder::new().name(name);
            thread.spawn_scoped(scope, move || test(protocol)).unwrap();
        }
    });
}

/// What `work` comes to. Fails the test in place of hanging.
fn within<T: Send + 'static>(longest: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    wait.recv_timeout(longest)
        .unwrap_or_else(|error| panic!("no end within {longest:?}: {error}"))
}

/// Where OTLP goes to. An export is given up after a few seconds: some tests wait for that.
fn to(endpoint: impl Into<String>, protocol: Protocol) -> Otlp {
    Otlp::new()
        .endpoint(endpoint)
        .protocol(protocol)
        .timeout(Duration::from_secs(5))
}

/// A set-up that sends by `otlp` and nowhere else, whatever variables are set, and nothing
/// before it must.
fn patient(otlp: Otlp) -> Builder {
    let batch = Batch::new().delay(LONG);
    builder()
        .variables(|_| None)
        .otlp(otlp)
        .span_batches(batch)
        .log_batches(batch)
        .metric_interval(LONG)
}

/// All that is accounted for.
const fn all(counts: Exported) -> u64 {
    counts.exported + counts.failed + counts.dropped
}
