//! The `MlSpan` extractor.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use otel_ml_axum::MlSpan;
use otel_ml_testing::{SpansExt as _, TestTelemetry, assert_tree, assert_types};

use crate::support::{self, fetch, layer, request, serve};

async fn predict(
    span: MlSpan,
    Path(model): Path<String>,
    Json(input): Json<Vec<f64>>,
) -> Json<f64> {
    span.model(model)
        .operation("predict")
        .input_size(input.len() as u64);
    let confidence = input.iter().sum();
    span.confidence(confidence);
    Json(confidence)
}

#[tokio::test]
async fn a_handler_writes_facts_to_its_requests_span() {
    let test = TestTelemetry::new();
    let router = Router::new().route("/models/{model}", post(predict));
    let server = serve(router.layer(layer(&test).build())).await;
    let mut asked = request("POST", "/models/fraud");
    asked
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    *asked.body_mut() = "[0.5, 0.25]".into();
    assert_eq!(fetch(server, asked).await.body, "0.75");
    let spans = test.wait_for_spans(1).await;
    assert_tree!(spans, {
        "POST /models/{model}" [server, unset] {
            "ml.model.name" = "fraud",
            "ml.operation.name" = "predict",
            "ml.input.size" = 2,
            "ml.prediction.confidence" = 0.75,
        }
    });
    assert_types(&spans);
    let metrics = test.metrics();
    let confidence = metrics.histogram("ml.prediction.confidence");
    assert_eq!(confidence.with("ml.model.name", "fraud").count(), 1);
}

async fn tell(State(greeting): State<&'static str>, span: MlSpan) -> String {
    span.output_tokens(1).cache_lookup("answers", true);
    format!("{greeting}, {}", span.is_recording())
}

#[tokio::test]
async fn it_never_rejects_a_request() {
    let off = TestTelemetry::builder().always_off().build();
    let on = TestTelemetry::new();
    let router = Router::new()
        .route("/bare", get(tell))
        .route("/unit", get(tell).layer(otel_ml_axum::OtelMlLayer))
        .route("/unsampled", get(tell).layer(layer(&off).build()))
        .route("/healthz", get(tell).layer(layer(&on).build()))
        .route("/recorded", get(tell).layer(layer(&on).build()))
        .with_state("hello");
    let server = serve(router).await;
    for (path, is_recording) in [
        ("/bare", false),
        ("/unit", false),
        ("/unsampled", false),
        ("/healthz", false),
        ("/recorded", true),
    ] {
        let answer = support::get(server, path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.body, format!("hello, {is_recording}"), "{path}");
    }
    on.wait_for_spans(1).await;
    assert_eq!(on.spans().root().name, "GET /recorded");
    assert!(off.spans().is_empty());
}

#[tokio::test]
async fn a_rejected_request_is_recorded_with_its_status() {
    let test = TestTelemetry::new();
    let router = Router::new().route("/models/{model}", post(predict));
    let server = serve(router.layer(layer(&test).build())).await;
    assert_eq!(
        fetch(server, request("POST", "/models/fraud")).await.status,
        415
    );
    assert_tree!(test.wait_for_spans(1).await, {
        "POST /models/{model}" [server, unset] { "http.response.status_code" = 415 }
    });
}
