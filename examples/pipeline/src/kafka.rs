//! Requests and replies over Kafka: how the gateway asks the retrieve hop when hops are to go
//! by it. A request carries a number and comes to one topic, its reply with the same number to
//! another. The broker is the one that `KAFKA_BOOTSTRAP` names, else one inside the process; the
//! topics are a run's own, so that of two on one broker neither answers the other's requests.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use otel_ml::Telemetry;
use otel_ml_rdkafka::rdkafka::admin::{
    AdminClient, AdminOptions, NewTopic, TopicReplication, TopicResult,
};
use otel_ml_rdkafka::rdkafka::client::DefaultClientContext;
use otel_ml_rdkafka::rdkafka::consumer::Consumer as _;
use otel_ml_rdkafka::rdkafka::error::{KafkaError, KafkaResult};
use otel_ml_rdkafka::rdkafka::message::{
    BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders,
};
use otel_ml_rdkafka::rdkafka::mocking::MockCluster;
use otel_ml_rdkafka::rdkafka::producer::{DefaultProducerContext, FutureRecord};
use otel_ml_rdkafka::rdkafka::{ClientConfig, Offset, TopicPartitionList};
use otel_ml_rdkafka::{OtelMlConsumer, OtelMlProducer, Received};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::client::CallError;

/// What requests and replies have in common: a number, so that each finds its other.
const NUMBER: &str = "request-number";
/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the broker may take for what a start needs.
const START: Duration = Duration::from_secs(10);

/// A broker, the way to it, and the topics that this run has on it.
pub struct Broker {
    config: ClientConfig,
    /// Lives as long as this does.
    mock: Option<Rc<MockCluster<'static, DefaultProducerContext>>>,
    /// What the names of this run's topics end with.
    run: String,
}

fn new_run() -> String {
    format!("{:08x}", fastrand::u32(..))
}

impl Broker {
    /// The one that `KAFKA_BOOTSTRAP` names, else one inside the process.
    ///
    /// # Errors
    /// When the latter can't be made.
    pub fn new() -> KafkaResult<Self> {
        let named = std::env::var("KAFKA_BOOTSTRAP").ok();
        let mock = match &named {
            Some(_) => None,
            None => Some(Rc::new(MockCluster::new(1)?)),
        };
        let inside = || mock.as_ref().map(|mock| mock.bootstrap_servers());
        let bootstrap = named.or_else(inside).unwrap_or_default();
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            // One question at a time is not to wait for a second, neither here nor there.
            .set("linger.ms", "0");
        let run = new_run();
        Ok(Self { config, mock, run })
    }

    /// The same broker for another run.
    #[must_use]
    pub fn for_another_run(&self) -> Self {
        Self {
            config: self.config.clone(),
            mock: self.mock.clone(),
            run: new_run(),
        }
    }

    /// This run's topic for what `template` stands for.
    fn topic(&self, template: &str) -> String {
        format!("{template}-{}", self.run)
    }

    /// Makes this run's `topics`.
    ///
    /// # Errors
    /// When the broker does not answer, or refuses.
    pub async fn make(&self, topics: Topics) -> KafkaResult<()> {
        let names = topics.all().map(|template| self.topic(template));
        if let Some(mock) = &self.mock {
            return names
                .iter()
                .try_for_each(|name| mock.create_topic(name, 1, 1));
        }
        let topics = names
            .each_ref()
            .map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1)));
        let made = self.admin()?.create_topics(&topics, &AdminOptions::new());
        answered(made.await?)
    }

    /// Takes this run's `topics` away again: nobody else knows them.
    ///
    /// # Errors
    /// When the broker does not answer, or refuses.
    pub async fn remove(&self, topics: Topics) -> KafkaResult<()> {
        // One inside the process goes with it.
        if self.mock.is_some() {
            return Ok(());
        }
        let names = topics.all().map(|template| self.topic(template));
        let names = names.each_ref().map(String::as_str);
        let removed = self.admin()?.delete_topics(&names, &AdminOptions::new());
        answered(removed.await?)
    }

    fn admin(&self) -> KafkaResult<AdminClient<DefaultClientContext>> {
        self.config.create()
    }

    /// A producer that writes down when it sends.
    fn producer(&self, telemetry: &Telemetry, topics: Topics) -> KafkaResult<OtelMlProducer> {
        OtelMlProducer::builder()
            .telemetry(telemetry.clone())
            .topic_template(move |topic| topics.template_of(topic))
            .send_time(true)
            .create(&self.config)
    }

    /// A consumer of what is sent from now on to the one of `topics` that `template` stands for.
    fn consumer(
        &self,
        telemetry: &Telemetry,
        topics: Topics,
        template: &str,
    ) -> KafkaResult<OtelMlConsumer> {
        let topic = self.topic(template);
        let mut config = self.config.clone();
        config
            .set("group.id", template)
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "10");
        let consumer: OtelMlConsumer = OtelMlConsumer::builder()
            .telemetry(telemetry.clone())
            .topic_template(move |topic| topics.template_of(topic))
            .queue_wait_span(true)
            .create(&config)?;
        let (_, end) = consumer.fetch_watermarks(&topic, 0, START)?;
        let mut from_now = TopicPartitionList::new();
        from_now.add_partition_offset(&topic, 0, Offset::Offset(end))?;
        consumer.assign(&from_now)?;
        Ok(consumer)
    }
}

