//! The forms that work can take, and the ways it can end.

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

use futures_util::{FutureExt, StreamExt};
use opentelemetry::Context;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt};
use otel_ml::{ErrorType, MlSpan, Outcome, Telemetry, genai, stage};
use otel_ml_semconv::{error, ml};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_ended_once, assert_tree};

use super::{QueueFull, only};
use crate::support::{labels, series};

/// Polls once; whether it is done.
fn poll<F: Future + ?Sized>(future: std::pin::Pin<&mut F>) -> bool {
    future.now_or_never().is_some()
}

#[tokio::test]
async fn run_ends_with_the_result() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let work = |result: Result<u8, QueueFull>| async move {
        tokio::task::yield_now().await;
        result
    };
    assert_eq!(
        stage("ok").telemetry(&telemetry).run(work(Ok(1))).await,
        Ok(1)
    );
    assert_eq!(
        stage("err")
            .telemetry(&telemetry)
            .run(work(Err(QueueFull)))
            .await,
        Err(QueueFull)
    );
    let ignored = stage("ignored")
        .telemetry(&telemetry)
        .run_infallible(work(Err(QueueFull)));
    assert_eq!(ignored.await, Err(QueueFull));
    assert_tree!(test.spans(), {
        "ok" [internal, unset],
        "err" [internal, error] { (error::TYPE) = "QueueFull" },
        "ignored" [internal, unset],
    });
    let failed = labels![ml::PIPELINE_STAGE_NAME => "err", error::TYPE => "QueueFull"];
    assert_eq!(
        series(&test, &ml::metric::STAGE_DURATION, &failed).count(),
        1
    );
}

#[test]
fn run_that_was_never_polled_records_nothing() {
    let test = TestTelemetry::new();
    drop(
        stage("s")
            .telemetry(&test.telemetry())
            .run_infallible(pending::<()>()),
    );
    drop(stage("s").telemetry(&test.telemetry()));
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    assert_eq!(test.metrics().names(), [""; 0]);
}

#[test]
fn e17_run_dropped_half_way_is_cancelled_and_no_error_of_the_caller() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let polled_and_dropped = |work: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        let mut work = work;
        assert!(!poll(work.as_mut()));
    };
    let never = pending::<()>;
    polled_and_dropped(Box::pin(
        stage("s").telemetry(&telemetry).run_infallible(never()),
    ));
    let chat = genai::chat("openai", "m").telemetry(&telemetry);
    polled_and_dropped(Box::pin(chat.run_infallible(never())));
    let spans = test.spans();
    assert_ended_once(&spans);
    for (name, kind) in [("s", SpanKind::Internal), ("chat m", SpanKind::Client)] {
        let span = spans.named(name);
        assert_eq!((&span.span_kind, &span.status), (&kind, &Status::Unset));
        assert_eq!(span.str(ml::CANCEL_REASON), "dropped");
        assert!(!span.has(error::TYPE));
    }
    let labels = labels![ml::PIPELINE_STAGE_NAME => "s"];
    assert_eq!(
        series(&test, &ml::metric::STAGE_DURATION, &labels).count(),
        1
    );
}

/// Writes to the operation that it finds while it is dropped.
struct LastWord;

impl Drop for LastWord {
    fn drop(&mut self) {
        MlSpan::current().output_tokens(7);
        stage("cleanup").in_scope_infallible(|| ());
    }
}

#[test]
fn e17_what_is_dropped_half_way_is_dropped_in_its_own_operation() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    stage("request")
        .telemetry(&telemetry)
        .in_scope_infallible(|| {
            let work = async {
                let _last_word = LastWord;
                pending::<()>().await;
            };
            let mut work = Box::pin(genai::chat("p", "run").run_infallible(work));
            assert!(!poll(work.as_mut()));
            drop(work);

            let last_word = LastWord;
            let items = futures_util::stream::poll_fn(move |_| {
                let _ours = &last_word;
                std::task::Poll::<Option<()>>::Pending
            });
            let mut items = genai::chat("p", "stream").stream_infallible(items);
            assert!(!poll(pin!(items.next())));
            drop(items);
        });
    let spans = test.spans();
    assert_tree!(spans, {
        "request" => [
            "chat run" [client] { "gen_ai.usage.output_tokens" = 7 } => ["cleanup"],
            "chat stream" [client] { "gen_ai.usage.output_tokens" = 7 } => ["cleanup"],
        ]
    });
    assert!(!spans.named("request").has("gen_ai.usage.output_tokens"));
}

