//! E11: messages that come back, among others that don't.

use futures_util::future::join_all;
use otel_ml::semconv::{error, messaging as keys};
use otel_ml_lapin::lapin::options::BasicPublishOptions;
use otel_ml_lapin::lapin::types::FieldTable;
use otel_ml_lapin::lapin::{BasicProperties, Confirmation};
use otel_ml_lapin::{Confirming, OtelMlProducer, otel_ml};
use otel_ml_testing::{SpanExt as _, TestTelemetry, assert_ended_once};

use crate::support::{Broker, Mode, producer, short, soon};

const MESSAGES: usize = 400;
const NOBODY: &str = "otel-ml-nobody";

/// Published one behind the other, before the first answer is looked at: the broker answers
/// several of them at once.
async fn published(producer: &OtelMlProducer, queue: &str, mandatory: bool) -> Vec<Confirming> {
    let mut answers = Vec::new();
    for number in 0..MESSAGES {
        let is_taken = number % 2 == 0;
        let options = BasicPublishOptions {
            mandatory: mandatory || !is_taken,
            ..BasicPublishOptions::default()
        };
        let key = short(if is_taken { queue } else { NOBODY });
        let properties = BasicProperties::default();
        let publishing = producer.basic_publish(short(""), key, options, b"x", properties);
        answers.push(soon(publishing).await.unwrap());
    }
    answers
}

/// Those that came back, and no others, have failed.
fn assert_told_apart(test: &TestTelemetry) {
    assert_eq!(test.open_spans(), [""; 0]);
    let spans = test.spans();
    assert_eq!(spans.len(), MESSAGES);
    assert_ended_once(&spans);
    for span in &spans {
        let came_back = span.str(keys::DESTINATION_NAME) == NOBODY;
        assert_eq!(span.is_error(), came_back, "{span:?}");
        if came_back {
            assert_eq!(span.str(error::TYPE), "NO_ROUTE");
        }
    }
}

fn returned(answer: &Confirmation) -> bool {
    matches!(answer, Confirmation::Ack(Some(_)))
}

#[tokio::test]
async fn e11_what_comes_back_is_told_of_the_message_that_came_back() {
    let broker = Broker::new().await;
    for mandatory in [true, false] {
        for at_once in [true, false] {
            let test = TestTelemetry::new();
            let channel = broker.channel(Mode::Confirm).await;
            let queue = broker.queue(&channel, FieldTable::default()).await;
            let answers = published(&producer(&test, &channel), &queue, mandatory).await;
            let answers: Vec<_> = if at_once {
                soon(join_all(answers)).await
            } else {
                let mut all = Vec::new();
                for answer in answers {
                    all.push(soon(answer).await);
                }
                all
            };
            let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
            assert_eq!(
                answers.iter().filter(|answer| returned(answer)).count(),
                MESSAGES / 2
            );
            assert_told_apart(&test);
        }
    }
}

/// What came back with their answers is for `wait_for_confirms`, and for nobody's span.
#[tokio::test]
async fn e11_answers_that_are_dropped_keep_no_span_open_and_fail_no_other() {
    let broker = Broker::new().await;
    let test = TestTelemetry::new();
    let channel = broker.channel(Mode::Confirm).await;
    let queue = broker.queue(&channel, FieldTable::default()).await;
    let answers = published(&producer(&test, &channel), &queue, true).await;
    let (mut awaited, mut dropped) = (0, Vec::new());
    for (number, answer) in answers.into_iter().enumerate() {
        if number % 3 == 0 {
            dropped.push(answer);
        } else {
            awaited += usize::from(returned(&soon(answer).await.unwrap()));
        }
    }
    assert!(!test.open_spans().is_empty());
    drop(dropped);
    assert_eq!(test.open_spans(), [""; 0]);
    let spans = test.spans();
    assert_ended_once(&spans);
    let failed = spans.iter().filter(|span| span.is_error());
    assert!(
        failed
            .clone()
            .all(|span| span.str(keys::DESTINATION_NAME) == NOBODY)
    );
    assert!(failed.count() <= awaited);
    let left = soon(channel.wait_for_confirms()).await.unwrap();
    assert_eq!(awaited + left.len(), MESSAGES / 2);
}
