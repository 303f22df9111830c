//! A server on a port of its own, and connections to it.

use std::net::{Shutdown, SocketAddr};

use axum::Router;
use axum::body::{Body, Bytes};
use http::{HeaderMap, Request, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use otel_ml_axum::{OtelMlLayer, OtelMlLayerBuilder};
use otel_ml_testing::TestTelemetry;
use tokio::net::{TcpListener, TcpStream};

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub(crate) const PARENT: &str = "b7ad6b7169203331";

pub(crate) fn layer(test: &TestTelemetry) -> OtelMlLayerBuilder {
    OtelMlLayer::builder().telemetry(test.telemetry())
}

/// Serves `router` for as long as the test's runtime lives.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(axum::serve(listener, service).into_future());
    address
}

/// A connection that can be cut.
pub(crate) struct Connection {
    sender: Sender,
    socket: std::net::TcpStream,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Connection {
    pub(crate) async fn open(server: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(server)
            .await
            .unwrap()
            .into_std()
            .unwrap();
        let socket = stream.try_clone().unwrap();
        let io = TokioIo::new(TcpStream::from_std(stream).unwrap());
        let sender = if version == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            Sender::Http1(sender)
        };
        Self { sender, socket }
    }

    pub(crate) fn local_port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> hyper::Result<http::Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => sender.send_request(request).await,
        }
    }

    /// Closes the socket, whatever is going on.
    pub(crate) fn cut(&self) {
        self.socket.shutdown(Shutdown::Both).unwrap();
    }
}

pub(crate) fn request(method: &str, uri: &str) -> Request<Body> {
    let builder = Request::builder().method(method).uri(uri);
    let builder = builder.header("host", "gateway.example:8080");
    builder.body(Body::empty()).unwrap()
}

/// The same in the form that both versions take: HTTP/2 has no `host` header.
pub(crate) fn request_to(server: SocketAddr, path: &str) -> Request<Body> {
    let uri = format!("http://{server}{path}");
    Request::get(uri).body(Body::empty()).unwrap()
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// One request on a connection of its own, answered whole.
pub(crate) async fn fetch(server: SocketAddr, request: Request<Body>) -> Answer {
    let mut connection = Connection::open(server, Version::HTTP_11).await;
    let (head, body) = connection.send(request).await.unwrap().into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

pub(crate) async fn get(server: SocketAddr, path: &str) -> Answer {
    fetch(server, request("GET", path)).await
}
