//! The hops one after another, as a request meets them.

use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::corpus::Corpus;
use super::embed::Embedder;
use super::features::FeatureStore;
use super::postprocess::{Answer, Draft};
use super::preprocess::{Question, QuestionError};
use super::rerank::Weights;
use super::retrieve::Index;
use super::{generate, postprocess, rerank};

struct Engine {
    corpus: Corpus,
    embedder: Embedder,
    index: Index,
    features: FeatureStore,
}

impl Engine {
    fn new() -> Self {
        let corpus = Corpus::from_documents(&[
            ("kafka.md", KAFKA),
            ("http.md", HTTP),
            ("worker.rst", WORKER),
        ])
        .unwrap();
        let embedder = Embedder::fit(&corpus);
        let index = Index::build(&corpus, &embedder);
        let features = FeatureStore::new(NonZeroUsize::MIN);
        Self {
            corpus,
            embedder,
            index,
            features,
        }
    }

    /// The answer, and the tokens it was streamed in.
    fn ask(&self, raw: &str) -> Result<(Answer, Vec<String>), QuestionError> {
        let question = Question::parse(raw)?;
        let user = self.features.read("someone");
        let embedding = self.embedder.embed(&question.text);
        let found = self.index.search(&question, &embedding, 10);
        let weights = Weights::default();
        let best = rerank::rerank(
            &weights,
            &self.corpus,
            &question,
            &found.hits,
            user.context_passages,
        );
        let mut generation = generate::generate(
            &self.corpus,
            &question,
            &best.ranked,
            user.max_answer_tokens,
        );
        let tokens: Vec<_> = generation.by_ref().collect();
        let draft = Draft {
            text: tokens.concat(),
            sources: generation.sources(),
            finish_reason: generation.finish_reason().unwrap(),
            confidence: best.confidence,
        };
        Ok((postprocess::finish(&self.corpus, &question, draft), tokens))
    }
}

const KAFKA: &str = "# Kafka\n\n## Consumers\n\nWrap a consumer with `OtelMlConsumer::new(inner)`. \
    The wrapper reads the trace from the headers of each message.\n\n## Producers\n\n\
    A producer's span ends with the delivery report, not when the message is enqueued.\n";

const HTTP: &str = "# HTTP\n\nAdd the layer to a router:\n\n```rust\nlet app = app.layer(OtelMlLayer);\n```\n\n\
    | end of a body | outcome |\n|---|---|\n| trailers with a status | that status |\n| dropped early by the client | cancelled |\n";

const WORKER: &str = "Workers\n=======\n\nA job's queue wait is measured from its submission \
    until a worker begins with it.\n";

#[test]
fn questions_are_answered_from_the_right_place() {
    let engine = Engine::new();
    for (question, path, said) in [
        (
            "How do I wrap a Kafka consumer?",
            "kafka.md",
            "OtelMlConsumer::new(inner)",
        ),
        (
            "when does the producer span end",
            "kafka.md",
            "delivery report",
        ),
        (
            "How do I add the layer to a router?",
            "http.md",
            "app.layer(OtelMlLayer)",
        ),
        (
            "Which outcome has a body dropped early?",
            "http.md",
            "cancelled",
        ),
        ("queue wait", "worker.rst", "until a worker begins"),
    ] {
        let (answer, tokens) = engine.ask(question).unwrap();
        assert!(answer.text.contains(said), "{question}: {}", answer.text);
        assert_eq!(answer.sources[0].path, path, "{question}");
        assert!(answer.text.contains("[1]"));
        assert!(answer.confidence > 0.4, "{question}: {}", answer.confidence);
        assert!(tokens.len() > 5);
    }
}

#[test]
fn what_the_documents_do_not_know_is_not_made_up() {
    let (answer, _) = Engine::new()
        .ask("Which zeppelin flies to Jupiter?")
        .unwrap();
    assert!(answer.sources.is_empty());
    assert_eq!(answer.confidence, 0.0);
    assert!(answer.text.contains("nothing"));
}

#[test]
fn the_same_question_gets_the_same_answer() {
    let ask = || {
        Engine::new()
            .ask("How do I wrap a consumer or producer?")
            .unwrap()
    };
    let first = ask();
    for _ in 0..5 {
        assert_eq!(ask(), first);
    }
}

#[test]
fn any_question_is_answered_or_refused() {
    let engine = Engine::new();
    let questions = "([a-z]{1,8} |wrap |consumer |\\PC|[\\n`\\[\\]#|]){0,60}";
    proptest!(|(raw in questions)| {
        match engine.ask(&raw) {
            Ok((answer, tokens)) => {
                prop_assert_eq!(tokens.concat(), answer.text);
                prop_assert!((0.0..=1.0).contains(&answer.confidence));
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    });
}
