//! E02, E07, E13, E15, E27: one message at a time.

use std::time::Duration;

use futures_util::StreamExt as _;
use otel_ml::opentelemetry::baggage::BaggageExt as _;
use otel_ml::opentelemetry::trace::{SpanKind, TraceContextExt as _};
use otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml::semconv::{error, kafka, messaging as keys, ml};
use otel_ml::{MlSpan, OtelMlConsumerLayer, stage};
use otel_ml_rdkafka::{OtelMlConsumer, Record, otel_ml};
use otel_ml_testing::{
    SpanExt as _, SpansExt as _, TestTelemetry, assert_tree, assert_types, span,
};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use crate::support::rdkafka::error::KafkaError;
use crate::support::rdkafka::message::{BorrowedMessage, Message as _, OwnedMessage};
use crate::support::{Broker, SAMPLED, assign, owned, pair, record, recv, send, soon, telemetry};

#[derive(Debug)]
struct Poison;

#[tokio::test]
async fn e07_a_message_is_processed_below_its_sender_and_linked_to_it() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    send(&broker.producer(&test), record(&topic)).await.unwrap();
    let consumer = broker.consumer(&test, &topic);
    // As users have it: in a task that may move from thread to thread.
    let task = tokio::spawn(async move {
        let received = recv(&consumer).await;
        let length = received.process(async |message: &BorrowedMessage<'_>| {
            tokio::task::yield_now().await;
            MlSpan::current().model("fraud");
            stage("score")
                .run(async { Ok::<_, Poison>(message.payload_len()) })
                .await
        });
        length.await.unwrap()
    });
    assert_eq!(task.await.unwrap(), 7);
    let spans = test.spans();
    let sent = spans.named(&format!("send {topic}")).span_context.clone();
    let process = span(format!("process {topic}"))
        .kind(SpanKind::Consumer)
        .unset()
        .links([&sent])
        .child(span("score"));
    let expected = span(format!("send {topic}"))
        .kind(SpanKind::Producer)
        .child(process);
    otel_ml_testing::assert_tree(&spans, vec![expected]);
    assert_types(&spans);
    let processed = spans.named(&format!("process {topic}"));
    for (key, value) in [
        (keys::SYSTEM_NAME, "kafka"),
        (keys::OPERATION_NAME, "process"),
        (keys::OPERATION_TYPE, "process"),
        (keys::DESTINATION_NAME, topic.as_str()),
        (keys::DESTINATION_PARTITION_ID, "0"),
        (keys::CONSUMER_GROUP_NAME, "group-1"),
        (keys::CLIENT_ID, "client-1"),
        (ml::MODEL_NAME, "fraud"),
    ] {
        assert_eq!(processed.str(key), value, "{key}");
    }
    assert_eq!(processed.int(kafka::OFFSET), 0);
    assert!(!processed.has(kafka::MESSAGE_KEY) && !processed.has(keys::BATCH_MESSAGE_COUNT));
    assert_eq!(
        test.metrics()
            .histogram("messaging.process.duration")
            .one()
            .count(),
        1
    );
    assert_eq!(
        test.metrics()
            .sum("messaging.client.consumed.messages")
            .int(),
        1
    );
    // From the time at which the producer created it.
    let waited = processed.double(ml::QUEUE_WAIT_DURATION);
    assert!(waited >= 0.0 && waited < crate::support::LONG.as_secs_f64());
    let waits = test.metrics();
    assert_eq!(waits.histogram("ml.queue.wait.duration").one().count(), 1);
}

#[tokio::test]
async fn e07_inside_a_span_a_message_is_linked_and_brings_its_baggage() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let with_baggage = Context::new().with_baggage([KeyValue::new("user.tier", "pro")]);
    let producer = broker.producer(&test);
    let sending = send(&producer, record(&topic));
    otel_ml::opentelemetry::context::FutureExt::with_context(sending, with_baggage)
        .await
        .unwrap();
    let consumer = broker.consumer(&test, &topic);
    let received = recv(&consumer).await;
    let around = stage("around").telemetry(&telemetry(&test));
    let tier = around.run(received.process(async |_| {
        Ok::<_, Poison>(
            Context::current()
                .baggage()
                .get("user.tier")
                .map(ToString::to_string),
        )
    }));
    assert_eq!(tier.await.unwrap().as_deref(), Some("pro"));
    let spans = test.spans();
    let sent = spans.named(&format!("send {topic}")).span_context.clone();
    let process = span(format!("process {topic}")).links([&sent]);
    otel_ml_testing::assert_tree(
        &spans,
        vec![span(format!("send {topic}")), span("around").child(process)],
    );
}

