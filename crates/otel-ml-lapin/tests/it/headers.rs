//! E01, E02, E29: what is done to headers, and read from them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use otel_ml::Telemetry;
use otel_ml::carrier::{ExtractCarrier as _, Field, InjectCarrier as _};
use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::propagation::{Extractor as _, Injector as _};
use otel_ml::opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use otel_ml_lapin::carrier::{HeadersExtractor, HeadersInjector, SENT_AT};
use otel_ml_lapin::lapin::types::{AMQPValue, DecimalValue, FieldTable, ShortString};
use otel_ml_lapin::otel_ml;
use otel_ml_testing::TestTelemetry;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{SAMPLED, long, short, table};

fn quiet() -> Telemetry {
    Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build()
}

fn current(number: u64) -> Context {
    let span = SpanContext::new(
        TraceId::from(u128::from(number)),
        SpanId::from(number),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    Context::new().with_remote_span_context(span)
}

fn injected(headers: &FieldTable, cx: &Context) -> FieldTable {
    let mut headers = headers.clone();
    quiet().inject(cx, &mut HeadersInjector::new(&mut headers));
    headers
}

fn sender(headers: &FieldTable) -> SpanContext {
    let cx = quiet().extract(&HeadersExtractor::new(headers));
    cx.span().span_context().clone()
}

fn is_propagation(name: &str) -> bool {
    let fields = ["traceparent", "tracestate", "baggage"];
    fields.iter().any(|field| name.eq_ignore_ascii_case(field))
}

fn others(headers: &FieldTable) -> Vec<(String, AMQPValue)> {
    let all = headers.into_iter();
    let others = all.filter(|(name, _)| !is_propagation(name.as_str()));
    others
        .map(|(name, value)| (name.as_str().to_owned(), value.clone()))
        .collect()
}

fn name() -> impl Strategy<Value = ShortString> {
    let name = prop_oneof![
        4 => "[a-zA-Z0-9_.é-]{0,12}",
        1 => "[a-z]{255}",
        1 => Just("traceparent".to_owned()),
        1 => Just("TraceParent".to_owned()),
        1 => Just("TRACESTATE".to_owned()),
        1 => Just("Baggage".to_owned()),
    ];
    name.prop_map(|name| short(&name))
}

/// Of every type, those that hold others too.
fn value() -> impl Strategy<Value = AMQPValue> {
    let leaf = prop_oneof![
        vec(any::<u8>(), 0..300).prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        "[ -~]{0,255}".prop_map(|text| AMQPValue::ShortString(short(&text))),
        vec(any::<u8>(), 0..40).prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        (any::<u8>(), any::<u32>())
            .prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
        Just(AMQPValue::Void),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|all| AMQPValue::FieldArray(all.into())),
            vec((name(), inner), 0..4).prop_map(|all| AMQPValue::FieldTable(of(all))),
        ]
    })
}

fn of(all: Vec<(ShortString, AMQPValue)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in all {
        table.insert(name, value);
    }
    table
}

fn headers() -> impl Strategy<Value = FieldTable> {
    vec((name(), value()), 0..12).prop_map(of)
}

proptest! {
    #[test]
    fn e01_e29_injecting_leaves_one_parent_and_all_other_headers(
        before in headers(), first in 1..u64::MAX, second in 1..u64::MAX,
    ) {
        let once = injected(&before, &current(first));
        let twice = injected(&once, &current(second));
        for (after, number) in [(&once, first), (&twice, second)] {
            prop_assert_eq!(others(after), others(&before));
            let names = after.inner().keys().map(ShortString::as_str);
            let own: Vec<_> = names.filter(|name| is_propagation(name)).collect();
            prop_assert_eq!(own, ["traceparent"]);
            prop_assert_eq!(sender(after).span_id(), SpanId::from(number));
        }
    }

    #[test]
    fn e02_e29_rubbish_is_no_parent(all in headers()) {
        prop_assert!(!sender(&all).is_valid());
        let mut seen = 0;
        for name in HeadersExtractor::new(&all).keys() {
            seen += usize::from(HeadersExtractor::new(&all).get(name).is_some());
        }
        prop_assert!(seen <= all.inner().len());
    }
}

