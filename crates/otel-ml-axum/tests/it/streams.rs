//! Streamed answers over the network, and clients that go away.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post};
use futures_util::stream::{self, StreamExt as _};
use http::Version;
use http_body_util::BodyExt as _;
use otel_ml_axum::MlSpan;
use otel_ml_axum::otel_ml;
use otel_ml_axum::otel_ml::opentelemetry::trace::Status;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_ended_once, assert_tree};
use tokio::sync::{Mutex, Notify, mpsc};

use crate::support::{Connection, fetch, layer, request, request_to, serve};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// A router whose `/stream` answers with what is sent into the channel; each chunk counts
/// as a token.
fn streaming(test: &TestTelemetry) -> (Router, mpsc::Sender<&'static str>) {
    let (sender, receiver) = mpsc::channel(1);
    let receiver = Arc::new(Mutex::new(receiver));
    let handler = async move || {
        let tokens = stream::unfold(0, move |count| {
            let receiver = Arc::clone(&receiver);
            async move {
                let chunk = receiver.lock().await.recv().await?;
                otel_ml::MlSpan::current().output_tokens(count + 1);
                Some((Ok::<_, Infallible>(Bytes::from(chunk)), count + 1))
            }
        });
        Body::from_stream(tokens)
    };
    let router = Router::new().route("/stream", get(handler));
    (router.layer(layer(test).build()), sender)
}

#[tokio::test]
async fn server_sent_events_are_one_request_to_their_end() {
    let test = TestTelemetry::new();
    let chat = async |span: MlSpan| {
        span.gen_ai_operation("chat")
            .provider("mine")
            .request_model("extractive");
        let events = stream::iter(["half", "an", "answer"]).enumerate();
        Sse::new(events.map(|(n, word)| {
            let span = otel_ml::MlSpan::current();
            span.first_token().output_tokens(n as u64 + 1);
            Ok::<_, Infallible>(Event::default().data(word))
        }))
    };
    let router = Router::new().route("/v1/chat/completions", post(chat));
    let server = serve(router.layer(layer(&test).build())).await;
    let answer = fetch(server, request("POST", "/v1/chat/completions")).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    assert_eq!(answer.body, "data: half\n\ndata: an\n\ndata: answer\n\n");
    let spans = test.wait_for_spans(1).await;
    assert_tree!(spans, {
        "POST /v1/chat/completions" [server, unset] {
            "http.response.status_code" = 200,
            "gen_ai.usage.output_tokens" = 3,
            "ml.response.chunk.count" = 3,
            "ml.response.size" = 36,
        }
    });
    assert!(spans.root().has("ml.response.time_to_first_chunk"));
    assert!(!spans.root().has("ml.usage.partial"));
    let metrics = test.metrics();
    assert_eq!(
        metrics
            .histogram("gen_ai.server.time_to_first_token")
            .count(),
        1
    );
    metrics.sum("http.server.active_requests").assert_zero();
}

#[tokio::test]
async fn a_span_lives_as_long_as_its_stream() {
    for version in VERSIONS {
        let test = TestTelemetry::new();
        let (router, sender) = streaming(&test);
        let server = serve(router).await;
        let mut connection = Connection::open(server, version).await;
        let response = connection
            .send(request_to(server, "/stream"))
            .await
            .unwrap();
        let mut body = response.into_body();
        for chunk in ["a", "bc"] {
            sender.send(chunk).await.unwrap();
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), chunk);
            assert!(test.spans().is_empty(), "ended with the stream still open");
            assert_eq!(test.metrics().sum("http.server.active_requests").int(), 1);
        }
        drop(sender);
        assert!(body.collect().await.unwrap().to_bytes().is_empty());
        assert_tree!(test.wait_for_spans(1).await, {
            "GET /stream" [server, unset] {
                "gen_ai.usage.output_tokens" = 2,
                "ml.response.chunk.count" = 2,
                "ml.response.size" = 3,
            }
        });
        test.metrics()
            .sum("http.server.active_requests")
            .assert_zero();
    }
}

fn assert_gone(test: &TestTelemetry, status: Option<i64>) {
    let spans = test.spans();
    assert_ended_once(&spans);
    let span = spans.root();
    assert!(span.is_error());
    assert_eq!(span.str("error.type"), "cancelled");
    assert_eq!(span.str("ml.cancel.reason"), "dropped");
    let recorded = span.attr("http.response.status_code").cloned();
    assert_eq!(recorded, status.map(Into::into));
    let metrics = test.metrics();
    let duration = metrics.histogram("http.server.request.duration");
    assert_eq!(duration.with("error.type", "cancelled").count(), 1);
    metrics.sum("http.server.active_requests").assert_zero();
}

#[tokio::test]
async fn e16_a_client_gone_mid_stream_leaves_what_it_got() {
    for (version, is_cut) in VERSIONS.into_iter().flat_map(|v| [(v, true), (v, false)]) {
        let test = TestTelemetry::new();
        let (router, sender) = streaming(&test);
        let server = serve(router).await;
        let mut connection = Connection::open(server, version).await;
        let response = connection
            .send(request_to(server, "/stream"))
            .await
            .unwrap();
        let mut body = response.into_body();
        for chunk in ["a", "bc", "def"] {
            sender.send(chunk).await.unwrap();
            assert!(body.frame().await.unwrap().is_ok());
        }
        // Either the socket is closed, or only this answer is no longer wanted.
        if is_cut {
            connection.cut();
        } else {
            drop(body);
        }
        test.wait_for_spans(1).await;
        assert_gone(&test, Some(200));
        assert_tree!(test.spans(), {
            "GET /stream" [server, error] {
                "gen_ai.usage.output_tokens" = 3,
                "ml.usage.partial" = true,
                "ml.response.chunk.count" = 3,
                "ml.response.size" = 6,
            }
        });
    }
}

