//! Picks the sentences and short pieces of code that answer a question.

use std::collections::HashSet;

use super::corpus::Corpus;
use super::passage::{Passage, Unit, UnitKind};
use super::preprocess::{InputClass, Question};
use super::rerank::Ranked;
use super::text;

/// An answer has at most this many quotes …
const MOST_QUOTES: usize = 5;
/// … and takes no further one once it has this many words.
const ENOUGH_WORDS: usize = 120;
/// A shorter sentence is a label, a longer one a wall: neither is quoted.
const SENTENCE_WORDS: std::ops::RangeInclusive<usize> = 4..=70;
/// Longer code is for reading at its source.
const MOST_CODE_LINES: usize = 16;
/// A quote with a smaller share of the question's terms does not answer it.
const LEAST_COVERAGE: f32 = 0.2;
/// A quote must be this good, measured by the best one.
const LEAST_OF_BEST: f32 = 0.7;
/// How much a term counts that only the heading above a quote has.
const HEADING_SHARE: f32 = 0.4;
/// What likeness to a quote already taken costs, and from where on it says the same.
const REDUNDANCY_COST: f32 = 0.5;
const SAME: f32 = 0.75;
/// What each word past the easily read costs.
const EASY_WORDS: usize = 25;
const LENGTH_COST: f32 = 0.003;
/// What code is worth more to who asks for a way.
const CODE_BONUS: f32 = 0.15;

/// Something to quote: a sentence, a row, code, or a sentence and the code it announces.
#[derive(Debug)]
pub(super) struct Quote<'a> {
    pub(super) passage: &'a Passage,
    pub(super) units: &'a [Unit],
    /// Its place in the passage.
    at: usize,
    relevance: f32,
    terms: HashSet<String>,
}

/// The quotes to answer with, the passage of the best one first and each passage in its own
/// order. None when nothing answers.
pub(super) fn quotes<'a>(
    corpus: &'a Corpus,
    question: &Question,
    ranked: &[Ranked],
) -> Vec<Quote<'a>> {
    let mut left: Vec<Quote<'a>> = ranked
        .iter()
        .filter_map(|ranked| Some((corpus.passage(ranked.id)?, ranked.score)))
        .flat_map(|(passage, score)| candidates(corpus, question, passage, score))
        .collect();
    let best = left.iter().map(|quote| quote.relevance).fold(0.0, f32::max);
    left.retain(|quote| quote.relevance >= LEAST_OF_BEST * best);

    let mut taken: Vec<Quote<'a>> = Vec::new();
    let mut words = 0;
    while taken.len() < MOST_QUOTES && words < ENOUGH_WORDS {
        left.retain(|quote| redundancy(quote, &taken) < SAME);
        let worth = |quote: &Quote<'_>| {
            redundancy(quote, &taken).mul_add(-REDUNDANCY_COST, quote.relevance)
        };
        // Equals: the first, as in the ranking.
        let next = left
            .iter()
            .enumerate()
            .rev()
            .max_by(|(_, a), (_, b)| worth(a).total_cmp(&worth(b)))
            .map(|(index, _)| index);
        let Some(index) = next else { break };
        let quote = left.remove(index);
        words += quote.units.iter().map(|unit| unit.words).sum::<usize>();
        taken.push(quote);
    }
    in_reading_order(taken)
}

fn in_reading_order(taken: Vec<Quote<'_>>) -> Vec<Quote<'_>> {
    let mut passages = Vec::new();
    for quote in &taken {
        if !passages.contains(&quote.passage.id) {
            passages.push(quote.passage.id);
        }
    }
    let mut ordered = taken;
    ordered.sort_by_key(|quote| {
        (
            passages
                .iter()
                .position(|passage| *passage == quote.passage.id),
            quote.at,
        )
    });
    ordered
}

fn candidates<'a>(
    corpus: &Corpus,
    question: &Question,
    passage: &'a Passage,
    passage_score: f32,
) -> Vec<Quote<'a>> {
    let headings: HashSet<&str> = passage.heading_terms.iter().map(String::as_str).collect();
    let mut quotes = Vec::new();
    let mut announced = false;
    for (at, unit) in passage.units.iter().enumerate() {
        let length = quote_length(unit, passage.units.get(at + 1));
        if std::mem::replace(&mut announced, length == 2) {
            continue;
        }
        let Some(units) = passage
            .units
            .get(at..at + length)
            .filter(|units| !units.is_empty())
        else {
            continue;
        };
        if units.iter().any(|unit| repeats(unit, question)) {
            continue;
        }
        let terms: HashSet<String> = units
            .iter()
            .flat_map(|unit| text::terms(&unit.text))
            .collect();
        let own = corpus.coverage(&question.terms, |term| terms.contains(term));
        let either = corpus.coverage(&question.terms, |term| {
            terms.contains(term) || headings.contains(term)
        });
        let coverage = HEADING_SHARE.mul_add(either - own, own);
        if coverage < LEAST_COVERAGE {
            continue;
        }
        let has_code = units
            .iter()
            .any(|unit| matches!(unit.kind, UnitKind::Code { .. }));
        let wants_code = has_code && question.class == InputClass::HowTo;
        let bonus = if wants_code { CODE_BONUS } else { 0.0 };
        let words: usize = units.iter().map(|unit| unit.words).sum();
        let cost = LENGTH_COST * words.saturating_sub(EASY_WORDS) as f32;
        let relevance = [0.6 * coverage, 0.4 * passage_score, bonus, -cost]
            .iter()
            .sum();
        quotes.push(Quote {
            passage,
            units,
            at,
            relevance,
            terms,
        });
    }
    quotes
}

