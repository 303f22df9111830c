//! librdkafka's statistics as metrics.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use otel_ml::opentelemetry::KeyValue;
use otel_ml::semconv::messaging;
use otel_ml::{Reading, ReadingsSource, Telemetry};
use rdkafka::client::ClientContext;
use rdkafka::consumer::ConsumerContext;
use rdkafka::statistics::{Partition, Statistics};

/// How many partitions of a client are told apart, unless set.
const LIMIT: usize = 256;

/// Turns a consumer's statistics into metrics: `ml.consumer.lag`, the messages of a partition
/// behind the offset that was committed (before the first commit: behind the last one that was
/// handed out), and `ml.consumer.fetch_queue.size`, those fetched ahead.
///
/// librdkafka has statistics when `statistics.interval.ms` is set, and gives them to the
/// client's context. [`StatsContext`] is one that is ready-made; a context of one's own calls
/// [`record`](Self::record) from its [`stats`](ClientContext::stats). A partition that the
/// consumer no longer has disappears with the next statistics, all of them with this value.
///
/// # Cardinality
/// Labels are topic, partition and group. Beyond a number of partitions (256, unless set) the
/// rest is left out, in the order of their names.
#[derive(Debug)]
pub struct StatsMetrics {
    telemetry: Telemetry,
    group: Option<String>,
    limit: usize,
    sources: OnceLock<[ReadingsSource; 2]>,
}

impl StatsMetrics {
    /// For a consumer of `group`, through the global providers.
    #[must_use]
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            telemetry: Telemetry::global(),
            group: Some(group.into()),
            limit: LIMIT,
            sources: OnceLock::new(),
        }
    }

    /// Records through `telemetry`.
    #[must_use]
    pub fn telemetry(self, telemetry: Telemetry) -> Self {
        Self { telemetry, ..self }
    }

    /// The most partitions that are told apart.
    #[must_use]
    pub fn limit(self, partitions: usize) -> Self {
        Self {
            limit: partitions,
            ..self
        }
    }

    /// Takes over what `statistics` says, in place of what the last ones said.
    pub fn record(&self, statistics: &Statistics) {
        let Some(instruments) = self.telemetry.instruments() else {
            return;
        };
        let [lag, fetched] = self.sources.get_or_init(|| {
            [
                instruments.ml_consumer_lag.source(),
                instruments.ml_consumer_fetch_queue_size.source(),
            ]
        });
        let partitions = self.partitions(statistics);
        lag.set(self.readings(&partitions, lag_of));
        fetched.set(self.readings(&partitions, |partition| partition.fetchq_cnt));
    }

    /// Those that the consumer reads: statistics also have others of its topics, and one that
    /// stands for none.
    fn partitions<'a>(
        &self,
        statistics: &'a Statistics,
    ) -> BTreeMap<(&'a str, i32), &'a Partition> {
        let all = statistics.topics.iter().flat_map(|(topic, of_topic)| {
            let partitions = of_topic.partitions.iter();
            partitions.map(move |(number, partition)| ((topic.as_str(), *number), partition))
        });
        let is_read = |partition: &Partition| partition.partition >= 0 && partition.desired;
        let read: BTreeMap<_, _> = all.filter(|(_, partition)| is_read(partition)).collect();
        read.into_iter().take(self.limit).collect()
    }

    fn readings(
        &self,
        partitions: &BTreeMap<(&str, i32), &Partition>,
        value: impl Fn(&Partition) -> i64,
    ) -> Vec<Reading> {
        let known = partitions
            .iter()
            .filter(|(_, partition)| value(partition) >= 0);
        known
            .map(|((topic, number), partition)| (self.labels(topic, *number), value(partition)))
            .collect()
    }

    fn labels(&self, topic: &str, partition: i32) -> Vec<KeyValue> {
        let mut labels = Vec::with_capacity(4);
        labels.push(KeyValue::new(
            messaging::SYSTEM_NAME,
            messaging::system::KAFKA,
        ));
        labels.push(KeyValue::new(messaging::DESTINATION_NAME, topic.to_owned()));
        labels.push(KeyValue::new(
            messaging::DESTINATION_PARTITION_ID,
            partition.to_string(),
        ));
        if let Some(group) = &self.group {
            labels.push(KeyValue::new(messaging::CONSUMER_GROUP_NAME, group.clone()));
        }
        labels
    }
}

/// Behind what was committed; before the first commit, behind what was handed out.
const fn lag_of(partition: &Partition) -> i64 {
    match partition.consumer_lag {
        0.. => partition.consumer_lag,
        _ => partition.consumer_lag_stored,
    }
}

/// A context that turns statistics into metrics, and is otherwise rdkafka's default.
///
/// ```no_run
/// use otel_ml_rdkafka::rdkafka::ClientConfig;
/// use otel_ml_rdkafka::{OtelMlConsumer, StatsContext, StatsMetrics};
///
/// # fn make() -> Result<(), otel_ml_rdkafka::rdkafka::error::KafkaError> {
/// let consumer: OtelMlConsumer<StatsContext> = ClientConfig::new()
///     .set("bootstrap.servers", "localhost:9092")
///     .set("group.id", "scorers")
///     .set("statistics.interval.ms", "5000")
///     .create_with_context(StatsContext::new(StatsMetrics::new("scorers")))?;
/// # drop(consumer);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct StatsContext {
    metrics: StatsMetrics,
}

impl StatsContext {
    /// Records by `metrics`.
    #[must_use]
    pub const fn new(metrics: StatsMetrics) -> Self {
        Self { metrics }
    }
}

impl ClientContext for StatsContext {
    fn stats(&self, statistics: Statistics) {
        self.metrics.record(&statistics);
    }
}

impl ConsumerContext for StatsContext {}
