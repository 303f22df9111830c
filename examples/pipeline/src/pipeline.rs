//! All eight services, each with its own telemetry on its own port, in one process.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use clap::ValueEnum;
use tokio::net::TcpListener;

use crate::amqp;
use crate::client::Client;
use crate::engine::corpus::Corpus;
use crate::engine::retrieve::Index;
use crate::hops::audit::Auditing;
use crate::hops::gateway::{Backends, Way};
use crate::hops::generate::Generator;
use crate::hops::{
    Hop, Stage, audit, embed, features, gateway, generate, postprocess, preprocess, rerank,
    retrieve,
};
use crate::kafka::{Broker, Consuming, Requests};
use crate::rpc::Rpc;
use crate::service::Service;
use crate::telemetry::Outputs;

/// What the services call each other by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Hops {
    /// Each hop by what suits it: the embedding by gRPC, the retrieval over Kafka (the broker that
    /// KAFKA_BOOTSTRAP names, else one inside the process), the others by HTTP
    Mixed,
    /// All by HTTP
    #[default]
    Http,
    /// By gRPC what offers it, the embedding and the generation; the others by HTTP
    Grpc,
}

/// How slow the pipeline is to be, and what its hops go by.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// By what the services call each other.
    pub hops: Hops,
    /// What each token takes.
    pub token_delay: Duration,
    /// What a stage takes beyond its work.
    pub stages: HashMap<Stage, Duration>,
    /// Whether answers are audited, over RabbitMQ.
    pub audits: bool,
    /// Who reranks, and how much at a time.
    pub reranking: rerank::Pool,
}

/// The running services.
#[derive(Debug)]
pub struct Pipeline {
    gateway: Service,
    others: Vec<Service>,
    /// The asked and the asking side, in the order in which they are to stop.
    consuming: Vec<Consuming>,
    auditing: Option<Auditing>,
    /// Lives as long as those who talk to it.
    broker: Option<Broker>,
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
            let address = service.address();
            others.push(service);
            io::Result::Ok(address)
        };
        let client = |address| Client::new(&front.telemetry, address);
        let way = |is_grpc, address| {
            io::Result::Ok(if is_grpc {
                Way::Grpc(Rpc::new(&front.telemetry, address)?)
            } else {
                Way::Http(client(address))
            })
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
        let embed = start(embed::router(embedding, embedder)).await?;
        let generate = start(generate::router(generator)).await?;
        let rerank = rerank::router(reranking, Arc::clone(corpus), weights, pace.reranking);
        let preprocess = preprocess::router(hop(Stage::Preprocess));
        let postprocess = postprocess::router(hop(Stage::Postprocess), Arc::clone(corpus));
        let mut consuming = Vec::new();
        let mut broker = None;
        let retrieve = if pace.hops == Hops::Mixed {
            let broker = broker.insert(Broker::new().map_err(io::Error::other)?);
            let (requests, both) = over_kafka(broker, &front, retrieval, index).await?;
            consuming.extend(both);
            retrieve::Caller::Kafka(requests)
        } else {
            let service = start(retrieve::router(retrieval, index)).await?;
            retrieve::Caller::Http(Box::new(client(service)))
        };
        let (audits, auditing) = if pace.audits {
            let broker = amqp::Broker::new().await?;
            let started = audit::start(broker, &front.telemetry, outputs.telemetry(audit::SERVICE));
            let (audits, auditing) = started.await.map_err(io::Error::other)?;
            (Some(audits), Some(auditing))
        } else {
            (None, None)
        };
        let backends = Backends {
            audits,
            preprocess: client(start(preprocess).await?),
            features: client(start(features::router(hop(Stage::Features))).await?),
            embed: way(pace.hops != Hops::Http, embed)?,
            retrieve,
            rerank: client(start(rerank).await?),
            generate: way(pace.hops == Hops::Grpc, generate)?,
            postprocess: client(start(postprocess).await?),
        };
        Ok(Self {
            gateway: Service::start(gateway, gateway::router(front, backends))?,
            others,
            consuming,
            auditing,
            broker,
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
        for consuming in self.consuming {
            consuming.stop(patience).await;
        }
        if let Some(auditing) = self.auditing {
            auditing.stop(patience).await;
        }
        if let Some(broker) = self.broker {
            // A broker that is gone has taken them with it.
            let _ = broker.remove(retrieve::TOPICS).await;
        }
    }
}

/// How many requests the retrieve hop works on at a time; more wait at the broker.
const RETRIEVALS: usize = 16;

async fn over_kafka(
    broker: &Broker,
    front: &Hop,
    retrieval: Hop,
    index: Arc<Index>,
) -> io::Result<(Requests, [Consuming; 2])> {
    let topics = retrieve::TOPICS;
    broker.make(topics).await.map_err(io::Error::other)?;
    let asked = retrieve::consume(retrieval, index, broker, RETRIEVALS);
    let asked = asked.map_err(io::Error::other)?;
    let asking = Requests::start(broker, &front.telemetry, topics);
    let (requests, replies) = asking.map_err(io::Error::other)?;
    Ok((requests, [asked, replies]))
}
