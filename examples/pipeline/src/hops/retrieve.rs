//! Fourth hop: finds candidates in the index, by words and by vectors.

use std::sync::Arc;

use axum::routing::post;
use axum::{Json, Router, extract::State};
use http::HeaderValue;
use otel_ml::{MlSpan, db, genai, model, stage};
use otel_ml_rdkafka::rdkafka::error::KafkaResult;
use serde::{Deserialize, Serialize};

use super::Hop;
use crate::client::{CallError, Client};
use crate::engine::corpus::Corpus;
use crate::engine::embed::{Embedder, Embedding};
use crate::engine::preprocess::Question;
use crate::engine::retrieve::{Index, Retrieval};
use crate::kafka::{self, Broker, Consuming, Requests, Topics};

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

/// The topics of this hop, where it is asked by Kafka.
pub const TOPICS: Topics = Topics {
    requests: "retrieve-requests",
    replies: "retrieve-replies",
};

/// The same over Kafka, `width` requests at a time: the others wait at the broker.
///
/// # Errors
/// When the broker does not answer.
pub fn consume(
    hop: Hop,
    index: Arc<Index>,
    broker: &Broker,
    width: usize,
) -> KafkaResult<Consuming> {
    let telemetry = hop.telemetry.clone();
    kafka::serve(
        broker,
        &telemetry,
        TOPICS,
        width,
        move |request: Request| {
            let (hop, index) = (hop.clone(), Arc::clone(&index));
            async move { answer(&hop, &index, &request).await }
        },
    )
}

/// How the gateway asks this hop.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Over HTTP.
    Http(Box<Client>),
    /// Over Kafka.
    Kafka(Requests),
}

impl Caller {
    /// Asks.
    ///
    /// # Errors
    /// When there is no answer, or something else than expected.
    pub async fn call(
        &self,
        request_id: Option<&HeaderValue>,
        request: &Request,
    ) -> Result<Retrieval, CallError> {
        match self {
            Self::Http(client) => client.call("/retrieve", request_id, request).await,
            Self::Kafka(requests) => requests.call(request).await,
        }
    }
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
    Json(answer(&hop, &index, &request).await)
}

async fn answer(hop: &Hop, index: &Index, request: &Request) -> Retrieval {
    let work = async {
        hop.wait().await;
        let retrieval = genai::retrieval(COLLECTION).in_process();
        let retrieval = retrieval.retrieval_top_k(request.top_k as u64);
        retrieval.in_scope_infallible(|| {
            let found = search(index, request);
            MlSpan::current().document_count(found.hits.len() as u64);
            found
        })
    };
    stage("retrieve").run_infallible(work).await
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
