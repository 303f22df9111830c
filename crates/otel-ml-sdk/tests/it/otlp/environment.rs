//! What the exporter and its client read from the process's environment themselves: each test
//! has a process of its own.

use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use otel_ml_sdk::{Builder, Compression, ErrorKind, Guard, Otlp, Protocol};

use super::sink::{Manners, Sink};
use super::{LONG, PROTOCOLS, patient};
use crate::alone::alone;

/// Where the Collector is, for the process that sends.
const ENDPOINT: &str = "TEST_ENDPOINT";
const PROTOCOL: &str = "TEST_PROTOCOL";

/// Runs `name` of this file with these variables, over each protocol. What came of it.
fn over_both(name: &str, variables: &[(&str, &str)], check: impl Fn(Protocol, &Sink)) {
    for protocol in PROTOCOLS {
        let sink = Sink::start(protocol, Manners::Takes);
        let endpoint = sink.endpoint();
        let protocol_name = format!("{protocol:?}");
        let mut all = vec![
            (ENDPOINT, endpoint.as_str()),
            (PROTOCOL, protocol_name.as_str()),
        ];
        all.extend(variables);
        alone(&format!("otlp::environment::{name}"), &all);
        check(protocol, &sink);
    }
}

fn told(name: &str) -> String {
    std::env::var(name).unwrap()
}

fn protocol() -> Protocol {
    let protocol = told(PROTOCOL);
    let known = |known: &Protocol| format!("{known:?}") == protocol;
    PROTOCOLS.into_iter().find(known).unwrap()
}

fn otlp() -> Otlp {
    Otlp::new()
        .endpoint(told(ENDPOINT))
        .protocol(protocol())
        .timeout(LONG)
}

/// One span and no more.
fn traces(otlp: Otlp) -> Builder {
    patient(otel_ml_sdk::builder().otlp(otlp))
        .metrics_to([])
        .logs_to([])
}

fn send(guard: Guard) {
    let tracer = guard.tracer_provider().unwrap().tracer("test");
    drop(tracer.start("work"));
    let report = guard.shutdown();
    assert_eq!((report.in_time, report.spans.exported), (true, 1));
}

const HEADERS: &[(&str, &str)] = &[
    (
        "OTEL_EXPORTER_OTLP_HEADERS",
        "x-tenant=process,x-team=common",
    ),
    (
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "x-tenant=process,x-team=a%20b",
    ),
];

#[test]
fn headers_in_code_are_over_those_of_the_process() {
    over_both("sending_headers", HEADERS, |protocol, sink| {
        let taken = sink.taken();
        let values = |name| taken.headers[0].get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("x-tenant"), ["code"], "{protocol:?}");
        assert_eq!(values("x-team"), ["a b"], "{protocol:?}");
        let agent = values("user-agent")[0].to_str().unwrap();
        assert!(agent.starts_with("OTel-OTLP-Exporter-Rust/"), "{agent}");
    });
}

#[test]
#[ignore = "run by the test above"]
fn sending_headers() {
    let otlp = otlp().header("X-Tenant", "code");
    send(traces(otlp).build().unwrap());
}

#[test]
fn where_variables_are_given_the_headers_of_the_process_are_not_sent() {
    over_both("sending_given_headers", HEADERS, |protocol, sink| {
        let taken = sink.taken();
        let values = |name| taken.headers[0].get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("x-tenant"), ["given"], "{protocol:?}");
        assert!(values("x-team").is_empty(), "{protocol:?}");
    });
}

#[test]
#[ignore = "run by the test above"]
fn sending_given_headers() {
    let given = |name: &str| {
        let is_headers = name == "OTEL_EXPORTER_OTLP_HEADERS";
        is_headers.then(|| "x-tenant=given".to_owned())
    };
    send(traces(otlp()).variables(given).build().unwrap());
}

#[test]
fn no_compression_in_code_is_over_the_one_of_the_process() {
    for compression in ["gzip", "zstd"] {
        let variables = &[("OTEL_EXPORTER_OTLP_COMPRESSION", compression)];
        over_both("sending_plainly", variables, |protocol, sink| {
            let taken = sink.taken();
            assert!(taken.encodings.is_empty(), "{protocol:?}");
            let arrived = match protocol {
                Protocol::HttpProtobuf => 1,
                // It can't be, and is refused.
                _ => 0,
            };
            assert_eq!(taken.traces.len(), arrived);
        });
    }
}

#[test]
#[ignore = "run by the test above"]
fn sending_plainly() {
    let builder = traces(otlp().compression(Compression::None));
    if protocol() == Protocol::HttpProtobuf {
        return send(builder.build().unwrap());
    }
    let error = builder.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Setting);
    let message = error.to_string();
    for part in [
        "OTEL_EXPORTER_OTLP_COMPRESSION: `",
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION=none",
        "over HTTP",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn no_compression_for_one_signal_is_enough() {
    let variables = &[
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
    ];
    over_both(
        "sending_uncompressed_traces",
        variables,
        |protocol, sink| {
            assert!(sink.taken().encodings.is_empty(), "{protocol:?}");
            assert_eq!(sink.taken().traces.len(), 1, "{protocol:?}");
        },
    );
}

#[test]
#[ignore = "run by the test above"]
fn sending_uncompressed_traces() {
    let builder = traces(otlp().compression(Compression::None));
    send(builder.build().unwrap());
}

#[test]
fn compression_in_code_is_over_the_one_of_the_process() {
    let variables = &[("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip")];
    over_both("sending_compressed", variables, |protocol, sink| {
        assert_eq!(sink.taken().encodings, ["zstd"], "{protocol:?}");
    });
}

#[test]
#[ignore = "run by the test above"]
fn sending_compressed() {
    let builder = traces(otlp().compression(Compression::Zstd));
    send(builder.build().unwrap());
}
