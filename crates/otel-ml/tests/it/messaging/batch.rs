//! E03, E05: several messages at once.

use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::{SpanData, SpanLimits};
use otel_ml::messaging::{Client, Destination, MAX_LINKS, process_batch, receive};
use otel_ml::{Detail, ErrorType, MlSpan, Options, Outcome, ParentPolicy, Since, stage};
use otel_ml_semconv::{error, kafka, messaging as keys, ml};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_tree, assert_types};

use super::{Letter, SYSTEM, options};
use crate::carriers::Records;
use crate::support::{counter, labels, series};

/// The `number`th message of a batch, of a sender of its own.
fn letter(topic: &'static str, partition: &'static str, number: u64) -> Letter {
    let parent = format!("00-{:032x}-{:016x}-01", number + 1, number + 1);
    Letter {
        destination: Destination::named(topic).partition(partition),
        headers: Records::default().with("traceparent", parent),
        offset: i64::try_from(number).unwrap(),
        ..Letter::traced()
    }
}

fn letters(count: u64) -> Vec<Letter> {
    (0..count)
        .map(|number| letter("jobs", "3", number))
        .collect()
}

/// Processes and receives a batch; the two spans.
fn both(test: &TestTelemetry, letters: &[Letter], options: &Options) -> [SpanData; 2] {
    process_batch(letters, options).unwrap().finish(Outcome::Ok);
    receive("poll", &Client::of(SYSTEM), letters, Since::now(), options)
        .unwrap()
        .finish(Outcome::Ok);
    let spans = test.take_spans();
    assert_types(&spans);
    spans.try_into().unwrap()
}

fn senders(span: &SpanData) -> Vec<u64> {
    let id = |link: &opentelemetry::trace::Link| {
        u64::from_be_bytes(link.span_context.span_id().to_bytes())
    };
    span.links.iter().map(id).collect()
}

#[test]
fn e03_no_messages_are_no_span_and_no_metric() {
    let test = TestTelemetry::new();
    let none: [Letter; 0] = [];
    assert!(process_batch(&none, &options(&test)).is_none());
    assert!(
        receive(
            "poll",
            &Client::of(SYSTEM),
            &none,
            Since::now(),
            &options(&test)
        )
        .is_none()
    );
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    assert_eq!(test.metrics().names(), [""; 0]);
}

#[test]
fn a_batch_links_to_each_sender_and_tells_on_the_span_what_all_have() {
    let test = TestTelemetry::new();
    let [processed, received] = both(&test, &letters(3), &options(&test));
    for (span, name) in [(&processed, "process jobs"), (&received, "poll jobs")] {
        assert_eq!(span.name, name);
        assert_eq!(senders(span), [1, 2, 3]);
        assert_eq!(span.int(keys::BATCH_MESSAGE_COUNT), 3);
        assert_eq!(span.str(keys::DESTINATION_NAME), "jobs");
        assert_eq!(span.str(keys::DESTINATION_PARTITION_ID), "3");
        assert!(!span.has(kafka::OFFSET) && !span.has(ml::LINKS_DROPPED));
        for (number, link) in (0..).zip(span.links.iter()) {
            assert_eq!(link.attributes, [KeyValue::new(kafka::OFFSET, number)]);
        }
    }
    assert_eq!(processed.parent(), None);
}

#[test]
fn e05_what_differs_moves_to_the_links() {
    let test = TestTelemetry::new();
    let two_partitions = [letter("jobs", "3", 0), letter("jobs", "4", 1)];
    for span in both(&test, &two_partitions, &options(&test)) {
        assert!(span.name.ends_with(" jobs"));
        assert_eq!(span.str(keys::DESTINATION_NAME), "jobs");
        assert!(!span.has(keys::DESTINATION_PARTITION_ID));
        for (link, partition) in span.links.iter().zip(["3", "4"]) {
            let partition = KeyValue::new(keys::DESTINATION_PARTITION_ID, partition);
            assert!(link.attributes.contains(&partition));
            assert_eq!(link.attributes.len(), 2);
        }
    }
    let two_topics = [letter("jobs", "3", 0), letter("mail", "3", 1)];
    for span in both(&test, &two_topics, &options(&test)) {
        assert!(matches!(&*span.name, "process" | "poll"), "{}", span.name);
        assert!(!span.has(keys::DESTINATION_NAME));
        assert!(!span.has(keys::DESTINATION_PARTITION_ID));
        for (link, topic) in span.links.iter().zip(["jobs", "mail"]) {
            for attribute in [
                KeyValue::new(keys::DESTINATION_NAME, topic),
                KeyValue::new(keys::DESTINATION_PARTITION_ID, "3"),
            ] {
                assert!(
                    link.attributes.contains(&attribute),
                    "{:?}",
                    link.attributes
                );
            }
        }
    }
}

