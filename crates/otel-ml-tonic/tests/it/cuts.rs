//! Calls that are cut: by their caller, by the clock, by the other side, by the network.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use h2::Reason;
use otel_ml_testing::opentelemetry_sdk::trace::SpanData;
use otel_ml_testing::{SpanExt as _, TestTelemetry, assert_ended_once};
use otel_ml_tonic::otel_ml::MlSpan;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::Endpoint;

use crate::support::{
    Handler, Kind, asking, begin, both, call, handler, items, plain, serving_at, traced,
    traced_channel,
};

/// The string "x" as protobuf has it, behind gRPC's length.
const MESSAGE: &[u8] = &[0, 0, 0, 0, 3, 10, 1, b'x'];

/// Answers once, and then waits for ever.
fn endless() -> Handler {
    handler(async |_| {
        MlSpan::current().output_tokens(7);
        let first = stream::once(async { Ok("first".to_owned()) });
        Ok(items(first.chain(stream::pending())))
    })
}

fn never() -> Handler {
    handler(async |_| pending().await)
}

fn assert_dropped(span: &SpanData) {
    assert_eq!(span.str("ml.cancel.reason"), "dropped");
    assert_eq!(span.str("rpc.status_code"), "CANCELLED");
    assert!(!span.is_error() && !span.has("error.type"));
}

#[tokio::test]
async fn e20_a_caller_that_cancels_in_mid_stream_is_no_error_on_either_side() {
    for kind in [Kind::ServerStream, Kind::Bidi] {
        let test = TestTelemetry::new();
        let serving = traced(&test, endless()).await;
        let channel = traced_channel(&test, &serving);
        let mut answers = begin(channel, kind, asking(["a"]))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answers.message().await.unwrap().as_deref(), Some("first"));
        drop(answers);
        let (server, client) = both(&test).await;
        assert_dropped(&server);
        assert_dropped(&client);
        for span in [&server, &client] {
            assert_eq!(span.int("ml.response.message.count"), 1);
        }
        assert_eq!(server.int("gen_ai.usage.output_tokens"), 7);
        assert!(server.bool("ml.usage.partial"));
        assert_ended_once(&test.spans());
    }
}

#[tokio::test]
async fn a_caller_that_gives_up_before_the_head_is_no_error_on_either_side() {
    for kind in Kind::ALL {
        let test = TestTelemetry::new();
        let (reached, was_reached) = oneshot::channel();
        let reached = std::sync::Mutex::new(Some(reached));
        let handler = handler(move |_| {
            let reached = reached.lock().unwrap().take();
            async move {
                let _ = reached.unwrap().send(());
                pending().await
            }
        });
        let serving = traced(&test, handler).await;
        let channel = traced_channel(&test, &serving);
        tokio::select! {
            _ = call(channel, kind, asking(["a"])) => unreachable!("there is no answer"),
            reached = was_reached => reached.unwrap(),
        }
        let (server, client) = both(&test).await;
        assert_dropped(&server);
        assert_dropped(&client);
        assert_eq!(server.str("rpc.method"), kind.method());
        // The server was not told that it has this method, and nothing was answered.
        let metrics = test.metrics();
        let point = metrics.histogram("rpc.server.call.duration");
        assert_eq!(point.with("rpc.method", "_OTHER").count(), 1);
    }
}

fn assert_deadline(span: &SpanData) {
    assert_eq!(span.str("ml.cancel.reason"), "deadline");
    assert_eq!(span.str("rpc.status_code"), "DEADLINE_EXCEEDED");
    assert_eq!(span.str("error.type"), "timeout");
    assert!(span.is_error());
}

#[tokio::test]
async fn e20_a_client_tells_that_its_deadline_has_passed() {
    for kind in Kind::ALL {
        let test = TestTelemetry::new();
        let serving = plain(never()).await;
        let channel = traced_channel(&test, &serving);
        let mut request = asking(["a"]);
        request.set_timeout(Duration::from_millis(50));
        // What tonic makes of it, whichever side's clock it was.
        let error = call(channel, kind, request).await.unwrap_err();
        assert_eq!(error.code(), Code::Cancelled);
        assert_deadline(&test.wait_for_spans(1).await[0]);
    }
}

/// Against a client that leaves it to the server's clock.
#[tokio::test]
async fn e20_a_server_tells_that_its_callers_deadline_has_passed() {
    for kind in Kind::ALL {
        let test = TestTelemetry::new();
        let serving = traced(&test, never()).await;
        let socket = TcpStream::connect(serving.address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let uri = format!("http://{}/{}", serving.address, kind.method());
        let request = http::Request::post(uri)
            .header("content-type", "application/grpc")
            .header("grpc-timeout", "50m")
            .body(())
            .unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(MESSAGE), true).unwrap();
        let head = answer.await.unwrap();
        assert_eq!(head.headers()["grpc-status"], "1", "as tonic has it");
        assert_deadline(&test.wait_for_spans(1).await[0]);
    }
}

