//! E03, E09, E14, E15: what a consumer is handed, and how its handling ends.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use otel_ml::opentelemetry::trace::{SpanId, SpanKind};
use otel_ml::semconv::{error, messaging as keys, ml, rabbitmq};
use otel_ml::{OtelMlConsumerLayer, ParentPolicy};
use otel_ml_lapin::lapin::ExchangeKind;
use otel_ml_lapin::lapin::options::{
    BasicCancelOptions, BasicGetOptions, BasicNackOptions, BasicRejectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use otel_ml_lapin::lapin::types::FieldTable;
use otel_ml_lapin::{OtelMlConsumer, OtelMlDelivery, otel_ml};
use otel_ml_testing::opentelemetry_sdk::trace::SpanData;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_tree};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use crate::support::{
    ACK, Broker, MODES, Mode, consume_bare, consumer, long, name, next, producer, publish, short,
    soon, table, telemetry,
};

#[derive(Debug)]
struct Poison;

fn linked(span: &SpanData) -> Vec<SpanId> {
    let links = span.links.iter();
    links.map(|link| link.span_context.span_id()).collect()
}

#[tokio::test]
async fn e03_an_empty_queue_and_a_cancelled_consumer_record_nothing() {
    let broker = Broker::new().await;
    for mode in MODES {
        let test = TestTelemetry::new();
        let channel = broker.channel(mode).await;
        let queue = broker.queue(&channel, FieldTable::default()).await;
        let builder = OtelMlConsumer::builder().telemetry(telemetry(&test));
        let puller = builder.pull(channel.clone());
        let got = puller.basic_get(short(&queue), BasicGetOptions::default());
        assert!(soon(got).await.unwrap().is_none());
        let mut messages = consumer(&test, &channel, &queue).await;
        let cancelling = channel.basic_cancel(messages.tag(), BasicCancelOptions::default());
        soon(cancelling).await.unwrap();
        assert!(soon(messages.next()).await.is_none());
        // The broker cancels it, too, when its queue goes.
        let mut messages = consumer(&test, &channel, &queue).await;
        let deleting = channel.queue_delete(short(&queue), QueueDeleteOptions::default());
        soon(deleting).await.unwrap();
        assert!(soon(messages.next()).await.is_none());
        assert!(test.spans().is_empty());
        assert_eq!(test.open_spans(), [""; 0]);
        assert!(test.metrics().names().is_empty());
    }
}

#[tokio::test]
async fn a_message_that_is_asked_for_is_received_processed_and_counted_once() {
    let broker = Broker::new().await;
    let test = TestTelemetry::new();
    let channel = broker.channel(Mode::Confirm).await;
    let queue = broker.queue(&channel, FieldTable::default()).await;
    let producer = producer(&test, &channel);
    publish(&producer, &queue).await;
    publish(&producer, &queue).await;
    let puller = OtelMlConsumer::builder()
        .telemetry(telemetry(&test))
        .pull(channel.clone());
    let got = puller.basic_get(short(&queue), BasicGetOptions::default());
    let pulled = soon(got).await.unwrap().unwrap();
    assert_eq!(pulled.message_count, 1);
    pulled
        .process(async |delivery| {
            delivery.ack(ACK).await.unwrap();
            Ok::<_, Poison>(())
        })
        .await
        .unwrap();
    let spans = test.spans();
    let sent = spans[0].span_context.clone();
    let received = spans.named(&format!("receive {queue}"));
    assert_eq!(received.span_kind, SpanKind::Client);
    assert_eq!(received.parent(), None);
    assert_eq!(linked(received), [sent.span_id()]);
    assert_eq!(received.str(keys::OPERATION_TYPE), "receive");
    assert_eq!(received.int(rabbitmq::MESSAGE_DELIVERY_TAG), 1);
    assert!(!received.has(keys::BATCH_MESSAGE_COUNT));
    let processed = spans.named(&format!("process {queue}"));
    assert_eq!(processed.parent(), Some(sent.span_id()));
    assert_eq!(
        test.metrics()
            .sum("messaging.client.consumed.messages")
            .int(),
        1
    );
}

