//! What is left behind by a set-up that fails, and what is said of a Collector that is not there:
//! each test has a process of its own.

#![cfg(target_os = "linux")]

use std::fs;
use std::net::TcpListener;
use std::time::Instant;

use opentelemetry::KeyValue;
use opentelemetry::global;
use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use otel_ml_sdk::file::FileExporter;
use otel_ml_sdk::{Batch, Builder, Destination, Otlp, Protocol};

use super::sink::{Manners, Sink};
use super::{LONG, patient};
use crate::alone::alone;

const ENDPOINT: &str = "TEST_ENDPOINT";

/// Waits until no thread has a name that begins so: the system keeps 15 bytes of it. A thread that
/// has only begun still has the name of this one.
fn wait_until_gone(name: &str) {
    let deadline = Instant::now() + LONG;
    let own = fs::read_to_string("/proc/thread-self/comm").unwrap();
    let is_there = || {
        let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = threads.filter_map(|it| fs::read_to_string(it.path().join("comm")).ok());
        let names: Vec<_> = names.collect();
        let starting = names.iter().filter(|known| **known == own).count() > 1;
        starting || names.iter().any(|known| known.starts_with(name))
    };
    while is_there() {
        assert!(Instant::now() < deadline, "a thread {name} is left");
        std::thread::yield_now();
    }
}

const READER: &str = "OpenTelemetry.M";

/// Sends its metrics to the sink, and fails by a setting that is read after theirs.
fn failing(more: fn(&str) -> Option<&str>) -> Builder {
    let endpoint = std::env::var(ENDPOINT).unwrap();
    otel_ml_sdk::builder()
        .variables(move |name| more(name).map(str::to_owned))
        .metric_interval(std::time::Duration::from_millis(1))
        .otlp(
            Otlp::new()
                .protocol(Protocol::HttpProtobuf)
                .endpoint(endpoint),
        )
}

#[test]
fn an_init_that_fails_leaves_no_reader_of_metrics_and_no_export() {
    let sink = Sink::start(Protocol::HttpProtobuf, Manners::Takes);
    let endpoint = sink.endpoint();
    for name in ["failing_for_traces", "failing_for_metrics"] {
        let name = format!("otlp::starts::{name}");
        alone(&name, &[(ENDPOINT, endpoint.as_str())]);
    }
    assert!(sink.taken().headers.is_empty(), "{:?}", sink.taken());
}

#[test]
#[ignore = "run by the test above"]
fn failing_for_traces() {
    let builder = failing(|name| (name == "OTEL_TRACES_EXPORTER").then_some("zipkin"));
    let error = builder.init().unwrap_err();
    assert!(error.to_string().contains("zipkin"), "{error}");
    wait_until_gone(READER);
    // What is global is as if there had been nothing.
    let counter = global::meter("test").u64_counter("calls").build();
    counter.add(1, &[KeyValue::new("late", true)]);
    let findings = otel_ml::selfcheck();
    assert!(findings.contains(&otel_ml::Finding::NoMeterProvider));
}

#[test]
#[ignore = "run by the test above"]
fn failing_for_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let file = FileExporter::builder(folder.path().join("m.jsonl"));
    let file = Destination::File(file.open().unwrap());
    let wrong = |name: &str| {
        let is_temporality = name == "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
        is_temporality.then_some("sometimes")
    };
    let builder = failing(wrong).metrics_to([file, Destination::Otlp]);
    let error = builder.init().unwrap_err();
    assert!(error.to_string().contains("sometimes"), "{error}");
    wait_until_gone(READER);
}

/// Nobody listens there: the port was free a moment ago.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// What is said where OTLP is to go to `endpoint`, with these variables.
fn said(name: &str, endpoint: &str, variables: &[(&str, &str)]) -> String {
    let mut all = vec![(ENDPOINT, endpoint)];
    all.extend(variables);
    alone(&format!("otlp::starts::{name}"), &all)
}

#[test]
fn a_collector_that_is_not_there_is_named() {
    let nowhere = nowhere();
    let said = said("sending", &format!("http://{nowhere}"), &[]);
    let expected = format!("no Collector can be reached at {nowhere}");
    assert!(said.contains(&expected), "{said}");
}

/// The name is for documentation: no such host is ever found.
const BEHIND: &str = "http://collector.invalid:4318";

