//! What a server span says of its request and its answer.

use http::{Request, Version};
use otel_ml::Detail;
use otel_ml::opentelemetry::Value;
use otel_ml::opentelemetry::trace::{SpanKind, Status};
use otel_ml_testing::{
    SpanExt as _, SpansExt as _, TestTelemetry, assert_tree, assert_types, span,
};
use otel_ml_tower::{PeerAddress, Route};

use crate::support::{exchange, get, request, server, status, text};

type Attributes = Vec<(&'static str, Value)>;

fn everything() -> Request<()> {
    let mut request = request(
        "POST",
        "https://api.example:8443/v1/predict?q=1&sig=abc&X-Amz-Signature=k%3D",
        &[("user-agent", "curl/8"), ("content-length", "12")],
    );
    request.extensions_mut().insert(Route("/v1/predict"));
    let peer = PeerAddress("10.1.2.3:55123".parse().unwrap());
    request.extensions_mut().insert(peer);
    request
}

fn required() -> Attributes {
    vec![
        ("http.request.method", text("POST")),
        ("url.scheme", text("https")),
        ("url.path", text("/v1/predict")),
        (
            "url.query",
            text("q=1&sig=REDACTED&X-Amz-Signature=REDACTED"),
        ),
        ("http.route", text("/v1/predict")),
        ("http.response.status_code", Value::I64(200)),
    ]
}

fn recommended() -> Attributes {
    let more = [
        ("server.address", text("api.example")),
        ("server.port", Value::I64(8443)),
        ("client.address", text("10.1.2.3")),
        ("network.peer.address", text("10.1.2.3")),
        ("network.peer.port", Value::I64(55123)),
        ("network.protocol.version", text("1.1")),
        ("user_agent.original", text("curl/8")),
    ];
    required().into_iter().chain(more).collect()
}

#[test]
fn each_detail_level_records_exactly_its_attributes() {
    let opt_in = [("http.request.body.size", Value::I64(12))];
    for (detail, attributes) in [
        (Detail::Minimal, required()),
        (Detail::Standard, recommended()),
        (
            Detail::Full,
            recommended().into_iter().chain(opt_in).collect(),
        ),
    ] {
        let test = TestTelemetry::new();
        exchange(
            &server(&test).detail(detail).build(),
            everything(),
            status(200),
        );
        let expected = span("POST /v1/predict").kind(SpanKind::Server).unset();
        let expected = attributes
            .into_iter()
            .fold(expected.only_attrs(), |span, (key, value)| {
                span.attr(key, value)
            });
        assert_tree(&test.spans(), vec![expected.links([]).events([""; 0])]);
        assert_types(&test.spans());
    }
}

#[test]
fn a_bare_request_has_what_is_required_and_no_more() {
    let test = TestTelemetry::new();
    exchange(&server(&test).build(), get(&[]), status(200));
    assert_tree!(test.spans(), {
        "GET" [server, unset, only_attrs] {
            "http.request.method" = "GET",
            "url.scheme" = "http",
            "url.path" = "/predict",
            "network.protocol.version" = "1.1",
            "http.response.status_code" = 200,
        }
    });
    let scope = test.spans().root().instrumentation_scope.clone();
    assert_eq!(scope.name(), "otel-ml");
    let schema = Some("https://opentelemetry.io/schemas/1.45.0");
    assert_eq!(scope.schema_url(), schema);
}

#[test]
fn names_are_method_and_route_never_the_path() {
    for (method, route, name) in [
        ("GET", None, "GET"),
        ("GET", Some("/models/{model}"), "GET /models/{model}"),
        ("QUERY", Some("/"), "QUERY /"),
        ("FOO", None, "HTTP"),
        ("FOO", Some("/models/{model}"), "HTTP /models/{model}"),
    ] {
        let test = TestTelemetry::new();
        let mut request = request(method, "/models/gpt-4", &[]);
        if let Some(route) = route {
            request.extensions_mut().insert(Route(route));
        }
        exchange(&server(&test).build(), request, status(200));
        assert_eq!(test.spans().root().name, name);
    }
}

#[test]
fn e34_an_unknown_method_is_other_with_its_original() {
    for (method, recorded, original) in [
        ("FOO", "_OTHER", Some("FOO")),
        ("get", "_OTHER", Some("get")),
        ("PATCH", "PATCH", None),
        ("QUERY", "QUERY", None),
    ] {
        let test = TestTelemetry::new();
        exchange(
            &server(&test).build(),
            request(method, "/", &[]),
            status(200),
        );
        let spans = test.spans();
        assert_eq!(spans.root().str("http.request.method"), recorded);
        let found = spans.root().attr("http.request.method_original");
        assert_eq!(found.cloned(), original.map(text));
    }
}

#[test]
fn e34_versions_have_the_conventions_form() {
    for (version, recorded) in [
        (Version::HTTP_09, "0.9"),
        (Version::HTTP_10, "1.0"),
        (Version::HTTP_11, "1.1"),
        (Version::HTTP_2, "2"),
        (Version::HTTP_3, "3"),
    ] {
        let test = TestTelemetry::new();
        let mut request = get(&[]);
        *request.version_mut() = version;
        exchange(&server(&test).build(), request, status(200));
        let spans = test.spans();
        assert_eq!(spans.root().str("network.protocol.version"), recorded);
    }
}

#[test]
fn e34_only_a_5xx_is_the_servers_error() {
    for (code, error) in [
        (200, None),
        (204, None),
        (302, None),
        (400, None),
        (404, None),
        (429, None),
        (499, None),
        (500, Some("500")),
        (503, Some("503")),
        (599, Some("599")),
    ] {
        let test = TestTelemetry::new();
        exchange(&server(&test).build(), get(&[]), status(code));
        let spans = test.spans();
        let span = spans.root();
        assert_eq!(span.int("http.response.status_code"), i64::from(code));
        assert_eq!(span.attr("error.type").cloned(), error.map(text), "{code}");
        let expected = match error {
            Some(_) => Status::error(""),
            None => Status::Unset,
        };
        assert_eq!(span.status, expected, "{code}");
        assert!(!span.has("ml.cancel.reason"), "{code}");
    }
}

const OWN_METHODS: &str = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS";

/// The variable is read once in a process, so this runs in one of its own.
#[test]
fn the_known_methods_can_be_listed_by_a_variable() {
    let list = "server_attributes::with_methods_of_ones_own";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", list, "--ignored"])
        .env(OWN_METHODS, " PURGE,get")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success(), "{output}");
    assert!(output.contains("1 passed"), "{output}");
}

#[test]
#[ignore = "run by the test above"]
fn with_methods_of_ones_own() {
    assert!(std::env::var(OWN_METHODS).is_ok());
    for (method, recorded) in [("PURGE", "PURGE"), ("get", "get"), ("GET", "_OTHER")] {
        let test = TestTelemetry::new();
        exchange(
            &server(&test).build(),
            request(method, "/", &[]),
            status(200),
        );
        let spans = test.spans();
        assert_eq!(spans.root().str("http.request.method"), recorded);
        test.metrics()
            .sum("http.server.active_requests")
            .assert_zero();
    }
}
