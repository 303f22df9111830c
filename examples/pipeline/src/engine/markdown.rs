//! Reads Markdown into blocks.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::cutter::{Block, Content};

/// The blocks of a Markdown document in order. Front matter, HTML, images and footnote
/// marks are left out; of a link its text stays.
pub(super) fn blocks(source: &str) -> Vec<Block> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
        | Options::ENABLE_GFM;
    let mut reader = Reader::new(source);
    for (event, range) in Parser::new_ext(source, options).into_offset_iter() {
        reader.event(event, &range);
    }
    reader.blocks
}

struct Reader<'a> {
    source: &'a str,
    blocks: Vec<Block>,
    /// Inline text since the last block ended, and the line it began on.
    inline: String,
    line: usize,
    cells: Vec<String>,
    /// The language of the code block being read.
    code: Option<String>,
    /// Depth of images and front matter, whose text is not for reading.
    hidden: usize,
    /// Lines are counted on from here, since events come in order.
    counted: (usize, usize),
}

impl<'a> Reader<'a> {
    fn new(source: &'a str) -> Self {
        Self {
            source,
            blocks: Vec::new(),
            inline: String::new(),
            line: 1,
            cells: Vec::new(),
            code: None,
            hidden: 0,
            counted: (0, 1),
        }
    }

    fn event(&mut self, event: Event<'_>, range: &Range<usize>) {
        match event {
            Event::Start(tag) => self.start(tag, range.start),
            Event::End(tag) => self.end(tag),
            _ if self.hidden > 0 => {}
            Event::Text(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.push(&text, range.start);
            }
            Event::Code(code) => self.push(&format!("`{code}`"), range.start),
            Event::SoftBreak | Event::HardBreak | Event::InlineHtml(_) => self.inline.push(' '),
            Event::Html(_)
            | Event::FootnoteReference(_)
            | Event::Rule
            | Event::TaskListMarker(_) => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>, at: usize) {
        match tag {
            Tag::Image { .. } | Tag::MetadataBlock(_) => self.hidden += 1,
            Tag::Emphasis
            | Tag::Strong
            | Tag::Strikethrough
            | Tag::Superscript
            | Tag::Subscript
            | Tag::Link { .. } => {}
            Tag::CodeBlock(kind) => {
                self.flush_prose();
                self.line = self.line_at(at);
                self.code = Some(match kind {
                    CodeBlockKind::Fenced(info) => {
                        let end = info.find([',', ' ']).unwrap_or(info.len());
                        info.get(..end).unwrap_or_default().to_owned()
                    }
                    CodeBlockKind::Indented => String::new(),
                });
            }
            Tag::TableHead | Tag::TableRow => {
                self.flush_prose();
                self.line = self.line_at(at);
            }
            Tag::TableCell => self.inline.clear(),
            // Any other block ends the text before it: a list inside an item, a quote.
            _ => self.flush_prose(),
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Image | TagEnd::MetadataBlock(_) => self.hidden = self.hidden.saturating_sub(1),
            TagEnd::Emphasis
            | TagEnd::Strong
            | TagEnd::Strikethrough
            | TagEnd::Superscript
            | TagEnd::Subscript
            | TagEnd::Link => {}
            TagEnd::Heading(level) => {
                let text = std::mem::take(&mut self.inline);
                self.emit(Content::Heading {
                    level: level as u8,
                    text,
                });
            }
            TagEnd::CodeBlock => {
                let language = self.code.take().unwrap_or_default();
                let text = std::mem::take(&mut self.inline);
                self.emit(Content::code(language, &text));
            }
            TagEnd::TableCell => self.cells.push(std::mem::take(&mut self.inline)),
            // The names of the columns announce the rows: found, but not quoted.
            TagEnd::TableHead => {
                let cells = std::mem::take(&mut self.cells);
                self.emit(Content::Prose(format!("{}:", cells.join(", "))));
            }
            TagEnd::TableRow => {
                let cells = std::mem::take(&mut self.cells);
                self.emit(Content::row(&cells));
            }
            _ => self.flush_prose(),
        }
    }

    fn push(&mut self, text: &str, at: usize) {
        if self.inline.is_empty() && self.code.is_none() && self.cells.is_empty() {
            self.line = self.line_at(at);
        }
        self.inline.push_str(text);
    }

    fn flush_prose(&mut self) {
        let text = std::mem::take(&mut self.inline);
        self.emit(Content::Prose(text));
    }

    fn emit(&mut self, content: Content) {
        self.blocks.extend(Block::new(self.line, content));
    }

    fn line_at(&mut self, offset: usize) -> usize {
        let (from, line) = self.counted;
        if let Some(passed) = self.source.get(from..offset) {
            self.counted = (offset, line + passed.matches('\n').count());
        }
        self.counted.1
    }
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

    #[test]
    fn headings_paragraphs_and_inline_markup() {
        let source =
            "---\ntitle: x\n---\n# The `layer`\n\nSome **bold** [link](u)\ntext. ![alt](i)\n";
        let heading = Content::Heading {
            level: 1,
            text: "The `layer`".into(),
        };
        assert_eq!(
            read(source),
            [(4, heading), (6, prose("Some bold link text."))]
        );
    }

    #[test]
    fn each_list_item_is_a_block() {
        let source = "Ways:\n\n- one `a`\n  - nested\n- two\n\n  again\n";
        assert_eq!(
            read(source),
            [
                (1, prose("Ways:")),
                (3, prose("one `a`")),
                (4, prose("nested")),
                (5, prose("two")),
                (7, prose("again")),
            ]
        );
    }

    #[test]
    fn each_table_row_is_a_block() {
        let source = "| crate | holds |\n|---|---|\n| `core` | the *life* of a span |\n| x | |\n";
        assert_eq!(
            read(source),
            [
                (1, prose("crate, holds:")),
                (3, Content::Row("`core`: the life of a span".into())),
                (4, Content::Row("x".into())),
            ]
        );
    }

    #[test]
    fn code_keeps_its_lines_without_the_hidden_ones() {
        let source = "```rust,no_run\n# use a;\nlet x = 1;\n#[test]\n\nx\n```\n";
        let code = Content::Code {
            language: "rust".into(),
            text: "let x = 1;\n#[test]\n\nx".into(),
        };
        assert_eq!(read(source), [(1, code)]);
    }

    #[test]
    fn html_is_left_out() {
        assert_eq!(
            read("<div>\nno\n</div>\n\nyes<br>sir\n"),
            [(5, prose("yes sir"))]
        );
    }
}
