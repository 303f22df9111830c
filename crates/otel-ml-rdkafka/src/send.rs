//! One send: its operation, from the record to the broker's answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use futures_util::FutureExt as _;
use otel_ml::hooks::AllHooks;
use otel_ml::messaging::{Client, ClientRecord, send};
use otel_ml::opentelemetry::Context as OtelContext;
use otel_ml::opentelemetry::trace::{SpanContext, TraceContextExt as _};
use otel_ml::semconv::{kafka, messaging, ml};
use otel_ml::{Detail, Operation, Options, Outcome};
use rdkafka::error::KafkaError;
use rdkafka::message::{OwnedHeaders, ToBytes};
use rdkafka::producer::future_producer::OwnedDeliveryResult;
use rdkafka::producer::{DeliveryFuture, FutureRecord};

use crate::carrier::{HeadersExtractor, HeadersInjector};
use crate::error::is_transient;
use crate::record::push_key;
use crate::topic::{Number, Templates};

/// A message that is about to be sent, as hooks see it.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition, where the application chose it.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its payload; `None` for a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Its headers, before anything is written to them.
    pub headers: Option<&'a OwnedHeaders>,
}

impl fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}

/// What all sends of a producer share.
#[derive(Debug)]
pub(crate) struct Settings<H> {
    pub(crate) options: Options<H>,
    pub(crate) client_id: Option<String>,
    pub(crate) records_keys: bool,
    pub(crate) writes_send_time: bool,
    pub(crate) templates: Templates,
}

impl<H> Settings<H> {
    /// Starts the operation of sending `record`, and writes its context into it.
    pub(crate) fn begin<K, P>(
        &self,
        record: &mut FutureRecord<'_, K, P>,
        keeps_context: bool,
    ) -> Operation<ClientRecord>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
        H: for<'a> AllHooks<Outgoing<'a>>,
    {
        let telemetry = &self.options.telemetry;
        let is_recorded = telemetry.is_tracing() || telemetry.instruments().is_some();
        if !is_recorded && !telemetry.is_propagating() {
            self.write(None, record);
            return Operation::none();
        }
        let kept = keeps_context.then(|| self.context_of(record.headers.as_ref()));
        let kept = kept.filter(SpanContext::is_valid);
        let outgoing = Outgoing {
            topic: record.topic,
            partition: record.partition,
            key: record.key.map(ToBytes::to_bytes),
            payload: record.payload.map(ToBytes::to_bytes),
            headers: record.headers.as_ref(),
        };
        let operation = if is_recorded && self.options.hooks.accepts(&outgoing) {
            self.start(&outgoing, kept.clone())
        } else {
            Operation::none()
        };
        let unrecorded = operation.context().is_none().then(OtelContext::current);
        let cx = operation.context().or(unrecorded.as_ref());
        self.write(cx.filter(|_| kept.is_none()), record);
        operation
    }

    fn context_of(&self, headers: Option<&OwnedHeaders>) -> SpanContext {
        headers.map_or(SpanContext::NONE, |headers| {
            let telemetry = &self.options.telemetry;
            let cx = telemetry.extract(&HeadersExtractor::new(headers));
            cx.span().span_context().clone()
        })
    }