#[test]
fn e02_values_of_the_types_that_have_bytes_are_read() {
    for value in [
        long(SAMPLED),
        AMQPValue::ShortString(short(SAMPLED)),
        AMQPValue::ByteArray(SAMPLED.as_bytes().into()),
    ] {
        let headers = table(&[("traceparent", value.clone())]);
        assert!(sender(&headers).is_valid(), "{value:?}");
    }
}

#[test]
fn e01_a_parent_in_two_cases_is_counted_and_the_lower_one_wins() {
    let test = TestTelemetry::new();
    let headers = table(&[
        ("TraceParent", long("junk")),
        ("traceparent", long(SAMPLED)),
    ]);
    let cx = test.telemetry().extract(&HeadersExtractor::new(&headers));
    let sender = cx.span().span_context().span_id();
    assert_eq!(sender.to_string(), "b7ad6b7169203331");
    let metrics = test.metrics();
    let anomalies = metrics.sum("ml.propagation.anomalies");
    let counted = anomalies
        .with("ml.propagation.anomaly", "duplicate")
        .with("ml.propagation.transport", "rabbitmq");
    assert_eq!(counted.int(), 1);
}

/// Propagators other than W3C's set and get by any name.
#[test]
fn e01_foreign_propagators_replace_and_read_the_last() {
    let mut headers = table(&[
        ("X-B3", long("1")),
        ("other", AMQPValue::LongLongInt(1)),
        ("x-b3", AMQPValue::LongString(vec![0xff].into())),
    ]);
    let extractor = HeadersExtractor::new(&headers);
    assert_eq!(extractor.get("X-b3"), Some("1"));
    assert_eq!(extractor.get("other"), None);
    assert_eq!(extractor.get("absent"), None);
    assert_eq!(extractor.keys(), ["X-B3", "other", "x-b3"]);
    let mut injector = HeadersInjector::new(&mut headers);
    injector.set("x-B3", "3".to_owned());
    injector.set("traceparent", "first".to_owned());
    injector.replace(Field::TraceParent, b"second");
    // No name of AMQP's, and not one that panics.
    injector.set(&"k".repeat(256), "x".to_owned());
    let expected = table(&[
        ("other", AMQPValue::LongLongInt(1)),
        ("x-B3", long("3")),
        ("traceparent", long("second")),
    ]);
    assert_eq!(headers, expected);
}

#[test]
fn the_send_time_is_read_as_it_was_written() {
    let time = UNIX_EPOCH + Duration::from_micros(1_763_700_000_123_456);
    let mut headers = table(&[(SENT_AT, AMQPValue::Void)]);
    HeadersInjector::new(&mut headers).set_sent_at(time);
    assert_eq!(headers.inner().len(), 1);
    assert_eq!(HeadersExtractor::new(&headers).sent_at(), Some(time));
    HeadersInjector::new(&mut headers).remove_sent_at();
    assert!(headers.inner().is_empty());
    for rubbish in [long("soon"), AMQPValue::LongLongInt(1), AMQPValue::Void] {
        let headers = table(&[(SENT_AT, rubbish)]);
        assert_eq!(HeadersExtractor::new(&headers).sent_at(), None);
    }
    let headers = table(&[(SENT_AT, long(&u64::MAX.to_string()))]);
    assert!(HeadersExtractor::new(&headers).sent_at() > Some(SystemTime::now()));
}

#[test]
fn values_are_all_of_a_field() {
    let headers = table(&[("baggage", long("a=1")), ("BAGGAGE", long("b=2"))]);
    let extractor = HeadersExtractor::new(&headers);
    let all: Vec<_> = extractor.values(Field::Baggage).collect();
    assert_eq!(all, [b"b=2", b"a=1"]);
}
