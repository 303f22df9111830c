//! Questions for load runs: made from the corpus, or read from a file.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use thiserror::Error;
use unicode_segmentation::UnicodeSegmentation as _;

use super::corpus::Corpus;
use super::passage::{Passage, UnitKind};
use super::preprocess::{Question, QuestionError};
use super::text;

/// A longer heading or word makes no good question (characters).
const LONGEST_HEADING: usize = 80;
const LONGEST_WORD: usize = 40;

/// Why no questions could be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QuestionsError {
    /// The operating system refused, or it is not UTF-8.
    #[error("the questions in {} cannot be read ({source}): name a text file with one question a line", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Only comments and blank lines.
    #[error("no question in {}: write one a line; lines that begin with # are comments", .0.display())]
    Empty(PathBuf),
    /// A line that the pipeline would refuse.
    #[error("line {line} of {}: {source}", .path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        source: QuestionError,
    },
}

/// Reads questions, one a line. Blank lines and lines that begin with `#` are passed over.
///
/// # Errors
/// When the file cannot be read, holds no question, or one that would be refused.
pub fn read(path: &Path) -> Result<Vec<String>, QuestionsError> {
    let content = std::fs::read_to_string(path).map_err(|source| QuestionsError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let content = content.strip_prefix('\u{feff}').unwrap_or(&content);
    let lines = content.lines().map(str::trim).enumerate();
    let questions = lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| match Question::parse(line) {
            Ok(question) => Ok(question.text),
            Err(source) => Err(QuestionsError::Refused {
                path: path.to_owned(),
                line: index + 1,
                source,
            }),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if questions.is_empty() {
        return Err(QuestionsError::Empty(path.to_owned()));
    }
    Ok(questions)
}

/// Makes `count` questions from the headings and the telling words of `corpus`.
///
/// The same seed gives the same questions. They repeat, in other words, when the corpus has
/// fewer topics than `count`.
pub fn generate(corpus: &Corpus, count: usize, seed: u64) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut seen = HashSet::new();
    let mut topics: Vec<Topic> = corpus
        .passages()
        .iter()
        .flat_map(|passage| [Topic::of_heading(passage), Topic::of_words(corpus, passage)])
        .flatten()
        .filter(|topic| seen.insert(topic.clone()))
        .collect();
    if topics.is_empty() {
        topics = corpus
            .passages()
            .iter()
            .map(|p| Topic::File(p.path.clone()))
            .collect();
    }
    random.shuffle(&mut topics);
    topics
        .iter()
        .cycle()
        .take(count)
        .map(|topic| topic.ask(&mut random))
        .collect()
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Topic {
    Heading(String),
    Words(String, String),
    File(String),
}

impl Topic {
    fn of_heading(passage: &Passage) -> Option<Self> {
        let numbering = |c: char| c.is_numeric() || c.is_whitespace() || ".)§:-–".contains(c);
        let heading = passage.headings.last()?.trim_start_matches(numbering);
        let heading = heading.trim_end_matches([':', '.', ' ']);
        let fits = heading.chars().count() <= LONGEST_HEADING && !text::terms(heading).is_empty();
        fits.then(|| Self::Heading(heading.to_owned()))
    }

    /// The two words that tell this passage best from the others.
    fn of_words(corpus: &Corpus, passage: &Passage) -> Option<Self> {
        let sentences = passage
            .units
            .iter()
            .filter(|unit| unit.kind == UnitKind::Sentence);
        let mut seen = HashSet::new();
        let mut words: Vec<(f32, &str)> = sentences
            .flat_map(|unit| unit.text.unicode_words())
            .filter(|word| (4..=LONGEST_WORD).contains(&word.chars().count()))
            .filter(|word| word.chars().all(|c| c.is_alphabetic() || c == '_'))
            .filter_map(|word| {
                let term = text::terms(word).pop()?;
                let often = passage.terms.iter().filter(|other| **other == term).count() as f32;
                let weight = corpus.weight(&term) * often.sqrt();
                seen.insert(term).then_some((weight, word))
            })
            .collect();
        words.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        match words.as_slice() {
            [(_, first), (_, second), ..] => {
                Some(Self::Words((*first).to_owned(), (*second).to_owned()))
            }
            _ => None,
        }
    }

    fn ask(&self, random: &mut fastrand::Rng) -> String {
        let way = random.u8(..4);
        match self {
            Self::Heading(heading) if heading.ends_with('?') => heading.clone(),
            Self::Heading(heading) => match way {
                0 => format!("What is meant by {heading}?"),
                1 => format!("How does {heading} work?"),
                2 => format!("What should I know about {heading}?"),
                _ => heading.clone(),
            },
            Self::Words(first, second) => match way {
                0 => format!("What is said about {first} and {second}?"),
                1 => format!("How do I use {first} with {second}?"),
                2 => format!("Why does {first} matter for {second}?"),
                _ => format!("{first} {second}"),
            },
            Self::File(path) => format!("What is in {path}?"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn corpus() -> Corpus {
        let documents = [
            (
                "a.md",
                "# 2. Wrapping consumers\n\nWrap a Kafka consumer and read messages.",
            ),
            (
                "b.md",
                "# Bodies\n\nA span ends when the streamed body ends.",
            ),
        ];
        Corpus::from_documents(&documents).unwrap()
    }

    #[test]
    fn the_same_seed_asks_the_same() {
        let corpus = corpus();
        assert_eq!(generate(&corpus, 9, 7), generate(&corpus, 9, 7));
        assert_ne!(generate(&corpus, 9, 7), generate(&corpus, 9, 8));
        assert!(generate(&corpus, 0, 7).is_empty());
    }

    #[test]
    fn all_topics_are_asked_about_before_one_repeats() {
        let questions = generate(&corpus(), 4, 1);
        assert_eq!(questions.iter().collect::<HashSet<_>>().len(), 4);
        let asks = |topic: &str| questions.iter().filter(|q| q.contains(topic)).count();
        assert_eq!((asks("Wrapping consumers"), asks("Bodies")), (1, 1));
        assert_eq!(asks("2."), 0, "numbers of sections are no topic");
    }

    #[test]
    fn reads_a_file_without_comments() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("questions.txt");
        let read_content = |content: &str| {
            std::fs::write(&path, content).unwrap();
            read(&path).map_err(|error| error.to_string())
        };
        assert_eq!(
            read_content("# mine\n\n What is a span? \r\nkafka\n"),
            Ok(vec!["What is a span?".to_owned(), "kafka".to_owned()])
        );
        assert!(
            read_content("# only\n \n")
                .unwrap_err()
                .contains("no question in")
        );
        assert!(
            read_content("kafka\n???\n")
                .unwrap_err()
                .contains("line 2 of")
        );
        let missing = read(&folder.path().join("none.txt"))
            .unwrap_err()
            .to_string();
        assert!(missing.contains("none.txt cannot be read"), "{missing}");
    }

    proptest! {
        #[test]
        fn every_question_made_is_accepted(source in "(# |[a-zé]{1,9} |[.\\n?]|\\PC){1,200}", seed in any::<u64>()) {
            if let Ok(corpus) = Corpus::from_documents(&[("x.md", source)]) {
                let questions = generate(&corpus, 8, seed);
                prop_assert_eq!(questions.len(), 8);
                for question in questions {
                    prop_assert!(Question::parse(&question).is_ok(), "{}", question);
                }
            }
        }
    }
}