/// What the broker has said of each topic.
fn answered(topics: Vec<TopicResult>) -> KafkaResult<()> {
    let refusal = topics.into_iter().find_map(Result::err);
    refusal.map_or(Ok(()), |(_, refused)| Err(KafkaError::AdminOp(refused)))
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("is_mock", &self.mock.is_some())
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// Something that consumes until it is stopped.
#[derive(Debug)]
pub struct Consuming {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Consuming {
    /// Handles `width` messages at a time by `handle`, in the order of their arrival.
    fn start<H, Fut>(consumer: OtelMlConsumer, width: usize, handle: H) -> Self
    where
        H: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Unhandled>> + Send,
    {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut handled = FuturesUnordered::new();
            loop {
                tokio::select! {
                    Some(_) = handled.next() => {}
                    received = consumer.recv(), if handled.len() < width => {
                        // librdkafka mends itself: an error is no reason to end.
                        if let Ok(received) = received {
                            handled.push(process(received, &handle));
                        }
                    }
                    _ = stopped.changed() => break,
                }
            }
            while handled.next().await.is_some() {}
        });
        Self { stop, task }
    }

    /// Takes no more messages, and waits up to `patience` for those that are being handled.
    pub async fn stop(self, patience: Duration) {
        let _ = self.stop.send(true);
        let _ = tokio::time::timeout(patience, self.task).await;
    }
}

async fn process<H, Fut>(received: Received<'_>, handle: &H)
where
    H: Fn(Request) -> Fut,
    Fut: Future<Output = Result<(), Unhandled>>,
{
    let handled = received.process(|message| handle(Request::of(message)));
    // The span says what became of it, and whoever waits for the answer learns it by waiting.
    let _ = handled.await;
}

/// A message as handlers see it.
#[derive(Debug)]
pub struct Request {
    number: Option<Vec<u8>>,
    body: Vec<u8>,
}

impl Request {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter());
        let number = headers.filter(|header| header.key == NUMBER).last();
        Self {
            number: number.and_then(|header| header.value).map(<[u8]>::to_vec),
            body: message.payload().unwrap_or_default().to_vec(),
        }
    }
}

/// Why a message was not handled.
#[derive(Debug)]
pub enum Unhandled {
    /// It is not what it should be.
    Malformed,
    /// Nobody waits for it.
    Unexpected,
    /// The reply could not be sent.
    Unsent,
}

/// Answers the requests that come to `topics`, `width` at a time.
///
/// # Errors
/// When the broker does not answer.
pub fn serve<Q, A, H, Fut>(
    broker: &Broker,
    telemetry: &Telemetry,
    topics: Topics,
    width: usize,
    answer: H,
) -> KafkaResult<Consuming>
where
    Q: DeserializeOwned + Send,
    A: Serialize + Send,
    H: Fn(Q) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = A> + Send,
{
    let consumer = broker.consumer(telemetry, topics, topics.requests)?;
    let producer = broker.producer(telemetry, topics)?;
    let replies: Arc<str> = broker.topic(topics.replies).into();
    let answer = Arc::new(answer);
    Ok(Consuming::start(consumer, width, move |request| {
        let (producer, answer) = (producer.clone(), Arc::clone(&answer));
        let replies = Arc::clone(&replies);
        async move {
            let number = request.number.ok_or(Unhandled::Malformed)?;
            let asked = serde_json::from_slice(&request.body);
            let reply = answer(asked.map_err(|_| Unhandled::Malformed)?).await;
            let body = serde_json::to_vec(&reply).map_err(|_| Unhandled::Malformed)?;
            let sent = producer.send(record(&replies, &number, &body), PATIENCE);
            sent.await.map(|_| ()).map_err(|_| Unhandled::Unsent)
        }
    }))
}

