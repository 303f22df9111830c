//! The durations, their boundaries and their labels.

use otel_ml_testing::TestTelemetry;
use otel_ml_tonic::OtelMlLayer;
use otel_ml_tonic::RequestHead;
use otel_ml_tonic::otel_ml::{Attributes, MlSpan};
use tonic::Status;

use crate::support::{
    Echo, Kind, UNSAMPLED, answers, asking, call, channel, echo, handler, serve, traced,
    traced_channel, with,
};

const BOUNDARIES: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

#[tokio::test]
async fn durations_have_the_conventions_form() {
    let test = TestTelemetry::new();
    let serving = traced(&test, echo()).await;
    let answer = call(traced_channel(&test, &serving), Kind::Unary, asking(["a"])).await;
    answer.unwrap();
    test.wait_for_spans(2).await;
    let metrics = test.metrics();
    for (name, labels) in [
        (
            "rpc.server.call.duration",
            &["rpc.system.name", "rpc.method", "rpc.status_code"][..],
        ),
        (
            "rpc.client.call.duration",
            &[
                "rpc.system.name",
                "rpc.method",
                "rpc.status_code",
                "server.address",
                "server.port",
            ],
        ),
    ] {
        assert_eq!(metrics.unit(name), "s");
        let point = metrics.histogram(name).one().clone();
        assert_eq!(point.count(), 1);
        assert_eq!(point.bounds(), BOUNDARIES);
        let mut found = point.label_keys();
        let mut labels = labels.to_vec();
        found.sort_unstable();
        labels.sort_unstable();
        assert_eq!(found, labels);
    }
}

#[tokio::test]
async fn errors_are_labelled_on_the_side_that_they_are_errors_of() {
    let test = TestTelemetry::new();
    let serving = traced(&test, handler(async |_| Err(Status::not_found("x")))).await;
    let answer = call(traced_channel(&test, &serving), Kind::Unary, asking(["a"])).await;
    answer.unwrap_err();
    test.wait_for_spans(2).await;
    let metrics = test.metrics();
    let server = metrics.histogram("rpc.server.call.duration");
    let server = server
        .with("rpc.status_code", "NOT_FOUND")
        .without("error.type");
    assert_eq!(server.count(), 1);
    let client = metrics.histogram("rpc.client.call.duration");
    let client = client.with("rpc.status_code", "NOT_FOUND");
    assert_eq!(client.with("error.type", "NOT_FOUND").count(), 1);
}

#[tokio::test]
async fn unsampled_calls_are_counted_under_their_method() {
    let test = TestTelemetry::new();
    let serving = traced(&test, echo()).await;
    for kind in Kind::ALL {
        for _ in 0..2 {
            let request = with(asking(["a"]), [("traceparent", UNSAMPLED)]);
            call(channel(&serving), kind, request).await.unwrap();
        }
    }
    serving.stop().await;
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    let metrics = test.metrics();
    for kind in Kind::ALL {
        let durations = metrics.histogram("rpc.server.call.duration");
        let durations = durations.with("rpc.method", kind.method());
        assert_eq!(durations.with("rpc.status_code", "OK").count(), 2);
    }
}

#[tokio::test]
async fn labels_of_ones_own_and_genai_metrics_are_recorded() {
    let test = TestTelemetry::new();
    let layer = OtelMlLayer::builder()
        .telemetry(test.telemetry())
        .metric_attributes(|_: &RequestHead<'_>, to: &mut Attributes| to.push("shard", "a"));
    let handler = handler(async |_| {
        MlSpan::current()
            .gen_ai_operation("embeddings")
            .provider("acme")
            .request_model("small");
        Ok(answers(["x"]))
    });
    let serving = serve(layer.build(), Echo::new(handler)).await;
    call(channel(&serving), Kind::Unary, asking(["a"]))
        .await
        .unwrap();
    test.wait_for_spans(1).await;
    let metrics = test.metrics();
    let durations = metrics.histogram("rpc.server.call.duration");
    assert_eq!(durations.with("shard", "a").count(), 1);
    let served = metrics.histogram("gen_ai.server.request.duration");
    assert_eq!(
        served.with("gen_ai.operation.name", "embeddings").count(),
        1
    );
}
