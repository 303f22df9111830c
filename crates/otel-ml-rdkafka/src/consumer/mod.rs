//! The consumer.

mod builder;

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::poll_fn;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use otel_ml::hooks::Filter;
use otel_ml::messaging::{Client, receive};
use otel_ml::semconv::messaging;
use otel_ml::{Options, Outcome, Since};
use rdkafka::consumer::{ConsumerContext, DefaultConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::util::{AsyncRuntime, DefaultRuntime};

pub use builder::OtelMlConsumerBuilder;

use crate::DefaultHooks;
use crate::received::{Batch, Received};
use crate::record::{Origin, Record};

/// A [`StreamConsumer`] whose messages come with their sender's context.
///
/// Made as the inner one is, by `config.create()` or `config.create_with_context(..)`, or with
/// settings by [`OtelMlConsumer::builder`]. In everything but receiving and committing it is
/// the inner one, through `Deref`. Nothing is attached to a thread or task between messages:
/// one message's context never reaches the next.
///
/// ```no_run
/// use otel_ml_rdkafka::OtelMlConsumer;
/// use otel_ml_rdkafka::rdkafka::ClientConfig;
/// use otel_ml_rdkafka::rdkafka::consumer::{CommitMode, Consumer as _};
/// use otel_ml_rdkafka::rdkafka::error::KafkaError;
/// use otel_ml_rdkafka::rdkafka::message::Message as _;
///
/// # async fn consume() -> Result<(), KafkaError> {
/// let consumer: OtelMlConsumer = ClientConfig::new()
///     .set("bootstrap.servers", "localhost:9092")
///     .set("group.id", "scorers")
///     .create()?;
/// consumer.subscribe(&["jobs"])?;
/// loop {
///     let received = consumer.recv().await?;
///     let score = received.process(async |message| {
///         // `MlSpan::current()` is this message's span, stages and sends are its children.
///         Ok::<_, std::io::Error>(message.payload().map_or(0, <[u8]>::len))
///     });
///     if score.await.is_ok() {
///         consumer.commit_message(&received, CommitMode::Async)?;
///     }
/// }
/// # }
/// ```
pub struct OtelMlConsumer<C = DefaultConsumerContext, R = DefaultRuntime, H = DefaultHooks>
where
    C: ConsumerContext + 'static,
{
    inner: Arc<StreamConsumer<C, R>>,
    pub(crate) options: Arc<Options<H>>,
    pub(crate) origin: Arc<Origin>,
    /// What ended the last batch and is still to be told.
    untold: Untold,
}

impl OtelMlConsumer {
    /// A consumer with settings of its own.
    pub fn builder() -> OtelMlConsumerBuilder {
        OtelMlConsumerBuilder {
            options: Options::default(),
            origin: Origin::default(),
        }
    }
}

impl<C, R, H> OtelMlConsumer<C, R, H>
where
    C: ConsumerContext + 'static,
{
    /// The next message. No span: it gets one when it is [processed](Received::process).
    ///
    /// # Errors
    /// Those of the inner consumer.
    ///
    /// # Cancel safety
    /// As safe as the inner consumer's: no message is lost.
    pub async fn recv(&self) -> KafkaResult<Received<'_, H>> {
        self.untold.tell()?;
        let message = self.inner.recv().await?;
        Ok(self.received(message))
    }

    /// The messages as a stream, which never ends.
    pub fn stream(&self) -> impl Stream<Item = KafkaResult<Received<'_, H>>> + Send + '_
    where
        C: Send + Sync,
        R: Send + Sync,
        H: Send + Sync,
    {
        let mut messages = self.inner.stream();
        poll_fn(move |cx| {
            if let Err(error) = self.untold.tell() {
                return Poll::Ready(Some(Err(error)));
            }
            let message = ready!(messages.poll_next_unpin(cx));
            Poll::Ready(message.map(|message| message.map(|message| self.received(message))))
        })
    }

    /// A message that was received past this wrapper, such as by a
    /// [partition queue](StreamConsumer::split_partition_queue) of [`get_ref`](Self::get_ref).
    pub fn received<'a>(&'a self, message: BorrowedMessage<'a>) -> Received<'a, H> {
        Received {
            record: self.record(message),
            options: &self.options,
        }
    }

    pub(crate) fn is_recorded(&self) -> bool {
        let telemetry = &self.options.telemetry;
        telemetry.is_tracing() || telemetry.instruments().is_some()
    }

    fn record<'a>(&self, message: BorrowedMessage<'a>) -> Record<BorrowedMessage<'a>> {
        let telemetry = &self.options.telemetry;
        let is_wanted = self.is_recorded() || telemetry.is_propagating();
        Record::delivered(message, is_wanted.then_some(telemetry), &self.origin)
    }

    /// The inner consumer.
    pub const fn get_ref(&self) -> &Arc<StreamConsumer<C, R>> {
        &self.inner
    }

    pub(crate) fn client(&self) -> Client<'_> {
        let mut client = Client::of(messaging::system::KAFKA);
        if let Some(id) = &self.origin.client_id {
            client = client.id(id);
        }
        if let Some(group) = &self.origin.group {
            client = client.consumer_group(group);
        }
        client
    }
}

