//! Rows about how a call ends.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::HeaderMap;
use otel_ml_testing::{SpanExt as _, TestTelemetry, assert_ended_once, assert_types};
use otel_ml_tonic::otel_ml::MlSpan;
use otel_ml_tonic::{OtelMlClientLayer, OtelMlLayer};
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer as _, Service as _};

use crate::support::{
    Echo, Handler, PARENT, SAMPLED, TRACE, answers, asking, begin, call, channel, echo, handler,
    items, plain, serve,
};
use crate::world::{Either, Side, Tested, World, from_afar};

pub(crate) async fn success(tested: Tested) {
    let test = TestTelemetry::new();
    let world = World::new(tested, &test, echo()).await;
    assert_eq!(world.call(&from_afar(SAMPLED)).await.unwrap(), ["a"]);
    let span = tested.assert_error(&test, None).await;
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!(span.parent_span_id.to_string(), PARENT);
    assert_eq!(span.str("rpc.status_code"), "OK");
    assert!(!span.has("ml.cancel.reason"));
    assert_types(&test.spans());
}

fn faulty() -> Handler {
    handler(async |_| Err(Status::internal("on purpose")))
}

pub(crate) async fn inner_error(tested: Tested) {
    let test = TestTelemetry::new();
    let world = World::new(tested, &test, faulty()).await;
    let error = world.call(&HeaderMap::new()).await.unwrap_err();
    assert_eq!(error.message(), "on purpose");
    tested.assert_error(&test, Some("INTERNAL")).await;
}

fn panicking() -> Handler {
    handler(async |_| {
        tokio::task::yield_now().await;
        std::panic::panic_any("on purpose")
    })
}

/// To a client, the server's panic is a connection that breaks.
const fn of_panic(tested: Tested) -> &'static str {
    match tested.side {
        Side::Server => "panic",
        Side::Client => "reset",
    }
}

pub(crate) async fn handler_panic(tested: Tested) {
    let test = TestTelemetry::new();
    let world = World::new(tested, &test, panicking()).await;
    world.call(&HeaderMap::new()).await.unwrap_err();
    let span = tested.assert_error(&test, Some(of_panic(tested))).await;
    assert_eq!(span.has("rpc.status_code"), tested.side == Side::Client);
}

/// A layer outside makes an answer of the panic.
pub(crate) async fn panic_caught_outside(tested: Tested) {
    let test = TestTelemetry::new();
    let layer = OtelMlLayer::builder().telemetry(test.telemetry()).build();
    let is_server = tested.side == Side::Server;
    let catching = tower::layer::layer_fn(move |routes: tonic::service::Routes| {
        let (traced, routes) = (layer.layer(routes.clone()), routes);
        tower::service_fn(move |request: http::Request<Body>| {
            let (mut traced, mut routes) = (traced.clone(), routes.clone());
            async move {
                let answer = if is_server {
                    let answer = traced.call(request);
                    let answer = answer.map(|answer| answer.map(|it| it.map(Body::new)));
                    AssertUnwindSafe(answer).catch_unwind().await
                } else {
                    AssertUnwindSafe(routes.call(request)).catch_unwind().await
                };
                answer.unwrap_or_else(|_| Ok(Status::internal("caught").into_http()))
            }
        })
    });
    let serving = serve(catching, Echo::new(panicking())).await;
    let answer = match tested.side {
        Side::Server => call(channel(&serving), tested.kind, asking(["a"])).await,
        Side::Client => {
            let layer = OtelMlClientLayer::builder().telemetry(test.telemetry());
            let channel = layer.build().layer(channel(&serving));
            call(channel, tested.kind, asking(["a"])).await
        }
    };
    assert_eq!(answer.unwrap_err().message(), "caught");
    let error = if is_server { "panic" } else { "INTERNAL" };
    tested.assert_error(&test, Some(error)).await;
}

/// At the service's own level: a connection polls what it calls.
pub(crate) async fn dropped_unpolled(tested: Tested) {
    let test = TestTelemetry::new();
    let was_run = Arc::new(AtomicBool::new(false));
    let run = Arc::clone(&was_run);
    let handler = handler(move |_| {
        run.store(true, Ordering::SeqCst);
        std::future::ready(Ok(answers(["x"])))
    });
    let request = http::Request::post(format!("http://h/{}", tested.kind.method()))
        .header("content-type", "application/grpc");
    let request = request.body(Body::empty()).unwrap();
    match tested.side {
        Side::Server => {
            let layer = OtelMlLayer::builder().telemetry(test.telemetry());
            drop(layer.build().layer(Echo::new(handler)).call(request));
        }
        Side::Client => {
            let serving = plain(handler).await;
            let layer = OtelMlClientLayer::builder().telemetry(test.telemetry());
            let mut channel = layer.build().layer(channel(&serving));
            futures_util::future::poll_fn(|cx| {
                tower::Service::<http::Request<Body>>::poll_ready(&mut channel, cx)
            })
            .await
            .unwrap();
            drop(channel.call(request));
        }
    }
    assert!(!was_run.load(Ordering::SeqCst));
    let span = tested.assert_error(&test, None).await;
    assert_eq!(span.str("ml.cancel.reason"), "dropped");
    assert_eq!(span.str("rpc.status_code"), "CANCELLED");
}

