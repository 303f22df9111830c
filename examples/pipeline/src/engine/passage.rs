//! A passage: the unit that is indexed, ranked and cited.

use serde::{Deserialize, Serialize};

use super::text;

/// Which passage of a [`Corpus`](super::corpus::Corpus). Ids are the same each time the same files are loaded.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PassageId(usize);

/// A piece of a document under one heading, some 80 to 160 words or a shorter section.
#[derive(Clone, Debug)]
pub struct Passage {
    /// Its place in the corpus.
    pub id: PassageId,
    /// The file, relative to the corpus folder, with forward slashes.
    pub path: String,
    /// The line it begins on, from 1.
    pub line: usize,
    /// The headings above it, outermost first.
    pub headings: Vec<String>,
    /// What it says, in order; at least one.
    pub units: Vec<Unit>,
    pub(super) terms: Vec<String>,
    pub(super) heading_terms: Vec<String>,
}

/// The smallest part of a passage that can be quoted.
#[derive(Clone, Debug)]
pub struct Unit {
    /// What it is.
    pub kind: UnitKind,
    /// A single line, unless it is code.
    pub text: String,
    /// How many words it has.
    pub words: usize,
    /// The line its block begins on, from 1.
    pub line: usize,
}

/// What a [`Unit`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitKind {
    /// A sentence of a paragraph or list.
    Sentence,
    /// A row of a table.
    Row,
    /// A block of code, or a part of a long one.
    Code {
        /// As written behind the fence; empty when not said.
        language: String,
    },
}

impl PassageId {
    pub(crate) fn of_index(index: usize) -> Self {
        Self(index)
    }

    pub(crate) fn index(self) -> usize {
        self.0
    }
}

impl Passage {
    pub(super) fn new(
        id: PassageId,
        path: &str,
        line: usize,
        headings: Vec<String>,
        units: Vec<Unit>,
    ) -> Self {
        let mut passage = Self {
            id,
            path: path.to_owned(),
            line,
            heading_terms: text::terms(&headings.join(" ")),
            headings,
            units: Vec::new(),
            terms: Vec::new(),
        };
        passage.append(units);
        passage
    }

    pub(super) fn append(&mut self, units: Vec<Unit>) {
        self.terms
            .extend(units.iter().flat_map(|unit| text::terms(&unit.text)));
        self.units.extend(units);
    }

    /// The headings above it as one line, empty when there are none.
    pub fn heading(&self) -> String {
        self.headings.join(" › ")
    }

    /// All it says, one unit a line.
    pub fn text(&self) -> String {
        let units: Vec<_> = self.units.iter().map(|unit| unit.text.as_str()).collect();
        units.join("\n")
    }
}
