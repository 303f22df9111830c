//! Strategies for what may be exported.

use std::time::{Duration, SystemTime};

use opentelemetry::logs::AnyValue;
use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use proptest::collection::vec;
use proptest::prelude::*;

/// Texts that a writer of lines, of JSON or of this format might trip over.
pub(super) fn text() -> impl Strategy<Value = String> {
    let hostile = [
        "",
        "0",
        "\n",
        "\r\n",
        "\0",
        "\"",
        "\\",
        "{}",
        "null",
        "NaN",
        "Infinity",
        "\u{2028}",
        "\u{feff}",
        "\u{10ffff}",
        "\0double:NaN",
        "asInt",
        "@@TAG@@",
        "-0",
    ];
    prop_oneof![
        prop::sample::select(hostile.to_vec()).prop_map(str::to_owned),
        any::<String>()
    ]
}

pub(super) fn number() -> impl Strategy<Value = f64> {
    let finite = any::<f64>().prop_filter("the types can't read others", |n| n.is_finite());
    prop_oneof![Just(0.0), Just(-0.0), Just(f64::MAX), Just(5e-324), finite]
}

pub(super) fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), Just(i64::MIN), Just(i64::MAX), any::<i64>()]
}

pub(super) fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::from),
        number().prop_map(Value::F64),
        integer().prop_map(Value::I64),
        any::<bool>().prop_map(Value::Bool),
        vec(text().prop_map(StringValue::from), 0..3).prop_map(|v| Value::Array(Array::String(v))),
        vec(number(), 0..3).prop_map(|v| Value::Array(Array::F64(v))),
        vec(integer(), 0..3).prop_map(|v| Value::Array(Array::I64(v))),
        vec(any::<bool>(), 0..3).prop_map(|v| Value::Array(Array::Bool(v))),
    ]
}

pub(super) fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec(
        (text(), value()).prop_map(|(key, value)| KeyValue::new(key, value)),
        0..4,
    )
}

pub(super) fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        text().prop_map(AnyValue::from),
        number().prop_map(AnyValue::Double),
        integer().prop_map(AnyValue::Int),
        any::<bool>().prop_map(AnyValue::Boolean),
        vec(any::<u8>(), 0..5).prop_map(|v| AnyValue::Bytes(Box::new(v))),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|v| AnyValue::ListAny(Box::new(v))),
            // One entry at most: several come in another order each time.
            vec((text(), inner), 0..2).prop_map(|entries| {
                let entries = entries.into_iter().map(|(key, value)| (key.into(), value));
                AnyValue::Map(Box::new(entries.collect()))
            }),
        ]
    })
}

pub(super) fn scope() -> impl Strategy<Value = InstrumentationScope> {
    (text(), text(), text(), attributes()).prop_map(|(name, version, schema, attributes)| {
        InstrumentationScope::builder(name)
            .with_version(version)
            .with_schema_url(schema)
            .with_attributes(attributes)
            .build()
    })
}

pub(super) fn resource() -> impl Strategy<Value = Resource> {
    (attributes(), text()).prop_map(|(attributes, schema)| {
        Resource::builder_empty()
            .with_schema_url(attributes, schema)
            .build()
    })
}

pub(super) fn time() -> impl Strategy<Value = SystemTime> {
    let nanos = prop_oneof![Just(0), Just(u64::MAX >> 1), 0..u64::MAX >> 1];
    nanos.prop_map(|nanos| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos))
}

pub(super) fn span_context() -> impl Strategy<Value = SpanContext> {
    let state = prop_oneof![Just(""), Just("vendor=1,other=a b")];
    (
        any::<u128>(),
        any::<u64>(),
        any::<u8>(),
        any::<bool>(),
        state,
    )
        .prop_map(|(trace, span, flags, is_remote, state)| {
            let state: TraceState = state.parse().unwrap_or_default();
            let (trace, span) = (TraceId::from(trace), SpanId::from(span));
            SpanContext::new(trace, span, TraceFlags::new(flags), is_remote, state)
        })
}

pub(super) fn status() -> impl Strategy<Value = Status> {
    prop_oneof![
        Just(Status::Unset),
        Just(Status::Ok),
        text().prop_map(Status::error)
    ]
}

pub(super) fn kind() -> impl Strategy<Value = SpanKind> {
    prop_oneof![
        Just(SpanKind::Internal),
        Just(SpanKind::Server),
        Just(SpanKind::Client),
        Just(SpanKind::Producer),
        Just(SpanKind::Consumer),
    ]
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    (text(), time(), attributes(), any::<u32>())
        .prop_map(|(name, time, attributes, dropped)| Event::new(name, time, attributes, dropped))
}

pub(super) fn link() -> impl Strategy<Value = Link> {
    (span_context(), attributes(), any::<u32>())
        .prop_map(|(context, attributes, dropped)| Link::new(context, attributes, dropped))
}

prop_compose! {
    pub(super) fn span()(
        (context, parent, is_remote) in (span_context(), any::<u64>(), any::<bool>()),
        (name, kind, status) in (text(), kind(), status()),
        (start, end) in (time(), time()),
        (events, links) in (vec(event(), 0..3), vec(link(), 0..3)),
        (attributes, scope) in (attributes(), scope()),
        dropped in any::<[u32; 3]>(),
    ) -> SpanData {
        let mut span = super::span(name);
        span.span_context = context;
        span.parent_span_id = SpanId::from(parent);
        span.parent_span_is_remote = is_remote;
        span.span_kind = kind;
        span.status = status;
        span.start_time = start;
        span.end_time = end;
        span.attributes = attributes;
        span.instrumentation_scope = scope;
        span.events.events = events;
        span.links.links = links;
        span.dropped_attributes_count = dropped[0];
        span.events.dropped_count = dropped[1];
        span.links.dropped_count = dropped[2];
        span
    }
}
