//! What a handler finds as its context, whatever becomes of the span.

use std::future::ready;

use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use otel_ml::{MlSpan, OtelMlConsumerLayer, ParentPolicy, Telemetry, stage};
use otel_ml_semconv::ml;
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_tree};
use tower::{Layer, Service, service_fn};

use super::{Letter, Rejected};
use crate::carriers::Records;
use crate::support::{headers, inject, remote, remote_context, traceparent};

/// What the handler saw.
#[derive(Debug, PartialEq)]
struct Seen {
    span: SpanContext,
    tier: Option<String>,
    is_suppressed: bool,
    headers: http::HeaderMap,
}

fn look(telemetry: &Telemetry) -> Seen {
    let cx = Context::current();
    Seen {
        span: cx.span().span_context().clone(),
        tier: cx.baggage().get("tier").map(ToString::to_string),
        is_suppressed: cx.is_telemetry_suppressed(),
        headers: inject(telemetry, &cx),
    }
}

/// Has a handler look around; `accepts` is the layer's filter.
async fn handle(
    telemetry: &Telemetry,
    policy: ParentPolicy,
    accepts: bool,
    letter: Letter,
) -> Seen {
    let layer = OtelMlConsumerLayer::builder()
        .telemetry(telemetry.clone())
        .parent(policy)
        .filter(move |_: &Letter| accepts)
        .build();
    let seen = telemetry.clone();
    let mut service = layer.layer(service_fn(move |_: Letter| {
        let in_call = look(&seen);
        let seen = seen.clone();
        async move {
            assert_eq!(look(&seen), in_call);
            Ok::<_, Rejected>(in_call)
        }
    }));
    service.call(letter).await.unwrap()
}

fn with_state(flags: &str) -> Letter {
    let headers = Records::default()
        .with("traceparent", traceparent(flags))
        .with("tracestate", "ot=th:8,foo@@bar=1")
        .with("baggage", "tier=pro");
    Letter {
        headers,
        ..Letter::traced()
    }
}

#[tokio::test]
async fn a_handler_is_inside_the_span_and_writes_to_it() {
    let test = TestTelemetry::new();
    let layer = OtelMlConsumerLayer::builder()
        .telemetry(test.telemetry())
        .build();
    let mut service = layer.layer(service_fn(|_: Letter| async {
        MlSpan::current().model("fraud");
        stage("score").run_infallible(ready(())).await;
        Ok::<_, Rejected>(())
    }));
    service.call(Letter::traced()).await.unwrap();
    assert_tree!(test.spans(), {
        "process jobs" [consumer, unset] { (ml::MODEL_NAME) = "fraud" } => ["score"],
    });
}

#[tokio::test]
async fn e23_below_an_unsampled_sender_its_context_is_the_handlers() {
    let test = TestTelemetry::new();
    let seen = handle(
        &test.telemetry(),
        ParentPolicy::Auto,
        true,
        with_state("02"),
    )
    .await;
    assert_eq!(seen.span, remote(2));
    assert_eq!(seen.tier.as_deref(), Some("pro"));
    let expected = headers(&[
        ("traceparent", &traceparent("02")),
        ("tracestate", "ot=th:8,foo@@bar=1"),
        ("baggage", "tier=pro"),
    ]);
    assert_eq!(seen.headers, expected);
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    assert!(test.metrics().has("messaging.process.duration"));
}

#[tokio::test]
async fn a_filtered_message_is_passed_on_unrecorded() {
    let test = TestTelemetry::new();
    for policy in [ParentPolicy::Auto, ParentPolicy::Child] {
        let seen = handle(&test.telemetry(), policy, false, with_state("01")).await;
        assert_eq!(
            (seen.span, seen.tier.as_deref()),
            (remote(1), Some("pro")),
            "{policy:?}"
        );
    }
    let seen = handle(
        &test.telemetry(),
        ParentPolicy::Link,
        false,
        with_state("01"),
    )
    .await;
    assert_eq!(
        (seen.span.is_valid(), seen.tier.as_deref()),
        (false, Some("pro"))
    );
    let seen = handle(
        &test.telemetry(),
        ParentPolicy::Ignore,
        false,
        with_state("01"),
    )
    .await;
    assert_eq!((seen.span.is_valid(), seen.tier), (false, None));
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    assert_eq!(test.metrics().names(), [""; 0]);
}

