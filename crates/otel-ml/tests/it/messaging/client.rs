//! Sending, receiving and settling, as a transport does them.

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanKind, TraceContextExt};
use otel_ml::messaging::{Client, Destination, process, receive, send, settle};
use otel_ml::{CancelReason, Detail, ErrorType, Options, Outcome, Since, stage};
use otel_ml_semconv::{error, kafka, messaging as keys, ml, server};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_tree, assert_types, span};

use super::{Letter, SYSTEM, options};
use crate::carriers::Records;
use crate::support::{counter, labels, remote, series};

const TOPIC: Destination<'static> = Destination::named("jobs");

fn client() -> Client<'static> {
    Client::of(SYSTEM)
        .id("client-1")
        .server("broker.example.com", 9092)
}

fn base(operation: &'static str, kind: Option<&'static str>) -> Vec<KeyValue> {
    let mut labels = labels![
        keys::DESTINATION_NAME => "jobs", keys::OPERATION_NAME => operation,
        keys::SYSTEM_NAME => SYSTEM, server::ADDRESS => "broker.example.com", server::PORT => 9092,
    ];
    labels.extend(kind.map(|kind| KeyValue::new(keys::OPERATION_TYPE, kind)));
    labels.sort_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
    labels
}

fn with_error(error: &'static str, labels: Vec<KeyValue>) -> Vec<KeyValue> {
    std::iter::once(KeyValue::new(error::TYPE, error))
        .chain(labels)
        .collect()
}

#[test]
fn sending_is_a_producer_span_whose_context_travels() {
    let test = TestTelemetry::new();
    let options = options(&test);
    let mut sent = Records::default();
    stage("around")
        .telemetry(&options.telemetry)
        .in_scope_infallible(|| {
            let operation = send("send", &client(), &TOPIC, None, None, &options, |to| {
                to.push("app.k", 1);
            });
            options
                .telemetry
                .inject(operation.context().unwrap(), &mut sent);
            operation.finish(Outcome::Ok);
        });
    assert_tree!(test.spans(), {
        "around" => ["send jobs" [producer, unset, only_attrs] {
            (keys::SYSTEM_NAME) = SYSTEM,
            (keys::OPERATION_NAME) = "send",
            (keys::OPERATION_TYPE) = "send",
            (keys::DESTINATION_NAME) = "jobs",
            (keys::CLIENT_ID) = "client-1",
            (server::ADDRESS) = "broker.example.com",
            (server::PORT) = 9092,
            "app.k" = 1,
        }],
    });
    assert_types(&test.spans());
    let received = options
        .telemetry
        .extract(&sent)
        .span()
        .span_context()
        .clone();
    assert_eq!(
        received.span_id(),
        test.spans().named("send jobs").span_context.span_id()
    );
    let duration = base("send", Some("send"));
    assert_eq!(
        series(&test, &keys::metric::CLIENT_OPERATION_DURATION, &duration).count(),
        1
    );
    assert_eq!(
        counter(
            &test,
            &keys::metric::CLIENT_SENT_MESSAGES,
            &base("send", None)
        ),
        1
    );
}

#[test]
fn a_message_that_keeps_its_context_is_sent_by_a_client_span_that_links_to_it() {
    let test = TestTelemetry::new();
    let operation = send(
        "send",
        &client(),
        &TOPIC,
        Some(remote(1)),
        None,
        &options(&test),
        |_| (),
    );
    operation.finish(Outcome::Ok);
    let expected = span("send jobs")
        .kind(SpanKind::Client)
        .unset()
        .links([&remote(1)]);
    otel_ml_testing::assert_tree(&test.spans(), vec![expected]);
    assert_eq!(
        counter(
            &test,
            &keys::metric::CLIENT_SENT_MESSAGES,
            &base("send", None)
        ),
        1
    );
}

