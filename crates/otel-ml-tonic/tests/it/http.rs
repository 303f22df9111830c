//! What is not gRPC: plain HTTP beside it, and answers that a proxy made.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt as _;
use otel_ml_testing::{SpanExt as _, TestTelemetry};
use otel_ml_tonic::otel_ml::opentelemetry::Context;
use otel_ml_tonic::otel_ml::opentelemetry::trace::TraceContextExt as _;
use otel_ml_tonic::{OtelMlClientLayer, OtelMlLayer};
use tonic::body::Body;
use tower::{Layer as _, ServiceExt as _};

use crate::support::{Echo, SAMPLED, TRACE, echo};

/// A router that has both may carry one layer.
#[tokio::test]
async fn plain_http_beside_grpc_is_not_recorded_and_its_context_is_passed_on() {
    let test = TestTelemetry::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    let plain = move || {
        let trace = Context::current().span().span_context().trace_id();
        keep.lock().unwrap().push(trace.to_string());
        std::future::ready("fine")
    };
    let layer = OtelMlLayer::builder().telemetry(test.telemetry()).build();
    let router = tonic::service::Routes::new(Echo::new(echo()))
        .into_axum_router()
        .route("/status", axum::routing::any(plain))
        .layer(layer);
    let kinds = [
        None,
        Some("application/json"),
        Some("application/grpc-web+proto"),
    ];
    for kind in kinds {
        let mut request = http::Request::post("/status").header("traceparent", SAMPLED);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "fine");
    }
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    assert!(!test.metrics().has("rpc.server.call.duration"));
    assert_eq!(*seen.lock().unwrap(), [TRACE; 3]);
}

/// What a proxy answers in the server's place is a status, and no cut stream.
#[tokio::test]
async fn an_http_error_without_a_status_stands_for_one_and_is_no_reset() {
    for (http, status) in [
        (500, "UNKNOWN"),
        (302, "UNKNOWN"),
        (503, "UNAVAILABLE"),
        (401, "UNAUTHENTICATED"),
        (404, "UNIMPLEMENTED"),
    ] {
        let test = TestTelemetry::new();
        let proxy = tower::service_fn(move |_: http::Request<Body>| {
            let answer = http::Response::builder().status(http);
            let page = Body::new(http_body_util::Full::from("a page"));
            std::future::ready(Ok::<_, Infallible>(answer.body(page).unwrap()))
        });
        let layer = OtelMlClientLayer::builder().telemetry(test.telemetry());
        let client = layer.build().layer(proxy);
        let request = http::Request::post("http://h/test.Echo/Unary");
        let answer = client.oneshot(request.body(Body::empty()).unwrap()).await;
        answer.unwrap().into_body().collect().await.unwrap();
        let span = test.wait_for_spans(1).await.remove(0);
        assert_eq!(span.str("rpc.status_code"), status, "{http}");
        assert_eq!(span.str("error.type"), status, "{http}");
        assert!(!span.has("ml.cancel.reason"), "{http}");
    }
}
