use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use otel_ml_testing::{Number, TestTelemetry};

use crate::message_of;

fn recorded() -> TestTelemetry {
    let test = TestTelemetry::new();
    let meter = test.meter_provider().meter("t");
    let duration = meter
        .f64_histogram("duration")
        .with_unit("s")
        .with_boundaries(vec![0.1, 1.0])
        .build();
    let ok = [KeyValue::new("route", "/x"), KeyValue::new("code", 200)];
    duration.record(0.5, &ok);
    duration.record(0.05, &ok);
    duration.record(
        5.0,
        &[
            KeyValue::new("route", "/x"),
            KeyValue::new("code", 500),
            KeyValue::new("error", "e"),
        ],
    );
    let active = meter.i64_up_down_counter("active").build();
    active.add(1, &[KeyValue::new("route", "/x")]);
    active.add(-1, &[KeyValue::new("route", "/x")]);
    meter.u64_counter("hits").build().add(3, &[]);
    meter.f64_gauge("load").build().record(0.5, &[]);
    meter.u64_histogram("tokens").build().record(7, &[]);
    test
}

#[test]
fn a_series_is_chosen_by_label_value_and_type() {
    let metrics = recorded().metrics();
    assert_eq!(
        metrics.names(),
        ["active", "duration", "hits", "load", "tokens"]
    );
    assert_eq!(metrics.unit("duration"), "s");

    let duration = metrics.histogram("duration");
    assert_eq!(duration.count(), 3);
    let ok = duration.clone().with("route", "/x").with("code", 200).one();
    assert_eq!((ok.count(), ok.sum()), (2, 0.55));
    assert_eq!((ok.min(), ok.max()), (Some(0.05), Some(0.5)));
    assert_eq!(ok.bounds(), [0.1, 1.0]);
    assert_eq!(ok.bucket_counts(), [1, 1, 0]);
    assert_eq!(ok.label_keys(), ["code", "route"]);
    assert_eq!(ok.labels()[0], KeyValue::new("code", 200));
    assert!(
        duration.clone().with("code", "200").is_empty(),
        "a string is not an integer"
    );
    assert_eq!(duration.clone().without("error").points(), [ok]);
    assert_eq!(duration.with("error", "e").sum(), 5.0);
    assert_eq!(metrics.histogram("tokens").sum(), 7.0);
}

#[test]
fn numbers_keep_their_type() {
    let metrics = recorded().metrics();
    assert_eq!(metrics.sum("hits").int(), 3);
    assert!(metrics.is_monotonic("hits") && !metrics.is_monotonic("active"));
    metrics.sum("active").assert_zero();
    assert_eq!(metrics.gauge("load").double(), 0.5);
    assert_eq!(metrics.gauge("load").one().value(), Number::Double(0.5));
    let message = message_of(|| metrics.gauge("load").int());
    assert!(message.contains("`load` holds floats"), "{message}");
    let message = message_of(|| metrics.sum("hits").double());
    assert!(message.contains("`hits` holds integers"), "{message}");
    let message = message_of(|| metrics.sum("hits").assert_zero());
    assert!(message.contains("3 {}"), "{message}");
}

#[test]
fn an_increment_and_a_decrement_with_other_labels_are_not_zero() {
    let test = TestTelemetry::new();
    let active = test
        .meter_provider()
        .meter("t")
        .i64_up_down_counter("active")
        .build();
    active.add(1, &[KeyValue::new("route", "/x")]);
    active.add(-1, &[]);
    let message = message_of(|| test.metrics().sum("active").assert_zero());
    assert!(message.contains("1 {route=\"/x\"}"), "{message}");
}

#[test]
fn a_failure_lists_what_there_is() {
    let metrics = recorded().metrics();
    let message = message_of(|| metrics.histogram("durations"));
    assert!(message.contains("no metric `durations`"), "{message}");
    assert!(
        message.contains(
            "duration (histogram, \"s\")\n    2 values, sum 0.55 {code=200, route=\"/x\"}"
        ) || message.contains("    1 values, sum 5.0 {code=500, error=\"e\", route=\"/x\"}"),
        "{message}"
    );
    let message = message_of(|| metrics.sum("duration"));
    assert!(message.contains("`duration` is no sum"), "{message}");
    let message = message_of(|| metrics.histogram("duration").one());
    assert!(
        message.contains("2 series of `duration` are chosen, expected one"),
        "{message}"
    );
    let message = message_of(|| metrics.histogram("duration").with("code", 404).count());
    assert!(
        message.contains("no series of `duration` is chosen"),
        "{message}"
    );
    let message = message_of(|| TestTelemetry::new().metrics().gauge("x").int());
    assert!(message.contains("(no metrics)"), "{message}");
}

#[test]
fn a_later_look_sees_later_values() {
    let test = recorded();
    assert_eq!(test.metrics().sum("hits").int(), 3);
    test.meter_provider()
        .meter("t")
        .u64_counter("hits")
        .build()
        .add(1, &[]);
    assert_eq!(test.metrics().sum("hits").int(), 4);
}
