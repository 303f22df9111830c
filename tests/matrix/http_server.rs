//! HTTP, served: axum's layer over an axum method router, within the process.

use std::future::{Ready, ready};

use axum::body::Body;
use axum::response::Response;
use axum::routing::{MethodRouter, any_service};
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml_axum::{OtelMlLayer, RequestHead};
use otel_ml_testing::TestTelemetry;
use otel_ml_testing::mock::MockBody;
use tower::{Layer as _, Service, service_fn};

use crate::hop::{Call, Fault, Handler, Hop, Link, Reply, Settings, sent_on};
use crate::setup::check_readiness;

pub(crate) struct HttpServer;

fn request(headers: &HeaderMap) -> Request<Body> {
    let mut request = Request::get("/predict").body(Body::empty()).unwrap();
    *request.headers_mut() = headers.clone();
    request
}

fn response(reply: Reply) -> Response {
    let body = match reply {
        Reply::Empty => Body::empty(),
        Reply::Short => Body::from("answer"),
        Reply::Endless => Body::new(MockBody::new().data("half an").hang()),
    };
    let response = Response::builder().header("set-cookie", "S3CRET");
    response.body(body).unwrap()
}

fn inner(handler: Handler) -> MethodRouter<(), Fault> {
    any_service(service_fn(move |_request: Request<Body>| {
        let handler = Handler::clone(&handler);
        async move { handler(sent_on()).await.map(response) }
    }))
}

struct Served<S>(S);

impl<S> Link for Served<S>
where
    S: Service<Request<Body>, Response = Response, Error = Fault, Future: 'static>,
{
    fn call(&mut self, headers: &HeaderMap) -> Call {
        let answer = self.0.call(request(headers));
        Box::pin(async move {
            let body = answer.await?.into_body();
            drop(body.collect().await);
            Ok(())
        })
    }
}

impl Hop for HttpServer {
    const NAME: &'static str = "http server";
    const SPAN: (&'static str, SpanKind) = ("GET", SpanKind::Server);
    const DURATION: &'static str = "http.server.request.duration";
    const IN_FLIGHT: Option<&'static str> = Some("http.server.active_requests");
    const DROPPED: Option<&'static str> = Some("cancelled");
    const READS_CONTEXT: bool = true;

    fn link(settings: Settings, handler: Handler) -> Box<dyn Link> {
        let accepts = settings.accepts;
        let layer = OtelMlLayer::builder()
            .telemetry(settings.telemetry)
            .filter(move |_: &RequestHead<'_>| accepts)
            .build();
        Box::new(Served(layer.layer(inner(handler))))
    }

    fn unit_link(handler: Handler) -> Box<dyn Link> {
        Box::new(Served(OtelMlLayer.layer(inner(handler))))
    }

    fn readiness() -> Ready<()> {
        let test = TestTelemetry::new();
        let layer = OtelMlLayer::builder().telemetry(test.telemetry()).build();
        check_readiness(
            &layer,
            || request(&HeaderMap::new()),
            || response(Reply::Empty),
        );
        assert_eq!(test.spans().len(), 2);
        ready(())
    }
}
