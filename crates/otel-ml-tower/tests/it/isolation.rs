//! Requests at once, and facts written again and again.

use std::convert::Infallible;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use otel_ml::{MlSpan, stage};
use otel_ml_testing::mock::MockBody;
use otel_ml_testing::{
    SpanExt as _, SpansExt as _, TestTelemetry, assert_ended_once, assert_parents_present,
};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};

use crate::support::{current_span, get, poll, poll_frame, run, server, yield_once};

fn traceparent(n: u128) -> String {
    format!("00-{n:032x}-{:016x}-01", n + 0x100)
}

fn number(request: &Request<()>) -> u64 {
    let header = request.headers()["x-number"].to_str().unwrap();
    header.parse().unwrap()
}

/// Counts up to its number, one token a chunk, with a stage for each.
struct Tokens {
    number: u64,
    sent: u64,
}

impl Body for Tokens {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.sent == self.number {
            return Poll::Ready(None);
        }
        self.sent += 1;
        stage(format!("chunk {}", self.number)).in_scope_infallible(|| ());
        MlSpan::current().output_tokens(self.sent);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"t")))))
    }
}

async fn handler(request: Request<()>) -> Result<Response<Tokens>, Infallible> {
    let number = number(&request);
    for _ in 0..3 {
        MlSpan::current().input_tokens(number);
        stage(format!("step {number}"))
            .run_infallible(yield_once())
            .await;
    }
    Ok(Response::new(Tokens { number, sent: 0 }))
}

fn numbered(number: u128) -> Request<()> {
    get(&[
        ("traceparent", &traceparent(number)),
        ("x-number", &number.to_string()),
    ])
}

/// Every span of a request is in its own trace, with its own facts.
fn assert_apart(test: &TestTelemetry, numbers: std::ops::RangeInclusive<u64>) {
    let spans = test.spans();
    assert_ended_once(&spans);
    assert_parents_present(&spans);
    assert!(test.open_spans().is_empty());
    for number in numbers {
        let of_trace: Vec<_> = spans
            .iter()
            .filter(|span| span.span_context.trace_id().to_string() == format!("{number:032x}"))
            .cloned()
            .collect();
        let root = of_trace.root();
        let tokens = i64::try_from(number).unwrap();
        assert_eq!(root.int("gen_ai.usage.input_tokens"), tokens);
        assert_eq!(root.int("gen_ai.usage.output_tokens"), tokens);
        assert_eq!(root.int("ml.response.chunk.count"), tokens);
        let children = of_trace.children_of(root);
        assert_eq!(children.len() + 1, of_trace.len());
        assert_eq!(of_trace.all_named(&format!("step {number}")).len(), 3);
        let chunks = of_trace.all_named(&format!("chunk {number}")).len();
        assert_eq!(chunks as u64, number);
    }
}

#[test]
fn two_requests_polled_in_turn_do_not_mix() {
    let test = TestTelemetry::new();
    let mut service = server(&test).build().layer(service_fn(handler));
    let mut first = pin!(service.call(numbered(1)));
    let mut second = pin!(service.call(numbered(2)));
    for _ in 0..3 {
        assert!(poll(first.as_mut()).is_pending());
        assert!(!current_span().is_valid());
        assert!(MlSpan::current().span_context().is_none());
        assert!(poll(second.as_mut()).is_pending());
    }
    let (Poll::Ready(Ok(second)), Poll::Ready(Ok(first))) = (poll(second), poll(first)) else {
        unreachable!("both have yielded three times");
    };
    let (mut first, mut second) = (first.into_body(), second.into_body());
    for _ in 0..3 {
        assert!(poll_frame(&mut second).is_ready());
        assert!(poll_frame(&mut first).is_ready());
        assert!(!current_span().is_valid());
    }
    assert_apart(&test, 1..=2);
    let metrics = test.metrics();
    assert_eq!(metrics.histogram("http.server.request.duration").count(), 2);
    metrics.sum("http.server.active_requests").assert_zero();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_requests_on_several_threads_do_not_mix() {
    let test = TestTelemetry::new();
    let layer = server(&test).build();
    let tasks = (1..=100).map(|number| {
        let service = layer.layer(service_fn(handler));
        tokio::spawn(async move {
            let response = service.oneshot(numbered(number)).await.unwrap();
            response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .len()
        })
    });
    for (number, task) in (1..=100).zip(tasks.collect::<Vec<_>>()) {
        assert_eq!(task.await.unwrap(), number);
    }
    assert_apart(&test, 1..=100);
    test.metrics()
        .sum("http.server.active_requests")
        .assert_zero();
}

#[test]
fn a_fact_written_a_thousand_times_is_one_attribute() {
    let test = TestTelemetry::new();
    let handler = async |_request: Request<()>| {
        for n in 0..1000 {
            MlSpan::current()
                .output_tokens(n)
                .set("app.step", n.to_string());
        }
        Ok::<_, Infallible>(Response::new(MockBody::new()))
    };
    drop(run(server(&test)
        .build()
        .layer(service_fn(handler))
        .call(get(&[]))));
    let spans = test.spans();
    for (key, last) in [
        ("gen_ai.usage.output_tokens", 999.into()),
        ("app.step", "999".into()),
    ] {
        let all = spans.root().attributes.iter();
        let all: Vec<_> = all
            .filter(|attribute| attribute.key.as_str() == key)
            .collect();
        assert_eq!(all.len(), 1, "{key}");
        assert_eq!(all[0].value, last);
    }
    assert_eq!(spans.root().dropped_attributes_count, 0);
}
