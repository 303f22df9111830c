//! Rows about what a transport is set up with, and what it must leave alone.

use std::future::Ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, Request, Response};
use otel_ml_testing::opentelemetry::global;
use otel_ml_testing::opentelemetry::metrics::noop::NoopMeterProvider;
use otel_ml_testing::opentelemetry::trace::noop::NoopTracerProvider;
use otel_ml_testing::{TestTelemetry, assert_no_secret};
use otel_ml_tonic::otel_ml::{MlSpan, Telemetry};
use otel_ml_tonic::{OtelMlClientLayer, OtelMlLayer};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::parents::passed_on;
use crate::support::{
    Asked, Echo, SAMPLED, answers, asking, call, channel, echo, handler, plain, serve,
};
use crate::world::{Side, Tested, World, from_afar, headers};

pub(crate) async fn sensitive_headers(tested: Tested) {
    let test = TestTelemetry::new();
    let handler = handler(async |_: Asked| {
        let mut late = Status::not_found("S3CRET");
        late.metadata_mut()
            .insert("set-cookie", "S3CRET".parse().unwrap());
        Err(late)
    });
    let secrets = headers(&[
        ("authorization", "Bearer S3CRET"),
        ("cookie", "session=S3CRET"),
        ("x-api-key", "S3CRET"),
        ("traceparent", SAMPLED),
    ]);
    let world = World::new(tested, &test, handler).await;
    world.call(&secrets).await.unwrap_err();
    tested.only(&test).await;
    assert_no_secret(&test.spans(), &["S3CRET"]);
    let metrics = test.metrics().to_string();
    assert!(!metrics.contains("S3CRET"), "{metrics}");
}

pub(crate) async fn no_sdk(tested: Tested) {
    let is_recording = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_recording);
    let handler = handler(move |asked: Asked| {
        assert!(
            asked.metadata.get("traceparent").is_none(),
            "there is no propagator either"
        );
        seen.fetch_or(MlSpan::current().is_recording(), Ordering::SeqCst);
        std::future::ready(Ok(answers(["x"])))
    });
    let telemetry = Telemetry::builder().build();
    assert!(!telemetry.is_tracing() && telemetry.instruments().is_none());
    let world = World::with(tested, telemetry, true, Arc::clone(&handler)).await;
    world.call(&HeaderMap::new()).await.unwrap();
    // The layers as they stand.
    match tested.side {
        Side::Server => {
            let serving = serve(OtelMlLayer, Echo::new(handler)).await;
            let answer = call(channel(&serving), tested.kind, asking(["a"])).await;
            answer.unwrap();
        }
        Side::Client => {
            let serving = plain(handler).await;
            let channel = OtelMlClientLayer.layer(channel(&serving));
            call(channel, tested.kind, asking(["a"])).await.unwrap();
        }
    }
    assert!(!is_recording.load(Ordering::SeqCst));
}

/// The global providers, until this is dropped.
struct Installed;

#[expect(
    clippy::disallowed_methods,
    reason = "what a program does, in a process that has no other test"
)]
impl Installed {
    fn new(test: &TestTelemetry) -> Self {
        global::set_tracer_provider(test.tracer_provider().clone());
        global::set_meter_provider(test.meter_provider().clone());
        Self
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the next cell starts with nothing installed"
)]
impl Drop for Installed {
    fn drop(&mut self) {
        global::set_tracer_provider(NoopTracerProvider::new());
        global::set_meter_provider(NoopMeterProvider::new());
    }
}

pub(crate) async fn built_before_provider(tested: Tested) {
    let test = TestTelemetry::new();
    let telemetry = Telemetry::builder().build();
    let world = World::with(tested, telemetry, true, echo()).await;
    world.call(&from_afar(SAMPLED)).await.unwrap();
    let _installed = Installed::new(&test);
    assert!(test.spans().is_empty());
    world.call(&from_afar(SAMPLED)).await.unwrap();
    tested.assert_error(&test, None).await;
}

pub(crate) async fn provider_shut_down(tested: Tested) {
    let test = TestTelemetry::new();
    test.shutdown();
    let sent = from_afar(SAMPLED);
    assert_eq!(passed_on(tested, test.telemetry(), true, &sent).await, sent);
    assert!(test.spans().is_empty());
}

/// What was built with the old provider keeps it; what is built with the new one has that.
pub(crate) async fn provider_replaced(tested: Tested) {
    let (old, new) = (TestTelemetry::new(), TestTelemetry::new());
    let none = HeaderMap::new();
    let before = World::new(tested, &old, echo()).await;
    before.call(&none).await.unwrap();
    let after = World::new(tested, &new, echo()).await;
    after.call(&none).await.unwrap();
    before.call(&none).await.unwrap();
    tested.own(&old, 2).await;
    tested.assert_error(&new, None).await;
}

/// A service that is ready when told, and the only one of its kind.
struct Gate(Arc<AtomicBool>);

impl Service<Request<Body>> for Gate {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Ready<Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        if self.0.load(Ordering::SeqCst) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn call(&mut self, _request: Request<Body>) -> Self::Future {
        let is_ready = self.0.swap(false, Ordering::SeqCst);
        assert!(is_ready, "called without being ready");
        std::future::ready(Ok(Status::ok("").into_http()))
    }
}

/// At the service's own level: `Gate` can't be cloned.
pub(crate) async fn poll_ready(tested: Tested) {
    let test = TestTelemetry::new();
    match tested.side {
        Side::Server => {
            let layer = OtelMlLayer::builder().telemetry(test.telemetry());
            check_readiness(&layer.build(), tested).await;
        }
        Side::Client => {
            let layer = OtelMlClientLayer::builder().telemetry(test.telemetry());
            check_readiness(&layer.build(), tested).await;
        }
    }
    tested.own(&test, 2).await;
}

async fn check_readiness<L>(layer: &L, tested: Tested)
where
    L: Layer<Gate, Service: Service<Request<Body>, Error = Status>>,
{
    let is_open = Arc::new(AtomicBool::new(false));
    let mut service = layer.layer(Gate(Arc::clone(&is_open)));
    let cx = &mut Context::from_waker(Waker::noop());
    for _ in 0..2 {
        assert!(service.poll_ready(cx).is_pending());
        is_open.store(true, Ordering::SeqCst);
        assert!(service.poll_ready(cx).is_ready());
        let request = Request::post(format!("http://h/{}", tested.kind.method()))
            .header("content-type", "application/grpc");
        let answer = service.call(request.body(Body::empty()).unwrap()).await;
        assert!(answer.is_ok());
    }
}