#[test]
fn e11_a_send_that_fails_is_counted_with_its_error() {
    let cases = [
        (Outcome::Failed(ErrorType::new("QueueFull")), "QueueFull"),
        (Outcome::Cancelled(CancelReason::Dropped), "cancelled"),
        (Outcome::Cancelled(CancelReason::Shutdown), "shutdown"),
    ];
    for (outcome, expected) in cases {
        let test = TestTelemetry::new();
        send(
            "send",
            &client(),
            &TOPIC,
            None,
            None,
            &options(&test),
            |_| (),
        )
        .finish(outcome);
        assert_eq!(test.spans().named("send jobs").str(error::TYPE), expected);
        let duration = with_error(expected, base("send", Some("send")));
        assert_eq!(
            series(&test, &keys::metric::CLIENT_OPERATION_DURATION, &duration).count(),
            1
        );
        let sent = with_error(expected, base("send", None));
        assert_eq!(
            counter(&test, &keys::metric::CLIENT_SENT_MESSAGES, &sent),
            1
        );
    }
}

/// The broker chooses the partition, and says so in its answer.
#[test]
fn the_partition_that_the_broker_chose_is_on_the_span_and_the_metrics_once() {
    for (chosen_before, topic) in [(false, TOPIC), (true, TOPIC.partition("3"))] {
        let test = TestTelemetry::new();
        let mut operation = send(
            "send",
            &client(),
            &topic,
            None,
            None,
            &options(&test),
            |_| (),
        );
        operation.record_mut().unwrap().stored_in("3".into());
        operation.finish(Outcome::Ok);
        let mut labels = base("send", Some("send"));
        labels.push(KeyValue::new(keys::DESTINATION_PARTITION_ID, "3"));
        labels.sort_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
        let duration = series(&test, &keys::metric::CLIENT_OPERATION_DURATION, &labels);
        assert_eq!(duration.count(), 1);
        let span = test.spans().named("send jobs").clone();
        assert_eq!(
            span.str(keys::DESTINATION_PARTITION_ID),
            "3",
            "{chosen_before:?}"
        );
        let is_partition = |a: &&KeyValue| a.key.as_str() == keys::DESTINATION_PARTITION_ID;
        assert_eq!(
            span.attributes.iter().filter(is_partition).count(),
            1,
            "{chosen_before:?}"
        );
    }
}

#[test]
fn receiving_is_a_client_span_that_links_and_does_not_parent() {
    let test = TestTelemetry::new();
    let options = options(&test);
    let client = client().consumer_group("scorers");
    stage("loop")
        .telemetry(&options.telemetry)
        .in_scope_infallible(|| {
            receive("poll", &client, &[Letter::traced()], Since::now(), &options)
                .unwrap()
                .finish(Outcome::Ok);
        });
    let expected = span("poll jobs")
        .kind(SpanKind::Client)
        .unset()
        .links([&remote(1)])
        .attr(keys::OPERATION_TYPE, "receive")
        .attr(keys::BATCH_MESSAGE_COUNT, 1)
        .attr(keys::CONSUMER_GROUP_NAME, "scorers");
    otel_ml_testing::assert_tree(&test.spans(), vec![span("loop").child(expected)]);
    let link = test.spans().named("poll jobs").links[0].clone();
    assert_eq!(link.attributes, [KeyValue::new(kafka::OFFSET, 42)]);
    let mut labels = base("poll", Some("receive"));
    labels.insert(0, KeyValue::new(keys::CONSUMER_GROUP_NAME, "scorers"));
    assert_eq!(
        series(&test, &keys::metric::CLIENT_OPERATION_DURATION, &labels).count(),
        1
    );
    labels.retain(|label| label.key.as_str() != keys::OPERATION_TYPE);
    assert_eq!(
        counter(&test, &keys::metric::CLIENT_CONSUMED_MESSAGES, &labels),
        1
    );
    assert!(!test.metrics().has(keys::metric::CLIENT_SENT_MESSAGES.name));
}

