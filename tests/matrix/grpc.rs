//! gRPC, served and sent: tonic's layers over a service that answers within the process. What
//! goes over the wire is tested with the crate itself.

use std::future::{Ready, ready};

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml_testing::TestTelemetry;
use otel_ml_testing::mock::MockBody;
use otel_ml_tonic::{OtelMlClientLayer, OtelMlLayer, RequestHead};
use tower::{Layer as _, Service, service_fn};

use crate::hop::{Call, Fault, Handler, Hop, Link, Reply, Settings, caller, headers, sent_on};
use crate::setup::check_readiness;

pub(crate) struct GrpcServer;
pub(crate) struct GrpcClient;

const METHOD: &str = "test.Model/Predict";

fn request(headers: &HeaderMap) -> Request<()> {
    let mut request = Request::post("http://models:50051/test.Model/Predict")
        .header("content-type", "application/grpc");
    request.headers_mut().unwrap().extend(headers.clone());
    request.body(()).unwrap()
}

/// What a request is sent with, beyond what makes it gRPC.
fn context_of(headers: &HeaderMap) -> HeaderMap {
    let mut context = headers.clone();
    context.remove("content-type");
    context
}

fn response(reply: Reply) -> Response<MockBody> {
    let fine = || headers(&[("grpc-status", "0")]);
    let response = Response::builder()
        .header("content-type", "application/grpc")
        .header("set-cookie", "S3CRET");
    match reply {
        Reply::Empty => {
            let response = response.header("grpc-status", "0");
            response.body(MockBody::new())
        }
        Reply::Short => response.body(MockBody::new().data("answer").trailers(fine())),
        Reply::Endless => response.body(MockBody::new().data("half an").hang()),
    }
    .unwrap()
}

/// One call to its end.
struct Calling<S> {
    service: S,
    /// Whether the caller's context is the one that is current, and not in the request.
    is_client: bool,
}

impl<S, B> Link for Calling<S>
where
    S: Service<Request<()>, Response = Response<B>, Error = Fault, Future: 'static>,
    B: BodyExt + 'static,
{
    fn call(&mut self, headers: &HeaderMap) -> Call {
        let (current, sent) = if self.is_client {
            caller(headers)
        } else {
            (Context::current(), headers.clone())
        };
        let _attached = current.attach();
        let answer = self.service.call(request(&sent));
        Box::pin(async move {
            drop(answer.await?.into_body().collect().await);
            Ok(())
        })
    }
}

macro_rules! inner {
    ($handler:expr, |$request:ident| $passed_on:expr) => {
        service_fn(move |$request: Request<()>| {
            let handler = Handler::clone(&$handler);
            let passed_on = $passed_on;
            async move {
                handler(passed_on.unwrap_or_else(sent_on))
                    .await
                    .map(response)
            }
        })
    };
}

macro_rules! hop {
    ($hop:ty, $layer:ident, $name:literal, $kind:expr, $duration:literal, $is_client:literal, |$request:ident| $passed_on:expr) => {
        impl Hop for $hop {
            const NAME: &'static str = $name;
            const SPAN: (&'static str, SpanKind) = (METHOD, $kind);
            const DURATION: &'static str = $duration;
            const IN_FLIGHT: Option<&'static str> = None;
            // Giving up is the caller's choice, and to gRPC no error of either side.
            const DROPPED: Option<&'static str> = None;
            const READS_CONTEXT: bool = !$is_client;

            fn link(settings: Settings, handler: Handler) -> Box<dyn Link> {
                let accepts = settings.accepts;
                let layer = $layer::builder()
                    .telemetry(settings.telemetry)
                    .filter(move |_: &RequestHead<'_>| accepts)
                    .build();
                Box::new(Calling {
                    service: layer.layer(inner!(handler, |$request| $passed_on)),
                    is_client: $is_client,
                })
            }

            fn unit_link(handler: Handler) -> Box<dyn Link> {
                Box::new(Calling {
                    service: $layer.layer(inner!(handler, |$request| $passed_on)),
                    is_client: $is_client,
                })
            }

            fn readiness() -> Ready<()> {
                let test = TestTelemetry::new();
                let layer = $layer::builder().telemetry(test.telemetry()).build();
                let request = || request(&HeaderMap::new());
                check_readiness(&layer, request, || response(Reply::Empty));
                assert_eq!(test.spans().len(), 2);
                ready(())
            }
        }
    };
}

hop!(
    GrpcServer,
    OtelMlLayer,
    "grpc server",
    SpanKind::Server,
    "rpc.server.call.duration",
    false,
    |_request| None::<HeaderMap>
);
hop!(
    GrpcClient,
    OtelMlClientLayer,
    "grpc client",
    SpanKind::Client,
    "rpc.client.call.duration",
    true,
    |request| Some(context_of(request.headers()))
);
