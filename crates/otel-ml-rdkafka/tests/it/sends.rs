//! What is sent, and recorded of it.

use otel_ml::opentelemetry::trace::{SpanKind, TraceContextExt as _};
use otel_ml::semconv::{kafka, messaging as keys, ml};
use otel_ml::{Attributes, Detail, stage};
use otel_ml_rdkafka::carrier::{HeadersExtractor, SENT_AT};
use otel_ml_rdkafka::{OtelMlProducer, Outgoing, otel_ml};
use otel_ml_testing::{
    SpanExt as _, SpansExt as _, TestTelemetry, assert_tree, assert_types, span,
};

use crate::support::rdkafka::ClientConfig;
use crate::support::rdkafka::message::Message as _;
use crate::support::rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use crate::support::{
    Broker, LONG, SAMPLED, owned, pair, pairs, record, recv, send, soon, telemetry,
};

#[tokio::test]
async fn a_message_carries_the_span_that_sent_it() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let producer = broker.producer(&test);
    let consumer = broker.consumer(&test, &topic);
    let around = stage("around").telemetry(&telemetry(&test));
    let stored = around.run(async {
        let headers = owned(&[
            pair("app", "kept"),
            pair("TraceParent", "junk"),
            ("null".into(), None),
        ]);
        let record = record(&topic).key("user-7").headers(headers);
        send(&producer, record).await.map_err(|(error, _)| error)
    });
    let stored = stored.await.unwrap();
    let received = recv(&consumer).await;
    let spans = test.spans();
    assert_tree!(spans, {
        "around" => [(format!("send {topic}"))],
    });
    assert_types(&spans);
    let sent = spans.named(&format!("send {topic}"));
    assert_eq!(sent.span_kind, SpanKind::Producer);
    let expected = [
        (keys::SYSTEM_NAME, "kafka"),
        (keys::OPERATION_NAME, "send"),
        (keys::OPERATION_TYPE, "send"),
        (keys::DESTINATION_NAME, topic.as_str()),
        (keys::DESTINATION_PARTITION_ID, "0"),
        (keys::CLIENT_ID, "client-1"),
    ];
    for (key, value) in expected {
        assert_eq!(sent.str(key), value, "{key}");
    }
    assert_eq!(sent.int(kafka::OFFSET), stored.offset);
    // Neither key nor payload, nor what is only there when true.
    assert_eq!(sent.attributes.len(), expected.len() + 1);
    let headers = pairs(received.headers().unwrap());
    assert_eq!(headers[..2], [pair("app", "kept"), ("null".into(), None)]);
    assert_eq!(headers.len(), 3);
    assert_eq!(headers[2].0, "traceparent");
    let sender = received.sender().span().span_context().clone();
    assert_eq!(sender.span_id(), sent.span_context.span_id());
    assert_eq!(
        sender.trace_id(),
        spans.named("around").span_context.trace_id()
    );
}

#[tokio::test]
async fn a_send_is_measured_and_counted() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    send(&broker.producer(&test), record(&topic)).await.unwrap();
    let metrics = test.metrics();
    let point = metrics
        .histogram("messaging.client.operation.duration")
        .one()
        .clone();
    assert_eq!(point.count(), 1);
    let mut names: Vec<_> = point
        .labels()
        .iter()
        .map(|label| label.key.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            keys::DESTINATION_NAME,
            keys::DESTINATION_PARTITION_ID,
            keys::OPERATION_NAME,
            keys::OPERATION_TYPE,
            keys::SYSTEM_NAME,
        ]
    );
    assert_eq!(metrics.sum("messaging.client.sent.messages").int(), 1);
}

#[tokio::test]
async fn e04_only_a_null_payload_is_a_tombstone() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let producer = broker.producer(&test);
    let consumer = broker.consumer(&test, &topic);
    let null: FutureRecord<'_, str, [u8]> = FutureRecord::to(&topic).partition(0).key("k");
    let empty = FutureRecord::to(&topic)
        .partition(0)
        .key("k")
        .payload(b"".as_slice());
    for (record, is_tombstone) in [(null, true), (empty, false)] {
        send(&producer, record).await.unwrap();
        let received = recv(&consumer).await;
        received
            .process(async |_| Ok::<_, std::io::Error>(()))
            .await
            .unwrap();
        assert_eq!(received.payload().is_none(), is_tombstone);
        for span in test.take_spans() {
            assert_eq!(
                span.has(kafka::MESSAGE_TOMBSTONE),
                is_tombstone,
                "{}",
                span.name
            );
        }
    }
}

#[tokio::test]
async fn e04_keys_are_recorded_where_that_is_allowed_and_they_are_text() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let builder = OtelMlProducer::builder().telemetry(telemetry(&test));
    let producer: OtelMlProducer = builder.message_keys(true).create(&broker.config()).unwrap();
    for (key, recorded) in [(b"user-7".as_slice(), true), (&[0xff, 0], false)] {
        let record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&topic).key(key);
        soon(producer.send(record, LONG)).await.unwrap();
        let span = test.take_spans().pop().unwrap();
        assert_eq!(span.has(kafka::MESSAGE_KEY), recorded);
    }
}

