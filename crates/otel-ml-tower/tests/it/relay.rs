//! Requests that come from afar, and go on from wherever a served request can send them.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use otel_ml_testing::TestTelemetry;
use otel_ml_testing::mock::MockBody;
use tower::{Layer, Service};

use crate::support::{client, request, run, status, values};

pub(crate) const STATE: &str = "ot=th:8;rv:9,vendor@sys=1";
pub(crate) const BAGGAGE: &str = "user.tier=pro,note=a%20b;ttl=5";

pub(crate) fn from_afar(traceparent: &'static str) -> [(&'static str, &'static str); 3] {
    [
        ("traceparent", traceparent),
        ("tracestate", STATE),
        ("baggage", BAGGAGE),
    ]
}

/// The baggage as a set: its order is nobody's promise.
pub(crate) fn baggage(headers: &HeaderMap) -> Vec<&str> {
    let mut members: Vec<_> = values(headers, "baggage")
        .into_iter()
        .flat_map(|list| list.split(','))
        .collect();
    members.sort_unstable();
    members
}

pub(crate) fn assert_passed_on_whole(sent: &HeaderMap, traceparent: &str) {
    assert_eq!(values(sent, "traceparent"), [traceparent]);
    assert_eq!(values(sent, "tracestate"), [STATE]);
    assert_eq!(baggage(sent), ["note=a%20b;ttl=5", "user.tier=pro"]);
}

/// The headers that a request sent through `layer` leaves with.
pub(crate) fn sent_by<L, B>(layer: &L, headers: &[(&str, &str)]) -> HeaderMap
where
    L: Layer<Capture>,
    L::Service: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let seen = Rc::default();
    let mut service = layer.layer(Capture(Rc::clone(&seen)));
    let request = request("GET", "http://next/", headers);
    assert!(run(service.call(request)).is_ok());
    seen.take()
}

/// Keeps the headers of the request it gets.
pub(crate) struct Capture(Rc<RefCell<HeaderMap>>);

impl Service<Request<()>> for Capture {
    type Response = Response<MockBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        self.0.replace(request.into_parts().0.headers);
        ready(Ok(status(200)))
    }
}

/// The headers that requests leave with which a served one sends: from `call`, from its
/// future, and from its body.
pub(crate) fn relay<L>(layer: &L, test: &TestTelemetry, request: Request<()>) -> Vec<HeaderMap>
where
    L: Layer<Relay, Service: Served>,
{
    let relay = Relay {
        test: test.clone(),
        sent: Rc::default(),
    };
    let sent = Rc::clone(&relay.sent);
    layer.layer(relay).serve(request);
    sent.take()
}

/// Sends a request on wherever it can.
#[derive(Clone)]
pub(crate) struct Relay {
    test: TestTelemetry,
    sent: Rc<RefCell<Vec<HeaderMap>>>,
}

impl Relay {
    fn send(&self) {
        let sent = sent_by(&client(&self.test).build(), &[]);
        self.sent.borrow_mut().push(sent);
    }
}

impl Service<Request<()>> for Relay {
    type Response = Response<Self>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        self.send();
        let relay = self.clone();
        Box::pin(async move {
            relay.send();
            Ok(Response::new(relay))
        })
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.send();
        Poll::Ready(None)
    }
}

/// A service that answers a request to the end of its body.
pub(crate) trait Served {
    fn serve(self, request: Request<()>);
}

impl<S, B> Served for S
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body,
{
    fn serve(mut self, request: Request<()>) {
        let response = run(self.call(request)).unwrap();
        drop(run(response.into_body().collect()));
    }
}
