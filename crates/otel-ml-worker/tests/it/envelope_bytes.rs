//! Envelopes of any bytes, in any format.

use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::trace::TraceContextExt;
use otel_ml_worker::Envelope;
use proptest::prelude::*;

use crate::envelope::{EXAMPLE, NO_PARENT, parent, quiet};

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
