//! What a span starts with, and what its sampler gets to see.

use std::sync::{Arc, Mutex};

use opentelemetry::trace::{Link, SpanContext, SpanKind, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};
use otel_ml::{Handle, MlSpan, Operation, Outcome};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry};

use crate::support::{remote, remote_context};

/// Decides as told, and keeps what it was asked.
#[derive(Clone, Debug)]
struct Witness(SamplingDecision, Arc<Mutex<Vec<Asked>>>);

#[derive(Clone, Debug, PartialEq)]
struct Asked {
    name: String,
    kind: SpanKind,
    attributes: Vec<KeyValue>,
    links: usize,
}

impl Witness {
    fn new(decision: SamplingDecision) -> Self {
        Self(decision, Arc::default())
    }
}

impl ShouldSample for Witness {
    fn should_sample(
        &self,
        _parent: Option<&Context>,
        _trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        self.1.lock().unwrap().push(Asked {
            name: name.to_owned(),
            kind: kind.clone(),
            attributes: attributes.to_vec(),
            links: links.len(),
        });
        SamplingResult {
            decision: self.0.clone(),
            attributes: Vec::new(),
            trace_state: TraceState::NONE,
        }
    }
}

#[test]
fn a_sampler_sees_attributes_and_links() {
    let witness = Witness::new(SamplingDecision::RecordAndSample);
    let test = TestTelemetry::builder().sampler(witness.clone()).build();
    Operation::builder(&test.telemetry(), SpanKind::Server, "POST /predict".into())
        .link(remote(1), Vec::new())
        .start(|| (), |to| to.push("url.path", "/predict"))
        .finish(Outcome::Ok);
    let asked = Asked {
        name: "POST /predict".into(),
        kind: SpanKind::Server,
        attributes: vec![KeyValue::new("url.path", "/predict")],
        links: 1,
    };
    assert_eq!(*witness.1.lock().unwrap(), [asked]);
    assert_eq!(
        test.spans().named("POST /predict").str("url.path"),
        "/predict"
    );
}

/// A sampler may record below a parent that is not sampled, for its own purposes.
#[test]
fn below_an_unsampled_parent_attributes_are_made_only_when_recorded() {
    for (decision, is_recorded) in [
        (SamplingDecision::RecordAndSample, true),
        (SamplingDecision::Drop, false),
    ] {
        let test = TestTelemetry::builder()
            .sampler(Witness::new(decision))
            .build();
        let mut is_called = false;
        let operation = Operation::builder(&test.telemetry(), SpanKind::Server, "work".into())
            .parent(remote_context(0))
            .handle(Handle::Recorded)
            .start(
                || (),
                |to| {
                    is_called = true;
                    to.take_keys();
                    to.push("k", 1_i64);
                },
            );
        MlSpan::from_context(operation.context().unwrap())
            .set("k", 2_i64)
            .set("l", 3_i64);
        operation.finish(Outcome::Ok);
        assert_eq!(is_called, is_recorded);
        assert_eq!(test.spans().len(), usize::from(is_recorded));
        if is_recorded {
            let span = test.spans().named("work").clone();
            assert_eq!(
                span.attributes,
                [KeyValue::new("k", 1), KeyValue::new("l", 3)]
            );
        }
    }
}

#[test]
fn no_more_attributes_than_the_cap() {
    for (cap, kept) in [(None, 64), (Some(3), 3), (Some(100), 80), (Some(0), 0)] {
        let test = TestTelemetry::new();
        let telemetry = test.telemetry();
        let mut builder = Operation::builder(&telemetry, SpanKind::Server, "work".into());
        if let Some(cap) = cap {
            builder = builder.attribute_cap(cap);
        }
        builder
            .start(
                || (),
                |to| {
                    to.extend((0..80).map(|i| KeyValue::new(format!("k{i}"), i)));
                },
            )
            .finish(Outcome::Ok);
        let span = test.spans().named("work").clone();
        let expected: Vec<_> = (0..kept)
            .map(|i| KeyValue::new(format!("k{i}"), i))
            .collect();
        assert_eq!(span.attributes, expected, "{cap:?}");
    }
}

#[test]
fn no_more_facts_than_the_cap_and_known_ones_can_still_change() {
    let test = TestTelemetry::new();
    let operation = Operation::builder(&test.telemetry(), SpanKind::Server, "work".into())
        .handle(Handle::Recorded)
        .attribute_cap(2)
        .start(|| (), |_| ());
    let span = MlSpan::from_context(operation.context().unwrap());
    span.input_size(1)
        .output_size(2)
        .output_count(3)
        .input_size(4);
    operation.finish(Outcome::Ok);
    let span = test.spans().named("work").clone();
    let expected = [
        KeyValue::new("ml.input.size", 4),
        KeyValue::new("ml.output.size", 2),
    ];
    assert_eq!(span.attributes, expected);
}

#[test]
fn links_keep_their_attributes_and_invalid_ones_are_none() {
    let test = TestTelemetry::new();
    Operation::builder(&test.telemetry(), SpanKind::Consumer, "work".into())
        .link(SpanContext::NONE, Vec::new())
        .link(remote(1), vec![KeyValue::new("kafka.offset", 7)])
        .start(|| (), |_| ())
        .finish(Outcome::Ok);
    let span = test.spans().named("work").clone();
    assert_eq!(span.parent(), None);
    assert_eq!(span.links.len(), 1);
    assert_eq!(span.links[0].span_context, remote(1));
    assert_eq!(span.links[0].attributes, [KeyValue::new("kafka.offset", 7)]);
}

#[test]
fn without_a_parent_it_is_a_root_whatever_is_current() {
    let test = TestTelemetry::new();
    let _attached = remote_context(1).attach();
    Operation::builder(&test.telemetry(), SpanKind::Server, "work".into())
        .start(|| (), |_| ())
        .finish(Outcome::Ok);
    assert_eq!(test.spans().named("work").parent(), None);
}

#[test]
fn handles_are_found_where_the_transport_wants_them() {
    let recorded = || TestTelemetry::new();
    let unsampled = || TestTelemetry::builder().always_off().build();
    let cases = [
        (Handle::None, recorded(), false),
        (Handle::Recorded, recorded(), true),
        (Handle::Always, recorded(), true),
        (Handle::None, unsampled(), false),
        (Handle::Recorded, unsampled(), false),
        (Handle::Always, unsampled(), true),
    ];
    for (handle, test, is_found) in cases {
        let mut operation = Operation::builder(&test.telemetry(), SpanKind::Server, "work".into())
            .handle(handle)
            .start(|| (), |_| ());
        let found = operation.scope(|| MlSpan::current().span_context().is_some());
        assert_eq!(found, is_found, "{handle:?}");
        operation.finish(Outcome::Ok);
    }
}
