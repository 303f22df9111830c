//! However much is recorded, what waits for a Collector that never answers takes so much memory
//! and no more.
//!
//! The limit is what the settings say: `queue_size` spans that wait, and `batch_size` spans that
//! are exported. While it is made ready an export takes more than while its answer is waited for.
//! Over HTTP, the client's own thread lets go of one that was given up a moment later, when the
//! next may have begun. What one span takes in each state is measured with small settings, and
//! tells what large ones may take.

use std::process::Command;
use std::time::{Duration, Instant};

use otel_ml::opentelemetry::trace::{Tracer as _, TracerProvider as _};
use otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml_sdk::{Batch, Guard, Protocol};
use peak_alloc::PeakAlloc;

use crate::hanging::Hanging;
use crate::{LONG, over_both, patient, to};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// What is recorded, in a process of its own.
struct Load {
    protocol: Protocol,
    queue: usize,
    batch: usize,
    spans: usize,
    /// After how long an export is given up, and the next one begins.
    timeout: Duration,
}

/// The bytes of text on a span.
const TEXT: usize = 400;

#[test]
fn what_waits_takes_no_more_than_the_queue_and_a_batch() {
    over_both(|protocol| {
        let load = |queue, batch, spans, timeout| Load {
            protocol,
            queue,
            batch,
            spans,
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
        let peak = load(queue, batch, 200_000, timeout).run().peak;
        println!(
            "{protocol:?}: a span takes {waiting} bytes while it waits, {exported} while its \
             export is made ready, {sent} once it is sent: {peak} of {limit} bytes"
        );
        assert!(waiting > TEXT && exported > sent && sent > TEXT);
        assert!(peak > queue * waiting, "the queue was full");
        assert!(peak <= limit + limit / 10, "{peak} bytes, not {limit}");
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
            protocol,
            queue,
            batch,
            spans,
            timeout,
        } = self;
        let is_grpc = *protocol == Protocol::Grpc;
        let load = format!("{is_grpc} {queue} {batch} {spans} {}", timeout.as_millis());
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

    fn told() -> Self {
        let load = std::env::var(VARIABLE).unwrap();
        let [is_grpc, queue, batch, spans, timeout] =
            *load.split(' ').collect::<Vec<_>>().as_slice()
        else {
            panic!("{load}");
        };
        let number = |text: &str| text.parse().unwrap();
        Self {
            protocol: match is_grpc {
                "true" => Protocol::Grpc,
                _ => Protocol::HttpProtobuf,
            },
            queue: number(queue),
            batch: number(batch),
            spans: number(spans),
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
    let otlp = to(hanging.endpoint(), load.protocol).timeout(load.timeout);
    let batch = Batch::new().queue_size(load.queue).batch_size(load.batch);
    let guard = patient(otlp)
        .metrics_to([])
        .logs_to([])
        .span_batches(batch.delay(LONG))
        .shutdown_within(Duration::ZERO)
        .build()
        .unwrap();
    // Making the client takes more than it keeps.
    ALLOCATED.reset_peak_usage();
    record(&guard, load.batch);
    // More than this may not be sent before there is an answer.
    hanging.wait_for((load.batch * TEXT).min(32_000));
    let sent = ALLOCATED.current_usage() - before;
    record(&guard, load.spans - load.batch);
    if load.timeout < LONG {
        // Some batches followed while the queue was full.
        let deadline = Instant::now() + LONG;
        while guard.report().spans.failed < 3 * load.batch as u64 {
            assert!(Instant::now() < deadline, "{:?}", guard.report());
            record(&guard, load.batch);
        }
    }
    println!("bytes: {} {sent}", ALLOCATED.peak_usage() - before);
}

fn record(guard: &Guard, count: usize) {
    let tracer = guard.tracer_provider().unwrap().tracer("load");
    for _ in 0..count {
        let texts = (0..8).map(|_| KeyValue::new("test.text", "x".repeat(TEXT / 8)));
        let span = tracer.span_builder("work").with_attributes(texts);
        drop(span.start_with_context(&tracer, &Context::new()));
    }
}
