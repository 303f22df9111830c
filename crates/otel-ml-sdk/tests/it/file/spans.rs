//! Lines of spans.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Event, Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
    TraceFlags, TraceId, TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_sdk::Resource;
use otel_ml_sdk::file;
use otel_ml_testing::{SpansExt as _, TestTelemetry};
use serde_json::json;

fn spans_line(test: &TestTelemetry) -> String {
    let mut line = Vec::new();
    file::write_spans(&mut line, test.resource(), test.spans()).expect("a vector takes all");
    String::from_utf8(line).expect("JSON is UTF-8")
}

#[test]
fn a_span_is_written_as_the_protocol_says() {
    let test = TestTelemetry::builder().service("gateway").build();
    let scope = InstrumentationScope::builder("otel-ml")
        .with_version("0.1.0")
        .with_schema_url("https://opentelemetry.io/schemas/1.45.0")
        .build();
    let tracer = test.tracer_provider().tracer_with_scope(scope);
    let state = TraceState::from_key_value([("vendor", "1")]).expect("a valid entry");
    let trace = TraceId::from(0xabc);
    let remote = |id| {
        SpanContext::new(
            trace,
            SpanId::from(id),
            TraceFlags::SAMPLED,
            true,
            state.clone(),
        )
    };
    let start = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_544_712_660_000_000_001);
    let parent = Context::new().with_remote_span_context(remote(0xdef));
    let mut span = tracer
        .span_builder("0")
        .with_kind(SpanKind::Server)
        .with_start_time(start)
        .with_links(vec![Link::new(
            remote(0x123),
            vec![KeyValue::new("n", 0)],
            0,
        )])
        .with_attributes([
            KeyValue::new("tokens", i64::MAX),
            KeyValue::new("zero", 0),
            KeyValue::new("temperature", 0.0),
            KeyValue::new("cached", false),
            KeyValue::new("empty", ""),
            KeyValue::new("reasons", Value::Array(Array::String(vec!["stop".into()]))),
            KeyValue::new("max", f64::INFINITY),
            KeyValue::new("min", f64::NEG_INFINITY),
            KeyValue::new("mean", f64::NAN),
        ])
        .start_with_context(&tracer, &parent);
    span.add_event_with_timestamp("first_token", start, vec![KeyValue::new("at", f64::NAN)]);
    span.set_status(Status::error("cancelled"));
    let id = span.span_context().span_id();
    span.end_with_timestamp(start + Duration::from_secs(1));

    let line = spans_line(&test);
    assert_eq!(line.matches('\n').count(), 1);
    let written: serde_json::Value = serde_json::from_str(&line).expect("valid JSON");
    let expected = json!({"resourceSpans": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "gateway"}},
        ]},
        "scopeSpans": [{
            "scope": {"name": "otel-ml", "version": "0.1.0"},
            "schemaUrl": "https://opentelemetry.io/schemas/1.45.0",
            "spans": [{
                "traceId": "00000000000000000000000000000abc",
                "spanId": id.to_string(),
                "parentSpanId": "0000000000000def",
                "traceState": "vendor=1",
                "flags": 0x301,
                "name": "0",
                "kind": 2,
                "startTimeUnixNano": "1544712660000000001",
                "endTimeUnixNano": "1544712661000000001",
                "attributes": [
                    {"key": "tokens", "value": {"intValue": "9223372036854775807"}},
                    {"key": "zero", "value": {"intValue": "0"}},
                    {"key": "temperature", "value": {"doubleValue": 0.0}},
                    {"key": "cached", "value": {"boolValue": false}},
                    {"key": "empty", "value": {"stringValue": ""}},
                    {"key": "reasons", "value": {"arrayValue": {"values": [{"stringValue": "stop"}]}}},
                    {"key": "max", "value": {"doubleValue": "Infinity"}},
                    {"key": "min", "value": {"doubleValue": "-Infinity"}},
                    {"key": "mean", "value": {"doubleValue": "NaN"}},
                ],
                "events": [{
                    "timeUnixNano": "1544712660000000001",
                    "name": "first_token",
                    "attributes": [{"key": "at", "value": {"doubleValue": "NaN"}}],
                }],
                "links": [{
                    "traceId": "00000000000000000000000000000abc",
                    "spanId": "0000000000000123",
                    "traceState": "vendor=1",
                    "flags": 0x301,
                    "attributes": [{"key": "n", "value": {"intValue": "0"}}],
                }],
                "status": {"code": 2, "message": "cancelled"},
            }],
        }],
    }]});
    assert_eq!(written, expected);
}

