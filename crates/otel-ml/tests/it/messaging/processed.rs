//! What a message that was processed has as parent and links.

use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::trace::SpanData;
use otel_ml::messaging::process;
use otel_ml::{Options, Outcome, stage};
use otel_ml_testing::{SpanExt, TestTelemetry};

use super::Letter;
use crate::support::remote;

/// A span that can be a parent or be linked to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Of {
    Nobody,
    Sender,
    Ambient,
}

pub(super) struct Processed {
    pub(super) span: SpanData,
    ambient: SpanContext,
    tier: Option<String>,
}

impl Processed {
    fn who(&self, span: &SpanContext) -> Of {
        if span.span_id() == remote(1).span_id() && span.trace_id() == remote(1).trace_id() {
            Of::Sender
        } else if *span == self.ambient {
            Of::Ambient
        } else {
            panic!("{span:?} is a stranger")
        }
    }

    pub(super) fn parent(&self) -> Of {
        let Some(parent) = self.span.parent() else {
            return Of::Nobody;
        };
        let known = [remote(1), self.ambient.clone()];
        let trace = self.span.span_context.trace_id();
        let found = known
            .iter()
            .find(|k| k.span_id() == parent && k.trace_id() == trace);
        self.who(found.unwrap())
    }

    fn links(&self) -> Vec<Of> {
        self.span
            .links
            .iter()
            .map(|link| self.who(&link.span_context))
            .collect()
    }

    pub(super) fn facts(&self) -> (Of, Vec<Of>, Option<&str>) {
        (self.parent(), self.links(), self.tier.as_deref())
    }
}

/// Processes a message, inside a span of the program's own or not.
pub(super) fn processed(
    test: &TestTelemetry,
    letter: &Letter,
    options: &Options,
    in_span: bool,
) -> Processed {
    let around = in_span.then(|| stage("ambient").telemetry(&options.telemetry).start());
    let ambient_cx = around
        .as_ref()
        .map(|around| around.context())
        .unwrap_or_default();
    let ambient = ambient_cx.span().span_context().clone();
    let attached = ambient_cx.attach();
    let mut operation = process(letter, options);
    let tier = operation
        .scope(|| Context::map_current(|cx| cx.baggage().get("tier").map(ToString::to_string)));
    operation.finish(Outcome::Ok);
    drop((attached, around));
    let spans = test.spans();
    let found = spans.iter().find(|span| span.name.starts_with("process"));
    Processed {
        span: found.unwrap().clone(),
        ambient,
        tier,
    }
}
