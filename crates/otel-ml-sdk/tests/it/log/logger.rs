//! The same for `log`: lines and records carry the ids of their span.

use std::fmt;

use log::kv::{ToValue, Value};
use log::{Level, Log as _, Record};
use opentelemetry_sdk::trace::SpanData;
use otel_ml_sdk::log::{LogFormat, Logger, Logs};
use otel_ml_sdk::otel_ml;
use otel_ml_sdk::otel_ml::opentelemetry::context::FutureExt as _;
use otel_ml_sdk::otel_ml::opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId,
};
use otel_ml_sdk::otel_ml::opentelemetry::{Context, logs::AnyValue};
use otel_ml_sdk::{ErrorKind, InitError};
use otel_ml_testing::TestTelemetry;
use serde_json::json;

use super::support::{exporting, ids, ids_in, ids_of, logs, named, records, text_of};

type Pairs<'a> = &'a [(&'a str, Value<'a>)];

fn log_with(logger: &Logger, level: Level, target: &str, args: fmt::Arguments<'_>, kv: Pairs<'_>) {
    let mut record = Record::builder();
    record.level(level).target(target).args(args);
    logger.log(&record.key_values(&kv).build());
}

fn say(logger: &Logger, message: &str) {
    log_with(logger, Level::Info, "shop", format_args!("{message}"), &[]);
}

/// Runs `work` in a span, and returns that.
fn in_a_span(work: impl FnOnce()) -> SpanData {
    let test = TestTelemetry::new();
    let stage = otel_ml::stage("work").telemetry(&test.telemetry());
    stage.in_scope_infallible(work);
    test.spans().remove(0)
}

#[test]
fn a_line_has_the_ids_its_span_has_in_the_export() {
    let (logs, lines) = logs(LogFormat::Json);
    let logger = logs.logger().unwrap();
    say(&logger, "outside");
    let span = in_a_span(|| say(&logger, "inside"));
    assert_eq!(ids(&lines.saying("outside")), None);
    assert_eq!(ids(&lines.saying("inside")), ids_of(&span));
}

#[tokio::test]
async fn a_spawned_task_that_was_given_the_context_logs_in_it() {
    let test = TestTelemetry::new();
    let (logs, lines) = logs(LogFormat::Json);
    let logger = std::sync::Arc::new(logs.logger().unwrap());
    let work = async {
        let given = logger.clone();
        let given = async move { say(&given, "given") }.with_current_context();
        let without = logger.clone();
        tokio::spawn(given).await.unwrap();
        tokio::spawn(async move { say(&without, "without") })
            .await
            .unwrap();
    };
    let stage = otel_ml::stage("work").telemetry(&test.telemetry());
    stage.run_infallible(work).await;
    let spans = test.wait_for_spans(1).await;
    assert_eq!(ids(&lines.saying("given")), ids_of(named(&spans, "work")));
    assert_eq!(ids(&lines.saying("without")), None);
}

#[test]
fn the_flags_are_the_spans() {
    let (logs, lines) = logs(LogFormat::Json);
    let logger = logs.logger().unwrap();
    for (flags, name) in [(0, "00"), (1, "01"), (3, "03")] {
        let span = SpanContext::new(
            TraceId::from(7),
            SpanId::from(9),
            TraceFlags::new(flags),
            true,
            Default::default(),
        );
        let _current = Context::new().with_remote_span_context(span).attach();
        say(&logger, name);
        let expected = [format!("{:032x}", 7), format!("{:016x}", 9), name.into()];
        assert_eq!(ids(&lines.saying(name)), Some(expected));
    }
}

#[test]
fn a_line_of_text_ends_with_them() {
    let (logs, lines) = logs(LogFormat::Text);
    let logger = logs.logger().unwrap();
    let pairs = [("model", "m \"1\"".to_value()), ("tokens", 3.to_value())];
    let args = format_args!("first\nsecond \u{1b}[31m\r\tend");
    log_with(&logger, Level::Warn, "shop", args, &pairs);
    let span = in_a_span(|| say(&logger, "inside"));
    let text = lines.text();
    let (first, rest) = text.split_once("  WARN ").unwrap();
    chrono::DateTime::parse_from_rfc3339(first).unwrap();
    let (second, third) = rest.split_once("tokens=3\n").unwrap();
    let expected = "shop: first\nsecond \\u{1b}[31m\\r\tend model=\"m \\\"1\\\"\" ";
    assert_eq!(second, expected);
    let expected = format!("  INFO shop: inside{}", text_of(&span));
    assert!(third.ends_with(&expected), "{third}");
}