#[tokio::test]
async fn e15_every_way_a_handler_ends() {
    for mode in MODES {
        let broker = Broker::new().await;
        let test = TestTelemetry::new();
        let channel = broker.channel(mode).await;
        let queue = broker.queue(&channel, FieldTable::default()).await;
        let producer = producer(&test, &channel);
        for _ in 0..4 {
            publish(&producer, &queue).await;
        }
        let mut messages = consumer(&test, &channel, &queue).await;
        test.reset();
        let only = || {
            assert_eq!(test.open_spans(), [""; 0]);
            let [span] = test.take_spans().try_into().unwrap();
            span
        };
        let poison = next(&mut messages).await;
        poison
            .process(async |_| Err::<(), _>(Poison))
            .await
            .unwrap_err();
        assert_eq!(only().str(error::TYPE), "Poison");
        let class = otel_ml_lapin::lapin::ErrorKind::MissingHeartbeatError;
        let class = otel_ml_lapin::lapin::Error::from(class);
        poison
            .process(async |_| Err::<(), _>(class))
            .await
            .unwrap_err();
        assert_eq!(only().str(error::TYPE), "MissingHeartbeatError");
        let panicking = next(&mut messages).await;
        let handled = panicking
            .process(async |_| -> Result<(), Poison> { std::panic::panic_any("on purpose") });
        let caught = AssertUnwindSafe(handled).catch_unwind().await.unwrap_err();
        assert_eq!(caught.downcast_ref(), Some(&"on purpose"));
        assert_eq!(only().str(error::TYPE), "panic");
        let slow = next(&mut messages).await;
        let handled = slow.process(async |_| std::future::pending::<Result<(), Poison>>().await);
        tokio::time::timeout(Duration::from_millis(1), handled)
            .await
            .unwrap_err();
        let span = only();
        assert_eq!(span.str(error::TYPE), "cancelled");
        assert_eq!(span.str(ml::CANCEL_REASON), "dropped");
        let unpolled = next(&mut messages).await;
        drop(unpolled.process(async |_| Ok::<_, Poison>(())));
        assert!(test.spans().is_empty());
        let metrics = test.metrics();
        let durations = metrics.histogram("messaging.process.duration");
        assert_eq!(
            durations
                .points()
                .iter()
                .map(|point| point.count())
                .sum::<u64>(),
            4
        );
    }
}

#[tokio::test]
async fn e09_an_aborted_task_ends_what_it_does() {
    for mode in MODES {
        let broker = Broker::new().await;
        let test = TestTelemetry::new();
        let channel = broker.channel(mode).await;
        let queue = broker.queue(&channel, FieldTable::default()).await;
        publish(&producer(&test, &channel), &queue).await;
        test.reset();
        let mut messages = consumer(&test, &channel, &queue).await;
        let (started, running) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let received = next(&mut messages).await;
            let handled = received.process(async |_| {
                started.send(()).unwrap();
                std::future::pending::<Result<(), Poison>>().await
            });
            handled.await
        });
        soon(running).await.unwrap();
        assert_eq!(test.open_spans().len(), 1);
        task.abort();
        assert!(soon(task).await.unwrap_err().is_cancelled());
        assert_eq!(test.open_spans(), [""; 0]);
        let span = &test.spans()[0];
        assert_eq!(span.str(error::TYPE), "cancelled");
        assert_eq!(span.str(ml::CANCEL_REASON), "dropped");
    }
}

