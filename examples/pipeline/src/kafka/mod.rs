//! Requests and replies over Kafka: how the gateway asks the retrieve hop when hops are to go
//! by it. A request carries a number and comes to one topic, its reply with the same number to
//! another.

mod broker;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use otel_ml::Telemetry;
use otel_ml_rdkafka::rdkafka::error::{KafkaError, KafkaResult};
use otel_ml_rdkafka::rdkafka::message::{
    BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders,
};
use otel_ml_rdkafka::rdkafka::producer::FutureRecord;
use otel_ml_rdkafka::{OtelMlConsumer, OtelMlProducer, Received};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub use broker::{Broker, Topics};

use crate::client::CallError;

/// What requests and replies have in common: a number, so that each finds its other.
const NUMBER: &str = "request-number";
/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(30);

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
