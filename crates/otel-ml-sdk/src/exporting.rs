//! Exporters, added with their queues, readers and counts to a provider that is made.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::logs::{
    BatchConfigBuilder as LogBatchConfig, BatchLogProcessor, LogExporter, LoggerProviderBuilder,
};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, PeriodicReader};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanExporter, TracerProviderBuilder,
};

use crate::choices::Queue;
use crate::counted::{Counted, CountedReader};
use crate::tally::Tally;

/// The counts of the exporters, by signal.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    pub(crate) spans: Vec<Arc<Tally>>,
    pub(crate) points: Vec<CountedReader>,
    pub(crate) records: Vec<Arc<Tally>>,
}

impl Tallies {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Tally>> {
        let points = self.points.iter().map(|points| &points.tally);
        self.spans.iter().chain(points).chain(&self.records)
    }
}

/// Adds a destination to a provider that is made.
pub(crate) type AddTo<T> = Box<dyn FnOnce(T, &mut Tallies) -> T>;

pub(crate) fn made<T>(provider: T, exporters: Vec<AddTo<T>>, tallies: &mut Tallies) -> T {
    let add = |provider, add: AddTo<T>| add(provider, tallies);
    exporters.into_iter().fold(provider, add)
}

pub(crate) fn read_by(
    exporter: impl PushMetricExporter,
    tally: Arc<Tally>,
    interval: Duration,
) -> AddTo<MeterProviderBuilder> {
    Box::new(move |provider, tallies| {
        let reader = periodic(Counted::new(exporter, Arc::clone(&tally)), interval);
        let counted = CountedReader::new(tally, reader.clone());
        tallies.points.push(counted);
        provider.with_reader(reader)
    })
}

pub(crate) fn queued_spans(
    exporter: impl SpanExporter + 'static,
    tally: Arc<Tally>,
    queue: Queue,
) -> AddTo<TracerProviderBuilder> {
    Box::new(move |provider, tallies| {
        tallies.spans.push(Arc::clone(&tally));
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(queue.queue_size)
            .with_max_export_batch_size(queue.batch_size)
            .with_scheduled_delay(queue.delay)
            .build();
        let exporter = Counted::new(exporter, Arc::clone(&tally));
        let processor = BatchSpanProcessor::new(exporter, config);
        provider.with_span_processor(Counted::new(processor, tally))
    })
}

pub(crate) fn queued_records(
    exporter: impl LogExporter + 'static,
    tally: Arc<Tally>,
    queue: Queue,
) -> AddTo<LoggerProviderBuilder> {
    Box::new(move |provider, tallies| {
        tallies.records.push(Arc::clone(&tally));
        let config = LogBatchConfig::default()
            .with_max_queue_size(queue.queue_size)
            .with_max_export_batch_size(queue.batch_size)
            .with_scheduled_delay(queue.delay)
            .build();
        let exporter = Counted::new(exporter, Arc::clone(&tally));
        let processor = BatchLogProcessor::builder(exporter).with_batch_config(config);
        provider.with_log_processor(Counted::new(processor.build(), tally))
    })
}

pub(crate) fn periodic<E: PushMetricExporter>(
    exporter: E,
    interval: Duration,
) -> PeriodicReader<E> {
    PeriodicReader::builder(exporter)
        .with_interval(interval)
        .build()
}