#[tokio::test]
async fn e20_a_caller_that_gives_up_long_before_its_deadline_has_cancelled() {
    let test = TestTelemetry::new();
    let serving = traced(&test, endless()).await;
    let mut request = asking(["a"]);
    request.set_timeout(Duration::from_secs(3600));
    let channel = traced_channel(&test, &serving);
    let answers = begin(channel, Kind::ServerStream, request).await;
    let mut answers = answers.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    drop(answers);
    let (server, client) = both(&test).await;
    assert_dropped(&server);
    assert_dropped(&client);
}

/// The client's own clock, which the server isn't told of.
#[tokio::test]
async fn e20_a_deadline_of_the_endpoint_is_told_by_the_chain_of_the_error() {
    let test = TestTelemetry::new();
    let serving = plain(never()).await;
    let layer = otel_ml_tonic::OtelMlClientLayer::builder().telemetry(test.telemetry());
    let endpoint = serving.endpoint().timeout(Duration::from_millis(50));
    let channel = tower::Layer::layer(&layer.build(), endpoint.connect_lazy());
    call(channel, Kind::Unary, asking(["a"])).await.unwrap_err();
    assert_deadline(&test.wait_for_spans(1).await[0]);
}

/// A server that gave up in time, as the client's metadata asked it to.
#[tokio::test]
async fn e20_a_server_that_answers_cancelled_at_the_deadline_is_understood() {
    for (timeout, is_over) in [("1n", true), ("1H", false)] {
        let test = TestTelemetry::new();
        let server = tower::service_fn(|_: http::Request<Body>| {
            let status = tonic::Status::cancelled("Timeout expired");
            std::future::ready(Ok::<_, Infallible>(status.into_http::<Body>()))
        });
        let layer = otel_ml_tonic::OtelMlClientLayer::builder().telemetry(test.telemetry());
        let mut client = tower::Layer::layer(&layer.build(), server);
        let request = http::Request::post("http://h/test.Echo/Unary");
        let request = request.header("grpc-timeout", timeout).body(Body::empty());
        let answer = tower::Service::call(&mut client, request.unwrap()).await;
        assert_eq!(answer.unwrap().headers()["grpc-status"], "1");
        let span = &test.spans()[0];
        if is_over {
            assert_deadline(span);
        } else {
            assert_eq!(span.str("error.type"), "CANCELLED");
            assert!(!span.has("ml.cancel.reason"));
        }
    }
}

/// Answers a call's head and a message and, once it is read, does as it likes.
async fn cut_by(then: impl FnOnce(h2::SendStream<Bytes>) + Send + 'static) -> (SpanData, Code) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (read, was_read) = oneshot::channel();
    let serving = serving_at(address, async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
        let head = http::Response::builder().header("content-type", "application/grpc");
        let mut body = respond
            .send_response(head.body(()).unwrap(), false)
            .unwrap();
        body.send_data(Bytes::from_static(MESSAGE), false).unwrap();
        tokio::spawn(async move {
            was_read.await.unwrap();
            then(body);
        });
        while connection.accept().await.is_some() {}
    });
    let test = TestTelemetry::new();
    let channel = traced_channel(&test, &serving);
    let answers = begin(channel, Kind::ServerStream, asking(["a"])).await;
    let mut answers = answers.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().as_deref(), Some("x"));
    read.send(()).unwrap();
    let error = answers.message().await.unwrap_err();
    let span = test.wait_for_spans(1).await.remove(0);
    assert_eq!(
        test.metrics().histogram("rpc.client.call.duration").count(),
        1
    );
    (span, error.code())
}

#[tokio::test]
async fn e20_a_stream_that_is_reset_is_told_from_one_that_fails() {
    for (reason, status) in [
        (Reason::INTERNAL_ERROR, "INTERNAL"),
        (Reason::REFUSED_STREAM, "UNAVAILABLE"),
        (Reason::ENHANCE_YOUR_CALM, "RESOURCE_EXHAUSTED"),
        (Reason::CANCEL, "CANCELLED"),
        // hyper shows this one as an end, which without a status is no good end.
        (Reason::NO_ERROR, "UNKNOWN"),
    ] {
        let (span, _) = cut_by(move |mut body| body.send_reset(reason)).await;
        assert_eq!(span.str("ml.cancel.reason"), "reset", "{reason:?}");
        assert_eq!(span.str("error.type"), "reset", "{reason:?}");
        assert_eq!(span.str("rpc.status_code"), status, "{reason:?}");
        assert!(span.is_error());
    }
}

#[tokio::test]
async fn e20_an_end_without_a_status_is_unknown() {
    let (span, code) = cut_by(|mut body| body.send_data(Bytes::new(), true).unwrap()).await;
    assert_eq!(code, Code::Unknown);
    assert_eq!(span.str("rpc.status_code"), "UNKNOWN");
    assert_eq!(span.str("error.type"), "reset");
    assert_eq!(span.int("ml.response.message.count"), 1);
}

