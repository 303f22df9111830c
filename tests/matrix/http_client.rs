//! HTTP, sent: the client layer over a service that answers within the process.

use std::future::{Ready, ready};

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml_testing::TestTelemetry;
use otel_ml_testing::mock::MockBody;
use otel_ml_tower::{OtelMlClientLayer, RequestHead};
use tower::{Layer as _, Service, service_fn};

use crate::hop::{Call, Fault, Handler, Hop, Link, Reply, Settings, caller};
use crate::setup::check_readiness;

pub(crate) struct HttpClient;

fn request(headers: &HeaderMap) -> Request<()> {
    let mut request = Request::get("http://next/").body(()).unwrap();
    *request.headers_mut() = headers.clone();
    request
}

fn response(reply: Reply) -> Response<MockBody> {
    let body = match reply {
        Reply::Empty => MockBody::new(),
        Reply::Short => MockBody::new().data("answer"),
        Reply::Endless => MockBody::new().data("half an").hang(),
    };
    let response = Response::builder().header("set-cookie", "S3CRET");
    response.body(body).unwrap()
}

macro_rules! inner {
    ($handler:expr) => {
        service_fn(move |request: Request<()>| {
            let answer = $handler(request.headers().clone());
            async move { answer.await.map(response) }
        })
    };
}

struct Sending<S>(S);

impl<S, B> Link for Sending<S>
where
    S: Service<Request<()>, Response = Response<B>, Error = Fault, Future: 'static>,
    B: BodyExt + 'static,
{
    /// A caller's context is the one that is current where the request is sent.
    fn call(&mut self, headers: &HeaderMap) -> Call {
        let (caller, own) = caller(headers);
        let _attached = caller.attach();
        let answer = self.0.call(request(&own));
        Box::pin(async move {
            let body = answer.await?.into_body();
            drop(body.collect().await);
            Ok(())
        })
    }
}

impl Hop for HttpClient {
    const NAME: &'static str = "http client";
    const SPAN: (&'static str, SpanKind) = ("GET", SpanKind::Client);
    const DURATION: &'static str = "http.client.request.duration";
    const IN_FLIGHT: Option<&'static str> = None;
    const DROPPED: Option<&'static str> = None;
    const READS_CONTEXT: bool = false;

    fn link(settings: Settings, handler: Handler) -> Box<dyn Link> {
        let accepts = settings.accepts;
        let layer = OtelMlClientLayer::builder()
            .telemetry(settings.telemetry)
            .filter(move |_: &RequestHead<'_>| accepts)
            .build();
        Box::new(Sending(layer.layer(inner!(handler))))
    }

    fn unit_link(handler: Handler) -> Box<dyn Link> {
        Box::new(Sending(OtelMlClientLayer.layer(inner!(handler))))
    }

    fn readiness() -> Ready<()> {
        let test = TestTelemetry::new();
        let layer = OtelMlClientLayer::builder()
            .telemetry(test.telemetry())
            .build();
        check_readiness(
            &layer,
            || request(&HeaderMap::new()),
            || response(Reply::Empty),
        );
        assert_eq!(test.spans().len(), 2);
        ready(())
    }
}