#[test]
fn a_plain_root_span_leaves_out_what_it_has_not() {
    let test = TestTelemetry::new();
    drop(test.tracer_provider().tracer("t").start("s"));
    let written: serde_json::Value = serde_json::from_str(&spans_line(&test)).expect("JSON");
    let span = &written["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    let fields = span.as_object().expect("one").keys().map(String::as_str);
    let expected = [
        "traceId",
        "spanId",
        "flags",
        "name",
        "kind",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "status",
    ];
    assert_eq!(fields.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    assert_eq!(span["kind"], 1);
    assert_eq!(span["status"], json!({}));
}

#[test]
fn a_line_can_be_read_by_the_protocols_own_types() {
    let test = TestTelemetry::new();
    let tracer = test.tracer_provider().tracer("t");
    tracer.in_span("parent", |cx| {
        cx.span().set_attribute(KeyValue::new("n", 12));
        tracer.in_span("child", |_cx| ());
    });
    let read: ExportTraceServiceRequest = serde_json::from_str(&spans_line(&test)).expect("OTLP");
    let spans = &read.resource_spans[0].scope_spans[0].spans;
    let root = test.spans().root().span_context.span_id();
    assert_eq!(spans[0].parent_span_id, root.to_bytes());
    assert_eq!(spans[1].span_id, root.to_bytes());
    assert!(spans[1].parent_span_id.is_empty());
}

#[test]
fn numbers_that_are_none_are_told_wherever_they_are() {
    let none = Value::Array(Array::F64(vec![f64::NAN, 1.0, f64::NEG_INFINITY]));
    let resource = Resource::builder_empty()
        .with_attribute(KeyValue::new("loss", f64::NAN))
        .build();
    let test = TestTelemetry::builder().resource(resource).build();
    let scope = InstrumentationScope::builder("t")
        .with_attributes([KeyValue::new("limit", f64::INFINITY)])
        .build();
    let tracer = test.tracer_provider().tracer_with_scope(scope);
    tracer.in_span("s", |cx| cx.span().set_attribute(KeyValue::new("a", none)));
    let line: serde_json::Value = serde_json::from_str(&spans_line(&test)).expect("JSON");
    let spans = &line["resourceSpans"][0];
    let nan = json!({"doubleValue": "NaN"});
    let infinite = json!({"doubleValue": "Infinity"});
    assert_eq!(spans["resource"]["attributes"][0]["value"], nan);
    let scope_spans = &spans["scopeSpans"][0];
    assert_eq!(scope_spans["scope"]["attributes"][0]["value"], infinite);
    let values = [
        nan,
        json!({"doubleValue": 1.0}),
        json!({"doubleValue": "-Infinity"}),
    ];
    let attribute = &scope_spans["spans"][0]["attributes"][0];
    assert_eq!(
        attribute["value"],
        json!({"arrayValue": {"values": values}})
    );
}

#[test]
fn what_was_dropped_is_told() {
    let mut span = super::span("s");
    span.dropped_attributes_count = 1;
    span.events.dropped_count = 2;
    span.links.dropped_count = 3;
    let context = span.span_context.clone();
    span.events.events = vec![Event::new("e", SystemTime::UNIX_EPOCH, Vec::new(), 4)];
    span.links.links = vec![Link::new(context, Vec::new(), 5)];
    let resource = Resource::builder_empty()
        .with_schema_url([], "https://schema/1")
        .build();
    let mut line = Vec::new();
    file::write_spans(&mut line, &resource, [span]).expect("a vector takes all");
    let expected = concat!(
        r#"{"resourceSpans":[{"resource":{},"scopeSpans":[{"scope":{"name":"t"},"#,
        r#""spans":[{"traceId":"00000000000000000000000000000abc","spanId":"0000000000000def","#,
        r#""flags":257,"name":"s","kind":1,"droppedAttributesCount":1,"#,
        r#""events":[{"name":"e","droppedAttributesCount":4}],"droppedEventsCount":2,"#,
        r#""links":[{"traceId":"00000000000000000000000000000abc","#,
        r#""spanId":"0000000000000def","droppedAttributesCount":5,"flags":257}],"#,
        r#""droppedLinksCount":3,"status":{}}]}],"schemaUrl":"https://schema/1"}]}"#,
        "\n"
    );
    assert_eq!(String::from_utf8(line).expect("JSON is UTF-8"), expected);
}

#[test]
fn nothing_is_written_for_no_spans() {
    let test = TestTelemetry::new();
    assert_eq!(spans_line(&test), "");
}
