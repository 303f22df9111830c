//! What is exported, read back by the protocol's own types.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::logs::{LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, SdkLoggerProvider};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{
    Aggregation, Instrument, PeriodicReader, SdkMeterProvider, Stream, Temporality,
};
use otel_ml_sdk::file;
use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::DeserializeOwned;

use super::hostile::{
    any_value, attributes, integer, number, resource, scope, span, span_context, text, time,
};

const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, TestCaseError> {
    prop_assert!(line.ends_with(b"\n"));
    prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    serde_json::from_slice(line).map_err(|error| TestCaseError::fail(error.to_string()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn spans_come_back_as_they_went(resource in resource(), spans in vec(span(), 1..4)) {
        let mut line = Vec::new();
        file::write_spans(&mut line, &resource, spans.clone()).unwrap();
        let resource_spans = group_spans_by_resource_and_scope(spans, &(&resource).into());
        let sent = ExportTraceServiceRequest { resource_spans };
        prop_assert_eq!(read::<ExportTraceServiceRequest>(&line)?, sent);
    }

    #[test]
    fn log_records_come_back_as_they_went(
        (resource, scope, times) in (resource(), scope(), (time(), time())),
        (body, attributes) in (any_value(), vec((text(), any_value()), 0..8)),
        (target, context) in (proptest::option::of(text()), span_context()),
    ) {
        let loggers = SdkLoggerProvider::builder().build();
        let mut record = loggers.logger("t").create_log_record();
        record.set_timestamp(times.0);
        record.set_observed_timestamp(times.1);
        record.set_severity_number(Severity::Error3);
        record.set_severity_text("0");
        record.set_event_name("");
        record.set_body(body);
        record.add_attributes(attributes);
        if let Some(target) = target {
            record.set_target(target);
        }
        let flags = Some(context.trace_flags());
        record.set_trace_context(context.trace_id(), context.span_id(), flags);

        let records = [(&record, &scope)];
        let batch = LogBatch::new(&records);
        let mut line = Vec::new();
        file::write_logs(&mut line, &resource, &batch).unwrap();
        let resource_logs = group_logs_by_resource_and_scope(&batch, &(&resource).into());
        let sent = ExportLogsServiceRequest { resource_logs };
        prop_assert_eq!(read::<ExportLogsServiceRequest>(&line)?, sent);
    }

    #[test]
    fn metrics_come_back_as_they_went(
        (resource, scope) in (resource(), scope()),
        (description, attributes) in (text(), attributes()),
        (numbers, integers) in (vec(number(), 1..5), vec(integer(), 1..5)),
        is_delta in any::<bool>(),
    ) {
        let temporality = match is_delta {
            true => Temporality::Delta,
            false => Temporality::Cumulative,
        };
        let sent = Sent { temporality, requests: Arc::default() };
        let reader = PeriodicReader::builder(sent.clone()).with_interval(NEVER).build();
        let exponential = |instrument: &Instrument| {
            let aggregation = Aggregation::Base2ExponentialHistogram {
                max_size: 20,
                max_scale: 20,
                record_min_max: true,
            };
            let stream = Stream::builder().with_aggregation(aggregation);
            let is_for = instrument.name() == "exponential";
            is_for.then(|| stream.build().unwrap())
        };
        let meters = SdkMeterProvider::builder()
            .with_resource(resource)
            .with_reader(reader)
            .with_view(exponential)
            .build();
        let meter = meters.meter_with_scope(scope);
        let gauge = meter.f64_gauge("gauge").with_description(description).build();
        let up_down = meter.i64_up_down_counter("up_down").build();
        let counter = meter.u64_counter("counter").with_unit("{token}").build();
        let sum = meter.f64_up_down_counter("sum").build();
        let histogram = meter.f64_histogram("histogram").build();
        let counts = meter.u64_histogram("counts").with_boundaries(vec![0.0, 1.5]).build();
        let exponential = meter.f64_histogram("exponential").build();
        for number in numbers {
            gauge.record(number, &attributes);
            sum.add(number / 8.0, &attributes);
            histogram.record(number / 8.0, &attributes);
            // The SDK overflows at values too far apart.
            exponential.record(number.abs().clamp(1e-3, 1e3), &attributes);
        }
        for number in integers {
            up_down.add(number / 8, &attributes);
            counter.add(number.unsigned_abs() / 8, &attributes);
            counts.record(number.unsigned_abs() / 8, &[]);
        }
        meters.force_flush().unwrap();
        let sent = std::mem::take(&mut *sent.requests.lock().unwrap());
        prop_assert_eq!(sent.len(), 1);
        for (line, request) in sent {
            prop_assert_eq!(request.resource_metrics[0].scope_metrics[0].metrics.len(), 7);
            prop_assert_eq!(read::<ExportMetricsServiceRequest>(&line)?, request);
        }
    }
}

/// Keeps the line of each export beside what the protocol makes of it.
#[derive(Clone, Debug)]
struct Sent {
    temporality: Temporality,
    requests: Arc<Mutex<Vec<Exported>>>,
}

type Exported = (Vec<u8>, ExportMetricsServiceRequest);

impl PushMetricExporter for Sent {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let told = |error: std::io::Error| OTelSdkError::InternalFailure(error.to_string());
        let mut line = Vec::new();
        file::write_metrics(&mut line, metrics).map_err(told)?;
        self.requests.lock()?.push((line, metrics.into()));
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        self.temporality
    }
}
