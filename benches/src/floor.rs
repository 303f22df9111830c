//! The least that a traced request costs: the same span with the same attributes and facts,
//! written by hand over the OpenTelemetry API, with nothing of what makes it a library (no
//! filter, no options, no panic guard, no end of a body, no metrics, no look at proxies).

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Instant;

use http::header::{HOST, HeaderName, USER_AGENT};
use http::{Request, Response};
use otel_ml_tower::otel_ml::opentelemetry::global::{self, BoxedTracer};
use otel_ml_tower::otel_ml::opentelemetry::trace::{
    SpanBuilder, SpanContext, SpanKind, TraceContextExt, TraceState, Tracer,
};
use otel_ml_tower::otel_ml::opentelemetry::{Context, Key, KeyValue, Value};
use otel_ml_tower::otel_ml::propagation::TraceParent;
use pin_project::pin_project;
use smallvec::SmallVec;
use tower_layer::Layer;
use tower_service::Service;

/// What handlers write to.
struct Facts {
    _started: Instant,
    list: Mutex<SmallVec<[KeyValue; 8]>>,
}

/// Writes a fact to the request that is current.
pub(crate) fn fact(key: &'static str, value: impl Into<Value>) {
    Context::map_current(|cx| {
        if let Some(facts) = cx.get::<Facts>()
            && let Ok(mut list) = facts.list.lock()
        {
            let key = Key::from_static_str(key);
            match list.iter_mut().find(|fact| fact.key == key) {
                Some(fact) => fact.value = value.into(),
                None => list.push(KeyValue::new(key, value)),
            }
        }
    });
}

/// The layer.
#[derive(Clone, Copy, Debug)]
pub struct Floor;

impl<S> Layer<S> for Floor {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced {
            inner,
            tracer: std::sync::Arc::new(global::tracer("floor")),
        }
    }
}

/// The service.
#[derive(Clone, Debug)]
pub struct Traced<S> {
    inner: S,
    tracer: std::sync::Arc<BoxedTracer>,
}

impl<S, B, RB> Service<Request<B>> for Traced<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Running<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Running<S::Future> {
        static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
        let parent = request.headers().get(&TRACEPARENT);
        let parent = parent.and_then(|value| TraceParent::parse(value.as_bytes()));
        let cx = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(SpanContext::new(
                parent.trace_id,
                parent.span_id,
                parent.flags,
                true,
                TraceState::NONE,
            ))
        });
        let mut attributes = Vec::with_capacity(18);
        attributes.push(KeyValue::new("http.request.method", "POST"));
        attributes.push(KeyValue::new("url.scheme", "http"));
        attributes.push(KeyValue::new("url.path", request.uri().path().to_owned()));
        attributes.push(KeyValue::new("http.route", "/v1/models/{model}/infer"));
        if request.headers().get(HOST).is_some() {
            attributes.push(KeyValue::new("server.address", "inference.example.com"));
            attributes.push(KeyValue::new("server.port", 8080));
        }
        if request.headers().get(USER_AGENT).is_some() {
            attributes.push(KeyValue::new("user_agent.original", "example-client/1.4.2"));
        }
        attributes.push(KeyValue::new("network.protocol.version", "1.1"));
        let builder = SpanBuilder::from_name("POST /v1/models/{model}/infer")
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        let span = self.tracer.build_with_context(builder, &cx);
        let cx = cx.with_span(span);
        let cx = cx.with_value(Facts {
            _started: Instant::now(),
            list: Mutex::default(),
        });
        let attached = cx.clone().attach();
        let inner = self.inner.call(request);
        drop(attached);
        Running { inner, cx }
    }
}

/// The future.
#[pin_project]
#[derive(Debug)]
pub struct Running<F> {
    #[pin]
    inner: F,
    cx: Context,
}

impl<F: Future<Output = Result<Response<B>, E>>, B, E> Future for Running<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = self.project();
        let attached = this.cx.clone().attach();
        let result = ready!(this.inner.poll(cx));
        drop(attached);
        let span = this.cx.span();
        if let Ok(response) = &result {
            let status = i64::from(response.status().as_u16());
            let status = KeyValue::new("http.response.status_code", status);
            if let Some(facts) = this.cx.get::<Facts>()
                && let Ok(mut list) = facts.list.lock()
            {
                list.push(status);
                span.set_attributes(list.drain(..));
            }
        }
        span.end();
        Poll::Ready(result)
    }
}
