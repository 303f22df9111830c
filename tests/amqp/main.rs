//! lapin's clients and a real RabbitMQ: a broker that is killed, stopped and started, consumers that
//! go with all they hold, and pika, in one trace.
//!
//! It wants a broker, by the variable `AMQP_URL`, the runner of one, by `OTEL_ML_RABBITMQ`, and
//! Python with its peers, by `OTEL_ML_PYTHON`, and is therefore no part of a plain `cargo test`:
//! `./scripts/test --only rabbitmq` starts the one and runs the other.

#![cfg(test)]

mod broker;
mod held;
mod interop;
mod killed;
mod stopped;

use std::time::Duration;

use lapin::options::{ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties};
use otel_ml_lapin::lapin;

/// Long enough that what takes longer has failed.
const LONG: Duration = Duration::from_secs(180);

async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(LONG, what).await.expect("in time")
}

fn url() -> String {
    std::env::var("AMQP_URL").expect("AMQP_URL names a broker: ./scripts/test --only rabbitmq")
}

fn short(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap()
}

/// A connection that comes back by itself, and a channel of it with confirms.
async fn recovering(url: &str) -> (Connection, Channel) {
    let properties = ConnectionProperties::default()
        .enable_auto_recover()
        .configure_backoff(|backoff| {
            backoff
                .with_min_delay(Duration::from_millis(50))
                .with_max_delay(Duration::from_millis(500))
                .with_max_times(200)
        });
    let connection = soon(Connection::connect(url, properties)).await.unwrap();
    let channel = soon(connection.create_channel()).await.unwrap();
    let confirms = channel.confirm_select(ConfirmSelectOptions::default());
    soon(confirms).await.unwrap();
    (connection, channel)
}

/// A queue that outlives the broker's process.
async fn durable(channel: &Channel, queue: &str) {
    let options = QueueDeclareOptions::durable();
    let declaring = channel.queue_declare(short(queue), options, FieldTable::default());
    soon(declaring).await.unwrap();
}
