use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer, TracerProvider as _,
};
use opentelemetry::{Array, Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample, SpanLimits};
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry};

use crate::message_of;

fn remote_parent(flags: TraceFlags) -> Context {
    Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from(7),
        SpanId::from(8),
        flags,
        true,
        TraceState::default(),
    ))
}

#[test]
fn what_was_recorded_outlives_the_shutdown() {
    use opentelemetry::metrics::MeterProvider as _;

    let test = TestTelemetry::new();
    let tracer = test.tracer_provider().tracer("t");
    let counter = test.meter_provider().meter("t").u64_counter("seen").build();
    counter.add(2, &[]);
    tracer.in_span("before", |_cx| ());
    test.shutdown();
    test.shutdown();
    tracer.in_span("after", |_cx| ());
    counter.add(5, &[]);
    assert_eq!(test.spans().root().name, "before");
    assert_eq!(test.metrics().sum("seen").int(), 2);
}

#[test]
fn spans_come_in_the_order_of_their_ends() {
    let test = TestTelemetry::new();
    let tracer = test.tracer_provider().tracer("t");
    let mut first = tracer.start("first");
    tracer.start("second").end();
    assert_eq!(test.open_spans(), ["first"]);
    first.end();
    let names: Vec<_> = test
        .take_spans()
        .into_iter()
        .map(|span| span.name)
        .collect();
    assert_eq!(names, ["second", "first"]);
    assert!(test.spans().is_empty());
    assert!(test.open_spans().is_empty());
}

#[test]
fn the_sampler_follows_the_parent_unless_told_otherwise() {
    let recorded = |test: TestTelemetry, parent: Context| {
        let tracer = test.tracer_provider().tracer("t");
        drop(tracer.start_with_context("child", &parent));
        test.spans().len()
    };
    let sampled = || remote_parent(TraceFlags::SAMPLED);
    let unsampled = || remote_parent(TraceFlags::default());
    let build = TestTelemetry::builder;
    let off = || build().always_off().build();
    let root_off = || build().parent_based_always_off().build();

    assert_eq!(recorded(TestTelemetry::new(), Context::new()), 1);
    assert_eq!(recorded(TestTelemetry::new(), sampled()), 1);
    assert_eq!(recorded(TestTelemetry::new(), unsampled()), 0);
    assert_eq!(recorded(off(), sampled()), 0);
    assert_eq!(recorded(root_off(), Context::new()), 0);
    assert_eq!(recorded(root_off(), sampled()), 1);
}

#[derive(Clone, Debug)]
struct RecordOnly;

impl ShouldSample for RecordOnly {
    fn should_sample(
        &self,
        _parent: Option<&Context>,
        _trace: TraceId,
        _name: &str,
        _kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        SamplingResult {
            decision: SamplingDecision::RecordOnly,
            attributes: Vec::new(),
            trace_state: TraceState::default(),
        }
    }
}

#[test]
fn what_is_recorded_but_not_sampled_is_not_exported() {
    let test = TestTelemetry::builder().sampler(RecordOnly).build();
    let span = test.tracer_provider().tracer("t").start("s");
    assert!(span.is_recording());
    assert_eq!(test.open_spans(), ["s"]);
    drop(span);
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
}

#[tokio::test(start_paused = true)]
async fn spans_that_were_taken_are_waited_for_no_more() {
    let test = TestTelemetry::builder().deadline(Duration::ZERO).build();
    drop(test.tracer_provider().tracer("t").start("s"));
    assert_eq!(test.block_for_spans(1).len(), 1);
    assert_eq!(test.wait_for_spans(1).await.len(), 1);
    test.reset();
    let _ = message_of(|| test.block_for_spans(1));
    let waiting = tokio::spawn({
        let test = test.clone();
        async move { test.wait_for_spans(1).await }
    });
    assert!(waiting.await.expect_err("it gave up").is_panic());
}

#[test]
fn limits_and_service_are_the_builders() {
    let limits = SpanLimits {
        max_attributes_per_span: 1,
        ..SpanLimits::default()
    };
    let test = TestTelemetry::builder()
        .span_limits(limits)
        .service("ranker")
        .build();
    let mut span = test.tracer_provider().tracer("t").start("s");
    span.set_attribute(KeyValue::new("a", 1));
    span.set_attribute(KeyValue::new("b", 2));
    span.end();
    assert_eq!(test.spans().named("s").dropped_attributes_count, 1);

    use opentelemetry::metrics::MeterProvider as _;
    let meter = test.meter_provider().meter("t");
    meter.u64_counter("c").build().add(1, &[]);
    let metrics = test.resource_metrics();
    assert_eq!(metrics.resource(), test.resource());
    let service = metrics.resource().get(&"service.name".into());
    assert_eq!(
        service.map(|value| value.to_string()).as_deref(),
        Some("ranker")
    );
}

