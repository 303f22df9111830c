//! Fifth hop: orders the candidates by how well each one answers.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::corpus::Corpus;
use super::passage::{Passage, PassageId};
use super::preprocess::Question;
use super::retrieve::Hit;
use super::text;

/// A candidate after a closer look.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// Which passage.
    pub id: PassageId,
    /// How well it answers, from 0 to 1.
    pub score: f32,
    /// What the score is made of.
    pub signals: Signals,
}

/// What speaks for a passage, each from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signals {
    /// The share of the question's terms it has, rare ones counting more.
    pub coverage: f32,
    /// How close together it has them.
    pub proximity: f32,
    /// The share of the question's neighbouring terms that are neighbours in it.
    pub phrase: f32,
    /// The share of the question's terms that its headings and file name have.
    pub heading: f32,
    /// How alike the vectors are.
    pub cosine: f32,
}

/// How much each signal counts: all there is to this model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights(Signals);

impl Default for Weights {
    fn default() -> Self {
        Self(Signals {
            coverage: 0.40,
            proximity: 0.15,
            phrase: 0.10,
            heading: 0.15,
            cosine: 0.20,
        })
    }
}

impl Signals {
    fn score(&self, Weights(weights): &Weights) -> f32 {
        let weighted = [
            (weights.coverage, self.coverage),
            (weights.proximity, self.proximity),
            (weights.phrase, self.phrase),
            (weights.heading, self.heading),
            (weights.cosine, self.cosine),
        ];
        weighted
            .iter()
            .map(|(weight, signal)| weight * signal)
            .sum::<f32>()
            .clamp(0.0, 1.0)
    }
}

#[cfg(test)]
impl Ranked {
    /// All of `corpus`, each as good as the other.
    pub(super) fn all(corpus: &Corpus) -> Vec<Self> {
        let signals = Signals {
            coverage: 0.5,
            proximity: 0.5,
            phrase: 0.5,
            heading: 0.5,
            cosine: 0.5,
        };
        let ranked = |passage: &Passage| Self {
            id: passage.id,
            score: 0.5,
            signals,
        };
        corpus.passages().iter().map(ranked).collect()
    }
}

/// What reranking gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reranking {
    /// The best first.
    pub ranked: Vec<Ranked>,
    /// How many of them are at another place than the search had put them.
    pub reordered: usize,
    /// The score of the best, from 0 to 1; 0 when there is none.
    pub confidence: f32,
}

/// The best `top_n` of `hits`. Ids that `corpus` does not have are left out.
pub fn rerank(
    weights: &Weights,
    corpus: &Corpus,
    question: &Question,
    hits: &[Hit],
    top_n: usize,
) -> Reranking {
    let mut ranked: Vec<(usize, Ranked)> = hits
        .iter()
        .enumerate()
        .filter_map(|(place, hit)| {
            let passage = corpus.passage(hit.id)?;
            let signals = signals(corpus, question, passage, hit.cosine);
            Some((
                place,
                Ranked {
                    id: hit.id,
                    score: signals.score(weights),
                    signals,
                },
            ))
        })
        .collect();
    ranked.sort_by(|(place, a), (other_place, b)| {
        b.score
            .total_cmp(&a.score)
            .then_with(|| place.cmp(other_place))
    });
    ranked.truncate(top_n);
    Reranking {
        reordered: ranked
            .iter()
            .enumerate()
            .filter(|(now, (before, _))| now != before)
            .count(),
        confidence: ranked.first().map_or(0.0, |(_, best)| best.score),
        ranked: ranked.into_iter().map(|(_, ranked)| ranked).collect(),
    }
}

fn signals(corpus: &Corpus, question: &Question, passage: &Passage, cosine: f32) -> Signals {
    let wanted = &question.terms;
    let path_terms = text::terms(&passage.path);
    let titles: HashSet<&str> = passage
        .heading_terms
        .iter()
        .chain(&path_terms)
        .map(String::as_str)
        .collect();
    let body: HashSet<&str> = passage.terms.iter().map(String::as_str).collect();
    Signals {
        coverage: corpus.coverage(wanted, |term| body.contains(term) || titles.contains(term)),
        proximity: proximity(wanted, &passage.terms).max(proximity(wanted, &passage.heading_terms)),
        phrase: phrase(wanted, &passage.terms).max(phrase(wanted, &passage.heading_terms)),
        heading: corpus.coverage(wanted, |term| titles.contains(term)),
        cosine: if cosine.is_finite() {
            cosine.clamp(0.0, 1.0)
        } else {
            0.0
        },
    }
}

