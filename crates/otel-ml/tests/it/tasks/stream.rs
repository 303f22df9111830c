//! E18: a stream ends its span once, however it ends.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::{FutureExt, Stream, StreamExt};
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::trace::SpanData;
use otel_ml::{MlSpan, stage};
use otel_ml_semconv::{error, ml};
use otel_ml_testing::mock::MockStream;
use otel_ml_testing::{SpanExt, TestTelemetry};

use super::{QueueFull, only};
use crate::support::{labels, series};

type Chunk = Result<u8, QueueFull>;

/// All items that are ready.
fn ready<S: Stream + Unpin>(stream: &mut S) -> Vec<S::Item> {
    std::iter::from_fn(|| stream.next().now_or_never().flatten()).collect()
}

fn chunks(count: u8) -> MockStream<Chunk> {
    (0..count).fold(MockStream::new(), |stream, i| stream.item(Ok(i)))
}

#[track_caller]
fn assert_read(span: &SpanData, count: i64) {
    assert_eq!(span.int(ml::RESPONSE_CHUNK_COUNT), count);
    let first = span.double(ml::RESPONSE_TIME_TO_FIRST_CHUNK);
    assert!(
        (0.0..=span.duration().as_secs_f64() + 0.05).contains(&first),
        "{first}"
    );
}

#[test]
fn e18_at_its_end() {
    let test = TestTelemetry::new();
    let task = stage("s").telemetry(&test.telemetry());
    let inner = MockStream::new().item(Ok(1)).pending().item(Ok(2));
    let mut stream = task.stream::<u8, QueueFull, _>(inner);
    assert_eq!(test.open_spans(), ["s"]);
    assert_eq!(ready(&mut stream), [Ok(1)]);
    assert_eq!(ready(&mut stream), [Ok(2)]);
    assert_eq!(test.open_spans(), [""; 0]);
    assert_eq!(ready(&mut stream), []);
    drop(stream);
    let span = only(&test);
    assert!(!span.is_error() && !span.has(ml::CANCEL_REASON));
    assert_read(&span, 2);
    let labels = labels![ml::PIPELINE_STAGE_NAME => "s"];
    assert_eq!(
        series(&test, &ml::metric::STAGE_DURATION, &labels).count(),
        1
    );
}

#[test]
fn e18_with_its_first_error_and_polled_on() {
    let test = TestTelemetry::new();
    let task = stage("s").telemetry(&test.telemetry());
    let inner = MockStream::new()
        .item(Ok(1))
        .item(Err(QueueFull))
        .item(Ok(2))
        .item(Err(QueueFull));
    let mut stream = task.stream(inner);
    assert_eq!(
        ready(&mut stream),
        [Ok(1), Err(QueueFull), Ok(2), Err(QueueFull)]
    );
    drop(stream);
    let span = only(&test);
    assert!(span.is_error());
    assert_eq!(span.str(error::TYPE), "QueueFull");
    assert_read(&span, 1);
}

#[test]
fn e18_dropped_half_way() {
    let test = TestTelemetry::new();
    let task = stage("s").telemetry(&test.telemetry());
    let mut stream = task.stream(chunks(2).hang());
    assert_eq!(ready(&mut stream), [Ok(0), Ok(1)]);
    drop(stream);
    let span = only(&test);
    assert!(!span.is_error());
    assert_eq!(span.str(ml::CANCEL_REASON), "dropped");
    assert_read(&span, 2);
}

#[test]
fn e18_unread() {
    let test = TestTelemetry::new();
    let task = stage("s").telemetry(&test.telemetry());
    let inner = chunks(2);
    let probe = inner.probe();
    drop(task.stream(inner));
    assert_eq!(probe.polls(), 0);
    let span = only(&test);
    assert_eq!(span.str(ml::CANCEL_REASON), "dropped");
    assert!(!span.has(ml::RESPONSE_TIME_TO_FIRST_CHUNK));
}

#[test]
fn e18_empty() {
    let test = TestTelemetry::new();
    let task = stage("s").telemetry(&test.telemetry());
    assert_eq!(ready(&mut task.stream(chunks(0))), []);
    let span = only(&test);
    assert!(!span.is_error() && !span.has(ml::CANCEL_REASON));
    assert!(!span.has(ml::RESPONSE_TIME_TO_FIRST_CHUNK));
}

#[test]
fn e15_a_panic_in_the_stream() {
    let test = TestTelemetry::new();
    let task = stage("s").telemetry(&test.telemetry());
    let mut stream = task.stream(chunks(1).panic("on purpose").item(Ok(9)));
    assert_eq!(stream.next().now_or_never(), Some(Some(Ok(0))));
    assert!(catch_unwind(AssertUnwindSafe(|| stream.next().now_or_never())).is_err());
    assert_eq!(ready(&mut stream), [Ok(9)]);
    drop(stream);
    let span = only(&test);
    assert_eq!(span.str(error::TYPE), "panic");
    assert_read(&span, 1);
}

#[test]
fn items_that_are_no_results_are_fine() {
    let test = TestTelemetry::new();
    let task = stage("s").telemetry(&test.telemetry());
    let mut stream = task.stream_infallible(MockStream::new().item("a").item("b"));
    assert_eq!(ready(&mut stream), ["a", "b"]);
    assert_read(&only(&test), 2);
}

#[test]
fn the_stream_runs_in_the_operations_context_and_its_reader_does_not() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let inner = futures_util::stream::iter(1..=3_u64).map(|i| {
        MlSpan::current().output_tokens(i);
        Context::current().span().span_context().clone()
    });
    let mut stream = stage("s").telemetry(&telemetry).stream_infallible(inner);
    let seen = ready(&mut stream);
    assert!(!Context::current().has_active_span());
    let span = only(&test);
    assert_eq!(seen, vec![span.span_context.clone(); 3]);
    assert_eq!(span.int("gen_ai.usage.output_tokens"), 3);
}

#[test]
fn facts_can_be_written_from_outside_until_the_end() {
    let test = TestTelemetry::new();
    let mut stream = stage("s").telemetry(&test.telemetry()).stream(chunks(1));
    let span = stream.span();
    span.input_size(1);
    assert_eq!(ready(&mut stream).len(), 1);
    assert!(!stream.span().is_recording());
    span.output_size(2);
    let recorded = only(&test);
    assert_eq!(recorded.int(ml::INPUT_SIZE), 1);
    assert!(!recorded.has(ml::OUTPUT_SIZE));
}

#[test]
fn the_size_hint_is_the_inner_streams() {
    let test = TestTelemetry::new();
    let inner = futures_util::stream::iter([1, 2, 3]);
    let stream = stage("s")
        .telemetry(&test.telemetry())
        .stream_infallible(inner);
    assert_eq!(stream.size_hint(), (3, Some(3)));
}

/// E21: nothing grows with the number of items.
#[test]
fn e21_a_long_stream_adds_no_events_and_no_attributes() {
    let test = TestTelemetry::new();
    let inner = futures_util::stream::iter(0..10_000);
    let mut stream = stage("s")
        .telemetry(&test.telemetry())
        .stream_infallible(inner);
    assert_eq!(ready(&mut stream).len(), 10_000);
    let span = only(&test);
    assert!(span.events.is_empty());
    assert!(span.attributes.len() <= 3);
    assert_read(&span, 10_000);
}
