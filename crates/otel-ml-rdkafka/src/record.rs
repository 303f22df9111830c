//! A message as the core sees it.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use otel_ml::messaging::{Destination, Message as MessageModel};
use otel_ml::opentelemetry::Context;
use otel_ml::semconv::{kafka, messaging};
use otel_ml::{Attributes, Detail, Telemetry};
use rdkafka::Timestamp;
use rdkafka::message::Message;

use crate::carrier::HeadersExtractor;
use crate::topic::{Number, Templates};

/// The longest key that is recorded, in bytes.
const LONGEST_KEY: usize = 256;

/// Whom messages were delivered to, and what may be recorded of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) group: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) records_keys: bool,
    pub(crate) templates: Templates,
}

/// A message of rdkafka's, with what the core asks of one: [`otel_ml::messaging::Message`].
///
/// For consumers that are `tower` services: the core's
/// [`OtelMlConsumerLayer`](otel_ml::OtelMlConsumerLayer) traces a `Service<Record<M>>`, and
/// `map_request(Record::into_inner)` makes one of a `Service<M>`.
///
/// ```
/// use std::convert::Infallible;
///
/// use otel_ml_rdkafka::Record;
/// use otel_ml_rdkafka::otel_ml::OtelMlConsumerLayer;
/// use otel_ml_rdkafka::rdkafka::message::{Message as _, OwnedMessage};
/// use tower::{ServiceBuilder, service_fn};
///
/// let service = ServiceBuilder::new()
///     .layer(OtelMlConsumerLayer)
///     .map_request(Record::into_inner)
///     .service(service_fn(|message: OwnedMessage| async move {
///         Ok::<_, Infallible>(message.payload().map_or(0, <[u8]>::len))
///     }));
/// # let _ = |message: OwnedMessage| tower::ServiceExt::oneshot(service, Record::new(message));
/// ```
pub struct Record<M> {
    message: M,
    partition: Number,
    sent_at: OnceLock<Option<SystemTime>>,
    sender: Option<Context>,
    origin: Arc<Origin>,
    is_counted: bool,
}

impl<M: Message> Record<M> {
    /// A message of which nothing more is known than what it says.
    #[must_use]
    pub fn new(message: M) -> Self {
        static UNKNOWN: LazyLock<Arc<Origin>> = LazyLock::new(Arc::default);
        Self::delivered(message, None, &UNKNOWN)
    }

    /// With what its headers say read now, if there is a `telemetry` to read it for; else when
    /// it is asked for.
    pub(crate) fn delivered(
        message: M,
        telemetry: Option<&Telemetry>,
        origin: &Arc<Origin>,
    ) -> Self {
        let mut record = Self {
            partition: Number::new(message.partition()),
            sent_at: OnceLock::new(),
            sender: None,
            origin: Arc::clone(origin),
            is_counted: false,
            message,
        };
        record.sender = telemetry.map(|telemetry| record.read_sender(telemetry));
        record
    }

    fn read_sender(&self, telemetry: &Telemetry) -> Context {
        let carrier = self.message.headers().map(HeadersExtractor::new);
        self.sent_at
            .get_or_init(|| self.time_sent(carrier.as_ref()));
        carrier.map_or_else(Context::new, |carrier| telemetry.extract(&carrier))
    }

    /// The later of what the header and the message say: a client that forwards a message with
    /// its headers may leave the header of the hop before.
    fn time_sent(&self, carrier: Option<&HeadersExtractor<'_, M::Headers>>) -> Option<SystemTime> {
        let created = match self.message.timestamp() {
            Timestamp::CreateTime(millis) => time(millis),
            // When the broker stored it: the way there would be missing from the wait.
            Timestamp::LogAppendTime(_) | Timestamp::NotAvailable => None,
        };
        carrier.and_then(HeadersExtractor::sent_at).max(created)
    }

