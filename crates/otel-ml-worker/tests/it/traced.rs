//! Items of channels: whose they are, how long they waited, how many wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use otel_ml::Telemetry;
use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::trace::{SpanId, TraceContextExt};
use otel_ml::semconv::ml;
use otel_ml_testing::opentelemetry_sdk::error::OTelSdkResult;
use otel_ml_testing::opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_tree};
use otel_ml_worker::{Queue, Traced};

use crate::support::{SPAN_ID, current_thread, in_request, jobs, level, remote, span_here, waits};

/// Sends an item through a channel and receives it.
type Channel = (&'static str, fn(Traced<u8>) -> Traced<u8>);

const CHANNELS: [Channel; 6] = [
    ("std", |item| {
        let (sender, receiver) = mpsc::channel();
        sender.send(item).unwrap();
        receiver.recv().unwrap()
    }),
    ("tokio bounded", |item| {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        current_thread().block_on(async {
            sender.send(item).await.unwrap();
            receiver.recv().await.unwrap()
        })
    }),
    ("tokio oneshot", |item| {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        sender.send(item).unwrap();
        current_thread().block_on(receiver).unwrap()
    }),
    ("crossbeam", |item| {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        sender.send(item).unwrap();
        receiver.recv().unwrap()
    }),
    ("flume", |item| {
        let (sender, receiver) = flume::bounded(1);
        sender.send(item).unwrap();
        current_thread().block_on(receiver.recv_async()).unwrap()
    }),
    ("a vector behind a mutex", |item| {
        let list = std::sync::Mutex::new(vec![item]);
        thread::scope(|scope| scope.spawn(|| list.lock().unwrap().pop()).join())
            .unwrap()
            .unwrap()
    }),
];

#[test]
fn through_any_channel_comes_the_item_its_context_and_its_wait() {
    for (channel, pass) in CHANNELS {
        let test = TestTelemetry::new();
        let queue = jobs(&test).limit(4).build();
        let (item, sent_from) = in_request(&test, || (queue.traced(7), span_here()));
        assert_eq!(
            (queue.size(), level(&test, &ml::metric::QUEUE_SIZE)),
            (1, 1)
        );
        let before = Instant::now();
        let received = pass(item);
        assert_eq!(queue.size(), 1, "{channel}: it waits until it is opened");
        let at_least = before.elapsed();
        let opened = received.open();
        let sender = opened.context.span().span_context().span_id();
        assert_eq!((opened.item, sender), (7, sent_from), "{channel}");
        assert!(opened.wait >= at_least, "{channel}");
        let measured = waits(&test).unwrap();
        assert_eq!(
            (measured.count(), measured.sum()),
            (1, opened.wait.as_secs_f64())
        );
        assert_eq!(level(&test, &ml::metric::QUEUE_SIZE), 0, "{channel}");
        assert_eq!(level(&test, &ml::metric::QUEUE_LIMIT), 4);
        {
            let _here = opened.attach();
            assert_eq!(span_here(), sent_from);
        }
        assert_eq!(span_here(), SpanId::INVALID);
        assert_eq!(
            test.spans().len(),
            1,
            "{channel}: no span but the request's"
        );
    }
}

#[test]
fn items_can_be_looked_at_and_changed_while_they_wait() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).build();
    let mut item = {
        let _caller = remote(1).attach();
        queue.traced(vec![1, 2])
    };
    item.get_mut().push(3);
    assert_eq!((item.get_ref().len(), queue.size()), (3, 1));
    let item = item.map(|list| list.len());
    assert_eq!(
        item.context().span().span_context().span_id(),
        SpanId::from(SPAN_ID)
    );
    assert_eq!((queue.size(), waits(&test)), (1, None));
    assert_eq!((item.open().item, queue.size()), (3, 0));
    assert!(format!("{queue:?} {:?}", queue.traced(1)).contains("jobs"));
}

#[test]
fn an_item_that_is_dropped_has_left_without_a_wait() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).queue_wait_span(true).build();
    in_request(&test, || drop(queue.traced(1)));
    assert_eq!((queue.size(), waits(&test)), (0, None));
    assert_tree!(test.spans(), {
        "request" => ["queue_wait" [unset] { (ml::CANCEL_REASON) = "never_run" }],
    });
}

#[test]
fn the_wait_as_a_span_is_part_of_the_senders_trace() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).queue_wait_span(true).build();
    let sent = SystemTime::now();
    let opened = in_request(&test, || queue.traced(1).open());
    assert_tree!(test.spans(), { "request" => ["queue_wait" [internal, unset, only_attrs]] });
    let spans = test.spans();
    let wait = spans.named("queue_wait");
    assert_eq!(wait.duration(), opened.wait);
    assert!(wait.start_time + Duration::from_millis(1) >= sent);
}

