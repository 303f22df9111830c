//! The way in: takes a question, asks the other services, and streams the answer.

mod answer;
mod reply;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::sse::Sse;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, HeaderValue};
use otel_ml::MlSpan;
use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::baggage::{Baggage, BaggageExt as _, KeyValueMetadata};
use otel_ml::opentelemetry::context::FutureExt as _;
use otel_ml::semconv::gen_ai;
use tracing::{error, info};

use super::audit::Audits;
use super::generate::MODEL;
use super::{Hop, PROVIDER, Stage, USER_TIER};
use super::{embed, features, generate, preprocess, rerank, retrieve};
use crate::client::{CallError, Client, REQUEST_ID};
use crate::engine::embed::Embedding;
use crate::engine::features::UserFeatures;
use crate::engine::preprocess::Question;
use crate::engine::rerank::Reranking;
use crate::engine::retrieve::Retrieval;
use crate::openai::{ChatRequest, Completion};
use crate::problem::{Problem, unknown_route, wrong_method};
use crate::rpc::Rpc;
use answer::{Pieces, answer};
use reply::{chunks, whole};

/// Candidates that are reranked.
const CANDIDATES: usize = 20;

/// The services behind the gateway.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is the service of that name")]
pub struct Backends {
    pub preprocess: Client,
    pub features: Client,
    pub embed: Way,
    pub retrieve: retrieve::Caller,
    pub rerank: Client,
    pub generate: Way,
    pub postprocess: Client,
    /// Where answers are told of, if they are audited.
    pub audits: Option<Audits>,
}

/// How a service is called that offers both.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are two in a program")]
pub enum Way {
    /// By HTTP.
    Http(Client),
    /// By gRPC.
    Grpc(Rpc),
}

impl Way {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Http(client) => client.address(),
            Self::Grpc(rpc) => rpc.address(),
        }
    }
}

/// `POST /v1/chat/completions` and `GET /healthz`.
pub fn router(hop: Hop, backends: Backends) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/healthz", get(async || "ok\n"))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(hop.layer())
        .with_state((hop, Arc::new(backends)))
}

async fn chat(
    State((hop, backends)): State<(Hop, Arc<Backends>)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body =
        body.map_err(|error| Problem::new(error.status(), "invalid_body", error.body_text()))?;
    let request = ChatRequest::parse(&body)?;
    let id = format!("chatcmpl-{:032x}", fastrand::u128(..));
    let span = MlSpan::current();
    span.gen_ai_operation(gen_ai::operation::CHAT)
        .provider(PROVIDER)
        .request_model(MODEL)
        .response_model(MODEL)
        .response_id(id.clone())
        .stage_count(Stage::ALL.len() as u64 - 1);
    if let Some(temperature) = request.temperature {
        span.temperature(temperature);
    }
    // How long it is, and not what it says: logs are no place for what users write.
    let question_characters = request.question().chars().count();
    info!(
        question_characters,
        stream = request.stream,
        "request taken"
    );
    hop.wait().await;
    let request_id = headers.get(REQUEST_ID).cloned();
    let pieces = begin(backends, &request, id.clone(), request_id).await;
    let pieces = pieces.map_err(|error| failure(&error))?;
    if request.stream {
        let chunk = Completion::new(id, "chat.completion.chunk");
        let chunks = chunks(chunk, pieces, request.includes_usage());
        Ok(Sse::new(chunks).into_response())
    } else {
        let completion = Completion::new(id, "chat.completion");
        let completion = whole(completion, pieces).await;
        let completion = completion.map_err(|error| failure(&error))?;
        Ok(Json(completion).into_response())
    }
}

/// Everything up to the first token, whose failure still has a status of its own.
async fn begin(
    backends: Arc<Backends>,
    request: &ChatRequest,
    response_id: String,
    request_id: Option<HeaderValue>,
) -> Result<Pieces, CallError> {
    let id = request_id.as_ref();
    let ask = preprocess::Request {
        question: request.question(),
    };
    let question: Question = backends.preprocess.call("/preprocess", id, &ask).await?;
    let ask = features::Request {
        user: request.user().to_owned(),
    };
    let user: UserFeatures = backends.features.call("/features", id, &ask).await?;

    let wanted = request
        .max_tokens
        .map(|max| usize::try_from(max).unwrap_or(usize::MAX));
    let max_tokens = user.max_answer_tokens.min(wanted.unwrap_or(usize::MAX));
    MlSpan::current()
        .user_tier(user.tier.as_str())
        .max_tokens(max_tokens as u64);
    // From here on every hop learns the tier, from the baggage that travels with the trace.
    let cx = with_member(&Context::current(), USER_TIER, user.tier.as_str());

    let best = find(&backends, id, &question, user.context_passages);
    let best = best.with_context(cx.clone()).await?;
    let ask = generate::Request {
        question,
        ranked: best.ranked,
        max_tokens,
        response_id,
    };
    let pieces = answer(backends, ask, best.confidence, request_id);
    let mut pieces: Pieces = Box::pin(pieces.with_context(cx));
    let first = pieces.try_next().await?;
    Ok(Box::pin(
        futures_util::stream::iter(first.map(Ok)).chain(pieces),
    ))
}

/// `cx` with one more member of the baggage: `with_baggage` alone would lose the others.
fn with_member(cx: &Context, key: &'static str, value: &'static str) -> Context {
    let known = cx.baggage().iter().map(|(key, (value, metadata))| {
        KeyValueMetadata::new(key.clone(), value.clone(), metadata.as_str())
    });
    let mut baggage: Baggage = known.collect();
    let _ = baggage.insert(key, value);
    cx.with_baggage(baggage)
}

/// The passages to answer from.
async fn find(
    backends: &Backends,
    id: Option<&HeaderValue>,
    question: &Question,
    top_n: usize,
) -> Result<Reranking, CallError> {
    let embedding: Embedding = match &backends.embed {
        Way::Grpc(rpc) => rpc.embed(&question.text, id).await?,
        Way::Http(client) => {
            let text = question.text.clone();
            client.call("/embed", id, &embed::Request { text }).await?
        }
    };
    let ask = retrieve::Request {
        question: question.clone(),
        embedding,
        top_k: CANDIDATES,
    };
    let found: Retrieval = backends.retrieve.call(id, &ask).await?;
    let ask = rerank::Request {
        question: question.clone(),
        hits: found.hits,
        top_n,
    };
    backends.rerank.call("/rerank", id, &ask).await
}

/// What the client is told of a call that came to nothing, and the span whether it is worth a retry.
fn failure(error: &CallError) -> Problem {
    match error {
        CallError::Refused { status, .. } if status.is_client_error() => {
            info!(%status, "request refused");
        }
        error => {
            let is_transient = !matches!(error, CallError::Unexpected { .. });
            MlSpan::current().error_transient(is_transient);
            error!(%error, is_transient, "no answer");
        }
    }
    Problem::from(error)
}
