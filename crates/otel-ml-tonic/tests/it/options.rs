//! What can be set, on either side.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use otel_ml_testing::opentelemetry::baggage::BaggageExt as _;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_no_secret};
use otel_ml_tonic::otel_ml::opentelemetry::Context;
use otel_ml_tonic::otel_ml::opentelemetry::trace::TraceContextExt as _;
use otel_ml_tonic::otel_ml::{Attributes, Detail, MlSpan, ParentPolicy, Telemetry, stage};
use otel_ml_tonic::server::ConfiguredOtelMlLayer;
use otel_ml_tonic::{
    OtelMlClientInterceptor, OtelMlClientLayer, OtelMlInterceptor, OtelMlLayer, PeerAddress,
    RequestHead, SenderContext,
};
use tonic::metadata::MetadataValue;
use tonic::server::NamedService;
use tonic::service::Interceptor as _;
use tonic::{Request, Response};
use tower::Layer as _;

use crate::support::{
    Asked, Echo, Handler, Items, Kind, PARENT, SAMPLED, TRACE, answers, asking, call, channel,
    echo, handler, plain, serve, traced, with,
};

async fn one_call<H>(layer: ConfiguredOtelMlLayer<H>, handler: Handler, request: Request<Items>)
where
    H: for<'a> otel_ml_tonic::otel_ml::hooks::AllHooks<RequestHead<'a>> + Send + Sync + 'static,
{
    let serving = serve(layer, Echo::new(handler)).await;
    call(channel(&serving), Kind::Unary, request).await.unwrap();
    serving.stop().await;
}

/// Answers `x-kind: cold` in the head and in the trailers.
fn with_metadata() -> Handler {
    Arc::new(|_| {
        let mut response = Response::new(answers(["x"]));
        response
            .metadata_mut()
            .insert("x-kind", "cold".parse().unwrap());
        response
            .metadata_mut()
            .insert("set-cookie", "S3CRET".parse().unwrap());
        let bytes = MetadataValue::from_bytes(&[0, 255]);
        response.metadata_mut().insert_bin("x-hash-bin", bytes);
        Box::pin(async { Ok(response) })
    })
}

#[tokio::test]
async fn metadata_is_recorded_from_lists_binary_keys_too_and_secrets_never() {
    let test = TestTelemetry::new();
    let layer = OtelMlLayer::builder()
        .telemetry(test.telemetry())
        .request_metadata(["X-Tenant", "x-id-bin"])
        .response_metadata(["x-kind", "x-hash-bin", "not a name"])
        .build();
    let serving = serve(layer, Echo::new(with_metadata())).await;
    let endpoint = serving.endpoint();
    let client = OtelMlClientLayer::builder()
        .telemetry(test.telemetry())
        .endpoint(&endpoint)
        .request_metadata(["x-tenant", "x-id-bin"])
        .response_metadata(["x-kind", "x-hash-bin"])
        .build();
    let mut request = with(
        asking(["a"]),
        [
            ("x-tenant", "acme"),
            ("x-tenant", "b"),
            ("authorization", "S3CRET"),
        ],
    );
    let id = MetadataValue::from_bytes(&[1, 2, 3]);
    request.metadata_mut().insert_bin("x-id-bin", id);
    let channel = client.layer(endpoint.connect_lazy());
    call(channel, Kind::Unary, request).await.unwrap();
    let spans = test.wait_for_spans(2).await;
    for span in &spans {
        assert_eq!(span.strings("rpc.request.metadata.x-tenant"), ["acme", "b"]);
        assert_eq!(span.strings("rpc.request.metadata.x-id-bin"), ["AQID"]);
        assert_eq!(span.strings("rpc.response.metadata.x-kind"), ["cold"]);
        assert_eq!(span.strings("rpc.response.metadata.x-hash-bin"), ["AP8"]);
    }
    assert_no_secret(&spans, &["S3CRET"]);
}

#[tokio::test]
async fn metadata_of_the_trailers_is_recorded_with_that_of_the_head() {
    let test = TestTelemetry::new();
    let handler: Handler = Arc::new(|_| {
        let mut late = tonic::Status::internal("late");
        late.metadata_mut()
            .insert("x-kind", "warm".parse().unwrap());
        let items = crate::support::items(futures_util::stream::iter([Err(late)]));
        let mut response = Response::new(items);
        response
            .metadata_mut()
            .insert("x-kind", "cold".parse().unwrap());
        Box::pin(async { Ok(response) })
    });
    let layer = OtelMlLayer::builder().telemetry(test.telemetry());
    let serving = serve(
        layer.response_metadata(["x-kind"]).build(),
        Echo::new(handler),
    )
    .await;
    let answer = call(channel(&serving), Kind::ServerStream, asking(["a"])).await;
    answer.unwrap_err();
    let spans = test.wait_for_spans(1).await;
    assert_eq!(
        spans[0].strings("rpc.response.metadata.x-kind"),
        ["cold", "warm"]
    );
}