#[test]
fn e05_links_are_capped_and_the_rest_is_counted() {
    let limits = SpanLimits {
        max_links_per_span: 1000,
        ..SpanLimits::default()
    };
    let cap = MAX_LINKS as u64;
    for (count, dropped) in [(cap, None), (cap + 1, Some(1)), (cap + 72, Some(72))] {
        let test = TestTelemetry::builder().span_limits(limits).build();
        for span in both(&test, &letters(count), &options(&test)) {
            assert_eq!(span.links.len(), MAX_LINKS);
            let told = span
                .has(ml::LINKS_DROPPED)
                .then(|| span.int(ml::LINKS_DROPPED));
            assert_eq!(told, dropped, "{}", span.name);
            assert_eq!(
                span.int(keys::BATCH_MESSAGE_COUNT),
                i64::try_from(count).unwrap()
            );
        }
    }
}

/// A message without a sender takes no link away from one that has a sender.
#[test]
fn e05_only_links_are_counted_and_capped() {
    let test = TestTelemetry::new();
    let untraced = Letter {
        headers: Records::default(),
        ..letter("jobs", "3", 0)
    };
    let mut mixed = vec![untraced; 100];
    mixed.extend(letters(100));
    for span in both(&test, &mixed, &options(&test)) {
        assert_eq!(span.links.len(), 100, "{}", span.name);
        assert!(!span.has(ml::LINKS_DROPPED), "{}", span.name);
        assert_eq!(span.int(keys::BATCH_MESSAGE_COUNT), 200);
    }
}

#[test]
fn a_batch_is_below_the_span_around_it_and_never_below_a_sender() {
    for parent in [
        ParentPolicy::Auto,
        ParentPolicy::Child,
        ParentPolicy::Link,
        ParentPolicy::Ignore,
    ] {
        let test = TestTelemetry::new();
        let options = Options {
            parent,
            ..options(&test)
        };
        stage("ambient")
            .telemetry(&options.telemetry)
            .in_scope_infallible(|| {
                process_batch(&letters(2), &options)
                    .unwrap()
                    .finish(Outcome::Ok);
            });
        assert_tree!(test.spans(), { "ambient" => ["process jobs" [consumer, unset]] });
        let links = senders(test.spans().named("process jobs"));
        let expected = if parent == ParentPolicy::Ignore {
            vec![]
        } else {
            vec![1, 2]
        };
        assert_eq!(links, expected, "{parent:?}");
    }
}

#[test]
fn minimal_detail_leaves_what_is_a_messages_own_off_the_links() {
    let test = TestTelemetry::new();
    let options = Options {
        detail: Detail::Minimal,
        ..options(&test)
    };
    for span in both(&test, &letters(2), &options) {
        assert!(span.links.iter().all(|link| link.attributes.is_empty()));
    }
}

#[test]
fn a_batch_is_measured_once_and_its_messages_each() {
    let test = TestTelemetry::new();
    let mut letters = letters(4);
    letters[0].is_counted = true;
    let mut operation = process_batch(&letters, &options(&test)).unwrap();
    operation.scope(|| {
        MlSpan::current()
            .model("fraud")
            .batch_size(4)
            .set("k", 1_i64)
            .is_recording()
    });
    operation.finish(Outcome::Failed(ErrorType::TIMEOUT));
    let labels = labels![
        error::TYPE => "timeout", keys::SYSTEM_NAME => SYSTEM, keys::OPERATION_NAME => "process",
        keys::DESTINATION_NAME => "jobs", keys::DESTINATION_PARTITION_ID => "3",
    ];
    assert_eq!(
        series(&test, &keys::metric::PROCESS_DURATION, &labels).count(),
        1
    );
    assert_eq!(
        counter(&test, &keys::metric::CLIENT_CONSUMED_MESSAGES, &labels),
        3
    );
    assert_eq!(test.spans().named("process jobs").int(ml::BATCH_SIZE), 4);
}
