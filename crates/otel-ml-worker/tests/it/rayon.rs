//! rayon's pools.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use otel_ml::opentelemetry::trace::SpanId;
use otel_ml::semconv::{error, ml};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_tree};
use otel_ml_worker::{carry_each, carry_fn, rayon as traced};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::support::{Diary, Refused, SPAN_ID, in_request, jobs, remote, span_here};

fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
}

fn here() -> SpanId {
    SpanId::from(SPAN_ID)
}

#[test]
fn spawn_and_join_run_where_they_were_called() {
    let (sender, receiver) = mpsc::channel();
    let _caller = remote(1).attach();
    traced::spawn(move || sender.send(span_here()).unwrap());
    assert_eq!(receiver.recv().unwrap(), here());
    let both = pool(2).install(carry_fn(|| traced::join(span_here, span_here)));
    assert_eq!(both, (here(), here()));
}

#[test]
fn a_scope_and_all_that_is_spawned_in_it_at_any_depth() {
    let diary = Diary::default();
    let _caller = remote(1).attach();
    let value = pool(2).install(carry_fn(|| {
        traced::scope(|scope| {
            diary.note("scope");
            scope.spawn(|scope| {
                diary.note("spawned");
                scope.spawn(|_| diary.note("deeper"));
            });
            format!("{scope:?}").contains("Scope")
        })
    }));
    assert!(value);
    let mut seen = diary.take();
    seen.sort_unstable_by_key(|(what, _)| *what);
    assert_eq!(
        seen,
        ["deeper", "scope", "spawned"].map(|what| (what, here()))
    );
}

#[test]
fn parallel_iterators_of_many_traces_at_once_do_not_mix() {
    let pool = pool(4);
    let test = TestTelemetry::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let (expected, seen) = in_request(&test, || {
                    let look = carry_each(|_: u32| span_here());
                    let seen = pool.install(|| {
                        let all: Vec<_> = (0..1_000).into_par_iter().map(look).collect();
                        all
                    });
                    (span_here(), seen)
                });
                assert_eq!(seen.len(), 1_000);
                assert!(seen.iter().all(|span| *span == expected));
            });
        }
    });
    assert_eq!(pool.install(span_here), SpanId::INVALID);
}

#[test]
fn jobs_run_on_a_pool_and_their_panics_go_on() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).build();
    let pool = pool(1);
    in_request(&test, || {
        let job = queue.job("score").wrap(|| Err::<(), _>(Refused));
        assert_eq!(pool.install(job), Err(Refused));
        let job = queue.job("panics").wrap_infallible(|| panic!("on purpose"));
        let caught = catch_unwind(AssertUnwindSafe(|| pool.install(job)));
        assert!(caught.is_err());
    });
    assert_tree!(test.spans(), {
        "request" => [
            "score" [error] { (error::TYPE) = "Refused" },
            "panics" [error] { (error::TYPE) = "panic" },
        ],
    });
    assert_eq!(pool.install(span_here), SpanId::INVALID);
    assert!(test.spans().named("score").has(ml::QUEUE_WAIT_DURATION));
}

#[test]
fn e15_a_panic_in_a_scope_or_one_half_of_a_join_goes_on_and_leaves_no_context_behind() {
    let pool = pool(2);
    let _caller = remote(1).attach();
    let joined = carry_fn(|| traced::join(span_here, || panic!("on purpose")));
    let scoped = carry_fn(|| traced::scope(|scope| scope.spawn(|_| panic!("on purpose"))));
    let joined = catch_unwind(AssertUnwindSafe(|| pool.install(joined).0));
    let scoped = catch_unwind(AssertUnwindSafe(|| pool.install(scoped)));
    assert!(joined.is_err() && scoped.is_err());
    assert_eq!(span_here(), here());
    let left = pool.broadcast(|_| span_here());
    assert_eq!(left, vec![SpanId::INVALID; 2]);
}

#[test]
fn e15_a_spawned_panic_leaves_the_threads_as_they_were() {
    let (told, panicked) = mpsc::channel();
    let pool = ThreadPoolBuilder::new()
        .num_threads(2)
        .panic_handler(move |_| told.send(span_here()).unwrap())
        .build()
        .unwrap();
    let _caller = remote(1).attach();
    pool.install(carry_fn(|| traced::spawn(|| panic!("on purpose"))));
    let deadline = std::time::Duration::from_secs(20);
    assert_eq!(panicked.recv_timeout(deadline), Ok(SpanId::INVALID));
    let left = pool.broadcast(|_| span_here());
    assert_eq!(left, vec![SpanId::INVALID; 2]);
}
