//! librdkafka's statistics as gauges.

use otel_ml::semconv::messaging as keys;
use otel_ml_rdkafka::{OtelMlConsumer, StatsMetrics, otel_ml};
use otel_ml_testing::{Number, TestTelemetry};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::support::rdkafka::client::ClientContext;
use crate::support::rdkafka::consumer::{CommitMode, ConsumerContext};
use crate::support::rdkafka::statistics::{Partition, Statistics, Topic};
use crate::support::{Broker, assign, record, recv, send, soon, telemetry};

const LAG: &str = "ml.consumer.lag";
const FETCHED: &str = "ml.consumer.fetch_queue.size";

fn metrics(test: &TestTelemetry) -> StatsMetrics {
    StatsMetrics::new("group-1").telemetry(telemetry(test))
}

fn partition(number: i32, lag: i64, fetched: i64) -> Partition {
    Partition {
        partition: number,
        consumer_lag: lag,
        consumer_lag_stored: -1,
        fetchq_cnt: fetched,
        desired: number != 9,
        ..Partition::default()
    }
}

fn statistics(topics: &[(&str, &[Partition])]) -> Statistics {
    let topic = |(name, partitions): &(&str, &[Partition])| {
        let by_number = partitions
            .iter()
            .map(|partition| (partition.partition, partition.clone()));
        let topic = Topic {
            partitions: by_number.collect(),
            ..Topic::default()
        };
        ((*name).to_owned(), topic)
    };
    Statistics {
        topics: topics.iter().map(topic).collect(),
        ..Statistics::default()
    }
}

/// What a gauge says, by topic and partition.
fn read(test: &TestTelemetry, name: &str) -> Vec<(String, String, i64)> {
    let metrics = test.metrics();
    if !metrics.has(name) {
        return Vec::new();
    }
    let gauge = metrics.gauge(name);
    let mut all: Vec<_> = gauge
        .points()
        .iter()
        .map(|point| {
            let label = |key: &str| {
                let label = point
                    .labels()
                    .iter()
                    .find(|label| label.key.as_str() == key);
                label.unwrap().value.to_string()
            };
            assert_eq!(point.labels().len(), 4);
            assert_eq!(label(keys::SYSTEM_NAME), "kafka");
            assert_eq!(label(keys::CONSUMER_GROUP_NAME), "group-1");
            let Number::Int(value) = point.value() else {
                panic!("{point:?}");
            };
            (
                label(keys::DESTINATION_NAME),
                label(keys::DESTINATION_PARTITION_ID),
                value,
            )
        })
        .collect();
    all.sort();
    all
}

fn row(topic: &str, partition: i32, value: i64) -> (String, String, i64) {
    (topic.to_owned(), partition.to_string(), value)
}

#[test]
fn only_partitions_that_are_read_and_known_are_told() {
    let test = TestTelemetry::new();
    let metrics = metrics(&test);
    metrics.record(&statistics(&[
        (
            "jobs",
            &[
                partition(0, 5, 2),
                partition(1, -1, 0),
                partition(-1, 3, 3),
                partition(9, 4, 4),
            ],
        ),
        ("mail", &[partition(0, 7, 1)]),
    ]));
    assert_eq!(read(&test, LAG), [row("jobs", 0, 5), row("mail", 0, 7)]);
    assert_eq!(
        read(&test, FETCHED),
        [row("jobs", 0, 2), row("jobs", 1, 0), row("mail", 0, 1)]
    );
    assert_eq!(test.metrics().unit(LAG), "{message}");
}

/// Before the first commit there is no other.
#[test]
fn without_a_commit_the_lag_is_behind_what_was_handed_out() {
    let test = TestTelemetry::new();
    let handed_out = |consumer_lag| Partition {
        consumer_lag_stored: 3,
        ..partition(0, consumer_lag, 0)
    };
    let metrics = metrics(&test);
    metrics.record(&statistics(&[("jobs", &[handed_out(-1)])]));
    assert_eq!(read(&test, LAG), [row("jobs", 0, 3)]);
    metrics.record(&statistics(&[("jobs", &[handed_out(0)])]));
    assert_eq!(read(&test, LAG), [row("jobs", 0, 0)]);
}

#[test]
fn what_is_gone_from_the_statistics_is_gone_from_the_metrics() {
    let test = TestTelemetry::new();
    let (one, other) = (metrics(&test), metrics(&test));
    one.record(&statistics(&[(
        "jobs",
        &[partition(0, 5, 2), partition(1, 6, 0)],
    )]));
    other.record(&statistics(&[("mail", &[partition(0, 1, 1)])]));
    one.record(&statistics(&[("jobs", &[partition(1, 4, 0)])]));
    assert_eq!(read(&test, LAG), [row("jobs", 1, 4), row("mail", 0, 1)]);
    drop(one);
    assert_eq!(read(&test, LAG), [row("mail", 0, 1)]);
}

#[test]
fn partitions_beyond_the_limit_are_left_out() {
    let test = TestTelemetry::new();
    let metrics = metrics(&test).limit(3);
    let many: Vec<_> = (0..100)
        .map(|number| partition(number, i64::from(number), 0))
        .collect();
    for _ in 0..10 {
        metrics.record(&statistics(&[("jobs", &many), ("mail", &many)]));
    }
    assert_eq!(
        read(&test, LAG),
        [row("jobs", 0, 0), row("jobs", 1, 1), row("jobs", 2, 2)]
    );
}

/// Tells the test when there are new statistics.
struct Told {
    metrics: StatsMetrics,
    told: UnboundedSender<()>,
}

impl ClientContext for Told {
    fn stats(&self, statistics: Statistics) {
        self.metrics.record(&statistics);
        let _ = self.told.send(());
    }
}

impl ConsumerContext for Told {}

/// Lets the consumer run until `is` what its statistics say.
async fn until(
    consumer: &OtelMlConsumer<Told>,
    told: &mut UnboundedReceiver<()>,
    is: impl Fn() -> bool,
) {
    while !is() {
        tokio::select! {
            _ = soon(told.recv()) => {}
            // Statistics come by the same queue.
            _ = consumer.recv() => panic!("there is nothing to receive"),
        }
    }
}

#[tokio::test]
async fn a_consumer_that_is_behind_says_by_how_much() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    // There is always something to export: metrics are kept until there is.
    let producer = broker.producer(&test);
    for _ in 0..3 {
        send(&producer, record(&topic)).await.unwrap();
    }
    let (told, mut statistics) = unbounded_channel();
    let context = Told {
        metrics: metrics(&test),
        told,
    };
    let mut config = broker.consumer_config("group-1");
    config.set("statistics.interval.ms", "50");
    let consumer: OtelMlConsumer<Told> = config.create_with_context(context).unwrap();
    assign(&consumer, &topic, 1);
    for _ in 0..3 {
        let received = recv(&consumer).await;
        consumer
            .commit_message(&received, CommitMode::Sync)
            .unwrap();
    }
    until(&consumer, &mut statistics, || {
        read(&test, LAG) == [row(&topic, 0, 0)]
    })
    .await;
    // Handed out, and not committed.
    for _ in 0..2 {
        send(&producer, record(&topic)).await.unwrap();
        recv(&consumer).await;
    }
    until(&consumer, &mut statistics, || {
        read(&test, LAG) == [row(&topic, 0, 2)]
    })
    .await;
    drop(consumer);
    assert_eq!(read(&test, LAG), []);
}
