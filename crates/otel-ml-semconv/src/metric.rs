//! What a metric is: everything needed to make its instrument.

/// The kind of instrument a metric is recorded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Instrument {
    /// A distribution of measured values.
    Histogram,
    /// A sum that only grows.
    Counter,
    /// A sum that grows and shrinks.
    UpDownCounter,
    /// The latest value.
    Gauge,
}

/// The definition of one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// The name as exported.
    pub name: &'static str,
    /// The unit in UCUM form: `s`, `By`, `1` or an annotation such as `{request}`.
    pub unit: &'static str,
    /// One sentence for whoever reads the metric in a backend.
    pub description: &'static str,
    /// The kind of instrument.
    pub instrument: Instrument,
    /// Upper bounds of a histogram's buckets, in the metric's unit and ascending.
    ///
    /// Empty for every other instrument, and where the conventions leave the choice to the SDK.
    pub boundaries: &'static [f64],
}

/// Bucket bounds that several metrics share.
pub mod boundaries {
    /// Seconds, for requests, calls and messages: 5 ms to 10 s.
    pub const REQUEST_SECONDS: &[f64] = &[
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];

    /// Seconds, for model operations, stages and waiting: 10 ms to 82 s, doubling.
    pub const MODEL_SECONDS: &[f64] = &[
        0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
    ];
}

/// Declares metrics and lists them in `METRICS`. The description is also the documentation's first
/// paragraph; what follows it names the labels.
macro_rules! metrics {
    (
        source: $source:literal;
        $(
            $description:literal
            $(#[$doc:meta])+
            $name:ident: $instrument:ident, $stability:ident =
                $key:literal, $unit:literal $(, $boundaries:expr)?;
        )+
    ) => {
        $(
            #[doc = $description]
            #[doc = ""]
            $(#[$doc])+
            #[doc = ""]
            #[doc = concat!(
                "Instrument: ", stringify!($instrument), ". Unit: `", $unit, "`. Stability: ",
                stringify!($stability), ". Source: ", $source, "."
            )]
            pub const $name: $crate::Metric = $crate::Metric {
                name: $key,
                unit: $unit,
                description: $description,
                instrument: $crate::Instrument::$instrument,
                boundaries: $crate::metric::bounds(&[$($boundaries)?]),
            };
        )+

        pub(crate) const METRICS: &[$crate::Metric] = &[$($name),+];
    };
}

/// The given bounds, or none.
pub(crate) const fn bounds(given: &[&'static [f64]]) -> &'static [f64] {
    match given {
        [bounds, ..] => bounds,
        [] => &[],
    }
}

pub(crate) use metrics;
