//! Cuts a document's blocks into passages.

use unicode_segmentation::UnicodeSegmentation as _;

use super::passage::{Passage, PassageId, Unit, UnitKind};
use super::text;

/// A passage is closed at the end of a block once it has this many words …
const ENOUGH_WORDS: usize = 80;
/// … and anywhere before it would exceed this many.
const MOST_WORDS: usize = 160;
/// A rest smaller than this joins the passage before it, if that has the same heading.
const LONE_WORDS: usize = 25;

/// A part of a document, and the line (from 1) it begins on.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) line: usize,
    pub(super) content: Content,
}

/// What a block holds. Prose, headings and rows are in one line.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    /// Level 1 is the outermost.
    Heading {
        level: u8,
        text: String,
    },
    Prose(String),
    /// A row of a table, its cells told apart by punctuation.
    Row(String),
    Code {
        language: String,
        text: String,
    },
}

impl Content {
    pub(super) fn row(cells: &[String]) -> Self {
        let cells: Vec<_> = cells.iter().map(|cell| text::one_line(cell)).collect();
        let rest: Vec<_> = cells
            .iter()
            .skip(1)
            .filter(|cell| !cell.is_empty())
            .cloned()
            .collect();
        let first = cells.first().cloned().unwrap_or_default();
        Self::Row(match (first.is_empty(), rest.is_empty()) {
            (_, true) => first,
            (true, false) => rest.join("; "),
            (false, false) => format!("{first}: {}", rest.join("; ")),
        })
    }

    /// Code without the lines that rustdoc hides and without blank lines around it.
    pub(super) fn code(language: String, source: &str) -> Self {
        let hides = matches!(language.as_str(), "rust" | "rs" | "no_run" | "should_panic");
        let lines: Vec<_> = source
            .lines()
            .map(str::trim_end)
            .filter(|line| !(hides && (line.trim() == "#" || line.trim_start().starts_with("# "))))
            .collect();
        Self::Code {
            language,
            text: lines.join("\n").trim_matches('\n').to_owned(),
        }
    }
}

impl Block {
    /// `None` when there is no word in it.
    pub(super) fn new(line: usize, content: Content) -> Option<Self> {
        let content = match content {
            Content::Heading { level, text } => Content::Heading {
                level,
                text: text::one_line(&text),
            },
            Content::Prose(text) => Content::Prose(text::one_line(&text)),
            other => other,
        };
        let (Content::Heading { text, .. }
        | Content::Prose(text)
        | Content::Row(text)
        | Content::Code { text, .. }) = &content;
        text::has_word(text).then_some(Self { line, content })
    }

    fn units(self) -> Vec<Unit> {
        let line = self.line;
        let (kind, texts) = match self.content {
            Content::Heading { .. } => return Vec::new(),
            Content::Prose(text) => (UnitKind::Sentence, text::sentences(&text)),
            Content::Row(text) => (UnitKind::Row, vec![text]),
            Content::Code { language, text } => (UnitKind::Code { language }, vec![text]),
        };
        let parts = texts.into_iter().flat_map(|text| match kind {
            _ if text::word_count(&text) <= MOST_WORDS => vec![text],
            UnitKind::Code { .. } => cut(text.split_inclusive('\n')),
            UnitKind::Sentence | UnitKind::Row => cut(text.split_word_bounds()),
        });
        parts
            .map(|text| Unit {
                kind: kind.clone(),
                words: text::word_count(&text),
                text,
                line,
            })
            .collect()
    }
}

