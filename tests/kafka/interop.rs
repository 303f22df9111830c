//! One trace with Python's confluent-kafka and its official instrumentation, in both directions.

use otel_ml::opentelemetry::trace::{SpanKind, TraceContextExt as _, TraceFlags};
use otel_ml::stage;
use otel_ml_e2e::{of_kind, python};
use otel_ml_rdkafka::rdkafka::consumer::Consumer as _;
use otel_ml_rdkafka::rdkafka::message::{Headers as _, Message as _};
use otel_ml_rdkafka::rdkafka::producer::FutureRecord;
use otel_ml_rdkafka::{OtelMlConsumer, OtelMlProducer};
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry};
use serde_json::Value;

use crate::{LONG, config, member, soon, unique};

fn told(mode: &str, topic: &str) -> Value {
    let config = config();
    let bootstrap = config.get("bootstrap.servers").unwrap();
    python("python-kafka.py", &[mode, bootstrap, topic])
}

#[tokio::test]
async fn what_python_sends_is_continued_and_sent_on() {
    let test = TestTelemetry::new();
    let (topic, next) = (unique("from-python"), unique("sent-on"));
    let told = told("send", &topic);
    let sent = of_kind(&told, "PRODUCER");
    let consumer = OtelMlConsumer::builder().telemetry(test.telemetry());
    let consumer: OtelMlConsumer = consumer.create(&member(&unique("group"))).unwrap();
    consumer.subscribe(&[&topic]).unwrap();
    let producer = OtelMlProducer::builder().telemetry(test.telemetry());
    let producer: OtelMlProducer = producer.create(&config()).unwrap();
    let received = soon(consumer.recv()).await.unwrap();
    assert_eq!(received.payload(), Some(b"from Python".as_slice()));
    // Sampled and random: flags are bits.
    let sender = received.sender().span().span_context().clone();
    assert_eq!(sender.trace_flags(), TraceFlags::new(3));
    let sent_on = received.process(async |message| {
        let headers = message.headers().unwrap().detach();
        let record: FutureRecord<'_, str, str> = FutureRecord::to(&next).payload("on");
        let record = record.headers(headers);
        producer
            .send(record, LONG)
            .await
            .map_err(|(error, _)| error)
    });
    soon(sent_on).await.unwrap();
    let spans = test.spans();
    let processed = spans.named(&format!("process {topic}"));
    assert_eq!(processed.span_kind, SpanKind::Consumer);
    assert_eq!(
        processed.span_context.trace_id().to_string(),
        sent["trace"].as_str().unwrap()
    );
    assert_eq!(
        processed.parent_span_id.to_string(),
        sent["span"].as_str().unwrap()
    );
    assert_eq!(processed.links[0].span_context, sender);
    assert!(processed.double("ml.queue.wait.duration") >= 0.0);

    // And back: the peer is linked to the last sender, not to itself.
    let told = self::told("receive", &next);
    let again = spans.named(&format!("send {next}"));
    let context = &again.span_context;
    let own = format!("00-{}-{}-03", context.trace_id(), context.span_id());
    let headers = serde_json::json!([["app", "kept"], ["traceparent", own]]);
    assert_eq!(told["headers"], headers);
    assert_linked(&told, again);
    assert_eq!(received.headers().unwrap().count(), 2);
}

fn assert_linked(told: &Value, sent: &otel_ml_testing::opentelemetry_sdk::trace::SpanData) {
    let received = told["spans"].as_array().unwrap();
    let linked = |span: &&Value| {
        span["links"]
            .as_array()
            .is_some_and(|links| !links.is_empty())
    };
    let [processed] = received.iter().filter(linked).collect::<Vec<_>>()[..] else {
        panic!("one span has links: {told}")
    };
    assert_eq!(processed["kind"], "CONSUMER");
    let links = processed["links"].as_array().unwrap();
    assert_eq!(links.len(), 1, "{told}");
    let context = &sent.span_context;
    assert_eq!(links[0]["trace"], context.trace_id().to_string());
    assert_eq!(links[0]["span"], context.span_id().to_string());
}

#[tokio::test]
async fn python_continues_what_is_sent() {
    let test = TestTelemetry::new();
    let topic = unique("to-python");
    let producer = OtelMlProducer::builder().telemetry(test.telemetry());
    let producer: OtelMlProducer = producer.create(&config()).unwrap();
    let telemetry = test.telemetry();
    let around = stage("around").telemetry(&telemetry);
    let record: FutureRecord<'_, str, str> = FutureRecord::to(&topic).payload("to Python");
    let sent = around.run(async {
        producer
            .send(record, LONG)
            .await
            .map_err(|(error, _)| error)
    });
    soon(sent).await.unwrap();
    let told = told("receive", &topic);
    let spans = test.spans();
    let sent = spans.named(&format!("send {topic}"));
    assert_eq!(
        sent.parent(),
        Some(spans.named("around").span_context.span_id())
    );
    assert_linked(&told, sent);
}
