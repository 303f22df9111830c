//! One trace: its spans as lines, in the order in which they are drawn.

use std::cmp::Reverse;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::chain::{Window, longest_chain};
use super::span::WaterfallSpan;
use crate::forest::Forest;

/// Indentation stops here; from then on the depth is written as a number.
const MAX_INDENT: usize = 8;

pub(super) struct Trace<'a> {
    pub(super) spans: Vec<&'a WaterfallSpan>,
    pub(super) windows: Vec<Window>,
    pub(super) forest: Forest,
    /// Own time on the longest chain, `None` off it.
    pub(super) chain: Vec<Option<u64>>,
    /// How long all of it took, in nanoseconds.
    pub(super) length: u64,
}

/// A line of the waterfall.
pub(super) enum Line {
    /// A span, with the guides before its name and those for lines that go on below it.
    Span {
        index: usize,
        lead: String,
        below: String,
    },
    /// So many spans were left out here.
    More { count: usize, lead: String },
}

impl<'a> Trace<'a> {
    pub(super) fn new(mut spans: Vec<&'a WaterfallSpan>) -> Self {
        spans.sort_by_key(|span| span.start);
        let origin = spans
            .first()
            .map_or(SystemTime::UNIX_EPOCH, |span| span.start);
        let since = |time: SystemTime| nanos(time.duration_since(origin).unwrap_or_default());
        let windows: Vec<Window> = spans
            .iter()
            .map(|span| Window {
                start: since(span.start),
                // An end before the start is a clock that was set back.
                end: since(span.end).max(since(span.start)),
            })
            .collect();
        let ids: Vec<_> = spans.iter().map(|span| (span.id, span.parent)).collect();
        let forest = Forest::new(&ids);
        Self {
            chain: longest_chain(&windows, &forest),
            length: windows.iter().map(|window| window.end).max().unwrap_or(0),
            spans,
            windows,
            forest,
        }
    }

    fn children(&self, index: usize) -> &[usize] {
        self.forest.children.get(index).map_or(&[], Vec::as_slice)
    }

    fn duration(&self, index: usize) -> u64 {
        let window = self.windows.get(index);
        window.map_or(0, |window| window.end - window.start)
    }

    /// The parent among the spans, by position; `None` for roots.
    fn parents(&self) -> Vec<Option<usize>> {
        let mut parents = vec![None; self.spans.len()];
        for (parent, children) in self.forest.children.iter().enumerate() {
            for &child in children {
                if let Some(slot) = parents.get_mut(child) {
                    *slot = Some(parent);
                }
            }
        }
        parents
    }

    /// What a reader must know of a span's place: a parent that isn't there, a clock
    /// that is ahead.
    pub(super) fn notes(&self, parents: &[Option<usize>], index: usize) -> Vec<String> {
        let mut notes = Vec::new();
        let parent = parents.get(index).copied().flatten();
        let has_parent = self
            .spans
            .get(index)
            .is_some_and(|span| span.parent.is_some());
        if self.forest.cut.contains(&index) {
            notes.push("parents form a ring".to_owned());
        } else if parent.is_none() && has_parent {
            notes.push("parent is not here".to_owned());
        }
        let start = |index: usize| self.windows.get(index).map_or(0, |window| window.start);
        if let Some(ahead) = parent.and_then(|parent| start(parent).checked_sub(start(index)))
            && ahead > 0
        {
            notes.push(format!("starts {} before its parent", human(ahead)));
        }
        notes
    }

    /// At most `max` spans as lines: the longest chain first, then errors, then what took
    /// longest; always with their ancestors.
    pub(super) fn lines(&self, max: usize) -> (Vec<Line>, Vec<Option<usize>>) {
        let parents = self.parents();
        let shown = self.shown(&parents, max);
        let hidden = self.hidden_below(&shown);
        let mut lines = Vec::new();
        let mut pending = Vec::new();
        let no_guide: Rc<str> = Rc::from("");
        self.push_level(&mut pending, None, &no_guide, 0, &shown, &hidden);
        while let Some(Pending {
            what,
            guide,
            depth,
            is_last,
        }) = pending.pop()
        {
            let (branch, pass) = match (depth, is_last) {
                (0, _) => ("", ""),
                (_, true) => ("└─ ", "   "),
                (_, false) => ("├─ ", "│  "),
            };
            let lead = if depth > MAX_INDENT {
                format!("{guide}[{depth}] ")
            } else {
                format!("{guide}{branch}")
            };
            match what {
                What::More(count) => lines.push(Line::More { count, lead }),
                What::Span(index) => {
                    let below: Rc<str> = if depth >= MAX_INDENT {
                        Rc::clone(&guide)
                    } else {
                        Rc::from(format!("{guide}{pass}"))
                    };
                    let kids = pending.len();
                    self.push_level(
                        &mut pending,
                        Some(index),
                        &below,
                        depth + 1,
                        &shown,
                        &hidden,
                    );
                    let goes_on = if pending.len() > kids { "│ " } else { "  " };
                    lines.push(Line::Span {
                        index,
                        lead,
                        below: format!("{below}{goes_on}"),
                    });
                }
            }
        }
        (lines, parents)
    }

