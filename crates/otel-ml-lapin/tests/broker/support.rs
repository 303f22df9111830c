//! A connection, channels and queues of a test's own.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use otel_ml::Telemetry;
use otel_ml_lapin::lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use otel_ml_lapin::lapin::types::{AMQPValue, FieldTable, ShortString};
use otel_ml_lapin::lapin::uri::AMQPUri;
use otel_ml_lapin::lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use otel_ml_lapin::{OtelMlConsumer, OtelMlProducer, Received, otel_ml};
use otel_ml_testing::TestTelemetry;

pub(crate) use otel_ml_lapin::lapin;

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

/// A name that no other test has, nor an earlier run.
pub(crate) fn name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("otel-ml-{what}-{}-{number}", now.as_nanos())
}

/// What a table of every test is run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Plain,
    Confirm,
}

pub(crate) const MODES: [Mode; 2] = [Mode::Plain, Mode::Confirm];

/// Sits between client and broker.
pub(crate) struct Proxy {
    is_held: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// On a port of its own, to `broker`.
    fn to(broker: SocketAddr) -> (SocketAddr, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self {
            is_held: Arc::default(),
            connections: Arc::default(),
        };
        let (is_held, connections) = (Arc::clone(&proxy.is_held), Arc::clone(&proxy.connections));
        std::thread::spawn(move || {
            // As long as the process: tests are over sooner.
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect(broker).unwrap();
                let both = [client.try_clone().unwrap(), server.try_clone().unwrap()];
                connections.lock().unwrap().extend(both);
                let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pass(up, server, &AtomicBool::new(false)));
                let is_held = Arc::clone(&is_held);
                std::thread::spawn(move || pass(down, client, &is_held));
            }
        });
        (address, proxy)
    }

    /// Nothing of the broker's comes through any more.
    pub(crate) fn hold(&self) {
        self.is_held.store(true, Ordering::SeqCst);
    }

    /// The connections are gone.
    pub(crate) fn cut(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_held: &AtomicBool) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !is_held.load(Ordering::SeqCst) && to.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

fn url() -> String {
    std::env::var("AMQP_URL").expect("AMQP_URL: eval \"$(scripts/services up rabbitmq)\"")
}

pub(crate) struct Broker {
    pub(crate) connection: Connection,
}

impl Broker {
    pub(crate) async fn new() -> Self {
        Self::at(&url()).await
    }

    async fn at(url: &str) -> Self {
        let connecting = Connection::connect(url, ConnectionProperties::default());
        Self {
            connection: soon(connecting).await.unwrap(),
        }
    }

    /// With something in between that can be told to fail.
    pub(crate) async fn through_a_proxy() -> (Self, Proxy) {
        let url: AMQPUri = url().parse().unwrap();
        let authority = (url.authority.host.as_str(), url.authority.port);
        let broker = authority.to_socket_addrs().unwrap().next().unwrap();
        let (address, proxy) = Proxy::to(broker);
        (Self::at(&format!("amqp://{address}/%2f")).await, proxy)
    }

    pub(crate) async fn channel(&self, mode: Mode) -> Channel {
        let channel = soon(self.connection.create_channel()).await.unwrap();
        if mode == Mode::Confirm {
            let confirms = channel.confirm_select(ConfirmSelectOptions::default());
            soon(confirms).await.unwrap();
        }
        channel
    }

    /// A queue that goes away with the connection.
    pub(crate) async fn queue(&self, channel: &Channel, arguments: FieldTable) -> String {
        let queue = name("queue");
        let options = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let declaring = channel.queue_declare(short(&queue), options, arguments);
        soon(declaring).await.unwrap();
        queue
    }
}

pub(crate) fn short(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap()
}

pub(crate) fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(short(name), value.clone());
    }
    table
}

pub(crate) fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

pub(crate) fn producer(test: &TestTelemetry, channel: &Channel) -> OtelMlProducer {
    let builder = OtelMlProducer::builder().telemetry(telemetry(test));
    builder.wrap(channel.clone())
}

/// A message to the queue of this name, published and, where that is to be had, confirmed.
pub(crate) async fn publish<H>(producer: &OtelMlProducer<H>, queue: &str)
where
    H: for<'a> otel_ml::hooks::AllHooks<otel_ml_lapin::Outgoing<'a>>,
{
    publish_with(producer, queue, BasicProperties::default()).await;
}

pub(crate) async fn publish_with<H>(
    producer: &OtelMlProducer<H>,
    queue: &str,
    properties: BasicProperties,
) where
    H: for<'a> otel_ml::hooks::AllHooks<otel_ml_lapin::Outgoing<'a>>,
{
    let options = BasicPublishOptions::default();
    let publishing =
        producer.basic_publish(short(""), short(queue), options, b"payload", properties);
    let confirming = soon(publishing).await.unwrap();
    soon(confirming).await.unwrap();
}

/// A message published without any of this crate.
pub(crate) async fn publish_bare(channel: &Channel, queue: &str, headers: FieldTable) {
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default().with_headers(headers);
    let publishing =
        channel.basic_publish(short(""), short(queue), options, b"payload", properties);
    soon(soon(publishing).await.unwrap()).await.unwrap();
}

pub(crate) async fn consume_bare(channel: &Channel, queue: &str) -> lapin::Consumer {
    let options = BasicConsumeOptions::default();
    let consuming = channel.basic_consume(short(queue), short(""), options, FieldTable::default());
    soon(consuming).await.unwrap()
}

pub(crate) async fn consumer(
    test: &TestTelemetry,
    channel: &Channel,
    queue: &str,
) -> OtelMlConsumer {
    let builder = OtelMlConsumer::builder().telemetry(telemetry(test));
    builder.wrap(consume_bare(channel, queue).await)
}

pub(crate) async fn next<H>(consumer: &mut OtelMlConsumer<H>) -> Received<H> {
    soon(consumer.next()).await.unwrap().unwrap()
}

pub(crate) const ACK: BasicAckOptions = BasicAckOptions { multiple: false };

pub(crate) const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
