//! Operations of generative models, and of the models around them, as a client sees them.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), std::io::Error> {
//! use otel_ml::{MlSpan, genai};
//!
//! let answer = genai::chat("openai", "gpt-4.1")
//!     .max_tokens(256)
//!     .temperature(0.0)
//!     .server("api.example.com", 443)
//!     .run(async {
//!         // call the model …
//!         MlSpan::current().input_tokens(12).output_tokens(7).finish_reasons(["stop"]);
//!         Ok::<_, std::io::Error>("answer")
//!     })
//!     .await?;
//! # assert_eq!(answer, "answer");
//! # Ok(())
//! # }
//! ```
//!
//! | recorded | |
//! |---|---|
//! | span | `{operation} {model}`, CLIENT; INTERNAL when [`in_process`](GenAi::in_process) |
//! | attributes | `gen_ai.operation.name`, `gen_ai.provider.name`, `gen_ai.request.*` at the start; what [`MlSpan`](crate::MlSpan) is told later |
//! | metrics | `gen_ai.client.operation.duration`, `gen_ai.client.token.usage` from the token counts written; for a stream `…time_to_first_chunk` and `…time_per_output_chunk` |
//!
//! A stream that ends early is marked `ml.usage.partial`, and so is one of a chat or a text completion
//! without an output token count.

use std::borrow::Cow;
use std::time::Duration;

use opentelemetry::trace::SpanKind;
use opentelemetry::{KeyValue, StringValue};
use otel_ml_semconv::{gen_ai, ml, server};

use crate::attributes::{self, Attributes};
use crate::instruments::Instruments;
use crate::ml_span::{texts, whole};
use crate::operation::{End, Record};
use crate::outcome::Outcome;
use crate::stream::Items;
use crate::task::{Task, TaskRecord, name_of};

/// An operation of a generative model.
pub type GenAi = Task<GenAiRecord>;

/// A chat completion by `model` of `provider` (see [`gen_ai::provider`]).
pub fn chat(provider: impl Into<StringValue>, model: impl Into<StringValue>) -> GenAi {
    operation(gen_ai::operation::CHAT, provider.into(), model.into())
}

/// A text completion.
pub fn text_completion(provider: impl Into<StringValue>, model: impl Into<StringValue>) -> GenAi {
    operation(
        gen_ai::operation::TEXT_COMPLETION,
        provider.into(),
        model.into(),
    )
}

/// The embedding of texts.
pub fn embeddings(provider: impl Into<StringValue>, model: impl Into<StringValue>) -> GenAi {
    operation(gen_ai::operation::EMBEDDINGS, provider.into(), model.into())
}

/// The retrieval of documents from `data_source`.
pub fn retrieval(data_source: impl Into<StringValue>) -> GenAi {
    let data_source = data_source.into();
    let span = name_of(gen_ai::operation::RETRIEVAL, data_source.as_str());
    let mut task = named(gen_ai::operation::RETRIEVAL, span, None, None);
    task.set(gen_ai::DATA_SOURCE_ID, data_source);
    task
}

/// The reranking of candidates by `model`. The conventions have no value for it yet; the
/// operation's name is `rerank`.
pub fn rerank(provider: impl Into<StringValue>, model: impl Into<StringValue>) -> GenAi {
    operation(ml::operation::RERANK, provider.into(), model.into())
}

fn operation(name: &'static str, provider: StringValue, model: StringValue) -> GenAi {
    named(
        name,
        name_of(name, model.as_str()),
        Some(provider),
        Some(model),
    )
}

fn named(
    operation: &'static str,
    span: Cow<'static, str>,
    provider: Option<StringValue>,
    model: Option<StringValue>,
) -> GenAi {
    let known = [
        (gen_ai::PROVIDER_NAME, provider),
        (gen_ai::REQUEST_MODEL, model),
    ];
    let mut labels = Vec::new();
    labels.push(KeyValue::new(gen_ai::OPERATION_NAME, operation));
    labels.extend(
        known
            .into_iter()
            .filter_map(|(key, value)| value.map(|value| KeyValue::new(key, value))),
    );
    Task::new(
        SpanKind::Client,
        span,
        GenAiRecord {
            labels,
            items: Items::default(),
            generates: [gen_ai::operation::CHAT, gen_ai::operation::TEXT_COMPLETION]
                .contains(&operation),
        },
    )
}

impl GenAi {
    /// The model runs in this process: the span is INTERNAL.
    pub fn in_process(mut self) -> Self {
        self.kind = SpanKind::Internal;
        self
    }

    /// Where the model is asked. Metric labels.
    pub fn server(mut self, address: impl Into<StringValue>, port: u16) -> Self {
        let address = address.into();
        attributes::set(&mut self.record.labels, server::ADDRESS, address);
        attributes::set(&mut self.record.labels, server::PORT, i64::from(port));
        self
    }

