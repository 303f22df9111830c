//! E08, E14, E29: what is told of deliveries, whatever their headers say.

use otel_ml::messaging::Message as _;
use otel_ml::semconv::{messaging as keys, ml, rabbitmq};
use otel_ml::{Detail, OtelMlConsumerLayer};
use otel_ml_lapin::lapin::BasicProperties;
use otel_ml_lapin::lapin::message::Delivery;
use otel_ml_lapin::lapin::options::{BasicAckOptions, BasicNackOptions};
use otel_ml_lapin::lapin::types::{AMQPValue, FieldTable};
use otel_ml_lapin::{OtelMlDelivery, otel_ml};
use otel_ml_testing::opentelemetry_sdk::trace::SpanData;
use otel_ml_testing::{SpanExt as _, TestTelemetry, assert_tree};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use crate::{SAMPLED, delivered, long, short, table};

#[derive(Debug)]
struct Poison;

/// Processed by the layer, with all there is to tell.
async fn processed(delivery: OtelMlDelivery) -> SpanData {
    let test = TestTelemetry::new();
    let layer = OtelMlConsumerLayer::builder()
        .telemetry(test.telemetry())
        .detail(Detail::Full)
        .build();
    let service = ServiceBuilder::new()
        .layer(layer)
        .service(service_fn(async |_: OtelMlDelivery| Ok::<_, Poison>(())));
    service.oneshot(delivery).await.unwrap();
    test.spans().pop().unwrap()
}

fn death(reason: &str, count: AMQPValue) -> AMQPValue {
    AMQPValue::FieldTable(table(&[("reason", long(reason)), ("count", count)]))
}

fn deaths(all: Vec<AMQPValue>) -> FieldTable {
    table(&[("x-death", AMQPValue::FieldArray(all.into()))])
}

#[test]
fn attempts_and_deaths_are_counted_from_what_brokers_write() {
    let count = AMQPValue::LongLongInt;
    for (headers, redelivered, attempt) in [
        (FieldTable::default(), false, 1),
        (FieldTable::default(), true, 2),
        (table(&[("x-delivery-count", count(3))]), true, 4),
        (
            table(&[("x-delivery-count", AMQPValue::ShortShortUInt(3))]),
            false,
            4,
        ),
        (deaths(vec![death("rejected", count(2))]), false, 3),
        (deaths(vec![death("rejected", count(2))]), true, 4),
        // Was never handed to anyone.
        (
            deaths(vec![death("expired", count(2)), death("maxlen", count(1))]),
            false,
            1,
        ),
        (
            deaths(vec![
                death("expired", count(2)),
                death("rejected", count(1)),
                death("delivery_limit", count(1)),
            ]),
            false,
            3,
        ),
    ] {
        let told = delivered(headers.clone(), redelivered).attempt();
        assert_eq!(told, attempt, "{headers:?}");
    }
}

#[tokio::test]
async fn e29_what_others_write_there_is_no_count_and_no_panic() {
    let count = AMQPValue::LongLongInt;
    for headers in [
        table(&[("x-death", long("junk"))]),
        table(&[("x-delivery-count", long("3"))]),
        table(&[("x-delivery-count", count(-1))]),
        deaths(vec![AMQPValue::Void, long("x"), count(1)]),
        deaths(vec![AMQPValue::FieldTable(FieldTable::default())]),
        deaths(vec![death("rejected", count(-5))]),
        deaths(vec![death("rejected", long("5"))]),
    ] {
        let span = processed(delivered(headers.clone(), false)).await;
        assert!(!span.has(ml::MESSAGE_ATTEMPT), "{headers:?}");
        assert!(!span.has(ml::MESSAGE_DEAD_LETTER_COUNT), "{headers:?}");
    }
    let huge = deaths(vec![
        death("rejected", count(i64::MAX)),
        death("rejected", count(i64::MAX)),
    ]);
    let span = processed(delivered(huge, true)).await;
    assert_eq!(span.int(ml::MESSAGE_ATTEMPT), i64::from(u32::MAX));
    assert_eq!(span.int(ml::MESSAGE_DEAD_LETTER_COUNT), i64::from(u32::MAX));
}

#[tokio::test]
async fn a_delivery_says_where_it_is_from_and_what_it_is() {
    let properties = BasicProperties::default()
        .with_message_id(short("message-1"))
        .with_correlation_id(short("conversation-1"));
    let mut delivery = Delivery::mock(7, short("logs"), short("info"), false, b"x".to_vec());
    delivery.properties = properties;
    let span = processed(OtelMlDelivery::new(delivery).queue("all")).await;
    assert_eq!(span.name, "process logs:info:all");
    for (key, value) in [
        (keys::SYSTEM_NAME, "rabbitmq"),
        (keys::DESTINATION_NAME, "logs:info:all"),
        (rabbitmq::DESTINATION_ROUTING_KEY, "info"),
        (keys::MESSAGE_ID, "message-1"),
        (keys::MESSAGE_CONVERSATION_ID, "conversation-1"),
    ] {
        assert_eq!(span.str(key), value, "{key}");
    }
    assert_eq!(span.int(rabbitmq::MESSAGE_DELIVERY_TAG), 7);
    assert_eq!(span.int(keys::MESSAGE_BODY_SIZE), 1);
}

#[tokio::test]
async fn e14_a_delivery_from_a_generated_queue_has_no_name() {
    let delivery = Delivery::mock(7, short(""), short("amq.gen-x1"), false, Vec::new());
    let span = processed(OtelMlDelivery::new(delivery).queue("amq.gen-x1")).await;
    assert_eq!(span.name, "process");
    assert_eq!(span.str(keys::DESTINATION_NAME), "amq.gen-x1");
    assert!(span.bool(keys::DESTINATION_ANONYMOUS));
}

#[test]
fn neither_payload_nor_headers_are_printed() {
    let mut delivery = Delivery::mock(7, short("e"), short("k"), false, b"secret".to_vec());
    let headers = table(&[("authorization", long("secret"))]);
    delivery.properties = BasicProperties::default().with_headers(headers);
    let printed = format!("{:?}", OtelMlDelivery::new(delivery));
    assert!(!printed.contains("secret"), "{printed}");
}

#[tokio::test]
async fn e08_one_that_was_never_processed_is_settled_below_its_sender() {
    let test = TestTelemetry::new();
    let delivery = delivered(table(&[("traceparent", long(SAMPLED))]), false);
    let delivery = delivery.telemetry(test.telemetry());
    assert!(delivery.ack(BasicAckOptions::default()).await.unwrap());
    assert!(!delivery.nack(BasicNackOptions::default()).await.unwrap());
    let spans = test.spans();
    assert_tree!(spans, { "ack jobs" });
    let sender = spans[0].parent().map(|id| id.to_string());
    assert_eq!(sender.as_deref(), Some("b7ad6b7169203331"));
    assert_eq!(
        spans[0].span_context.trace_id().to_string(),
        "0af7651916cd43dd8448eb211c80319c"
    );
}
