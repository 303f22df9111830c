//! The exporters.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::json;
use super::rotate::RotatingFile;
use crate::{ErrorKind, InitError};

const MAX_BYTES: u64 = 64 * 1024 * 1024;
const MAX_FILES: usize = 5;

/// A file that spans, metrics and log records are written to as OTLP/JSON lines.
///
/// It gives an exporter for each signal and provider; its clones write to the same file.
#[derive(Clone, Debug)]
pub struct FileExporter {
    file: Arc<RotatingFile>,
    temporality: Temporality,
}

impl FileExporter {
    /// A file at `path`. What is there already stays.
    pub fn builder(path: impl Into<PathBuf>) -> FileExporterBuilder {
        FileExporterBuilder {
            path: path.into(),
            max_bytes: MAX_BYTES,
            max_files: MAX_FILES,
            temporality: Temporality::Cumulative,
        }
    }

    /// Where it is written, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// An exporter for one tracer provider.
    #[must_use]
    pub fn spans(&self) -> FileSpanExporter {
        FileSpanExporter {
            output: self.output(),
            resource: Resource::builder_empty().build(),
        }
    }

    /// An exporter for one reader of metrics.
    #[must_use]
    pub fn metrics(&self) -> FileMetricExporter {
        FileMetricExporter {
            output: self.output(),
            temporality: self.temporality,
        }
    }

    /// An exporter for one logger provider.
    #[must_use]
    pub fn logs(&self) -> FileLogExporter {
        FileLogExporter {
            output: self.output(),
            resource: Resource::builder_empty().build(),
        }
    }

    fn output(&self) -> Output {
        Output {
            file: Arc::clone(&self.file),
            is_shut_down: AtomicBool::new(false),
        }
    }
}

/// Sets up a [`FileExporter`].
#[derive(Clone, Debug)]
#[must_use = "call `.open()`"]
pub struct FileExporterBuilder {
    path: PathBuf,
    max_bytes: u64,
    max_files: usize,
    temporality: Temporality,
}

impl FileExporterBuilder {
    /// Bytes a file may have. Default: 64 MiB.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Rotated files kept beside the one that is written, named by `.1` (the newest), `.2`, ….
    /// Default: 5, so that 384 MiB of disk are used at most.
    pub fn max_files(mut self, files: usize) -> Self {
        self.max_files = files;
        self
    }

    /// How sums and histograms are written. Default: cumulative.
    pub fn temporality(mut self, temporality: Temporality) -> Self {
        self.temporality = temporality;
        self
    }

    /// Opens the file, or makes it. Its folder is not made.
    ///
    /// # Errors
    /// [`ErrorKind::File`] when the file can't be opened for reading and appending.
    pub fn open(self) -> Result<FileExporter, InitError> {
        let file = RotatingFile::open(&self.path, self.max_bytes, self.max_files);
        let file = file.map_err(|error| {
            let message = format!(
                "the telemetry file {:?} can't be opened: name a file, in a folder that exists, \
                 that this process may read and write",
                self.path
            );
            InitError::new(ErrorKind::File, message).because(error)
        })?;
        Ok(FileExporter {
            file: Arc::new(file),
            temporality: self.temporality,
        })
    }
}

/// Where the lines of one exporter go.
#[derive(Debug)]
struct Output {
    file: Arc<RotatingFile>,
    is_shut_down: AtomicBool,
}

impl Output {
    fn write(&self, line: impl FnOnce() -> io::Result<Vec<u8>>) -> OTelSdkResult {
        if self.is_shut_down.load(Ordering::Acquire) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        let write = |line: Vec<u8>| match line.is_empty() {
            true => Ok(()),
            false => self.file.append(&line),
        };
        line().and_then(write).map_err(|error| {
            let message = format!("telemetry file {:?}: {error}", self.file.path());
            OTelSdkError::InternalFailure(message)
        })
    }

    fn shut_down(&self) -> OTelSdkResult {
        if self.is_shut_down.swap(true, Ordering::AcqRel) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        Ok(())
    }
}

/// Writes the spans of one tracer provider, a line an export.
///
/// A span is in the file when its export returns. An export that fails loses its spans; the next
/// one tries the file anew.
#[derive(Debug)]
pub struct FileSpanExporter {
    output: Output,
    resource: Resource,
}

impl SpanExporter for FileSpanExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.output
            .write(|| json::spans_line(&self.resource, batch))
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        self.output.shut_down()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.clone();
    }
}

/// Writes the metrics of one reader, a line an export.
///
/// Metrics are in the file when their export returns. An export that fails loses its points, which
/// matters with delta temporality; the next one tries the file anew.
#[derive(Debug)]
pub struct FileMetricExporter {
    output: Output,
    temporality: Temporality,
}

impl PushMetricExporter for FileMetricExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.output.write(|| json::metrics_line(metrics))
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        self.output.shut_down()
    }

    fn temporality(&self) -> Temporality {
        self.temporality
    }
}

/// Writes the log records of one logger provider, a line an export.
///
/// A record is in the file when its export returns. An export that fails loses its records; the
/// next one tries the file anew.
#[derive(Debug)]
pub struct FileLogExporter {
    output: Output,
    resource: Resource,
}

impl LogExporter for FileLogExporter {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.output
            .write(|| json::logs_line(&self.resource, &batch))
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        self.output.shut_down()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.clone();
    }
}
