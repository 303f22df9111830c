//! Messages that are delivered again, or late.

use std::time::{Duration, SystemTime};

use otel_ml::{Options, ParentPolicy};
use otel_ml_semconv::ml::propagation_anomaly;
use otel_ml_testing::{SpanExt, TestTelemetry};

use super::processed::{Of, processed};
use super::{Letter, SYSTEM, options};
use crate::carriers::Records;
use crate::support::anomalies;

use Of::{Ambient, Nobody, Sender};

#[test]
fn a_redelivered_message_starts_a_trace_and_links_to_its_sender() {
    let to_root = (Nobody, vec![Sender], Some("pro"));
    let cases = [
        (ParentPolicy::Link, false, to_root.clone()),
        (ParentPolicy::Link, true, to_root),
        (
            ParentPolicy::Child,
            false,
            (Sender, vec![Sender], Some("pro")),
        ),
        (
            ParentPolicy::Auto,
            true,
            (Ambient, vec![Sender], Some("pro")),
        ),
        (ParentPolicy::Ignore, false, (Nobody, vec![], None)),
    ];
    for (on_redelivery, in_span, expected) in cases {
        let test = TestTelemetry::new();
        let options = Options {
            on_redelivery,
            ..options(&test)
        };
        let letter = Letter {
            attempt: 3,
            ..Letter::traced()
        };
        let processed = processed(&test, &letter, &options, in_span);
        assert_eq!(processed.facts(), expected, "{on_redelivery:?}, {in_span}");
        assert_eq!(processed.span.int("ml.message.attempt"), 3);
    }
}

#[test]
fn e07_a_redelivered_message_without_a_sender_stays_in_the_trace_around_it() {
    let test = TestTelemetry::new();
    let letter = Letter {
        attempt: 3,
        headers: Records::default(),
        ..Letter::traced()
    };
    let processed = processed(&test, &letter, &options(&test), true);
    assert_eq!(processed.facts(), (Ambient, vec![], None));
}

#[test]
fn a_policy_that_was_chosen_holds_for_every_attempt_and_age() {
    let test = TestTelemetry::new();
    let options = Options {
        parent: ParentPolicy::Child,
        ..options(&test)
    };
    let letter = Letter {
        attempt: 3,
        ..Letter::traced()
    }
    .aged(Duration::from_hours(24));
    let processed = processed(&test, &letter, &options, false);
    assert_eq!(processed.parent(), Sender);
    assert_eq!(anomalies(&test, propagation_anomaly::STALE, SYSTEM), 0);
}

#[test]
fn a_message_over_age_starts_a_trace_links_to_its_sender_and_is_counted() {
    let hours = Duration::from_hours;
    let cases = [
        (Some(hours(1)), hours(2), true),
        (Some(hours(1)), Duration::ZERO, false),
        (Some(hours(3)), hours(2), false),
        (Some(Duration::ZERO), Duration::ZERO, true),
        (None, hours(1000), false),
    ];
    for (stale_after, age, is_stale) in cases {
        for in_span in [false, true] {
            let test = TestTelemetry::new();
            let options = Options {
                stale_after,
                ..options(&test)
            };
            let letter = Letter::traced().aged(age);
            let processed = processed(&test, &letter, &options, in_span);
            let expected = match (is_stale, in_span) {
                (true, _) => Nobody,
                (false, false) => Sender,
                (false, true) => Ambient,
            };
            let case = format!("{stale_after:?} {age:?} {in_span}");
            assert_eq!(
                processed.facts(),
                (expected, vec![Sender], Some("pro")),
                "{case}"
            );
            let counted = anomalies(&test, propagation_anomaly::STALE, SYSTEM);
            assert_eq!(counted, i64::from(is_stale), "{case}");
        }
    }
}

#[test]
fn a_sender_whose_clock_is_ahead_is_not_stale() {
    let test = TestTelemetry::new();
    let mut letter = Letter::traced();
    letter.sent_at = Some(SystemTime::now() + Duration::from_hours(2));
    assert_eq!(
        processed(&test, &letter, &options(&test), false).parent(),
        Sender
    );
}

#[test]
fn an_old_message_without_a_sender_is_no_anomaly() {
    let test = TestTelemetry::new();
    let letter = Letter {
        headers: Records::default(),
        ..Letter::traced()
    };
    let letter = letter.aged(Duration::from_hours(2));
    assert_eq!(
        processed(&test, &letter, &options(&test), false).parent(),
        Nobody
    );
    assert_eq!(anomalies(&test, propagation_anomaly::STALE, SYSTEM), 0);
}
