//! When a streamed answer ends, and that it passes through untouched.

use std::time::Instant;

use http::{HeaderMap, Response};
use otel_ml_testing::mock::MockBody;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_ended_once};

use crate::support::{get, head_of, poll_frame, server, text};

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-checksum".parse().unwrap(), "1".parse().unwrap())])
}

/// How many polls end the span, and what it then says: the error and what passed by then.
struct Case {
    name: &'static str,
    body: MockBody,
    polls: usize,
    error: Option<&'static str>,
    chunks: Option<(i64, i64)>,
}

fn case(name: &'static str, body: MockBody, polls: usize) -> Case {
    Case {
        name,
        body,
        polls,
        error: None,
        chunks: None,
    }
}

impl Case {
    fn error(self, error: &'static str) -> Self {
        Self {
            error: Some(error),
            ..self
        }
    }

    fn chunks(self, chunks: i64, bytes: i64) -> Self {
        Self {
            chunks: Some((chunks, bytes)),
            ..self
        }
    }
}

#[test]
fn e18_the_span_ends_with_whatever_tells_the_end_first() {
    let body = MockBody::new;
    let cases = [
        case("finished when made", body(), 0),
        case("end told with a frame", body().data("ab").data("c"), 2).chunks(2, 3),
        case("end told by a poll", body().data("ab").without_eos(), 2).chunks(1, 2),
        case("empty, told by a poll", body().without_eos(), 1),
        case(
            "pending between",
            body().pending().data("ab").pending().data("c"),
            4,
        )
        .chunks(2, 3),
        case("trailers", body().data("ab").trailers(trailers()), 2).chunks(1, 2),
        case(
            "trailers, then silence",
            body().data("ab").trailers(trailers()).without_eos(),
            2,
        )
        .chunks(1, 2),
        case(
            "trailers only",
            body().trailers(trailers()).without_eos(),
            1,
        ),
        case("an empty chunk", body().data("").data("a"), 2).chunks(2, 1),
        case("error", body().data("ab").error("reset by peer"), 2)
            .error("MockError")
            .chunks(1, 2),
        case(
            "error at once",
            body().error("reset by peer").without_eos(),
            1,
        )
        .error("MockError"),
    ];
    for case in cases {
        let name = case.name;
        let test = TestTelemetry::new();
        let probe = case.body.probe();
        let response = head_of(&server(&test).build(), get(&[]), Response::new(case.body));
        let mut body = response.into_body();
        for polled in 0..case.polls {
            assert!(
                test.spans().is_empty(),
                "{name}: ended after {polled} polls"
            );
            drop(poll_frame(&mut body));
        }
        assert_eq!(
            test.spans().len(),
            1,
            "{name}: not ended after {} polls",
            case.polls
        );
        assert_eq!(probe.polls(), case.polls, "{name}");
        assert!(!probe.is_dropped(), "{name}");
        drop(body);
        let spans = test.spans();
        assert_ended_once(&spans);
        let span = spans.root();
        assert_eq!(
            span.attr("error.type").cloned(),
            case.error.map(text),
            "{name}"
        );
        assert_eq!(span.is_error(), case.error.is_some(), "{name}");
        assert!(!span.has("ml.cancel.reason"), "{name}");
        let chunks = case.chunks.map(|_| {
            assert!(span.double("ml.response.time_to_first_chunk") >= 0.0);
            (
                span.int("ml.response.chunk.count"),
                span.int("ml.response.size"),
            )
        });
        assert_eq!(chunks, case.chunks, "{name}");
        if case.chunks.is_none() {
            assert!(!span.has("ml.response.time_to_first_chunk"), "{name}");
            assert!(!span.has("ml.response.chunk.count"), "{name}");
        }
        let metrics = test.metrics();
        let duration = metrics.histogram("http.server.request.duration");
        assert_eq!(duration.count(), 1, "{name}");
        assert_eq!(
            duration.one().label_keys().contains(&"error.type"),
            case.error.is_some()
        );
        metrics.sum("http.server.active_requests").assert_zero();
    }
}

#[test]
fn e18_polling_on_after_the_end_changes_nothing() {
    let test = TestTelemetry::new();
    let body = MockBody::new().data("a").error("late").data("b");
    let response = head_of(&server(&test).build(), get(&[]), Response::new(body));
    let mut body = response.into_body();
    for _ in 0..5 {
        drop(poll_frame(&mut body));
    }
    drop(body);
    let spans = test.spans();
    assert_eq!(spans.root().int("ml.response.chunk.count"), 1);
    assert_eq!(
        test.metrics()
            .histogram("http.server.request.duration")
            .count(),
        1
    );
}

#[test]
fn time_to_first_chunk_is_apart_from_the_duration() {
    let test = TestTelemetry::new();
    let body = MockBody::new().data("first").data("last");
    let before = Instant::now();
    let response = head_of(&server(&test).build(), get(&[]), Response::new(body));
    let called = Instant::now();
    let mut body = response.into_body();
    // The clock must move on between the head, the first chunk and the end, however coarse it
    // is: each of the three intervals is then longer than what can be told of the one before.
    let first = wait_until(|now| now - called > called - before);
    drop(poll_frame(&mut body));
    let received = Instant::now();
    let end = wait_until(|now| now - called > received - before);
    drop(poll_frame(&mut body));
    let ended = Instant::now();
    let spans = test.spans();
    let to_first = spans.root().double("ml.response.time_to_first_chunk");
    assert!(to_first >= (first - called).as_secs_f64());
    assert!(to_first <= (received - before).as_secs_f64());
    let duration = test
        .metrics()
        .histogram("http.server.request.duration")
        .sum();
    assert!(duration >= (end - called).as_secs_f64());
    assert!(duration <= (ended - before).as_secs_f64());
    assert!(to_first < duration);
}

fn wait_until(is_reached: impl Fn(Instant) -> bool) -> Instant {
    std::iter::repeat_with(Instant::now)
        .find(|now| is_reached(*now))
        .expect("the clock goes on")
}
