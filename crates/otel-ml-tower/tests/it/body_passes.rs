//! What a layer must leave as it is of an answer's body, and which bodies it need not watch.

use http::{HeaderMap, Response};
use http_body::{Body as _, SizeHint};
use http_body_util::BodyExt as _;
use otel_ml_testing::mock::MockBody;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry};

use crate::support::{get, head_of, poll_frame, request, run, server};

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-checksum".parse().unwrap(), "1".parse().unwrap())])
}

#[test]
fn e18_frames_trailers_and_errors_pass_through_untouched() {
    let test = TestTelemetry::new();
    let layer = server(&test).build();
    let mock = || MockBody::new().data("half an ").pending().data("answer");
    let body = head_of(&layer, get(&[]), Response::new(mock().trailers(trailers()))).into_body();
    let collected = run(body.collect()).unwrap();
    assert_eq!(collected.trailers(), Some(&trailers()));
    assert_eq!(collected.to_bytes(), "half an answer");
    let failing = Response::new(MockBody::new().error("exactly this"));
    let body = head_of(&layer, get(&[]), failing).into_body();
    let error = run(body.collect()).unwrap_err();
    assert_eq!(error.to_string(), "exactly this");
}

#[test]
fn size_hint_and_end_of_stream_are_the_inner_bodys() {
    let mut ranged = SizeHint::new();
    ranged.set_lower(3);
    ranged.set_upper(7);
    for hint in [
        SizeHint::new(),
        SizeHint::with_exact(2),
        SizeHint::with_exact(1 << 40),
        ranged,
    ] {
        for tells_end in [true, false] {
            let test = TestTelemetry::new();
            let mock = || {
                let mock = MockBody::new().data("ab").sized(hint);
                if tells_end { mock } else { mock.without_eos() }
            };
            let mut inner = mock();
            let layer = server(&test).build();
            let mut body = head_of(&layer, get(&[]), Response::new(mock())).into_body();
            for _ in 0..3 {
                assert_eq!(body.is_end_stream(), inner.is_end_stream());
                let (theirs, ours) = (inner.size_hint(), body.size_hint());
                assert_eq!(
                    (ours.lower(), ours.upper()),
                    (theirs.lower(), theirs.upper())
                );
                drop((poll_frame(&mut body), poll_frame(&mut inner)));
            }
        }
    }
}

#[test]
fn a_known_small_length_ends_at_the_head_and_a_large_one_with_its_body() {
    let exact = |length| {
        MockBody::new()
            .data("a")
            .sized(SizeHint::with_exact(length))
    };
    for (up_to, body, is_watched) in [
        (None, exact(16 * 1024), false),
        // A proxied answer: its length is known, its bytes are still to come.
        (None, exact(16 * 1024 + 1), true),
        (None, exact(2 << 30), true),
        (None, MockBody::new().data("a"), true),
        (Some(0), exact(1), true),
        // Behind no data there may be trailers.
        (Some(0), exact(0), true),
        (Some(0), MockBody::new(), false),
        (Some(u64::MAX), exact(2 << 30), false),
        (Some(u64::MAX), MockBody::new().data("a"), true),
    ] {
        let test = TestTelemetry::new();
        let layer = match up_to {
            Some(bytes) => server(&test).untouched_up_to(bytes).build(),
            None => server(&test).build(),
        };
        let hint = body.size_hint();
        let mut body = head_of(&layer, get(&[]), Response::new(body)).into_body();
        assert_eq!(test.spans().is_empty(), is_watched, "{up_to:?}, {hint:?}");
        drop(poll_frame(&mut body));
        drop(body);
        let spans = test.spans();
        assert_eq!(spans.root().has("ml.response.chunk.count"), is_watched);
        assert!(!spans.root().is_error());
    }
}

#[test]
fn the_answer_to_a_head_request_ends_at_its_head() {
    let test = TestTelemetry::new();
    let body = MockBody::new()
        .sized(SizeHint::with_exact(2 << 30))
        .without_eos();
    let response = head_of(
        &server(&test).build(),
        request("HEAD", "/", &[]),
        Response::new(body),
    );
    assert!(!test.spans().root().is_error());
    assert_eq!(response.body().size_hint().exact(), Some(2 << 30));
}
