//! A message as the core sees it.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use otel_ml::messaging::{Client, Destination, Message};
use otel_ml::opentelemetry::Context;
use otel_ml::semconv::{messaging, ml, rabbitmq};
use otel_ml::{Attributes, Detail, Options, Telemetry};

use crate::carrier::HeadersExtractor;
use crate::destination::Name;

/// Names a destination by a template, where it returns one.
pub(crate) type Template = dyn Fn(&Delivery) -> Option<&'static str> + Send + Sync;

/// Whom messages were delivered to.
#[derive(Clone, Default)]
pub(crate) struct Origin {
    pub(crate) queue: String,
    pub(crate) client_id: Option<String>,
    pub(crate) server: Option<(String, u16)>,
    pub(crate) template: Option<Arc<Template>>,
    /// How their settling is recorded.
    pub(crate) options: Options<()>,
}

impl Origin {
    pub(crate) fn client(&self) -> Client<'_> {
        let mut client = Client::of(messaging::system::RABBITMQ);
        if let Some(id) = &self.client_id {
            client = client.id(id);
        }
        if let Some((address, port)) = &self.server {
            client = client.server(address, *port);
        }
        client
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("queue", &self.queue)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// A delivery of lapin's, with what the core asks of a message: [`otel_ml::messaging::Message`].
///
/// It is the delivery in everything else, through `Deref`, but for [`ack`](Self::ack),
/// [`nack`](Self::nack) and [`reject`](Self::reject), which are recorded. What is called on
/// `delivery.acker`, or on the channel, goes around them.
///
/// For consumers that are `tower` services: the core's
/// [`OtelMlConsumerLayer`](otel_ml::OtelMlConsumerLayer) traces a `Service<OtelMlDelivery>`, and
/// `map_request(OtelMlDelivery::into_inner)` makes one of a `Service<Delivery>`.
///
/// ```
/// use otel_ml_lapin::OtelMlDelivery;
/// use otel_ml_lapin::lapin::message::Delivery;
/// use otel_ml_lapin::lapin::options::BasicAckOptions;
/// use otel_ml_lapin::otel_ml::OtelMlConsumerLayer;
/// use tower::{ServiceBuilder, service_fn};
///
/// let service = ServiceBuilder::new()
///     .layer(OtelMlConsumerLayer)
///     .service(service_fn(async |delivery: OtelMlDelivery| {
///         delivery.ack(BasicAckOptions::default()).await
///     }));
/// # let _ = |delivery: Delivery| tower::ServiceExt::oneshot(service, OtelMlDelivery::new(delivery));
/// ```
pub struct OtelMlDelivery {
    delivery: Delivery,
    name: OnceLock<Name>,
    sent_at: OnceLock<Option<SystemTime>>,
    sender: Option<Context>,
    pub(crate) origin: Arc<Origin>,
    /// What it is or was processed in.
    pub(crate) processed: OnceLock<Context>,
    is_counted: bool,
}

impl OtelMlDelivery {
    /// A delivery of which nothing more is known than what it says.
    #[must_use]
    pub fn new(delivery: Delivery) -> Self {
        static UNKNOWN: LazyLock<Arc<Origin>> = LazyLock::new(Arc::default);
        Self::delivered(delivery, None, &UNKNOWN)
    }

    /// With what its headers say read now, if there is a `telemetry` to read it for; else when
    /// it is asked for.
    pub(crate) fn delivered(
        delivery: Delivery,
        telemetry: Option<&Telemetry>,
        origin: &Arc<Origin>,
    ) -> Self {
        let mut this = Self {
            delivery,
            name: OnceLock::new(),
            sent_at: OnceLock::new(),
            sender: None,
            origin: Arc::clone(origin),
            processed: OnceLock::new(),
            is_counted: false,
        };
        this.sender = telemetry.map(|telemetry| this.read_sender(telemetry));
        this
    }

    /// Delivered from this queue.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.origin).queue = queue.into();
        self
    }

    /// Its settling is recorded through `telemetry`, in place of the global providers.
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        Arc::make_mut(&mut self.origin).options.telemetry = telemetry;
        self
    }

    /// The delivery.
    pub const fn get_ref(&self) -> &Delivery {
        &self.delivery
    }

    /// The delivery itself.
    #[must_use]
    pub fn into_inner(self) -> Delivery {
        self.delivery
    }

    pub(crate) const fn set_counted(&mut self) {
        self.is_counted = true;
    }

    fn headers(&self) -> Option<&FieldTable> {
        self.delivery.properties.headers().as_ref()
    }

    fn read_sender(&self, telemetry: &Telemetry) -> Context {
        let carrier = self.headers().map(HeadersExtractor::new);
        self.sent_at
            .get_or_init(|| self.time_sent(carrier.as_ref()));
        carrier.map_or_else(Context::new, |carrier| telemetry.extract(&carrier))
    }

    /// The later of what the header and the property say: a client that forwards a message with
    /// its headers may leave the header of the hop before.
    fn time_sent(&self, carrier: Option<&HeadersExtractor<'_>>) -> Option<SystemTime> {
        let seconds = *self.delivery.properties.timestamp();
        let created = seconds.and_then(|seconds| {
            let since_1970 = Duration::from_secs(seconds);
            UNIX_EPOCH.checked_add(since_1970)
        });
        carrier.and_then(HeadersExtractor::sent_at).max(created)
    }

    /// Exchange, routing key, and the queue where that is another name.
    fn parts(&self) -> [&str; 3] {
        let key = self.delivery.routing_key.as_str();
        let queue = self.origin.queue.as_str();
        let queue = if queue == key { "" } else { queue };
        [self.delivery.exchange.as_str(), key, queue]
    }

    /// How often it was delivered and given back before, as far as the broker tells.
    fn deliveries_before(&self) -> u32 {
        let counted = self.headers().and_then(|headers| {
            let count = headers.inner().get("x-delivery-count")?;
            integer(count)
        });
        let counted = counted
            .unwrap_or(0)
            .max(u32::from(self.delivery.redelivered));
        counted.saturating_add(self.deaths(|death| {
            let reason = death.inner().get("reason").and_then(text);
            matches!(reason, Some(b"rejected" | b"delivery_limit"))
        }))
    }

    /// The sum of the counts of those entries of `x-death` that `is_wanted`.
    fn deaths(&self, is_wanted: impl Fn(&FieldTable) -> bool) -> u32 {
        let deaths = self
            .headers()
            .and_then(|headers| headers.inner().get("x-death"));
        let Some(AMQPValue::FieldArray(deaths)) = deaths else {
            return 0;
        };
        let counts = deaths.as_slice().iter().filter_map(|death| match death {
            AMQPValue::FieldTable(death) if is_wanted(death) => {
                death.inner().get("count").and_then(integer)
            }
            _ => None,
        });
        counts.fold(0, u32::saturating_add)
    }
}

