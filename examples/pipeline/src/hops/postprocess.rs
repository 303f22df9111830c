//! Last hop: tidies the answer up and says how far to trust it.

use std::sync::Arc;

use axum::routing::post;
use axum::{Json, Router, extract::State};
use otel_ml::{MlSpan, stage};
use serde::{Deserialize, Serialize};

use super::Hop;
use crate::engine::corpus::Corpus;
use crate::engine::postprocess::{self, Answer, Draft};
use crate::engine::preprocess::Question;

/// What is asked of this hop; it answers with an [`Answer`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// What is asked.
    pub question: Question,
    /// What was generated.
    pub draft: Draft,
}

/// `POST /postprocess`.
pub fn router(hop: Hop, corpus: Arc<Corpus>) -> Router {
    Router::new()
        .route("/postprocess", post(postprocess))
        .layer(hop.layer())
        .with_state((hop, corpus))
}

async fn postprocess(
    State((hop, corpus)): State<(Hop, Arc<Corpus>)>,
    Json(request): Json<Request>,
) -> Json<Answer> {
    let work = async {
        hop.wait().await;
        let answer = postprocess::finish(&corpus, &request.question, request.draft);
        MlSpan::current()
            .confidence(answer.confidence.into())
            .output_size(answer.text.chars().count() as u64)
            .output_count(answer.sources.len() as u64);
        answer
    };
    Json(stage("postprocess").run_infallible(work).await)
}
