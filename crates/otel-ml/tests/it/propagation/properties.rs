//! Bytes from the wire: whatever they are, nothing panics and nothing invalid gets in.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::TraceContextExt;
use otel_ml::Telemetry;
use otel_ml::carrier::{HeaderExtractor, HeaderInjector};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::carriers::Records;

fn telemetry() -> Telemetry {
    Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build()
}

/// Fields in any case, with values that are nearly right or plain noise.
fn lines() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = prop_oneof![
        4 => select(vec!["traceparent", "tracestate", "baggage", "TraceParent", "BAGGAGE"])
            .prop_map(str::to_owned),
        1 => "[a-zA-Z-]{1,12}",
    ];
    let value = prop_oneof![
        "0[0-2]-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]".prop_map(String::into_bytes),
        "([a-z@*/_-]{1,4}=[ -~]{0,4}[,; \t]{0,2}){0,40}".prop_map(String::into_bytes),
        "([a-zA-Z .]{0,3}=[%0-9a-f é\\\\\"]{0,6}(;[a-zé =]{0,4})?,?){0,8}"
            .prop_map(String::into_bytes),
        vec(any::<u8>(), 0..80),
    ];
    vec((name, value), 0..6)
}

fn header_map(lines: &[(String, Vec<u8>)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::try_from(name.as_str());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

fn records(lines: Vec<(String, Vec<u8>)>) -> Records {
    Records(
        lines
            .into_iter()
            .map(|(name, value)| (name, Some(value)))
            .collect(),
    )
}

/// All that travels, in a form that can be compared.
fn facts(cx: &Context) -> (String, Vec<(String, String, String)>) {
    let mut members: Vec<_> = cx
        .baggage()
        .iter()
        .map(|(key, (value, metadata))| {
            (
                key.to_string(),
                value.to_string(),
                metadata.as_str().to_owned(),
            )
        })
        .collect();
    members.sort();
    (format!("{:?}", cx.span().span_context()), members)
}

fn states(headers: &HeaderMap) -> Vec<&[u8]> {
    headers
        .get_all("tracestate")
        .iter()
        .map(HeaderValue::as_bytes)
        .collect()
}

fn assert_valid_or_absent(cx: &Context) -> Result<(), TestCaseError> {
    let span = cx.span();
    prop_assert_eq!(cx.has_active_span(), span.span_context().is_valid());
    if cx.has_active_span() {
        prop_assert!(span.span_context().is_remote());
        prop_assert!(span.span_context().trace_flags().to_u8() <= 3);
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_http_headers_give_a_valid_parent_or_none(lines in lines()) {
        let received = header_map(&lines);
        assert_valid_or_absent(&telemetry().extract(&HeaderExtractor::new(&received)))?;
    }

    #[test]
    fn any_broker_headers_give_a_valid_parent_or_none(lines in lines()) {
        assert_valid_or_absent(&telemetry().extract(&records(lines)))?;
    }

    #[test]
    fn what_was_read_once_stays_the_same_over_http(lines in lines()) {
        let telemetry = telemetry();
        let first = telemetry.extract(&HeaderExtractor::new(&header_map(&lines)));
        let mut sent = HeaderMap::new();
        telemetry.inject(&first, &mut HeaderInjector(&mut sent));
        let second = telemetry.extract(&HeaderExtractor::new(&sent));
        prop_assert_eq!(facts(&first), facts(&second));
        let mut again = HeaderMap::new();
        telemetry.inject(&second, &mut HeaderInjector(&mut again));
        prop_assert_eq!(states(&sent), states(&again));
    }

    #[test]
    fn what_was_read_once_stays_the_same_through_a_broker(lines in lines()) {
        let telemetry = telemetry();
        let first = telemetry.extract(&records(lines));
        let mut sent = Records::default();
        telemetry.inject(&first, &mut sent);
        prop_assert_eq!(facts(&first), facts(&telemetry.extract(&sent)));
    }
}
