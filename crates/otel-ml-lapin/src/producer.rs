//! The producer.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;

use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Result};
use otel_ml::hooks::AllHooks;
use otel_ml::{Options, option_setters};

use crate::DefaultHooks;
use crate::error::classifier;
use crate::publish::{Confirming, Outgoing, Settings};

/// A [`Channel`] whose publishings are traced, and carry the trace on.
///
/// In everything but [`basic_publish`](Self::basic_publish) it is the channel, through `Deref`.
/// Cloning is cheap.
///
/// ```no_run
/// use otel_ml_lapin::OtelMlProducer;
/// use otel_ml_lapin::lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
/// use otel_ml_lapin::lapin::{BasicProperties, Channel, Result};
///
/// # async fn publish(channel: Channel) -> Result<()> {
/// channel.confirm_select(ConfirmSelectOptions::default()).await?;
/// let producer = OtelMlProducer::new(channel);
/// let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
/// let sent = producer.basic_publish("".into(), "jobs".into(), options, b"{}", properties);
/// // The span ends with the broker's answer.
/// let confirmation = sent.await?.await?;
/// assert!(confirmation.is_ack());
/// # Ok(())
/// # }
/// ```
pub struct OtelMlProducer<H = DefaultHooks> {
    inner: Channel,
    settings: Arc<Settings<H>>,
    keeps_context: bool,
}

impl OtelMlProducer {
    /// Wraps `channel`.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self::builder().wrap(channel)
    }

    /// A producer with settings of its own.
    pub fn builder() -> OtelMlProducerBuilder {
        OtelMlProducerBuilder {
            options: Options::default(),
            client_id: None,
            server: None,
            template: None,
            writes_send_time: false,
        }
    }
}

impl<H> OtelMlProducer<H>
where
    H: for<'a> AllHooks<Outgoing<'a>>,
{
    /// [`Channel::basic_publish`] in a `publish {exchange}:{routing_key}` PRODUCER span.
    ///
    /// # When it ends
    /// On a channel with confirms, with the broker's answer: await what is returned, see
    /// [`Confirming`]. Without, when the message is written. With an error, at once; dropped
    /// before, as cancelled.
    ///
    /// # Errors
    /// Those of the channel.
    pub async fn basic_publish(
        &self,
        exchange: ShortString,
        routing_key: ShortString,
        options: BasicPublishOptions,
        payload: &[u8],
        mut properties: BasicProperties,
    ) -> Result<Confirming<H>> {
        let outgoing = Outgoing {
            exchange: exchange.as_str(),
            routing_key: routing_key.as_str(),
            payload,
            properties: &properties,
        };
        let is_confirmed = self.inner.status().confirm();
        let begun = self
            .settings
            .begin(&outgoing, self.keeps_context, is_confirmed);
        let (mut operation, headers, mut ticket) = begun;
        if let Some(headers) = headers {
            properties = properties.with_headers(headers);
        }
        if let Some(ticket) = ticket
            .as_mut()
            .filter(|_| options.mandatory || options.immediate)
        {
            let sent = self.settings.sent(&exchange, &routing_key, &properties);
            ticket.sent = Some(sent);
        }
        let publishing =
            self.inner
                .basic_publish(exchange, routing_key, options, payload, properties);
        let mut publishing = pin!(publishing);
        let written = poll_fn(|cx| operation.scope(|| publishing.as_mut().poll(cx))).await;
        match written {
            Ok(confirm) => {
                if !is_confirmed {
                    let sent = Confirmation::NotRequested;
                    self.settings.end(&mut operation, Ok(&sent));
                }
                let settings = Arc::clone(&self.settings);
                Ok(Confirming::new(confirm, operation, ticket, settings))
            }
            Err(error) => {
                self.settings.end(&mut operation, Err(&error));
                Err(error)
            }
        }
    }
}

impl<H> OtelMlProducer<H> {
    /// The same producer for messages whose headers already hold a context that is to stay:
    /// one made for them when they were created, say. The span of publishing such a message is
    /// a CLIENT span that links to that context. A message without a valid one is published as
    /// ever.
    ///
    /// Without this a context in the headers is replaced: on a forwarded message it is a stale
    /// one, and that can't be told from one that was put there on purpose.
    #[must_use]
    pub fn keep_context(&self) -> Self {
        Self {
            keeps_context: true,
            ..self.clone()
        }
    }

    /// The channel.
    pub const fn get_ref(&self) -> &Channel {
        &self.inner
    }
}

impl<H> Deref for OtelMlProducer<H> {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.inner
    }
}

impl From<Channel> for OtelMlProducer {
    fn from(channel: Channel) -> Self {
        Self::new(channel)
    }
}

impl<H> Clone for OtelMlProducer<H> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            settings: Arc::clone(&self.settings),
            keeps_context: self.keeps_context,
        }
    }
}

impl<H> fmt::Debug for OtelMlProducer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMlProducer")
            .field("settings", &self.settings)
            .field("keeps_context", &self.keeps_context)
            .finish_non_exhaustive()
    }
}

/// Settings of a producer. Setters take and return it by value.
///
/// [`parent`](Self::parent), [`baggage`](Self::baggage): a publishing's parent is always the
/// current context, whose baggage is what may be copied. Hooks see the message as [`Outgoing`].
#[must_use]
pub struct OtelMlProducerBuilder<H = DefaultHooks> {
    options: Options<H>,
    client_id: Option<String>,
    server: Option<(String, u16)>,
    template: Option<Box<crate::publish::Template>>,
    writes_send_time: bool,
}

option_setters!(OtelMlProducerBuilder<> { client_id, server, template, writes_send_time });

impl<H> OtelMlProducerBuilder<H> {
    /// Writes the time of sending into a header,
    /// [`otel-ml-sent-at`](crate::carrier::SENT_AT), for the receiver's queue wait. Off by
    /// default: the wait is then counted from the message's timestamp property, which has whole
    /// seconds, and which the application sets or doesn't.
    pub fn send_time(mut self, wanted: bool) -> Self {
        self.writes_send_time = wanted;
        self
    }

    /// `messaging.client.id`: lapin doesn't tell the connection's name.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// `server.address` and `server.port`: lapin doesn't tell what a channel is connected to.
    pub fn server(mut self, address: impl Into<String>, port: u16) -> Self {
        self.server = Some((address.into(), port));
        self
    }

    /// Names destinations by the template that `template` returns, where it returns one: for
    /// routing keys that hold ids, such as `orders.{id}`.
    ///
    /// # Cardinality
    /// Names that RabbitMQ generates are left out of span names and metric labels without this;
    /// routing keys that an application makes up are not.
    pub fn destination_template(
        mut self,
        template: impl Fn(&Outgoing<'_>) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        self.template = Some(Box::new(template));
        self
    }

    /// Wraps `channel`.
    #[must_use]
    pub fn wrap(mut self, channel: Channel) -> OtelMlProducer<H> {
        self.options.classify_by(classifier());
        OtelMlProducer {
            inner: channel,
            settings: Arc::new(Settings {
                options: self.options,
                client_id: self.client_id,
                server: self.server,
                template: self.template,
                writes_send_time: self.writes_send_time,
                returns: Arc::default(),
            }),
            keeps_context: false,
        }
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
