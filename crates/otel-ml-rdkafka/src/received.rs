//! What a consumer was handed, and its processing.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::vec;

use otel_ml::Options;
use otel_ml::hooks::AllHooks;
use otel_ml::messaging::{Message as _, process_batch_by, process_by};
use otel_ml::opentelemetry::Context;
use rdkafka::message::{BorrowedMessage, OwnedMessage};

use crate::DefaultHooks;
use crate::record::Record;

/// A message that was received, with its sender's context.
///
/// It derefs to the message, so that whatever takes a `&BorrowedMessage` takes it too.
pub struct Received<'a, H = DefaultHooks> {
    pub(crate) record: Record<BorrowedMessage<'a>>,
    pub(crate) options: &'a Arc<Options<H>>,
}

impl<'a, H> Received<'a, H> {
    /// Runs `handler` on the message in a `process {topic}` CONSUMER span, which is the
    /// sender's child and is linked to it; where a span is active, a child of that one, linked
    /// to the sender (see [`ParentPolicy`](otel_ml::ParentPolicy)). The sender's baggage is
    /// there in any case.
    ///
    /// Processing does not commit. Handle a message twice, and there are two spans.
    ///
    /// # When it ends
    /// With the handler: with its result, when it panics (the panic goes on), or when the
    /// future is dropped, then as cancelled. Dropped before its first poll it records nothing.
    ///
    /// # Errors
    /// The handler's.
    pub async fn process<'s, T, E, F, Fut>(&'s self, handler: F) -> Result<T, E>
    where
        F: FnOnce(&'s BorrowedMessage<'a>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: 'static,
        H: AllHooks<Record<BorrowedMessage<'a>>>,
    {
        let handler = || handler(self.record.get_ref());
        process_by(&self.record, self.options, handler).await
    }

    /// What its sender put into it: empty where it put nothing, never the current context.
    #[must_use]
    pub fn sender(&self) -> Context {
        self.record.sender(&self.options.telemetry)
    }

    /// A copy that outlives the consumer, with its sender's context, for a service behind the
    /// core's [`OtelMlConsumerLayer`](otel_ml::OtelMlConsumerLayer).
    #[must_use]
    pub fn detach_record(&self) -> Record<OwnedMessage> {
        self.record.map(self.record.detach())
    }

    /// The message.
    pub const fn message(&self) -> &BorrowedMessage<'a> {
        self.record.get_ref()
    }

    /// The message itself.
    #[must_use]
    pub fn into_inner(self) -> BorrowedMessage<'a> {
        self.record.into_inner()
    }
}

impl<'a, H> Deref for Received<'a, H> {
    type Target = BorrowedMessage<'a>;

    fn deref(&self) -> &BorrowedMessage<'a> {
        self.record.get_ref()
    }
}

impl<H> fmt::Debug for Received<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record.fmt(f)
    }
}

/// Messages that were received together, in the order of their arrival; none when nothing
/// arrived in time.
///
/// Process them as one by [`process`](Self::process), or one by one: iterate, and call
/// [`Received::process`] for each.
pub struct Batch<'a, H = DefaultHooks> {
    pub(crate) records: Vec<Record<BorrowedMessage<'a>>>,
    pub(crate) options: &'a Arc<Options<H>>,
}

impl<'a, H> Batch<'a, H> {
    /// Runs `handler` on all messages in one `process {topic}` CONSUMER span, with a link to
    /// each sender (the first 128; `ml.links.dropped` counts the rest). It is never a sender's
    /// child. Attributes on which the messages differ are on the links. An empty batch is
    /// handed over without a span.
    ///
    /// Hooks are asked about each message. One that the filter refuses is neither linked nor
    /// measured; where it refuses all of them there is no span. A name counts if it is the same
    /// for all.
    ///
    /// # When it ends
    /// As [`Received::process`].
    ///
    /// # Errors
    /// The handler's.
    pub async fn process<'s, T, E, F, Fut>(&'s self, handler: F) -> Result<T, E>
    where
        F: FnOnce(&'s [Record<BorrowedMessage<'a>>]) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: 'static,
        H: AllHooks<Record<BorrowedMessage<'a>>>,
    {
        let handler = || handler(&self.records);
        process_batch_by(&self.records, self.options, handler).await
    }
}

impl<'a, H> Deref for Batch<'a, H> {
    type Target = [Record<BorrowedMessage<'a>>];

    fn deref(&self) -> &Self::Target {
        &self.records
    }
}

impl<'a, H> IntoIterator for Batch<'a, H> {
    type Item = Received<'a, H>;
    type IntoIter = IntoReceived<'a, H>;

    fn into_iter(self) -> Self::IntoIter {
        IntoReceived {
            records: self.records.into_iter(),
            options: self.options,
        }
    }
}

impl<H> fmt::Debug for Batch<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.records).finish()
    }
}

/// The messages of a [`Batch`], one by one.
pub struct IntoReceived<'a, H = DefaultHooks> {
    records: vec::IntoIter<Record<BorrowedMessage<'a>>>,
    options: &'a Arc<Options<H>>,
}

impl<'a, H> Iterator for IntoReceived<'a, H> {
    type Item = Received<'a, H>;

    fn next(&mut self) -> Option<Self::Item> {
        self.records.next().map(|record| Received {
            record,
            options: self.options,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.records.size_hint()
    }
}

impl<H> ExactSizeIterator for IntoReceived<'_, H> {}

impl<H> fmt::Debug for IntoReceived<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.records.as_slice()).finish()
    }
}
