//! A broker that is killed with publishings under way, and comes back.

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use otel_ml_e2e::unique;
use otel_ml_lapin::{OtelMlProducer, lapin};
use otel_ml_testing::{Number, TestTelemetry, assert_ended_once};

use crate::broker::Broker;
use crate::{durable, recovering, short, soon};

const MESSAGES: usize = 20_000;
/// How many are under way at a time.
const WIDTH: usize = 1_000;
/// After so many answers the broker is killed.
const KILLED_AFTER: usize = 4_000;

/// What became of the messages.
#[derive(Debug, PartialEq)]
struct Fate {
    /// Publishings that came to an error, and were tried again.
    failed: usize,
    /// Messages that the broker confirmed and doesn't have.
    lost: usize,
    doubled: usize,
}

/// Kept on disk before it is confirmed.
fn persistent() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2)
}

/// Publishes all, kills the broker half-way, starts it again while publishing goes on, and reads
/// back what it has. A message is published until it is confirmed.
async fn fate<F>(
    mut broker: Broker,
    channel: &Channel,
    queue: &str,
    publish: impl Fn(String) -> F,
) -> (Broker, Fate)
where
    F: Future<Output = lapin::Result<Confirmation>>,
{
    let publish = &publish;
    let confirmed = stream::iter(0..MESSAGES).map(|number| async move {
        let payload = format!("payload-{number}");
        for failed in 0.. {
            match publish(payload.clone()).await {
                Ok(Confirmation::Ack(None)) => return (payload, failed),
                Ok(other) => unreachable!("{other:?} to {payload}"),
                Err(error) => channel.wait_for_recovery(error).await.unwrap(),
            }
        }
        unreachable!("it is tried again")
    });
    let mut confirmed = confirmed.buffer_unordered(WIDTH);
    let (mut stored, mut failed) = (Vec::new(), 0);
    for _ in 0..KILLED_AFTER {
        let (payload, errors) = soon(confirmed.next()).await.unwrap();
        assert_eq!(errors, 0);
        stored.push(payload);
    }
    broker.kill();
    let started = tokio::task::spawn_blocking(move || {
        broker.start();
        broker
    });
    while let Some((payload, errors)) = soon(confirmed.next()).await {
        stored.push(payload);
        failed += errors;
    }
    drop(confirmed);
    let broker = started.await.unwrap();
    assert_eq!(stored.len(), MESSAGES);
    let found = read_back(&broker, queue).await;
    let is_lost = |payload: &&String| !found.contains_key(*payload);
    let fate = Fate {
        failed,
        lost: stored.iter().filter(is_lost).count(),
        doubled: found.values().filter(|count| **count > 1).count(),
    };
    (broker, fate)
}

/// Over a connection of its own, without anything of ours: how often each payload is there.
async fn read_back(broker: &Broker, queue: &str) -> HashMap<String, usize> {
    let url = broker.url();
    let connecting = Connection::connect(&url, ConnectionProperties::default());
    let connection = soon(connecting).await.unwrap();
    let channel = soon(connection.create_channel()).await.unwrap();
    let options = QueueDeclareOptions::durable();
    let declaring = channel.queue_declare(short(queue), options, FieldTable::default());
    let count = soon(declaring).await.unwrap().message_count();
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let consuming = channel.basic_consume(short(queue), short(""), options, FieldTable::default());
    let mut messages = soon(consuming).await.unwrap();
    let mut found = HashMap::new();
    for _ in 0..count {
        let delivery = soon(messages.next()).await.unwrap().unwrap();
        let payload = String::from_utf8(delivery.data).unwrap();
        *found.entry(payload).or_default() += 1;
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e11_a_broker_that_is_killed_costs_no_confirmed_message_and_no_span() {
    let broker = Broker::started();
    let (connection, bare) = recovering(&broker.url()).await;
    let queue = unique("bare");
    durable(&bare, &queue).await;
    let control = fate(broker, &bare, &queue, |payload| {
        let (bare, queue) = (bare.clone(), short(&queue));
        async move {
            let (options, payload) = (BasicPublishOptions::default(), payload.as_bytes());
            let publishing = bare.basic_publish(short(""), queue, options, payload, persistent());
            publishing.await?.await
        }
    });
    let (broker, control) = control.await;
    soon(connection.close(200, short("done"))).await.unwrap();

    let test = TestTelemetry::new();
    let (connection, channel) = recovering(&broker.url()).await;
    let queue = unique("wrapped");
    durable(&channel, &queue).await;
    let builder = OtelMlProducer::builder().telemetry(test.telemetry());
    let wrapped = builder.wrap(channel.clone());
    let ours = fate(broker, &channel, &queue, |payload| {
        let (wrapped, queue) = (wrapped.clone(), short(&queue));
        async move {
            let (options, payload) = (BasicPublishOptions::default(), payload.as_bytes());
            let publishing =
                wrapped.basic_publish(short(""), queue, options, payload, persistent());
            publishing.await?.await
        }
    });
    let (broker, ours) = ours.await;
    soon(connection.close(200, short("done"))).await.unwrap();
    drop(broker);
    println!("bare: {control:?}, wrapped: {ours:?}");
    assert_eq!((control.lost, ours.lost), (0, 0));
    // That the broker went while publishings were under way.
    assert!(control.failed > 0 && ours.failed > 0);
    // What had failed and was there all the same was under way when the broker went.
    assert!(ours.doubled <= WIDTH, "{ours:?}");
    let attempts = MESSAGES + ours.failed;
    let spans = test.spans();
    assert_eq!(spans.len(), attempts);
    assert_eq!(test.open_spans(), [""; 0]);
    assert_ended_once(&spans);
    let failed = spans
        .iter()
        .filter(|span| otel_ml_testing::SpanExt::is_error(*span));
    assert_eq!(failed.count(), ours.failed);
    let metrics = test.metrics();
    let sent = metrics.sum("messaging.client.sent.messages");
    let sent = sent.points().iter().map(|point| match point.value() {
        Number::Int(count) => count,
        other => unreachable!("{other:?} is no count"),
    });
    assert_eq!(sent.sum::<i64>(), i64::try_from(attempts).unwrap());
}
