//! However much is recorded, what waits for a Collector that never answers takes so much memory
//! and no more.
//!
//! The limit is what the settings say: `queue_size` spans or log records that wait, and
//! `batch_size` that are exported. While it is made ready an export takes more than while its
//! answer is waited for. Over HTTP, the client's own thread lets go of one that was given up a
//! moment later, when the next may have begun. What one takes in each state is measured with small
//! settings, and tells what large ones may take.

use std::process::Command;
use std::time::{Duration, Instant};

use otel_ml::opentelemetry::logs::{
    AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity,
};
use otel_ml::opentelemetry::trace::{Tracer as _, TracerProvider as _};
use otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml_sdk::{Batch, Exported, Guard, Protocol};
use peak_alloc::PeakAlloc;

use crate::hanging::Hanging;
use crate::otelcol::Collector;
use crate::{LONG, over_both, patient, to};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Spans,
    Records,
}

/// What is recorded, in a process of its own.
struct Load {
    /// Where to; to what takes connections in that process, if it is empty.
    endpoint: String,
    signal: Signal,
    protocol: Protocol,
    queue: usize,
    batch: usize,
    count: usize,
    /// After how long an export is given up, and the next one begins.
    timeout: Duration,
}

/// The bytes of text on a span or log record.
const TEXT: usize = 400;

#[test]
fn spans_that_wait_take_no_more_than_the_queue_and_a_batch() {
    is_bounded(Signal::Spans);
}

#[test]
fn log_records_that_wait_take_no_more_than_the_queue_and_a_batch() {
    is_bounded(Signal::Records);
}

fn is_bounded(signal: Signal) {
    over_both(|protocol| {
        let load = |queue, batch, count, timeout| Load {
            endpoint: String::new(),
            signal,
            protocol,
            queue,
            batch,
            count,
            timeout,
        };
        // A batch is exported, and the rest waits: nothing is dropped.
        let filled = |queue, batch| load(queue, batch, queue + batch, LONG).run();
        let exporting = |batch| load(256, batch, batch, LONG).run();
        let fixed = filled(1, 1).peak;
        let waiting = (filled(512, 1).peak - fixed) / 511;
        let (many, one) = (exporting(256), exporting(1));
        let exported = (many.peak - one.peak) / 255;
        let sent = (many.sent - one.sent) / 255;

        let (queue, batch) = (2048, 512);
        let given_up = match protocol {
            Protocol::HttpProtobuf => batch * sent,
            _ => 0,
        };
        let limit = fixed + queue * waiting + batch * exported + given_up;
        let timeout = Duration::from_millis(100);
        let own = load(queue, batch, 200_000, timeout);
        let peak = own.run().peak;
        let paused = Collector::new().started();
        paused.pause();
        let by_collector = Load {
            endpoint: paused.endpoint(protocol),
            ..own
        };
        let by_collector = by_collector.run().peak;
        println!(
            "{signal:?} over {protocol:?}: one takes {waiting} bytes while it waits, {exported} \
             while its export is made ready, {sent} once it is sent: {peak} of {limit} bytes, \
             {by_collector} with a real Collector"
        );
        assert!(waiting > TEXT && exported > sent && sent > TEXT);
        for peak in [peak, by_collector] {
            assert!(peak > queue * waiting, "the queue was full");
            assert!(peak <= limit + limit / 10, "{peak} bytes, not {limit}");
        }
    });
}

/// Bytes that are allocated.
struct Allocated {
    /// The most at once.
    peak: usize,
    /// When the first export was sent.
    sent: usize,
}

const VARIABLE: &str = "OTEL_ML_TEST_LOAD";

