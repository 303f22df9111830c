//! A task that is spawned and awaited, below a parent that is current.

use std::hint::black_box;

use otel_ml_worker::{Queue, spawn};
use tokio::runtime::{Builder, Runtime};

use super::{Iterate, Row, Suite, worker_traced};
use crate::condition::Condition::{self, A, B, C};
use crate::layers::Variant::{self, OtelMl, OtelMlSpans};

/// The context alone is carried.
pub(super) const SPAWN: Suite = Suite {
    name: "worker-spawn",
    unit: "task",
    is_timed: true,
    rows: &[
        Row::for_information(OtelMl, A),
        Row::within(OtelMl, B, 400, 0),
        Row::for_information(OtelMl, C),
    ],
    spans: |_tasks| 0,
    prepare: prepare_spawn,
};

/// The task is a job of a queue, with a span.
pub(super) const JOB: Suite = Suite {
    name: "worker-job",
    unit: "job",
    is_timed: true,
    rows: &[
        Row::for_information(OtelMl, A),
        Row::for_information(OtelMl, B),
        Row::for_information(OtelMl, C),
        Row::for_information(OtelMlSpans, C),
    ],
    spans: |jobs| jobs.into(),
    prepare: prepare_job,
};

/// Tasks on the measuring thread: callgrind and the counting allocator look at no other.
fn runtime() -> Runtime {
    match Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(error) => unreachable!("a runtime without drivers needs nothing: {error}"),
    }
}

async fn work(number: u32) -> u32 {
    black_box(number)
}

fn prepare_spawn(variant: Variant, condition: Condition) -> Iterate {
    let (runtime, parent) = (runtime(), worker_traced::parent(condition));
    Box::new(move |tasks| {
        let _attached = parent.clone().attach();
        runtime.block_on(async {
            for number in 0..tasks {
                let done = if variant.is_tracing() {
                    spawn(work(number)).await
                } else {
                    tokio::spawn(work(number)).await
                };
                assert!(done.is_ok());
            }
        });
    })
}

fn prepare_job(variant: Variant, condition: Condition) -> Iterate {
    let (runtime, parent) = (runtime(), worker_traced::parent(condition));
    let queue = Queue::builder("jobs")
        .telemetry(variant.telemetry())
        .build();
    Box::new(move |tasks| {
        let _attached = parent.clone().attach();
        runtime.block_on(async {
            for number in 0..tasks {
                let done = if variant.is_tracing() {
                    tokio::spawn(queue.job("score").run_infallible(work(number))).await
                } else {
                    tokio::spawn(work(number)).await
                };
                assert!(done.is_ok());
            }
        });
    })
}