#[test]
fn e23_unsampled_items_wait_without_a_span() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).queue_wait_span(true).build();
    for flags in [0, 1] {
        let opened = {
            let cx = if flags == 0 {
                remote(0)
            } else {
                remote(1).with_telemetry_suppressed()
            };
            let _caller = cx.attach();
            queue.traced(1).open()
        };
        let sender = opened.context.span().span_context().clone();
        assert_eq!(sender.trace_flags().to_u8(), flags);
    }
    drop(queue.traced(1));
    assert!(test.spans().is_empty());
    assert_eq!(waits(&test).unwrap().count(), 2);
}

#[test]
fn queues_of_one_name_are_one_series() {
    let test = TestTelemetry::new();
    let jobs = jobs(&test);
    let (a, b) = (jobs.clone().limit(1).build(), jobs.limit(2).build());
    let same = a.clone();
    let items = [a.traced(1), same.traced(2), b.traced(3)];
    assert_eq!((a.size(), same.size(), b.size()), (2, 2, 1));
    assert_eq!(level(&test, &ml::metric::QUEUE_SIZE), 3);
    assert_eq!(level(&test, &ml::metric::QUEUE_LIMIT), 3);
    drop(items);
    drop(b);
    assert_eq!(level(&test, &ml::metric::QUEUE_LIMIT), 1);
    drop((a, same));
    assert_eq!(level(&test, &ml::metric::QUEUE_SIZE), 0);
    assert_eq!(level(&test, &ml::metric::QUEUE_LIMIT), 0, "gone with them");
}

#[test]
fn the_kind_of_queue_is_a_label() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).system(ml::queue_system::BATCH).build();
    drop(queue.traced(1).open());
    let metrics = test.metrics();
    let waits = metrics.histogram(ml::metric::QUEUE_WAIT_DURATION.name);
    assert_eq!(
        waits
            .with(ml::QUEUE_SYSTEM, "batch")
            .with(ml::QUEUE_NAME, "jobs")
            .one()
            .count(),
        1
    );
}

#[test]
fn without_a_queue_the_wait_has_no_name_and_there_is_no_size() {
    let test = TestTelemetry::new();
    in_request(&test, || drop(Traced::new(1).open()));
    let metrics = test.metrics();
    let waits = metrics
        .histogram(ml::metric::QUEUE_WAIT_DURATION.name)
        .one();
    let labels: Vec<_> = waits
        .labels()
        .iter()
        .map(|label| label.key.as_str())
        .collect();
    assert_eq!(labels, [ml::QUEUE_SYSTEM]);
    assert!(!metrics.has(ml::metric::QUEUE_SIZE.name));
    // Outside any operation the global providers are asked, and there are none.
    assert_eq!(Traced::new(2).open().item, 2);
}

#[test]
fn where_nothing_is_installed_item_context_and_wait_are_there_all_the_same() {
    let off = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build();
    let queue = Queue::builder("jobs")
        .telemetry(off)
        .queue_wait_span(true)
        .build();
    let opened = {
        let _caller = remote(1).attach();
        queue.traced(1)
    }
    .open();
    assert_eq!(
        opened.context.span().span_context().span_id(),
        SpanId::from(SPAN_ID)
    );
    assert!(opened.wait < Duration::from_mins(1));
}

/// Panics when a span ends.
#[derive(Debug)]
struct Panics;

impl SpanProcessor for Panics {
    fn on_start(&self, _span: &mut Span, _cx: &Context) {}

    fn on_end(&self, _span: SpanData) {
        panic!("on purpose");
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[test]
fn a_processor_that_panics_leaves_nobody_in_the_queue() {
    let provider = SdkTracerProvider::builder()
        .with_span_processor(Panics)
        .build();
    let telemetry = Telemetry::builder()
        .tracer_provider(&provider)
        .without_metrics()
        .build();
    let builder = Queue::builder("jobs").telemetry(telemetry);
    let queue = builder.queue_wait_span(true).build();
    let ways: [fn(Traced<u8>); 2] = [|item| drop(item.open()), drop];
    for leave in ways {
        let item = {
            let _caller = remote(1).attach();
            queue.traced(1)
        };
        assert_eq!(queue.size(), 1);
        assert!(catch_unwind(AssertUnwindSafe(|| leave(item))).is_err());
        assert_eq!(queue.size(), 0);
    }
}