/// A number that isn't negative, in whatever width it came; as large as possible if larger.
fn integer(value: &AMQPValue) -> Option<u32> {
    let wide = match value {
        AMQPValue::ShortShortInt(number) => i64::from(*number),
        AMQPValue::ShortShortUInt(number) => i64::from(*number),
        AMQPValue::ShortInt(number) => i64::from(*number),
        AMQPValue::ShortUInt(number) => i64::from(*number),
        AMQPValue::LongInt(number) => i64::from(*number),
        AMQPValue::LongUInt(number) => i64::from(*number),
        AMQPValue::LongLongInt(number) => *number,
        _ => return None,
    };
    let number = u64::try_from(wide).ok()?;
    Some(u32::try_from(number).unwrap_or(u32::MAX))
}

fn text(value: &AMQPValue) -> Option<&[u8]> {
    match value {
        AMQPValue::LongString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

impl Message for OtelMlDelivery {
    fn system(&self) -> &'static str {
        messaging::system::RABBITMQ
    }

    fn destination(&self) -> Destination<'_> {
        let parts = self.parts();
        let name = self.name.get_or_init(|| Name::of(&parts));
        let destination = name.destination(&parts);
        let template = self.origin.template.as_ref();
        match template.and_then(|template| template(&self.delivery)) {
            Some(template) => destination.template(template),
            None => destination,
        }
    }

    fn sender(&self, telemetry: &Telemetry) -> Context {
        let read = || self.read_sender(telemetry);
        self.sender.clone().unwrap_or_else(read)
    }

    fn sent_at(&self) -> Option<SystemTime> {
        let read = || {
            let carrier = self.headers().map(HeadersExtractor::new);
            self.time_sent(carrier.as_ref())
        };
        *self.sent_at.get_or_init(read)
    }

    fn attempt(&self) -> u32 {
        self.deliveries_before().saturating_add(1)
    }

    fn client_id(&self) -> Option<&str> {
        self.origin.client_id.as_deref()
    }

    fn body_size(&self) -> Option<u64> {
        Some(self.delivery.data.len() as u64)
    }

    fn is_counted(&self) -> bool {
        self.is_counted
    }

    fn attributes(&self, _detail: Detail, to: &mut Attributes) {
        push_routing_key(self.delivery.routing_key.as_str(), to);
        push_delivery_tag(self.delivery.delivery_tag, to);
        push_ids(&self.delivery.properties, to);
        let deaths = self.deaths(|_| true);
        if deaths > 0 {
            to.push(ml::MESSAGE_DEAD_LETTER_COUNT, i64::from(deaths));
        }
    }
}

pub(crate) fn push_routing_key(key: &str, to: &mut Attributes) {
    if !key.is_empty() {
        to.push(rabbitmq::DESTINATION_ROUTING_KEY, key.to_owned());
    }
}

pub(crate) fn push_delivery_tag(tag: u64, to: &mut Attributes) {
    let tag = i64::try_from(tag).unwrap_or(i64::MAX);
    to.push(rabbitmq::MESSAGE_DELIVERY_TAG, tag);
}

pub(crate) fn push_ids(properties: &lapin::BasicProperties, to: &mut Attributes) {
    if let Some(id) = properties.message_id() {
        to.push(messaging::MESSAGE_ID, id.as_str().to_owned());
    }
    if let Some(id) = properties.correlation_id() {
        to.push(messaging::MESSAGE_CONVERSATION_ID, id.as_str().to_owned());
    }
}

impl Deref for OtelMlDelivery {
    type Target = Delivery;

    fn deref(&self) -> &Delivery {
        &self.delivery
    }
}

impl From<Delivery> for OtelMlDelivery {
    fn from(delivery: Delivery) -> Self {
        Self::new(delivery)
    }
}

impl fmt::Debug for OtelMlDelivery {
    /// Where it is, and nothing of what it says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMlDelivery")
            .field("exchange", &self.delivery.exchange.as_str())
            .field("routing_key", &self.delivery.routing_key.as_str())
            .field("delivery_tag", &self.delivery.delivery_tag)
            .finish_non_exhaustive()
    }
}
