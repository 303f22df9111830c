//! The HTTP client that services call each other by, and that asks the gateway.

use std::net::SocketAddr;

use axum::body::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use otel_ml::{ErrorType, Telemetry};
use otel_ml_rdkafka::rdkafka::error::KafkaError;
use otel_ml_tower::client::{ClientExchange, DefaultHooks, OtelMlClient};
use otel_ml_tower::{InstrumentedBody, OtelMlClientLayer, UrlTemplate};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::io::StreamReader;
use tower::ServiceExt as _;
use tower_layer::Layer as _;

use crate::problem::ProblemBody;

/// Names a request from outside to the last hop, beside the trace: services write it to their
/// spans, so that a span in the wrong trace would show.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Idle connections kept for each service: enough for the load runs, few enough for the usual
/// limit of open files.
const IDLE_CONNECTIONS: usize = 32;
/// The longest line of an event stream, in bytes.
const LONGEST_LINE: usize = 1 << 20;

type Http = OtelMlClient<legacy::Client<HttpConnector, Full<Bytes>>>;
type Body = InstrumentedBody<hyper::body::Incoming, ClientExchange<DefaultHooks>>;

/// A service's way to another one. Every request is a CLIENT span and carries the trace on.
#[derive(Clone, Debug)]
pub struct Client {
    http: Http,
    address: SocketAddr,
}

/// Why a call came to nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// No connection, or one that broke before the answer began.
    #[error("{path} could not be reached ({source})")]
    Unreachable {
        /// What was called.
        path: &'static str,
        /// Why.
        source: legacy::Error,
    },
    /// An answer that is none.
    #[error("{path} answered {status}: {message}")]
    Refused {
        /// What was called.
        path: &'static str,
        /// The status.
        status: StatusCode,
        /// What the service said.
        message: String,
    },
    /// A request that the broker did not take.
    #[error("{topic} could not be sent to ({source})")]
    Unsent {
        /// Where it was to go.
        topic: &'static str,
        /// Why.
        source: KafkaError,
    },
    /// A request without a reply in time.
    #[error("{topic} brought no reply in time")]
    Unanswered {
        /// Where it went.
        topic: &'static str,
    },
    /// A call by gRPC that failed, at once or in the middle of its answers.
    #[error("{path} answered {:?}: {}", .status.code(), .status.message())]
    Failed {
        /// What was called.
        path: &'static str,
        /// What the service said, or what became of the connection.
        status: Box<tonic::Status>,
    },
    /// The answer broke off.
    #[error("the answer of {path} broke off")]
    Cut {
        /// What was called.
        path: &'static str,
    },
    /// The answer is not what it should be.
    #[error("{path} answered something else than expected ({source})")]
    Unexpected {
        /// What was called.
        path: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl CallError {
    /// The class of the error.
    ///
    /// # Cardinality
    /// Five values.
    pub fn class(&self) -> ErrorType {
        ErrorType::new(match self {
            Self::Unreachable { .. } | Self::Unsent { .. } => "upstream_unreachable",
            Self::Failed { status, .. } if status.code() == tonic::Code::Unavailable => {
                "upstream_unreachable"
            }
            Self::Unanswered { .. } => "timeout",
            Self::Refused { .. } | Self::Failed { .. } => "upstream_refused",
            Self::Cut { .. } => "upstream_cut",
            Self::Unexpected { .. } => "upstream_unexpected",
        })
    }
}

impl Client {
    /// A client of the service at `address`.
    pub fn new(telemetry: &Telemetry, address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        // A token is a small packet that must not wait for the next.
        connector.set_nodelay(true);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        let layer = OtelMlClientLayer::builder()
            .telemetry(telemetry.clone())
            .build();
        Self {
            http: layer.layer(http),
            address,
        }
    }

    /// Where the service is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Posts `body` and reads the answer as JSON.
    ///
    /// # Errors
    /// When there is no answer, it is a refusal, or something else than expected.
    pub async fn call<A: DeserializeOwned>(
        &self,
        path: &'static str,
        request_id: Option<&HeaderValue>,
        body: &impl Serialize,
    ) -> Result<A, CallError> {
        let response = self.send(path, request_id, body).await?;
        let answer = read(path, response.into_body()).await?;
        serde_json::from_slice(&answer).map_err(|source| CallError::Unexpected { path, source })
    }

    /// Posts `body` and reads the answer as a stream of server-sent events: their data.
    ///
    /// # Errors
    /// When there is no answer or it is a refusal. The stream fails when it breaks off.
    pub async fn events<B: Serialize>(
        &self,
        path: &'static str,
        request_id: Option<&HeaderValue>,
        body: &B,
    ) -> Result<impl Stream<Item = Result<String, CallError>> + Send + use<B>, CallError> {
        let response = self.send(path, request_id, body).await?;
        let bytes = response.into_body().into_data_stream();
        let reader = StreamReader::new(bytes.map_err(std::io::Error::other));
        let lines = FramedRead::new(reader, LinesCodec::new_with_max_length(LONGEST_LINE));
        Ok(lines.filter_map(async move |line| match line {
            Ok(line) => Some(Ok(line.strip_prefix("data:")?.trim_start().to_owned())),
            Err(LinesCodecError::MaxLineLengthExceeded | LinesCodecError::Io(_)) => {
                Some(Err(CallError::Cut { path }))
            }
        }))
    }

    async fn send(
        &self,
        path: &'static str,
        request_id: Option<&HeaderValue>,
        body: &impl Serialize,
    ) -> Result<Response<Body>, CallError> {
        let unexpected = |source| CallError::Unexpected { path, source };
        let body = serde_json::to_vec(body).map_err(unexpected)?;
        let mut request = Request::post(format!("http://{}{path}", self.address))
            .header(CONTENT_TYPE, "application/json")
            .extension(UrlTemplate(path));
        if let Some(id) = request_id {
            request = request.header(REQUEST_ID, id);
        }
        let request = request
            .body(Full::from(body))
            .map_err(|error| unexpected(serde::de::Error::custom(error)))?;
        let unreachable = |source| CallError::Unreachable { path, source };
        let response = self.http.clone().oneshot(request).await;
        let response = response.map_err(unreachable)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let answer = read(path, response.into_body()).await?;
        Err(CallError::Refused {
            path,
            status,
            message: ProblemBody::message_in(&answer),
        })
    }
}

async fn read(path: &'static str, body: Body) -> Result<Bytes, CallError> {
    let body = body.collect().await;
    Ok(body.map_err(|_| CallError::Cut { path })?.to_bytes())
}
