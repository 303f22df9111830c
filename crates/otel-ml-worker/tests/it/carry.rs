//! Wrappers that carry the context and make no span.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::thread;

use futures_util::{FutureExt, Stream, StreamExt, stream};
use otel_ml::opentelemetry::trace::{SpanId, TraceContextExt, TraceId};
use otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml::semconv::ml;
use otel_ml::{Outcome, stage};
use otel_ml_testing::{SpanExt, TestTelemetry};
use otel_ml_worker::{
    JoinSet, carry, carry_each, carry_fn, carry_stream, spawn, spawn_blocking, spawn_thread,
};
use tokio::runtime::Runtime;
use tokio::task::{LocalSet, yield_now};

use crate::support::{
    Diary, SPAN_ID, current_thread, in_request, jobs, multi_thread, on_each_runtime, remote,
    span_here, trace_here, within_reason,
};

/// Hands work over that notes where it runs, yields, notes again, and is dropped; returns
/// when all of that has happened.
type Form = (&'static str, fn(&Runtime, Diary));

/// The same in every form, so that forms differ in what they spawn by only.
async fn work(diary: Diary) {
    let _noted = diary.drops();
    diary.note("ran");
    yield_now().await;
    diary.note("ran");
}

fn blocking_work(diary: &Diary) -> impl FnOnce() + Send + 'static + use<> {
    let (diary, noted) = (diary.clone(), diary.drops());
    move || {
        let _noted = noted;
        diary.note("ran");
        diary.note("ran");
    }
}

