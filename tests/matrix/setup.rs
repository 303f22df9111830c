//! Rows about what a transport is set up with, and what it must leave alone.

use std::cell::Cell;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::HeaderMap;
use otel_ml::opentelemetry::global;
use otel_ml::opentelemetry::metrics::noop::NoopMeterProvider;
use otel_ml::opentelemetry::trace::noop::NoopTracerProvider;
use otel_ml::{MlSpan, Telemetry};
use otel_ml_testing::{TestTelemetry, assert_no_secret};
use tower::{Layer, Service};

use crate::hop::{
    Fault, Hop, Reply, SAMPLED, Settings, answering, assert_error, from_afar, handler, headers,
    link, own, passed_on,
};

pub(crate) async fn sensitive_headers<H: Hop>() {
    let test = TestTelemetry::new();
    let secrets = headers(&[
        ("authorization", "Bearer S3CRET"),
        ("cookie", "session=S3CRET"),
        ("x-api-key", "S3CRET"),
        ("traceparent", SAMPLED),
    ]);
    let mut link = link::<H>(&test, answering(Reply::Short));
    link.call(&secrets).await.unwrap();
    assert_error::<H>(&test, None);
    assert_no_secret(&test.spans(), &["S3CRET"]);
    let metrics = test.metrics().to_string();
    assert!(!metrics.contains("S3CRET"), "{metrics}");
}

pub(crate) async fn no_sdk<H: Hop>() {
    let is_recording = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_recording);
    let handler = handler(move |passed_on: HeaderMap| {
        assert!(passed_on.is_empty(), "there is no propagator either");
        MlSpan::current().output_tokens(1);
        seen.fetch_or(MlSpan::current().is_recording(), Ordering::SeqCst);
        ready(Ok(Reply::Short))
    });
    let telemetry = Telemetry::builder().build();
    assert!(!telemetry.is_tracing() && telemetry.instruments().is_none());
    let settings = Settings {
        telemetry,
        accepts: true,
    };
    H::unit_link(Arc::clone(&handler))
        .call(&HeaderMap::new())
        .await
        .unwrap();
    H::link(settings, handler)
        .call(&HeaderMap::new())
        .await
        .unwrap();
    assert!(!is_recording.load(Ordering::SeqCst));
    let fault = Fault("x".into());
    let failing = fault.clone();
    let failing = crate::hop::handler(move |_| ready(Err(failing.clone())));
    let error = H::unit_link(failing)
        .call(&HeaderMap::new())
        .await
        .unwrap_err();
    assert!(Arc::ptr_eq(&error.0, &fault.0));
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

pub(crate) async fn built_before_provider<H: Hop>() {
    let test = TestTelemetry::new();
    let settings = Settings {
        telemetry: Telemetry::builder().build(),
        accepts: true,
    };
    let mut link = H::link(settings, answering(Reply::Short));
    link.call(&from_afar(SAMPLED)).await.unwrap();
    let _installed = Installed::new(&test);
    assert!(test.spans().is_empty());
    link.call(&from_afar(SAMPLED)).await.unwrap();
    assert_error::<H>(&test, None);
}

pub(crate) async fn provider_shut_down<H: Hop>() {
    let test = TestTelemetry::new();
    let settings = Settings {
        telemetry: test.telemetry(),
        accepts: true,
    };
    test.shutdown();
    let sent = from_afar(SAMPLED);
    assert_eq!(passed_on::<H>(settings, &sent).await, sent);
    assert!(test.spans().is_empty());
}

/// What has found the old global provider keeps it, and only passes context on once that one is
/// shut down; what looks later finds the new one.
pub(crate) async fn provider_replaced<H: Hop>() {
    let (old, new) = (TestTelemetry::new(), TestTelemetry::new());
    let build = || {
        let settings = Settings {
            telemetry: Telemetry::builder().build(),
            accepts: true,
        };
        H::link(settings, answering(Reply::Short))
    };
    let mut before = build();
    let first = Installed::new(&old);
    before.call(&HeaderMap::new()).await.unwrap();
    drop(first);
    let _second = Installed::new(&new);
    let mut after = build();
    after.call(&HeaderMap::new()).await.unwrap();
    before.call(&HeaderMap::new()).await.unwrap();
    assert_eq!((own::<H>(&old).len(), own::<H>(&new).len()), (2, 1));
    assert_error::<H>(&new, None);
    old.shutdown();
    before.call(&HeaderMap::new()).await.unwrap();
    assert_eq!((own::<H>(&old).len(), own::<H>(&new).len()), (2, 1));
}

/// A service that is ready when told, and the only one of its kind.
pub(crate) struct Gate<F> {
    is_open: Rc<Cell<bool>>,
    is_polled: bool,
    answer: F,
}

impl<F> Clone for Gate<F> {
    fn clone(&self) -> Self {
        unreachable!("the inner service was cloned")
    }
}

impl<R, F: Fn() -> A, A> Service<R> for Gate<F> {
    type Response = A;
    type Error = Fault;
    type Future = Ready<Result<A, Fault>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.is_polled = self.is_open.get();
        if self.is_polled {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn call(&mut self, _request: R) -> Self::Future {
        assert!(
            std::mem::take(&mut self.is_polled),
            "called without being ready"
        );
        ready(Ok((self.answer)()))
    }
}

/// Calls twice through `layer`, as far as the inner service is ready.
pub(crate) fn check_readiness<L, R, F, A>(layer: &L, request: impl Fn() -> R, answer: F)
where
    L: Layer<Gate<F>, Service: Service<R, Error = Fault>>,
    F: Fn() -> A,
{
    let is_open = Rc::new(Cell::new(false));
    let mut service = layer.layer(Gate {
        is_open: Rc::clone(&is_open),
        is_polled: false,
        answer,
    });
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    for _ in 0..2 {
        is_open.set(false);
        assert!(service.poll_ready(cx).is_pending());
        is_open.set(true);
        assert!(service.poll_ready(cx).is_ready());
        let call = std::pin::pin!(service.call(request()));
        assert!(crate::hop::poll(call).is_ready());
    }
}
