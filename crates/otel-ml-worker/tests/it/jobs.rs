//! Jobs that get to their end, in every form that hands them over.

use std::thread;

use futures_util::{FutureExt, Stream, StreamExt, stream};
use otel_ml::opentelemetry::trace::SpanId;
use otel_ml::semconv::{gen_ai, ml};
use otel_ml::{MlSpan, Telemetry, genai, stage};
use otel_ml_testing::{SpanExt, SpansExt, TestTelemetry, assert_tree};
use otel_ml_worker::{Queue, job};

use crate::support::{
    Refused, in_request, jobs, level, on_each_runtime, remote, request, span_here, waits,
};

#[test]
fn what_a_job_records() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).limit(9).build();
    in_request(&test, || {
        queue.job("score").wrap_infallible(|| {
            MlSpan::current().model("fraud").operation("predict");
            stage("part").in_scope_infallible(|| ());
        })();
    });
    assert_tree!(test.spans(), {
        "request" => [
            "score" [internal, unset] { (ml::MODEL_NAME) = "fraud" } => ["part"],
        ],
    });
    let told = test.spans().named("score").double(ml::QUEUE_WAIT_DURATION);
    assert_eq!(waits(&test).unwrap().sum(), told);
    assert_eq!(level(&test, &ml::metric::QUEUE_SIZE), 0);
    assert_eq!(level(&test, &ml::metric::QUEUE_LIMIT), 9);
    assert!(test.metrics().has(ml::metric::INFERENCE_DURATION.name));
}

#[test]
fn without_errors_the_infallible_forms() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).build();
    let mut numbers = Box::pin(queue.job("stream").stream_infallible(stream::iter([1, 2])));
    assert_eq!(numbers.size_hint(), (2, Some(2)));
    while let Some(Some(_)) = numbers.next().now_or_never() {}
    let future = queue
        .job("future")
        .run_infallible(async { Err::<u8, _>(Refused) });
    assert_eq!(future.now_or_never(), Some(Err(Refused)));
    assert_eq!(queue.job("closure").wrap_infallible(|| 3)(), 3);
    let spans = test.spans();
    assert!(spans.iter().all(|span| !span.is_error()));
    assert_eq!(spans.named("stream").int(ml::RESPONSE_CHUNK_COUNT), 2);
    assert!(!spans.named("future").has(ml::RESPONSE_CHUNK_COUNT));
}

#[test]
fn nested_jobs_are_children_of_who_made_them() {
    on_each_runtime(|runtime| {
        let test = TestTelemetry::new();
        let queue = jobs(&test).build();
        in_request(&test, || {
            let inner = queue.clone();
            let outer = queue.job("outer").run_infallible(async move {
                let deep = inner.job("inner").wrap_infallible(move || {
                    // A job without a queue takes the telemetry of the operation around it.
                    thread::spawn(job("deepest").wrap_infallible(|| ()))
                        .join()
                        .unwrap();
                });
                tokio::task::spawn_blocking(deep).await.unwrap();
            });
            runtime.block_on(runtime.spawn(outer)).unwrap();
        });
        assert_tree!(test.spans(), { "request" => ["outer" => ["inner" => ["deepest"]]] });
    });
}

#[test]
fn attributes_and_the_wait_are_written_once() {
    let test = TestTelemetry::new();
    let job = jobs(&test).build().job("score").attribute("shard", 3);
    assert!(format!("{job:?}").contains("score"));
    job.wrap_infallible(|| {
        let span = MlSpan::current();
        for n in 0..1_000 {
            span.set("shard", 4)
                .set(ml::QUEUE_WAIT_DURATION, 9.0)
                .input_size(n);
        }
    })();
    let spans = test.spans();
    let span = spans.named("score");
    assert_eq!((span.int("shard"), span.int(ml::INPUT_SIZE)), (3, 999));
    assert!(span.double(ml::QUEUE_WAIT_DURATION) < 9.0);
    assert_eq!(span.attributes.len(), 3);
}

