//! What starts a batch and the requests in it.

use std::borrow::Cow;

use otel_ml::messaging::MAX_LINKS;
use otel_ml::opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt};
use otel_ml::opentelemetry::{Context, StringValue};
use otel_ml::semconv::ml;
use otel_ml::{End, Handle, Operation, Record, Telemetry};

use super::{BatchOperation, Trigger, handle};
use crate::queue::Ticket;
use crate::traced::Traced;

/// What the batches of one batcher have in common. Setters take and return it by value.
#[derive(Clone, Debug)]
#[must_use]
pub struct BatchBuilder {
    name: Cow<'static, str>,
    telemetry: Option<Telemetry>,
    model: Option<StringValue>,
    max_size: Option<u64>,
}

impl BatchBuilder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: format!("batch {name}").into(),
            telemetry: None,
            model: None,
            max_size: None,
        }
    }

    /// Records batches through `telemetry`; through that of the first request's queue if not
    /// called. A request's own span is always recorded through its queue's.
    pub fn telemetry(self, telemetry: Telemetry) -> Self {
        Self {
            telemetry: Some(telemetry),
            ..self
        }
    }

    /// The model that runs them: `ml.model.name` of the batch. Metric label.
    pub fn model(self, model: impl Into<StringValue>) -> Self {
        Self {
            model: Some(model.into()),
            ..self
        }
    }

    /// How many requests a batch may hold: `ml.batch.max_size`.
    pub fn max_size(self, requests: u64) -> Self {
        Self {
            max_size: Some(requests),
            ..self
        }
    }

    /// Starts a batch of `requests`, and gives the items in the same order. No requests, no
    /// batch: nothing is recorded then.
    pub fn start<T>(&self, trigger: Trigger, requests: Vec<Traced<T>>) -> (BatchOperation, Vec<T>) {
        let size = requests.len() as u64;
        let mut batch = match requests.first() {
            Some(first) => {
                let of_queue = first.ticket().telemetry();
                self.operation(
                    self.telemetry.as_ref().unwrap_or(&of_queue),
                    requests.iter().map(|request| span_of(request.context())),
                )
            }
            None => Operation::none(),
        };
        let facts = handle(&batch);
        facts.batch_size(size).batch_trigger(trigger.as_str());
        if let Some(max_size) = self.max_size {
            facts.batch_max_size(max_size);
        }
        if let Some(model) = &self.model
            && batch.record_mut().is_some()
        {
            facts.model(model.clone());
        }
        let link = batch.span_context();
        let (operations, items) = requests
            .into_iter()
            .map(|request| {
                let (item, ticket) = request.into_parts();
                (infer(ticket, &link, size), item)
            })
            .unzip();
        let batch = BatchOperation {
            batch,
            requests: operations,
        };
        (batch, items)
    }

    /// The batch's own: a root, whoever runs the batcher, as it belongs to none of its requests
    /// alone; what is active here is one link more.
    fn operation(
        &self,
        telemetry: &Telemetry,
        requests: impl Iterator<Item = SpanContext> + Clone,
    ) -> Operation<()> {
        let ambient = Context::current();
        let mut parent = Context::new();
        if ambient.is_telemetry_suppressed() {
            parent = parent.with_telemetry_suppressed();
        }
        let is_tracing = telemetry.is_tracing();
        let name = if is_tracing {
            self.name.clone()
        } else {
            Cow::Borrowed("")
        };
        let mut builder = Operation::builder(telemetry, SpanKind::Internal, name).parent(parent);
        let (mut linked, mut dropped) = (Vec::new(), 0_i64);
        if is_tracing {
            // Where not all have room, those that lead somewhere come first.
            let all = requests.chain([span_of(&ambient)]);
            let sampled = all.clone().filter(SpanContext::is_sampled);
            for span in sampled.chain(all.filter(|span| !span.is_sampled())) {
                if !span.is_valid() || linked.contains(&span) {
                    continue;
                }
                if linked.len() == MAX_LINKS {
                    dropped += 1;
                    continue;
                }
                builder = builder.link(span.clone(), Vec::new());
                linked.push(span);
            }
        }
        builder.handle(Handle::Always).start(
            || (),
            |to| {
                if dropped > 0 {
                    to.push(ml::LINKS_DROPPED, dropped);
                }
            },
        )
    }
}

fn span_of(cx: &Context) -> SpanContext {
    cx.span().span_context().clone()
}

/// Starts the span of a request in a batch.
fn infer(mut ticket: Ticket, batch: &SpanContext, size: u64) -> Operation<Infer> {
    let waited = ticket.open();
    let telemetry = ticket.telemetry();
    let mut builder = Operation::builder(&telemetry, SpanKind::Internal, "infer".into())
        .parent(ticket.cx.clone())
        .handle(Handle::Always);
    let is_unlikely = builder.is_unlikely();
    if !is_unlikely && telemetry.is_tracing() {
        builder = builder.link(batch.clone(), Vec::new());
    }
    let operation = builder.start(
        || Infer,
        |to| {
            to.take_keys();
            to.push(ml::QUEUE_WAIT_DURATION, waited.as_secs_f64());
            to.push(ml::BATCH_SIZE, i64::try_from(size).unwrap_or(i64::MAX));
        },
    );
    if is_unlikely {
        operation.link(batch.clone());
    }
    operation
}

/// What a request in a batch records.
#[derive(Debug)]
pub(super) struct Infer;

impl Record for Infer {
    fn record(&mut self, end: &mut End<'_>) {
        end.record_gen_ai_server();
    }
}