#[tokio::test]
async fn e15_every_way_a_handler_ends() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let producer = broker.producer(&test);
    for _ in 0..4 {
        send(&producer, record(&topic)).await.unwrap();
    }
    let consumer = broker.consumer(&test, &topic);
    test.reset();
    let only = || {
        assert_eq!(test.open_spans(), [""; 0]);
        let spans = test.take_spans();
        assert_eq!(spans.len(), 1);
        spans[0].clone()
    };
    let poison = recv(&consumer).await;
    poison
        .process(async |_| Err::<(), _>(Poison))
        .await
        .unwrap_err();
    assert_eq!(only().str(error::TYPE), "Poison");
    let class = poison
        .process(async |_| Err::<(), _>(KafkaError::Canceled))
        .await;
    class.unwrap_err();
    assert_eq!(only().str(error::TYPE), "Canceled");
    let panicking = recv(&consumer).await;
    let handled =
        panicking.process(async |_| -> Result<(), Poison> { std::panic::panic_any("on purpose") });
    let handled = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(handled));
    assert_eq!(
        handled.await.unwrap_err().downcast_ref(),
        Some(&"on purpose")
    );
    assert_eq!(only().str(error::TYPE), "panic");
    let slow = recv(&consumer).await;
    let handled = slow.process(async |_| std::future::pending::<Result<(), Poison>>().await);
    tokio::time::timeout(Duration::from_millis(1), handled)
        .await
        .unwrap_err();
    let span = only();
    assert_eq!(span.str(error::TYPE), "cancelled");
    assert_eq!(span.str(ml::CANCEL_REASON), "dropped");
    let unpolled = recv(&consumer).await;
    drop(unpolled.process(async |_| Ok::<_, Poison>(())));
    assert!(test.spans().is_empty());
    let metrics = test.metrics();
    let durations = metrics.histogram("messaging.process.duration");
    assert_eq!(
        durations
            .points()
            .iter()
            .map(|point| point.count())
            .sum::<u64>(),
        4
    );
}

#[tokio::test]
async fn e13_e27_a_loop_never_inherits_the_message_before() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let bare = broker
        .config()
        .create::<crate::support::rdkafka::producer::FutureProducer>()
        .unwrap();
    for headers in [vec![pair("traceparent", SAMPLED)], vec![]] {
        let record = record(&topic).headers(owned(&headers));
        soon(bare.send(record, crate::support::LONG)).await.unwrap();
    }
    let consumer = broker.consumer(&test, &topic);
    let mut stream = Box::pin(consumer.stream());
    let first = soon(stream.next()).await.unwrap().unwrap();
    // Given up half-way, with the stream.
    let handled = first.process(async |_| std::future::pending::<Result<(), Poison>>().await);
    tokio::time::timeout(Duration::from_millis(1), handled)
        .await
        .unwrap_err();
    drop(stream);
    let second = recv(&consumer).await;
    assert!(!Context::current().span().span_context().is_valid());
    assert!(!second.sender().span().span_context().is_valid());
    second.process(async |_| Ok::<_, Poison>(())).await.unwrap();
    let spans = test.spans();
    assert_eq!(
        spans[0].span_context.trace_id().to_string(),
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_ne!(
        spans[1].span_context.trace_id(),
        spans[0].span_context.trace_id()
    );
    assert_eq!(spans[1].parent(), None);
    assert!(spans[1].links.is_empty());
}

#[tokio::test]
async fn the_layer_processes_a_copy_that_outlives_the_consumer() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    send(&broker.producer(&test), record(&topic).key("user-7"))
        .await
        .unwrap();
    let consumer = broker.consumer(&test, &topic);
    let record = recv(&consumer).await.detach_record().message_keys(true);
    drop(consumer);
    let service = ServiceBuilder::new()
        .layer(
            OtelMlConsumerLayer::builder()
                .telemetry(telemetry(&test))
                .build(),
        )
        .map_request(Record::into_inner)
        .service(service_fn(async |message: OwnedMessage| {
            Ok::<_, Poison>(message.payload().map_or(0, <[u8]>::len))
        }));
    assert_eq!(service.oneshot(record).await.unwrap(), 7);
    let spans = test.spans();
    assert_tree!(spans, { (format!("send {topic}")) => [(format!("process {topic}"))] });
    let processed = spans.named(&format!("process {topic}"));
    assert_eq!(processed.str(kafka::MESSAGE_KEY), "user-7");
    assert_eq!(processed.str(keys::CONSUMER_GROUP_NAME), "group-1");
}

#[tokio::test]
async fn a_partition_queues_messages_are_traced_too() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let builder = OtelMlConsumer::builder().telemetry(telemetry(&test));
    let consumer: OtelMlConsumer = builder.create(&broker.consumer_config("group-1")).unwrap();
    assign(&consumer, &topic, 1);
    let queue = consumer.get_ref().split_partition_queue(&topic, 0).unwrap();
    send(&broker.producer(&test), record(&topic)).await.unwrap();
    let message = tokio::select! {
        message = soon(queue.recv()) => message.unwrap(),
        _ = consumer.recv() => panic!("not by the main queue"),
    };
    let received = consumer.received(message);
    received
        .process(async |_| Ok::<_, Poison>(()))
        .await
        .unwrap();
    assert_tree!(test.spans(), { (format!("send {topic}")) => [(format!("process {topic}"))] });
}