#[tokio::test]
async fn e14_a_generated_queue_of_an_exchange_is_named_by_the_exchange() {
    for mode in MODES {
        let broker = Broker::new().await;
        let test = TestTelemetry::new();
        let channel = broker.channel(mode).await;
        let exchange = name("exchange");
        let options = ExchangeDeclareOptions {
            auto_delete: true,
            ..ExchangeDeclareOptions::default()
        };
        let declaring = channel.exchange_declare(
            short(&exchange),
            ExchangeKind::Topic,
            options,
            FieldTable::default(),
        );
        soon(declaring).await.unwrap();
        let options = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let declaring = channel.queue_declare(short(""), options, FieldTable::default());
        let generated = soon(declaring).await.unwrap().name().clone();
        let binding = channel.queue_bind(
            generated.clone(),
            short(&exchange),
            short("*.scored"),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        soon(binding).await.unwrap();
        let mut messages = consumer(&test, &channel, generated.as_str()).await;
        let producer = producer(&test, &channel);
        let publishing = producer.basic_publish(
            short(&exchange),
            short("fraud.scored"),
            otel_ml_lapin::lapin::options::BasicPublishOptions::default(),
            b"payload",
            otel_ml_lapin::lapin::BasicProperties::default(),
        );
        soon(soon(publishing).await.unwrap()).await.unwrap();
        let received = next(&mut messages).await;
        received
            .process(async |_| Ok::<_, Poison>(()))
            .await
            .unwrap();
        received.ack(ACK).await.unwrap();
        let destination = format!("{exchange}:fraud.scored");
        assert_tree!(test.spans(), {
            (format!("publish {destination}")) => [
                (format!("process {destination}")) => [(format!("ack {destination}"))]
            ]
        });
    }
}

#[tokio::test]
async fn later_deliveries_are_linked_and_counted() {
    let broker = Broker::new().await;
    let test = TestTelemetry::new();
    let channel = broker.channel(Mode::Confirm).await;
    let queue = broker.queue(&channel, FieldTable::default()).await;
    publish(&producer(&test, &channel), &queue).await;
    let mut messages = consumer(&test, &channel, &queue).await;
    for attempt in 1..=2 {
        let received = next(&mut messages).await;
        received
            .process(async |_| Err::<(), _>(Poison))
            .await
            .unwrap_err();
        let requeue = BasicNackOptions {
            requeue: attempt == 1,
            ..BasicNackOptions::default()
        };
        received.nack(requeue).await.unwrap();
    }
    let spans = test.spans();
    let sent = spans
        .named(&format!("publish {queue}"))
        .span_context
        .clone();
    let process = format!("process {queue}");
    let [first, second] = spans
        .iter()
        .filter(|span| span.name == process)
        .collect::<Vec<_>>()[..]
    else {
        panic!("two attempts");
    };
    assert_eq!(first.parent(), Some(sent.span_id()));
    assert!(!first.has(ml::MESSAGE_ATTEMPT));
    assert_eq!(second.parent(), None);
    assert_ne!(second.span_context.trace_id(), sent.trace_id());
    assert_eq!(linked(second), [sent.span_id()]);
    assert_eq!(second.int(ml::MESSAGE_ATTEMPT), 2);
    // Both were consumed.
    let metrics = test.metrics();
    let consumed = metrics.sum("messaging.client.consumed.messages").int();
    assert_eq!(consumed, 2);
}

#[tokio::test]
async fn a_dead_letter_says_how_often_it_died_and_is_a_later_attempt() {
    let broker = Broker::new().await;
    let test = TestTelemetry::new();
    let channel = broker.channel(Mode::Confirm).await;
    let dead = broker.queue(&channel, FieldTable::default()).await;
    let arguments = table(&[
        ("x-dead-letter-exchange", long("")),
        ("x-dead-letter-routing-key", long(&dead)),
    ]);
    let queue = broker.queue(&channel, arguments).await;
    publish(&producer(&test, &channel), &queue).await;
    let mut messages = consumer(&test, &channel, &queue).await;
    let received = next(&mut messages).await;
    received
        .reject(BasicRejectOptions { requeue: false })
        .await
        .unwrap();
    let builder = OtelMlConsumer::builder()
        .telemetry(telemetry(&test))
        .on_redelivery(ParentPolicy::Child);
    let mut letters = builder.wrap(consume_bare(&channel, &dead).await);
    let letter = next(&mut letters).await;
    letter.process(async |_| Ok::<_, Poison>(())).await.unwrap();
    let spans = test.spans();
    let processed = spans.named(&format!("process {dead}"));
    assert_eq!(processed.int(ml::MESSAGE_DEAD_LETTER_COUNT), 1);
    assert_eq!(processed.int(ml::MESSAGE_ATTEMPT), 2);
    // By the policy that was asked for.
    let sent = spans
        .named(&format!("publish {queue}"))
        .span_context
        .clone();
    assert_eq!(processed.parent(), Some(sent.span_id()));
    // One that was not processed is settled below its sender.
    let rejected = spans.named(&format!("reject {queue}"));
    assert_eq!(rejected.parent(), Some(sent.span_id()));
}

#[tokio::test]
async fn a_counting_queue_tells_the_attempt() {
    let broker = Broker::new().await;
    let test = TestTelemetry::new();
    let channel = broker.channel(Mode::Confirm).await;
    let queue = name("quorum");
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let arguments = table(&[("x-queue-type", long("quorum"))]);
    soon(channel.queue_declare(short(&queue), options, arguments))
        .await
        .unwrap();
    publish(&producer(&test, &channel), &queue).await;
    let mut messages = consumer(&test, &channel, &queue).await;
    for attempt in 1..=4_i64 {
        let received = next(&mut messages).await;
        received
            .process(async |_| Ok::<_, Poison>(()))
            .await
            .unwrap();
        let span = test.take_spans().pop().unwrap();
        let told = span
            .has(ml::MESSAGE_ATTEMPT)
            .then(|| span.int(ml::MESSAGE_ATTEMPT));
        assert_eq!(told.unwrap_or(1), attempt);
        let requeue = BasicNackOptions {
            requeue: true,
            ..BasicNackOptions::default()
        };
        received.nack(requeue).await.unwrap();
    }
    soon(channel.queue_delete(short(&queue), QueueDeleteOptions::default()))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_delegates_messages_are_traced_too() {
    let broker = Broker::new().await;
    let test = TestTelemetry::new();
    let channel = broker.channel(Mode::Confirm).await;
    let queue = broker.queue(&channel, FieldTable::default()).await;
    let messages = consumer(&test, &channel, &queue).await;
    let (told, mut handled) = tokio::sync::mpsc::unbounded_channel();
    let receiver = messages.clone();
    messages.set_delegate(
        move |delivery: otel_ml_lapin::lapin::message::DeliveryResult| {
            let (receiver, told) = (receiver.clone(), told.clone());
            async move {
                let Ok(Some(delivery)) = delivery else { return };
                let received = receiver.received(delivery);
                received
                    .process(async |_| Ok::<_, Poison>(()))
                    .await
                    .unwrap();
                told.send(received.ack(ACK).await.unwrap()).unwrap();
            }
        },
    );
    publish(&producer(&test, &channel), &queue).await;
    assert_eq!(soon(handled.recv()).await, Some(true));
    assert_tree!(test.spans(), {
        (format!("publish {queue}")) => [
            (format!("process {queue}")) => [(format!("ack {queue}"))]
        ]
    });
}

#[tokio::test]
async fn the_layer_processes_and_its_service_settles() {
    let broker = Broker::new().await;
    let test = TestTelemetry::new();
    let channel = broker.channel(Mode::Confirm).await;
    let queue = broker.queue(&channel, FieldTable::default()).await;
    publish(&producer(&test, &channel), &queue).await;
    let mut messages = consumer(&test, &channel, &queue).await;
    let delivery = next(&mut messages).await.into_delivery();
    let layer = OtelMlConsumerLayer::builder()
        .telemetry(telemetry(&test))
        .build();
    let service =
        ServiceBuilder::new()
            .layer(layer)
            .service(service_fn(async |delivery: OtelMlDelivery| {
                delivery.ack(ACK).await
            }));
    assert!(service.oneshot(delivery).await.unwrap());
    assert_tree!(test.spans(), {
        (format!("publish {queue}")) => [
            (format!("process {queue}")) => [(format!("ack {queue}"))]
        ]
    });
}
