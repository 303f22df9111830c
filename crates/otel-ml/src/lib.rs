#![doc = include_str!("../README.md")]

mod attributes;
pub mod carrier;
pub mod db;
mod facts;
pub mod genai;
pub mod hooks;
mod instruments;
mod intern;
mod label_sets;
mod levels;
pub mod messaging;
mod ml_span;
pub mod model;
mod operation;
mod options;
mod outcome;
pub mod propagation;
mod providers;
mod queue;
mod readings;
mod selfcheck;
mod shared;
mod stage;
mod stream;
mod task;
mod telemetry;

pub use opentelemetry;
pub use otel_ml_semconv as semconv;

pub use attributes::Attributes;
pub use instruments::{ActiveRequests, InFlight, Instruments, Labels};
pub use intern::{Interner, KnownNames, SpanAndTarget, span_name};
pub use label_sets::{LabelSet, LabelSets};
pub use levels::{Level, LevelOf};
pub use messaging::OtelMlConsumerLayer;
pub use ml_span::MlSpan;
pub use operation::{
    End, Entered, Handle, Leave, Operation, OperationBuilder, Record, Scoped, Since,
};
pub use options::{
    Detail, ErrorClassifier, Inbound, Options, ParentPolicy, RecordedHeader, recorded_headers,
};
pub use outcome::{CancelReason, ErrorType, Outcome};
pub use queue::queue_wait_span;
pub use readings::{Reading, Readings, ReadingsSource};
pub use selfcheck::{Finding, selfcheck};
pub use stage::{Stage, StageRecord, stage};
pub use stream::{InstrumentedStream, Items};
pub use task::{Fallible, Infallible, Run, Running, Task, TaskRecord, TellOutcome};
pub use telemetry::{Telemetry, TelemetryBuilder};
