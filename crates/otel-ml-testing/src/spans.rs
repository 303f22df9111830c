//! Looking at ended spans: [`SpanExt`] for one, [`SpansExt`] for many.

use std::fmt::Write as _;
use std::time::Duration;

use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry::{Array, Value};
use opentelemetry_sdk::trace::SpanData;

use crate::fail::fail;
use crate::forest::Forest;
use crate::value::show;

/// Reads the attributes of one ended span by type.
///
/// The typed readers are for tests: they panic, naming what the span carries, when
/// the attribute is absent or has another type.
pub trait SpanExt {
    /// The attribute with this key; the last one if it was set more than once.
    fn attr(&self, key: &str) -> Option<&Value>;

    /// Whether the attribute is there.
    fn has(&self, key: &str) -> bool {
        self.attr(key).is_some()
    }

    /// An integer attribute.
    ///
    /// # Panics
    /// When it is absent or not an integer.
    #[track_caller]
    fn int(&self, key: &str) -> i64;

    /// A floating-point attribute.
    ///
    /// # Panics
    /// When it is absent or not a float.
    #[track_caller]
    fn double(&self, key: &str) -> f64;

    /// A boolean attribute.
    ///
    /// # Panics
    /// When it is absent or not a boolean.
    #[track_caller]
    fn bool(&self, key: &str) -> bool;

    /// A string attribute.
    ///
    /// # Panics
    /// When it is absent or not a string.
    #[track_caller]
    fn str(&self, key: &str) -> &str;

    /// An attribute that is a list of strings.
    ///
    /// # Panics
    /// When it is absent or not a list of strings.
    #[track_caller]
    fn strings(&self, key: &str) -> Vec<&str>;

    /// From start to end; zero when the clock went backwards.
    fn duration(&self) -> Duration;

    /// Whether the status is an error.
    fn is_error(&self) -> bool;

    /// The id of the parent, `None` for a span that started a trace.
    fn parent(&self) -> Option<SpanId>;
}

impl SpanExt for SpanData {
    fn attr(&self, key: &str) -> Option<&Value> {
        self.attributes
            .iter()
            .rev()
            .find(|attribute| attribute.key.as_str() == key)
            .map(|attribute| &attribute.value)
    }

    fn int(&self, key: &str) -> i64 {
        match self.attr(key) {
            Some(Value::I64(value)) => *value,
            _ => not_a("an integer", key, self),
        }
    }

    fn double(&self, key: &str) -> f64 {
        match self.attr(key) {
            Some(Value::F64(value)) => *value,
            _ => not_a("a float", key, self),
        }
    }

    fn bool(&self, key: &str) -> bool {
        match self.attr(key) {
            Some(Value::Bool(value)) => *value,
            _ => not_a("a boolean", key, self),
        }
    }

    fn str(&self, key: &str) -> &str {
        match self.attr(key) {
            Some(Value::String(value)) => value.as_str(),
            _ => not_a("a string", key, self),
        }
    }

    fn strings(&self, key: &str) -> Vec<&str> {
        match self.attr(key) {
            Some(Value::Array(Array::String(values))) => {
                values.iter().map(|value| value.as_str()).collect()
            }
            _ => not_a("a list of strings", key, self),
        }
    }

    fn duration(&self) -> Duration {
        self.end_time
            .duration_since(self.start_time)
            .unwrap_or_default()
    }

    fn is_error(&self) -> bool {
        matches!(self.status, Status::Error { .. })
    }

    fn parent(&self) -> Option<SpanId> {
        (self.parent_span_id != SpanId::INVALID).then_some(self.parent_span_id)
    }
}

#[track_caller]
fn not_a(wanted: &str, key: &str, span: &SpanData) -> ! {
    fail(&format!(
        "`{key}` is not {wanted} of this span:\n{}",
        describe(std::slice::from_ref(span))
    ))
}

