//! A consumer that is dropped with much in hand.

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::BasicProperties;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use otel_ml_e2e::unique;
use otel_ml_lapin::{OtelMlConsumer, lapin};
use otel_ml_testing::{SpanExt as _, TestTelemetry, assert_ended_once};

use crate::{durable, recovering, short, soon, url};

const MESSAGES: usize = 1_000;

#[derive(Debug)]
struct Poison;

/// What is open ends with its reason, and the broker has all of them back.
#[tokio::test]
async fn e09_a_consumer_dropped_with_1000_deliveries_in_hand_leaks_nothing() {
    let (_connection, channel) = recovering(&url()).await;
    let queue = unique("held");
    durable(&channel, &queue).await;
    for number in 0..MESSAGES {
        let (options, payload) = (BasicPublishOptions::default(), number.to_string());
        let properties = BasicProperties::default();
        let publishing = channel.basic_publish(
            short(""),
            short(&queue),
            options,
            payload.as_bytes(),
            properties,
        );
        soon(soon(publishing).await.unwrap()).await.unwrap();
    }
    let test = TestTelemetry::new();
    let (connection, consuming) = recovering(&url()).await;
    let options = BasicConsumeOptions::default();
    let consumer =
        consuming.basic_consume(short(&queue), short(""), options, FieldTable::default());
    let builder = OtelMlConsumer::builder().telemetry(test.telemetry());
    let mut consumer = builder.wrap(soon(consumer).await.unwrap());
    let mut received = Vec::new();
    for _ in 0..MESSAGES {
        received.push(soon(consumer.next()).await.unwrap().unwrap());
    }
    // Every second is being handled, each tenth of those has been acked in its handler.
    let mut handled: Vec<_> = received
        .iter()
        .step_by(2)
        .map(|received| {
            let handler = async |_: &_| std::future::pending::<Result<(), Poison>>().await;
            Box::pin(received.process(handler))
        })
        .collect();
    for handled in &mut handled {
        assert!(handled.now_or_never().is_none());
    }
    assert_eq!(test.open_spans().len(), MESSAGES / 2);
    drop(handled);
    drop(received);
    drop(consumer);
    assert_eq!(test.open_spans(), [""; 0]);
    let spans = test.spans();
    assert_eq!(spans.len(), MESSAGES / 2);
    assert_ended_once(&spans);
    for span in &spans {
        assert_eq!(span.str("error.type"), "cancelled");
        assert_eq!(span.str("ml.cancel.reason"), "dropped");
    }
    soon(connection.close(200, short("done"))).await.unwrap();

    // As without us: nothing was settled, all come again.
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let again = channel.basic_consume(short(&queue), short(""), options, FieldTable::default());
    let mut again = soon(again).await.unwrap();
    let mut payloads = Vec::new();
    for _ in 0..MESSAGES {
        let delivery = soon(again.next()).await.unwrap().unwrap();
        assert!(delivery.redelivered);
        payloads.push(
            String::from_utf8(delivery.data)
                .unwrap()
                .parse::<usize>()
                .unwrap(),
        );
    }
    payloads.sort_unstable();
    assert!(payloads.into_iter().eq(0..MESSAGES));
    let deleting = channel.queue_delete(short(&queue), QueueDeleteOptions::default());
    soon(deleting).await.unwrap();
}
