//! The exporters, as providers use them.

use std::path::PathBuf;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, SdkLoggerProvider};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanExporter as _};
use otel_ml_sdk::file::{FileExporter, FileLogExporter, FileMetricExporter, FileSpanExporter};
use serde_json::Value;
use tempfile::TempDir;

use super::{export, now, text};

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jsonl");
    (folder, path)
}

/// What a service has, for spans, metrics and log records.
struct Service {
    tracers: SdkTracerProvider,
    meters: SdkMeterProvider,
    loggers: SdkLoggerProvider,
}

impl Service {
    fn new(name: &'static str, file: &FileExporter) -> Self {
        let resource = Resource::builder_empty().with_service_name(name);
        let resource = resource
            .with_schema_url([KeyValue::new("host.name", "h")], "https://schema/1")
            .build();
        let reader = PeriodicReader::builder(file.metrics()).with_interval(Duration::MAX);
        Self {
            tracers: SdkTracerProvider::builder()
                .with_resource(resource.clone())
                .with_simple_exporter(file.spans())
                .build(),
            meters: SdkMeterProvider::builder()
                .with_resource(resource.clone())
                .with_reader(reader.build())
                .build(),
            loggers: SdkLoggerProvider::builder()
                .with_resource(resource)
                .with_simple_exporter(file.logs())
                .build(),
        }
    }

    fn emit(&self) {
        self.tracers.tracer("t").in_span("span", |_cx| ());
        self.meters.meter("t").u64_counter("c").build().add(1, &[]);
        let logger = self.loggers.logger("t");
        let mut record = logger.create_log_record();
        record.set_body(AnyValue::from("log"));
        logger.emit(record);
        self.meters.force_flush().unwrap();
    }
}

#[test]
fn services_and_signals_share_a_file_with_their_own_resources() {
    let (_folder, path) = file();
    let file = FileExporter::builder(&path).open().unwrap();
    let services = ["gateway", "generate"].map(|name| Service::new(name, &file));
    for service in &services {
        service.emit();
    }
    let text = text(&path);
    let mut lines = text.lines();
    for service in ["gateway", "generate"] {
        for signal in ["resourceSpans", "resourceLogs", "resourceMetrics"] {
            let line: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
            let resource = &line[signal][0];
            assert_eq!(resource["schemaUrl"], "https://schema/1");
            let attributes = resource["resource"]["attributes"].as_array().unwrap();
            assert_eq!(attributes.len(), 2);
            let name = attributes.iter().find(|a| a["key"] == "service.name");
            assert_eq!(name.unwrap()["value"]["stringValue"], service);
        }
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn one_export_is_one_line_and_an_empty_one_none() {
    let (_folder, path) = file();
    let file = FileExporter::builder(&path).open().unwrap();
    let spans = file.spans();
    export(&spans, &["a", "b"]).unwrap();
    export(&spans, &[]).unwrap();
    now(file.logs().export(LogBatch::new(&[]))).unwrap();
    now(file.metrics().export(&ResourceMetrics::default())).unwrap();
    export(&spans, &["c"]).unwrap();
    assert_eq!(super::names(&path), [vec!["a", "b"], vec!["c"]]);
}

#[test]
fn a_batch_is_in_the_file_when_its_provider_is_flushed() {
    let (_folder, path) = file();
    let file = FileExporter::builder(&path).open().unwrap();
    let tracers = SdkTracerProvider::builder()
        .with_batch_exporter(file.spans())
        .build();
    for _ in 0..3 {
        tracers.tracer("t").in_span("a", |_cx| ());
    }
    tracers.force_flush().unwrap();
    assert_eq!(super::names(&path).concat(), ["a"; 3]);
}

#[test]
fn after_its_shutdown_an_exporter_writes_nothing() {
    fn is_shut_down<T>(result: Result<T, OTelSdkError>) -> bool {
        matches!(result, Err(OTelSdkError::AlreadyShutdown))
    }
    let (_folder, path) = file();
    let file = FileExporter::builder(&path).open().unwrap();
    let (spans, metrics, logs) = (file.spans(), file.metrics(), file.logs());
    spans.shutdown().unwrap();
    metrics.shutdown().unwrap();
    logs.shutdown().unwrap();
    assert!(is_shut_down(spans.shutdown()));
    assert!(is_shut_down(metrics.shutdown()));
    assert!(is_shut_down(logs.shutdown()));
    assert!(is_shut_down(export(&spans, &["a"])));
    let none = ResourceMetrics::default();
    assert!(is_shut_down(now(metrics.export(&none))));
    assert!(is_shut_down(now(logs.export(LogBatch::new(&[])))));
    assert_eq!(text(&path), "");
    // The others go on.
    export(&file.spans(), &["b"]).unwrap();
    assert_eq!(super::names(&path), [["b"]]);
}

#[test]
fn temporality_is_cumulative_unless_told() {
    let (_folder, path) = file();
    let builder = FileExporter::builder(&path);
    let temporality = |file: FileExporter| file.metrics().temporality();
    let cumulative = temporality(builder.clone().open().unwrap());
    assert_eq!(cumulative, Temporality::Cumulative);
    let delta = builder.temporality(Temporality::Delta);
    assert_eq!(temporality(delta.open().unwrap()), Temporality::Delta);
}

#[test]
fn what_is_in_the_file_stays_and_its_path_is_told_in_full() {
    let (_folder, path) = file();
    for name in ["a", "b"] {
        let file = FileExporter::builder(&path).open().unwrap();
        assert_eq!(file.path(), path);
        export(&file.spans(), &[name]).unwrap();
    }
    assert_eq!(super::names(&path), [["a"], ["b"]]);
}

#[test]
fn exporters_go_to_other_threads() {
    fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<FileExporter>();
    is_shared::<FileSpanExporter>();
    is_shared::<FileMetricExporter>();
    is_shared::<FileLogExporter>();
}
