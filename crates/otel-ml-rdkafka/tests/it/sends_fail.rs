//! E11: sends that come to nothing.

use std::time::Duration;

use otel_ml::semconv::{error, kafka, ml};
use otel_ml::{CancelReason, ErrorType};
use otel_ml_rdkafka::{OtelMlProducer, error_type, otel_ml};
use otel_ml_testing::{SpanExt as _, TestTelemetry};

use crate::support::rdkafka::ClientConfig;
use crate::support::rdkafka::error::{KafkaError, RDKafkaErrorCode};
use crate::support::rdkafka::message::ToBytes;
use crate::support::rdkafka::producer::{Producer as _, PurgeConfig};
use crate::support::rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use crate::support::{Broker, LONG, record, send, soon, telemetry};

/// Nobody answers there.
fn nowhere() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", "127.0.0.1:1");
    config
}

fn producer(test: &TestTelemetry, config: &ClientConfig) -> OtelMlProducer {
    let builder = OtelMlProducer::builder().telemetry(telemetry(test));
    builder.create(config).unwrap()
}

/// The one span and the one count say so; how is told on the span.
fn assert_failed(test: &TestTelemetry, class: &str, is_transient: Option<bool>) {
    assert_eq!(test.open_spans(), [""; 0]);
    let spans = test.spans();
    let [span] = spans.as_slice() else {
        panic!("{} spans", spans.len());
    };
    assert!(span.is_error());
    assert_eq!(span.str(error::TYPE), class);
    let told = span
        .has(ml::ERROR_TRANSIENT)
        .then(|| span.bool(ml::ERROR_TRANSIENT));
    assert_eq!(told, is_transient);
    let metrics = test.metrics();
    let sent = metrics.sum("messaging.client.sent.messages").one().clone();
    let mut labels = sent.labels().iter();
    let label = labels
        .find(|label| label.key.as_str() == error::TYPE)
        .unwrap();
    assert_eq!(label.value.to_string(), class);
    assert_eq!(
        metrics
            .histogram("messaging.client.operation.duration")
            .one()
            .count(),
        1
    );
}

#[tokio::test]
async fn e11_an_error_of_the_brokers_ends_the_send() {
    let test = TestTelemetry::new();
    let broker = Broker::mock();
    let topic = broker.topic(1).await;
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker
        .as_mock()
        .request_errors(RDKafkaApiKey::Produce, &[refusal]);
    let failed = send(&broker.producer(&test), record(&topic)).await;
    let (error, message) = failed.unwrap_err();
    assert_eq!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::TopicAuthorizationFailed)
    );
    assert!(message.headers().is_some());
    assert_failed(&test, "TopicAuthorizationFailed", Some(false));
}

use crate::support::rdkafka::message::Message as _;

#[tokio::test]
async fn e11_no_answer_in_time_ends_the_send() {
    let test = TestTelemetry::new();
    let mut config = nowhere();
    config.set("message.timeout.ms", "100");
    send(&producer(&test, &config), record("topic"))
        .await
        .unwrap_err();
    assert_failed(&test, "MessageTimedOut", Some(true));
}

#[tokio::test]
async fn e11_a_full_queue_ends_the_send() {
    let test = TestTelemetry::new();
    let mut config = nowhere();
    config.set("queue.buffering.max.messages", "1");
    let other = TestTelemetry::new();
    let filling = producer(&other, &config);
    let builder = OtelMlProducer::builder().telemetry(telemetry(&test));
    let full = builder.wrap(filling.get_ref().clone());
    let waiting = filling
        .send_result(record("topic"))
        .map_err(|(error, _)| error)
        .unwrap();
    soon(full.send(record("topic"), Duration::ZERO))
        .await
        .unwrap_err();
    assert_failed(&test, "QueueFull", Some(true));
    test.reset();
    let (error, record) = full.send_result(record("topic")).unwrap_err();
    assert_eq!(
        error,
        KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
    );
    assert_eq!(record.payload, Some(b"payload".as_slice()));
    assert_eq!(test.spans().len(), 1);
    drop(waiting);
}

#[tokio::test]
async fn e11_a_message_that_is_refused_at_once_ends_the_send() {
    let test = TestTelemetry::new();
    let mut config = nowhere();
    config.set("message.max.bytes", "1000");
    let large = vec![0; 2000];
    send(&producer(&test, &config), record("topic").payload(&large))
        .await
        .unwrap_err();
    assert_failed(&test, "MessageSizeTooLarge", Some(false));
}

#[tokio::test]
async fn e11_a_purged_message_ends_the_send() {
    let test = TestTelemetry::new();
    let producer = producer(&test, &nowhere());
    let delivering = producer
        .send_result(record("topic"))
        .map_err(|(error, _)| error)
        .unwrap();
    producer.purge(PurgeConfig::default().queue().inflight());
    soon(delivering).await.unwrap().unwrap_err();
    assert_failed(&test, "PurgeQueue", Some(false));
}

