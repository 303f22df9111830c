//! What a messaging client does: send, receive, settle.

use std::borrow::Cow;
use std::cell::OnceCell;

use opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt};
use opentelemetry::{Context, Key, KeyValue, Value};
use otel_ml_semconv::{messaging, ml};
use smallvec::SmallVec;

use super::links::{Common, Hooked, links};
use super::{Destination, Message};
use crate::attributes::{self, Attributes};
use crate::hooks::Filter;
use crate::ml_span::whole;
use crate::operation::{End, Operation, OperationBuilder, Record, Since};
use crate::options::{Detail, Options};
use crate::task::name_of;
use crate::telemetry::Telemetry;

/// The client that an operation is of.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Client<'a> {
    /// The messaging system: `kafka`, `rabbitmq`, ….
    pub system: &'static str,
    /// The client's own name.
    pub id: Option<&'a str>,
    /// The consumer group it is in.
    pub consumer_group: Option<&'a str>,
    /// The broker, if it is one that can be named.
    pub server: Option<(&'a str, u16)>,
}

impl<'a> Client<'a> {
    /// A client of `system`.
    #[must_use]
    pub const fn of(system: &'static str) -> Self {
        Self {
            system,
            id: None,
            consumer_group: None,
            server: None,
        }
    }

    /// The client's own name.
    #[must_use]
    pub const fn id(self, id: &'a str) -> Self {
        Self {
            id: Some(id),
            ..self
        }
    }

    /// The consumer group it is in.
    #[must_use]
    pub const fn consumer_group(self, group: &'a str) -> Self {
        Self {
            consumer_group: Some(group),
            ..self
        }
    }

    /// The broker that it talks to.
    #[must_use]
    pub const fn server(self, address: &'a str, port: u16) -> Self {
        Self {
            server: Some((address, port)),
            ..self
        }
    }

    /// The attributes that all operations share; they are metric labels, too.
    fn labels(
        &self,
        telemetry: &Telemetry,
        operation: &'static str,
        kind: Option<&'static str>,
        destination: &Destination<'_>,
    ) -> Vec<KeyValue> {
        let mut labels = labels(
            telemetry,
            self.system,
            operation,
            kind,
            destination,
            self.consumer_group,
        );
        if let Some((address, port)) = self.server {
            labels.push(KeyValue::new(
                otel_ml_semconv::server::ADDRESS,
                address.to_owned(),
            ));
            labels.push(KeyValue::new(
                otel_ml_semconv::server::PORT,
                i64::from(port),
            ));
        }
        labels
    }
}

/// Text of which there is little: it is the same again and again.
pub(super) fn shared(telemetry: &Telemetry, text: &str) -> Value {
    let known = telemetry.interner().text(text.as_bytes());
    known.map_or_else(|| text.to_owned().into(), Into::into)
}

/// The labels of messaging metrics, which are attributes of the span, too.
pub(super) fn labels(
    telemetry: &Telemetry,
    system: &'static str,
    operation: &'static str,
    kind: Option<&'static str>,
    destination: &Destination<'_>,
    group: Option<&str>,
) -> Vec<KeyValue> {
    let shared = |text| shared(telemetry, text);
    let mut labels = Vec::with_capacity(8);
    labels.push(KeyValue::new(messaging::SYSTEM_NAME, system));
    labels.push(KeyValue::new(messaging::OPERATION_NAME, operation));
    if let Some(kind) = kind {
        labels.push(KeyValue::new(messaging::OPERATION_TYPE, kind));
    }
    if let Some(template) = destination.template {
        labels.push(KeyValue::new(messaging::DESTINATION_TEMPLATE, template));
    } else if let Some(name) = destination.low_cardinality() {
        labels.push(KeyValue::new(messaging::DESTINATION_NAME, shared(name)));
    }
    if let Some(partition) = destination.partition {
        labels.push(KeyValue::new(
            messaging::DESTINATION_PARTITION_ID,
            shared(partition),
        ));
    }
    if let Some(group) = group {
        labels.push(KeyValue::new(messaging::CONSUMER_GROUP_NAME, shared(group)));
    }
    labels
}