const FORMS: [Form; 13] = [
    ("spawn", |runtime, diary| {
        let _entered = runtime.enter();
        let task = spawn(work(diary));
        runtime.block_on(task).unwrap();
    }),
    ("carry", |runtime, diary| {
        runtime.block_on(runtime.spawn(carry(work(diary)))).unwrap();
    }),
    ("LocalSet", |runtime, diary| {
        let local = LocalSet::new();
        let task = local.spawn_local(carry(work(diary)));
        local.block_on(runtime, task).unwrap();
    }),
    ("JoinSet::spawn", |runtime, diary| {
        let _entered = runtime.enter();
        let mut set = JoinSet::new();
        set.spawn(work(diary));
        runtime.block_on(set.join_next()).unwrap().unwrap();
    }),
    ("JoinSet::spawn_on", |runtime, diary| {
        let mut set = JoinSet::new();
        set.spawn_on(work(diary), runtime.handle());
        assert_eq!(set.len(), 1);
        runtime.block_on(set.into_inner().join_all());
    }),
    ("JoinSet::spawn_blocking", |runtime, diary| {
        let _entered = runtime.enter();
        let mut set = JoinSet::default();
        set.spawn_blocking(blocking_work(&diary));
        runtime.block_on(set.join_next()).unwrap().unwrap();
    }),
    ("JoinSet::spawn_blocking_on", |runtime, diary| {
        let mut set = JoinSet::new();
        set.spawn_blocking_on(blocking_work(&diary), runtime.handle());
        runtime.block_on(set.join_next()).unwrap().unwrap();
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
    ("spawn_blocking", |runtime, diary| {
        let _entered = runtime.enter();
        let task = spawn_blocking(blocking_work(&diary));
        runtime.block_on(task).unwrap();
    }),
    ("spawn_thread", |_, diary| {
        spawn_thread(blocking_work(&diary)).join().unwrap();
    }),
    ("scoped thread", |_, diary| {
        thread::scope(|scope| {
            scope.spawn(carry_fn(blocking_work(&diary)));
        });
    }),
    ("carry_stream", |runtime, diary| {
        let noted = diary.drops();
        let items = stream::iter([1, 2]).map(move |n| {
            let _noted = &noted;
            diary.note("ran");
            n
        });
        let items = carry_stream(items);
        assert_eq!(items.size_hint(), (2, Some(2)));
        let all = runtime.block_on(runtime.spawn(items.collect::<Vec<_>>()));
        assert_eq!(all.unwrap(), [1, 2]);
    }),
];

#[test]
fn every_form_runs_and_is_dropped_where_it_was_wrapped() {
    on_each_runtime(|runtime| {
        for (name, form) in FORMS {
            let test = TestTelemetry::new();
            let diary = Diary::default();
            let expected = in_request(&test, || {
                form(&runtime, diary.clone());
                span_here()
            });
            let expected = ["ran", "ran", "dropped"].map(|what| (what, expected));
            assert_eq!(diary.take(), expected, "{name}");
            assert_eq!(test.spans().len(), 1, "{name} makes no span");
            let here = runtime.block_on(runtime.spawn(async { trace_here() }));
            assert_eq!(
                here.unwrap(),
                TraceId::INVALID,
                "{name} leaves nothing behind"
            );
        }
    });
}

#[test]
fn without_a_context_there_is_none() {
    on_each_runtime(|runtime| {
        for (name, form) in FORMS {
            let diary = Diary::default();
            form(&runtime, diary.clone());
            let expected = ["ran", "ran", "dropped"].map(|what| (what, SpanId::INVALID));
            assert_eq!(diary.take(), expected, "{name}");
        }
    });
}

#[test]
fn e15_a_panic_goes_on_and_leaves_no_context_behind() {
    on_each_runtime(|runtime| {
        let parent = remote(1).attach();
        let diary = Diary::default();
        let (in_task, in_closure) = (diary.drops(), diary.drops());
        let _entered = runtime.enter();
        let task = spawn(async move {
            let _noted = in_task;
            panic!("on purpose");
        });
        let blocking = spawn_blocking(move || {
            let _noted = in_closure;
            panic!("on purpose");
        });
        drop(parent);
        runtime.block_on(async {
            let task: Result<(), _> = task.await;
            assert!(task.unwrap_err().is_panic());
            let blocking: Result<(), _> = blocking.await;
            assert!(blocking.unwrap_err().is_panic());
        });
        let dropped = ("dropped", SpanId::from(SPAN_ID));
        assert_eq!(diary.take(), [dropped, dropped]);
        assert_eq!(trace_here(), TraceId::INVALID);
        let here = runtime.block_on(runtime.spawn(async { trace_here() }));
        assert_eq!(here.unwrap(), TraceId::INVALID);
    });
}

#[test]
fn what_never_ran_is_dropped_where_it_was_wrapped() {
    let diary = Diary::default();
    let (future, unpolled, closure) = (diary.drops(), diary.drops(), diary.drops());
    let (mut future, unpolled, closure) = {
        let _parent = remote(1).attach();
        let future = carry(async move {
            let _noted = future;
            pending::<()>().await;
        });
        let unpolled = carry(async move { drop(unpolled) });
        (Box::pin(future), unpolled, carry_fn(move || drop(closure)))
    };
    assert!(future.as_mut().now_or_never().is_none());
    drop((future, unpolled, closure));
    assert_eq!(diary.take(), [("dropped", SpanId::from(SPAN_ID)); 3]);
    assert_eq!(trace_here(), TraceId::INVALID);
}

#[test]
fn an_aborted_task_and_those_of_a_runtime_that_shuts_down_are_dropped_where_they_began() {
    for (flavor, make) in [
        ("current", current_thread as fn() -> Runtime),
        ("multi", multi_thread),
    ] {
        let diary = Diary::default();
        let runtime = make();
        let (started, wait) = mpsc::channel();
        let begin = || {
            let (noted, started) = (diary.drops(), started.clone());
            spawn(async move {
                let _noted = noted;
                started.send(()).unwrap();
                pending::<()>().await;
            })
        };
        let parent = remote(1).attach();
        let (aborted, left) = {
            let _entered = runtime.enter();
            (begin(), begin())
        };
        drop(parent);
        // Both have begun once the runtime has had its turn.
        runtime.block_on(async {
            within_reason(async {
                while wait.try_iter().take(2).count() < 1 {
                    yield_now().await;
                }
            })
            .await;
            aborted.abort();
            assert!(aborted.await.unwrap_err().is_cancelled());
        });
        drop((runtime, left));
        let dropped = ("dropped", SpanId::from(SPAN_ID));
        assert_eq!(diary.take(), [dropped; 2], "{flavor}");
    }
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
fn nested_spawns_each_carry_where_they_were_made() {
    on_each_runtime(|runtime| {
        let test = TestTelemetry::new();
        let (outer, inner) = in_request(&test, || {
            let expected = span_here();
            let _entered = runtime.enter();
            let task = spawn(async {
                let deep = spawn_blocking(|| {
                    let deepest = spawn_thread(span_here);
                    (span_here(), deepest.join().unwrap())
                });
                (span_here(), deep.await.unwrap())
            });
            (expected, runtime.block_on(task).unwrap())
        });
        assert_eq!(inner, (outer, (outer, outer)));
    });
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
