//! E01, E02, E30: what is done to headers, and read from them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use otel_ml::Telemetry;
use otel_ml::carrier::{ExtractCarrier as _, Field, InjectCarrier as _};
use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::propagation::{Extractor as _, Injector as _};
use otel_ml::opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use otel_ml_rdkafka::carrier::{HeadersExtractor, HeadersInjector, SENT_AT};
use otel_ml_rdkafka::otel_ml;
use otel_ml_testing::TestTelemetry;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::support::rdkafka::message::{Header, Headers, OwnedHeaders};
use crate::support::{Pair, SAMPLED, owned, pair, pairs, telemetry};

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

fn injected(headers: Option<OwnedHeaders>, cx: &Context) -> Vec<Pair> {
    let mut injector = HeadersInjector::new(headers);
    quiet().inject(cx, &mut injector);
    injector.into_inner().as_ref().map_or_else(Vec::new, pairs)
}

fn sender(pairs: &[Pair]) -> SpanContext {
    let headers = owned(pairs);
    let cx = quiet().extract(&HeadersExtractor::new(headers.as_borrowed()));
    cx.span().span_context().clone()
}

fn is_propagation(name: &str) -> bool {
    ["traceparent", "tracestate", "baggage"]
        .iter()
        .any(|field| name.eq_ignore_ascii_case(field))
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z0-9_.é-]{0,12}",
        1 => Just("traceparent".to_owned()),
        1 => Just("TraceParent".to_owned()),
        1 => Just("TRACESTATE".to_owned()),
        1 => Just("Baggage".to_owned()),
    ]
}

fn header() -> impl Strategy<Value = Pair> {
    (name(), option::of(vec(any::<u8>(), 0..24)))
}

proptest! {
    /// Others keep their order, their nulls and their duplicates.
    #[test]
    fn e01_e30_injecting_leaves_one_parent_and_all_other_headers(
        before in vec(header(), 0..12), first in 1..u64::MAX, second in 1..u64::MAX,
    ) {
        let others = |pairs: &[Pair]| -> Vec<Pair> {
            pairs.iter().filter(|(name, _)| !is_propagation(name)).cloned().collect()
        };
        let once = injected(Some(owned(&before)), &current(first));
        let twice = injected(Some(owned(&once)), &current(second));
        for (after, number) in [(&once, first), (&twice, second)] {
            prop_assert_eq!(others(after), others(&before));
            let own: Vec<_> = after.iter().filter(|(name, _)| is_propagation(name)).collect();
            prop_assert_eq!(own.len(), 1);
            prop_assert_eq!(&own[0].0, "traceparent");
            prop_assert_eq!(sender(after).span_id(), SpanId::from(number));
        }
    }

    /// Whatever is in them, the last valid parent counts.
    #[test]
    fn e01_e02_the_last_valid_parent_counts(
        before in vec(header(), 0..8), behind in vec(header(), 0..8), number in 1..u64::MAX,
    ) {
        let valid = injected(None, &current(number));
        let mut all = before;
        all.extend(valid);
        // Random bytes are no valid parent.
        all.extend(behind);
        prop_assert_eq!(sender(&all).span_id(), SpanId::from(number));
    }

    #[test]
    fn e02_rubbish_is_no_parent(all in vec(header(), 0..12)) {
        prop_assert!(!sender(&all).is_valid());
    }
}

#[test]
fn e01_repeated_parents_are_counted_as_such() {
    let test = TestTelemetry::new();
    let headers = owned(&[pair("traceparent", SAMPLED), pair("TRACEPARENT", "junk")]);
    let cx = telemetry(&test).extract(&HeadersExtractor::new(&headers));
    assert_eq!(
        cx.span().span_context().span_id().to_string(),
        "b7ad6b7169203331"
    );
    let metrics = test.metrics();
    let labels = metrics
        .sum("ml.propagation.anomalies")
        .one()
        .labels()
        .to_vec();
    let label = |key: &str| {
        labels
            .iter()
            .find(|l| l.key.as_str() == key)
            .unwrap()
            .value
            .to_string()
    };
    assert_eq!(label("ml.propagation.anomaly"), "duplicate");
    assert_eq!(label("ml.propagation.transport"), "kafka");
}