#[test]
fn e12_settling_is_a_child_of_the_processing_and_has_its_own_error() {
    let test = TestTelemetry::new();
    let options = options(&test);
    let mut operation = process(&Letter::traced(), &options);
    operation.scope(|| {
        settle("ack", &client(), &TOPIC, &options, |_| ()).finish(Outcome::Ok);
        let closed = Outcome::Failed(ErrorType::new("InvalidChannelState"));
        settle("nack", &client(), &TOPIC, &options, |_| ()).finish(closed);
    });
    operation.finish(Outcome::Ok);
    assert_tree!(test.spans(), {
        "process jobs" [consumer, unset] => [
            "ack jobs" [client, unset] { (keys::OPERATION_TYPE) = "settle" },
            "nack jobs" [client, error] { (error::TYPE) = "InvalidChannelState" },
        ],
    });
    let acked = base("ack", Some("settle"));
    assert_eq!(
        series(&test, &keys::metric::CLIENT_OPERATION_DURATION, &acked).count(),
        1
    );
    let nacked = with_error("InvalidChannelState", base("nack", Some("settle")));
    assert_eq!(
        series(&test, &keys::metric::CLIENT_OPERATION_DURATION, &nacked).count(),
        1
    );
    assert!(!test.metrics().has(keys::metric::CLIENT_SENT_MESSAGES.name));
}

#[test]
fn a_caller_that_gives_up_on_receiving_or_settling_makes_no_error() {
    let test = TestTelemetry::new();
    let options = options(&test);
    drop(
        receive(
            "poll",
            &client(),
            &[Letter::traced()],
            Since::now(),
            &options,
        )
        .unwrap(),
    );
    drop(settle("ack", &client(), &TOPIC, &options, |_| ()));
    for span in test.spans() {
        assert!(!span.is_error() && !span.has(error::TYPE), "{}", span.name);
        assert_eq!(span.str(ml::CANCEL_REASON), "dropped");
    }
    assert_eq!(test.spans().len(), 2);
}

#[test]
fn minimal_detail_leaves_the_clients_name_out() {
    let test = TestTelemetry::new();
    let options = Options {
        detail: Detail::Minimal,
        ..options(&test)
    };
    send("send", &client(), &TOPIC, None, None, &options, |_| ()).finish(Outcome::Ok);
    assert!(!test.spans().named("send jobs").has(keys::CLIENT_ID));
}

/// E23: below an unsampled span a message carries that span's context, not a new one.
#[test]
fn e23_an_unsampled_producer_passes_on_what_is_current() {
    let test = TestTelemetry::new();
    let options = options(&test);
    let _attached = crate::support::remote_context(2).attach();
    let operation = send("send", &client(), &TOPIC, None, None, &options, |_| ());
    assert_eq!(operation.span_context(), remote(2));
    operation.finish(Outcome::Ok);
    assert!(test.spans().is_empty());
    assert_eq!(
        counter(
            &test,
            &keys::metric::CLIENT_SENT_MESSAGES,
            &base("send", None)
        ),
        1
    );
}

/// It began with the waiting, which is most of it.
#[test]
fn a_receipt_lasts_from_the_moment_it_is_told() {
    let test = TestTelemetry::new();
    let since = Since::now();
    let began = std::time::SystemTime::now();
    let letters = [Letter::traced()];
    let operation = receive("poll", &client(), &letters, since, &options(&test)).unwrap();
    let after = std::time::SystemTime::now();
    operation.finish(Outcome::Ok);
    let span = test.spans().named("poll jobs").clone();
    assert!(span.start_time <= began, "not when the span was made");
    assert!(span.end_time >= after);
}

#[test]
fn what_only_the_answer_tells_is_on_the_span_and_no_label() {
    let test = TestTelemetry::new();
    let options = options(&test);
    let named = Some("enqueue".into());
    let mut operation = send("send", &client(), &TOPIC, None, named, &options, |_| ());
    operation.record_mut().unwrap().tell(kafka::OFFSET, 42);
    operation.finish(Outcome::Ok);
    assert_eq!(test.spans().named("enqueue").int(kafka::OFFSET), 42);
    let duration = base("send", Some("send"));
    let series = series(&test, &keys::metric::CLIENT_OPERATION_DURATION, &duration);
    assert_eq!(series.count(), 1);
}
