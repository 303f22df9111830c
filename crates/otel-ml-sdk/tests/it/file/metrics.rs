//! Lines of metrics.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::metrics::{
    Aggregation, Instrument, PeriodicReader, SdkMeterProvider, Stream, Temporality,
};
use otel_ml_sdk::file::{self, FileExporter};
use otel_ml_testing::TestTelemetry;
use serde_json::json;

#[test]
fn metrics_are_written_as_the_protocol_says() {
    let test = TestTelemetry::builder().service("generate").build();
    let meter = test.meter_provider().meter("t");
    let duration = meter
        .f64_histogram("duration")
        .with_unit("s")
        .with_boundaries(vec![0.0, 1.0])
        .build();
    duration.record(0.5, &[KeyValue::new("code", 200)]);
    let active = meter.i64_up_down_counter("active").build();
    active.add(1, &[]);
    active.add(-1, &[]);
    meter.u64_counter("hits").build().add(3, &[]);
    meter.f64_gauge("load").build().record(0.0, &[]);
    meter.f64_histogram("idle").build().record(0.0, &[]);

    let mut line = Vec::new();
    file::write_metrics(&mut line, &test.resource_metrics()).expect("a vector takes all");
    let read: ExportMetricsServiceRequest = serde_json::from_slice(&line).expect("OTLP");
    assert_eq!(read.resource_metrics[0].scope_metrics[0].metrics.len(), 5);

    let mut written: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
    let service = &written["resourceMetrics"][0]["resource"]["attributes"][0];
    assert_eq!(
        *service,
        json!({"key": "service.name", "value": {"stringValue": "generate"}})
    );
    let mut metric = |name: &str| {
        let metrics = &mut written["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
        let metrics = metrics.as_array_mut().expect("a list");
        let mut metric = metrics
            .iter_mut()
            .find(|m| m["name"] == name)
            .expect("there")
            .take();
        let kinds = ["sum", "gauge", "histogram"];
        let paths = kinds.map(|kind| format!("/{kind}/dataPoints/0"));
        let path = paths
            .into_iter()
            .find(|path| metric.pointer(path).is_some());
        let point = metric
            .pointer_mut(&path.expect("a point"))
            .expect("the same");
        let point = point.as_object_mut().expect("an object");
        for time in ["startTimeUnixNano", "timeUnixNano"] {
            let nanos = point.remove(time).expect("a time");
            let nanos = nanos.as_str().expect("a string").parse::<u64>();
            assert!(nanos.expect("a number") > 0);
        }
        metric
    };
    assert_eq!(
        metric("duration")["histogram"],
        json!({
            "aggregationTemporality": 2,
            "dataPoints": [{
                "attributes": [{"key": "code", "value": {"intValue": "200"}}],
                "count": "1",
                "sum": 0.5,
                "min": 0.5,
                "max": 0.5,
                "bucketCounts": ["0", "1", "0"],
                "explicitBounds": [0.0, 1.0],
            }],
        })
    );
    let active = json!({"aggregationTemporality": 2, "dataPoints": [{"asInt": "0"}]});
    assert_eq!(metric("active")["sum"], active);
    assert_eq!(metric("hits")["sum"]["isMonotonic"], true);
    assert_eq!(
        metric("load")["gauge"]["dataPoints"][0],
        json!({"asDouble": 0.0})
    );
    let idle = &metric("idle")["histogram"]["dataPoints"][0];
    assert_eq!([&idle["sum"], &idle["min"], &idle["max"]], [0.0; 3]);
}

#[test]
fn an_exponential_histogram_is_written_as_the_protocol_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jsonl");
    let file = FileExporter::builder(&path).temporality(Temporality::Delta);
    let reader = PeriodicReader::builder(file.open().unwrap().metrics());
    let exponential = |_: &Instrument| {
        let aggregation = Aggregation::Base2ExponentialHistogram {
            max_size: 160,
            max_scale: 0,
            record_min_max: true,
        };
        let stream = Stream::builder().with_aggregation(aggregation);
        Some(stream.build().unwrap())
    };
    let meters = SdkMeterProvider::builder()
        .with_reader(reader.with_interval(Duration::from_secs(3_600)).build())
        .with_view(exponential)
        .build();
    let duration = meters.meter("t").f64_histogram("duration").build();
    for seconds in [0.0, 3.0, 3.5, 20.0] {
        duration.record(seconds, &[]);
    }
    let busy = meters.meter("t").u64_histogram("busy").build();
    busy.record(1, &[]);
    meters.force_flush().unwrap();
    let line: serde_json::Value = serde_json::from_str(&super::text(&path)).unwrap();
    let metrics = &line["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
    let metrics = metrics.as_array().unwrap();
    let histogram = |name: &str| {
        let metric = metrics.iter().find(|metric| metric["name"] == name);
        metric.unwrap()["exponentialHistogram"].clone()
    };
    let busy = &histogram("busy")["dataPoints"][0];
    assert_eq!(busy.get("zeroCount"), None);
    assert_eq!(busy["sum"], 1.0);
    let mut histogram = histogram("duration");
    for time in ["startTimeUnixNano", "timeUnixNano"] {
        assert!(histogram["dataPoints"][0][time].take().is_string());
    }
    let expected = json!({
        "aggregationTemporality": 1,
        "dataPoints": [{
            "startTimeUnixNano": null,
            "timeUnixNano": null,
            "count": "4",
            "sum": 26.5,
            "min": 0.0,
            "max": 20.0,
            "zeroCount": "1",
            "positive": {"offset": 1, "bucketCounts": ["2", "0", "0", "1"]},
            "negative": {},
        }],
    });
    assert_eq!(histogram, expected);
}

#[test]
fn a_sum_that_overflows_is_told() {
    let test = TestTelemetry::new();
    let meter = test.meter_provider().meter("t");
    let total = meter.f64_up_down_counter("total").build();
    let duration = meter.f64_histogram("duration").build();
    let hits = meter.u64_counter("hits").build();
    hits.add(1, &[KeyValue::new("loss", f64::NAN)]);
    for _ in 0..2 {
        total.add(f64::MIN, &[]);
        duration.record(f64::MAX, &[]);
    }
    let mut line = Vec::new();
    file::write_metrics(&mut line, &test.resource_metrics()).expect("a vector takes all");
    let line: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
    let metrics = &line["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
    let metrics = metrics.as_array().expect("a list");
    let point = |name: &str, kind: &str| {
        let metric = metrics.iter().find(|metric| metric["name"] == name);
        metric.expect("there")[kind]["dataPoints"][0].clone()
    };
    assert_eq!(point("total", "sum")["asDouble"], "-Infinity");
    assert_eq!(
        point("hits", "sum")["attributes"][0]["value"],
        json!({"doubleValue": "NaN"})
    );
    assert_eq!(point("duration", "histogram")["sum"], "Infinity");
    assert_eq!(point("duration", "histogram")["max"], f64::MAX);
}

#[test]
fn nothing_is_written_for_no_metrics() {
    let test = TestTelemetry::new();
    let mut line = Vec::new();
    file::write_metrics(&mut line, &test.resource_metrics()).expect("a vector takes all");
    assert!(line.is_empty());
}
