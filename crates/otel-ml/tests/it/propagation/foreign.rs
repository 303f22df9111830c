//! A propagator of the application's own in place of the automatic choice.

use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use otel_ml::Telemetry;

use crate::b3::B3;
use crate::support::{
    SPAN_ID, TRACE_ID, extract, headers, inject, remote, remote_context, traceparent, values,
};

fn b3() -> String {
    format!("{TRACE_ID:032x}-{SPAN_ID:016x}-1")
}

fn with(propagator: impl TextMapPropagator + Send + Sync + 'static) -> Telemetry {
    Telemetry::builder()
        .without_traces()
        .without_metrics()
        .propagator(propagator)
        .build()
}

#[test]
fn a_given_propagator_works_both_ways() {
    let telemetry = with(B3::new());
    assert!(telemetry.is_propagating());
    assert_eq!(
        inject(&telemetry, &remote_context(1)),
        headers(&[("b3", &b3())])
    );
    let cx = extract(&telemetry, &[("b3", &b3()), ("traceparent", "00-broken")]);
    assert_eq!(*cx.span().span_context(), remote(1));
    assert!(!extract(&telemetry, &[("traceparent", &traceparent("01"))]).has_active_span());
}

#[test]
fn e01_a_given_propagator_replaces_in_any_case() {
    let mut sent = headers(&[("b3", "old"), ("B3", "older")]);
    with(B3::new()).inject(
        &remote_context(1),
        &mut otel_ml::carrier::HeaderInjector(&mut sent),
    );
    assert_eq!(values(&sent, "b3"), [b3()]);
}

#[test]
fn e01_a_given_propagator_leaves_nothing_stale_of_its_fields() {
    let stale = [
        ("traceparent", "old"),
        ("tracestate", "stale=1"),
        ("baggage", "stale=1"),
        ("b3", "the caller's"),
    ];
    let mut sent = headers(&stale);
    with(TraceContextPropagator::new()).inject(
        &remote_context(1),
        &mut otel_ml::carrier::HeaderInjector(&mut sent),
    );
    assert_eq!(values(&sent, "traceparent"), [traceparent("01")]);
    assert!(
        values(&sent, "tracestate")
            .iter()
            .all(|state| state.is_empty())
    );
    assert_eq!(values(&sent, "baggage"), ["stale=1"]);
    assert_eq!(values(&sent, "b3"), ["the caller's"]);
}

#[test]
fn e27_a_given_propagator_starts_from_a_fresh_context() {
    let _attached = remote_context(1).attach();
    assert!(!extract(&with(B3::new()), &[]).has_active_span());
    assert!(!extract(&with(TraceContextPropagator::new()), &[]).has_active_span());
}

#[test]
fn a_given_propagator_that_asks_for_one_value_gets_all_state_lines_joined() {
    let parent = traceparent("01");
    let lines = [
        ("traceparent", parent.as_str()),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
    ];
    let cx = extract(&with(TraceContextPropagator::new()), &lines);
    assert_eq!(cx.span().span_context().trace_state().header(), "a=1,b=2");
    let sent: HeaderMap = inject(&with(TraceContextPropagator::new()), &cx);
    assert_eq!(values(&sent, "tracestate"), ["a=1,b=2"]);
}

#[test]
fn e01_a_given_propagator_that_asks_for_one_value_gets_no_repeated_parent() {
    let parent = traceparent("01");
    let lines = [
        ("traceparent", parent.as_str()),
        ("traceparent", parent.as_str()),
    ];
    assert!(!extract(&with(TraceContextPropagator::new()), &lines).has_active_span());
}
