//! A gRPC service, its server on a loopback port, and clients of it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, stream};
use http::uri::PathAndQuery;
use otel_ml_testing::TestTelemetry;
use otel_ml_testing::opentelemetry::trace::SpanKind;
use otel_ml_testing::opentelemetry_sdk::trace::SpanData;
use otel_ml_tonic::client::OtelMlClient;
use otel_ml_tonic::{OtelMlClientLayer, OtelMlLayer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Layer, Service, service_fn};

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub(crate) const PARENT: &str = "b7ad6b7169203331";
pub(crate) const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
pub(crate) const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// The four kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unary,
    ClientStream,
    ServerStream,
    Bidi,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [
        Self::Unary,
        Self::ClientStream,
        Self::ServerStream,
        Self::Bidi,
    ];

    /// As `rpc.method` has it.
    pub(crate) const fn method(self) -> &'static str {
        match self {
            Self::Unary => "test.Echo/Unary",
            Self::ClientStream => "test.Echo/ClientStream",
            Self::ServerStream => "test.Echo/ServerStream",
            Self::Bidi => "test.Echo/Bidi",
        }
    }

    pub(crate) const fn streams_requests(self) -> bool {
        matches!(self, Self::ClientStream | Self::Bidi)
    }

    #[allow(dead_code, reason = "for the matrix")]
    pub(crate) const fn streams_answers(self) -> bool {
        matches!(self, Self::ServerStream | Self::Bidi)
    }

    fn path(self) -> PathAndQuery {
        format!("/{}", self.method()).parse().unwrap()
    }
}

pub(crate) type Items = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// What a handler is given.
pub(crate) struct Asked {
    pub(crate) metadata: MetadataMap,
    pub(crate) messages: Items,
}

type Answer = BoxFuture<'static, Result<Response<Items>, Status>>;

/// A handler for calls of any kind. Of what it answers to those that don't stream answers, the
/// first message counts.
pub(crate) type Handler = Arc<dyn Fn(Asked) -> Answer + Send + Sync>;

pub(crate) fn handler<F, Fut>(handle: F) -> Handler
where
    F: Fn(Asked) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Items, Status>> + Send + 'static,
{
    Arc::new(move |asked| handle(asked).map(|items| items.map(Response::new)).boxed())
}

pub(crate) fn items<S>(stream: S) -> Items
where
    S: Stream<Item = Result<String, Status>> + Send + 'static,
{
    Box::pin(stream)
}

/// These messages, then the end.
pub(crate) fn answers<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Items {
    let texts: Vec<_> = texts.into_iter().map(|text| Ok(text.into())).collect();
    items(stream::iter(texts))
}

/// Answers what it was asked.
pub(crate) fn echo() -> Handler {
    handler(async |asked: Asked| {
        let texts: Vec<String> = asked.messages.try_collect().await?;
        Ok(answers(texts))
    })
}

/// The service `test.Echo`.
#[derive(Clone)]
pub(crate) struct Echo {
    handler: Handler,
    is_compressed: bool,
}

impl Echo {
    pub(crate) fn new(handler: Handler) -> Self {
        Self {
            handler,
            is_compressed: false,
        }
    }

    pub(crate) fn compressed(self) -> Self {
        Self {
            is_compressed: true,
            ..self
        }
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl<B> Service<http::Request<B>> for Echo
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, String>::default());
        if self.is_compressed {
            let gzip = tonic::codec::CompressionEncoding::Gzip;
            grpc = grpc.accept_compressed(gzip).send_compressed(gzip);
        }
        let handler = Arc::clone(&self.handler);
        let one =
            |request: Request<String>| request.map(|text| items(stream::once(async { Ok(text) })));
        let many = |request: Request<Streaming<String>>| request.map(items);
        let handle = move |request: Request<Items>| {
            let (metadata, _, messages) = request.into_parts();
            handler(Asked { metadata, messages })
        };
        let first = async |answer: Answer| {
            let (metadata, mut items, extensions) = answer.await?.into_parts();
            let item = items.try_next().await?;
            let item = item.ok_or_else(|| Status::internal("no answer"))?;
            Ok(Response::from_parts(metadata, item, extensions))
        };
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| kind.path() == request.uri().path());
        async move {
            Ok(match kind {
                Some(Kind::Unary) => {
                    let service = service_fn(|asked| first(handle(one(asked))));
                    grpc.unary(service, request).await
                }
                Some(Kind::ClientStream) => {
                    let service = service_fn(|asked| first(handle(many(asked))));
                    grpc.client_streaming(service, request).await
                }
                Some(Kind::ServerStream) => {
                    let service = service_fn(|asked| handle(one(asked)));
                    grpc.server_streaming(service, request).await
                }
                Some(Kind::Bidi) => {
                    let service = service_fn(|asked| handle(many(asked)));
                    grpc.streaming(service, request).await
                }
                None => Status::unimplemented("").into_http(),
            })
        }
        .boxed()
    }
}

