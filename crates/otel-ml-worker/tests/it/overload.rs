//! Three times as much work as can be done: the wait grows, and is there to see.

use std::hint::spin_loop;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use otel_ml::semconv::ml;
use otel_ml::{Outcome, Running, StageRecord};
use otel_ml_testing::waterfall::{Waterfall, WaterfallSpan};
use otel_ml_testing::{SpanExt, TestTelemetry};
use otel_ml_worker::Traced;

use crate::support::{jobs, level, request};

/// What each job takes.
const WORK: Duration = Duration::from_millis(2);

fn work() {
    let start = Instant::now();
    while start.elapsed() < WORK {
        spin_loop();
    }
}

fn answer(item: Traced<Running<StageRecord>>) {
    let (request, job) = item.job("score");
    job.wrap_infallible(work)();
    request.finish(Outcome::Ok);
}

/// For each job that is done, three come in: the worker asks for them, so no clock decides.
#[test]
fn under_three_times_overload_the_wait_grows_and_shows_in_the_waterfall() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).queue_wait_span(true).build();
    let (sender, receiver) = mpsc::channel::<Traced<Running<StageRecord>>>();
    let (ask, asked) = mpsc::sync_channel(0);
    let worker = thread::spawn(move || {
        let mut done = 0;
        while ask.send(()).is_ok() {
            answer(receiver.recv().unwrap());
            done += 1;
        }
        // What is left.
        for item in receiver {
            answer(item);
            done += 1;
        }
        done
    });
    for () in asked.iter().take(10) {
        for _ in 0..3 {
            let mut request = request(&test);
            let item = request.scope(|| queue.traced(()));
            sender.send(item.map(|()| request)).unwrap();
        }
    }
    let backlog = level(&test, &ml::metric::QUEUE_SIZE);
    assert!((20..=21).contains(&backlog), "{backlog}");
    drop((asked, sender));
    assert_eq!(worker.join().unwrap(), 30);
    assert_eq!(level(&test, &ml::metric::QUEUE_SIZE), 0);

    // In the order in which they were sent.
    let spans = test.spans();
    let waits = |numbers: std::ops::Range<usize>| {
        let jobs = spans.iter().filter(|span| span.name == "score");
        let jobs: Vec<_> = jobs.skip(numbers.start).take(numbers.len()).collect();
        let sum: f64 = jobs
            .iter()
            .map(|job| job.double(ml::QUEUE_WAIT_DURATION))
            .sum();
        sum / 10.0
    };
    let thirds = [waits(0..10), waits(10..20), waits(20..30)];
    let step = WORK.as_secs_f64();
    assert!(
        thirds[0] + step < thirds[1] && thirds[1] + step < thirds[2],
        "{thirds:?}"
    );

    let last = spans.iter().rfind(|span| span.name == "score").unwrap();
    let trace = last.span_context.trace_id();
    let of_it = spans
        .iter()
        .filter(|span| span.span_context.trace_id() == trace);
    let picture = Waterfall::new(of_it.map(|span| WaterfallSpan::new("worker", span))).to_string();
    let bar = |name: &str| {
        let line = picture.lines().find(|line| line.contains(name));
        line.unwrap().chars().filter(|c| *c == '█').count()
    };
    assert!(bar("queue_wait") > bar("score"), "{picture}");
    let chain = picture.lines().last().unwrap_or_default();
    assert!(
        chain.starts_with("* longest chain: queue_wait"),
        "{picture}"
    );
}