#[tokio::test]
async fn waiting_ends_with_the_last_span() {
    let test = TestTelemetry::new();
    let tracer = test.tracer_provider().tracer("t");
    let tasks = (0..8).map(|_| tokio::spawn(async move { tokio::task::yield_now().await }));
    for task in tasks.collect::<Vec<_>>() {
        let span = tracer.start("task");
        tokio::spawn(async move {
            task.await.expect("no panic");
            drop(span);
        });
    }
    assert_eq!(test.wait_for_spans(8).await.len(), 8);
}

#[test]
fn waiting_works_between_threads_too() {
    let test = TestTelemetry::new();
    let tracer = test.tracer_provider().tracer("t");
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let span = tracer.start("thread");
            std::thread::spawn(move || drop(span))
        })
        .collect();
    assert_eq!(test.block_for_spans(4).len(), 4);
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("no panic"));
}

#[tokio::test(start_paused = true)]
async fn waiting_in_vain_says_what_is_open() {
    let test = TestTelemetry::new();
    let tracer = test.tracer_provider().tracer("t");
    let _open = tracer.start("stuck");
    tracer.start("done").end();
    let waiting = tokio::spawn({
        let test = test.clone();
        async move { test.wait_for_spans(2).await }
    });
    let panic = waiting.await.expect_err("it gave up").into_panic();
    let message = panic.downcast::<String>().expect("a text");
    assert!(
        message.contains("stuck") && message.contains("done"),
        "{message}"
    );
}

#[test]
fn waiting_in_vain_ends_at_the_deadline_between_threads() {
    let test = TestTelemetry::builder().deadline(Duration::ZERO).build();
    let message = message_of(|| test.block_for_spans(1));
    assert!(message.contains("waited 0ns for 1 spans"), "{message}");
}

#[test]
fn attributes_are_read_by_type() {
    let test = TestTelemetry::new();
    let mut span = test.tracer_provider().tracer("t").start("s");
    span.set_attribute(KeyValue::new("int", 3));
    span.set_attribute(KeyValue::new("int", 4));
    span.set_attribute(KeyValue::new("double", 0.5));
    span.set_attribute(KeyValue::new("bool", true));
    span.set_attribute(KeyValue::new("str", "4"));
    let words = vec!["a".into(), "b".into()];
    span.set_attribute(KeyValue::new("strings", Value::Array(Array::String(words))));
    span.set_status(opentelemetry::trace::Status::error("x"));
    span.end();
    let spans = test.spans();
    let span = spans.named("s");
    assert_eq!(span.int("int"), 4, "the last of a repeated key");
    assert_eq!(span.double("double"), 0.5);
    assert!(span.bool("bool"));
    assert_eq!(span.str("str"), "4");
    assert_eq!(span.strings("strings"), ["a", "b"]);
    assert!(span.is_error() && span.has("str") && !span.has("other"));
    assert_eq!(span.parent(), None);
    let message = message_of(|| span.int("str"));
    assert!(message.contains("`str` is not an integer"), "{message}");
    assert!(message.contains("str = \"4\""), "{message}");
}

#[test]
fn a_span_whose_clock_went_back_lasts_no_time() {
    let test = TestTelemetry::new();
    let tracer = test.tracer_provider().tracer("t");
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
    let mut span = tracer
        .span_builder("s")
        .with_start_time(start)
        .start(&tracer);
    span.end_with_timestamp(start - Duration::from_secs(1));
    assert_eq!(test.spans().named("s").duration(), Duration::ZERO);
}

#[test]
fn look_ups_list_what_is_there() {
    let test = TestTelemetry::new();
    let tracer = test.tracer_provider().tracer("t");
    tracer.in_span("parent", |_cx| tracer.in_span("child", |_cx| ()));
    let spans = test.spans();
    assert_eq!(spans.root().name, "parent");
    assert_eq!(spans.children_of(spans.root())[0].name, "child");
    assert_eq!(
        spans.named("child").parent(),
        Some(spans.root().span_context.span_id())
    );
    let message = message_of(|| spans.named("chidl"));
    assert!(message.contains("0 spans are named `chidl`"), "{message}");
    assert!(
        message.contains("\"parent\" [internal]\n    \"child\""),
        "{message}"
    );
    let twice = [spans.clone(), spans].concat();
    let message = message_of(|| twice.named("child"));
    assert!(message.contains("2 spans are named `child`"), "{message}");
    let message = message_of(|| twice.root());
    assert!(message.contains("2 spans are roots"), "{message}");
    let message = message_of(|| [].named("x"));
    assert!(message.contains("(no spans)"), "{message}");
}

#[test]
fn the_telemetry_handle_records_here() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    assert!(telemetry.is_tracing());
    assert!(telemetry.instruments().is_some());
}
