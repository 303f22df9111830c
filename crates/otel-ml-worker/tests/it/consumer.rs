//! The consumer layer over a service of envelopes.

use std::time::Duration;

use otel_ml::opentelemetry::KeyValue;
use otel_ml::opentelemetry::trace::{SpanId, SpanKind, TraceId};
use otel_ml::semconv::{error, messaging, ml};
use otel_ml::{MlSpan, OtelMlConsumerLayer, ParentPolicy, stage};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_tree};
use otel_ml_worker::Envelope;
use tower::{Layer, Service, service_fn};

use crate::support::{Refused, SPAN_ID, TRACE_ID, remote};

/// An envelope from elsewhere, as it comes off the wire, sent so many seconds ago.
fn received(age: u64, attempt: u32) -> Envelope<u8> {
    let sent = std::time::SystemTime::now() - Duration::from_secs(age);
    let sent = sent
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let json = format!(
        r#"{{"traceparent": "00-{TRACE_ID:032x}-{SPAN_ID:016x}-03",
             "submitted_at_ms": {sent}, "attempt": {attempt}, "payload": 7}}"#
    );
    let envelope = Envelope::from_json(json.as_bytes()).unwrap();
    envelope.received_from("redis", "jobs")
}

async fn work_on(test: &TestTelemetry, envelope: Envelope<u8>) -> Result<u8, Refused> {
    let layer = OtelMlConsumerLayer::builder()
        .telemetry(test.telemetry())
        .queue_wait_span(true)
        .stale_after(Duration::from_secs(600))
        .build();
    let mut service = layer.layer(service_fn(|envelope: Envelope<u8>| async move {
        MlSpan::current().model("fraud");
        stage("score").in_scope_infallible(|| ());
        if envelope.payload == 7 {
            Ok(8)
        } else {
            Err(Refused)
        }
    }));
    service.call(envelope).await
}

#[tokio::test]
async fn a_job_from_elsewhere_is_part_of_its_senders_trace() {
    let test = TestTelemetry::new();
    assert_eq!(work_on(&test, received(5, 1)).await, Ok(8));
    let spans = test.spans();
    assert_tree!(spans, {
        "process jobs" [consumer, unset] {
            (messaging::SYSTEM_NAME) = "redis",
            (messaging::DESTINATION_NAME) = "jobs",
            (ml::MODEL_NAME) = "fraud",
        } => ["queue_wait", "score"],
    });
    let process = spans.named("process jobs");
    assert_eq!(process.span_kind, SpanKind::Consumer);
    assert_eq!(process.span_context.trace_id(), TraceId::from(TRACE_ID));
    assert_eq!(process.parent_span_id, SpanId::from(SPAN_ID));
    assert_eq!(process.links.links.len(), 1);
    let wait = process.double(ml::QUEUE_WAIT_DURATION);
    assert!((4.9..60.0).contains(&wait), "{wait}");
    let metrics = test.metrics();
    let waits = metrics
        .histogram(ml::metric::QUEUE_WAIT_DURATION.name)
        .one();
    let labels = [
        KeyValue::new(ml::QUEUE_NAME, "jobs"),
        KeyValue::new(ml::QUEUE_SYSTEM, "redis"),
    ];
    assert_eq!(waits.labels(), labels);
    assert_eq!((waits.count(), waits.sum()), (1, wait));
}

#[tokio::test]
async fn a_job_that_fails_says_so() {
    let test = TestTelemetry::new();
    let envelope = received(5, 1).map(|_| 1);
    assert_eq!(work_on(&test, envelope).await, Err(Refused));
    let spans = test.spans();
    assert_eq!(spans.named("process jobs").str(error::TYPE), "Refused");
}

#[tokio::test]
async fn a_later_attempt_and_one_over_age_are_traces_of_their_own_with_a_link() {
    for (age, attempt) in [(5, 2), (700, 1)] {
        let test = TestTelemetry::new();
        work_on(&test, received(age, attempt)).await.unwrap();
        let spans = test.spans();
        let process = spans.named("process jobs");
        assert_ne!(process.span_context.trace_id(), TraceId::from(TRACE_ID));
        assert_eq!(process.parent_span_id, SpanId::INVALID);
        let link = &process.links.links[0].span_context;
        assert_eq!(
            (link.trace_id(), link.span_id()),
            (TraceId::from(TRACE_ID), SpanId::from(SPAN_ID))
        );
        assert_eq!(process.has(ml::MESSAGE_ATTEMPT), attempt == 2);
        let is_stale = test.metrics().has(ml::metric::PROPAGATION_ANOMALIES.name);
        assert_eq!(is_stale, age == 700);
        if is_stale {
            let metrics = test.metrics();
            let anomalies = metrics.sum(ml::metric::PROPAGATION_ANOMALIES.name);
            let stale = anomalies.with(ml::PROPAGATION_ANOMALY, "stale");
            assert_eq!(stale.with(ml::PROPAGATION_TRANSPORT, "task").int(), 1);
        }
    }
}

#[tokio::test]
async fn the_parent_policy_of_the_layer_counts() {
    let test = TestTelemetry::new();
    let layer = OtelMlConsumerLayer::builder()
        .telemetry(test.telemetry())
        .on_redelivery(ParentPolicy::Child)
        .build();
    let mut service = layer.layer(service_fn(async |_: Envelope<u8>| Ok::<_, Refused>(())));
    service.call(received(5, 3)).await.unwrap();
    // Without a queue's name the span is named by what is done, and the system is `task`.
    let unnamed = Envelope::from_context(1, &remote(1), &test.telemetry());
    service.call(unnamed).await.unwrap();
    let spans = test.spans();
    let attempt = spans.named("process jobs");
    assert_eq!(
        (attempt.parent_span_id, attempt.int(ml::MESSAGE_ATTEMPT)),
        (SpanId::from(SPAN_ID), 3)
    );
    assert_eq!(spans.named("process").str(messaging::SYSTEM_NAME), "task");
}

#[tokio::test]
async fn a_malformed_parent_is_counted_and_a_new_trace_starts() {
    let test = TestTelemetry::new();
    let json = br#"{"traceparent": "00-xyz", "payload": 7}"#;
    let envelope = Envelope::from_json(json)
        .unwrap()
        .received_from("redis", "jobs");
    work_on(&test, envelope).await.unwrap();
    assert_eq!(
        test.spans().named("process jobs").parent_span_id,
        SpanId::INVALID
    );
    let metrics = test.metrics();
    let anomalies = metrics.sum(ml::metric::PROPAGATION_ANOMALIES.name);
    let anomalies = anomalies.with(ml::PROPAGATION_TRANSPORT, "task");
    assert_eq!(
        anomalies.with(ml::PROPAGATION_ANOMALY, "malformed").int(),
        1
    );
}
