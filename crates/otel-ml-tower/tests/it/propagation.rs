//! Where a trace comes from and how it goes on, recorded or not.

use otel_ml::ParentPolicy;
use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceState,
};
use otel_ml_testing::{
    SpanExt as _, SpansExt as _, TestTelemetry, assert_one_trace, assert_parents_present,
    assert_tree, span,
};

use crate::relay::{assert_passed_on_whole, baggage, from_afar, relay, sent_by};
use crate::support::{
    PARENT, SAMPLED, TRACE, UNSAMPLED, client, exchange, get, parent_id, server, status, trace_id,
    values,
};

#[test]
fn a_request_continues_its_callers_trace() {
    let test = TestTelemetry::new();
    let sent = relay(&server(&test).build(), &test, get(&from_afar(SAMPLED)));
    let spans = test.spans();
    assert_one_trace(&spans);
    assert_parents_present(&spans);
    let client = || span("GET").kind(SpanKind::Client).unset();
    let served = span("GET").kind(SpanKind::Server).unset();
    let served = served.trace(trace_id()).parent(parent_id()).links([]);
    let expected = (0..3).fold(served, |span, _| span.child(client()));
    assert_tree(&spans, vec![expected]);
    assert!(spans.root().parent_span_is_remote);
    let clients = spans
        .iter()
        .filter(|span| span.span_kind == SpanKind::Client);
    for (client, sent) in clients.zip(&sent) {
        let id = client.span_context.span_id();
        assert_passed_on_whole(sent, &format!("00-{TRACE}-{id}-01"));
    }
}

#[test]
fn without_a_parent_a_trace_starts_whatever_is_current() {
    let test = TestTelemetry::new();
    let ambient = Context::new().with_remote_span_context(SpanContext::new(
        trace_id(),
        parent_id(),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    ));
    let _attached = ambient.attach();
    exchange(&server(&test).build(), get(&[]), status(200));
    let spans = test.spans();
    assert_eq!(spans.root().parent(), None);
    assert_ne!(spans.root().span_context.trace_id(), trace_id());
}

#[test]
fn e01_a_client_replaces_whatever_a_forwarded_request_carries() {
    let test = TestTelemetry::new();
    let stale = [
        ("traceparent", UNSAMPLED),
        ("Traceparent", SAMPLED),
        ("tracestate", "stale=1"),
        ("tracestate", "stale=2"),
        ("baggage", "stale=1"),
        ("x-kept", "1"),
    ];
    let sent = sent_by(&client(&test).build(), &stale);
    let span = test.spans().root().span_context.clone();
    let expected = format!("00-{}-{}-01", span.trace_id(), span.span_id());
    assert_eq!(values(&sent, "traceparent"), [expected]);
    assert!(!sent.contains_key("tracestate") && !sent.contains_key("baggage"));
    assert_eq!(values(&sent, "x-kept"), ["1"]);
}

#[test]
fn several_tracestate_lines_are_sent_on_as_one() {
    let test = TestTelemetry::new();
    let headers = [
        ("traceparent", SAMPLED),
        ("tracestate", "a=1"),
        ("tracestate", "b=2, c=3"),
    ];
    for sent in relay(&server(&test).build(), &test, get(&headers)) {
        assert_eq!(values(&sent, "tracestate"), ["a=1,b=2,c=3"]);
    }
}

#[test]
fn a_parent_that_breaks_the_rules_is_none_and_is_counted() {
    for (headers, anomaly) in [
        (&[("traceparent", "00-0-0-01")][..], "malformed"),
        (
            &[(
                "traceparent",
                "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            )],
            "malformed",
        ),
        (&[("traceparent", "")], "malformed"),
        (
            &[("traceparent", SAMPLED), ("traceparent", SAMPLED)],
            "duplicate",
        ),
    ] {
        let test = TestTelemetry::new();
        exchange(&server(&test).build(), get(headers), status(200));
        assert_eq!(test.spans().root().parent(), None, "{headers:?}");
        let metrics = test.metrics();
        let counted = metrics.sum("ml.propagation.anomalies");
        let counted = counted.with("ml.propagation.anomaly", anomaly);
        assert_eq!(counted.with("ml.propagation.transport", "http").int(), 1);
    }
}

#[test]
fn a_version_still_to_come_is_read_as_far_as_it_is_known() {
    let test = TestTelemetry::new();
    let traceparent = format!("cc-{TRACE}-{PARENT}-01-what-may-come");
    let headers = [("traceparent", traceparent.as_str())];
    exchange(&server(&test).build(), get(&headers), status(200));
    assert_eq!(test.spans().root().parent(), Some(parent_id()));
    assert!(!test.metrics().has("ml.propagation.anomalies"));
}

#[test]
fn a_public_endpoint_starts_a_trace_and_links_to_its_caller() {
    let caller = SpanContext::new(
        trace_id(),
        parent_id(),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    let test = TestTelemetry::new();
    let by_policy = server(&test).parent(ParentPolicy::Link).build();
    for layer in [server(&test).public_endpoint().build(), by_policy] {
        test.reset();
        let sent = relay(&layer, &test, get(&from_afar(SAMPLED)));
        let spans = test.spans();
        let expected = span("GET").kind(SpanKind::Server).parent(SpanId::INVALID);
        assert_tree(&spans, vec![expected.links([&caller]).any_children()]);
        assert_ne!(spans.root().span_context.trace_id(), trace_id());
        for sent in &sent {
            assert!(!values(sent, "traceparent")[0].contains(TRACE));
            assert!(!sent.contains_key("tracestate"));
            assert_eq!(baggage(sent).len(), 2, "baggage is no parent");
        }
    }
}

#[test]
fn a_public_endpoints_caller_does_not_choose_the_sampling() {
    let test = TestTelemetry::new();
    let layer = server(&test).public_endpoint().build();
    exchange(&layer, get(&[("traceparent", UNSAMPLED)]), status(200));
    assert_eq!(test.spans().root().links.len(), 1);
}

#[test]
fn other_policies_do_as_they_say() {
    for (policy, is_child) in [
        (ParentPolicy::Auto, true),
        (ParentPolicy::Child, true),
        (ParentPolicy::Ignore, false),
    ] {
        let test = TestTelemetry::new();
        let layer = server(&test).parent(policy).build();
        exchange(&layer, get(&from_afar(SAMPLED)), status(200));
        let spans = test.spans();
        assert_eq!(
            spans.root().parent(),
            is_child.then(parent_id),
            "{policy:?}"
        );
        assert!(spans.root().links.is_empty(), "{policy:?}");
    }
}
