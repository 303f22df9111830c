//! Metric labels that come together again and again.

use std::fmt;
use std::hash::Hasher;

use opentelemetry::KeyValue;
#[cfg(feature = "bound-instruments")]
use opentelemetry::metrics::BoundHistogram;
use opentelemetry::metrics::Histogram;
use rustc_hash::FxHasher;

use crate::instruments::Labels;
use crate::intern::Table;

/// The label sets of a histogram, each made once.
///
/// Holds at most 512 of them; others are made anew each time. With the feature
/// `bound-instruments` the histogram keeps a place for each of these sets for good, and finds
/// it without a look at the labels.
pub struct LabelSets {
    known: Box<Table<(Key, LabelSet), 512>>,
}

/// What tells two sets apart: the addresses of their texts, and a number. The same text at
/// another address is a set of its own here, and the same one to the histogram.
type Key = [usize; LabelSets::TEXTS + 1];

impl LabelSets {
    /// How many texts a set is told by.
    pub const TEXTS: usize = 4;

    pub(crate) fn new() -> Self {
        Self {
            known: Box::new(Table::new()),
        }
    }

    /// Records `value` in `histogram`, which must be the same one each time, with the labels
    /// that `texts` and `number` stand for. `labels` makes them.
    pub fn record(
        &self,
        histogram: &Histogram<f64>,
        value: f64,
        texts: [&'static str; Self::TEXTS],
        number: u16,
        labels: impl Fn() -> Labels,
    ) {
        let [a, b, c, d] = texts.map(|text| text.as_ptr().addr());
        let key = [a, b, c, d, number.into()];
        let make = || Some((key, LabelSet::new(histogram, &labels())));
        match self.known.find(hash(key), |(known, _)| *known == key, make) {
            Some((_, set)) => set.record(histogram, value),
            None => histogram.record(value, &labels()),
        }
    }
}

fn hash(key: Key) -> u64 {
    let mut hasher = FxHasher::default();
    for part in key {
        hasher.write_usize(part);
    }
    hasher.finish()
}

/// One label set of a histogram, made once.
///
/// With the feature `bound-instruments` the histogram keeps a place for it for good, and finds
/// it without a look at the labels.
#[derive(Debug)]
pub struct LabelSet {
    #[cfg(not(feature = "bound-instruments"))]
    labels: Box<[KeyValue]>,
    #[cfg(feature = "bound-instruments")]
    histogram: BoundHistogram<f64>,
}

#[cfg(not(feature = "bound-instruments"))]
impl LabelSet {
    /// `labels` of `histogram`.
    #[must_use]
    pub fn new(_histogram: &Histogram<f64>, labels: &[KeyValue]) -> Self {
        Self {
            labels: labels.into(),
        }
    }

    /// Records `value` in `histogram`, which must be the one that the set was made for.
    #[inline]
    pub fn record(&self, histogram: &Histogram<f64>, value: f64) {
        histogram.record(value, &self.labels);
    }
}

#[cfg(feature = "bound-instruments")]
impl LabelSet {
    /// `labels` of `histogram`.
    #[must_use]
    pub fn new(histogram: &Histogram<f64>, labels: &[KeyValue]) -> Self {
        Self {
            histogram: histogram.bind(labels),
        }
    }

    /// Records `value` in `histogram`, which must be the one that the set was made for.
    #[inline]
    pub fn record(&self, _histogram: &Histogram<f64>, value: f64) {
        self.histogram.record(value);
    }
}

impl fmt::Debug for LabelSets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LabelSets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};

    use super::*;

    #[test]
    fn each_set_is_counted_by_itself_and_also_when_there_is_no_room_for_it() {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder()
            .with_periodic_exporter(exporter.clone())
            .build();
        let histogram = provider.meter("test").f64_histogram("h").build();
        let sets = LabelSets::new();
        for _ in 0..2 {
            for number in 0..1_000 {
                let labels = || Labels::from_iter([KeyValue::new("number", i64::from(number))]);
                sets.record(&histogram, 1.0, ["a", "b", "c", "d"], number, labels);
            }
        }
        provider.force_flush().unwrap();
        let batches = exporter.get_finished_metrics().unwrap();
        let scope = batches.last().unwrap().scope_metrics().next().unwrap();
        let metric = scope.metrics().next().unwrap();
        let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = metric.data() else {
            panic!("another kind of metric: {metric:?}");
        };
        let mut points: Vec<_> = histogram
            .data_points()
            .map(|point| {
                let labels: Vec<_> = point.attributes().cloned().collect();
                assert_eq!(point.count(), 2, "{labels:?}");
                labels
            })
            .collect();
        points.sort_by_key(|labels| labels[0].value.as_str().parse::<u16>().unwrap());
        let expected = (0..1_000).map(|number| vec![KeyValue::new("number", number)]);
        assert_eq!(points, expected.collect::<Vec<_>>());
    }

    #[test]
    fn the_texts_tell_sets_apart() {
        let texts: [&'static str; 3] = ["a", "b", "c"];
        let key = |texts: [&'static str; 4]| texts.map(|text| text.as_ptr().addr());
        assert_ne!(key([texts[0]; 4]), key([texts[1]; 4]));
        let (a, b) = ([1, 2, 3, 4, 5], [1, 2, 3, 4, 6]);
        assert_ne!(hash(a), hash(b));
    }
}
