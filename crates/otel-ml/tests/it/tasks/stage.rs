use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer, TracerProvider};
use otel_ml::{ErrorType, MlSpan, Outcome, Telemetry, stage};
use otel_ml_semconv::{error, ml};
use otel_ml_testing::{
    SpanExt, SpansExt, TestTelemetry, assert_one_trace, assert_tree, assert_types,
};

use super::{QueueFull, only};
use crate::support::{labels, remote_context, series};

#[test]
fn a_stage_is_an_internal_span_and_a_duration() {
    let test = TestTelemetry::new();
    stage("rerank")
        .telemetry(&test.telemetry())
        .in_scope_infallible(|| ());
    assert_tree!(test.spans(), {
        "rerank" [internal, unset, only_attrs] { (ml::PIPELINE_STAGE_NAME) = "rerank" }
    });
    let labels = labels![ml::PIPELINE_STAGE_NAME => "rerank"];
    assert_eq!(
        series(&test, &ml::metric::STAGE_DURATION, &labels).count(),
        1
    );
    assert_eq!(test.metrics().names(), [ml::metric::STAGE_DURATION.name]);
}

#[test]
fn the_telemetry_given_to_a_stage_counts_from_its_start() {
    let test = TestTelemetry::new();
    stage("before")
        .attribute("app.k", 1)
        .telemetry(&test.telemetry())
        .in_scope_infallible(|| ());
    stage("after")
        .telemetry(&test.telemetry())
        .attribute("app.k", 1)
        .in_scope_infallible(|| ());
    for name in ["before", "after"] {
        let span = test.spans().named(name).clone();
        assert_eq!(span.str(ml::PIPELINE_STAGE_NAME), name);
        assert_eq!(span.int("app.k"), 1, "{name}");
    }
}

#[test]
fn model_and_error_are_labels_where_known() {
    let test = TestTelemetry::new();
    let result = stage("rerank").telemetry(&test.telemetry()).in_scope(|| {
        MlSpan::current()
            .model("cross-encoder")
            .model_version("3")
            .candidate_count(20);
        Err::<(), _>(QueueFull)
    });
    assert_eq!(result, Err(QueueFull));
    assert_tree!(test.spans(), {
        "rerank" [internal, error, only_attrs] {
            (ml::PIPELINE_STAGE_NAME) = "rerank",
            (ml::MODEL_NAME) = "cross-encoder",
            (ml::MODEL_VERSION) = "3",
            (ml::RERANK_CANDIDATE_COUNT) = 20,
            (error::TYPE) = "QueueFull",
        }
    });
    let labels = labels![
        ml::PIPELINE_STAGE_NAME => "rerank", ml::MODEL_NAME => "cross-encoder",
        error::TYPE => "QueueFull",
    ];
    assert_eq!(
        series(&test, &ml::metric::STAGE_DURATION, &labels).count(),
        1
    );
}

#[test]
fn nested_stages_are_children_and_siblings_are_not() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    stage("retrieve")
        .telemetry(&telemetry)
        .in_scope_infallible(|| {
            stage("embed").in_scope_infallible(|| ());
            stage("search").in_scope_infallible(|| stage("fetch").in_scope_infallible(|| ()));
        });
    stage("generate")
        .telemetry(&telemetry)
        .in_scope_infallible(|| ());
    assert_tree!(test.spans(), {
        "retrieve" [internal] => ["embed", "search" => ["fetch"]],
        "generate",
    });
}

#[test]
fn stages_and_spans_of_others_are_each_others_parents() {
    let test = TestTelemetry::new();
    let tracer = test.tracer_provider().tracer("another");
    tracer.in_span("request", |_| {
        stage("rerank")
            .telemetry(&test.telemetry())
            .in_scope_infallible(|| {
                tracer.in_span("score", |_| stage("sort").in_scope_infallible(|| ()));
            });
    });
    assert_tree!(test.spans(), {
        "request" => ["rerank" => ["score" => ["sort"]]],
    });
    assert_one_trace(&test.spans());
}

#[test]
fn e23_below_an_unsampled_parent_there_is_a_metric_and_no_span() {
    let test = TestTelemetry::new();
    let _attached = remote_context(2).attach();
    let ran = stage("rerank")
        .telemetry(&test.telemetry())
        .in_scope_infallible(|| {
            stage("sort").in_scope_infallible(|| ());
            *opentelemetry::Context::current().span().span_context() == crate::support::remote(2)
        });
    assert!(ran);
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    for name in ["rerank", "sort"] {
        let labels = labels![ml::PIPELINE_STAGE_NAME => name];
        assert_eq!(
            series(&test, &ml::metric::STAGE_DURATION, &labels).count(),
            1,
            "{name}"
        );
    }
}

#[test]
fn with_nothing_installed_work_is_done_all_the_same() {
    let off = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build();
    for telemetry in [off, Telemetry::global()] {
        let task = stage("rerank").telemetry(&telemetry).attribute("app.k", 1);
        assert_eq!(task.in_scope(|| Err::<(), _>(QueueFull)), Err(QueueFull));
        let running = stage("rerank").telemetry(&telemetry).start();
        assert!(!running.span().is_recording());
        running.finish(Outcome::Failed(ErrorType::OTHER));
    }
}

#[test]
fn a_name_may_be_made_at_run_time() {
    let test = TestTelemetry::new();
    let name = format!("shard-{}", 3);
    stage(name.clone())
        .telemetry(&test.telemetry())
        .in_scope_infallible(|| ());
    let span = only(&test);
    assert_eq!(
        (&*span.name, span.str(ml::PIPELINE_STAGE_NAME)),
        (&*name, &*name)
    );
    assert_eq!(span.span_kind, SpanKind::Internal);
    assert_types(&test.spans());
}
