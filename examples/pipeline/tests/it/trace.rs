//! The trace of one question.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use pipeline::hops::Stage;
use pipeline::pipeline::Hops;
use pipeline::verify;

use crate::support::{
    CLIENT, INTERNAL, QUESTION, Running, SERVER, Span, Written, one, with_tokens_of,
};

const TOKEN: Duration = Duration::from_millis(2);

/// The trace of a question, by itself, and the rest of the file.
async fn asked() -> (Vec<Span>, Written, pipeline::asker::Reply) {
    let running = Running::start(with_tokens_of(TOKEN)).await;
    let asked = running.asker.ask(QUESTION, "", |_| {}).await;
    assert_eq!(
        verify::problems(asked.trace, &asked.spans),
        Vec::<String>::new()
    );
    let written = running.stop().await;
    let trace = written.of_trace(&asked.trace.to_string());
    let trace: Vec<Span> = trace.into_iter().cloned().collect();
    assert_eq!(trace.len(), asked.spans.len());
    (trace, written, asked.reply.unwrap())
}

#[tokio::test]
async fn a_question_is_one_trace_through_all_services() {
    let (trace, written, _) = asked().await;
    let ids: HashSet<_> = trace.iter().map(|span| &span.id).collect();
    assert_eq!(ids.len(), trace.len());
    let roots: Vec<_> = trace.iter().filter(|s| s.parent.is_none()).collect();
    assert_eq!(roots.len(), 1);
    assert_eq!(
        (roots[0].service.as_str(), roots[0].name.as_str()),
        ("client", "ask")
    );
    for span in &trace {
        let is_there = span
            .parent
            .as_ref()
            .is_none_or(|parent| ids.contains(parent));
        assert!(
            is_there,
            "the parent of {} {} is missing",
            span.service, span.name
        );
    }

    let mut instances: HashMap<&str, HashSet<&str>> = HashMap::new();
    for span in &written.spans {
        instances
            .entry(&span.service)
            .or_default()
            .insert(&span.instance);
    }
    assert_eq!(instances.len(), 9);
    let different: HashSet<_> = instances.values().flatten().collect();
    assert_eq!(different.len(), 9, "one instance a service");
}

#[tokio::test]
async fn what_is_sent_by_one_service_is_served_by_another_on_every_hop() {
    let (trace, _, _) = asked().await;
    let by_id: HashMap<_, _> = trace.iter().map(|span| (&span.id, span)).collect();
    let mut served = HashSet::new();
    for span in trace.iter().filter(|span| span.kind == SERVER) {
        let sent = by_id[span.parent.as_ref().unwrap()];
        let sender = if span.service == "gateway" {
            "client"
        } else {
            "gateway"
        };
        assert_eq!((sent.kind, sent.service.as_str()), (CLIENT, sender));
        assert_eq!(sent.name, span.name);
        assert!(
            sent.start <= span.start && span.end <= sent.end,
            "{}",
            span.service
        );
        assert!(served.insert(&sent.id));
    }
    assert_eq!(served.len(), Stage::ALL.len());
    let requests = trace
        .iter()
        .filter(|span| span.attributes.contains_key("url.full"));
    assert_eq!(requests.count(), served.len());
}

#[tokio::test]
async fn a_streamed_generation_lasts_as_long_as_its_stream() {
    let (trace, _, reply) = asked().await;
    let trace: Vec<_> = trace.iter().collect();
    let served = one(&trace, "generate", SERVER, "POST /generate");
    let tokens = reply.usage.completion_tokens;
    assert!(tokens > 50, "{tokens} tokens");
    assert_eq!(reply.chunks, tokens);
    let least = TOKEN * u32::try_from(tokens).unwrap();
    assert!(u128::from(served.end - served.start) >= least.as_nanos());
    assert_eq!(
        served.int("ml.response.chunk.count"),
        tokens + 1,
        "and the end"
    );
    // What comes next begins only after it.
    let next = one(&trace, "gateway", CLIENT, "POST /postprocess");
    assert!(served.end <= next.start);
    for (service, kind, name) in [
        ("generate", INTERNAL, "generate"),
        ("gateway", CLIENT, "chat extractive-1"),
        ("gateway", CLIENT, "POST /generate"),
    ] {
        let span = one(&trace, service, kind, name);
        assert!(
            u128::from(span.end - span.start) >= least.as_nanos(),
            "{name}"
        );
        assert!(span.end <= next.start, "{name}");
    }
}

