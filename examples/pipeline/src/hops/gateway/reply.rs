//! The answer as OpenAI's clients expect it, as a stream or in one piece.

use async_stream::stream;
use axum::response::sse::Event;
use futures_util::{Stream, TryStreamExt as _};

use super::answer::{Done, Piece, Pieces};
use super::failure;
use crate::client::CallError;
use crate::openai::{Choice, Completion, Delta, Message, Usage};

/// The answer as OpenAI streams it.
pub(super) fn chunks(
    chunk: Completion,
    pieces: Pieces,
    has_usage: bool,
) -> impl Stream<Item = Result<Event, CallError>> + Send {
    stream! {
        let mut role = Some("assistant".to_owned());
        for await piece in pieces {
            match piece {
                Ok(Piece::Token(token)) => {
                    let delta = Delta { role: role.take(), content: Some(token) };
                    yield event(&chunk.with_delta(delta, None));
                }
                Ok(Piece::Done(done)) => {
                    let Done { answer, end } = *done;
                    let mut last = chunk.with_delta(Delta::default(), Some(end.finish_reason));
                    last.sources = Some(answer.sources);
                    last.confidence = Some(answer.confidence);
                    yield event(&last);
                    if has_usage {
                        let usage = Some(Usage::new(end.input_tokens, end.output_tokens));
                        yield event(&Completion { usage, ..chunk.clone() });
                    }
                    yield Ok(Event::default().data("[DONE]"));
                }
                Err(error) => {
                    // The status is long gone: the client is told here, and the connection breaks;
                    // only while it waits does hyper send what it has.
                    yield event(&failure(&error).into_body());
                    tokio::task::yield_now().await;
                    yield Err(error);
                }
            }
        }
    }
}

fn event(data: &impl serde::Serialize) -> Result<Event, CallError> {
    let data = serde_json::to_string(data);
    let data = data.map_err(|source| CallError::Unexpected {
        path: "/v1/chat/completions",
        source,
    })?;
    Ok(Event::default().data(data))
}

/// The answer in one piece.
pub(super) async fn whole(
    completion: Completion,
    mut pieces: Pieces,
) -> Result<Completion, CallError> {
    let mut done = None;
    while let Some(piece) = pieces.try_next().await? {
        if let Piece::Done(last) = piece {
            done = Some(last);
        }
    }
    let Done { answer, end } = *done.ok_or(CallError::Cut { path: "/generate" })?;
    let choice = Choice {
        index: 0,
        message: Some(Message::new("assistant", answer.text)),
        delta: None,
        finish_reason: Some(end.finish_reason),
    };
    Ok(Completion {
        choices: vec![choice],
        usage: Some(Usage::new(end.input_tokens, end.output_tokens)),
        sources: Some(answer.sources),
        confidence: Some(answer.confidence),
        ..completion
    })
}
