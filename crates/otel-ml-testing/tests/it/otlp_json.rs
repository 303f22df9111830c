use std::time::{Duration, SystemTime};

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags,
    TraceId, TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue, Value};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otel_ml_testing::{SpansExt as _, TestTelemetry, otlp_json};
use serde_json::json;

#[expect(clippy::expect_used, reason = "a test helper")]
fn spans_line(test: &TestTelemetry) -> String {
    let mut line = Vec::new();
    otlp_json::write_spans(&mut line, test.resource(), test.spans()).expect("a vector takes all");
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
    let fields: Vec<&str> = span
        .as_object()
        .expect("one")
        .keys()
        .map(String::as_str)
        .collect();
    let mut expected = [
        "traceId",
        "spanId",
        "flags",
        "name",
        "kind",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "status",
    ];
    expected.sort_unstable();
    assert_eq!(fields, expected);
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
fn metrics_are_written_as_the_protocol_says() {
    let test = TestTelemetry::builder().service("generate").build();
    let meter = test.meter_provider().meter("t");
    let duration = meter
        .f64_histogram("duration")
        .with_unit("s")
        .with_boundaries(vec![0.0, 1.0])
        .build();
    duration.record(0.5, &[KeyValue::new("code", 200)]);
    let active = meter.i64_up_down_counter("active").build();
    active.add(1, &[]);
    active.add(-1, &[]);
    meter.u64_counter("hits").build().add(3, &[]);
    meter.f64_gauge("load").build().record(0.0, &[]);
    meter.f64_histogram("idle").build().record(0.0, &[]);

    let mut line = Vec::new();
    otlp_json::write_metrics(&mut line, &test.resource_metrics()).expect("a vector takes all");
    let read: ExportMetricsServiceRequest = serde_json::from_slice(&line).expect("OTLP");
    assert_eq!(read.resource_metrics[0].scope_metrics[0].metrics.len(), 5);

    let mut written: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
    let service = &written["resourceMetrics"][0]["resource"]["attributes"][0];
    assert_eq!(
        *service,
        json!({"key": "service.name", "value": {"stringValue": "generate"}})
    );
    let mut metric = |name: &str| {
        let metrics = &mut written["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
        let metrics = metrics.as_array_mut().expect("a list");
        let mut metric = metrics
            .iter_mut()
            .find(|m| m["name"] == name)
            .expect("there")
            .take();
        let kinds = ["sum", "gauge", "histogram"];
        let paths = kinds.map(|kind| format!("/{kind}/dataPoints/0"));
        let path = paths
            .into_iter()
            .find(|path| metric.pointer(path).is_some());
        let point = metric
            .pointer_mut(&path.expect("a point"))
            .expect("the same");
        let point = point.as_object_mut().expect("an object");
        for time in ["startTimeUnixNano", "timeUnixNano"] {
            let nanos = point.remove(time).expect("a time");
            let nanos = nanos.as_str().expect("a string").parse::<u64>();
            assert!(nanos.expect("a number") > 0);
        }
        metric
    };
    assert_eq!(
        metric("duration")["histogram"],
        json!({
            "aggregationTemporality": 2,
            "dataPoints": [{
                "attributes": [{"key": "code", "value": {"intValue": "200"}}],
                "count": "1",
                "sum": 0.5,
                "min": 0.5,
                "max": 0.5,
                "bucketCounts": ["0", "1", "0"],
                "explicitBounds": [0.0, 1.0],
            }],
        })
    );
    let active = json!({"aggregationTemporality": 2, "dataPoints": [{"asInt": "0"}]});
    assert_eq!(metric("active")["sum"], active);
    assert_eq!(metric("hits")["sum"]["isMonotonic"], true);
    assert_eq!(
        metric("load")["gauge"]["dataPoints"][0],
        json!({"asDouble": 0.0})
    );
    let idle = &metric("idle")["histogram"]["dataPoints"][0];
    assert_eq!([&idle["sum"], &idle["min"], &idle["max"]], [0.0; 3]);
}

#[test]
fn nothing_is_written_for_nothing() {
    let test = TestTelemetry::new();
    assert_eq!(spans_line(&test), "");
    let mut line = Vec::new();
    otlp_json::write_metrics(&mut line, &test.resource_metrics()).expect("a vector takes all");
    assert!(line.is_empty());
}
