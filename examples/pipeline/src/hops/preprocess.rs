//! First hop: cleans the question up, or refuses it.

use axum::routing::post;
use axum::{Json, Router, extract::State};
use otel_ml::{MlSpan, stage};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Hop;
use crate::engine::preprocess::Question;
use crate::problem::Problem;

/// What is asked of this hop; it answers with a [`Question`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// The question as the user wrote it.
    pub question: String,
}

/// `POST /preprocess`.
pub fn router(hop: Hop) -> Router {
    Router::new()
        .route("/preprocess", post(preprocess))
        .layer(hop.layer())
        .with_state(hop)
}

async fn preprocess(
    State(hop): State<Hop>,
    Json(request): Json<Request>,
) -> Result<Json<Question>, Problem> {
    let work = async {
        hop.wait().await;
        let span = MlSpan::current();
        span.input_size(request.question.chars().count() as u64);
        let question = Question::parse(&request.question)?;
        span.input_class(question.class.as_str());
        Ok(question)
    };
    match stage("preprocess").run(work).await {
        Ok(question) => Ok(Json(question)),
        Err(error) => Err(refusal(&error)),
    }
}

fn refusal(error: &crate::engine::preprocess::QuestionError) -> Problem {
    warn!(%error, "question refused");
    Problem::invalid("invalid_question", error.to_string())
}
