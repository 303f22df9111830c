//! Many questions at once.

use std::collections::{HashMap, HashSet};

use otel_ml_testing::opentelemetry::trace::SpanId;
use pipeline::asker::Asked;
use pipeline::engine::questions;
use pipeline::hops::Stage;
use pipeline::load::{self, Load};
use pipeline::verify;

use crate::support::{QUESTION, Running, SERVER, fast};

#[tokio::test(flavor = "multi_thread")]
async fn none_of_200_requests_at_16_at_once_is_mixed_up_or_missing() {
    let running = Running::start(fast()).await;
    let corpus = {
        let folder = tempfile::tempdir().unwrap();
        crate::support::write_documents(folder.path());
        pipeline::engine::corpus::Corpus::load(folder.path()).unwrap()
    };
    let load = Load {
        questions: questions::generate(&corpus, 200, 1),
        requests: 200,
        concurrency: 16,
        user: None,
    };
    let report = load::run(&running.asker, running.outputs.traces(), &load, || {}).await;
    assert_eq!(report.problems, Vec::<String>::new());
    assert!(report.is_fine());
    assert_eq!(
        (report.requests, report.failed, report.traces.len()),
        (200, 0, 200)
    );
    for stage in Stage::ALL {
        let measured = &report.services[stage.as_str()];
        assert_eq!((measured.durations.len(), measured.errors), (200, 0));
    }

    // The same from the file, by other code.
    let written = running.stop().await;
    let mut served: HashMap<&str, HashSet<&str>> = HashMap::new();
    for span in written.spans.iter().filter(|span| span.kind == SERVER) {
        let told = span.attributes.get("http.request.header.x-request-id");
        let told = told.unwrap_or_else(|| &span.attributes["rpc.request.metadata.x-request-id"]);
        assert_eq!(told["arrayValue"]["values"][0]["stringValue"], span.trace);
        assert!(served.entry(&span.trace).or_default().insert(&span.service));
    }
    assert_eq!(served.len(), 200);
    assert!(served.values().all(|services| services.len() == 8));
    let hits: u64 = count(&written.points("ml.cache.lookups"), true);
    assert_eq!(
        hits,
        200 - count(&written.points("ml.cache.lookups"), false)
    );
    assert!(hits >= 100, "40 users take turns");
}

fn count(points: &[serde_json::Value], hit: bool) -> u64 {
    let counts = points
        .iter()
        .filter(|point| crate::support::attributes(point)["ml.cache.hit"]["boolValue"] == hit);
    counts
        .map(|point| point["asInt"].as_str().unwrap().parse::<u64>().unwrap())
        .sum()
}

async fn asked() -> Asked {
    let running = Running::start(fast()).await;
    let asked = running.asker.ask(QUESTION, "", |_| {}).await;
    running.stop().await;
    assert_eq!(
        verify::problems(asked.trace, &asked.spans),
        Vec::<String>::new()
    );
    asked
}

#[tokio::test]
async fn a_trace_that_is_not_as_it_must_be_is_noticed() {
    let good = asked().await;
    let position = |service: &str, name: &str| {
        let fits = |(_, ended): &(usize, &pipeline::telemetry::Ended)| {
            ended.service == service && ended.span.name == name
        };
        good.spans.iter().enumerate().find(fits).unwrap().0
    };
    let problems = |change: &dyn Fn(&mut Vec<pipeline::telemetry::Ended>)| {
        let mut spans = good.spans.clone();
        change(&mut spans);
        verify::problems(good.trace, &spans).join("\n")
    };

    let rerank = position("rerank", "POST /rerank");
    let told = problems(&|spans| drop(spans.remove(rerank)));
    assert!(told.contains("rerank has served 0 requests"), "{told}");
    assert!(
        told.contains("the parent of rerank 'rerank' is missing"),
        "{told}"
    );
    assert!(
        told.contains("gateway 'POST /rerank' was served 0 times"),
        "{told}"
    );

    let told = problems(&|spans| {
        let twice = spans[rerank].clone();
        spans.push(twice);
    });
    assert!(told.contains("rerank has served 2 requests"), "{told}");

    let told = problems(&|spans| spans[rerank].span.parent_span_id = SpanId::INVALID);
    assert!(told.contains("roots are"), "{told}");
    assert!(
        told.contains("rerank 'POST /rerank' was sent by none"),
        "{told}"
    );

    // Swapped with another request's: only what the service was told gives it away.
    let told = problems(&|spans| {
        let header = "http.request.header.x-request-id";
        let attributes = &mut spans[rerank].span.attributes;
        attributes.retain(|attribute| attribute.key.as_str() != header);
    });
    assert!(
        told.contains("rerank 'POST /rerank' is of request None"),
        "{told}"
    );

    let other = asked().await;
    let told = verify::problems(other.trace, &good.spans).join("\n");
    assert!(told.contains("is of trace"), "{told}");
    assert!(
        verify::problems(good.trace, &[])
            .join("\n")
            .contains("roots are []")
    );
}