/// What the span says of a destination beyond the labels.
pub(super) fn push_destination(destination: &Destination<'_>, to: &mut Attributes) {
    let is_label = destination.template.is_none() && destination.low_cardinality().is_some();
    if !is_label && !destination.name.is_empty() {
        to.push(messaging::DESTINATION_NAME, destination.name.to_owned());
    }
    if destination.is_anonymous {
        to.push(messaging::DESTINATION_ANONYMOUS, true);
    }
    if destination.is_temporary {
        to.push(messaging::DESTINATION_TEMPORARY, true);
    }
}

pub(super) fn name(operation: &'static str, destination: &Destination<'_>) -> Cow<'static, str> {
    destination
        .low_cardinality()
        .map_or(Cow::Borrowed(operation), |target| {
            name_of(operation, target)
        })
}

/// Starts sending a message. Inject the operation's context into it, unless `kept` is a
/// context that it already carries and is to keep: the span is then a CLIENT span that links
/// to it. The span is named `span`, or as the conventions have it. End the operation with the
/// broker's answer.
pub fn send<H>(
    operation: &'static str,
    client: &Client<'_>,
    destination: &Destination<'_>,
    kept: Option<SpanContext>,
    span: Option<Cow<'static, str>>,
    options: &Options<H>,
    more: impl FnOnce(&mut Attributes),
) -> Operation<ClientRecord> {
    let kind = if kept.is_some() {
        SpanKind::Client
    } else {
        SpanKind::Producer
    };
    let labels = || {
        client.labels(
            &options.telemetry,
            operation,
            Some(messaging::operation_type::SEND),
            destination,
        )
    };
    let span = span.unwrap_or_else(|| name(operation, destination));
    let builder = Operation::builder(&options.telemetry, kind, span)
        .link(kept.unwrap_or(SpanContext::NONE), Vec::new());
    start(
        builder,
        client,
        destination,
        labels,
        Counted::Sent,
        options,
        more,
    )
}

/// Starts the operation that received `messages`: none for no messages. It began with the
/// waiting for them, at `since`. Its links tell them apart; what they have in common is on
/// the span.
///
/// A message that the filter refuses gets no link and is not counted as consumed; where it
/// refuses all of them there is no operation. The other hooks are about processing.
pub fn receive<M: Message, H: Filter<M>>(
    operation: &'static str,
    client: &Client<'_>,
    messages: &[M],
    since: Since,
    options: &Options<H>,
) -> Option<Operation<ClientRecord>> {
    let recorded = accepted(messages, options);
    if recorded.is_empty() {
        return None;
    }
    let common = Common::of(&recorded);
    let destination = Destination {
        partition: common.partition,
        ..common.destination
    };
    let labels = || {
        client.labels(
            &options.telemetry,
            operation,
            Some(messaging::operation_type::RECEIVE),
            &destination,
        )
    };
    let mut builder = Operation::builder(
        &options.telemetry,
        SpanKind::Client,
        name(operation, &destination),
    )
    .since(since);
    let read = |message: &M| message.sender(&options.telemetry);
    let links = links(&recorded, &common, Hooked::default(), options, read);
    for (sender, attributes) in links.list {
        builder = builder.link(sender, attributes);
    }
    Some(start(
        builder,
        client,
        &destination,
        labels,
        Counted::Consumed(recorded.len() as u64),
        options,
        |to| {
            to.push(messaging::BATCH_MESSAGE_COUNT, whole(messages.len() as u64));
            if links.dropped > 0 {
                to.push(ml::LINKS_DROPPED, whole(links.dropped as u64));
            }
        },
    ))
}

/// Those that the filter accepts.
pub(super) fn accepted<'a, M, H: Filter<M>>(messages: &'a [M], options: &Options<H>) -> Vec<&'a M> {
    let accepts = |message: &&M| options.hooks.accepts(message);
    messages.iter().filter(accepts).collect()
}

