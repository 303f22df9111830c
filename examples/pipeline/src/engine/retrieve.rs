//! Fourth hop: finds candidates, by words and by vectors.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::corpus::Corpus;
use super::embed::{self, Embedder, Embedding};
use super::passage::{Passage, PassageId};
use super::preprocess::Question;

/// Each of the two searches hands over this many candidates for each one wanted.
const CANDIDATES_PER_HIT: usize = 3;
const FEWEST_CANDIDATES: usize = 20;
/// The usual damping of reciprocal rank fusion: how little the first ranks stand out.
const FUSION_DAMPING: f32 = 60.0;
/// How often a heading's terms count in a passage.
const HEADING_REPEATS: usize = 2;

/// An inverted index (BM25) and the vectors of all passages.
pub struct Index {
    words: bm25::Embedder<u64, SplitTerms>,
    postings: bm25::Scorer<PassageId, u64>,
    vectors: Vec<(PassageId, Vec<f32>)>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("passages", &self.vectors.len())
            .finish_non_exhaustive()
    }
}

/// A passage that may answer the question.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// Which passage.
    pub id: PassageId,
    /// Its rank in both searches in one number; above 0, comparable within one answer only.
    pub score: f32,
    /// The word search's score, 0 when no word matched.
    pub lexical: f32,
    /// How alike the vectors are, from -1 to 1.
    pub cosine: f32,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// The best first.
    pub hits: Vec<Hit>,
    /// How many passages shared a word with the question.
    pub lexical_candidates: usize,
    /// How many passages' vectors were compared.
    pub vector_candidates: usize,
}

impl Index {
    /// Indexes all passages of `corpus`.
    pub fn build(corpus: &Corpus, embedder: &Embedder) -> Self {
        let total: usize = corpus
            .passages()
            .iter()
            .map(|passage| weighted_terms(passage).count())
            .sum();
        let average = total as f32 / corpus.passages().len().max(1) as f32;
        let words = bm25::EmbedderBuilder::<u64, SplitTerms>::with_avgdl(average).build();
        let mut postings = bm25::Scorer::new();
        let mut vectors = Vec::with_capacity(corpus.passages().len());
        for passage in corpus.passages() {
            let terms: Vec<_> = weighted_terms(passage).map(String::as_str).collect();
            postings.upsert(&passage.id, words.embed(&terms.join(" ")));
            vectors.push((passage.id, embedder.vector(weighted_terms(passage))));
        }
        Self {
            words,
            postings,
            vectors,
        }
    }

    /// The `top_k` passages for `question`, whose vector is `embedding`.
    ///
    /// A vector of other dimensions than the index's counts as like nothing: then words alone
    /// decide.
    pub fn search(&self, question: &Question, embedding: &Embedding, top_k: usize) -> Retrieval {
        let lexical = self.by_words(question);
        let vector = self.by_vector(embedding);
        let lexical_scores: HashMap<_, _> = lexical.iter().copied().collect();
        let cosines: HashMap<_, _> = vector.iter().copied().collect();

        let mut fused: HashMap<PassageId, f32> = HashMap::new();
        for ranking in [&lexical, &vector] {
            let candidates = ranking.iter().take(
                top_k
                    .saturating_mul(CANDIDATES_PER_HIT)
                    .max(FEWEST_CANDIDATES),
            );
            for (rank, (id, _)) in candidates.enumerate() {
                *fused.entry(*id).or_default() += 1.0 / (FUSION_DAMPING + rank as f32 + 1.0);
            }
        }
        let mut hits: Vec<_> = fused.into_iter().collect();
        sort_by_score(&mut hits);
        hits.truncate(top_k);
        Retrieval {
            hits: hits
                .into_iter()
                .map(|(id, score)| Hit {
                    id,
                    score,
                    lexical: lexical_scores.get(&id).copied().unwrap_or(0.0),
                    cosine: cosines.get(&id).copied().unwrap_or(0.0),
                })
                .collect(),
            lexical_candidates: lexical.len(),
            vector_candidates: vector.len(),
        }
    }

