//! Three times as many requests as a batcher can answer, and where their time goes.
//!
//! ```sh
//! cargo run -p otel-ml-worker --example overload
//! ```
//!
//! It prints the trace of the request that waited longest. A real service installs the global
//! OpenTelemetry providers instead, such as by `otel-ml-sdk`, and gives no telemetry to its queue.

use std::io::{Write as _, stdout};
use std::time::Duration;

use otel_ml::stage;
use otel_ml_testing::waterfall::{Waterfall, WaterfallSpan};
use otel_ml_testing::{SpanExt, TestTelemetry};
use otel_ml_worker::otel_ml::{self, semconv::ml};
use otel_ml_worker::{BatchOperation, Queue, Traced, Trigger, spawn};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

/// Requests in a batch, and what it takes.
const BATCH: usize = 8;
const WORK: Duration = Duration::from_millis(20);

/// A text, and where its label goes to.
type Request = (&'static str, oneshot::Sender<usize>);

/// Answers what is asked, a batch at a time.
async fn work(mut inbox: mpsc::Receiver<Traced<Request>>) {
    let batches = BatchOperation::builder("classify")
        .model("length")
        .max_size(BATCH as u64);
    let mut waiting = Vec::new();
    while inbox.recv_many(&mut waiting, BATCH).await > 0 {
        let trigger = if waiting.len() == BATCH {
            Trigger::Size
        } else {
            Trigger::Timeout
        };
        let (mut batch, requests) = batches.start(trigger, std::mem::take(&mut waiting));
        batch.run(sleep(WORK)).await;
        batch.finish(otel_ml::Outcome::Ok);
        for (text, reply) in requests {
            // Whoever asked may be gone.
            let _ = reply.send(text.len());
        }
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let recorded = TestTelemetry::new();
    let telemetry = recorded.telemetry();
    let queue = Queue::builder("classify")
        .system("batch")
        .limit(64)
        .queue_wait_span(true)
        .telemetry(telemetry.clone())
        .build();
    let (sender, inbox) = mpsc::channel(64);
    let worker = spawn(work(inbox));

    let requests: Vec<_> = (0..3 * BATCH)
        .map(|_| {
            let (queue, sender) = (queue.clone(), sender.clone());
            let ask = async move {
                let (reply, label) = oneshot::channel();
                let request = queue.traced(("a text", reply));
                // Where the worker is gone there is no label either.
                let _ = sender.send(request).await;
                label.await
            };
            spawn(stage("request").telemetry(&telemetry).run(ask))
        })
        .collect();
    drop(sender);
    for request in requests {
        assert!(matches!(request.await, Ok(Ok(6))));
    }
    assert!(worker.await.is_ok());

    let spans = recorded.spans();
    let infers = spans.iter().filter(|span| span.name == "infer");
    let wait = |span: &&_| SpanExt::double(*span, ml::QUEUE_WAIT_DURATION);
    let longest = infers.max_by(|a, b| wait(a).total_cmp(&wait(b)));
    let trace = longest.map(|span| span.span_context.trace_id());
    let of_it = spans
        .iter()
        .filter(|span| Some(span.span_context.trace_id()) == trace);
    let picture = Waterfall::new(of_it.map(|span| WaterfallSpan::new("classify", span)));
    write!(stdout(), "{picture}")
}
