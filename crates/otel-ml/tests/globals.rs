//! The global providers and propagator. Each test runs in a process of its own.
#![allow(
    clippy::disallowed_methods,
    reason = "the globals are what is tested, in processes of their own"
)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "it/b3.rs"]
mod b3;

use std::process::Command;
use std::sync::Barrier;

use b3::B3;
use futures_util::FutureExt;
use http::HeaderMap;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_sdk::metrics::{
    Aggregation, InMemoryMetricExporter, Instrument, SdkMeterProvider, Stream,
};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use otel_ml::carrier::{HeaderExtractor, HeaderInjector};
use otel_ml::messaging::{Destination, Message};
use otel_ml::propagation::W3cPropagator;
use otel_ml::{Finding, OtelMlConsumerLayer, Telemetry, genai, selfcheck, stage};
use otel_ml_semconv::{gen_ai, http as keys, ml};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry};
use tower::{Layer, Service, service_fn};

/// Runs `test` in a new process, or, in that process, right here.
fn alone(name: &str, test: fn()) {
    const ALONE: &str = "OTEL_ML_TEST_ALONE";
    if std::env::var(ALONE).is_ok_and(|value| value == name) {
        return test();
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, name)
        .output()
        .unwrap();
    let said = [child.stdout, child.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    let has_run = said[0].contains("1 passed");
    assert!(
        child.status.success() && has_run,
        "{}\n{}",
        said[0],
        said[1]
    );
}

macro_rules! alone {
    ($(#[$doc:meta])* fn $name:ident() $body:block) => {
        $(#[$doc])*
        #[test]
        fn $name() {
            fn body() $body
            alone(stringify!($name), body);
        }
    };
}

const FLAGS: TraceFlags = TraceFlags::new(3);

fn remote() -> SpanContext {
    SpanContext::new(
        TraceId::from(7),
        SpanId::from(8),
        FLAGS,
        true,
        TraceState::NONE,
    )
}

fn sent(telemetry: &Telemetry) -> Vec<(String, String)> {
    let mut headers = HeaderMap::new();
    let cx = Context::new().with_remote_span_context(remote());
    telemetry.inject(&cx, &mut HeaderInjector(&mut headers));
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    let mut all: Vec<_> = headers
        .iter()
        .map(|(name, v)| (name.to_string(), text(v)))
        .collect();
    all.sort();
    all
}

fn received(telemetry: &Telemetry, name: &'static str, value: &str) -> SpanContext {
    let mut headers = HeaderMap::new();
    headers.insert(name, value.parse().unwrap());
    telemetry
        .extract(&HeaderExtractor::new(&headers))
        .span()
        .span_context()
        .clone()
}

fn line(name: &str, value: String) -> (String, String) {
    (name.to_owned(), value)
}

fn w3c() -> (String, String) {
    line("traceparent", format!("00-{:032x}-{:016x}-03", 7, 8))
}

fn b3() -> (String, String) {
    line("b3", format!("{:032x}-{:016x}-1", 7, 8))
}

/// A message of nobody.
struct Empty;

impl Message for Empty {
    fn system(&self) -> &'static str {
        "memory"
    }

    fn destination(&self) -> Destination<'_> {
        Destination::named("jobs")
    }

    fn sender(&self, _telemetry: &Telemetry) -> Context {
        Context::new()
    }
}

alone! {
    fn e26_layers_and_handles_made_before_the_providers_record_afterwards() {
        let telemetry = Telemetry::global();
        let mut service = OtelMlConsumerLayer
            .layer(service_fn(|_: Empty| async { Ok::<_, std::fmt::Error>(()) }));
        let mut consume = || service.call(Empty).now_or_never().unwrap().unwrap();
        let both = [Finding::NoTracerProvider, Finding::NoMeterProvider];
        for _ in 0..3 {
            consume();
            stage("early").in_scope_infallible(|| ());
            assert!(!telemetry.is_tracing() && telemetry.instruments().is_none());
            assert_eq!(selfcheck(), both);
        }

        let test = TestTelemetry::new();
        global::set_tracer_provider(test.tracer_provider().clone());
        consume();
        stage("late").in_scope_infallible(|| ());
        assert_eq!(test.spans().len(), 2);
        assert_eq!(test.spans().named("late").str(ml::PIPELINE_STAGE_NAME), "late");
        assert_eq!(selfcheck(), [Finding::NoMeterProvider]);
        assert_eq!(test.metrics().names(), [""; 0]);

        global::set_meter_provider(test.meter_provider().clone());
        consume();
        stage("later").in_scope_infallible(|| ());
        assert_eq!(selfcheck(), []);
        let names = test.metrics().names().join(" ");
        assert!(names.contains("messaging.process.duration"), "{names}");
        assert!(names.contains("ml.stage.duration"), "{names}");
        assert_eq!(test.spans().len(), 4);
    }
}

alone! {
    fn e26_a_provider_that_comes_very_late_is_noticed_at_the_pace() {
        for _ in 0..1000 {
            stage("early").in_scope_infallible(|| ());
        }
        let test = TestTelemetry::new();
        global::set_tracer_provider(test.tracer_provider().clone());
        global::set_meter_provider(test.meter_provider().clone());
        let tries = (1..).find(|_| {
            stage("late").in_scope_infallible(|| ());
            !test.spans().is_empty() && test.metrics().has(ml::metric::STAGE_DURATION.name)
        });
        assert!(tries.is_some_and(|tries| tries <= 64), "{tries:?}");
    }
}

alone! {
    fn a_task_that_was_described_before_the_provider_came_has_all_its_attributes() {
        let task = genai::chat("openai", "m").temperature(0.0);
        let test = TestTelemetry::new();
        global::set_tracer_provider(test.tracer_provider().clone());
        task.in_scope_infallible(|| ());
        let span = test.spans().named("chat m").clone();
        assert_eq!(span.str(gen_ai::REQUEST_MODEL), "m");
        assert_eq!(span.double(gen_ai::REQUEST_TEMPERATURE), 0.0);
    }
}

alone! {
    fn a_provider_that_was_found_is_kept() {
        let (first, second) = (TestTelemetry::new(), TestTelemetry::new());
        global::set_tracer_provider(first.tracer_provider().clone());
        stage("one").in_scope_infallible(|| ());
        global::set_tracer_provider(second.tracer_provider().clone());
        stage("two").in_scope_infallible(|| ());
        assert_eq!((first.spans().len(), second.spans().len()), (2, 0));
    }
}

alone! {
    /// The SDK keeps every callback of an observable instrument: two would count double.
    fn threads_that_meet_the_provider_together_make_its_instruments_once() {
        let test = TestTelemetry::new();
        global::set_meter_provider(test.meter_provider().clone());
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    while Telemetry::global().instruments().is_none() {
                        std::thread::yield_now();
                    }
                });
            }
        });
        let telemetry = Telemetry::global();
        let entered = telemetry.instruments().unwrap().http_server_active_requests.enter("GET", "http");
        let active = keys::metric::SERVER_ACTIVE_REQUESTS.name;
        assert_eq!(test.metrics().sum(active).int(), 1);
        drop(entered);
        test.metrics().sum(active).assert_zero();
    }
}

