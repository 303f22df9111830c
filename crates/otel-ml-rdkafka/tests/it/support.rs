//! A broker, topics and clients of a test's own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use otel_ml::Telemetry;
use otel_ml_rdkafka::{OtelMlConsumer, OtelMlProducer, Received, otel_ml};
use otel_ml_testing::TestTelemetry;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::Consumer as _;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::producer::FutureRecord;
use rdkafka::producer::future_producer::OwnedDeliveryResult;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

pub(crate) use otel_ml_rdkafka::rdkafka;

/// Long enough that what takes longer has failed.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) fn telemetry(test: &TestTelemetry) -> Telemetry {
    Telemetry::builder()
        .tracer_provider(test.tracer_provider())
        .meter_provider(test.meter_provider())
        .build()
}

/// What is asked to fail, or awaited, takes at most [`LONG`].
pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(LONG, what).await.expect("in time")
}

pub(crate) struct Broker {
    bootstrap: String,
    mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Broker {
    /// The one named, or one inside the process.
    pub(crate) fn new() -> Self {
        match std::env::var("KAFKA_BOOTSTRAP") {
            Ok(bootstrap) => Self {
                bootstrap,
                mock: None,
            },
            Err(_) => Self::mock(),
        }
    }

    /// One inside the process, which does as it is told.
    pub(crate) fn mock() -> Self {
        let mock = MockCluster::new(1).unwrap();
        Self {
            bootstrap: mock.bootstrap_servers(),
            mock: Some(mock),
        }
    }

    pub(crate) const fn as_mock(&self) -> &MockCluster<'static, DefaultProducerContext> {
        self.mock.as_ref().expect("it is a mock")
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config.set("client.id", "client-1");
        config
    }

    /// A topic that no other test has.
    pub(crate) async fn topic(&self, partitions: i32) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // The broker may keep what earlier runs left, and process ids come again.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let name = format!("otel-ml-{}-{number}", now.as_nanos());
        if let Some(mock) = &self.mock {
            mock.create_topic(&name, partitions, 1).unwrap();
        } else {
            let admin: AdminClient<_> = self.config().create().unwrap();
            let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
            let made = admin.create_topics([&topic], &AdminOptions::new()).await;
            made.unwrap().pop().unwrap().unwrap();
        }
        name
    }

    pub(crate) fn producer(&self, test: &TestTelemetry) -> OtelMlProducer {
        let builder = OtelMlProducer::builder().telemetry(telemetry(test));
        builder.create(&self.config()).unwrap()
    }

    pub(crate) fn consumer_config(&self, group: &str) -> ClientConfig {
        let mut config = self.config();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "6000")
            // A mock answers a fetch when there is data or when that time is over, and looks
            // for data only once.
            .set("fetch.wait.max.ms", "10");
        config
    }

    /// A consumer of all of a topic's partitions, from their beginning; without a wait for a
    /// group to form.
    pub(crate) fn consumer(&self, test: &TestTelemetry, topic: &str) -> OtelMlConsumer {
        let builder = OtelMlConsumer::builder().telemetry(telemetry(test));
        let consumer = builder.create(&self.consumer_config("group-1")).unwrap();
        assign(&consumer, topic, 1);
        consumer
    }
}

pub(crate) fn assign<H>(
    consumer: &OtelMlConsumer<impl Context, impl Sized, H>,
    topic: &str,
    partitions: i32,
) {
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions {
        all.add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&all).unwrap();
}

pub(crate) use rdkafka::consumer::ConsumerContext as Context;

pub(crate) type Record<'a> = FutureRecord<'a, str, [u8]>;

/// A record for a topic's first partition.
pub(crate) fn record(topic: &str) -> Record<'_> {
    FutureRecord::to(topic)
        .partition(0)
        .payload(b"payload".as_slice())
}

#[allow(
    clippy::result_large_err,
    reason = "the answer of the producer that is tested"
)]
pub(crate) async fn send(producer: &OtelMlProducer, record: Record<'_>) -> OwnedDeliveryResult {
    soon(producer.send(record, LONG)).await
}

pub(crate) async fn recv<H>(
    consumer: &OtelMlConsumer<impl Context, impl Sized, H>,
) -> Received<'_, H> {
    soon(consumer.recv()).await.unwrap()
}

pub(crate) type Pair = (String, Option<Vec<u8>>);

pub(crate) fn pairs(headers: &impl Headers) -> Vec<Pair> {
    let pair =
        |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.map(<[u8]>::to_vec));
    headers.iter().map(pair).collect()
}

pub(crate) fn owned(pairs: &[Pair]) -> OwnedHeaders {
    pairs
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: value.as_deref(),
            })
        })
}

pub(crate) fn pair(key: &str, value: impl AsRef<[u8]>) -> Pair {
    (key.to_owned(), Some(value.as_ref().to_vec()))
}

pub(crate) const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
pub(crate) const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