    /// Delivered to this consumer group.
    #[must_use]
    pub fn consumer_group(mut self, group: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.origin).group = Some(group.into());
        self
    }

    /// Delivered to the client of this name.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.origin).client_id = Some(id.into());
        self
    }

    /// Records its key, if that is text. Keys may name people, and are unbounded: not
    /// recorded unless this is called.
    #[must_use]
    pub fn message_keys(mut self, recorded: bool) -> Self {
        Arc::make_mut(&mut self.origin).records_keys = recorded;
        self
    }

    /// Received in a batch, which has counted it.
    pub(crate) const fn set_counted(&mut self) {
        self.is_counted = true;
    }

    /// The message.
    pub const fn get_ref(&self) -> &M {
        &self.message
    }

    /// The message itself.
    #[must_use]
    pub fn into_inner(self) -> M {
        self.message
    }

    /// The same of a message made from this one.
    pub(crate) fn map<N>(&self, message: N) -> Record<N> {
        Record {
            message,
            partition: self.partition,
            sent_at: self.sent_at.clone(),
            sender: self.sender.clone(),
            origin: Arc::clone(&self.origin),
            is_counted: self.is_counted,
        }
    }
}

impl<M: Message> MessageModel for Record<M> {
    fn system(&self) -> &'static str {
        messaging::system::KAFKA
    }

    fn destination(&self) -> Destination<'_> {
        let destination = self.origin.templates.destination(self.message.topic());
        destination.partition(self.partition.as_str())
    }

    fn sender(&self, telemetry: &Telemetry) -> Context {
        let read = || self.read_sender(telemetry);
        self.sender.clone().unwrap_or_else(read)
    }

    fn sent_at(&self) -> Option<SystemTime> {
        let read = || {
            let carrier = self.message.headers().map(HeadersExtractor::new);
            self.time_sent(carrier.as_ref())
        };
        *self.sent_at.get_or_init(read)
    }

    fn consumer_group(&self) -> Option<&str> {
        self.origin.group.as_deref()
    }

    fn client_id(&self) -> Option<&str> {
        self.origin.client_id.as_deref()
    }

    fn body_size(&self) -> Option<u64> {
        self.message.payload().map(|payload| payload.len() as u64)
    }

    fn is_counted(&self) -> bool {
        self.is_counted
    }

    fn attributes(&self, _detail: Detail, to: &mut Attributes) {
        to.push(kafka::OFFSET, self.message.offset());
        let key = self.message.key().filter(|_| self.origin.records_keys);
        push_key(key, to);
        if self.message.payload().is_none() {
            to.push(kafka::MESSAGE_TOMBSTONE, true);
        }
    }
}

/// `kafka.message.key`, if it is text: UTF-8 without control characters, and not too long.
pub(crate) fn push_key(key: Option<&[u8]>, to: &mut Attributes) {
    let short = key.filter(|key| key.len() <= LONGEST_KEY);
    let text = short.and_then(|key| std::str::from_utf8(key).ok());
    if let Some(text) = text.filter(|text| !text.contains(char::is_control)) {
        to.push(kafka::MESSAGE_KEY, text.to_owned());
    }
}

fn time(millis: i64) -> Option<SystemTime> {
    let since_1970 = Duration::from_millis(u64::try_from(millis).ok()?);
    UNIX_EPOCH.checked_add(since_1970)
}

impl<M> Deref for Record<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.message
    }
}

impl<M: Message> From<M> for Record<M> {
    fn from(message: M) -> Self {
        Self::new(message)
    }
}

impl<M: Message> fmt::Debug for Record<M> {
    /// Where it is, and nothing of what it says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("topic", &self.message.topic())
            .field("partition", &self.message.partition())
            .field("offset", &self.message.offset())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e04_only_clean_keys_are_recorded() {
        let recorded = |key: Option<&[u8]>| {
            let mut to = Attributes::unbounded();
            push_key(key, &mut to);
            to.as_slice().iter().map(|a| a.value.to_string()).next()
        };
        assert_eq!(recorded(Some(b"user-7")).as_deref(), Some("user-7"));
        assert_eq!(recorded(Some("Zoë".as_bytes())).as_deref(), Some("Zoë"));
        let long = vec![b'x'; LONGEST_KEY + 1];
        for key in [
            None,
            Some(b"\xff\x00".as_slice()),
            Some(b"a\nb"),
            Some(b"\0\0\0\x01"),
            Some(&long),
        ] {
            assert_eq!(recorded(key), None, "{key:?}");
        }
    }
}
