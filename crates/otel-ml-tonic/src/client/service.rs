use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use otel_ml_tower::otel_ml::hooks::AllHooks;
use otel_ml_tower::server::Tower;
use otel_ml_tower::{InstrumentedBody, RequestHead, ResponseFuture, send};
use tower_service::Service;

use super::exchange::ClientExchange;
use super::layer::{ClientOptions, DefaultHooks};

/// The service that [`OtelMlClientLayer`](super::OtelMlClientLayer) makes: what generated
/// clients take in place of a channel.
///
/// `poll_ready` and the errors are the inner service's; the inner service is never cloned. The
/// request's body keeps its type.
pub struct OtelMlClient<S, H = DefaultHooks> {
    inner: S,
    options: Arc<ClientOptions<H>>,
}

impl<S, H> OtelMlClient<S, H> {
    pub(super) const fn new(inner: S, options: Arc<ClientOptions<H>>) -> Self {
        Self { inner, options }
    }

    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, H, B, RB> Service<Request<B>> for OtelMlClient<S, H>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: 'static,
    H: for<'a> AllHooks<RequestHead<'a>>,
    B: 'static,
    RB: Body,
    RB::Error: 'static,
{
    type Response = Response<InstrumentedBody<RB, ClientExchange<H>>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ClientExchange<H>, Tower>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let start = |request: &mut Request<B>, current| {
            ClientExchange::start(&self.options, request, current)
        };
        let call = |request| self.inner.call(request);
        send(&self.options.common, request, start, call)
    }
}

impl<S: Clone, H> Clone for OtelMlClient<S, H> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            options: Arc::clone(&self.options),
        }
    }
}

impl<S: fmt::Debug, H> fmt::Debug for OtelMlClient<S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMlClient")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
