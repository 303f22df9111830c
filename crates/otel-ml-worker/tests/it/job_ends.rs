//! Jobs that don't get to their end: cancelled before they began, aborted, left in a queue that
//! is dropped or in a runtime that shuts down.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use futures_util::{FutureExt, StreamExt, stream};
use otel_ml::MlSpan;
use otel_ml::semconv::{error, ml};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_ended_once, assert_tree};
use otel_ml_worker::{BatchOperation, Trigger};

use crate::support::{
    Refused, current_thread, in_request, jobs, multi_thread, trace_here, waits, within_reason,
};

#[test]
fn items_of_a_queue_that_is_dropped_count_as_gone() {
    for wanted in [false, true] {
        let test = TestTelemetry::new();
        let queue = jobs(&test).queue_wait_span(wanted).build();
        let (sender, receiver) = mpsc::channel();
        in_request(&test, || {
            for item in 0..3 {
                sender.send(queue.traced(item)).unwrap();
            }
        });
        assert_eq!(queue.size(), 3);
        drop(receiver);
        assert_eq!((queue.size(), waits(&test)), (0, None));
        let lost = test.spans().all_named("queue_wait").len();
        assert_eq!(lost, if wanted { 3 } else { 0 });
    }
}

#[test]
fn e22_a_job_that_is_cancelled_says_that_its_tokens_are_not_all() {
    let test = TestTelemetry::new();
    let job = jobs(&test).build().job("score").run_infallible(async {
        MlSpan::current().output_tokens(7);
        pending::<()>().await;
    });
    assert!(job.now_or_never().is_none());
    assert_tree!(test.spans(), {
        "score" [unset] { (ml::CANCEL_REASON) = "dropped", (ml::USAGE_PARTIAL) = true },
    });
}

#[test]
fn what_a_cancelled_job_writes_while_it_is_dropped_counts() {
    struct Writes;
    impl Drop for Writes {
        fn drop(&mut self) {
            MlSpan::current().input_size(5);
        }
    }
    let test = TestTelemetry::new();
    let job = jobs(&test).build().job("score").run_infallible(async {
        let _writes = Writes;
        pending::<()>().await;
    });
    assert!(job.now_or_never().is_none());
    assert_tree!(test.spans(), {
        "score" [unset] { (ml::CANCEL_REASON) = "dropped", (ml::INPUT_SIZE) = 5 },
    });
}

#[test]
fn a_blocking_job_goes_on_though_its_handle_is_dropped() {
    let runtime = multi_thread();
    let test = TestTelemetry::new();
    let queue = jobs(&test).build();
    let (go_on, wait) = mpsc::channel();
    let job = in_request(&test, || queue.job("score"));
    drop(runtime.spawn_blocking(job.wrap(move || wait.recv())));
    go_on.send(()).unwrap();
    let spans = test.block_for_spans(2);
    assert!(!spans.named("score").has(ml::CANCEL_REASON));
}

#[test]
fn e18_a_stream_ends_its_job_once_however_it_ends() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).build();
    let mut failing =
        Box::pin(
            queue
                .job("failing")
                .stream(stream::iter([Ok(1), Err(Refused), Ok(2)])),
        );
    let all: Vec<_> = std::iter::from_fn(|| failing.next().now_or_never().flatten()).collect();
    assert_eq!(all, [Ok(1), Err(Refused), Ok(2)]);
    drop(failing);
    let mut dropped = Box::pin(queue.job("dropped").stream_infallible(stream::iter([1, 2])));
    assert_eq!(dropped.next().now_or_never(), Some(Some(1)));
    drop(dropped);
    let panicking = stream::poll_fn(|_| -> std::task::Poll<Option<u8>> { panic!("on purpose") });
    let mut panicking = Box::pin(queue.job("panicking").stream_infallible(panicking));
    assert!(catch_unwind(AssertUnwindSafe(|| panicking.next().now_or_never())).is_err());
    drop(panicking);
    assert_ended_once(&test.spans());
    assert_tree!(test.spans(), {
        "failing" [error] { (error::TYPE) = "Refused", (ml::RESPONSE_CHUNK_COUNT) = 1 },
        "dropped" [unset] { (ml::CANCEL_REASON) = "dropped", (ml::RESPONSE_CHUNK_COUNT) = 1 },
        "panicking" [error] { (error::TYPE) = "panic" },
    });
}

#[test]
fn e15_a_panic_is_caught_outside_and_the_work_dropped_later() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).build();
    let job = in_request(&test, || queue.job("score"));
    let mut kept = Box::pin(job.run_infallible(async { panic!("on purpose") }));
    assert!(catch_unwind(AssertUnwindSafe(|| (&mut kept).now_or_never())).is_err());
    assert_eq!(test.spans().named("score").str(error::TYPE), "panic");
    drop(kept);
    assert_ended_once(&test.spans());
}

#[test]
fn a_worker_thread_that_ends_with_a_job_in_hand_ends_the_job() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).build();
    let job = in_request(&test, || queue.job("score"));
    let worker = thread::spawn(move || {
        let work = job.run_infallible(pending::<()>());
        let mut work = Box::pin(work);
        assert!((&mut work).now_or_never().is_none());
    });
    worker.join().unwrap();
    assert_eq!(
        test.spans().named("score").str(ml::CANCEL_REASON),
        "dropped"
    );
    assert_eq!(
        trace_here(),
        otel_ml::opentelemetry::trace::TraceId::INVALID
    );
}

#[test]
fn items_and_batches_of_a_runtime_that_shuts_down_end_with_it() {
    for make in [current_thread, multi_thread] {
        let runtime = make();
        let test = TestTelemetry::new();
        let queue = jobs(&test).queue_wait_span(true).build();
        let (sender, mut inbox) = tokio::sync::mpsc::channel(2);
        let (started, mut wait) = tokio::sync::mpsc::channel(1);
        in_request(&test, || {
            sender.try_send(queue.traced(1)).unwrap();
            sender.try_send(queue.traced(2)).unwrap();
        });
        drop(runtime.spawn(async move {
            let first = inbox.recv().await.unwrap();
            let batches = BatchOperation::builder("score");
            let (mut batch, _items) = batches.start(Trigger::Size, vec![first]);
            started.send(()).await.unwrap();
            batch.run(pending::<()>()).await;
            drop(inbox);
        }));
        runtime.block_on(within_reason(wait.recv())).unwrap();
        drop((runtime, sender));
        assert_eq!(queue.size(), 0);
        assert!(test.open_spans().is_empty());
        let spans = test.spans();
        assert_ended_once(&spans);
        let ends: Vec<_> = ["batch score", "infer"]
            .map(|name| spans.named(name).str(ml::CANCEL_REASON))
            .into();
        assert_eq!(ends, ["dropped", "dropped"]);
        let waits = spans.all_named("queue_wait");
        let lost = waits.iter().filter(|span| span.has(ml::CANCEL_REASON));
        let lost: Vec<_> = lost.map(|span| span.str(ml::CANCEL_REASON)).collect();
        assert_eq!((waits.len(), lost), (2, vec!["never_run"]));
    }
}