#[test]
fn e02_null_values_are_absent() {
    let null = ("traceparent".to_owned(), None);
    assert!(!sender(std::slice::from_ref(&null)).is_valid());
    assert!(sender(&[pair("traceparent", SAMPLED), null]).is_valid());
}

#[test]
fn where_there_is_nothing_to_write_headers_are_not_made() {
    let mut injector = HeadersInjector::new(None);
    quiet().inject(&Context::new(), &mut injector);
    injector.remove(Field::Baggage);
    assert!(injector.into_inner().is_none());
}

#[test]
fn the_later_of_repeated_lists_counts() {
    let headers = owned(&[
        pair("traceparent", SAMPLED),
        pair("tracestate", "stale=1"),
        pair("tracestate", "own=2"),
    ]);
    let cx = quiet().extract(&HeadersExtractor::new(&headers));
    assert_eq!(cx.span().span_context().trace_state().header(), "own=2");
}

/// Propagators other than W3C's set and get by any name.
#[test]
fn e01_foreign_propagators_replace_and_read_the_last() {
    let headers = owned(&[
        pair("X-B3", "1"),
        pair("other", "o"),
        pair("x-b3", "2"),
        pair("x-b3", [0xff]),
    ]);
    let extractor = HeadersExtractor::new(&headers);
    assert_eq!(extractor.get("X-b3"), Some("2"));
    assert_eq!(extractor.get("absent"), None);
    assert_eq!(extractor.keys(), ["X-B3", "other", "x-b3", "x-b3"]);
    let mut injector = HeadersInjector::new(Some(headers));
    injector.set("x-B3", "3".to_owned());
    injector.set("traceparent", "first".to_owned());
    injector.replace(Field::TraceParent, b"second");
    let after = pairs(&injector.into_inner().unwrap());
    assert_eq!(
        after,
        [
            pair("other", "o"),
            pair("x-B3", "3"),
            pair("traceparent", "second")
        ]
    );
}

#[test]
fn the_send_time_is_read_as_it_was_written() {
    let time = UNIX_EPOCH + Duration::from_micros(1_763_700_000_123_456);
    let mut injector = HeadersInjector::new(Some(owned(&[pair(SENT_AT, "1")])));
    injector.set_sent_at(time);
    let headers = injector.into_inner().unwrap();
    assert_eq!(headers.count(), 1);
    assert_eq!(HeadersExtractor::new(&headers).sent_at(), Some(time));
    for rubbish in ["", "-1", "soon", "99999999999999999999999", "\u{ff}"] {
        let headers = owned(&[pair(SENT_AT, rubbish)]);
        assert_eq!(HeadersExtractor::new(&headers).sent_at(), None, "{rubbish}");
    }
    let largest = u64::MAX.to_string();
    let headers = owned(&[pair(SENT_AT, largest)]);
    assert!(HeadersExtractor::new(&headers).sent_at() > Some(SystemTime::now()));
}

#[test]
fn values_are_all_of_a_field() {
    let headers = owned(&[pair("baggage", "a=1"), pair("BAGGAGE", "b=2")]);
    let extractor = HeadersExtractor::new(&headers);
    let all: Vec<_> = extractor.values(Field::Baggage).collect();
    assert_eq!(all, [b"a=1", b"b=2"]);
}

/// Headers of which some have names that are not UTF-8: rdkafka panics on those.
struct PartlyUnreadable(OwnedHeaders, usize);

impl Headers for PartlyUnreadable {
    fn count(&self) -> usize {
        self.0.count() + self.1
    }

    fn try_get(&self, index: usize) -> Option<Header<'_, &[u8]>> {
        assert!(index >= self.1, "a name that is not UTF-8");
        self.0.try_get(index - self.1)
    }
}

#[test]
fn e02_names_that_can_not_be_read_are_skipped() {
    let valid = owned(&[pair("traceparent", SAMPLED)]);
    let headers = PartlyUnreadable(valid, 3);
    let cx = quiet().extract(&HeadersExtractor::new(&headers));
    assert!(cx.span().span_context().is_valid());
    // So many are no accident, and each costs a panic: the rest is left alone.
    let headers = PartlyUnreadable(headers.0, 1_000);
    let cx = quiet().extract(&HeadersExtractor::new(&headers));
    assert!(!cx.span().span_context().is_valid());
}
