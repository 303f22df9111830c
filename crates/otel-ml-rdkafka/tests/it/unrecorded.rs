//! E23, E28: where nothing is recorded, and what is passed on then.

use otel_ml::Telemetry;
use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::baggage::BaggageExt as _;
use otel_ml::opentelemetry::trace::TraceContextExt as _;
use otel_ml::propagation::W3cPropagator;
use otel_ml_rdkafka::{OtelMlConsumer, OtelMlProducer, otel_ml};
use otel_ml_testing::TestTelemetry;

use crate::support::rdkafka::message::Message as _;
use crate::support::rdkafka::producer::FutureProducer;
use crate::support::{
    Broker, LONG, UNSAMPLED, assign, owned, pair, pairs, record, recv, send, soon, telemetry,
};

#[derive(Debug)]
struct Poison;

/// What a handler sends on of a message with `headers`.
async fn passed_on(
    telemetry: &Telemetry,
    headers: &[crate::support::Pair],
) -> Vec<crate::support::Pair> {
    let broker = Broker::new();
    let (inbox, outbox) = (broker.topic(1).await, broker.topic(1).await);
    let bare: FutureProducer = broker.config().create().unwrap();
    soon(bare.send(record(&inbox).headers(owned(headers)), LONG))
        .await
        .unwrap();
    let builder = OtelMlConsumer::builder().telemetry(telemetry.clone());
    let consumer: OtelMlConsumer = builder.create(&broker.consumer_config("group-1")).unwrap();
    assign(&consumer, &inbox, 1);
    let builder = OtelMlProducer::builder().telemetry(telemetry.clone());
    let producer: OtelMlProducer = builder.create(&broker.config()).unwrap();
    let received = recv(&consumer).await;
    let handled = received.process(async |_| send(&producer, record(&outbox)).await);
    handled.await.unwrap();
    assign(&consumer, &outbox, 1);
    let sent_on = recv(&consumer).await;
    sent_on.headers().map_or_else(Vec::new, pairs)
}

fn from_afar() -> Vec<crate::support::Pair> {
    vec![
        pair("traceparent", UNSAMPLED),
        pair("tracestate", "ot=th:8,vendor@sys=1"),
        pair("baggage", "user.tier=pro"),
    ]
}

#[tokio::test]
async fn e23_below_an_unsampled_sender_nothing_is_recorded_and_all_is_passed_on() {
    let test = TestTelemetry::new();
    assert_eq!(
        passed_on(&telemetry(&test), &from_afar()).await,
        from_afar()
    );
    assert!(test.spans().is_empty());
    // Metrics count all.
    assert_eq!(
        test.metrics()
            .histogram("messaging.process.duration")
            .one()
            .count(),
        1
    );
    assert_eq!(
        test.metrics().sum("messaging.client.sent.messages").int(),
        1
    );
}

#[tokio::test]
async fn with_a_propagator_alone_context_is_passed_on() {
    let telemetry = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .propagator(W3cPropagator::new())
        .build();
    assert_eq!(passed_on(&telemetry, &from_afar()).await, from_afar());
}

#[tokio::test]
async fn with_nothing_installed_messages_are_left_alone() {
    let telemetry = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build();
    assert_eq!(passed_on(&telemetry, &from_afar()).await, []);
}

#[tokio::test]
async fn a_provider_that_was_shut_down_does_not_hide_the_sender() {
    let test = TestTelemetry::new();
    test.shutdown();
    assert_eq!(
        passed_on(&telemetry(&test), &from_afar()).await,
        from_afar()
    );
}

#[tokio::test]
async fn e28_in_a_suppressed_context_there_is_no_span_and_the_sender_is_not_lost() {
    let test = TestTelemetry::new();
    let _suppressed = Context::enter_telemetry_suppressed_scope();
    assert_eq!(
        passed_on(&telemetry(&test), &from_afar()).await,
        from_afar()
    );
    assert!(test.spans().is_empty());
}

#[tokio::test]
async fn a_filtered_message_is_processed_unrecorded() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    send(&broker.producer(&test), record(&topic)).await.unwrap();
    test.reset();
    let consumer = OtelMlConsumer::builder()
        .telemetry(telemetry(&test))
        .filter(
            |_: &otel_ml_rdkafka::Record<crate::support::rdkafka::message::BorrowedMessage<'_>>| {
                false
            },
        )
        .create::<crate::support::rdkafka::util::DefaultRuntime>(&broker.consumer_config("group-1"))
        .unwrap();
    assign(&consumer, &topic, 1);
    let received = recv(&consumer).await;
    let sender = received.process(async |_| {
        let cx = Context::current();
        Ok::<_, Poison>((cx.span().span_context().span_id(), cx.baggage().is_empty()))
    });
    let expected = received.sender().span().span_context().span_id();
    assert_eq!(sender.await.unwrap(), (expected, true));
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
}
