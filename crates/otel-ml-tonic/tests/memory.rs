//! What a long stream costs: a program of its own, since the allocator counts for all of it.

#![cfg(test)]

#[path = "it/support.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod support;

use otel_ml_testing::{SpanExt as _, TestTelemetry};
use peak_alloc::PeakAlloc;
use support::{Kind, begin, both, handler, items, traced, traced_channel};
use tonic::Request;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MESSAGES: usize = 10_000;
const SIZE: usize = 1_000;

/// Bytes over what was there before: at the highest, and in the end.
async fn taken(work: impl Future<Output = ()>) -> (usize, usize) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    work.await;
    let after = MEMORY.current_usage().saturating_sub(before);
    (MEMORY.peak_usage() - before, after)
}

#[tokio::test]
async fn e21_ten_thousand_messages_take_bounded_memory_and_are_counted() {
    let test = TestTelemetry::new();
    let handler = handler(async |asked: support::Asked| Ok(items(asked.messages)));
    let serving = traced(&test, handler).await;
    let channel = traced_channel(&test, &serving);
    let exchange = async |messages: usize| {
        // One after the other is answered: what piles up is not what the windows of HTTP/2 hold.
        let (send, texts) = tokio::sync::mpsc::channel(1);
        let texts = tokio_stream::wrappers::ReceiverStream::new(texts);
        let request = Request::new(items(texts));
        let answer = begin(channel.clone(), Kind::Bidi, request).await.unwrap();
        let mut answers = answer.into_inner();
        for _ in 0..messages {
            send.send(Ok("x".repeat(SIZE))).await.unwrap();
            let text = answers.message().await.unwrap().unwrap();
            assert_eq!(text.len(), SIZE);
        }
        drop(send);
        assert_eq!(answers.message().await.unwrap(), None);
    };
    // The connection's own buffers, first.
    exchange(MESSAGES / 10).await;
    both(&test).await;
    test.reset();
    let (peak_of_a_tenth, _) = taken(exchange(MESSAGES / 10)).await;
    both(&test).await;
    test.reset();
    let (peak, kept) = taken(exchange(MESSAGES)).await;
    let (server, client) = both(&test).await;
    for span in [&server, &client] {
        assert_eq!(span.int("ml.request.message.count"), 10_000);
        assert_eq!(span.int("ml.response.message.count"), 10_000);
        assert!(span.int("ml.response.size") >= 10_000_000);
        assert!(span.double("ml.response.time_to_first_chunk") >= 0.0);
        assert!(span.events.is_empty(), "no event for each message");
        assert!(span.attributes.len() < 20);
    }
    assert!(
        peak < peak_of_a_tenth + 200_000,
        "{peak} bytes for ten times what took {peak_of_a_tenth}"
    );
    assert!(kept < 100_000, "{kept} bytes are kept");
}