/// Finds spans in a list of ended ones.
///
/// The look-ups that expect one span are for tests: they panic with a listing of all
/// spans when there is none or more than one.
pub trait SpansExt {
    /// The one span with this name.
    ///
    /// # Panics
    /// When there is none, or more than one.
    #[track_caller]
    fn named(&self, name: &str) -> &SpanData;

    /// All spans with this name, in the order in which they ended.
    fn all_named(&self, name: &str) -> Vec<&SpanData>;

    /// The one span whose parent is not in the list.
    ///
    /// # Panics
    /// When there is none, or more than one.
    #[track_caller]
    fn root(&self) -> &SpanData;

    /// The spans whose parent is `parent`, in the order in which they ended.
    fn children_of(&self, parent: &SpanData) -> Vec<&SpanData>;
}

impl SpansExt for [SpanData] {
    fn named(&self, name: &str) -> &SpanData {
        match self.all_named(name).as_slice() {
            [span] => span,
            found => fail(&format!(
                "{} spans are named `{name}`, expected one; all spans:\n{}",
                found.len(),
                describe(self)
            )),
        }
    }

    fn all_named(&self, name: &str) -> Vec<&SpanData> {
        self.iter().filter(|span| span.name == name).collect()
    }

    fn root(&self) -> &SpanData {
        let is_root = |span: &&SpanData| {
            !self.iter().any(|other| {
                other.span_context.span_id() == span.parent_span_id
                    && other.span_context.trace_id() == span.span_context.trace_id()
            })
        };
        match self.iter().filter(is_root).collect::<Vec<_>>().as_slice() {
            [root] => root,
            found => fail(&format!(
                "{} spans are roots, expected one; all spans:\n{}",
                found.len(),
                describe(self)
            )),
        }
    }

    fn children_of(&self, parent: &SpanData) -> Vec<&SpanData> {
        self.iter()
            .filter(|span| {
                span.parent_span_id == parent.span_context.span_id()
                    && span.span_context.trace_id() == parent.span_context.trace_id()
            })
            .collect()
    }
}

/// All spans as an indented tree, with their attributes and events, for a message.
#[must_use]
pub fn describe(spans: &[SpanData]) -> String {
    if spans.is_empty() {
        return "  (no spans)\n".into();
    }
    let forest = forest(spans);
    let mut text = String::new();
    let mut pending: Vec<(usize, usize)> = forest.roots.iter().rev().map(|&r| (r, 1)).collect();
    while let Some((index, depth)) = pending.pop() {
        if let Some(span) = spans.get(index) {
            describe_one(span, depth, &mut text);
        }
        let children = forest.children.get(index).into_iter().flatten();
        pending.extend(children.rev().map(|&child| (child, depth + 1)));
    }
    text
}

fn describe_one(span: &SpanData, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let status = match &span.status {
        Status::Unset => String::new(),
        Status::Ok => ", ok".into(),
        Status::Error { description } if description.is_empty() => ", error".into(),
        Status::Error { description } => format!(", error: {description}"),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{indent}{:?} [{}{status}]",
        span.name,
        kind_name(&span.span_kind)
    );
    for attribute in &span.attributes {
        let _ = writeln!(
            text,
            "{indent}    {} = {}",
            attribute.key,
            show(&attribute.value)
        );
    }
    for event in span.events.iter() {
        let _ = writeln!(text, "{indent}    event {:?}", event.name);
    }
}

pub(crate) fn forest(spans: &[SpanData]) -> Forest {
    let ids: Vec<_> = spans
        .iter()
        .map(|span| {
            let trace = span.span_context.trace_id();
            let id = (trace, span.span_context.span_id());
            (id, span.parent().map(|parent| (trace, parent)))
        })
        .collect();
    Forest::new(&ids)
}

pub(crate) fn kind_name(kind: &SpanKind) -> &'static str {
    match kind {
        SpanKind::Client => "client",
        SpanKind::Server => "server",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
        SpanKind::Internal => "internal",
    }
}
