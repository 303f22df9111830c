//! Lines of `tracing` carry the ids of the span they are written in.

use std::convert::Infallible;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use opentelemetry_sdk::logs::SdkLogRecord;
use otel_ml_axum::OtelMlLayer;
use otel_ml_sdk::log::{JsonFormat, LogFormat, Logs};
use otel_ml_sdk::otel_ml;
use otel_ml_sdk::otel_ml::opentelemetry::context::FutureExt as _;
use otel_ml_sdk::otel_ml::opentelemetry::logs::AnyValue;
use otel_ml_sdk::otel_ml::opentelemetry::trace::TracerProvider as _;
use otel_ml_testing::{SpanExt as _, TestTelemetry};
use tower::ServiceExt as _;
use tracing::info;
use tracing::subscriber::{DefaultGuard, set_default};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{fmt, registry};

use super::support::{exporting, ids, ids_in, ids_of, logs, named, records, text_of};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

/// Installs `logs` on this thread, beside the exported spans of `tracing`.
fn install(logs: &Logs, test: &TestTelemetry) -> DefaultGuard {
    let tracer = test.tracer_provider().tracer("tracing");
    set_default(
        registry()
            .with(tracing_opentelemetry::layer().with_tracer(tracer))
            .with(logs.layer().unwrap()),
    )
}

/// Sends `GET /predict` to a service whose handler is `handler`, and reads the answer.
async fn exchange<H, T>(test: &TestTelemetry, handler: H, parent: Option<&str>)
where
    H: axum::handler::Handler<T, ()>,
    T: 'static,
{
    let layer = OtelMlLayer::builder().telemetry(test.telemetry()).build();
    let router = Router::new().route("/predict", get(handler)).layer(layer);
    let mut request = axum::http::Request::get("/predict");
    if let Some(parent) = parent {
        request = request.header("traceparent", parent);
    }
    let request = request.body(Body::empty()).unwrap();
    let answer = router.oneshot(request).await.unwrap();
    to_bytes(answer.into_body(), usize::MAX).await.unwrap();
}

#[tracing::instrument]
async fn rank(model: &str) {
    info!("instrumented");
    tokio::task::yield_now().await;
    info!("instrumented, after an await");
    otel_ml::stage("rerank")
        .run_infallible(async { info!("in a stage") })
        .await;
}

async fn handler() -> Body {
    info!("in the handler");
    rank("m").await;
    let given = async { info!("in a task with the context") }.with_current_context();
    tokio::spawn(given).await.unwrap();
    tokio::spawn(async { info!("in a task without") })
        .await
        .unwrap();
    Body::from_stream(stream::iter(0..3).map(|n| {
        info!("chunk {n}");
        Ok::<_, Infallible>(Bytes::from_static(b"token"))
    }))
}

#[tokio::test]
async fn a_line_has_the_ids_its_span_has_in_the_export() {
    let test = TestTelemetry::new();
    let (logs, lines) = logs(LogFormat::Json);
    let _installed = install(&logs, &test);
    info!("before");
    exchange(&test, handler, None).await;
    info!("after");
    let spans = test.wait_for_spans(3).await;
    for (message, span) in [
        ("in the handler", "GET /predict"),
        ("instrumented", "rank"),
        ("instrumented, after an await", "rank"),
        ("in a stage", "rerank"),
        ("in a task with the context", "GET /predict"),
        ("chunk 0", "GET /predict"),
        ("chunk 2", "GET /predict"),
    ] {
        let expected = ids_of(named(&spans, span));
        assert_eq!(ids(&lines.saying(message)), expected, "{message}");
    }
    for message in ["before", "in a task without", "after"] {
        assert_eq!(ids(&lines.saying(message)), None, "{message}");
    }
    // The trace is one, so that looking for it finds all of it.
    let rank = named(&spans, "rank");
    let request = named(&spans, "GET /predict");
    assert_eq!(rank.parent(), Some(request.span_context.span_id()));
    assert_eq!(
        lines.saying("in a stage")["spans"],
        serde_json::json!(["rank"])
    );
    assert_eq!(lines.saying("in the handler").get("spans"), None);
}

#[tokio::test]
async fn a_line_of_text_ends_with_them() {
    let test = TestTelemetry::new();
    let (logs, lines) = logs(LogFormat::Text);
    let _installed = install(&logs, &test);
    info!("outside");
    exchange(&test, async || info!(model = "m", "inside"), None).await;
    let spans = test.wait_for_spans(1).await;
    let text = lines.text();
    let (outside, inside) = text.split_once('\n').unwrap();
    assert!(outside.ends_with(": outside"), "{outside}");
    let expected = format!(": inside model=\"m\"{}", text_of(&spans[0]));
    assert!(inside.ends_with(&expected), "{inside}");
}

#[tokio::test]
async fn a_stream_of_ones_own_is_polled_in_its_span() {
    let test = TestTelemetry::new();
    let (logs, lines) = logs(LogFormat::Json);
    let _installed = install(&logs, &test);
    let tokens = stream::iter(["a", "b"]).inspect(|token| info!("token {token}"));
    let decode = otel_ml::stage("decode").telemetry(&test.telemetry());
    let mut tokens = decode.stream_infallible(tokens);
    while tokens.next().await.is_some() {
        info!("between");
    }
    let spans = test.wait_for_spans(1).await;
    assert_eq!(ids(&lines.saying("token a")), ids_of(&spans[0]));
    assert_eq!(ids(&lines.saying("token b")), ids_of(&spans[0]));
    assert_eq!(ids(&lines.saying("between")), None);
}

