//! Committing: telling the broker how far a group has come.

use otel_ml::messaging::{ClientRecord, Destination, settle};
use otel_ml::semconv::{kafka, messaging, ml};
use otel_ml::{Operation, Outcome};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Message as _};

use crate::OtelMlConsumer;
use crate::error::is_transient;
use crate::topic::Number;

/// Commits are `commit {topic}` CLIENT spans, children of what is current: of the processing
/// when called in the handler.
///
/// # When it ends
/// A commit in [`CommitMode::Sync`] ends with the broker's answer. In [`CommitMode::Async`] it
/// ends when it is queued: the answer goes to the context's
/// [`commit_callback`](ConsumerContext::commit_callback), which doesn't tell what it is the
/// answer to. Storing an offset for a later commit records nothing: nobody is told yet.
impl<C, R, H> OtelMlConsumer<C, R, H>
where
    C: ConsumerContext + 'static,
{
    /// Commits the offset behind `message`.
    ///
    /// # Errors
    /// Those of the inner consumer.
    pub fn commit_message(
        &self,
        message: &BorrowedMessage<'_>,
        mode: CommitMode,
    ) -> KafkaResult<()> {
        let partition = Number::new(message.partition());
        let destination = self.origin.templates.destination(message.topic());
        let destination = destination.partition(partition.as_str());
        let operation = self.settle(&destination, Some(message.offset()));
        finish(operation, self, |inner| inner.commit_message(message, mode))
    }

    /// Commits these offsets.
    ///
    /// # Errors
    /// Those of the inner consumer.
    pub fn commit(&self, offsets: &TopicPartitionList, mode: CommitMode) -> KafkaResult<()> {
        if !self.is_recorded() {
            return self.get_ref().commit(offsets, mode);
        }
        let elements = offsets.elements();
        let first = elements.first();
        let topic = first.map_or("", |first| first.topic());
        let is_one_topic = elements.iter().all(|element| element.topic() == topic);
        let single = first.filter(|_| elements.len() == 1);
        let partition = single.map(|single| Number::new(single.partition()));
        let mut destination = match is_one_topic {
            true => self.origin.templates.destination(topic),
            false => Destination::default(),
        };
        if let Some(partition) = &partition {
            destination = destination.partition(partition.as_str());
        }
        // The offset of the next message: that of the last one is what is committed.
        let offset = single.and_then(|single| single.offset().to_raw());
        let operation = self.settle(&destination, offset.and_then(|next| next.checked_sub(1)));
        finish(operation, self, |inner| inner.commit(offsets, mode))
    }

    /// Commits where this consumer is, in all its partitions.
    ///
    /// # Errors
    /// Those of the inner consumer.
    pub fn commit_consumer_state(&self, mode: CommitMode) -> KafkaResult<()> {
        let operation = self.settle(&Destination::default(), None);
        finish(operation, self, |inner| inner.commit_consumer_state(mode))
    }

    fn settle(
        &self,
        destination: &Destination<'_>,
        offset: Option<i64>,
    ) -> Operation<ClientRecord> {
        if !self.is_recorded() {
            return Operation::none();
        }
        let commit = messaging::operation::COMMIT;
        let offset = offset.filter(|offset| *offset >= 0);
        settle(commit, &self.client(), destination, &self.options, |to| {
            if let Some(offset) = offset {
                to.push(kafka::OFFSET, offset);
            }
        })
    }
}

fn finish<C, R, H>(
    mut operation: Operation<ClientRecord>,
    consumer: &OtelMlConsumer<C, R, H>,
    commit: impl FnOnce(&rdkafka::consumer::StreamConsumer<C, R>) -> KafkaResult<()>,
) -> KafkaResult<()>
where
    C: ConsumerContext + 'static,
{
    let result = operation.scope(|| commit(consumer.get_ref()));
    let outcome = match &result {
        Ok(()) => Outcome::Ok,
        Err(error) => {
            if let (Some(record), Some(known)) = (operation.record_mut(), is_transient(error)) {
                record.tell(ml::ERROR_TRANSIENT, known);
            }
            Outcome::Failed(consumer.options.error_type(error))
        }
    };
    operation.finish(outcome);
    result
}
