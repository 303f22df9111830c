//! Columns and colours.

use std::cmp::Reverse;
use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::Waterfall;
use super::bar::{Cell, bar};
use super::span::WaterfallSpan;
use super::trace::{Line, Trace, human};

const DIM: Style = Style::new().dimmed();
const TITLE: Style = Style::new().bold();
const CHAIN: Style = AnsiColor::Yellow.on_default().bold();
const OTHER: Style = AnsiColor::Blue.on_default();
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Wide enough for `59.9 ms` and its like.
const DURATION: usize = 7;
/// `service  label * bar duration  facts`: what stands between the columns.
const GAPS: usize = 2 + 3 + 1 + 2;
const MIN_BAR: usize = 12;

/// How wide each column is.
struct Columns {
    service: usize,
    label: usize,
    bar: usize,
    facts: usize,
}

/// A line with its texts made.
struct Row<'a> {
    index: Option<usize>,
    service: String,
    label: String,
    below: &'a str,
    facts: Vec<(String, Style)>,
}

pub(super) fn draw(
    spans: Vec<&WaterfallSpan>,
    options: &Waterfall,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let trace = Trace::new(spans);
    let (lines, parents) = trace.lines(options.max_spans);
    let rows: Vec<Row<'_>> = lines
        .iter()
        .map(|line| row(&trace, &parents, line))
        .collect();
    let columns = columns(&rows, options.width);
    let paint = Paint {
        has_color: options.has_color,
    };
    writeln!(f, "{}", paint.text(&header(&trace), TITLE))?;
    for row in &rows {
        draw_row(&trace, row, &columns, &paint, f)?;
    }
    match chain_line(&trace, options.width) {
        Some(chain) => writeln!(f, "{}", paint.text(&chain, CHAIN)),
        None => Ok(()),
    }
}

