//! Requests that run together: the whole trace, and who is linked to whom.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use otel_ml::opentelemetry::trace::{SpanContext, SpanId, TraceContextExt};
use otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml::semconv::ml;
use otel_ml::{MlSpan, Outcome, Telemetry, stage};
use otel_ml_testing::opentelemetry_sdk::trace::SpanData;
use otel_ml_testing::{
    SpanExt, SpansExt, TestTelemetry, assert_ended_once, assert_parents_present, assert_tree,
    assert_types,
};
use otel_ml_worker::{BatchOperation, Queue, QueueBuilder, Traced, Trigger, spawn};
use tokio::sync::{mpsc, oneshot};

use crate::support::{Refused, in_request, multi_thread, remote};

pub(crate) fn inbox(test: &TestTelemetry) -> QueueBuilder {
    let queue = Queue::builder("classify").system(ml::queue_system::BATCH);
    queue.telemetry(test.telemetry())
}

/// So many items, each queued in a request of its own.
pub(crate) fn requests(test: &TestTelemetry, queue: &Queue, count: usize) -> Vec<Traced<usize>> {
    (0..count)
        .map(|number| in_request(test, || queue.traced(number)))
        .collect()
}

/// The links of a span, in order.
pub(crate) fn links(span: &SpanData) -> Vec<SpanContext> {
    let links = span.links.links.iter();
    links.map(|link| link.span_context.clone()).collect()
}

type Request = (usize, oneshot::Sender<Result<usize, Refused>>);

/// Takes eight requests, runs them together and answers each.
async fn batcher(mut inbox: mpsc::Receiver<Traced<Request>>) {
    let batches = BatchOperation::builder("classify")
        .model("sentiment")
        .max_size(8);
    let mut waiting = Vec::new();
    while waiting.len() < 8 {
        waiting.push(inbox.recv().await.unwrap());
    }
    let (mut batch, items) = batches.start(Trigger::Size, waiting);
    let (inputs, replies): (Vec<_>, Vec<_>) = items.into_iter().unzip();
    let forward = async {
        let stage = stage("forward").run_infallible(async {
            MlSpan::current().input_size(8);
            tokio::task::yield_now().await;
            inputs.iter().map(|n| Ok(n * 2)).collect::<Vec<_>>()
        });
        stage.await
    };
    let results = batch.run(forward).await;
    for number in 0..batch.len() {
        batch.request(number).confidence(0.5);
    }
    batch.finish_each(&results);
    for (reply, result) in replies.into_iter().zip(results) {
        reply.send(result).unwrap();
    }
}

