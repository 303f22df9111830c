//! E03, E05, E06: several messages at once.

use std::time::Duration;

use otel_ml::Attributes;
use otel_ml::opentelemetry::KeyValue;
use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml::semconv::{kafka, messaging as keys, ml};
use otel_ml_rdkafka::{Batch, OtelMlConsumer, Record, otel_ml};
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_types};

use crate::support::rdkafka::error::KafkaError;
use crate::support::rdkafka::message::{BorrowedMessage, Message as _};
use crate::support::rdkafka::util::DefaultRuntime;
use crate::support::{Broker, LONG, assign, record, send, telemetry};

#[derive(Debug)]
struct Poison;

fn consumer(broker: &Broker, test: &TestTelemetry, topic: &str, partitions: i32) -> OtelMlConsumer {
    let builder = OtelMlConsumer::builder().telemetry(telemetry(test));
    let consumer = builder.create(&broker.consumer_config("group-1")).unwrap();
    assign(&consumer, topic, partitions);
    consumer
}

/// Polls until a batch has that many: the first may come before the rest is fetched. What was
/// recorded of smaller ones is forgotten.
async fn batch_of<'a>(
    consumer: &'a OtelMlConsumer,
    test: &TestTelemetry,
    topic: &str,
    count: usize,
) -> Batch<'a> {
    loop {
        let batch = consumer.recv_batch(count, LONG).await.unwrap();
        if batch.len() == count {
            return batch;
        }
        test.reset();
        drop(batch);
        assign(consumer, topic, 2);
    }
}

/// Sends `counts` messages to each partition and forgets the spans of that.
async fn sent(broker: &Broker, test: &TestTelemetry, topic: &str, counts: [usize; 2]) {
    let producer = broker.producer(test);
    for (partition, count) in (0..).zip(counts) {
        let sends = (0..count).map(|_| send(&producer, record(topic).partition(partition)));
        for stored in futures_util::future::join_all(sends).await {
            stored.unwrap();
        }
    }
    test.reset();
}

#[tokio::test]
async fn e03_an_empty_poll_is_no_span_and_no_metric() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let consumer = broker.consumer(&test, &topic);
    for (max, wait) in [(10, Duration::from_millis(20)), (0, LONG)] {
        let batch = consumer.recv_batch(max, wait).await.unwrap();
        assert!(batch.is_empty());
        batch
            .process(async |none| {
                assert!(none.is_empty());
                Ok::<_, Poison>(())
            })
            .await
            .unwrap();
    }
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    assert_eq!(test.metrics().names(), [""; 0]);
}

#[tokio::test]
async fn e06_a_batch_is_one_poll_and_one_process_and_counted_once() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(2).await;
    sent(&broker, &test, &topic, [3, 0]).await;
    let consumer = consumer(&broker, &test, &topic, 2);
    let batch = batch_of(&consumer, &test, &topic, 3).await;
    let before = test
        .metrics()
        .sum("messaging.client.consumed.messages")
        .int();
    let length = batch.process(async |messages| {
        Ok::<_, Poison>(
            messages
                .iter()
                .map(|message| message.payload_len())
                .sum::<usize>(),
        )
    });
    assert_eq!(length.await.unwrap(), 21);
    let spans = test.spans();
    assert_types(&spans);
    assert_eq!(spans.len(), 2);
    for (name, kind) in [("poll", SpanKind::Client), ("process", SpanKind::Consumer)] {
        let span = spans.named(&format!("{name} {topic}"));
        assert_eq!(span.span_kind, kind);
        assert_eq!(span.parent(), None);
        assert_eq!(span.int(keys::BATCH_MESSAGE_COUNT), 3);
        assert_eq!(span.str(keys::DESTINATION_PARTITION_ID), "0");
        assert_eq!(span.str(keys::CLIENT_ID), "client-1");
        assert_eq!(span.str(keys::CONSUMER_GROUP_NAME), "group-1");
        assert!(!span.has(kafka::OFFSET));
        let offsets: Vec<_> = span
            .links
            .iter()
            .map(|link| link.attributes.clone())
            .collect();
        assert_eq!(
            offsets,
            [0, 1, 2].map(|offset| vec![KeyValue::new(kafka::OFFSET, offset)])
        );
    }
    // The poll has counted them.
    assert_eq!(
        test.metrics()
            .sum("messaging.client.consumed.messages")
            .int(),
        before
    );
    assert!(before >= 3);
    for received in batch {
        received
            .process(async |_| Ok::<_, Poison>(()))
            .await
            .unwrap();
    }
    assert_eq!(test.spans().all_named(&format!("process {topic}")).len(), 4);
    assert_eq!(
        test.metrics()
            .sum("messaging.client.consumed.messages")
            .int(),
        before
    );
}

