//! What runs inside a request: its context, the spans below it, and the facts it writes.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::trace::TraceContextExt as _;
use otel_ml::{Attributes, MlSpan, Telemetry, stage};
use otel_ml_testing::{SpanExt as _, SpansExt as _, TestTelemetry, assert_tree, assert_types};
use otel_ml_tower::RequestHead;
use tower::{Layer as _, Service as _, service_fn};

use crate::relay::sent_by;
use crate::support::{client, current_span, get, run, server, status, yield_once};

/// A body that runs a stage with each of its two chunks.
struct Staged(u64);

impl Body for Staged {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0 == 2 {
            return Poll::Ready(None);
        }
        self.0 += 1;
        stage("decode").in_scope_infallible(|| ());
        MlSpan::current().output_tokens(self.0);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"token ")))))
    }
}

#[test]
fn children_nest_below_the_request_from_call_to_the_end_of_the_body() {
    let test = TestTelemetry::new();
    let mut service = server(&test)
        .build()
        .layer(service_fn(|_request: Request<()>| {
            stage("in call").in_scope_infallible(|| ());
            async {
                stage("before").run_infallible(yield_once()).await;
                yield_once().await;
                let around = stage("around").run_infallible(async {
                    let telemetry = test.telemetry();
                    stage("inner")
                        .telemetry(&telemetry)
                        .in_scope_infallible(|| ());
                    sent_by(&client(&test).build(), &[])
                });
                around.await;
                Ok::<_, Infallible>(Response::new(Staged(0)))
            }
        }));
    let response = run(service.call(get(&[]))).unwrap();
    drop(run(http_body_util::BodyExt::collect(response.into_body())));
    assert_tree!(test.spans(), {
        "GET" [server, unset] { "gen_ai.usage.output_tokens" = 2, "ml.response.chunk.count" = 2 } => [
            "in call" [internal],
            "before" [internal],
            "around" [internal] => ["inner" [internal], "GET" [client]],
            "decode" [internal],
            "decode" [internal],
        ]
    });
    assert!(!current_span().is_valid(), "nothing stays attached");
}

#[test]
fn facts_are_written_with_their_types() {
    let test = TestTelemetry::new();
    let handler = async |_request: Request<()>| {
        MlSpan::current()
            .model("ranker")
            .operation("rerank")
            .confidence(0.93)
            .input_tokens(12)
            .finish_reasons(["stop"])
            .cache_lookup("features", true);
        Ok::<_, Infallible>(status(200))
    };
    drop(run(server(&test)
        .build()
        .layer(service_fn(handler))
        .call(get(&[]))));
    assert_tree!(test.spans(), {
        "GET" [server] {
            "ml.model.name" = "ranker",
            "ml.operation.name" = "rerank",
            "ml.prediction.confidence" = 0.93,
            "gen_ai.usage.input_tokens" = 12,
            "gen_ai.response.finish_reasons" = ["stop"],
            "ml.cache.hit" = true,
        }
    });
    assert_types(&test.spans());
    let metrics = test.metrics();
    assert_eq!(metrics.histogram("ml.inference.duration").count(), 1);
    assert_eq!(metrics.sum("ml.cache.lookups").int(), 1);
}

#[test]
fn facts_written_after_the_end_are_nowhere() {
    let test = TestTelemetry::new();
    let kept = RefCell::new(MlSpan::default());
    let handler = async |_request: Request<()>| {
        kept.replace(MlSpan::current());
        assert!(MlSpan::current().is_recording());
        Ok::<_, Infallible>(status(200))
    };
    drop(run(server(&test)
        .build()
        .layer(service_fn(handler))
        .call(get(&[]))));
    assert!(!kept.borrow().is_recording());
    kept.borrow().output_tokens(1);
    assert!(!test.spans().root().has("gen_ai.usage.output_tokens"));
}

