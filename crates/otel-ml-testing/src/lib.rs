#![doc = include_str!("../README.md")]

mod fail;
mod forest;
mod invariants;
mod metrics;
mod recorder;
mod setup;
mod spans;
mod telemetry;
mod tree;
mod value;

pub mod matrix;
pub mod mock;
pub mod waterfall;

pub use invariants::{
    assert_ended_once, assert_no_secret, assert_one_trace, assert_parents_present, assert_types,
};
pub use metrics::{Histogram, HistogramPoint, Metrics, Number, NumberPoint, Numbers, Selection};
pub use setup::{TestTelemetry, TestTelemetryBuilder};
pub use spans::{SpanExt, SpansExt, describe};
pub use tree::{ExpectedSpan, assert_tree, span};
pub use value::IntoValue;

#[doc(no_inline)]
pub use opentelemetry;
#[doc(no_inline)]
pub use opentelemetry_sdk;
#[doc(no_inline)]
pub use otel_ml;
