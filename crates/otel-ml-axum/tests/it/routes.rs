//! `http.route`, wherever the layer is put and however the router is made.

use std::convert::Infallible;

use axum::Router;
use axum::handler::Handler as _;
use axum::response::Response;
use axum::routing::{any_service, get, post};
use otel_ml_axum::OtelMlLayer;
use otel_ml_axum::otel_ml::opentelemetry::trace::SpanKind;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_types};
use otel_ml_tower::server::ConfiguredOtelMlLayer;
use tower::service_fn;

use crate::support::{self, fetch, layer, request, serve};

type Layer = ConfiguredOtelMlLayer<otel_ml_tower::server::DefaultHooks, otel_ml_axum::Axum>;

async fn ok() -> &'static str {
    "ok"
}

fn models() -> Router {
    Router::new().route("/models/{model}", get(ok))
}

/// A router, what is asked of it, and the route it should name.
struct Case {
    name: &'static str,
    router: fn(Layer) -> Router,
    path: &'static str,
    route: Option<&'static str>,
    status: u16,
}

const CASES: &[Case] = &[
    Case {
        name: "Router::layer",
        router: |layer| models().layer(layer),
        path: "/models/gpt-4",
        route: Some("/models/{model}"),
        status: 200,
    },
    Case {
        name: "Router::route_layer",
        router: |layer| models().route_layer(layer),
        path: "/models/gpt-4",
        route: Some("/models/{model}"),
        status: 200,
    },
    Case {
        name: "MethodRouter::layer",
        router: |layer| Router::new().route("/models/{model}", get(ok).layer(layer)),
        path: "/models/gpt-4",
        route: Some("/models/{model}"),
        status: 200,
    },
    Case {
        name: "Handler::layer",
        router: |layer| Router::new().route("/models/{model}", get(ok.layer(layer))),
        path: "/models/gpt-4",
        route: Some("/models/{model}"),
        status: 200,
    },
    Case {
        name: "the root",
        router: |layer| Router::new().route("/", get(ok)).layer(layer),
        path: "/",
        route: Some("/"),
        status: 200,
    },
    Case {
        name: "a rest of the path",
        router: |layer| Router::new().route("/files/{*path}", get(ok)).layer(layer),
        path: "/files/a/b/c",
        route: Some("/files/{*path}"),
        status: 200,
    },
    Case {
        name: "nested, layer outside",
        router: |layer| Router::new().nest("/v1", models()).layer(layer),
        path: "/v1/models/gpt-4",
        route: Some("/v1/models/{model}"),
        status: 200,
    },
    Case {
        name: "nested, layer inside",
        router: |layer| Router::new().nest("/v1", models().layer(layer)),
        path: "/v1/models/gpt-4",
        route: Some("/v1/models/{model}"),
        status: 200,
    },
    Case {
        name: "nested twice, with a parameter",
        router: |layer| {
            let tenant = Router::new().nest("/{tenant}", models());
            Router::new().nest("/v1", tenant).layer(layer)
        },
        path: "/v1/acme/models/gpt-4",
        route: Some("/v1/{tenant}/models/{model}"),
        status: 200,
    },
    Case {
        name: "merged",
        router: |layer| {
            let health = Router::new().route("/version", get(ok));
            health.merge(models()).layer(layer)
        },
        path: "/models/gpt-4",
        route: Some("/models/{model}"),
        status: 200,
    },
    Case {
        name: "a router as a nested service, layer inside",
        router: |layer| Router::new().nest_service("/v1", models().layer(layer)),
        path: "/v1/models/gpt-4",
        route: Some("/v1/models/{model}"),
        status: 200,
    },
    Case {
        name: "a nested service, which has no routes",
        router: |layer| {
            let service = service_fn(async |_request: axum::extract::Request| {
                Ok::<_, Infallible>(Response::new(axum::body::Body::empty()))
            });
            Router::new()
                .nest_service("/v1", any_service(service))
                .layer(layer)
        },
        path: "/v1/models/gpt-4",
        route: None,
        status: 200,
    },
    Case {
        name: "nothing found",
        router: |layer| models().layer(layer),
        path: "/absent/gpt-4",
        route: None,
        status: 404,
    },
    Case {
        name: "a fallback",
        router: |layer| models().fallback(ok).layer(layer),
        path: "/absent/gpt-4",
        route: None,
        status: 200,
    },
    Case {
        name: "a nested fallback",
        router: |layer| {
            let nested = models().fallback(ok);
            Router::new().nest("/v1", nested).layer(layer)
        },
        path: "/v1/absent",
        route: None,
        status: 200,
    },
    Case {
        name: "another method",
        router: |layer| {
            Router::new()
                .route("/models/{model}", post(ok))
                .layer(layer)
        },
        path: "/models/gpt-4",
        route: Some("/models/{model}"),
        status: 405,
    },
];