#[test]
fn a_collector_behind_a_proxy_is_not_said_to_be_out_of_reach() {
    let sink = Sink::start(Protocol::HttpProtobuf, Manners::Takes);
    let said = said("sending", BEHIND, &[("http_proxy", &sink.endpoint())]);
    assert!(!said.contains("reached"), "{said}");
    assert_eq!(sink.taken().traces.len(), 1);
}

#[test]
fn a_proxy_that_is_not_there_is_named() {
    let nowhere = nowhere();
    let proxy = format!("http://{nowhere}");
    let said = said("sending", BEHIND, &[("ALL_PROXY", &proxy)]);
    let expected = format!("the proxy {nowhere}");
    assert!(said.contains(&expected), "{said}");
    assert!(!said.contains("no Collector"), "{said}");
}

#[test]
fn a_collector_that_no_proxy_is_for_is_looked_for_itself() {
    let sink = Sink::start(Protocol::HttpProtobuf, Manners::Takes);
    let variables = [
        ("HTTP_PROXY", "http://proxy.invalid:3128"),
        ("NO_PROXY", "127.0.0.1"),
    ];
    let said = said("sending", &sink.endpoint(), &variables);
    assert!(!said.contains("reached"), "{said}");
    assert_eq!(sink.taken().traces.len(), 1);
}

/// gRPC's client knows no proxies.
#[test]
fn over_grpc_no_proxy_is_looked_for() {
    let nowhere = nowhere();
    let endpoint = format!("http://{nowhere}");
    let said = said(
        "sending_grpc",
        &endpoint,
        &[("ALL_PROXY", "http://a.invalid")],
    );
    let expected = format!("no Collector can be reached at {nowhere}");
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn what_looks_wrong_is_said_once() {
    let said = alone("otlp::starts::looking_wrong", &[]);
    for wrong in [
        "port 4318 speaks http/protobuf by convention: set OTEL_EXPORTER_OTLP_PROTOCOL",
        "the configured propagator writes nothing for a valid span",
    ] {
        assert_eq!(said.matches(wrong).count(), 1, "{said}");
    }
}

#[test]
#[ignore = "run by the test above"]
fn looking_wrong() {
    let otlp = Otlp::new().protocol(Protocol::Grpc);
    let otlp = otlp.endpoint("http://collector.invalid:4318");
    let baggage = |name: &str| (name == "OTEL_PROPAGATORS").then(|| "baggage".to_owned());
    let builder = otel_ml_sdk::builder().variables(baggage).otlp(otlp);
    drop(patient(builder).init().unwrap());
}

#[test]
fn exports_that_fail_are_said_once_in_a_while() {
    let nowhere = nowhere();
    let said = said("losing", &format!("http://{nowhere}"), &[]);
    let told: Vec<_> = said
        .lines()
        .filter(|line| line.contains(" lost: "))
        .collect();
    let first = format!("1 spans lost: http://{nowhere}/v1/traces did not take them");
    assert_eq!(told.len(), 1, "{said}");
    assert!(told[0].contains(&first), "{said}");
}

#[test]
#[ignore = "run by the test above"]
fn losing() {
    let otlp = Otlp::new()
        .protocol(Protocol::HttpProtobuf)
        .endpoint(std::env::var(ENDPOINT).unwrap())
        .timeout(std::time::Duration::from_millis(1));
    let guard = patient(otel_ml_sdk::builder().otlp(otlp))
        .span_batches(Batch::new().batch_size(1).delay(LONG))
        .metrics_to([])
        .logs_to([])
        .shutdown_within(LONG)
        .build()
        .unwrap();
    for _ in 0..5 {
        drop(guard.tracer_provider().unwrap().tracer("t").start("work"));
    }
    let report = guard.shutdown();
    assert_eq!((report.in_time, report.spans.failed), (true, 5));
}

#[test]
#[ignore = "run by the tests above"]
fn sending() {
    send(Protocol::HttpProtobuf);
}

#[test]
#[ignore = "run by the test above"]
fn sending_grpc() {
    send(Protocol::Grpc);
}

fn send(protocol: Protocol) {
    let otlp = Otlp::new()
        .protocol(protocol)
        .endpoint(std::env::var(ENDPOINT).unwrap());
    let guard = patient(otel_ml_sdk::builder().otlp(otlp))
        .metrics_to([])
        .logs_to([])
        .build()
        .unwrap();
    wait_until_gone("otel-ml-reach");
    drop(guard.tracer_provider().unwrap().tracer("t").start("work"));
    drop(guard);
}