#[tokio::test]
async fn health_and_reflection_are_left_out_unless_wanted() {
    use http::uri::PathAndQuery;
    use tonic_prost::ProstCodec;
    let paths = [
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ];
    for (is_wanted, expected) in [(false, 0), (true, 2)] {
        let test = TestTelemetry::new();
        let builder = OtelMlLayer::builder().telemetry(test.telemetry());
        let serving = if is_wanted {
            serve(builder.filter(()).build(), Echo::new(echo())).await
        } else {
            serve(builder.build(), Echo::new(echo())).await
        };
        for path in paths {
            let mut grpc = tonic::client::Grpc::new(channel(&serving));
            grpc.ready().await.unwrap();
            let codec = ProstCodec::<String, String>::default();
            let path = PathAndQuery::from_static(path);
            let answer = grpc.unary(Request::new(String::new()), path, codec).await;
            answer.unwrap_err();
        }
        serving.stop().await;
        assert_eq!(test.spans().len(), expected);
    }
}

#[tokio::test]
async fn hooks_name_spans_and_add_to_them() {
    let test = TestTelemetry::new();
    let layer = OtelMlLayer::builder()
        .telemetry(test.telemetry())
        .span_name(|_: &RequestHead<'_>| Some(Cow::Borrowed("mine")))
        .attributes(|head: &RequestHead<'_>, to: &mut Attributes| {
            to.push("path", head.uri.path().to_owned());
        })
        .baggage(["user.tier"])
        .detail(Detail::Minimal)
        .build();
    let request = with(asking(["a"]), [("baggage", "user.tier=pro,other=x")]);
    one_call(layer, echo(), request).await;
    let spans = test.spans();
    let span = spans.named("mine");
    assert_eq!(span.str("path"), "/test.Echo/Unary");
    assert_eq!(span.str("user.tier"), "pro");
    assert!(!span.has("other") && !span.has("server.address") && !span.has("network.peer.address"));
}

#[tokio::test]
async fn a_handler_writes_what_the_layer_has_not_told() {
    for (detail, server, peer) in [
        (Detail::Minimal, "by.handler", "192.0.2.1"),
        (Detail::Standard, "127.0.0.1", "127.0.0.1"),
    ] {
        let test = TestTelemetry::new();
        let layer = OtelMlLayer::builder()
            .telemetry(test.telemetry())
            .detail(detail)
            .build();
        let telling = handler(|_asked| async {
            MlSpan::current()
                .set("server.address", "by.handler")
                .set("network.peer.address", "192.0.2.1")
                .set("rpc.system.name", "mine");
            Ok(answers(["x"]))
        });
        one_call(layer, telling, asking(["a"])).await;
        let spans = test.spans();
        let span = spans.root();
        assert_eq!(span.str("server.address"), server, "{detail:?}");
        assert_eq!(span.str("network.peer.address"), peer, "{detail:?}");
        assert_eq!(span.str("rpc.system.name"), "grpc");
        let all = span.attributes.iter();
        assert_eq!(
            all.filter(|a| a.key.as_str() == "server.address").count(),
            1,
            "{detail:?}"
        );
    }
}

#[tokio::test]
async fn a_parent_is_continued_linked_or_ignored() {
    for (policy, has_parent, links) in [
        (ParentPolicy::Auto, true, 0),
        (ParentPolicy::Child, true, 0),
        (ParentPolicy::Link, false, 1),
        (ParentPolicy::Ignore, false, 0),
    ] {
        let test = TestTelemetry::new();
        let layer = OtelMlLayer::builder()
            .telemetry(test.telemetry())
            .parent(policy);
        let request = with(asking(["a"]), [("traceparent", SAMPLED)]);
        one_call(layer.build(), echo(), request).await;
        let span = test.spans().remove(0);
        assert_eq!(span.parent().is_some(), has_parent, "{policy:?}");
        assert_eq!(span.links.len(), links, "{policy:?}");
        let is_same = span.span_context.trace_id().to_string() == TRACE;
        assert_eq!(is_same, has_parent, "{policy:?}");
    }
    let test = TestTelemetry::new();
    let layer = OtelMlLayer::builder()
        .telemetry(test.telemetry())
        .public_endpoint();
    let request = with(asking(["a"]), [("traceparent", SAMPLED)]);
    one_call(layer.build(), echo(), request).await;
    let span = test.spans().remove(0);
    assert_eq!(span.links.len(), 1);
    assert_eq!(span.links[0].span_context.span_id().to_string(), PARENT);
}