#[test]
fn e28_where_telemetry_is_suppressed_there_is_no_span() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).queue_wait_span(true).build();
    let job = {
        let _caller = remote(1).with_telemetry_suppressed().attach();
        queue.job("score")
    };
    let here = job.wrap_infallible(span_here)();
    assert_eq!(here, SpanId::from(crate::support::SPAN_ID));
    assert!(test.spans().is_empty());
}

#[test]
fn where_nothing_is_installed_the_work_is_done_all_the_same() {
    let off = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build();
    let queue = Queue::builder("jobs")
        .telemetry(off)
        .queue_wait_span(true)
        .build();
    let _caller = remote(1).attach();
    let work = queue
        .job("score")
        .run(async { Ok::<_, Refused>(span_here()) });
    let here = work.now_or_never().unwrap();
    assert_eq!(here, Ok(SpanId::from(crate::support::SPAN_ID)));
    drop(queue.job("score").wrap_infallible(|| ()));
    assert_eq!(queue.size(), 0);
}

#[test]
fn after_the_provider_is_shut_down_the_context_is_carried_on() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).build();
    test.shutdown();
    let _caller = remote(1).attach();
    let here = queue.job("score").wrap_infallible(span_here)();
    assert_eq!(here, SpanId::from(crate::support::SPAN_ID));
}

#[test]
fn on_request_the_wait_is_a_span_beside_the_jobs() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).queue_wait_span(true).build();
    in_request(&test, || queue.job("score").wrap_infallible(|| ())());
    assert_tree!(test.spans(), { "request" => ["queue_wait" [internal, unset], "score"] });
    let spans = test.spans();
    let (wait, job) = (spans.named("queue_wait"), spans.named("score"));
    assert!(wait.end_time <= job.start_time);
    let told = job.double(ml::QUEUE_WAIT_DURATION);
    assert_eq!(wait.duration().as_secs_f64(), told);
}

#[test]
fn a_job_that_generates_has_the_metrics_of_a_server() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).build();
    queue.job("generate").wrap_infallible(|| {
        let span = MlSpan::current();
        span.gen_ai_operation("chat")
            .provider("openai")
            .first_token()
            .output_tokens(3);
        genai::embeddings("openai", "e").in_scope_infallible(|| ());
    })();
    let metrics = test.metrics();
    let first = metrics.histogram(gen_ai::metric::SERVER_TIME_TO_FIRST_TOKEN.name);
    assert_eq!(first.one().count(), 1);
    assert!(metrics.has(gen_ai::metric::SERVER_TIME_PER_OUTPUT_TOKEN.name));
}

#[test]
fn two_interleaved_jobs_do_not_mix() {
    let test = TestTelemetry::new();
    let queue = jobs(&test).build();
    let work = |name: &'static str, size: u64| {
        let mut request = request(&test);
        let job = request.scope(|| queue.job(name));
        request.finish(otel_ml::Outcome::Ok);
        Box::pin(job.run_infallible(async move {
            tokio::task::yield_now().await;
            MlSpan::current().input_size(size);
        }))
    };
    let (mut a, mut b) = (work("a", 1), work("b", 2));
    assert!((&mut a).now_or_never().is_none() && (&mut b).now_or_never().is_none());
    assert!((&mut a).now_or_never().is_some() && (&mut b).now_or_never().is_some());
    assert_tree!(test.spans(), {
        "request" => ["a" { (ml::INPUT_SIZE) = 1 }],
        "request" => ["b" { (ml::INPUT_SIZE) = 2 }],
    });
}

#[test]
fn an_attribute_of_a_job_is_there_once_with_its_last_value() {
    let test = TestTelemetry::new();
    let job = in_request(&test, || jobs(&test).build().job("score"));
    let job = job
        .attribute("app.kind", "first")
        .attribute("app.other", 1)
        .attribute("app.kind", "last")
        .attribute(ml::QUEUE_WAIT_DURATION, -1.0);
    job.wrap_infallible(|| ())();
    let spans = test.spans();
    let span = spans.named("score");
    let mut keys: Vec<_> = span.attributes.iter().map(|a| a.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["app.kind", "app.other", ml::QUEUE_WAIT_DURATION]);
    assert_eq!(span.str("app.kind"), "last");
    assert!(span.double(ml::QUEUE_WAIT_DURATION) >= 0.0);
}
