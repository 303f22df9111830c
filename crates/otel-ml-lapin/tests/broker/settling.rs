//! E08, E09, E12: settling, once each, in any order, and on channels that are gone.

use std::pin::pin;

use futures_util::{Stream, StreamExt as _};
use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml::semconv::{error, messaging as keys, ml, rabbitmq};
use otel_ml_lapin::lapin::Event;
use otel_ml_lapin::lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicRejectOptions,
};
use otel_ml_lapin::lapin::types::FieldTable;
use otel_ml_lapin::{Received, otel_ml};
use otel_ml_testing::{SpanExt as _, TestTelemetry, assert_types};

use crate::support::{ACK, Broker, MODES, Mode, consumer, next, producer, publish, short, soon};

struct Settling {
    broker: Broker,
    channel: otel_ml_lapin::lapin::Channel,
    queue: String,
    test: TestTelemetry,
    received: Vec<Received>,
}

impl Settling {
    /// `count` messages in hand.
    async fn of(mode: Mode, count: usize) -> Self {
        let broker = Broker::new().await;
        let test = TestTelemetry::new();
        let channel = broker.channel(mode).await;
        let queue = broker.queue(&channel, FieldTable::default()).await;
        let sending = producer(&TestTelemetry::new(), &channel);
        for _ in 0..count {
            publish(&sending, &queue).await;
        }
        let mut messages = consumer(&test, &channel, &queue).await;
        let mut received = Vec::new();
        for _ in 0..count {
            received.push(next(&mut messages).await);
        }
        Self {
            broker,
            channel,
            queue,
            test,
            received,
        }
    }

    /// The operation and delivery tag of each settling, in order.
    fn settled(&self) -> Vec<(String, i64)> {
        assert_eq!(self.test.open_spans(), [""; 0]);
        let spans = self.test.spans();
        assert_types(&spans);
        let told = |span: &otel_ml_testing::opentelemetry_sdk::trace::SpanData| {
            assert_eq!(span.span_kind, SpanKind::Client);
            assert_eq!(span.str(keys::OPERATION_TYPE), "settle");
            let operation = span.str(keys::OPERATION_NAME).to_owned();
            assert_eq!(span.name, format!("{operation} {}", self.queue));
            (operation, span.int(rabbitmq::MESSAGE_DELIVERY_TAG))
        };
        spans.iter().map(told).collect()
    }

    /// How many messages are left, once all that is unsettled has been given back.
    async fn left(self) -> u32 {
        let queue = short(&self.queue);
        soon(self.channel.close(200, short("done"))).await.unwrap();
        let channel = self.broker.channel(Mode::Plain).await;
        let options = BasicGetOptions::default();
        let got = soon(channel.basic_get(queue, options)).await.unwrap();
        got.map_or(0, |got| got.message_count + 1)
    }
}

/// Until the connection tells of an error: what closes a channel is told once it is closed.
async fn closed(events: &mut (impl Stream<Item = Event> + Unpin)) {
    while !matches!(soon(events.next()).await.unwrap(), Event::Error(_)) {}
}

fn named(operations: &[(&str, i64)]) -> Vec<(String, i64)> {
    operations
        .iter()
        .map(|(name, tag)| ((*name).to_owned(), *tag))
        .collect()
}

#[tokio::test]
async fn e08_acks_in_any_order_are_a_span_each() {
    for mode in MODES {
        let settling = Settling::of(mode, 3).await;
        for at in [2, 0, 1] {
            assert!(settling.received[at].ack(ACK).await.unwrap());
        }
        assert_eq!(
            settling.settled(),
            named(&[("ack", 3), ("ack", 1), ("ack", 2)])
        );
        assert!(settling.test.spans().iter().all(|span| !span.is_error()));
        let durations = settling.test.metrics();
        let durations = durations.histogram("messaging.client.operation.duration");
        assert_eq!(durations.one().count(), 3);
        assert_eq!(settling.left().await, 0);
    }
}

#[tokio::test]
async fn e08_several_are_settled_at_once_in_one_span() {
    for mode in MODES {
        let settling = Settling::of(mode, 5).await;
        let acked = settling.received[1].ack(BasicAckOptions { multiple: true });
        assert!(acked.await.unwrap());
        let away = BasicNackOptions {
            multiple: true,
            requeue: false,
        };
        assert!(settling.received[3].nack(away).await.unwrap());
        assert_eq!(settling.settled(), named(&[("ack", 2), ("nack", 4)]));
        assert_eq!(settling.left().await, 1);
    }
}

