//! Every way to hand work over × every way it may go, on both kinds of runtime.

mod case;
mod forms;
#[cfg(feature = "rayon")]
mod on_rayon;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use otel_ml::opentelemetry::trace::SpanId;
use otel_ml_testing::SpansExt;
use otel_ml_worker::{Queue, carry, carry_fn, carry_stream};
use tokio::runtime::Builder;

use crate::support::{Refused, SPAN_ID, in_request, remote, span_here, waits};
use case::Case;
use forms::{Act, End, Form, Runs, Work, all};

fn current_thread() -> Builder {
    Builder::new_current_thread()
}

fn multi_thread() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(4);
    builder
}

/// Each form for which `wanted` holds, on both kinds of runtime.
fn each(act: Act, wanted: impl Fn(&Form) -> bool, check: impl Fn(Case)) {
    for form in all().into_iter().filter(wanted) {
        for builder in [current_thread(), multi_thread()] {
            check(Case::new(form, act, builder));
        }
    }
}

#[test]
fn it_returns_fails_or_panics() {
    for (act, end, ended) in [
        (Act::Return, End::Answered(Ok(())), (None, None)),
        (
            Act::Fail,
            End::Answered(Err(Refused)),
            (Some("Refused"), None),
        ),
        (Act::Panic, End::Panicked, (Some("panic"), None)),
    ] {
        each(
            act,
            |_| true,
            |case| {
                let (handed, request) = case.hand_over();
                assert_eq!(case.end_of(handed), end, "{}", case.name);
                case.check_all(request, true, ended);
            },
        );
    }
}

#[test]
fn it_is_handed_over_outside_any_request() {
    each(
        Act::Return,
        |_| true,
        |case| {
            let handed = (case.form.hand_over)(&case.place, case.work.clone());
            assert_eq!(case.end_of(handed), End::Answered(Ok(())), "{}", case.name);
            case.check_all(SpanId::INVALID, true, (None, None));
        },
    );
}

#[test]
fn e23_below_a_caller_that_is_not_sampled_it_runs_in_the_callers_context() {
    each(
        Act::Return,
        |_| true,
        |mut case| {
            let handed = {
                let _caller = remote(0).attach();
                (case.form.hand_over)(&case.place, case.work.clone())
            };
            assert_eq!(case.end_of(handed), End::Answered(Ok(())), "{}", case.name);
            let counted = waits(&case.test).map_or(0, |wait| wait.count());
            assert_eq!(counted, u64::from(case.form.is_job), "{}", case.name);
            // It is measured, and otherwise as one that is no job.
            case.form.is_job = false;
            case.check_all(SpanId::from(SPAN_ID), true, (None, None));
        },
    );
}

#[test]
fn it_hands_over_more_of_the_same() {
    each(
        Act::Nest,
        |_| true,
        |case| {
            let (handed, request) = case.hand_over();
            assert_eq!(case.end_of(handed), End::Answered(Ok(())), "{}", case.name);
            let inner = case.handed.recv().unwrap();
            assert_eq!(case.end_of(inner), End::Answered(Ok(())), "{}", case.name);
            case.check_all(request, true, (None, None));
            let spans = case.test.spans();
            let jobs = spans.all_named("score");
            if let [a, b] = jobs[..] {
                let ids = [a, b].map(|job| job.span_context.span_id());
                assert!(ids.contains(&a.parent_span_id) != ids.contains(&b.parent_span_id));
            }
        },
    );
}

