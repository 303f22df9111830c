//! The hops that speak gRPC: what goes over the wire, and the client of them.

use std::net::SocketAddr;

use futures_util::{Stream, StreamExt as _};
use http::HeaderValue;
use otel_ml::Telemetry;
use otel_ml_tonic::OtelMlClientLayer;
use otel_ml_tonic::client::{DefaultHooks, OtelMlClient};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tower_layer::Layer as _;

use crate::client::{CallError, REQUEST_ID};
use crate::engine::compose::Source;
use crate::engine::embed::Embedding;
use crate::engine::generate::FinishReason;
use crate::engine::passage::PassageId;
use crate::engine::preprocess::{InputClass, Question};
use crate::engine::rerank::{Ranked, Signals};
use crate::hops::generate::{self, End, Event};

/// What the compiler made of `proto/pipeline.proto`.
pub mod proto {
    #![allow(
        missing_docs,
        missing_debug_implementations,
        unreachable_pub,
        clippy::all,
        clippy::expect_used,
        clippy::panic,
        clippy::unwrap_used,
        reason = "generated code"
    )]
    tonic::include_proto!("pipeline");
}

use proto::embedder_client::EmbedderClient;
use proto::generator_client::GeneratorClient;
use proto::question::Class;

type Traced = OtelMlClient<Channel, DefaultHooks>;

/// A service's way to another one by gRPC. Every call is a CLIENT span and carries the trace on.
#[derive(Clone, Debug)]
pub struct Rpc {
    channel: Traced,
    address: SocketAddr,
}

impl Rpc {
    /// A client of the service at `address`; it connects when it is first used.
    ///
    /// # Errors
    /// When the address is no address of the web.
    pub fn new(telemetry: &Telemetry, address: SocketAddr) -> std::io::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.map_err(std::io::Error::other)?;
        let layer = OtelMlClientLayer::builder()
            .telemetry(telemetry.clone())
            .endpoint(&endpoint)
            .build();
        Ok(Self {
            channel: layer.layer(endpoint.connect_lazy()),
            address,
        })
    }

    /// Where the service is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The vector of `text`.
    ///
    /// # Errors
    /// When there is no answer, or it is a refusal.
    pub async fn embed(
        &self,
        text: &str,
        request_id: Option<&HeaderValue>,
    ) -> Result<Embedding, CallError> {
        let text = text.to_owned();
        let request = with_id(proto::EmbedRequest { text }, request_id);
        let mut client = EmbedderClient::new(self.channel.clone());
        let answer = client.embed(request).await;
        let answer = answer.map_err(failed("pipeline.Embedder/Embed"))?;
        Ok(answer.into_inner().into())
    }

    /// An answer, token by token.
    ///
    /// # Errors
    /// When there is no answer, or it is a refusal. The stream fails when it breaks off.
    pub async fn generate(
        &self,
        ask: &generate::Request,
        request_id: Option<&HeaderValue>,
    ) -> Result<impl Stream<Item = Result<Event, CallError>> + Send + use<>, CallError> {
        let path = "pipeline.Generator/Generate";
        let request = with_id(proto::GenerateRequest::from(ask), request_id);
        let mut client = GeneratorClient::new(self.channel.clone());
        let answer = client.generate(request).await;
        let events = answer.map_err(failed(path))?.into_inner();
        Ok(events.map(move |event| {
            let event = event.map_err(failed(path))?.event;
            Ok(event.ok_or(CallError::Cut { path })?.into())
        }))
    }
}

fn with_id<T>(message: T, id: Option<&HeaderValue>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(id) = id {
        let metadata: &mut http::HeaderMap = request.metadata_mut().as_mut();
        metadata.insert(REQUEST_ID, id.clone());
    }
    request
}

fn failed(path: &'static str) -> impl Fn(Status) -> CallError {
    move |status| CallError::Failed {
        path,
        status: Box::new(status),
    }
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

impl From<Embedding> for proto::Embedding {
    fn from(embedding: Embedding) -> Self {
        Self {
            vector: embedding.vector,
            tokens: whole(embedding.tokens),
        }
    }
}

impl From<proto::Embedding> for Embedding {
    fn from(embedding: proto::Embedding) -> Self {
        Self {
            vector: embedding.vector,
            tokens: size(embedding.tokens),
        }
    }
}

impl From<&generate::Request> for proto::GenerateRequest {
    fn from(ask: &generate::Request) -> Self {
        let Question { text, terms, class } = ask.question.clone();
        let class = match class {
            InputClass::Question => Class::Question,
            InputClass::HowTo => Class::HowTo,
            InputClass::Keyword => Class::Keyword,
        };
        let passages = ask.ranked.iter().map(|ranked| proto::Passage {
            id: whole(ranked.id.index()),
            score: ranked.score,
            coverage: ranked.signals.coverage,
            proximity: ranked.signals.proximity,
            phrase: ranked.signals.phrase,
            heading: ranked.signals.heading,
            cosine: ranked.signals.cosine,
        });
        Self {
            question: Some(proto::Question {
                text,
                terms,
                class: class.into(),
            }),
            passages: passages.collect(),
            max_tokens: whole(ask.max_tokens),
            response_id: ask.response_id.clone(),
        }
    }
}

impl TryFrom<proto::GenerateRequest> for generate::Request {
    type Error = Status;

    fn try_from(ask: proto::GenerateRequest) -> Result<Self, Status> {
        let question = ask.question;
        let question = question.ok_or_else(|| Status::invalid_argument("there is no question"))?;
        let class = match question.class() {
            Class::Question => InputClass::Question,
            Class::HowTo => InputClass::HowTo,
            Class::Keyword => InputClass::Keyword,
        };
        let ranked = ask.passages.into_iter().map(|passage| Ranked {
            id: PassageId::of_index(size(passage.id)),
            score: passage.score,
            signals: Signals {
                coverage: passage.coverage,
                proximity: passage.proximity,
                phrase: passage.phrase,
                heading: passage.heading,
                cosine: passage.cosine,
            },
        });
        Ok(Self {
            ranked: ranked.collect(),
            question: Question {
                text: question.text,
                terms: question.terms,
                class,
            },
            max_tokens: size(ask.max_tokens),
            response_id: ask.response_id,
        })
    }
}

impl From<Event> for proto::Event {
    fn from(event: Event) -> Self {
        let event = match event {
            Event::Token(token) => proto::event::Event::Token(token),
            Event::End(end) => proto::event::Event::End(proto::End {
                is_cut: end.finish_reason == FinishReason::Length,
                input_tokens: end.input_tokens,
                output_tokens: end.output_tokens,
                sources: end.sources.into_iter().map(Into::into).collect(),
            }),
        };
        Self { event: Some(event) }
    }
}

impl From<proto::event::Event> for Event {
    fn from(event: proto::event::Event) -> Self {
        match event {
            proto::event::Event::Token(token) => Self::Token(token),
            proto::event::Event::End(end) => Self::End(End {
                finish_reason: if end.is_cut {
                    FinishReason::Length
                } else {
                    FinishReason::Stop
                },
                input_tokens: end.input_tokens,
                output_tokens: end.output_tokens,
                sources: end.sources.into_iter().map(Into::into).collect(),
            }),
        }
    }
}

impl From<Source> for proto::Source {
    fn from(source: Source) -> Self {
        Self {
            number: whole(source.number),
            path: source.path,
            heading: source.heading,
            line: whole(source.line),
        }
    }
}

impl From<proto::Source> for Source {
    fn from(source: proto::Source) -> Self {
        Self {
            number: size(source.number),
            path: source.path,
            heading: source.heading,
            line: size(source.line),
        }
    }
}
