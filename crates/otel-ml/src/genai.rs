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

use crate::attributes::Attributes;
use crate::instruments::{Instruments, Labels};
use crate::ml_span::{texts, whole};
use crate::operation::{End, Record};
use crate::outcome::Outcome;
use crate::stream::Items;
use crate::task::{Task, TaskRecord, name_of};

/// An operation of a generative model.
pub type GenAi = Task<GenAiRecord>;

/// A chat completion by `model` of `provider` (see [`gen_ai::provider`]).
#[inline]
pub fn chat(provider: impl Into<StringValue>, model: impl Into<StringValue>) -> GenAi {
    operation(gen_ai::operation::CHAT, provider.into(), model.into())
}

/// A text completion.
#[inline]
pub fn text_completion(provider: impl Into<StringValue>, model: impl Into<StringValue>) -> GenAi {
    operation(
        gen_ai::operation::TEXT_COMPLETION,
        provider.into(),
        model.into(),
    )
}

/// The embedding of texts.
#[inline]
pub fn embeddings(provider: impl Into<StringValue>, model: impl Into<StringValue>) -> GenAi {
    operation(gen_ai::operation::EMBEDDINGS, provider.into(), model.into())
}

/// The retrieval of documents from `data_source`.
#[inline]
pub fn retrieval(data_source: impl Into<StringValue>) -> GenAi {
    task(GenAiRecord {
        data_source: Some(data_source.into()),
        ..GenAiRecord::new(gen_ai::operation::RETRIEVAL)
    })
}

/// The reranking of candidates by `model`. The conventions have no value for it yet; the
/// operation's name is `rerank`.
#[inline]
pub fn rerank(provider: impl Into<StringValue>, model: impl Into<StringValue>) -> GenAi {
    operation(ml::operation::RERANK, provider.into(), model.into())
}

#[inline]
fn operation(name: &'static str, provider: StringValue, model: StringValue) -> GenAi {
    task(GenAiRecord {
        provider: Some(provider),
        model: Some(model),
        ..GenAiRecord::new(name)
    })
}

#[inline]
fn task(record: GenAiRecord) -> GenAi {
    Task::new(SpanKind::Client, record)
}

impl GenAi {
    /// The model runs in this process: the span is INTERNAL.
    #[inline]
    pub fn in_process(mut self) -> Self {
        self.kind = SpanKind::Internal;
        self
    }

    /// Where the model is asked. Metric labels.
    #[inline]
    pub fn server(mut self, address: impl Into<StringValue>, port: u16) -> Self {
        self.record.server = Some((address.into(), port));
        self
    }

    /// The most tokens to generate.
    #[inline]
    pub fn max_tokens(mut self, tokens: u64) -> Self {
        self.set(gen_ai::REQUEST_MAX_TOKENS, whole(tokens));
        self
    }

    /// The sampling temperature; zero is a value.
    #[inline]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.set(gen_ai::REQUEST_TEMPERATURE, temperature);
        self
    }

    /// The `top_p` setting.
    #[inline]
    pub fn top_p(mut self, top_p: f64) -> Self {
        self.set(gen_ai::REQUEST_TOP_P, top_p);
        self
    }

    /// The `top_k` sampling setting of a generative model.
    #[inline]
    pub fn top_k(mut self, top_k: u64) -> Self {
        self.set(gen_ai::REQUEST_TOP_K, whole(top_k));
        self
    }

    /// The seed.
    #[inline]
    pub fn seed(mut self, seed: i64) -> Self {
        self.set(gen_ai::REQUEST_SEED, seed);
        self
    }

    /// How many answers are asked for; one, which is usual, is not recorded.
    #[inline]
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
    #[inline]
    pub fn streaming(mut self) -> Self {
        self.set(gen_ai::REQUEST_STREAM, true);
        self
    }

    /// How many documents a retrieval asks for.
    #[inline]
    pub fn retrieval_top_k(mut self, top_k: u64) -> Self {
        self.set(gen_ai::RETRIEVAL_TOP_K, whole(top_k));
        self
    }

    /// How many candidates a reranking is given.
    #[inline]
    pub fn candidate_count(mut self, count: u64) -> Self {
        self.set(ml::RERANK_CANDIDATE_COUNT, whole(count));
        self
    }
}

