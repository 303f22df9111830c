//! A Collector in the process: takes OTLP over both protocols and keeps it, or misbehaves.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use otel_ml_sdk::Protocol;
use prost::Message;
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::{Request, Response, Status};
use tower_http::decompression::RequestDecompressionLayer;

/// What the sink does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    Takes,
    /// Never answers.
    Hangs,
    /// Refuses for good.
    Rejects,
    /// Takes all, and says that it did not take one.
    TakesInPart,
}

#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) traces: Vec<ExportTraceServiceRequest>,
    pub(crate) metrics: Vec<ExportMetricsServiceRequest>,
    pub(crate) logs: Vec<ExportLogsServiceRequest>,
    /// Those of each request.
    pub(crate) headers: Vec<HeaderMap>,
    /// What stood behind the path of a request.
    pub(crate) queries: Vec<String>,
    /// The values of `content-encoding` or `grpc-encoding`.
    pub(crate) encodings: Vec<String>,
}

#[derive(Clone)]
struct Shared {
    manners: Manners,
    taken: Arc<Mutex<Taken>>,
}

pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
    _runtime: tokio::runtime::Runtime,
}

impl Sink {
    pub(crate) fn start(protocol: Protocol, manners: Manners) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::new(Mutex::default());
        let shared = Shared {
            manners,
            taken: Arc::clone(&taken),
        };
        if protocol == Protocol::Grpc {
            runtime.spawn(serve_grpc(listener, shared));
        } else {
            runtime.spawn(serve_http(listener, shared));
        }
        Self {
            address,
            taken,
            _runtime: runtime,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.taken.lock().unwrap()
    }
}

impl Shared {
    async fn answer<T: Default>(
        &self,
        headers: &HeaderMap,
        keep: impl FnOnce(&mut Taken),
    ) -> Result<T, ()> {
        match self.manners {
            Manners::Hangs => std::future::pending().await,
            Manners::Rejects => Err(()),
            Manners::Takes | Manners::TakesInPart => {
                let mut taken = self.taken.lock().unwrap();
                let text = |name: &str| {
                    let value = headers.get(name)?;
                    Some(value.to_str().unwrap().to_owned())
                };
                taken.headers.push(headers.clone());
                taken
                    .encodings
                    .extend(text("content-encoding").or_else(|| text("grpc-encoding")));
                keep(&mut taken);
                Ok(T::default())
            }
        }
    }
}

async fn serve_http(listener: TcpListener, shared: Shared) {
    // The encoding is read before it is taken off.
    async fn note(
        State(shared): State<Shared>,
        request: axum::extract::Request,
        next: axum::middleware::Next,
    ) -> axum::response::Response {
        let query = request.uri().query().map(str::to_owned);
        shared.taken.lock().unwrap().queries.extend(query);
        if let Some(encoding) = request.headers().get("content-encoding") {
            let encoding = encoding.to_str().unwrap().to_owned();
            shared.taken.lock().unwrap().encodings.push(encoding);
        }
        next.run(request).await
    }
    async fn take<M: Message + Default>(
        shared: Shared,
        headers: HeaderMap,
        body: Bytes,
        keep: impl FnOnce(&mut Taken, M),
    ) -> Result<Bytes, StatusCode> {
        let request = M::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
        let answer = shared.answer(&headers, |taken| keep(taken, request));
        let answer: Bytes = answer.await.map_err(|()| StatusCode::FORBIDDEN)?;
        if shared.manners == Manners::TakesInPart {
            let partial_success = ExportTracePartialSuccess {
                rejected_spans: 1,
                error_message: "too\nold".to_owned(),
            };
            let partial_success = Some(partial_success);
            return Ok(ExportTraceServiceResponse { partial_success }
                .encode_to_vec()
                .into());
        }
        Ok(answer)
    }
    let app = Router::new()
        .route(
            "/v1/traces",
            post(
                |State(shared): State<Shared>, headers: HeaderMap, body: Bytes| {
                    take(shared, headers, body, |taken, request| {
                        taken.traces.push(request);
                    })
                },
            ),
        )
        .route(
            "/v1/metrics",
            post(
                |State(shared): State<Shared>, headers: HeaderMap, body: Bytes| {
                    take(shared, headers, body, |taken, request| {
                        taken.metrics.push(request);
                    })
                },
            ),
        )
        .route(
            "/v1/logs",
            post(
                |State(shared): State<Shared>, headers: HeaderMap, body: Bytes| {
                    take(shared, headers, body, |taken, request| {
                        taken.logs.push(request);
                    })
                },
            ),
        )
        .layer(RequestDecompressionLayer::new())
        .layer(axum::middleware::from_fn_with_state(shared.clone(), note))
        .with_state(shared);
    axum::serve(listener, app).await.unwrap();
}

async fn serve_grpc(listener: TcpListener, shared: Shared) {
    let traces = TraceServiceServer::new(shared.clone());
    let metrics = MetricsServiceServer::new(shared.clone());
    let logs = LogsServiceServer::new(shared);
    tonic::transport::Server::builder()
        .add_service(traces.accept_compressed(Gzip).accept_compressed(Zstd))
        .add_service(metrics.accept_compressed(Gzip).accept_compressed(Zstd))
        .add_service(logs.accept_compressed(Gzip).accept_compressed(Zstd))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener))
        .await
        .unwrap();
}

fn refused((): ()) -> Status {
    Status::permission_denied("not you")
}

#[tonic::async_trait]
impl TraceService for Shared {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        let request = request.into_inner();
        let answer = self.answer(&headers, |taken| taken.traces.push(request));
        answer.await.map(Response::new).map_err(refused)
    }
}

#[tonic::async_trait]
impl MetricsService for Shared {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        let request = request.into_inner();
        let answer = self.answer(&headers, |taken| taken.metrics.push(request));
        answer.await.map(Response::new).map_err(refused)
    }
}

#[tonic::async_trait]
impl LogsService for Shared {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        let request = request.into_inner();
        let answer = self.answer(&headers, |taken| taken.logs.push(request));
        answer.await.map(Response::new).map_err(refused)
    }
}
