//! What was written, and what was exported.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use opentelemetry_sdk::logs::{InMemoryLogExporter, SdkLogRecord, SdkLoggerProvider};
use opentelemetry_sdk::trace::SpanData;
use otel_ml_sdk::log::{LogFormat, Logs};
use serde_json::Value;

/// A writer that keeps what it is given.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    /// Everything, which must end with a line break.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        text
    }

    /// The JSON lines.
    pub(crate) fn json(&self) -> Vec<Value> {
        let text = self.text();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    /// The JSON line whose message is `message`.
    pub(crate) fn saying(&self, message: &str) -> Value {
        let lines = self.json();
        let line = lines.iter().find(|line| line["message"] == message);
        line.unwrap_or_else(|| panic!("no {message:?} in {lines:#?}"))
            .clone()
    }
}

/// Logs of this format that are kept.
pub(crate) fn logs(format: LogFormat) -> (Logs, Captured) {
    let captured = Captured::default();
    let logs = Logs::new(format).filter("info").writer(captured.clone());
    (logs, captured)
}

/// Trace id, span id and flags of a line, as they stand there.
pub(crate) fn ids(line: &Value) -> Option<[String; 3]> {
    let ids = ["trace_id", "span_id", "trace_flags"].map(|key| line.get(key));
    if ids.iter().all(Option::is_none) {
        return None;
    }
    Some(ids.map(|id| id.unwrap().as_str().unwrap().to_owned()))
}

/// The ids a line of this span must have.
pub(crate) fn ids_of(span: &SpanData) -> Option<[String; 3]> {
    let span = &span.span_context;
    let flags = format!("{:02x}", span.trace_flags().to_u8());
    Some([
        span.trace_id().to_string(),
        span.span_id().to_string(),
        flags,
    ])
}

/// The same as they stand at the end of a line of text.
pub(crate) fn text_of(span: &SpanData) -> String {
    let [trace, span, flags] = ids_of(span).unwrap();
    format!(" trace_id={trace} span_id={span} trace_flags={flags}\n")
}

pub(crate) fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    let span = spans.iter().find(|span| span.name == name);
    span.unwrap_or_else(|| panic!("no span {name}"))
}

/// A provider that keeps its records.
pub(crate) fn exporting() -> (SdkLoggerProvider, InMemoryLogExporter) {
    let exporter = InMemoryLogExporter::default();
    let provider = SdkLoggerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    (provider, exporter)
}

pub(crate) fn records(exporter: &InMemoryLogExporter) -> Vec<SdkLogRecord> {
    let logs = exporter.get_emitted_logs().unwrap();
    logs.into_iter().map(|log| log.record).collect()
}

/// The ids of an exported record.
pub(crate) fn ids_in(record: &SdkLogRecord) -> Option<[String; 3]> {
    let ids = record.trace_context()?;
    let flags = format!("{:02x}", ids.trace_flags?.to_u8());
    Some([ids.trace_id.to_string(), ids.span_id.to_string(), flags])
}
