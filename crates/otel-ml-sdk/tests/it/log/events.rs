//! What lines of `tracing` say, whatever they are given.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::num::ParseIntError;

use otel_ml_sdk::ErrorKind;
use otel_ml_sdk::log::{LogFormat, Logs, TextFormat};
use otel_ml_testing::TestTelemetry;
use serde_json::json;
use tracing::subscriber::with_default;
use tracing::{error, info, info_span};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{fmt as lines, registry};

use super::support::{Captured, logs, text_of};

fn with(logs: &Logs, work: impl FnOnce()) {
    with_default(registry().with(logs.layer().unwrap()), work);
}

/// What `work` logs, as JSON.
fn json(work: impl FnOnce()) -> Captured {
    let (logs, captured) = logs(LogFormat::Json);
    with(&logs, work);
    captured
}

#[derive(Debug)]
struct Failed(ParseIntError);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no \"count\"")
    }
}

impl Error for Failed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn fields_keep_their_types() {
    let failed = Failed("many".parse::<u8>().unwrap_err());
    let lines = json(|| {
        error!(
            tokens = 12_u64,
            change = -3_i8,
            large = u64::MAX,
            huge = i128::MIN,
            fits = 7_u128,
            confidence = 0.5,
            unknown = f64::NAN,
            endless = f64::NEG_INFINITY,
            cached = true,
            model = "m",
            shape = ?[2, 3],
            host = %"h",
            r#type = "chat",
            failed = &failed as &(dyn Error + 'static),
            "scored",
        );
    });
    let mut line = lines.saying("scored");
    let timestamp = line["timestamp"].take();
    let timestamp = chrono::DateTime::parse_from_rfc3339(timestamp.as_str().unwrap()).unwrap();
    assert_eq!(timestamp.offset().local_minus_utc(), 0);
    let age = chrono::Utc::now().signed_duration_since(timestamp);
    assert!(age.num_minutes().abs() < 60, "{timestamp}");
    assert_eq!(
        line,
        json!({
            "timestamp": null,
            "level": "ERROR",
            "target": "it::log::events",
            "message": "scored",
            "tokens": 12,
            "change": -3,
            "large": "18446744073709551615",
            "huge": "-170141183460469231731687303715884105728",
            "fits": 7,
            "confidence": 0.5,
            "unknown": "NaN",
            "endless": "-inf",
            "cached": true,
            "model": "m",
            "shape": "[2, 3]",
            "host": "h",
            "type": "chat",
            "failed": "no \"count\": invalid digit found in string",
        })
    );
}

#[test]
fn an_event_without_a_message_has_none() {
    let lines = json(|| info!(tokens = 1));
    assert_eq!(lines.json()[0].get("message"), None);
    assert_eq!(lines.json()[0]["tokens"], 1);
}

#[test]
fn a_field_with_a_name_of_the_lines_own_gets_another() {
    let test = TestTelemetry::new();
    let lines = json(|| {
        info!(trace_id = "theirs", level = 3, "outside");
        let stage = otel_ml_sdk::otel_ml::stage("work").telemetry(&test.telemetry());
        stage.in_scope_infallible(|| info!(trace_id = "theirs", "inside"));
    });
    let span = test.spans()[0].span_context.clone();
    let outside = lines.saying("outside");
    assert_eq!(outside.get("trace_id"), None);
    assert_eq!(outside["field.trace_id"], "theirs");
    assert_eq!(outside["level"], "INFO");
    assert_eq!(outside["field.level"], 3);
    let inside = lines.saying("inside");
    assert_eq!(inside["trace_id"], span.trace_id().to_string());
    assert_eq!(inside["field.trace_id"], "theirs");
    let text = lines.text();
    assert_eq!(text.matches("\"trace_id\":").count(), 1, "{text}");
}

#[test]
fn no_key_is_written_twice() {
    let lines = json(|| info!(a = 1, a = 2, a = 3, field.a = 4, "twice"));
    let line = lines.saying("twice");
    assert_eq!((&line["a"], &line["field.a"]), (&json!(1), &json!(2)));
    let text = lines.text();
    assert_eq!(text.matches("\"a\":").count(), 1, "{text}");
    assert_eq!(text.matches("\"field.a\":").count(), 1, "{text}");
}

#[test]
fn hostile_text_stays_in_its_line() {
    let hostile = [
        "a \"quoted\" \\ word",
        "first\nsecond\r\nthird",
        "\u{0}\u{1b}[31mred\u{7f}\u{85}\u{2028}",
        "\"}\n{\"level\":\"ERROR\",\"trace_id\":\"0\"}",
        "[[{{",
        "",
    ];
    let lines = json(|| {
        for text in hostile {
            info!(text, debugged = ?text, "{text}");
        }
    });
    let found = lines.json();
    assert_eq!(found.len(), hostile.len());
    for (line, text) in found.iter().zip(hostile) {
        assert_eq!(line["message"], text);
        assert_eq!(line["text"], text);
        assert_eq!(line["debugged"], format!("{text:?}"));
        assert_eq!(line.get("trace_id"), None);
    }
}

/// Shows half of itself and fails.
struct Half;

impl fmt::Debug for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half")?;
        Err(fmt::Error)
    }
}

