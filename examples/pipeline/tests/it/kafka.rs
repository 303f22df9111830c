//! The hop that goes by Kafka.

use std::sync::Arc;
use std::time::Duration;

use otel_ml::Telemetry;
use otel_ml_testing::{SpanExt as _, TestTelemetry};
use pipeline::kafka::{Broker, Requests, Topics, serve};
use pipeline::pipeline::{Hops, Pace};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;

use crate::support::{QUESTION, Running};

#[tokio::test]
async fn a_question_leaves_one_trace_also_over_kafka() {
    let running = Running::start(Pace {
        hops: Hops::Mixed,
        ..Pace::default()
    });
    let running = running.await;
    let asked = running.asker.ask(QUESTION, "", |_| ()).await;
    asked.reply.unwrap();
    let written = running.stop().await;
    let named = |name: &str| {
        let mut found = written.spans.iter().filter(|span| span.name == name);
        let span = found.next().unwrap_or_else(|| panic!("no span '{name}'"));
        assert!(found.next().is_none(), "more than one '{name}'");
        span
    };
    // Down to the hop, and back.
    let way = [
        ("gateway", "send retrieve-requests"),
        ("retrieve", "process retrieve-requests"),
        ("retrieve", "send retrieve-replies"),
        ("gateway", "process retrieve-replies"),
    ];
    for pair in way.windows(2) {
        let [(_, from), (service, to)] = pair else {
            continue;
        };
        let (from, to) = (named(from), named(to));
        assert_eq!(to.parent.as_ref(), Some(&from.id), "{}", to.name);
        assert_eq!(to.trace, from.trace);
        assert_eq!(to.service, *service);
    }
    // The rerank hop has a queue of its own: its wait is below no message.
    for process in ["process retrieve-requests", "process retrieve-replies"] {
        let processed = &named(process).id;
        let waits = written
            .spans
            .iter()
            .filter(|span| span.name == "queue_wait" && span.parent.as_ref() == Some(processed));
        assert_eq!(waits.count(), 1, "{process}");
    }
    let processed = named("process retrieve-requests");
    let stage = named("retrieve");
    assert_eq!(stage.parent.as_ref(), Some(&processed.id));
}

const TOPICS: Topics = Topics {
    requests: "overload-requests",
    replies: "overload-replies",
};
/// How many are worked on.
const WORKED_ON: usize = 120;
/// How many come meanwhile, for each of them.
const OVERLOAD: usize = 3;
/// How long those that are being handled at the end may take.
const PATIENCE: Duration = Duration::from_secs(1);

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Three times as many requests come as are worked on, however long one takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_overload_the_wait_grows_and_all_ways_of_telling_it_agree() {
    let test = TestTelemetry::new();
    let telemetry = Telemetry::builder()
        .tracer_provider(test.tracer_provider())
        .meter_provider(test.meter_provider())
        .build();
    let broker = Broker::new().unwrap();
    broker.make(TOPICS).await.unwrap();
    let turns = Arc::new(Semaphore::new(0));
    let its_turn = Arc::clone(&turns);
    let worker = serve(&broker, &telemetry, TOPICS, 1, move |number: usize| {
        let turns = Arc::clone(&its_turn);
        async move {
            // None is given any more at the end: nobody is to wait for one then.
            let _ = turns.acquire().await.map(SemaphorePermit::forget);
            number
        }
    });
    let worker = worker.unwrap();
    let (requests, replies) = Requests::start(&broker, &telemetry, TOPICS).unwrap();
    let mut calls = JoinSet::new();
    for number in 0..WORKED_ON * OVERLOAD {
        let requests = requests.clone();
        calls.spawn(async move { (number, requests.call(&number).await) });
        if number % OVERLOAD == 0 {
            turns.add_permits(1);
            let (number, reply) = calls.join_next().await.unwrap().unwrap();
            assert_eq!(reply.ok(), Some(number), "each has its own reply");
        }
    }
    turns.close();
    worker.stop(PATIENCE).await;
    replies.stop(PATIENCE).await;

    let spans = test.spans();
    let mut processed: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "process overload-requests")
        .collect();
    processed.sort_by_key(|span| span.start_time);
    let waits: Vec<f64> = processed
        .iter()
        .map(|span| span.double("ml.queue.wait.duration"))
        .collect();
    // The first one waits for connections, too; behind the last ones, no turn was waited for.
    let (first, last) = (&waits[1..=WORKED_ON / 4], &waits[..WORKED_ON]);
    let (first, last) = (median(first), median(&last[WORKED_ON * 3 / 4..]));
    println!("median wait: {first:.3} s in the first quarter, {last:.3} s in the last");
    assert!(last >= 3.0 * first, "{first} s, then {last} s");
    // In the waterfall as a span, which ends when the handler begins.
    for (span, wait) in processed.iter().zip(&waits) {
        let is_its = |other: &&_| is_child_of(other, span);
        let queued = spans
            .iter()
            .filter(|other| other.name == "queue_wait")
            .find(is_its);
        let queued = queued.expect("a span of the wait").duration().as_secs_f64();
        assert!(
            (queued - wait).abs() < 0.01,
            "{queued} s as a span, {wait} s told"
        );
    }
    let metrics = test.metrics();
    let histogram = metrics.histogram("ml.queue.wait.duration");
    let histogram = histogram.with("ml.queue.name", "overload-requests");
    assert_eq!(histogram.count(), waits.len() as u64);
    assert!((histogram.sum() - waits.iter().sum::<f64>()).abs() < 1e-6);
}

/// Each has topics of its own.
#[tokio::test]
async fn two_runs_on_one_broker_do_not_answer_each_other() {
    let test = TestTelemetry::new();
    let telemetry = test.telemetry();
    let broker = Broker::new().unwrap();
    let mut running = Vec::new();
    for run in 0..2_u32 {
        let broker = broker.for_another_run();
        broker.make(TOPICS).await.unwrap();
        let worker = serve(
            &broker,
            &telemetry,
            TOPICS,
            1,
            move |_: u32| async move { run },
        );
        let (requests, replies) = Requests::start(&broker, &telemetry, TOPICS).unwrap();
        running.push((broker, worker.unwrap(), requests, replies));
    }
    for (run, (_, _, requests, _)) in (0..).zip(&running) {
        for number in 0..5_u32 {
            assert_eq!(requests.call::<u32>(&number).await.unwrap(), run);
        }
    }
    for (broker, worker, _, replies) in running {
        worker.stop(PATIENCE).await;
        replies.stop(PATIENCE).await;
        broker.remove(TOPICS).await.unwrap();
    }
    // Nobody was handed another's, and all are told under one name.
    let spans = test.spans();
    assert!(spans.iter().all(|span| !span.is_error()));
    for name in [
        "send overload-requests",
        "process overload-requests",
        "send overload-replies",
        "process overload-replies",
    ] {
        let named = spans.iter().filter(|span| span.name == name);
        assert_eq!(named.count(), 10, "{name}");
    }
}

fn is_child_of(
    span: &opentelemetry_sdk::trace::SpanData,
    parent: &opentelemetry_sdk::trace::SpanData,
) -> bool {
    span.parent() == Some(parent.span_context.span_id())
}