#[tokio::test]
async fn e15_a_panic_in_run_is_caught_outside_and_the_future_dropped_later() {
    let test = TestTelemetry::new();
    let task = stage("s").telemetry(&test.telemetry());
    let spawned = tokio::spawn(task.run_infallible(async {
        tokio::task::yield_now().await;
        panic!("on purpose");
    }));
    assert!(spawned.await.unwrap_err().is_panic());

    let task = stage("t").telemetry(&test.telemetry());
    let mut kept = Box::pin(task.run_infallible(async { panic!("on purpose") }));
    assert!(catch_unwind(AssertUnwindSafe(|| poll(kept.as_mut()))).is_err());
    assert_eq!(test.spans().len(), 2);
    drop(kept);
    assert_ended_once(&test.spans());
    for name in ["s", "t"] {
        let span = test.spans().named(name).clone();
        assert!(span.is_error());
        assert_eq!(span.str(error::TYPE), "panic");
        assert!(!span.has(ml::CANCEL_REASON));
        let labels = labels![ml::PIPELINE_STAGE_NAME => name, error::TYPE => "panic"];
        assert_eq!(
            series(&test, &ml::metric::STAGE_DURATION, &labels).count(),
            1
        );
    }
}

#[test]
fn e15_a_panic_in_scope() {
    let test = TestTelemetry::new();
    let task = stage("s").telemetry(&test.telemetry());
    let caught = catch_unwind(AssertUnwindSafe(|| {
        task.in_scope(|| -> Result<(), QueueFull> { panic!("on purpose") })
    }));
    assert!(caught.is_err());
    assert_eq!(only(&test).str(error::TYPE), "panic");
    assert!(!Context::current().has_active_span());
}

#[test]
fn a_guard_ends_by_finish_or_when_dropped() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let mut running = stage("finished").telemetry(&telemetry).start();
    running.scope(|| stage("part").in_scope_infallible(|| ()));
    assert!(running.context().has_active_span());
    running.finish(Outcome::Failed(ErrorType::new("quota")));
    drop(stage("dropped").telemetry(&telemetry).start());
    assert_tree!(test.spans(), {
        "finished" [error] { (error::TYPE) = "quota" } => ["part" [unset]],
        "dropped" [unset] { (ml::CANCEL_REASON) = "dropped" },
    });
}

#[test]
fn the_parent_is_what_is_current_at_the_first_poll() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let work = stage("work").telemetry(&telemetry).run_infallible(async {});
    let mut around = stage("around").telemetry(&telemetry).start();
    around.scope(|| assert!(poll(pin!(work))));
    around.finish(Outcome::Ok);
    assert_tree!(test.spans(), { "around" => ["work"] });
}

#[test]
fn two_interleaved_runs_do_not_mix() {
    let test = TestTelemetry::new();
    let work = |telemetry: &Telemetry, name: &'static str, size: u64| {
        stage(name).telemetry(telemetry).run_infallible(async move {
            tokio::task::yield_now().await;
            MlSpan::current().input_size(size);
            stage(format!("in {name}")).in_scope_infallible(|| ());
        })
    };
    // Without a runtime `yield_now` is pending once and wakes itself.
    let telemetry = test.telemetry();
    let (mut a, mut b) = (
        pin!(work(&telemetry, "a", 1)),
        pin!(work(&telemetry, "b", 2)),
    );
    assert!(!poll(a.as_mut()) && !poll(b.as_mut()));
    assert!(!Context::current().has_active_span());
    assert!(poll(a.as_mut()) && poll(b.as_mut()));
    assert_tree!(test.spans(), {
        "a" { (ml::INPUT_SIZE) = 1 } => ["in a"],
        "b" { (ml::INPUT_SIZE) = 2 } => ["in b"],
    });
}

/// A guard in the work, as a stream of tokens has one.
struct WritesWhenDropped(MlSpan);

impl Drop for WritesWhenDropped {
    fn drop(&mut self) {
        self.0.output_tokens(7);
    }
}

#[test]
fn what_the_work_writes_while_it_is_dropped_still_counts() {
    let test = TestTelemetry::new();
    {
        let task = stage("s").telemetry(&test.telemetry());
        let work = task.run_infallible(async {
            let _guard = WritesWhenDropped(MlSpan::current());
            pending::<()>().await;
        });
        assert!(!poll(pin!(work)));
    }
    assert_eq!(only(&test).int("gen_ai.usage.output_tokens"), 7);
}
