//! The metrics of a server: names, units, boundaries, and exactly which labels.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::ready;

use http::Response;
use otel_ml::opentelemetry::Value;
use otel_ml::semconv::metric::boundaries::REQUEST_SECONDS;
use otel_ml_testing::mock::MockBody;
use otel_ml_testing::{TestTelemetry, opentelemetry::KeyValue};
use otel_ml_tower::Route;
use tower::{Layer as _, Service as _, service_fn};

use crate::support::{exchange, get, head_of, request, run, server, status, text};

const DURATION: &str = "http.server.request.duration";
const ACTIVE: &str = "http.server.active_requests";

fn labels(pairs: &[(&'static str, Value)]) -> Vec<KeyValue> {
    let labels = pairs.iter().cloned();
    labels
        .map(|(key, value)| KeyValue::new(key, value))
        .collect()
}

#[test]
fn the_duration_has_the_conventions_labels_and_no_others() {
    for (code, error) in [(200, None), (404, None), (503, Some("503"))] {
        let test = TestTelemetry::new();
        let mut request = request(
            "POST",
            "https://host:1/models/7?q=1",
            &[("user-agent", "x")],
        );
        request.extensions_mut().insert(Route("/models/{model}"));
        exchange(&server(&test).build(), request, status(code));
        let expected = [
            error.map(|error| ("error.type", text(error))),
            Some(("http.request.method", text("POST"))),
            Some(("http.response.status_code", Value::I64(i64::from(code)))),
            Some(("http.route", text("/models/{model}"))),
            Some(("network.protocol.version", text("1.1"))),
            Some(("url.scheme", text("https"))),
        ];
        let expected: Vec<_> = expected.into_iter().flatten().collect();
        let metrics = test.metrics();
        let point = metrics.histogram(DURATION).one().clone();
        assert_eq!(point.labels(), labels(&expected));
        assert_eq!(point.count(), 1);
    }
}

#[test]
fn without_a_route_there_is_no_route_label() {
    let test = TestTelemetry::new();
    exchange(
        &server(&test).build(),
        request("FOO", "/models/7", &[]),
        status(200),
    );
    let metrics = test.metrics();
    let expected = labels(&[
        ("http.request.method", text("_OTHER")),
        ("http.response.status_code", Value::I64(200)),
        ("network.protocol.version", text("1.1")),
        ("url.scheme", text("http")),
    ]);
    assert_eq!(metrics.histogram(DURATION).one().labels(), expected);
}

#[test]
fn names_units_and_boundaries() {
    let test = TestTelemetry::new();
    exchange(&server(&test).build(), get(&[]), status(200));
    let metrics = test.metrics();
    assert_eq!(metrics.names(), [ACTIVE, DURATION]);
    assert_eq!(metrics.unit(DURATION), "s");
    assert_eq!(metrics.histogram(DURATION).one().bounds(), REQUEST_SECONDS);
    assert_eq!(metrics.unit(ACTIVE), "{request}");
    assert!(!metrics.is_monotonic(ACTIVE));
}

#[test]
fn active_requests_go_up_and_down_with_the_same_labels() {
    for (method, uri, recorded, scheme) in [
        ("POST", "https://host/", "POST", "https"),
        ("GET", "http://host/", "GET", "http"),
        ("FOO", "/", "_OTHER", "http"),
    ] {
        let test = TestTelemetry::new();
        let while_active = RefCell::new(None);
        let mut service = server(&test).build().layer(service_fn(|_request| {
            while_active.replace(Some(test.metrics()));
            ready(Ok::<_, Infallible>(status(200)))
        }));
        run(service.call(request(method, uri, &[]))).unwrap();
        let expected = labels(&[
            ("http.request.method", text(recorded)),
            ("url.scheme", text(scheme)),
        ]);
        let while_active = while_active.take().unwrap();
        for (metrics, count) in [(while_active, 1), (test.metrics(), 0)] {
            assert_eq!(metrics.sum(ACTIVE).one().labels(), expected);
            assert_eq!(metrics.sum(ACTIVE).int(), count);
        }
    }
}

#[test]
fn a_streaming_request_is_active_until_its_body_has_ended() {
    let test = TestTelemetry::new();
    let body = MockBody::new().data("a").without_eos();
    let response = head_of(&server(&test).build(), get(&[]), Response::new(body));
    assert_eq!(test.metrics().sum(ACTIVE).int(), 1);
    assert!(!test.metrics().has(DURATION));
    drop(response);
    assert_eq!(test.metrics().sum(ACTIVE).int(), 0);
    assert_eq!(test.metrics().histogram(DURATION).count(), 1);
}

#[test]
fn metrics_are_recorded_where_traces_are_off_and_the_other_way_round() {
    let test = TestTelemetry::new();
    let telemetry = otel_ml::Telemetry::builder()
        .without_traces()
        .meter_provider(test.meter_provider())
        .build();
    exchange(
        &server(&test).telemetry(telemetry).build(),
        get(&[]),
        status(500),
    );
    assert!(test.spans().is_empty());
    let metrics = test.metrics();
    assert_eq!(
        metrics
            .histogram(DURATION)
            .with("error.type", "500")
            .count(),
        1
    );
    metrics.sum(ACTIVE).assert_zero();

    let test = TestTelemetry::new();
    let telemetry = otel_ml::Telemetry::builder()
        .tracer_provider(test.tracer_provider())
        .without_metrics()
        .build();
    exchange(
        &server(&test).telemetry(telemetry).build(),
        get(&[]),
        status(200),
    );
    assert_eq!(test.spans().len(), 1);
    assert!(test.metrics().names().is_empty());
}