/// Whether `unit` asks the same, word for word: that is no answer. Keywords ask nothing.
fn repeats(unit: &Unit, question: &Question) -> bool {
    let asked = question.text.to_lowercase();
    question.class != InputClass::Keyword && unit.text.to_lowercase().contains(&asked)
}

/// How many units from `unit` on make one quote, 0 when it is not for quoting.
fn quote_length(unit: &Unit, next: Option<&Unit>) -> usize {
    let is_short_code = |unit: &Unit| {
        matches!(unit.kind, UnitKind::Code { .. }) && unit.text.lines().count() <= MOST_CODE_LINES
    };
    match unit.kind {
        UnitKind::Code { .. } => usize::from(is_short_code(unit)),
        // It announces what follows, and says nothing without it.
        UnitKind::Sentence if unit.text.ends_with(':') => {
            if next.is_some_and(is_short_code) {
                2
            } else {
                0
            }
        }
        UnitKind::Sentence | UnitKind::Row => usize::from(SENTENCE_WORDS.contains(&unit.words)),
    }
}

/// How much of `quote` the nearest of `taken` says already, from 0 to 1 (Jaccard).
fn redundancy(quote: &Quote<'_>, taken: &[Quote<'_>]) -> f32 {
    let alike = |other: &Quote<'_>| {
        let both = quote.terms.intersection(&other.terms).count() as f32;
        both / (quote.terms.union(&other.terms).count().max(1) as f32)
    };
    taken.iter().map(alike).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(documents: &[(&str, &str)], question: &str) -> Vec<String> {
        let corpus = Corpus::from_documents(documents).unwrap();
        let ranked = Ranked::all(&corpus);
        quotes(&corpus, &Question::parse(question).unwrap(), &ranked)
            .iter()
            .map(|quote| {
                let units: Vec<_> = quote.units.iter().map(|unit| unit.text.as_str()).collect();
                units.join("|")
            })
            .collect()
    }

    #[test]
    fn only_what_answers_is_taken() {
        let text = "Bread needs flour. Wrap a consumer in `OtelMlConsumer` first. Tea needs water.";
        assert_eq!(
            picked(&[("a.md", text)], "How do I wrap a consumer?"),
            ["Wrap a consumer in `OtelMlConsumer` first."]
        );
        assert!(picked(&[("a.md", text)], "zeppelin").is_empty());
    }

    #[test]
    fn the_question_itself_is_no_answer() {
        let text = "Try `demo \"How do I wrap a consumer?\"` first. Wrap a consumer in `Consumer`.";
        let answer = picked(&[("a.md", text)], "How do I wrap a consumer?");
        assert_eq!(answer, ["Wrap a consumer in `Consumer`."]);
        let keywords = picked(&[("a.md", text)], "wrap a consumer");
        assert!(keywords.contains(&"Wrap a consumer in `Consumer`.".to_owned()));
    }

    #[test]
    fn the_same_is_not_said_twice() {
        let documents = [
            ("a.md", "Wrap each Kafka consumer."),
            ("b.md", "Wrap each Kafka consumer!"),
        ];
        assert_eq!(
            picked(&documents, "wrap Kafka consumer"),
            ["Wrap each Kafka consumer."]
        );
    }

    #[test]
    fn a_sentence_takes_the_code_it_announces_along() {
        let text = "To wrap a consumer:\n\n```rust\nOtelMlConsumer::new(inner)\n```\n";
        assert_eq!(
            picked(&[("a.md", text)], "How do I wrap a consumer?"),
            ["To wrap a consumer:|OtelMlConsumer::new(inner)"]
        );
        assert!(
            picked(
                &[("a.md", "To wrap a consumer do this:\n")],
                "wrap consumer"
            )
            .is_empty()
        );
    }

    #[test]
    fn a_heading_lends_its_terms_to_what_stands_below() {
        let text = "# Wrapping a consumer\n\nCall new with the inner client.\n\n# Tea\n\nHeat the water well.";
        assert_eq!(
            picked(&[("a.md", text)], "wrap consumer"),
            ["Call new with the inner client."]
        );
    }

    #[test]
    fn long_code_is_left_at_its_source() {
        let code = format!("```\n{}```\n", "consumer()\n".repeat(MOST_CODE_LINES + 1));
        assert!(picked(&[("a.md", code.as_str())], "consumer").is_empty());
    }
}
