//! E26: layers built before the global providers are there. In a program of its own, since
//! providers are global; one test, since its steps follow on each other.

#![cfg(test)]

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use otel_ml_axum::OtelMlLayer;
use otel_ml_axum::otel_ml::opentelemetry::global;
use otel_ml_axum::otel_ml::{Finding, MlSpan, Telemetry, selfcheck};
use otel_ml_testing::{SpansExt as _, TestTelemetry, assert_tree};
use otel_ml_tower::OtelMlClientLayer;
use tower::{Layer as _, Service as _, service_fn};

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Answers with the `traceparent` that its own request leaves with.
async fn send_on() -> String {
    MlSpan::current().input_size(3);
    let mut client = OtelMlClientLayer.layer(service_fn(async |request: Request<Body>| {
        let sent = request.headers().get("traceparent");
        let sent = sent.map_or("none", |sent| sent.to_str().unwrap());
        Ok::<_, Infallible>(Response::new(Body::from(sent.to_owned())))
    }));
    let response = client.call(asked(&[])).await.unwrap();
    let sent = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(sent.into()).unwrap()
}

fn asked(headers: &[(&'static str, &'static str)]) -> Request<Body> {
    let mut request = Request::get("/predict").body(Body::empty()).unwrap();
    *request.headers_mut() = HeaderMap::from_iter(
        headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())),
    );
    request
}

async fn ask(router: &Router, headers: &[(&'static str, &'static str)]) -> String {
    let response = router.clone().call(asked(headers)).await.unwrap();
    let sent = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(sent.into()).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "what a program does, in a process that has no other test"
)]
fn install(test: &TestTelemetry) {
    global::set_tracer_provider(test.tracer_provider().clone());
    global::set_meter_provider(test.meter_provider().clone());
}

#[expect(
    clippy::disallowed_methods,
    reason = "what a program does, in a process that has no other test"
)]
fn install_propagator() {
    global::set_text_map_propagator(TraceContextPropagator::new());
}

#[tokio::test]
async fn e26_what_was_built_first_records_once_providers_are_there() {
    let parent = [("traceparent", SAMPLED)];
    let router = Router::new()
        .route("/predict", get(send_on))
        .layer(OtelMlLayer);
    // Another, that has waited long: it looks only now and then.
    let waiting = Telemetry::builder().build();
    let idle = OtelMlLayer::builder().telemetry(waiting.clone()).build();
    let idle = Router::new()
        .route("/predict", get(async || ""))
        .layer(idle);
    for _ in 0..1000 {
        ask(&idle, &[]).await;
    }

    // Nothing is installed: nothing is recorded and nothing is passed on.
    assert_eq!(ask(&router, &parent).await, "none");
    let missing = [Finding::NoTracerProvider, Finding::NoMeterProvider];
    assert_eq!(selfcheck(), missing);

    // With a propagator alone what comes in goes out, once it is seen: this thread has looked for
    // one a thousand times, and does so on every 16th use now.
    install_propagator();
    for _ in 0..16 {
        ask(&router, &parent).await;
    }
    assert_eq!(ask(&router, &parent).await, SAMPLED);

    // The very next request after the providers came is recorded.
    let first = TestTelemetry::new();
    install(&first);
    let sent = ask(&router, &parent).await;
    assert_tree!(first.spans(), {
        "GET /predict" [server, unset] { "ml.input.size" = 3 } => ["GET" [client, unset]]
    });
    let spans = first.take_spans();
    assert_eq!(spans.root().parent_span_id.to_string(), "b7ad6b7169203331");
    assert!(sent.contains(&spans.named("GET").span_context.span_id().to_string()));
    let metrics = first.metrics();
    let served = metrics.histogram("http.server.request.duration");
    assert_eq!(served.count(), 1);
    assert_eq!(metrics.histogram("http.client.request.duration").count(), 1);
    metrics.sum("http.server.active_requests").assert_zero();
    assert_eq!(selfcheck(), []);

    // The one that had waited long finds them within 64 requests.
    for _ in 0..64 {
        ask(&idle, &[]).await;
    }
    let found = first.take_spans().len();
    assert!((1..=64).contains(&found), "{found}");
    ask(&idle, &[]).await;
    assert_eq!(first.take_spans().len(), 1, "and every one from then on");

    // A provider installed later is for what resolves later: what was found is kept.
    let second = TestTelemetry::new();
    install(&second);
    ask(&router, &[]).await;
    assert_eq!(first.take_spans().len(), 2);
    assert!(second.spans().is_empty());
    let resolved_later = OtelMlLayer::builder().telemetry(Telemetry::builder().build());
    let later = Router::new().route("/predict", get(async || ""));
    ask(&later.layer(resolved_later.build()), &[]).await;
    assert_eq!(second.spans().len(), 1);

    // Shut down: requests are answered and the caller's trace goes on.
    first.shutdown();
    assert_eq!(ask(&router, &parent).await, SAMPLED);
    assert!(first.take_spans().is_empty());
}
