//! Requests that a model runs together.

use std::borrow::Cow;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use otel_ml::messaging::MAX_LINKS;
use otel_ml::opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt};
use otel_ml::opentelemetry::{Context, StringValue};
use otel_ml::semconv::ml;
use otel_ml::{
    CancelReason, End, ErrorType, Handle, MlSpan, Operation, Outcome, Record, Telemetry,
};

use crate::queue::Ticket;
use crate::traced::Traced;

/// What made a batch start: `ml.batch.trigger`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trigger {
    /// It was full.
    Size,
    /// Its time was up.
    Timeout,
    /// Its budget of tokens or bytes was used up.
    Budget,
    /// The batcher was shutting down.
    Drain,
}

impl Trigger {
    /// The value of `ml.batch.trigger`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Size => ml::batch_trigger::SIZE,
            Self::Timeout => ml::batch_trigger::TIMEOUT,
            Self::Budget => ml::batch_trigger::BUDGET,
            Self::Drain => ml::batch_trigger::DRAIN,
        }
    }
}

/// Requests that a model runs together: one span for the batch, one for each request in it.
///
/// For any batcher, whose own they stay: when a batch starts, what is in it, how it runs. The
/// requests come out of a queue as [`Traced`].
///
/// | recorded | |
/// |---|---|
/// | span `batch {name}`, INTERNAL | the root of a trace of its own, with a **link** to each request, 128 at most (`ml.links.dropped` counts the others); `ml.batch.size`, `ml.batch.max_size`, `ml.batch.trigger`, `ml.model.name` |
/// | span `infer`, INTERNAL, for each request | child of what was active when the request was queued, with a **link** to the batch; `ml.queue.wait.duration` (s, double), `ml.batch.size` |
/// | metrics | `ml.batch.size` by model and trigger; the queue's |
///
/// ```
/// use otel_ml::Outcome;
/// use otel_ml_worker::{BatchOperation, Queue, Trigger};
///
/// let queue = Queue::builder("classify").system("batch").limit(8).build();
/// let waiting = vec![queue.traced("good"), queue.traced("bad")];
///
/// let batches = BatchOperation::builder("classify").model("sentiment").max_size(8);
/// let (mut batch, texts) = batches.start(Trigger::Timeout, waiting);
/// let labels: Vec<_> = batch.scope(|| texts.iter().map(|text| *text == "good").collect());
/// batch.finish(Outcome::Ok); // and with it both requests
/// # assert_eq!(labels, [true, false]);
/// ```
///
/// # When it ends
/// The batch ends by [`finish`](Self::finish), by a panic in [`scope`](Self::scope) or
/// [`run`](Self::run) (`error.type` = `panic`), or when dropped, as cancelled. Each request ends
/// by [`finish_request`](Self::finish_request), or [leaves](Self::leave), or ends with the batch
/// and as it did: a batch that fails fails all that are still in it.
#[must_use = "dropping it ends the batch and its requests as cancelled"]
pub struct BatchOperation {
    batch: Operation<()>,
    requests: Vec<Operation<Infer>>,
}

impl BatchOperation {
    /// Batches named `name`: make the builder once, and start each batch by it.
    ///
    /// # Cardinality
    /// The name is part of a span's name: of low cardinality.
    pub fn builder(name: impl AsRef<str>) -> BatchBuilder {
        BatchBuilder {
            name: format!("batch {}", name.as_ref()).into(),
            telemetry: None,
            model: None,
            max_size: None,
        }
    }

    /// How many requests it started with.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether it started without any.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The handle to write facts about the batch by; inside, `MlSpan::current()` is the same.
    #[must_use]
    pub fn span(&self) -> MlSpan {
        handle(&self.batch)
    }

    /// The handle to write facts about a request by, in the order in which the requests were
    /// given. One that does nothing where there is no such request, or it has ended.
    #[must_use]
    pub fn request(&self, index: usize) -> MlSpan {
        self.requests.get(index).map(handle).unwrap_or_default()
    }

    /// The context of a request's `infer` span, for work that is done for it alone; `None` where
    /// there is no such request, or it has ended.
    #[must_use]
    pub fn request_context(&self, index: usize) -> Option<Context> {
        self.requests.get(index)?.context().cloned()
    }

