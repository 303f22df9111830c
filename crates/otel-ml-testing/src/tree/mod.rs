//! Comparing spans with an expected tree.

mod compare;
mod macros;

use opentelemetry::Value;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceId};
use opentelemetry_sdk::trace::SpanData;

use crate::fail::fail;
use crate::spans::describe;
use crate::value::IntoValue;

/// The spans form exactly these trees; siblings may be in any order.
///
/// A root is a span whose parent is not in `spans`. The macro
/// [`assert_tree!`](crate::assert_tree!) is the short form.
///
/// ```
/// use opentelemetry::trace::{SpanKind, Tracer as _, TracerProvider as _};
/// use otel_ml_testing::{TestTelemetry, assert_tree, span};
///
/// let test = TestTelemetry::new();
/// let tracer = test.tracer_provider().tracer("demo");
/// tracer.in_span("answer", |_cx| tracer.in_span("rerank", |_cx| ()));
/// assert_tree(
///     &test.spans(),
///     vec![span("answer").kind(SpanKind::Internal).child(span("rerank"))],
/// );
/// ```
///
/// # Panics
/// When they do not, with the two trees line by line (`-` expected, `+` actual).
#[track_caller]
pub fn assert_tree(spans: &[SpanData], expected: Vec<ExpectedSpan>) {
    if let Some(difference) = compare::difference(spans, &expected) {
        fail(&format!(
            "the spans are not as expected (- expected, + actual):\n{difference}all spans:\n{}",
            describe(spans)
        ));
    }
}

/// A span with this name, to compare ended spans with.
pub fn span(name: impl Into<String>) -> ExpectedSpan {
    ExpectedSpan {
        name: name.into(),
        kind: None,
        status: None,
        attributes: Vec::new(),
        absent: Vec::new(),
        only_attributes: false,
        trace: None,
        parent: None,
        links: None,
        events: None,
        children: Vec::new(),
        any_children: false,
    }
}

/// What a span should be. Only what is said here is compared, and its children.
#[derive(Clone, Debug)]
#[must_use = "an expectation does nothing until it is given to `assert_tree`"]
pub struct ExpectedSpan {
    name: String,
    kind: Option<SpanKind>,
    status: Option<Expected>,
    attributes: Vec<(String, Value)>,
    absent: Vec<String>,
    only_attributes: bool,
    trace: Option<TraceId>,
    parent: Option<SpanId>,
    links: Option<Vec<(TraceId, SpanId)>>,
    events: Option<Vec<String>>,
    children: Vec<ExpectedSpan>,
    any_children: bool,
}

/// The expected status.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Unset,
    Ok,
    Error,
}

impl ExpectedSpan {
    /// Of this kind.
    pub fn kind(mut self, kind: SpanKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// The status is an error.
    pub fn error(mut self) -> Self {
        self.status = Some(Expected::Error);
        self
    }

    /// The status was never set.
    pub fn unset(mut self) -> Self {
        self.status = Some(Expected::Unset);
        self
    }

    /// The status was set to `Ok`.
    pub fn ok(mut self) -> Self {
        self.status = Some(Expected::Ok);
        self
    }

    /// Carries this attribute, once, with exactly this value and type.
    pub fn attr(mut self, key: impl Into<String>, value: impl IntoValue) -> Self {
        self.attributes.push((key.into(), value.into_value()));
        self
    }

    /// Does not carry this attribute.
    pub fn no_attr(mut self, key: impl Into<String>) -> Self {
        self.absent.push(key.into());
        self
    }

    /// Carries no attributes but the listed ones.
    pub fn only_attrs(mut self) -> Self {
        self.only_attributes = true;
        self
    }

    /// Belongs to this trace.
    pub fn trace(mut self, trace: TraceId) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Has this parent, which need not be among the spans. [`SpanId::INVALID`]
    /// stands for no parent.
    pub fn parent(mut self, parent: SpanId) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Links to these spans, in this order, and to no others.
    pub fn links<'a>(mut self, links: impl IntoIterator<Item = &'a SpanContext>) -> Self {
        let ids = |context: &SpanContext| (context.trace_id(), context.span_id());
        self.links = Some(links.into_iter().map(ids).collect());
        self
    }

    /// Has the events with these names, in this order, and no others.
    pub fn events<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.events = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Has this child. All children must be listed.
    pub fn child(mut self, child: ExpectedSpan) -> Self {
        self.children.push(child);
        self
    }

    /// May have more children than the listed ones.
    pub fn any_children(mut self) -> Self {
        self.any_children = true;
        self
    }
}
