//! A Kafka message sent and awaited by a producer, and received and processed by a consumer, with a
//! broker inside the process: what it and librdkafka's threads do is not counted, and what is
//! done on the calling thread the bare clients do, too.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use otel_ml_rdkafka::carrier::HeadersInjector;
use otel_ml_rdkafka::otel_ml::Telemetry;
use otel_ml_rdkafka::rdkafka::config::FromClientConfig;
use otel_ml_rdkafka::rdkafka::consumer::{Consumer as _, StreamConsumer};
use otel_ml_rdkafka::rdkafka::message::{Message as _, OwnedHeaders};
use otel_ml_rdkafka::rdkafka::mocking::MockCluster;
use otel_ml_rdkafka::rdkafka::producer::{
    DefaultProducerContext, FutureProducer, FutureRecord, Producer as _,
};
use otel_ml_rdkafka::rdkafka::{ClientConfig, Offset, TopicPartitionList};
use otel_ml_rdkafka::{OtelMlConsumer, OtelMlProducer};

use super::kafka_inject::{caller, headers};
use super::{Iterate, Row, Suite};
use crate::condition::Condition::{self, A, B, C};
use crate::layers::Variant::{self, OtelMl, OtelMlSpans};
use crate::poll::{side_by_side, wait};

pub(super) const SEND: Suite = Suite {
    name: "kafka-send",
    unit: "message",
    is_timed: false,
    rows: &[
        // A provider is looked for where it begins, and where its context is written.
        Row::within(OtelMl, A, 2_000, 1),
        Row::within(OtelMl, B, 11_400, 3),
        Row::within(OtelMlSpans, B, 4_700, 1),
        Row::within(OtelMl, C, 15_700, 6),
        Row::within(OtelMlSpans, C, 11_000, 6),
    ],
    spans: |messages| messages.into(),
    prepare: send,
};

pub(super) const RECEIVE: Suite = Suite {
    name: "kafka-receive",
    unit: "message",
    is_timed: false,
    rows: &[
        // A provider is looked for where it is received, and where it is processed.
        Row::within(OtelMl, A, 1_150, 1),
        Row::within(OtelMl, B, 15_600, 3),
        Row::within(OtelMlSpans, B, 7_300, 2),
        Row::within(OtelMl, C, 20_000, 10),
        Row::within(OtelMlSpans, C, 13_200, 10),
    ],
    spans: |messages| messages.into(),
    prepare: receive,
};

const TOPIC: &str = "jobs";
/// As many as are received at a time, and more.
const STORED: u32 = 4_000;
/// How many are sent before the first answer is waited for.
const WIDTH: u32 = 50;
const LONG: Duration = Duration::from_secs(60);

type Broker = MockCluster<'static, DefaultProducerContext>;

/// A broker, and clients of it of a kind.
fn connected<T: FromClientConfig>() -> (Broker, T) {
    let broker = MockCluster::new(1).unwrap_or_else(|error| unreachable!("no broker: {error}"));
    let created = broker.create_topic(TOPIC, 1, 1);
    created.unwrap_or_else(|error| unreachable!("no topic: {error}"));
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", broker.bootstrap_servers())
        .set("group.id", "scorers")
        .set("client.id", "bench")
        .set("enable.auto.commit", "false")
        // librdkafka's threads begin when the last of them is there: what they allocate and free
        // would make ours cheaper or dearer, by who comes first.
        .set("linger.ms", "1000")
        .set("batch.num.messages", WIDTH.to_string());
    let client = config.create();
    (
        broker,
        client.unwrap_or_else(|error| unreachable!("no client: {error}")),
    )
}

fn message(headers: OwnedHeaders) -> FutureRecord<'static, str, [u8]> {
    const PAYLOAD: &[u8] = &[b'x'; 200];
    FutureRecord::to(TOPIC)
        .partition(0)
        .payload(PAYLOAD)
        .headers(headers)
}

fn send(variant: Variant, condition: Condition) -> Iterate {
    let (broker, bare) = connected::<FutureProducer>();
    let cx = caller(condition);
    if !variant.is_tracing() {
        return Box::new(move |messages| {
            let _ = &broker;
            let _attached = cx.clone().attach();
            side_by_side(
                messages,
                WIDTH,
                || bare.send(message(headers()), LONG),
                |stored| stored.is_ok(),
            );
        });
    }
    let builder = OtelMlProducer::builder().telemetry(variant.telemetry());
    let producer = builder.client_id("bench").wrap(bare);
    Box::new(move |messages| {
        let _ = &broker;
        let _attached = cx.clone().attach();
        side_by_side(
            messages,
            WIDTH,
            || producer.send(message(headers()), LONG),
            |stored| stored.is_ok(),
        );
    })
}

fn receive(variant: Variant, condition: Condition) -> Iterate {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.unwrap_or_else(|error| unreachable!("no runtime: {error}"));
    // A consumer begins a task of its own.
    let entered = runtime.enter();
    let (broker, bare) = connected::<StreamConsumer>();
    drop(entered);
    store(&broker, condition);
    let mut from_the_first = TopicPartitionList::new();
    let added = from_the_first.add_partition_offset(TOPIC, 0, Offset::Beginning);
    added.unwrap_or_else(|error| unreachable!("no such offset: {error}"));
    let assign = move |consumer: &StreamConsumer| {
        let assigned = consumer.assign(&from_the_first);
        assigned.unwrap_or_else(|error| unreachable!("not assigned: {error}"));
    };
    if !variant.is_tracing() {
        // Dropped in this order: a consumer that is closed wants its broker.
        let connected = (bare, runtime, broker);
        return Box::new(move |messages| {
            let (bare, ..) = &connected;
            assign(bare);
            for _ in 0..messages {
                let message = wait(bare.recv());
                let message = message.unwrap_or_else(|error| unreachable!("{error}"));
                black_box(message.payload());
            }
        });
    }
    let builder = OtelMlConsumer::builder().telemetry(variant.telemetry());
    let consumer = builder
        .client_id("bench")
        .consumer_group("scorers")
        .wrap(bare);
    let connected = (consumer, runtime, broker);
    Box::new(move |messages| {
        let (consumer, ..) = &connected;
        assign(consumer);
        for _ in 0..messages {
            let received = wait(consumer.recv());
            let received = received.unwrap_or_else(|error| unreachable!("{error}"));
            let handled = received.process(async |message| {
                black_box(message.payload());
                Ok::<_, Infallible>(())
            });
            let Ok(()) = wait(handled);
        }
    })
}

/// Fills the topic with messages of a sender.
fn store(broker: &Broker, condition: Condition) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap_servers());
    let producer: FutureProducer = config
        .create()
        .unwrap_or_else(|error| unreachable!("no producer: {error}"));
    let telemetry = Telemetry::global();
    for _ in 0..STORED {
        let mut injector = HeadersInjector::new(Some(headers()));
        telemetry.inject(&caller(condition), &mut injector);
        let queued = producer.send_result(message(injector.into_inner().unwrap_or_default()));
        queued.unwrap_or_else(|(error, _)| unreachable!("not queued: {error}"));
    }
    let flushed = producer.flush(LONG);
    flushed.unwrap_or_else(|error| unreachable!("not stored: {error}"));
}
