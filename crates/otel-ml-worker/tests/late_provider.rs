//! E26: queues, jobs and batches made before the global providers are there. In a program of its
//! own, since providers are global; one test, since its steps follow on each other.

#![cfg(test)]

use otel_ml::opentelemetry::global;
use otel_ml::opentelemetry::trace::TraceContextExt as _;
use otel_ml::semconv::ml;
use otel_ml::{Outcome, Telemetry, stage};
use otel_ml_testing::{SpansExt as _, TestTelemetry, assert_tree};
use otel_ml_worker::{BatchOperation, KvCache, ModelBytes, Queue, Trigger, job, spawn};

#[expect(
    clippy::disallowed_methods,
    reason = "what a program does, in a process that has no other test"
)]
fn install(test: &TestTelemetry) {
    global::set_tracer_provider(test.tracer_provider().clone());
    global::set_meter_provider(test.meter_provider().clone());
}

#[tokio::test]
async fn e26_what_was_made_first_records_once_providers_are_there() {
    let queue = Queue::builder("requests").limit(4).build();
    let batches = BatchOperation::builder("requests").max_size(4);
    let weights = ModelBytes::of_weights("m");
    weights.set(7);
    // A handle that has looked in vain so often that it has become slow to look again.
    let patient = Telemetry::builder().build();
    let state = ModelBytes::of_state("m").telemetry(patient);
    for bytes in 0..70 {
        state.set(bytes);
    }
    let cache = KvCache::new("m", 10);
    cache.set(5);
    let gone = ModelBytes::of_weights("gone");
    gone.set(7);
    drop(gone);
    let early = queue.traced(1);
    let early_job = queue.job("early");
    let unstarted = job("unstarted");
    let has_span = spawn(async {
        otel_ml::opentelemetry::Context::current()
            .span()
            .span_context()
            .is_valid()
    });
    assert!(!has_span.await.unwrap());

    let test = TestTelemetry::new();
    install(&test);
    let level = |name: &'static str| test.metrics().sum(name).int();
    let late = stage("request").in_scope_infallible(|| queue.traced(2));
    assert_eq!(
        level(ml::metric::QUEUE_SIZE.name),
        3,
        "those from before, too"
    );
    early_job.wrap_infallible(|| ())();
    drop(unstarted.run_infallible(async {}));
    let (batch, items) = batches.start(Trigger::Size, vec![early, late]);
    batch.finish(Outcome::Ok);
    assert_eq!((items, queue.size()), (vec![1, 2], 0));
    assert_eq!(level(ml::metric::QUEUE_SIZE.name), 0);
    // What was told once, and never again, is not lost.
    let of_m = |name: &'static str| test.metrics().sum(name).with(ml::MODEL_NAME, "m").int();
    assert_eq!(of_m(ml::metric::MODEL_MEMORY_USAGE.name), 7);
    assert_eq!(of_m(ml::metric::MODEL_STATE_SIZE.name), 69);
    assert_eq!(of_m(ml::metric::KV_CACHE_USAGE.name), 5);
    weights.set(8);
    assert_eq!(of_m(ml::metric::MODEL_MEMORY_USAGE.name), 8);
    drop((weights, state, cache));
    for metric in [ml::metric::MODEL_MEMORY_USAGE, ml::metric::MODEL_STATE_SIZE] {
        test.metrics().sum(metric.name).assert_zero();
    }
    let spans = test.spans();
    assert_eq!(spans.named("batch requests").links.links.len(), 1);
    assert_tree!(spans, {
        "request" => ["infer"],
        "early",
        "unstarted" { (ml::CANCEL_REASON) = "never_run" },
        "infer",
        "batch requests",
    });
    let metrics = test.metrics();
    let waits = metrics.histogram(ml::metric::QUEUE_WAIT_DURATION.name);
    assert_eq!(waits.with(ml::QUEUE_NAME, "requests").one().count(), 3);
}
