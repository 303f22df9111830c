//! Streams: their facts, their children, many at once, compressed and encrypted.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use otel_ml_testing::opentelemetry::trace::{SpanKind, TraceContextExt as _};
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry};
use otel_ml_tonic::otel_ml::opentelemetry::Context;
use otel_ml_tonic::otel_ml::{MlSpan, stage};
use otel_ml_tonic::{OtelMlClientLayer, OtelMlLayer};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use tower::Layer as _;

use crate::support::{
    Asked, Echo, Kind, PARENT, answers, asking, begin_by, both, call, channel, echo, handler,
    items, serve, serving_at, traced, traced_channel, with,
};

#[tokio::test]
async fn handlers_write_to_their_call_also_from_inside_its_stream() {
    for kind in Kind::ALL {
        let test = TestTelemetry::new();
        let telemetry = test.telemetry();
        let handler = handler(move |asked: Asked| {
            MlSpan::current().model("echo");
            let telemetry = telemetry.clone();
            let step = move |text| {
                let step = stage("step").telemetry(&telemetry);
                async move {
                    MlSpan::current().output_tokens(3);
                    step.run_infallible(tokio::task::yield_now()).await;
                    text
                }
            };
            std::future::ready(Ok(items(asked.messages.then(step))))
        });
        let serving = traced(&test, handler).await;
        let request = asking(["a"]);
        call(channel(&serving), kind, request).await.unwrap();
        let spans = test.wait_for_spans(2).await;
        let call = spans.named(kind.method());
        assert_eq!(call.str("ml.model.name"), "echo");
        assert_eq!(call.int("gen_ai.usage.output_tokens"), 3);
        assert_eq!(spans.children_of(call), [spans.named("step")]);
    }
}

/// Each stream carries its caller's trace, whatever the others do on the same connection.
#[tokio::test]
async fn sixty_four_streams_on_one_connection_keep_their_traces() {
    const STREAMS: usize = 64;
    let test = TestTelemetry::new();
    let all_are_open = Arc::new(Barrier::new(STREAMS));
    let telemetry = test.telemetry();
    let handler = handler(move |asked: Asked| {
        let expected = asked
            .metadata
            .get("x-trace")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let (barrier, telemetry) = (Arc::clone(&all_are_open), telemetry.clone());
        let step = move |text: Result<String, tonic::Status>| {
            let (barrier, telemetry) = (Arc::clone(&barrier), telemetry.clone());
            let expected = expected.clone();
            async move {
                // None goes on before all are in the middle of their streams.
                barrier.wait().await;
                let step = stage("step").telemetry(&telemetry);
                step.run_infallible(tokio::task::yield_now()).await;
                let cx = Context::current();
                assert_eq!(cx.span().span_context().trace_id().to_string(), expected);
                text
            }
        };
        std::future::ready(Ok(items(asked.messages.then(step))))
    });
    let serving = traced(&test, handler).await;
    let channel = traced_channel(&test, &serving);
    let calls = (1..=STREAMS).map(|number| {
        let channel = channel.clone();
        async move {
            let trace = format!("{number:032x}");
            let parent = format!("00-{trace}-{PARENT}-01");
            let headers = http::HeaderMap::from_iter([(
                http::HeaderName::from_static("traceparent"),
                parent.parse().unwrap(),
            )]);
            let caller = otel_ml_tonic::otel_ml::Telemetry::builder().build();
            let extractor = otel_ml_tonic::otel_ml::carrier::HeaderExtractor::new(&headers);
            let caller = caller.extract(&extractor);
            let texts: Vec<_> = (0..3).map(|part| format!("{number}.{part}")).collect();
            let request = with(asking(texts.clone()), [("x-trace", trace.as_str())]);
            let call = call(channel, Kind::Bidi, request);
            let call = otel_ml_tonic::otel_ml::opentelemetry::context::FutureExt::with_context(
                call, caller,
            );
            assert_eq!(call.await.unwrap(), texts);
        }
    });
    futures_util::future::join_all(calls).await;
    let spans = test.wait_for_spans(STREAMS * 5).await;
    for number in 1..=STREAMS {
        let trace = format!("{number:032x}");
        let of_trace: Vec<_> = spans
            .iter()
            .filter(|span| span.span_context.trace_id().to_string() == trace)
            .cloned()
            .collect();
        assert_eq!(of_trace.len(), 5, "one client, one server, three steps");
        let server = of_trace
            .iter()
            .find(|span| span.span_kind == SpanKind::Server);
        let steps = of_trace.children_of(server.unwrap());
        assert_eq!(steps, of_trace.all_named("step"));
        assert_eq!(steps.len(), 3);
        for span in of_trace.all_named(Kind::Bidi.method()) {
            assert_eq!(span.int("ml.request.message.count"), 3);
            assert_eq!(span.int("ml.response.message.count"), 3);
        }
    }
}

