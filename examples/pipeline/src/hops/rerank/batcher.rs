//! Requests that a model answers together: a queue, and workers that each take a batch at a time.
//!
//! The batcher is the application's own: when a batch is full, how long it waits, who works.
//! `otel-ml-worker` is told what happens: a request is queued, a batch starts, runs, and ends.

use std::sync::Arc;
use std::time::Duration;

use otel_ml::Outcome;
use otel_ml_worker::{BatchBuilder, BatchOperation, Queue, Traced, Trigger};
use thiserror::Error;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::Pool;
use crate::hops::{Hop, pause};

/// How many requests may wait.
const CAPACITY: usize = 256;
/// How long the first of a batch waits for others.
const PATIENCE: Duration = Duration::from_millis(1);

/// The batch that a request was in came to nothing.
#[derive(Debug, Error)]
#[error("the batch came to nothing")]
pub(super) struct BatchLost;

/// A request, and who waits for its answer.
struct Asked<Q, A> {
    question: Q,
    answer: oneshot::Sender<A>,
}

/// One that waits, with its context and since when.
type Waiting<Q, A> = Traced<Asked<Q, A>>;

/// The way in. Once it is dropped the workers finish what waits, and end.
pub(super) struct Batcher<Q, A> {
    queue: Queue,
    inbox: mpsc::Sender<Waiting<Q, A>>,
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Starts the workers of `pool`, which run `model` on what they are asked.
    pub(super) fn start(
        hop: &Hop,
        name: &'static str,
        pool: Pool,
        model: impl Fn(&Q) -> A + Send + Sync + 'static,
    ) -> Self {
        let size = pool.batch.max(1);
        let queue = Queue::builder(name)
            .system("batch")
            .limit(CAPACITY as u64)
            .queue_wait_span(true)
            .telemetry(hop.telemetry.clone())
            .build();
        let (inbox, requests) = mpsc::channel(CAPACITY);
        let worker = Arc::new(Worker {
            batches: BatchOperation::builder(name)
                .model(name)
                .max_size(size as u64),
            requests: Mutex::new(requests),
            model: Box::new(model),
            size,
            delay: hop.delay,
        });
        for number in 0..pool.workers.max(1) {
            tokio::spawn(Arc::clone(&worker).work(number));
        }
        Self { queue, inbox }
    }

    /// Waits for a place in the queue, for a worker, and for the answer.
    ///
    /// # Errors
    /// When the model panicked.
    pub(super) async fn ask(&self, question: Q) -> Result<A, BatchLost> {
        let (answer, answered) = oneshot::channel();
        let asked = self.queue.traced(Asked { question, answer });
        self.inbox.send(asked).await.map_err(|_| BatchLost)?;
        answered.await.map_err(|_| BatchLost)
    }
}

/// What all workers share.
struct Worker<Q, A> {
    batches: BatchBuilder,
    requests: Mutex<mpsc::Receiver<Waiting<Q, A>>>,
    model: Box<dyn Fn(&Q) -> A + Send + Sync>,
    size: usize,
    delay: Duration,
}

impl<Q: Send + 'static, A: Send + 'static> Worker<Q, A> {
    async fn work(self: Arc<Self>, number: usize) {
        loop {
            let (trigger, waiting) = self.collect().await;
            // A task of its own: a model that panics takes its batch down, not the worker.
            let batch = tokio::spawn(Arc::clone(&self).run(number, trigger, waiting));
            if batch.await.is_err() {
                warn!(worker = number, "a batch came to nothing");
            }
            if trigger == Trigger::Drain {
                return;
            }
        }
    }

    /// The next batch: full, or as much of it as came in time, or what was left. One worker at a
    /// time puts its batch together.
    async fn collect(&self) -> (Trigger, Vec<Waiting<Q, A>>) {
        let mut requests = self.requests.lock().await;
        let mut waiting = Vec::with_capacity(self.size);
        let Some(first) = requests.recv().await else {
            return (Trigger::Drain, waiting);
        };
        waiting.push(first);
        let end = Instant::now() + PATIENCE;
        while waiting.len() < self.size {
            match timeout_at(end, requests.recv()).await {
                Ok(Some(next)) => waiting.push(next),
                Ok(None) => return (Trigger::Drain, waiting),
                Err(_) => return (Trigger::Timeout, waiting),
            }
        }
        (Trigger::Size, waiting)
    }

    async fn run(
        self: Arc<Self>,
        number: usize,
        trigger: Trigger,
        mut waiting: Vec<Waiting<Q, A>>,
    ) {
        // Nobody waits for the answers of those whose clients have gone.
        waiting.retain(|request| !request.get_ref().answer.is_closed());
        if waiting.is_empty() {
            return;
        }
        let (mut batch, asked) = self.batches.start(trigger, waiting);
        batch.span().worker(number.to_string());
        batch.run(pause(self.delay)).await;
        // This model is quick; one that isn't runs on a thread that may block.
        let answers: Vec<A> = batch.scope(|| {
            let questions = asked.iter().map(|asked| &asked.question);
            questions.map(|question| (self.model)(question)).collect()
        });
        // Those whose clients have gone meanwhile were answered for nobody.
        for (place, asked) in asked.iter().enumerate() {
            if asked.answer.is_closed() {
                batch.leave(place);
            }
        }
        // Spans end before their requests do.
        batch.finish(Outcome::Ok);
        for (asked, answer) in asked.into_iter().zip(answers) {
            let _ = asked.answer.send(answer);
        }
    }
}
