use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use otel_ml_tower::otel_ml::hooks::AllHooks;
use otel_ml_tower::otel_ml::{MlSpan, Operation};
use otel_ml_tower::server::Tower;
use otel_ml_tower::{InstrumentedBody, RequestHead, ResponseFuture, receive};
use tonic::server::NamedService;
use tower_service::Service;

use super::exchange::ServerExchange;
use super::layer::{DefaultHooks, ServerOptions};
use crate::body::count_messages;
use crate::carrier::{CallHeaders, MetadataExtractor};
use crate::status::is_grpc_type;

/// The service that [`OtelMlLayer`](super::OtelMlLayer) makes.
///
/// `poll_ready` and the errors are the inner service's; the inner service is never cloned. The
/// request's body keeps its type.
pub struct OtelMl<S, H = DefaultHooks> {
    inner: S,
    options: Arc<ServerOptions<H>>,
}

impl<S, H> OtelMl<S, H> {
    pub(super) const fn new(inner: S, options: Arc<ServerOptions<H>>) -> Self {
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

impl<S, H, B, RB> Service<Request<B>> for OtelMl<S, H>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: 'static,
    H: for<'a> AllHooks<RequestHead<'a>>,
    B: 'static,
    RB: Body,
    RB::Error: 'static,
{
    type Response = Response<InstrumentedBody<RB, ServerExchange<H>>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ServerExchange<H>, Tower>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let head = RequestHead::from(&request);
        let carrier = |found: Option<&mut _>| MetadataExtractor::scan(request.headers(), found);
        let start = |sender, headers: &CallHeaders<'_>| {
            if headers.content_type.is_some_and(is_grpc_type) {
                ServerExchange::start(&self.options, &head, headers, sender)
            } else {
                let parent = &self.options.common.parent;
                Operation::passing(parent.parent_of(sender))
            }
        };
        let mut operation = receive(&self.options.common, &head, carrier, start);
        if operation.is_recording() {
            if let Some(cx) = operation.context() {
                count_messages(request.body_mut(), MlSpan::from_context(cx));
            }
            if let Some(exchange) = operation.record_mut() {
                exchange.record_messages();
            }
        }
        let inner = operation.scope(|| self.inner.call(request));
        ResponseFuture::new(inner, operation)
    }
}

impl<S: NamedService, H> NamedService for OtelMl<S, H> {
    const NAME: &'static str = S::NAME;
}

impl<S: Clone, H> Clone for OtelMl<S, H> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            options: Arc::clone(&self.options),
        }
    }
}

impl<S: fmt::Debug, H> fmt::Debug for OtelMl<S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMl")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
