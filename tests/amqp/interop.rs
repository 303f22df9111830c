//! One trace with Python's pika and its official instrumentation, in both directions.

use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use otel_ml::opentelemetry::trace::{SpanKind, TraceContextExt as _, TraceFlags};
use otel_ml::stage;
use otel_ml_e2e::{of_kind, python, unique};
use otel_ml_lapin::{OtelMlConsumer, OtelMlProducer, lapin};
use otel_ml_testing::opentelemetry_sdk::trace::SpanData;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry};
use serde_json::Value;

use crate::{durable, recovering, short, soon, url};

fn told(mode: &str, queue: &str) -> Value {
    python("python-amqp.py", &[mode, &url(), queue])
}

/// The peer's receiving is a child of `sent`.
fn assert_continued(told: &Value, sent: &SpanData) {
    let received = of_kind(told, "CONSUMER");
    let context = &sent.span_context;
    assert_eq!(received["trace"], context.trace_id().to_string());
    assert_eq!(received["parent"], context.span_id().to_string());
    assert_eq!(received["error"], false);
}

async fn delete(channel: &Channel, queues: &[&str]) {
    for queue in queues {
        let deleting = channel.queue_delete(short(queue), QueueDeleteOptions::default());
        soon(deleting).await.unwrap();
    }
}

#[tokio::test]
async fn what_python_sends_is_continued_and_sent_on() {
    let test = TestTelemetry::new();
    let (_connection, channel) = recovering(&url()).await;
    let (queue, next) = (unique("from-python"), unique("sent-on"));
    durable(&channel, &queue).await;
    durable(&channel, &next).await;
    let told = told("send", &queue);
    let sent = of_kind(&told, "PRODUCER");
    assert_eq!(sent["flags"], "03");
    let options = BasicConsumeOptions::default();
    let consuming = channel.basic_consume(short(&queue), short(""), options, FieldTable::default());
    let builder = OtelMlConsumer::builder().telemetry(test.telemetry());
    let mut consumer = builder.wrap(soon(consuming).await.unwrap());
    let builder = OtelMlProducer::builder().telemetry(test.telemetry());
    let producer = builder.wrap(channel.clone());
    let received = soon(consumer.next()).await.unwrap().unwrap();
    assert_eq!(received.data, b"from Python");
    // Sampled and random: flags are bits.
    let sender = received.sender().span().span_context().clone();
    assert_eq!(sender.trace_flags(), TraceFlags::new(3));
    let sent_on = received.process(async |delivery| {
        let (options, properties) = (BasicPublishOptions::default(), delivery.properties.clone());
        let publishing =
            producer.basic_publish(short(""), short(&next), options, b"on", properties);
        publishing.await?.await
    });
    assert!(soon(sent_on).await.unwrap().is_ack());
    let spans = test.spans();
    let processed = spans.named(&format!("process {queue}"));
    assert_eq!(processed.span_kind, SpanKind::Consumer);
    let context = &processed.span_context;
    assert_eq!(
        context.trace_id().to_string(),
        sent["trace"].as_str().unwrap()
    );
    assert_eq!(
        processed.parent_span_id.to_string(),
        sent["span"].as_str().unwrap()
    );
    assert_eq!(processed.links[0].span_context, sender);
    assert_eq!(processed.str("messaging.message.id"), "python-1");

    // And back: the peer is below the last sender, with one context and the random flag.
    let told = self::told("receive", &next);
    let again = spans.named(&format!("publish {next}"));
    assert_continued(&told, again);
    let context = &again.span_context;
    let own = format!("00-{}-{}-03", context.trace_id(), context.span_id());
    let headers = serde_json::json!([["app", "kept"], ["traceparent", own]]);
    assert_eq!(told["headers"], headers);
    delete(&channel, &[&queue, &next]).await;
}

#[tokio::test]
async fn python_continues_what_is_published() {
    let test = TestTelemetry::new();
    let (_connection, channel) = recovering(&url()).await;
    let queue = unique("to-python");
    durable(&channel, &queue).await;
    let builder = OtelMlProducer::builder().telemetry(test.telemetry());
    let producer = builder.wrap(channel.clone());
    let telemetry = test.telemetry();
    let around = stage("around").telemetry(&telemetry);
    let published = around.run(async {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let publishing =
            producer.basic_publish(short(""), short(&queue), options, b"to Python", properties);
        publishing.await?.await
    });
    assert!(soon(published).await.unwrap().is_ack());
    let told = told("receive", &queue);
    let spans = test.spans();
    let sent = spans.named(&format!("publish {queue}"));
    let around = spans.named("around").span_context.span_id();
    assert_eq!(sent.parent(), Some(around));
    assert_continued(&told, sent);
    delete(&channel, &[&queue]).await;
}