    /// Puts what is drawn below `parent` on the stack, the last first.
    fn push_level(
        &self,
        pending: &mut Vec<Pending>,
        parent: Option<usize>,
        guide: &Rc<str>,
        depth: usize,
        shown: &[bool],
        hidden: &[usize],
    ) {
        let level = parent.map_or(self.forest.roots.as_slice(), |parent| self.children(parent));
        let is_shown = |index: &usize| shown.get(*index).copied().unwrap_or(false);
        let spans = level.iter().copied().filter(is_shown).map(What::Span);
        let slot = parent.map_or(0, |parent| parent + 1);
        let more = hidden.get(slot).copied().filter(|&count| count > 0);
        let whats: Vec<What> = spans.chain(more.map(What::More)).collect();
        for (position, what) in whats.into_iter().rev().enumerate() {
            pending.push(Pending {
                what,
                guide: Rc::clone(guide),
                depth,
                is_last: position == 0,
            });
        }
    }

    fn shown(&self, parents: &[Option<usize>], max: usize) -> Vec<bool> {
        let mut shown = vec![self.spans.len() <= max; self.spans.len()];
        if self.spans.len() <= max {
            return shown;
        }
        let mut by_rank: Vec<usize> = (0..self.spans.len()).collect();
        by_rank.sort_by_key(|&index| {
            let is_off_chain = self.chain.get(index).copied().flatten().is_none();
            let is_fine = self
                .spans
                .get(index)
                .is_none_or(|span| span.error.is_none());
            (is_off_chain, is_fine, Reverse(self.duration(index)))
        });
        let mut left = max;
        for index in by_rank {
            let mut path = Vec::new();
            let mut next = Some(index);
            while let Some(index) = next
                && path.len() <= left
                && shown.get(index) == Some(&false)
            {
                path.push(index);
                next = parents.get(index).copied().flatten();
            }
            if path.len() <= left {
                left -= path.len();
                for index in path {
                    if let Some(slot) = shown.get_mut(index) {
                        *slot = true;
                    }
                }
            }
        }
        shown
    }

    /// How many spans were left out below each shown one; the first number is of those
    /// below none.
    fn hidden_below(&self, shown: &[bool]) -> Vec<usize> {
        let mut hidden = vec![0; self.spans.len() + 1];
        let mut pending: Vec<(usize, usize)> = self.forest.roots.iter().map(|&r| (r, 0)).collect();
        while let Some((index, mut slot)) = pending.pop() {
            if shown.get(index).copied().unwrap_or(false) {
                slot = index + 1;
            } else if let Some(count) = hidden.get_mut(slot) {
                *count += 1;
            }
            pending.extend(self.children(index).iter().map(|&child| (child, slot)));
        }
        hidden
    }
}

struct Pending {
    what: What,
    guide: Rc<str>,
    depth: usize,
    is_last: bool,
}

enum What {
    Span(usize),
    More(usize),
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds for people, with three digits.
pub(super) fn human(nanos: u64) -> String {
    let time = nanos as f64;
    let digits = |value: f64, unit: &str| {
        let decimals = match value {
            value if value >= 99.95 => 0,
            value if value >= 9.995 => 1,
            _ => 2,
        };
        format!("{value:.decimals$} {unit}")
    };
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..999_500 => digits(time / 1e3, "µs"),
        999_500..999_500_000 => digits(time / 1e6, "ms"),
        999_500_000..59_950_000_000 => digits(time / 1e9, "s"),
        _ => {
            let seconds = (nanos + 500_000_000) / 1_000_000_000;
            format!("{}m {:02}s", seconds / 60, seconds % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn times_have_three_digits() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (12_345, "12.3 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (9_994_000, "9.99 ms"),
            (9_996_000, "10.0 ms"),
            (123_456_789, "123 ms"),
            (999_600_000, "1.00 s"),
            (59_940_000_000, "59.9 s"),
            (59_960_000_000, "1m 00s"),
            (125_000_000_000, "2m 05s"),
        ];
        for (nanos, text) in cases {
            assert_eq!(human(nanos), text);
        }
    }
}