#[tokio::test]
async fn the_trace_id_is_told_where_wanted() {
    let test = TestTelemetry::new();
    let name = http::HeaderName::from_static("x-trace-id");
    let layer = OtelMlLayer::builder()
        .telemetry(test.telemetry())
        .trace_id_header(name);
    let serving = serve(layer.build(), Echo::new(echo())).await;
    let request = with(asking(["a"]), [("traceparent", SAMPLED)]);
    let answer = crate::support::begin(channel(&serving), Kind::ServerStream, request).await;
    assert_eq!(answer.unwrap().metadata().get("x-trace-id").unwrap(), TRACE);
}

#[tokio::test]
async fn a_layer_keeps_the_name_of_a_service_and_its_bodies_type() {
    fn name<S: NamedService>(_: &S) -> &'static str {
        S::NAME
    }
    let test = TestTelemetry::new();
    let layer = OtelMlLayer::builder().telemetry(test.telemetry()).build();
    let named = layer.layer(Echo::new(echo()));
    assert_eq!(name(&named), "test.Echo");
    // Within axum's router, whose body is another.
    let routes = tonic::service::Routes::new(Echo::new(echo()));
    let router = routes.into_axum_router().layer(layer);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let router = router.into_make_service_with_connect_info::<std::net::SocketAddr>();
    let serving = crate::support::serving_at(address, async move {
        axum::serve(listener, router).await.unwrap();
    });
    let request = asking(["a", "b", "c"]);
    let answer = call(channel(&serving), Kind::Bidi, request).await.unwrap();
    assert_eq!(answer, ["a", "b", "c"]);
    let spans = test.wait_for_spans(1).await;
    let span = spans.named(Kind::Bidi.method());
    assert_eq!(span.str("network.peer.address"), "127.0.0.1");
    assert_eq!(span.int("ml.request.message.count"), 3);
    assert_eq!(span.int("ml.response.message.count"), 3);
}

#[tokio::test]
async fn a_target_is_told_as_it_was_named() {
    let test = TestTelemetry::new();
    let serving = plain(echo()).await;
    let layer = OtelMlClientLayer::builder()
        .telemetry(test.telemetry())
        .target("dns:///models.example:50051")
        .build();
    let channel = layer.layer(channel(&serving));
    call(channel, Kind::Unary, asking(["a"])).await.unwrap();
    let span = test.wait_for_spans(1).await.remove(0);
    assert_eq!(span.str("server.address"), "models.example");
    assert_eq!(span.int("server.port"), 50_051);
}

/// tonic has a stand-in for its URI, and keeps the path to itself.
#[tokio::test]
async fn the_path_of_a_unix_socket_is_not_known_and_nothing_made_up_for_it() {
    for (uri, address) in [
        ("unix:/nowhere/x.sock", None),
        ("http://tonic:80", Some("tonic")),
    ] {
        let test = TestTelemetry::new();
        let endpoint = tonic::transport::Endpoint::from_shared(uri.to_owned()).unwrap();
        let layer = OtelMlClientLayer::builder()
            .telemetry(test.telemetry())
            .endpoint(&endpoint);
        let nobody = tower::service_fn(|_: http::Request<tonic::body::Body>| {
            let status = tonic::Status::unavailable("nobody is there");
            let answer = status.into_http::<tonic::body::Body>();
            std::future::ready(Ok::<_, std::convert::Infallible>(answer))
        });
        let client = layer.build().layer(nobody);
        call(client, Kind::Unary, asking(["a"])).await.unwrap_err();
        let span = test.wait_for_spans(1).await.remove(0);
        let found = span.attr("server.address").map(ToString::to_string);
        assert_eq!(found.as_deref(), address, "{uri}");
        assert_eq!(span.has("server.port"), address.is_some(), "{uri}");
    }
}

