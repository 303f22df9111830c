//! The series of one metric, and choosing among them by label.

use std::fmt;

use opentelemetry::KeyValue;

use crate::fail::fail;
use crate::value::{IntoValue, show};

/// A number with its type.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Number {
    /// From an `i64` or `u64` instrument.
    Int(i64),
    /// From an `f64` instrument.
    Double(f64),
}

/// One time series of a counter or a gauge.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberPoint {
    pub(super) labels: Vec<KeyValue>,
    pub(super) value: Number,
}

/// One time series of a histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramPoint {
    pub(super) labels: Vec<KeyValue>,
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) bounds: Vec<f64>,
    pub(super) bucket_counts: Vec<u64>,
}

/// The series of a histogram.
pub type Histogram<'a> = Selection<'a, HistogramPoint>;

/// The series of a counter or a gauge.
pub type Numbers<'a> = Selection<'a, NumberPoint>;

/// Some or all series of one metric.
#[derive(Clone, Debug)]
pub struct Selection<'a, P> {
    name: String,
    all: &'a [P],
    points: Vec<&'a P>,
}

/// What all series have. Sealed: implemented by the two kinds of points only.
trait Labelled: fmt::Display {
    fn labels(&self) -> &[KeyValue];
}

impl NumberPoint {
    /// The labels, sorted by key.
    #[must_use]
    pub fn labels(&self) -> &[KeyValue] {
        &self.labels
    }

    /// The keys of the labels, sorted: all of them, to compare with a fixed list.
    #[must_use]
    pub fn label_keys(&self) -> Vec<&str> {
        keys(&self.labels)
    }

    /// The value with its type.
    #[must_use]
    pub fn value(&self) -> Number {
        self.value
    }
}

impl HistogramPoint {
    /// The labels, sorted by key.
    #[must_use]
    pub fn labels(&self) -> &[KeyValue] {
        &self.labels
    }

    /// The keys of the labels, sorted: all of them, to compare with a fixed list.
    #[must_use]
    pub fn label_keys(&self) -> Vec<&str> {
        keys(&self.labels)
    }

    /// How many values were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of the recorded values.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The smallest recorded value.
    #[must_use]
    pub fn min(&self) -> Option<f64> {
        self.min
    }

    /// The largest recorded value.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        self.max
    }

    /// The upper bounds of the buckets, without the last, infinite one.
    #[must_use]
    pub fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// How many values fell into each bucket; one more than there are bounds.
    #[must_use]
    pub fn bucket_counts(&self) -> &[u64] {
        &self.bucket_counts
    }
}

#[expect(private_bounds, reason = "sealed")]
impl<'a, P: Labelled> Selection<'a, P> {
    pub(super) fn new(name: &str, all: &'a [P]) -> Self {
        Self {
            name: name.to_owned(),
            all,
            points: all.iter().collect(),
        }
    }

    /// Only the series with this label, of this value and type.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl IntoValue) -> Self {
        let value = value.into_value();
        self.points.retain(|point| {
            let label = point.labels().iter().find(|l| l.key.as_str() == key);
            label.is_some_and(|label| label.value == value)
        });
        self
    }

    /// Only the series without this label.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.points
            .retain(|point| point.labels().iter().all(|l| l.key.as_str() != key));
        self
    }

    /// The chosen series.
    #[must_use]
    pub fn points(&self) -> &[&'a P] {
        &self.points
    }

    /// Whether no series has all those labels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The one chosen series.
    ///
    /// # Panics
    /// When there is none, or more than one, listing all there are.
    #[track_caller]
    #[must_use]
    pub fn one(&self) -> &'a P {
        match self.points.as_slice() {
            [point] => point,
            chosen => self.wrong(&format!(
                "{} series of `{}` are chosen, expected one",
                chosen.len(),
                self.name
            )),
        }
    }

    #[track_caller]
    fn wrong(&self, what: &str) -> ! {
        let all: String = self.all.iter().map(|p| format!("  {p}\n")).collect();
        fail(&format!("{what}; all series:\n{all}"))
    }

    #[track_caller]
    fn at_least_one(&self) -> &[&'a P] {
        if self.points.is_empty() {
            self.wrong(&format!("no series of `{}` is chosen", self.name));
        }
        &self.points
    }
}

impl Selection<'_, HistogramPoint> {
    /// How many values the chosen series hold together.
    ///
    /// # Panics
    /// When no series is chosen, listing all there are.
    #[track_caller]
    #[must_use]
    pub fn count(&self) -> u64 {
        self.at_least_one().iter().map(|point| point.count).sum()
    }

    /// The sum of the values of the chosen series together.
    ///
    /// # Panics
    /// When no series is chosen, listing all there are.
    #[track_caller]
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.at_least_one().iter().map(|point| point.sum).sum()
    }
}

impl Selection<'_, NumberPoint> {
    /// The value of the one chosen series.
    ///
    /// # Panics
    /// When none or more than one series is chosen, or it holds floats.
    #[track_caller]
    #[must_use]
    pub fn int(&self) -> i64 {
        match self.one().value {
            Number::Int(value) => value,
            Number::Double(_) => self.wrong(&format!("`{}` holds floats", self.name)),
        }
    }

    /// The value of the one chosen series.
    ///
    /// # Panics
    /// When none or more than one series is chosen, or it holds integers.
    #[track_caller]
    #[must_use]
    pub fn double(&self) -> f64 {
        match self.one().value {
            Number::Double(value) => value,
            Number::Int(_) => self.wrong(&format!("`{}` holds integers", self.name)),
        }
    }

    /// Each of the chosen series stands at zero. A total of zero would not tell
    /// whether an increment and its decrement carry the same labels.
    ///
    /// # Panics
    /// When one does not, or no series is chosen.
    #[track_caller]
    pub fn assert_zero(&self) {
        for point in self.at_least_one() {
            if point.value != Number::Int(0) && point.value != Number::Double(0.0) {
                self.wrong(&format!("a series of `{}` is not at zero", self.name));
            }
        }
    }
}

fn keys(labels: &[KeyValue]) -> Vec<&str> {
    labels.iter().map(|label| label.key.as_str()).collect()
}

// === impl Labelled ===

impl Labelled for NumberPoint {
    fn labels(&self) -> &[KeyValue] {
        &self.labels
    }
}

impl Labelled for HistogramPoint {
    fn labels(&self) -> &[KeyValue] {
        &self.labels
    }
}

impl fmt::Display for NumberPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Number::Int(value) => write!(f, "{value} {}", Labels(&self.labels)),
            Number::Double(value) => write!(f, "{value:?} {}", Labels(&self.labels)),
        }
    }
}

impl fmt::Display for HistogramPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = Labels(&self.labels);
        write!(f, "{} values, sum {:?} {labels}", self.count, self.sum)
    }
}

struct Labels<'a>(&'a [KeyValue]);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = |label: &KeyValue| format!("{}={}", label.key, show(&label.value));
        let labels: Vec<String> = self.0.iter().map(label).collect();
        write!(f, "{{{}}}", labels.join(", "))
    }
}