#[tokio::test]
async fn e07_a_filtered_message_inside_a_span_stays_below_it_and_brings_its_baggage() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let around = stage("ambient").telemetry(&telemetry).start();
    let expected = around.context().span().span_context().clone();
    let handled = handle(&telemetry, ParentPolicy::Auto, false, with_state("01"));
    let seen = handled.with_context(around.context()).await;
    assert_eq!((seen.span, seen.tier.as_deref()), (expected, Some("pro")));
}

/// As if nothing had arrived: what was current stays current, recorded or not.
#[tokio::test]
async fn a_filtered_message_that_is_ignored_leaves_the_current_context_alone() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let handled = handle(&telemetry, ParentPolicy::Ignore, false, with_state("01"));
    let ambient = stage("ambient").telemetry(&telemetry).start().context();
    let expected = ambient.span().span_context().clone();
    let seen = handled.with_context(ambient).await;
    assert_eq!((seen.span, seen.tier), (expected, None));
}

#[tokio::test]
async fn e28_in_a_suppressed_context_there_is_no_span_and_the_sender_is_not_lost() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let quiet = Context::new().with_telemetry_suppressed();
    let seen = handle(&telemetry, ParentPolicy::Auto, true, with_state("03"))
        .with_context(quiet)
        .await;
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    assert_eq!(test.metrics().names(), [""; 0]);
    assert!(seen.is_suppressed);
    assert_eq!(seen.span, remote(3));
    assert_eq!(seen.tier.as_deref(), Some("pro"));
}

#[tokio::test]
async fn a_provider_that_was_shut_down_does_not_hide_the_sender() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    test.shutdown();
    let seen = handle(&telemetry, ParentPolicy::Auto, true, with_state("03")).await;
    assert_eq!((seen.span, seen.tier.as_deref()), (remote(3), Some("pro")));
}

#[tokio::test]
async fn with_nothing_installed_the_context_is_left_as_it_is() {
    let off = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build();
    for telemetry in [off, Telemetry::global()] {
        let handled = handle(&telemetry, ParentPolicy::Auto, true, with_state("01"));
        let seen = handled.with_context(remote_context(2)).await;
        assert_eq!((seen.span, seen.tier), (remote(2), None));
    }
}

#[tokio::test]
async fn with_nothing_but_a_propagator_context_is_passed_on() {
    let telemetry = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .propagator(otel_ml::propagation::W3cPropagator::new())
        .build();
    let seen = handle(&telemetry, ParentPolicy::Auto, true, with_state("01")).await;
    assert_eq!((seen.span, seen.tier.as_deref()), (remote(1), Some("pro")));
}

#[tokio::test]
async fn e27_a_layer_in_a_loop_starts_each_message_afresh() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let untraced = || Letter {
        headers: Records::default(),
        ..Letter::traced()
    };
    for letter in [with_state("01"), untraced(), with_state("01"), untraced()] {
        let is_traced = letter.headers != Records::default();
        let seen = handle(&telemetry, ParentPolicy::Auto, true, letter).await;
        assert_eq!(seen.tier.is_some(), is_traced);
        assert!(!Context::current().has_active_span());
    }
    let spans = test.spans();
    let parents: Vec<_> = spans
        .all_named("process jobs")
        .iter()
        .map(|s| s.parent())
        .collect();
    assert_eq!(parents[0], Some(remote(1).span_id()));
    assert_eq!((parents[1], parents[3]), (None, None));
}

#[tokio::test]
async fn two_messages_at_once_do_not_mix() {
    let test = TestTelemetry::new();
    let layer = OtelMlConsumerLayer::builder()
        .telemetry(test.telemetry())
        .build();
    let mut service = layer.layer(service_fn(|letter: Letter| async move {
        tokio::task::yield_now().await;
        MlSpan::current().set("app.offset", letter.offset);
        tokio::task::yield_now().await;
        Ok::<_, Rejected>(Context::current().span().span_context().span_id())
    }));
    let one = service.call(Letter {
        offset: 1,
        ..Letter::traced()
    });
    let two = service.call(Letter {
        offset: 2,
        ..Letter::traced()
    });
    let (one, two) = tokio::join!(one, two);
    let spans = test.spans();
    for (id, offset) in [(one.unwrap(), 1), (two.unwrap(), 2)] {
        let span = spans
            .iter()
            .find(|span| span.span_context.span_id() == id)
            .unwrap();
        assert_eq!(
            (span.int("app.offset"), span.int("kafka.offset")),
            (offset, offset)
        );
    }
}
