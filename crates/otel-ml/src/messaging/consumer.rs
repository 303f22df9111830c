//! Processing what was received.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::time::{Duration, SystemTime};

use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use otel_ml_semconv::{messaging, ml};
use smallvec::SmallVec;

use super::links::{Common, Hooked, links};
use super::operation::{accepted, labels, name, push_destination, shared};
use super::{Destination, Message};
use crate::attributes::Attributes;
use crate::hooks::{AllHooks, SpanAttributes, SpanName};
use crate::instruments::Labels;
use crate::ml_span::whole;
use crate::operation::{End, Operation, Record};
use crate::options::{Detail, Inbound, Options, ParentPolicy, copy_baggage, only_baggage};
use crate::propagation::{Anomaly, read_again};
use crate::queue::queue_wait_span;
use crate::telemetry::Telemetry;

/// The operation's name and type: the conventions use one word for both.
const PROCESS: &str = messaging::operation_type::PROCESS;

/// Starts processing `message`. Its parent and links follow the policy of `options`; the
/// sender's baggage is there in any case but [`ParentPolicy::Ignore`].
pub fn process<M, H>(message: &M, options: &Options<H>) -> Operation<ProcessRecord>
where
    M: Message,
    H: SpanName<M> + SpanAttributes<M>,
{
    // The sender first: who looks for it in the headers may find the send time on the way.
    let sender = sender(message, options);
    let waited = waited(message);
    let inbound = parenting(message, sender, waited, options);
    let destination = message.destination();
    let labels = || {
        labels(
            &options.telemetry,
            message.system(),
            PROCESS,
            None,
            &destination,
            message.consumer_group(),
        )
    };
    let span = options
        .hooks
        .span_name(message)
        .unwrap_or_else(|| name(PROCESS, &destination));
    let baggage = if options.baggage.is_empty() {
        None
    } else {
        Some(inbound.parent.clone())
    };
    let record = |known: OnceCell<_>| ProcessRecord {
        labels: known.into_inner().unwrap_or_else(labels),
        count: u64::from(!message.is_counted()),
        waits: waited.into_iter().collect(),
        system: message.system(),
    };
    let builder =
        Operation::builder(&options.telemetry, SpanKind::Consumer, span).parent(inbound.parent);
    let (link, late) = match builder.is_unlikely() {
        true => (SpanContext::NONE, inbound.link),
        false => (inbound.link, SpanContext::NONE),
    };
    let operation = builder
        .link(link, Vec::new())
        .handle(options.handle())
        .attribute_cap(options.attribute_cap)
        .start_of(
            OnceCell::new(),
            |known, to| {
                to.push(messaging::OPERATION_TYPE, PROCESS);
                to.extend(known.get_or_init(labels).iter().cloned());
                push_destination(&destination, to);
                push_message(message, waited, options, to);
                to.take_keys();
                if let Some(cx) = &baggage {
                    options.push_baggage(cx, to);
                }
                options.hooks.attributes(message, to);
            },
            record,
        );
    operation.link(late);
    if let Some(sent_at) = message.sent_at().filter(|_| options.queue_wait_span)
        && let Some(cx) = operation.context().filter(|_| operation.is_recording())
    {
        queue_wait_span(&options.telemetry, cx, sent_at, SystemTime::now(), None);
    }
    operation
}