#[test]
fn it_is_called_back_before_it_begins() {
    let can_be = |form: &Form| form.runs != Runs::AtOnce;
    let one_worker = || {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1);
        builder
    };
    for form in all().into_iter().filter(can_be) {
        for mut builder in [current_thread(), one_worker()] {
            builder.max_blocking_threads(1);
            let case = Case::new(form, Act::Return, builder);
            // Whoever could begin with it is busy until the abort is known.
            let busy = [(); 2].map(|()| mpsc::channel::<()>());
            let [(free_worker, worker), (free_thread, thread)] = busy;
            case.runtime.spawn(async move { worker.recv() });
            case.runtime.spawn_blocking(move || thread.recv());
            let (mut handed, request) = case.hand_over();
            handed.abort();
            drop((free_worker, free_thread));
            assert_eq!(case.end_of(handed), End::Aborted, "{}", case.name);
            case.check_all(request, false, (None, Some("never_run")));
        }
    }
}

#[test]
fn e17_its_handle_is_aborted_half_way() {
    each(
        Act::Wait,
        |form| form.runs == Runs::AsTask,
        |case| {
            let (mut handed, request) = case.hand_over();
            case.wait_for_begin();
            handed.abort();
            assert_eq!(case.end_of(handed), End::Aborted, "{}", case.name);
            case.check_all(request, true, (None, Some("dropped")));
        },
    );
}

#[test]
fn the_runtime_shuts_down_half_way() {
    each(
        Act::Wait,
        |form| form.runs == Runs::AsTask,
        |mut case| {
            let (handed, request) = case.hand_over();
            case.wait_for_begin();
            let runtime = std::mem::replace(&mut case.runtime, current_thread().build().unwrap());
            drop((runtime, handed));
            case.check(request, true, (None, Some("dropped")));
        },
    );
}

#[test]
fn the_runtime_has_shut_down_before_it_is_handed_over() {
    each(
        Act::Return,
        |form| form.runs != Runs::AtOnce,
        |mut case| {
            let other = current_thread().build().unwrap();
            drop(std::mem::replace(&mut case.runtime, other));
            let (handed, request) = case.hand_over();
            drop(handed);
            case.check(request, false, (None, Some("never_run")));
        },
    );
}

/// Work in its wrapper, of which a queue may hold as much as it likes.
type Wrap = (&'static str, fn(&Queue, Work) -> Box<dyn Send>);

const WRAPPED: [Wrap; 7] = [
    ("carry", |_, work| Box::new(carry(work.task()))),
    ("carry_stream", |_, work| {
        Box::new(carry_stream(work.stream()))
    }),
    ("carry_fn", |_, work| Box::new(carry_fn(work.call()))),
    ("job, future", |queue, work| {
        Box::new(queue.job("score").run(work.task()))
    }),
    ("job, stream", |queue, work| {
        Box::new(queue.job("score").stream(work.stream()))
    }),
    ("job, closure", |queue, work| {
        Box::new(queue.job("score").wrap(work.call()))
    }),
    ("job, item", |queue, work| {
        let (work, job) = queue.traced(work.call()).job("score");
        Box::new(job.wrap(work))
    }),
];

/// Ways for what waits in a queue to come to nothing.
type Lose = (&'static str, fn(Box<dyn Send>));

const LOST: [Lose; 3] = [
    ("the queue is dropped", |work| {
        let (sender, receiver) = mpsc::channel();
        sender.send(work).unwrap();
        drop(receiver);
    }),
    ("whoever holds it panics", |work| {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _held = work;
            panic!("on purpose");
        }));
        assert!(outcome.is_err());
    }),
    ("the thread that holds it ends", |work| {
        std::thread::spawn(|| drop(work)).join().unwrap();
    }),
];

#[test]
fn its_queue_is_dropped_before_it_begins() {
    for (wrapped, wrap) in WRAPPED {
        for (lost, lose) in LOST {
            let form = Form {
                name: lost,
                runs: Runs::AtOnce,
                is_job: wrapped.starts_with("job"),
                hand_over: |_, _| unreachable!("it is wrapped here"),
            };
            let case = Case::new(form, Act::Return, current_thread());
            let (held, request) = in_request(&case.test, || {
                (wrap(&case.place.queue, case.work.clone()), span_here())
            });
            lose(held);
            case.check(request, false, (None, Some("never_run")));
        }
    }
}