/// A server that runs.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Takes no more calls and waits for those that run.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap()
    }
}

/// A server of another kind, until `task` ends.
pub(crate) fn serving_at(
    address: SocketAddr,
    task: impl Future<Output = ()> + Send + 'static,
) -> Serving {
    Serving {
        address,
        stop: oneshot::channel().0,
        task: tokio::spawn(task),
    }
}

/// Serves `echo` behind `layer`.
pub(crate) async fn serve<L, RB>(layer: L, echo: Echo) -> Serving
where
    L: Layer<tonic::service::Routes> + Clone + Send + 'static,
    L::Service: Service<http::Request<Body>, Response = http::Response<RB>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    <L::Service as Service<http::Request<Body>>>::Future: Send,
    RB: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    RB::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let server = Server::builder().layer(layer).add_service(echo);
    let task = tokio::spawn(async move {
        let incoming = TcpListenerStream::new(listener);
        let stopped = stopped.map(|_| ());
        let served = server.serve_with_incoming_shutdown(incoming, stopped).await;
        served.unwrap();
    });
    Serving {
        address,
        stop,
        task,
    }
}

/// Serves `handler` behind the layer, recording into `test`.
pub(crate) async fn traced(test: &TestTelemetry, handler: Handler) -> Serving {
    let layer = OtelMlLayer::builder().telemetry(test.telemetry()).build();
    serve(layer, Echo::new(handler)).await
}

/// Serves `handler` behind nothing.
pub(crate) async fn plain(handler: Handler) -> Serving {
    serve(tower::layer::util::Identity::new(), Echo::new(handler)).await
}

/// A client without a layer.
pub(crate) fn channel(serving: &Serving) -> Channel {
    serving.endpoint().connect_lazy()
}

/// A client behind the layer, recording into `test`.
pub(crate) fn traced_channel(
    test: &TestTelemetry,
    serving: &Serving,
) -> OtelMlClient<Channel, otel_ml_tonic::client::DefaultHooks> {
    let endpoint = serving.endpoint();
    let layer = OtelMlClientLayer::builder()
        .telemetry(test.telemetry())
        .endpoint(&endpoint)
        .build();
    layer.layer(endpoint.connect_lazy())
}

/// Begins a call: what comes back is the head, and the stream of answers behind it.
pub(crate) async fn begin<T>(
    channel: T,
    kind: Kind,
    request: Request<Items>,
) -> Result<Response<Streaming<String>>, Status>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut grpc = Grpc::new(channel);
    begin_by(&mut grpc, kind, request).await
}

pub(crate) async fn begin_by<T>(
    grpc: &mut Grpc<T>,
    kind: Kind,
    request: Request<Items>,
) -> Result<Response<Streaming<String>>, Status>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::from_error(error.into()))?;
    let request = request.map(|items| items.map(|item| item.expect("a message")));
    let codec = ProstCodec::<String, String>::default();
    grpc.streaming(request, kind.path(), codec).await
}

/// A request of these messages.
pub(crate) fn asking<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Request<Items> {
    Request::new(answers(texts))
}

/// The same with metadata.
pub(crate) fn with<'a>(
    mut request: Request<Items>,
    pairs: impl IntoIterator<Item = (&'static str, &'a str)>,
) -> Request<Items> {
    for (key, value) in pairs {
        request.metadata_mut().append(key, value.parse().unwrap());
    }
    request
}

/// One call to its end. Kinds that don't stream requests send the first message alone.
pub(crate) async fn call<T>(
    channel: T,
    kind: Kind,
    request: Request<Items>,
) -> Result<Vec<String>, Status>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let request = if kind.streams_requests() {
        request
    } else {
        request.map(|messages| items(messages.take(1)))
    };
    begin(channel, kind, request)
        .await?
        .into_inner()
        .try_collect()
        .await
}

/// A call that the client takes for a unary one, whatever the server makes of it.
pub(crate) async fn unary<T>(channel: T, kind: Kind, text: &str) -> Result<String, Status>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut grpc = Grpc::new(channel);
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::from_error(error.into()))?;
    let codec = ProstCodec::<String, String>::default();
    let request = Request::new(text.to_owned());
    Ok(grpc.unary(request, kind.path(), codec).await?.into_inner())
}

/// The one call as server and client saw it.
pub(crate) async fn both(test: &TestTelemetry) -> (SpanData, SpanData) {
    let spans = test.wait_for_spans(2).await;
    assert_eq!(spans.len(), 2, "{}", otel_ml_testing::describe(&spans));
    let of = |kind: SpanKind| {
        let span = spans.iter().find(|span| span.span_kind == kind);
        span.unwrap().clone()
    };
    (of(SpanKind::Server), of(SpanKind::Client))
}
