//! Models being made ready.
//!
//! ```
//! use otel_ml::model;
//!
//! let weights = model::load("cross-encoder").version("3").in_scope(|| {
//!     model::init_weights().size(1024).in_scope(|| Ok::<_, std::io::Error>(vec![0.0; 128]))
//! })?;
//! # assert_eq!(weights.len(), 128);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! | recorded | |
//! |---|---|
//! | spans | `ml.load_model {model}` and `ml.init_weights`, INTERNAL |
//! | attributes | `ml.model.name`, `ml.model.version`, `ml.model.quantization`, `ml.model.size` |
//! | metric | `ml.model.load.duration`, of the loading as a whole |

use std::borrow::Cow;

use opentelemetry::trace::SpanKind;
use opentelemetry::{KeyValue, StringValue};
use otel_ml_semconv::ml;

use crate::attributes::Attributes;
use crate::instruments::Labels;
use crate::ml_span::whole;
use crate::operation::{End, Record};
use crate::stream::Items;
use crate::task::{Task, TaskRecord, name_of};

/// A model being loaded, or its weights being made.
pub type Load = Task<LoadRecord>;

/// Loads `model`. The name labels a metric.
pub fn load(model: impl Into<StringValue>) -> Load {
    Task::new(
        SpanKind::Internal,
        LoadRecord {
            model: Some(model.into()),
            items: Items::default(),
        },
    )
}

/// Reads or makes the weights of the model that is being loaded. Run it inside [`load`].
pub fn init_weights() -> Load {
    Task::new(
        SpanKind::Internal,
        LoadRecord {
            model: None,
            items: Items::default(),
        },
    )
}

impl Load {
    /// The model's version.
    pub fn version(mut self, version: impl Into<StringValue>) -> Self {
        self.set(ml::MODEL_VERSION, version.into());
        self
    }

    /// The numeric format of the weights: `int8`, `fp8`, `awq`, ….
    pub fn quantization(mut self, format: impl Into<StringValue>) -> Self {
        self.set(ml::MODEL_QUANTIZATION, format.into());
        self
    }

    /// The size of the weights in bytes.
    pub fn size(mut self, bytes: u64) -> Self {
        self.set(ml::MODEL_SIZE, whole(bytes));
        self
    }
}

/// What the loading of a model records.
#[derive(Debug)]
pub struct LoadRecord {
    /// The model, when it is loaded as a whole.
    model: Option<StringValue>,
    items: Items,
}

impl TaskRecord for LoadRecord {
    fn name(&self) -> Cow<'static, str> {
        match &self.model {
            Some(model) => name_of(ml::span::LOAD_MODEL, model.as_str()),
            None => Cow::Borrowed(ml::span::INIT_WEIGHTS),
        }
    }

    fn labels(&self, to: &mut Attributes) {
        if let Some(model) = &self.model {
            to.push(ml::MODEL_NAME, model.clone());
        }
    }

    fn items(&mut self) -> &mut Items {
        &mut self.items
    }
}

impl Record for LoadRecord {
    fn record(&mut self, end: &mut End<'_>) {
        self.items.record(end, ml::RESPONSE_TIME_TO_FIRST_CHUNK);
        if let (Some(model), Some(instruments)) = (self.model.take(), end.instruments) {
            let mut labels = Labels::new();
            labels.push(KeyValue::new(ml::MODEL_NAME, model));
            labels.extend(end.error_label());
            instruments
                .ml_model_load_duration
                .record(end.duration.as_secs_f64(), &labels);
        }
    }
}
