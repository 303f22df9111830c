//! E23, E28: where nothing is recorded, and what is passed on then.

use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::trace::TraceContextExt as _;
use otel_ml::propagation::W3cPropagator;
use otel_ml::{OtelMlConsumerLayer, Telemetry};
use otel_ml_lapin::carrier::HeadersInjector;
use otel_ml_lapin::lapin::options::BasicAckOptions;
use otel_ml_lapin::lapin::types::FieldTable;
use otel_ml_lapin::{OtelMlDelivery, otel_ml};
use otel_ml_testing::TestTelemetry;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use crate::{UNSAMPLED, delivered, long, table};

#[derive(Debug)]
struct Poison;

fn from_afar() -> FieldTable {
    table(&[
        ("traceparent", long(UNSAMPLED)),
        ("tracestate", long("ot=th:8,vendor@sys=1")),
        ("baggage", long("user.tier=pro")),
    ])
}

/// What a handler would send on of a message from afar, which it acks.
async fn passed_on(telemetry: &Telemetry, accepts: bool) -> FieldTable {
    let layer = OtelMlConsumerLayer::builder()
        .telemetry(telemetry.clone())
        .filter(move |_: &OtelMlDelivery| accepts)
        .build();
    let service =
        ServiceBuilder::new()
            .layer(layer)
            .service(service_fn(async |delivery: OtelMlDelivery| {
                assert!(delivery.ack(BasicAckOptions::default()).await.unwrap());
                let mut headers = FieldTable::default();
                let current = Context::current();
                telemetry.inject(&current, &mut HeadersInjector::new(&mut headers));
                Ok::<_, Poison>(headers)
            }));
    let delivery = delivered(from_afar(), false).telemetry(telemetry.clone());
    service.oneshot(delivery).await.unwrap()
}

#[tokio::test]
async fn e23_below_an_unsampled_sender_nothing_is_recorded_and_all_is_passed_on() {
    let test = TestTelemetry::new();
    assert_eq!(passed_on(&test.telemetry(), true).await, from_afar());
    assert!(test.spans().is_empty());
    // Metrics count all.
    let metrics = test.metrics();
    let processed = metrics.histogram("messaging.process.duration");
    assert_eq!(processed.one().count(), 1);
    let settled = metrics.histogram("messaging.client.operation.duration");
    assert_eq!(settled.one().count(), 1);
}

#[tokio::test]
async fn with_a_propagator_alone_context_is_passed_on() {
    let telemetry = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .propagator(W3cPropagator::new())
        .build();
    assert_eq!(passed_on(&telemetry, true).await, from_afar());
}

#[tokio::test]
async fn with_nothing_installed_messages_are_left_alone() {
    let telemetry = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build();
    assert_eq!(passed_on(&telemetry, true).await, FieldTable::default());
}

#[tokio::test]
async fn a_provider_that_was_shut_down_does_not_hide_the_sender() {
    let test = TestTelemetry::new();
    test.shutdown();
    assert_eq!(passed_on(&test.telemetry(), true).await, from_afar());
}

#[tokio::test]
async fn e28_in_a_suppressed_context_there_is_no_span_and_the_sender_is_not_lost() {
    let test = TestTelemetry::new();
    let _suppressed = Context::enter_telemetry_suppressed_scope();
    assert_eq!(passed_on(&test.telemetry(), true).await, from_afar());
    assert!(test.spans().is_empty());
}

#[tokio::test]
async fn a_filtered_message_is_processed_unrecorded_and_passed_on() {
    let test = TestTelemetry::new();
    assert_eq!(passed_on(&test.telemetry(), false).await, from_afar());
    assert!(test.spans().is_empty());
    assert!(!test.metrics().has("messaging.process.duration"));
    assert!(!Context::current().span().span_context().is_valid());
}
