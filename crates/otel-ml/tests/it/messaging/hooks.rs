//! Settings of the layer: names, attributes, baggage, detail, caps.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;
use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::{Sampler, SpanData};
use otel_ml::hooks::Filter;
use otel_ml::messaging::{Destination, OtelMlConsumerLayerBuilder};
use otel_ml::{Attributes, Detail, MlSpan, OtelMlConsumerLayer};
use otel_ml_semconv::{error, kafka, messaging, ml};
use otel_ml_testing::{SpanExt, TestTelemetry, assert_tree, assert_types};
use tower::{Layer, Service, service_fn};

use crate::carriers::Records;
use crate::support::traceparent;

use super::{Letter, PAYLOAD, Rejected, SYSTEM};

/// Lets the handler of `layer` have a message; writes a fact.
macro_rules! handle {
    ($builder:expr, $letter:expr) => {{
        let mut service = $builder.build().layer(service_fn(|_: Letter| async {
            MlSpan::current().set("app.tenant", "by the handler");
            Ok::<_, Rejected>(())
        }));
        service.call($letter).now_or_never().unwrap().unwrap();
    }};
}

fn builder(test: &TestTelemetry) -> OtelMlConsumerLayerBuilder {
    OtelMlConsumerLayer::builder().telemetry(test.telemetry())
}

#[track_caller]
fn only(test: &TestTelemetry) -> SpanData {
    let spans = test.spans();
    assert_eq!(spans.len(), 1);
    assert_types(&spans);
    spans[0].clone()
}

fn letter() -> Letter {
    Letter {
        destination: Destination::named("jobs").partition("3"),
        group: Some("scorers"),
        ..Letter::traced()
    }
}

#[test]
fn a_message_is_told_with_all_its_attributes() {
    let test = TestTelemetry::new();
    handle!(builder(&test), letter());
    assert_tree!(test.spans(), {
        "process jobs" [consumer, unset, only_attrs] {
            (messaging::SYSTEM_NAME) = SYSTEM,
            (messaging::OPERATION_NAME) = "process",
            (messaging::OPERATION_TYPE) = "process",
            (messaging::DESTINATION_NAME) = "jobs",
            (messaging::DESTINATION_PARTITION_ID) = "3",
            (messaging::CONSUMER_GROUP_NAME) = "scorers",
            (kafka::OFFSET) = 42,
            "app.tenant" = "by the handler",
        }
    });
}

#[test]
fn detail_decides_on_what_is_optional() {
    let cases = [
        (Detail::Minimal, false, false),
        (Detail::Standard, true, false),
        (Detail::Full, true, true),
    ];
    for (detail, has_offset, has_size) in cases {
        let test = TestTelemetry::new();
        handle!(builder(&test).detail(detail), letter());
        let span = only(&test);
        assert_eq!(span.has(kafka::OFFSET), has_offset, "{detail:?}");
        assert_eq!(
            span.has(messaging::MESSAGE_BODY_SIZE),
            has_size,
            "{detail:?}"
        );
        if has_size {
            let size = i64::try_from(PAYLOAD.len()).unwrap();
            assert_eq!(span.int(messaging::MESSAGE_BODY_SIZE), size);
        }
        assert!(!span.has(ml::MESSAGE_ATTEMPT), "{detail:?}");
    }
}

#[test]
fn names_and_attributes_of_ones_own() {
    let test = TestTelemetry::new();
    let name = |letter: &Letter| (letter.offset > 1).then(|| "score".into());
    let attributes = |letter: &Letter, to: &mut Attributes| to.push("app.tenant", letter.body);
    handle!(
        builder(&test).span_name(name).attributes(attributes),
        letter()
    );
    let span = only(&test);
    assert_eq!(span.name, "score");
    assert_eq!(span.str("app.tenant"), PAYLOAD);
    assert_eq!(
        span.attributes
            .iter()
            .filter(|a| a.key.as_str() == "app.tenant")
            .count(),
        1
    );

    test.reset();
    handle!(
        builder(&test).span_name(name),
        Letter {
            offset: 0,
            ..letter()
        }
    );
    assert_eq!(only(&test).name, "process jobs");
}

/// Below a sender that is not sampled attributes are asked for when there is a span.
#[test]
fn e15_a_panic_of_a_hook_goes_on_and_ends_the_span_that_has_started() {
    fn panics(_: &Letter, _: &mut Attributes) {
        panic!("on purpose");
    }
    for (flags, is_started) in [("00", true), ("01", false)] {
        let test = TestTelemetry::builder().sampler(Sampler::AlwaysOn).build();
        let mut letter = letter();
        letter.headers = Records::default().with("traceparent", traceparent(flags));
        let caught = catch_unwind(AssertUnwindSafe(|| {
            handle!(builder(&test).attributes(panics), letter);
        }));
        assert!(caught.is_err());
        assert!(test.open_spans().is_empty());
        assert_eq!(test.spans().len(), usize::from(is_started));
        if is_started {
            let span = only(&test);
            assert!(span.is_error());
            assert_eq!(span.str(error::TYPE), "panic");
        }
    }
}

#[test]
fn filters_can_be_put_together() {
    let of_jobs = |letter: &Letter| letter.destination.name == "jobs";
    let early = |letter: &Letter| letter.offset < 10;
    for (filter, is_recorded) in [(true, false), (false, true)] {
        let test = TestTelemetry::new();
        if filter {
            handle!(builder(&test).filter(of_jobs.and(early)), letter());
        } else {
            handle!(builder(&test).filter(of_jobs.or(early)), letter());
        }
        assert_eq!(test.spans().len(), usize::from(is_recorded));
    }
}

#[test]
fn e33_baggage_is_copied_only_where_allowed_and_under_its_own_name() {
    let mut letter = letter();
    letter.headers = letter.headers.with("baggage", "secret=1,app.tenant=a");
    let test = TestTelemetry::new();
    handle!(builder(&test), letter.clone());
    assert!(!only(&test).has("tier"));

    test.reset();
    handle!(
        builder(&test).baggage(["tier", "app.tenant", "absent"]),
        letter
    );
    let span = only(&test);
    assert_eq!((span.str("tier"), span.str("app.tenant")), ("pro", "a"));
    assert!(!span.has("secret") && !span.has("absent"));
}

#[test]
fn hooks_can_not_crowd_out_what_the_transport_records() {
    let test = TestTelemetry::new();
    let many = |_: &Letter, to: &mut Attributes| {
        to.extend((0..100).map(|i| KeyValue::new(format!("app.k{i}"), i)));
    };
    handle!(builder(&test).attributes(many).attribute_cap(12), letter());
    let span = only(&test);
    assert_eq!(span.attributes.len(), 13);
    assert!(span.has(kafka::OFFSET) && span.has("app.k0") && !span.has("app.k99"));
}

#[test]
fn a_later_delivery_tells_which_it_is() {
    let test = TestTelemetry::new();
    handle!(
        builder(&test),
        Letter {
            attempt: 2,
            ..letter()
        }
    );
    assert_eq!(only(&test).int(ml::MESSAGE_ATTEMPT), 2);
}
