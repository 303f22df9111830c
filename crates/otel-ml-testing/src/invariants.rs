//! What holds for every list of spans, whatever the test is about.

use std::collections::HashSet;

use opentelemetry::trace::Status;
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;
use otel_ml_semconv::{ValueType, attribute_type};

use crate::fail::fail;
use crate::spans::{SpanExt as _, describe};
use crate::value::show;

/// No span has ended twice.
///
/// # Panics
/// When a span id occurs twice in one trace, or is invalid.
#[track_caller]
pub fn assert_ended_once(spans: &[SpanData]) {
    let mut seen = HashSet::new();
    for span in spans {
        let context = &span.span_context;
        if !context.is_valid() {
            complain("a span has an invalid id", span, spans);
        }
        if !seen.insert((context.trace_id(), context.span_id())) {
            complain("a span has ended more than once", span, spans);
        }
    }
}

/// All spans belong to one trace.
///
/// # Panics
/// When there are several traces, or no spans at all.
#[track_caller]
pub fn assert_one_trace(spans: &[SpanData]) {
    let Some(first) = spans.first() else {
        fail("expected spans of one trace, there are no spans");
    };
    let trace = first.span_context.trace_id();
    for span in spans {
        if span.span_context.trace_id() != trace {
            complain(&format!("a span is not of trace {trace}"), span, spans);
        }
    }
}

/// Every parent is in the list, except those that are remote: they are another
/// program's.
///
/// # Panics
/// When a span names a local parent that is not there, or a span of another trace.
#[track_caller]
pub fn assert_parents_present(spans: &[SpanData]) {
    let present: HashSet<_> = spans
        .iter()
        .map(|span| (span.span_context.trace_id(), span.span_context.span_id()))
        .collect();
    for span in spans {
        let Some(parent) = span.parent() else {
            continue;
        };
        let is_there = present.contains(&(span.span_context.trace_id(), parent));
        if !is_there && !span.parent_span_is_remote {
            complain(&format!("a span's parent {parent} is missing"), span, spans);
        }
    }
}

/// Every attribute that the conventions know has the type they give it.
///
/// # Panics
/// When one has another, such as a token count recorded as a string.
#[track_caller]
pub fn assert_types(spans: &[SpanData]) {
    for span in spans {
        for attribute in &span.attributes {
            let key = attribute.key.as_str();
            let Some(wanted) = attribute_type(key) else {
                continue;
            };
            if !is_of_type(&attribute.value, wanted) {
                let value = show(&attribute.value);
                let what = format!("`{key}` = {value} is not of type {wanted:?}");
                complain(&what, span, spans);
            }
        }
    }
}

fn is_of_type(value: &Value, wanted: ValueType) -> bool {
    match wanted {
        ValueType::String => matches!(value, Value::String(_)),
        ValueType::Int => matches!(value, Value::I64(_)),
        ValueType::Double => matches!(value, Value::F64(_)),
        ValueType::Bool => matches!(value, Value::Bool(_)),
        ValueType::StringArray => matches!(value, Value::Array(Array::String(_))),
        ValueType::IntArray => matches!(value, Value::Array(Array::I64(_))),
        ValueType::Any => true,
    }
}

/// None of `secrets` occurs in a name, an attribute, a status description, an event
/// or a link.
///
/// # Panics
/// When one does.
#[track_caller]
pub fn assert_no_secret(spans: &[SpanData], secrets: &[&str]) {
    for span in spans {
        let mut texts = vec![span.name.to_string()];
        if let Status::Error { description } = &span.status {
            texts.push(description.to_string());
        }
        texts.extend(texts_of(&span.attributes));
        for event in span.events.iter() {
            texts.push(event.name.to_string());
            texts.extend(texts_of(&event.attributes));
        }
        for link in span.links.iter() {
            texts.extend(texts_of(&link.attributes));
        }
        for secret in secrets {
            if texts.iter().any(|text| text.contains(secret)) {
                complain(&format!("a span contains {secret:?}"), span, spans);
            }
        }
    }
}

/// Keys and values, strings as they are: escaping would hide a secret with a quote in it.
fn texts_of(attributes: &[KeyValue]) -> impl Iterator<Item = String> {
    attributes.iter().flat_map(|attribute| {
        let mut texts = vec![attribute.key.to_string()];
        match &attribute.value {
            Value::String(value) => texts.push(value.to_string()),
            Value::Array(Array::String(values)) => {
                texts.extend(values.iter().map(|value| value.as_str().to_owned()));
            }
            other => texts.push(show(other)),
        }
        texts
    })
}

#[track_caller]
fn complain(what: &str, span: &SpanData, spans: &[SpanData]) -> ! {
    fail(&format!(
        "{what}:\n{}  span id {}, trace id {}\nall spans:\n{}",
        describe(std::slice::from_ref(span)),
        span.span_context.span_id(),
        span.span_context.trace_id(),
        describe(spans),
    ))
}
