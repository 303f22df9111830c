//! One publishing: its operation, from the message to the broker's answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use lapin::message::BasicReturnMessage;
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Confirmation, PublisherConfirm, Result};
use otel_ml::hooks::AllHooks;
use otel_ml::messaging::{Client, ClientRecord, send};
use otel_ml::opentelemetry::Context as OtelContext;
use otel_ml::opentelemetry::trace::{SpanContext, TraceContextExt as _};
use otel_ml::semconv::messaging;
use otel_ml::{Detail, ErrorType, Operation, Options, Outcome};

use crate::carrier::{HeadersExtractor, HeadersInjector};
use crate::delivery::{push_ids, push_routing_key};
use crate::destination::{Name, published};
use crate::error::{is_transient, of_returned};
use crate::returns::{Returns, Sent, Ticket, fail};

/// A message that is about to be published, as hooks see it.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// Its exchange; empty for the default one.
    pub exchange: &'a str,
    /// Its routing key.
    pub routing_key: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// Its properties, before anything is written to their headers.
    pub properties: &'a BasicProperties,
}

impl fmt::Debug for Outgoing<'_> {
    /// Where it goes, and nothing of what it says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("exchange", &self.exchange)
            .field("routing_key", &self.routing_key)
            .finish_non_exhaustive()
    }
}

/// Names a destination by a template, where it returns one.
pub(crate) type Template = dyn Fn(&Outgoing<'_>) -> Option<&'static str> + Send + Sync;

/// What all publishings of a producer share.
pub(crate) struct Settings<H> {
    pub(crate) options: Options<H>,
    pub(crate) client_id: Option<String>,
    pub(crate) server: Option<(String, u16)>,
    pub(crate) template: Option<Box<Template>>,
    pub(crate) writes_send_time: bool,
    pub(crate) returns: Arc<Returns>,
}

impl<H> Settings<H> {
    /// Starts the operation of publishing a message; returns its headers with the operation's
    /// context in them, and, where it is confirmed and recorded, what it is under way by.
    pub(crate) fn begin(
        &self,
        outgoing: &Outgoing<'_>,
        keeps_context: bool,
        is_confirmed: bool,
    ) -> (Operation<ClientRecord>, Option<FieldTable>, Option<Ticket>)
    where
        H: for<'a> AllHooks<Outgoing<'a>>,
    {
        let headers = outgoing.properties.headers().as_ref();
        let telemetry = &self.options.telemetry;
        let is_recorded = telemetry.is_tracing() || telemetry.instruments().is_some();
        if !is_recorded && !telemetry.is_propagating() {
            return (Operation::none(), self.written(None, headers), None);
        }
        let kept = keeps_context.then(|| self.context_of(headers));
        let kept = kept.filter(SpanContext::is_valid);
        let current = OtelContext::current();
        let operation = if is_recorded
            && !current.is_telemetry_suppressed()
            && self.options.hooks.accepts(outgoing)
        {
            self.start(outgoing, kept.clone(), &current)
        } else {
            Operation::none()
        };
        let cx = operation.context().unwrap_or(&current);
        let written = self.written(kept.is_none().then_some(cx), headers);
        // Also of one that the filter refuses: its answer may bring back another.
        let ticket = (is_confirmed && is_recorded).then(|| self.returns.begin());
        (operation, written, ticket)
    }

    fn context_of(&self, headers: Option<&FieldTable>) -> SpanContext {
        headers.map_or(SpanContext::NONE, |headers| {
            let telemetry = &self.options.telemetry;
            let cx = telemetry.extract(&HeadersExtractor::new(headers));
            cx.span().span_context().clone()
        })
    }

    fn start(
        &self,
        outgoing: &Outgoing<'_>,
        kept: Option<SpanContext>,
        current: &OtelContext,
    ) -> Operation<ClientRecord>
    where
        H: for<'a> AllHooks<Outgoing<'a>>,
    {
        let options = &self.options;
        let parts = [outgoing.exchange, outgoing.routing_key];
        let name = Name::of(&parts);
        let mut destination = published(&name, &parts);
        let template = self.template.as_ref();
        if let Some(template) = template.and_then(|template| template(outgoing)) {
            destination = destination.template(template);
        }
        let mut client = Client::of(messaging::system::RABBITMQ);
        if let Some(id) = &self.client_id {
            client = client.id(id);
        }
        if let Some((address, port)) = &self.server {
            client = client.server(address, *port);
        }
        let span = options.hooks.span_name(outgoing);
        let publish = messaging::operation::PUBLISH;
        send(publish, &client, &destination, kept, span, options, |to| {
            if options.detail > Detail::Minimal {
                push_routing_key(outgoing.routing_key, to);
                push_ids(outgoing.properties, to);
            }
            if options.detail == Detail::Full {
                let size = i64::try_from(outgoing.payload.len()).unwrap_or(i64::MAX);
                to.push(messaging::MESSAGE_BODY_SIZE, size);
            }
            options.push_baggage(current, to);
            options.hooks.attributes(outgoing, to);
        })
    }

    /// The headers with what is to be written; `None` where they stay as they are. lapin's
    /// properties give no headers away: what an application has put there is copied.
    fn written(
        &self,
        cx: Option<&OtelContext>,
        headers: Option<&FieldTable>,
    ) -> Option<FieldTable> {
        if cx.is_none() && !self.writes_send_time {
            return None;
        }
        let mut table = headers.cloned().unwrap_or_default();
        let mut injector = HeadersInjector::new(&mut table);
        if let Some(cx) = cx {
            self.options.telemetry.inject(cx, &mut injector);
        }
        if self.writes_send_time {
            injector.set_sent_at(SystemTime::now());
        } else {
            injector.remove_sent_at();
        }
        (headers.is_some() || !table.inner().is_empty()).then_some(table)
    }

    /// What a message that is published so would come back as.
    pub(crate) fn sent(
        &self,
        exchange: &ShortString,
        routing_key: &ShortString,
        properties: &BasicProperties,
    ) -> Sent {
        let sender = self.context_of(properties.headers().as_ref());
        Sent {
            sender: (sender.trace_id(), sender.span_id()),
            exchange: exchange.clone(),
            routing_key: routing_key.clone(),
        }
    }

    /// Ends `operation` with the broker's answer.
    fn answered(
        &self,
        operation: &mut Operation<ClientRecord>,
        ticket: Option<Ticket>,
        answer: std::result::Result<&Confirmation, &lapin::Error>,
    ) {
        let came = |returned: &BasicReturnMessage| {
            let sent = self.sent(
                &returned.exchange,
                &returned.routing_key,
                &returned.properties,
            );
            (sent, of_returned(returned.error().as_ref()))
        };
        let (is_ack, came) = match answer {
            Ok(Confirmation::Ack(returned)) => (true, returned.as_ref().map(came)),
            Ok(Confirmation::Nack(returned)) => (false, returned.as_ref().map(came)),
            Ok(Confirmation::NotRequested) | Err(_) => (false, None),
        };
        match ticket.and_then(|ticket| ticket.answered(is_ack, came, operation)) {
            Some(failure) => fail(operation, failure, None),
            None => self.end(operation, answer),
        }
    }

    /// Ends `operation` with what became of a message that didn't come back.
    pub(crate) fn end(
        &self,
        operation: &mut Operation<ClientRecord>,
        answer: std::result::Result<&Confirmation, &lapin::Error>,
    ) {
        match answer {
            Ok(Confirmation::Ack(_) | Confirmation::NotRequested) => operation.end(&Outcome::Ok),
            Ok(Confirmation::Nack(_)) => {
                fail(operation, (ErrorType::new("nack"), Some(true)), None);
            }
            Err(error) => {
                let failure = (self.options.error_type(error), Some(is_transient(error)));
                fail(operation, failure, None);
            }
        }
    }
}

impl<H> fmt::Debug for Settings<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("client_id", &self.client_id)
            .field("send_time", &self.writes_send_time)
            .finish_non_exhaustive()
    }
}

