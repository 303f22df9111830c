//! The wire form of envelopes, from whatever bytes it comes.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use otel_ml::Telemetry;
use otel_ml::opentelemetry::baggage::BaggageExt;
use otel_ml::opentelemetry::propagation::text_map_propagator::FieldIter;
use otel_ml::opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use otel_ml::opentelemetry::trace::{SpanId, TraceContextExt, TraceId};
use otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml_testing::TestTelemetry;
use otel_ml_worker::{Envelope, EnvelopeErrorKind};

use crate::support::{SPAN_ID, TRACE_ID, in_request, remote};

pub(crate) fn quiet() -> Telemetry {
    Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build()
}

/// What the documentation shows.
pub(crate) const EXAMPLE: &str = r#"{
  "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03",
  "tracestate": "vendor=1",
  "baggage": "ml.user.tier=pro",
  "submitted_at_ms": 1795254000000,
  "attempt": 2,
  "payload": {"text": "good"},
  "from_the_future": [1, {"a": null}]
}"#;

pub(crate) type Payload = BTreeMap<String, String>;

fn read(json: &str) -> Envelope<serde_json::Value> {
    Envelope::from_json(json.as_bytes()).unwrap()
}

pub(crate) fn parent(envelope: &Envelope<impl Sized>) -> (TraceId, SpanId, u8) {
    let cx = envelope.context(&quiet());
    let span = cx.span().span_context().clone();
    (span.trace_id(), span.span_id(), span.trace_flags().to_u8())
}

pub(crate) const NO_PARENT: (TraceId, SpanId, u8) = (TraceId::INVALID, SpanId::INVALID, 0);

#[test]
fn the_wire_form_is_what_the_documentation_says() {
    let envelope: Envelope<Payload> = Envelope::from_json(EXAMPLE.as_bytes()).unwrap();
    assert_eq!(envelope.payload["text"], "good");
    assert_eq!(envelope.attempt(), 2);
    let submitted = UNIX_EPOCH + Duration::from_millis(1_795_254_000_000);
    assert_eq!(envelope.submitted(), Some(submitted));
    assert_eq!(
        parent(&envelope),
        (TraceId::from(TRACE_ID), SpanId::from(SPAN_ID), 3)
    );
    let cx = envelope.context(&quiet());
    assert_eq!(cx.span().span_context().trace_state().header(), "vendor=1");
    assert_eq!(
        cx.baggage()
            .get("ml.user.tier")
            .map(ToString::to_string)
            .as_deref(),
        Some("pro")
    );

    let json: serde_json::Value = serde_json::from_slice(&envelope.to_json().unwrap()).unwrap();
    let mut expected: serde_json::Value = serde_json::from_str(EXAMPLE).unwrap();
    expected.as_object_mut().unwrap().remove("from_the_future");
    assert_eq!(json, expected);
}

#[test]
fn a_new_envelope_holds_the_current_context_and_nothing_empty() {
    let test = TestTelemetry::new();
    let json = in_request(&test, || Envelope::new(7).to_json().unwrap());
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let mut names: Vec<_> = json
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["attempt", "payload", "submitted_at_ms", "traceparent"]
    );
    let span = test.spans()[0].span_context.clone();
    let envelope = read(&json.to_string());
    assert_eq!(parent(&envelope).1, span.span_id());
    let age = envelope.submitted().unwrap().elapsed().unwrap_or_default();
    assert!(age < Duration::from_mins(1));

    let bare = Envelope::new(7);
    assert_eq!(parent(&bare), NO_PARENT);
    assert_eq!(bare.headers().count(), 2);
}

#[test]
fn e23_an_unsampled_context_is_passed_on_with_baggage_and_state() {
    let cx = remote(2).with_baggage([KeyValue::new("tier", "pro")]);
    let envelope = Envelope::from_context((), &cx, &quiet());
    let envelope: Envelope<()> = Envelope::from_json(&envelope.to_json().unwrap()).unwrap();
    let cx = envelope.context(&quiet());
    assert_eq!(
        parent(&envelope),
        (TraceId::from(TRACE_ID), SpanId::from(SPAN_ID), 2)
    );
    assert_eq!(
        cx.baggage().get("tier").map(ToString::to_string).as_deref(),
        Some("pro")
    );
}

#[test]
fn e27_without_fields_the_context_is_a_fresh_one() {
    let _here = remote(1).attach();
    let envelope = read(r#"{"payload": 1}"#);
    assert_eq!(parent(&envelope), NO_PARENT);
    assert_eq!((envelope.attempt(), envelope.submitted()), (1, None));
}

#[test]
fn e02_what_is_not_of_its_type_is_as_if_it_were_not_there() {
    let wrong = [
        "null",
        "true",
        "-1",
        "1.5",
        "\"\"",
        "\"x\"",
        "[1]",
        "{\"a\": [2]}",
        "1e300",
    ];
    for value in wrong {
        let json = format!(
            r#"{{"traceparent": {value}, "tracestate": {value}, "baggage": {value},
                 "submitted_at_ms": {value}, "attempt": {value}, "x": {value}, "payload": 1}}"#
        );
        let envelope = read(&json);
        assert_eq!(parent(&envelope), NO_PARENT, "{value}");
        assert_eq!(
            (envelope.attempt(), envelope.submitted()),
            (1, None),
            "{value}"
        );
        assert_eq!(envelope.payload, 1);
    }
}

