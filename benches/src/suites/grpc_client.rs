//! A unary call that a client makes, below a parent that is current.

use std::convert::Infallible;
use std::future::ready;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use otel_ml_tonic::OtelMlClientLayer;
use otel_ml_tonic::otel_ml::Telemetry;
use otel_ml_tonic::otel_ml::carrier::HeaderExtractor;
use tonic::body::Body;
use tower::service_fn;
use tower_layer::Layer;
use tower_service::Service;

use super::grpc_server::MESSAGE;
use super::http_server::uri;
use super::{Iterate, Row, Suite};
use crate::condition::Condition::{self, B, C};
use crate::layers::Identity;
use crate::layers::Variant::{self, OtelMl, OtelMlSpans};
use crate::poll::answer;

pub(super) const SUITE: Suite = Suite {
    name: "grpc-client",
    unit: "call",
    is_timed: true,
    rows: &[
        Row::for_information(OtelMl, B),
        Row::within(OtelMlSpans, B, 3_100, 3).not_yet(3_350),
        Row::for_information(OtelMl, C),
        Row::within(OtelMlSpans, C, 6_300, 8).not_yet(7_900),
    ],
    spans: |calls| calls.into(),
    prepare,
};

fn prepare(variant: Variant, condition: Condition) -> Iterate {
    let server = service_fn(|request: Request<Body>| {
        drop(request);
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let body = Full::new(Bytes::from_static(MESSAGE));
        let body = body.with_trailers(ready(Some(Ok(trailers))));
        ready(Ok::<_, Infallible>(Response::new(Body::new(body))))
    });
    match variant {
        Variant::Identity => iterate(Identity.layer(server), condition),
        OtelMl => iterate(OtelMlClientLayer.layer(server), condition),
        #[cfg(feature = "peers")]
        Variant::TonicTracingOpentelemetry => {
            iterate(crate::peers::grpc::client().layer(server), condition)
        }
        _ => {
            let layer = OtelMlClientLayer::builder()
                .telemetry(variant.telemetry())
                .target("models.example.com:50051");
            iterate(layer.build().layer(server), condition)
        }
    }
}

fn iterate<S, B>(mut client: S, condition: Condition) -> Iterate
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + 'static,
    B: http_body::Body,
{
    let mut caller = HeaderMap::new();
    caller.insert(
        "traceparent",
        HeaderValue::from_static(condition.traceparent()),
    );
    let parent = Telemetry::builder()
        .without_metrics()
        .build()
        .extract(&HeaderExtractor::new(&caller));
    Box::new(move |calls| {
        let _attached = parent.clone().attach();
        for _ in 0..calls {
            answer(&mut client, request());
        }
    })
}

fn request() -> Request<Body> {
    let mut request = Request::new(Body::new(Full::new(Bytes::from_static(MESSAGE))));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri("/bench.Model/Infer".to_owned());
    let headers = request.headers_mut();
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    request
}
