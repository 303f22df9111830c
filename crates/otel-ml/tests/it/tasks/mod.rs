//! Spans around work of one's own: stages, model operations, look-ups, loading.

mod db;
mod genai;
mod genai_server;
mod genai_stream;
mod model;
mod run;
mod stage;
mod stream;

use opentelemetry_sdk::trace::SpanData;
use otel_ml_testing::TestTelemetry;

/// An error with a name.
#[derive(Debug, PartialEq)]
struct QueueFull;

/// The one span there is.
#[track_caller]
fn only(test: &TestTelemetry) -> SpanData {
    let spans = test.spans();
    assert_eq!(spans.len(), 1, "{}", otel_ml_testing::describe(&spans));
    assert!(test.open_spans().is_empty());
    spans[0].clone()
}
