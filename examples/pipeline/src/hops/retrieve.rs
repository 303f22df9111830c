//! Fourth hop: finds candidates in the index, by words and by vectors.

use std::sync::Arc;

use axum::routing::post;
use axum::{Json, Router, extract::State};
use otel_ml::{MlSpan, db, genai, model, stage};
use serde::{Deserialize, Serialize};

use super::Hop;
use crate::engine::corpus::Corpus;
use crate::engine::embed::{Embedder, Embedding};
use crate::engine::preprocess::Question;
use crate::engine::retrieve::{Index, Retrieval};

/// What is searched.
const COLLECTION: &str = "documents";
const STORE: &str = "demo-index";

/// What is asked of this hop; it answers with a [`Retrieval`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// What is asked.
    pub question: Question,
    /// Its vector.
    pub embedding: Embedding,
    /// How many candidates are wanted.
    pub top_k: usize,
}

/// Builds the index.
pub fn load(hop: &Hop, corpus: &Corpus, embedder: &Embedder) -> Arc<Index> {
    let load = model::load(STORE).telemetry(&hop.telemetry);
    load.in_scope_infallible(|| Arc::new(Index::build(corpus, embedder)))
}

/// `POST /retrieve`.
pub fn router(hop: Hop, index: Arc<Index>) -> Router {
    Router::new()
        .route("/retrieve", post(retrieve))
        .layer(hop.layer())
        .with_state((hop, index))
}

async fn retrieve(
    State((hop, index)): State<(Hop, Arc<Index>)>,
    Json(request): Json<Request>,
) -> Json<Retrieval> {
    let work = async {
        hop.wait().await;
        let retrieval = genai::retrieval(COLLECTION).in_process();
        let retrieval = retrieval.retrieval_top_k(request.top_k as u64);
        retrieval.in_scope_infallible(|| {
            let found = search(&index, &request);
            MlSpan::current().document_count(found.hits.len() as u64);
            found
        })
    };
    Json(stage("retrieve").run_infallible(work).await)
}

fn search(index: &Index, request: &Request) -> Retrieval {
    let search = db::vector_search(STORE, COLLECTION)
        .in_process()
        .top_k(request.top_k as u64);
    search.in_scope_infallible(|| {
        // What a vector looks like explains a search that finds nothing.
        let range = request.embedding.range();
        let span = MlSpan::current();
        span.input_shape(&[1, request.embedding.vector.len()])
            .input_dtype("f32")
            .input_range(range.min.into(), range.max.into())
            .input_nan_count(range.nan as u64);
        let found = index.search(&request.question, &request.embedding, request.top_k);
        span.returned_rows(found.hits.len() as u64);
        found
    })
}
