//! The producer.

use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;

use otel_ml::hooks::AllHooks;
use otel_ml::{Options, option_setters};
use rdkafka::ClientConfig;
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{FromClientConfig, FromClientConfigAndContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::ToBytes;
use rdkafka::producer::future_producer::OwnedDeliveryResult;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::{AsyncRuntime, DefaultRuntime, Timeout};

use crate::DefaultHooks;
use crate::error::classifier;
use crate::send::{Delivering, Outgoing, Settings, told};
use crate::topic::Templates;

/// A [`FutureProducer`] whose sends are traced, and carry the trace on.
///
/// Made as the inner one is, by `config.create()` or `config.create_with_context(..)`, or with
/// settings by [`OtelMlProducer::builder`]. In everything but [`send`](Self::send) and
/// [`send_result`](Self::send_result) it is the inner one, through `Deref`: flushing, purging,
/// transactions. Cloning is cheap.
///
/// ```no_run
/// use std::time::Duration;
///
/// use otel_ml_rdkafka::OtelMlProducer;
/// use otel_ml_rdkafka::rdkafka::ClientConfig;
/// use otel_ml_rdkafka::rdkafka::producer::FutureRecord;
///
/// # async fn send() -> Result<(), otel_ml_rdkafka::rdkafka::error::KafkaError> {
/// let producer: OtelMlProducer = ClientConfig::new()
///     .set("bootstrap.servers", "localhost:9092")
///     .create()?;
/// let record = FutureRecord::to("jobs").key("user-7").payload("{}");
/// producer
///     .send(record, Duration::from_secs(1))
///     .await
///     .map_err(|(error, _message)| error)?;
/// # Ok(())
/// # }
/// ```
pub struct OtelMlProducer<C = DefaultClientContext, R = DefaultRuntime, H = DefaultHooks>
where
    C: ClientContext + 'static,
{
    inner: FutureProducer<C, R>,
    settings: Arc<Settings<H>>,
    keeps_context: bool,
}

impl OtelMlProducer {
    /// A producer with settings of its own.
    pub fn builder() -> OtelMlProducerBuilder {
        OtelMlProducerBuilder {
            options: Options::default(),
            client_id: None,
            records_keys: false,
            writes_send_time: false,
            templates: Templates::default(),
        }
    }
}

impl<C, R, H> OtelMlProducer<C, R, H>
where
    C: ClientContext + 'static,
    R: AsyncRuntime,
    H: for<'a> AllHooks<Outgoing<'a>>,
{
    /// [`FutureProducer::send`] in a `send {topic}` PRODUCER span.
    ///
    /// # When it ends
    /// With the broker's answer: partition and offset, or the error that the message came to,
    /// a full queue and a message that was refused at once included. Dropped before, as
    /// cancelled; the message may be stored all the same.
    ///
    /// # Errors
    /// Those of the inner producer. The message that comes back has the headers as they were
    /// sent; sending it again replaces the context in them.
    #[allow(
        clippy::result_large_err,
        reason = "the inner producer's own answer, which is its caller's to box"
    )]
    pub async fn send<K, P, T>(
        &self,
        mut record: FutureRecord<'_, K, P>,
        queue_timeout: T,
    ) -> OwnedDeliveryResult
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
        T: Into<Timeout>,
    {
        let mut operation = self.settings.begin(&mut record, self.keeps_context);
        let mut sending = pin!(self.inner.send(record, queue_timeout));
        // The application's `ToBytes` runs in there, and may panic.
        let answer = poll_fn(|cx| operation.scope(|| sending.as_mut().poll(cx))).await;
        self.settings.end(&mut operation, told(&answer));
        answer
    }

    /// [`FutureProducer::send_result`] in the same span as [`send`](Self::send).
    ///
    /// # Errors
    /// When the message can't be queued; the span ends with that. The record that comes back
    /// has the context in its headers; sending it again replaces it.
    #[expect(clippy::result_large_err, reason = "it is the inner producer's")]
    pub fn send_result<'a, K, P>(
        &self,
        mut record: FutureRecord<'a, K, P>,
    ) -> Result<Delivering<H>, (KafkaError, FutureRecord<'a, K, P>)>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let mut operation = self.settings.begin(&mut record, self.keeps_context);
        match operation.scope(|| self.inner.send_result(record)) {
            Ok(inner) => Ok(Delivering {
                inner,
                operation,
                settings: Arc::clone(&self.settings),
            }),
            Err(refused) => {
                self.settings.end(&mut operation, Err(&refused));
                Err(refused)
            }
        }
    }
}

