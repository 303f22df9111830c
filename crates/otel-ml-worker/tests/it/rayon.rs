//! rayon's pools.

use otel_ml::opentelemetry::trace::SpanId;
use otel_ml_testing::TestTelemetry;
use otel_ml_worker::{carry_each, carry_fn, rayon as traced};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::support::{Diary, SPAN_ID, in_request, remote, span_here};

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
