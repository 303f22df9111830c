//! E02, E07, E13, E27: whose child a message's processing is.

use otel_ml::opentelemetry::baggage::BaggageExt as _;
use otel_ml::opentelemetry::context::FutureExt as _;
use otel_ml::opentelemetry::trace::{SpanKind, TraceContextExt as _};
use otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml::semconv::{messaging as keys, ml, rabbitmq};
use otel_ml::{MlSpan, stage};
use otel_ml_lapin::lapin::types::{AMQPValue, FieldTable};
use otel_ml_lapin::{OtelMlDelivery, otel_ml};
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_types, span};

use crate::support::{
    ACK, Broker, LONG, MODES, Mode, SAMPLED, consumer, long, next, producer, publish, publish_bare,
    table, telemetry,
};

#[derive(Debug)]
struct Poison;

#[tokio::test]
async fn e07_a_message_is_processed_below_its_sender_and_linked_to_it() {
    let broker = Broker::new().await;
    for mode in MODES {
        let test = TestTelemetry::new();
        let channel = broker.channel(mode).await;
        let queue = broker.queue(&channel, FieldTable::default()).await;
        publish(&producer(&test, &channel), &queue).await;
        let mut consumer = consumer(&test, &channel, &queue).await;
        // As users have it: in a task that may move from thread to thread.
        let task = tokio::spawn(async move {
            let received = next(&mut consumer).await;
            let length = received.process(async |delivery: &OtelMlDelivery| {
                tokio::task::yield_now().await;
                MlSpan::current().model("fraud");
                let length = delivery.data.len();
                let scored = stage("score").run(async { Ok::<_, Poison>(length) }).await;
                delivery.ack(ACK).await.unwrap();
                scored
            });
            length.await.unwrap()
        });
        assert_eq!(task.await.unwrap(), 7);
        let spans = test.spans();
        assert_types(&spans);
        let sent = spans
            .named(&format!("publish {queue}"))
            .span_context
            .clone();
        let process = span(format!("process {queue}"))
            .kind(SpanKind::Consumer)
            .unset()
            .links([&sent])
            .child(span("score"))
            .child(span(format!("ack {queue}")).kind(SpanKind::Client).unset());
        let expected = span(format!("publish {queue}"))
            .kind(SpanKind::Producer)
            .child(process);
        otel_ml_testing::assert_tree(&spans, vec![expected]);
        let processed = spans.named(&format!("process {queue}"));
        for (key, value) in [
            (keys::SYSTEM_NAME, "rabbitmq"),
            (keys::OPERATION_NAME, "process"),
            (keys::OPERATION_TYPE, "process"),
            (keys::DESTINATION_NAME, queue.as_str()),
            (rabbitmq::DESTINATION_ROUTING_KEY, queue.as_str()),
            (ml::MODEL_NAME, "fraud"),
        ] {
            assert_eq!(processed.str(key), value, "{key}");
        }
        assert_eq!(processed.int(rabbitmq::MESSAGE_DELIVERY_TAG), 1);
        for absent in [
            keys::BATCH_MESSAGE_COUNT,
            ml::MESSAGE_ATTEMPT,
            ml::MESSAGE_DEAD_LETTER_COUNT,
        ] {
            assert!(!processed.has(absent), "{absent}");
        }
        let metrics = test.metrics();
        assert_eq!(
            metrics
                .histogram("messaging.process.duration")
                .one()
                .count(),
            1
        );
        assert_eq!(metrics.sum("messaging.client.consumed.messages").int(), 1);
    }
}

#[tokio::test]
async fn e07_inside_a_span_a_message_is_linked_and_brings_its_baggage() {
    for mode in MODES {
        let test = TestTelemetry::new();
        let broker = Broker::new().await;
        let channel = broker.channel(mode).await;
        let queue = broker.queue(&channel, FieldTable::default()).await;
        let with_baggage = Context::new().with_baggage([KeyValue::new("user.tier", "pro")]);
        let producer = producer(&test, &channel);
        publish(&producer, &queue).with_context(with_baggage).await;
        let mut consumer = consumer(&test, &channel, &queue).await;
        let received = next(&mut consumer).await;
        let around = stage("around").telemetry(&telemetry(&test));
        let tier = around.run(received.process(async |_| {
            let cx = Context::current();
            Ok::<_, Poison>(cx.baggage().get("user.tier").map(ToString::to_string))
        }));
        assert_eq!(tier.await.unwrap().as_deref(), Some("pro"));
        let spans = test.spans();
        let sent = spans
            .named(&format!("publish {queue}"))
            .span_context
            .clone();
        let process = span(format!("process {queue}")).links([&sent]);
        let expected = vec![
            span(format!("publish {queue}")),
            span("around").child(process),
        ];
        otel_ml_testing::assert_tree(&spans, expected);
    }
}

