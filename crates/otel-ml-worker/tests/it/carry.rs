//! Wrappers that carry the context and make no span.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::thread;

use futures_util::FutureExt;
use otel_ml::opentelemetry::trace::{SpanId, TraceContextExt, TraceId};
use otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml::semconv::ml;
use otel_ml::{Outcome, stage};
use otel_ml_testing::{SpanExt, TestTelemetry};
use otel_ml_worker::{JoinSet, carry, carry_each, carry_fn, spawn};
use tokio::runtime::Runtime;
use tokio::task::{LocalSet, yield_now};

use crate::support::{
    Diary, SPAN_ID, current_thread, jobs, on_each_runtime, remote, span_here, trace_here,
};

async fn work(diary: Diary) {
    let _noted = diary.drops();
    diary.note("ran");
    yield_now().await;
    diary.note("ran");
}

/// A way to start a task of one thread alone: all others are in the matrix.
type Local = (&'static str, fn(&Runtime, Diary));

const LOCAL: [Local; 3] = [
    ("carry", |runtime, diary| {
        let local = LocalSet::new();
        let task = local.spawn_local(carry(work(diary)));
        local.block_on(runtime, task).unwrap();
    }),
    ("JoinSet::spawn_local", |runtime, diary| {
        let local = LocalSet::new();
        let mut set = JoinSet::new();
        let here = Context::current();
        local.block_on(runtime, async {
            let _here = here.attach();
            set.spawn_local(work(diary));
        });
        local.block_on(runtime, set.join_next()).unwrap().unwrap();
    }),
    ("JoinSet::spawn_local_on", |runtime, diary| {
        let local = LocalSet::new();
        let mut set = JoinSet::new();
        set.spawn_local_on(work(diary), &local);
        local.block_on(runtime, set.join_next()).unwrap().unwrap();
    }),
];

#[test]
fn local_tasks_run_and_are_dropped_where_they_were_wrapped() {
    on_each_runtime(|runtime| {
        for (name, form) in LOCAL {
            let diary = Diary::default();
            {
                let _parent = remote(1).attach();
                form(&runtime, diary.clone());
            }
            let expected = ["ran", "ran", "dropped"].map(|what| (what, SpanId::from(SPAN_ID)));
            assert_eq!(diary.take(), expected, "{name}");
            assert_eq!(trace_here(), TraceId::INVALID, "{name}");
        }
    });
}

/// A runtime in a thread-local outlives the thread's context, and whatever else an SDK keeps there.
#[test]
fn a_runtime_that_ends_with_its_thread_takes_nothing_down() {
    thread_local! {
        static RUNTIME: Runtime = current_thread();
    }
    let test = TestTelemetry::new();
    let queue = jobs(&test).queue_wait_span(true).build();
    let held = Arc::new(());
    let (holds, thread_queue, telemetry) = (Arc::clone(&held), queue.clone(), test.telemetry());
    let thread = thread::spawn(move || {
        RUNTIME.with(|runtime| {
            let request = stage("request").telemetry(&telemetry).start();
            let _parent = request.context().attach();
            let _entered = runtime.enter();
            let holds_too = Arc::clone(&holds);
            drop(spawn(async move {
                let _held = holds;
                pending::<()>().await;
            }));
            // The first of these jobs has begun, the second has not.
            for polls in [1, 0] {
                let held = Arc::clone(&holds_too);
                let job = thread_queue.job("score").run_infallible(async move {
                    let _held = held;
                    pending::<()>().await;
                });
                drop(tokio::spawn(job));
                runtime.block_on(async {
                    if polls == 1 {
                        yield_now().await;
                    }
                });
            }
            let item = thread_queue.traced(Arc::clone(&holds_too));
            drop(tokio::spawn(async move {
                let _waits = item;
                pending::<()>().await;
            }));
            request.finish(Outcome::Ok);
        });
    });
    thread.join().unwrap();
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(queue.size(), 0);
    let spans = test.spans();
    let cancelled = spans.iter().filter(|span| span.has(ml::CANCEL_REASON));
    for span in cancelled {
        assert_eq!(span.name, "score", "the one that had begun: {span:?}");
    }
}

#[test]
fn the_whole_context_is_carried() {
    use otel_ml::opentelemetry::baggage::BaggageExt;
    let cx = remote(0).with_baggage([KeyValue::new("tier", "pro")]);
    let (unsampled, suppressed) = {
        let _parent = cx.attach();
        let unsampled = carry(async {
            let cx = Context::current();
            let tier = cx.baggage().get("tier").map(ToString::to_string);
            (cx.span().span_context().is_sampled(), tier)
        });
        let _off = Context::enter_telemetry_suppressed_scope();
        let suppressed = carry_fn(|| Context::current().is_telemetry_suppressed());
        (unsampled, suppressed)
    };
    let seen = pin!(unsampled).now_or_never();
    assert_eq!(seen, Some((false, Some("pro".into()))));
    assert!(suppressed());
}

#[test]
fn each_item_is_looked_at_where_the_closure_was_wrapped() {
    let look = {
        let _parent = remote(1).attach();
        carry_each(|n: u8| (n, span_here()))
    };
    let seen: Vec<_> = [1, 2].into_iter().map(&look).collect();
    assert_eq!(seen, [1, 2].map(|n| (n, SpanId::from(SPAN_ID))));
    let fails = {
        let _parent = remote(1).attach();
        carry_each(|()| panic!("on purpose"))
    };
    assert!(catch_unwind(AssertUnwindSafe(|| fails(()))).is_err());
    assert_eq!(trace_here(), TraceId::INVALID);
}

#[test]
fn a_future_that_is_done_waits_when_it_is_polled_again() {
    let mut done = pin!(carry(async { 1 }));
    assert_eq!(done.as_mut().now_or_never(), Some(1));
    assert_eq!(done.as_mut().now_or_never(), None);
    assert_eq!(format!("{:?}", carry(7)), "Carried(Some(7))");
}

#[test]
fn a_set_of_tasks_asks_nothing_of_what_they_return() {
    struct Bare;
    let mut set: JoinSet<Bare> = JoinSet::default();
    let runtime = current_thread();
    set.spawn_on(async { Bare }, runtime.handle());
    assert!(format!("{set:?}").contains('1'));
    assert!(runtime.block_on(set.join_next()).unwrap().is_ok());
}
