//! Settling: telling the broker what became of a message.

use std::future::{Future, poll_fn};
use std::pin::pin;

use lapin::Result;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use otel_ml::messaging::{ClientRecord, Message as _, context_of, settle};
use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::trace::TraceContextExt as _;
use otel_ml::semconv::{messaging, ml};
use otel_ml::{Detail, ErrorType, Operation, Outcome};

use crate::OtelMlDelivery;
use crate::delivery::{push_delivery_tag, push_ids};
use crate::error::{CLOSED, is_transient};

/// Settling is an `ack {destination}`, `nack {destination}` or `reject {destination}` CLIENT
/// span: a child of what is current, such as of the processing when called in the handler; where
/// nothing is, of the message's processing; and of what that would be below, where it never was
/// processed.
///
/// # When it ends
/// When the frame is written: AMQP has no answer to it. A tag that the broker doesn't know, one
/// that was settled by another's `multiple` for example, closes the channel some time later. On a
/// channel that is closed, or was recovered since the message came, it ends at once with
/// `error.type` = `InvalidChannelState`, and `Ok(false)` is returned. Dropped, it ends as
/// cancelled. A message that is settled a second time is left alone, and there is no second
/// span: `Ok(false)` again.
impl OtelMlDelivery {
    /// Acknowledges the message; with `multiple`, all before it on its channel, too, in one
    /// span.
    ///
    /// # Errors
    /// Those of [`Acker::ack`](lapin::Acker::ack).
    pub async fn ack(&self, options: BasicAckOptions) -> Result<bool> {
        let acking = self.get_ref().acker.ack(options);
        self.settle(messaging::operation::ACK, acking).await
    }

    /// Gives the message back, or away.
    ///
    /// # Errors
    /// Those of [`Acker::nack`](lapin::Acker::nack).
    pub async fn nack(&self, options: BasicNackOptions) -> Result<bool> {
        let nacking = self.get_ref().acker.nack(options);
        self.settle(messaging::operation::NACK, nacking).await
    }

    /// Gives the message back, or away, as AMQP has it without RabbitMQ's `nack`.
    ///
    /// # Errors
    /// Those of [`Acker::reject`](lapin::Acker::reject).
    pub async fn reject(&self, options: BasicRejectOptions) -> Result<bool> {
        let rejecting = self.get_ref().acker.reject(options);
        self.settle(messaging::operation::REJECT, rejecting).await
    }

    async fn settle(
        &self,
        name: &'static str,
        settling: impl Future<Output = Result<bool>>,
    ) -> Result<bool> {
        let mut operation = self.begin_settling(name);
        let mut settling = pin!(settling);
        let answer = poll_fn(|cx| operation.scope(|| settling.as_mut().poll(cx))).await;
        if let Some(record) = operation.record_mut() {
            let outcome = match &answer {
                Ok(true) => Outcome::Ok,
                Ok(false) if self.get_ref().acker.poisoned() => Outcome::Failed(CLOSED),
                // By another task, since this one looked.
                Ok(false) => Outcome::Failed(ErrorType::new("already_settled")),
                Err(error) => {
                    record.tell(ml::ERROR_TRANSIENT, is_transient(error));
                    Outcome::Failed(self.origin.options.error_type(error))
                }
            };
            operation.end(&outcome);
        }
        answer
    }

    fn begin_settling(&self, name: &'static str) -> Operation<ClientRecord> {
        let options = &self.origin.options;
        let telemetry = &options.telemetry;
        let is_recorded = telemetry.is_tracing() || telemetry.instruments().is_some();
        let acker = &self.get_ref().acker;
        let is_settled = !acker.usable() && !acker.poisoned();
        let mut parent = Context::current();
        if !is_recorded || is_settled || parent.is_telemetry_suppressed() {
            return Operation::none();
        }
        if !parent.span().span_context().is_valid() {
            let processed = self.processed.get().cloned();
            parent = processed.unwrap_or_else(|| context_of(self, options));
        }
        let _current = parent.attach();
        let client = self.origin.client();
        settle(name, &client, &self.destination(), options, |to| {
            if options.detail > Detail::Minimal {
                push_delivery_tag(self.get_ref().delivery_tag, to);
                push_ids(&self.get_ref().properties, to);
            }
        })
    }
}
