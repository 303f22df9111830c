//! E36: what keeps telemetry from arriving is said plainly.

use opentelemetry::Context;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{
    Extractor, Injector, TextMapCompositePropagator, TextMapPropagator,
};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use otel_ml::{Finding, Telemetry};
use otel_ml_testing::TestTelemetry;

use crate::b3::B3;

/// As another version of the API's no-op: nothing out, nothing in.
#[derive(Debug)]
struct Mute;

/// Writes a field and does not know it again.
#[derive(Debug)]
struct Forgetful;

impl TextMapPropagator for Mute {
    fn inject_context(&self, _cx: &Context, _injector: &mut dyn Injector) {}

    fn extract_with_context(&self, cx: &Context, _extractor: &dyn Extractor) -> Context {
        cx.clone()
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&[])
    }
}

impl TextMapPropagator for Forgetful {
    fn inject_context(&self, _cx: &Context, injector: &mut dyn Injector) {
        injector.set("x-trace", "1".into());
    }

    fn extract_with_context(&self, cx: &Context, _extractor: &dyn Extractor) -> Context {
        cx.clone()
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&[])
    }
}

fn with(propagator: impl TextMapPropagator + Send + Sync + 'static) -> Vec<Finding> {
    let test = TestTelemetry::new();
    let findings = Telemetry::builder()
        .tracer_provider(test.tracer_provider())
        .meter_provider(test.meter_provider())
        .propagator(propagator)
        .build()
        .selfcheck();
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    findings
}

#[test]
fn e36_all_is_well() {
    let test = TestTelemetry::new();
    assert_eq!(test.telemetry().selfcheck(), []);
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    assert_eq!(with(TraceContextPropagator::new()), []);
    assert_eq!(with(B3::new()), []);
}

#[test]
fn e36_missing_providers_are_found() {
    let test = TestTelemetry::new();
    let no_traces = Telemetry::builder()
        .meter_provider(test.meter_provider())
        .without_traces();
    assert_eq!(no_traces.build().selfcheck(), [Finding::NoTracerProvider]);
    let no_metrics = Telemetry::builder()
        .tracer_provider(test.tracer_provider())
        .without_metrics();
    assert_eq!(no_metrics.build().selfcheck(), [Finding::NoMeterProvider]);
    assert_eq!(
        otel_ml::selfcheck(),
        [Finding::NoTracerProvider, Finding::NoMeterProvider]
    );
}

#[test]
fn e36_a_propagator_that_writes_nothing_is_found() {
    assert_eq!(with(Mute), [Finding::NothingInjected]);
    assert_eq!(with(BaggagePropagator::new()), [Finding::NothingInjected]);
    assert_eq!(
        with(TextMapCompositePropagator::new(vec![])),
        [Finding::NothingInjected]
    );
}

#[test]
fn e36_a_propagator_that_does_not_read_what_it_writes_is_found() {
    assert_eq!(with(Forgetful), [Finding::NothingExtracted]);
}

#[test]
fn e36_every_finding_says_what_to_do() {
    let all = [
        (Finding::NoTracerProvider, "set_tracer_provider"),
        (Finding::NoTracerProvider, "cargo tree --duplicates"),
        (Finding::NoMeterProvider, "set_meter_provider"),
        (Finding::NothingInjected, "propagator"),
        (Finding::NothingExtracted, "propagator"),
    ];
    for (finding, advice) in all {
        assert!(finding.to_string().contains(advice), "{finding}");
    }
}