/// Sets a propagator in place of another one: that is seen in time, not at once.
fn replace_propagator(propagator: impl TextMapPropagator + Send + Sync + 'static) {
    global::set_text_map_propagator(propagator);
    for _ in 0..64 {
        let _is_set = Telemetry::global().is_propagating();
    }
}

fn composite(members: Vec<Box<dyn TextMapPropagator + Send + Sync>>) -> TextMapCompositePropagator {
    TextMapCompositePropagator::new(members)
}

alone! {
    fn the_automatic_choice_follows_the_global_propagator() {
        let own = Telemetry::builder().without_traces().without_metrics().build();
        let both = [Telemetry::global(), own];
        let assert_sent = |is_set: bool, expected: &[(String, String)]| {
            for telemetry in &both {
                assert_eq!(sent(telemetry), expected, "{telemetry:?}");
                assert_eq!(telemetry.is_propagating(), is_set, "{telemetry:?}");
                for (name, value) in expected.iter().filter(|(_, value)| !value.is_empty()) {
                    let name = if name == "b3" { "b3" } else { "traceparent" };
                    let found = received(telemetry, name, value);
                    assert_eq!(found.trace_id(), remote().trace_id(), "{telemetry:?}");
                }
            }
        };
        assert_sent(false, &[w3c()]);

        global::set_text_map_propagator(B3::new());
        assert_sent(true, &[b3()]);
        let parent = w3c().1;
        assert!(both.iter().all(|t| !received(t, "traceparent", &parent).is_valid()));

        // W3C's by the SDK would lose the random flag: ours is used in its place.
        replace_propagator(TraceContextPropagator::new());
        assert_sent(true, &[w3c()]);
        assert!(both.iter().all(|t| received(t, "traceparent", &parent) == remote()));

        replace_propagator(composite(vec![
            Box::new(TraceContextPropagator::new()),
            Box::new(BaggagePropagator::new()),
        ]));
        assert_sent(true, &[w3c()]);

        replace_propagator(composite(vec![
            Box::new(TraceContextPropagator::new()),
            Box::new(B3::new()),
        ]));
        // The SDK's own: without the random flag, and with an empty list.
        let by_sdk = line("traceparent", format!("00-{:032x}-{:016x}-01", 7, 8));
        assert_sent(true, &[b3(), by_sdk, line("tracestate", String::new())]);
    }
}

