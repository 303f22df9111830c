//! E19: WebSockets keep working, and their span ends at the `101`.

use std::sync::Arc;

use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::routing::any;
use otel_ml_axum::otel_ml;
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_tree};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::{layer, serve};

const ASK: &str = "GET /ws/7 HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A text frame of a client, masked with zeros.
fn frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

async fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn e19_a_websocket_works_and_its_span_ends_at_the_101() {
    let test = TestTelemetry::new();
    let closed = Arc::new(Notify::new());
    let handler = {
        let closed = Arc::clone(&closed);
        async move |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async move |mut socket| {
                while let Some(Ok(Message::Text(text))) = socket.recv().await {
                    let echo = format!("{text}!");
                    socket.send(Message::text(echo)).await.unwrap();
                }
                closed.notify_one();
            })
        }
    };
    let router = Router::new().route("/ws/{id}", any(handler));
    let server = serve(router.layer(layer(&test).build())).await;
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let spans = test.wait_for_spans(1).await;
    assert_tree!(spans, {
        "GET /ws/{id}" [server, unset] { "http.response.status_code" = 101 }
    });
    assert!(!spans.root().has("ml.cancel.reason"));
    test.metrics()
        .sum("http.server.active_requests")
        .assert_zero();
    for text in ["hi", "again"] {
        stream.write_all(&frame(text)).await.unwrap();
        let echo = format!("{text}!");
        let length = u8::try_from(echo.len()).unwrap();
        let expected = [&[0x81, length], echo.as_bytes()].concat();
        assert_eq!(read(&mut stream, expected.len()).await, expected);
    }
    drop(stream);
    closed.notified().await;
    assert_eq!(test.spans().len(), 1, "nothing more when the socket closes");
    let metrics = test.metrics();
    let duration = metrics.histogram("http.server.request.duration");
    assert_eq!(duration.with("http.response.status_code", 101).count(), 1);
}

/// After the `101` the work is a span's of its own: the request's has ended.
#[tokio::test]
async fn e19_work_on_a_socket_is_linked_by_what_was_kept() {
    let test = TestTelemetry::new();
    let handler = async |upgrade: WebSocketUpgrade| {
        let cx = otel_ml::opentelemetry::Context::current();
        upgrade.on_upgrade(async move |mut socket| {
            let _attached = cx.attach();
            otel_ml::stage("message").in_scope_infallible(|| ());
            drop(_attached);
            socket.send(Message::text("x")).await.unwrap();
        })
    };
    let router = Router::new().route("/ws/{id}", any(handler));
    let server = serve(router.layer(layer(&test).build())).await;
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    read_head(&mut stream).await;
    assert_eq!(read(&mut stream, 3).await, b"\x81\x01x");
    assert_tree!(test.wait_for_spans(2).await, {
        "GET /ws/{id}" [server, unset] => ["message" [internal]]
    });
}
