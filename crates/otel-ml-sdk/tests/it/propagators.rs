//! What `OTEL_PROPAGATORS` says is what is sent and read.

use http::HeaderMap;
use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, KeyValue};
use otel_ml::carrier::{HeaderExtractor, HeaderInjector};
use otel_ml_sdk::otel_ml::Telemetry;
use otel_ml_sdk::{ErrorKind, builder};

use crate::alone::alone;
use crate::settings::{Variables, quiet};

/// One of the application's own.
#[derive(Debug)]
struct Own;

impl TextMapPropagator for Own {
    fn inject_context(&self, _cx: &Context, injector: &mut dyn Injector) {
        injector.set("x-own", "1".to_owned());
    }

    fn extract_with_context(&self, cx: &Context, _extractor: &dyn Extractor) -> Context {
        cx.clone()
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&[])
    }
}

/// The names of the fields that are sent, and whether a parent and baggage are read.
fn passed_on(telemetry: &Telemetry) -> (String, bool, bool) {
    let parent = SpanContext::new(
        TraceId::from(7),
        SpanId::from(8),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    let cx = Context::new().with_remote_span_context(parent);
    let cx = cx.with_baggage([KeyValue::new("tier", "pro")]);
    let mut sent = HeaderMap::new();
    telemetry.inject(&cx, &mut HeaderInjector(&mut sent));
    let mut names: Vec<_> = sent.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let mut headers = HeaderMap::new();
    let parent = format!("00-{:032x}-{:016x}-01", 7, 8);
    headers.insert("traceparent", parent.parse().unwrap());
    headers.insert("baggage", "tier=pro".parse().unwrap());
    let read = telemetry.extract(&HeaderExtractor::new(&headers));
    let has_parent = read.span().span_context().is_valid();
    (names.join(" "), has_parent, !read.baggage().is_empty())
}

const CASES: [(&str, &str, bool, bool); 7] = [
    ("", "baggage traceparent", true, true),
    ("baggage,tracecontext", "baggage traceparent", true, true),
    ("tracecontext", "traceparent", true, false),
    ("baggage", "baggage", false, true),
    ("none", "", false, false),
    ("tracecontext,own", "traceparent x-own", true, false),
    ("own", "x-own", false, false),
];

fn reading(list: &'static str) -> otel_ml_sdk::Builder {
    let own = |name: &str| (name == "OTEL_PROPAGATORS").then(|| list.to_owned());
    let builder = builder().variables(move |name| own(name));
    let builder = builder.traces_to([]).metrics_to([]).logs_to([]);
    builder.propagator("own", Own)
}

#[test]
fn what_is_named_is_passed_on_and_nothing_else() {
    for (list, sent, has_parent, has_baggage) in CASES {
        let guard = reading(list).build().unwrap();
        let expected = (sent.to_owned(), has_parent, has_baggage);
        assert_eq!(passed_on(guard.telemetry()), expected, "{list}");
    }
}

/// One after the other: what is global is set anew.
#[test]
fn init_makes_it_what_the_whole_program_passes_on() {
    let said = alone("propagators::initializing", &[]);
    assert!(!said.contains("propagator"), "{said}");
}

#[test]
#[ignore = "run by the test above"]
fn initializing() {
    for (list, sent, has_parent, has_baggage) in CASES {
        // What ends each trace is told of, unless nothing was to be passed on.
        if matches!(list, "baggage" | "own") {
            continue;
        }
        let guard = reading(list).init().unwrap();
        let expected = (sent.to_owned(), has_parent, has_baggage);
        assert_eq!(passed_on(guard.telemetry()), expected, "{list}");
        assert_eq!(passed_on(&Telemetry::global()), expected, "{list}");
    }
}

#[test]
fn switched_off_context_is_still_passed_on() {
    let disabled: Variables = &[
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_PROPAGATORS", "tracecontext"),
    ];
    let guard = quiet(disabled).build().unwrap();
    let expected = ("traceparent".to_owned(), true, false);
    assert_eq!(passed_on(guard.telemetry()), expected);
}

#[test]
fn a_name_that_was_not_given_is_refused() {
    let error = quiet(&[("OTEL_PROPAGATORS", "tracecontext,b3")]);
    let error = error.propagator("own", Own).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Setting);
    assert!(error.to_string().contains("`b3`"), "{error}");
}
