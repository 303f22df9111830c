//! A broker that is killed with sends under way, and comes back.

use std::collections::HashMap;
use std::future::Future;
use std::process::Command;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use otel_ml_rdkafka::OtelMlProducer;
use otel_ml_rdkafka::rdkafka::ClientConfig;
use otel_ml_rdkafka::rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use otel_ml_testing::{Number, TestTelemetry, assert_ended_once};

use crate::broker::Broker;
use crate::unique;

const MESSAGES: usize = 20_000;
/// How many are under way at a time.
const WIDTH: usize = 1_000;
/// After so many answers the broker is killed.
const KILLED_AFTER: usize = 4_000;

/// What became of the messages.
#[derive(Debug, PartialEq)]
struct Fate {
    refused: usize,
    lost: usize,
    doubled: usize,
}

fn idempotent(broker: &Broker) -> ClientConfig {
    let mut config = broker.config();
    config
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "120000")
        .set("linger.ms", "1");
    config
}

/// Sends all, kills the broker half-way, starts it again while sending goes on, and reads back
/// what it has.
async fn fate<S, F>(
    mut broker: Broker,
    producer: &FutureProducer,
    topic: &str,
    send: S,
) -> (Broker, Fate)
where
    S: Fn(String) -> F,
    F: Future<Output = bool>,
{
    let payload = |number| format!("payload-{number}");
    let sends = stream::iter(1..MESSAGES).map(|number| {
        let payload = payload(number);
        async { (payload.clone(), send(payload).await) }
    });
    let mut sends = sends.buffer_unordered(WIDTH);
    let mut stored = Vec::new();
    let mut refused = 0;
    for _ in 0..KILLED_AFTER {
        let (payload, is_stored) = crate::soon(sends.next()).await.unwrap();
        assert!(is_stored);
        stored.push(payload);
    }
    // Begun when nobody answers any more, and so pending when the broker is killed.
    broker.pause();
    let mut pending = Box::pin(send(payload(0)));
    assert!((&mut pending).now_or_never().is_none());
    broker.kill();
    assert!(producer.in_flight_count() > 0, "no send is pending");
    let started = tokio::task::spawn_blocking(move || {
        broker.start();
        broker
    });
    while let Some((payload, is_stored)) = crate::soon(sends.next()).await {
        if is_stored {
            stored.push(payload);
        } else {
            refused += 1;
        }
    }
    drop(sends);
    if crate::soon(pending).await {
        stored.push(payload(0));
    } else {
        refused += 1;
    }
    let broker = started.await.unwrap();
    let found = read_back(&broker, topic);
    let fate = Fate {
        refused,
        lost: stored
            .iter()
            .filter(|payload| !found.contains_key(*payload))
            .count(),
        doubled: found.values().filter(|count| **count > 1).count(),
    };
    (broker, fate)
}

/// By a client that has nothing to do with ours: how often each payload is there.
fn read_back(broker: &Broker, topic: &str) -> HashMap<String, usize> {
    let output = Command::new("kcat")
        .args(["-b", &broker.bootstrap(), "-C", "-t", topic])
        .args(["-o", "beginning", "-e", "-q", "-f", "%s\n"])
        .output()
        .expect("kcat is there: ./scripts/test --only kafka");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut found = HashMap::new();
    for payload in text.lines() {
        *found.entry(payload.to_owned()).or_default() += 1;
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e11_a_broker_that_is_killed_costs_no_message_and_no_span() {
    let broker = Broker::started();
    let topic = unique("bare");
    let bare: FutureProducer = idempotent(&broker).create().unwrap();
    let control = fate(broker, &bare, &topic, |payload| {
        let (bare, topic) = (bare.clone(), topic.clone());
        async move {
            let record: FutureRecord<'_, str, str> = FutureRecord::to(&topic).payload(&payload);
            bare.send(record, crate::LONG).await.is_ok()
        }
    });
    let (broker, control) = control.await;

    let test = TestTelemetry::new();
    let topic = unique("wrapped");
    let builder = OtelMlProducer::builder().telemetry(test.telemetry());
    let wrapped: OtelMlProducer = builder.create(&idempotent(&broker)).unwrap();
    let ours = fate(broker, wrapped.get_ref(), &topic, |payload| {
        let (wrapped, topic) = (wrapped.clone(), topic.clone());
        async move {
            let record: FutureRecord<'_, str, str> = FutureRecord::to(&topic).payload(&payload);
            wrapped.send(record, crate::LONG).await.is_ok()
        }
    });
    let (_broker, ours) = ours.await;
    println!("bare: {control:?}, wrapped: {ours:?}");
    assert!(
        ours.refused <= control.refused,
        "{ours:?}, bare {control:?}"
    );
    assert!(ours.lost <= control.lost, "{ours:?}, bare {control:?}");
    assert!(
        ours.doubled <= control.doubled,
        "{ours:?}, bare {control:?}"
    );
    let spans = test.spans();
    assert_eq!(spans.len(), MESSAGES);
    assert_eq!(test.open_spans(), [""; 0]);
    assert_ended_once(&spans);
    let metrics = test.metrics();
    let sent = metrics.sum("messaging.client.sent.messages");
    let sent = sent.points().iter().map(|point| match point.value() {
        Number::Int(count) => count,
        other => unreachable!("{other:?} is no count"),
    });
    assert_eq!(sent.sum::<i64>(), i64::try_from(MESSAGES).unwrap());
}