#[tokio::test]
async fn e16_a_client_gone_before_the_head_ends_the_handler() {
    for version in VERSIONS {
        let test = TestTelemetry::new();
        let entered = Arc::new(Notify::new());
        let handler = {
            let entered = Arc::clone(&entered);
            async move |span: MlSpan| -> &'static str {
                span.input_tokens(12).output_tokens(1);
                entered.notify_one();
                std::future::pending().await
            }
        };
        let router = Router::new().route("/slow", get(handler));
        let server = serve(router.layer(layer(&test).build())).await;
        let mut connection = Connection::open(server, version).await;
        tokio::select! {
            _ = connection.send(request_to(server, "/slow")) => unreachable!("there is no answer"),
            () = entered.notified() => {}
        }
        connection.cut();
        test.wait_for_spans(1).await;
        assert_gone(&test, None);
        assert_eq!(test.spans().root().int("gen_ai.usage.input_tokens"), 12);
        assert!(test.spans().root().bool("ml.usage.partial"));
    }
}

#[tokio::test]
async fn a_large_body_of_known_length_is_watched_and_arrives_whole() {
    for version in VERSIONS {
        let test = TestTelemetry::new();
        let handler = async || vec![7_u8; 1 << 20];
        let router = Router::new().route("/weights", get(handler));
        let server = serve(router.layer(layer(&test).build())).await;
        let mut connection = Connection::open(server, version).await;
        let response = connection
            .send(request_to(server, "/weights"))
            .await
            .unwrap();
        assert_eq!(response.headers()["content-length"], "1048576");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), 1 << 20);
        assert_tree!(test.wait_for_spans(1).await, {
            "GET /weights" [server, unset] {
                "ml.response.size" = 1 << 20,
                "ml.response.chunk.count" = 1,
            }
        });
    }
}

#[tokio::test]
async fn a_failing_stream_is_the_servers_error() {
    let test = TestTelemetry::new();
    let received = Arc::new(Notify::new());
    let handler = {
        let received = Arc::clone(&received);
        async move || {
            let half = stream::iter([Ok(Bytes::from("half"))]);
            let error = stream::once(async move {
                received.notified().await;
                Err(std::io::Error::other("the model has gone"))
            });
            Body::from_stream(half.chain(error))
        }
    };
    let router = Router::new().route("/stream", get(handler));
    let server = serve(router.layer(layer(&test).build())).await;
    let mut connection = Connection::open(server, Version::HTTP_11).await;
    let response = connection.send(request("GET", "/stream")).await.unwrap();
    received.notify_one();
    assert!(
        response.into_body().collect().await.is_err(),
        "the client sees it too"
    );
    let spans = test.wait_for_spans(1).await;
    assert!(spans.root().is_error());
    assert_eq!(spans.root().int("ml.response.chunk.count"), 1);
    assert_eq!(
        spans.root().str("error.type"),
        "axum_core::error::Error",
        "axum's own error type"
    );
    assert!(!spans.root().has("ml.cancel.reason"));
}

/// Over HTTP/1 hyper asks a body for no more than was announced, and drops it without having
/// heard of its end; for an answer without content it asks nothing.
#[tokio::test]
async fn an_answer_that_was_sent_whole_is_not_cancelled() {
    let chunks = || {
        stream::iter([
            Ok::<_, std::io::Error>(Bytes::from(vec![7; 40_000])),
            Ok(Bytes::from(vec![7; 40_000])),
        ])
    };
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for (status, length) in [(200, Some(80_000)), (200, None), (204, None), (304, None)] {
            let test = TestTelemetry::new();
            let handler = async move || {
                let mut response = http::Response::builder().status(status);
                if let Some(length) = length {
                    response = response.header("content-length", length);
                }
                response.body(Body::from_stream(chunks())).unwrap()
            };
            let router = Router::new().route("/", get(handler));
            let server = serve(router.layer(layer(&test).build())).await;
            let mut connection = Connection::open(server, version).await;
            let response = connection.send(request_to(server, "/")).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            // Over HTTP/2 a body that should not be there is sent all the same.
            if status == 200 {
                assert_eq!(body.len(), 80_000, "{version:?}");
            }
            let spans = test.wait_for_spans(1).await;
            let span = spans.root();
            assert_eq!(
                span.status,
                Status::Unset,
                "{version:?} {status} {length:?}"
            );
            assert!(!span.has("error.type") && !span.has("ml.cancel.reason"));
            let duration = test.metrics();
            let duration = duration.histogram("http.server.request.duration");
            assert_eq!(duration.without("error.type").count(), 1);
        }
    }
}

/// As long as not all of it has come, it is.
#[tokio::test]
async fn an_announced_length_that_is_not_reached_is_no_end() {
    let test = TestTelemetry::new();
    let stream = || {
        stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![7; 40_000]))])
            .chain(stream::pending())
    };
    let handler = async move || ([("content-length", "80000")], Body::from_stream(stream()));
    let server = serve(
        Router::new()
            .route("/", get(handler))
            .layer(layer(&test).build()),
    )
    .await;
    let mut connection = Connection::open(server, Version::HTTP_11).await;
    let response = connection.send(request_to(server, "/")).await.unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    connection.cut();
    let spans = test.wait_for_spans(1).await;
    assert_eq!(spans.root().str("ml.cancel.reason"), "dropped");
}