#[tokio::test]
async fn facts_are_on_the_spans_they_belong_to_with_their_types() {
    let (trace, written, reply) = asked().await;
    let trace: Vec<_> = trace.iter().collect();
    let (input, output) = (reply.usage.prompt_tokens, reply.usage.completion_tokens);
    for (service, kind, name) in [
        ("gateway", SERVER, "POST /v1/chat/completions"),
        ("gateway", CLIENT, "chat extractive-1"),
        ("generate", SERVER, "POST /generate"),
    ] {
        let span = one(&trace, service, kind, name);
        assert_eq!(span.int("gen_ai.usage.input_tokens"), input, "{name}");
        assert_eq!(span.int("gen_ai.usage.output_tokens"), output, "{name}");
        assert_eq!(span.text("gen_ai.response.model"), "extractive-1");
        assert_eq!(span.text("gen_ai.operation.name"), "chat");
        let reasons = &span.attributes["gen_ai.response.finish_reasons"];
        assert_eq!(reasons["arrayValue"]["values"][0]["stringValue"], "stop");
    }
    let of = |service, kind, name| one(&trace, service, kind, name);
    let span = of("preprocess", INTERNAL, "preprocess");
    assert_eq!(span.int("ml.input.size"), QUESTION.chars().count() as u64);
    assert_eq!(span.text("ml.input.class"), "howto");
    let span = of("features", INTERNAL, "features");
    assert_eq!(span.attributes["ml.cache.hit"]["boolValue"], false);
    assert_eq!(span.int("ml.feature.count"), 3);
    assert_eq!(span.int("ml.feature.cache.hit_count"), 0);
    of("features", INTERNAL, "get_features user_profile");
    let span = of("embed", INTERNAL, "embeddings hashed-terms-384");
    assert_eq!(span.int("gen_ai.embeddings.dimension.count"), 384);
    assert!(span.int("gen_ai.usage.input_tokens") > 5);
    let span = of("retrieve", INTERNAL, "search documents");
    assert!(span.double("ml.input.min") < span.double("ml.input.max"));
    assert_eq!(span.int("ml.input.nan_count"), 0);
    let found = of("retrieve", INTERNAL, "retrieval documents").int("ml.retrieval.document.count");
    let span = of("rerank", INTERNAL, "rerank");
    assert_eq!(span.int("ml.rerank.candidate.count"), found);
    for part in ["queue_wait", "infer"] {
        let part = of("rerank", INTERNAL, part);
        assert_eq!(part.parent.as_ref(), Some(&span.id));
    }
    let infer = of("rerank", INTERNAL, "infer");
    assert!(infer.double("ml.queue.wait.duration") >= 0.0);
    // The batch is a trace of its own; each leads to the other.
    let batch = written
        .spans
        .iter()
        .find(|s| s.name == "batch linear-signals");
    let batch = batch.unwrap();
    assert_ne!(batch.trace, span.trace);
    assert_eq!(infer.links, [batch.id.as_str()]);
    assert_eq!(batch.links, [span.id.as_str()]);
    assert_eq!(batch.text("ml.batch.trigger"), "timeout");
    assert_eq!(
        (batch.int("ml.batch.size"), batch.int("ml.batch.max_size")),
        (1, 8)
    );
    assert_eq!(span.text("ml.model.version"), "2");
    assert!((0.0..=1.0).contains(&span.double("ml.prediction.confidence")));
    let span = of("postprocess", INTERNAL, "postprocess");
    let confidence = span.double("ml.prediction.confidence");
    assert!((confidence - f64::from(reply.confidence)).abs() < 1e-6);

    // The tier travels in the baggage, to every hop after the one that knows it.
    let told: HashSet<_> = trace
        .iter()
        .filter(|span| span.kind == SERVER && span.attributes.contains_key("ml.user.tier"))
        .map(|span| span.service.as_str())
        .collect();
    let untold = HashSet::from(["preprocess"]);
    let all: HashSet<_> = Stage::ALL.iter().map(|stage| stage.as_str()).collect();
    assert_eq!(
        all.difference(&told).copied().collect::<HashSet<_>>(),
        untold
    );

    // Loading is no part of it.
    let loads = |spans: &[&Span]| {
        spans
            .iter()
            .filter(|s| s.name.starts_with("ml.load"))
            .count()
    };
    assert_eq!(loads(&trace), 0);
    assert_eq!(loads(&written.spans.iter().collect::<Vec<_>>()), 3);
}

#[tokio::test]
async fn every_service_reports_what_it_measures() {
    let (_, written, reply) = asked().await;
    assert_eq!(written.metrics.len(), 9, "a line for each service");
    assert_eq!(written.points("http.server.request.duration").len(), 8);
    assert_eq!(written.points("http.client.request.duration").len(), 8);
    let gateway_and_generate = 2;
    for metric in [
        "gen_ai.server.time_to_first_token",
        "gen_ai.server.time_per_output_token",
        "gen_ai.server.request.duration",
    ] {
        assert_eq!(
            written.points(metric).len(),
            gateway_and_generate,
            "{metric}"
        );
    }
    let gaps = written.points("gen_ai.client.operation.time_per_output_chunk");
    let gaps: u64 = gaps[0]["count"].as_str().unwrap().parse().unwrap();
    assert_eq!(gaps, reply.chunks, "between the tokens, and before the end");
}

/// Whatever the services call each other by, a question leaves one whole trace.
#[tokio::test]
async fn hops_can_be_on_other_transports() {
    for (hops, embed, generate) in [
        (Hops::Mixed, "pipeline.Embedder/Embed", "POST /generate"),
        (Hops::Http, "POST /embed", "POST /generate"),
        (
            Hops::Grpc,
            "pipeline.Embedder/Embed",
            "pipeline.Generator/Generate",
        ),
    ] {
        let running = Running::start_by(hops, with_tokens_of(TOKEN)).await;
        let asked = running.asker.ask(QUESTION, "", |_| {}).await;
        let problems = verify::problems(asked.trace, &asked.spans);
        assert_eq!(problems, Vec::<String>::new(), "{hops:?}");
        let reply = asked.reply.unwrap();
        assert!(reply.text.contains("OtelMlConsumer::new(inner)"));
        assert!(reply.sources.iter().any(|source| source.path == "kafka.md"));
        let written = running.stop().await;
        let trace = written.of_trace(&asked.trace.to_string());
        one(&trace, "embed", SERVER, embed);
        let served = one(&trace, "generate", SERVER, generate);
        let tokens = reply.usage.completion_tokens;
        assert_eq!(served.int("gen_ai.usage.output_tokens"), tokens);
        assert_eq!(served.text("ml.user.tier"), "free");
        if hops == Hops::Grpc {
            assert_eq!(served.int("ml.response.message.count"), tokens + 1);
            assert_eq!(served.text("rpc.status_code"), "OK");
        }
    }
}
