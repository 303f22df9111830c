// What tonic's code generator makes of a service with one method, for the README's example.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::{Request, Response, Status, body::Body, client, server};
use tonic_prost::ProstCodec;

#[derive(Clone)]
pub struct EmbedderServer;

impl server::NamedService for EmbedderServer {
    const NAME: &'static str = "demo.Embedder";
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl tower::Service<http::Request<Body>> for EmbedderServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        Box::pin(async move {
            let codec = ProstCodec::<String, String>::default();
            Ok(server::Grpc::new(codec)
                .unary(tower::service_fn(super::embed), request)
                .await)
        })
    }
}

pub struct EmbedderClient<T>(client::Grpc<T>);

impl<T> EmbedderClient<T>
where
    T: client::GrpcService<Body>,
    T::Error: std::fmt::Debug,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub fn new(channel: T) -> Self {
        Self(client::Grpc::new(channel))
    }

    pub async fn embed(&mut self, text: &str) -> Result<Response<String>, Status> {
        self.0.ready().await.expect("a connection");
        let path = http::uri::PathAndQuery::from_static("/demo.Embedder/Embed");
        let codec = ProstCodec::<String, String>::default();
        self.0
            .unary(Request::new(text.to_owned()), path, codec)
            .await
    }
}