/// Starts the operation that received `message`, where a broker is asked for one at a time. It
/// began with the asking, at `since`. It links to the sender.
pub fn receive_one<M: Message, H>(
    operation: &'static str,
    client: &Client<'_>,
    message: &M,
    since: Since,
    options: &Options<H>,
) -> Operation<ClientRecord> {
    let destination = message.destination();
    let labels = || {
        client.labels(
            &options.telemetry,
            operation,
            Some(messaging::operation_type::RECEIVE),
            &destination,
        )
    };
    let sender = message.sender(&options.telemetry);
    let builder = Operation::builder(
        &options.telemetry,
        SpanKind::Client,
        name(operation, &destination),
    )
    .since(since)
    .link(sender.span().span_context().clone(), Vec::new());
    start(
        builder,
        client,
        &destination,
        labels,
        Counted::Consumed(1),
        options,
        |to| {
            if options.detail > Detail::Minimal {
                message.attributes(options.detail, to);
            }
        },
    )
}

/// Starts settling messages: `ack`, `nack`, `reject`, `commit`.
pub fn settle<H>(
    operation: &'static str,
    client: &Client<'_>,
    destination: &Destination<'_>,
    options: &Options<H>,
    more: impl FnOnce(&mut Attributes),
) -> Operation<ClientRecord> {
    let labels = || {
        client.labels(
            &options.telemetry,
            operation,
            Some(messaging::operation_type::SETTLE),
            destination,
        )
    };
    let builder = Operation::builder(
        &options.telemetry,
        SpanKind::Client,
        name(operation, destination),
    );
    start(
        builder,
        client,
        destination,
        labels,
        Counted::Nothing,
        options,
        more,
    )
}

fn start<H>(
    builder: OperationBuilder<'_>,
    client: &Client<'_>,
    destination: &Destination<'_>,
    labels: impl Fn() -> Vec<KeyValue>,
    counted: Counted,
    options: &Options<H>,
    more: impl FnOnce(&mut Attributes),
) -> Operation<ClientRecord> {
    builder
        .parent(Context::current())
        .attribute_cap(options.attribute_cap)
        .start_of(
            OnceCell::new(),
            |known, to| {
                to.extend(known.get_or_init(&labels).iter().cloned());
                push_destination(destination, to);
                if let Some(id) = client.id.filter(|_| options.detail > Detail::Minimal) {
                    to.push(messaging::CLIENT_ID, shared(&options.telemetry, id));
                }
                more(to);
            },
            |known| ClientRecord {
                labels: known.into_inner().unwrap_or_else(&labels),
                counted,
                is_told_partition: false,
                told: SmallVec::new(),
            },
        )
}

#[derive(Clone, Copy, Debug)]
enum Counted {
    Nothing,
    Sent,
    Consumed(u64),
}

/// What an operation of a messaging client records.
#[derive(Debug)]
pub struct ClientRecord {
    labels: Vec<KeyValue>,
    counted: Counted,
    /// Whether the partition was not known when the span started.
    is_told_partition: bool,
    /// An offset, and whether an error is transient.
    told: SmallVec<[KeyValue; 2]>,
}

impl ClientRecord {
    /// The broker has said where it put the message.
    pub fn stored_in(&mut self, partition: String) {
        let key = messaging::DESTINATION_PARTITION_ID;
        let is_known = self.labels.iter().any(|label| label.key.as_str() == key);
        self.is_told_partition = !is_known;
        attributes::set(&mut self.labels, key, partition);
    }

    /// The broker has said this, too. For the span alone; a key must not be told twice, nor
    /// be one that the span started with.
    pub fn tell(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        self.told.push(KeyValue::new(key, value));
    }
}

impl Record for ClientRecord {
    fn record(&mut self, end: &mut End<'_>) {
        if self.is_told_partition {
            let key = messaging::DESTINATION_PARTITION_ID;
            let told = self.labels.iter().find(|label| label.key.as_str() == key);
            if let Some(told) = told {
                end.set(key, told.value.clone());
            }
        }
        for attribute in self.told.drain(..) {
            end.set(attribute.key, attribute.value);
        }
        let Some(instruments) = end.instruments else {
            return;
        };
        let mut labels = std::mem::take(&mut self.labels);
        labels.extend(end.error_label());
        instruments
            .messaging_client_operation_duration
            .record(end.duration.as_secs_f64(), &labels);
        labels.retain(|label| label.key.as_str() != messaging::OPERATION_TYPE);
        match self.counted {
            Counted::Nothing => {}
            Counted::Sent => instruments.messaging_client_sent_messages.add(1, &labels),
            Counted::Consumed(count) => instruments
                .messaging_client_consumed_messages
                .add(count, &labels),
        }
    }
}