/// The share of `wanted` that is in `terms`, times how tightly the smallest stretch with all
/// of those holds them.
fn proximity(wanted: &[String], terms: &[String]) -> f32 {
    let places: HashMap<&str, usize> = wanted
        .iter()
        .enumerate()
        .map(|(place, term)| (term.as_str(), place))
        .collect();
    let found: Vec<(usize, usize)> = terms
        .iter()
        .enumerate()
        .filter_map(|(at, term)| Some((at, *places.get(term.as_str())?)))
        .collect();
    let distinct = found
        .iter()
        .map(|(_, which)| which)
        .collect::<HashSet<_>>()
        .len();
    if distinct == 0 {
        return 0.0;
    }
    // Of each wanted term the latest place up to here: the stretch from the earliest of them.
    let mut latest: HashMap<usize, usize> = HashMap::new();
    let mut tightest = usize::MAX;
    for (at, which) in &found {
        latest.insert(*which, *at);
        if latest.len() == distinct {
            let begin = latest.values().min().copied().unwrap_or(*at);
            tightest = tightest.min(at - begin + 1);
        }
    }
    (distinct as f32 / wanted.len() as f32) * (distinct as f32 / tightest as f32)
}

/// The share of neighbours in `wanted` that are neighbours in `terms`; of a single term, 1 when
/// it is there.
fn phrase(wanted: &[String], terms: &[String]) -> f32 {
    if let [only] = wanted {
        return if terms.contains(only) { 1.0 } else { 0.0 };
    }
    let pairs: HashSet<&[String]> = terms.windows(2).collect();
    let found = wanted
        .windows(2)
        .filter(|pair| pairs.contains(pair))
        .count();
    found as f32 / wanted.len().saturating_sub(1).max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn hit(corpus: &Corpus, path: &str) -> Hit {
        let passage = corpus
            .passages()
            .iter()
            .find(|passage| passage.path == path)
            .unwrap();
        Hit {
            id: passage.id,
            score: 0.01,
            lexical: 1.0,
            cosine: 0.1,
        }
    }

    fn corpus() -> Corpus {
        let filler = "Nothing here is of any help to anyone who asks. ".repeat(4);
        let far = format!("A Kafka topic. {filler} A consumer.");
        Corpus::from_documents(&[
            ("far.md", far.as_str()),
            ("near.md", "Wrap the Kafka consumer once."),
            ("other.md", "Bodies end."),
        ])
        .unwrap()
    }

    #[test]
    fn close_terms_beat_scattered_ones_and_moves_are_counted() {
        let corpus = corpus();
        let question = Question::parse("Kafka consumer").unwrap();
        let hits = ["far.md", "near.md", "other.md"].map(|path| hit(&corpus, path));
        let result = rerank(&Weights::default(), &corpus, &question, &hits, 2);
        let ids: Vec<_> = result.ranked.iter().map(|ranked| ranked.id).collect();
        assert_eq!(ids, [hits[1].id, hits[0].id]);
        assert_eq!(result.reordered, 2);
        assert_eq!(result.confidence, result.ranked[0].score);
        let (near, far) = (result.ranked[0].signals, result.ranked[1].signals);
        assert!(near.proximity > far.proximity && near.phrase > far.phrase);
        assert_eq!((near.coverage, far.coverage), (1.0, 1.0));
    }

    #[test]
    fn an_order_that_was_right_stays() {
        let corpus = corpus();
        let question = Question::parse("Kafka consumer").unwrap();
        let hits = ["near.md", "far.md", "other.md"].map(|path| hit(&corpus, path));
        assert_eq!(
            rerank(&Weights::default(), &corpus, &question, &hits, 3).reordered,
            0
        );
    }

    #[test]
    fn foreign_ids_and_scores_are_tolerated() {
        let corpus = corpus();
        let question = Question::parse("Kafka").unwrap();
        let large =
            Corpus::from_documents(&[("x.txt", "a"), ("y.txt", "b"), ("z", "c"), ("w", "d")]);
        let foreign = large.unwrap().passages()[3].id;
        let strange = Hit {
            cosine: f32::NAN,
            ..hit(&corpus, "near.md")
        };
        let unknown = Hit {
            id: foreign,
            ..strange
        };
        let result = rerank(
            &Weights::default(),
            &corpus,
            &question,
            &[unknown, strange],
            5,
        );
        assert_eq!(result.ranked.len(), 1);
        assert!(result.confidence > 0.0 && result.confidence <= 1.0);
        let none = rerank(&Weights::default(), &corpus, &question, &[], 5);
        assert_eq!((none.ranked.len(), none.confidence), (0, 0.0));
    }

    #[test]
    fn the_tightest_stretch_counts() {
        let wanted = words("a b");
        assert_eq!(proximity(&wanted, &words("a x x b x b a")), 1.0);
        assert_eq!(proximity(&wanted, &words("a x x b")), 0.5);
        assert_eq!(proximity(&wanted, &words("x a")), 0.5);
        assert_eq!(proximity(&wanted, &words("x y")), 0.0);
    }

    #[test]
    fn neighbours_make_a_phrase() {
        assert_eq!(phrase(&words("a b c"), &words("x a b y c")), 0.5);
        assert_eq!(phrase(&words("a"), &words("x a")), 1.0);
        assert_eq!(phrase(&words("a"), &words("x")), 0.0);
    }
}
