//! How requests that are sent come to an end.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::pin::pin;

use http::{Request, Response};
use http_body::SizeHint;
use otel_ml::ErrorType;
use otel_ml_testing::mock::{MockBody, MockError};
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_ended_once};
use tower::{Layer as _, Service as _, service_fn};

use crate::support::{client, get, head_of, poll, poll_frame, request, run, text};

const DURATION: &str = "http.client.request.duration";

/// A caller that gave up: said on the span, but no error.
fn assert_given_up(test: &TestTelemetry) {
    let spans = test.spans();
    assert_ended_once(&spans);
    assert!(!spans.root().is_error());
    assert!(!spans.root().has("error.type"));
    assert_eq!(spans.root().str("ml.cancel.reason"), "dropped");
    let metrics = test.metrics();
    let duration = metrics.histogram(DURATION).without("error.type");
    assert_eq!(duration.count(), 1);
    assert!(test.open_spans().is_empty());
}

#[test]
fn e16_a_callers_own_cancellation_is_no_error() {
    for polls in 0..3 {
        let test = TestTelemetry::new();
        let mut service = client(&test).build().layer(service_fn(|_request| {
            pending::<Result<Response<MockBody>, Infallible>>()
        }));
        {
            let mut future = pin!(service.call(get(&[])));
            for _ in 0..polls {
                assert!(poll(future.as_mut()).is_pending());
            }
        }
        assert_given_up(&test);
    }
}

#[test]
fn e16_a_body_given_up_is_no_error() {
    for frames in 0..2 {
        let test = TestTelemetry::new();
        let body = MockBody::new().data("ab").hang();
        let response = head_of(&client(&test).build(), get(&[]), Response::new(body));
        let mut body = response.into_body();
        for _ in 0..frames {
            assert!(poll_frame(&mut body).is_ready());
        }
        drop(body);
        assert_given_up(&test);
        let spans = test.spans();
        assert_eq!(spans.root().int("http.response.status_code"), 200);
        let chunks = spans.root().attr("ml.response.chunk.count").cloned();
        assert_eq!(chunks, (frames > 0).then(|| frames.into()));
    }
}

/// A caller that looks at the status and throws the body away has not given up.
#[test]
fn e16_an_error_status_stays_an_error_when_its_body_is_dropped() {
    for status in [404_u16, 429, 503] {
        let test = TestTelemetry::new();
        let body = MockBody::new().data("no such model").without_eos();
        let response = Response::builder().status(status).body(body).unwrap();
        drop(head_of(&client(&test).build(), get(&[]), response));
        let spans = test.spans();
        let error = spans.root().attr("error.type").cloned();
        assert_eq!(error, Some(text(&status.to_string())));
        assert!(spans.root().is_error());
        let metrics = test.metrics();
        let duration = metrics.histogram(DURATION);
        assert_eq!(duration.with("error.type", status.to_string()).count(), 1);
    }
}

#[test]
fn a_body_is_watched_however_short_it_says_it_is() {
    let test = TestTelemetry::new();
    let body = MockBody::new()
        .error("connection reset")
        .sized(SizeHint::with_exact(2));
    let response = head_of(&client(&test).build(), get(&[]), Response::new(body));
    let mut body = response.into_body();
    assert!(test.spans().is_empty());
    assert!(poll_frame(&mut body).is_ready());
    let spans = test.spans();
    assert_eq!(spans.root().str("error.type"), "MockError");
    assert!(spans.root().is_error());
}

#[test]
fn e18_an_empty_answer_ends_at_its_head() {
    let test = TestTelemetry::new();
    let response = head_of(
        &client(&test).build(),
        get(&[]),
        Response::new(MockBody::new()),
    );
    assert_eq!(test.spans().len(), 1);
    drop(response);
    assert_eq!(test.spans().len(), 1);
}

#[test]
fn e19_upgrades_and_tunnels_end_at_their_head() {
    for (method, status) in [("GET", 101), ("CONNECT", 200)] {
        let test = TestTelemetry::new();
        let body = MockBody::new().data("tunnelled").hang();
        let response = Response::builder().status(status).body(body).unwrap();
        let request = request(method, "http://host:443", &[]);
        let mut body = head_of(&client(&test).build(), request, response).into_body();
        let spans = test.spans();
        assert!(!spans.root().is_error());
        assert!(!spans.root().has("ml.cancel.reason"));
        assert!(poll_frame(&mut body).is_ready());
        drop(body);
        assert_eq!(test.spans().len(), 1);
    }
}

#[derive(Debug)]
struct ConnectionRefused;

#[test]
fn an_error_before_the_answer_has_its_class_and_no_status() {
    let refuse = |_request| ready(Err::<Response<MockBody>, _>(ConnectionRefused));
    for (target, keys) in [
        (
            "http://models.example/",
            &[
                "error.type",
                "http.request.method",
                "server.address",
                "server.port",
            ][..],
        ),
        // A target without an authority has no server to name.
        ("/predict", &["error.type", "http.request.method"]),
    ] {
        let test = TestTelemetry::new();
        let mut service = client(&test).build().layer(service_fn(refuse));
        assert!(run(service.call(request("GET", target, &[]))).is_err());
        let spans = test.spans();
        assert_eq!(spans.root().str("error.type"), "ConnectionRefused");
        assert!(spans.root().is_error());
        assert!(!spans.root().has("http.response.status_code"));
        let is_named = keys.contains(&"server.address");
        assert_eq!(spans.root().has("server.address"), is_named);
        let metrics = test.metrics();
        let duration = metrics.histogram(DURATION);
        let duration = duration.with("error.type", "ConnectionRefused");
        assert_eq!(duration.one().label_keys(), keys);
    }
}

#[test]
fn errors_are_classified_by_the_application_first() {
    let classify = |error: &dyn std::any::Any| {
        let is_refused = error.is::<ConnectionRefused>();
        let is_reset = error.is::<MockError>();
        is_refused
            .then_some(ErrorType::new("refused"))
            .or(is_reset.then_some(ErrorType::new("reset")))
    };
    let test = TestTelemetry::new();
    let layer = client(&test).classify_errors(classify).build();
    let refuse = |_request| ready(Err::<Response<MockBody>, _>(ConnectionRefused));
    drop(run(layer.layer(service_fn(refuse)).call(get(&[]))));
    let failing = |_request: Request<()>| {
        ready(Ok::<_, Infallible>(Response::new(
            MockBody::new().error("x"),
        )))
    };
    let response = run(layer.layer(service_fn(failing)).call(get(&[]))).unwrap();
    drop(poll_frame(&mut response.into_body()));
    let unknown = |_request| ready(Err::<Response<MockBody>, _>(std::fmt::Error));
    drop(run(layer.layer(service_fn(unknown)).call(get(&[]))));
    let boxed = |_request| {
        let error: Box<dyn std::error::Error + Send + Sync> = "many words, once each".into();
        ready(Err::<Response<MockBody>, _>(error))
    };
    drop(run(layer.layer(service_fn(boxed)).call(get(&[]))));
    let spans = test.spans();
    let classes: Vec<_> = spans.iter().map(|span| span.str("error.type")).collect();
    assert_eq!(classes, ["refused", "reset", "core::fmt::Error", "_OTHER"]);
}
