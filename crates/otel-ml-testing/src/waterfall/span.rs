//! A span as the waterfall needs it.

use std::time::SystemTime;

use opentelemetry::Value;
use opentelemetry::trace::{SpanId, Status, TraceId};
use opentelemetry_sdk::trace::SpanData;
use otel_ml_semconv::{error, gen_ai, ml};

use crate::spans::SpanExt as _;

/// One bar of a waterfall.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WaterfallSpan {
    /// The trace it belongs to.
    pub trace: TraceId,
    /// Its own id.
    pub id: SpanId,
    /// The id of its parent, if it has one.
    pub parent: Option<SpanId>,
    /// The service that recorded it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// When it started, by that service's clock.
    pub start: SystemTime,
    /// When it ended, by that service's clock.
    pub end: SystemTime,
    /// `error.type` of a failed span, or `error` when it has none.
    pub error: Option<String>,
    /// What is written beside the bar: model, tokens, cache and the like.
    pub facts: Vec<String>,
}

impl WaterfallSpan {
    /// A span that `service` recorded, with the facts its attributes tell.
    #[must_use]
    pub fn new(service: impl Into<String>, span: &SpanData) -> Self {
        let error_type = text(span, error::TYPE);
        let is_error = matches!(span.status, Status::Error { .. });
        Self {
            trace: span.span_context.trace_id(),
            id: span.span_context.span_id(),
            parent: span.parent(),
            service: service.into(),
            name: span.name.to_string(),
            start: span.start_time,
            end: span.end_time,
            error: error_type.or_else(|| is_error.then(|| "error".to_owned())),
            facts: facts(span),
        }
    }
}

fn facts(span: &SpanData) -> Vec<String> {
    let count = |key, one: &str, many: &str| {
        let number = int(span, key)?;
        Some(format!("{number} {}", if number == 1 { one } else { many }))
    };
    let hit = |hit| if hit { "cache hit" } else { "cache miss" };
    [
        model(span),
        tokens(span),
        double(span, ml::PREDICTION_CONFIDENCE).map(|value| format!("confidence {value:.2}")),
        bool(span, ml::CACHE_HIT).map(|value| hit(value).to_owned()),
        count(ml::RETRIEVAL_DOCUMENT_COUNT, "document", "documents"),
        count(ml::RERANK_CANDIDATE_COUNT, "candidate", "candidates"),
        count(ml::FEATURE_COUNT, "feature", "features"),
        int(span, ml::BATCH_SIZE).map(|size| format!("batch of {size}")),
        count(ml::RESPONSE_CHUNK_COUNT, "chunk", "chunks"),
        count(ml::RESPONSE_MESSAGE_COUNT, "message", "messages"),
        skipped(span),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn model(span: &SpanData) -> Option<String> {
    let keys = [
        gen_ai::RESPONSE_MODEL,
        gen_ai::REQUEST_MODEL,
        ml::MODEL_NAME,
    ];
    let version = text(span, ml::MODEL_VERSION);
    match (keys.into_iter().find_map(|key| text(span, key)), version) {
        (Some(name), Some(version)) => Some(format!("{name} {version}")),
        (name, version) => name.or(version),
    }
}

fn tokens(span: &SpanData) -> Option<String> {
    let input = int(span, gen_ai::USAGE_INPUT_TOKENS);
    let output = int(span, gen_ai::USAGE_OUTPUT_TOKENS);
    match (input, output) {
        (Some(input), Some(output)) => Some(format!("{input}→{output} tokens")),
        (Some(input), None) => Some(format!("{input} tokens in")),
        (None, Some(output)) => Some(format!("{output} tokens out")),
        (None, None) => None,
    }
}

fn skipped(span: &SpanData) -> Option<String> {
    let is_skipped = bool(span, ml::STAGE_SKIPPED)?;
    let reason = text(span, ml::STAGE_SKIP_REASON);
    is_skipped.then(|| reason.map_or("skipped".to_owned(), |reason| format!("skipped: {reason}")))
}

fn text(span: &SpanData, key: &str) -> Option<String> {
    match span.attr(key)? {
        Value::String(value) => Some(value.to_string()),
        _ => None,
    }
}

fn int(span: &SpanData, key: &str) -> Option<i64> {
    match span.attr(key)? {
        Value::I64(value) => Some(*value),
        _ => None,
    }
}

fn double(span: &SpanData, key: &str) -> Option<f64> {
    match span.attr(key)? {
        Value::F64(value) => Some(*value),
        _ => None,
    }
}

fn bool(span: &SpanData, key: &str) -> Option<bool> {
    match span.attr(key)? {
        Value::Bool(value) => Some(*value),
        _ => None,
    }
}
