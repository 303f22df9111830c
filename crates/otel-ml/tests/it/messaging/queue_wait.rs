//! The time between sending and processing.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::SpanKind;
use otel_ml::messaging::{Destination, process, process_batch};
use otel_ml::{Options, Outcome, Telemetry};
use otel_ml_semconv::ml;
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_tree};

use super::{Letter, SYSTEM, options};
use crate::support::{labels, series};

fn run(letter: &Letter, options: &Options) {
    process(letter, options).finish(Outcome::Ok);
}

fn named() -> Vec<opentelemetry::KeyValue> {
    labels![ml::QUEUE_SYSTEM => SYSTEM, ml::QUEUE_NAME => "jobs"]
}

#[test]
fn the_wait_is_an_attribute_and_a_metric() {
    let test = TestTelemetry::new();
    run(
        &Letter::traced().aged(Duration::from_secs(5)),
        &options(&test),
    );
    let wait = test
        .spans()
        .named("process jobs")
        .double(ml::QUEUE_WAIT_DURATION);
    assert!((5.0..60.0).contains(&wait), "{wait}");
    let measured = series(&test, &ml::metric::QUEUE_WAIT_DURATION, &named());
    assert_eq!((measured.count(), measured.sum()), (1, wait));
}

#[test]
fn the_wait_is_never_negative() {
    let test = TestTelemetry::new();
    let mut letter = Letter::traced();
    letter.sent_at = Some(SystemTime::now() + Duration::from_hours(1));
    let options = Options {
        queue_wait_span: true,
        ..options(&test)
    };
    run(&letter, &options);
    let spans = test.spans();
    assert_eq!(
        spans.named("process jobs").double(ml::QUEUE_WAIT_DURATION),
        0.0
    );
    let wait = spans.named("queue_wait");
    assert!(wait.end_time >= wait.start_time);
    assert_eq!(
        series(&test, &ml::metric::QUEUE_WAIT_DURATION, &named()).sum(),
        0.0
    );
}

#[test]
fn without_a_send_time_there_is_none() {
    let test = TestTelemetry::new();
    let options = Options {
        queue_wait_span: true,
        ..options(&test)
    };
    run(&Letter::traced(), &options);
    assert!(
        !test
            .spans()
            .named("process jobs")
            .has(ml::QUEUE_WAIT_DURATION)
    );
    assert!(!test.metrics().has(ml::metric::QUEUE_WAIT_DURATION.name));
    assert_eq!(test.spans().len(), 1);
}

#[test]
fn on_request_the_wait_is_a_span_from_the_sending_to_the_processing() {
    for queue_wait_span in [false, true] {
        let test = TestTelemetry::new();
        let letter = Letter::traced().aged(Duration::from_secs(5));
        run(
            &letter,
            &Options {
                queue_wait_span,
                ..options(&test)
            },
        );
        if !queue_wait_span {
            assert_eq!(test.spans().len(), 1);
            continue;
        }
        assert_tree!(test.spans(), {
            "process jobs" [consumer] => ["queue_wait" [internal, unset, only_attrs]],
        });
        let spans = test.spans();
        let wait = spans.named("queue_wait");
        assert_eq!(wait.span_kind, SpanKind::Internal);
        assert_eq!(Some(wait.start_time), letter.sent_at);
        assert!(wait.duration() >= Duration::from_secs(5));
        assert!(wait.end_time <= spans.named("process jobs").end_time);
    }
}

#[test]
fn e23_the_wait_is_measured_also_where_nothing_is_sampled() {
    let test = TestTelemetry::builder().always_off().build();
    let options = Options {
        queue_wait_span: true,
        ..options(&test)
    };
    run(&Letter::traced().aged(Duration::from_secs(5)), &options);
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    assert_eq!(
        series(&test, &ml::metric::QUEUE_WAIT_DURATION, &named()).count(),
        1
    );
}

#[test]
fn each_message_of_a_batch_has_waited() {
    let test = TestTelemetry::new();
    let letters = [5, 7, 9].map(|s| Letter::traced().aged(Duration::from_secs(s)));
    let mut letters = letters.to_vec();
    letters.push(Letter::traced());
    process_batch(&letters, &options(&test))
        .unwrap()
        .finish(Outcome::Ok);
    let measured = series(&test, &ml::metric::QUEUE_WAIT_DURATION, &named());
    assert_eq!(measured.count(), 3);
    assert!(measured.sum() >= 21.0);
}

#[test]
fn e14_the_queues_name_is_a_label_only_where_it_is_bounded() {
    let test = TestTelemetry::new();
    let letter = Letter {
        destination: Destination::named("amq.gen-1").anonymous(),
        ..Letter::traced().aged(Duration::from_secs(5))
    };
    run(&letter, &options(&test));
    let labels = labels![ml::QUEUE_SYSTEM => SYSTEM];
    assert_eq!(
        series(&test, &ml::metric::QUEUE_WAIT_DURATION, &labels).count(),
        1
    );
}

#[test]
fn where_nothing_is_installed_nothing_is_measured() {
    let telemetry = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build();
    let options = Options {
        telemetry,
        queue_wait_span: true,
        ..Options::default()
    };
    run(&Letter::traced().aged(Duration::from_secs(5)), &options);
}