#[test]
fn the_trace_of_eight_concurrent_requests_whole() {
    let test = TestTelemetry::new();
    let queue = inbox(&test).limit(8).queue_wait_span(true).build();
    let (sender, receiver) = mpsc::channel(8);
    multi_thread().block_on(async {
        let telemetry = test.telemetry();
        let ask = |number: usize| {
            let (queue, sender) = (queue.clone(), sender.clone());
            let request = stage("request")
                .telemetry(&telemetry)
                .run_infallible(async move {
                    let (reply, answer) = oneshot::channel::<Result<usize, Refused>>();
                    sender.send(queue.traced((number, reply))).await.unwrap();
                    answer.await.unwrap().unwrap()
                });
            spawn(request)
        };
        let asking: Vec<_> = (0..8).map(ask).collect();
        spawn(batcher(receiver)).await.unwrap();
        let answers = join_all(asking).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [0, 2, 4, 6, 8, 10, 12, 14]);
    });

    let spans = test.spans();
    assert_ended_once(&spans);
    assert_parents_present(&spans);
    assert_types(&spans);
    assert_eq!(spans.len(), 8 * 3 + 2);
    let batch = spans.named("batch classify");
    assert_eq!(batch.parent_span_id, SpanId::INVALID);
    let own = [batch.clone(), spans.named("forward").clone()];
    assert_tree!(own, {
        "batch classify" [internal, unset, only_attrs] {
            (ml::BATCH_SIZE) = 8,
            (ml::BATCH_MAX_SIZE) = 8,
            (ml::BATCH_TRIGGER) = "size",
            (ml::MODEL_NAME) = "sentiment",
        } => ["forward" { (ml::INPUT_SIZE) = 8 }],
    });

    let asked = spans.all_named("request");
    let expected: HashSet<_> = asked
        .iter()
        .map(|span| span.span_context.span_id())
        .collect();
    let linked = links(batch);
    let linked_ids: HashSet<_> = linked.iter().map(SpanContext::span_id).collect();
    assert_eq!((linked.len(), linked_ids), (8, expected));
    let mut between = Vec::new();
    for request in asked {
        let trace = request.span_context.trace_id();
        assert_ne!(trace, batch.span_context.trace_id());
        let of_it = spans
            .iter()
            .filter(|span| span.span_context.trace_id() == trace);
        let of_it: Vec<_> = of_it.cloned().collect();
        assert_tree!(of_it, {
            "request" => [
                "queue_wait" [internal, unset, only_attrs],
                "infer" [internal, unset] { (ml::BATCH_SIZE) = 8 },
            ],
        });
        let infer = of_it.named("infer");
        assert_eq!(links(infer), std::slice::from_ref(&batch.span_context));
        assert_eq!(infer.double(ml::PREDICTION_CONFIDENCE), 0.5);
        assert_waits_and_stages_add_up(request, &of_it);
        let waited_until = of_it.named("queue_wait").end_time;
        between.push(
            infer
                .start_time
                .duration_since(waited_until)
                .unwrap_or_default(),
        );
    }
    // The wait ends where the inference starts, though a thread may lose its turn in between.
    let shortest = between.into_iter().min().unwrap();
    assert!(shortest < Duration::from_millis(1), "{shortest:?}");

    let metrics = test.metrics();
    let sizes = metrics.histogram(ml::metric::BATCH_SIZE.name).one();
    assert_eq!((sizes.count(), sizes.sum()), (1, 8.0));
    let labels = [
        KeyValue::new(ml::BATCH_TRIGGER, "size"),
        KeyValue::new(ml::MODEL_NAME, "sentiment"),
    ];
    assert_eq!(sizes.labels(), labels);
    let waits = metrics.histogram(ml::metric::QUEUE_WAIT_DURATION.name);
    let waits = waits
        .with(ml::QUEUE_SYSTEM, "batch")
        .with(ml::QUEUE_NAME, "classify");
    assert_eq!(waits.one().count(), 8);
    metrics.sum(ml::metric::QUEUE_SIZE.name).assert_zero();
    assert_eq!(metrics.gauge(ml::metric::QUEUE_LIMIT.name).int(), 8);
}

/// The wait, the stages and the gaps between them are the request's whole time.
#[track_caller]
fn assert_waits_and_stages_add_up(request: &SpanData, of_it: &[SpanData]) {
    let tolerance = Duration::from_millis(1);
    let (wait, infer) = (of_it.named("queue_wait"), of_it.named("infer"));
    let told = infer.double(ml::QUEUE_WAIT_DURATION);
    assert_eq!(wait.duration().as_secs_f64(), told);
    let edges = [
        (request.start_time, wait.start_time),
        (wait.end_time, infer.start_time),
        (infer.end_time, request.end_time),
    ];
    let gap = |(from, to): (SystemTime, SystemTime)| {
        let overlap = from.duration_since(to).unwrap_or_default();
        assert!(
            overlap < tolerance,
            "what follows each other overlaps by {overlap:?}"
        );
        to.duration_since(from).unwrap_or_default()
    };
    let gaps: Duration = edges.into_iter().map(gap).sum();
    let all = wait.duration() + infer.duration() + gaps;
    let difference = all.abs_diff(request.duration());
    assert!(
        difference < tolerance,
        "{difference:?} is missing or too much"
    );
}

