//! What an outcome means for a span and for a metric, by the kind of span.

use opentelemetry::trace::{SpanKind, Status};
use otel_ml::{CancelReason, ErrorType, Operation, Outcome};
use otel_ml_semconv::{error, http, ml};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry};

use super::Ends;
use crate::support::{labels, series};

const KINDS: [SpanKind; 5] = [
    SpanKind::Client,
    SpanKind::Internal,
    SpanKind::Server,
    SpanKind::Producer,
    SpanKind::Consumer,
];

/// Outcome, `ml.cancel.reason`, `error.type` of client and internal spans, and of the others.
type Row = (
    Outcome,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
);

fn table() -> [Row; 7] {
    let cancelled = Outcome::Cancelled;
    [
        (Outcome::Ok, None, None, None),
        (
            Outcome::Failed("QueueFull".into()),
            None,
            Some("QueueFull"),
            Some("QueueFull"),
        ),
        (
            Outcome::Failed(ErrorType::from_status(503)),
            None,
            Some("503"),
            Some("503"),
        ),
        (
            cancelled(CancelReason::Dropped),
            Some("dropped"),
            None,
            Some("cancelled"),
        ),
        (
            cancelled(CancelReason::Reset),
            Some("reset"),
            Some("reset"),
            Some("reset"),
        ),
        (
            cancelled(CancelReason::Deadline),
            Some("deadline"),
            Some("timeout"),
            Some("timeout"),
        ),
        (
            cancelled(CancelReason::Shutdown),
            Some("shutdown"),
            Some("shutdown"),
            Some("shutdown"),
        ),
    ]
}

#[test]
fn e16_e17_every_outcome_of_every_kind() {
    for (outcome, reason, of_callers, of_others) in table() {
        for (index, kind) in KINDS.into_iter().enumerate() {
            let expected = if index < 2 { of_callers } else { of_others };
            let test = TestTelemetry::new();
            Operation::builder(&test.telemetry(), kind.clone(), "work".into())
                .start(Ends::default, |_| ())
                .finish(outcome.clone());

            let case = format!("{outcome:?} of {kind:?}");
            let span = test.spans().named("work").clone();
            assert_eq!(span.span_kind, kind, "{case}");
            let status = expected.map_or(Status::Unset, |_| Status::error(""));
            assert_eq!(span.status, status, "{case}");
            let text = |key| span.has(key).then(|| span.str(key));
            assert_eq!(text(error::TYPE), expected, "{case}");
            assert_eq!(text(ml::CANCEL_REASON), reason, "{case}");
            assert_eq!(
                span.attributes.len(),
                1 + usize::from(expected.is_some()) + usize::from(reason.is_some()),
                "{case}"
            );
            let labels = expected.map_or_else(Vec::new, |error| labels![error::TYPE => error]);
            let measured = series(&test, &http::metric::SERVER_REQUEST_DURATION, &labels);
            assert_eq!(measured.count(), 1, "{case}");
        }
    }
}

#[test]
fn every_reason_is_a_value_of_the_registry() {
    let reasons = [
        CancelReason::Dropped,
        CancelReason::NeverRun,
        CancelReason::Reset,
        CancelReason::Deadline,
        CancelReason::Shutdown,
    ];
    assert_eq!(
        reasons.map(CancelReason::as_str).as_slice(),
        ml::cancel_reason::ALL
    );
    assert_eq!(ErrorType::OTHER.as_str(), error::OTHER);
    assert_eq!(ErrorType::PANIC.as_str(), error::PANIC);
    assert_eq!(ErrorType::TIMEOUT.as_str(), error::TIMEOUT);
    let dropped = Outcome::Cancelled(CancelReason::Dropped).error(&SpanKind::Server);
    assert_eq!(
        dropped.as_ref().map(ErrorType::as_str),
        Some(error::CANCELLED)
    );
}

#[test]
fn a_result_is_ok_or_failed_with_the_name_of_its_errors_type() {
    assert_eq!(Outcome::of(&Ok::<u8, std::fmt::Error>(1)), Outcome::Ok);
    let failed = Outcome::of(&"x".parse::<u8>());
    assert_eq!(failed, Outcome::Failed("ParseIntError".into()));
    let boxed: Result<(), Box<dyn std::error::Error>> = Err("a message with details".into());
    assert_eq!(Outcome::of(&boxed), Outcome::Failed(ErrorType::OTHER));
}
