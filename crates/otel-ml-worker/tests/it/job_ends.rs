//! Jobs that don't get to their end: cancelled before they began, aborted, left in a queue that
//! is dropped or in a runtime that shuts down.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use futures_util::{FutureExt, StreamExt, stream};
use otel_ml::opentelemetry::trace::Status;
use otel_ml::semconv::{error, ml};
use otel_ml::{MlSpan, stage};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_ended_once, assert_tree};
use otel_ml_worker::{BatchOperation, Job, JoinSet, Queue, Trigger};
use tokio::task::yield_now;

use crate::support::{
    Diary, Refused, current_thread, in_request, jobs, level, multi_thread, on_each_runtime,
    span_here, trace_here, waits, within_reason,
};

/// The job is there as a span that says it never ran; its wait counts nowhere.
#[track_caller]
fn assert_never_ran(test: &TestTelemetry, queue: &Queue, form: &str) {
    assert_tree!(test.spans(), {
        "request" => ["score" [internal, unset] { (ml::CANCEL_REASON) = "never_run" }],
    });
    assert_ended_once(&test.spans());
    assert!(!test.spans().named("score").has(error::TYPE), "{form}");
    assert_eq!((queue.size(), waits(test)), (0, None), "{form}");
    assert_eq!(level(test, &ml::metric::QUEUE_SIZE), 0, "{form}");
}

/// A way to hold a job that then comes to nothing.
type Form = (&'static str, fn(Job, Diary));

const UNRUN: [Form; 6] = [
    ("future", |job, diary| {
        let noted = diary.drops();
        drop(job.run_infallible(async move { drop(noted) }));
    }),
    ("stream", |job, diary| {
        let noted = diary.drops();
        drop(job.stream_infallible(stream::iter([1]).map(move |_| format!("{noted:?}"))));
    }),
    ("closure", |job, diary| {
        let noted = diary.drops();
        drop(job.wrap_infallible(move || drop(noted)));
    }),
    ("a queue of closures", |job, diary| {
        let noted = diary.drops();
        let work: Box<dyn FnOnce() + Send> = Box::new(job.wrap_infallible(move || drop(noted)));
        let (sender, receiver) = mpsc::channel();
        sender.send(work).unwrap();
        drop(receiver);
    }),
    ("a runtime that never had its turn", |job, diary| {
        let noted = diary.drops();
        let runtime = current_thread();
        drop(runtime.spawn(job.run_infallible(async move { drop(noted) })));
        drop(runtime);
    }),
    ("a panic before its turn", |job, diary| {
        let noted = diary.drops();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _work = job.wrap_infallible(move || drop(noted));
            panic!("on purpose");
        }));
        assert!(outcome.is_err());
    }),
];

#[test]
fn a_job_that_never_ran_says_so_and_is_dropped_in_its_context() {
    for (form, lose) in UNRUN {
        let test = TestTelemetry::new();
        let queue = jobs(&test).build();
        let diary = Diary::default();
        let job = in_request(&test, || queue.job("score"));
        assert_eq!(queue.size(), 1, "{form}");
        lose(job, diary.clone());
        assert_never_ran(&test, &queue, form);
        let span = test.spans().named("score").span_context.span_id();
        assert_eq!(diary.take(), [("dropped", span)], "{form}");
        assert_eq!(span_here(), otel_ml::opentelemetry::trace::SpanId::INVALID);
    }
}

#[test]
fn a_task_aborted_before_it_began_never_ran() {
    // On either runtime the only worker is busy until the abort is known.
    let one_worker = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).build().unwrap()
    };
    for runtime in [current_thread(), one_worker()] {
        let test = TestTelemetry::new();
        let queue = jobs(&test).build();
        let (go_on, wait) = mpsc::channel::<()>();
        runtime.spawn(async move { wait.recv() });
        let job = in_request(&test, || queue.job("score"));
        let task = runtime.spawn(job.run_infallible(pending::<()>()));
        task.abort();
        go_on.send(()).unwrap();
        assert!(runtime.block_on(task).unwrap_err().is_cancelled());
        assert_never_ran(&test, &queue, "aborted");
    }
}

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
fn e17_an_aborted_job_is_cancelled_and_no_error() {
    on_each_runtime(|runtime| {
        let test = TestTelemetry::new();
        let queue = jobs(&test).build();
        let diary = Diary::default();
        let noted = diary.drops();
        let (started, mut wait) = tokio::sync::mpsc::channel(1);
        let job = in_request(&test, || queue.job("score"));
        let task = runtime.spawn(job.run_infallible(async move {
            let _noted = noted;
            MlSpan::current().output_tokens(7);
            started.send(()).await.unwrap();
            pending::<()>().await;
        }));
        runtime.block_on(async {
            wait.recv().await.unwrap();
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        });
        assert_tree!(test.spans(), {
            "request" => ["score" [internal, unset] {
                (ml::CANCEL_REASON) = "dropped",
                (ml::USAGE_PARTIAL) = true,
            }],
        });
        let span = test.spans().named("score").clone();
        assert!(!span.has(error::TYPE));
        assert_eq!(waits(&test).unwrap().count(), 1);
        assert_eq!(diary.take(), [("dropped", span.span_context.span_id())]);
    });
}