#[test]
fn key_values_keep_their_types() {
    let (logs, lines) = logs(LogFormat::Json);
    let failed = "many".parse::<u8>().unwrap_err();
    let pairs = [
        ("tokens", 12_u64.to_value()),
        ("change", (-3).to_value()),
        ("large", u64::MAX.to_value()),
        ("huge", i128::MIN.to_value()),
        ("confidence", 0.5.to_value()),
        ("unknown", f64::NAN.to_value()),
        ("cached", true.to_value()),
        ("model", "m".to_value()),
        ("initial", 'c'.to_value()),
        ("nothing", Value::null()),
        ("shape", Value::from_debug(&[2, 3])),
        ("failed", Value::from_display(&failed)),
        ("trace_id", "theirs".to_value()),
        ("message", "theirs".to_value()),
        ("tokens", 13.to_value()),
        ("tokens", 14.to_value()),
    ];
    let logger = logs.logger().unwrap();
    log_with(
        &logger,
        Level::Error,
        "shop",
        format_args!("scored"),
        &pairs,
    );
    let mut line = lines.saying("scored");
    let timestamp = line["timestamp"].take();
    chrono::DateTime::parse_from_rfc3339(timestamp.as_str().unwrap()).unwrap();
    assert_eq!(
        line,
        json!({
            "timestamp": null,
            "level": "ERROR",
            "target": "shop",
            "message": "scored",
            "tokens": 12,
            "change": -3,
            "large": "18446744073709551615",
            "huge": "-170141183460469231731687303715884105728",
            "confidence": 0.5,
            "unknown": "NaN",
            "cached": true,
            "model": "m",
            "initial": "c",
            "nothing": null,
            "shape": "[2, 3]",
            "failed": "invalid digit found in string",
            "field.trace_id": "theirs",
            "field.message": "theirs",
            "field.tokens": 13,
        })
    );
    let text = lines.text();
    assert_eq!(text.matches("\"tokens\":").count(), 1, "{text}");
}

#[test]
fn hostile_text_stays_in_its_line() {
    let hostile = [
        "a \"quoted\" \\ word",
        "first\nsecond\r\nthird",
        "\u{0}\u{1b}[31mred\u{7f}",
        "\"}\n{\"level\":\"ERROR\"}",
    ];
    let (logs, lines) = logs(LogFormat::Json);
    let logger = logs.logger().unwrap();
    for text in hostile {
        let pairs = [(text, text.to_value())];
        log_with(&logger, Level::Info, text, format_args!("{text}"), &pairs);
    }
    let found = lines.json();
    assert_eq!(found.len(), hostile.len());
    for (line, text) in found.iter().zip(hostile) {
        assert_eq!(line["message"], text);
        assert_eq!(line["target"], text);
        assert_eq!(line[text], text);
    }
}

#[test]
fn records_are_exported_with_the_same_ids_and_without_the_exporters_own() {
    let (logs, lines) = logs(LogFormat::Json);
    let (provider, exporter) = exporting();
    let logger = logs.export(Some(&provider)).logger().unwrap();
    say(&logger, "outside");
    let span = in_a_span(|| {
        let pairs = [("tokens", 12.to_value())];
        log_with(&logger, Level::Warn, "shop", format_args!("inside"), &pairs);
    });
    let own = format_args!("starting new connection");
    log_with(&logger, Level::Info, "reqwest::connect", own, &[]);
    assert_eq!(lines.json().len(), 3);
    let records = records(&exporter);
    assert_eq!(records.len(), 2);
    assert_eq!(ids_in(&records[0]), None);
    assert_eq!(ids_in(&records[1]), ids_of(&span));
    let body = records[1].body().unwrap();
    assert_eq!(body, &AnyValue::String("inside".into()));
    let attributes: Vec<_> = records[1].attributes_iter().cloned().collect();
    assert_eq!(attributes, [("tokens".into(), AnyValue::Int(12))]);
}

#[test]
fn the_filter_goes_by_level_and_target() {
    let (logs, lines) = logs(LogFormat::Json);
    let logger = logs.filter("warn,shop::ranker=debug").logger().unwrap();
    for (level, target) in [
        (Level::Warn, "other"),
        (Level::Info, "other"),
        (Level::Debug, "shop::ranker"),
        (Level::Trace, "shop::ranker"),
    ] {
        let metadata = log::Metadata::builder().level(level).target(target).build();
        let expected = matches!(level, Level::Warn | Level::Debug);
        assert_eq!(logger.enabled(&metadata), expected, "{level} {target}");
        log_with(&logger, level, target, format_args!("{level}"), &[]);
    }
    let found = lines.json();
    let levels: Vec<_> = found.iter().map(|line| &line["level"]).collect();
    assert_eq!(levels, ["WARN", "DEBUG"]);
}

#[test]
fn directives_that_can_not_be_read_are_named() {
    let logs = Logs::new(LogFormat::Json).filter("info,my_crate=loud");
    let error: InitError = logs.logger().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Setting);
    assert!(error.to_string().contains("info,my_crate=loud"), "{error}");
}

#[test]
fn a_value_that_can_not_be_shown_costs_no_line() {
    struct Half;
    impl fmt::Display for Half {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half")?;
            Err(fmt::Error)
        }
    }
    let (logs, lines) = logs(LogFormat::Json);
    let logger = logs.logger().unwrap();
    let pairs = [("broken", Value::from_display(&Half)), ("n", 1.to_value())];
    log_with(&logger, Level::Info, "shop", format_args!("{Half}"), &pairs);
    let line = lines.saying("half");
    assert_eq!(line["broken"], "half");
    assert_eq!(line["n"], 1);
}