/// Starts processing `messages` as one: a link to each, what they have in common on the
/// span. `None` for no messages.
///
/// The hooks are asked about each message. One that the filter refuses gets no link and is
/// neither counted nor measured, and where all are refused there is no operation. The span has
/// the name that the hook gives all of them, else that of the conventions, and the attributes
/// that it pushes for all of them; the others are on the links.
pub fn process_batch<M, H>(messages: &[M], options: &Options<H>) -> Option<Operation<ProcessRecord>>
where
    M: Message,
    H: AllHooks<M>,
{
    let recorded = accepted(messages, options);
    let first = *recorded.first()?;
    let common = Common::of(&recorded);
    let destination = Destination {
        partition: common.partition,
        ..common.destination
    };
    let labels = || {
        labels(
            &options.telemetry,
            first.system(),
            PROCESS,
            None,
            &destination,
            first.consumer_group(),
        )
    };
    let record = || ProcessRecord {
        labels: labels(),
        count: recorded
            .iter()
            .filter(|message| !message.is_counted())
            .count() as u64,
        waits: recorded.iter().copied().filter_map(waited).collect(),
        system: first.system(),
    };
    let span = common_name(&recorded, options).unwrap_or_else(|| name(PROCESS, &destination));
    let mut builder = Operation::builder(&options.telemetry, SpanKind::Consumer, span)
        .parent(Context::current())
        .handle(options.handle())
        .attribute_cap(options.attribute_cap);
    let mut hooked = Hooked::of(&recorded, options);
    let said = std::mem::take(&mut hooked.common);
    let mut dropped = 0;
    if options.parent != ParentPolicy::Ignore {
        let read = |message: &M| sender(message, options);
        let links = links(&recorded, &common, hooked, options, read);
        dropped = links.dropped;
        for (sender, attributes) in links.list {
            builder = builder.link(sender, attributes);
        }
    }
    Some(builder.start(record, |to| {
        to.push(messaging::OPERATION_TYPE, PROCESS);
        to.extend(labels());
        push_destination(&destination, to);
        to.push(messaging::BATCH_MESSAGE_COUNT, whole(messages.len() as u64));
        if options.detail > Detail::Minimal {
            push_client(first, &options.telemetry, to);
        }
        if dropped > 0 {
            to.push(ml::LINKS_DROPPED, whole(dropped as u64));
        }
        to.take_keys();
        to.extend(said);
    }))
}

/// The name that the hook gives every one of them.
fn common_name<M, H: SpanName<M>>(
    messages: &[&M],
    options: &Options<H>,
) -> Option<Cow<'static, str>> {
    let mut names = messages
        .iter()
        .map(|message| options.hooks.span_name(message));
    let first = names.next()??;
    names
        .all(|name| name.as_ref() == Some(&first))
        .then_some(first)
}

/// What `message`'s sender put into it. What is wrong with it was counted with the message, if
/// that was received in an operation of its own.
fn sender<M: Message, H>(message: &M, options: &Options<H>) -> Context {
    if message.is_counted() {
        read_again(|| message.sender(&options.telemetry))
    } else {
        message.sender(&options.telemetry)
    }
}

/// The context that `message` is processed in where its processing is not recorded: what its
/// span would be a child of, with its baggage.
pub fn context_of<M: Message, H>(message: &M, options: &Options<H>) -> Context {
    parenting(message, sender(message, options), waited(message), options).parent
}

/// Time since the message was sent; zero where clocks disagree.
fn waited<M: Message>(message: &M) -> Option<Duration> {
    let sent_at = message.sent_at()?;
    Some(
        SystemTime::now()
            .duration_since(sent_at)
            .unwrap_or_default(),
    )
}

