//! E07: which span the processing of a message is below, and which it links to.

use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Sampler;
use otel_ml::messaging::process;
use otel_ml::{Options, Outcome, ParentPolicy, stage};
use otel_ml_semconv::ml::propagation_anomaly;
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry};

use super::processed::{Of, processed};
use super::{Letter, SYSTEM, options};
use crate::carriers::Records;
use crate::support::{anomalies, remote, traceparent};

use Of::{Ambient, Nobody, Sender};

#[test]
fn e07_every_policy_with_and_without_a_span_around() {
    let cases = [
        (
            ParentPolicy::Auto,
            false,
            (Sender, vec![Sender], Some("pro")),
        ),
        (
            ParentPolicy::Auto,
            true,
            (Ambient, vec![Sender], Some("pro")),
        ),
        (
            ParentPolicy::Child,
            false,
            (Sender, vec![Sender], Some("pro")),
        ),
        (
            ParentPolicy::Child,
            true,
            (Sender, vec![Ambient], Some("pro")),
        ),
        (
            ParentPolicy::Link,
            false,
            (Nobody, vec![Sender], Some("pro")),
        ),
        (
            ParentPolicy::Link,
            true,
            (Ambient, vec![Sender], Some("pro")),
        ),
        (ParentPolicy::Ignore, false, (Nobody, vec![], None)),
        (ParentPolicy::Ignore, true, (Ambient, vec![], None)),
    ];
    for (parent, in_span, expected) in cases {
        let test = TestTelemetry::new();
        let options = Options {
            parent,
            ..options(&test)
        };
        let processed = processed(&test, &Letter::traced(), &options, in_span);
        assert_eq!(
            processed.facts(),
            expected,
            "{parent:?}, inside a span: {in_span}"
        );
        assert_eq!(anomalies(&test, propagation_anomaly::STALE, SYSTEM), 0);
    }
}

/// A sampler of one's own may record what the sender's did not.
#[test]
fn e23_a_message_recorded_below_a_sender_that_is_not_sampled_is_linked_to_it() {
    let test = TestTelemetry::builder().sampler(Sampler::AlwaysOn).build();
    let mut letter = Letter::traced();
    letter.headers = Records::default().with("traceparent", traceparent("00"));
    let processed = processed(&test, &letter, &options(&test), false);
    assert_eq!(processed.facts(), (Sender, vec![Sender], None));
}

#[test]
fn e07_a_message_without_a_sender() {
    let cases = [
        (ParentPolicy::Auto, false, Nobody),
        (ParentPolicy::Auto, true, Ambient),
        (ParentPolicy::Child, false, Nobody),
        (ParentPolicy::Child, true, Ambient),
        (ParentPolicy::Link, false, Nobody),
        (ParentPolicy::Link, true, Ambient),
        (ParentPolicy::Ignore, true, Ambient),
    ];
    for (parent, in_span, expected) in cases {
        let test = TestTelemetry::new();
        let options = Options {
            parent,
            ..options(&test)
        };
        let letter = Letter {
            headers: Records::default(),
            ..Letter::traced()
        };
        let processed = processed(&test, &letter, &options, in_span);
        assert_eq!(
            processed.facts(),
            (expected, vec![], None),
            "{parent:?}, {in_span}"
        );
    }
}

#[test]
fn e07_the_baggage_of_a_message_joins_that_of_the_span_around() {
    let test = TestTelemetry::new();
    let options = options(&test);
    let around = stage("ambient").telemetry(&options.telemetry).start();
    let own = [KeyValue::new("tier", "free"), KeyValue::new("region", "eu")];
    let _attached = around.context().with_baggage(own).attach();
    let mut operation = process(&Letter::traced(), &options);
    operation.scope(|| {
        Context::map_current(|cx| {
            let baggage = cx.baggage();
            assert_eq!(baggage.get("region").map(|v| v.as_str()), Some("eu"));
            assert_eq!(baggage.get("tier").map(|v| v.as_str()), Some("pro"));
        });
    });
    operation.finish(Outcome::Ok);
}

#[test]
fn e01_a_malformed_parent_is_counted_for_its_transport() {
    let test = TestTelemetry::new();
    let letter = Letter {
        headers: Records::default().with("traceparent", "junk"),
        ..Letter::traced()
    };
    assert_eq!(
        processed(&test, &letter, &options(&test), false).parent(),
        Nobody
    );
    assert_eq!(
        anomalies(&test, propagation_anomaly::MALFORMED, "memory"),
        1
    );
}

#[test]
fn e13_e27_a_loop_never_inherits_the_message_before() {
    let test = TestTelemetry::new();
    let options = options(&test);
    let untraced = Letter {
        headers: Records::default(),
        ..Letter::traced()
    };
    for letter in [
        Letter::traced(),
        untraced.clone(),
        Letter::traced(),
        untraced,
    ] {
        let mut operation = process(&letter, &options);
        // Half of the handlers stop early and never finish.
        operation.scope(|| assert!(Context::current().has_active_span()));
        drop(operation);
        assert!(!Context::current().has_active_span());
        assert!(Context::current().baggage().is_empty());
    }
    let spans = test.spans();
    let parents: Vec<_> = spans
        .all_named("process jobs")
        .iter()
        .map(|s| s.parent())
        .collect();
    let sender = Some(remote(1).span_id());
    assert_eq!(parents, [sender, None, sender, None]);
    assert_ne!(
        spans[1].span_context.trace_id(),
        spans[3].span_context.trace_id()
    );
    assert!(spans[1].links.is_empty() && spans[3].links.is_empty());
}