#[tokio::test]
async fn an_unsampled_trace_is_named_and_flagged() {
    let test = TestTelemetry::builder().parent_based_always_off().build();
    let (logs, lines) = logs(LogFormat::Json);
    let _installed = install(&logs, &test);
    let parent = format!("{PARENT}-00");
    exchange(&test, async || info!("inside"), Some(&parent)).await;
    let [trace, _, flags] = ids(&lines.saying("inside")).unwrap();
    assert_eq!(trace, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(flags, "00");
    assert_eq!(test.spans().len(), 0);
}

#[tokio::test]
async fn two_requests_at_once_do_not_mix() {
    let test = TestTelemetry::new();
    let (logs, lines) = logs(LogFormat::Json);
    let _installed = install(&logs, &test);
    let gate = tokio::sync::Barrier::new(2);
    let handler = async |name: &str| {
        gate.wait().await;
        info!("{name} at first");
        gate.wait().await;
        info!("{name} at last");
    };
    let telemetry = test.telemetry();
    let one = otel_ml::stage("one").telemetry(&telemetry);
    let two = otel_ml::stage("two").telemetry(&telemetry);
    tokio::join!(
        one.run_infallible(handler("one")),
        two.run_infallible(handler("two")),
    );
    let spans = test.wait_for_spans(2).await;
    for name in ["one", "two"] {
        let expected = ids_of(named(&spans, name));
        assert_eq!(ids(&lines.saying(&format!("{name} at first"))), expected);
        assert_eq!(ids(&lines.saying(&format!("{name} at last"))), expected);
    }
}

#[tokio::test]
async fn the_filter_of_the_logs_does_not_cut_spans() {
    let test = TestTelemetry::new();
    let (logs, lines) = logs(LogFormat::Json);
    let _installed = install(&logs.filter("warn"), &test);
    exchange(
        &test,
        async || {
            rank("m").await;
            tracing::warn!("kept");
        },
        None,
    )
    .await;
    let spans = test.wait_for_spans(3).await;
    let request = named(&spans, "GET /predict");
    assert_eq!(
        named(&spans, "rank").parent(),
        Some(request.span_context.span_id())
    );
    assert_eq!(lines.json().len(), 1);
    assert_eq!(ids(&lines.saying("kept")), ids_of(request));
}

#[tokio::test]
async fn an_exported_record_has_the_same_ids() {
    let test = TestTelemetry::new();
    let (logs, _) = logs(LogFormat::Json);
    let (provider, exporter) = exporting();
    let _installed = install(&logs.export(Some(&provider)), &test);
    info!("outside");
    exchange(&test, async || rank("m").await, None).await;
    let spans = test.wait_for_spans(3).await;
    let records = records(&exporter);
    let bodies: Vec<_> = records.iter().map(body).collect();
    let [instrumented, later, stage] =
        ["instrumented", "instrumented, after an await", "in a stage"];
    assert_eq!(bodies, ["outside", instrumented, later, stage]);
    assert_eq!(ids_in(&records[0]), None);
    assert_eq!(ids_in(&records[1]), ids_of(named(&spans, "rank")));
    assert_eq!(ids_in(&records[2]), ids_of(named(&spans, "rank")));
    assert_eq!(ids_in(&records[3]), ids_of(named(&spans, "rerank")));
}

fn body(record: &SdkLogRecord) -> String {
    match record.body() {
        Some(AnyValue::String(body)) => body.to_string(),
        body => panic!("{body:?}"),
    }
}

#[test]
fn what_an_exporter_logs_is_written_and_not_exported() {
    let test = TestTelemetry::new();
    let (logs, lines) = logs(LogFormat::Json);
    let (provider, exporter) = exporting();
    let _installed = install(&logs.filter("trace").export(Some(&provider)), &test);
    info!(target: "hyper_util::client::legacy::pool", "pooling");
    info!(target: "h2::codec", "frame");
    info!(name: "Export.Failed", target: "opentelemetry-otlp", "failed");
    info!(target: "otel_ml_sdk", "an export failed");
    info!(target: "tower_http::trace::on_response", "answered");
    tracing::trace!("of the service");
    assert_eq!(lines.json().len(), 6);
    let exported: Vec<_> = records(&exporter).iter().map(body).collect();
    assert_eq!(exported, ["answered", "of the service"]);
}

#[tokio::test]
async fn the_format_serves_in_a_layer_of_ones_own() {
    let test = TestTelemetry::new();
    let lines = super::support::Captured::default();
    let writer = lines.clone();
    let layer = fmt::layer()
        .event_format(JsonFormat)
        .with_writer(move || writer.clone());
    let _installed = set_default(registry().with(layer));
    exchange(&test, async || info!("inside"), None).await;
    let spans = test.wait_for_spans(1).await;
    assert_eq!(ids(&lines.saying("inside")), ids_of(&spans[0]));
}
