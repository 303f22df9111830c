//! The handle by which running code writes ML facts to the operation it is part of.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Array, Context, Key, KeyValue, StringValue, Value};
use otel_ml_semconv::{db, gen_ai, ml};

use crate::facts::FactKey;
use crate::shared::{Entry, Shared};

/// The operation that the current code is part of: a request served, a message processed,
/// a stage, a model operation.
///
/// It is found through the OpenTelemetry `Context`, so it is there in nested functions,
/// below `#[tracing::instrument]`, and in tasks that were given the context. Where there is
/// none, every call does nothing. Each fact is written to the span once, when the operation
/// ends: the last value counts, and a stream may write its token count with every chunk.
///
/// ```
/// use otel_ml::MlSpan;
///
/// async fn predict() -> f64 {
///     let span = MlSpan::current();
///     span.model("fraud").model_version("3").operation("predict");
///     let confidence = 0.93;
///     span.confidence(confidence);
///     confidence
/// }
/// ```
///
/// # Cardinality
/// The facts also label metrics where the documentation of a setter says so. Those must be
/// of low cardinality; all others are on the span only.
#[derive(Clone, Default)]
pub struct MlSpan(Option<Arc<Shared>>);

macro_rules! text {
    ($($(#[$doc:meta])+ $name:ident => $key:expr;)+) => { impl MlSpan { $(
        $(#[$doc])+
        #[doc = ""]
        #[doc = concat!("Recorded as [`", stringify!($key), "`](otel_ml_semconv::", stringify!($key), ").")]
        pub fn $name(&self, value: impl Into<StringValue>) -> &Self {
            self.put(const { &FactKey::known($key) }, || value.into().into())
        }
    )+ } };
}

macro_rules! integer {
    ($($(#[$doc:meta])+ $name:ident => $key:expr;)+) => { impl MlSpan { $(
        $(#[$doc])+
        #[doc = ""]
        #[doc = concat!("Recorded as [`", stringify!($key), "`](otel_ml_semconv::", stringify!($key), "), an integer.")]
        pub fn $name(&self, value: u64) -> &Self {
            self.put(const { &FactKey::known($key) }, || whole(value))
        }
    )+ } };
}

macro_rules! number {
    ($($(#[$doc:meta])+ $name:ident => $key:expr;)+) => { impl MlSpan { $(
        $(#[$doc])+
        #[doc = ""]
        #[doc = concat!("Recorded as [`", stringify!($key), "`](otel_ml_semconv::", stringify!($key), "), a double.")]
        pub fn $name(&self, value: f64) -> &Self {
            self.put(const { &FactKey::known($key) }, || value.into())
        }
    )+ } };
}

text! {
    /// The model that ran, for models that do not generate. Label of `ml.*` metrics.
    model => ml::MODEL_NAME;
    /// The version of the model that ran. Label of `ml.*` metrics.
    model_version => ml::MODEL_VERSION;
    /// The numeric format of the weights: `int8`, `fp8`, `awq`, ….
    quantization => ml::MODEL_QUANTIZATION;
    /// What the model did, for models that do not generate: `predict`, `embed`, `rerank`, ….
    /// With [`model`](Self::model) it makes the operation count in `ml.inference.duration`.
    operation => ml::OPERATION_NAME;
    /// Prefill or decode.
    inference_phase => ml::INFERENCE_PHASE;
    /// A class of the input chosen by the caller, of low cardinality; never the input.
    input_class => ml::INPUT_CLASS;
    /// The element type of the input tensor: `f32`, `int8`, ….
    input_dtype => ml::INPUT_DTYPE;
    /// The user's tier or cohort: `free`, `pro`, ….
    user_tier => ml::USER_TIER;
    /// What a generative model did: `chat`, `embeddings`, …, see [`gen_ai::operation`]. On a
    /// server it makes the request count in the `gen_ai.server.*` metrics.
    gen_ai_operation => gen_ai::OPERATION_NAME;
    /// Who provides the generative model, see [`gen_ai::provider`]. Metric label.
    provider => gen_ai::PROVIDER_NAME;
    /// The generative model that was asked for. Metric label.
    request_model => gen_ai::REQUEST_MODEL;
    /// The generative model that answered. Metric label.
    response_model => gen_ai::RESPONSE_MODEL;
    /// The provider's id of the answer.
    response_id => gen_ai::RESPONSE_ID;
    /// The conversation the request belongs to.
    conversation_id => gen_ai::CONVERSATION_ID;
    /// What the embeddings or documents are searched in.
    data_source => gen_ai::DATA_SOURCE_ID;
    /// The feature view or collection that is read.
    feature_view => db::COLLECTION_NAME;
    /// Which worker of a pool did the work.
    worker => ml::WORKER_ID;
    /// The batch that the work was part of.
    batch_id => ml::BATCH_ID;
    /// What made the batch start: `size`, `timeout`, `budget`, `drain`. Metric label.
    batch_trigger => ml::BATCH_TRIGGER;
}

integer! {
    /// Size of the input in characters or elements.
    input_size => ml::INPUT_SIZE;
    /// Size of the output in characters or elements.
    output_size => ml::OUTPUT_SIZE;
    /// How many results were returned.
    output_count => ml::OUTPUT_COUNT;
    /// How many requests the model ran on at once.
    batch_size => ml::BATCH_SIZE;
    /// The most requests a batch may hold.
    batch_max_size => ml::BATCH_MAX_SIZE;
    /// How many elements of the input are not a number.
    input_nan_count => ml::INPUT_NAN_COUNT;
    /// How many messages of a stream of requests were read so far.
    request_messages => ml::REQUEST_MESSAGE_COUNT;
    /// Tokens that went in, cached ones included.
    input_tokens => gen_ai::USAGE_INPUT_TOKENS;
    /// Tokens that came out, reasoning included. While an answer streams: so far.
    output_tokens => gen_ai::USAGE_OUTPUT_TOKENS;
    /// Input tokens read from the provider's cache.
    cached_tokens => gen_ai::USAGE_CACHE_READ_INPUT_TOKENS;
    /// Output tokens spent on reasoning.
    reasoning_tokens => gen_ai::USAGE_REASONING_OUTPUT_TOKENS;
    /// The most tokens that the model may generate.
    max_tokens => gen_ai::REQUEST_MAX_TOKENS;
    /// The `top_k` sampling setting of a generative model.
    top_k => gen_ai::REQUEST_TOP_K;
    /// How many answers were asked for.
    choice_count => gen_ai::REQUEST_CHOICE_COUNT;
    /// How many features were looked up.
    feature_count => ml::FEATURE_COUNT;
    /// How many of them came from a cache.
    feature_cache_hits => ml::FEATURE_CACHE_HIT_COUNT;
    /// How many documents a retriever returned.
    document_count => ml::RETRIEVAL_DOCUMENT_COUNT;
    /// How many documents a retriever was asked for.
    retrieval_top_k => gen_ai::RETRIEVAL_TOP_K;
    /// How many candidates a reranker was given.
    candidate_count => ml::RERANK_CANDIDATE_COUNT;
    /// How many of the returned candidates changed place.
    reordered => ml::RERANK_REORDERED;
    /// Length of the embedding vector.
    embedding_dimension => gen_ai::EMBEDDINGS_DIMENSION_COUNT;
    /// How many rows a store returned.
    returned_rows => db::RESPONSE_RETURNED_ROWS;
    /// How many stages the pipeline has.
    stage_count => ml::PIPELINE_STAGE_COUNT;
}

number! {
    /// How sure the model is, from 0 to 1. Also recorded in the histogram
    /// `ml.prediction.confidence`, once, when the operation ends.
    confidence => ml::PREDICTION_CONFIDENCE;
    /// The `temperature` setting; zero is a value.
    temperature => gen_ai::REQUEST_TEMPERATURE;
    /// The `top_p` setting.
    top_p => gen_ai::REQUEST_TOP_P;
    /// The frequency penalty.
    frequency_penalty => gen_ai::REQUEST_FREQUENCY_PENALTY;
    /// The presence penalty.
    presence_penalty => gen_ai::REQUEST_PRESENCE_PENALTY;
}

impl MlSpan {
    /// The nearest operation around the current code, or one on which every call does nothing.
    #[must_use]
    pub fn current() -> Self {
        Context::map_current(Self::from_context)
    }

    /// The nearest operation in `cx`.
    #[must_use]
    pub fn from_context(cx: &Context) -> Self {
        Self(Entry::find(cx).cloned())
    }

    #[inline]
    fn shared(&self) -> Option<&Shared> {
        self.0.as_deref()
    }

    #[inline]
    fn put(&self, key: &FactKey, value: impl FnOnce() -> Value) -> &Self {
        if let Some(shared) = self.shared() {
            shared.set(key, value);
        }
        self
    }

    /// Whether facts end up on a span: false when there is no operation, when its span is
    /// not sampled, and when it has ended.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.shared().is_some_and(Shared::is_recording)
    }

    /// The operation's span context, for links; `None` when there is no operation.
    #[must_use]
    pub fn span_context(&self) -> Option<opentelemetry::trace::SpanContext> {
        self.shared()
            .map(|shared| shared.span_context().span().span_context().clone())
    }

    /// Writes an attribute that no setter is for. What a setter is for must use the setter:
    /// it knows the type. What the transport itself has told (`http.route`, `client.address`,
    /// `rpc.method`, …) stays as it is, as does all of `messaging.*`.
    pub fn set(&self, key: impl Into<Key>, value: impl Into<Value>) -> &Self {
        if let Some(shared) = self.shared() {
            shared.set_custom(key.into(), || value.into());
        }
        self
    }

    /// The features that were asked for. Their names may tell of a person: opt-in by calling.
    pub fn feature_names<T: Into<StringValue>>(&self, names: impl IntoIterator<Item = T>) -> &Self {
        self.put(const { &FactKey::known(ml::FEATURE_NAMES) }, || {
            texts(names)
        })
    }

    /// Why the model stopped, one reason for each answer.
    pub fn finish_reasons<T: Into<StringValue>>(
        &self,
        reasons: impl IntoIterator<Item = T>,
    ) -> &Self {
        self.put(
            const { &FactKey::known(gen_ai::RESPONSE_FINISH_REASONS) },
            || texts(reasons),
        )
    }

    /// The texts at which the model is to stop.
    pub fn stop_sequences<T: Into<StringValue>>(
        &self,
        sequences: impl IntoIterator<Item = T>,
    ) -> &Self {
        self.put(
            const { &FactKey::known(gen_ai::REQUEST_STOP_SEQUENCES) },
            || texts(sequences),
        )
    }

    /// The `seed` setting.
    pub fn seed(&self, seed: i64) -> &Self {
        self.put(const { &FactKey::known(gen_ai::REQUEST_SEED) }, || {
            seed.into()
        })
    }

    /// The lengths of the input tensor's dimensions.
    pub fn input_shape(&self, shape: &[usize]) -> &Self {
        self.put(const { &FactKey::known(ml::INPUT_SHAPE) }, || {
            Value::Array(Array::I64(
                shape
                    .iter()
                    .map(|n| i64::try_from(*n).unwrap_or(i64::MAX))
                    .collect(),
            ))
        })
    }

    /// The smallest and the largest element of the input.
    pub fn input_range(&self, min: f64, max: f64) -> &Self {
        self.put(const { &FactKey::known(ml::INPUT_MIN) }, || min.into())
            .put(const { &FactKey::known(ml::INPUT_MAX) }, || max.into())
    }

    /// A look-up in a cache: `ml.cache.name` and `ml.cache.hit` on the span (the last
    /// look-up's), and one more in the counter `ml.cache.lookups`.
    pub fn cache_lookup(&self, cache: &'static str, hit: bool) -> &Self {
        if let Some(shared) = self.shared().filter(|shared| !shared.is_finished())
            && let Some(instruments) = shared.telemetry.instruments()
        {
            let labels = [
                KeyValue::new(ml::CACHE_NAME, cache),
                KeyValue::new(ml::CACHE_HIT, hit),
            ];
            instruments.ml_cache_lookups.add(1, &labels);
        }
        self.put(const { &FactKey::known(ml::CACHE_NAME) }, || cache.into())
            .put(const { &FactKey::known(ml::CACHE_HIT) }, || hit.into())
    }

    /// A stage that was left out on purpose, and why (low cardinality: `budget`, `degraded`).
    /// Write it to the request, not inside another stage: that one has a name already.
    pub fn skipped(&self, stage: &'static str, reason: &'static str) -> &Self {
        self.put(const { &FactKey::known(ml::PIPELINE_STAGE_NAME) }, || {
            stage.into()
        })
        .put(const { &FactKey::known(ml::STAGE_SKIPPED) }, || true.into())
        .put(const { &FactKey::known(ml::STAGE_SKIP_REASON) }, || {
            reason.into()
        })
    }

    /// Whether the error at hand is worth a retry.
    pub fn error_transient(&self, transient: bool) -> &Self {
        self.put(const { &FactKey::known(ml::ERROR_TRANSIENT) }, || {
            transient.into()
        })
    }

    /// What the operation cost, and in which currency (`USD`).
    pub fn cost(&self, amount: f64, currency: &'static str) -> &Self {
        self.put(const { &FactKey::known(ml::COST_AMOUNT) }, || amount.into())
            .put(const { &FactKey::known(ml::COST_CURRENCY) }, || {
                currency.into()
            })
    }

    /// The first token has been generated: the time since the operation's start becomes
    /// `gen_ai.server.time_to_first_token`. Later calls change nothing.
    pub fn first_token(&self) -> &Self {
        if let Some(shared) = self.shared() {
            shared.first_token();
        }
        self
    }

    /// The answer is incomplete, and so are its token counts.
    pub fn usage_partial(&self) -> &Self {
        self.put(const { &FactKey::known(ml::USAGE_PARTIAL) }, || true.into())
    }

    /// The messages given to the model, as the JSON text that the conventions describe.
    /// Recorded only where content is switched on: `json` is not called otherwise.
    pub fn input_messages(&self, json: impl FnOnce() -> String) -> &Self {
        self.put_content(gen_ai::INPUT_MESSAGES, json)
    }

    /// The model's answer, as the JSON text that the conventions describe. Recorded only
    /// where content is switched on: `json` is not called otherwise.
    pub fn output_messages(&self, json: impl FnOnce() -> String) -> &Self {
        self.put_content(gen_ai::OUTPUT_MESSAGES, json)
    }

    /// The instructions given to the model, as the JSON text that the conventions describe.
    /// Recorded only where content is switched on: `json` is not called otherwise.
    pub fn system_instructions(&self, json: impl FnOnce() -> String) -> &Self {
        self.put_content(gen_ai::SYSTEM_INSTRUCTIONS, json)
    }

    fn put_content(&self, key: &'static str, json: impl FnOnce() -> String) -> &Self {
        match self.shared() {
            Some(shared) if shared.telemetry.captures_content() => {
                self.put(&FactKey::known(key), || json().into())
            }
            _ => self,
        }
    }

    /// Time since the operation started; zero where there is none.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared().map_or(Duration::ZERO, Shared::elapsed)
    }
}

impl fmt::Debug for MlSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MlSpan").field(&self.span_context()).finish()
    }
}

pub(crate) fn whole(value: u64) -> Value {
    Value::I64(i64::try_from(value).unwrap_or(i64::MAX))
}

pub(crate) fn texts<T: Into<StringValue>>(values: impl IntoIterator<Item = T>) -> Value {
    Value::Array(Array::String(values.into_iter().map(Into::into).collect()))
}
