//! E12: commits.

use otel_ml::semconv::{error, kafka, messaging as keys, ml};
use otel_ml_rdkafka::otel_ml;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_tree};

use crate::support::rdkafka::consumer::{CommitMode, Consumer as _};
use crate::support::rdkafka::error::KafkaError;
use crate::support::rdkafka::message::Message as _;
use crate::support::rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use crate::support::rdkafka::{Offset, TopicPartitionList};
use crate::support::{Broker, LONG, record, recv, send};

#[tokio::test]
async fn a_commit_in_the_handler_is_its_child() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    send(&broker.producer(&test), record(&topic)).await.unwrap();
    let consumer = broker.consumer(&test, &topic);
    let received = recv(&consumer).await;
    test.reset();
    let handled =
        received.process(async |message| consumer.commit_message(message, CommitMode::Sync));
    handled.await.unwrap();
    let spans = test.spans();
    assert_tree!(spans, {
        (format!("process {topic}")) => [(format!("commit {topic}")) [client, unset]],
    });
    let commit = spans.named(&format!("commit {topic}"));
    for (key, value) in [
        (keys::OPERATION_NAME, "commit"),
        (keys::OPERATION_TYPE, "settle"),
        (keys::DESTINATION_PARTITION_ID, "0"),
        (keys::CONSUMER_GROUP_NAME, "group-1"),
    ] {
        assert_eq!(commit.str(key), value, "{key}");
    }
    assert_eq!(commit.int(kafka::OFFSET), received.offset());
    let committed = consumer.committed(LONG).unwrap();
    let offset = committed.find_partition(&topic, 0).unwrap().offset();
    assert_eq!(offset, Offset::Offset(received.offset() + 1));
}

#[tokio::test]
async fn commits_of_offsets_tell_what_they_are_of() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(2).await;
    let consumer = broker.consumer(&test, &topic);
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset(&topic, 0, Offset::Offset(5))
        .unwrap();
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
    offsets
        .add_partition_offset(&topic, 1, Offset::Offset(7))
        .unwrap();
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
    let spans = test.take_spans();
    let [one, two] = spans.as_slice() else {
        panic!("{} spans", spans.len())
    };
    assert_eq!(
        (one.name.as_ref(), one.int(kafka::OFFSET)),
        (format!("commit {topic}").as_str(), 4)
    );
    assert_eq!(two.name, one.name);
    assert!(!two.has(kafka::OFFSET) && !two.has(keys::DESTINATION_PARTITION_ID));
    offsets
        .add_partition_offset("other", 0, Offset::Offset(1))
        .unwrap();
    // Whatever comes of it: there is no such topic.
    let _ = consumer.commit(&offsets, CommitMode::Sync);
    assert_eq!(test.take_spans()[0].name, "commit");
}

#[tokio::test]
async fn e12_a_commit_that_fails_says_so_on_span_and_metric() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let consumer = broker.consumer(&test, &topic);
    // Nothing was received.
    let nothing = consumer
        .commit_consumer_state(CommitMode::Sync)
        .unwrap_err();
    assert!(matches!(nothing, KafkaError::ConsumerCommit(_)));
    let span = test.spans().named("commit").clone();
    assert!(span.is_error());
    assert_eq!(span.str(error::TYPE), "NoOffset");
    assert!(!span.bool(ml::ERROR_TRANSIENT));
    let durations = test.metrics();
    let point = durations
        .histogram("messaging.client.operation.duration")
        .one()
        .clone();
    let class = point
        .labels()
        .iter()
        .find(|label| label.key.as_str() == error::TYPE);
    assert_eq!(class.unwrap().value.to_string(), "NoOffset");
}

#[tokio::test]
async fn e12_a_commit_that_the_broker_refuses_fails() {
    let test = TestTelemetry::new();
    let broker = Broker::mock();
    let topic = broker.topic(1).await;
    send(&broker.producer(&TestTelemetry::new()), record(&topic))
        .await
        .unwrap();
    let consumer = broker.consumer(&test, &topic);
    let received = recv(&consumer).await;
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    broker
        .as_mock()
        .request_errors(RDKafkaApiKey::OffsetCommit, &[refusal]);
    consumer
        .commit_message(&received, CommitMode::Sync)
        .unwrap_err();
    let span = test.spans().named(&format!("commit {topic}")).clone();
    assert_eq!(span.str(error::TYPE), "GroupAuthorizationFailed");
    // The next one is fine, and ends where it is queued.
    test.reset();
    consumer
        .commit_message(&received, CommitMode::Async)
        .unwrap();
    assert!(!test.spans().named(&format!("commit {topic}")).is_error());
}