#[tokio::test]
async fn e13_e27_a_loop_never_inherits_the_message_before() {
    for mode in MODES {
        let test = TestTelemetry::new();
        let broker = Broker::new().await;
        let channel = broker.channel(mode).await;
        let queue = broker.queue(&channel, FieldTable::default()).await;
        publish_bare(&channel, &queue, table(&[("traceparent", long(SAMPLED))])).await;
        publish_bare(&channel, &queue, FieldTable::default()).await;
        let mut messages = consumer(&test, &channel, &queue).await;
        let first = next(&mut messages).await;
        // Given up half-way, and the stream with it, which was cloned before.
        let mut rest = messages.clone();
        let handled = first.process(async |_| std::future::pending::<Result<(), Poison>>().await);
        tokio::time::timeout(std::time::Duration::from_millis(1), handled)
            .await
            .unwrap_err();
        drop(messages);
        let second = next(&mut rest).await;
        assert!(!Context::current().span().span_context().is_valid());
        assert!(!second.sender().span().span_context().is_valid());
        second.process(async |_| Ok::<_, Poison>(())).await.unwrap();
        let spans = test.spans();
        let first_trace = spans[0].span_context.trace_id();
        assert_eq!(first_trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(spans[0].str(ml::CANCEL_REASON), "dropped");
        assert_ne!(spans[1].span_context.trace_id(), first_trace);
        assert_eq!(spans[1].parent(), None);
        assert!(spans[1].links.is_empty());
    }
}

#[tokio::test]
async fn e02_values_of_every_type_are_read_or_absent() {
    for mode in MODES {
        let test = TestTelemetry::new();
        let broker = Broker::new().await;
        let channel = broker.channel(mode).await;
        let queue = broker.queue(&channel, FieldTable::default()).await;
        let readable = [
            long(SAMPLED),
            AMQPValue::ByteArray(SAMPLED.as_bytes().into()),
        ];
        let rubbish = [
            AMQPValue::Void,
            AMQPValue::Boolean(true),
            AMQPValue::LongLongInt(-1),
            AMQPValue::Timestamp(u64::MAX),
            AMQPValue::LongString(vec![0xff, 0xfe].into()),
            long(&"0".repeat(70_000)),
            AMQPValue::FieldArray(vec![long(SAMPLED)].into()),
            AMQPValue::FieldTable(table(&[("traceparent", long(SAMPLED))])),
        ];
        let mut consumer = consumer(&test, &channel, &queue).await;
        for (value, is_read) in readable
            .into_iter()
            .map(|value| (value, true))
            .chain(rubbish.into_iter().map(|value| (value, false)))
        {
            publish_bare(&channel, &queue, table(&[("traceparent", value.clone())])).await;
            let received = next(&mut consumer).await;
            received
                .process(async |_| Ok::<_, Poison>(()))
                .await
                .unwrap();
            let [span] = test.take_spans().try_into().unwrap();
            assert_eq!(span.parent().is_some(), is_read, "{value:?}");
        }
    }
}

#[tokio::test]
async fn the_queue_wait_counts_from_the_header_or_the_timestamp_and_is_never_negative() {
    use std::time::{SystemTime, UNIX_EPOCH};
    let test = TestTelemetry::new();
    let broker = Broker::new().await;
    let channel = broker.channel(Mode::Confirm).await;
    let queue = broker.queue(&channel, FieldTable::default()).await;
    let mut consumer = consumer(&test, &channel, &queue).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let waits = async |consumer: &mut _| {
        let received = next(consumer).await;
        received
            .process(async |_| Ok::<_, Poison>(()))
            .await
            .unwrap();
        let span = test.take_spans().pop().unwrap();
        span.has(ml::QUEUE_WAIT_DURATION)
            .then(|| span.double(ml::QUEUE_WAIT_DURATION))
    };
    // Neither.
    publish_bare(&channel, &queue, FieldTable::default()).await;
    assert_eq!(waits(&mut consumer).await, None);
    // The property, in whole seconds; of the future, too.
    for (seconds, least, most) in [
        (now.as_secs() - 100, 99.0, 100.0 + LONG.as_secs_f64()),
        (now.as_secs() + 1_000, 0.0, 0.0),
        (u64::MAX, 0.0, 0.0),
    ] {
        let properties = otel_ml_lapin::lapin::BasicProperties::default().with_timestamp(seconds);
        let other = TestTelemetry::new();
        crate::support::publish_with(&producer(&other, &channel), &queue, properties).await;
        let waited = waits(&mut consumer).await;
        if seconds < u64::MAX {
            let waited = waited.unwrap();
            assert!((least..=most).contains(&waited), "{waited}");
        }
    }
    // The header, which is later than the property.
    let other = TestTelemetry::new();
    let builder = otel_ml_lapin::OtelMlProducer::builder()
        .telemetry(telemetry(&other))
        .send_time(true);
    let properties =
        otel_ml_lapin::lapin::BasicProperties::default().with_timestamp(now.as_secs() - 100);
    crate::support::publish_with(&builder.wrap(channel.clone()), &queue, properties).await;
    let waited = waits(&mut consumer).await.unwrap();
    assert!((0.0..LONG.as_secs_f64()).contains(&waited), "{waited}");
    // Sent on without one, the old one is gone.
    let mut stale = table(&[("otel-ml-sent-at", long("1"))]);
    stale.insert(
        otel_ml_lapin::lapin::types::ShortString::try_new("app").unwrap(),
        long("x"),
    );
    let properties = otel_ml_lapin::lapin::BasicProperties::default().with_headers(stale);
    crate::support::publish_with(&producer(&other, &channel), &queue, properties).await;
    assert_eq!(waits(&mut consumer).await, None);
}
