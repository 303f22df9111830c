//! Spans and metrics as OTLP/JSON lines, as the Collector's file exporter writes them.
//!
//! Needs the feature `otlp-json`. Each call writes one line: one `ExportTraceServiceRequest` or one
//! `ExportMetricsServiceRequest`. Ids are hexadecimal, 64-bit integers are strings,
//! enumerations numbers, and fields at their default are left out.
//!
//! ```
//! use opentelemetry::trace::{Tracer as _, TracerProvider as _};
//! use otel_ml_testing::{TestTelemetry, otlp_json};
//!
//! let test = TestTelemetry::builder().service("gateway").build();
//! test.tracer_provider().tracer("demo").in_span("answer", |_cx| ());
//! let mut file = Vec::new();
//! otlp_json::write_spans(&mut file, test.resource(), test.spans())?;
//! assert!(file.starts_with(b"{\"resourceSpans\":[{"));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io::{self, Write};

use opentelemetry::{KeyValue, Value as Attribute};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::trace::SpanData;
use serde_json::{Map, Value};

/// JSON has no such numbers, OTLP/JSON writes them as strings. They travel through the
/// serializer as a string with this prefix.
const NOT_FINITE: &str = "\0double:";

/// Writes spans of one service as one line; nothing when there are none.
///
/// # Errors
/// Those of `writer`.
pub fn write_spans(
    writer: &mut impl Write,
    resource: &Resource,
    spans: impl IntoIterator<Item = SpanData>,
) -> io::Result<()> {
    let spans: Vec<SpanData> = spans.into_iter().map(with_marked_numbers).collect();
    if spans.is_empty() {
        return Ok(());
    }
    let resource_spans = group_spans_by_resource_and_scope(spans, &resource.into());
    write_line(writer, &ExportTraceServiceRequest { resource_spans })
}

/// Writes metrics of one service as one line; nothing when there are none.
///
/// # Errors
/// Those of `writer`.
pub fn write_metrics(writer: &mut impl Write, metrics: &ResourceMetrics) -> io::Result<()> {
    if metrics.scope_metrics().next().is_none() {
        return Ok(());
    }
    write_line(writer, &ExportMetricsServiceRequest::from(metrics))
}

fn write_line(writer: &mut impl Write, request: &impl serde::Serialize) -> io::Result<()> {
    let mut value = serde_json::to_value(request)?;
    tidy(&mut value);
    // One write a line: services that share a file must not mix their lines.
    writer.write_all(format!("{value}\n").as_bytes())
}

fn with_marked_numbers(mut span: SpanData) -> SpanData {
    mark_numbers(&mut span.attributes);
    for event in &mut span.events.events {
        mark_numbers(&mut event.attributes);
    }
    for link in &mut span.links.links {
        mark_numbers(&mut link.attributes);
    }
    span
}

fn mark_numbers(attributes: &mut [KeyValue]) {
    for attribute in attributes {
        let name = match attribute.value {
            Attribute::F64(value) if value.is_nan() => "NaN",
            Attribute::F64(f64::INFINITY) => "Infinity",
            Attribute::F64(f64::NEG_INFINITY) => "-Infinity",
            _ => continue,
        };
        attribute.value = Attribute::from(format!("{NOT_FINITE}{name}"));
    }
}

/// Leaves out what is at its default, but for the values themselves.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(fields) => {
            unmark_number(fields);
            fields.values_mut().for_each(tidy);
            fields.retain(|name, value| is_told(name, value));
        }
        _ => {}
    }
}

fn unmark_number(fields: &mut Map<String, Value>) {
    let text = fields.get("stringValue").and_then(Value::as_str);
    if let Some(name) = text.and_then(|text| text.strip_prefix(NOT_FINITE)) {
        let name = Value::from(name);
        fields.clear();
        fields.insert("doubleValue".into(), name);
    }
}

fn is_told(name: &str, value: &Value) -> bool {
    let is_value =
        name.ends_with("Value") || matches!(name, "asInt" | "asDouble" | "sum" | "min" | "max");
    match value {
        Value::Null => false,
        _ if is_value => true,
        Value::String(text) if text.is_empty() => false,
        // 64-bit numbers are strings; a name may well be "0".
        Value::String(text)
            if name.ends_with("UnixNano") || matches!(name, "count" | "zeroCount") =>
        {
            text != "0"
        }
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Bool(value) => *value,
        Value::Array(items) => !items.is_empty(),
        Value::String(_) | Value::Object(_) => true,
    }
}
