//! The Collector is not there, for a while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use otel_ml::opentelemetry::trace::{Tracer as _, TracerProvider as _};
use otel_ml_sdk::{Batch, Guard};

use crate::otelcol::Collector;
use crate::service::{record, serve};
use crate::{AT_ONCE, LONG, all, over_both, patient, to, within};

#[test]
fn what_is_recorded_once_it_is_up_arrives() {
    over_both(|protocol| {
        let mut collector = Collector::new();
        let builder = patient(to(collector.endpoint(protocol), protocol).timeout(LONG));
        let guard = within(AT_ONCE, || builder.build().unwrap());
        record(&guard, 10);
        assert!(!guard.flush(LONG));
        let lost = guard.report().spans;
        assert_eq!((lost.exported, lost.failed), (0, 10));

        collector.start();
        let mut late = record(&guard, 10);
        serve(&guard);
        assert!(guard.flush(LONG));
        let report = guard.report();
        assert_eq!((report.spans.exported, report.spans.failed), (13, 10));
        assert_eq!(report.log_records.exported, 1);
        let received = collector.received();
        let requests = received
            .spans
            .iter()
            .filter(|span| span.text("name") != "work");
        late.extend(requests.map(|span| span.text("spanId").to_owned()));
        assert_eq!(received.span_ids(), late.into_iter().collect());
        assert_eq!(received.records.len(), 1);
        // Cumulative: what could not be sent before is in there, too.
        let counter = received.metric("otel.sdk.exporter.span.exported");
        let points = counter.own["sum"]["dataPoints"].as_array().unwrap();
        let failed = points.iter().find(|point| point["asInt"] == "10").unwrap();
        assert!(failed.to_string().contains("error.type"), "{failed}");

        let report = guard.shutdown();
        assert!(report.in_time);
        assert_eq!(all(report.spans), 23);
    });
}

/// A service under load.
struct Load {
    recorded: AtomicU64,
}

impl Load {
    /// Records spans, about one in a millisecond, until told to stop. All their ids.
    fn run(&self, guard: &Guard, stop: &mpsc::Receiver<()>) {
        let tracer = guard.tracer_provider().unwrap().tracer("load");
        while stop.recv_timeout(Duration::from_millis(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
            for _ in 0..4 {
                drop(tracer.start("work"));
                self.recorded.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::SeqCst)
    }
}

/// Flushes until `is_there`.
fn flush_until(guard: &Guard, what: &str, is_there: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_there() {
        assert!(Instant::now() < deadline, "{what}: {:?}", guard.report());
        let _all_exported = guard.flush(LONG);
    }
}

const BATCH: usize = 128;
const QUEUE: usize = 512;

#[test]
fn killed_and_restarted_under_load_it_gets_what_comes_then() {
    over_both(|protocol| {
        let mut collector = Collector::new().started();
        let guard = patient(to(collector.endpoint(protocol), protocol))
            .span_batches(Batch::new().queue_size(QUEUE).batch_size(BATCH))
            .shutdown_within(LONG)
            .build()
            .unwrap();
        let load = Load {
            recorded: AtomicU64::new(0),
        };
        let (stop, stopped) = mpsc::channel();
        thread::scope(|scope| {
            let (load, guard) = (&load, &guard);
            scope.spawn(move || load.run(guard, &stopped));
            // Dropped at the end, also when that is a panic.
            let _stop = stop;
            let arrived =
                |collector: &Collector, life| collector.received_in(life).spans.len() > BATCH;
            flush_until(guard, "before", || arrived(&collector, 1));

            collector.kill();
            // Recording goes on, past what the queue holds.
            let enough = load.recorded() + 2 * QUEUE as u64;
            let is_down = || guard.report().spans.failed > 0 && load.recorded() > enough;
            flush_until(guard, "while it is down", is_down);

            collector.start();
            flush_until(guard, "after", || arrived(&collector, 2));
        });
        let report = guard.shutdown();
        assert!(report.in_time);
        assert_eq!(all(report.spans), load.recorded());

        let arrived = collector.received().span_ids().len() as u64;
        // Whatever was acknowledged is in the files. What was on its way when the Collector was
        // killed may be there, though its export failed: a batch, as there is one at a time.
        let spans = report.spans;
        assert!(spans.exported <= arrived, "{arrived} arrived: {spans:?}");
        let most = spans.exported + BATCH as u64;
        assert!(arrived <= most, "{arrived} arrived: {spans:?}");
        // So what is missing there is counted as lost.
        assert!(load.recorded() - arrived <= spans.failed + spans.dropped);
    });
}
