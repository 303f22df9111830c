//! Settings of the layer: names, attributes, baggage, detail, caps.

use futures_util::FutureExt;
use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::SpanData;
use otel_ml::hooks::Filter;
use otel_ml::messaging::{Destination, OtelMlConsumerLayerBuilder};
use otel_ml::{Attributes, Detail, MlSpan, OtelMlConsumerLayer};
use otel_ml_semconv::{kafka, messaging, ml};
use otel_ml_testing::{SpanExt, TestTelemetry, assert_tree, assert_types};
use tower::{Layer, Service, service_fn};

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
