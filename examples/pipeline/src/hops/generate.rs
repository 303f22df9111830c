//! Sixth hop: answers token by token, as a stream of server-sent events or of gRPC's messages.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use axum::response::sse::{self, Sse};
use axum::routing::post;
use axum::{Json, Router, extract::State};
use futures_util::{Stream, StreamExt as _};
use otel_ml::semconv::{gen_ai, ml};
use otel_ml::{MlSpan, stage};
use serde::{Deserialize, Serialize};
use tracing::info;

use super::{Hop, PROVIDER, pause};
use crate::engine::compose::Source;
use crate::engine::corpus::Corpus;
use crate::engine::generate::{self, FinishReason, Generation};
use crate::engine::preprocess::Question;
use crate::engine::rerank::Ranked;
use crate::rpc::proto;
use crate::rpc::proto::generator_server::GeneratorServer;

/// The model.
pub const MODEL: &str = "extractive-1";

/// What is asked of this hop; it answers with a stream of [`Event`]s.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// What is asked.
    pub question: Question,
    /// The passages to answer from, the best first.
    pub ranked: Vec<Ranked>,
    /// The longest answer.
    pub max_tokens: usize,
    /// The name of the answer.
    pub response_id: String,
}

/// A piece of the answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The next token.
    Token(String),
    /// The end: nothing follows.
    End(End),
}

/// What is known once all tokens are given out.
#[derive(Debug, Serialize, Deserialize)]
pub struct End {
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens of the question and the passages.
    pub input_tokens: u64,
    /// Tokens given out.
    pub output_tokens: u64,
    /// What was quoted.
    pub sources: Vec<Source>,
}

/// What this hop works with.
#[derive(Clone, Debug)]
pub struct Generator {
    /// As every hop.
    pub hop: Hop,
    /// What is quoted.
    pub corpus: Arc<Corpus>,
    /// How long a token takes.
    pub token_delay: Duration,
}

/// `POST /generate`, and `pipeline.Generator/Generate` by gRPC.
pub fn router(generator: Generator) -> Router {
    let rpc = generator.hop.rpc(GeneratorServer::new(generator.clone()));
    Router::new()
        .route("/generate", post(generate))
        .layer(generator.hop.layer())
        .with_state(generator)
        .merge(rpc)
}

async fn generate(
    State(generator): State<Generator>,
    Json(request): Json<Request>,
) -> Sse<impl Stream<Item = Result<sse::Event, axum::Error>>> {
    let events = generator.events(request);
    Sse::new(events.map(|event| sse::Event::default().json_data(event)))
}

#[tonic::async_trait]
impl proto::generator_server::Generator for Generator {
    type GenerateStream = Pin<Box<dyn Stream<Item = Result<proto::Event, tonic::Status>> + Send>>;

    async fn generate(
        &self,
        request: tonic::Request<proto::GenerateRequest>,
    ) -> Result<tonic::Response<Self::GenerateStream>, tonic::Status> {
        let request = Request::try_from(request.into_inner())?;
        let events = self.clone().events(request);
        let events = events.map(|event| Ok(event.into()));
        Ok(tonic::Response::new(Box::pin(events)))
    }
}

impl Generator {
    /// The answer, however it is sent. Nothing is generated before it is asked for: when the
    /// caller goes away, the body is dropped, and with it this stream. What was written to the
    /// spans by then stays.
    fn events(self, request: Request) -> impl Stream<Item = Event> + Send + use<> {
        let served = MlSpan::current();
        served
            .gen_ai_operation(gen_ai::operation::CHAT)
            .provider(PROVIDER)
            .request_model(MODEL)
            .response_model(MODEL)
            .response_id(request.response_id.clone())
            .max_tokens(request.max_tokens as u64);
        stage("generate").stream_infallible(stream! {
            self.hop.wait().await;
            let mut generation = prefill(&self.corpus, &request);
            served.input_tokens(generation.prompt_tokens() as u64);
            info!(input_tokens = generation.prompt_tokens(), "generation started");
            while let Some(token) = generation.next() {
                pause(self.token_delay).await;
                served.first_token().output_tokens(generation.output_tokens() as u64);
                yield Event::Token(token);
            }
            let end = end(&generation);
            served.finish_reasons([end.finish_reason.as_str()]);
            let (reason, output_tokens) = (end.finish_reason.as_str(), end.output_tokens);
            info!(output_tokens, finish_reason = reason, "generation finished");
            yield Event::End(end);
        })
    }
}

/// Reads the passages and finds what to say: no token can be given out before.
fn prefill(corpus: &Corpus, request: &Request) -> Generation {
    stage("prefill").in_scope_infallible(|| {
        let Request {
            question,
            ranked,
            max_tokens,
            ..
        } = request;
        let generation = generate::generate(corpus, question, ranked, *max_tokens);
        MlSpan::current()
            .inference_phase(ml::phase::PREFILL)
            .input_tokens(generation.prompt_tokens() as u64);
        generation
    })
}

fn end(generation: &Generation) -> End {
    End {
        finish_reason: generation.finish_reason().unwrap_or(FinishReason::Stop),
        input_tokens: generation.prompt_tokens() as u64,
        output_tokens: generation.output_tokens() as u64,
        sources: generation.sources(),
    }
}
