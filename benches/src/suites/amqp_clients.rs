//! An AMQP message published and confirmed, and one received, processed and acked, by the broker
//! that `AMQP_URL` names: what it and lapin's threads do is not counted, and what is done on
//! the calling thread the bare clients do, too.

use std::future::Future;
use std::hint::black_box;
use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _};
use otel_ml_lapin::carrier::HeadersInjector;
use otel_ml_lapin::lapin::message::Delivery;
use otel_ml_lapin::lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use otel_ml_lapin::lapin::types::{FieldTable, ShortString};
use otel_ml_lapin::lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    PublisherConfirm, Result,
};
use otel_ml_lapin::otel_ml::Telemetry;
use otel_ml_lapin::{OtelMlConsumer, OtelMlProducer};
use tokio::runtime::Runtime;

use super::amqp_inject::headers;
use super::kafka_inject::caller;
use super::{Iterate, Row, Suite};
use crate::condition::Condition::{self, A, B, C};
use crate::layers::Variant::{self, OtelMl, OtelMlSpans};
use crate::poll::{side_by_side, wait};

pub(super) const PUBLISH: Suite = Suite {
    name: "amqp-publish",
    unit: "message",
    is_timed: false,
    rows: &[
        // One allocation more than is made: how many lapin's own are hangs on its thread, too.
        Row::within(OtelMl, A, 2_000, 1),
        Row::within(OtelMl, B, 11_900, 8),
        Row::within(OtelMlSpans, B, 6_700, 7),
        Row::within(OtelMl, C, 16_200, 12),
        Row::within(OtelMlSpans, C, 12_400, 12),
    ],
    spans: |messages| messages.into(),
    prepare: publish,
};

pub(super) const RECEIVE: Suite = Suite {
    name: "amqp-receive",
    unit: "message",
    is_timed: false,
    rows: &[
        // Two more: an ack is awaited at once, and its waiting allocates or not.
        Row::within(OtelMl, A, 2_300, 2),
        Row::within(OtelMl, B, 16_200, 8),
        Row::within(OtelMlSpans, B, 8_300, 6),
        Row::within(OtelMl, C, 23_000, 18),
        Row::within(OtelMlSpans, C, 17_300, 18),
    ],
    // Its processing and its ack.
    spans: |messages| 2 * u64::from(messages),
    prepare: receive,
};

/// The variable that names a broker.
pub(super) const BROKER: &str = "AMQP_URL";
/// How many are published before the first answer is waited for.
const WIDTH: u32 = 50;
const LONG: Duration = Duration::from_secs(60);
const ACK: BasicAckOptions = BasicAckOptions { multiple: false };

/// A channel with confirms, and a queue of its own.
struct Connected {
    channel: Channel,
    queue: ShortString,
    /// Held for their life alone.
    _connection: Connection,
    runtime: Runtime,
}

impl Connected {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.unwrap_or_else(|error| unreachable!("no runtime: {error}"));
        let url = std::env::var(BROKER);
        let url = url.unwrap_or_else(|error| unreachable!("{BROKER}: {error}"));
        let connected = runtime.block_on(connect(&url));
        let (connection, channel, queue) =
            connected.unwrap_or_else(|error| unreachable!("no broker: {error}"));
        Self {
            channel,
            queue,
            _connection: connection,
            runtime,
        }
    }

    /// Runs `work` on the runtime's thread, where nothing is counted.
    fn elsewhere<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> T {
        let _runtime = self.runtime.enter();
        let done = wait(self.runtime.spawn(tokio::time::timeout(LONG, work)));
        let done = done.unwrap_or_else(|error| unreachable!("{error}"));
        let done = done.unwrap_or_else(|error| unreachable!("{error}"));
        done.unwrap_or_else(|error| unreachable!("{error}"))
    }

    fn consumer(&self) -> Consumer {
        let (channel, queue) = (self.channel.clone(), self.queue.clone());
        self.elsewhere(async move {
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            let tag = ShortString::default();
            channel.basic_consume(queue, tag, options, arguments).await
        })
    }

    /// So many messages of a sender, delivered: how long each is waited for is the broker's.
    fn delivered(&self, messages: u32, to: &Consumer, headers: &FieldTable) -> Vec<Delivery> {
        let (channel, queue) = (self.channel.clone(), self.queue.clone());
        let properties = BasicProperties::default().with_headers(headers.clone());
        let delivered = to.clone().take(messages as usize).try_collect();
        self.elsewhere(async move {
            let stored = (0..messages).map(|_| async {
                let written = publish_to(&channel, &queue, properties.clone()).await?;
                written.await
            });
            try_join_all(stored).await?;
            delivered.await
        })
    }
}

