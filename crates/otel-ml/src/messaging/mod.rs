//! Messages: what is the same for every broker.
//!
//! A transport implements [`Message`] for what its consumers are handed, and starts the
//! operations of this module for what its clients do:
//!
//! | operation | span | kind | parent and links | metrics |
//! |---|---|---|---|---|
//! | [`send`] | `send {destination}` | PRODUCER; CLIENT when the message keeps a context of its own | child of the current context | client duration, sent messages |
//! | [`receive`], [`receive_one`] | `poll {destination}` | CLIENT | child of the current context, a link per message | client duration, consumed messages |
//! | [`process`], [`process_batch`] | `process {destination}` | CONSUMER | by the [`ParentPolicy`](crate::ParentPolicy) | process duration, queue wait, consumed messages unless counted at receive |
//! | [`settle`] | `ack {destination}`, … | CLIENT | child of the current context | client duration |
//!
//! # Cardinality
//! A destination that is temporary or has a generated name appears in no span name and no
//! metric label.

mod consumer;
mod fields;
mod layer;
mod links;
mod operation;
mod service;

use std::time::SystemTime;

use opentelemetry::Context;

use crate::attributes::Attributes;
use crate::options::Detail;
use crate::telemetry::Telemetry;

pub use consumer::{ProcessRecord, context_of, process, process_batch};
pub use fields::{FIELDS, Found, SENT_AT, SENT_AT_SLOT, field_slot, read_sent_at, write_sent_at};
pub use layer::{
    ConfiguredOtelMlConsumerLayer, DefaultHooks, OtelMlConsumerLayer, OtelMlConsumerLayerBuilder,
};
pub use links::MAX_LINKS;
pub use operation::{Client, ClientRecord, receive, receive_one, send, settle};
pub use service::{OtelMlConsumer, ProcessFuture, process_batch_by, process_by};

/// A topic, queue or exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Destination<'a> {
    /// Its name.
    pub name: &'a str,
    /// The low-cardinality template its name was made from, if it was.
    pub template: Option<&'static str>,
    /// Its name was generated: it means nothing to a reader.
    pub is_anonymous: bool,
    /// It lives only as long as its connection or less.
    pub is_temporary: bool,
    /// The part of it that the message is in. Recorded as text.
    pub partition: Option<&'a str>,
}

impl<'a> Destination<'a> {
    /// A destination that is there to stay.
    #[must_use]
    pub const fn named(name: &'a str) -> Self {
        Self {
            name,
            template: None,
            is_anonymous: false,
            is_temporary: false,
            partition: None,
        }
    }

    /// A destination made from a template, such as `replies/{tenant}`.
    #[must_use]
    pub const fn template(self, template: &'static str) -> Self {
        Self {
            template: Some(template),
            ..self
        }
    }

    /// A destination with a generated name.
    #[must_use]
    pub const fn anonymous(self) -> Self {
        Self {
            is_anonymous: true,
            ..self
        }
    }

    /// A destination that does not outlive its connection.
    #[must_use]
    pub const fn temporary(self) -> Self {
        Self {
            is_temporary: true,
            ..self
        }
    }

    /// In this partition.
    #[must_use]
    pub const fn partition(self, partition: &'a str) -> Self {
        Self {
            partition: Some(partition),
            ..self
        }
    }

    /// What names and labels may hold of it.
    #[must_use]
    pub fn low_cardinality(&self) -> Option<&'a str> {
        let is_stable = !self.is_anonymous && !self.is_temporary && !self.name.is_empty();
        self.template.or(is_stable.then_some(self.name))
    }
}

/// A message that is being received or processed.
///
/// Implementations never panic on what the wire brought; what can't be read is absent.
pub trait Message {
    /// The messaging system: `kafka`, `rabbitmq`, ….
    fn system(&self) -> &'static str;

    /// What its context travels by, `ml.propagation.transport`: that of its carrier.
    fn transport(&self) -> &'static str {
        self.system()
    }

    /// Where it came from.
    fn destination(&self) -> Destination<'_>;

    /// What its sender put into it, as a fresh context: `telemetry.extract(&carrier)`.
    fn sender(&self, telemetry: &Telemetry) -> Context;

    /// When it was sent or created; `None` when all that is known is when it was stored.
    fn sent_at(&self) -> Option<SystemTime> {
        None
    }

    /// How often it was delivered, this time included.
    fn attempt(&self) -> u32 {
        1
    }

    /// The consumer group it was delivered to.
    fn consumer_group(&self) -> Option<&str> {
        None
    }

    /// The client it was delivered to.
    fn client_id(&self) -> Option<&str> {
        None
    }

    /// Size of its body in bytes. The body itself is never recorded.
    fn body_size(&self) -> Option<u64> {
        None
    }

    /// Whether it was counted as consumed when it was received, and with it what was wrong with
    /// its propagation fields.
    fn is_counted(&self) -> bool {
        false
    }

    /// Pushes what only this system knows: offset, key, delivery tag, message id.
    fn attributes(&self, _detail: Detail, _to: &mut Attributes) {}
}