impl Load {
    fn run(&self) -> Allocated {
        let Self {
            endpoint,
            signal,
            protocol,
            queue,
            batch,
            count,
            timeout,
        } = self;
        let is_grpc = *protocol == Protocol::Grpc;
        let millis = timeout.as_millis();
        let load = format!("{signal:?} {is_grpc} {queue} {batch} {count} {millis} {endpoint}");
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "memory::under_load", "--ignored", "--nocapture"])
            .env(VARIABLE, load)
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stdout).into_owned();
        let errors = String::from_utf8_lossy(&child.stderr).into_owned();
        assert!(child.status.success(), "{output}{errors}");
        let told = output.lines().find_map(|line| line.split_once("bytes: "));
        let (peak, sent) = told.unwrap().1.split_once(' ').unwrap();
        Allocated {
            peak: peak.parse().unwrap(),
            sent: sent.parse().unwrap(),
        }
    }

    fn counts(&self, guard: &Guard) -> Exported {
        let report = guard.report();
        match self.signal {
            Signal::Spans => report.spans,
            Signal::Records => report.log_records,
        }
    }

    fn told() -> Self {
        let load = std::env::var(VARIABLE).unwrap();
        let [signal, is_grpc, queue, batch, count, timeout, endpoint] =
            *load.split(' ').collect::<Vec<_>>().as_slice()
        else {
            panic!("{load}");
        };
        let number = |text: &str| text.parse().unwrap();
        Self {
            endpoint: endpoint.to_owned(),
            signal: match signal {
                "Spans" => Signal::Spans,
                _ => Signal::Records,
            },
            protocol: match is_grpc {
                "true" => Protocol::Grpc,
                _ => Protocol::HttpProtobuf,
            },
            queue: number(queue),
            batch: number(batch),
            count: number(count),
            timeout: Duration::from_millis(timeout.parse().unwrap()),
        }
    }
}

#[test]
#[ignore = "run by the test above, in a process where nothing else allocates"]
fn under_load() {
    let load = Load::told();
    let hanging = Hanging::start();
    let before = ALLOCATED.current_usage();
    let is_own = load.endpoint.is_empty();
    let endpoint = match is_own {
        true => hanging.endpoint(),
        false => load.endpoint.clone(),
    };
    let otlp = to(endpoint, load.protocol).timeout(load.timeout);
    let batch = Batch::new().queue_size(load.queue).batch_size(load.batch);
    let builder = patient(otlp).metrics_to([]);
    let builder = match load.signal {
        Signal::Spans => builder.logs_to([]).span_batches(batch.delay(LONG)),
        Signal::Records => builder.traces_to([]).log_batches(batch.delay(LONG)),
    };
    let guard = builder.shutdown_within(Duration::ZERO).build().unwrap();
    let record = |count| match load.signal {
        Signal::Spans => spans(&guard, count),
        Signal::Records => records(&guard, count),
    };
    // Making the client takes more than it keeps.
    ALLOCATED.reset_peak_usage();
    record(load.batch);
    // More than this may not be sent before there is an answer.
    if is_own {
        hanging.wait_for((load.batch * TEXT).min(32_000));
    }
    let sent = ALLOCATED.current_usage() - before;
    record(load.count - load.batch);
    if load.timeout < LONG {
        // Some batches followed while the queue was full.
        let deadline = Instant::now() + LONG;
        while load.counts(&guard).failed < 3 * load.batch as u64 {
            assert!(Instant::now() < deadline, "{:?}", guard.report());
            record(load.batch);
        }
    }
    println!("bytes: {} {sent}", ALLOCATED.peak_usage() - before);
}

/// The text that each has in eight attributes.
fn texts() -> impl Iterator<Item = String> {
    (0..8).map(|_| "x".repeat(TEXT / 8))
}

fn spans(guard: &Guard, count: usize) {
    let tracer = guard.tracer_provider().unwrap().tracer("load");
    for _ in 0..count {
        let texts = texts().map(|text| KeyValue::new("test.text", text));
        let span = tracer.span_builder("work").with_attributes(texts);
        drop(span.start_with_context(&tracer, &Context::new()));
    }
}

fn records(guard: &Guard, count: usize) {
    let logger = guard.logger_provider().unwrap().logger("load");
    for _ in 0..count {
        let mut record = logger.create_log_record();
        record.set_severity_number(Severity::Info);
        record.set_body(AnyValue::from("working"));
        record.add_attributes(texts().map(|text| ("test.text", text)));
        logger.emit(record);
    }
}