#[test]
fn a_value_that_can_not_be_shown_costs_no_line() {
    let lines = json(|| info!(broken = ?Half, whole = 1, "kept"));
    let line = lines.saying("kept");
    assert_eq!(line["broken"], "half");
    assert_eq!(line["whole"], 1);
}

#[test]
fn spans_of_tracing_are_named_from_the_outermost() {
    let lines = json(|| {
        let _outer = info_span!("outer", trace_id = "theirs").entered();
        let _inner = info_span!("inner").entered();
        info!("inside");
    });
    let line = lines.saying("inside");
    assert_eq!(line["spans"], json!(["outer", "inner"]));
    // No exported span, so no ids.
    assert_eq!(line.get("trace_id"), None);
}

#[test]
fn a_record_of_log_that_was_bridged_is_told_by_its_own_target() {
    use tracing_log::log::{Level, Record};

    let lines = json(|| {
        let record = Record::builder()
            .level(Level::Warn)
            .target("sqlx::query")
            .module_path(Some("sqlx"))
            .args(format_args!("slow"))
            .build();
        tracing_log::format_trace(&record).unwrap();
    });
    let mut line = lines.saying("slow");
    line["timestamp"].take();
    assert_eq!(
        line,
        json!({
            "timestamp": null,
            "level": "WARN",
            "target": "sqlx::query",
            "message": "slow",
        })
    );
}

#[test]
fn text_of_more_lines_stays_as_it_is() {
    let test = TestTelemetry::new();
    let (logs, captured) = logs(LogFormat::Text);
    with(&logs, || {
        let stage = otel_ml_sdk::otel_ml::stage("work").telemetry(&test.telemetry());
        stage.in_scope_infallible(|| info!("first\nsecond"));
    });
    let text = captured.text();
    let expected = format!(
        "it::log::events: first\nsecond{}",
        text_of(&test.spans()[0])
    );
    assert!(text.ends_with(&expected), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn colours_and_formats_are_the_layers() {
    let test = TestTelemetry::new();
    for (ansi, level) in [(true, "\u{1b}[32m INFO\u{1b}[0m"), (false, " INFO")] {
        let captured = Captured::default();
        let writer = captured.clone();
        let format = lines::format().without_time().with_target(false);
        let layer = lines::layer()
            .with_ansi(ansi)
            .event_format(TextFormat::from(format))
            .with_writer(move || writer.clone());
        with_default(registry().with(layer), || {
            info!("outside");
            let stage = otel_ml_sdk::otel_ml::stage("work").telemetry(&test.telemetry());
            stage.in_scope_infallible(|| info!("inside\u{1b}[31m"));
        });
        let span = test.take_spans().remove(0);
        let expected = format!("{level} outside\n{level} inside\\x1b[31m{}", text_of(&span));
        assert_eq!(captured.text(), expected);
    }
}

/// Fails, or panics.
struct Broken(bool);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        assert!(!self.0, "broken");
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_broken_writer_breaks_nothing() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let (provider, exporter) = super::support::exporting();
        let logs = Logs::new(format).filter("info").writer(Broken(false));
        with(&logs.export(Some(&provider)), || {
            info!("lost as a line");
            info!("lost as well");
        });
        assert_eq!(super::support::records(&exporter).len(), 2);
    }
}

#[test]
fn a_writer_that_panicked_is_used_again() {
    struct Once(Captured, bool);
    impl Write for Once {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert!(std::mem::replace(&mut self.1, true), "broken");
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let captured = Captured::default();
    let writer = Once(captured.clone(), false);
    let logs = Logs::new(LogFormat::Json).filter("info").writer(writer);
    with(&logs, || {
        let first = std::panic::catch_unwind(|| info!("first"));
        assert!(first.is_err());
        info!("written");
    });
    captured.saying("written");
}

#[test]
fn directives_that_can_not_be_read_are_named() {
    let logs = Logs::new(LogFormat::Json).filter("info,my_crate=loud");
    let error = logs.layer::<tracing_subscriber::Registry>().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Setting);
    let message = error.to_string();
    assert!(message.contains("info,my_crate=loud"), "{message}");
    assert!(message.contains("my_crate=debug"), "{message}");
}
