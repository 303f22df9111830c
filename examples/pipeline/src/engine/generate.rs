//! Sixth hop: gives the answer out token by token.

use serde::{Deserialize, Serialize};

use super::compose::{self, Source};
use super::corpus::Corpus;
use super::preprocess::Question;
use super::rerank::Ranked;
use super::{extract, tokens};

/// Why a generation came to its end.
///
/// # Cardinality
/// Two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The answer is complete.
    Stop,
    /// The token limit cut it off.
    Length,
}

impl FinishReason {
    /// The value as recorded.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// An answer in the making: an iterator over its tokens, which put together are the answer.
#[derive(Clone, Debug)]
pub struct Generation {
    answer: String,
    sources: Vec<(usize, Source)>,
    prompt_tokens: usize,
    max_tokens: usize,
    /// Bytes and tokens given out so far.
    given: usize,
    output_tokens: usize,
}

/// Answers `question` from the passages in `ranked`, in at most `max_tokens` tokens.
///
/// Ids that `corpus` does not have are left out.
pub fn generate(
    corpus: &Corpus,
    question: &Question,
    ranked: &[Ranked],
    max_tokens: usize,
) -> Generation {
    let passages = ranked.iter().filter_map(|ranked| corpus.passage(ranked.id));
    let context: usize = passages.map(|passage| tokens::count(&passage.text())).sum();
    let composed = compose::compose(&extract::quotes(corpus, question, ranked));
    Generation {
        answer: composed.text,
        sources: composed.sources,
        prompt_tokens: tokens::count(&question.text) + context,
        max_tokens,
        given: 0,
        output_tokens: 0,
    }
}

impl Generation {
    /// Tokens of the question and of all passages it was to be answered from.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// Tokens given out so far.
    pub fn output_tokens(&self) -> usize {
        self.output_tokens
    }

    /// Why it ended; `None` while there are more tokens.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        if self.given == self.answer.len() {
            Some(FinishReason::Stop)
        } else if self.output_tokens >= self.max_tokens {
            Some(FinishReason::Length)
        } else {
            None
        }
    }

    /// The sources of what was given out so far, in the order of their numbers.
    pub fn sources(&self) -> Vec<Source> {
        let begun = self
            .sources
            .iter()
            .filter(|(begins, _)| *begins < self.given);
        begun.map(|(_, source)| source.clone()).collect()
    }
}

impl Iterator for Generation {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.finish_reason().is_some() {
            return None;
        }
        let token = tokens::split(self.answer.get(self.given..)?)
            .next()?
            .to_owned();
        self.given += token.len();
        self.output_tokens += 1;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = "# Consumers\n\nIntro to nothing.\n\nTo wrap a consumer:\n\n```rust\nOtelMlConsumer::new(inner)\n```\n\n- Every wrapped consumer keeps its type;\n";

    fn generation(question: &str, max_tokens: usize) -> Generation {
        let corpus = Corpus::from_documents(&[
            ("guide.md", GUIDE),
            ("notes/more.md", "A wrapped consumer can be dropped at will"),
        ])
        .unwrap();
        let ranked = Ranked::all(&corpus);
        generate(
            &corpus,
            &Question::parse(question).unwrap(),
            &ranked,
            max_tokens,
        )
    }

    #[test]
    fn an_answer_quotes_and_cites() {
        let mut generation = generation("How do I wrap a consumer?", 1_000);
        let answer: String = generation.by_ref().collect();
        assert_eq!(
            answer,
            "To wrap a consumer: [1]\n\n```rust\nOtelMlConsumer::new(inner)\n```\n\n\
             Every wrapped consumer keeps its type. [1]\n\n\
             A wrapped consumer can be dropped at will. [2]"
        );
        assert_eq!(generation.finish_reason(), Some(FinishReason::Stop));
        assert_eq!(generation.output_tokens(), tokens::count(&answer));
        let source = |number, path: &str, heading: &str, line| Source {
            number,
            path: path.into(),
            heading: heading.into(),
            line,
        };
        assert_eq!(
            generation.sources(),
            [
                source(1, "guide.md", "Consumers", 5),
                source(2, "notes/more.md", "", 1)
            ]
        );
    }

    #[test]
    fn the_limit_is_kept_and_only_begun_sources_are_named() {
        let whole: String = generation("How do I wrap a consumer?", 1_000).collect();
        let mut generation = generation("How do I wrap a consumer?", 3);
        assert_eq!(generation.finish_reason(), None);
        assert!(generation.sources().is_empty());
        let answer: String = generation.by_ref().collect();
        assert!(whole.starts_with(&answer) && answer.len() < whole.len());
        assert_eq!(generation.output_tokens(), 3);
        assert_eq!(generation.finish_reason(), Some(FinishReason::Length));
        assert_eq!(generation.sources().len(), 1);
        assert_eq!(generation.next(), None);
    }

    #[test]
    fn a_limit_that_just_fits_is_no_cut() {
        let length = generation("wrap consumer", 1_000).count();
        let mut generation = generation("wrap consumer", length);
        assert_eq!(generation.by_ref().count(), length);
        assert_eq!(generation.finish_reason(), Some(FinishReason::Stop));
    }

    #[test]
    fn no_answer_is_said_without_sources() {
        let mut generation = generation("zeppelin", 1_000);
        let answer: String = generation.by_ref().collect();
        assert_eq!(answer, "The documents say nothing that answers this.");
        assert!(generation.sources().is_empty());
    }

    #[test]
    fn the_prompt_is_the_question_and_its_passages() {
        let small = generation("zeppelin", 1).prompt_tokens();
        let large = generation("zeppelin zeppelin", 1).prompt_tokens();
        let word = tokens::count(" zeppelin");
        assert_eq!(large - small, word);
        assert!(small > 40);
    }
}
