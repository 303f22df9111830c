//! What is not gRPC: plain HTTP beside it, and answers that a proxy made.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use otel_ml_testing::{SpanExt as _, TestTelemetry};
use otel_ml_tonic::otel_ml::opentelemetry::Context as OtelContext;
use otel_ml_tonic::otel_ml::opentelemetry::trace::TraceContextExt as _;
use otel_ml_tonic::{OtelMlClientLayer, OtelMlLayer};
use tonic::body::Body;
use tower::{Layer as _, ServiceExt as _};

use crate::support::{Echo, Kind, SAMPLED, TRACE, asking, call, echo};

/// A router that has both may carry one layer.
#[tokio::test]
async fn plain_http_beside_grpc_is_not_recorded_and_its_context_is_passed_on() {
    let test = TestTelemetry::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    let plain = move || {
        let trace = OtelContext::current().span().span_context().trace_id();
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

/// tonic's client gives up on such a page at its first frame, and drops the rest.
#[tokio::test]
async fn a_proxys_page_that_tonic_reads_no_further_is_an_error_and_no_cancellation() {
    for (http, kind, status) in [
        (200, "text/html", "UNKNOWN"),
        (500, "text/html", "UNKNOWN"),
        (502, "text/html", "UNAVAILABLE"),
        (503, "application/grpc", "UNAVAILABLE"),
        (401, "text/html", "UNAUTHENTICATED"),
    ] {
        let test = TestTelemetry::new();
        let proxy = tower::service_fn(move |_: http::Request<Body>| {
            let answer = http::Response::builder()
                .status(http)
                .header("content-type", kind);
            let frames = ["<html>no ", "gateway</html>"]
                .map(|text| Ok::<_, Infallible>(Frame::data(bytes::Bytes::from(text))));
            let page = Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(
                frames,
            )));
            std::future::ready(Ok::<_, Infallible>(answer.body(page).unwrap()))
        });
        let layer = OtelMlClientLayer::builder().telemetry(test.telemetry());
        let error = call(layer.build().layer(proxy), Kind::Unary, asking(["a"])).await;
        assert!(error.is_err(), "{http}");
        let span = test.wait_for_spans(1).await.remove(0);
        assert_eq!(span.str("rpc.status_code"), status, "{http}");
        assert_eq!(span.str("error.type"), status, "{http}");
        assert!(!span.has("ml.cancel.reason"), "{http}");
    }
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

/// Its length is nothing, and its status is still to come.
#[tokio::test]
async fn e35_a_body_of_no_length_has_its_status_in_the_trailers() {
    let test = TestTelemetry::new();
    let server = tower::service_fn(|_: http::Request<Body>| {
        std::future::ready(Ok::<_, Infallible>(http::Response::new(OnlyTrailers(true))))
    });
    let layer = OtelMlClientLayer::builder().telemetry(test.telemetry());
    let client = layer.build().layer(server);
    let request = http::Request::post("http://h/test.Echo/Unary");
    let answer = client.oneshot(request.body(Body::empty()).unwrap()).await;
    let body = answer.unwrap().into_body().collect().await.unwrap();
    assert!(body.trailers().is_some());
    let span = test.wait_for_spans(1).await.remove(0);
    assert_eq!(span.str("rpc.status_code"), "DATA_LOSS");
    assert_eq!(span.str("error.type"), "DATA_LOSS");
}

/// A body without data, whose length is known.
struct OnlyTrailers(bool);

impl http_body::Body for OnlyTrailers {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Infallible>>> {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("15"));
        let is_first = std::mem::take(&mut self.0);
        Poll::Ready(is_first.then(|| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        !self.0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}
