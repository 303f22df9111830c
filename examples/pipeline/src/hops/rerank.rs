//! Fifth hop: puts the candidates in a better order.

use std::sync::Arc;

use axum::routing::post;
use axum::{Json, Router, extract::State};
use otel_ml::{MlSpan, model, stage};
use serde::{Deserialize, Serialize};

use super::Hop;
use crate::engine::corpus::Corpus;
use crate::engine::preprocess::Question;
use crate::engine::rerank::{self, Reranking, Weights};
use crate::engine::retrieve::Hit;

/// The model.
const MODEL: &str = "linear-signals";
const VERSION: &str = "2";

/// What is asked of this hop; it answers with a [`Reranking`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// What is asked.
    pub question: Question,
    /// The candidates, in the order in which they were found.
    pub hits: Vec<Hit>,
    /// How many of them are wanted.
    pub top_n: usize,
}

/// Makes the model ready.
pub fn load(hop: &Hop) -> Weights {
    let load = model::load(MODEL)
        .version(VERSION)
        .telemetry(&hop.telemetry);
    load.in_scope_infallible(|| {
        let weights = model::init_weights().size(size_of::<Weights>() as u64);
        weights.in_scope_infallible(Weights::default)
    })
}

/// `POST /rerank`.
pub fn router(hop: Hop, corpus: Arc<Corpus>, weights: Weights) -> Router {
    Router::new()
        .route("/rerank", post(rerank))
        .layer(hop.layer())
        .with_state((hop, corpus, weights))
}

async fn rerank(
    State((hop, corpus, weights)): State<(Hop, Arc<Corpus>, Weights)>,
    Json(request): Json<Request>,
) -> Json<Reranking> {
    let work = async {
        hop.wait().await;
        let Request {
            question,
            hits,
            top_n,
        } = &request;
        let best = rerank::rerank(&weights, &corpus, question, hits, *top_n);
        MlSpan::current()
            .operation("rerank")
            .model(MODEL)
            .model_version(VERSION)
            .candidate_count(hits.len() as u64)
            .output_count(best.ranked.len() as u64)
            .reordered(best.reordered as u64)
            .confidence(best.confidence.into());
        best
    };
    Json(stage("rerank").run_infallible(work).await)
}
