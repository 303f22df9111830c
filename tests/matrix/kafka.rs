//! Messages of Kafka: each call sends one through a broker, inside the process or the one that
//! `KAFKA_BOOTSTRAP` names, and hands what comes out to the consumer layer.

use std::future::{Ready, ready};
use std::rc::Rc;
use std::time::Duration;

use http::HeaderMap;
use otel_ml::OtelMlConsumerLayer;
use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml_rdkafka::Record;
use otel_ml_rdkafka::rdkafka::consumer::{BaseConsumer, Consumer as _};
use otel_ml_rdkafka::rdkafka::message::{Header, OwnedHeaders, OwnedMessage};
use otel_ml_rdkafka::rdkafka::mocking::MockCluster;
use otel_ml_rdkafka::rdkafka::producer::{
    BaseProducer, BaseRecord, DefaultProducerContext, Producer as _,
};
use otel_ml_rdkafka::rdkafka::{ClientConfig, Offset, TopicPartitionList};
use otel_ml_testing::TestTelemetry;
use tower::{Layer as _, Service, service_fn};

use crate::hop::{Call, Fault, Handler, Hop, Link, Reply, Settings, sent_on};
use crate::setup::check_readiness;

const TOPIC: &str = "otel-ml-matrix";
const LONG: Duration = Duration::from_secs(20);

/// A way through a broker and out again.
struct Route {
    producer: BaseProducer,
    consumer: BaseConsumer,
    _mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

thread_local! {
    static ROUTE: Rc<Route> = Rc::new(Route::new());
}

impl Route {
    fn new() -> Self {
        let named = std::env::var("KAFKA_BOOTSTRAP");
        let mock = named.is_err().then(|| MockCluster::new(1).unwrap());
        let bootstrap = match &mock {
            Some(mock) => mock.bootstrap_servers(),
            None => named.unwrap(),
        };
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("group.id", TOPIC)
            .set("fetch.wait.max.ms", "10");
        let route = Self {
            producer: config.create().unwrap(),
            consumer: config.create().unwrap(),
            _mock: mock,
        };
        // The topic is there from the first message on, and may hold those of earlier runs.
        route.send(OwnedHeaders::new());
        let (_, end) = route.consumer.fetch_watermarks(TOPIC, 0, LONG).unwrap();
        let mut from_here = TopicPartitionList::new();
        from_here
            .add_partition_offset(TOPIC, 0, Offset::Offset(end))
            .unwrap();
        route.consumer.assign(&from_here).unwrap();
        route
    }

    fn send(&self, headers: OwnedHeaders) {
        let record: BaseRecord<'_, str, str> = BaseRecord::to(TOPIC);
        let record = record.partition(0).payload("a").headers(headers);
        self.producer
            .send(record)
            .map_err(|(error, _)| error)
            .unwrap();
        self.producer.flush(LONG).unwrap();
    }

    fn through(&self, headers: &HeaderMap) -> Record<OwnedMessage> {
        let all = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (name, value)| {
                all.insert(Header {
                    key: name.as_str(),
                    value: Some(value.as_bytes()),
                })
            });
        self.send(all);
        let message = self.consumer.poll(LONG).expect("in time").unwrap();
        Record::new(message.detach())
    }
}

fn record(headers: &HeaderMap) -> Record<OwnedMessage> {
    ROUTE.with(|route| route.through(headers))
}

macro_rules! inner {
    ($handler:expr) => {
        service_fn(move |_record: Record<OwnedMessage>| {
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

struct Consuming<S>(S);

impl<S> Link for Consuming<S>
where
    S: Service<Record<OwnedMessage>, Response = (), Error = Fault, Future: 'static>,
{
    fn call(&mut self, headers: &HeaderMap) -> Call {
        Box::pin(self.0.call(record(headers)))
    }
}

pub(crate) struct Kafka;

impl Hop for Kafka {
    const NAME: &'static str = "kafka messages";
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
            .filter(move |_: &Record<OwnedMessage>| accepts)
            .build();
        Box::new(Consuming(layer.layer(inner!(handler))))
    }

    fn unit_link(handler: Handler) -> Box<dyn Link> {
        Box::new(Consuming(OtelMlConsumerLayer.layer(inner!(handler))))
    }

    fn readiness() -> Ready<()> {
        let test = TestTelemetry::new();
        let layer = OtelMlConsumerLayer::builder()
            .telemetry(test.telemetry())
            .build();
        check_readiness(&layer, || record(&HeaderMap::new()), || ());
        assert_eq!(test.spans().len(), 2);
        ready(())
    }
}