#[tokio::test]
async fn e05_partitions_that_differ_are_on_the_links() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(2).await;
    sent(&broker, &test, &topic, [1, 1]).await;
    let consumer = consumer(&broker, &test, &topic, 2);
    let batch = batch_of(&consumer, &test, &topic, 2).await;
    batch.process(async |_| Ok::<_, Poison>(())).await.unwrap();
    for span in test.spans() {
        assert!(!span.has(keys::DESTINATION_PARTITION_ID), "{}", span.name);
        assert_eq!(span.str(keys::DESTINATION_NAME), topic);
        let mut partitions: Vec<_> = span
            .links
            .iter()
            .map(|link| {
                let is = |attribute: &&KeyValue| {
                    attribute.key.as_str() == keys::DESTINATION_PARTITION_ID
                };
                link.attributes.iter().find(is).unwrap().value.to_string()
            })
            .collect();
        partitions.sort();
        assert_eq!(partitions, ["0", "1"]);
    }
}

#[tokio::test]
async fn e05_links_beyond_the_cap_are_counted_and_each_record_may_have_its_span() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(2).await;
    sent(&broker, &test, &topic, [130, 0]).await;
    let consumer = consumer(&broker, &test, &topic, 2);
    let batch = batch_of(&consumer, &test, &topic, 130).await;
    batch.process(async |_| Ok::<_, Poison>(())).await.unwrap();
    for span in test.take_spans() {
        assert_eq!(span.links.len(), 128, "{}", span.name);
        assert_eq!(span.int(ml::LINKS_DROPPED), 2);
        assert_eq!(span.int(keys::BATCH_MESSAGE_COUNT), 130);
    }
    for received in batch {
        received
            .process(async |_| Ok::<_, Poison>(()))
            .await
            .unwrap();
    }
    let spans = test.spans();
    assert_eq!(spans.len(), 130);
    assert!(
        spans
            .iter()
            .all(|span| span.links.len() == 1 && span.parent().is_some())
    );
}

#[tokio::test]
async fn e05_hooks_are_asked_about_each_message_of_a_batch() {
    type Message<'a> = Record<BorrowedMessage<'a>>;
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(2).await;
    sent(&broker, &test, &topic, [3, 0]).await;
    let builder = OtelMlConsumer::builder()
        .telemetry(telemetry(&test))
        .filter(|message: &Message<'_>| message.offset() != 1)
        .span_name(|_: &Message<'_>| Some("score".into()))
        .attributes(|message: &Message<'_>, to: &mut Attributes| {
            to.push("app.same", true);
            to.push("app.double", 2 * message.offset());
        });
    let config = broker.consumer_config("group-1");
    let consumer: OtelMlConsumer<_, DefaultRuntime, _> = builder.create(&config).unwrap();
    assign(&consumer, &topic, 1);
    let batch = loop {
        let batch = consumer.recv_batch(3, LONG).await.unwrap();
        if batch.len() == 3 {
            break batch;
        }
        test.reset();
        assign(&consumer, &topic, 1);
    };
    batch.process(async |_| Ok::<_, Poison>(())).await.unwrap();
    let spans = test.spans();
    assert_eq!(spans.named(&format!("poll {topic}")).links.len(), 2);
    let processed = spans.named("score");
    assert!(processed.bool("app.same"));
    let attributes = processed.links.iter().map(|link| link.attributes.clone());
    let expected = [0, 2].map(|offset| {
        vec![
            KeyValue::new(kafka::OFFSET, offset),
            KeyValue::new("app.double", 2 * offset),
        ]
    });
    assert_eq!(attributes.collect::<Vec<_>>(), expected);
}

/// The poll began with the call: what it waited is in its duration.
#[tokio::test]
async fn a_poll_lasts_from_its_call_to_its_return() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let consumer = broker.consumer(&test, &topic);
    let producer = broker.producer(&TestTelemetry::new());
    let began = std::time::SystemTime::now();
    let polled = async { consumer.recv_batch(10, LONG).await.unwrap().len() };
    let sending = async {
        // The poll has begun: it is the first that is polled.
        let before = std::time::SystemTime::now();
        send(&producer, record(&topic)).await.unwrap();
        before
    };
    let (count, before_sending) = tokio::join!(polled, sending);
    assert_eq!(count, 1);
    let span = test.spans().named(&format!("poll {topic}")).clone();
    assert!(span.start_time >= began && span.start_time <= before_sending);
    let duration = test
        .metrics()
        .histogram("messaging.client.operation.duration")
        .one()
        .sum();
    let lasted = span.duration().as_secs_f64();
    assert!(duration > 0.0 && lasted > 0.0);
    // The two clocks agree on more than the making of a span takes.
    assert!((lasted - duration).abs() < lasted.max(duration));
}

/// What arrived before an error isn't lost with it.
#[tokio::test]
async fn an_error_behind_messages_is_told_by_the_next_call() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    sent(&broker, &test, &topic, [2, 0]).await;
    let mut config = broker.consumer_config("group-1");
    config.set("enable.partition.eof", "true");
    let builder = OtelMlConsumer::builder().telemetry(telemetry(&test));
    let consumer: OtelMlConsumer = builder.create(&config).unwrap();
    assign(&consumer, &topic, 1);
    let mut count = 0;
    let error = loop {
        match consumer.recv_batch(10, LONG).await {
            Ok(batch) => count += batch.len(),
            Err(error) => break error,
        }
    };
    assert_eq!((count, error), (2, KafkaError::PartitionEOF(0)));
}