    /// The most tokens to generate.
    pub fn max_tokens(mut self, tokens: u64) -> Self {
        self.set(gen_ai::REQUEST_MAX_TOKENS, whole(tokens));
        self
    }

    /// The sampling temperature; zero is a value.
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.set(gen_ai::REQUEST_TEMPERATURE, temperature);
        self
    }

    /// The `top_p` setting.
    pub fn top_p(mut self, top_p: f64) -> Self {
        self.set(gen_ai::REQUEST_TOP_P, top_p);
        self
    }

    /// The `top_k` sampling setting of a generative model.
    pub fn top_k(mut self, top_k: u64) -> Self {
        self.set(gen_ai::REQUEST_TOP_K, whole(top_k));
        self
    }

    /// The seed.
    pub fn seed(mut self, seed: i64) -> Self {
        self.set(gen_ai::REQUEST_SEED, seed);
        self
    }

    /// How many answers are asked for; one, which is usual, is not recorded.
    pub fn choice_count(mut self, count: u64) -> Self {
        if count != 1 {
            self.set(gen_ai::REQUEST_CHOICE_COUNT, whole(count));
        }
        self
    }

    /// The texts at which the model is to stop.
    pub fn stop_sequences<T: Into<StringValue>>(
        mut self,
        sequences: impl IntoIterator<Item = T>,
    ) -> Self {
        self.set(gen_ai::REQUEST_STOP_SEQUENCES, texts(sequences));
        self
    }

    /// The answer is asked for as a stream: said by [`stream`](Self::stream), too.
    pub fn streaming(mut self) -> Self {
        self.set(gen_ai::REQUEST_STREAM, true);
        self
    }

    /// How many documents a retrieval asks for.
    pub fn retrieval_top_k(mut self, top_k: u64) -> Self {
        self.set(gen_ai::RETRIEVAL_TOP_K, whole(top_k));
        self
    }

    /// How many candidates a reranking is given.
    pub fn candidate_count(mut self, count: u64) -> Self {
        self.set(ml::RERANK_CANDIDATE_COUNT, whole(count));
        self
    }
}

/// What an operation of a generative model records.
#[derive(Debug)]
pub struct GenAiRecord {
    labels: Vec<KeyValue>,
    items: Items,
    /// Whether it answers with tokens: other operations have no output to count.
    generates: bool,
}

impl TaskRecord for GenAiRecord {
    fn items(&mut self) -> &mut Items {
        &mut self.items
    }

    fn labels(&self, to: &mut Attributes) {
        to.extend(self.labels.iter().cloned());
    }

    fn stream_key(&self) -> Option<&'static str> {
        self.generates.then_some(gen_ai::REQUEST_STREAM)
    }

    fn yielded(&mut self, gap: Option<Duration>, instruments: Option<&Instruments>) {
        if let (Some(gap), Some(instruments)) = (gap, instruments) {
            instruments
                .gen_ai_client_time_per_output_chunk
                .record(gap.as_secs_f64(), &self.labels);
        }
    }
}

impl Record for GenAiRecord {
    fn record(&mut self, end: &mut End<'_>) {
        self.items.record(end, gen_ai::RESPONSE_TIME_TO_FIRST_CHUNK);
        let output_tokens = end
            .facts()
            .and_then(|facts| facts.integer(gen_ai::USAGE_OUTPUT_TOKENS));
        let lacks_tokens = self.generates && output_tokens.is_none();
        if self.items.is_stream && (lacks_tokens || *end.outcome != Outcome::Ok) {
            end.mark_partial();
        }
        let Some(instruments) = end.instruments else {
            return;
        };
        let mut labels = std::mem::take(&mut self.labels);
        labels.extend(
            end.facts()
                .into_iter()
                .flat_map(|facts| facts.labels(&[gen_ai::RESPONSE_MODEL])),
        );
        if let Some(first) = self.items.first {
            instruments
                .gen_ai_client_time_to_first_chunk
                .record(first.as_secs_f64(), &labels);
        }
        let input_tokens = end
            .facts()
            .and_then(|facts| facts.integer(gen_ai::USAGE_INPUT_TOKENS));
        for (kind, tokens) in [
            (gen_ai::token_type::INPUT, input_tokens),
            (gen_ai::token_type::OUTPUT, output_tokens),
        ] {
            if let Some(tokens) = tokens {
                labels.push(KeyValue::new(gen_ai::TOKEN_TYPE, kind));
                instruments
                    .gen_ai_client_token_usage
                    .record(tokens, &labels);
                labels.pop();
            }
        }
        labels.extend(end.error_label());
        instruments
            .gen_ai_client_operation_duration
            .record(end.duration.as_secs_f64(), &labels);
    }
}
