//! Requests that are not recorded: their context is passed on all the same.

use http::HeaderMap;
use opentelemetry_sdk::trace::Sampler;
use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceState,
};
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_tree, span};
use otel_ml_tower::RequestHead;
use tower::Layer;

use crate::relay::{
    BAGGAGE, Relay, STATE, Served, assert_passed_on_whole, baggage, from_afar, relay, sent_by,
};
use crate::support::{
    SAMPLED, TRACE, UNSAMPLED, client, exchange, get, head_of, parent_id, run, server, status,
    trace_id, values,
};

#[test]
fn e23_below_an_unsampled_parent_all_is_passed_on_and_nothing_recorded() {
    let test = TestTelemetry::new();
    let sent = relay(&server(&test).build(), &test, get(&from_afar(UNSAMPLED)));
    assert_eq!(sent.len(), 3, "from the call, the future and the body");
    for sent in &sent {
        assert_passed_on_whole(sent, UNSAMPLED);
    }
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    let metrics = test.metrics();
    assert_eq!(metrics.histogram("http.server.request.duration").count(), 1);
    assert_eq!(metrics.histogram("http.client.request.duration").count(), 3);
    metrics.sum("http.server.active_requests").assert_zero();
}

#[test]
fn e23_an_unsampled_root_is_passed_on_as_one_trace() {
    let test = TestTelemetry::builder().always_off().build();
    let sent = relay(&server(&test).build(), &test, get(&[("baggage", BAGGAGE)]));
    let first = values(&sent[0], "traceparent");
    assert!(first[0].ends_with("-00"), "{first:?}");
    for sent in &sent {
        assert_eq!(values(sent, "traceparent"), first);
        assert_eq!(baggage(sent).len(), 2);
    }
    assert!(test.spans().is_empty());
}

#[test]
fn a_sampler_that_records_below_an_unsampled_parent_gets_everything() {
    let test = TestTelemetry::builder().sampler(Sampler::AlwaysOn).build();
    let layer = server(&test).build();
    exchange(
        &layer,
        get(&[("traceparent", UNSAMPLED), ("user-agent", "x")]),
        status(200),
    );
    let expected = span("GET")
        .trace(trace_id())
        .parent(parent_id())
        .only_attrs();
    let expected = expected
        .attr("http.request.method", "GET")
        .attr("url.scheme", "http")
        .attr("url.path", "/predict")
        .attr("user_agent.original", "x")
        .attr("network.protocol.version", "1.1")
        .attr("http.response.status_code", 200);
    assert_tree(&test.spans(), vec![expected]);
}

#[test]
fn e28_a_suppressed_context_passes_through() {
    let test = TestTelemetry::new();
    let suppressed = Context::new().with_telemetry_suppressed();
    let _attached = suppressed.attach();
    let sent = relay(&server(&test).build(), &test, get(&from_afar(SAMPLED)));
    for sent in &sent[..2] {
        assert_passed_on_whole(sent, SAMPLED);
    }
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    assert!(test.metrics().names().is_empty());
}

#[test]
fn e28_a_suppressed_client_passes_its_parent_on() {
    let test = TestTelemetry::new();
    let local = Context::new().with_remote_span_context(SpanContext::new(
        trace_id(),
        parent_id(),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    ));
    let _attached = local.with_telemetry_suppressed().attach();
    assert_eq!(
        values(&sent_by(&client(&test).build(), &[]), "traceparent"),
        [SAMPLED]
    );
    assert!(test.spans().is_empty());
    assert!(test.metrics().names().is_empty());
}

#[test]
fn e28_the_body_of_a_suppressed_request_passes_through_too() {
    let test = TestTelemetry::new();
    let _attached = Context::new().with_telemetry_suppressed().attach();
    let sent = relay(&server(&test).build(), &test, get(&from_afar(SAMPLED)));
    assert_passed_on_whole(&sent[2], SAMPLED);
}

