//! All eight services, each with its own telemetry on its own port, in one process.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;

use crate::client::Client;
use crate::engine::corpus::Corpus;
use crate::hops::gateway::Backends;
use crate::hops::generate::Generator;
use crate::hops::{
    Hop, Stage, embed, features, gateway, generate, postprocess, preprocess, rerank, retrieve,
};
use crate::service::Service;
use crate::telemetry::Outputs;

/// How slow the pipeline is to be.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// What each token takes.
    pub token_delay: Duration,
    /// What a stage takes beyond its work.
    pub stages: HashMap<Stage, Duration>,
    /// Who reranks, and how much at a time.
    pub reranking: rerank::Pool,
}

/// The running services.
#[derive(Debug)]
pub struct Pipeline {
    gateway: Service,
    others: Vec<Service>,
}

impl Pipeline {
    /// Makes the models ready and starts all services; the gateway listens on `gateway`.
    ///
    /// # Errors
    /// When there is no port for a service.
    pub async fn start(
        corpus: &Arc<Corpus>,
        pace: &Pace,
        gateway: TcpListener,
        outputs: &Outputs,
    ) -> io::Result<Self> {
        let hop = |stage: Stage| Hop {
            telemetry: outputs.telemetry(stage.as_str()),
            delay: pace.stages.get(&stage).copied().unwrap_or_default(),
        };
        let front = hop(Stage::Gateway);
        let mut others = Vec::new();
        let mut start = async |router: Router| {
            let service = Service::start(Service::listen(0).await?, router)?;
            let client = Client::new(&front.telemetry, service.address());
            others.push(service);
            io::Result::Ok(client)
        };

        let (embedding, retrieval) = (hop(Stage::Embed), hop(Stage::Retrieve));
        let reranking = hop(Stage::Rerank);
        let embedder = embed::load(&embedding, corpus);
        let index = retrieve::load(&retrieval, corpus, &embedder);
        let weights = rerank::load(&reranking);
        let generator = Generator {
            hop: hop(Stage::Generate),
            corpus: Arc::clone(corpus),
            token_delay: pace.token_delay,
        };
        let backends = Backends {
            preprocess: start(preprocess::router(hop(Stage::Preprocess))).await?,
            features: start(features::router(hop(Stage::Features))).await?,
            embed: start(embed::router(embedding, embedder)).await?,
            retrieve: start(retrieve::router(retrieval, index)).await?,
            rerank: start(rerank::router(
                reranking,
                Arc::clone(corpus),
                weights,
                pace.reranking,
            ))
            .await?,
            generate: start(generate::router(generator)).await?,
            postprocess: start(postprocess::router(
                hop(Stage::Postprocess),
                Arc::clone(corpus),
            ))
            .await?,
        };
        Ok(Self {
            gateway: Service::start(gateway, gateway::router(front, backends))?,
            others,
        })
    }

    /// Where the gateway answers.
    pub fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// Takes no more requests, and waits up to `patience` for those that are being answered.
    pub async fn stop(self, patience: Duration) {
        self.gateway.stop(patience).await;
        for service in self.others {
            service.stop(patience).await;
        }
    }
}
