//! Requests that a model answers together: a queue, and workers that each take a batch at a time.
//!
//! The batcher is the application's own: when a batch is full, how long it waits, who works.
//! `otel-ml-worker` is told what happens.

use std::sync::Arc;
use std::time::Duration;

use otel_ml_worker::{BatchBuilder, BatchOperation, Queue, Traced, Trigger};
use thiserror::Error;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::hops::{Hop, pause};

/// How many requests may wait.
const CAPACITY: usize = 256;
/// How long the first of a batch waits for others.
const PATIENCE: Duration = Duration::from_millis(1);

/// Who works, and on how much at a time.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Batches at the same time.
    pub workers: usize,
    /// Requests in a batch.
    pub batch: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            workers: 2,
            batch: 8,
        }
    }
}

/// The batch that a request was in came to nothing.
#[derive(Debug, Error)]
#[error("the batch came to nothing")]
pub(super) struct BatchLost;

/// A request that waits, and who waits for its answer.
#[derive(Debug)]
struct Asked<Q, A> {
    question: Q,
    answer: oneshot::Sender<A>,
}

type Waiting<Q, A> = Traced<Asked<Q, A>>;
type Inbox<Q, A> = mpsc::Receiver<Waiting<Q, A>>;

/// The way in. When the last clone is gone the workers finish what waits, and end.
#[derive(Debug)]
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
        let queue = Queue::builder(name)
            .system("batch")
            .limit(CAPACITY as u64)
            .queue_wait_span(true)
            .telemetry(hop.telemetry.clone())
            .build();
        let (sender, inbox) = mpsc::channel(CAPACITY);
        let worker = Worker {
            batches: BatchOperation::builder(name)
                .model(name)
                .max_size(pool.batch as u64),
            inbox: Arc::new(Mutex::new(inbox)),
            model: Arc::new(model),
            size: pool.batch.max(1),
            delay: hop.delay,
        };
        for number in 0..pool.workers.max(1) {
            tokio::spawn(worker.clone().work(number));
        }
        Self {
            queue,
            inbox: sender,
        }
    }

    /// Waits for a place in the queue, for a worker, and for the answer.
    ///
    /// # Errors
    /// When the worker panicked.
    pub(super) async fn ask(&self, question: Q) -> Result<A, BatchLost> {
        let (answer, answered) = oneshot::channel();
        let asked = self.queue.traced(Asked { question, answer });
        self.inbox.send(asked).await.map_err(|_| BatchLost)?;
        answered.await.map_err(|_| BatchLost)
    }
}

impl<Q, A> Clone for Batcher<Q, A> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            inbox: self.inbox.clone(),
        }
    }
}

struct Worker<Q, A, M> {
    batches: BatchBuilder,
    inbox: Arc<Mutex<Inbox<Q, A>>>,
    model: Arc<M>,
    size: usize,
    delay: Duration,
}

impl<Q, A, M> Worker<Q, A, M>
where
    Q: Send + 'static,
    A: Send + 'static,
    M: Fn(&Q) -> A + Send + Sync + 'static,
{
    async fn work(self, number: usize) {
        loop {
            // One worker at a time puts its batch together.
            let (trigger, waiting) = collect(&mut *self.inbox.lock().await, self.size).await;
            // A task of its own: a model that panics takes its batch down, not the worker.
            let batch = tokio::spawn(self.clone().run(number, trigger, waiting));
            if batch.await.is_err() {
                warn!(worker = number, "a batch came to nothing");
            }
            if trigger == Trigger::Drain {
                return;
            }
        }
    }

    async fn run(self, number: usize, trigger: Trigger, mut waiting: Vec<Waiting<Q, A>>) {
        // Nobody waits for the answers of those whose clients have gone.
        waiting.retain(|asked| !asked.get_ref().answer.is_closed());
        if waiting.is_empty() {
            return;
        }
        let (mut batch, all) = self.batches.start(trigger, waiting);
        batch.span().worker(number.to_string());
        batch.run(pause(self.delay)).await;
        let answers: Vec<A> = batch.scope(|| {
            let questions = all.iter().map(|asked| &asked.question);
            questions.map(|question| (self.model)(question)).collect()
        });
        // Those whose clients have gone meanwhile were answered for nobody.
        for (place, asked) in all.iter().enumerate() {
            if asked.answer.is_closed() {
                batch.leave(place);
            }
        }
        // Spans end before their requests do.
        batch.finish(otel_ml::Outcome::Ok);
        for (asked, answer) in all.into_iter().zip(answers) {
            let _ = asked.answer.send(answer);
        }
    }
}

impl<Q, A, M> Clone for Worker<Q, A, M> {
    fn clone(&self) -> Self {
        Self {
            batches: self.batches.clone(),
            inbox: Arc::clone(&self.inbox),
            model: Arc::clone(&self.model),
            size: self.size,
            delay: self.delay,
        }
    }
}

/// The next batch: full, or as much of it as came in time, or what was left.
async fn collect<Q, A>(inbox: &mut Inbox<Q, A>, size: usize) -> (Trigger, Vec<Waiting<Q, A>>) {
    let mut waiting = Vec::with_capacity(size);
    let Some(first) = inbox.recv().await else {
        return (Trigger::Drain, waiting);
    };
    waiting.push(first);
    let end = Instant::now() + PATIENCE;
    while waiting.len() < size {
        match timeout_at(end, inbox.recv()).await {
            Ok(Some(next)) => waiting.push(next),
            Ok(None) => return (Trigger::Drain, waiting),
            Err(_) => return (Trigger::Timeout, waiting),
        }
    }
    (Trigger::Size, waiting)
}