#[test]
fn numbers_may_be_text_or_have_a_point() {
    for (attempt, expected) in [
        ("3", 3),
        ("\"3\"", 3),
        ("3.0", 3),
        ("0", 1),
        ("99999999999", u32::MAX),
    ] {
        let json = format!(
            r#"{{"attempt": {attempt}, "submitted_at_ms": 18446744073709551615, "payload": null}}"#
        );
        let envelope = read(&json);
        assert_eq!(envelope.attempt(), expected, "{attempt}");
        // A time that nothing can mean is kept from doing harm.
        assert!(
            envelope
                .submitted()
                .is_none_or(|time| time > SystemTime::now())
        );
        assert!(envelope.to_json().is_ok());
    }
}

#[test]
fn a_doubled_parent_is_none() {
    let twice = |name: &str| {
        let value = format!("00-{TRACE_ID:032x}-{SPAN_ID:016x}-01");
        read(&format!(
            r#"{{"{name}": "{value}", "traceparent": "{value}", "payload": 1}}"#
        ))
    };
    assert_eq!(parent(&twice("traceparent")), NO_PARENT);
    assert_eq!(parent(&twice("TraceParent")), NO_PARENT);
    assert_ne!(parent(&twice("other")), NO_PARENT);
}

#[test]
fn errors_say_what_is_wrong() {
    let kind = |json: &str| {
        let error = Envelope::<u8>::from_json(json.as_bytes()).unwrap_err();
        assert!(error.source().is_some() && !error.to_string().ends_with('.'));
        error.kind()
    };
    for json in ["", "{", "nonsense", r#"{"payload": 1"#] {
        assert_eq!(kind(json), EnvelopeErrorKind::Syntax, "{json}");
    }
    for json in [
        "{}",
        "[]",
        "1",
        r#"{"payload": "x"}"#,
        r#"{"payload": 1, "payload": 2}"#,
    ] {
        assert_eq!(kind(json), EnvelopeErrorKind::Payload, "{json}");
    }
    let unwritable = BTreeMap::from([((1, 2), 3)]);
    let error = Envelope::new(unwritable).to_json().unwrap_err();
    assert_eq!(error.kind(), EnvelopeErrorKind::Payload);
}

#[test]
fn other_formats_of_serde_carry_it_too() {
    let envelope = Envelope::from_context(vec![1, 2], &remote(1), &quiet()).retry();
    let mut bytes = Vec::new();
    ciborium::into_writer(&envelope, &mut bytes).unwrap();
    let back: Envelope<Vec<u8>> = ciborium::from_reader(&*bytes).unwrap();
    assert_eq!((back.payload.as_slice(), back.attempt()), (&[1, 2][..], 2));
    assert_eq!(parent(&back), parent(&envelope));
}

#[test]
fn maps_of_text_are_carriers_too() {
    let envelope = Envelope::from_context("work", &remote(1), &quiet()).retry();
    let headers: BTreeMap<String, String> = envelope
        .headers()
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    assert_eq!(headers["attempt"], "2");
    let mut more = headers;
    more.insert("payload".into(), "not this".into());
    more.insert("x-other".into(), "kept".into());
    let back = Envelope::from_headers("work", more);
    assert_eq!(parent(&back), parent(&envelope));
    assert_eq!((back.payload, back.attempt()), ("work", 2));
    assert_eq!(back.submitted().is_some(), envelope.submitted().is_some());
    let names: Vec<_> = back.headers().map(|(name, _)| name.into_owned()).collect();
    assert!(names.contains(&"x-other".into()) && !names.contains(&"payload".into()));
    let other = back.map(str::len).received_from("redis", "jobs");
    assert_eq!((other.payload, other.attempt()), (4, 2));
}

/// A propagator with a field of its own, and one that lies in the way.
#[derive(Debug)]
struct Foreign;

impl TextMapPropagator for Foreign {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        injector.set("b3", cx.span().span_context().span_id().to_string());
        injector.set("b3", cx.span().span_context().trace_id().to_string());
        injector.set("payload", "overwritten".into());
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        assert!(extractor.keys().contains(&"b3"));
        let trace = TraceId::from_hex(extractor.get("B3").unwrap()).unwrap();
        let span = remote(1).span().span_context().clone();
        assert_eq!(trace, span.trace_id());
        cx.with_remote_span_context(span)
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&[])
    }
}

#[test]
fn fields_of_another_propagator_travel_and_can_not_displace_the_payload() {
    let telemetry = Telemetry::builder()
        .propagator(Foreign)
        .without_metrics()
        .build();
    let envelope = Envelope::from_context(7, &remote(1), &telemetry);
    let back: Envelope<u8> = Envelope::from_json(&envelope.to_json().unwrap()).unwrap();
    assert_eq!(back.payload, 7);
    let cx = back.context(&telemetry);
    assert_eq!(cx.span().span_context().span_id(), SpanId::from(SPAN_ID));
}
