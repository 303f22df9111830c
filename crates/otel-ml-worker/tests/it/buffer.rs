//! Layers around tower's `Buffer`, whose worker is a task of its own.

use std::future::pending;
use std::pin::pin;

use futures_util::FutureExt;
use otel_ml::opentelemetry::trace::{SpanId, TraceContextExt};
use otel_ml::semconv::ml;
use otel_ml::{MlSpan, OtelMlConsumerLayer, stage};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_tree};
use otel_ml_worker::{BufferLayers, Envelope, Traced};
use tower::buffer::BufferLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::support::{Diary, Refused, SPAN_ID, jobs, on_each_runtime, remote, span_here, waits};

/// Answers with the span in which the inner service was called, and the one in which its future
/// ran.
async fn look(fail: bool) -> Result<SpanId, Refused> {
    tokio::task::yield_now().await;
    stage("model").in_scope_infallible(|| ());
    if fail { Err(Refused) } else { Ok(span_here()) }
}

#[test]
fn a_request_keeps_its_trace_through_the_buffer_and_tells_its_wait() {
    on_each_runtime(|runtime| {
        let test = TestTelemetry::new();
        let layers = BufferLayers::new(jobs(&test).limit(4).queue_wait_span(true).build());
        let asked = runtime.block_on(async {
            let called_in = |fail| {
                let called = span_here();
                async move {
                    let ran = look(fail).await?;
                    Ok::<_, Refused>((called, ran))
                }
            };
            let service = ServiceBuilder::new()
                .layer(layers.capture())
                .layer(BufferLayer::new(4))
                .layer(layers.restore())
                .service(service_fn(called_in));
            let request = stage("request").telemetry(&test.telemetry());
            let ask = async {
                let fine = service.clone().oneshot(false).await.unwrap();
                let error = service.clone().oneshot(true).await.unwrap_err();
                assert!(error.is::<Refused>());
                (span_here(), fine)
            };
            request.run_infallible(ask).await
        });
        let (here, (called, ran)) = asked;
        assert_eq!((called, ran), (here, here));
        assert_tree!(test.spans(), {
            "request" => ["queue_wait", "model", "queue_wait", "model"],
        });
        let spans = test.spans();
        let told = spans.named("request").double(ml::QUEUE_WAIT_DURATION);
        let measured = waits(&test).unwrap();
        assert_eq!(measured.count(), 2);
        assert!(told <= measured.sum());
    });
}

#[tokio::test]
async fn a_request_that_is_given_up_in_the_buffer_leaves_it() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).build();
    let layers = BufferLayers::new(queue.clone());
    let mut service = ServiceBuilder::new()
        .layer(layers.capture())
        .layer(BufferLayer::new(4))
        .layer(layers.restore())
        .service(service_fn(async |_: u8| Ok::<_, Refused>(())));
    let _caller = remote(1).attach();
    let waiting = service.ready().await.unwrap().call(1);
    assert_eq!(queue.size(), 1);
    drop(waiting);
    service.ready().await.unwrap().call(2).await.unwrap();
    assert_eq!((queue.size(), waits(&test).unwrap().count()), (0, 1));
}

/// Ready only when it is told to be; never cloned.
struct Busy<'a> {
    is_ready: &'a std::cell::Cell<bool>,
}

impl Service<Traced<u8>> for Busy<'_> {
    type Response = u8;
    type Error = Refused;
    type Future = std::future::Ready<Result<u8, Refused>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Refused>> {
        if self.is_ready.get() {
            std::task::Poll::Ready(Ok(()))
        } else {
            std::task::Poll::Pending
        }
    }

    fn call(&mut self, request: Traced<u8>) -> Self::Future {
        assert_eq!(
            request.context().span().span_context().span_id(),
            SpanId::from(SPAN_ID)
        );
        std::future::ready(Ok(request.open().item))
    }
}

#[test]
fn readiness_is_the_inner_services() {
    let test = TestTelemetry::new();
    let layers = BufferLayers::new(jobs(&test).build());
    let is_ready = std::cell::Cell::new(false);
    let mut service = layers.capture().layer(Busy {
        is_ready: &is_ready,
    });
    assert!(service.ready().now_or_never().is_none());
    is_ready.set(true);
    let _caller = remote(1).attach();
    let answer = service.ready().now_or_never().unwrap().unwrap().call(7);
    assert_eq!(answer.now_or_never(), Some(Ok(7)));
}

#[test]
fn the_inner_future_is_dropped_in_the_callers_context() {
    let test = TestTelemetry::new();
    let layers = BufferLayers::new(jobs(&test).build());
    let diary = Diary::default();
    let noting = diary.clone();
    let mut inside = layers.restore().layer(service_fn(move |()| {
        let noted = noting.drops();
        async move {
            let _noted = noted;
            pending::<()>().await;
            Ok::<_, Refused>(())
        }
    }));
    let traced = {
        let _caller = remote(1).attach();
        Traced::new(())
    };
    {
        let mut answer = pin!(inside.call(traced));
        assert!(answer.as_mut().now_or_never().is_none());
    }
    assert_eq!(diary.take(), [("dropped", SpanId::from(SPAN_ID))]);
    assert!(test.open_spans().is_empty());
}

#[tokio::test]
async fn the_wait_of_the_message_is_not_told_a_second_time_by_a_buffer_within() {
    let test = TestTelemetry::new();
    let layers = BufferLayers::new(jobs(&test).build());
    let consumer = OtelMlConsumerLayer::builder()
        .telemetry(test.telemetry())
        .build();
    let service = ServiceBuilder::new()
        .layer(consumer)
        .layer(layers.capture())
        .layer(BufferLayer::new(4))
        .layer(layers.restore())
        .service(service_fn(async |_: Envelope<u8>| {
            MlSpan::current()
                .set(ml::MESSAGE_ATTEMPT, 9)
                .set("kafka.offset", 9)
                .set("app.own", 9);
            Ok::<_, Refused>(())
        }));
    let sent = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
    let sent = sent.duration_since(std::time::UNIX_EPOCH).unwrap();
    let headers = [
        ("submitted_at_ms", sent.as_millis().to_string()),
        ("attempt", "2".to_owned()),
    ];
    let envelope = Envelope::from_headers(1, headers).received_from("redis", "work");
    service.oneshot(envelope).await.unwrap();
    let spans = test.spans();
    let process = spans.named("process work");
    let mut keys: Vec<_> = process.attributes.iter().map(|a| a.key.as_str()).collect();
    keys.sort_unstable();
    let all = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), all, "{:?}", process.attributes);
    assert!(process.double(ml::QUEUE_WAIT_DURATION) > 3000.0);
    assert_eq!(
        (process.int(ml::MESSAGE_ATTEMPT), process.int("app.own")),
        (2, 9)
    );
    assert!(
        !process.has("kafka.offset"),
        "that is the transport's to say"
    );
    assert_eq!(waits(&test).unwrap().count(), 1, "the buffer's own");
}
