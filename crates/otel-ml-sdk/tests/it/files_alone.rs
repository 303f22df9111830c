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
