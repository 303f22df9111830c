//! Trace Context or Baggage alone.

use http::HeaderMap;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};
use otel_ml::Telemetry;
use otel_ml::carrier::{HeaderExtractor, HeaderInjector};
use otel_ml::propagation::W3cPropagator;

use crate::support::{headers, remote, remote_context, traceparent};

fn with(propagator: W3cPropagator) -> Telemetry {
    Telemetry::builder()
        .without_traces()
        .without_metrics()
        .propagator(propagator)
        .build()
}

/// A context with both, sent on in place of what another sender has left.
fn sent(propagator: W3cPropagator) -> HeaderMap {
    let cx = remote_context(1).with_baggage([KeyValue::new("tier", "pro")]);
    let mut sent = headers(&[
        ("traceparent", "stale"),
        ("tracestate", "stale=1"),
        ("baggage", "stale=1"),
    ]);
    with(propagator).inject(&cx, &mut HeaderInjector(&mut sent));
    sent
}

fn received(propagator: W3cPropagator) -> Context {
    let sent = headers(&[("traceparent", &traceparent("01")), ("baggage", "tier=pro")]);
    with(propagator).extract(&HeaderExtractor::new(&sent))
}

/// The same by the API's propagator, as another library uses it.
fn by_api(propagator: W3cPropagator) -> (HeaderMap, Context) {
    let cx = remote_context(1).with_baggage([KeyValue::new("tier", "pro")]);
    let mut sent = HeaderMap::new();
    propagator.inject_context(&cx, &mut opentelemetry_http::HeaderInjector(&mut sent));
    let both = headers(&[("traceparent", &traceparent("01")), ("baggage", "tier=pro")]);
    let received = propagator
        .extract_with_context(&Context::new(), &opentelemetry_http::HeaderExtractor(&both));
    (sent, received)
}

fn has_baggage(cx: &Context) -> bool {
    cx.baggage().get("tier").is_some()
}

#[test]
fn trace_context_alone_leaves_baggage_alone() {
    let propagator = W3cPropagator::trace_context_only();
    let expected = headers(&[("traceparent", &traceparent("01")), ("baggage", "stale=1")]);
    assert_eq!(sent(propagator), expected);
    let cx = received(propagator);
    assert_eq!(*cx.span().span_context(), remote(1));
    assert!(!has_baggage(&cx));
    let (sent, cx) = by_api(propagator);
    assert_eq!(sent, headers(&[("traceparent", &traceparent("01"))]));
    assert!(cx.span().span_context().is_valid() && !has_baggage(&cx));
}

#[test]
fn baggage_alone_leaves_trace_context_alone() {
    let propagator = W3cPropagator::baggage_only();
    let expected = headers(&[
        ("traceparent", "stale"),
        ("tracestate", "stale=1"),
        ("baggage", "tier=pro"),
    ]);
    assert_eq!(sent(propagator), expected);
    let cx = received(propagator);
    assert!(!cx.span().span_context().is_valid());
    assert!(has_baggage(&cx));
    let (sent, cx) = by_api(propagator);
    assert_eq!(sent, headers(&[("baggage", "tier=pro")]));
    assert!(!cx.span().span_context().is_valid() && has_baggage(&cx));
    assert_eq!(propagator.fields().collect::<Vec<_>>(), ["baggage"]);
}

#[test]
fn both_replace_what_another_sender_has_left() {
    let propagator = W3cPropagator::new();
    let expected = headers(&[("traceparent", &traceparent("01")), ("baggage", "tier=pro")]);
    assert_eq!(sent(propagator), expected);
    let cx = received(propagator);
    assert_eq!(*cx.span().span_context(), remote(1));
    assert!(has_baggage(&cx));
}