fn baggage_sent(telemetry: &Telemetry) -> bool {
    let cx = Context::new()
        .with_remote_span_context(remote())
        .with_baggage([KeyValue::new("tier", "pro")]);
    let mut headers = HeaderMap::new();
    telemetry.inject(&cx, &mut HeaderInjector(&mut headers));
    headers.contains_key("baggage")
}

alone! {
    /// Who sets Trace Context alone does not want baggage to leave the process.
    fn the_automatic_choice_carries_no_more_than_the_global_propagator() {
        let telemetry = Telemetry::global();
        assert!(baggage_sent(&telemetry));
        let trace_context: [fn(); 3] = [
            || replace_propagator(TraceContextPropagator::new()),
            || replace_propagator(W3cPropagator::trace_context_only()),
            || replace_propagator(composite(vec![Box::new(TraceContextPropagator::new())])),
        ];
        for set in trace_context {
            set();
            assert!(!baggage_sent(&telemetry), "{telemetry:?}");
            assert_eq!(sent(&telemetry), [w3c()]);
            let mut headers = HeaderMap::new();
            headers.insert("baggage", "tier=pro".parse().unwrap());
            let received = telemetry.extract(&HeaderExtractor::new(&headers));
            assert!(received.baggage().is_empty());

            replace_propagator(W3cPropagator::new());
            assert!(baggage_sent(&telemetry), "{telemetry:?}");
        }
        for set in [
            || replace_propagator(BaggagePropagator::new()),
            || replace_propagator(W3cPropagator::baggage_only()),
        ] {
            set();
            assert!(baggage_sent(&telemetry), "{telemetry:?}");
            assert_eq!(sent(&telemetry), []);
            assert!(!received(&telemetry, "traceparent", &w3c().1).is_valid());
        }
    }
}