/// Before the answer: rdkafka purges what is left.
#[tokio::test]
async fn e11_a_producer_that_is_dropped_ends_the_send() {
    let test = TestTelemetry::new();
    let producer = producer(&test, &nowhere());
    let delivering = producer
        .send_result(record("topic"))
        .map_err(|(error, _)| error)
        .unwrap();
    drop(producer);
    let answer = soon(delivering).await;
    let class = match answer {
        Ok(answer) => {
            answer.unwrap_err();
            "PurgeQueue"
        }
        Err(_) => "Canceled",
    };
    let transient = (class == "PurgeQueue").then_some(false);
    assert_failed(&test, class, transient);
}

#[tokio::test]
async fn e11_a_delivery_that_nobody_waits_for_ends_as_cancelled() {
    let test = TestTelemetry::new();
    let producer = producer(&test, &nowhere());
    drop(
        producer
            .send_result(record("topic"))
            .map_err(|(error, _)| error)
            .unwrap(),
    );
    assert_failed(&test, "cancelled", None);
    let reason = test.take_spans()[0].str(ml::CANCEL_REASON).to_owned();
    assert_eq!(reason, CancelReason::Dropped.as_str());
    let waited = tokio::time::timeout(
        Duration::from_millis(1),
        producer.send(record("topic"), LONG),
    );
    waited.await.unwrap_err();
    assert_eq!(test.open_spans(), [""; 0]);
    assert_eq!(test.spans()[0].str(ml::CANCEL_REASON), reason);
    // One that is never polled never was.
    test.reset();
    drop(producer.send(record("topic"), LONG));
    assert!(test.spans().is_empty());
}

/// What is known is told, though nobody asked for it.
#[tokio::test]
async fn e11_a_delivery_whose_answer_is_there_ends_with_it_though_dropped() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let stored = broker.producer(&test);
    let delivering = stored.send_result(record(&topic));
    let delivering = delivering.map_err(|(error, _)| error).unwrap();
    stored.flush(LONG).unwrap();
    drop(delivering);
    let span = test.take_spans().remove(0);
    assert!(!span.has(error::TYPE));
    assert_eq!(span.int(kafka::OFFSET), 0);

    let test = TestTelemetry::new();
    let purged = producer(&test, &nowhere());
    let delivering = purged.send_result(record("topic"));
    let delivering = delivering.map_err(|(error, _)| error).unwrap();
    purged.purge(PurgeConfig::default().queue().inflight());
    purged.flush(LONG).unwrap();
    drop(delivering);
    assert_failed(&test, "PurgeQueue", Some(false));
}

#[test]
fn e11_errors_have_the_names_of_their_codes() {
    use RDKafkaErrorCode as Code;
    let named = [
        (Code::ProducerFenced, "ProducerFenced"),
        (Code::InvalidTransactionalState, "InvalidTransactionalState"),
        (
            Code::TransactionalIdAuthorizationFailed,
            "TransactionalIdAuthorizationFailed",
        ),
        (Code::UnknownProducerId, "UnknownProducerId"),
        (Code::SaslAuthenticationFailed, "SaslAuthenticationFailed"),
        (Code::ThrottlingQuotaExceeded, "ThrottlingQuotaExceeded"),
        (Code::KafkaStorageError, "KafkaStorageError"),
        (Code::FencedInstanceId, "FencedInstanceId"),
        (Code::FencedLeaderEpoch, "FencedLeaderEpoch"),
        (Code::StaleMemberEpoch, "StaleMemberEpoch"),
        (Code::InvalidRecord, "InvalidRecord"),
        (Code::DelegationTokenExpired, "_OTHER"),
    ];
    for (code, name) in named {
        let error = KafkaError::MessageProduction(code);
        assert_eq!(error_type(&error).as_str(), name);
    }
    assert_eq!(error_type(&KafkaError::Canceled).as_str(), "Canceled");
}

#[tokio::test]
async fn errors_are_told_apart_by_the_application_first() {
    let test = TestTelemetry::new();
    let mut config = nowhere();
    config.set("message.timeout.ms", "100");
    let builder = OtelMlProducer::builder().telemetry(telemetry(&test));
    let builder = builder.classify_errors(|error| {
        let error: &KafkaError = error.downcast_ref()?;
        let is_late = error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut);
        is_late.then(|| ErrorType::new("late"))
    });
    let producer: OtelMlProducer = builder.create(&config).unwrap();
    send(&producer, record("topic")).await.unwrap_err();
    assert_failed(&test, "late", Some(true));
}

/// A payload whose bytes can't be had the second time.
struct Fickle(std::cell::Cell<bool>);

impl ToBytes for Fickle {
    fn to_bytes(&self) -> &[u8] {
        assert!(!self.0.replace(true), "on purpose");
        b"bytes"
    }
}

#[tokio::test]
async fn e15_a_panic_of_the_applications_own_ends_the_send_and_goes_on() {
    let test = TestTelemetry::new();
    let producer = producer(&test, &nowhere());
    let payload = Fickle(std::cell::Cell::new(false));
    let record =
        crate::support::rdkafka::producer::FutureRecord::<str, _>::to("topic").payload(&payload);
    let send = std::panic::AssertUnwindSafe(producer.send(record, LONG));
    futures_util::FutureExt::catch_unwind(send)
        .await
        .unwrap_err();
    assert_failed(&test, "panic", None);
}
