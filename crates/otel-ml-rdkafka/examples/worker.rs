//! A worker that reads features from one topic, scores them, and writes scores to another.
//!
//! ```sh
//! KAFKA_BOOTSTRAP=localhost:9092 cargo run -p otel-ml-rdkafka --example worker
//! ```
//!
//! It runs until Ctrl-C. A real one installs the global OpenTelemetry providers first, such as
//! by `otel-ml-sdk`; without them it works all the same, and records nothing.

use std::error::Error;
use std::time::Duration;

use otel_ml_rdkafka::otel_ml::{MlSpan, stage};
use otel_ml_rdkafka::rdkafka::ClientConfig;
use otel_ml_rdkafka::rdkafka::consumer::{CommitMode, Consumer as _};
use otel_ml_rdkafka::rdkafka::error::KafkaError;
use otel_ml_rdkafka::rdkafka::message::{BorrowedMessage, Message as _};
use otel_ml_rdkafka::rdkafka::producer::FutureRecord;
use otel_ml_rdkafka::{OtelMlConsumer, OtelMlProducer, StatsContext, StatsMetrics};

const GROUP: &str = "scorers";

/// Why a message is not scored.
#[derive(Debug)]
enum Unscored {
    /// It has no features.
    Empty,
    /// The score could not be sent.
    Send(KafkaError),
}

async fn score(producer: &OtelMlProducer, message: &BorrowedMessage<'_>) -> Result<(), Unscored> {
    let features = message.payload().ok_or(Unscored::Empty)?;
    let score = stage("score")
        .run(async {
            let sum: u32 = features.iter().copied().map(u32::from).sum();
            let confidence = f64::from(sum % 100) / 100.0;
            MlSpan::current().model("sum").confidence(confidence);
            Ok::<_, Unscored>(confidence)
        })
        .await?;
    let payload = score.to_string();
    let record = FutureRecord::to("scores")
        .key(message.key().unwrap_or_default())
        .payload(&payload);
    let sent = producer.send(record, Duration::from_secs(5)).await;
    sent.map(|_| ()).map_err(|(error, _)| Unscored::Send(error))
}

async fn work() -> Result<(), Box<dyn Error>> {
    let bootstrap = std::env::var("KAFKA_BOOTSTRAP").unwrap_or_else(|_| "localhost:9092".into());
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("client.id", "worker");
    let builder = OtelMlProducer::builder().send_time(true);
    let producer: OtelMlProducer = builder.create(&config)?;
    config
        .set("group.id", GROUP)
        .set("enable.auto.commit", "false")
        .set("statistics.interval.ms", "5000");
    let lag = StatsContext::new(StatsMetrics::new(GROUP));
    let consumer: OtelMlConsumer<StatsContext> = config.create_with_context(lag)?;
    consumer.subscribe(&["features"])?;
    loop {
        let received = consumer.recv().await?;
        let scored = received.process(|message| score(&producer, message)).await;
        match scored {
            // One that can't be scored never will be: on to the next.
            Ok(()) | Err(Unscored::Empty) => {
                consumer.commit_message(&received, CommitMode::Async)?;
            }
            // Not committed: it comes again.
            Err(Unscored::Send(error)) => return Err(error.into()),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tokio::select! {
        ended = work() => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}
