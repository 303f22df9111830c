//! OTLP/JSON lines in a file.

mod broken;
mod exporters;
mod hostile;
mod logs;
mod metrics;
mod rotation;
mod round_trip;
mod spans;

use std::borrow::Cow;
use std::path::Path;
use std::time::SystemTime;

use futures_util::FutureExt as _;
use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};
use otel_ml_sdk::file::FileSpanExporter;
use serde_json::Value;

/// A root span of a fixed trace.
fn span(name: impl Into<Cow<'static, str>>) -> SpanData {
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(0xabc),
            SpanId::from(0xdef),
            TraceFlags::SAMPLED,
            false,
            Default::default(),
        ),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: SystemTime::UNIX_EPOCH,
        end_time: SystemTime::UNIX_EPOCH,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("t").build(),
    }
}

fn export(exporter: &FileSpanExporter, names: &[&'static str]) -> OTelSdkResult {
    let spans = names.iter().copied().map(span).collect();
    now(exporter.export(spans))
}

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("it never waits")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file of text")
}

/// Names of the spans in a file, a list a line.
fn names(path: &Path) -> Vec<Vec<String>> {
    let text = text(path);
    assert!(text.is_empty() || text.ends_with('\n'), "a line is cut off");
    let names_of = |line| {
        let line: Value = serde_json::from_str(line).expect("a whole line");
        let spans = line["resourceSpans"][0]["scopeSpans"][0]["spans"].clone();
        let spans = spans.as_array().expect("spans").clone();
        let name = |span: &Value| span["name"].as_str().expect("a name").to_owned();
        spans.iter().map(name).collect()
    };
    text.lines().map(names_of).collect()
}
