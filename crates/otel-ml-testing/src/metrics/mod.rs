//! Metrics as a test reads them.

mod points;

use std::fmt;

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, Gauge, Histogram as SdkHistogram, Metric as SdkMetric, MetricData,
    ResourceMetrics, Sum,
};

pub use self::points::{Histogram, HistogramPoint, Number, NumberPoint, Numbers, Selection};
use crate::fail::fail;

/// What all instruments of a [`TestTelemetry`](crate::TestTelemetry) held at one moment.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    metrics: Vec<Metric>,
}

#[derive(Clone, Debug)]
struct Metric {
    name: String,
    unit: String,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    Sum(Vec<NumberPoint>, bool),
    Gauge(Vec<NumberPoint>),
    Histogram(Vec<HistogramPoint>),
    Other,
}

impl Metrics {
    pub(crate) fn new(from: &ResourceMetrics) -> Self {
        let metrics = from
            .scope_metrics()
            .flat_map(|scope| scope.metrics())
            .map(Metric::new)
            .collect();
        Self { metrics }
    }

    /// The names of the metrics that have recorded something, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.metrics.iter().map(|m| m.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// Whether a metric of this name has recorded something.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.metrics.iter().any(|metric| metric.name == name)
    }

    /// The unit of a metric.
    ///
    /// # Panics
    /// When there is no such metric.
    #[track_caller]
    #[must_use]
    pub fn unit(&self, name: &str) -> &str {
        &self.find(name).unit
    }

    /// A histogram, to choose a series of by [`Histogram::with`].
    ///
    /// # Panics
    /// When there is no such metric or it is none, listing those there are.
    #[track_caller]
    #[must_use]
    pub fn histogram(&self, name: &str) -> Histogram<'_> {
        match &self.find(name).data {
            Data::Histogram(points) => Selection::new(name, points),
            _ => self.not_a("histogram", name),
        }
    }

    /// A counter or up-down counter, to choose a series of by [`Numbers::with`].
    ///
    /// # Panics
    /// When there is no such metric or it is none, listing those there are.
    #[track_caller]
    #[must_use]
    pub fn sum(&self, name: &str) -> Numbers<'_> {
        match &self.find(name).data {
            Data::Sum(points, _) => Selection::new(name, points),
            _ => self.not_a("sum", name),
        }
    }

    /// Whether a counter only goes up; an up-down counter goes both ways.
    ///
    /// # Panics
    /// When there is no such metric or it is no sum.
    #[track_caller]
    #[must_use]
    pub fn is_monotonic(&self, name: &str) -> bool {
        match &self.find(name).data {
            Data::Sum(_, is_monotonic) => *is_monotonic,
            _ => self.not_a("sum", name),
        }
    }

    /// A gauge, to choose a series of by [`Numbers::with`].
    ///
    /// # Panics
    /// When there is no such metric or it is none, listing those there are.
    #[track_caller]
    #[must_use]
    pub fn gauge(&self, name: &str) -> Numbers<'_> {
        match &self.find(name).data {
            Data::Gauge(points) => Selection::new(name, points),
            _ => self.not_a("gauge", name),
        }
    }

    #[track_caller]
    fn find(&self, name: &str) -> &Metric {
        match self.metrics.iter().find(|metric| metric.name == name) {
            Some(metric) => metric,
            None => fail(&format!(
                "no metric `{name}` was recorded; there are:\n{self}"
            )),
        }
    }

    #[track_caller]
    fn not_a(&self, wanted: &str, name: &str) -> ! {
        fail(&format!(
            "the metric `{name}` is no {wanted}; there are:\n{self}"
        ))
    }
}

impl Metric {
    fn new(metric: &SdkMetric) -> Self {
        Self {
            name: metric.name().to_owned(),
            unit: metric.unit().to_owned(),
            data: match metric.data() {
                AggregatedMetrics::F64(data) => {
                    Data::new(data, |value| Number::Double(*value), |value| *value)
                }
                AggregatedMetrics::I64(data) => {
                    Data::new(data, |value| Number::Int(*value), |value| *value as f64)
                }
                AggregatedMetrics::U64(data) => Data::new(
                    data,
                    |value| Number::Int(i64::try_from(*value).unwrap_or(i64::MAX)),
                    |value| *value as f64,
                ),
            },
        }
    }
}

impl Data {
    fn new<T: Copy>(
        data: &MetricData<T>,
        number: impl Fn(&T) -> Number,
        float: impl Fn(&T) -> f64,
    ) -> Self {
        match data {
            MetricData::Sum(sum) => Self::Sum(sum_points(sum, number), sum.is_monotonic()),
            MetricData::Gauge(gauge) => Self::Gauge(gauge_points(gauge, number)),
            MetricData::Histogram(histogram) => Self::Histogram(histogram_points(histogram, float)),
            MetricData::ExponentialHistogram(_) => Self::Other,
        }
    }
}

fn sum_points<T: Copy>(sum: &Sum<T>, number: impl Fn(&T) -> Number) -> Vec<NumberPoint> {
    sum.data_points()
        .map(|point| NumberPoint {
            labels: sorted(point.attributes()),
            value: number(&point.value()),
        })
        .collect()
}

fn gauge_points<T: Copy>(gauge: &Gauge<T>, number: impl Fn(&T) -> Number) -> Vec<NumberPoint> {
    gauge
        .data_points()
        .map(|point| NumberPoint {
            labels: sorted(point.attributes()),
            value: number(&point.value()),
        })
        .collect()
}

fn histogram_points<T: Copy>(
    histogram: &SdkHistogram<T>,
    float: impl Fn(&T) -> f64,
) -> Vec<HistogramPoint> {
    histogram
        .data_points()
        .map(|point| HistogramPoint {
            labels: sorted(point.attributes()),
            count: point.count(),
            sum: float(&point.sum()),
            min: point.min().map(|value| float(&value)),
            max: point.max().map(|value| float(&value)),
            bounds: point.bounds().collect(),
            bucket_counts: point.bucket_counts().collect(),
        })
        .collect()
}

fn sorted<'a>(labels: impl Iterator<Item = &'a KeyValue>) -> Vec<KeyValue> {
    let mut labels: Vec<KeyValue> = labels.cloned().collect();
    labels.sort_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
    labels
}

// === impl Metrics ===

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.metrics.is_empty() {
            return writeln!(f, "  (no metrics)");
        }
        for metric in &self.metrics {
            let Metric { name, unit, data } = metric;
            match data {
                Data::Sum(points, _) => {
                    writeln!(f, "  {name} (sum, {unit:?})")?;
                    points.iter().try_for_each(|p| writeln!(f, "    {p}"))?;
                }
                Data::Gauge(points) => {
                    writeln!(f, "  {name} (gauge, {unit:?})")?;
                    points.iter().try_for_each(|p| writeln!(f, "    {p}"))?;
                }
                Data::Histogram(points) => {
                    writeln!(f, "  {name} (histogram, {unit:?})")?;
                    points.iter().try_for_each(|p| writeln!(f, "    {p}"))?;
                }
                Data::Other => writeln!(f, "  {name} (exponential histogram, {unit:?})")?,
            }
        }
        Ok(())
    }
}
