//! OTLP/JSON lines in a file, rotated by size.
//!
//! One line is one export: an `ExportTraceServiceRequest`, `ExportMetricsServiceRequest` or
//! `ExportLogsServiceRequest`, as the Collector's file exporter writes it and its
//! `otlpjsonfile` receiver reads it. Ids are hexadecimal, 64-bit integers are strings,
//! enumerations are numbers, NaN and the infinities are strings, and fields at their default are
//! left out.
//!
//! ```
//! use opentelemetry::trace::{Tracer as _, TracerProvider as _};
//! use opentelemetry_sdk::trace::SdkTracerProvider;
//! use otel_ml_sdk::file::FileExporter;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("telemetry.jsonl");
//! let file = FileExporter::builder(&path).max_bytes(1 << 20).max_files(3).open()?;
//! let tracers = SdkTracerProvider::builder()
//!     .with_batch_exporter(file.spans())
//!     .build();
//! tracers.tracer("demo").in_span("answer", |_cx| ());
//! tracers.shutdown()?;
//! assert!(std::fs::read_to_string(&path)?.starts_with(r#"{"resourceSpans":[{"#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Rotation
//! A line that would make `telemetry.jsonl` larger than its limit goes to a new one: the old
//! becomes `telemetry.jsonl.1`, that one `.2`, and so on; the oldest past the limit is removed.
//! No line is ever split. A line longer than the limit has a file of its own. A file that can't be
//! renamed is written on past its limit, which is said once, and tried again with each line.
//!
//! # Sharing
//! Services, signals and processes may write to one path: by clones of one [`FileExporter`], or
//! each by its own. The file is locked for each line and looked for anew at its path, so a file
//! that another writer has rotated, or that was moved or deleted by hand, is left alone.
//!
//! # Limits
//! The lock is the operating system's: where its file system has none, give each process a path of
//! its own. A process that is stopped in the middle of a line makes the others wait.

mod exporter;
mod json;
mod rotate;

pub use exporter::{
    FileExporter, FileExporterBuilder, FileLogExporter, FileMetricExporter, FileSpanExporter,
};
pub use json::{write_logs, write_metrics, write_spans};
