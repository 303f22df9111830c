//! A unary call that tonic's routes answer.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use otel_ml_tonic::OtelMlLayer;
use otel_ml_tonic::otel_ml::MlSpan;
use tonic::Status;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::service::Routes;
use tonic_prost::ProstCodec;
use tower::service_fn;
use tower_layer::Layer;
use tower_service::Service;

use super::http_server::uri;
use super::{Iterate, Row, Suite};
use crate::condition::Condition::{self, A, B, C, D, P};
use crate::layers::Identity;
use crate::layers::Variant::{self, OtelMl, OtelMlSpans};
use crate::poll::answer;

pub(super) const SUITE: Suite = Suite {
    name: "grpc-server",
    unit: "call",
    is_timed: true,
    rows: &[
        Row::for_information(OtelMlSpans, A),
        Row::for_information(OtelMlSpans, P),
        Row::for_information(OtelMl, B),
        Row::within(OtelMlSpans, B, 3_900, 2).not_yet(4_350),
        Row::for_information(OtelMl, C),
        Row::within(OtelMlSpans, C, 8_300, 9).not_yet(12_000),
        Row::for_information(OtelMlSpans, D),
    ],
    spans: |calls| calls.into(),
    prepare,
};

/// The string "positive" as protobuf has it, behind gRPC's length; the question is the same.
pub(super) const MESSAGE: &[u8] = &[
    0, 0, 0, 0, 10, 10, 8, b'p', b'o', b's', b'i', b't', b'i', b'v', b'e',
];

fn prepare(variant: Variant, condition: Condition) -> Iterate {
    let is_telling = variant.is_tracing() && condition.is_recording();
    let routes = Routes::new(Model { is_telling }).prepare();
    match variant {
        Variant::Identity => iterate(Identity.layer(routes), condition),
        OtelMl => iterate(OtelMlLayer.layer(routes), condition),
        #[cfg(feature = "peers")]
        Variant::TonicTracingOpentelemetry => {
            iterate(crate::peers::grpc::server().layer(routes), condition)
        }
        _ => {
            // As nothing is recorded of unsampled calls, nothing would be learnt of them.
            let layer = OtelMlLayer::builder()
                .telemetry(variant.telemetry())
                .methods(["bench.Model/Infer"]);
            iterate(layer.build().layer(routes), condition)
        }
    }
}

fn iterate<S, B>(mut server: S, condition: Condition) -> Iterate
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + 'static,
    B: http_body::Body,
{
    Box::new(move |calls| {
        for _ in 0..calls {
            answer(&mut server, request(condition));
        }
    })
}

fn request(condition: Condition) -> Request<Body> {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static("example-client/1.4.2"),
    );
    headers.insert("grpc-accept-encoding", HeaderValue::from_static("gzip"));
    headers.insert("x-tenant", HeaderValue::from_static("acme"));
    headers.insert(
        "traceparent",
        HeaderValue::from_static(condition.traceparent()),
    );
    let mut request = Request::new(Body::new(Full::new(Bytes::from_static(MESSAGE))));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri("http://inference.example.com:50051/bench.Model/Infer".to_owned());
    *request.headers_mut() = headers;
    request
}

/// A service of one method. Where spans are recorded, it writes six facts.
#[derive(Clone, Copy, Debug)]
struct Model {
    is_telling: bool,
}

impl NamedService for Model {
    const NAME: &'static str = "bench.Model";
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<B> Service<Request<B>> for Model
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let Self { is_telling } = *self;
        let infer = move |request: tonic::Request<String>| infer(is_telling, request);
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<String, String>::default());
            Ok(grpc.unary(service_fn(infer), request).await)
        })
    }
}

fn infer(
    is_telling: bool,
    request: tonic::Request<String>,
) -> Ready<Result<tonic::Response<String>, Status>> {
    if is_telling {
        let span = MlSpan::current();
        span.provider("acme")
            .request_model("acme-large")
            .max_tokens(256)
            .temperature(0.2);
        span.input_tokens(44).output_tokens(12);
    }
    ready(Ok(tonic::Response::new(request.into_inner())))
}
