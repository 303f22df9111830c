//! What most tests need.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use otel_ml::opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml::semconv::{Metric, ml};
use otel_ml::{Outcome, Running, StageRecord, stage};
use otel_ml_testing::{HistogramPoint, TestTelemetry};
use otel_ml_worker::{Queue, QueueBuilder};
use tokio::runtime::{Builder, Runtime};

/// An error with a name.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

pub(crate) const TRACE_ID: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
pub(crate) const SPAN_ID: u64 = 0x00f0_67aa_0ba9_02b7;

/// The context of a caller elsewhere, with these trace flags.
pub(crate) fn remote(flags: u8) -> Context {
    Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from(TRACE_ID),
        SpanId::from(SPAN_ID),
        TraceFlags::new(flags),
        true,
        TraceState::NONE,
    ))
}

/// The trace that is current.
pub(crate) fn trace_here() -> TraceId {
    Context::map_current(|cx| cx.span().span_context().trace_id())
}

/// The span that is current.
pub(crate) fn span_here() -> SpanId {
    Context::map_current(|cx| cx.span().span_context().span_id())
}

/// An operation to be in, such as a request that is served.
pub(crate) fn request(test: &TestTelemetry) -> Running<StageRecord> {
    stage("request").telemetry(&test.telemetry()).start()
}

/// Runs `work` within a request of its own.
pub(crate) fn in_request<T>(test: &TestTelemetry, work: impl FnOnce() -> T) -> T {
    let mut request = request(test);
    let value = request.scope(work);
    request.finish(Outcome::Ok);
    value
}

/// A queue named `jobs`, to be built.
pub(crate) fn jobs(test: &TestTelemetry) -> QueueBuilder {
    Queue::builder("jobs").telemetry(test.telemetry())
}

pub(crate) fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn multi_thread() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(4).enable_all().build().unwrap()
}

/// Runs `test` on both kinds of runtime.
pub(crate) fn on_each_runtime(test: impl Fn(Runtime)) {
    test(current_thread());
    test(multi_thread());
}

/// Waits for what has to come: where it doesn't, the test fails and does not hang.
pub(crate) async fn within_reason<T>(wait: impl Future<Output = T>) -> T {
    let deadline = tokio::time::timeout(Duration::from_secs(20), wait);
    deadline.await.expect("it never comes")
}

/// How often `ml.queue.wait.duration` was recorded for the queue named `jobs`.
pub(crate) fn waits(test: &TestTelemetry) -> Option<HistogramPoint> {
    let metric = ml::metric::QUEUE_WAIT_DURATION;
    let metrics = test.metrics();
    if !metrics.has(metric.name) {
        return None;
    }
    assert_eq!(metrics.unit(metric.name), metric.unit);
    let labels = [
        KeyValue::new(ml::QUEUE_NAME, "jobs"),
        KeyValue::new(ml::QUEUE_SYSTEM, "task"),
    ];
    let histogram = metrics.histogram(metric.name);
    let point = histogram.points().iter().find(|p| p.labels() == labels);
    point.map(|point| (*point).clone())
}

/// The value of a sum or gauge for the queue named `jobs`.
pub(crate) fn level(test: &TestTelemetry, metric: &Metric) -> i64 {
    let metrics = test.metrics();
    assert_eq!(metrics.unit(metric.name), metric.unit);
    if metric.name == ml::metric::QUEUE_LIMIT.name {
        metrics
            .gauge(metric.name)
            .with(ml::QUEUE_NAME, "jobs")
            .int()
    } else {
        metrics.sum(metric.name).with(ml::QUEUE_NAME, "jobs").int()
    }
}

/// Notes what happens to it and in which span.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diary(Arc<Mutex<Vec<(&'static str, SpanId)>>>);

impl Diary {
    pub(crate) fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push((what, span_here()));
    }

    pub(crate) fn take(&self) -> Vec<(&'static str, SpanId)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }

    /// A value that notes when it is dropped.
    pub(crate) fn drops(&self) -> Drops {
        Drops(self.clone())
    }
}

#[derive(Debug)]
pub(crate) struct Drops(Diary);

impl Drop for Drops {
    fn drop(&mut self) {
        self.0.note("dropped");
    }
}
