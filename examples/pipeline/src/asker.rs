//! Asks the gateway, as any client of an OpenAI-shaped service would, in a trace of its own.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use http::HeaderValue;
use otel_ml::opentelemetry::trace::TraceId;
use otel_ml::{MlSpan, Telemetry, stage};
use thiserror::Error;

use crate::client::{CallError, Client};
use crate::engine::compose::Source;
use crate::engine::generate::FinishReason;
use crate::openai::{ChatRequest, Completion, Message, StreamOptions, Usage};
use crate::problem::ProblemBody;
use crate::telemetry::{Ended, Outputs, Traces};

/// The name of the asking service.
pub const SERVICE: &str = "client";
/// The name of the span around a question and its answer: the root of its trace.
pub const ROOT: &str = "ask";

/// How long to wait for the last spans of a trace once the answer is there.
const PATIENCE: Duration = Duration::from_secs(10);
const PATH: &str = "/v1/chat/completions";

/// The client of one gateway.
#[derive(Clone, Debug)]
pub struct Asker {
    client: Client,
    telemetry: Telemetry,
    traces: Arc<Traces>,
}

/// A question that was asked.
#[derive(Debug)]
pub struct Asked {
    /// Its trace, as known before the request was sent.
    pub trace: TraceId,
    /// Until the answer was complete.
    pub took: Duration,
    /// The answer.
    pub reply: Result<Reply, AskError>,
    /// All spans of its trace, in the order in which they ended.
    pub spans: Vec<Ended>,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// All tokens.
    pub text: String,
    /// In how many chunks they came.
    pub chunks: u64,
    /// What it quotes.
    pub sources: Vec<Source>,
    /// How far to trust it, from 0 to 1.
    pub confidence: f32,
    /// Why it ended.
    pub finish_reason: Option<FinishReason>,
    /// How many tokens it took.
    pub usage: Usage,
}

/// Why there is no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AskError {
    /// The gateway did not answer, or refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The gateway said in the middle of the answer that it can't go on.
    #[error("the answer broke off: {0}")]
    BrokenOff(String),
}

impl Asker {
    /// A client of the gateway at `address`.
    pub fn new(outputs: &Outputs, address: std::net::SocketAddr) -> Self {
        let telemetry = outputs.telemetry(SERVICE);
        Self {
            client: Client::new(&telemetry, address),
            telemetry,
            traces: Arc::clone(outputs.traces()),
        }
    }

    /// Asks `question` for `user` and hands each token to `on_token` as it comes.
    pub async fn ask(&self, question: &str, user: &str, on_token: impl FnMut(&str)) -> Asked {
        let begun = Instant::now();
        let mut trace = TraceId::INVALID;
        let mut following = None;
        let work = async {
            if let Some(root) = MlSpan::current().span_context() {
                trace = root.trace_id();
                following = Some(self.traces.follow(trace));
            }
            self.exchange(trace, question, user, on_token).await
        };
        let reply = stage(ROOT).telemetry(&self.telemetry).run(work).await;
        let took = begun.elapsed();
        let spans = match following {
            Some(following) => following.spans(PATIENCE).await,
            None => Vec::new(),
        };
        Asked {
            trace,
            took,
            reply,
            spans,
        }
    }

    async fn exchange(
        &self,
        trace: TraceId,
        question: &str,
        user: &str,
        mut on_token: impl FnMut(&str),
    ) -> Result<Reply, AskError> {
        let request = ChatRequest {
            messages: vec![Message::new("user", question.to_owned())],
            stream: true,
            stream_options: Some(StreamOptions {
                include_usage: true,
            }),
            user: Some(user.to_owned()),
            ..ChatRequest::default()
        };
        // The same by another way than the trace's: what differs in the end was mixed up.
        let id = HeaderValue::from_str(&trace.to_string()).ok();
        let events = self.client.events(PATH, id.as_ref(), &request).await?;
        let mut events = pin!(events);
        let mut reply = Reply::default();
        while let Some(data) = events.try_next().await? {
            if data != "[DONE]" {
                reply.add(&data, &mut on_token)?;
            }
        }
        let is_complete = reply.finish_reason.is_some();
        is_complete
            .then_some(reply)
            .ok_or(CallError::Cut { path: PATH }.into())
    }
}

impl Reply {
    fn add(&mut self, data: &str, on_token: &mut impl FnMut(&str)) -> Result<(), AskError> {
        if let Ok(problem) = serde_json::from_str::<ProblemBody>(data) {
            return Err(AskError::BrokenOff(problem.error.message));
        }
        let chunk: Completion = serde_json::from_str(data)
            .map_err(|source| CallError::Unexpected { path: PATH, source })?;
        for choice in chunk.choices {
            self.finish_reason = self.finish_reason.or(choice.finish_reason);
            if let Some(token) = choice.delta.and_then(|delta| delta.content) {
                on_token(&token);
                self.chunks += 1;
                self.text.push_str(&token);
            }
        }
        self.usage = chunk.usage.unwrap_or(self.usage);
        self.confidence = chunk.confidence.unwrap_or(self.confidence);
        if let Some(sources) = chunk.sources {
            self.sources = sources;
        }
        Ok(())
    }
}