alone! {
    /// To look takes a lock that all threads share: none set is looked for by each use, one
    /// that was set by every 64th, or by a check.
    fn another_propagator_is_seen_in_time_and_the_first_one_at_once() {
        let telemetry = Telemetry::global();
        assert!(!telemetry.is_propagating());
        global::set_text_map_propagator(W3cPropagator::new());
        assert!(telemetry.is_propagating());
        assert!(baggage_sent(&telemetry));

        global::set_text_map_propagator(W3cPropagator::trace_context_only());
        let uses = (1..=64).find(|_| !baggage_sent(&telemetry));
        assert!(uses.is_some(), "{telemetry:?}");

        global::set_text_map_propagator(W3cPropagator::new());
        let _findings = selfcheck();
        assert!(baggage_sent(&telemetry));
        // Each thread looks for itself at first.
        global::set_text_map_propagator(W3cPropagator::trace_context_only());
        let is_sent = std::thread::spawn(|| baggage_sent(&Telemetry::global()));
        assert!(!is_sent.join().unwrap());
    }
}

alone! {
    /// Nothing more can be asked of a program that must not tell others of its traces.
    fn a_global_propagator_of_nothing_sends_nothing() {
        global::set_text_map_propagator(composite(vec![]));
        assert_eq!(sent(&Telemetry::global()), []);
    }
}

alone! {
    fn a_given_propagator_holds_whatever_the_global_one_is() {
        let given = Telemetry::builder()
            .without_traces()
            .without_metrics()
            .propagator(W3cPropagator::new())
            .build();
        global::set_text_map_propagator(B3::new());
        assert_eq!(sent(&given), [w3c()]);
    }
}

alone! {
    fn e36_a_check_tells_a_provider_that_was_replaced() {
        let (first, second) = (TestTelemetry::new(), TestTelemetry::new());
        global::set_meter_provider(first.meter_provider().clone());
        global::set_tracer_provider(first.tracer_provider().clone());
        stage("first").in_scope_infallible(|| ());
        assert_eq!(selfcheck(), []);
        first.tracer_provider().shutdown().unwrap();
        assert_eq!(selfcheck(), []);
        global::set_tracer_provider(second.tracer_provider().clone());
        assert_eq!(selfcheck(), [Finding::ProviderReplaced]);
        assert!(second.spans().is_empty() && second.open_spans().is_empty());
    }
}

alone! {
    fn e36_a_check_looks_at_what_is_there_now() {
        for _ in 0..1000 {
            stage("early").in_scope_infallible(|| ());
        }
        let test = TestTelemetry::new();
        global::set_tracer_provider(test.tracer_provider().clone());
        global::set_meter_provider(test.meter_provider().clone());
        assert_eq!(selfcheck(), []);
    }
}

alone! {
    fn requests_in_flight_are_counted_in_one_place_whoever_traces_them() {
        let test = TestTelemetry::new();
        global::set_meter_provider(test.meter_provider().clone());
        let own = Telemetry::builder().tracer_provider(test.tracer_provider()).build();
        let enter = |telemetry: &Telemetry| {
            let instruments = telemetry.instruments().unwrap();
            instruments.http_server_active_requests.enter("GET", "http")
        };
        let _held = [enter(&own), enter(&Telemetry::global()), enter(&own)];
        let metrics = test.metrics();
        let sum = metrics.sum(keys::metric::SERVER_ACTIVE_REQUESTS.name);
        assert_eq!(sum.points()[0].value(), otel_ml_testing::Number::Int(3));
    }
}

alone! {
    fn a_view_that_drops_one_instrument_leaves_the_others() {
        let exporter = InMemoryMetricExporter::default();
        let drop_requests = |instrument: &Instrument| {
            let is_it = instrument.name() == keys::metric::SERVER_ACTIVE_REQUESTS.name;
            let stream = is_it.then(|| Stream::builder().with_aggregation(Aggregation::Drop).build());
            stream?.ok()
        };
        let provider = SdkMeterProvider::builder()
            .with_periodic_exporter(exporter.clone())
            .with_view(drop_requests)
            .build();
        global::set_meter_provider(provider.clone());
        stage("seen").in_scope_infallible(|| ());
        assert_eq!(selfcheck(), [Finding::NoTracerProvider]);
        provider.force_flush().unwrap();
        let written = format!("{:?}", exporter.get_finished_metrics().unwrap());
        assert!(written.contains(ml::metric::STAGE_DURATION.name), "{written}");
    }
}
