//! OTLP/JSON lines, as the Collector's file exporter writes them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::SpanData;
use otel_ml_sdk::file;
use thiserror::Error;

/// Spans on their way to the file. Past that, services wait for the disk: none is lost.
const QUEUE: usize = 8_192;
/// Spans that are written as one line at most.
const BATCH: usize = 512;

const SPANS: &str = "--json";
const METRICS: &str = "--metrics";

/// A file that can't be written.
#[derive(Debug, Error)]
#[error("{option}: {} cannot be written ({source})", .path.display())]
pub struct FileError {
    /// The option that named it.
    pub option: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl FileError {
    fn at(option: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            option,
            path,
            source,
        }
    }
}

/// Spans, written by a thread of their own: no service waits for the disk.
#[derive(Debug)]
pub(super) struct SpanFile {
    path: PathBuf,
    sender: SpanSender,
    writer: JoinHandle<io::Result<()>>,
}

#[derive(Clone, Debug)]
pub(super) struct SpanSender(SyncSender<Message>);

enum Message {
    Span(&'static str, Resource, Box<SpanData>),
    End,
}

impl SpanFile {
    pub(super) fn create(path: &Path) -> Result<Self, FileError> {
        let file = File::create(path).map_err(FileError::at(SPANS, path))?;
        let (sender, spans) = sync_channel(QUEUE);
        let writer = std::thread::Builder::new()
            .name("span file".to_owned())
            .spawn(move || write_spans(&spans, BufWriter::new(file)))
            .map_err(FileError::at(SPANS, path))?;
        Ok(Self {
            path: path.to_owned(),
            sender: SpanSender(sender),
            writer,
        })
    }

    pub(super) fn sender(&self) -> SpanSender {
        self.sender.clone()
    }

    pub(super) fn finish(self) -> Result<(), FileError> {
        // Fails when writing has: the thread tells why.
        let _ = self.sender.0.send(Message::End);
        let panicked = |_| Err(io::Error::other("the thread that writes it panicked"));
        let result = self.writer.join().unwrap_or_else(panicked);
        result.map_err(FileError::at(SPANS, &self.path))
    }
}

impl SpanSender {
    pub(super) fn send(&self, service: &'static str, resource: &Resource, span: SpanData) {
        let span = Message::Span(service, resource.clone(), Box::new(span));
        // Fails when the file can't be written any more, which `finish` tells.
        let _ = self.0.send(span);
    }
}

fn write_spans(spans: &Receiver<Message>, mut file: BufWriter<File>) -> io::Result<()> {
    let mut is_over = false;
    while !is_over && let Ok(first) = spans.recv() {
        let mut services: BTreeMap<&str, (Resource, Vec<SpanData>)> = BTreeMap::new();
        for message in std::iter::once(first).chain(spans.try_iter().take(BATCH)) {
            match message {
                Message::Span(service, resource, span) => {
                    let group = services.entry(service);
                    let (_, spans) = group.or_insert_with(|| (resource, Vec::new()));
                    spans.push(*span);
                }
                Message::End => is_over = true,
            }
        }
        for (resource, spans) in services.into_values() {
            file::write_spans(&mut file, &resource, spans)?;
        }
        file.flush()?;
    }
    Ok(())
}

/// Metrics, one line a service, written when its meter provider shuts down.
#[derive(Debug)]
pub(super) struct MetricsFile {
    path: PathBuf,
    writing: Arc<Mutex<Writing>>,
}

#[derive(Debug)]
struct Writing {
    file: File,
    error: Option<io::Error>,
}

#[derive(Debug)]
pub(super) struct MetricsExporter(Arc<Mutex<Writing>>);

impl MetricsFile {
    pub(super) fn create(path: &Path) -> Result<Self, FileError> {
        let file = File::create(path).map_err(FileError::at(METRICS, path))?;
        Ok(Self {
            path: path.to_owned(),
            writing: Arc::new(Mutex::new(Writing { file, error: None })),
        })
    }

    pub(super) fn exporter(&self) -> MetricsExporter {
        MetricsExporter(Arc::clone(&self.writing))
    }

    pub(super) fn finish(self) -> Result<(), FileError> {
        let error = lock(&self.writing).error.take();
        error.map_or(Ok(()), |error| {
            Err(FileError::at(METRICS, &self.path)(error))
        })
    }
}

fn lock(writing: &Mutex<Writing>) -> MutexGuard<'_, Writing> {
    writing.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PushMetricExporter for MetricsExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let mut writing = lock(&self.0);
        file::write_metrics(&mut writing.file, metrics).map_err(|error| {
            let told = OTelSdkError::InternalFailure(error.to_string());
            writing.error.get_or_insert(error);
            told
        })
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}
