//! Third hop: turns text into a vector.

use std::hash::Hasher as _;

use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use serde::{Deserialize, Serialize};

use super::corpus::Corpus;
use super::{text, tokens};

/// How many numbers a vector has.
pub const DIMENSIONS: usize = 384;

/// A run of letters says less than a word, but connects forms that stemming keeps apart.
const LETTERS_WEIGHT: f32 = 0.35;
const LETTERS: usize = 4;

/// Makes vectors that lie close together when texts share rare words and parts of words.
///
/// A vector holds the text's words and four-letter runs, weighted by how often they occur in
/// the text and how rare they are in the corpus, each added to or taken from one of
/// [`DIMENSIONS`] places that its hash names.
#[derive(Debug)]
pub struct Embedder {
    weights: FxHashMap<u64, f32>,
    weight_of_unseen: f32,
}

/// A text's vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Embedding {
    /// [`DIMENSIONS`] numbers of length 1 together, or all 0 when the text has no word.
    pub vector: Vec<f32>,
    /// How many tokens the text is.
    pub tokens: usize,
}

/// The numbers a vector lies within.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The smallest number, 0 when there is none.
    pub min: f32,
    /// The largest number, 0 when there is none.
    pub max: f32,
    /// How many are not a number.
    pub nan: usize,
}

impl Embedder {
    /// Learns from all passages how rare each feature is.
    pub fn fit(corpus: &Corpus) -> Self {
        let mut frequencies: FxHashMap<u64, usize> = FxHashMap::default();
        for passage in corpus.passages() {
            let terms = passage.heading_terms.iter().chain(&passage.terms);
            let features: FxHashSet<u64> = features(terms).map(|(feature, _)| feature).collect();
            for feature in features {
                *frequencies.entry(feature).or_default() += 1;
            }
        }
        let passages = corpus.passages().len() as f32;
        let weight = |frequency: usize| ((passages + 1.0) / (frequency as f32 + 1.0)).ln() + 0.1;
        Self {
            weights: frequencies
                .into_iter()
                .map(|(feature, n)| (feature, weight(n)))
                .collect(),
            weight_of_unseen: weight(0),
        }
    }

    /// The vector of `text`.
    pub fn embed(&self, text: &str) -> Embedding {
        Embedding {
            vector: self.vector(&text::terms(text)),
            tokens: tokens::count(text),
        }
    }

    /// How many bytes its weights take.
    pub fn bytes(&self) -> usize {
        self.weights.len() * size_of::<(u64, f32)>()
    }

    pub(super) fn vector<'a>(&self, terms: impl IntoIterator<Item = &'a String>) -> Vec<f32> {
        let mut counts: FxHashMap<u64, f32> = FxHashMap::default();
        for (feature, weight) in features(terms) {
            *counts.entry(feature).or_default() += weight;
        }
        // Floats add up differently in another order, and the map's order is not for relying on.
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_unstable_by_key(|(feature, _)| *feature);

        let mut vector = vec![0.0_f32; DIMENSIONS];
        for (feature, count) in counts {
            let weight = self
                .weights
                .get(&feature)
                .copied()
                .unwrap_or(self.weight_of_unseen);
            let place = usize::try_from((feature >> 1) % DIMENSIONS as u64).unwrap_or(0);
            let sign = if feature & 1 == 0 { 1.0 } else { -1.0 };
            if let Some(number) = vector.get_mut(place) {
                let part = sign * count.sqrt() * weight;
                *number += part;
            }
        }
        normalise(&mut vector);
        vector
    }
}

impl Embedding {
    /// What the numbers range over.
    pub fn range(&self) -> Range {
        let numbers = || {
            self.vector
                .iter()
                .copied()
                .filter(|number| !number.is_nan())
        };
        Range {
            min: numbers().reduce(f32::min).unwrap_or(0.0),
            max: numbers().reduce(f32::max).unwrap_or(0.0),
            nan: self.vector.len() - numbers().count(),
        }
    }
}