#[tokio::test]
async fn e20_rubbish_in_the_trailers_does_no_harm() {
    let (span, _) = cut_by(|mut body| {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "1234567".parse().unwrap());
        body.send_trailers(trailers).unwrap();
    })
    .await;
    assert_eq!(span.str("rpc.status_code"), "UNKNOWN");
    assert_eq!(span.str("error.type"), "UNKNOWN");
}

#[tokio::test]
async fn e20_a_refused_connection_is_unavailable() {
    for kind in Kind::ALL {
        let test = TestTelemetry::new();
        let taken = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = taken.local_addr().unwrap();
        drop(taken);
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let layer = otel_ml_tonic::OtelMlClientLayer::builder()
            .telemetry(test.telemetry())
            .endpoint(&endpoint);
        let channel = tower::Layer::layer(&layer.build(), endpoint.connect_lazy());
        let error = call(channel, kind, asking(["a"])).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        let span = test.wait_for_spans(1).await.remove(0);
        assert_eq!(span.str("rpc.status_code"), "UNAVAILABLE");
        assert_eq!(span.str("error.type"), "ConnectError");
        assert_eq!(span.int("server.port"), i64::from(address.port()));
        assert!(span.is_error() && !span.has("ml.cancel.reason"));
    }
}

/// The server's process goes away: its connections break.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_in_mid_stream_ends_both_spans() {
    for kind in [Kind::ServerStream, Kind::Bidi] {
        let test = TestTelemetry::new();
        let mut process = tokio::runtime::Builder::new_multi_thread();
        let process = process.worker_threads(1).enable_all().build().unwrap();
        let started = process.spawn({
            let test = test.clone();
            async move { traced(&test, endless()).await }
        });
        let serving = started.await.unwrap();
        let channel = traced_channel(&test, &serving);
        let mut answers = begin(channel, kind, asking(["a"]))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answers.message().await.unwrap().as_deref(), Some("first"));
        process.shutdown_background();
        answers.message().await.unwrap_err();
        let (server, client) = both(&test).await;
        assert_dropped(&server);
        assert_eq!(client.str("error.type"), "reset");
        assert_eq!(client.str("ml.cancel.reason"), "reset");
        assert!(client.is_error());
        assert_ended_once(&test.spans());
    }
}

/// One that is asked to stop lets the streams end that it has.
#[tokio::test]
async fn a_server_that_is_stopped_in_mid_stream_ends_it_well() {
    let test = TestTelemetry::new();
    let (go_on, wait) = oneshot::channel::<()>();
    let wait = std::sync::Mutex::new(Some(wait));
    let handler = handler(move |_| {
        let wait = wait.lock().unwrap().take().unwrap();
        let last = stream::once(async {
            wait.await.unwrap();
            Ok("last".to_owned())
        });
        let first = stream::iter([Ok("first".to_owned())]);
        std::future::ready(Ok(items(first.chain(last))))
    });
    let serving = traced(&test, handler).await;
    let channel = traced_channel(&test, &serving);
    let answers = begin(channel.clone(), Kind::ServerStream, asking(["a"])).await;
    let mut answers = answers.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    let address = serving.address;
    let stopping = tokio::spawn(serving.stop());
    // It has stopped taking more once its listener is gone.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go_on.send(()).unwrap();
    assert_eq!(answers.message().await.unwrap().as_deref(), Some("last"));
    assert_eq!(answers.message().await.unwrap(), None);
    drop(channel);
    stopping.await.unwrap();
    let (server, client) = both(&test).await;
    for span in [&server, &client] {
        assert_eq!(span.str("rpc.status_code"), "OK");
        assert_eq!(span.int("ml.response.message.count"), 2);
        assert!(!span.is_error());
    }
}

/// A response that nobody reads ends with the call's handle.
#[tokio::test]
async fn a_head_without_a_reader_ends_when_it_is_dropped() {
    let test = TestTelemetry::new();
    let serving = plain(endless()).await;
    let channel = traced_channel(&test, &serving);
    drop(
        begin(channel, Kind::ServerStream, asking(["a"]))
            .await
            .unwrap(),
    );
    assert_dropped(&test.wait_for_spans(1).await[0]);
}

/// By tonic's own handle, in place of dropping the call.
#[tokio::test]
async fn a_call_that_its_caller_cancels_by_a_handle_is_no_error() {
    let test = TestTelemetry::new();
    let serving = traced(&test, endless()).await;
    let channel = traced_channel(&test, &serving);
    // A stream of requests that goes on: the handle works by breaking it off.
    let requests = stream::iter([Ok("a".to_owned())]).chain(stream::pending());
    let mut request = tonic::Request::new(items(requests));
    let handle = request.cancellation_handle();
    let answers = begin(channel, Kind::Bidi, request).await;
    let mut answers = answers.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    handle.cancel();
    let error = answers.message().await.unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
    let (server, client) = both(&test).await;
    assert_dropped(&server);
    assert_dropped(&client);
}
