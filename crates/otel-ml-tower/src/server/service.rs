use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response, Uri};
use http_body::Body;
use otel_ml::carrier::HeaderExtractor;
use otel_ml::hooks::AllHooks;
use tower_service::Service;

use super::exchange::ServerExchange;
use super::layer::{DefaultHooks, ServerOptions};
use crate::body::{Exchange, InstrumentedBody, WrapBody};
use crate::future::ResponseFuture;
use crate::peer::PeerAddress;
use crate::request::{Headers, RequestHead};
use crate::start::receive;

/// The template of the route that a request matched, as a request extension: for routers
/// other than axum's. It becomes `http.route` and part of the span's name.
///
/// # Cardinality
/// A template such as `/models/{model}`, never a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route(pub &'static str);

/// What a web framework knows of a request beside HTTP.
pub trait Framework {
    /// The template of the route that the request matched.
    fn route<'a>(request: &RequestHead<'a>) -> Option<&'a str>;

    /// The address at the other end of the connection.
    fn peer(request: &RequestHead<'_>) -> Option<SocketAddr>;

    /// The URI as it was received: routers may strip what they have matched.
    fn uri<'a>(request: &RequestHead<'a>) -> &'a Uri {
        request.uri
    }
}

/// No framework: [`Route`] and [`PeerAddress`] say what HTTP doesn't, and bodies become
/// [`InstrumentedBody`].
#[derive(Clone, Copy, Debug)]
pub struct Tower;

impl Framework for Tower {
    fn route<'a>(request: &RequestHead<'a>) -> Option<&'a str> {
        request.extensions.get::<Route>().map(|route| route.0)
    }

    fn peer(request: &RequestHead<'_>) -> Option<SocketAddr> {
        request.extensions.get::<PeerAddress>().map(|peer| peer.0)
    }
}

impl<B, X> WrapBody<B, X> for Tower
where
    B: Body,
    B::Error: 'static,
    X: Exchange,
{
    type Body = InstrumentedBody<B, X>;

    fn untouched(body: B) -> Self::Body {
        InstrumentedBody::untouched(body)
    }

    fn wrapped(body: InstrumentedBody<B, X>) -> Self::Body {
        body
    }
}

/// The service that [`OtelMlLayer`](super::OtelMlLayer) makes.
///
/// `poll_ready` and the errors are the inner service's; the inner service is never cloned.
pub struct OtelMl<S, H = DefaultHooks, W = Tower> {
    inner: S,
    options: Arc<ServerOptions<H>>,
    framework: PhantomData<fn() -> W>,
}

impl<S, H, W> OtelMl<S, H, W> {
    /// Wraps `inner`.
    pub const fn new(inner: S, options: Arc<ServerOptions<H>>) -> Self {
        Self {
            inner,
            options,
            framework: PhantomData,
        }
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

impl<S, H, W, B, RB> Service<Request<B>> for OtelMl<S, H, W>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: 'static,
    H: for<'a> AllHooks<RequestHead<'a>>,
    RB: Body,
    W: Framework + WrapBody<RB, ServerExchange<H>>,
{
    type Response = Response<W::Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ServerExchange<H>, W>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    // Inlined into a service that wraps its future, that one is copied once more.
    #[inline(never)]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let head = RequestHead::from(&request);
        let carrier = |found: Option<&mut _>| read(request.headers(), found);
        let start =
            |sender, headers: &_| ServerExchange::start::<W>(&self.options, &head, headers, sender);
        let mut operation = receive(&self.options.common, &head, carrier, start);
        let entered = operation.enter();
        let inner = self.inner.call(request);
        entered.leave();
        ResponseFuture::new(inner, operation)
    }
}

/// What the context is read from; in the same pass, what `found` is to hold.
#[inline]
fn read<'a>(headers: &'a HeaderMap, found: Option<&mut Headers<'a>>) -> HeaderExtractor<'a> {
    match found {
        Some(found) => HeaderExtractor::scan(headers, |name, value| found.take(name, value)),
        None => HeaderExtractor::new(headers),
    }
}

impl<S: Clone, H, W> Clone for OtelMl<S, H, W> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            options: Arc::clone(&self.options),
            framework: PhantomData,
        }
    }
}

impl<S: fmt::Debug, H, W> fmt::Debug for OtelMl<S, H, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMl")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
