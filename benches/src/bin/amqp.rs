//! CPU time of a message that is published with confirms, and of one that is received,
//! processed and acked, by bare clients and by ours, in alternating rounds, by the broker that
//! `AMQP_URL` names.

use std::error::Error;
use std::hint::black_box;
use std::io::{Write as _, stdout};

use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use otel_ml_bench::rounds::{ROUNDS, Subject, compare, cpu, each};
use otel_ml_lapin::lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use otel_ml_lapin::lapin::types::{FieldTable, ShortString};
use otel_ml_lapin::lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Result};
use otel_ml_lapin::{OtelMlConsumer, OtelMlProducer};

const MESSAGES: usize = 5_000;
const WIDTH: usize = 500;
const SIZE: usize = 200;

struct Variant {
    subject: Subject,
    channel: Channel,
    producer: OtelMlProducer,
    queue: ShortString,
    _connection: Connection,
}

impl Variant {
    async fn new(subject: Subject, url: &str) -> Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let options = ConfirmSelectOptions::default();
        channel.confirm_select(options).await?;
        let options = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = format!("otel-ml-bench-{}", std::process::id());
        let queue = format!("{queue}-{}", subject.name);
        let declaring = channel.queue_declare(queue.into(), options, FieldTable::default());
        let queue = declaring.await?.name().clone();
        let builder = OtelMlProducer::builder().telemetry(subject.telemetry.clone());
        Ok(Self {
            producer: builder.wrap(channel.clone()),
            subject,
            channel,
            queue,
            _connection: connection,
        })
    }

    async fn publish_bare(&self, payload: &[u8]) -> Result<()> {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let (exchange, key) = (ShortString::default(), self.queue.clone());
        let written = self
            .channel
            .basic_publish(exchange, key, options, payload, properties);
        written.await?.await?;
        Ok(())
    }

    async fn publish(&self, payload: &[u8]) -> Result<()> {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let (exchange, key) = (ShortString::default(), self.queue.clone());
        let written = self
            .producer
            .basic_publish(exchange, key, options, payload, properties);
        written.await?.await?;
        Ok(())
    }

    /// CPU nanoseconds of a published and of a received message.
    async fn round(&self) -> std::result::Result<[f64; 2], Box<dyn Error>> {
        let payload = vec![b'x'; SIZE];
        let before = cpu()?;
        for _ in 0..MESSAGES / WIDTH {
            if self.subject.is_bare {
                try_join_all((0..WIDTH).map(|_| self.publish_bare(&payload))).await?;
            } else {
                try_join_all((0..WIDTH).map(|_| self.publish(&payload))).await?;
            }
        }
        let sent = cpu()?.saturating_sub(before);

        let options = BasicConsumeOptions::default();
        let (queue, tag) = (self.queue.clone(), ShortString::default());
        let consuming = self
            .channel
            .basic_consume(queue, tag, options, FieldTable::default());
        let mut bare = consuming.await?;
        let builder = OtelMlConsumer::builder().telemetry(self.subject.telemetry.clone());
        let mut wrapped = builder.wrap(bare.clone());
        let before = cpu()?;
        for _ in 0..MESSAGES {
            if self.subject.is_bare {
                let delivery = bare.next().await.ok_or("it was cancelled")??;
                black_box(delivery.data.len());
                delivery.acker.ack(BasicAckOptions::default()).await?;
            } else {
                let received = wrapped.next().await.ok_or("it was cancelled")??;
                let handled = received.process(async |delivery| {
                    black_box(delivery.data.len());
                    delivery.ack(BasicAckOptions::default()).await
                });
                handled.await?;
            }
        }
        let received = cpu()?.saturating_sub(before);
        let options = BasicCancelOptions::default();
        self.channel.basic_cancel(bare.tag(), options).await?;
        Ok([each(sent, MESSAGES), each(received, MESSAGES)])
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let url = std::env::var("AMQP_URL")
        .map_err(|_| "AMQP_URL names a broker: eval \"$(scripts/services up rabbitmq)\"")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let subjects = Subject::all();
    let names = subjects.each_ref().map(|subject| subject.name);
    let mut variants = Vec::new();
    for subject in subjects {
        variants.push(runtime.block_on(Variant::new(subject, &url))?);
    }
    let report = compare(["sent", "received"], &names, &variants, |variant| {
        runtime.block_on(variant.round())
    })?;
    writeln!(
        stdout(),
        "CPU of a {SIZE} byte message, median of {ROUNDS} alternating rounds of {MESSAGES}\n{report}"
    )?;
    Ok(())
}
