//! Behind the answer: a job for each, published by the gateway and processed by a service of its
//! own, whenever it gets to it.

use std::time::Duration;

use futures_util::StreamExt as _;
use otel_ml::{MlSpan, Telemetry, stage};
use otel_ml_lapin::lapin::message::Delivery;
use otel_ml_lapin::lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions,
    BasicRejectOptions, QueueDeclareOptions,
};
use otel_ml_lapin::lapin::types::{FieldTable, ShortString};
use otel_ml_lapin::lapin::{self, BasicProperties, Channel, Connection};
use otel_ml_lapin::{OtelMlConsumer, OtelMlDelivery, OtelMlProducer, Outgoing};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::USER_TIER;
use crate::amqp::Broker;

/// The name of the auditing service.
pub const SERVICE: &str = "audit";
/// What the queue is called in spans and metrics. Its own name has a number besides: pipelines that
/// share a broker audit their own answers.
pub const QUEUE: &str = "audit-jobs";

/// How long an answer waits for its job to be taken.
const PATIENCE: Duration = Duration::from_secs(1);
/// Answers with less of it are for people to look at.
const LEAST_CONFIDENCE: f32 = 0.25;

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Which answer.
    pub response_id: String,
    /// How far to trust it, from 0 to 1.
    pub confidence: f32,
    /// The numbers of the sources that it has.
    pub sources: Vec<usize>,
    /// Its text.
    pub text: String,
}

/// What an audit finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Findings {
    /// References in the text to sources that it has not.
    pub dangling: usize,
    /// Whether people should look at it.
    pub is_flagged: bool,
}

impl Job {
    /// Looks at the answer.
    pub fn audit(&self) -> Findings {
        let references = self.text.split('[').skip(1).filter_map(|rest| {
            let (number, _) = rest.split_once(']')?;
            number.parse::<usize>().ok()
        });
        let dangling = references.filter(|number| !self.sources.contains(number));
        let dangling = dangling.count();
        let is_flagged = dangling > 0 || self.confidence < LEAST_CONFIDENCE;
        Findings {
            dangling,
            is_flagged,
        }
    }
}

/// Where jobs are published.
#[derive(Clone, Debug)]
pub struct Audits {
    producer: OtelMlProducer,
    queue: ShortString,
}

impl Audits {
    /// Publishes `job`. The answer is there whether or not it is taken: what becomes of it is
    /// logged, and on the span.
    pub async fn publish(&self, job: &Job) {
        let published = tokio::time::timeout(PATIENCE, self.try_publish(job)).await;
        match published {
            Ok(Ok(confirmed)) if confirmed.is_ack() => {}
            Ok(Ok(_)) => warn!("the audit job was not taken"),
            Ok(Err(error)) => warn!(%error, "the audit job was not published"),
            Err(_) => warn!("the audit job was not taken in time"),
        }
    }

    async fn try_publish(&self, job: &Job) -> lapin::Result<lapin::Confirmation> {
        let body = serde_json::to_vec(job).unwrap_or_default();
        // Back to us where the queue is gone, and then an error of the span.
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let properties = BasicProperties::default().with_content_type("application/json".into());
        let (exchange, key) = (ShortString::default(), self.queue.clone());
        let written = self
            .producer
            .basic_publish(exchange, key, options, &body, properties);
        written.await?.await
    }
}

/// The running service.
#[derive(Debug)]
pub struct Auditing {
    task: JoinHandle<()>,
    channel: Channel,
    tag: ShortString,
    connections: [Connection; 2],
    /// Ends last.
    _broker: Broker,
}

/// Starts the service on `broker`, and a way to it for `front`, the gateway.
///
/// # Errors
/// When the broker does not answer.
pub async fn start(
    broker: Broker,
    front: &Telemetry,
    telemetry: Telemetry,
) -> lapin::Result<(Audits, Auditing)> {
    let queue = ShortString::from(format!("{QUEUE}-{:08x}", fastrand::u32(..)));
    let (inbox, channel) = broker.connect(SERVICE).await?;
    let options = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.clone(), options, FieldTable::default())
        .await?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel
        .basic_consume(queue.clone(), ShortString::default(), options, arguments)
        .await?;
    let tag = consumer.tag();
    let consumer = OtelMlConsumer::builder()
        .telemetry(telemetry)
        .baggage([USER_TIER])
        .queue_wait_span(true)
        .destination_template(|_: &Delivery| Some(QUEUE))
        .wrap(consumer);
    let task = tokio::spawn(consume(consumer, channel.clone()));
    let (outbox, publishing) = broker.connect("gateway").await?;
    let producer = OtelMlProducer::builder()
        .telemetry(front.clone())
        .send_time(true)
        .destination_template(|_: &Outgoing<'_>| Some(QUEUE))
        .wrap(publishing);
    let auditing = Auditing {
        task,
        channel,
        tag,
        connections: [outbox, inbox],
        _broker: broker,
    };
    Ok((Audits { producer, queue }, auditing))
}

async fn consume(mut consumer: OtelMlConsumer, channel: Channel) {
    while let Some(received) = consumer.next().await {
        match received {
            Ok(received) => {
                // The span says what became of it, and the handler has told the broker.
                let _ = received.process(handle).await;
            }
            Err(error) => {
                // A connection that is lost comes back, and the consumer with it.
                if let Err(error) = channel.wait_for_recovery(error).await {
                    warn!(%error, "no more audits");
                    return;
                }
            }
        }
    }
}

/// Why a job came to nothing.
#[derive(Debug, Error)]
enum Unaudited {
    /// It is not what it should be.
    #[error("no job: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The broker could not be told.
    #[error(transparent)]
    Unsettled(#[from] lapin::Error),
}

async fn handle(delivery: &OtelMlDelivery) -> Result<(), Unaudited> {
    let job: Job = match serde_json::from_slice(&delivery.data) {
        Ok(job) => job,
        Err(error) => {
            // It never will be one.
            delivery.reject(BasicRejectOptions::default()).await?;
            return Err(error.into());
        }
    };
    let findings = stage("audit")
        .run_infallible(async {
            MlSpan::current().confidence(job.confidence.into());
            job.audit()
        })
        .await;
    let Findings {
        dangling,
        is_flagged,
    } = findings;
    info!(
        dangling,
        is_flagged,
        response_id = job.response_id,
        "audited"
    );
    delivery.ack(BasicAckOptions::default()).await?;
    Ok(())
}

impl Auditing {
    /// Takes no more jobs, and waits up to `patience` for those that have come.
    pub async fn stop(self, patience: Duration) {
        let stopping = async {
            let cancelled = self
                .channel
                .basic_cancel(self.tag, BasicCancelOptions::default());
            if cancelled.await.is_ok() {
                let _ = self.task.await;
            }
            for connection in self.connections {
                let _ = connection.close(200, "done".into()).await;
            }
        };
        let _ = tokio::time::timeout(patience, stopping).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_quote_what_they_have_not_or_are_unsure_are_flagged() {
        let found = |text: &str, confidence| {
            let job = Job {
                response_id: "chatcmpl-1".into(),
                confidence,
                sources: vec![1, 2],
                text: text.into(),
            };
            let findings = job.audit();
            (findings.dangling, findings.is_flagged)
        };
        assert_eq!(found("So it is [1]. And so [2][1].", 0.9), (0, false));
        assert_eq!(found("So it is [3]. [x] [ ] [", 0.9), (1, true));
        assert_eq!(found("So it is.", 0.1), (0, true));
        assert_eq!(found("", 0.9), (0, false));
    }
}
