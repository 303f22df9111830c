//! Reads plain text and reStructuredText into blocks.

use super::cutter::{Block, Content};

/// The blocks of a text without Markdown, in order.
///
/// A line underlined with a row of punctuation is a heading (its level follows from which
/// mark came first, as in reStructuredText), a blank line ends a paragraph, a bullet begins
/// one, and what is indented after a line ending in `::` is code.
pub(super) fn blocks(source: &str) -> Vec<Block> {
    let mut reader = Reader::default();
    let mut lines = source.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let underline = lines.peek().and_then(|(_, next)| underline(line, next));
        if let (Some(mark), false) = (underline, reader.in_code(line)) {
            lines.next();
            reader.heading(at + 1, line, mark);
        } else {
            reader.line(at + 1, line);
        }
    }
    reader.end_code();
    reader.end_prose();
    reader.blocks
}

#[derive(Default)]
struct Reader {
    blocks: Vec<Block>,
    prose: String,
    prose_line: usize,
    /// Set after `::`; its lines follow while they are indented.
    code: Option<Code>,
    /// Underline marks by the order of their first use.
    marks: Vec<char>,
}

#[derive(Default)]
struct Code {
    language: String,
    line: usize,
    text: String,
}

impl Reader {
    fn in_code(&self, line: &str) -> bool {
        self.code.is_some() && (line.trim().is_empty() || is_indented(line))
    }

    fn heading(&mut self, at: usize, title: &str, mark: char) {
        self.end_code();
        self.end_prose();
        let depth = self
            .marks
            .iter()
            .position(|known| *known == mark)
            .unwrap_or_else(|| {
                self.marks.push(mark);
                self.marks.len() - 1
            });
        let level = u8::try_from(depth + 1).unwrap_or(u8::MAX);
        let text = title.to_owned();
        self.blocks
            .extend(Block::new(at, Content::Heading { level, text }));
    }

    fn line(&mut self, at: usize, line: &str) {
        if self.in_code(line) {
            if let Some(code) = &mut self.code
                && !(code.text.is_empty() && line.trim().is_empty())
            {
                if code.text.is_empty() {
                    code.line = at;
                }
                code.text.push_str(line);
                code.text.push('\n');
            }
            return;
        }
        self.end_code();
        let text = line.trim();
        if text.is_empty() || rule_mark(text).is_some() {
            self.end_prose();
        } else if let Some(directive) = text.strip_prefix(".. ") {
            self.end_prose();
            if let Some(language) = code_language(directive) {
                self.code = Some(Code {
                    language,
                    ..Code::default()
                });
            }
        } else {
            self.prose_line(at, text);
        }
    }

    fn prose_line(&mut self, at: usize, text: &str) {
        let item = ["- ", "* ", "+ "]
            .iter()
            .find_map(|bullet| text.strip_prefix(bullet));
        if item.is_some() {
            self.end_prose();
        }
        if self.prose.is_empty() {
            self.prose_line = at;
        } else {
            self.prose.push(' ');
        }
        let text = item.unwrap_or(text);
        if let Some(lead_in) = text.strip_suffix("::") {
            self.prose.push_str(lead_in);
            self.prose.push(':');
            self.end_prose();
            self.code = Some(Code::default());
        } else {
            self.prose.push_str(text);
        }
    }

    fn end_prose(&mut self) {
        // reStructuredText marks code by two backticks.
        let text = std::mem::take(&mut self.prose).replace("``", "`");
        self.blocks
            .extend(Block::new(self.prose_line, Content::Prose(text)));
    }

    fn end_code(&mut self) {
        if let Some(code) = self.code.take() {
            let indent = code.text.lines().filter(|line| !line.trim().is_empty());
            let indent = indent
                .map(|line| line.len() - line.trim_start().len())
                .min();
            let lines: Vec<_> = code
                .text
                .lines()
                .map(|line| line.get(indent.unwrap_or(0)..).unwrap_or_default())
                .collect();
            let content = Content::code(code.language, &lines.join("\n"));
            self.blocks.extend(Block::new(code.line, content));
        }
    }
}

fn is_indented(line: &str) -> bool {
    line.starts_with([' ', '\t'])
}

/// The punctuation that `line` is a row of.
fn rule_mark(line: &str) -> Option<char> {
    let mark = line.chars().next().filter(char::is_ascii_punctuation)?;
    // A space as well: the rules of a simple table.
    (line.len() >= 3 && line.chars().all(|c| c == mark || c == ' ')).then_some(mark)
}

fn underline(title: &str, next: &str) -> Option<char> {
    let next = next.trim_end();
    let title = title.trim();
    let fits =
        title.chars().any(char::is_alphanumeric) && next.chars().count() >= title.chars().count();
    if fits && !next.contains(' ') {
        rule_mark(next)
    } else {
        None
    }
}

fn code_language(directive: &str) -> Option<String> {
    ["code-block::", "code::", "sourcecode::"]
        .iter()
        .find_map(|name| directive.strip_prefix(name))
        .map(|language| language.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Vec<(usize, Content)> {
        blocks(source)
            .into_iter()
            .map(|b| (b.line, b.content))
            .collect()
    }

    fn prose(text: &str) -> Content {
        Content::Prose(text.to_owned())
    }

    fn heading(level: u8, text: &str) -> Content {
        Content::Heading {
            level,
            text: text.into(),
        }
    }

    #[test]
    fn underlined_lines_are_headings_by_first_use() {
        let source =
            "=====\nTitle\n=====\n\nText of\ntwo lines.\n\nPart\n----\nMore.\n\nNext\n====\n";
        assert_eq!(
            read(source),
            [
                (2, heading(1, "Title")),
                (5, prose("Text of two lines.")),
                (8, heading(2, "Part")),
                (10, prose("More.")),
                (12, heading(1, "Next")),
            ]
        );
    }

    #[test]
    fn code_follows_a_double_colon_or_a_directive() {
        let source = "Run ``it``::\n\n    a\n      b\n\nThen\n\n.. code-block:: rust\n\n   x\n";
        let code = |language: &str, text: &str| Content::Code {
            language: language.into(),
            text: text.into(),
        };
        assert_eq!(
            read(source),
            [
                (1, prose("Run `it`:")),
                (3, code("", "a\n  b")),
                (6, prose("Then")),
                (10, code("rust", "x")),
            ]
        );
    }

    #[test]
    fn bullets_are_blocks_and_rules_are_dropped() {
        let source = "- one\n  more\n- two\n\n==== ====\na    b\n==== ====\n.. image:: x.png\n";
        assert_eq!(
            read(source),
            [(1, prose("one more")), (3, prose("two")), (6, prose("a b"))]
        );
    }
}
