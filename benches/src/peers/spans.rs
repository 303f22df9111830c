//! Spans of code's own, by `tracing` and its fields.

use std::hint::black_box;

use tracing::field::Empty;
use tracing::{Span, info_span};

/// One span, and a field of it written so often.
pub(crate) fn writes(times: u32) {
    info_span!("generate", gen_ai.usage.output_tokens = Empty).in_scope(|| {
        for number in 0..times {
            Span::current().record("gen_ai.usage.output_tokens", black_box(number));
        }
    });
}

/// A span around nothing, named as our stage is.
pub(crate) fn stage(number: u64) {
    info_span!("rerank", ml.pipeline.stage.name = "rerank").in_scope(|| black_box(number));
}

/// A span with the fields of our GenAI operation.
pub(crate) fn genai(number: u64) {
    let span = info_span!(
        "chat",
        otel.name = "chat acme-large",
        otel.kind = "client",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = "acme",
        gen_ai.request.model = "acme-large",
        gen_ai.request.max_tokens = 256,
        gen_ai.request.temperature = 0.2,
        gen_ai.response.model = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
    );
    span.in_scope(|| {
        let span = Span::current();
        span.record("gen_ai.response.model", "acme-large-2026-08");
        span.record("gen_ai.usage.input_tokens", 44);
        span.record("gen_ai.usage.output_tokens", black_box(number));
    });
}
