//! E01, E11, E12, E14, E29: publishing, on plain channels and on those with confirms.

use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml::semconv::{error, messaging as keys, ml, rabbitmq};
use otel_ml_lapin::lapin::options::{BasicGetOptions, BasicPublishOptions, QueueDeclareOptions};
use otel_ml_lapin::lapin::types::{AMQPValue, FieldTable};
use otel_ml_lapin::lapin::{BasicProperties, Channel, Confirmation, Result};
use otel_ml_lapin::{Confirming, OtelMlProducer, otel_ml};
use otel_ml_testing::{SpanExt as _, TestTelemetry, assert_types};

use crate::support::{
    Broker, MODES, Mode, SAMPLED, long, producer, publish, publish_with, short, soon, table,
    telemetry,
};

/// The headers of the one message in a queue.
async fn headers_in(channel: &Channel, queue: &str) -> FieldTable {
    let options = BasicGetOptions { no_ack: true };
    let message = soon(channel.basic_get(short(queue), options))
        .await
        .unwrap();
    let message = message.expect("a message");
    message
        .delivery
        .properties
        .headers()
        .clone()
        .unwrap_or_default()
}

/// `x`, published there.
async fn published(
    producer: &OtelMlProducer,
    exchange: &str,
    key: &str,
    mandatory: bool,
) -> Result<Confirming> {
    let options = BasicPublishOptions {
        mandatory,
        ..BasicPublishOptions::default()
    };
    let properties = BasicProperties::default();
    let publishing = producer.basic_publish(short(exchange), short(key), options, b"x", properties);
    publishing.await
}

fn one_error(test: &TestTelemetry) -> (String, Option<bool>) {
    assert_eq!(test.open_spans(), [""; 0]);
    let spans = test.spans();
    let [span] = spans.as_slice() else {
        panic!("{} spans", spans.len());
    };
    assert!(span.is_error());
    let class = span.str(error::TYPE).to_owned();
    let metrics = test.metrics();
    let sent = metrics.sum("messaging.client.sent.messages").one().clone();
    let label = sent
        .labels()
        .iter()
        .find(|label| label.key.as_str() == error::TYPE);
    assert_eq!(label.unwrap().value.to_string(), class);
    let duration = metrics.histogram("messaging.client.operation.duration");
    assert_eq!(duration.one().count(), 1);
    let is_transient = span
        .has(ml::ERROR_TRANSIENT)
        .then(|| span.bool(ml::ERROR_TRANSIENT));
    (class, is_transient)
}

#[tokio::test]
async fn e01_a_publishing_is_one_span_and_carries_its_context() {
    let broker = Broker::new().await;
    for mode in MODES {
        let test = TestTelemetry::new();
        let channel = broker.channel(mode).await;
        let queue = broker.queue(&channel, FieldTable::default()).await;
        let mut nested = FieldTable::default();
        nested.insert(short("inner"), AMQPValue::LongLongInt(7));
        let kept = [
            ("app", long("value")),
            ("bytes", AMQPValue::ByteArray(vec![0, 255].into())),
            ("nested", AMQPValue::FieldTable(nested)),
            ("void", AMQPValue::Void),
        ];
        let mut headers = table(&kept);
        for stale in [
            "traceparent",
            "TraceParent",
            "tracestate",
            "Baggage",
            "otel-ml-sent-at",
        ] {
            headers.insert(short(stale), long(SAMPLED));
        }
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_message_id(short("message-1"))
            .with_correlation_id(short("conversation-1"));
        publish_with(&producer(&test, &channel), &queue, properties).await;
        assert_eq!(test.open_spans(), [""; 0]);
        let spans = test.spans();
        assert_types(&spans);
        let [span] = spans.as_slice() else {
            panic!("{} spans", spans.len());
        };
        assert_eq!(span.name, format!("publish {queue}"));
        assert_eq!(span.span_kind, SpanKind::Producer);
        assert!(!span.is_error(), "{mode:?}");
        for (key, value) in [
            (keys::SYSTEM_NAME, "rabbitmq"),
            (keys::OPERATION_NAME, "publish"),
            (keys::OPERATION_TYPE, "send"),
            (keys::DESTINATION_NAME, queue.as_str()),
            (rabbitmq::DESTINATION_ROUTING_KEY, queue.as_str()),
            (keys::MESSAGE_ID, "message-1"),
            (keys::MESSAGE_CONVERSATION_ID, "conversation-1"),
        ] {
            assert_eq!(span.str(key), value, "{key}");
        }
        assert!(!span.has(keys::MESSAGE_BODY_SIZE));
        let context = &span.span_context;
        let own = format!("00-{}-{}-01", context.trace_id(), context.span_id());
        let mut expected = table(&kept);
        expected.insert(short("traceparent"), long(&own));
        assert_eq!(headers_in(&channel, &queue).await, expected);
        let metrics = test.metrics();
        assert_eq!(metrics.sum("messaging.client.sent.messages").int(), 1);
        let duration = metrics.histogram("messaging.client.operation.duration");
        assert_eq!(duration.one().count(), 1);
    }
}