#[tokio::test]
async fn e08_nack_and_reject_give_back_or_away() {
    for mode in MODES {
        let settling = Settling::of(mode, 4).await;
        for (at, requeue) in [(0, false), (1, true)] {
            let options = BasicNackOptions {
                multiple: false,
                requeue,
            };
            assert!(settling.received[at].nack(options).await.unwrap());
        }
        for (at, requeue) in [(2, false), (3, true)] {
            let options = BasicRejectOptions { requeue };
            assert!(settling.received[at].reject(options).await.unwrap());
        }
        let expected = [("nack", 1), ("nack", 2), ("reject", 3), ("reject", 4)];
        assert_eq!(settling.settled(), named(&expected));
        assert_eq!(settling.left().await, 2);
    }
}

#[tokio::test]
async fn e08_the_second_settling_is_left_alone() {
    for mode in MODES {
        let settling = Settling::of(mode, 1).await;
        let received = &settling.received[0];
        assert!(received.ack(ACK).await.unwrap());
        assert!(!received.ack(ACK).await.unwrap());
        assert!(!received.nack(BasicNackOptions::default()).await.unwrap());
        assert!(
            !received
                .reject(BasicRejectOptions::default())
                .await
                .unwrap()
        );
        // Around the wrapper nothing is recorded, and nothing happens twice either.
        assert!(!received.acker.ack(ACK).await.unwrap());
        assert_eq!(settling.settled(), named(&[("ack", 1)]));
        assert_eq!(settling.left().await, 0);
    }
}

#[tokio::test]
async fn e09_what_goes_around_the_wrapper_is_not_recorded_and_works() {
    for mode in MODES {
        let settling = Settling::of(mode, 2).await;
        assert!(settling.received[0].acker.ack(ACK).await.unwrap());
        settling.channel.basic_ack(2, ACK).await.unwrap();
        assert_eq!(settling.settled(), named(&[]));
        assert_eq!(settling.left().await, 0);
    }
}

#[tokio::test]
async fn e12_settling_on_a_closed_channel_is_an_error_on_span_and_metric() {
    for mode in MODES {
        let settling = Settling::of(mode, 3).await;
        soon(settling.channel.close(200, short("done")))
            .await
            .unwrap();
        assert!(!settling.received[0].ack(ACK).await.unwrap());
        assert!(
            !settling.received[1]
                .nack(BasicNackOptions::default())
                .await
                .unwrap()
        );
        assert!(
            !settling.received[2]
                .reject(BasicRejectOptions::default())
                .await
                .unwrap()
        );
        assert_eq!(settling.settled().len(), 3);
        for span in settling.test.spans() {
            assert!(span.is_error());
            assert_eq!(span.str(error::TYPE), "InvalidChannelState");
        }
        let metrics = settling.test.metrics();
        let durations = metrics.histogram("messaging.client.operation.duration");
        for point in durations.points() {
            let mut labels = point.labels().iter();
            let label = labels
                .find(|label| label.key.as_str() == error::TYPE)
                .unwrap();
            assert_eq!(label.value.to_string(), "InvalidChannelState");
        }
    }
}

#[tokio::test]
async fn e09_a_bad_ack_closes_the_channel_and_what_is_in_hand_fails() {
    for mode in MODES {
        let settling = Settling::of(mode, 3).await;
        let mut events = pin!(settling.broker.connection.events_listener());
        let all = BasicAckOptions { multiple: true };
        assert!(settling.received[1].ack(all).await.unwrap());
        // The broker knows no such tag any more.
        assert!(settling.received[0].ack(ACK).await.unwrap());
        let handling = settling.received[2].process(async |delivery| {
            closed(&mut events).await;
            delivery.ack(ACK).await
        });
        assert!(!handling.await.unwrap());
        let spans = settling.test.spans();
        let told: Vec<_> = spans
            .iter()
            .map(|span| (span.name.split(' ').next().unwrap(), span.is_error()))
            .collect();
        let expected = [
            ("ack", false),
            ("ack", false),
            ("ack", true),
            ("process", false),
        ];
        assert_eq!(told, expected);
        assert_eq!(spans[2].str(error::TYPE), "InvalidChannelState");
        assert_eq!(settling.test.open_spans(), [""; 0]);
    }
}

#[tokio::test]
async fn e09_a_settling_that_is_dropped_says_so() {
    for mode in MODES {
        let settling = Settling::of(mode, 1).await;
        let mut acking = Box::pin(settling.received[0].ack(ACK));
        // What writes the frame runs on this thread, too.
        assert!(futures_util::poll!(acking.as_mut()).is_pending());
        drop(acking);
        let span = &settling.test.spans()[0];
        assert!(!span.is_error());
        assert_eq!(span.str(ml::CANCEL_REASON), "dropped");
        assert_eq!(settling.test.open_spans(), [""; 0]);
    }
}