    /// Runs `work` on this thread, in the batch's context.
    pub fn scope<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let mut unwind = FailAll(Some(self));
        let value = match &mut unwind.0 {
            Some(batch) => batch.batch.scope(work),
            None => work(),
        };
        unwind.0 = None;
        value
    }

    /// Runs `work` in the batch's context.
    ///
    /// # Cancel safety
    /// Dropping the future drops `work`; the batch goes on.
    pub async fn run<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| self.scope(|| work.as_mut().poll(cx))).await
    }

    /// Ends a request: with its own result, whatever becomes of the others. Later calls for the
    /// same one do nothing.
    pub fn finish_request(&mut self, index: usize, outcome: &Outcome) {
        if let Some(request) = self.requests.get_mut(index) {
            request.end(outcome);
        }
    }

    /// Takes a request out whose caller has gone: it ends as cancelled, the others go on.
    pub fn leave(&mut self, index: usize) {
        self.finish_request(index, &Outcome::Cancelled(CancelReason::Dropped));
    }

    /// Ends each request with its result, in order, and the batch, which did what it was to.
    /// Requests without a result end as the batch does.
    pub fn finish_each<'r, T: 'r, E: 'r>(
        mut self,
        results: impl IntoIterator<Item = &'r Result<T, E>>,
    ) {
        for (request, result) in self.requests.iter_mut().zip(results) {
            request.end(&Outcome::of(result));
        }
        self.finish(Outcome::Ok);
    }

    /// Ends the batch, and the requests that are still in it in the same way.
    pub fn finish(mut self, outcome: Outcome) {
        self.end(&outcome);
    }

    fn end(&mut self, outcome: &Outcome) {
        for request in &mut self.requests {
            request.end(outcome);
        }
        self.batch.end(outcome);
    }
}

impl Drop for BatchOperation {
    fn drop(&mut self) {
        self.end(&Outcome::Cancelled(CancelReason::Dropped));
    }
}

impl fmt::Debug for BatchOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchOperation")
            .field("batch", &self.batch)
            .field("requests", &self.requests)
            .finish()
    }
}

fn handle<R: Record>(operation: &Operation<R>) -> MlSpan {
    operation
        .context()
        .map(MlSpan::from_context)
        .unwrap_or_default()
}

/// Fails the requests, too, when unwinding past it; disarmed by taking the reference out.
struct FailAll<'a>(Option<&'a mut BatchOperation>);

impl Drop for FailAll<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.0.take() {
            batch.end(&Outcome::Failed(ErrorType::PANIC));
        }
    }
}

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
        let batch = match requests.first() {
            Some(first) => {
                let of_queue = first.ticket().queue.telemetry();
                let telemetry = self.telemetry.as_ref().unwrap_or(of_queue);
                self.operation(
                    telemetry,
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
        if let Some(model) = &self.model {
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
        requests: impl Iterator<Item = SpanContext>,
    ) -> Operation<()> {
        let ambient = Context::current();
        let mut parent = Context::new();
        if ambient.is_telemetry_suppressed() {
            parent = parent.with_telemetry_suppressed();
        }
        let mut builder =
            Operation::builder(telemetry, SpanKind::Internal, self.name.clone()).parent(parent);
        let (mut linked, mut dropped) = (Vec::new(), 0_i64);
        if telemetry.is_tracing() {
            for span in requests.chain([span_of(&ambient)]) {
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
    let waited: Duration = ticket.open();
    Operation::builder(ticket.queue.telemetry(), SpanKind::Internal, "infer".into())
        .parent(ticket.cx.clone())
        .link(batch.clone(), Vec::new())
        .handle(Handle::Always)
        .start(
            || Infer,
            |to| {
                to.take_keys();
                to.push(ml::QUEUE_WAIT_DURATION, waited.as_secs_f64());
                to.push(ml::BATCH_SIZE, i64::try_from(size).unwrap_or(i64::MAX));
            },
        )
}

/// What a request in a batch records.
#[derive(Debug)]
struct Infer;

impl Record for Infer {
    fn record(&mut self, end: &mut End<'_>) {
        end.record_gen_ai_server();
    }
}