    fn start(&self, outgoing: &Outgoing<'_>, kept: Option<SpanContext>) -> Operation<ClientRecord>
    where
        H: for<'a> AllHooks<Outgoing<'a>>,
    {
        let options = &self.options;
        let partition = outgoing.partition.filter(|number| *number >= 0);
        let partition = partition.map(Number::new);
        let mut destination = self.templates.destination(outgoing.topic);
        if let Some(partition) = &partition {
            destination = destination.partition(partition.as_str());
        }
        let mut client = Client::of(messaging::system::KAFKA);
        if let Some(id) = &self.client_id {
            client = client.id(id);
        }
        let name = options.hooks.span_name(outgoing);
        let operation = messaging::operation::SEND;
        send(
            operation,
            &client,
            &destination,
            kept,
            name,
            options,
            |to| {
                if options.detail > Detail::Minimal {
                    push_key(outgoing.key.filter(|_| self.records_keys), to);
                }
                match outgoing.payload {
                    None => to.push(kafka::MESSAGE_TOMBSTONE, true),
                    Some(payload) if options.detail == Detail::Full => {
                        let size = i64::try_from(payload.len()).unwrap_or(i64::MAX);
                        to.push(messaging::MESSAGE_BODY_SIZE, size);
                    }
                    Some(_) => {}
                }
                if !options.baggage.is_empty() {
                    options.push_baggage(&OtelContext::current(), to);
                }
                options.hooks.attributes(outgoing, to);
            },
        )
    }

    fn write<K, P>(&self, cx: Option<&OtelContext>, record: &mut FutureRecord<'_, K, P>)
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        if cx.is_none() && !self.writes_send_time {
            return;
        }
        let mut injector = HeadersInjector::new(record.headers.take());
        if let Some(cx) = cx {
            self.options.telemetry.inject(cx, &mut injector);
        }
        if self.writes_send_time {
            injector.set_sent_at(SystemTime::now());
        } else {
            injector.remove_sent_at();
        }
        record.headers = injector.into_inner();
    }

    /// Ends `operation` with what became of the message.
    pub(crate) fn end<D>(
        &self,
        operation: &mut Operation<ClientRecord>,
        answer: Result<(i32, i64), &(KafkaError, D)>,
    ) {
        let Some(record) = operation.record_mut() else {
            return;
        };
        match answer {
            Ok((partition, offset)) => {
                record.stored_in(Number::new(partition).as_str().to_owned());
                // Without an acknowledgement (`acks=0`) nobody knows it.
                if offset >= 0 && self.options.detail > Detail::Minimal {
                    record.tell(kafka::OFFSET, offset);
                }
                operation.end(&Outcome::Ok);
            }
            Err((error, _)) => {
                if let Some(is_transient) = is_transient(error) {
                    record.tell(ml::ERROR_TRANSIENT, is_transient);
                }
                operation.end(&Outcome::Failed(self.options.error_type(error)));
            }
        }
    }
}

/// The answer to [`send_result`](crate::OtelMlProducer::send_result), as
/// [`DeliveryFuture`] gives it.
///
/// # When it ends
/// The span ends with the answer; dropped before there is one, as cancelled, though the message
/// may arrive all the same. When the producer is dropped first it ends with `error.type` = `Canceled`.
#[must_use = "dropping it ends the span as cancelled"]
pub struct Delivering<H = crate::DefaultHooks> {
    pub(crate) inner: DeliveryFuture,
    pub(crate) operation: Operation<ClientRecord>,
    pub(crate) settings: std::sync::Arc<Settings<H>>,
}

impl<H> Future for Delivering<H> {
    type Output = <DeliveryFuture as Future>::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let answer = ready!(this.inner.poll_unpin(cx));
        this.end(&answer);
        Poll::Ready(answer)
    }
}

impl<H> Delivering<H> {
    fn end(&mut self, answer: &<DeliveryFuture as Future>::Output) {
        let operation = &mut self.operation;
        match answer {
            Ok(answer) => self.settings.end(operation, told(answer)),
            Err(_) => self
                .settings
                .end(operation, Err(&(KafkaError::Canceled, ()))),
        }
    }
}

impl<H> Drop for Delivering<H> {
    /// Nobody may have asked for an answer that is there.
    fn drop(&mut self) {
        if self.operation.record_mut().is_none() {
            return;
        }
        if let Some(answer) = (&mut self.inner).now_or_never() {
            self.end(&answer);
        }
    }
}

impl<H> fmt::Debug for Delivering<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivering")
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

/// Where the message is, if it is stored.
pub(crate) fn told(
    answer: &OwnedDeliveryResult,
) -> Result<(i32, i64), &(KafkaError, rdkafka::message::OwnedMessage)> {
    let stored = answer.as_ref();
    stored.map(|delivery| (delivery.partition, delivery.offset))
}