/// Of a filtered request only the clients' spans are there, right below the caller's.
fn filtered(test: &TestTelemetry, layer: &impl Layer<Relay, Service: Served>) -> Vec<HeaderMap> {
    let sent = relay(layer, test, get(&from_afar(SAMPLED)));
    let metrics = test.metrics();
    assert!(!metrics.has("http.server.request.duration"));
    assert!(!metrics.has("http.server.active_requests"));
    let spans = test.spans();
    assert!(spans.iter().all(|span| span.span_kind == SpanKind::Client));
    sent
}

fn assert_below_the_caller(test: &TestTelemetry, sent: &HeaderMap) {
    let is_sent = |id: SpanId| values(sent, "traceparent") == [format!("00-{TRACE}-{id}-01")];
    let spans = test.spans();
    let span = spans
        .iter()
        .find(|span| is_sent(span.span_context.span_id()));
    assert_eq!(
        span.and_then(|span| span.parent()),
        Some(parent_id()),
        "{sent:?}"
    );
    assert_eq!(values(sent, "tracestate"), [STATE]);
    assert_eq!(baggage(sent).len(), 2);
}

#[test]
fn a_filtered_request_is_not_recorded_and_passed_on() {
    let test = TestTelemetry::new();
    let layer = server(&test).filter(|_: &RequestHead<'_>| false).build();
    for sent in &filtered(&test, &layer)[..2] {
        assert_below_the_caller(&test, sent);
    }
}

#[test]
fn a_filtered_request_is_passed_on_by_its_body_too() {
    let test = TestTelemetry::new();
    let layer = server(&test).filter(|_: &RequestHead<'_>| false).build();
    assert_below_the_caller(&test, &filtered(&test, &layer)[2]);
}

#[test]
fn a_filtered_client_passes_its_parent_on() {
    let test = TestTelemetry::new();
    let sent = std::cell::RefCell::new(HeaderMap::new());
    let filtering = client(&test).filter(|_: &RequestHead<'_>| false).build();
    let mut service = server(&test).build().layer(tower::service_fn(|_request| {
        sent.replace(sent_by(&filtering, &[("traceparent", UNSAMPLED)]));
        std::future::ready(Ok::<_, std::convert::Infallible>(status(200)))
    }));
    drop(run(tower::Service::call(
        &mut service,
        get(&from_afar(SAMPLED)),
    )));
    let spans = test.spans();
    let id = spans.root().span_context.span_id();
    assert_eq!(spans.root().span_kind, SpanKind::Server);
    assert_passed_on_whole(&sent.borrow(), &format!("00-{TRACE}-{id}-01"));
    assert!(!test.metrics().has("http.client.request.duration"));
}

#[test]
fn a_provider_shut_down_keeps_the_remote_parent() {
    let test = TestTelemetry::new();
    let layer = server(&test).build();
    test.shutdown();
    for sent in relay(&layer, &test, get(&from_afar(SAMPLED))) {
        assert_passed_on_whole(&sent, SAMPLED);
    }
    assert!(test.spans().is_empty());
    let sent = sent_by(&client(&test).build(), &[]);
    assert!(
        !sent.contains_key("traceparent"),
        "no parent, and none made up"
    );
}

#[test]
fn a_provider_shut_down_mid_way_loses_nothing_but_the_span() {
    let test = TestTelemetry::new();
    let body = otel_ml_testing::mock::MockBody::new().data("a").data("b");
    let response = head_of(&server(&test).build(), get(&[]), http::Response::new(body));
    test.shutdown();
    let body = http_body_util::BodyExt::collect(response.into_body());
    assert_eq!(run(body).unwrap().to_bytes(), "ab");
}

#[test]
fn a_layer_keeps_its_provider_and_a_new_one_has_the_new() {
    let (old, new) = (TestTelemetry::new(), TestTelemetry::new());
    let old_layer = server(&old).build();
    let new_layer = server(&new).build();
    for _ in 0..2 {
        exchange(&old_layer, get(&[]), status(200));
        exchange(&new_layer, get(&[]), status(200));
    }
    assert_eq!((old.spans().len(), new.spans().len()), (2, 2));
}
