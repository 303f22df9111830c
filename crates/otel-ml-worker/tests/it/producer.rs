//! Sending envelopes.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

use futures_util::FutureExt;
use otel_ml::opentelemetry::trace::{SpanId, TraceContextExt};
use otel_ml::semconv::{error, messaging, ml};
use otel_ml::{OtelMlConsumerLayer, Telemetry, stage};
use otel_ml_testing::{SpansExt, TestTelemetry, assert_ended_once, assert_tree};
use otel_ml_worker::{Envelope, OtelMlProducer};
use tower::{Layer, Service, service_fn};

use crate::support::{Diary, Refused, SPAN_ID, in_request, remote, span_here};

fn producer(test: &TestTelemetry) -> OtelMlProducer {
    OtelMlProducer::new("redis", "jobs").telemetry(test.telemetry())
}

fn parent(envelope: &Envelope<u8>, telemetry: &Telemetry) -> SpanId {
    envelope.context(telemetry).span().span_context().span_id()
}

#[tokio::test]
async fn a_job_is_followed_from_the_request_through_the_queue_to_its_work() {
    let test = TestTelemetry::new();
    let mut list = Vec::new();
    let request = stage("request").telemetry(&test.telemetry());
    let send = async {
        let push = async |envelope: Envelope<u8>| {
            stage("LPUSH").in_scope_infallible(|| list.push(envelope.to_json().unwrap()));
            Ok::<_, Refused>(())
        };
        producer(&test).send(7, push).await.unwrap();
    };
    request.run_infallible(send).await;
    let layer = OtelMlConsumerLayer::builder()
        .telemetry(test.telemetry())
        .build();
    let mut worker = layer.layer(service_fn(async |_: Envelope<u8>| Ok::<_, Refused>(())));
    let envelope = Envelope::from_json(&list[0])
        .unwrap()
        .received_from("redis", "jobs");
    worker.call(envelope).await.unwrap();
    assert_tree!(test.spans(), {
        "request" => [
            "send jobs" [producer, unset] {
                (messaging::SYSTEM_NAME) = "redis",
                (messaging::OPERATION_TYPE) = "send",
            } => ["LPUSH", "process jobs" [consumer]],
        ],
    });
    let sent = messaging::metric::CLIENT_SENT_MESSAGES;
    assert_eq!(test.metrics().sum(sent.name).int(), 1);
}

#[test]
fn clients_that_block_are_traced_in_the_same_way() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let sent = producer(&test).send_blocking(7, |envelope| {
        assert_eq!(parent(&envelope, &telemetry), span_here());
        Ok::<_, Refused>(envelope.payload)
    });
    assert_eq!(sent, Ok(7));
    let failed = producer(&test).send_blocking(7, |_| Err::<(), _>(Refused));
    assert_eq!(failed, Err(Refused));
    assert_tree!(test.spans(), {
        "send jobs" [producer, unset],
        "send jobs" [producer, error] { (error::TYPE) = "Refused" },
    });
}

#[test]
fn e11_a_sending_that_fails_panics_or_is_given_up_ends_its_span() {
    let test = TestTelemetry::new();
    let producer = producer(&test);
    let failed = producer
        .send(1, async |_| Err::<(), _>(Refused))
        .now_or_never();
    assert_eq!(failed, Some(Err(Refused)));
    let panicking = producer.send(1, async |_| -> Result<(), Refused> { panic!("on purpose") });
    assert!(catch_unwind(AssertUnwindSafe(|| panicking.now_or_never())).is_err());
    {
        let mut given_up = pin!(producer.send(1, async |_| {
            pending::<()>().await;
            Ok::<_, Refused>(())
        }));
        assert!(given_up.as_mut().now_or_never().is_none());
    }
    assert_ended_once(&test.spans());
    assert_tree!(test.spans(), {
        "send jobs" [error] { (error::TYPE) = "Refused" },
        "send jobs" [error] { (error::TYPE) = "panic" },
        "send jobs" [error] { (error::TYPE) = "cancelled", (ml::CANCEL_REASON) = "dropped" },
    });
}

#[test]
fn a_job_sent_once_more_keeps_its_first_sender_and_counts() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let first = in_request(&test, || Envelope::from_context(7, &remote(1), &telemetry));
    let before = first.submitted();
    let producer = producer(&test);
    let again = producer.resend(first, async |envelope| Ok::<_, Refused>(envelope));
    let again = again.now_or_never().unwrap().unwrap();
    assert_eq!(
        (again.attempt(), parent(&again, &telemetry)),
        (2, SpanId::from(SPAN_ID))
    );
    assert!(again.submitted() >= before);
    let spans = test.spans();
    let send = spans.named("send jobs");
    assert_eq!(
        send.span_kind,
        otel_ml::opentelemetry::trace::SpanKind::Client
    );
    assert_eq!(
        send.links.links[0].span_context.span_id(),
        SpanId::from(SPAN_ID)
    );
}

#[test]
fn e23_where_nothing_is_recorded_the_current_context_is_sent() {
    let off = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build();
    let unsampled = TestTelemetry::builder().parent_based_always_off().build();
    for telemetry in [off, unsampled.telemetry()] {
        let producer = OtelMlProducer::new("redis", "jobs").telemetry(telemetry.clone());
        let _here = remote(0).attach();
        let envelope = producer.send_blocking(1, Ok::<_, Refused>).unwrap();
        assert_eq!(parent(&envelope, &telemetry), SpanId::from(SPAN_ID));
    }
    assert!(unsampled.spans().is_empty());
}

#[test]
fn what_was_to_put_it_there_is_dropped_in_the_sending() {
    let test = TestTelemetry::new();
    let diary = Diary::default();
    let producer = producer(&test);
    let wait_for_ever = |_: Envelope<u8>| {
        let noted = diary.drops();
        async move {
            let _noted = noted;
            pending::<Result<(), Refused>>().await
        }
    };
    assert!(producer.send(7, wait_for_ever).now_or_never().is_none());
    let again = producer.resend(Envelope::new(7), wait_for_ever);
    assert!(again.now_or_never().is_none());
    let spans = test.spans();
    assert_ended_once(&spans);
    let ids = spans.all_named("send jobs");
    let expected: Vec<_> = ids
        .iter()
        .map(|span| ("dropped", span.span_context.span_id()))
        .collect();
    assert_eq!((expected.len(), diary.take()), (2, expected));
}
