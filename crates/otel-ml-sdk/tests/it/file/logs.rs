//! Lines of log records.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::trace::{SpanId, TraceFlags, TraceId};
use opentelemetry::{InstrumentationScope, Key, KeyValue};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LogBatch, SdkLogRecord, SdkLoggerProvider};
use otel_ml_sdk::file;
use serde_json::{Value, json};

fn record() -> SdkLogRecord {
    let loggers = SdkLoggerProvider::builder().build();
    loggers.logger("t").create_log_record()
}

fn at(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}

fn scope(name: &'static str) -> InstrumentationScope {
    InstrumentationScope::builder(name).build()
}

fn line(records: &[(&SdkLogRecord, &InstrumentationScope)]) -> String {
    let resource = Resource::builder_empty().with_service_name("generate");
    let resource = resource.build();
    let mut line = Vec::new();
    file::write_logs(&mut line, &resource, &LogBatch::new(records)).expect("a vector takes all");
    String::from_utf8(line).expect("JSON is UTF-8")
}

fn scopes(records: &[(&SdkLogRecord, &InstrumentationScope)]) -> Vec<Value> {
    let line: Value = serde_json::from_str(&line(records)).expect("JSON");
    let scopes = line["resourceLogs"][0]["scopeLogs"].as_array();
    scopes.expect("a list").clone()
}

#[test]
fn a_record_is_written_as_the_protocol_says() {
    let mut record = record();
    record.set_event_name("model.loaded");
    record.set_timestamp(at(1_544_712_660_000_000_001));
    record.set_observed_timestamp(at(1_544_712_660_000_000_002));
    record.set_severity_number(Severity::Warn);
    record.set_severity_text("WARN");
    record.set_body(AnyValue::from("slow \"model\"\n"));
    record.set_trace_context(
        TraceId::from(0xabc),
        SpanId::from(0xdef),
        Some(TraceFlags::SAMPLED),
    );
    record.add_attribute("tokens", i64::MIN);
    record.add_attribute("zero", 0);
    record.add_attribute("loss", f64::NAN);
    record.add_attribute("cached", false);
    record.add_attribute("empty", "");
    record.add_attribute("raw", AnyValue::Bytes(Box::new(vec![0, 255, 62])));
    let list = vec![AnyValue::from(f64::INFINITY), AnyValue::from("stop")];
    record.add_attribute("list", AnyValue::ListAny(Box::new(list)));
    let map = HashMap::from([(Key::new("n"), AnyValue::from(f64::NEG_INFINITY))]);
    record.add_attribute("map", AnyValue::Map(Box::new(map)));
    record.add_attribute("none", AnyValue::ListAny(Box::default()));
    let scope = InstrumentationScope::builder("otel-ml")
        .with_version("0.1.0")
        .with_schema_url("https://opentelemetry.io/schemas/1.45.0")
        .with_attributes([KeyValue::new("a", 1)])
        .build();
    let expected = concat!(
        r#"{"resourceLogs":[{"resource":{"attributes":["#,
        r#"{"key":"service.name","value":{"stringValue":"generate"}}]},"#,
        r#""scopeLogs":[{"scope":{"name":"otel-ml","version":"0.1.0","attributes":["#,
        r#"{"key":"a","value":{"intValue":"1"}}]},"#,
        r#""logRecords":[{"timeUnixNano":"1544712660000000001","#,
        r#""observedTimeUnixNano":"1544712660000000002","#,
        r#""severityNumber":13,"severityText":"WARN","#,
        r#""body":{"stringValue":"slow \"model\"\n"},"attributes":["#,
        r#"{"key":"tokens","value":{"intValue":"-9223372036854775808"}},"#,
        r#"{"key":"zero","value":{"intValue":"0"}},"#,
        r#"{"key":"loss","value":{"doubleValue":"NaN"}},"#,
        r#"{"key":"cached","value":{"boolValue":false}},"#,
        r#"{"key":"empty","value":{"stringValue":""}},"#,
        r#"{"key":"raw","value":{"bytesValue":"AP8+"}},"#,
        r#"{"key":"list","value":{"arrayValue":{"values":["#,
        r#"{"doubleValue":"Infinity"},{"stringValue":"stop"}]}}},"#,
        r#"{"key":"map","value":{"kvlistValue":{"values":["#,
        r#"{"key":"n","value":{"doubleValue":"-Infinity"}}]}}},"#,
        r#"{"key":"none","value":{"arrayValue":{"values":[]}}}],"#,
        r#""flags":1,"traceId":"00000000000000000000000000000abc","spanId":"0000000000000def","#,
        r#""eventName":"model.loaded"}],"#,
        r#""schemaUrl":"https://opentelemetry.io/schemas/1.45.0"}]}]}"#,
        "\n"
    );
    assert_eq!(line(&[(&record, &scope)]), expected);
}

#[test]
fn a_bare_record_leaves_out_what_it_has_not() {
    let mut record = record();
    record.set_observed_timestamp(at(5));
    let written = &scopes(&[(&record, &scope("t"))])[0]["logRecords"][0];
    assert_eq!(*written, json!({"observedTimeUnixNano": "5"}));
}

#[test]
fn a_record_that_no_logger_has_seen_is_observed_when_it_happened() {
    let mut with_time = record();
    with_time.set_timestamp(at(7));
    let scope = scope("t");
    let before = SystemTime::now();
    let logs = scopes(&[(&with_time, &scope), (&record(), &scope)]);
    let observed = |index: usize| {
        let time = &logs[0]["logRecords"][index]["observedTimeUnixNano"];
        time.as_str().unwrap().parse().unwrap()
    };
    assert_eq!(at(observed(0)), at(7));
    assert!(at(observed(1)) >= before);
}

#[test]
fn records_lie_under_their_scope_or_target_in_a_fixed_order() {
    let mut targeted = record();
    targeted.set_target("app::handlers");
    let plain = record();
    let scopes_of: Vec<_> = (0..9)
        .map(|n| InstrumentationScope::builder(format!("s{n}")).build())
        .collect();
    let mut records: Vec<_> = scopes_of.iter().rev().map(|s| (&plain, s)).collect();
    records.push((&targeted, &scopes_of[0]));
    records.push((&targeted, &scopes_of[1]));
    let scopes = scopes(&records);
    let names: Vec<_> = scopes.iter().map(|s| s["scope"]["name"].as_str()).collect();
    let mut expected = vec!["app::handlers".to_owned()];
    expected.extend((0..9).map(|n| format!("s{n}")));
    let expected: Vec<_> = expected.iter().map(|name| Some(name.as_str())).collect();
    assert_eq!(names, expected);
    assert_eq!(scopes[0]["logRecords"].as_array().unwrap().len(), 2);
}

#[test]
fn a_line_can_be_read_by_the_protocols_own_types() {
    let mut record = record();
    record.set_body(AnyValue::from("text"));
    record.set_trace_context(TraceId::from(1), SpanId::from(2), None);
    let line = line(&[(&record, &scope("t"))]);
    assert_eq!(line.matches('\n').count(), 1);
    let read: ExportLogsServiceRequest = serde_json::from_str(&line).unwrap();
    let read = &read.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(read.trace_id, 1_u128.to_be_bytes());
    assert_eq!(read.span_id, 2_u64.to_be_bytes());
    assert_eq!(read.flags, 0);
}

#[test]
fn nothing_is_written_for_no_records() {
    assert_eq!(line(&[]), "");
}
