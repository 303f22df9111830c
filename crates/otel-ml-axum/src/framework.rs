use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, OriginalUri};
use http::Uri;
use otel_ml_tower::server::Framework;
use otel_ml_tower::{Exchange, InstrumentedBody, RequestHead, WrapBody};

/// What axum knows of a request: the route's template from [`MatchedPath`], the peer from
/// [`ConnectInfo`]. Its own body type is kept, so that small answers pass without a box.
#[derive(Clone, Copy, Debug)]
pub struct Axum;

impl Framework for Axum {
    #[inline]
    fn route<'a>(request: &RequestHead<'a>) -> Option<&'a str> {
        request
            .extensions
            .get::<MatchedPath>()
            .map(MatchedPath::as_str)
    }

    fn peer(request: &RequestHead<'_>) -> Option<SocketAddr> {
        request
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|info| info.0)
    }

    #[inline]
    fn uri<'a>(request: &RequestHead<'a>) -> &'a Uri {
        request
            .extensions
            .get::<OriginalUri>()
            .map_or(request.uri, |uri| &uri.0)
    }
}

impl<X: Exchange + Send + 'static> WrapBody<Body, X> for Axum {
    type Body = Body;

    fn untouched(body: Body) -> Body {
        body
    }

    fn wrapped(body: InstrumentedBody<Body, X>) -> Body {
        Body::new(body)
    }
}