fn record<'a>(topic: &'a str, number: &[u8], body: &'a [u8]) -> FutureRecord<'a, str, [u8]> {
    let headers = OwnedHeaders::new().insert(Header {
        key: NUMBER,
        value: Some(number),
    });
    FutureRecord::to(topic)
        .partition(0)
        .payload(body)
        .headers(headers)
}

/// Where requests and their replies go: what the names of their topics begin with, whoever's
/// they are.
#[derive(Clone, Copy, Debug)]
pub struct Topics {
    /// Requests.
    pub requests: &'static str,
    /// Replies.
    pub replies: &'static str,
}

impl Topics {
    const fn all(self) -> [&'static str; 2] {
        [self.requests, self.replies]
    }

    fn template_of(self, topic: &str) -> Option<&'static str> {
        let mut all = self.all().into_iter();
        all.find(|template| topic.starts_with(template))
    }
}

type Waiting = Arc<Mutex<HashMap<Vec<u8>, oneshot::Sender<Vec<u8>>>>>;

/// The asking side.
#[derive(Clone, Debug)]
pub struct Requests {
    producer: OtelMlProducer,
    topics: Topics,
    /// This run's.
    requests: Arc<str>,
    waiting: Waiting,
}

impl Requests {
    /// A way to ask, and what takes the replies in.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub fn start(
        broker: &Broker,
        telemetry: &Telemetry,
        topics: Topics,
    ) -> KafkaResult<(Self, Consuming)> {
        let waiting = Waiting::default();
        let consumer = broker.consumer(telemetry, topics, topics.replies)?;
        let awaited = Arc::clone(&waiting);
        let replies = Consuming::start(consumer, 1, move |reply| {
            let taken = reply
                .number
                .and_then(|number| lock(&awaited).remove(&number));
            // Another process may have asked, or this one has given up.
            let told = taken.and_then(|waiting| waiting.send(reply.body).ok());
            std::future::ready(told.ok_or(Unhandled::Unexpected))
        });
        let requests = Self {
            producer: broker.producer(telemetry, topics)?,
            topics,
            requests: broker.topic(topics.requests).into(),
            waiting,
        };
        Ok((requests, replies))
    }

    /// Sends `body` and waits for the reply.
    ///
    /// # Errors
    /// When it can't be sent, there is no reply in time, or it is something else than expected.
    pub async fn call<A: DeserializeOwned>(&self, body: &impl Serialize) -> Result<A, CallError> {
        let topic = self.topics.requests;
        let unexpected = |source| CallError::Unexpected {
            path: topic,
            source,
        };
        let body = serde_json::to_vec(body).map_err(unexpected)?;
        let number = format!("{:032x}", fastrand::u128(..)).into_bytes();
        let (reply, replied) = oneshot::channel();
        lock(&self.waiting).insert(number.clone(), reply);
        let _forgotten = Forget(&self.waiting, &number);
        let record = record(&self.requests, &number, &body);
        let sent = self.producer.send(record, PATIENCE);
        let unsent = |source: KafkaError| CallError::Unsent { topic, source };
        sent.await.map_err(|(error, _)| unsent(error))?;
        let reply = tokio::time::timeout(PATIENCE, replied).await;
        match reply {
            Ok(Ok(reply)) => serde_json::from_slice(&reply).map_err(unexpected),
            _ => Err(CallError::Unanswered { topic }),
        }
    }
}

/// A request that nobody waits for any more.
struct Forget<'a>(&'a Waiting, &'a [u8]);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(self.0).remove(self.1);
    }
}

fn lock(waiting: &Waiting) -> MutexGuard<'_, HashMap<Vec<u8>, oneshot::Sender<Vec<u8>>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
