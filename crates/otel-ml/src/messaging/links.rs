//! Links to the senders of messages, and what a batch has in common.

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use otel_ml_semconv::messaging;

use super::{Destination, Message};
use crate::attributes::Attributes;
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
    pub(super) fn of<M: Message>(messages: &'a [M]) -> Self {
        let destinations = || messages.iter().map(Message::destination);
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

/// Links to the senders of messages, and how many are left out.
pub(super) struct Links {
    pub(super) list: Vec<(SpanContext, Vec<KeyValue>)>,
    pub(super) dropped: usize,
}

/// A link to each message's sender, with the attributes that tell the message apart. A
/// message without a sender takes no link; where there is no span there is nothing to link.
pub(super) fn links<M: Message, H>(
    messages: &[M],
    common: &Common<'_>,
    options: &Options<H>,
) -> Links {
    let mut links = Links {
        list: Vec::new(),
        dropped: 0,
    };
    if !options.telemetry.is_tracing() {
        return links;
    }
    for message in messages {
        let sender = message
            .sender(&options.telemetry)
            .span()
            .span_context()
            .clone();
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
        links.list.push((sender, to.into_vec()));
    }
    links
}
