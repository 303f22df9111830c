//! A propagator that is not W3C's.

use opentelemetry::Context;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

/// The single-header form of B3, as far as a test needs it.
#[derive(Debug)]
pub(crate) struct B3([String; 1]);

impl B3 {
    pub(crate) fn new() -> Self {
        Self(["b3".to_owned()])
    }
}

impl TextMapPropagator for B3 {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        let span = cx.span();
        let span = span.span_context();
        let value = format!(
            "{}-{}-{}",
            span.trace_id(),
            span.span_id(),
            u8::from(span.is_sampled())
        );
        injector.set("B3", value);
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        let parsed = extractor.get("b3").and_then(|value| {
            let mut parts = value.split('-');
            let trace = TraceId::from_hex(parts.next()?).ok()?;
            let span = SpanId::from_hex(parts.next()?).ok()?;
            let flags = TraceFlags::NOT_SAMPLED.with_sampled(parts.next()? == "1");
            Some(SpanContext::new(trace, span, flags, true, TraceState::NONE))
        });
        parsed.map_or_else(|| cx.clone(), |span| cx.with_remote_span_context(span))
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.0)
    }
}
