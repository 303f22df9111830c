//! Topics whose names are made: they are told by their template.

use otel_ml::semconv::{messaging as keys, ml};
use otel_ml_rdkafka::{OtelMlConsumer, OtelMlProducer, otel_ml};
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry};

use crate::support::rdkafka::consumer::CommitMode;
use crate::support::{Broker, LONG, assign, record, send, telemetry};

const TEMPLATE: &str = "otel-ml-{run}";

fn template(topic: &str) -> Option<&'static str> {
    topic.starts_with("otel-ml-").then_some(TEMPLATE)
}

#[tokio::test]
async fn e14_a_made_name_is_on_the_span_alone() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let producer = OtelMlProducer::builder().telemetry(telemetry(&test));
    let producer = producer.topic_template(template).create(&broker.config());
    let producer: OtelMlProducer = producer.unwrap();
    let consumer = OtelMlConsumer::builder().telemetry(telemetry(&test));
    let config = broker.consumer_config("group-1");
    let consumer: OtelMlConsumer = consumer.topic_template(template).create(&config).unwrap();
    assign(&consumer, &topic, 1);
    send(&producer, record(&topic)).await.unwrap();
    let batch = consumer.recv_batch(1, LONG).await.unwrap();
    for received in batch {
        let handled = received
            .process(async |message| consumer.commit_message(message, CommitMode::Sync))
            .await;
        handled.unwrap();
    }
    let spans = test.spans();
    for operation in ["send", "poll", "process", "commit"] {
        let span = spans.named(&format!("{operation} {TEMPLATE}"));
        assert_eq!(span.str(keys::DESTINATION_TEMPLATE), TEMPLATE);
        assert_eq!(span.str(keys::DESTINATION_NAME), topic, "{operation}");
    }
    assert_eq!(spans.len(), 4);
    let metrics = test.metrics();
    assert!(!metrics.to_string().contains(&topic), "{metrics}");
    let waits = metrics.histogram("ml.queue.wait.duration");
    assert_eq!(waits.with(ml::QUEUE_NAME, TEMPLATE).count(), 1);
}

/// The others stand for themselves.
#[tokio::test]
async fn a_topic_without_a_template_has_its_own_name() {
    let test = TestTelemetry::new();
    let broker = Broker::new();
    let topic = broker.topic(1).await;
    let builder = OtelMlProducer::builder().telemetry(telemetry(&test));
    let producer =
        builder.topic_template(|topic| topic.starts_with("replies-").then_some("replies"));
    let producer: OtelMlProducer = producer.create(&broker.config()).unwrap();
    send(&producer, record(&topic)).await.unwrap();
    let sent = test.spans().named(&format!("send {topic}")).clone();
    assert!(!sent.has(keys::DESTINATION_TEMPLATE));
    assert_eq!(sent.str(keys::DESTINATION_NAME), topic);
}
