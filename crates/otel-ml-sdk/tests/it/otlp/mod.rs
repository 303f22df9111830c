//! Export by OTLP to a Collector in the process, over both protocols.

mod arrives;
mod ends;
mod environment;
mod lost;
mod sink;
mod starts;

use std::sync::mpsc;
use std::time::Duration;

use otel_ml_sdk::{Batch, Builder, Otlp, Protocol, builder};
use sink::Sink;

const PROTOCOLS: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

/// Long enough that a test which waits for it has failed.
const LONG: Duration = Duration::from_secs(30);

/// Sends to `endpoint` and nowhere else, whatever variables are set.
fn sending_to(endpoint: String, protocol: Protocol) -> Builder {
    sending_within(Duration::from_secs(2), endpoint, protocol)
}

/// The same, and gives an export up after so long.
fn sending_within(longest: Duration, endpoint: String, protocol: Protocol) -> Builder {
    let otlp = Otlp::new()
        .endpoint(endpoint)
        .protocol(protocol)
        .timeout(longest);
    builder().variables(|_| None).otlp(otlp)
}

fn sending(sink: &Sink, protocol: Protocol) -> Builder {
    sending_to(sink.endpoint(), protocol)
}

/// Nothing is exported before it must be.
fn patient(builder: Builder) -> Builder {
    let batch = Batch::new().delay(LONG);
    builder
        .span_batches(batch)
        .log_batches(batch)
        .metric_interval(LONG)
}

/// Fails the test in place of hanging.
fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    wait.recv_timeout(LONG).expect("it came to no end")
}
