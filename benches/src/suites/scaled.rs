//! The request of `http-server` with more of something: routes, headers, requests before it.

use axum::Router;
use http::{HeaderName, HeaderValue};

use super::http_server::{self, handler, layered, request, uri};
use super::{Iterate, Row, Scaled, Suite};
use crate::condition::Condition::{self, C};
use crate::layers::Variant::{self, OtelMl, OtelMlSpans};
use crate::poll::answer;

const ROWS: &[Row] = &[
    Row::for_information(OtelMl, C),
    Row::for_information(OtelMlSpans, C),
];

/// Each request goes to another of so many routes.
pub(super) const ROUTES: Scaled = Scaled {
    suite: Suite {
        name: "http-server-500-routes",
        unit: "request",
        is_timed: false,
        rows: ROWS,
        spans: |requests| requests.into(),
        prepare: prepare_routes,
    },
    of: "http-server",
    warm_up: 3 * NUMBER_OF_ROUTES,
    not_yet: None,
};
const NUMBER_OF_ROUTES: u32 = 500;

/// With headers that no instrumentation is told to read.
pub(super) const HEADERS: Scaled = Scaled {
    suite: Suite {
        name: "http-server-20-headers",
        unit: "request",
        is_timed: false,
        rows: ROWS,
        spans: |requests| requests.into(),
        prepare: prepare_headers,
    },
    of: "http-server",
    warm_up: 300,
    // Two walks over all headers.
    not_yet: Some(1_000),
};

/// After so many requests, each to a path of its own.
pub(super) const UPTIME: Scaled = Scaled {
    suite: Suite {
        name: "http-server-after-100000",
        unit: "request",
        is_timed: false,
        // As shipped it has every table that without metrics it has, and more.
        rows: &[Row::for_information(OtelMl, C)],
        spans: |requests| requests.into(),
        prepare: http_server::prepare,
    },
    of: "http-server",
    warm_up: 100_000,
    not_yet: None,
};

fn prepare_routes(variant: Variant, condition: Condition) -> Iterate {
    let router = (0..NUMBER_OF_ROUTES).fold(Router::new(), |router, route| {
        let path = format!("/v{route:03}/models/{{model}}/infer");
        router.route(&path, handler(variant, condition))
    });
    let mut router = layered(router, variant).with_state(());
    let mut number = 0;
    Box::new(move |requests| {
        for _ in 0..requests {
            number += 1;
            let mut request = request(number, condition);
            let route = number % NUMBER_OF_ROUTES;
            *request.uri_mut() = uri(format!("/v{route:03}/models/m{number:08}/infer"));
            answer(&mut router, request);
        }
    })
}

/// What browsers, proxies and gateways add: with the six of every request, twenty.
const MORE_HEADERS: [(HeaderName, HeaderValue); 14] = [
    header(http::header::ACCEPT_ENCODING, "gzip, deflate, br, zstd"),
    header(http::header::ACCEPT_LANGUAGE, "en-GB,en;q=0.9"),
    header(http::header::CACHE_CONTROL, "no-cache"),
    header(http::header::ORIGIN, "https://app.example.com"),
    header(http::header::REFERER, "https://app.example.com/ask"),
    header(http::header::VIA, "1.1 edge-17"),
    header(http::header::DNT, "1"),
    named("sec-fetch-mode", "cors"),
    named("sec-fetch-site", "same-site"),
    named("x-request-id", "0b9c1f52-6c1f-4b1a-9a4e-3f1f2d7c8e10"),
    named("x-tenant", "acme"),
    named("x-region", "eu-central-1"),
    named("x-api-version", "2026-10-01"),
    named("x-deadline-ms", "2500"),
];

const fn header(name: HeaderName, value: &'static str) -> (HeaderName, HeaderValue) {
    (name, HeaderValue::from_static(value))
}

const fn named(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
    header(HeaderName::from_static(name), value)
}

fn prepare_headers(variant: Variant, condition: Condition) -> Iterate {
    let path = "/v1/models/{model}/infer";
    let router = Router::new().route(path, handler(variant, condition));
    let mut router = layered(router, variant).with_state(());
    let mut number = 0;
    Box::new(move |requests| {
        for _ in 0..requests {
            number += 1;
            let mut request = request(number, condition);
            request.headers_mut().extend(MORE_HEADERS);
            answer(&mut router, request);
        }
    })
}
