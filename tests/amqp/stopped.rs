//! A broker that is stopped while a message is handled, and started again.

use futures_util::StreamExt as _;
use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions};
use lapin::types::FieldTable;
use otel_ml_e2e::unique;
use otel_ml_lapin::{OtelMlConsumer, OtelMlProducer, Received, lapin};
use otel_ml_testing::{SpanExt as _, TestTelemetry, assert_ended_once};

use crate::broker::Broker;
use crate::{durable, recovering, short, soon};

/// The next message, past the errors that a lost connection is told by.
async fn next(consumer: &mut OtelMlConsumer, channel: &lapin::Channel) -> Received {
    loop {
        match soon(consumer.next()).await.expect("it goes on") {
            Ok(received) => return received,
            Err(error) => soon(channel.wait_for_recovery(error)).await.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e09_a_handler_outlives_its_connection_and_its_ack_fails() {
    let mut broker = Broker::started();
    let (connection, channel) = recovering(&broker.url()).await;
    let queue = unique("stopped");
    durable(&channel, &queue).await;
    let other = TestTelemetry::new();
    let builder = OtelMlProducer::builder().telemetry(other.telemetry());
    let producer = builder.wrap(channel.clone());
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default().with_delivery_mode(2);
    let publishing = producer.basic_publish(short(""), short(&queue), options, b"x", properties);
    soon(soon(publishing).await.unwrap()).await.unwrap();

    let test = TestTelemetry::new();
    let options = BasicConsumeOptions::default();
    let consuming = channel.basic_consume(short(&queue), short(""), options, FieldTable::default());
    let builder = OtelMlConsumer::builder().telemetry(test.telemetry());
    let mut consumer = builder.wrap(soon(consuming).await.unwrap());
    let first = next(&mut consumer, &channel).await;
    let handled = first.process(async |delivery| {
        tokio::task::spawn_blocking(move || {
            broker.stop();
            broker.start();
            broker
        })
        .await
        .map(|broker| (broker, delivery))
    });
    let (broker, delivery) = handled.await.unwrap();
    // By now the message is another delivery's.
    let again = next(&mut consumer, &channel).await;
    assert!(!delivery.ack(BasicAckOptions::default()).await.unwrap());
    let processed = again.process(async |delivery| {
        assert!(delivery.redelivered);
        delivery.ack(BasicAckOptions::default()).await
    });
    assert!(processed.await.unwrap());
    assert_eq!(test.open_spans(), [""; 0]);
    let spans = test.spans();
    assert_ended_once(&spans);
    let told: Vec<_> = spans
        .iter()
        .map(|span| {
            let operation = span.str("messaging.operation.name").to_owned();
            let error = span
                .has("error.type")
                .then(|| span.str("error.type").to_owned());
            (operation, error)
        })
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|(name, error)| (name.as_str(), error.as_deref()))
        .collect();
    let expected = [
        ("process", None),
        ("ack", Some("InvalidChannelState")),
        ("ack", None),
        ("process", None),
    ];
    assert_eq!(told, expected);
    // The failed ack is its processing's child though that is over, and the second attempt is
    // a trace of its own.
    assert_eq!(spans[1].parent(), Some(spans[0].span_context.span_id()));
    assert_eq!(spans[3].int("ml.message.attempt"), 2);
    assert_eq!(spans[3].parent(), None);
    assert_eq!(spans[3].links.len(), 1);
    // Or it would go on looking for its broker.
    soon(connection.close(200, short("done"))).await.unwrap();
    drop(broker);
}
