//! Which methods are named, and which are `_OTHER`.

use http::uri::PathAndQuery;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry};
use otel_ml_tonic::{OtelMlClientLayer, OtelMlLayer};
use tonic::client::Grpc;
use tonic::service::InterceptorLayer;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tower::{Layer as _, ServiceBuilder};

use crate::support::{
    Echo, Kind, Serving, asking, call, channel, echo, handler, serve, traced, traced_channel, with,
};

/// A call of a method that the service does not have.
async fn made_up(serving: &Serving, path: &str) -> Status {
    made_up_by(channel(serving), path).await
}

async fn made_up_by(channel: Channel, path: &str) -> Status {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<String, String>::default();
    let path: PathAndQuery = path.parse().unwrap();
    let request = Request::new("x".to_owned());
    grpc.unary(request, path, codec).await.unwrap_err()
}

#[tokio::test]
async fn e20_an_unknown_method_is_other_with_its_original() {
    for path in ["/test.Echo/Guess", "/no.Such/Service", "/", "/x"] {
        let test = TestTelemetry::new();
        let serving = traced(&test, echo()).await;
        assert_eq!(made_up(&serving, path).await.code(), Code::Unimplemented);
        let spans = test.wait_for_spans(1).await;
        let span = spans.named("grpc");
        assert_eq!(span.str("rpc.method"), "_OTHER");
        assert_eq!(span.str("rpc.method_original"), &path[1..]);
        assert_eq!(span.str("rpc.status_code"), "UNIMPLEMENTED");
        assert_eq!(span.str("error.type"), "UNIMPLEMENTED");
        let of_method =
            |span: &&otel_ml_testing::opentelemetry::KeyValue| span.key.as_str() == "rpc.method";
        assert_eq!(span.attributes.iter().filter(of_method).count(), 1);
        let metrics = test.metrics();
        let point = metrics.histogram("rpc.server.call.duration");
        assert_eq!(point.with("rpc.method", "_OTHER").count(), 1);
    }
}

#[tokio::test]
async fn a_method_made_up_is_no_label_however_often() {
    let test = TestTelemetry::new();
    let serving = traced(&test, echo()).await;
    for path in ["/test.Echo/A", "/test.Echo/A", "/test.Echo/B"] {
        made_up(&serving, path).await;
    }
    call(channel(&serving), Kind::Unary, asking(["a"]))
        .await
        .unwrap();
    test.wait_for_spans(4).await;
    let metrics = test.metrics();
    let durations = metrics.histogram("rpc.server.call.duration");
    assert_eq!(durations.points().len(), 2);
}