#[test]
fn jobs_of_a_runtime_that_shuts_down_end_with_it() {
    for make in [current_thread, multi_thread] {
        let runtime = make();
        let test = TestTelemetry::new();
        let queue = jobs(&test).build();
        let (started, mut wait) = tokio::sync::mpsc::channel(2);
        in_request(&test, || {
            for _ in 0..2 {
                let started = started.clone();
                runtime.spawn(queue.job("score").run_infallible(async move {
                    started.send(()).await.unwrap();
                    stage("inside").run_infallible(pending::<()>()).await;
                }));
            }
        });
        runtime.block_on(async {
            for _ in 0..2 {
                wait.recv().await.unwrap();
            }
            // One more turn, to be inside the stage, too.
            within_reason(async {
                while test.open_spans().len() < 4 {
                    yield_now().await;
                }
            })
            .await;
        });
        drop(runtime);
        let gone = |span: &otel_ml_testing::opentelemetry_sdk::trace::SpanData| {
            span.status == Status::Unset && span.str(ml::CANCEL_REASON) == "dropped"
        };
        let spans = test.spans();
        assert_ended_once(&spans);
        assert_tree!(spans, {
            "request" => ["score" => ["inside"], "score" => ["inside"]],
        });
        assert_eq!(
            spans
                .iter()
                .filter(|span| span.name != "request" && gone(span))
                .count(),
            4
        );
        assert!(test.open_spans().is_empty());
    }
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
fn a_set_that_aborts_its_jobs_cancels_those_that_had_begun() {
    on_each_runtime(|runtime| {
        let test = TestTelemetry::new();
        let queue = jobs(&test).build();
        let (started, mut wait) = tokio::sync::mpsc::channel(1);
        let mut set = JoinSet::new();
        in_request(&test, || {
            let job = queue.job("score").run_infallible(async move {
                started.send(()).await.unwrap();
                pending::<()>().await;
            });
            set.spawn_on(job, runtime.handle());
        });
        runtime.block_on(async {
            within_reason(wait.recv()).await.unwrap();
            set.abort_all();
            let ended = within_reason(set.join_next()).await.unwrap();
            assert!(ended.unwrap_err().is_cancelled());
        });
        assert_tree!(test.spans(), {
            "request" => ["score" [internal, unset] { (ml::CANCEL_REASON) = "dropped" }],
        });
        assert_eq!(queue.size(), 0);
    });
}

#[test]
fn a_blocking_job_that_is_aborted_while_it_waits_for_a_thread_never_ran() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.max_blocking_threads(1).build().unwrap();
    let test = TestTelemetry::new();
    let queue = jobs(&test).build();
    let (go_on, wait) = mpsc::channel::<()>();
    runtime.spawn_blocking(move || wait.recv());
    let job = in_request(&test, || queue.job("score"));
    let task = runtime.spawn_blocking(job.wrap_infallible(|| panic!("it has run")));
    task.abort();
    go_on.send(()).unwrap();
    assert!(runtime.block_on(task).unwrap_err().is_cancelled());
    drop(runtime);
    assert_never_ran(&test, &queue, "blocking, aborted");
}

#[test]
fn a_blocking_job_for_a_runtime_that_shuts_down_never_ran() {
    for make in [current_thread, multi_thread] {
        let test = TestTelemetry::new();
        let queue = jobs(&test).build();
        let job = in_request(&test, || queue.job("score"));
        let runtime = make();
        let handle = runtime.handle().clone();
        drop(runtime);
        let task = handle.spawn_blocking(job.wrap_infallible(|| panic!("it has run")));
        drop(task);
        assert_never_ran(&test, &queue, "blocking, shut down");
    }
}

#[test]
fn a_stream_aborted_in_its_task_is_cancelled_with_what_it_had_yielded() {
    on_each_runtime(|runtime| {
        let test = TestTelemetry::new();
        let queue = jobs(&test).build();
        let job = in_request(&test, || queue.job("score"));
        let (started, mut wait) = tokio::sync::mpsc::channel(1);
        let items = stream::iter([1]).chain(stream::pending());
        let mut items = Box::pin(job.stream_infallible(items));
        let task = runtime.spawn(async move {
            while let Some(item) = items.next().await {
                started.send(item).await.unwrap();
            }
        });
        runtime.block_on(async {
            within_reason(wait.recv()).await.unwrap();
            task.abort();
            assert!(within_reason(task).await.unwrap_err().is_cancelled());
        });
        assert_tree!(test.spans(), {
            "request" => ["score" [unset] {
                (ml::CANCEL_REASON) = "dropped",
                (ml::RESPONSE_CHUNK_COUNT) = 1,
            }],
        });
    });
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
