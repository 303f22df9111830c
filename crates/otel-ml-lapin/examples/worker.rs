//! A worker that reads features from one queue, scores them, and writes scores to another.
//!
//! ```sh
//! AMQP_URL=amqp://localhost:5672/%2f cargo run -p otel-ml-lapin --example worker
//! ```
//!
//! It runs until Ctrl-C. A real one installs the global OpenTelemetry providers first, such as
//! by `otel-ml-sdk`; without them it works all the same, and records nothing.

use std::error::Error;

use futures_util::StreamExt as _;
use otel_ml_lapin::lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
    BasicRejectOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use otel_ml_lapin::lapin::types::FieldTable;
use otel_ml_lapin::lapin::{self, BasicProperties, Connection, ConnectionProperties};
use otel_ml_lapin::otel_ml::{MlSpan, stage};
use otel_ml_lapin::{OtelMlConsumer, OtelMlDelivery, OtelMlProducer};

const FEATURES: &str = "features";
const SCORES: &str = "scores";

/// Why a message is not scored.
#[derive(Debug)]
enum Unscored {
    /// It has no features.
    Empty,
    /// The broker didn't take the score.
    Refused,
    /// The score could not be published.
    Publish(lapin::Error),
}

impl From<lapin::Error> for Unscored {
    fn from(error: lapin::Error) -> Self {
        Self::Publish(error)
    }
}

async fn score(producer: &OtelMlProducer, delivery: &OtelMlDelivery) -> Result<(), Unscored> {
    if delivery.data.is_empty() {
        return Err(Unscored::Empty);
    }
    let score = stage("score")
        .run(async {
            let sum: u32 = delivery.data.iter().copied().map(u32::from).sum();
            let confidence = f64::from(sum % 100) / 100.0;
            MlSpan::current().model("sum").confidence(confidence);
            Ok::<_, Unscored>(confidence.to_string())
        })
        .await?;
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let written = producer.basic_publish(
        "".into(),
        SCORES.into(),
        options,
        score.as_bytes(),
        properties,
    );
    let confirmed = written.await?.await?;
    confirmed.is_ack().then_some(()).ok_or(Unscored::Refused)
}

async fn work() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("AMQP_URL").unwrap_or_else(|_| "amqp://localhost:5672/%2f".into());
    let properties = ConnectionProperties::default().with_connection_name("worker".into());
    let connection = Connection::connect(&url, properties).await?;
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    channel.basic_qos(16, BasicQosOptions::default()).await?;
    for queue in [FEATURES, SCORES] {
        let (options, arguments) = (QueueDeclareOptions::default(), FieldTable::default());
        channel
            .queue_declare(queue.into(), options, arguments)
            .await?;
    }
    let producer = OtelMlProducer::builder()
        .send_time(true)
        .client_id("worker")
        .wrap(channel.clone());
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel
        .basic_consume(FEATURES.into(), "".into(), options, arguments)
        .await?;
    let mut consumer = OtelMlConsumer::builder().client_id("worker").wrap(consumer);
    while let Some(received) = consumer.next().await {
        let received = received?;
        let scored = received.process(|delivery| score(&producer, delivery));
        match scored.await {
            Ok(()) => received.ack(BasicAckOptions::default()).await?,
            // One that can't be scored never will be.
            Err(Unscored::Empty) => received.reject(BasicRejectOptions::default()).await?,
            // It comes again.
            Err(Unscored::Refused) => {
                let requeue = BasicNackOptions {
                    requeue: true,
                    ..BasicNackOptions::default()
                };
                received.nack(requeue).await?
            }
            Err(Unscored::Publish(error)) => return Err(error.into()),
        };
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tokio::select! {
        ended = work() => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}
