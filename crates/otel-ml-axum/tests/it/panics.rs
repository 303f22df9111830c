//! E15: a handler panics, under axum, hyper and tower-http.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::stream;
use http::Version;
use http_body_util::BodyExt as _;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_ended_once};
use tokio::sync::Notify;
use tower_http::catch_panic::CatchPanicLayer;

use crate::support::{self, Connection, layer, request, request_to, serve};

async fn broken() -> &'static str {
    tokio::task::yield_now().await;
    panic!("broken")
}

fn router() -> Router {
    Router::new().route("/models/{model}", get(broken))
}

async fn assert_panicked(test: &TestTelemetry, status: Option<i64>) {
    let spans = test.wait_for_spans(1).await;
    assert_ended_once(&spans);
    let span = spans.root();
    assert!(span.is_error());
    assert_eq!(span.str("error.type"), "panic");
    assert!(!span.has("ml.cancel.reason"));
    let recorded = span.attr("http.response.status_code").cloned();
    assert_eq!(recorded, status.map(Into::into));
    let metrics = test.metrics();
    let duration = metrics.histogram("http.server.request.duration");
    let duration = duration.with("error.type", "panic");
    assert_eq!(duration.count(), 1);
    let has_status = duration
        .one()
        .label_keys()
        .contains(&"http.response.status_code");
    assert_eq!(has_status, status.is_some());
    metrics.sum("http.server.active_requests").assert_zero();
}

#[tokio::test]
async fn e15_caught_outside_the_span_is_a_panic() {
    let test = TestTelemetry::new();
    let router = router()
        .layer(layer(&test).build())
        .layer(CatchPanicLayer::new());
    let server = serve(router).await;
    assert_eq!(support::get(server, "/models/7").await.status, 500);
    assert_panicked(&test, None).await;
    assert_eq!(test.spans().root().name, "GET /models/{model}");
}

#[tokio::test]
async fn e15_caught_inside_the_span_is_a_500() {
    let test = TestTelemetry::new();
    let router = router()
        .layer(CatchPanicLayer::new())
        .layer(layer(&test).build());
    let server = serve(router).await;
    assert_eq!(support::get(server, "/models/7").await.status, 500);
    let spans = test.wait_for_spans(1).await;
    assert_eq!(spans.root().str("error.type"), "500");
    assert_eq!(spans.root().int("http.response.status_code"), 500);
}

#[tokio::test]
async fn e15_not_caught_the_connection_breaks_and_the_span_ends() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let test = TestTelemetry::new();
        let server = serve(router().layer(layer(&test).build())).await;
        let mut connection = Connection::open(server, version).await;
        let asked = request_to(server, "/models/7");
        assert!(connection.send(asked).await.is_err());
        assert_panicked(&test, None).await;
        // The server itself goes on.
        assert_eq!(support::get(server, "/absent").await.status, 404);
    }
}

fn broken_stream(received: Arc<Notify>) -> Body {
    Body::from_stream(stream::unfold(0, move |n| {
        let received = Arc::clone(&received);
        async move {
            if n == 1 {
                received.notified().await;
                panic!("broken");
            }
            Some((Ok::<_, Infallible>(Bytes::from("half")), n + 1))
        }
    }))
}

#[tokio::test]
async fn e15_a_panic_in_the_stream_is_after_the_head() {
    for is_caught in [true, false] {
        let test = TestTelemetry::new();
        let received = Arc::new(Notify::new());
        let handler = {
            let received = Arc::clone(&received);
            async move || broken_stream(received)
        };
        let router = Router::new().route("/stream", get(handler));
        let router = router.layer(layer(&test).build());
        let server = serve(match is_caught {
            true => router.layer(CatchPanicLayer::new()),
            false => router,
        });
        let mut connection = Connection::open(server.await, Version::HTTP_11).await;
        let response = connection.send(request("GET", "/stream")).await.unwrap();
        assert_eq!(response.status(), 200);
        received.notify_one();
        assert!(response.into_body().collect().await.is_err());
        assert_panicked(&test, Some(200)).await;
        assert_eq!(test.spans().root().int("ml.response.chunk.count"), 1);
    }
}
