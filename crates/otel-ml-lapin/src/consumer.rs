//! The consumer.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use lapin::message::Delivery;
use lapin::{Channel, Consumer, Result};
use otel_ml::{Options, consumer_setters, option_setters};

use crate::DefaultHooks;
use crate::delivery::{Origin, OtelMlDelivery};
use crate::error::classifier;
use crate::puller::OtelMlPuller;
use crate::received::Received;

/// A [`Consumer`] whose messages come with their sender's context.
///
/// A stream of [`Received`], as the inner one is of deliveries; in everything else it is the inner
/// one, through `Deref`. Nothing is attached to a thread or task between messages: one message's
/// context never reaches the next. The end of the stream, when the consumer is cancelled, and
/// its errors are passed on as they come, and record nothing.
///
/// ```no_run
/// use futures_util::StreamExt as _;
/// use otel_ml_lapin::OtelMlConsumer;
/// use otel_ml_lapin::lapin::options::{BasicAckOptions, BasicConsumeOptions};
/// use otel_ml_lapin::lapin::types::FieldTable;
/// use otel_ml_lapin::lapin::{Channel, Result};
///
/// # async fn consume(channel: Channel) -> Result<()> {
/// let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
/// let consumer = channel.basic_consume("jobs".into(), "".into(), options, arguments);
/// let mut consumer = OtelMlConsumer::new(consumer.await?);
/// while let Some(received) = consumer.next().await {
///     let received = received?;
///     let score = received.process(async |delivery| {
///         // `MlSpan::current()` is this message's span, stages and sends are its children.
///         Ok::<_, std::io::Error>(delivery.data.len())
///     });
///     if score.await.is_ok() {
///         received.ack(BasicAckOptions::default()).await?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct OtelMlConsumer<H = DefaultHooks> {
    inner: Consumer,
    receiving: Receiving<H>,
}

/// How deliveries become [`Received`].
#[derive(Debug)]
pub(crate) struct Receiving<H> {
    pub(crate) options: Arc<Options<H>>,
    pub(crate) origin: Arc<Origin>,
}

impl<H> Receiving<H> {
    pub(crate) fn is_recorded(&self) -> bool {
        let telemetry = &self.options.telemetry;
        telemetry.is_tracing() || telemetry.instruments().is_some()
    }

    pub(crate) fn received(&self, delivery: Delivery) -> Received<H> {
        let telemetry = &self.options.telemetry;
        let is_wanted = self.is_recorded() || telemetry.is_propagating();
        let telemetry = is_wanted.then_some(telemetry);
        Received {
            delivery: OtelMlDelivery::delivered(delivery, telemetry, &self.origin),
            options: Arc::clone(&self.options),
        }
    }
}

impl<H> Clone for Receiving<H> {
    fn clone(&self) -> Self {
        Self {
            options: Arc::clone(&self.options),
            origin: Arc::clone(&self.origin),
        }
    }
}

impl OtelMlConsumer {
    /// Wraps `consumer`.
    #[must_use]
    pub fn new(consumer: Consumer) -> Self {
        Self::builder().wrap(consumer)
    }

    /// A consumer with settings of its own.
    pub fn builder() -> OtelMlConsumerBuilder {
        OtelMlConsumerBuilder {
            options: Options::default(),
            origin: Origin::default(),
        }
    }
}

impl<H> OtelMlConsumer<H> {
    /// A delivery that was received past this wrapper, such as by a
    /// [delegate](Consumer::set_delegate).
    pub fn received(&self, delivery: Delivery) -> Received<H> {
        self.receiving.received(delivery)
    }

    /// The inner consumer.
    pub const fn get_ref(&self) -> &Consumer {
        &self.inner
    }

    /// The inner consumer itself.
    #[must_use]
    pub fn into_inner(self) -> Consumer {
        self.inner
    }
}

impl<H> Stream for OtelMlConsumer<H> {
    type Item = Result<Received<H>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = Pin::new(&mut this.inner).poll_next(cx);
        next.map(|next| next.map(|next| next.map(|delivery| this.receiving.received(delivery))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

impl<H> Deref for OtelMlConsumer<H> {
    type Target = Consumer;

    fn deref(&self) -> &Consumer {
        &self.inner
    }
}

impl From<Consumer> for OtelMlConsumer {
    fn from(consumer: Consumer) -> Self {
        Self::new(consumer)
    }
}

impl<H> Clone for OtelMlConsumer<H> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            receiving: self.receiving.clone(),
        }
    }
}

impl<H> fmt::Debug for OtelMlConsumer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMlConsumer")
            .field("origin", &self.receiving.origin)
            .finish_non_exhaustive()
    }
}

/// Settings of a consumer. Setters take and return it by value. Hooks see the message as an
/// [`OtelMlDelivery`].
#[must_use]
pub struct OtelMlConsumerBuilder<H = DefaultHooks> {
    options: Options<H>,
    origin: Origin,
}

option_setters!(OtelMlConsumerBuilder<> { origin });
consumer_setters!(OtelMlConsumerBuilder);

impl<H> OtelMlConsumerBuilder<H> {
    /// `messaging.client.id`: lapin doesn't tell the connection's name.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.origin.client_id = Some(id.into());
        self
    }

    /// `server.address` and `server.port` of settling and pulling: lapin doesn't tell what a
    /// channel is connected to.
    pub fn server(mut self, address: impl Into<String>, port: u16) -> Self {
        self.origin.server = Some((address.into(), port));
        self
    }

    /// Names destinations by the template that `template` returns, where it returns one: for
    /// routing keys and queues whose names hold ids.
    ///
    /// # Cardinality
    /// Names that RabbitMQ generates are left out of span names and metric labels without this;
    /// those that an application makes up are not.
    pub fn destination_template(
        mut self,
        template: impl Fn(&Delivery) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        self.origin.template = Some(Arc::new(template));
        self
    }

    /// Wraps a consumer.
    #[must_use]
    pub fn wrap(mut self, inner: Consumer) -> OtelMlConsumer<H> {
        self.origin.queue = inner.queue().as_str().to_owned();
        let receiving = self.receiving();
        OtelMlConsumer { inner, receiving }
    }

    /// Gets messages from `channel`, one at a time.
    #[must_use]
    pub fn pull(self, channel: Channel) -> OtelMlPuller<H> {
        OtelMlPuller {
            inner: channel,
            receiving: self.receiving(),
        }
    }

    fn receiving(mut self) -> Receiving<H> {
        self.options.classify_by(classifier());
        // Settling asks no hooks: they are about what is processed.
        let (options, hooks) = self.options.swap_hooks(());
        self.origin.options = options.clone();
        Receiving {
            options: Arc::new(options.swap_hooks(hooks).0),
            origin: Arc::new(self.origin),
        }
    }
}

impl<H> fmt::Debug for OtelMlConsumerBuilder<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMlConsumerBuilder")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
