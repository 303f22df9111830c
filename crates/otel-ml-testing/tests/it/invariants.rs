use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Array, Context, KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;
use otel_ml_testing::{
    TestTelemetry, assert_ended_once, assert_no_secret, assert_one_trace, assert_parents_present,
    assert_types,
};

use crate::message_of;

fn two_generations() -> Vec<SpanData> {
    let test = TestTelemetry::new();
    let tracer = test.tracer_provider().tracer("t");
    tracer.in_span("parent", |_cx| tracer.in_span("child", |_cx| ()));
    test.spans()
}

#[test]
fn good_spans_pass() {
    let spans = two_generations();
    assert_ended_once(&spans);
    assert_one_trace(&spans);
    assert_parents_present(&spans);
    assert_no_secret(&spans, &["secret"]);
}

#[test]
fn a_span_that_ended_twice_is_found() {
    let spans = two_generations();
    let twice = [spans.clone(), vec![spans[0].clone()]].concat();
    let message = message_of(|| assert_ended_once(&twice));
    assert!(
        message.contains("more than once:\n  \"child\""),
        "{message}"
    );
    let mut invalid = spans;
    invalid[0].span_context = SpanContext::NONE;
    let message = message_of(|| assert_ended_once(&invalid));
    assert!(message.contains("invalid id"), "{message}");
}

#[test]
fn a_second_trace_is_found() {
    let spans = [two_generations(), two_generations()].concat();
    let message = message_of(|| assert_one_trace(&spans));
    assert!(message.contains("a span is not of trace"), "{message}");
    let message = message_of(|| assert_one_trace(&[]));
    assert!(message.contains("there are no spans"), "{message}");
}

#[test]
fn a_missing_parent_is_found_unless_it_is_remote() {
    let mut spans = two_generations();
    spans.retain(|span| span.name == "child");
    let message = message_of(|| assert_parents_present(&spans));
    assert!(message.contains("is missing"), "{message}");

    let test = TestTelemetry::new();
    let remote = Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from(1),
        SpanId::from(2),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    ));
    drop(
        test.tracer_provider()
            .tracer("t")
            .start_with_context("server", &remote),
    );
    assert_parents_present(&test.spans());
}

#[test]
fn e32_an_attribute_of_the_wrong_type_is_found() {
    let with = |key: &'static str, value: Value| {
        let test = TestTelemetry::new();
        let mut span = test.tracer_provider().tracer("t").start("s");
        span.set_attribute(KeyValue::new(key, value));
        span.end();
        test.spans()
    };
    let words = || Value::Array(Array::String(vec!["stop".into()]));
    assert_types(&with("gen_ai.usage.output_tokens", 12.into()));
    assert_types(&with("gen_ai.request.temperature", 0.0.into()));
    assert_types(&with("gen_ai.response.finish_reasons", words()));
    assert_types(&with("http.request.header.accept", words()));
    assert_types(&with("ml.cache.hit", true.into()));
    assert_types(&with(
        "ml.input.shape",
        Value::Array(Array::I64(vec![1, 3])),
    ));
    assert_types(&with("app.own", "anything".into()));
    for (key, value) in [
        ("gen_ai.usage.output_tokens", Value::from("12")),
        ("gen_ai.usage.output_tokens", 12.0.into()),
        ("gen_ai.request.temperature", 0.into()),
        ("gen_ai.response.finish_reasons", "stop".into()),
        ("http.request.header.accept", "text/html".into()),
        ("ml.cache.hit", "true".into()),
        ("ml.input.shape", words()),
        ("http.route", 4.into()),
    ] {
        let spans = with(key, value);
        let message = message_of(|| assert_types(&spans));
        assert!(message.contains(&format!("`{key}` = ")), "{message}");
    }
}

#[test]
fn a_secret_is_found_wherever_it_is() {
    let secret = "hunter\"2";
    let words = Array::String(vec![secret.into()]);
    let places: [fn(&mut opentelemetry_sdk::trace::Span, KeyValue); 4] = [
        |span, secret| span.set_attribute(secret),
        |span, secret| span.add_event("e", vec![secret]),
        |span, secret| span.update_name(format!("GET {}", secret.value)),
        |span, secret| span.set_status(Status::error(secret.value.to_string())),
    ];
    for place in places {
        let test = TestTelemetry::new();
        let mut span = test.tracer_provider().tracer("t").start("s");
        place(&mut span, KeyValue::new("key", secret));
        span.end();
        assert_no_secret(&test.spans(), &["hunter3"]);
        let message = message_of(|| assert_no_secret(&test.spans(), &["none", secret]));
        assert!(message.contains("a span contains"), "{message}");
    }
    let attributes = [
        KeyValue::new("list", Value::Array(words)),
        KeyValue::new(secret, 1),
        KeyValue::new("number", 4711),
    ];
    for (attribute, needle) in attributes.into_iter().zip([secret, secret, "4711"]) {
        let test = TestTelemetry::new();
        let tracer = test.tracer_provider().tracer("t");
        let other = tracer.start("other").span_context().clone();
        let link = Link::new(other, vec![attribute], 0);
        drop(
            tracer
                .span_builder("s")
                .with_links(vec![link])
                .start(&tracer),
        );
        let message = message_of(|| assert_no_secret(&test.spans(), &[needle]));
        assert!(message.contains("a span contains"), "{message}");
    }
}
