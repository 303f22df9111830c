//! Messages of RabbitMQ: each call publishes one through the broker that `AMQP_URL` names, on a
//! plain channel or one with confirms, and hands what comes out to the consumer layer. Without
//! a broker it is handed over as it would come.

use std::cell::OnceCell;
use std::future::{Ready, ready};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use http::HeaderMap;
use otel_ml::OtelMlConsumerLayer;
use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml_lapin::OtelMlDelivery;
use otel_ml_lapin::lapin::message::Delivery;
use otel_ml_lapin::lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use otel_ml_lapin::lapin::types::{AMQPValue, FieldTable, ShortString};
use otel_ml_lapin::lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Result};
use otel_ml_testing::TestTelemetry;
use tokio::runtime::Runtime;
use tower::{Layer as _, Service, service_fn};

use crate::hop::{Call, Fault, Handler, Hop, Link, Reply, Settings, sent_on};
use crate::setup::check_readiness;

const QUEUE: &str = "otel-ml-matrix";
const LONG: Duration = Duration::from_secs(20);

/// A way through a broker and out again, on a runtime of its own: the matrix's calls are not
/// asynchronous.
struct Route {
    runtime: Runtime,
    channel: Channel,
    queue: ShortString,
    _connection: Connection,
}

thread_local! {
    static ROUTES: [OnceCell<Option<Route>>; 2] = const { [OnceCell::new(), OnceCell::new()] };
}

impl Route {
    fn new(confirms: bool) -> Option<Self> {
        let url = std::env::var("AMQP_URL").ok()?;
        // The rows run on a runtime, which none other may block.
        let opened = std::thread::spawn(move || {
            let runtime = Runtime::new().unwrap();
            let opened = runtime.block_on(open(&url, confirms)).unwrap();
            (runtime, opened)
        });
        let (runtime, (connection, channel, queue)) = opened.join().unwrap();
        Some(Self {
            runtime,
            channel,
            queue,
            _connection: connection,
        })
    }

    fn through(&self, headers: FieldTable) -> Delivery {
        let (channel, queue) = (self.channel.clone(), self.queue.clone());
        let (sender, receiver) = std::sync::mpsc::channel();
        self.runtime.spawn(async move {
            sender.send(pass(&channel, queue, headers).await).unwrap();
        });
        receiver.recv_timeout(LONG).expect("in time").unwrap()
    }
}

async fn open(url: &str, confirms: bool) -> Result<(Connection, Channel, ShortString)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    if confirms {
        let options = ConfirmSelectOptions::default();
        channel.confirm_select(options).await?;
    }
    // Named by the broker, so that runs don't meet, and gone with the connection.
    let options = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let declaring = channel.queue_declare("".into(), options, FieldTable::default());
    let queue = declaring.await?.name().clone();
    Ok((connection, channel, queue))
}

async fn pass(channel: &Channel, queue: ShortString, headers: FieldTable) -> Result<Delivery> {
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default().with_headers(headers);
    let publishing = channel.basic_publish("".into(), queue.clone(), options, b"a", properties);
    publishing.await?.await?;
    let deadline = Instant::now() + LONG;
    loop {
        let options = BasicGetOptions { no_ack: true };
        if let Some(message) = channel.basic_get(queue.clone(), options).await? {
            return Ok(message.delivery);
        }
        // Without confirms it may still be under way.
        assert!(Instant::now() < deadline, "it does not arrive");
    }
}

fn table(headers: &HeaderMap) -> FieldTable {
    let mut table = FieldTable::default();
    // A table has a name once: of a repeated one the last is called so, and one before it is
    // in another case.
    for (name, value) in headers.iter().collect::<Vec<_>>().into_iter().rev() {
        let name = match name.as_str() {
            name if table.contains_key(name) => name.to_uppercase(),
            name => name.to_owned(),
        };
        let name = ShortString::try_new(name).unwrap();
        table.insert(name, AMQPValue::LongString(value.as_bytes().into()));
    }
    table
}

fn delivery(confirms: bool, headers: &HeaderMap) -> OtelMlDelivery {
    let table = table(headers);
    let arrived = ROUTES.with(|routes| {
        let route = routes[usize::from(confirms)].get_or_init(|| Route::new(confirms));
        route.as_ref().map(|route| route.through(table.clone()))
    });
    let mut delivery = arrived.unwrap_or_else(|| {
        let (exchange, key) = (ShortString::default(), ShortString::default());
        let mut delivery = Delivery::mock(1, exchange, key, false, b"a".to_vec());
        delivery.properties = BasicProperties::default().with_headers(table);
        delivery
    });
    // As if its queue were called so.
    delivery.routing_key = QUEUE.into();
    OtelMlDelivery::new(delivery)
}

macro_rules! inner {
    ($handler:expr) => {
        service_fn(move |_delivery: OtelMlDelivery| {
            let handler = Handler::clone(&$handler);
            async move {
                // A message has no answer: one without an end is a handler that hangs.
                if let Reply::Endless = handler(sent_on()).await? {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Fault>(())
            }
        })
    };
}

struct Consuming<S, const CONFIRMS: bool>(S);

impl<S, const CONFIRMS: bool> Link for Consuming<S, CONFIRMS>
where
    S: Service<OtelMlDelivery, Response = (), Error = Fault, Future: 'static>,
{
    fn call(&mut self, headers: &HeaderMap) -> Call {
        self.0.call(delivery(CONFIRMS, headers)).boxed_local()
    }
}

pub(crate) struct Amqp<const CONFIRMS: bool>;

impl<const CONFIRMS: bool> Hop for Amqp<CONFIRMS> {
    const NAME: &'static str = if CONFIRMS {
        "amqp messages, confirmed"
    } else {
        "amqp messages"
    };
    const SPAN: (&'static str, SpanKind) = ("process otel-ml-matrix", SpanKind::Consumer);
    const DURATION: &'static str = "messaging.process.duration";
    const IN_FLIGHT: Option<&'static str> = None;
    const DROPPED: Option<&'static str> = Some("cancelled");
    const READS_CONTEXT: bool = true;
    const LAST_PARENT_WINS: bool = true;

    fn link(settings: Settings, handler: Handler) -> Box<dyn Link> {
        let accepts = settings.accepts;
        let layer = OtelMlConsumerLayer::builder()
            .telemetry(settings.telemetry)
            .filter(move |_: &OtelMlDelivery| accepts)
            .build();
        Box::new(Consuming::<_, CONFIRMS>(layer.layer(inner!(handler))))
    }

    fn unit_link(handler: Handler) -> Box<dyn Link> {
        let service = OtelMlConsumerLayer.layer(inner!(handler));
        Box::new(Consuming::<_, CONFIRMS>(service))
    }

    fn readiness() -> Ready<()> {
        let test = TestTelemetry::new();
        let layer = OtelMlConsumerLayer::builder()
            .telemetry(test.telemetry())
            .build();
        check_readiness(&layer, || delivery(CONFIRMS, &HeaderMap::new()), || ());
        assert_eq!(test.spans().len(), 2);
        ready(())
    }
}
