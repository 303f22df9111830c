//! What a sender writes, and what becomes of what was there.

use http::HeaderMap;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceState};
use opentelemetry::{Context, KeyValue};
use otel_ml::Telemetry;
use otel_ml::carrier::HeaderInjector;
use otel_ml::propagation::W3cPropagator;

use crate::carriers::Records;
use crate::support::{headers, inject, remote, remote_context, traceparent, values};

const STALE: [(&str, &str); 5] = [
    (
        "TraceParent",
        "00-00000000000000000000000000000007-0000000000000007-01",
    ),
    ("traceparent", "junk"),
    ("TRACESTATE", "stale=1"),
    ("Baggage", "stale=1"),
    ("x-kept", "1"),
];

fn telemetry() -> Telemetry {
    Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build()
}

fn full_context() -> Context {
    let parent = remote(3);
    let parent = SpanContext::new(
        parent.trace_id(),
        parent.span_id(),
        parent.trace_flags(),
        false,
        TraceState::from_key_value([("new", "1"), ("ot", "th:8")]).unwrap(),
    );
    Context::new()
        .with_remote_span_context(parent)
        .with_baggage([KeyValue::new("note", "a b,c")])
}

#[test]
fn e01_e30_all_fields_replace_what_was_there_in_any_case() {
    let mut http = headers(&STALE);
    telemetry().inject(&full_context(), &mut HeaderInjector(&mut http));
    let expected = [
        ("traceparent", traceparent("03")),
        ("tracestate", "new=1,ot=th:8".into()),
        ("baggage", "note=a%20b%2Cc".into()),
    ];
    for (name, value) in &expected {
        assert_eq!(values(&http, name), [value], "{name}");
    }
    assert_eq!(http.len(), 4);

    let mut records = STALE
        .iter()
        .fold(Records::default().with_null("traceparent"), |r, (n, v)| {
            r.with(n, v)
        });
    telemetry().inject(&full_context(), &mut records);
    let sent = expected
        .iter()
        .fold(Records::default().with("x-kept", "1"), |r, (n, v)| {
            r.with(n, v)
        });
    assert_eq!(records, sent);
}

#[test]
fn e01_e30_fields_that_the_context_has_not_are_taken_away() {
    let mut http = headers(&STALE);
    telemetry().inject(&remote_context(1), &mut HeaderInjector(&mut http));
    assert_eq!(values(&http, "traceparent"), [traceparent("01")]);
    assert_eq!(values(&http, "x-kept"), ["1"]);
    assert_eq!(http.len(), 2);

    let mut records = STALE
        .iter()
        .fold(Records::default(), |r, (n, v)| r.with(n, v));
    telemetry().inject(&remote_context(1), &mut records);
    let sent = Records::default()
        .with("x-kept", "1")
        .with("traceparent", traceparent("01"));
    assert_eq!(records, sent);
}

#[test]
fn no_empty_field_is_sent() {
    let sent = inject(
        &telemetry(),
        &remote_context(1).with_baggage(Vec::<KeyValue>::new()),
    );
    assert_eq!(sent, headers(&[("traceparent", &traceparent("01"))]));

    let mut by_propagator = HeaderMap::new();
    W3cPropagator::new().inject_context(
        &remote_context(1),
        &mut opentelemetry_http::HeaderInjector(&mut by_propagator),
    );
    assert_eq!(by_propagator, sent);
}

#[test]
fn a_context_without_a_span_sends_no_parent() {
    assert!(inject(&telemetry(), &Context::new()).is_empty());
    let invalid = Context::new().with_remote_span_context(SpanContext::NONE);
    assert!(inject(&telemetry(), &invalid).is_empty());
    let only_baggage = Context::new().with_baggage([KeyValue::new("k", "v")]);
    assert_eq!(
        inject(&telemetry(), &only_baggage),
        headers(&[("baggage", "k=v")])
    );
}

#[test]
fn e02_a_baggage_member_that_no_header_can_hold_does_not_take_the_others_along() {
    let records = Records::default()
        .with("traceparent", traceparent("01"))
        .with("baggage", "a=1;line\nbreak,tier=pro");
    let cx = telemetry().extract(&records);
    let mut http = headers(&[("baggage", "stale=1")]);
    telemetry().inject(&cx, &mut HeaderInjector(&mut http));
    let sent = values(&http, "baggage").concat();
    assert!(sent.contains("tier=pro"), "{sent}");
    assert!(!sent.contains("stale"), "{sent}");
}

#[test]
fn the_propagator_adds_to_the_context_it_is_given() {
    let propagator = W3cPropagator::new();
    let given = remote_context(1).with_value(17_u32);
    let nothing = headers(&[("traceparent", "broken")]);
    let cx =
        propagator.extract_with_context(&given, &opentelemetry_http::HeaderExtractor(&nothing));
    assert_eq!(*cx.span().span_context(), remote(1));
    assert_eq!(cx.get::<u32>(), Some(&17));
    let baggage = headers(&[("baggage", "k=v")]);
    let cx =
        propagator.extract_with_context(&given, &opentelemetry_http::HeaderExtractor(&baggage));
    assert_eq!(*cx.span().span_context(), remote(1));
    assert!(cx.baggage().get("k").is_some());
}