/// What an operation of a generative model records.
#[derive(Debug)]
pub struct GenAiRecord {
    operation: &'static str,
    provider: Option<StringValue>,
    model: Option<StringValue>,
    /// Where a retrieval looks: no label.
    data_source: Option<StringValue>,
    server: Option<(StringValue, u16)>,
    /// The labels of the time between two chunks, once there was one.
    chunk_labels: Vec<KeyValue>,
    items: Items,
}

impl GenAiRecord {
    const fn new(operation: &'static str) -> Self {
        Self {
            operation,
            provider: None,
            model: None,
            data_source: None,
            server: None,
            chunk_labels: Vec::new(),
            items: Items {
                is_stream: false,
                count: 0,
                first: None,
                last: Duration::ZERO,
            },
        }
    }

    /// Whether it answers with tokens: other operations have no output to count.
    fn generates(&self) -> bool {
        [gen_ai::operation::CHAT, gen_ai::operation::TEXT_COMPLETION].contains(&self.operation)
    }

    fn labels(&self) -> impl Iterator<Item = KeyValue> {
        let (provider, model) = (self.provider.clone(), self.model.clone());
        labels(self.operation, provider, model, self.server.clone())
    }

    /// The labels at the end, when nothing else is made of what they hold.
    fn take_labels(&mut self) -> impl Iterator<Item = KeyValue> {
        let (provider, model) = (self.provider.take(), self.model.take());
        labels(self.operation, provider, model, self.server.take())
    }
}

fn labels(
    operation: &'static str,
    provider: Option<StringValue>,
    model: Option<StringValue>,
    server: Option<(StringValue, u16)>,
) -> impl Iterator<Item = KeyValue> {
    let (address, port) = server.unzip();
    [
        Some(KeyValue::new(gen_ai::OPERATION_NAME, operation)),
        provider.map(|provider| KeyValue::new(gen_ai::PROVIDER_NAME, provider)),
        model.map(|model| KeyValue::new(gen_ai::REQUEST_MODEL, model)),
        address.map(|address| KeyValue::new(server::ADDRESS, address)),
        port.map(|port| KeyValue::new(server::PORT, i64::from(port))),
    ]
    .into_iter()
    .flatten()
}

impl TaskRecord for GenAiRecord {
    fn name(&self) -> Cow<'static, str> {
        let target = self.model.as_ref().or(self.data_source.as_ref());
        name_of(self.operation, target.map_or("", StringValue::as_str))
    }

    fn items(&mut self) -> &mut Items {
        &mut self.items
    }

    fn labels(&self, to: &mut Attributes) {
        to.extend(self.labels());
        if let Some(data_source) = &self.data_source {
            to.push(gen_ai::DATA_SOURCE_ID, data_source.clone());
        }
    }

    fn stream_key(&self) -> Option<&'static str> {
        self.generates().then_some(gen_ai::REQUEST_STREAM)
    }

    fn yielded(&mut self, gap: Option<Duration>, instruments: Option<&Instruments>) {
        if let (Some(gap), Some(instruments)) = (gap, instruments) {
            if self.chunk_labels.is_empty() {
                self.chunk_labels = self.labels().collect();
            }
            instruments
                .gen_ai_client_time_per_output_chunk
                .record(gap.as_secs_f64(), &self.chunk_labels);
        }
    }
}

impl Record for GenAiRecord {
    fn record(&mut self, end: &mut End<'_>) {
        self.items.record(end, gen_ai::RESPONSE_TIME_TO_FIRST_CHUNK);
        let output_tokens = end
            .facts()
            .and_then(|facts| facts.integer(gen_ai::USAGE_OUTPUT_TOKENS));
        let lacks_tokens = self.generates() && output_tokens.is_none();
        if self.items.is_stream && (lacks_tokens || *end.outcome != Outcome::Ok) {
            end.mark_partial();
        }
        let Some(instruments) = end.instruments else {
            return;
        };
        let mut labels: Labels = self.take_labels().collect();
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
