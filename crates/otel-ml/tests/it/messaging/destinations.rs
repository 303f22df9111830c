//! E14: what names and labels may hold of a destination.

use opentelemetry::KeyValue;
use otel_ml::messaging::{Client, Destination, process, receive, send, settle};
use otel_ml::{Options, Outcome, Since};
use otel_ml_semconv::messaging as keys;
use otel_ml_testing::{SpanExt, TestTelemetry, assert_types};

use super::{Letter, SYSTEM, options};

const GENERATED: &str = "amq.gen-JzTY20BRgKO-HjmUJj0wLg";

struct Case {
    destination: Destination<'static>,
    /// After the operation in the span's name.
    target: &'static str,
    label: Option<(&'static str, &'static str)>,
    is_anonymous: bool,
    is_temporary: bool,
}

fn cases() -> [Case; 6] {
    let case = |destination, target, label| Case {
        destination,
        target,
        label,
        is_anonymous: false,
        is_temporary: false,
    };
    let generated = Destination::named(GENERATED);
    [
        case(
            Destination::named("jobs"),
            " jobs",
            Some((keys::DESTINATION_NAME, "jobs")),
        ),
        case(
            Destination::named("replies/7").template("replies/{tenant}"),
            " replies/{tenant}",
            Some((keys::DESTINATION_TEMPLATE, "replies/{tenant}")),
        ),
        Case {
            is_anonymous: true,
            ..case(generated.anonymous(), "", None)
        },
        Case {
            is_temporary: true,
            ..case(generated.temporary(), "", None)
        },
        Case {
            is_temporary: true,
            ..case(
                generated.temporary().template("replies"),
                " replies",
                Some((keys::DESTINATION_TEMPLATE, "replies")),
            )
        },
        case(Destination::named(""), "", None),
    ]
}

/// Every operation there is, on one destination.
fn all_operations(destination: Destination<'static>, options: &Options) {
    let client = Client::of(SYSTEM);
    let letters = [Letter {
        destination,
        ..Letter::traced()
    }];
    send("send", &client, &destination, None, None, options, |_| ()).finish(Outcome::Ok);
    receive("poll", &client, &letters, Since::now(), options)
        .unwrap()
        .finish(Outcome::Ok);
    process(&letters[0], options).finish(Outcome::Ok);
    settle("ack", &client, &destination, options, |_| ()).finish(Outcome::Ok);
}

#[test]
fn e14_generated_and_temporary_names_are_in_no_span_name_and_no_label() {
    for case in cases() {
        let test = TestTelemetry::new();
        all_operations(case.destination, &options(&test));
        let spans = test.spans();
        assert_types(&spans);
        let mut names: Vec<_> = spans.iter().map(|span| span.name.to_string()).collect();
        names.sort();
        let expected =
            ["ack", "poll", "process", "send"].map(|name| format!("{name}{}", case.target));
        assert_eq!(names, expected);

        let metrics = test.metrics();
        let histograms = [
            keys::metric::CLIENT_OPERATION_DURATION,
            keys::metric::PROCESS_DURATION,
        ];
        let counters = [
            keys::metric::CLIENT_SENT_MESSAGES,
            keys::metric::CLIENT_CONSUMED_MESSAGES,
        ];
        let histograms = histograms.map(|metric| metrics.histogram(metric.name));
        let counters = counters.map(|metric| metrics.sum(metric.name));
        let of_histograms = histograms
            .iter()
            .flat_map(|h| h.points())
            .map(|p| p.labels());
        let of_counters = counters.iter().flat_map(|c| c.points()).map(|p| p.labels());
        let all: Vec<&[KeyValue]> = of_histograms.chain(of_counters).collect();
        assert_eq!(all.len(), 7);
        for labels in all {
            let about: Vec<_> = labels
                .iter()
                .filter(|label| label.key.as_str().starts_with("messaging.destination"))
                .map(|label| (label.key.as_str().to_owned(), label.value.to_string()))
                .collect();
            let expected = case
                .label
                .map(|(key, value)| (key.to_owned(), value.to_owned()));
            assert_eq!(about, Vec::from_iter(expected), "{:?}", case.destination);
        }
    }
}

#[test]
fn spans_tell_the_name_and_why_it_is_no_label() {
    for case in cases() {
        let test = TestTelemetry::new();
        all_operations(case.destination, &options(&test));
        for span in test.spans() {
            let name = case.destination.name;
            let has_name = !name.is_empty();
            assert_eq!(
                span.has(keys::DESTINATION_NAME),
                has_name,
                "{:?}",
                span.name
            );
            if has_name {
                assert_eq!(span.str(keys::DESTINATION_NAME), name);
            }
            let template = span.has(keys::DESTINATION_TEMPLATE);
            assert_eq!(template, case.destination.template.is_some());
            assert_eq!(span.has(keys::DESTINATION_ANONYMOUS), case.is_anonymous);
            assert_eq!(span.has(keys::DESTINATION_TEMPORARY), case.is_temporary);
            let mut all: Vec<_> = span.attributes.iter().map(|a| a.key.as_str()).collect();
            all.sort_unstable();
            let count = all.len();
            all.dedup();
            assert_eq!(all.len(), count, "{:?}", span.attributes);
        }
    }
}
