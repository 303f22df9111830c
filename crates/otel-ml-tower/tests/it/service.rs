//! What a layer must leave as it is: readiness, the inner service, errors, requests, answers.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use otel_ml_testing::TestTelemetry;
use otel_ml_testing::mock::MockBody;
use otel_ml_tower::{OtelMlClientLayer, OtelMlLayer};
use tower::{Layer, Service, service_fn};
use tower_test::mock;
use tower_test::mock::{Mock, spawn_layer};

use crate::support::{client, get, run, server};

/// Calls `check` with a server and a client layer.
macro_rules! both {
    ($check:ident) => {
        let test = TestTelemetry::new();
        $check(server(&test).build());
        $check(client(&test).build());
        assert!(!test.spans().is_empty(), "the layers did record");
    };
}

type Exchange = Mock<Request<()>, Response<MockBody>>;

#[tokio::test]
async fn readiness_is_the_inner_services() {
    async fn check<L, B>(layer: L)
    where
        L: Layer<Exchange>,
        L::Service: Service<Request<()>, Response = Response<B>, Error = tower::BoxError>,
    {
        let (mut service, mut handle): (mock::Spawn<L::Service>, _) = spawn_layer(layer);
        handle.allow(0);
        assert!(service.poll_ready().is_pending());
        handle.allow(1);
        assert!(service.is_woken());
        assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
        let response = service.call(get(&[]));
        assert!(
            service.poll_ready().is_pending(),
            "the one permit is used up"
        );
        let (_, reply) = handle.next_request().await.unwrap();
        reply.send_response(Response::new(MockBody::new()));
        assert_eq!(response.await.unwrap().status(), 200);
        handle.send_error("not today");
        let Poll::Ready(Err(error)) = service.poll_ready() else {
            unreachable!("the inner service has failed");
        };
        assert_eq!(error.to_string(), "not today");
    }
    let test = TestTelemetry::new();
    check(server(&test).build()).await;
    check(client(&test).build()).await;
    assert_eq!(test.spans().len(), 2);
}

#[tokio::test]
async fn the_unit_layers_do_the_same_without_an_sdk() {
    let (mut service, mut handle) = spawn_layer::<Request<()>, _, _>(OtelMlLayer);
    assert!(service.poll_ready().is_ready());
    let response = service.call(get(&[]));
    let (request, reply) = handle.next_request().await.unwrap();
    assert_eq!(request.uri(), "/predict");
    reply.send_response(Response::new(MockBody::new().data("x")));
    assert_eq!(
        response
            .await
            .unwrap()
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes(),
        "x"
    );

    let (mut service, mut handle) = spawn_layer::<Request<()>, _, _>(OtelMlClientLayer);
    assert!(service.poll_ready().is_ready());
    let response = service.call(get(&[("traceparent", "kept as it is")]));
    let (request, reply) = handle.next_request().await.unwrap();
    assert_eq!(request.headers()["traceparent"], "kept as it is");
    reply.send_response(Response::new(MockBody::new()));
    assert!(response.await.is_ok());
}

/// Only the one that was polled ready may be called, and none may be cloned.
struct OneOfAKind {
    is_ready: bool,
}

impl Clone for OneOfAKind {
    fn clone(&self) -> Self {
        unreachable!("the inner service was cloned")
    }
}

impl Service<Request<()>> for OneOfAKind {
    type Response = Response<MockBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.is_ready),
            "called without being ready"
        );
        ready(Ok(Response::new(MockBody::new().data("a"))))
    }
}

#[test]
fn the_inner_service_is_never_cloned() {
    fn check<L, B>(layer: L)
    where
        L: Layer<OneOfAKind>,
        L::Service: Service<Request<()>, Response = Response<B>, Error = Infallible>,
        B: Body<Error: std::fmt::Debug>,
    {
        let mut service = layer.layer(OneOfAKind { is_ready: false });
        for _ in 0..3 {
            let call = std::future::poll_fn(|cx| service.poll_ready(cx));
            run(call).unwrap();
            let body = run(service.call(get(&[]))).unwrap().into_body();
            assert!(run(body.collect()).is_ok());
        }
    }
    both!(check);
}