fn header(trace: &Trace<'_>) -> String {
    let mut services: Vec<&str> = trace
        .spans
        .iter()
        .map(|span| span.service.as_str())
        .collect();
    services.sort_unstable();
    services.dedup();
    let errors = trace
        .spans
        .iter()
        .filter(|span| span.error.is_some())
        .count();
    let roots = trace.forest.roots.len();
    let id = trace.spans.first().map(|span| span.trace.to_string());
    let mut text = format!("trace {}", id.unwrap_or_default());
    let _ = write!(text, " · {}", human(trace.length));
    let _ = write!(text, " · {}", counted(trace.spans.len(), "span"));
    let _ = write!(text, " · {}", counted(services.len(), "service"));
    if errors > 0 {
        let _ = write!(text, " · {}", counted(errors, "error"));
    }
    if roots > 1 {
        let _ = write!(text, " · {}", counted(roots, "root"));
    }
    text
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn row<'a>(trace: &Trace<'_>, parents: &[Option<usize>], line: &'a Line) -> Row<'a> {
    match line {
        Line::More { count, lead } => Row {
            index: None,
            service: String::new(),
            label: format!("{lead}… {count} more"),
            below: "",
            facts: Vec::new(),
        },
        Line::Span { index, lead, below } => {
            let span = trace.spans.get(*index);
            let mut facts = Vec::new();
            if let Some(error) = span.and_then(|span| span.error.as_ref()) {
                facts.push((format!("✗ {}", printable(error)), ERROR));
            }
            let told = span.into_iter().flat_map(|span| &span.facts);
            facts.extend(told.map(|fact| (printable(fact), Style::new())));
            let notes = trace.notes(parents, *index);
            facts.extend(notes.into_iter().map(|note| (note, DIM)));
            Row {
                index: Some(*index),
                service: span.map_or(String::new(), |span| printable(&span.service)),
                label: format!(
                    "{lead}{}",
                    span.map_or(String::new(), |s| printable(&s.name))
                ),
                below,
                facts,
            }
        }
    }
}

fn columns(rows: &[Row<'_>], width: usize) -> Columns {
    let longest = |text: fn(&Row<'_>) -> usize| rows.iter().map(text).max().unwrap_or(0);
    let service = longest(|row| row.service.width()).min(16);
    let facts = longest(|row| {
        let texts = row.facts.iter().map(|(fact, _)| fact.width() + 3);
        texts.sum::<usize>().saturating_sub(3)
    });
    let facts = facts.min(width * 3 / 10);
    let rest = width.saturating_sub(service + facts + DURATION + GAPS);
    let label = longest(|row| row.label.width()).min(rest * 3 / 5);
    Columns {
        service,
        label,
        bar: (rest - label).max(MIN_BAR),
        facts,
    }
}

fn draw_row(
    trace: &Trace<'_>,
    row: &Row<'_>,
    columns: &Columns,
    paint: &Paint,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let label = padded(&row.label, columns.label);
    let service = paint.text(&padded(&row.service, columns.service), DIM);
    let Some((window, index)) = row.index.and_then(|i| Some((*trace.windows.get(i)?, i))) else {
        return writeln!(f, "{service}  {}", paint.text(label.trim_end(), DIM));
    };
    let is_on_chain = trace.chain.get(index).copied().flatten().is_some();
    let is_error = trace
        .spans
        .get(index)
        .is_some_and(|span| span.error.is_some());
    let style = match (is_error, is_on_chain) {
        (true, _) => ERROR,
        (false, true) => CHAIN,
        (false, false) => OTHER,
    };
    let (mark, label_style) = if is_on_chain {
        ("*", TITLE)
    } else {
        (" ", Style::new())
    };
    let cells = bar(window, trace.length, columns.bar, paint.has_color);
    let duration = format!("{:>DURATION$}", human(window.end - window.start));
    let mut facts = wrapped(&row.facts, columns.facts).into_iter();
    let first = facts.next().unwrap_or_default();
    let line = format!(
        "{service}  {} {} {} {duration}  {}",
        paint.text(&label, label_style),
        paint.text(mark, CHAIN),
        paint.bar(&cells, style),
        paint.facts(&first),
    );
    writeln!(f, "{}", line.trim_end())?;
    for facts in facts {
        let below = padded(row.below, columns.label);
        let space = 3 + columns.bar + 1 + DURATION + 2;
        let line = format!(
            "{:service$}  {below}{:space$}{}",
            "",
            "",
            paint.facts(&facts),
            service = columns.service
        );
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Where the time of the longest chain went, the largest shares first, as far as they fit.
fn chain_line(trace: &Trace<'_>, width: usize) -> Option<String> {
    let own_times = trace.chain.iter().zip(&trace.spans);
    let mut parts: Vec<(u64, &str)> = own_times
        .filter_map(|(own, span)| Some(((*own).filter(|&own| own > 0)?, span.name.as_str())))
        .collect();
    parts.sort_by_key(|&(own, _)| Reverse(own));
    let mut line = "* longest chain: ".to_owned();
    for (named, &(own, name)) in parts.iter().enumerate() {
        let length = u128::from(trace.length.max(1));
        let percent = (u128::from(own) * 100 + length / 2) / length;
        let comma = if named == 0 { "" } else { ", " };
        let part = format!("{comma}{} {} ({percent} %)", printable(name), human(own));
        let more = format!(", {} more", parts.len() - named);
        let room = if named + 1 == parts.len() {
            0
        } else {
            more.width()
        };
        if named > 0 && line.width() + part.width() + room > width {
            line.push_str(&more);
            break;
        }
        line.push_str(&part);
    }
    (!parts.is_empty()).then(|| cut(&line, width))
}

/// Facts in lines of at most `width` columns, broken between facts.
fn wrapped(facts: &[(String, Style)], width: usize) -> Vec<Vec<(String, Style)>> {
    let mut lines: Vec<Vec<(String, Style)>> = Vec::new();
    let mut used = 0;
    for (fact, style) in facts {
        let fact = cut(fact, width);
        let taken = fact.width();
        match lines.last_mut() {
            Some(line) if used + 3 + taken <= width => {
                used += 3 + taken;
                line.push((fact, *style));
            }
            _ => {
                used = taken;
                lines.push(vec![(fact, *style)]);
            }
        }
    }
    lines
}

/// Names come from anywhere: a control character must not reach the terminal.
fn printable(text: &str) -> String {
    let safe = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(safe).collect()
}

fn padded(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let space = width.saturating_sub(text.width());
    format!("{text}{:space$}", "")
}

fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let mut cut: String = text
        .chars()
        .take_while(|c| {
            let fits = c.width().unwrap_or(0) <= left;
            left = left.saturating_sub(c.width().unwrap_or(0));
            fits
        })
        .collect();
    cut.push('…');
    cut
}

struct Paint {
    has_color: bool,
}

impl Paint {
    fn text(&self, text: &str, style: Style) -> String {
        if self.has_color && !style.is_plain() && !text.trim().is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    fn facts(&self, facts: &[(String, Style)]) -> String {
        let texts: Vec<String> = facts
            .iter()
            .map(|(fact, style)| self.text(fact, *style))
            .collect();
        texts.join(" · ")
    }

    fn bar(&self, cells: &[Cell], style: Style) -> String {
        let is_same =
            |a: &Cell, b: &Cell| matches!(a, Cell::Plain(_)) == matches!(b, Cell::Plain(_));
        let runs = cells.chunk_by(is_same).map(|run| {
            let text: String = run.iter().map(|cell| cell.char()).collect();
            match run.first() {
                Some(Cell::Inverse(_)) => self.text(&text, style.invert()),
                _ => self.text(&text, style),
            }
        });
        runs.collect()
    }
}
