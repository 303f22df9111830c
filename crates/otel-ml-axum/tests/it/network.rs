//! What the connection tells: peers, versions, the trace that comes in and goes out.

use axum::Router;
use axum::routing::get;
use http::{HeaderMap, Version};
use http_body_util::BodyExt as _;
use otel_ml_axum::MlSpan;
use otel_ml_axum::otel_ml::opentelemetry::Value;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_no_secret, assert_tree};
use otel_ml_tower::OtelMlClientLayer;
use tower::{Layer as _, Service as _, service_fn};

use crate::support::{Connection, PARENT, TRACE, fetch, layer, request, serve};

#[tokio::test]
async fn the_socket_tells_peer_and_client() {
    let test = TestTelemetry::new();
    let router = Router::new().route("/", get(async || "ok"));
    let server = serve(router.layer(layer(&test).build())).await;
    let mut connection = Connection::open(server, Version::HTTP_11).await;
    connection.send(request("GET", "/")).await.unwrap();
    let spans = test.wait_for_spans(1).await;
    let span = spans.root();
    assert_eq!(span.str("client.address"), "127.0.0.1");
    assert_eq!(span.str("network.peer.address"), "127.0.0.1");
    assert_eq!(
        span.int("network.peer.port"),
        i64::from(connection.local_port())
    );
    assert_eq!(span.str("server.address"), "gateway.example");
    assert_eq!(span.int("server.port"), 8080);
}

#[tokio::test]
async fn a_proxy_tells_the_client_and_not_the_peer() {
    let test = TestTelemetry::new();
    let router = Router::new().route("/", get(async || "ok"));
    let server = serve(router.layer(layer(&test).build())).await;
    let mut proxied = request("GET", "/");
    let forwarded = "for=203.0.113.9;proto=https;host=shop.example";
    proxied
        .headers_mut()
        .insert("forwarded", forwarded.parse().unwrap());
    fetch(server, proxied).await;
    let spans = test.wait_for_spans(1).await;
    assert_eq!(spans.root().str("client.address"), "203.0.113.9");
    assert_eq!(spans.root().str("network.peer.address"), "127.0.0.1");
    assert_eq!(spans.root().str("server.address"), "shop.example");
    assert_eq!(spans.root().str("url.scheme"), "https");
}

#[tokio::test]
async fn e34_versions_as_they_were_spoken() {
    for (version, recorded) in [(Version::HTTP_11, "1.1"), (Version::HTTP_2, "2")] {
        let test = TestTelemetry::new();
        let router = Router::new().route("/models/{model}", get(async || "ok"));
        let server = serve(router.layer(layer(&test).build())).await;
        let mut connection = Connection::open(server, version).await;
        // HTTP/2 has the authority in the target, HTTP/1.1 has it in a header.
        let uri = match version {
            Version::HTTP_2 => "http://gateway.example:8080/models/7",
            _ => "/models/7",
        };
        let mut request = request("GET", uri);
        if version == Version::HTTP_2 {
            request.headers_mut().remove("host");
        }
        let response = connection.send(request).await.unwrap();
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            "ok"
        );
        let spans = test.wait_for_spans(1).await;
        let span = spans.root();
        assert_eq!(span.str("network.protocol.version"), recorded);
        assert_eq!(span.str("server.address"), "gateway.example");
        assert_eq!(span.int("server.port"), 8080);
        assert_eq!(span.name, "GET /models/{model}");
        let metrics = test.metrics();
        let duration = metrics.histogram("http.server.request.duration");
        assert_eq!(
            duration.with("network.protocol.version", recorded).count(),
            1
        );
    }
}

#[tokio::test]
async fn e34_a_method_of_ones_own_is_other() {
    let test = TestTelemetry::new();
    let router = Router::new().fallback(async || "ok");
    let server = serve(router.layer(layer(&test).build())).await;
    fetch(server, request("FOO", "/")).await;
    let spans = test.wait_for_spans(1).await;
    assert_eq!(spans.root().name, "HTTP");
    assert_eq!(spans.root().str("http.request.method"), "_OTHER");
    assert_eq!(spans.root().str("http.request.method_original"), "FOO");
}

/// Two services, one behind the other, and the client in between.
#[tokio::test]
async fn one_trace_over_two_hops() {
    let (front, back) = (TestTelemetry::new(), TestTelemetry::new());
    let behind = Router::new().route(
        "/embed",
        get(async |span: MlSpan, headers: HeaderMap| {
            span.model("encoder").embedding_dimension(384);
            headers["traceparent"].to_str().unwrap().to_owned()
        }),
    );
    let behind = serve(behind.layer(layer(&back).build())).await;
    let sending = OtelMlClientLayer::builder()
        .telemetry(front.telemetry())
        .build();
    let gateway = Router::new().route(
        "/answer",
        get(async move || {
            let mut client = sending.layer(service_fn(async |request| {
                let mut connection = Connection::open(behind, Version::HTTP_11).await;
                connection.send(request).await
            }));
            let url = format!("http://{behind}/embed");
            let response = client.call(request("GET", &url)).await.unwrap();
            response.into_body().collect().await.unwrap().to_bytes()
        }),
    );
    let gateway = serve(gateway.layer(layer(&front).build())).await;
    let mut asked = request("GET", "/answer");
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    asked
        .headers_mut()
        .insert("traceparent", traceparent.parse().unwrap());
    asked
        .headers_mut()
        .insert("authorization", "Bearer S3CRET".parse().unwrap());
    let answer = fetch(gateway, asked).await;
    back.wait_for_spans(1).await;
    front.wait_for_spans(2).await;
    let spans = [front.spans(), back.spans()].concat();
    assert_tree!(spans, {
        "GET /answer" [server, unset] { "http.route" = "/answer" } => [
            "GET" [client, unset] { "server.port" = Value::I64(behind.port().into()) } => [
                "GET /embed" [server, unset] {
                    "ml.model.name" = "encoder",
                    "gen_ai.embeddings.dimension.count" = 384,
                },
            ],
        ]
    });
    let root = spans.root();
    assert_eq!(root.span_context.trace_id().to_string(), TRACE);
    assert_eq!(root.parent_span_id.to_string(), PARENT);
    let client = spans.named("GET").span_context.span_id();
    assert_eq!(answer.body, format!("00-{TRACE}-{client}-01"));
    assert_no_secret(&spans, &["S3CRET"]);
}
