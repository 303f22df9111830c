//! Where the nearest operation is found, and where there is none.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::TraceContextExt;
use otel_ml::{MlSpan, Outcome, Telemetry, genai, stage};
use otel_ml_semconv::{gen_ai, ml};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry};

async fn deep_down(value: u64) {
    tokio::task::yield_now().await;
    MlSpan::current().input_size(value);
}

#[tokio::test]
async fn nested_functions_write_to_the_operation_around_them() {
    let test = TestTelemetry::new();
    stage("s")
        .telemetry(&test.telemetry())
        .run_infallible(deep_down(7))
        .await;
    assert_eq!(test.spans().named("s").int(ml::INPUT_SIZE), 7);
}

#[tokio::test]
async fn a_task_with_the_context_writes_and_a_bare_one_does_not() {
    let test = TestTelemetry::new();
    let task = stage("s")
        .telemetry(&test.telemetry())
        .run_infallible(async {
            tokio::spawn(deep_down(7).with_current_context())
                .await
                .unwrap();
            let bare = async {
                deep_down(8).await;
                MlSpan::current().span_context()
            };
            tokio::spawn(bare).await.unwrap()
        });
    assert_eq!(task.await, None);
    assert_eq!(test.spans().named("s").int(ml::INPUT_SIZE), 7);
}

#[test]
fn another_thread_writes_by_a_handle_and_by_the_context() {
    let test = TestTelemetry::new();
    let running = stage("s").telemetry(&test.telemetry()).start();
    let (span, cx) = (running.span(), running.context());
    std::thread::spawn(move || {
        assert_eq!(MlSpan::current().span_context(), None);
        span.input_size(7);
        MlSpan::from_context(&cx).output_size(8);
    })
    .join()
    .unwrap();
    running.finish(Outcome::Ok);
    let span = test.spans().named("s").clone();
    assert_eq!(
        (span.int(ml::INPUT_SIZE), span.int(ml::OUTPUT_SIZE)),
        (7, 8)
    );
}

#[test]
fn the_nearest_operation_is_meant() {
    let test = TestTelemetry::new();
    stage("outer")
        .telemetry(&test.telemetry())
        .in_scope_infallible(|| {
            MlSpan::current().input_size(1);
            genai::chat("openai", "m").in_scope_infallible(|| {
                MlSpan::current().input_size(2);
            });
            MlSpan::current().output_size(3);
        });
    let spans = test.spans();
    assert_eq!(spans.named("chat m").int(ml::INPUT_SIZE), 2);
    assert!(!spans.named("chat m").has(ml::OUTPUT_SIZE));
    let outer = spans.named("outer");
    assert_eq!(
        (outer.int(ml::INPUT_SIZE), outer.int(ml::OUTPUT_SIZE)),
        (1, 3)
    );
}

/// Another instrumentation's span in between is no operation of ours.
#[test]
fn below_a_span_of_others_the_operation_is_still_found() {
    let test = TestTelemetry::new();
    let running = stage("s").telemetry(&test.telemetry()).start();
    let between = running
        .context()
        .with_remote_span_context(crate::support::remote(1));
    let _attached = between.attach();
    assert_ne!(
        MlSpan::current().span_context().as_ref(),
        Some(Context::current().span().span_context())
    );
    MlSpan::current().input_size(7);
    running.finish(Outcome::Ok);
    assert_eq!(test.spans().named("s").int(ml::INPUT_SIZE), 7);
}

#[test]
fn outside_nothing_happens() {
    let span = MlSpan::current();
    assert_eq!(span.span_context(), None);
    assert!(!span.is_recording());
    assert_eq!(span.elapsed(), Duration::ZERO);
    span.input_size(1)
        .cost(1.0, "USD")
        .cache_lookup("c", true)
        .skipped("s", "r");
    span.set("k", "v").first_token().usage_partial();
    span.input_messages(|| panic!("no operation, no content"));
    assert_eq!(format!("{:?}", MlSpan::default()), format!("{span:?}"));
}

#[test]
fn after_the_end_nothing_happens() {
    let test = TestTelemetry::new();
    let running = stage("s").telemetry(&test.telemetry()).start();
    let span = running.span();
    assert!(span.is_recording());
    running.finish(Outcome::Ok);
    assert!(!span.is_recording());
    span.input_size(1).model("m").confidence(0.5).first_token();
    let recorded = test.spans().named("s").clone();
    assert!(!recorded.has(ml::INPUT_SIZE) && !recorded.has(ml::MODEL_NAME));
    assert!(!test.metrics().has(ml::metric::PREDICTION_CONFIDENCE.name));
    assert!(
        span.span_context()
            .is_some_and(|span| span == recorded.span_context)
    );
}

/// What a caller hands over to make a value of may itself write to the operation.
#[test]
fn a_value_may_be_made_by_code_that_writes_to_the_same_operation() {
    let test = TestTelemetry::new();
    let telemetry = Telemetry::builder()
        .tracer_provider(test.tracer_provider())
        .meter_provider(test.meter_provider())
        .capture_content(true)
        .build();
    let (done, waits) = std::sync::mpsc::channel();
    // In a thread of its own: a deadlock is a failure and no hanging test.
    std::thread::spawn(move || {
        stage("nested")
            .telemetry(&telemetry)
            .in_scope_infallible(|| {
                let span = MlSpan::current();
                span.input_messages(|| {
                    MlSpan::current().input_size(1);
                    "[]".into()
                });
                span.feature_names(["a", "b"].into_iter().inspect(|_| {
                    MlSpan::current().feature_count(2);
                }));
                span.set("app.own", Telling);
            });
        done.send(()).unwrap();
    });
    let deadline = std::time::Duration::from_secs(20);
    assert!(waits.recv_timeout(deadline).is_ok(), "it waits for itself");
    let spans = test.spans();
    let span = spans.named("nested");
    assert_eq!(span.str(gen_ai::INPUT_MESSAGES), "[]");
    assert_eq!(span.strings(ml::FEATURE_NAMES), ["a", "b"]);
    assert_eq!(span.str("app.own"), "told");
    assert_eq!(
        (
            span.int(ml::INPUT_SIZE),
            span.int(ml::FEATURE_COUNT),
            span.int(ml::OUTPUT_COUNT)
        ),
        (1, 2, 3)
    );
}

/// Tells something else when it becomes a value.
struct Telling;

impl From<Telling> for opentelemetry::Value {
    fn from(_: Telling) -> Self {
        MlSpan::current().output_count(3);
        "told".into()
    }
}
