//! Requests that a model runs together.

mod builder;

use std::fmt;
use std::future::Future;

use otel_ml::opentelemetry::Context;
use otel_ml::semconv::ml;
use otel_ml::{CancelReason, ErrorType, MlSpan, Operation, Outcome, Record};

use crate::scoped::{Scope, run_in};
pub use builder::BatchBuilder;
use builder::Infer;

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
/// requests come out of a queue as [`Traced`](crate::Traced).
///
/// | recorded | |
/// |---|---|
/// | span `batch {name}`, INTERNAL | the root of a trace of its own, with a **link** to each request, 128 at most, sampled ones first (`ml.links.dropped` counts the others); `ml.batch.size`, `ml.batch.max_size`, `ml.batch.trigger`, `ml.model.name` |
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
/// # Sampling
/// The batch is a root: the sampler decides on it by itself. One that samples a share of traces
/// keeps batches of requests it drops, and drops those of requests it keeps, whose links then
/// lead to a span that isn't there.
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
        BatchBuilder::new(name.as_ref())
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
    /// Dropping the future drops `work`, in the batch's context; the batch goes on.
    pub async fn run<F: Future>(&mut self, work: F) -> F::Output {
        run_in(self, work).await
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

impl Scope for BatchOperation {
    fn scope<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.scope(work)
    }

    fn context(&self) -> Option<&Context> {
        self.batch.context()
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
