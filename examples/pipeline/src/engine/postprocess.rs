//! Last hop: tidies the answer up and says how far to trust it.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::compose::Source;
use super::corpus::Corpus;
use super::generate::FinishReason;
use super::preprocess::Question;
use super::text;

/// What generation left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// The tokens, put together.
    pub text: String,
    /// What it quotes.
    pub sources: Vec<Source>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// How well its best passage fits the question, from 0 to 1.
    pub confidence: f32,
}

/// The answer as the user gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// In Markdown. When it was cut off, no code is left open and it ends with an ellipsis.
    pub text: String,
    /// What it quotes, by number, each once.
    pub sources: Vec<Source>,
    /// From 0 (nothing found) to 1.
    pub confidence: f32,
}

/// Makes an answer of a draft.
pub fn finish(corpus: &Corpus, question: &Question, draft: Draft) -> Answer {
    let mut sources = draft.sources;
    sources.sort_by_key(|source| source.number);
    sources.dedup_by_key(|source| source.number);
    let text = match draft.finish_reason {
        FinishReason::Stop => draft.text.trim().to_owned(),
        FinishReason::Length => mended(&draft.text),
    };
    let confidence = if sources.is_empty() || !draft.confidence.is_finite() {
        0.0
    } else {
        draft.confidence.clamp(0.0, 1.0) * (1.0 + support(corpus, question, &text)) / 2.0
    };
    Answer {
        text,
        sources,
        confidence,
    }
}

/// The share of the question that the answer itself takes up: a passage can fit where what
/// was quoted of it does not.
fn support(corpus: &Corpus, question: &Question, text: &str) -> f32 {
    let said: HashSet<_> = text::terms(text).into_iter().collect();
    corpus.coverage(&question.terms, |term| said.contains(term))
}

/// A text that was cut off anywhere: without half a citation or half a fence.
fn mended(text: &str) -> String {
    let mut text = text.trim();
    if let Some((before, last)) = text.rsplit_once('[')
        && last.chars().all(|c| c.is_ascii_digit())
    {
        text = before.trim_end();
    }
    let (before, last) = text.rsplit_once('\n').unwrap_or(("", text));
    let opens_nothing = open_fence(before).is_none() && last.starts_with("```");
    if opens_nothing || (!last.is_empty() && last.chars().all(|c| c == '`') && last.len() < 3) {
        text = before.trim_end();
    }
    match open_fence(text) {
        Some(fence) => format!("{text}\n{fence}\n\n…"),
        None if text.is_empty() => String::new(),
        None => format!("{text} …"),
    }
}

/// The fence of the code that `text` ends within.
fn open_fence(text: &str) -> Option<&str> {
    text.lines().fold(None, |open: Option<&str>, line| {
        let end = line.find(|c| c != '`').unwrap_or(line.len());
        let fence = line.get(..end).filter(|fence| fence.len() >= 3);
        match (open, fence) {
            (Some(open), Some(fence)) if fence.len() >= open.len() && end == line.len() => None,
            (Some(open), _) => Some(open),
            (None, fence) => fence,
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn corpus() -> Corpus {
        Corpus::from_documents(&[("a.md", "Wrap a Kafka consumer."), ("b.md", "Bodies end.")])
            .unwrap()
    }

    fn source(number: usize) -> Source {
        Source {
            number,
            path: "a.md".into(),
            heading: String::new(),
            line: 1,
        }
    }

    fn answer(text: &str, sources: Vec<Source>, finish_reason: FinishReason) -> Answer {
        let question = Question::parse("wrap Kafka consumer").unwrap();
        let draft = Draft {
            text: text.into(),
            sources,
            finish_reason,
            confidence: 0.8,
        };
        finish(&corpus(), &question, draft)
    }

    #[test]
    fn a_complete_answer_keeps_its_text_and_lists_each_source_once() {
        let answer = answer(
            "\nWrap a Kafka consumer. [1]\n",
            vec![source(2), source(1), source(2)],
            FinishReason::Stop,
        );
        assert_eq!(answer.text, "Wrap a Kafka consumer. [1]");
        assert_eq!(answer.sources, [source(1), source(2)]);
        assert!((answer.confidence - 0.8).abs() < 1e-6);
    }

    #[test]
    fn confidence_falls_with_what_the_answer_leaves_out() {
        let part = answer("A consumer. [1]", vec![source(1)], FinishReason::Stop).confidence;
        assert!(part > 0.4 && part < 0.8, "{part}");
        assert_eq!(
            answer("Wrap a Kafka consumer.", vec![], FinishReason::Stop).confidence,
            0.0
        );
    }

    #[test]
    fn a_cut_answer_is_mended() {
        for (cut, mended) in [
            ("Wrap a con", "Wrap a con …"),
            ("Wrap. [", "Wrap. …"),
            ("Wrap. [1", "Wrap. …"),
            ("Wrap. [1]", "Wrap. [1] …"),
            ("So: [1]\n\n``", "So: [1] …"),
            ("So: [1]\n\n```rust", "So: [1] …"),
            (
                "So: [1]\n\n```rust\nlet x",
                "So: [1]\n\n```rust\nlet x\n```\n\n…",
            ),
            (
                "So: [1]\n\n```rust\nlet x\n``",
                "So: [1]\n\n```rust\nlet x\n```\n\n…",
            ),
            (
                "So: [1]\n\n```rust\nlet x\n```",
                "So: [1]\n\n```rust\nlet x\n``` …",
            ),
            ("", ""),
        ] {
            let answer = answer(cut, vec![source(1)], FinishReason::Length);
            assert_eq!(answer.text, mended, "{cut:?}");
        }
    }

    proptest! {
        #[test]
        fn no_cut_leaves_code_open(text in "([`\\n\\[\\]1]|[a-z ]{1,4}|\\PC){0,60}") {
            let answer = answer(&text, vec![source(1)], FinishReason::Length);
            prop_assert_eq!(open_fence(&answer.text), None);
        }
    }
}