/// Tells when it is reached, and never answers.
fn hanging() -> (Handler, mpsc::UnboundedReceiver<()>) {
    let (reached, was_reached) = mpsc::unbounded_channel();
    let handler = handler(move |_| {
        let reached = reached.clone();
        async move {
            MlSpan::current().output_tokens(7);
            reached.send(()).unwrap();
            pending().await
        }
    });
    (handler, was_reached)
}

fn endless() -> Handler {
    handler(async |_| {
        let first = stream::iter([Ok("first".to_owned())]);
        Ok(items(first.chain(stream::pending())))
    })
}

async fn give_up_on_the_head(world: &World, mut was_reached: mpsc::UnboundedReceiver<()>) {
    let none = HeaderMap::new();
    tokio::select! {
        _ = world.call(&none) => unreachable!("there is no answer"),
        reached = was_reached.recv() => reached.unwrap(),
    }
}

async fn give_up_in_mid_stream(world: &World) {
    let none = HeaderMap::new();
    let begun = world.call_by(&none, async |channel, kind, request| {
        let answer = match channel {
            Either::Plain(channel) => begin(channel, kind, request).await,
            Either::Traced(channel) => begin(channel, kind, request).await,
        };
        let mut answers = answer.unwrap().into_inner();
        assert_eq!(answers.message().await.unwrap().as_deref(), Some("first"));
    });
    begun.await;
}

pub(crate) async fn dropped_midway(tested: Tested) {
    let test = TestTelemetry::new();
    let (handler, was_reached) = hanging();
    let world = World::new(tested, &test, handler).await;
    give_up_on_the_head(&world, was_reached).await;
    let span = tested.assert_error(&test, None).await;
    assert_eq!(span.str("ml.cancel.reason"), "dropped");
    if tested.side == Side::Server {
        assert_eq!(span.int("gen_ai.usage.output_tokens"), 7);
        assert!(span.bool("ml.usage.partial"));
    }
    // In the middle of the answer, where it is a stream.
    if tested.kind.streams_answers() {
        let test = TestTelemetry::new();
        let world = World::new(tested, &test, endless()).await;
        give_up_in_mid_stream(&world).await;
        let span = tested.assert_error(&test, None).await;
        assert_eq!(span.str("ml.cancel.reason"), "dropped");
    }
}

/// No message, or one of no length where there must be one.
pub(crate) async fn empty(tested: Tested) {
    let test = TestTelemetry::new();
    let streams = tested.kind.streams_answers();
    let handler = handler(move |_| {
        let texts: &[&str] = if streams { &[] } else { &[""] };
        std::future::ready(Ok(answers(texts.iter().copied())))
    });
    let world = World::new(tested, &test, handler).await;
    let answer = world.call(&HeaderMap::new()).await.unwrap();
    assert_eq!(answer.concat(), "");
    let span = tested.assert_error(&test, None).await;
    assert!(!span.has("ml.response.message.count") && !span.has("ml.cancel.reason"));
}

pub(crate) async fn ended_once(tested: Tested) {
    let test = TestTelemetry::new();
    let none = HeaderMap::new();
    let world = |handler| World::new(tested, &test, handler);
    world(echo()).await.call(&none).await.unwrap();
    world(faulty()).await.call(&none).await.unwrap_err();
    world(panicking()).await.call(&none).await.unwrap_err();
    let (handler, was_reached) = hanging();
    give_up_on_the_head(&world(handler).await, was_reached).await;
    let mut calls = 4;
    if tested.kind.streams_answers() {
        give_up_in_mid_stream(&world(endless()).await).await;
        calls += 1;
    }
    tested.own(&test, calls).await;
    assert_ended_once(&test.spans());
    assert!(test.open_spans().is_empty());
    let durations = test.metrics();
    let durations = durations.histogram(tested.duration());
    assert_eq!(durations.count(), calls as u64);
}
