//! Stages of a pipeline.

use std::borrow::Cow;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use otel_ml_semconv::ml;

use crate::attributes::Attributes;
use crate::instruments::Labels;
use crate::operation::{End, Record};
use crate::stream::Items;
use crate::task::{Task, TaskRecord};

/// A stage of a pipeline: an INTERNAL span named as the stage, and `ml.stage.duration`.
pub type Stage = Task<StageRecord>;

/// A stage named `name`: one of [`ml::stage`]'s, or another of the pipeline's own.
///
/// | recorded | |
/// |---|---|
/// | span | `{name}`, INTERNAL |
/// | attributes | `ml.pipeline.stage.name`; whatever is written to [`MlSpan::current`](crate::MlSpan::current) inside |
/// | metric | `ml.stage.duration`, labelled with the stage, the model and its version where written, and `error.type` |
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), std::io::Error> {
/// use otel_ml::MlSpan;
///
/// let best = otel_ml::stage("rerank")
///     .run(async {
///         MlSpan::current().model("cross-encoder").candidate_count(20);
///         Ok::<_, std::io::Error>("the best")
///     })
///     .await?;
/// # assert_eq!(best, "the best");
/// # Ok(())
/// # }
/// ```
///
/// # Cardinality
/// The name labels a metric: pass one of a few constants.
pub fn stage(name: impl Into<Cow<'static, str>>) -> Stage {
    Task::new(
        SpanKind::Internal,
        StageRecord {
            name: name.into(),
            items: Items::default(),
        },
    )
}

/// What a stage records.
#[derive(Debug)]
pub struct StageRecord {
    name: Cow<'static, str>,
    items: Items,
}

impl TaskRecord for StageRecord {
    fn name(&self) -> Cow<'static, str> {
        self.name.clone()
    }

    fn items(&mut self) -> &mut Items {
        &mut self.items
    }

    fn labels(&self, to: &mut Attributes) {
        to.push(ml::PIPELINE_STAGE_NAME, self.name.clone());
    }
}

impl Record for StageRecord {
    fn record(&mut self, end: &mut End<'_>) {
        self.items.record(end, ml::RESPONSE_TIME_TO_FIRST_CHUNK);
        if let Some(instruments) = end.instruments {
            let mut labels = Labels::new();
            labels.push(KeyValue::new(ml::PIPELINE_STAGE_NAME, self.name.clone()));
            labels.extend(end.model_labels());
            labels.extend(end.error_label());
            instruments
                .ml_stage_duration
                .record(end.duration.as_secs_f64(), &labels);
        }
    }
}
