//! The lines.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::SystemTime;

use ciborium::Value as Tree;
use opentelemetry::InstrumentationScope;
use opentelemetry::logs::LogRecord as _;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LogBatch, SdkLogRecord};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::trace::SpanData;
use serde::{Serialize, Serializer};

/// Writes spans of one service as one line; nothing when there are none.
///
/// # Errors
/// Those of `writer`.
pub fn write_spans(
    writer: &mut impl Write,
    resource: &Resource,
    spans: impl IntoIterator<Item = SpanData>,
) -> io::Result<()> {
    writer.write_all(&spans_line(resource, spans.into_iter().collect())?)
}

/// Writes metrics of one service as one line; nothing when there are none.
///
/// # Errors
/// Those of `writer`.
pub fn write_metrics(writer: &mut impl Write, metrics: &ResourceMetrics) -> io::Result<()> {
    writer.write_all(&metrics_line(metrics)?)
}

/// Writes log records of one service as one line; nothing when there are none.
///
/// # Errors
/// Those of `writer`.
pub fn write_logs(
    writer: &mut impl Write,
    resource: &Resource,
    records: &LogBatch<'_>,
) -> io::Result<()> {
    writer.write_all(&logs_line(resource, records)?)
}

pub(super) fn spans_line(resource: &Resource, spans: Vec<SpanData>) -> io::Result<Vec<u8>> {
    if spans.is_empty() {
        return Ok(Vec::new());
    }
    let resource_spans = group_spans_by_resource_and_scope(spans, &resource.into());
    line(&ExportTraceServiceRequest { resource_spans })
}

pub(super) fn metrics_line(metrics: &ResourceMetrics) -> io::Result<Vec<u8>> {
    if metrics.scope_metrics().next().is_none() {
        return Ok(Vec::new());
    }
    line(&ExportMetricsServiceRequest::from(metrics))
}

pub(super) fn logs_line(resource: &Resource, records: &LogBatch<'_>) -> io::Result<Vec<u8>> {
    let records: Vec<(Cow<'_, SdkLogRecord>, &InstrumentationScope)> = records
        .iter()
        .map(|(record, scope)| (observed(record), scope))
        .collect();
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let records: Vec<(&SdkLogRecord, &InstrumentationScope)> = records
        .iter()
        .map(|(record, scope)| (record.as_ref(), *scope))
        .collect();
    let mut resource_logs =
        group_logs_by_resource_and_scope(&LogBatch::new(&records), &resource.into());
    for group in &mut resource_logs {
        // They come in the order of a hash table, another one each time.
        group.scope_logs.sort_by_cached_key(|logs| {
            let scope = logs.scope.clone().unwrap_or_default();
            (scope.name, scope.version, logs.schema_url.clone())
        });
    }
    line(&ExportLogsServiceRequest { resource_logs })
}

/// The record with the time it was observed at: the protocol's conversion panics without. A
/// logger sets it, but not everything that reaches an exporter has been through one.
fn observed(record: &SdkLogRecord) -> Cow<'_, SdkLogRecord> {
    if record.observed_timestamp().is_some() {
        return Cow::Borrowed(record);
    }
    let mut record = record.clone();
    record.set_observed_timestamp(record.timestamp().unwrap_or_else(SystemTime::now));
    Cow::Owned(record)
}

/// The protocol's types write NaN and the infinities as `null`, and every field. So they are
/// serialized to a tree that can hold such numbers first, CBOR's, and from there to JSON.
fn line(request: &impl Serialize) -> io::Result<Vec<u8>> {
    let tree = Tree::serialized(request).map_err(io::Error::other)?;
    let mut line = serde_json::to_vec(&Told(&tree))?;
    line.push(b'\n');
    Ok(line)
}

/// What is told of a tree.
struct Told<'a>(&'a Tree);

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Tree::Map(fields) => serializer.collect_map(
                fields
                    .iter()
                    .filter(|(name, value)| is_told(name.as_text().unwrap_or_default(), value))
                    .map(|(name, value)| (Told(name), Told(value))),
            ),
            Tree::Array(items) => serializer.collect_seq(items.iter().map(Told)),
            Tree::Float(number) if number.is_nan() => serializer.serialize_str("NaN"),
            Tree::Float(f64::INFINITY) => serializer.serialize_str("Infinity"),
            Tree::Float(f64::NEG_INFINITY) => serializer.serialize_str("-Infinity"),
            Tree::Float(number) => serializer.serialize_f64(*number),
            other => other.serialize(serializer),
        }
    }
}

fn is_told(name: &str, value: &Tree) -> bool {
    // A value is there or not, whatever it is. The last two have no default for some readers.
    let is_value = name.ends_with("Value")
        || matches!(name, "asInt" | "asDouble" | "sum" | "min" | "max")
        || matches!(name, "key" | "values");
    match value {
        Tree::Null => false,
        _ if is_value => true,
        Tree::Text(text) if text.is_empty() => false,
        // 64-bit numbers are strings; a name may well be "0".
        Tree::Text(text) if name.ends_with("UnixNano") || matches!(name, "count" | "zeroCount") => {
            text != "0"
        }
        Tree::Integer(number) => *number != 0.into(),
        Tree::Float(number) => *number != 0.0,
        Tree::Bool(value) => *value,
        Tree::Array(items) => !items.is_empty(),
        _ => true,
    }
}