/// An interceptor stands before the methods: what it refuses tells nothing of them.
#[tokio::test]
async fn a_method_made_up_is_no_label_where_an_interceptor_refuses_it() {
    let test = TestTelemetry::new();
    let known = |request: Request<()>| match request.metadata().get("authorization") {
        Some(_) => Ok(request),
        None => Err(Status::unauthenticated("who are you?")),
    };
    let layer = ServiceBuilder::new()
        .layer(OtelMlLayer::builder().telemetry(test.telemetry()).build())
        .layer(InterceptorLayer::new(known));
    let serving = serve(layer.into_inner(), Echo::new(echo())).await;
    let channel = channel(&serving);
    for i in 0..1_000 {
        let refused = made_up_by(channel.clone(), &format!("/test.Echo/M{i}")).await;
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    let request = with(asking(["a"]), [("authorization", "me")]);
    call(channel, Kind::Unary, request).await.unwrap();
    test.wait_for_spans(1_001).await;
    let metrics = test.metrics();
    let durations = metrics.histogram("rpc.server.call.duration");
    assert_eq!(durations.points().len(), 2);
    let of_callers = durations.clone().with("rpc.method", "_OTHER");
    assert_eq!(of_callers.count(), 1_000);
    // There was room for the one that the server has.
    let of_server = durations.with("rpc.method", Kind::Unary.method());
    assert_eq!(of_server.count(), 1);
}

/// The sampler sees the method once the server is known to have it.
#[tokio::test]
async fn a_method_is_learnt_from_its_first_answer() {
    let test = TestTelemetry::new();
    let serving = traced(&test, echo()).await;
    for _ in 0..2 {
        call(channel(&serving), Kind::Unary, asking(["a"]))
            .await
            .unwrap();
    }
    let spans = test.wait_for_spans(2).await;
    for span in &spans {
        assert_eq!(span.name, Kind::Unary.method());
        assert_eq!(span.str("rpc.method"), Kind::Unary.method());
        let methods = span.attributes.iter();
        let methods = methods.filter(|one| one.key.as_str() == "rpc.method");
        assert_eq!(methods.count(), 1);
    }
    let at_start = |i: usize| spans[i].attributes[1].key.as_str() == "rpc.method";
    assert!(!at_start(0) && at_start(1));
    let metrics = test.metrics();
    let points = metrics.histogram("rpc.server.call.duration");
    assert_eq!(points.with("rpc.method", Kind::Unary.method()).count(), 2);
}

#[tokio::test]
async fn methods_outside_of_a_list_are_other_from_the_start() {
    let test = TestTelemetry::new();
    let layer = OtelMlLayer::builder()
        .telemetry(test.telemetry())
        .methods([Kind::Unary.method()]);
    let serving = serve(layer.build(), Echo::new(echo())).await;
    for kind in [Kind::Unary, Kind::Bidi] {
        call(channel(&serving), kind, asking(["a"])).await.unwrap();
    }
    let spans = test.wait_for_spans(2).await;
    let (listed, other) = (spans.named(Kind::Unary.method()), spans.named("grpc"));
    assert_eq!(listed.attributes[1].key.as_str(), "rpc.method");
    assert!(!listed.has("rpc.method_original"));
    assert_eq!(other.str("rpc.method"), "_OTHER");
    assert_eq!(other.str("rpc.method_original"), Kind::Bidi.method());
    assert_eq!(other.str("rpc.status_code"), "OK");
    assert!(!other.is_error());
}

/// One that a list, or an earlier answer, vouches for keeps its name.
#[tokio::test]
async fn a_known_method_that_refuses_a_call_as_unimplemented_is_known() {
    let test = TestTelemetry::new();
    let refusing = handler(async |_| Err(Status::unimplemented("not that way")));
    let layer = OtelMlLayer::builder().telemetry(test.telemetry());
    let layer = layer.methods(["/test.Echo/Unary"]).build();
    let serving = serve(layer, Echo::new(refusing)).await;
    call(channel(&serving), Kind::Unary, asking(["a"]))
        .await
        .unwrap_err();
    let spans = test.wait_for_spans(1).await;
    let span = spans.named(Kind::Unary.method());
    assert_eq!(span.str("rpc.method"), Kind::Unary.method());
    assert_eq!(span.str("rpc.status_code"), "UNIMPLEMENTED");
}

/// A client calls what its program says, also when the server has no such method.
#[tokio::test]
async fn a_client_names_what_it_calls() {
    let test = TestTelemetry::new();
    let refusing = handler(async |_| Err(Status::unimplemented("no")));
    let serving = crate::support::plain(refusing).await;
    let answer = call(traced_channel(&test, &serving), Kind::Bidi, asking(["a"])).await;
    answer.unwrap_err();
    let spans = test.wait_for_spans(1).await;
    let span = spans.named(Kind::Bidi.method());
    assert_eq!(span.str("rpc.method"), Kind::Bidi.method());
    assert_eq!(span.str("error.type"), "UNIMPLEMENTED");
}

/// Such as a proxy's, whose callers name the methods.
#[tokio::test]
async fn a_client_with_a_list_calls_what_is_outside_of_it_other() {
    let test = TestTelemetry::new();
    let serving = crate::support::plain(echo()).await;
    let layer = OtelMlClientLayer::builder()
        .telemetry(test.telemetry())
        .methods([Kind::Unary.method()])
        .build();
    let channel = layer.layer(channel(&serving));
    for kind in [Kind::Unary, Kind::Bidi] {
        call(channel.clone(), kind, asking(["a"])).await.unwrap();
    }
    let spans = test.wait_for_spans(2).await;
    let (listed, other) = (spans.named(Kind::Unary.method()), spans.named("grpc"));
    assert_eq!(listed.str("rpc.method"), Kind::Unary.method());
    assert!(!listed.has("rpc.method_original"));
    assert_eq!(other.str("rpc.method"), "_OTHER");
    assert_eq!(other.str("rpc.method_original"), Kind::Bidi.method());
    let metrics = test.metrics();
    let durations = metrics.histogram("rpc.client.call.duration");
    assert_eq!(durations.with("rpc.method", "_OTHER").count(), 1);
}
