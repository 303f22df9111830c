//! The rerank hop's pool and batches under load.

use std::collections::HashMap;
use std::time::Duration;

use pipeline::hops::Stage;
use pipeline::hops::rerank::Pool;
use pipeline::load::{self, Load};
use pipeline::pipeline::Pace;

use crate::support::{QUESTION, Running, Span, Written};

const REQUESTS: usize = 32;

/// What a batch takes: much longer than all other stages together.
const BATCH: Duration = Duration::from_millis(150);

/// Many questions at once, to a reranker that takes its time for each batch.
async fn overloaded(pool: Pool) -> Written {
    let pace = Pace {
        stages: HashMap::from([(Stage::Rerank, BATCH)]),
        reranking: pool,
        ..Pace::default()
    };
    let running = Running::start(pace).await;
    let load = Load {
        questions: vec![QUESTION.to_owned()],
        requests: REQUESTS,
        concurrency: 16,
        user: None,
    };
    let report = load::run(&running.asker, running.outputs.traces(), &load, || {}).await;
    assert_eq!(report.problems, Vec::<String>::new());
    running.stop().await
}

fn named<'a>(written: &'a Written, name: &str) -> Vec<&'a Span> {
    written
        .spans
        .iter()
        .filter(|span| span.name == name)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_batched_and_each_leads_to_its_batch_and_back() {
    let pool = Pool {
        workers: 1,
        batch: 4,
    };
    let written = overloaded(pool).await;
    let (batches, infers) = (
        named(&written, "batch linear-signals"),
        named(&written, "infer"),
    );
    assert_eq!(infers.len(), REQUESTS);
    let sizes: Vec<u64> = batches
        .iter()
        .map(|batch| batch.int("ml.batch.size"))
        .collect();
    assert_eq!(sizes.iter().sum::<u64>(), REQUESTS as u64);
    assert!(sizes.iter().all(|size| (1..=4).contains(size)), "{sizes:?}");
    let full = batches.iter().find(|batch| batch.int("ml.batch.size") == 4);
    assert_eq!(full.unwrap().text("ml.batch.trigger"), "size");
    let by_id: HashMap<_, _> = written
        .spans
        .iter()
        .map(|span| (span.id.as_str(), span))
        .collect();
    for infer in infers {
        let stage = by_id[infer.parent.as_deref().unwrap()];
        assert_eq!(
            (stage.name.as_str(), stage.trace.as_str()),
            ("rerank", infer.trace.as_str())
        );
        let batch = by_id[infer.links[0].as_str()];
        assert!(batch.links.contains(&stage.id), "the batch of {infer:?}");
        assert_eq!(batch.text("ml.worker.id"), "0");
        assert!(batch.parent.is_none() && batch.end <= stage.end);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_taken_at_once_waits_and_says_how_long() {
    let pool = Pool {
        workers: 2,
        batch: 1,
    };
    let written = overloaded(pool).await;
    let by_id: HashMap<_, _> = written
        .spans
        .iter()
        .map(|span| (span.id.as_str(), span))
        .collect();
    let (batches, waits) = (
        named(&written, "batch linear-signals"),
        named(&written, "queue_wait"),
    );
    assert_eq!((batches.len(), waits.len()), (REQUESTS, REQUESTS));
    let workers: std::collections::HashSet<_> = batches
        .iter()
        .map(|batch| batch.text("ml.worker.id"))
        .collect();
    assert_eq!(workers.len(), 2);
    // Sixteen at once, two at work: the others stand in line for several batches.
    let longest = waits
        .iter()
        .max_by_key(|wait| wait.end - wait.start)
        .unwrap();
    let infer = written
        .spans
        .iter()
        .find(|span| span.name == "infer" && span.parent == longest.parent);
    let told = infer.unwrap().double("ml.queue.wait.duration");
    assert!(told > BATCH.as_secs_f64(), "{told}");
    assert!(u128::from(longest.end - longest.start) > BATCH.as_nanos());
    let stage = by_id[longest.parent.as_deref().unwrap()];
    assert!(stage.start <= longest.start && longest.end <= stage.end);
    let metric = written.points("ml.queue.wait.duration");
    let count: u64 = metric
        .iter()
        .map(|p| p["count"].as_str().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(count, REQUESTS as u64);
}
