//! Fifth hop: puts the candidates in a better order, of several requests at once.

mod batcher;

use std::sync::Arc;

use axum::routing::post;
use axum::{Json, Router, extract::State};
use http::StatusCode;
use otel_ml::{MlSpan, model, stage};
use serde::{Deserialize, Serialize};

use super::Hop;
use crate::engine::corpus::Corpus;
use crate::engine::preprocess::Question;
use crate::engine::rerank::{self, Reranking, Weights};
use crate::engine::retrieve::Hit;
use crate::problem::Problem;
use batcher::{BatchLost, Batcher};

/// The model.
const MODEL: &str = "linear-signals";
const VERSION: &str = "2";

/// Who works, and on how much at a time.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Batches at the same time.
    pub workers: usize,
    /// Requests in a batch.
    pub batch: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            workers: 2,
            batch: 8,
        }
    }
}

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
pub fn router(hop: Hop, corpus: Arc<Corpus>, weights: Weights, pool: Pool) -> Router {
    let model = move |request: &Request| {
        let Request {
            question,
            hits,
            top_n,
        } = request;
        rerank::rerank(&weights, &corpus, question, hits, *top_n)
    };
    let batcher = Batcher::start(&hop, MODEL, pool, model);
    Router::new()
        .route("/rerank", post(rerank))
        .layer(hop.layer())
        .with_state(Arc::new(batcher))
}

async fn rerank(
    State(batcher): State<Arc<Batcher<Request, Reranking>>>,
    Json(request): Json<Request>,
) -> Result<Json<Reranking>, Problem> {
    let work = async {
        let candidates = request.hits.len() as u64;
        let best = batcher.ask(request).await?;
        MlSpan::current()
            .operation("rerank")
            .model(MODEL)
            .model_version(VERSION)
            .candidate_count(candidates)
            .output_count(best.ranked.len() as u64)
            .reordered(best.reordered as u64)
            .confidence(best.confidence.into());
        Ok(best)
    };
    let best = stage("rerank").run(work).await;
    best.map(Json).map_err(|error: BatchLost| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "batch_lost",
            error.to_string(),
        )
    })
}
