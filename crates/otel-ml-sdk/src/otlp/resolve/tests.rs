//! What is resolved, and what is said of what can't be.

use super::*;
use crate::ErrorKind;

fn resolve(otlp: &Otlp, set: &'static [(&str, &str)]) -> Result<Resolved, InitError> {
    let variables = Variables::from(|name: &str| {
        let found = set.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    });
    otlp.resolve(Signal::Traces, &variables)
}

fn message(set: &'static [(&str, &str)]) -> String {
    let error = resolve(&Otlp::new(), set).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Setting);
    error.to_string()
}

#[test]
fn code_is_over_the_signals_variable_over_the_common_one() {
    let set = &[
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "100"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "200"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1"),
    ];
    let by_variables = resolve(&Otlp::new(), set).unwrap();
    assert_eq!(by_variables.protocol, Protocol::Grpc);
    assert_eq!(by_variables.timeout, Duration::from_millis(200));
    assert_eq!(by_variables.compression, Compression::Gzip);
    assert_eq!(by_variables.endpoint, "http://a:1");
    let code = Otlp::new()
        .protocol(Protocol::HttpProtobuf)
        .endpoint("https://b/otlp/")
        .timeout(Duration::from_secs(1))
        .compression(Compression::None);
    let by_code = resolve(&code, set).unwrap();
    assert_eq!(by_code.protocol, Protocol::HttpProtobuf);
    assert_eq!(by_code.endpoint, "https://b/otlp/v1/traces");
    assert_eq!(by_code.timeout, Duration::from_secs(1));
    assert_eq!(by_code.compression, Compression::None);
}

#[test]
fn the_signals_own_http_endpoint_is_taken_as_it_is() {
    let set = &[
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:1/in"),
    ];
    assert_eq!(
        resolve(&Otlp::new(), set).unwrap().endpoint,
        "http://a:1/in"
    );
}

#[test]
fn the_query_of_an_http_endpoint_stays_behind_the_path() {
    for (endpoint, whole) in [
        ("http://a:1?key=x", "http://a:1/v1/traces?key=x"),
        ("http://a:1/?key=x", "http://a:1/v1/traces?key=x"),
        (
            "http://a:1/otlp/?key=x/y",
            "http://a:1/otlp/v1/traces?key=x/y",
        ),
        ("http://a:1", "http://a:1/v1/traces"),
    ] {
        let http = Otlp::new().protocol(Protocol::HttpProtobuf);
        let resolved = resolve(&http.endpoint(endpoint), &[]).unwrap();
        assert_eq!(resolved.endpoint, whole);
        assert!(!resolved.target().contains("key"), "it may be a credential");
    }
}

#[test]
fn grpc_without_a_scheme_is_secure_unless_told() {
    let secure = &[
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "a:4317"),
    ];
    assert_eq!(
        resolve(&Otlp::new(), secure).unwrap().endpoint,
        "https://a:4317"
    );
    let plain = &[
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "a:4317"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
    ];
    assert_eq!(
        resolve(&Otlp::new(), plain).unwrap().endpoint,
        "http://a:4317"
    );
}

#[test]
fn headers_are_decoded_and_the_last_of_a_name_counts() {
    let set = &[(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "authorization=Bearer%20x, x-a=1,,X-A=2",
    )];
    let headers = resolve(&Otlp::new().header("x-b", "3"), set)
        .unwrap()
        .headers;
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(
        headers,
        [("authorization", "Bearer x"), ("x-a", "2"), ("x-b", "3")]
    );
}

#[test]
fn what_is_wrong_is_named_with_what_is_wanted() {
    for (set, name, wanted) in [
        (
            &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")],
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "`grpc`",
        ),
        (
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector")],
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "URL",
        ),
        (
            &[("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")],
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "milliseconds",
        ),
        (
            &[("OTEL_EXPORTER_OTLP_COMPRESSION", "br")],
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            "`gzip`",
        ),
        (
            &[("OTEL_EXPORTER_OTLP_HEADERS", "a b=c")],
            "OTEL_EXPORTER_OTLP_HEADERS",
            "name=value",
        ),
        (
            &[("OTEL_EXPORTER_OTLP_TIMEOUT", "0")],
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "milliseconds",
        ),
        (
            &[("OTEL_EXPORTER_OTLP_HEADERS", "alone")],
            "OTEL_EXPORTER_OTLP_HEADERS",
            "name=value",
        ),
        (
            &[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "k")],
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            "CLIENT_CERTIFICATE",
        ),
    ] {
        let message = message(set);
        assert!(
            message.contains(name) && message.contains(wanted),
            "{message}"
        );
    }
}

#[test]
fn no_credential_is_in_a_message() {
    for set in [
        &[("OTEL_EXPORTER_OTLP_HEADERS", "bad name=secret")],
        &[("OTEL_EXPORTER_OTLP_HEADERS", "authorization: Bearer secret")],
        &[(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization: Basic secret==",
        )],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:secret@host:4318")],
    ] {
        let message = message(set);
        assert!(!message.contains("secret"), "{message}");
    }
    let otlp = Otlp::new().header("authorization", "secret");
    assert!(!format!("{otlp:?}").contains("secret"));
    let resolved = resolve(&otlp, &[]).unwrap();
    assert!(!format!("{resolved:?}").contains("secret"));
}

#[test]
fn a_port_of_the_other_protocol_is_doubted() {
    let grpc = Otlp::new().protocol(Protocol::Grpc);
    let doubted = resolve(&grpc.clone().endpoint("http://a:4318"), &[]).unwrap();
    assert!(doubted.doubts[0].contains("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"));
    let with_key = resolve(&grpc.clone().endpoint("http://a:4318/?key=secret"), &[]).unwrap();
    assert!(!with_key.doubts[0].contains("secret"));
    assert!(
        resolve(&grpc.endpoint("http://a:4317"), &[])
            .unwrap()
            .doubts
            .is_empty()
    );
}