#[test]
fn inside_a_client_the_operation_is_the_one_around_it() {
    let test = TestTelemetry::new();
    let mut service = client(&test)
        .build()
        .layer(service_fn(|_request: Request<()>| async {
            MlSpan::current().input_size(3);
            Ok::<_, Infallible>(status(200))
        }));
    run(service.call(get(&[]))).unwrap();
    let telemetry = test.telemetry();
    let call = async { run(service.call(get(&[]))).unwrap() };
    run(stage("around").telemetry(&telemetry).run_infallible(call));
    let spans = test.spans();
    assert!(
        spans
            .all_named("GET")
            .iter()
            .all(|span| !span.has("ml.input.size"))
    );
    assert_eq!(spans.named("around").int("ml.input.size"), 3);
}

#[test]
fn an_unsampled_requests_facts_and_stages_are_in_the_metrics_all_the_same() {
    let test = TestTelemetry::builder().always_off().build();
    let is_recording = Cell::new(true);
    let handler = async |_request: Request<()>| {
        let span = MlSpan::current();
        span.gen_ai_operation("chat").provider("openai");
        span.first_token().output_tokens(1);
        is_recording.set(span.is_recording());
        stage("rerank").in_scope_infallible(|| MlSpan::current().model("m").is_recording());
        Ok::<_, Infallible>(status(200))
    };
    drop(run(server(&test)
        .build()
        .layer(service_fn(handler))
        .call(get(&[]))));
    assert!(!is_recording.get());
    assert!(test.spans().is_empty());
    let metrics = test.metrics();
    for name in [
        "gen_ai.server.request.duration",
        "gen_ai.server.time_to_first_token",
        "ml.stage.duration",
    ] {
        assert_eq!(metrics.histogram(name).count(), 1, "{name}");
    }
}

/// Looks at the current context and uses the library from wherever the SDK and the layers
/// call out to the application.
fn use_everything() {
    let current = Context::map_current(|cx| cx.has_active_span());
    let _attached = Context::current().attach();
    MlSpan::current().model("re-entrant");
    let telemetry = Telemetry::builder()
        .without_metrics()
        .without_traces()
        .build();
    stage("re-entrant")
        .telemetry(&telemetry)
        .in_scope_infallible(|| {
            assert_eq!(Context::map_current(|cx| cx.has_active_span()), current);
        });
}

#[derive(Debug)]
struct Nosy(TestTelemetry);

impl SpanProcessor for Nosy {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        use_everything();
        let tracer = self.0.telemetry();
        let name = span.exported_data().map(|data| data.name.into_owned());
        let _parent = cx.clone().attach();
        stage(format!("watching {}", name.unwrap_or_default()))
            .telemetry(&tracer)
            .in_scope_infallible(use_everything);
    }

    fn on_end(&self, _span: SpanData) {
        use_everything();
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[test]
fn e37_what_the_layers_call_out_to_may_use_contexts_and_spans() {
    let test = TestTelemetry::new();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(Nosy(test.clone()))
        .build();
    let telemetry = Telemetry::builder()
        .tracer_provider(&provider)
        .meter_provider(test.meter_provider())
        .build();
    let filter = |_: &RequestHead<'_>| {
        use_everything();
        true
    };
    let name = |_: &RequestHead<'_>| {
        use_everything();
        None
    };
    let attributes = |_: &RequestHead<'_>, to: &mut Attributes| {
        use_everything();
        to.push("seen", true);
    };
    let sending = client(&test).telemetry(telemetry.clone());
    let sending = sending
        .filter(filter)
        .span_name(name)
        .attributes(attributes)
        .build();
    let serving = server(&test).telemetry(telemetry);
    let serving = serving
        .filter(filter)
        .span_name(name)
        .attributes(attributes);
    let serving = serving.metric_attributes(attributes).build();
    let mut service = serving.layer(service_fn(|_request: Request<()>| {
        use_everything();
        drop(sent_by(&sending, &[]));
        async { Ok::<_, Infallible>(Response::new(Staged(0))) }
    }));
    let response = run(service.call(get(&[]))).unwrap();
    drop(run(http_body_util::BodyExt::collect(response.into_body())));
    let spans = test.spans();
    // One for the request served, one for the request sent.
    assert_eq!(spans.all_named("watching GET").len(), 2);
    // One for each chunk's stage, which records by its request's telemetry.
    assert_eq!(spans.all_named("watching decode").len(), 2);
    assert_eq!(
        test.metrics()
            .histogram("http.server.request.duration")
            .count(),
        1
    );
}
