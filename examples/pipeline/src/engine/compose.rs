//! Words an answer from quotes.

use serde::{Deserialize, Serialize};

use super::extract::Quote;
use super::passage::{Passage, Unit, UnitKind};

/// Said when no passage answers.
const NO_ANSWER: &str = "The documents say nothing that answers this.";

/// A passage that an answer quotes, for the reader to look up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its number in the answer, from 1: `[1]`.
    pub number: usize,
    /// The file, relative to the corpus folder.
    pub path: String,
    /// The headings above it in one line, empty when there are none.
    pub heading: String,
    /// The line of what is quoted first, from 1.
    pub line: usize,
}

/// An answer in full.
#[derive(Debug, Default)]
pub(super) struct Composed {
    pub(super) text: String,
    /// Each source and where (byte) its part of the text begins.
    pub(super) sources: Vec<(usize, Source)>,
}

/// Words the answer: a paragraph for each passage quoted, and its number behind the quotes.
pub(super) fn compose(quotes: &[Quote<'_>]) -> Composed {
    let mut composed = Composed::default();
    for quotes in quotes.chunk_by(|a, b| a.passage.id == b.passage.id) {
        composed.add_source(quotes);
    }
    if composed.sources.is_empty() {
        composed.text.push_str(NO_ANSWER);
    }
    composed
}

impl Composed {
    /// Adds a paragraph of quotes from one passage.
    fn add_source(&mut self, quotes: &[Quote<'_>]) {
        let units = || quotes.iter().flat_map(|quote| quote.units);
        let (Some(quote), Some(first)) = (quotes.first(), units().next()) else {
            return;
        };
        if !self.text.is_empty() {
            self.text.push_str("\n\n");
        }
        let number = self.sources.len() + 1;
        let begins = self.text.len();
        self.sources
            .push((begins, Source::new(number, quote.passage, first.line)));

        let mut prose: Vec<String> = Vec::new();
        let mut after_code = false;
        for unit in units() {
            let UnitKind::Code { language } = &unit.kind else {
                prose.push(closed(&unit.text));
                continue;
            };
            if prose.is_empty() && !after_code {
                prose.push(announcement(quote.passage));
            }
            self.add_prose(&mut prose, number, after_code);
            self.add_code(language, unit);
            after_code = true;
        }
        self.add_prose(&mut prose, number, after_code);
    }

    fn add_prose(&mut self, prose: &mut Vec<String>, number: usize, after_code: bool) {
        if prose.is_empty() {
            return;
        }
        if after_code {
            self.text.push_str("\n\n");
        }
        self.text
            .push_str(&format!("{} [{number}]", prose.join(" ")));
        prose.clear();
    }

    fn add_code(&mut self, language: &str, unit: &Unit) {
        let longest = unit
            .text
            .split(|c| c != '`')
            .map(str::len)
            .max()
            .unwrap_or(0);
        let fence = "`".repeat((longest + 1).max(3));
        self.text
            .push_str(&format!("\n\n{fence}{language}\n{}\n{fence}", unit.text));
    }
}

impl Source {
    fn new(number: usize, passage: &Passage, line: usize) -> Self {
        Self {
            number,
            path: passage.path.clone(),
            heading: passage.heading(),
            line,
        }
    }
}

fn announcement(passage: &Passage) -> String {
    match passage.headings.last() {
        Some(heading) => format!("{heading}:"),
        None => format!("{}:", passage.path),
    }
}

/// A sentence with an end: items of lists and rows of tables often have none.
fn closed(sentence: &str) -> String {
    match sentence.chars().last() {
        Some('.' | '!' | '?' | ':' | '…' | '。' | '！' | '？') => sentence.to_owned(),
        Some(',' | ';') => {
            format!("{}.", sentence.trim_end_matches([',', ';']))
        }
        _ => format!("{sentence}."),
    }
}

#[cfg(test)]
mod tests {
    use super::super::corpus::Corpus;
    use super::super::extract;
    use super::super::preprocess::Question;
    use super::super::rerank::Ranked;
    use super::*;

    fn answer(document: &str, question: &str) -> String {
        let corpus = Corpus::from_documents(&[("guide.md", document)]).unwrap();
        let question = Question::parse(question).unwrap();
        compose(&extract::quotes(&corpus, &question, &Ranked::all(&corpus))).text
    }

    #[test]
    fn code_without_a_sentence_is_announced_by_its_heading() {
        let document = "# The layer\n\n```rust\napp.layer(OtelMlLayer)\n```\n";
        assert_eq!(
            answer(document, "OtelMlLayer"),
            "The layer: [1]\n\n```rust\napp.layer(OtelMlLayer)\n```"
        );
        assert!(answer("```\nx.layer()\n```\n", "layer").starts_with("guide.md: [1]\n\n```\n"));
    }

    #[test]
    fn a_fence_is_longer_than_those_in_the_code() {
        let document = "Write a layer like this:\n\n````\n```\nlayer\n```\n````\n";
        assert_eq!(
            answer(document, "layer"),
            "Write a layer like this: [1]\n\n````\n```\nlayer\n```\n````"
        );
    }

    #[test]
    fn every_sentence_has_an_end() {
        for (open, ended) in [
            ("a", "a."),
            ("a.", "a."),
            ("a?", "a?"),
            ("`a`;", "`a`."),
            ("(a)", "(a)."),
        ] {
            assert_eq!(closed(open), ended);
        }
    }
}