#[tokio::test]
async fn e11_the_span_ends_with_the_brokers_answer_or_without_confirms_with_the_call() {
    let broker = Broker::new().await;
    for mode in MODES {
        let test = TestTelemetry::new();
        let channel = broker.channel(mode).await;
        let queue = broker.queue(&channel, FieldTable::default()).await;
        let producer = producer(&test, &channel);
        let publishing = published(&producer, "", &queue, false);
        let confirming = soon(publishing).await.unwrap();
        let open = test.open_spans().len();
        assert_eq!(open, usize::from(mode == Mode::Confirm));
        let answer = soon(confirming).await.unwrap();
        assert_eq!(answer.is_ack(), mode == Mode::Confirm);
        assert_eq!(test.open_spans(), [""; 0]);
        assert!(!test.spans()[0].is_error());
    }
}

#[tokio::test]
async fn e11_a_message_that_nobody_takes_is_an_error() {
    let broker = Broker::new().await;
    let test = TestTelemetry::new();
    let channel = broker.channel(Mode::Confirm).await;
    let producer = producer(&test, &channel);
    let publishing = published(&producer, "amq.direct", "nobody", true);
    let confirming = soon(publishing).await.unwrap();
    // As the channel answers it, the message included.
    let Confirmation::Ack(Some(returned)) = soon(confirming).await.unwrap() else {
        panic!("it comes back");
    };
    assert_eq!(
        (returned.reply_code, returned.data.as_slice()),
        (312, b"x".as_slice())
    );
    assert_eq!(one_error(&test), ("NO_ROUTE".to_owned(), Some(false)));
    assert_eq!(test.spans()[0].name, "publish amq.direct:nobody");
}

#[tokio::test]
async fn e11_a_message_that_the_broker_refuses_is_an_error() {
    let broker = Broker::new().await;
    let test = TestTelemetry::new();
    let channel = broker.channel(Mode::Confirm).await;
    let arguments = table(&[
        ("x-max-length", AMQPValue::LongInt(1)),
        ("x-overflow", long("reject-publish")),
    ]);
    let queue = broker.queue(&channel, arguments).await;
    let bare = TestTelemetry::new();
    publish(&producer(&bare, &channel), &queue).await;
    let producer = producer(&test, &channel);
    let publishing = published(&producer, "", &queue, false);
    let answer = soon(soon(publishing).await.unwrap()).await.unwrap();
    assert!(answer.is_nack());
    assert_eq!(one_error(&test), ("nack".to_owned(), Some(true)));
}

#[tokio::test]
async fn e12_publishing_to_a_channel_that_is_closed_is_an_error() {
    let broker = Broker::new().await;
    for mode in MODES {
        let test = TestTelemetry::new();
        let channel = broker.channel(mode).await;
        soon(channel.close(200, short("done"))).await.unwrap();
        let producer = producer(&test, &channel);
        let publishing = published(&producer, "", "q", false);
        soon(publishing).await.unwrap_err();
        assert_eq!(
            one_error(&test),
            ("InvalidChannelState".to_owned(), Some(true))
        );
    }
}

#[tokio::test]
async fn e11_a_channel_that_the_broker_closes_ends_what_waits_for_its_answer() {
    let broker = Broker::new().await;
    let test = TestTelemetry::new();
    let channel = broker.channel(Mode::Confirm).await;
    let producer = producer(&test, &channel);
    let publishing = published(&producer, "no such exchange", "q", false);
    let confirming = soon(publishing).await.unwrap();
    soon(confirming).await.unwrap_err();
    assert_eq!(one_error(&test), ("NOT_FOUND".to_owned(), Some(false)));
}

#[tokio::test]
async fn e11_an_answer_that_is_dropped_while_it_is_awaited_is_cancelled() {
    let (broker, between) = Broker::through_a_proxy().await;
    let test = TestTelemetry::new();
    let channel = broker.channel(Mode::Confirm).await;
    let queue = broker.queue(&channel, FieldTable::default()).await;
    let producer = producer(&test, &channel);
    between.hold();
    let publishing = published(&producer, "", &queue, false);
    let mut confirming = Box::pin(soon(publishing).await.unwrap());
    assert!(futures_util::poll!(confirming.as_mut()).is_pending());
    drop(confirming);
    assert_eq!(test.spans()[0].str(ml::CANCEL_REASON), "dropped");
    assert_eq!(one_error(&test).0, "cancelled");
}

#[tokio::test]
async fn e11_a_connection_that_breaks_ends_what_waits_for_its_answer() {
    let (broker, between) = Broker::through_a_proxy().await;
    let test = TestTelemetry::new();
    let channel = broker.channel(Mode::Confirm).await;
    let queue = broker.queue(&channel, FieldTable::default()).await;
    let producer = producer(&test, &channel);
    between.hold();
    let publishing = published(&producer, "", &queue, false);
    let confirming = soon(publishing).await.unwrap();
    between.cut();
    soon(confirming).await.unwrap_err();
    assert_eq!(one_error(&test), ("IOError".to_owned(), Some(true)));
}

