//! The handle: what is on, what is off, what is gone.

use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use otel_ml::{Handle, MlSpan, Operation, Outcome, Telemetry, stage};
use otel_ml_semconv::{SCHEMA_URL, ml};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry};

use crate::support::{headers, inject, labels, remote, remote_context, series, traceparent};

fn run_stage(telemetry: &Telemetry) {
    stage("rerank")
        .telemetry(telemetry)
        .in_scope_infallible(|| ());
}

#[test]
fn spans_and_metrics_can_be_had_apart() {
    for (traces, metrics) in [(true, true), (true, false), (false, true), (false, false)] {
        let test = TestTelemetry::new();
        let builder = Telemetry::builder();
        let builder = if traces {
            builder.tracer_provider(test.tracer_provider())
        } else {
            builder.without_traces()
        };
        let builder = if metrics {
            builder.meter_provider(test.meter_provider())
        } else {
            builder.without_metrics()
        };
        let telemetry = builder.build();
        assert_eq!(telemetry.is_tracing(), traces);
        assert_eq!(telemetry.instruments().is_some(), metrics);
        run_stage(&telemetry);
        assert_eq!(test.spans().len(), usize::from(traces));
        assert_eq!(test.metrics().has(ml::metric::STAGE_DURATION.name), metrics);
    }
}

#[test]
fn a_clone_shares_its_instruments() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let clone = telemetry.clone();
    assert!(std::ptr::eq(
        telemetry.instruments().unwrap(),
        clone.instruments().unwrap()
    ));
}

#[test]
fn the_scope_names_the_crate_and_its_schema() {
    let test = TestTelemetry::new();
    run_stage(&test.telemetry());
    let scope = test.spans().named("rerank").instrumentation_scope.clone();
    assert_eq!(scope.name(), "otel-ml");
    assert_eq!(scope.version(), Some("0.1.0"));
    assert_eq!(scope.schema_url(), Some(SCHEMA_URL));
    let metrics = test.resource_metrics();
    let scope = metrics.scope_metrics().next().unwrap().scope();
    assert_eq!(
        (scope.name(), scope.schema_url()),
        ("otel-ml", Some(SCHEMA_URL))
    );
}

#[test]
fn a_provider_that_was_shut_down_does_not_hide_the_parent() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    test.shutdown();
    let parent = remote_context(3).with_baggage([KeyValue::new("tier", "pro")]);
    let operation = Operation::builder(&telemetry, SpanKind::Server, "late".into())
        .parent(parent)
        .handle(Handle::Recorded)
        .start(|| (), |_| ());
    assert!(!operation.is_recording());
    assert_eq!(operation.span_context(), remote(3));
    let sent = inject(&telemetry, operation.context().unwrap());
    let expected = [
        ("traceparent", &*traceparent("03")),
        ("baggage", "tier=pro"),
    ];
    assert_eq!(sent, headers(&expected));
    operation.finish(Outcome::Ok);
    run_stage(&telemetry);
    assert!(test.spans().is_empty());
}

#[test]
fn e28_a_suppressed_context_passes_through_untouched() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let parent = remote_context(3)
        .with_baggage([KeyValue::new("tier", "pro")])
        .with_value(17_u32)
        .with_telemetry_suppressed();
    let operation = Operation::builder(&telemetry, SpanKind::Server, "quiet".into())
        .parent(parent.clone())
        .handle(Handle::Recorded)
        .start(
            || (),
            |_| panic!("attributes of a span that is not recorded"),
        );
    assert!(!operation.is_recording());
    let inside = operation.context().unwrap();
    assert_eq!(*inside.span().span_context(), remote(3));
    assert_eq!(inside.get::<u32>(), Some(&17));
    assert!(inside.is_telemetry_suppressed());
    let expected = [
        ("traceparent", &*traceparent("03")),
        ("baggage", "tier=pro"),
    ];
    assert_eq!(inject(&telemetry, inside), headers(&expected));
    operation.finish(Outcome::Ok);

    let _attached = parent.attach();
    stage("quiet")
        .telemetry(&telemetry)
        .in_scope_infallible(|| {
            let current = Context::current();
            assert_eq!(*current.span().span_context(), remote(3));
            assert!(current.is_telemetry_suppressed());
        });
    assert!(test.spans().is_empty());
    assert!(test.open_spans().is_empty());
    assert_eq!(test.metrics().names(), [""; 0]);
}

#[test]
fn nothing_installed_is_no_operation() {
    let telemetry = Telemetry::global();
    assert!(!telemetry.is_tracing());
    assert!(telemetry.instruments().is_none());
    assert!(!telemetry.is_propagating());
    let value = stage("rerank").in_scope_infallible(|| {
        assert!(!Context::current().has_active_span());
        let span = MlSpan::current();
        span.model("m")
            .confidence(0.5)
            .cache_lookup("c", true)
            .first_token();
        assert!(!span.is_recording());
        assert_eq!(span.span_context(), None);
        17
    });
    assert_eq!(value, 17);
}

#[test]
fn work_inside_an_operation_records_where_the_operation_does() {
    let test = TestTelemetry::new();
    stage("outer")
        .telemetry(&test.telemetry())
        .in_scope_infallible(|| {
            stage("inner").in_scope_infallible(|| ());
        });
    let spans = test.spans();
    assert_eq!(
        spans.named("inner").parent(),
        Some(spans.named("outer").span_context.span_id())
    );
    let labels = labels![ml::PIPELINE_STAGE_NAME => "inner"];
    assert_eq!(
        series(&test, &ml::metric::STAGE_DURATION, &labels).count(),
        1
    );
}

#[test]
fn the_debug_form_tells_the_propagation() {
    let own = format!("{:?}", Telemetry::builder().without_traces().build());
    assert!(own.contains("own") && own.contains("Auto"), "{own}");
    assert!(format!("{:?}", Telemetry::global()).contains("global"));
}
