//! Answers that come in chunks: E18, E22.

use futures_util::{FutureExt, Stream, StreamExt};
use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::SpanData;
use otel_ml::{MlSpan, genai};
use otel_ml_semconv::{gen_ai, ml};
use otel_ml_testing::mock::MockStream;
use otel_ml_testing::{SpanExt, TestTelemetry};

use super::{QueueFull, only};
use crate::support::{labels, remote_context, series};

type Chunk = Result<Option<u64>, QueueFull>;

/// A chunk that may tell the tokens so far.
const fn chunk(tokens: Option<u64>) -> Chunk {
    Ok(tokens)
}

/// Reads a streamed chat to what is its end, writing the usage that its chunks tell.
fn read(test: &TestTelemetry, chunks: MockStream<Chunk>) {
    let inner = chunks.inspect(|chunk| {
        if let Ok(Some(tokens)) = chunk {
            MlSpan::current().output_tokens(*tokens);
        }
    });
    let task = genai::chat("openai", "m").telemetry(&test.telemetry());
    drain(task.stream(inner));
}

/// Takes what is ready, then drops the stream.
fn drain(mut stream: impl Stream + Unpin) {
    while let Some(Some(_)) = stream.next().now_or_never() {}
}

fn base() -> Vec<KeyValue> {
    labels![
        gen_ai::OPERATION_NAME => "chat", gen_ai::PROVIDER_NAME => "openai",
        gen_ai::REQUEST_MODEL => "m",
    ]
}

fn is_partial(span: &SpanData) -> Option<bool> {
    span.has(ml::USAGE_PARTIAL)
        .then(|| span.bool(ml::USAGE_PARTIAL))
}

#[test]
fn e22_the_last_of_cumulative_counts_is_the_usage() {
    let test = TestTelemetry::new();
    read(
        &test,
        (1..=5).fold(MockStream::new(), |stream, i| stream.item(chunk(Some(i)))),
    );
    let span = only(&test);
    assert_eq!(span.int(gen_ai::USAGE_OUTPUT_TOKENS), 5);
    assert_eq!(is_partial(&span), None);
    let mut labels = base();
    labels.extend(labels![gen_ai::TOKEN_TYPE => "output"]);
    let usage = series(&test, &gen_ai::metric::CLIENT_TOKEN_USAGE, &labels);
    assert_eq!((usage.count(), usage.sum()), (1, 5.0));
}

#[test]
fn e22_usage_is_partial_unless_the_stream_told_it_to_its_end() {
    let told = || MockStream::new().item(chunk(None)).item(chunk(Some(7)));
    let untold = || MockStream::new().item(chunk(None));
    let cases: [(&str, MockStream<Chunk>, Option<bool>); 6] = [
        ("told at the end", told(), None),
        ("never told", untold(), Some(true)),
        ("told, then cut by the reader", told().hang(), Some(true)),
        ("told, then failed", told().item(Err(QueueFull)), Some(true)),
        (
            "not told, then cut by the reader",
            untold().hang(),
            Some(true),
        ),
        (
            "not told, then failed",
            untold().item(Err(QueueFull)),
            Some(true),
        ),
    ];
    for (case, stream, expected) in cases {
        let test = TestTelemetry::new();
        read(&test, stream);
        let span = only(&test);
        assert_eq!(is_partial(&span), expected, "{case}");
        let marks = span
            .attributes
            .iter()
            .filter(|a| a.key.as_str() == ml::USAGE_PARTIAL);
        assert_eq!(marks.count(), usize::from(expected.is_some()), "{case}");
    }
}

#[test]
fn a_stream_is_said_to_be_one_and_is_partial_only_where_there_are_tokens_to_count() {
    let test = TestTelemetry::new();
    read(&test, MockStream::new().item(chunk(Some(1))));
    assert!(only(&test).bool(gen_ai::REQUEST_STREAM));
    let test = TestTelemetry::new();
    let task = genai::retrieval("docs").telemetry(&test.telemetry());
    drain(task.stream(MockStream::<Chunk>::new().item(chunk(None))));
    let span = only(&test);
    assert_eq!(is_partial(&span), None);
    assert!(!span.has(gen_ai::REQUEST_STREAM));
}

#[test]
fn e22_partial_usage_told_by_hand_is_told_once() {
    let test = TestTelemetry::new();
    let stream = MockStream::<Chunk>::new().item(chunk(None));
    let task = genai::chat("openai", "m").telemetry(&test.telemetry());
    let stream = task.stream(stream);
    stream.span().usage_partial();
    drain(stream);
    let span = only(&test);
    let marks = span
        .attributes
        .iter()
        .filter(|a| a.key.as_str() == ml::USAGE_PARTIAL);
    assert_eq!(marks.count(), 1);
}

#[test]
fn the_first_chunk_and_the_gaps_between_chunks_are_measured() {
    for (count, gaps) in [(0_u64, None), (1, None), (4, Some(3))] {
        let test = TestTelemetry::new();
        read(
            &test,
            (0..count).fold(MockStream::new(), |stream, i| stream.item(chunk(Some(i)))),
        );
        let span = only(&test);
        let metrics = test.metrics();
        let first = gen_ai::metric::CLIENT_OPERATION_TIME_TO_FIRST_CHUNK;
        if count == 0 {
            assert!(!metrics.has(first.name) && !span.has(gen_ai::RESPONSE_TIME_TO_FIRST_CHUNK));
        } else {
            let point = series(&test, &first, &base());
            assert_eq!(point.count(), 1);
            assert_eq!(
                point.sum(),
                span.double(gen_ai::RESPONSE_TIME_TO_FIRST_CHUNK)
            );
            assert_eq!(
                span.int(ml::RESPONSE_CHUNK_COUNT),
                i64::try_from(count).unwrap()
            );
        }
        let gap = gen_ai::metric::CLIENT_OPERATION_TIME_PER_OUTPUT_CHUNK;
        match gaps {
            None => assert!(!metrics.has(gap.name)),
            Some(gaps) => assert_eq!(series(&test, &gap, &base()).count(), gaps),
        }
        assert!(!span.has(ml::RESPONSE_TIME_TO_FIRST_CHUNK));
    }
}

#[test]
fn e23_an_unsampled_stream_is_measured() {
    let test = TestTelemetry::new();
    let _attached = remote_context(0).attach();
    read(
        &test,
        (1..=3).fold(MockStream::new(), |stream, i| stream.item(chunk(Some(i)))),
    );
    assert!(test.spans().is_empty());
    let first = gen_ai::metric::CLIENT_OPERATION_TIME_TO_FIRST_CHUNK;
    assert_eq!(series(&test, &first, &base()).count(), 1);
    let gap = gen_ai::metric::CLIENT_OPERATION_TIME_PER_OUTPUT_CHUNK;
    assert_eq!(series(&test, &gap, &base()).count(), 2);
    let mut labels = base();
    labels.extend(labels![gen_ai::TOKEN_TYPE => "output"]);
    assert_eq!(
        series(&test, &gen_ai::metric::CLIENT_TOKEN_USAGE, &labels).sum(),
        3.0
    );
}
