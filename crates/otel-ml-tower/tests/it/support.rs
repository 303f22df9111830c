//! Requests, services and polling by hand.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use otel_ml::opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceId};
use otel_ml::opentelemetry::{Context as OtelContext, Value};
use otel_ml_testing::TestTelemetry;
use otel_ml_testing::mock::MockBody;
use otel_ml_tower::{OtelMlClientLayer, OtelMlClientLayerBuilder, OtelMlLayer, OtelMlLayerBuilder};
use tower::{Layer, Service};

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub(crate) const PARENT: &str = "b7ad6b7169203331";
pub(crate) const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
pub(crate) const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

pub(crate) fn trace_id() -> TraceId {
    TraceId::from_hex(TRACE).unwrap()
}

pub(crate) fn parent_id() -> SpanId {
    SpanId::from_hex(PARENT).unwrap()
}

pub(crate) fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let builder = Request::builder().method(method).uri(uri);
    let builder = headers.iter().fold(builder, |builder, (name, value)| {
        builder.header(*name, *value)
    });
    builder.body(()).unwrap()
}

pub(crate) fn get(headers: &[(&str, &str)]) -> Request<()> {
    request("GET", "/predict", headers)
}

pub(crate) fn status(status: u16) -> Response<MockBody> {
    Response::builder()
        .status(status)
        .body(MockBody::new())
        .unwrap()
}

pub(crate) fn server(test: &TestTelemetry) -> OtelMlLayerBuilder {
    OtelMlLayer::builder().telemetry(test.telemetry())
}

pub(crate) fn client(test: &TestTelemetry) -> OtelMlClientLayerBuilder {
    OtelMlClientLayer::builder().telemetry(test.telemetry())
}

/// Answers one request.
pub(crate) struct Answer(pub(crate) Option<Response<MockBody>>);

impl Service<Request<()>> for Answer {
    type Response = Response<MockBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        ready(Ok(self.0.take().expect("one request only")))
    }
}

/// One exchange over `layer`; the body is not read yet.
pub(crate) fn head_of<L, B>(
    layer: &L,
    request: Request<()>,
    response: Response<MockBody>,
) -> Response<B>
where
    L: Layer<Answer>,
    L::Service: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let mut service = layer.layer(Answer(Some(response)));
    run(service.call(request)).unwrap()
}

/// One exchange over `layer`, to the end of the body.
pub(crate) fn exchange<L, B>(layer: &L, request: Request<()>, response: Response<MockBody>)
where
    L: Layer<Answer>,
    L::Service: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    drop(run(head_of(layer, request, response).into_body().collect()));
}

/// Polls once.
pub(crate) fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls to the end. What it waits for must come by polling alone.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    (0..1000)
        .find_map(|_| match poll(future.as_mut()) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        })
        .expect("still pending")
}

/// What a body answers to a poll.
type NextFrame<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

/// The next frame, if it is ready.
pub(crate) fn poll_frame<B: Body + Unpin>(body: &mut B) -> NextFrame<B> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// Pending once, with the task woken.
pub(crate) async fn yield_once() {
    let mut is_first = true;
    std::future::poll_fn(|cx| {
        if std::mem::take(&mut is_first) {
            cx.waker().wake_by_ref();
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
}

pub(crate) fn current_span() -> SpanContext {
    OtelContext::current().span().span_context().clone()
}

/// The values of a header.
pub(crate) fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let values = headers.get_all(name).iter();
    values.map(|value| value.to_str().unwrap()).collect()
}

pub(crate) fn text(value: &str) -> Value {
    Value::from(value.to_owned())
}