/// Messages are counted as they are sent, compressed.
#[tokio::test]
async fn compressed_streams_are_counted_too() {
    let test = TestTelemetry::new();
    let layer = OtelMlLayer::builder().telemetry(test.telemetry()).build();
    let serving = serve(layer, Echo::new(echo()).compressed()).await;
    let mut grpc = Grpc::new(traced_channel(&test, &serving))
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    let text = "long and dull ".repeat(1000);
    let request = asking(vec![text.clone(); 5]);
    let answer = begin_by(&mut grpc, Kind::Bidi, request).await.unwrap();
    assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "gzip");
    let answers: Vec<_> = answer.into_inner().try_collect().await.unwrap();
    assert_eq!(answers, vec![text; 5]);
    let (server, client) = both(&test).await;
    for span in [&server, &client] {
        assert_eq!(span.int("ml.request.message.count"), 5);
        assert_eq!(span.int("ml.response.message.count"), 5);
        assert!(
            span.int("ml.response.size") < 5_000,
            "it is what goes over the wire"
        );
    }
}

#[tokio::test]
async fn tls_changes_nothing() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let identity = Identity::from_pem(cert.pem(), signing_key.serialize_pem());
    let test = TestTelemetry::new();
    let layer = OtelMlLayer::builder().telemetry(test.telemetry()).build();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))
        .unwrap()
        .layer(layer);
    let server = server.add_service(Echo::new(echo()));
    let _serving = serving_at(address, async move {
        let incoming = TcpListenerStream::new(listener);
        server.serve_with_incoming(incoming).await.unwrap();
    });
    let roots = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(cert.pem()));
    let endpoint = Endpoint::from_shared(format!("https://localhost:{}", address.port()));
    let endpoint = endpoint.unwrap().tls_config(roots).unwrap();
    let layer = OtelMlClientLayer::builder()
        .telemetry(test.telemetry())
        .endpoint(&endpoint);
    let channel = layer.build().layer(endpoint.connect_lazy());
    for kind in Kind::ALL {
        call(channel.clone(), kind, asking(["a"])).await.unwrap();
        let (server, client) = both(&test).await;
        assert_eq!(server.parent_span_id, client.span_context.span_id());
        for span in [&server, &client] {
            assert_eq!(span.str("server.address"), "localhost");
            assert_eq!(span.int("server.port"), i64::from(address.port()));
            assert_eq!(span.str("rpc.status_code"), "OK");
        }
        assert_eq!(server.str("network.peer.address"), "127.0.0.1");
        test.reset();
    }
}

/// No answer, but no error either.
#[tokio::test]
async fn an_empty_stream_is_fine() {
    for kind in [Kind::ServerStream, Kind::Bidi] {
        let test = TestTelemetry::new();
        let serving = traced(&test, handler(async |_| Ok(answers::<String>([])))).await;
        let channel = traced_channel(&test, &serving);
        let request = asking(["a"]);
        assert!(call(channel, kind, request).await.unwrap().is_empty());
        let (server, client) = both(&test).await;
        for span in [&server, &client] {
            assert_eq!(span.str("rpc.status_code"), "OK");
            assert!(!span.is_error() && !span.has("ml.response.message.count"));
        }
    }
}

/// A stream of requests may be read after its answer, by a task of its own.
#[tokio::test]
async fn requests_read_elsewhere_are_counted() {
    let test = TestTelemetry::new();
    let handler = handler(async |asked: Asked| {
        let (send, receive) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            let mut messages = asked.messages;
            let mut count = 0;
            while let Some(Ok(_)) = messages.next().await {
                count += 1;
            }
            send.send(Ok(count.to_string())).await.unwrap();
        });
        let receive = stream::unfold(receive, async |mut receive| {
            Some((receive.recv().await?, receive))
        });
        Ok(items(receive))
    });
    let serving = traced(&test, handler).await;
    let request = asking(["a", "b", "c", "d"]);
    let answer = call(channel(&serving), Kind::Bidi, request).await;
    assert_eq!(answer.unwrap(), ["4"]);
    let span = test.wait_for_spans(1).await.remove(0);
    assert_eq!(span.int("ml.request.message.count"), 4);
}
