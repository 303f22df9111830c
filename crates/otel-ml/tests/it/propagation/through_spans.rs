//! What survives from one hop to the next when a span is in between.

use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{SpanKind, TraceContextExt};
use otel_ml::{Operation, Outcome, Telemetry};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry};

use crate::support::{SPAN_ID, TRACE_ID, extract, headers, inject, remote, traceparent, values};

/// Continues what arrived by an operation; returns what is sent from within it.
fn relay(telemetry: &Telemetry, lines: &[(&str, &str)]) -> http::HeaderMap {
    let operation = Operation::builder(telemetry, SpanKind::Server, "relay".into())
        .parent(extract(telemetry, lines))
        .start(|| (), |_| ());
    let sent = inject(telemetry, operation.context().unwrap());
    operation.finish(Outcome::Ok);
    sent
}

#[test]
fn the_random_flag_survives_a_child() {
    for (received, sent) in [("01", "01"), ("03", "03"), ("ff", "03")] {
        let test = TestTelemetry::new();
        let out = relay(
            &test.telemetry(),
            &[("traceparent", &traceparent(received))],
        );
        let span = test.spans().named("relay").clone();
        assert_eq!(span.parent_span_id, remote(1).span_id());
        let expected = format!("00-{TRACE_ID:032x}-{}-{sent}", span.span_context.span_id());
        assert_eq!(values(&out, "traceparent"), [expected]);
    }
}

#[test]
fn e23_an_unsampled_parent_is_passed_on_as_it_came() {
    for flags in ["00", "02"] {
        let test = TestTelemetry::new();
        let parent = traceparent(flags);
        let lines = [
            ("traceparent", parent.as_str()),
            ("tracestate", "ot=th:8;rv:6e6d1a75832a2f, unknown@vendor=x"),
            ("tracestate", "foo@@bar=1"),
            ("baggage", "tier=pro"),
        ];
        let sent = relay(&test.telemetry(), &lines);
        let expected = headers(&[
            ("traceparent", &parent),
            (
                "tracestate",
                "ot=th:8;rv:6e6d1a75832a2f,unknown@vendor=x,foo@@bar=1",
            ),
            ("baggage", "tier=pro"),
        ]);
        assert_eq!(sent, expected);
        assert!(test.spans().is_empty());
        assert!(test.open_spans().is_empty());
    }
}

#[test]
fn e23_state_and_baggage_survive_a_recorded_span() {
    for state in ["ot=th:8,unknown=x", "foo@@bar=1,ot=th:8"] {
        let test = TestTelemetry::new();
        let parent = traceparent("01");
        let lines = [
            ("traceparent", parent.as_str()),
            ("tracestate", state),
            ("baggage", "tier=pro"),
        ];
        let sent = relay(&test.telemetry(), &lines);
        assert_eq!(values(&sent, "tracestate"), [state]);
        assert_eq!(values(&sent, "baggage"), ["tier=pro"]);
        assert_eq!(test.spans().len(), 1);
    }
}

/// The list belongs to a trace: below a new root it would speak of another.
#[test]
fn state_that_travels_beside_the_span_does_not_reach_another_trace() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let parent = traceparent("01");
    let cx = extract(
        &telemetry,
        &[("traceparent", &parent), ("tracestate", "foo@@bar=1")],
    );
    assert_eq!(
        values(&inject(&telemetry, &cx), "tracestate"),
        ["foo@@bar=1"]
    );
    let elsewhere = opentelemetry::trace::SpanContext::new(
        opentelemetry::trace::TraceId::from(5),
        opentelemetry::trace::SpanId::from(5),
        opentelemetry::trace::TraceFlags::SAMPLED,
        false,
        opentelemetry::trace::TraceState::NONE,
    );
    let other = cx.with_remote_span_context(elsewhere);
    assert!(values(&inject(&telemetry, &other), "tracestate").is_empty());
}

#[test]
fn e23_an_unsampled_root_says_so_to_those_it_calls() {
    let test = TestTelemetry::builder().parent_based_always_off().build();
    let sent = relay(&test.telemetry(), &[("baggage", "tier=pro")]);
    let parent = values(&sent, "traceparent").concat();
    assert!(parent.ends_with("-00"), "{parent}");
    assert_eq!(values(&sent, "baggage"), ["tier=pro"]);
    assert!(test.spans().is_empty());
}

#[test]
fn context_is_passed_on_where_spans_are_off() {
    let test = TestTelemetry::new();
    let telemetry = Telemetry::builder()
        .without_traces()
        .meter_provider(test.meter_provider())
        .build();
    let parent = traceparent("03");
    let lines = [
        ("traceparent", parent.as_str()),
        ("tracestate", "a=1"),
        ("baggage", "b=2"),
    ];
    assert_eq!(relay(&telemetry, &lines), headers(&lines));
}

#[test]
fn a_sampled_hop_is_child_of_the_one_before() {
    let (first, second) = (TestTelemetry::new(), TestTelemetry::new());
    let sent = relay(&first.telemetry(), &[("baggage", "k=v")]);
    let received = second
        .telemetry()
        .extract(&otel_ml::carrier::HeaderExtractor::new(&sent));
    let operation = Operation::builder(&second.telemetry(), SpanKind::Server, "second".into())
        .parent(received)
        .start(|| (), |_| ());
    let inside = operation.context().cloned().unwrap_or_else(Context::new);
    operation.finish(Outcome::Ok);
    let (spans, more) = (first.spans(), second.spans());
    let (caller, called) = (spans.named("relay"), more.named("second"));
    assert_eq!(called.parent(), Some(caller.span_context.span_id()));
    assert_eq!(
        called.span_context.trace_id(),
        caller.span_context.trace_id()
    );
    assert!(called.parent_span_is_remote);
    assert_ne!(
        called.span_context.span_id(),
        opentelemetry::trace::SpanId::from(SPAN_ID)
    );
    assert!(inside.baggage().get("k").is_some());
}