    fn by_words(&self, question: &Question) -> Vec<(PassageId, f32)> {
        let query = self.words.embed(&question.terms.join(" "));
        let matches = self.postings.matches(&query);
        let mut ranking: Vec<_> = matches.into_iter().map(|hit| (hit.id, hit.score)).collect();
        sort_by_score(&mut ranking);
        ranking
    }

    fn by_vector(&self, embedding: &Embedding) -> Vec<(PassageId, f32)> {
        let mut ranking: Vec<_> = self
            .vectors
            .iter()
            .map(|(id, vector)| (*id, embed::cosine(vector, &embedding.vector)))
            .collect();
        sort_by_score(&mut ranking);
        ranking
    }
}

fn weighted_terms(passage: &Passage) -> impl Iterator<Item = &String> {
    std::iter::repeat_n(&passage.heading_terms, HEADING_REPEATS)
        .flatten()
        .chain(&passage.terms)
}

/// The best first; equals in the order of the documents, so that no run differs.
fn sort_by_score(ranking: &mut [(PassageId, f32)]) {
    ranking.sort_by(|(id, score), (other_id, other_score)| {
        other_score.total_cmp(score).then_with(|| id.cmp(other_id))
    });
}

/// The index gets terms that are ready, with a space between them.
#[derive(Debug, Default)]
struct SplitTerms;

impl bm25::Tokenizer for SplitTerms {
    fn tokenize(&self, terms: &str) -> Vec<String> {
        terms
            .split(' ')
            .filter(|term| !term.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(question: &str, top_k: usize) -> (Vec<String>, Retrieval) {
        let documents = [
            (
                "kafka.md",
                "# Kafka\n\nWrap the consumer to see its messages.",
            ),
            ("body.md", "# Bodies\n\nA span ends when the body ends."),
            ("worker.md", "# Workers\n\nWrap the pool to see its jobs."),
            ("same.md", "# Workers\n\nWrap the pool to see its jobs."),
        ];
        let corpus = Corpus::from_documents(&documents).unwrap();
        let embedder = Embedder::fit(&corpus);
        let index = Index::build(&corpus, &embedder);
        let question = Question::parse(question).unwrap();
        let found = index.search(&question, &embedder.embed(&question.text), top_k);
        let path = |hit: &Hit| corpus.passage(hit.id).unwrap().path.clone();
        (found.hits.iter().map(path).collect(), found)
    }

    #[test]
    fn the_fitting_passage_comes_first() {
        let (paths, found) = search("How do I wrap a Kafka consumer?", 3);
        assert_eq!(paths[0], "kafka.md");
        assert_eq!(found.hits.len(), 3);
        assert_eq!(found.lexical_candidates, 3, "body.md shares no word");
        assert_eq!(found.vector_candidates, 4);
        assert!(found.hits[0].lexical > found.hits[1].lexical);
        assert!(found.hits[0].cosine > found.hits[1].cosine);
        assert!(found.hits.is_sorted_by(|a, b| a.score >= b.score));
    }

    #[test]
    fn vectors_find_what_words_miss() {
        let (paths, found) = search("consumption", 1);
        assert_eq!(found.lexical_candidates, 0);
        assert_eq!(paths, ["kafka.md"]);
    }

    #[test]
    fn equals_keep_the_order_of_the_documents() {
        for _ in 0..20 {
            let (paths, _) = search("pool jobs", 2);
            assert_eq!(paths, ["worker.md", "same.md"]);
        }
    }

    #[test]
    fn a_vector_of_another_model_leaves_the_words() {
        let corpus = Corpus::from_documents(&[("a.txt", "alpha"), ("b.txt", "beta")]).unwrap();
        let index = Index::build(&corpus, &Embedder::fit(&corpus));
        let foreign = Embedding {
            vector: vec![1.0; 3],
            tokens: 1,
        };
        let found = index.search(&Question::parse("beta").unwrap(), &foreign, 1);
        assert_eq!(corpus.passage(found.hits[0].id).unwrap().path, "b.txt");
        let none = index.search(&Question::parse("beta").unwrap(), &foreign, 0);
        assert!(none.hits.is_empty());
    }
}