#[tokio::test]
async fn the_route_is_the_matched_path_or_none() {
    for case in CASES {
        let test = TestTelemetry::new();
        let server = serve((case.router)(layer(&test).build())).await;
        let answer = support::get(server, case.path).await;
        assert_eq!(answer.status, case.status, "{}", case.name);
        let spans = test.wait_for_spans(1).await;
        let span = spans.root();
        let name = case
            .route
            .map_or("GET".into(), |route| format!("GET {route}"));
        assert_eq!(span.name, name, "{}", case.name);
        assert_eq!(span.span_kind, SpanKind::Server);
        let route = span.attr("http.route").map(|route| route.to_string());
        assert_eq!(route.as_deref(), case.route, "{}", case.name);
        assert_eq!(
            span.int("http.response.status_code"),
            i64::from(case.status)
        );
        assert!(!span.is_error() && !span.has("error.type"), "{}", case.name);
        assert_types(&spans);
        let metrics = test.metrics();
        let duration = metrics.histogram("http.server.request.duration");
        let series = match case.route {
            Some(route) => duration.with("http.route", route),
            None => duration.without("http.route"),
        };
        assert_eq!(series.count(), 1, "{}", case.name);
    }
}

/// axum shows nested routers the rest of the path only; the client asked for all of it.
#[tokio::test]
async fn the_path_is_the_one_that_was_asked_for() {
    for case in CASES {
        let test = TestTelemetry::new();
        let server = serve((case.router)(layer(&test).build())).await;
        support::get(server, case.path).await;
        let spans = test.wait_for_spans(1).await;
        assert_eq!(spans.root().str("url.path"), case.path, "{}", case.name);
    }
}

#[tokio::test]
async fn a_route_layer_does_not_see_what_matches_no_route() {
    let test = TestTelemetry::new();
    let server = serve(models().route_layer(layer(&test).build())).await;
    assert_eq!(support::get(server, "/absent").await.status, 404);
    assert_eq!(support::get(server, "/models/a").await.status, 200);
    assert_eq!(
        test.wait_for_spans(1).await.root().name,
        "GET /models/{model}"
    );
}

#[tokio::test]
async fn the_unit_layer_fits_wherever_a_layer_does() {
    let router = Router::new()
        .route("/handler", get(ok.layer(OtelMlLayer)))
        .route("/method", get(ok).layer(OtelMlLayer))
        .route_layer(OtelMlLayer)
        .nest("/nested", models().layer(OtelMlLayer))
        .layer(OtelMlLayer);
    let server = serve(router).await;
    for path in ["/handler", "/method", "/nested/models/a"] {
        let answer = support::get(server, path).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"ok"[..]));
    }
}

#[tokio::test]
async fn a_head_request_to_a_get_route_ends_at_its_head() {
    let test = TestTelemetry::new();
    let server = serve(models().layer(layer(&test).build())).await;
    let answer = fetch(server, request("HEAD", "/models/a")).await;
    assert_eq!(answer.headers["content-length"], "2");
    assert!(answer.body.is_empty());
    let spans = test.wait_for_spans(1).await;
    assert_eq!(spans.root().name, "HEAD /models/{model}");
    assert!(!spans.root().is_error());
}
