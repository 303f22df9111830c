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

use crate::hop::{Call, Fault, Handler, Hop, Link, Settings, sent_on};
use crate::memory::settled;
use crate::setup::check_readiness;

const TOPIC: &str = "otel-ml-matrix";
/// How long a broker may take.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A way through a broker and out again.
pub(crate) struct Route {
    topic: &'static str,
    config: ClientConfig,
    producer: BaseProducer,
    consumer: BaseConsumer,
    _mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

thread_local! {
    static ROUTE: Rc<Route> = Rc::new(Route::new(TOPIC));
}

impl Route {
    /// By `topic`, which nobody else has a route by: what is in it is taken out in order.
    pub(crate) fn new(topic: &'static str) -> Self {
        let named = std::env::var("KAFKA_BOOTSTRAP");
        let mock = named.is_err().then(|| MockCluster::new(1).unwrap());
        let bootstrap = match &mock {
            Some(mock) => mock.bootstrap_servers(),
            None => named.unwrap(),
        };
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("group.id", topic)
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "10");
        let route = Self {
            topic,
            producer: config.create().unwrap(),
            consumer: config.create().unwrap(),
            config,
            _mock: mock,
        };
        // The topic is there from the first message on, and may hold those of earlier runs.
        route.send(OwnedHeaders::new());
        route.consumer.assign(&route.end()).unwrap();
        route
    }

    pub(crate) const fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Where the next message will be.
    pub(crate) fn end(&self) -> TopicPartitionList {
        let (_, next) = self.consumer.fetch_watermarks(self.topic, 0, LONG).unwrap();
        let mut end = TopicPartitionList::new();
        end.add_partition_offset(self.topic, 0, Offset::Offset(next))
            .unwrap();
        end
    }

    pub(crate) fn send(&self, headers: OwnedHeaders) {
        let record: BaseRecord<'_, str, str> = BaseRecord::to(self.topic);
        let record = record.partition(0).payload("a").headers(headers);
        self.producer
            .send(record)
            .map_err(|(error, _)| error)
            .unwrap();
        self.producer.flush(LONG).unwrap();
    }

    /// The next message that was sent.
    pub(crate) fn next(&self) -> OwnedMessage {
        self.consumer.poll(LONG).expect("in time").unwrap().detach()
    }
}

pub(crate) fn owned(headers: &HeaderMap) -> OwnedHeaders {
    headers
        .iter()
        .fold(OwnedHeaders::new(), |all, (name, value)| {
            all.insert(Header {
                key: name.as_str(),
                value: Some(value.as_bytes()),
            })
        })
}

fn record(headers: &HeaderMap) -> Record<OwnedMessage> {
    ROUTE.with(|route| {
        route.send(owned(headers));
        Record::new(route.next())
    })
}

macro_rules! inner {
    ($handler:expr) => {
        service_fn(move |_record: Record<OwnedMessage>| {
            let handler = Handler::clone(&$handler);
            async move {
                settled(handler(sent_on()).await?).await;
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
    const NAME: &'static str = "kafka records";
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
