//! What most tests need.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use otel_ml::Telemetry;
use otel_ml::carrier::{HeaderExtractor, HeaderInjector};
use otel_ml_semconv::{Metric, ml};
use otel_ml_testing::{HistogramPoint, TestTelemetry};

pub(crate) const TRACE_ID: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
pub(crate) const SPAN_ID: u64 = 0x00f0_67aa_0ba9_02b7;

/// A `traceparent` of the ids above.
pub(crate) fn traceparent(flags: &str) -> String {
    format!("00-{TRACE_ID:032x}-{SPAN_ID:016x}-{flags}")
}

/// The remote span that [`traceparent`] stands for.
pub(crate) fn remote(flags: u8) -> SpanContext {
    SpanContext::new(
        TraceId::from(TRACE_ID),
        SpanId::from(SPAN_ID),
        TraceFlags::new(flags),
        true,
        TraceState::NONE,
    )
}

/// A context with nothing but that span.
pub(crate) fn remote_context(flags: u8) -> Context {
    Context::new().with_remote_span_context(remote(flags))
}

pub(crate) fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        })
        .fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
}

pub(crate) fn extract(telemetry: &Telemetry, lines: &[(&str, &str)]) -> Context {
    telemetry.extract(&HeaderExtractor::new(&headers(lines)))
}

pub(crate) fn inject(telemetry: &Telemetry, cx: &Context) -> HeaderMap {
    let mut headers = HeaderMap::new();
    telemetry.inject(cx, &mut HeaderInjector(&mut headers));
    headers
}

/// The values of one field, in order.
pub(crate) fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect()
}

/// How many anomalies of a kind were counted for a transport.
pub(crate) fn anomalies(test: &TestTelemetry, anomaly: &str, transport: &str) -> i64 {
    let metric = ml::metric::PROPAGATION_ANOMALIES;
    let metrics = test.metrics();
    if !metrics.has(metric.name) {
        return 0;
    }
    assert_eq!(metrics.unit(metric.name), metric.unit);
    let series = metrics
        .sum(metric.name)
        .with(ml::PROPAGATION_ANOMALY, anomaly)
        .with(ml::PROPAGATION_TRANSPORT, transport);
    if series.is_empty() { 0 } else { series.int() }
}

/// Labels in the order in which series have them.
macro_rules! labels {
    ($($key:expr => $value:expr),* $(,)?) => {{
        let mut labels: Vec<opentelemetry::KeyValue> =
            vec![$(opentelemetry::KeyValue::new($key, $value)),*];
        labels.sort_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
        labels
    }};
}
pub(crate) use labels;

/// The series of a histogram with exactly these labels; unit and boundaries are checked.
#[track_caller]
pub(crate) fn series(test: &TestTelemetry, metric: &Metric, labels: &[KeyValue]) -> HistogramPoint {
    let metrics = test.metrics();
    assert_eq!(metrics.unit(metric.name), metric.unit);
    let histogram = metrics.histogram(metric.name);
    let point = histogram.points().iter().find(|p| p.labels() == labels);
    let Some(point) = point else {
        panic!(
            "no series of {} has just {labels:?}:\n{metrics}",
            metric.name
        );
    };
    assert_eq!(point.bounds(), metric.boundaries);
    (*point).clone()
}

/// The value of a counter's series with exactly these labels.
#[track_caller]
pub(crate) fn counter(test: &TestTelemetry, metric: &Metric, labels: &[KeyValue]) -> i64 {
    let metrics = test.metrics();
    assert_eq!(metrics.unit(metric.name), metric.unit);
    let sum = metrics.sum(metric.name);
    let point = sum.points().iter().find(|p| p.labels() == labels);
    match point.map(|point| point.value()) {
        Some(otel_ml_testing::Number::Int(value)) => value,
        _ => panic!(
            "no series of {} has just {labels:?}:\n{metrics}",
            metric.name
        ),
    }
}
