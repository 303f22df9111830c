//! A set-up that writes to files and sends nowhere.

use std::path::Path;

use otel_ml_sdk::file::FileExporter;
use otel_ml_sdk::{Batch, Builder, Destination, builder};

use crate::alone::alone;

/// Spans and metrics go to a file, which `path` is.
fn to_file(path: &Path) -> (Builder, Destination) {
    let file = FileExporter::builder(path).open().unwrap();
    let file = Destination::File(file);
    let builder = builder()
        .variables(|_| None)
        .traces_to([file.clone()])
        .metrics_to([file.clone()]);
    (builder, file)
}

#[test]
fn an_init_that_fails_writes_nothing() {
    alone("files_alone::failing_for_logs", &[]);
}

#[test]
#[ignore = "run by the test above"]
fn failing_for_logs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.jsonl");
    let (builder, file) = to_file(&path);
    // The last that is read.
    let builder = builder
        .logs_to([file])
        .log_batches(Batch::new().queue_size(0));
    let error = builder.init().unwrap_err().to_string();
    assert!(error.contains("OTEL_BLRP_MAX_QUEUE_SIZE"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
}

#[cfg(not(any(feature = "otlp-grpc", feature = "otlp-http")))]
mod without_otlp {
    use otel_ml_sdk::otel_ml::stage;
    use otel_ml_sdk::{ErrorKind, InitError};

    use super::*;

    #[test]
    fn spans_and_metrics_in_a_file_need_no_word_about_logs() {
        alone("files_alone::without_otlp::saying_nothing_of_logs", &[]);
    }

    #[test]
    #[ignore = "run by the test above"]
    fn saying_nothing_of_logs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("telemetry.jsonl");
        let guard = to_file(&path).0.init().unwrap();
        assert!(guard.logger_provider().is_none());
        stage("rerank").in_scope_infallible(|| ());
        assert!(guard.shutdown().in_time);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("rerank") && text.contains("resourceMetrics"));
    }

    /// That the message names signal, call and variable.
    fn assert_names(error: &InitError, signal: &str) {
        assert_eq!(error.kind(), ErrorKind::Feature);
        let variable = format!("OTEL_{}_EXPORTER=none", signal.to_ascii_uppercase());
        let call = format!("Builder::{signal}_to");
        let message = error.to_string();
        assert!(message.starts_with(signal), "{message}");
        assert!(message.contains(&call) && message.contains(&variable));
    }

    #[test]
    fn a_signal_that_would_go_by_otlp_is_named() {
        let nothing_said = || builder().variables(|_| None);
        let error = nothing_said().traces_to([]).build().unwrap_err();
        assert_names(&error, "metrics");
        let error = nothing_said().metrics_to([]).build().unwrap_err();
        assert_names(&error, "traces");
        let neither = || nothing_said().metrics_to([]).traces_to([]);
        assert!(neither().build().is_ok());
        let error = neither().logs_to([Destination::Otlp]).build();
        assert_names(&error.unwrap_err(), "logs");
        let by_variable = |name: &str| (name == "OTEL_LOGS_EXPORTER").then(|| "otlp".to_owned());
        let error = neither().variables(by_variable).build().unwrap_err();
        assert_names(&error, "logs");
    }

    #[cfg(any(feature = "tracing", feature = "log"))]
    #[test]
    fn log_records_that_were_asked_for_are_missed() {
        use otel_ml_sdk::log::{LogFormat, Logs};
        let folder = tempfile::tempdir().unwrap();
        let (builder, file) = to_file(&folder.path().join("telemetry.jsonl"));
        let builder = builder.log(Logs::new(LogFormat::Json));
        assert!(builder.logs_to([file]).build().is_ok());
        let (builder, _file) = to_file(&folder.path().join("other.jsonl"));
        let error = builder.log(Logs::new(LogFormat::Json)).build().unwrap_err();
        assert_names(&error, "logs");
    }
}
