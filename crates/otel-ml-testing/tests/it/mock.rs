use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_util::StreamExt as _;
use http::HeaderMap;
use http_body::{Body, SizeHint};
use http_body_util::BodyExt as _;
use otel_ml_testing::mock::{MockBody, MockStream};

use crate::message_of;

fn poll(body: &mut MockBody) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, String>>> {
    Pin::new(body)
        .poll_frame(&mut Context::from_waker(Waker::noop()))
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_body_gives_its_frames_in_order() {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let body = MockBody::new()
        .data("half an ")
        .pending()
        .data("answer")
        .trailers(trailers);
    let probe = body.probe();
    let collected = body.collect().await.expect("no error");
    assert_eq!(collected.trailers().expect("trailers")["grpc-status"], "0");
    assert_eq!(collected.to_bytes(), "half an answer");
    assert!(probe.is_ended() && probe.is_dropped());
    assert_eq!((probe.polls(), probe.polls_after_end()), (5, 0));
}

#[test]
fn a_body_tells_its_end_unless_told_not_to() {
    let mut body = MockBody::new().data("x");
    assert!(!body.is_end_stream() && MockBody::new().is_end_stream());
    assert!(poll(&mut body).is_ready());
    assert!(body.is_end_stream());
    assert!(!MockBody::new().without_eos().is_end_stream());
    assert_eq!(body.size_hint().exact(), None);
    let sized = MockBody::new().sized(SizeHint::with_exact(5));
    assert_eq!(sized.size_hint().exact(), Some(5));
}

#[test]
fn polls_after_the_end_are_counted() {
    let mut body = MockBody::new();
    let probe = body.probe();
    assert!(matches!(poll(&mut body), Poll::Ready(None)));
    assert_eq!(probe.polls_after_end(), 0);
    assert!(matches!(poll(&mut body), Poll::Ready(None)));
    assert_eq!(probe.polls_after_end(), 1);
    assert!(!probe.is_dropped());
    drop(body);
    assert!(probe.is_dropped());
}

#[test]
fn errors_hangs_and_panics_come_when_told() {
    let mut body = MockBody::new().error("reset").panic("boom").hang();
    assert!(matches!(poll(&mut body), Poll::Ready(Some(Err(error))) if error == "reset"));
    assert_eq!(message_of(|| poll(&mut body)), "boom");
    assert!(poll(&mut body).is_pending() && poll(&mut body).is_pending());
    assert!(!body.is_end_stream() && !body.probe().is_ended());
}

#[tokio::test]
async fn a_stream_does_the_same() {
    let mut stream = MockStream::new().item(1).pending().item(2);
    let probe = stream.probe();
    assert_eq!(stream.by_ref().collect::<Vec<_>>().await, [1, 2]);
    assert_eq!((probe.polls(), probe.is_ended()), (4, true));
    assert_eq!(stream.next().await, None);
    assert_eq!(probe.polls_after_end(), 1);

    let mut stream = MockStream::<u8>::new().panic("boom").hang();
    let mut poll = || stream.poll_next_unpin(&mut Context::from_waker(Waker::noop()));
    assert_eq!(message_of(&mut poll), "boom");
    assert!(poll().is_pending() && poll().is_pending());
}