/// How alike two vectors of length 1 are, from -1 to 1; 0 when one of them is all 0, holds a
/// number that is none, or has other dimensions.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return 0.0;
    }
    let sum: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    if sum.is_finite() {
        sum.clamp(-1.0, 1.0)
    } else {
        0.0
    }
}

fn normalise(vector: &mut [f32]) {
    let length = vector
        .iter()
        .map(|number| number * number)
        .sum::<f32>()
        .sqrt();
    if length > 0.0 {
        for number in vector {
            *number /= length;
        }
    }
}

fn features<'a>(terms: impl IntoIterator<Item = &'a String>) -> impl Iterator<Item = (u64, f32)> {
    terms.into_iter().flat_map(|term| {
        let letters: Vec<char> = ['^'].into_iter().chain(term.chars()).chain(['$']).collect();
        let runs: Vec<_> = letters
            .windows(LETTERS)
            .map(|run| {
                (
                    hash(run.iter().map(|letter| u32::from(*letter))),
                    LETTERS_WEIGHT,
                )
            })
            .collect();
        let word = hash(letters.iter().map(|letter| u32::from(*letter)).chain([0]));
        runs.into_iter().chain([(word, 1.0)])
    })
}

fn hash(letters: impl Iterator<Item = u32>) -> u64 {
    let mut hasher = FxHasher::default();
    letters.for_each(|letter| hasher.write_u32(letter));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn embedder() -> Embedder {
        let documents = [
            ("a.txt", "Wrap a Kafka consumer and its messages."),
            ("b.txt", "A span ends when the body ends."),
            ("c.txt", "The exporter sends spans in batches."),
        ];
        Embedder::fit(&Corpus::from_documents(&documents).unwrap())
    }

    fn alike(a: &str, b: &str) -> f32 {
        let embedder = embedder();
        cosine(&embedder.embed(a).vector, &embedder.embed(b).vector)
    }

    #[test]
    fn alike_texts_lie_closer() {
        let question = "consumer of Kafka";
        let near = alike(question, "Wrap a Kafka consumer and its messages.");
        let far = alike(question, "A span ends when the body ends.");
        assert!(near > 0.4 && far < 0.2, "{near} {far}");
        assert!(
            alike("instrumented", "instrumentation") > 0.5,
            "parts of words connect"
        );
    }

    #[test]
    fn a_text_is_like_itself() {
        assert!((alike("Kafka consumer", "Kafka consumer") - 1.0).abs() < 1e-5);
    }

    #[test]
    fn the_range_counts_what_is_no_number() {
        let vector = vec![0.5, f32::NAN, -0.25];
        let range = Embedding { vector, tokens: 1 }.range();
        assert_eq!(
            range,
            Range {
                min: -0.25,
                max: 0.5,
                nan: 1
            }
        );
        let none = Embedding {
            vector: vec![],
            tokens: 0,
        }
        .range();
        assert_eq!(
            none,
            Range {
                min: 0.0,
                max: 0.0,
                nan: 0
            }
        );
    }

    #[test]
    fn strange_vectors_are_like_nothing() {
        assert_eq!(cosine(&[1.0], &[1.0, 0.0]), 0.0);
        assert_eq!(cosine(&[f32::NAN], &[1.0]), 0.0);
    }

    proptest! {
        #[test]
        fn a_vector_has_length_one_or_none(text in any::<String>()) {
            let embedding = embedder().embed(&text);
            prop_assert_eq!(embedding.vector.len(), DIMENSIONS);
            let length = cosine(&embedding.vector, &embedding.vector);
            let is_empty = text::terms(&text).is_empty();
            // Two features can cancel each other out in one place, and be all there is.
            prop_assert!((length - 1.0).abs() < 1e-3 || length == 0.0);
            prop_assert!(!is_empty || length == 0.0);
        }
    }
}
