//! What a receiver makes of the fields, valid or not.

use http::{HeaderMap, HeaderValue};
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::TraceContextExt;
use otel_ml::Telemetry;
use otel_ml::carrier::HeaderExtractor;
use otel_ml_semconv::ml::propagation_anomaly as anomaly;
use otel_ml_testing::TestTelemetry;

use crate::carriers::Records;
use crate::support::{SPAN_ID, TRACE_ID, anomalies, extract, remote, remote_context, traceparent};

fn state(cx: &Context) -> String {
    cx.span().span_context().trace_state().header()
}

fn member(cx: &Context, key: &str) -> Option<String> {
    cx.baggage().get(key).map(ToString::to_string)
}

/// How often each anomaly was counted for `transport`.
fn counts(test: &TestTelemetry, transport: &str) -> [i64; 4] {
    anomaly::ALL
        .iter()
        .map(|kind| anomalies(test, kind, transport))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

#[test]
fn a_valid_parent_is_remote_and_nothing_is_counted() {
    let test = TestTelemetry::new();
    let cx = extract(&test.telemetry(), &[("traceparent", &traceparent("01"))]);
    assert_eq!(*cx.span().span_context(), remote(1));
    assert_eq!(counts(&test, "http"), [0; 4]);
}

#[test]
fn only_the_sampled_and_the_random_flag_are_kept() {
    let telemetry = TestTelemetry::new().telemetry();
    for (sent, kept) in [
        ("00", 0),
        ("01", 1),
        ("02", 2),
        ("03", 3),
        ("ff", 3),
        ("fc", 0),
    ] {
        let cx = extract(&telemetry, &[("traceparent", &traceparent(sent))]);
        assert_eq!(
            cx.span().span_context().trace_flags().to_u8(),
            kept,
            "{sent}"
        );
    }
}

#[test]
fn e01_a_malformed_parent_is_counted_and_none() {
    let cases = [
        String::new(),
        "garbage".into(),
        format!("00-{:032}-{SPAN_ID:016x}-01", 0),
        format!("00-{TRACE_ID:032x}-{:016}-01", 0),
        format!("ff-{TRACE_ID:032x}-{SPAN_ID:016x}-01"),
        format!("00-{TRACE_ID:032X}-{SPAN_ID:016x}-01"),
        format!("{}-extra", traceparent("01")),
        format!("{}, {}", traceparent("01"), traceparent("01")),
    ];
    for case in cases {
        let test = TestTelemetry::new();
        let cx = extract(
            &test.telemetry(),
            &[("traceparent", &case), ("tracestate", "a=1")],
        );
        assert!(!cx.has_active_span(), "{case}");
        assert_eq!(counts(&test, "http"), [1, 0, 0, 0], "{case}");
    }
}

#[test]
fn e01_several_parents_are_refused_over_http_even_if_equal() {
    let test = TestTelemetry::new();
    let parent = traceparent("01");
    let lines = [
        ("traceparent", parent.as_str()),
        ("Traceparent", &parent),
        ("baggage", "k=v"),
    ];
    let cx = extract(&test.telemetry(), &lines);
    assert!(!cx.has_active_span());
    assert_eq!(member(&cx, "k").as_deref(), Some("v"));
    assert_eq!(counts(&test, "http"), [0, 1, 0, 0]);
}

#[test]
fn oversized_baggage_is_left_out_and_counted() {
    let telemetry = |test: &TestTelemetry| test.telemetry();
    let of_length = |length: usize| format!("k={}", "x".repeat(length - 2));
    for (length, is_kept) in [(8192, true), (8193, false)] {
        let test = TestTelemetry::new();
        let lines = [
            ("traceparent", traceparent("01")),
            ("baggage", of_length(length)),
        ];
        let cx = extract(
            &telemetry(&test),
            &lines.each_ref().map(|(n, v)| (*n, v.as_str())),
        );
        assert!(cx.has_active_span());
        assert_eq!(!cx.baggage().is_empty(), is_kept, "{length}");
        assert_eq!(
            counts(&test, "http"),
            [0, 0, 0, i64::from(!is_kept)],
            "{length}"
        );
    }
}

#[test]
fn e01_the_last_valid_parent_counts_where_headers_are_only_appended() {
    let older = format!("00-{:032x}-{:016x}-01", 7, 7);
    let newer = traceparent("01");
    let cases: [(&[&str], bool); 5] = [
        (&[&older, &newer], true),
        (&[&newer, "broken"], true),
        (&[&older, "broken", &newer, ""], true),
        (&[&newer], true),
        (&["broken", "more broken"], false),
    ];
    for (values, is_valid) in cases {
        let test = TestTelemetry::new();
        let records = values.iter().fold(Records::default(), |records, value| {
            records.with("TraceParent", value)
        });
        let cx = test.telemetry().extract(&records);
        let found = cx.span().span_context().clone();
        assert_eq!(found == remote(1), is_valid, "{values:?}");
        let is_repeated = is_valid && values.len() > 1;
        assert_eq!(
            counts(&test, "memory"),
            [i64::from(!is_valid), i64::from(is_repeated), 0, 0],
            "{values:?}"
        );
    }
}

#[test]
fn several_state_lines_are_one_list() {
    let telemetry = TestTelemetry::new().telemetry();
    let parent = traceparent("01");
    let lines = [
        ("traceparent", parent.as_str()),
        ("tracestate", "a=1"),
        ("TraceState", "b=2 , c=3"),
        ("tracestate", ""),
    ];
    assert_eq!(state(&extract(&telemetry, &lines)), "a=1,b=2,c=3");
}

#[test]
fn several_baggage_lines_are_one_list() {
    let telemetry = TestTelemetry::new().telemetry();
    let cx = extract(
        &telemetry,
        &[("baggage", "a=1"), ("baggage", "b=x%20y;p=1, c = 3 ")],
    );
    let members = ["a", "b", "c"].map(|key| member(&cx, key).unwrap());
    assert_eq!(members, ["1", "x y", "3"]);
    assert!(!cx.has_active_span());
}

#[test]
fn e02_bytes_that_are_no_text_are_absent() {
    let junk = || HeaderValue::from_bytes(b"\xff\xfe").unwrap();
    let test = TestTelemetry::new();
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", traceparent("01").parse().unwrap());
    headers.insert("tracestate", junk());
    headers.insert("baggage", junk());
    let cx = test.telemetry().extract(&HeaderExtractor::new(&headers));
    assert_eq!(*cx.span().span_context(), remote(1));
    assert!(cx.baggage().is_empty());
    assert_eq!(counts(&test, "http"), [0; 4]);

    headers.insert("traceparent", junk());
    let cx = test.telemetry().extract(&HeaderExtractor::new(&headers));
    assert!(!cx.has_active_span());
    assert_eq!(counts(&test, "http"), [1, 0, 0, 0]);
}

#[test]
fn e02_a_baggage_line_that_is_no_text_does_not_take_the_others_along() {
    let mut headers = HeaderMap::new();
    headers.append("baggage", HeaderValue::from_bytes(b"broken=\xff").unwrap());
    headers.append("baggage", HeaderValue::from_static("tier=pro"));
    let cx = TestTelemetry::new()
        .telemetry()
        .extract(&HeaderExtractor::new(&headers));
    assert_eq!(member(&cx, "tier").as_deref(), Some("pro"));
}

#[test]
fn e02_null_values_are_absent() {
    let test = TestTelemetry::new();
    let records = Records::default()
        .with("traceparent", traceparent("01"))
        .with_null("traceparent")
        .with_null("tracestate")
        .with_null("baggage");
    let cx = test.telemetry().extract(&records);
    assert_eq!(*cx.span().span_context(), remote(1));
    assert_eq!(counts(&test, "memory"), [0; 4]);
}

#[test]
fn e27_without_fields_the_context_is_fresh_and_not_the_current_one() {
    let test = TestTelemetry::new();
    let current = remote_context(1).with_value(17_u32);
    let _attached = current.attach();
    for telemetry in [test.telemetry(), Telemetry::global()] {
        for lines in [&[][..], &[("traceparent", "broken")], &[("baggage", "k=v")]] {
            let cx = extract(&telemetry, lines);
            assert!(!cx.has_active_span());
            assert_eq!(cx.get::<u32>(), None);
        }
    }
}

#[test]
fn anomalies_need_no_instruments() {
    let telemetry = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build();
    assert!(!extract(&telemetry, &[("traceparent", "broken")]).has_active_span());
}