#[tokio::test]
async fn a_context_that_is_to_stay_stays_and_is_linked_to() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let producer = broker.producer(&test).keep_context();
    let consumer = broker.consumer(&test, &topic);
    let headers = [pair("traceparent", SAMPLED), pair("app", "kept")];
    send(&producer, record(&topic).headers(owned(&headers)))
        .await
        .unwrap();
    let received = recv(&consumer).await;
    assert_eq!(pairs(received.headers().unwrap()), headers);
    let kept = received.sender().span().span_context().clone();
    let name = format!("send {topic}");
    let expected = span(&name).kind(SpanKind::Client).links([&kept]);
    otel_ml_testing::assert_tree(&test.take_spans(), vec![expected]);
    // There is none to stay.
    let none = record(&topic).headers(owned(&[pair("traceparent", "junk")]));
    send(&producer, none).await.unwrap();
    let received = recv(&consumer).await;
    let sent = test.spans().named(&name).clone();
    assert_eq!(sent.span_kind, SpanKind::Producer);
    let sender = received.sender().span().span_context().clone();
    assert_eq!(sender.span_id(), sent.span_context.span_id());
}

#[tokio::test]
async fn the_send_time_travels_on_request() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let builder = OtelMlProducer::builder().telemetry(telemetry(&test));
    let producer: OtelMlProducer = builder.send_time(true).create(&broker.config()).unwrap();
    let consumer = broker.consumer(&test, &topic);
    let before = std::time::SystemTime::now();
    send(&producer, record(&topic)).await.unwrap();
    let received = recv(&consumer).await;
    let sent_at = HeadersExtractor::new(received.headers().unwrap())
        .sent_at()
        .unwrap();
    let microsecond = std::time::Duration::from_micros(1);
    assert!(sent_at >= before - microsecond && sent_at <= std::time::SystemTime::now());
    received
        .process(async |_| Ok::<_, std::io::Error>(()))
        .await
        .unwrap();
    let span = test.spans().named(&format!("process {topic}")).clone();
    assert!(span.double(ml::QUEUE_WAIT_DURATION) >= 0.0);
    assert_eq!(
        test.metrics()
            .histogram("ml.queue.wait.duration")
            .one()
            .count(),
        1
    );
    // Sent on, it is the time of the last sending.
    let headers = received.headers().unwrap().detach();
    send(&producer, record(&topic).headers(headers))
        .await
        .unwrap();
    let again = recv(&consumer).await;
    let all = pairs(again.headers().unwrap());
    assert_eq!(all.iter().filter(|(name, _)| name == SENT_AT).count(), 1);
    assert!(
        HeadersExtractor::new(again.headers().unwrap())
            .sent_at()
            .unwrap()
            > sent_at
    );
}

#[tokio::test]
async fn hooks_name_fill_and_choose() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let producer = OtelMlProducer::builder()
        .telemetry(telemetry(&test))
        .detail(Detail::Full)
        .filter(|message: &Outgoing<'_>| message.key != Some(b"quiet"))
        .span_name(|_: &Outgoing<'_>| Some("enqueue".into()))
        .attributes(|message: &Outgoing<'_>, to: &mut Attributes| {
            to.push("app.has_headers", message.headers.is_some());
        })
        .create(&broker.config())
        .unwrap();
    let producer: OtelMlProducer<_, rdkafka::util::DefaultRuntime, _> = producer;
    for key in ["quiet", "loud"] {
        soon(producer.send(record(&topic).key(key), LONG))
            .await
            .unwrap();
    }
    let spans = test.spans();
    assert_eq!(spans.len(), 1);
    let span = spans.named("enqueue");
    assert_eq!(span.int(keys::MESSAGE_BODY_SIZE), 7);
    assert!(!span.bool("app.has_headers"));
}

/// What is not sending is the inner producer's.
#[tokio::test]
async fn it_is_the_inner_producer_in_everything_else() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let inner: FutureProducer = broker.config().create().unwrap();
    let builder = OtelMlProducer::builder().telemetry(telemetry(&test));
    let producer = builder.client_id("mine").wrap(inner);
    let delivering = producer
        .send_result(record(&topic))
        .map_err(|(error, _)| error);
    let delivering = delivering.unwrap();
    assert_eq!(test.open_spans(), [format!("send {topic}")]);
    producer.clone().flush(LONG).unwrap();
    assert_eq!(producer.in_flight_count(), 0);
    let stored = soon(delivering).await.unwrap().unwrap();
    let span = test.spans().named(&format!("send {topic}")).clone();
    assert_eq!(span.int(kafka::OFFSET), stored.offset);
    assert_eq!(span.str(keys::CLIENT_ID), "mine");
    assert!(
        ClientConfig::new()
            .set("no.such", "x")
            .create::<OtelMlProducer>()
            .is_err()
    );
}

use crate::support::rdkafka;