#[tokio::test]
async fn a_client_records_the_peer_where_the_response_tells_it() {
    for detail in [Detail::Minimal, Detail::Standard] {
        let test = TestTelemetry::new();
        let layer = OtelMlClientLayer::builder()
            .telemetry(test.telemetry())
            .detail(detail)
            .build();
        let knowing = tower::service_fn(|_: http::Request<tonic::body::Body>| {
            let status = tonic::Status::not_found("no such model");
            let mut answer = status.into_http::<tonic::body::Body>();
            let peer = PeerAddress("10.0.0.7:50051".parse().unwrap());
            answer.extensions_mut().insert(peer);
            std::future::ready(Ok::<_, std::convert::Infallible>(answer))
        });
        let client = layer.layer(knowing);
        call(client, Kind::Unary, asking(["a"])).await.unwrap_err();
        let span = test.wait_for_spans(1).await.remove(0);
        let is_recorded = detail > Detail::Minimal;
        assert_eq!(span.has("network.peer.address"), is_recorded);
        if is_recorded {
            assert_eq!(span.str("network.peer.address"), "10.0.0.7");
            assert_eq!(span.int("network.peer.port"), 50_051);
        }
    }
}

/// Where others are to stay as they are.
#[tokio::test]
async fn one_service_of_a_server_can_be_traced() {
    let test = TestTelemetry::new();
    let layer = OtelMlLayer::builder().telemetry(test.telemetry()).build();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0));
    let listener = listener.await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder().add_service(layer.layer(Echo::new(echo())));
    let serving = crate::support::serving_at(address, async move {
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        server.serve_with_incoming(incoming).await.unwrap();
    });
    for kind in Kind::ALL {
        call(channel(&serving), kind, asking(["a"])).await.unwrap();
    }
    let spans = test.wait_for_spans(4).await;
    for kind in Kind::ALL {
        let span = spans.named(kind.method());
        assert_eq!(span.str("rpc.status_code"), "OK");
        assert_eq!(span.str("network.peer.address"), "127.0.0.1");
    }
}

#[tokio::test]
async fn interceptors_pass_the_context_on() {
    let test = TestTelemetry::new();
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let telemetry = test.telemetry();
    let handler = handler(move |asked: Asked| {
        let mut request = Request::new(());
        *request.metadata_mut() = asked.metadata;
        let request = OtelMlInterceptor::new(telemetry.clone()).call(request);
        let sender = request
            .unwrap()
            .extensions()
            .get::<SenderContext>()
            .cloned();
        *keep.lock().unwrap() = sender;
        std::future::ready(Ok(answers(["x"])))
    });
    let serving = plain(handler).await;
    let interceptor = OtelMlClientInterceptor::new(test.telemetry());
    let layer = tonic::service::InterceptorLayer::new(interceptor);
    let channel = layer.layer(channel(&serving));
    let around = stage("around").telemetry(&test.telemetry());
    let request = asking(["a"]);
    around
        .run(async { call(channel, Kind::Unary, request).await })
        .await
        .unwrap();
    let spans = test.spans();
    let around = spans.named("around").span_context.clone();
    let sender = seen.lock().unwrap().take().unwrap().0;
    let sender = sender.span().span_context().clone();
    assert_eq!(
        (sender.trace_id(), sender.span_id()),
        (around.trace_id(), around.span_id())
    );
    assert!(sender.is_remote());
}

/// Without a tracer context goes through as it came, where a propagator is set.
#[tokio::test]
async fn a_server_that_records_nothing_passes_the_context_on() {
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let handler = handler(move |_| {
        let cx = Context::current();
        let tier = cx.baggage().get("user.tier").map(ToString::to_string);
        let trace = cx.span().span_context().trace_id().to_string();
        *keep.lock().unwrap() = Some((trace, tier));
        std::future::ready(Ok(answers(["x"])))
    });
    let telemetry = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .propagator(otel_ml_tonic::otel_ml::propagation::W3cPropagator::new())
        .build();
    let layer = OtelMlLayer::builder().telemetry(telemetry);
    let pairs = [("traceparent", SAMPLED), ("baggage", "user.tier=pro")];
    one_call(layer.build(), handler, with(asking(["a"]), pairs)).await;
    let expected = Some((TRACE.to_owned(), Some("pro".to_owned())));
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn the_server_is_told_by_the_request_where_the_layer_was_not() {
    let test = TestTelemetry::new();
    let serving = traced(&test, echo()).await;
    let layer = OtelMlClientLayer::builder()
        .telemetry(test.telemetry())
        .build();
    let origin = format!("http://{}", serving.address).parse().unwrap();
    let channel = layer.layer(channel(&serving));
    let mut grpc = tonic::client::Grpc::with_origin(channel, origin);
    let answer = crate::support::begin_by(&mut grpc, Kind::ServerStream, asking(["a"])).await;
    let mut answers = answer.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    let (_, client) = crate::support::both(&test).await;
    assert_eq!(client.int("server.port"), i64::from(serving.address.port()));
}
