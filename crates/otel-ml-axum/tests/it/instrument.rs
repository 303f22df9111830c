//! E31: beside `#[tracing::instrument]`, both ways, whatever its filter lets through.

use std::convert::Infallible;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::stream;
use http::{Request, Response};
use otel_ml_axum::MlSpan;
use otel_ml_axum::otel_ml;
use otel_ml_axum::otel_ml::opentelemetry::trace::TracerProvider as _;
use otel_ml_testing::{TestTelemetry, assert_one_trace, assert_tree};
use otel_ml_tower::OtelMlClientLayer;
use tower::{Layer as _, Service as _, service_fn};
use tracing::Instrument as _;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::{self, layer, serve};

/// Sends the spans of `tracing` to `test`, on this thread, as far as `filter` lets them.
fn tracing_into(test: &TestTelemetry, filter: &str) -> DefaultGuard {
    let tracer = test.tracer_provider().tracer("tracing");
    let subscriber = tracing_subscriber::registry()
        .with(EnvFilter::new(filter))
        .with(tracing_opentelemetry::layer().with_tracer(tracer));
    tracing::subscriber::set_default(subscriber)
}

/// Sends a request on to nobody, by the telemetry of `test`.
async fn send(test: &TestTelemetry) {
    let layer = OtelMlClientLayer::builder()
        .telemetry(test.telemetry())
        .build();
    let mut client = layer.layer(service_fn(async |_request: Request<Body>| {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    let request = Request::get("http://next/").body(Body::empty()).unwrap();
    client.call(request).await.unwrap();
}

#[tracing::instrument(skip_all)]
async fn work(test: TestTelemetry) {
    tokio::task::yield_now().await;
    otel_ml::MlSpan::current().output_tokens(7);
    otel_ml::stage("rerank").run_infallible(deeper()).await;
    send(&test).await;
}

#[tracing::instrument]
async fn deeper() {
    tokio::task::yield_now().await;
    // The nearest operation is the stage, through the span of `tracing` between.
    otel_ml::MlSpan::current().candidate_count(20);
}

fn router(test: &TestTelemetry) -> Router {
    let handler = {
        let test = test.clone();
        async move |span: MlSpan| {
            span.input_tokens(12);
            work(test).await;
            "ok"
        }
    };
    Router::new().route("/predict", get(handler))
}

#[tokio::test]
async fn e31_facts_reach_the_request_and_spans_nest_both_ways() {
    let test = TestTelemetry::new();
    let _tracing = tracing_into(&test, "info");
    let server = serve(router(&test).layer(layer(&test).build())).await;
    support::get(server, "/predict").await;
    let spans = test.wait_for_spans(5).await;
    assert_tree!(spans, {
        "GET /predict" [server, unset] {
            "gen_ai.usage.input_tokens" = 12,
            "gen_ai.usage.output_tokens" = 7,
        } => [
            "work" [internal] => [
                "rerank" [internal] { "ml.rerank.candidate.count" = 20 } => [
                    "deeper" [internal],
                ],
                "GET" [client, unset],
            ],
        ]
    });
    assert_one_trace(&spans);
}

#[tokio::test]
async fn e31_a_level_filter_does_not_cut_the_trace() {
    for filter in ["warn", "off"] {
        let test = TestTelemetry::new();
        let _tracing = tracing_into(&test, filter);
        let server = serve(router(&test).layer(layer(&test).build())).await;
        support::get(server, "/predict").await;
        let spans = test.wait_for_spans(3).await;
        assert_tree!(spans, {
            "GET /predict" [server, unset] {
                "gen_ai.usage.input_tokens" = 12,
                "gen_ai.usage.output_tokens" = 7,
            } => [
                "rerank" [internal] { "ml.rerank.candidate.count" = 20 },
                "GET" [client, unset],
            ]
        });
        assert_one_trace(&spans);
    }
}

#[tokio::test]
async fn e31_a_handler_that_is_instrumented_itself() {
    #[tracing::instrument(skip_all, fields(model = "m"))]
    async fn predict(span: MlSpan) -> &'static str {
        span.confidence(0.5);
        otel_ml::MlSpan::current().model("m");
        "ok"
    }
    let test = TestTelemetry::new();
    let _tracing = tracing_into(&test, "info");
    let router = Router::new().route("/predict", get(predict));
    let server = serve(router.layer(layer(&test).build())).await;
    support::get(server, "/predict").await;
    assert_tree!(test.wait_for_spans(2).await, {
        "GET /predict" [server] {
            "ml.prediction.confidence" = 0.5,
            "ml.model.name" = "m",
        } => ["predict" [internal] { "model" = "m" }]
    });
}

#[tokio::test]
async fn e31_a_streams_spans_nest_below_the_request() {
    let test = TestTelemetry::new();
    let _tracing = tracing_into(&test, "info");
    let handler = async || {
        let chunks = stream::unfold(0_u64, async |n| {
            let decode = async {
                tokio::task::yield_now().await;
                otel_ml::MlSpan::current().output_tokens(n + 1);
            };
            decode.instrument(tracing::info_span!("decode")).await;
            (n < 2).then(|| (Ok::<_, Infallible>(Bytes::from("t")), n + 1))
        });
        Body::from_stream(Box::pin(chunks))
    };
    let router = Router::new().route("/stream", get(handler));
    let server = serve(router.layer(layer(&test).build())).await;
    support::get(server, "/stream").await;
    assert_tree!(test.wait_for_spans(4).await, {
        "GET /stream" [server, unset] { "gen_ai.usage.output_tokens" = 3 } => [
            "decode" [internal],
            "decode" [internal],
            "decode" [internal],
        ]
    });
}

#[tokio::test]
async fn e31_a_request_sent_inside_a_span_of_tracing_is_its_child() {
    let test = TestTelemetry::new();
    let _tracing = tracing_into(&test, "info");
    let telemetry = test.telemetry();
    async {
        send(&test).await;
        let rerank = otel_ml::stage("rerank").telemetry(&telemetry);
        rerank.run_infallible(send(&test)).await;
    }
    .instrument(tracing::info_span!("job"))
    .await;
    assert_tree!(test.wait_for_spans(4).await, {
        "job" [internal] => [
            "GET" [client],
            "rerank" [internal] => ["GET" [client]],
        ]
    });
}

#[tokio::test]
async fn e31_a_span_of_tracing_outside_is_not_the_parent_of_a_request() {
    let test = TestTelemetry::new();
    let _tracing = tracing_into(&test, "info");
    let mut service = layer(&test).build().layer(router(&test));
    let request = Request::get("/predict").body(Body::empty()).unwrap();
    let exchange = service
        .call(request)
        .instrument(tracing::info_span!("accept"));
    drop(exchange.await);
    let spans = test.wait_for_spans(6).await;
    assert_tree!(spans, {
        "accept" [internal],
        "GET" [server, any_children]
    });
}
