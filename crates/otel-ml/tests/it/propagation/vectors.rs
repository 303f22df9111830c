//! The header sets of the W3C's test suite: what is valid, and what of it is passed on.

use std::collections::HashSet;

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use otel_ml::Telemetry;
use otel_ml::carrier::HeaderExtractor;
use otel_ml::propagation::W3cPropagator;
use serde_json::Value;

use crate::carriers::Records;
use crate::support::{headers, inject, values};

/// Marked valid, with 33 list members where the specification allows 32: the oldest is left out.
const OVERLONG: usize = 71;
const MAX_MEMBERS: usize = 32;

struct Vector {
    number: usize,
    lines: Vec<(String, String)>,
    parent_is_valid: bool,
    state_is_valid: bool,
}

fn vectors() -> Vec<Vector> {
    let file: Value =
        serde_json::from_str(include_str!("../../data/w3c-trace-context-vectors.json")).unwrap();
    let pair = |line: &Value| {
        let text = |i: usize| line[i].as_str().unwrap().to_owned();
        (text(0), text(1))
    };
    let read = |(number, vector): (usize, &Value)| Vector {
        number,
        lines: vector["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(pair)
            .collect(),
        parent_is_valid: vector["is_traceparent_valid"].as_bool().unwrap(),
        state_is_valid: vector["is_tracestate_valid"].as_bool().unwrap_or(false),
    };
    file["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(read)
        .collect()
}

impl Vector {
    fn lines(&self) -> Vec<(&str, &str)> {
        self.lines
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// The members of the list that several lines stand for.
    fn state(&self) -> Vec<&str> {
        let is_state = |name: &str| name.eq_ignore_ascii_case("tracestate");
        self.lines
            .iter()
            .filter(|(name, _)| is_state(name))
            .flat_map(|(_, value)| value.split(','))
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty())
            .collect()
    }

    /// What went wrong, if anything did.
    fn complaint(&self, cx: &Context, sent: &HeaderMap) -> Option<String> {
        let is_valid = cx.span().span_context().is_valid();
        if is_valid != self.parent_is_valid {
            return Some(format!("{}: the parent is valid: {is_valid}", self.number));
        }
        let passed_on: Vec<&str> = values(sent, "tracestate")
            .into_iter()
            .flat_map(|line| line.split(','))
            .collect();
        let expected = if self.parent_is_valid && self.state_is_valid {
            self.state().into_iter().take(MAX_MEMBERS).collect()
        } else {
            vec![]
        };
        if passed_on != expected {
            return Some(format!(
                "{}: {expected:?} became {passed_on:?}",
                self.number
            ));
        }
        let parents = values(sent, "traceparent");
        let expected_parents = usize::from(self.parent_is_valid);
        (parents.len() != expected_parents).then(|| format!("{}: sent {parents:?}", self.number))
    }
}

#[track_caller]
fn assert_all(receive: impl Fn(&Vector) -> (Context, HeaderMap)) {
    let vectors = vectors();
    let complaints: Vec<String> = vectors
        .iter()
        .filter_map(|vector| {
            let (cx, sent) = receive(vector);
            vector.complaint(&cx, &sent)
        })
        .collect();
    assert_eq!(complaints, [""; 0]);
    assert_eq!(vectors.len(), 82);
}

fn propagate(extractor: &dyn Extractor) -> (Context, HeaderMap) {
    let propagator = W3cPropagator::new();
    let cx = propagator.extract_with_context(&Context::new(), extractor);
    let mut sent = HeaderMap::new();
    propagator.inject_context(&cx, &mut opentelemetry_http::HeaderInjector(&mut sent));
    (cx, sent)
}

#[test]
fn all_vectors_through_the_handle() {
    let telemetry = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build();
    assert_all(|vector| {
        let cx = telemetry.extract(&HeaderExtractor::new(&headers(&vector.lines())));
        let sent = inject(&telemetry, &cx);
        (cx, sent)
    });
}

#[test]
fn all_vectors_through_the_propagator_over_http_headers() {
    assert_all(|vector| {
        let received = headers(&vector.lines());
        propagate(&opentelemetry_http::HeaderExtractor(&received))
    });
}

#[test]
fn all_vectors_through_the_propagator_over_our_own_carrier() {
    assert_all(|vector| {
        let received = headers(&vector.lines());
        propagate(&HeaderExtractor::new(&received))
    });
}

#[test]
fn all_vectors_through_the_propagator_over_a_list_of_pairs() {
    assert_all(|vector| {
        let received = vector
            .lines()
            .into_iter()
            .fold(Records::default(), |records, (name, value)| {
                records.with(name, value)
            });
        propagate(&received)
    });
}

#[test]
fn the_one_list_that_is_too_long_has_33_members() {
    let overlong = |vector: &&Vector| vector.state().len() > MAX_MEMBERS;
    let vectors = vectors();
    let found: Vec<_> = vectors
        .iter()
        .filter(overlong)
        .map(|v| (v.number, v.state().len()))
        .collect();
    assert_eq!(found, [(OVERLONG, 33)]);
}

/// The table above would also pass a propagator that knows nothing but its vectors' shapes.
#[test]
fn the_vectors_tell_valid_from_invalid() {
    let vectors = vectors();
    let kinds: HashSet<(bool, bool)> = vectors
        .iter()
        .map(|v| (v.parent_is_valid, v.state_is_valid))
        .collect();
    assert_eq!(kinds.len(), 3);
    assert_eq!(vectors.iter().filter(|v| v.state_is_valid).count(), 29);
}