/// `pieces` put together to parts of at most [`MOST_WORDS`]; a longer piece is cut between words.
fn cut<'a>(pieces: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut words = 0;
    for piece in pieces {
        let more = text::word_count(piece);
        if words + more > MOST_WORDS {
            parts.push(std::mem::take(&mut part));
            words = 0;
        }
        if more > MOST_WORDS {
            parts.extend(cut(piece.split_word_bounds()));
            continue;
        }
        words += more;
        part.push_str(piece);
    }
    parts.push(part);
    parts
        .into_iter()
        .map(|part| part.trim_end().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

/// The passages of one document. Each stays under one heading, and none is empty.
pub(super) fn passages(path: &str, blocks: Vec<Block>) -> Vec<Passage> {
    let mut cutter = Cutter {
        path,
        ..Cutter::default()
    };
    for block in blocks {
        if let Content::Heading { level, text } = block.content {
            cutter.close();
            cutter.trail.retain(|(outer, _)| *outer < level);
            cutter.trail.push((level, text));
        } else {
            cutter.add(block);
        }
    }
    cutter.close();
    cutter.passages
}

#[derive(Default)]
struct Cutter<'a> {
    path: &'a str,
    passages: Vec<Passage>,
    trail: Vec<(u8, String)>,
    units: Vec<Unit>,
    words: usize,
}

impl Cutter<'_> {
    fn add(&mut self, block: Block) {
        let units = block.units();
        let words: usize = units.iter().map(|unit| unit.words).sum();
        if self.words >= ENOUGH_WORDS && self.words + words > MOST_WORDS {
            self.close();
        }
        for unit in units {
            if self.words > 0 && self.words + unit.words > MOST_WORDS {
                self.close();
            }
            self.words += unit.words;
            self.units.push(unit);
        }
    }

    fn close(&mut self) {
        let words = std::mem::take(&mut self.words);
        let units = std::mem::take(&mut self.units);
        let Some(first) = units.first() else { return };
        if words == 0 {
            return;
        }
        let headings: Vec<_> = self.trail.iter().map(|(_, text)| text.clone()).collect();
        if words < LONE_WORDS
            && let Some(last) = self.passages.last_mut()
            && last.headings == headings
        {
            last.append(units);
            return;
        }
        let line = first.line;
        // The corpus numbers its passages when all documents are read.
        let id = PassageId::default();
        self.passages
            .push(Passage::new(id, self.path, line, headings, units));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{markdown, plain};
    use super::*;

    fn sentence_of(words: usize) -> String {
        format!("{}end.", "word ".repeat(words - 1))
    }

    #[test]
    fn a_passage_stays_under_its_heading() {
        let source = "# A\n\nIn a.\n\n## B\n\nIn b.\n\n# C\n\nIn c.\n";
        let passages = passages("x.md", markdown::blocks(source));
        let trails: Vec<_> = passages
            .iter()
            .map(|p| (p.line, p.headings.join(" / ")))
            .collect();
        assert_eq!(
            trails,
            [
                (3, "A".to_owned()),
                (7, "A / B".to_owned()),
                (11, "C".to_owned())
            ]
        );
    }

    #[test]
    fn long_text_is_cut_between_sentences() {
        let source = [
            sentence_of(70),
            sentence_of(60),
            sentence_of(60),
            sentence_of(70),
        ]
        .join("\n\n");
        let words: Vec<usize> = passages("x.txt", plain::blocks(&source))
            .iter()
            .map(|passage| passage.units.iter().map(|unit| unit.words).sum())
            .collect();
        assert_eq!(words, [130, 130]);
    }

    #[test]
    fn a_small_rest_joins_the_passage_before() {
        let source = [sentence_of(150), sentence_of(15)].join("\n\n");
        assert_eq!(passages("x.txt", plain::blocks(&source)).len(), 1);
    }

    proptest! {
        #[test]
        fn no_passage_is_empty_or_huge(source in "([#>|`*=~:. \\-\\n]|[a-zé]{1,8} |\\PC){0,400}") {
            for blocks in [markdown::blocks(&source), plain::blocks(&source)] {
                for passage in passages("x", blocks) {
                    let words: usize = passage.units.iter().map(|unit| unit.words).sum();
                    prop_assert!(words > 0);
                    prop_assert!(words < MOST_WORDS + LONE_WORDS);
                    prop_assert!(passage.line >= 1);
                    prop_assert!(passage.units.iter().all(|unit| !unit.text.trim().is_empty()));
                }
            }
        }
    }
}