impl<C, R, H> OtelMlProducer<C, R, H>
where
    C: ClientContext + 'static,
{
    /// The same producer for messages whose headers already hold a context that is to stay:
    /// one made for them when they were created, say. The span of sending such a message is a
    /// CLIENT span that links to that context. A message without a valid one is sent as ever.
    ///
    /// Without this a context in the headers is replaced: on a forwarded message it is a stale
    /// one, and that can't be told from one that was put there on purpose.
    pub fn keep_context(&self) -> Self {
        Self {
            keeps_context: true,
            ..self.clone()
        }
    }

    /// The inner producer.
    pub const fn get_ref(&self) -> &FutureProducer<C, R> {
        &self.inner
    }
}

impl<C: ClientContext + 'static, R, H> Deref for OtelMlProducer<C, R, H> {
    type Target = FutureProducer<C, R>;

    fn deref(&self) -> &FutureProducer<C, R> {
        &self.inner
    }
}

impl<C: ClientContext + 'static, R, H> Clone for OtelMlProducer<C, R, H> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            settings: Arc::clone(&self.settings),
            keeps_context: self.keeps_context,
        }
    }
}

impl<C: ClientContext + 'static, R, H> fmt::Debug for OtelMlProducer<C, R, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMlProducer")
            .field("keeps_context", &self.keeps_context)
            .finish_non_exhaustive()
    }
}

impl<R: AsyncRuntime> FromClientConfig for OtelMlProducer<DefaultClientContext, R> {
    fn from_config(config: &ClientConfig) -> KafkaResult<Self> {
        OtelMlProducer::builder().create(config)
    }
}

impl<C, R> FromClientConfigAndContext<C> for OtelMlProducer<C, R>
where
    C: ClientContext + 'static,
    R: AsyncRuntime,
{
    fn from_config_and_context(config: &ClientConfig, context: C) -> KafkaResult<Self> {
        OtelMlProducer::builder().create_with_context(config, context)
    }
}

/// Settings of a producer. Setters take and return it by value.
///
/// [`parent`](Self::parent), [`baggage`](Self::baggage): a send's parent is always the current
/// context, whose baggage is what may be copied. Hooks see the message as [`Outgoing`].
#[must_use]
pub struct OtelMlProducerBuilder<H = DefaultHooks> {
    options: Options<H>,
    client_id: Option<String>,
    records_keys: bool,
    writes_send_time: bool,
    templates: Templates,
}

option_setters!(OtelMlProducerBuilder<> { client_id, records_keys, writes_send_time, templates });

impl<H> OtelMlProducerBuilder<H> {
    /// Writes the time of sending into a header,
    /// [`otel-ml-sent-at`](crate::carrier::SENT_AT), for the receiver's queue wait. Off by
    /// default: the wait is then counted from the message's create time, which has
    /// milliseconds, which the application may choose, and which is missing from topics that
    /// keep the time of storing instead.
    pub fn send_time(mut self, wanted: bool) -> Self {
        self.writes_send_time = wanted;
        self
    }

    /// Records messages' keys, where they are text. Off by default: keys may name people.
    pub fn message_keys(mut self, recorded: bool) -> Self {
        self.records_keys = recorded;
        self
    }

    /// Tells the template of a topic whose name is made from one, such as `replies-{tenant}` of
    /// `replies-acme`; `None` for one that stands for itself.
    ///
    /// # Cardinality
    /// Such a topic's span name and metric labels have the template, and its own name is on the
    /// span alone.
    pub fn topic_template(
        mut self,
        template: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        self.templates = Templates::new(template);
        self
    }

    /// `messaging.client.id`, where the producer isn't made from a configuration that says it.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// Wraps a producer that is there already.
    #[must_use]
    pub fn wrap<C, R>(mut self, inner: FutureProducer<C, R>) -> OtelMlProducer<C, R, H>
    where
        C: ClientContext + 'static,
    {
        self.options.classify_by(classifier());
        OtelMlProducer {
            inner,
            settings: Arc::new(Settings {
                options: self.options,
                client_id: self.client_id,
                records_keys: self.records_keys,
                writes_send_time: self.writes_send_time,
                templates: self.templates,
            }),
            keeps_context: false,
        }
    }

    /// Makes the producer.
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub fn create<R: AsyncRuntime>(
        self,
        config: &ClientConfig,
    ) -> KafkaResult<OtelMlProducer<DefaultClientContext, R, H>> {
        self.create_with_context(config, DefaultClientContext)
    }

    /// Makes the producer, with a context of the application's.
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub fn create_with_context<C, R>(
        mut self,
        config: &ClientConfig,
        context: C,
    ) -> KafkaResult<OtelMlProducer<C, R, H>>
    where
        C: ClientContext + 'static,
        R: AsyncRuntime,
    {
        let told = || config.get("client.id").map(str::to_owned);
        self.client_id = self.client_id.or_else(told);
        Ok(self.wrap(FutureProducer::from_config_and_context(config, context)?))
    }
}

impl<H> fmt::Debug for OtelMlProducerBuilder<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMlProducerBuilder")
            .field("client_id", &self.client_id)
            .field("send_time", &self.writes_send_time)
            .finish_non_exhaustive()
    }
}
