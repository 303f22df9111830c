//! CPU time of a message that is sent and received, by bare clients and by ours, in
//! alternating rounds. Beside them bare clients with a header as long as a context, which is
//! written and read: what passing a context on costs, whoever does it. By the broker that
//! `KAFKA_BOOTSTRAP` names, whose own time is then not counted; else by one inside the process,
//! which dilutes what is measured.

use std::error::Error;
use std::hint::black_box;
use std::io::{Write as _, stdout};
use std::time::Duration;

use futures_util::future::try_join_all;
use otel_ml_bench::rounds::{ROUNDS, Subject, compare, cpu, each};
use otel_ml_rdkafka::rdkafka::consumer::Consumer as _;
use otel_ml_rdkafka::rdkafka::error::{KafkaError, KafkaResult};
use otel_ml_rdkafka::rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use otel_ml_rdkafka::rdkafka::mocking::MockCluster;
use otel_ml_rdkafka::rdkafka::producer::FutureRecord;
use otel_ml_rdkafka::rdkafka::{ClientConfig, Offset, TopicPartitionList};
use otel_ml_rdkafka::{OtelMlConsumer, OtelMlProducer};

/// As long as a `traceparent` is.
const HEADER: Header<'_, &[u8; 55]> = Header {
    key: "traceparent",
    value: Some(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"),
};
const MESSAGES: usize = 20_000;
const WIDTH: usize = 1_000;
const SIZE: usize = 200;
const LONG: Duration = Duration::from_secs(60);

/// One variant, with its clients.
struct Variant {
    subject: Subject,
    /// Whether bare clients write and read a header.
    has_header: bool,
    producer: OtelMlProducer,
    consumer: OtelMlConsumer,
}

impl Variant {
    fn new(subject: Subject, has_header: bool, config: &ClientConfig) -> KafkaResult<Self> {
        let producer = OtelMlProducer::builder().telemetry(subject.telemetry.clone());
        let consumer = OtelMlConsumer::builder().telemetry(subject.telemetry.clone());
        Ok(Self {
            subject,
            has_header,
            producer: producer.create(config)?,
            consumer: consumer.create(config)?,
        })
    }

    /// CPU nanoseconds of a sent and of a received message.
    async fn round(&self, topic: &str) -> Result<[f64; 2], Box<dyn Error>> {
        let payload = vec![b'x'; SIZE];
        let record = || -> FutureRecord<'_, str, [u8]> {
            FutureRecord::to(topic).partition(0).payload(&payload)
        };
        let bare = self.producer.get_ref();
        let first = bare.send(record(), LONG).await;
        let first = first.map_err(|(error, _)| error)?;
        let before = cpu()?;
        for _ in 0..MESSAGES / WIDTH {
            let sent = if !self.subject.is_bare {
                try_join_all((0..WIDTH).map(|_| self.producer.send(record(), LONG))).await
            } else if self.has_header {
                let with_header = || record().headers(OwnedHeaders::new().insert(HEADER));
                try_join_all((0..WIDTH).map(|_| bare.send(with_header(), LONG))).await
            } else {
                try_join_all((0..WIDTH).map(|_| bare.send(record(), LONG))).await
            };
            sent.map_err(|(error, _)| error)?;
        }
        let sent = cpu()?.saturating_sub(before);

        let inner = self.consumer.get_ref();
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic, 0, Offset::Offset(first.offset))?;
        inner.assign(&from)?;
        inner.recv().await?;
        let before = cpu()?;
        for _ in 0..MESSAGES {
            if self.subject.is_bare {
                let message = inner.recv().await?;
                black_box(message.payload().map_or(0, <[u8]>::len));
                if self.has_header {
                    black_box(message.headers().and_then(|headers| headers.try_get(0)));
                }
            } else {
                let received = self.consumer.recv().await?;
                let handled = received.process(async |message| {
                    Ok::<_, KafkaError>(message.payload().map_or(0, <[u8]>::len))
                });
                black_box(handled.await?);
            }
        }
        let received = cpu()?.saturating_sub(before);
        inner.unassign()?;
        Ok([each(sent, MESSAGES), each(received, MESSAGES)])
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let named = std::env::var("KAFKA_BOOTSTRAP").ok();
    let mock = match &named {
        Some(_) => None,
        None => Some(MockCluster::new(1)?),
    };
    let bootstrap = match (&mock, named) {
        (Some(mock), _) => mock.bootstrap_servers(),
        (None, named) => named.unwrap_or_default(),
    };
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "otel-ml-bench")
        .set("fetch.wait.max.ms", "10")
        .set("linger.ms", "5");
    let topic = format!("otel-ml-bench-{}", std::process::id());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    // Consumers begin a task of their own.
    let _runtime = runtime.enter();
    let [bare, ours @ ..] = Subject::all();
    let with_header = Subject::bare("bare, with a header");
    let mut variants = vec![
        Variant::new(bare, false, &config)?,
        Variant::new(with_header, true, &config)?,
    ];
    for subject in ours {
        variants.push(Variant::new(subject, false, &config)?);
    }
    let names: Vec<_> = variants
        .iter()
        .map(|variant| variant.subject.name)
        .collect();
    let report = compare(["sent", "received"], &names, &variants, |variant| {
        runtime.block_on(variant.round(&topic))
    })?;
    writeln!(
        stdout(),
        "CPU of a {SIZE} byte message, median of {ROUNDS} alternating rounds of {MESSAGES}\n{report}"
    )?;
    Ok(())
}
