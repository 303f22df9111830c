//! Transactions pass through.

use otel_ml_rdkafka::rdkafka::consumer::Consumer as _;
use otel_ml_rdkafka::rdkafka::message::Message as _;
use otel_ml_rdkafka::rdkafka::producer::{FutureRecord, Producer as _};
use otel_ml_rdkafka::{OtelMlConsumer, OtelMlProducer};
use otel_ml_testing::{SpanExt as _, TestTelemetry, assert_ended_once};

use crate::{LONG, config, member, soon, unique};

#[tokio::test]
async fn an_aborted_transaction_is_not_read_and_its_sends_end_once() {
    let test = TestTelemetry::new();
    let topic = unique("transactions");
    let mut transactional = config();
    transactional.set("transactional.id", unique("transactional"));
    let builder = OtelMlProducer::builder().telemetry(test.telemetry());
    let producer: OtelMlProducer = builder.create(&transactional).unwrap();
    producer.init_transactions(LONG).unwrap();
    let record = |payload| {
        let record: FutureRecord<'_, str, str> = FutureRecord::to(&topic);
        record.partition(0).payload(payload)
    };

    producer.begin_transaction().unwrap();
    soon(producer.send(record("aborted"), LONG)).await.unwrap();
    let pending = producer
        .send_result(record("purged"))
        .map_err(|(error, _)| error)
        .unwrap();
    producer.abort_transaction(LONG).unwrap();
    let pending = soon(pending).await.unwrap();
    producer.begin_transaction().unwrap();
    soon(producer.send(record("committed"), LONG))
        .await
        .unwrap();
    producer.commit_transaction(LONG).unwrap();

    let spans = test.take_spans();
    assert_ended_once(&spans);
    assert_eq!(spans.len(), 3);
    assert_eq!(test.open_spans(), [""; 0]);
    // Aborting purges what has no answer yet; one that has is an aborted message all the same.
    let failed: Vec<_> = spans.iter().filter(|span| span.is_error()).collect();
    assert_eq!(failed.len(), usize::from(pending.is_err()));
    for span in failed {
        assert!(span.str("error.type").starts_with("Purge"), "{span:?}");
    }

    let builder = OtelMlConsumer::builder().telemetry(test.telemetry());
    let mut committed = member(&unique("group"));
    committed.set("isolation.level", "read_committed");
    let consumer: OtelMlConsumer = builder.create(&committed).unwrap();
    consumer.subscribe(&[&topic]).unwrap();
    let received = soon(consumer.recv()).await.unwrap();
    assert_eq!(received.payload(), Some(b"committed".as_slice()));
    received
        .process(async |_| Ok::<_, std::io::Error>(()))
        .await
        .unwrap();
    assert_eq!(test.spans().len(), 1);
}