/// The broker's answer to [`basic_publish`](crate::OtelMlProducer::basic_publish), as
/// [`PublisherConfirm`] gives it.
///
/// # When it ends
/// The span ends with the answer: a negative one, and a message that comes back since nobody
/// takes it, are errors. On a channel without confirms it has ended before, with the call.
///
/// lapin may hand a message that comes back to another's answer. A mandatory message of which this
/// one's answer doesn't tell is in doubt, and its span open, until the answers that were under
/// way on its producer are there, or dropped; it then ends as of its own answer.
///
/// Dropped while it is awaited, it ends as cancelled. Dropped without ever having been awaited, it
/// ends there, without an error: as on a channel without confirms, nobody asks what became of
/// the message, or asks [`wait_for_confirms`](lapin::Channel::wait_for_confirms), which goes on
/// to work and doesn't tell one message from the other.
#[must_use = "dropping it ends the span without the broker's answer"]
pub struct Confirming<H = crate::DefaultHooks> {
    inner: PublisherConfirm,
    operation: Operation<ClientRecord>,
    ticket: Option<Ticket>,
    settings: Arc<Settings<H>>,
    is_awaited: bool,
}

impl<H> Confirming<H> {
    pub(crate) const fn new(
        inner: PublisherConfirm,
        operation: Operation<ClientRecord>,
        ticket: Option<Ticket>,
        settings: Arc<Settings<H>>,
    ) -> Self {
        Self {
            inner,
            operation,
            ticket,
            settings,
            is_awaited: false,
        }
    }
}

impl<H> Future for Confirming<H> {
    type Output = Result<Confirmation>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.is_awaited = true;
        let answer = ready!(Pin::new(&mut this.inner).poll(cx));
        let ticket = this.ticket.take();
        this.settings
            .answered(&mut this.operation, ticket, answer.as_ref());
        Poll::Ready(answer)
    }
}

impl<H> Drop for Confirming<H> {
    fn drop(&mut self) {
        // The inner one is not asked: an answer that nobody has awaited is the channel's, for
        // `wait_for_confirms`.
        if !self.is_awaited {
            self.operation.end(&Outcome::Ok);
        }
    }
}

impl<H> fmt::Debug for Confirming<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confirming")
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}