impl<C, R, H> OtelMlConsumer<C, R, H>
where
    C: ConsumerContext + 'static,
    R: AsyncRuntime,
{
    /// Waits up to `wait` for a message, and takes with it what has arrived by then, up to
    /// `max`: what Kafka calls a poll. Recorded as a `poll {topic}` CLIENT span with a link to
    /// each sender, from the call to its return. Its messages are counted as consumed here,
    /// and not once more where they are processed. Nothing in time is an empty batch, without
    /// a span. A message that the filter refuses is in the batch, and neither linked nor counted.
    ///
    /// # Errors
    /// Those of the inner consumer. An error behind messages that were received doesn't take
    /// them away: the next call returns it, as do [`recv`](Self::recv) and
    /// [`stream`](Self::stream).
    ///
    /// # Cancel safety
    /// No message is lost: once the first is there, the rest is taken without waiting.
    pub async fn recv_batch<'s>(&'s self, max: usize, wait: Duration) -> KafkaResult<Batch<'s, H>>
    where
        H: Filter<Record<BorrowedMessage<'s>>>,
    {
        let since = Since::now();
        let mut batch = Batch {
            records: Vec::new(),
            options: &self.options,
        };
        self.untold.tell()?;
        if max == 0 {
            return Ok(batch);
        }
        let mut messages = self.inner.stream();
        let mut delay = std::pin::pin!(R::delay_for(wait));
        match select(messages.next(), delay.as_mut()).await {
            Either::Left((Some(first), _)) => batch.records.push(self.counted(first?)),
            Either::Left((None, _)) | Either::Right(_) => return Ok(batch),
        }
        while batch.records.len() < max {
            match messages.next().now_or_never().flatten() {
                Some(Ok(message)) => batch.records.push(self.counted(message)),
                Some(Err(error)) => {
                    self.untold.keep(error);
                    break;
                }
                None => break,
            }
        }
        if !self.is_recorded() {
            return Ok(batch);
        }
        let poll = messaging::operation::POLL;
        let operation = receive(poll, &self.client(), &batch.records, since, &self.options);
        if let Some(operation) = operation {
            operation.finish(Outcome::Ok);
        }
        Ok(batch)
    }

    fn counted<'a>(&self, message: BorrowedMessage<'a>) -> Record<BorrowedMessage<'a>> {
        let mut record = self.record(message);
        record.set_counted();
        record
    }
}

/// An error that is still to be told.
#[derive(Default)]
struct Untold {
    /// Looked at for each message: a lock is taken only where there is something.
    is_there: AtomicBool,
    error: Mutex<Option<KafkaError>>,
}

impl Untold {
    fn keep(&self, error: KafkaError) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.is_there.store(true, Ordering::Release);
    }

    fn tell(&self) -> KafkaResult<()> {
        if !self.is_there.load(Ordering::Relaxed) || !self.is_there.swap(false, Ordering::Acquire) {
            return Ok(());
        }
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        error.take().map_or(Ok(()), Err)
    }
}

impl<C: ConsumerContext + 'static, R, H> Deref for OtelMlConsumer<C, R, H> {
    type Target = StreamConsumer<C, R>;

    fn deref(&self) -> &StreamConsumer<C, R> {
        &self.inner
    }
}

impl<C: ConsumerContext + 'static, R, H> fmt::Debug for OtelMlConsumer<C, R, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMlConsumer")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;

    use super::*;

    /// An error that a batch came to behind its messages is not for the next batch alone.
    #[tokio::test]
    async fn what_is_untold_is_told_once_by_whatever_is_called_next() {
        // Without a broker, and so without errors of its own.
        let mut config = ClientConfig::new();
        config.set("group.id", "group-1");
        let consumer: OtelMlConsumer = config.create().unwrap();
        let error = KafkaError::PartitionEOF(7);
        consumer.untold.keep(error.clone());
        let told = consumer.recv().now_or_never().unwrap();
        assert_eq!(told.unwrap_err(), error);
        assert!(consumer.recv().now_or_never().is_none());

        let mut messages = consumer.stream();
        consumer.untold.keep(error.clone());
        let told = messages.next().now_or_never().unwrap().unwrap();
        assert_eq!(told.unwrap_err(), error);
        assert!(messages.next().now_or_never().is_none());
        drop(messages);

        consumer.untold.keep(error.clone());
        let told = consumer.recv_batch(1, Duration::ZERO).await;
        assert_eq!(told.unwrap_err(), error);
        let batch = consumer.recv_batch(1, Duration::ZERO).await.unwrap();
        assert!(batch.is_empty());
    }
}
