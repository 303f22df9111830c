//! Kafka's clients and a real Apache Kafka: groups that change hands, handlers that fail or
//! dawdle, transactions, and a broker that is killed.
//!
//! It wants a broker, by the variable `KAFKA_BOOTSTRAP`, the jars of one, by
//! `OTEL_ML_KAFKA_JARS`, and Python with its peers, by `OTEL_ML_PYTHON`, and is therefore no
//! part of a plain `cargo test`: `./scripts/test --only kafka` starts the one and runs the other.

#![cfg(test)]

mod broker;
mod groups;
mod interop;
mod killed;
mod transactions;

use std::time::Duration;

use otel_ml_e2e::unique;
use otel_ml_rdkafka::rdkafka::ClientConfig;

/// Long enough that what takes longer has failed.
const LONG: Duration = Duration::from_secs(60);

async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(LONG, what).await.expect("in time")
}

fn config() -> ClientConfig {
    let bootstrap = std::env::var("KAFKA_BOOTSTRAP")
        .expect("KAFKA_BOOTSTRAP names a broker: ./scripts/test --only kafka");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

/// Of a member of `group`, which reads from the beginning and commits when told.
fn member(group: &str) -> ClientConfig {
    let mut config = config();
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500");
    config
}