/// The parent and the link of a message by the policy of `options`.
fn parenting<M: Message, H>(
    message: &M,
    sender: Context,
    waited: Option<Duration>,
    options: &Options<H>,
) -> Inbound {
    let ambient = Context::current();
    if ambient.is_telemetry_suppressed() {
        let parent = sender.with_telemetry_suppressed();
        return Inbound {
            parent,
            link: SpanContext::NONE,
        };
    }
    let link = sender.span().span_context().clone();
    let is_stale = waited
        .zip(options.stale_after)
        .is_some_and(|(age, limit)| age >= limit);
    let policy = match options.parent {
        ParentPolicy::Auto if link.is_valid() && is_stale => {
            options
                .telemetry
                .count_anomaly(Anomaly::Stale, message.transport());
            return Inbound {
                parent: only_baggage(&sender),
                link,
            };
        }
        ParentPolicy::Auto if link.is_valid() && message.attempt() > 1 => {
            match options.on_redelivery {
                ParentPolicy::Link => {
                    return Inbound {
                        parent: only_baggage(&sender),
                        link,
                    };
                }
                other => other,
            }
        }
        policy => policy,
    };
    let is_active = ambient.span().span_context().is_valid();
    let below_ambient = || {
        if sender.baggage().is_empty() {
            return ambient.clone();
        }
        let mut both = copy_baggage(ambient.baggage());
        for (key, (value, metadata)) in sender.baggage() {
            both.insert_with_metadata(key.clone(), value.clone(), metadata.as_str());
        }
        ambient.with_baggage(both)
    };
    match policy {
        ParentPolicy::Auto | ParentPolicy::Link if is_active => Inbound {
            parent: below_ambient(),
            link,
        },
        ParentPolicy::Child if is_active && !link.is_valid() => Inbound {
            parent: below_ambient(),
            link,
        },
        ParentPolicy::Child if is_active => Inbound {
            parent: sender,
            link: ambient.span().span_context().clone(),
        },
        ParentPolicy::Auto | ParentPolicy::Child => Inbound {
            parent: sender,
            link,
        },
        ParentPolicy::Link => Inbound {
            parent: only_baggage(&sender),
            link,
        },
        ParentPolicy::Ignore => Inbound {
            parent: ambient,
            link: SpanContext::NONE,
        },
    }
}

fn push_message<M: Message, H>(
    message: &M,
    waited: Option<Duration>,
    options: &Options<H>,
    to: &mut Attributes,
) {
    let detail = options.detail;
    if let Some(waited) = waited {
        to.push(ml::QUEUE_WAIT_DURATION, waited.as_secs_f64());
    }
    if message.attempt() > 1 {
        to.push(ml::MESSAGE_ATTEMPT, i64::from(message.attempt()));
    }
    if let Some(size) = message.body_size().filter(|_| detail == Detail::Full) {
        to.push(messaging::MESSAGE_BODY_SIZE, whole(size));
    }
    if detail > Detail::Minimal {
        push_client(message, &options.telemetry, to);
        message.attributes(detail, to);
    }
}

fn push_client<M: Message>(message: &M, telemetry: &Telemetry, to: &mut Attributes) {
    if let Some(id) = message.client_id() {
        to.push(messaging::CLIENT_ID, shared(telemetry, id));
    }
}

/// What processing records.
#[derive(Debug)]
pub struct ProcessRecord {
    labels: Vec<KeyValue>,
    count: u64,
    waits: SmallVec<[Duration; 1]>,
    system: &'static str,
}

impl Record for ProcessRecord {
    fn owns(&self, key: &str) -> bool {
        let is_of_message = [ml::QUEUE_WAIT_DURATION, ml::MESSAGE_ATTEMPT].contains(&key);
        is_of_message
            || ["messaging.", "kafka.", "rabbitmq."]
                .iter()
                .any(|prefix| key.starts_with(prefix))
    }

    fn record(&mut self, end: &mut End<'_>) {
        let Some(instruments) = end.instruments else {
            return;
        };
        let mut labels = std::mem::take(&mut self.labels);
        labels.extend(end.error_label());
        instruments
            .messaging_process_duration
            .record(end.duration.as_secs_f64(), &labels);
        if self.count > 0 {
            instruments
                .messaging_client_consumed_messages
                .add(self.count, &labels);
        }
        if !self.waits.is_empty() {
            // As far as a label may name it.
            let name = labels.iter().find(|label| {
                let key = label.key.as_str();
                key == messaging::DESTINATION_TEMPLATE || key == messaging::DESTINATION_NAME
            });
            let name = name.map(|label| KeyValue::new(ml::QUEUE_NAME, label.value.clone()));
            let mut labels = Labels::new();
            labels.push(KeyValue::new(ml::QUEUE_SYSTEM, self.system));
            labels.extend(name);
            for wait in self.waits.drain(..) {
                instruments
                    .ml_queue_wait_duration
                    .record(wait.as_secs_f64(), &labels);
            }
        }
        end.record_gen_ai_server();
    }
}
