use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, OriginalUri};
use http::Uri;
use http::request::Parts;
use otel_ml_tower::server::Framework;
use otel_ml_tower::{Exchange, InstrumentedBody, WrapBody};

/// What axum knows of a request: the route's template from [`MatchedPath`], the peer from
/// [`ConnectInfo`]. Its own body type is kept, so that small answers pass without a box.
#[derive(Clone, Copy, Debug)]
pub struct Axum;

impl Framework for Axum {
    fn route(request: &Parts) -> Option<&str> {
        request
            .extensions
            .get::<MatchedPath>()
            .map(MatchedPath::as_str)
    }

    fn peer(request: &Parts) -> Option<SocketAddr> {
        request
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|info| info.0)
    }

    fn uri(request: &Parts) -> &Uri {
        request
            .extensions
            .get::<OriginalUri>()
            .map_or(&request.uri, |uri| &uri.0)
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