#[tokio::test]
async fn an_answer_that_nobody_awaits_is_left_to_the_channel() {
    let broker = Broker::new().await;
    let test = TestTelemetry::new();
    let channel = broker.channel(Mode::Confirm).await;
    let producer = producer(&test, &channel);
    for _ in 0..3 {
        let publishing = published(&producer, "", "nobody", true);
        drop(soon(publishing).await.unwrap());
    }
    assert_eq!(test.open_spans(), [""; 0]);
    assert!(test.spans().iter().all(|span| !span.is_error()));
    // As without us: all that came back is there.
    let returned = soon(producer.wait_for_confirms()).await.unwrap();
    assert_eq!(returned.len(), 3);
}

#[tokio::test]
async fn e14_generated_names_are_in_no_name_and_no_label() {
    for mode in MODES {
        let broker = Broker::new().await;
        let test = TestTelemetry::new();
        let channel = broker.channel(mode).await;
        let options = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let declaring = channel.queue_declare(short(""), options, FieldTable::default());
        let queue = soon(declaring).await.unwrap().name().as_str().to_owned();
        assert!(queue.starts_with("amq.gen-"));
        publish(&producer(&test, &channel), &queue).await;
        let span = &test.spans()[0];
        assert_eq!(span.name, "publish");
        assert_eq!(span.str(keys::DESTINATION_NAME), queue);
        assert!(span.bool(keys::DESTINATION_ANONYMOUS));
        let metrics = test.metrics();
        let sent = metrics.sum("messaging.client.sent.messages").one().clone();
        assert!(
            sent.labels()
                .iter()
                .all(|label| !label.value.to_string().contains("amq.gen-"))
        );
    }
}

#[tokio::test]
async fn a_template_names_destinations_whose_names_hold_ids() {
    let broker = Broker::new().await;
    let test = TestTelemetry::new();
    let channel = broker.channel(Mode::Confirm).await;
    let queue = broker.queue(&channel, FieldTable::default()).await;
    let builder = OtelMlProducer::builder()
        .telemetry(telemetry(&test))
        .client_id("client-1")
        .server("localhost", 5672)
        .destination_template(|message| {
            message
                .routing_key
                .starts_with("otel-ml-queue")
                .then_some("otel-ml-queue-{id}")
        });
    publish(&builder.wrap(channel.clone()), &queue).await;
    let span = &test.spans()[0];
    assert_eq!(span.name, "publish otel-ml-queue-{id}");
    assert_eq!(span.str(keys::DESTINATION_TEMPLATE), "otel-ml-queue-{id}");
    assert_eq!(span.str(keys::DESTINATION_NAME), queue);
    assert_eq!(span.str(keys::CLIENT_ID), "client-1");
    assert_eq!(span.str("server.address"), "localhost");
    assert_eq!(span.int("server.port"), 5672);
    let metrics = test.metrics();
    let sent = metrics.sum("messaging.client.sent.messages").one().clone();
    assert!(
        sent.labels()
            .iter()
            .all(|label| !label.value.to_string().contains(&queue))
    );
}

#[tokio::test]
async fn e29_odd_and_long_headers_pass_through() {
    for mode in MODES {
        let broker = Broker::new().await;
        let test = TestTelemetry::new();
        let channel = broker.channel(mode).await;
        let queue = broker.queue(&channel, FieldTable::default()).await;
        let kept = [
            ("k".repeat(255), long(&"v".repeat(5_000))),
            ("empty".to_owned(), long("")),
            (
                "array".to_owned(),
                AMQPValue::FieldArray(vec![AMQPValue::Void, long("x")].into()),
            ),
            ("double".to_owned(), AMQPValue::Double(0.5)),
        ];
        let kept: Vec<_> = kept
            .iter()
            .map(|(key, value)| (key.as_str(), value.clone()))
            .collect();
        let mut headers = table(&kept);
        headers.insert(short("TRACEPARENT"), AMQPValue::Boolean(true));
        headers.insert(short("tracestate"), AMQPValue::FieldTable(table(&kept)));
        let properties = BasicProperties::default().with_headers(headers);
        publish_with(&producer(&test, &channel), &queue, properties).await;
        let mut arrived = headers_in(&channel, &queue).await;
        let is_ours = |name: &str| name.eq_ignore_ascii_case("traceparent");
        let ours = arrived
            .inner()
            .keys()
            .filter(|name| is_ours(name.as_str()))
            .count();
        assert_eq!(ours, 1);
        let own = arrived.inner()["traceparent"].clone();
        let mut expected = table(&kept);
        expected.insert(short("traceparent"), own);
        assert_eq!(arrived, expected);
        arrived.insert(short("x"), AMQPValue::Void);
    }
}
