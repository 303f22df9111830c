//! How batches end, and the requests in them.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

use futures_util::FutureExt;
use otel_ml::semconv::{error, ml};
use otel_ml::{ErrorType, Outcome, stage};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_ended_once, assert_tree, describe};
use otel_ml_worker::{BatchOperation, Trigger};
use tokio::sync::oneshot;

use crate::batch::{inbox, requests};
use crate::support::{Diary, Refused, in_request};

/// A batch of so many requests.
fn started(test: &TestTelemetry, count: usize) -> BatchOperation {
    let queue = inbox(test).build();
    let waiting = requests(test, &queue, count);
    BatchOperation::builder("classify")
        .start(Trigger::Size, waiting)
        .0
}

/// How each `infer` span ended, in the order of the requests, and the batch last.
#[track_caller]
fn ends(test: &TestTelemetry) -> Vec<String> {
    let spans = test.spans();
    assert_ended_once(&spans);
    assert!(test.open_spans().is_empty(), "{}", describe(&spans));
    let how = |span: &otel_ml_testing::opentelemetry_sdk::trace::SpanData| {
        let of = |key: &'static str| span.has(key).then(|| span.str(key).to_owned());
        assert_eq!(span.is_error(), span.has(error::TYPE));
        of(error::TYPE)
            .or(of(ml::CANCEL_REASON))
            .unwrap_or("ok".into())
    };
    let asked = spans.all_named("request");
    let of_each = asked.iter().map(|request| {
        let id = request.span_context.span_id();
        let infer = spans
            .all_named("infer")
            .into_iter()
            .find(|span| span.parent_span_id == id);
        how(infer.unwrap())
    });
    let mut all: Vec<_> = of_each.collect();
    all.push(how(spans.named("batch classify")));
    all
}

#[test]
fn one_failing_request_does_not_fail_the_others() {
    let test = TestTelemetry::new();
    started(&test, 3).finish_each(&[Ok(1), Err(Refused), Ok(2)]);
    assert_eq!(ends(&test), ["ok", "Refused", "ok", "ok"]);
}

#[test]
fn a_failing_batch_fails_all_that_are_still_in_it_with_its_cause() {
    let test = TestTelemetry::new();
    let mut batch = started(&test, 3);
    batch.finish_request(0, &Outcome::Ok);
    batch.finish_request(0, &Outcome::Failed(ErrorType::OTHER));
    batch.finish(Outcome::Failed(ErrorType::new("out_of_memory")));
    assert_eq!(
        ends(&test),
        ["ok", "out_of_memory", "out_of_memory", "out_of_memory"]
    );
}

#[test]
fn a_request_without_a_result_ends_as_the_batch_does() {
    let test = TestTelemetry::new();
    started(&test, 2).finish_each(&[Err::<u8, _>(Refused)]);
    assert_eq!(ends(&test), ["Refused", "ok", "ok"]);
}

#[test]
fn e15_a_panic_fails_the_batch_and_all_in_it_and_goes_on() {
    let test = TestTelemetry::new();
    let mut batch = started(&test, 2);
    batch.finish_request(1, &Outcome::Ok);
    let caught = catch_unwind(AssertUnwindSafe(|| batch.scope(|| panic!("on purpose"))));
    assert!(caught.is_err());
    assert_eq!(ends(&test), ["panic", "ok", "panic"]);
    drop(batch);

    let test = TestTelemetry::new();
    let mut batch = started(&test, 1);
    let work = batch.run(async { panic!("on purpose") });
    assert!(catch_unwind(AssertUnwindSafe(|| work.now_or_never())).is_err());
    drop(batch);
    assert_eq!(ends(&test), ["panic", "panic"]);
}

#[test]
fn e17_a_batch_that_is_dropped_is_cancelled_and_so_are_those_in_it() {
    let test = TestTelemetry::new();
    let mut batch = started(&test, 2);
    batch.finish_request(0, &Outcome::Ok);
    {
        let forward = async { stage("forward").run_infallible(pending::<()>()).await };
        let mut work = pin!(batch.run(forward));
        assert!(work.as_mut().now_or_never().is_none());
    }
    assert_eq!(
        test.open_spans(),
        ["batch classify", "infer"],
        "dropped work is not the batch"
    );
    drop(batch);
    assert_eq!(ends(&test), ["ok", "dropped", "dropped"]);
}

#[test]
fn requests_whose_caller_has_gone_leave_before_the_batch_starts_or_while_it_runs() {
    let test = TestTelemetry::new();
    let queue = inbox(&test).queue_wait_span(true).build();
    let mut callers = Vec::new();
    let mut waiting: Vec<_> = (0..3)
        .map(|_| {
            let (reply, caller) = oneshot::channel::<u8>();
            callers.push(caller);
            in_request(&test, || queue.traced(reply))
        })
        .collect();
    drop(callers.remove(0));
    waiting.retain(|request| !request.get_ref().is_closed());
    assert_eq!(queue.size(), 2);
    let (mut batch, replies) = BatchOperation::builder("classify").start(Trigger::Size, waiting);
    assert_eq!((batch.len(), queue.size()), (2, 0));
    drop(callers.remove(0));
    for (number, reply) in replies.iter().enumerate() {
        if reply.is_closed() {
            batch.leave(number);
        }
    }
    batch.finish(Outcome::Ok);
    let spans = test.spans();
    assert_ended_once(&spans);
    let requests: Vec<_> = spans
        .iter()
        .filter(|s| s.name != "batch classify")
        .cloned()
        .collect();
    assert_tree!(requests, {
        "request" => ["queue_wait" { (ml::CANCEL_REASON) = "never_run" }],
        "request" => ["queue_wait", "infer" [unset] { (ml::CANCEL_REASON) = "dropped" }],
        "request" => ["queue_wait", "infer" [unset]],
    });
    let batch = spans.named("batch classify");
    assert_eq!((batch.links.links.len(), batch.int(ml::BATCH_SIZE)), (2, 2));
    assert!(format!("{:?}", started(&test, 0)).contains("requests"));
}

#[test]
fn work_that_is_dropped_half_way_or_panics_is_dropped_in_the_batch() {
    let test = TestTelemetry::new();
    let diary = Diary::default();
    let mut batch = started(&test, 1);
    {
        let noted = diary.drops();
        let mut work = pin!(batch.run(async move {
            let _noted = noted;
            pending::<()>().await;
        }));
        assert!(work.as_mut().now_or_never().is_none());
    }
    drop(batch.run({
        let noted = diary.drops();
        async move { drop(noted) }
    }));
    let noted = diary.drops();
    let panics = batch.run(async move {
        let _noted = noted;
        panic!("on purpose");
    });
    assert!(catch_unwind(AssertUnwindSafe(|| panics.now_or_never())).is_err());
    drop(batch);
    let id = test.spans().named("batch classify").span_context.span_id();
    let dropped = diary.take();
    assert_eq!((dropped[0], dropped[2]), (("dropped", id), ("dropped", id)));
    assert_eq!(ends(&test), ["panic", "panic"]);
}
