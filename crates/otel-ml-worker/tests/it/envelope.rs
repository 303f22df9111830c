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
use proptest::prelude::*;

use crate::support::{SPAN_ID, TRACE_ID, in_request, remote};

fn quiet() -> Telemetry {
    Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build()
}

/// What the documentation shows.
const EXAMPLE: &str = r#"{
  "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03",
  "tracestate": "vendor=1",
  "baggage": "ml.user.tier=pro",
  "submitted_at_ms": 1795254000000,
  "attempt": 2,
  "payload": {"text": "good"},
  "from_the_future": [1, {"a": null}]
}"#;

type Payload = BTreeMap<String, String>;

fn read(json: &str) -> Envelope<serde_json::Value> {
    Envelope::from_json(json.as_bytes()).unwrap()
}

fn parent(envelope: &Envelope<impl Sized>) -> (TraceId, SpanId, u8) {
    let cx = envelope.context(&quiet());
    let span = cx.span().span_context().clone();
    (span.trace_id(), span.span_id(), span.trace_flags().to_u8())
}

const NO_PARENT: (TraceId, SpanId, u8) = (TraceId::INVALID, SpanId::INVALID, 0);

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

/// JSON values of any shape, not too deep.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(|n| serde_json::json!(n)),
        ".{0,60}".prop_map(Into::into),
        "00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let name = prop_oneof![Just("traceparent".to_owned()), ".{0,9}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(name, inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// CBOR values of any shape, with what JSON doesn't have: tags, bytes, big numbers, keys that
/// are no text.
fn cbor() -> impl Strategy<Value = ciborium::Value> {
    use ciborium::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::Float),
        any::<i64>().prop_map(|n| Value::from(i128::from(n) * i128::from(i64::MAX))),
        any::<u128>().prop_map(|n| Value::Tag(2, Value::Bytes(n.to_be_bytes().into()).into())),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        ".{0,9}".prop_map(Value::Text),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let entry = (inner.clone(), inner.clone());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec(entry, 0..4).prop_map(Value::Map),
            (6..2000_u64, inner).prop_map(|(tag, value)| Value::Tag(tag, value.into())),
        ]
    })
}

fn read_cbor(map: Vec<(ciborium::Value, ciborium::Value)>) -> Envelope<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&ciborium::Value::Map(map), &mut bytes).unwrap();
    ciborium::from_reader(&*bytes).unwrap()
}

#[test]
fn e02_odd_fields_of_a_binary_format_are_as_if_they_were_not_there() {
    use ciborium::Value;
    let big = || Value::Tag(2, Value::Bytes(vec![255; 16]).into());
    let small = || Value::Tag(3, Value::Bytes(vec![1; 12]).into());
    let time = || Value::Tag(1, Value::from(7).into());
    let odd: [fn() -> Value; 4] = [big, small, time, || Value::Bytes(vec![1])];
    for value in odd {
        let text = |name: &str| Value::Text(name.into());
        let envelope = read_cbor(vec![
            (text("traceparent"), value()),
            (text("attempt"), value()),
            (text("submitted_at_ms"), value()),
            (value(), text("not under a name")),
            (Value::from(4), Value::Null),
            (text("payload"), Value::from(7)),
        ]);
        assert_eq!((envelope.payload, envelope.attempt()), (7, 1));
        assert_eq!(envelope.submitted(), None);
        assert_eq!(parent(&envelope), NO_PARENT);
    }
}

const NAMES: [&str; 7] = [
    "traceparent",
    "tracestate",
    "baggage",
    "submitted_at_ms",
    "attempt",
    "payload",
    "x",
];

proptest! {
    #[test]
    fn e02_any_binary_fields_leave_the_payload_as_it_is(
        named in prop::collection::vec((prop::sample::select(&NAMES[..5]), cbor()), 0..5),
        unnamed in prop::collection::vec((cbor(), cbor()), 0..5),
    ) {
        let named = named.into_iter().map(|(name, value)| (ciborium::Value::from(name), value));
        let mut map: Vec<_> = named.chain(unnamed).collect();
        map.retain(|(name, _)| name.as_text() != Some("payload"));
        map.push(("payload".into(), 7.into()));
        let envelope = read_cbor(map);
        prop_assert_eq!(envelope.payload, 7);
        let _ = envelope.context(&quiet());
    }

    #[test]
    fn e02_any_bytes_are_an_envelope_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(envelope) = Envelope::<serde_json::Value>::from_json(&bytes) {
            let _ = envelope.context(&quiet());
        }
    }

    #[test]
    fn e02_any_cut_or_bent_envelope_is_one_or_an_error(at in 0..EXAMPLE.len(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(envelope) = Envelope::<serde_json::Value>::from_json(&bytes) {
            let _ = envelope.context(&quiet());
            prop_assert!(envelope.to_json().is_ok());
        }
    }

    #[test]
    fn e02_any_values_are_read_and_survive_the_way_there_and_back(
        values in prop::collection::vec((prop::sample::select(&NAMES[..]), json()), 0..9),
        payload in json(),
    ) {
        let mut map = serde_json::Map::new();
        for (name, value) in values {
            map.insert(name.into(), value);
        }
        map.insert("payload".into(), payload);
        let bytes = serde_json::to_vec(&map).unwrap();
        let envelope = Envelope::<serde_json::Value>::from_json(&bytes).unwrap();
        prop_assert!(envelope.attempt() >= 1);
        let back = Envelope::<serde_json::Value>::from_json(&envelope.to_json().unwrap()).unwrap();
        prop_assert_eq!(parent(&back), parent(&envelope));
        prop_assert_eq!(back.attempt(), envelope.attempt());
        prop_assert_eq!(back.submitted(), envelope.submitted());
        let text: Vec<(String, String)> = envelope.headers().map(|(n, v)| (n.into(), v.into())).collect();
        let as_text = Envelope::from_headers((), text);
        prop_assert_eq!(parent(&as_text), parent(&envelope));
        prop_assert_eq!(as_text.submitted(), envelope.submitted());
    }

    #[test]
    fn any_context_comes_out_as_it_went_in(trace in 1..=u128::MAX, span in 1..=u64::MAX, flags in 0..4_u8, payload in ".*") {
        use otel_ml::opentelemetry::trace::{SpanContext, TraceFlags, TraceState};
        let sent = SpanContext::new(trace.into(), span.into(), TraceFlags::new(flags), true, TraceState::NONE);
        let cx = Context::new().with_remote_span_context(sent.clone());
        let envelope = Envelope::from_context(payload.clone(), &cx, &quiet());
        let back: Envelope<String> = Envelope::from_json(&envelope.to_json().unwrap()).unwrap();
        prop_assert_eq!(parent(&back), (sent.trace_id(), sent.span_id(), flags));
        prop_assert_eq!(back.payload, payload);
    }
}