#[test]
fn an_error_is_passed_on_as_it_is() {
    #[derive(Debug, Clone)]
    struct Precious(Arc<str>);

    fn check<L, B>(layer: L)
    where
        L: Layer<Failing>,
        L::Service: Service<Request<()>, Response = Response<B>, Error = Precious>,
    {
        let error = Precious("the very one".into());
        let mut service = layer.layer(Failing(error.clone()));
        let Err(passed_on) = run(service.call(get(&[]))) else {
            unreachable!("it fails");
        };
        assert!(Arc::ptr_eq(&passed_on.0, &error.0));
    }

    struct Failing(Precious);

    impl Service<Request<()>> for Failing {
        type Response = Response<MockBody>;
        type Error = Precious;
        type Future = Ready<Result<Self::Response, Precious>>;

        fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Precious>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _request: Request<()>) -> Self::Future {
            ready(Err(self.0.clone()))
        }
    }

    both!(check);
}

/// Everything of a request but its propagation fields, which a client layer replaces.
#[test]
fn requests_and_answers_pass_through() {
    let test = TestTelemetry::new();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let inner = || {
        let seen = Rc::clone(&seen);
        service_fn(move |request: Request<Full<&'static [u8]>>| {
            seen.borrow_mut().push(request);
            let response = Response::builder()
                .status(418)
                .header("x-kept", "yes")
                .extension(7_u8)
                .body(MockBody::new());
            ready(Ok::<_, Infallible>(response.unwrap()))
        })
    };
    let request = || {
        let request = Request::builder()
            .method("PUT")
            .uri("/a?b=c")
            .header("x-a", "1");
        let request = request.header("x-a", "2").version(http::Version::HTTP_2);
        request
            .extension('x')
            .body(Full::new(&b"body"[..]))
            .unwrap()
    };
    let from_server = run(server(&test).build().layer(inner()).call(request())).unwrap();
    let from_client = run(client(&test).build().layer(inner()).call(request())).unwrap();
    for (status, headers, extensions) in [
        (
            from_server.status(),
            from_server.headers(),
            from_server.extensions(),
        ),
        (
            from_client.status(),
            from_client.headers(),
            from_client.extensions(),
        ),
    ] {
        assert_eq!(status, 418);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["x-kept"], "yes");
        assert_eq!(extensions.get(), Some(&7_u8));
    }
    let seen = seen.take();
    assert_eq!(seen.len(), 2);
    for mut request in seen {
        request.headers_mut().remove("traceparent");
        assert_eq!(
            (request.method().as_str(), request.uri().to_string()),
            ("PUT", "/a?b=c".into())
        );
        assert_eq!(request.version(), http::Version::HTTP_2);
        assert_eq!(crate::support::values(request.headers(), "x-a"), ["1", "2"]);
        assert_eq!(request.headers().len(), 2);
        assert_eq!(request.extensions().get(), Some(&'x'));
        assert_eq!(
            run(request.into_body().collect()).unwrap().to_bytes(),
            "body"
        );
    }
}

#[tokio::test]
async fn a_layer_is_shared_by_services_that_can_be_cloned() {
    let test = TestTelemetry::new();
    let layer = server(&test).build();
    let (mock, mut handle): (Exchange, _) = mock::pair();
    let mut first = layer.clone().layer(mock);
    let mut second = first.clone();
    let mut calls = Vec::new();
    for service in [&mut first, &mut second] {
        std::future::poll_fn(|cx| service.poll_ready(cx))
            .await
            .unwrap();
        calls.push(service.call(get(&[])));
    }
    for call in calls {
        let (_, reply) = handle.next_request().await.unwrap();
        reply.send_response(Response::new(MockBody::new()));
        assert!(call.await.is_ok());
    }
    assert_eq!(test.spans().len(), 2);
    assert!(handle.poll_request().is_pending());
}

#[test]
fn the_inner_service_can_be_reached() {
    let test = TestTelemetry::new();
    let mut service = server(&test).build().layer(String::from("inner"));
    service.get_mut().push_str(" service");
    assert_eq!(service.get_ref(), "inner service");
    assert_eq!(service.into_inner(), "inner service");
    let mut service = client(&test).build().layer(String::from("inner"));
    service.get_mut().push_str(" service");
    assert_eq!(service.get_ref(), "inner service");
    assert_eq!(service.into_inner(), "inner service");
}
