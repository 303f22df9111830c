//! The answer, piece by piece: what the generator streams, and what follows it.

use std::pin::Pin;
use std::sync::Arc;

use async_stream::try_stream;
use futures_util::{Stream, StreamExt as _};
use http::HeaderValue;
use otel_ml::{MlSpan, genai};

use super::{Backends, Way};
use crate::client::CallError;
use crate::engine::postprocess::{Answer, Draft};
use crate::hops::generate::{self, End, MODEL};
use crate::hops::{PROVIDER, audit, postprocess};

/// A piece of the answer.
pub(super) enum Piece {
    Token(String),
    Done(Box<Done>),
}

pub(super) struct Done {
    pub(super) answer: Answer,
    pub(super) end: End,
}

pub(super) type Pieces = Pin<Box<dyn Stream<Item = Result<Piece, CallError>> + Send>>;

/// The answer, piece by piece, as they are asked for.
pub(super) fn answer(
    backends: Arc<Backends>,
    ask: generate::Request,
    confidence: f32,
    request_id: Option<HeaderValue>,
) -> impl Stream<Item = Result<Piece, CallError>> + Send {
    try_stream! {
        let span = MlSpan::current();
        let mut events = generation(&backends.generate, &ask, request_id.as_ref());
        let (mut text, mut tokens, mut end) = (String::new(), 0, None);
        while let Some(event) = events.next().await {
            match event? {
                generate::Event::Token(token) => {
                    tokens += 1;
                    text.push_str(&token);
                    span.first_token().output_tokens(tokens);
                    yield Piece::Token(token);
                }
                generate::Event::End(told) => end = Some(told),
            }
        }
        let end: End = end.ok_or(CallError::Cut { path: "/generate" })?;
        span.input_tokens(end.input_tokens).finish_reasons([end.finish_reason.as_str()]);
        let response_id = ask.response_id.clone();
        let ask = postprocess::Request {
            question: ask.question.clone(),
            draft: Draft {
                text,
                sources: end.sources.clone(),
                finish_reason: end.finish_reason,
                confidence,
            },
        };
        let answer: Answer = backends.postprocess.call("/postprocess", request_id.as_ref(), &ask).await?;
        span.confidence(answer.confidence.into());
        if let Some(audits) = &backends.audits {
            audits.publish(&job(response_id, &answer)).await;
        }
        yield Piece::Done(Box::new(Done { answer, end }));
    }
}

fn job(response_id: String, answer: &Answer) -> audit::Job {
    audit::Job {
        response_id,
        confidence: answer.confidence,
        sources: answer.sources.iter().map(|source| source.number).collect(),
        text: answer.text.clone(),
    }
}

/// The call of the model, as an operation of its client that lasts as long as the stream.
fn generation<'a>(
    generator: &'a Way,
    ask: &'a generate::Request,
    id: Option<&'a HeaderValue>,
) -> Pin<Box<dyn Stream<Item = Result<generate::Event, CallError>> + Send + 'a>> {
    let events = try_stream! {
        // The operation around this stream.
        let span = MlSpan::current();
        span.response_model(MODEL).response_id(ask.response_id.clone());
        let mut tokens = 0;
        for await event in events(generator, ask, id).await? {
            let event = event?;
            match &event {
                generate::Event::Token(_) => {
                    tokens += 1;
                    span.output_tokens(tokens);
                }
                generate::Event::End(end) => {
                    span.input_tokens(end.input_tokens).finish_reasons([end.finish_reason.as_str()]);
                }
            }
            yield event;
        }
    };
    let chat = genai::chat(PROVIDER, MODEL)
        .server(
            generator.address().ip().to_string(),
            generator.address().port(),
        )
        .max_tokens(ask.max_tokens as u64)
        .streaming();
    Box::pin(chat.stream(events))
}

type Events = Pin<Box<dyn Stream<Item = Result<generate::Event, CallError>> + Send>>;

async fn events(
    generator: &Way,
    ask: &generate::Request,
    id: Option<&HeaderValue>,
) -> Result<Events, CallError> {
    let path = "/generate";
    Ok(match generator {
        Way::Grpc(rpc) => Box::pin(rpc.generate(ask, id).await?),
        Way::Http(client) => {
            let events = client.events(path, id, ask).await?;
            Box::pin(events.map(move |data| {
                let event = serde_json::from_str(&data?);
                event.map_err(|source| CallError::Unexpected { path, source })
            }))
        }
    })
}
