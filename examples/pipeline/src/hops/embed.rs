//! Third hop: turns the question into a vector.

use std::sync::Arc;

use axum::routing::post;
use axum::{Json, Router, extract::State};
use otel_ml::semconv::ml;
use otel_ml::{MlSpan, genai, model, stage};
use serde::{Deserialize, Serialize};

use super::{Hop, PROVIDER};
use crate::engine::corpus::Corpus;
use crate::engine::embed::{Embedder, Embedding};
use crate::rpc::proto;
use crate::rpc::proto::embedder_server::EmbedderServer;

/// The embedding model.
pub const MODEL: &str = "hashed-terms-384";
const VERSION: &str = "1";

/// What is asked of this hop; it answers with an [`Embedding`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// What to embed.
    pub text: String,
}

/// Makes the model ready: it learns from the corpus which words are rare.
pub fn load(hop: &Hop, corpus: &Corpus) -> Arc<Embedder> {
    let load = model::load(MODEL)
        .version(VERSION)
        .telemetry(&hop.telemetry);
    load.in_scope_infallible(|| {
        model::init_weights().in_scope_infallible(|| {
            let embedder = Embedder::fit(corpus);
            // Known only now.
            let bytes = i64::try_from(embedder.bytes()).unwrap_or(i64::MAX);
            MlSpan::current().set(ml::MODEL_SIZE, bytes);
            Arc::new(embedder)
        })
    })
}

/// `POST /embed`, and `pipeline.Embedder/Embed` by gRPC.
pub fn router(hop: Hop, embedder: Arc<Embedder>) -> Router {
    let rpc = hop.rpc(EmbedderServer::new(Served {
        hop: hop.clone(),
        embedder: Arc::clone(&embedder),
    }));
    let http = Router::new().route("/embed", post(embed));
    let http = http.layer(hop.layer()).with_state(Served { hop, embedder });
    http.merge(rpc)
}

#[derive(Clone)]
struct Served {
    hop: Hop,
    embedder: Arc<Embedder>,
}

impl Served {
    async fn embed(&self, text: &str) -> Embedding {
        let work = async {
            self.hop.wait().await;
            let embeddings = genai::embeddings(PROVIDER, MODEL).in_process();
            embeddings.in_scope_infallible(|| {
                let embedding = self.embedder.embed(text);
                MlSpan::current()
                    .response_model(MODEL)
                    .model_version(VERSION)
                    .input_tokens(embedding.tokens as u64)
                    .embedding_dimension(embedding.vector.len() as u64);
                embedding
            })
        };
        stage("embed").run_infallible(work).await
    }
}

async fn embed(State(served): State<Served>, Json(request): Json<Request>) -> Json<Embedding> {
    Json(served.embed(&request.text).await)
}

#[tonic::async_trait]
impl proto::embedder_server::Embedder for Served {
    async fn embed(
        &self,
        request: tonic::Request<proto::EmbedRequest>,
    ) -> Result<tonic::Response<proto::Embedding>, tonic::Status> {
        let embedding = self.embed(&request.get_ref().text).await;
        Ok(tonic::Response::new(embedding.into()))
    }
}