async fn connect(url: &str) -> Result<(Connection, Channel, ShortString)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let confirms = ConfirmSelectOptions::default();
    channel.confirm_select(confirms).await?;
    let options = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let queue = format!("otel-ml-bench-{}", std::process::id());
    let declaring = channel.queue_declare(queue.into(), options, FieldTable::default());
    let queue = declaring.await?.name().clone();
    Ok((connection, channel, queue))
}

const PAYLOAD: &[u8] = &[b'x'; 200];

fn publish_to(
    channel: &Channel,
    queue: &ShortString,
    properties: BasicProperties,
) -> impl Future<Output = Result<PublisherConfirm>> {
    let (exchange, options) = (ShortString::default(), BasicPublishOptions::default());
    channel.basic_publish(exchange, queue.clone(), options, PAYLOAD, properties)
}

fn publish(variant: Variant, condition: Condition) -> Iterate {
    let connected = Connected::new();
    let cx = caller(condition);
    let properties = || BasicProperties::default().with_headers(headers());
    if !variant.is_tracing() {
        return Box::new(move |messages| {
            let _attached = cx.clone().attach();
            let Connected { channel, queue, .. } = &connected;
            let publish = async || publish_to(channel, queue, properties()).await?.await;
            side_by_side(messages, WIDTH, publish, is_confirmed);
        });
    }
    let builder = OtelMlProducer::builder().telemetry(variant.telemetry());
    let producer = builder.client_id("bench").wrap(connected.channel.clone());
    Box::new(move |messages| {
        let _attached = cx.clone().attach();
        let Connected { queue, .. } = &connected;
        let (exchange, options) = (ShortString::default(), BasicPublishOptions::default());
        let publish = async || {
            let (exchange, queue) = (exchange.clone(), queue.clone());
            let written = producer.basic_publish(exchange, queue, options, PAYLOAD, properties());
            written.await?.await
        };
        side_by_side(messages, WIDTH, publish, is_confirmed);
    })
}

fn is_confirmed(answer: Result<Confirmation>) -> bool {
    matches!(answer, Ok(Confirmation::Ack(None)))
}

fn receive(variant: Variant, condition: Condition) -> Iterate {
    let connected = Connected::new();
    let mut sent = headers();
    let telemetry = Telemetry::global();
    telemetry.inject(&caller(condition), &mut HeadersInjector::new(&mut sent));
    let bare = connected.consumer();
    if !variant.is_tracing() {
        return Box::new(move |messages| {
            for delivery in connected.delivered(messages, &bare, &sent) {
                black_box(&delivery.data);
                let acked = wait(delivery.acker.ack(ACK));
                assert!(matches!(acked, Ok(true)), "not acked");
            }
        });
    }
    let builder = OtelMlConsumer::builder().telemetry(variant.telemetry());
    let consumer = builder.client_id("bench").wrap(bare.clone());
    Box::new(move |messages| {
        for delivery in connected.delivered(messages, &bare, &sent) {
            let received = consumer.received(delivery);
            let acked = wait(received.process(async |delivery| {
                black_box(&delivery.data);
                delivery.ack(ACK).await
            }));
            assert!(matches!(acked, Ok(true)), "not acked");
        }
    })
}
