//! Rows about what is above a call, below it and beside it.

use std::sync::{Arc, Mutex};

use http::HeaderMap;
use otel_ml_testing::opentelemetry::trace::TracerProvider as _;
use otel_ml_testing::{
    SpanExt as _, SpansExt as _, TestTelemetry, assert_one_trace, assert_parents_present,
};
use otel_ml_tonic::otel_ml::{MlSpan, Telemetry, stage};
use tokio::sync::Barrier;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::{Asked, Handler, PARENT, SAMPLED, TRACE, UNSAMPLED, answers, echo, handler};
use crate::world::{Side, Tested, World, from_afar, headers, sent_on};

async fn refused(tested: Tested, pairs: &[(&'static str, &str)], anomaly: &str) {
    let test = TestTelemetry::new();
    let world = World::new(tested, &test, echo()).await;
    world.call(&headers(pairs)).await.unwrap();
    let span = tested.only(&test).await;
    assert_eq!(span.parent(), None, "{pairs:?}");
    assert!(span.links.is_empty(), "{pairs:?}");
    assert_ne!(span.span_context.trace_id().to_string(), TRACE);
    let metrics = test.metrics();
    let counted = metrics.sum("ml.propagation.anomalies");
    assert_eq!(counted.with("ml.propagation.anomaly", anomaly).int(), 1);
}

pub(crate) async fn malformed(tested: Tested) {
    for traceparent in ["", "00", "00-0-0-01", &SAMPLED.to_uppercase()] {
        refused(tested, &[("traceparent", traceparent)], "malformed").await;
    }
}

pub(crate) async fn duplicate(tested: Tested) {
    let twice = [("traceparent", SAMPLED), ("traceparent", SAMPLED)];
    refused(tested, &twice, "duplicate").await;
}

pub(crate) async fn future_version(tested: Tested) {
    let test = TestTelemetry::new();
    let traceparent = format!("cc-{TRACE}-{PARENT}-01-what-may-come");
    let world = World::new(tested, &test, echo()).await;
    let pairs = [("traceparent", traceparent.as_str())];
    world.call(&headers(&pairs)).await.unwrap();
    let span = tested.only(&test).await;
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!(span.parent_span_id.to_string(), PARENT);
    assert!(!test.metrics().has("ml.propagation.anomalies"));
}

pub(crate) async fn absent(tested: Tested) {
    let test = TestTelemetry::new();
    let world = World::new(tested, &test, echo()).await;
    world.call(&from_afar(SAMPLED)).await.unwrap();
    world.call(&HeaderMap::new()).await.unwrap();
    let spans = tested.own(&test, 2).await;
    assert_eq!(spans[0].span_context.trace_id().to_string(), TRACE);
    assert_ne!(spans[1].span_context.trace_id().to_string(), TRACE);
    assert_eq!(spans[1].parent(), None);
    assert!(spans[1].links.is_empty());
}

/// What came out at the far side of one call: what a server's handler would send on, or what a
/// client has sent.
pub(crate) async fn passed_on(
    tested: Tested,
    telemetry: Telemetry,
    accepts: bool,
    headers: &HeaderMap,
) -> HeaderMap {
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let handler = handler(move |asked: Asked| {
        let passed_on = match tested.side {
            Side::Server => sent_on(),
            Side::Client => asked.metadata.into_headers(),
        };
        *keep.lock().unwrap() = Some(passed_on);
        std::future::ready(Ok(answers(["x"])))
    });
    let world = World::with(tested, telemetry, accepts, handler).await;
    world.call(headers).await.unwrap();
    let passed_on = seen.lock().unwrap().take().expect("the handler was called");
    let fields = ["traceparent", "tracestate", "baggage"];
    passed_on
        .into_iter()
        .filter_map(|(name, value)| Some((name?, value)))
        .filter(|(name, _)| fields.contains(&name.as_str()))
        .collect()
}

pub(crate) async fn unsampled(tested: Tested) {
    let test = TestTelemetry::new();
    let sent = from_afar(UNSAMPLED);
    assert_eq!(passed_on(tested, test.telemetry(), true, &sent).await, sent);
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
}

pub(crate) async fn filtered(tested: Tested) {
    let test = TestTelemetry::new();
    let sent = from_afar(SAMPLED);
    assert_eq!(
        passed_on(tested, test.telemetry(), false, &sent).await,
        sent
    );
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
    assert!(!test.metrics().has(tested.duration()));
}

/// A server's children are its handler's; a client's is the server that it calls.
pub(crate) async fn children(tested: Tested) {
    let test = TestTelemetry::new();
    if tested.side == Side::Client {
        let seen = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&seen);
        let handler = handler(move |asked: Asked| {
            *keep.lock().unwrap() = asked.metadata.get("traceparent").cloned();
            std::future::ready(Ok(answers(["x"])))
        });
        let world = World::new(tested, &test, handler).await;
        world.call(&from_afar(SAMPLED)).await.unwrap();
        let own = tested.only(&test).await.span_context.span_id();
        let sent = seen.lock().unwrap().take().unwrap();
        assert_eq!(sent, format!("00-{TRACE}-{own}-01"));
        return;
    }
    let telemetry = test.telemetry();
    let handler = handler(move |_| {
        let telemetry = telemetry.clone();
        async move {
            let inner = stage("inner").telemetry(&telemetry);
            let inner = inner.run_infallible(tokio::task::yield_now());
            let outer = stage("outer").telemetry(&telemetry);
            outer.run_infallible(inner).await;
            Ok(answers(["x"]))
        }
    });
    let world = World::new(tested, &test, handler).await;
    world.call(&HeaderMap::new()).await.unwrap();
    let call = tested.only(&test).await;
    let spans = test.spans();
    assert_one_trace(&spans);
    assert_parents_present(&spans);
    let outer = spans.named("outer");
    assert_eq!(spans.children_of(&call), [outer]);
    assert_eq!(spans.children_of(outer), [spans.named("inner")]);
}

#[tracing::instrument(skip_all)]
async fn instrumented(work: impl Future<Output = ()>) {
    tokio::task::yield_now().await;
    MlSpan::current().output_tokens(7);
    work.await;
}

/// A server's child is what is instrumented in its handler; a client is a child of what is
/// instrumented around it.
pub(crate) async fn children_instrumented(tested: Tested) {
    let test = TestTelemetry::new();
    let tracer = test.tracer_provider().tracer("tracing");
    let subscriber = tracing_subscriber::registry();
    let subscriber = subscriber.with(tracing_opentelemetry::layer().with_tracer(tracer));
    // Server and client run on this thread.
    let _tracing = tracing::subscriber::set_default(subscriber);
    let is_server = tested.side == Side::Server;
    let telemetry = test.telemetry();
    let handler: Handler = handler(move |_| {
        let inner = stage("inner").telemetry(&telemetry);
        async move {
            let work = inner.run_infallible(tokio::task::yield_now());
            if is_server {
                instrumented(work).await;
            }
            Ok(answers(["x"]))
        }
    });
    let world = World::new(tested, &test, handler).await;
    let headers = HeaderMap::new();
    let call = async { drop(world.call(&headers).await.unwrap()) };
    if is_server {
        call.await;
    } else {
        instrumented(call).await;
    }
    let call = tested.only(&test).await;
    let mut spans = test.spans();
    // What tonic's own parts have instrumented is of no interest here.
    spans.retain(|span| ["instrumented", "inner"].contains(&&*span.name) || span.name == call.name);
    assert_one_trace(&spans);
    let around = spans.named("instrumented");
    if is_server {
        assert_eq!(spans.children_of(&call), [around]);
        assert_eq!(spans.children_of(around), [spans.named("inner")]);
        assert_eq!(call.int("gen_ai.usage.output_tokens"), 7);
    } else {
        assert_eq!(call.parent_span_id, around.span_context.span_id());
    }
}

/// Calls in traces 1 and 2, each in the middle of the other.
pub(crate) async fn concurrent(tested: Tested) {
    let test = TestTelemetry::new();
    let both_are_there = Arc::new(Barrier::new(2));
    let handler = handler(move |asked: Asked| {
        let number = asked.metadata.get("x-number").unwrap().to_str().unwrap();
        let number = number.parse().unwrap();
        let barrier = Arc::clone(&both_are_there);
        async move {
            for _ in 0..3 {
                barrier.wait().await;
                MlSpan::current().input_tokens(number);
            }
            Ok(answers(["x"]))
        }
    });
    let world = World::new(tested, &test, handler).await;
    let call = async |number: u8| {
        let parent = format!("00-{number:032x}-{PARENT}-01");
        let number = number.to_string();
        let pairs = [("traceparent", parent.as_str()), ("x-number", &number)];
        world.call(&headers(&pairs)).await.unwrap();
    };
    futures_util::future::join(call(1), call(2)).await;
    let spans = tested.own(&test, 2).await;
    for number in [1_u8, 2] {
        let is_of = format!("{number:032x}");
        let mut spans = spans.iter();
        let span = spans.find(|span| span.span_context.trace_id().to_string() == is_of);
        let span = span.expect("a span in the caller's trace");
        if tested.side == Side::Server {
            assert_eq!(span.int("gen_ai.usage.input_tokens"), i64::from(number));
        }
    }
}

/// A client's facts are those of the operation around it.
pub(crate) async fn fact_rewritten(tested: Tested) {
    let test = TestTelemetry::new();
    let write = || {
        for count in 0..1000 {
            MlSpan::current().output_tokens(count);
        }
    };
    let handler = handler(move |_| {
        write();
        std::future::ready(Ok(answers(["x"])))
    });
    let world = World::new(tested, &test, handler).await;
    let headers = HeaderMap::new();
    let told = match tested.side {
        Side::Server => {
            world.call(&headers).await.unwrap();
            tested.only(&test).await
        }
        Side::Client => {
            let telemetry = test.telemetry();
            let around = stage("around").telemetry(&telemetry);
            let call = async {
                world.call(&headers).await.unwrap();
                write();
            };
            around.run_infallible(call).await;
            test.spans().named("around").clone()
        }
    };
    let key = "gen_ai.usage.output_tokens";
    let attributes = told.attributes.iter();
    assert_eq!(attributes.filter(|one| one.key.as_str() == key).count(), 1);
    assert_eq!(told.int(key), 999);
}
