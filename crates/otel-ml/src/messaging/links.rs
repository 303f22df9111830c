//! Links to the senders of messages, and what a batch has in common.

use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use otel_ml_semconv::messaging;

use super::{Destination, Message};
use crate::attributes::Attributes;
use crate::hooks::SpanAttributes;
use crate::options::{Detail, Options};

/// The most links that a span gets; the number of those left out is `ml.links.dropped`.
pub const MAX_LINKS: usize = 128;

/// What is equal for all messages of a batch goes to its span, the rest to its links.
#[derive(Clone, Copy)]
pub(super) struct Common<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) partition: Option<&'a str>,
    pub(super) destination: Destination<'a>,
}

impl<'a> Common<'a> {
    pub(super) fn of<M: Message>(messages: &[&'a M]) -> Self {
        let destinations = || messages.iter().map(|message| message.destination());
        let first = destinations().next().unwrap_or_default();
        let one_name = destinations().all(|other| other.name == first.name);
        let one_partition =
            one_name && destinations().all(|other| other.partition == first.partition);
        Self {
            name: one_name.then_some(first.name),
            partition: first.partition.filter(|_| one_partition),
            destination: if one_name {
                Destination {
                    partition: None,
                    ..first
                }
            } else {
                Destination::default()
            },
        }
    }
}

/// What the application's hook says of the messages of a batch: what it says of all of them, and
/// what else of each.
#[derive(Default)]
pub(super) struct Hooked {
    pub(super) common: Vec<KeyValue>,
    each: Vec<Vec<KeyValue>>,
}

impl Hooked {
    pub(super) fn of<M, H>(messages: &[&M], options: &Options<H>) -> Self
    where
        H: SpanAttributes<M>,
    {
        if !options.telemetry.is_tracing() {
            return Self::default();
        }
        let said = |message: &&M| {
            let mut to = Attributes::unbounded();
            options.hooks.attributes(message, &mut to);
            let mut said = to.into_vec();
            said.truncate(options.attribute_cap);
            said
        };
        let mut each: Vec<_> = messages.iter().map(said).collect();
        let mut common = each.first().cloned().unwrap_or_default();
        common.retain(|attribute| each.iter().all(|said| said.contains(attribute)));
        for said in &mut each {
            said.retain(|attribute| !common.contains(attribute));
        }
        Self { common, each }
    }
}

/// Links to the senders of messages, and how many are left out.
pub(super) struct Links {
    pub(super) list: Vec<(SpanContext, Vec<KeyValue>)>,
    pub(super) dropped: usize,
}

/// A link to each message's sender, which `sender` reads, with the attributes that tell the
/// message apart. A message without a sender takes no link; where there is no span there is
/// nothing to link.
pub(super) fn links<M: Message, H>(
    messages: &[&M],
    common: &Common<'_>,
    hooked: Hooked,
    options: &Options<H>,
    sender: impl Fn(&M) -> Context,
) -> Links {
    let mut links = Links {
        list: Vec::new(),
        dropped: 0,
    };
    if !options.telemetry.is_tracing() {
        return links;
    }
    let mut hooked = hooked.each.into_iter();
    for message in messages {
        let said = hooked.next();
        let sender = sender(message).span().span_context().clone();
        if !sender.is_valid() {
            continue;
        }
        if links.list.len() == MAX_LINKS {
            links.dropped += 1;
            continue;
        }
        let destination = message.destination();
        let mut to = Attributes::unbounded();
        if common.name.is_none() {
            to.push(messaging::DESTINATION_NAME, destination.name.to_owned());
        }
        if let Some(partition) = destination.partition.filter(|_| common.partition.is_none()) {
            to.push(messaging::DESTINATION_PARTITION_ID, partition.to_owned());
        }
        if options.detail > Detail::Minimal {
            message.attributes(options.detail, &mut to);
        }
        to.extend(said.into_iter().flatten());
        links.list.push((sender, to.into_vec()));
    }
    links
}
