//! E06: a delivery is counted once, wherever that is.

use otel_ml::messaging::{Client, process, process_batch, receive};
use otel_ml::{ErrorType, MlSpan, Outcome, Since};
use otel_ml_semconv::{error, gen_ai, messaging as keys, ml};
use otel_ml_testing::TestTelemetry;

use super::{Letter, SYSTEM, options};
use crate::carriers::Records;
use crate::support::{counter, labels, series};

/// All deliveries that were counted.
fn consumed(test: &TestTelemetry) -> i64 {
    let metrics = test.metrics();
    let name = keys::metric::CLIENT_CONSUMED_MESSAGES.name;
    if !metrics.has(name) {
        return 0;
    }
    assert!(metrics.is_monotonic(name));
    let value = |point: &&otel_ml_testing::NumberPoint| match point.value() {
        otel_ml_testing::Number::Int(value) => value,
        other => panic!("{other:?}"),
    };
    metrics.sum(name).points().iter().map(value).sum()
}

#[test]
fn e06_a_delivery_is_counted_once_also_where_it_was_received_before() {
    for is_received in [false, true] {
        let test = TestTelemetry::new();
        let letter = Letter {
            is_counted: is_received,
            ..Letter::traced()
        };
        if is_received {
            let letters = [letter.clone(), letter.clone()];
            receive(
                "poll",
                &Client::of(SYSTEM),
                &letters,
                Since::now(),
                &options(&test),
            )
            .unwrap()
            .finish(Outcome::Ok);
            assert_eq!(consumed(&test), 2);
        }
        for _ in 0..2 {
            process(&letter, &options(&test)).finish(Outcome::Ok);
        }
        assert_eq!(consumed(&test), 2);
        // Delivered again, so counted again.
        process(
            &Letter {
                attempt: 2,
                is_counted: false,
                ..letter
            },
            &options(&test),
        )
        .finish(Outcome::Ok);
        assert_eq!(consumed(&test), 3);
    }
}

#[test]
fn processing_has_its_own_duration_and_labels() {
    let test = TestTelemetry::new();
    let letter = Letter {
        destination: Letter::traced().destination.partition("3"),
        group: Some("scorers"),
        ..Letter::traced()
    };
    process(&letter, &options(&test)).finish(Outcome::Failed(ErrorType::TIMEOUT));
    let labels = labels![
        error::TYPE => "timeout", keys::SYSTEM_NAME => SYSTEM, keys::OPERATION_NAME => "process",
        keys::DESTINATION_NAME => "jobs", keys::DESTINATION_PARTITION_ID => "3",
        keys::CONSUMER_GROUP_NAME => "scorers",
    ];
    assert_eq!(
        series(&test, &keys::metric::PROCESS_DURATION, &labels).count(),
        1
    );
    assert_eq!(
        counter(&test, &keys::metric::CLIENT_CONSUMED_MESSAGES, &labels),
        1
    );
    assert!(
        !test
            .metrics()
            .has(keys::metric::CLIENT_OPERATION_DURATION.name)
    );
}

#[test]
fn e23_processing_is_measured_where_nothing_is_sampled() {
    let test = TestTelemetry::builder().always_off().build();
    process(&Letter::traced(), &options(&test)).finish(Outcome::Ok);
    let labels = labels![
        keys::SYSTEM_NAME => SYSTEM, keys::OPERATION_NAME => "process",
        keys::DESTINATION_NAME => "jobs",
    ];
    assert_eq!(
        series(&test, &keys::metric::PROCESS_DURATION, &labels).count(),
        1
    );
    assert_eq!(
        counter(&test, &keys::metric::CLIENT_CONSUMED_MESSAGES, &labels),
        1
    );
}

#[test]
fn a_consumer_that_serves_a_model_has_the_metrics_of_a_model_server() {
    let test = TestTelemetry::new();
    let mut operation = process(&Letter::traced(), &options(&test));
    operation.scope(|| {
        MlSpan::current()
            .gen_ai_operation("chat")
            .provider("own")
            .request_model("m")
            .first_token();
    });
    operation.finish(Outcome::Ok);
    let labels = labels![
        gen_ai::OPERATION_NAME => "chat", gen_ai::PROVIDER_NAME => "own",
        gen_ai::REQUEST_MODEL => "m",
    ];
    assert_eq!(
        series(&test, &gen_ai::metric::SERVER_REQUEST_DURATION, &labels).count(),
        1
    );
    assert_eq!(
        series(&test, &gen_ai::metric::SERVER_TIME_TO_FIRST_TOKEN, &labels).count(),
        1
    );
}

/// Whatever reads the headers again finds the same.
#[test]
fn e01_what_is_wrong_with_a_message_is_counted_once_also_where_it_was_received_before() {
    let anomalies = |test: &TestTelemetry| {
        let metrics = test.metrics();
        let counted = metrics.sum(ml::metric::PROPAGATION_ANOMALIES.name);
        counted.with(ml::PROPAGATION_ANOMALY, "malformed").int()
    };
    for is_received in [false, true] {
        let test = TestTelemetry::new();
        let letters = [Letter {
            headers: Records::default().with("traceparent", "junk"),
            is_counted: is_received,
            ..Letter::traced()
        }];
        let options = options(&test);
        if is_received {
            let client = Client::of(SYSTEM);
            let poll = receive("poll", &client, &letters, Since::now(), &options);
            poll.unwrap().finish(Outcome::Ok);
            assert_eq!(anomalies(&test), 1);
            process_batch(&letters, &options)
                .unwrap()
                .finish(Outcome::Ok);
        }
        process(&letters[0], &options).finish(Outcome::Ok);
        assert_eq!(anomalies(&test), 1, "received: {is_received}");
        // The next one is another's.
        let other = Letter {
            is_counted: false,
            ..letters[0].clone()
        };
        process(&other, &options).finish(Outcome::Ok);
        assert_eq!(anomalies(&test), 2, "received: {is_received}");
    }
}
