//! Calls that meet a clock: their caller's deadline, and the pings of a connection.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use h2::Reason;
use otel_ml_testing::opentelemetry_sdk::trace::SpanData;
use otel_ml_testing::{SpanExt as _, TestTelemetry};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tower::Layer as _;

use crate::support::{Handler, Kind, asking, call, handler, items, serving_at, traced};

/// The string "x" as protobuf has it, behind gRPC's length.
const MESSAGE: &[u8] = &[0, 0, 0, 0, 3, 10, 1, b'x'];

/// How a server saw a call that may take a second, and that its caller resets after `waited`
/// from when its handler was reached, or, if it streams, from its first message.
async fn reset_after(waited: Duration, is_streaming: bool) -> SpanData {
    let (reached, was_reached) = oneshot::channel();
    let reached = std::sync::Mutex::new(Some(reached));
    let handler: Handler = handler(move |_| {
        let _ = reached.lock().unwrap().take().unwrap().send(());
        async move {
            if !is_streaming {
                return pending().await;
            }
            let first = stream::iter([Ok("first".to_owned())]);
            Ok(items(first.chain(stream::pending())))
        }
    });
    let test = TestTelemetry::new();
    let serving = traced(&test, handler).await;
    let socket = TcpStream::connect(serving.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://{}/test.Echo/ServerStream", serving.address);
    let request = http::Request::post(uri)
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "1S")
        .body(())
        .unwrap();
    let (answer, mut body) = client.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(MESSAGE), true).unwrap();
    was_reached.await.unwrap();
    if is_streaming {
        let mut messages = answer.await.unwrap().into_body();
        assert!(messages.data().await.unwrap().is_ok());
    }
    tokio::time::sleep(waited).await;
    body.send_reset(Reason::CANCEL);
    test.wait_for_spans(1).await.remove(0)
}

/// The caller's clock started earlier than the server's, by the time that the request took.
#[tokio::test]
async fn e20_a_reset_just_before_the_deadline_is_the_deadline() {
    for is_streaming in [false, true] {
        let span = reset_after(Duration::from_millis(950), is_streaming).await;
        assert_eq!(span.str("ml.cancel.reason"), "deadline", "{is_streaming}");
        assert_eq!(span.str("rpc.status_code"), "DEADLINE_EXCEEDED");
        assert_eq!(span.str("error.type"), "timeout");
    }
}

#[tokio::test]
async fn e20_a_reset_in_the_middle_of_its_time_is_the_callers_choice() {
    for is_streaming in [false, true] {
        let span = reset_after(Duration::from_millis(500), is_streaming).await;
        assert_eq!(span.str("ml.cancel.reason"), "dropped", "{is_streaming}");
        assert_eq!(span.str("rpc.status_code"), "CANCELLED");
        assert!(!span.is_error());
    }
}

/// One that has hung, or whose network has: it takes connections, and never answers.
#[tokio::test]
async fn a_server_that_answers_no_ping_is_unavailable() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = serving_at(address, async move {
        let _held = listener.accept().await.unwrap();
        pending::<()>().await;
    });
    let test = TestTelemetry::new();
    let layer = otel_ml_tonic::OtelMlClientLayer::builder().telemetry(test.telemetry());
    let endpoint = serving
        .endpoint()
        .http2_keep_alive_interval(Duration::from_millis(20))
        .keep_alive_timeout(Duration::from_millis(20));
    let channel = layer.build().layer(endpoint.connect_lazy());
    call(channel, Kind::Unary, asking(["a"])).await.unwrap_err();
    let span = test.wait_for_spans(1).await.remove(0);
    assert_eq!(span.str("rpc.status_code"), "UNAVAILABLE");
    assert_eq!(span.str("error.type"), "reset");
    assert!(span.is_error());
}
