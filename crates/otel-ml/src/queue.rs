//! The wait in a queue, as a span.

use std::time::SystemTime;

use opentelemetry::trace::{Span, SpanBuilder, SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use otel_ml_semconv::ml;

use crate::outcome::CancelReason;
use crate::telemetry::Telemetry;

/// Records the time in a queue, from `since` to `until`, as a span of its own, `queue_wait`: the
/// form that the wait has everywhere. It is a child of `parent`; what was `cancelled` left the
/// queue without being worked on.
pub fn queue_wait_span(
    telemetry: &Telemetry,
    parent: &Context,
    since: SystemTime,
    until: SystemTime,
    cancelled: Option<CancelReason>,
) {
    let is_wanted = parent.span().span_context().is_sampled() && !parent.is_telemetry_suppressed();
    let Some(tracer) = telemetry.tracer().filter(|_| is_wanted) else {
        return;
    };
    let mut builder = SpanBuilder::from_name("queue_wait")
        .with_kind(SpanKind::Internal)
        .with_start_time(since);
    if let Some(reason) = cancelled {
        let reason = KeyValue::new(ml::CANCEL_REASON, reason.as_str());
        builder = builder.with_attributes([reason]);
    }
    let mut span = tracer.build_with_context(builder, parent);
    // Where clocks disagree, the wait is nothing.
    span.end_with_timestamp(until.max(since));
}