#[test]
fn facts_go_to_the_batch_or_to_the_request_they_are_about() {
    let test = TestTelemetry::new();
    let queue = inbox(&test).build();
    let batches = BatchOperation::builder("classify").telemetry(test.telemetry());
    let (mut batch, items) = batches.start(Trigger::Budget, requests(&test, &queue, 2));
    assert_eq!(
        (items, batch.len(), batch.is_empty()),
        (vec![0, 1], 2, false)
    );
    batch.scope(|| {
        MlSpan::current().model("m").operation("predict");
    });
    batch.span().batch_id("b-1");
    batch.request(1).input_tokens(7);
    batch.request(9).input_tokens(8);
    assert!(batch.request_context(9).is_none());
    let cx = batch.request_context(0).unwrap();
    let _here = cx.attach();
    stage("tokenize").in_scope_infallible(|| ());
    batch.finish(Outcome::Ok);
    let spans = test.spans();
    let batch = spans.named("batch classify");
    assert_eq!(
        (batch.str(ml::MODEL_NAME), batch.str(ml::BATCH_ID)),
        ("m", "b-1")
    );
    let infers = spans.all_named("infer");
    assert!(
        infers[1].has("gen_ai.usage.input_tokens") != infers[0].has("gen_ai.usage.input_tokens")
    );
    assert_tree!(spans.iter().filter(|s| !s.name.starts_with("batch")).cloned().collect::<Vec<_>>(), {
        "request" => ["infer" => ["tokenize"]],
        "request" => ["infer" { "gen_ai.usage.input_tokens" = 7 }],
    });
    assert_eq!(
        test.metrics()
            .histogram(ml::metric::INFERENCE_DURATION.name)
            .one()
            .count(),
        1
    );
}

#[test]
fn e03_no_requests_no_batch() {
    let test = TestTelemetry::new();
    let batches = BatchOperation::builder("classify").telemetry(test.telemetry());
    let (mut batch, items) = batches.start(Trigger::Timeout, Vec::<Traced<u8>>::new());
    assert!(items.is_empty() && batch.is_empty());
    batch.leave(0);
    assert_eq!(batch.scope(|| 1), 1);
    batch.finish(Outcome::Ok);
    assert!(test.spans().is_empty());
    assert_eq!(test.metrics().names(), [""; 0]);
}

#[test]
fn e23_unsampled_and_suppressed_requests_run_in_their_context_and_are_counted() {
    let test = TestTelemetry::builder().parent_based_always_off().build();
    let queue = inbox(&test).queue_wait_span(true).build();
    let waiting = [remote(0), remote(1).with_telemetry_suppressed()].map(|cx| {
        let _caller = cx.attach();
        queue.traced(0)
    });
    let batches = BatchOperation::builder("classify");
    let (batch, _) = batches.start(Trigger::Size, waiting.into());
    for number in 0..2 {
        let cx = batch.request_context(number).unwrap();
        assert_eq!(
            cx.span().span_context(),
            remote(u8::from(number == 1)).span().span_context()
        );
    }
    batch.finish(Outcome::Ok);
    assert!(test.spans().is_empty());
    let sizes = test
        .metrics()
        .histogram(ml::metric::BATCH_SIZE.name)
        .one()
        .sum();
    assert_eq!(sizes, 2.0);
}

#[test]
fn e28_a_batcher_whose_telemetry_is_suppressed_records_no_batch() {
    let test = TestTelemetry::new();
    let queue = inbox(&test).build();
    let waiting = requests(&test, &queue, 1);
    let _off = Context::enter_telemetry_suppressed_scope();
    let batches = BatchOperation::builder("classify");
    let (mut batch, _) = batches.start(Trigger::Size, waiting);
    assert!(batch.scope(|| Context::current().is_telemetry_suppressed()));
    batch.finish(Outcome::Ok);
    assert!(test.spans().all_named("batch classify").is_empty());
    assert_eq!(test.spans().all_named("infer").len(), 1);
}

#[test]
fn where_nothing_is_installed_the_batch_runs_all_the_same() {
    let off = Telemetry::builder()
        .without_traces()
        .without_metrics()
        .build();
    let queue = Queue::builder("classify").telemetry(off).build();
    let batches = BatchOperation::builder("classify").max_size(2).model("m");
    let (mut batch, items) = batches.start(Trigger::Size, vec![queue.traced(1)]);
    assert_eq!(batch.scope(|| items[0] + 1), 2);
    batch.finish_each(&[Ok::<_, Refused>(2)]);
    assert_eq!(queue.size(), 0);
}
