//! Groups: members that come, fail and dawdle.

use otel_ml_rdkafka::rdkafka::ClientConfig;
use otel_ml_rdkafka::rdkafka::consumer::{CommitMode, Consumer as _};
use otel_ml_rdkafka::rdkafka::error::{KafkaError, RDKafkaErrorCode};
use otel_ml_rdkafka::rdkafka::message::Message as _;
use otel_ml_rdkafka::rdkafka::producer::{FutureProducer, FutureRecord};
use otel_ml_rdkafka::{OtelMlConsumer, OtelMlProducer};
use otel_ml_testing::{SpanExt as _, TestTelemetry, assert_ended_once};

use crate::{LONG, config, member, soon, unique};

#[derive(Debug)]
struct Poison;

fn consumer(test: &TestTelemetry, config: &ClientConfig, topic: &str) -> OtelMlConsumer {
    let builder = OtelMlConsumer::builder().telemetry(test.telemetry());
    let consumer: OtelMlConsumer = builder.create(config).unwrap();
    consumer.subscribe(&[topic]).unwrap();
    consumer
}

/// Messages `0`, `1`, …, in a partition each, or round about.
async fn sent(test: &TestTelemetry, topic: &str, partitions: &[i32]) {
    let builder = OtelMlProducer::builder().telemetry(test.telemetry());
    let producer: OtelMlProducer = builder.create(&config()).unwrap();
    for (number, partition) in partitions.iter().enumerate() {
        let payload = number.to_string();
        let record: FutureRecord<'_, str, str> = FutureRecord::to(topic).payload(&payload);
        let stored = soon(producer.send(record.partition(*partition), LONG)).await;
        stored.map_err(|(error, _)| error).unwrap();
    }
    test.reset();
}

/// All that began has ended, once, and those that failed are these.
fn assert_whole(test: &TestTelemetry, processed: usize, failed: &[&str]) {
    assert_eq!(test.open_spans(), [""; 0]);
    let spans = test.spans();
    assert_ended_once(&spans);
    let process: Vec<_> = spans
        .iter()
        .filter(|span| span.name.starts_with("process "))
        .collect();
    assert_eq!(process.len(), processed);
    assert!(
        process
            .iter()
            .all(|span| span.parent().is_some() && span.links.len() == 1)
    );
    let mut classes: Vec<_> = process
        .iter()
        .filter(|span| span.is_error())
        .map(|span| span.str("error.type"))
        .collect();
    classes.sort_unstable();
    assert_eq!(classes, failed);
}

/// The second member joins while the first is in its handler, and takes its share.
#[tokio::test]
async fn a_rebalance_in_mid_handler_leaks_no_span() {
    let test = TestTelemetry::new();
    let (topic, group) = (unique("rebalance"), unique("group"));
    sent(&test, &topic, &[0, 1, 2]).await;
    let first = consumer(&test, &member(&group), &topic);
    let received = soon(first.recv()).await.unwrap();
    let second = consumer(&test, &member(&group), &topic);
    let handled = received.process(async |_| {
        // The members must be asked for messages to agree on who has which.
        let other = tokio::select! {
            other = soon(second.recv()) => other.unwrap(),
            () = async { loop { drop(first.recv().await); } } => unreachable!(),
        };
        other.process(async |_| Ok::<_, Poison>(())).await
    });
    handled.await.unwrap();
    let mine = first.assignment().unwrap().count() + second.assignment().unwrap().count();
    assert!(mine <= 3, "a partition has one owner");
    assert_eq!(test.open_spans(), [""; 0]);
    let spans = test.spans();
    assert_ended_once(&spans);
    assert_eq!(spans.len(), 2);
}

/// It is handed out again, to whoever comes next, until somebody commits it.
#[tokio::test]
async fn e15_a_poison_message_and_a_panic_are_told_each_time_and_block_nobody() {
    let test = TestTelemetry::new();
    let (topic, group) = (unique("poison"), unique("group"));
    sent(&test, &topic, &[0, 0]).await;
    for _ in 0..2 {
        let member = consumer(&test, &member(&group), &topic);
        let poison = soon(member.recv()).await.unwrap();
        assert_eq!(poison.payload(), Some(b"0".as_slice()));
        poison
            .process(async |_| Err::<(), _>(Poison))
            .await
            .unwrap_err();
    }
    let last = consumer(&test, &member(&group), &topic);
    let poison = soon(last.recv()).await.unwrap();
    let handled = poison.process(async |_| -> Result<(), Poison> { std::panic::panic_any(()) });
    let handled = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(handled));
    handled.await.unwrap_err();
    last.commit_message(&poison, CommitMode::Sync).unwrap();
    let next = soon(last.recv()).await.unwrap();
    assert_eq!(next.payload(), Some(b"1".as_slice()));
    next.process(async |_| Ok::<_, Poison>(())).await.unwrap();
    assert_whole(&test, 4, &["Poison", "Poison", "panic"]);
}

/// The group gives up on it, and another member is handed the message; both are told.
#[tokio::test]
async fn e12_a_handler_that_is_too_slow_loses_its_message_and_ends_its_span() {
    let test = TestTelemetry::new();
    let (topic, group) = (unique("slow"), unique("group"));
    sent(&test, &topic, &[0]).await;
    let mut slow = member(&group);
    slow.set("max.poll.interval.ms", "6000");
    let first = consumer(&test, &slow, &topic);
    let received = soon(first.recv()).await.unwrap();
    let second = consumer(&test, &member(&group), &topic);
    let handled = received.process(async |_| {
        let again = soon(second.recv()).await.unwrap();
        assert_eq!(again.payload(), Some(b"0".as_slice()));
        again
            .process(async |message| second.commit_message(message, CommitMode::Sync))
            .await
    });
    handled.await.unwrap();
    let exceeded = soon(first.recv()).await.unwrap_err();
    let code = exceeded.rdkafka_error_code();
    assert_eq!(code, Some(RDKafkaErrorCode::PollExceeded));
    let late = first
        .commit_message(&received, CommitMode::Sync)
        .unwrap_err();
    assert!(matches!(late, KafkaError::ConsumerCommit(_)));
    let spans = test.spans();
    let failed: Vec<_> = spans.iter().filter(|span| span.is_error()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].name, format!("commit {topic}"));
    assert!(failed[0].has("error.type"));
    assert_whole(&test, 2, &[]);
}

/// A bare producer's message has no sender: it starts a trace.
#[tokio::test]
async fn a_message_of_an_untraced_producer_starts_a_trace() {
    let test = TestTelemetry::new();
    let (topic, group) = (unique("untraced"), unique("group"));
    let producer: FutureProducer = config().create().unwrap();
    let record: FutureRecord<'_, str, str> = FutureRecord::to(&topic).payload("a");
    soon(producer.send(record, LONG))
        .await
        .map_err(|(error, _)| error)
        .unwrap();
    let member = consumer(&test, &member(&group), &topic);
    let received = soon(member.recv()).await.unwrap();
    received
        .process(async |_| Ok::<_, Poison>(()))
        .await
        .unwrap();
    let spans = test.spans();
    assert_eq!(spans.len(), 1);
    assert!(spans[0].parent().is_none() && spans[0].links.is_empty());
    assert_eq!(spans[0].str("messaging.consumer.group.name"), group);
}
