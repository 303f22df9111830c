//! Many jobs of many traces at once, on threads that are made to change often.

use otel_ml::Outcome;
use otel_ml::opentelemetry::trace::SpanId;
use otel_ml_testing::{TestTelemetry, assert_ended_once};
use otel_ml_worker::{JoinSet, spawn};
use tokio::task::yield_now;

use crate::support::{jobs, multi_thread, request, span_here, trace_here};

const TRACES: usize = 100;
const JOBS_OF_EACH: usize = 100;

#[test]
fn ten_thousand_jobs_of_a_hundred_traces_each_stay_in_their_own() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).build();
    let runtime = multi_thread();
    runtime.block_on(async {
        let mut set = JoinSet::new();
        let mut requests: Vec<_> = (0..TRACES).map(|_| request(&test)).collect();
        // Neighbours in the scheduler's queues are of different traces.
        for number in 0..JOBS_OF_EACH {
            for request in &mut requests {
                request.scope(|| {
                    let (trace, above) = (trace_here(), span_here());
                    let job = queue.job("score").run_infallible(async move {
                        let mine = span_here();
                        let mut right = mine != above && mine != SpanId::INVALID;
                        for _ in 0..5 {
                            yield_now().await;
                            right &= (trace_here(), span_here()) == (trace, mine);
                        }
                        if number % 4 == 0 {
                            let nested = spawn(async move {
                                yield_now().await;
                                (trace_here(), span_here()) == (trace, mine)
                            });
                            right &= nested.await.unwrap_or(false);
                        }
                        right && (trace_here(), span_here()) == (trace, mine)
                    });
                    set.spawn(job);
                });
            }
        }
        let mut right = 0;
        while let Some(done) = set.join_next().await {
            right += usize::from(done.unwrap());
        }
        assert_eq!(right, TRACES * JOBS_OF_EACH);
        for request in requests {
            request.finish(Outcome::Ok);
        }
    });
    let spans = test.spans();
    assert_eq!(spans.len(), TRACES * (JOBS_OF_EACH + 1));
    assert_ended_once(&spans);
    for request in spans.iter().filter(|span| span.name == "request") {
        let trace = request.span_context.trace_id();
        let of_it: Vec<_> = spans
            .iter()
            .filter(|span| span.span_context.trace_id() == trace && span.name == "score")
            .collect();
        assert_eq!(of_it.len(), JOBS_OF_EACH);
        let parent = request.span_context.span_id();
        assert!(of_it.iter().all(|span| span.parent_span_id == parent));
    }
    assert_eq!(queue.size(), 0);
}
