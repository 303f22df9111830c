//! Pairs expected with actual spans and shows the difference.
//!
//! Both sides are written as text, the actual one only as far as the expected one
//! asks; they agree when the texts do.

use opentelemetry::trace::{SpanId, Status, TraceId};
use opentelemetry_sdk::trace::SpanData;
use similar::{ChangeTag, TextDiff};

use super::{Expected, ExpectedSpan};
use crate::forest::Forest;
use crate::spans::{forest, kind_name};
use crate::value::show;

/// `None` when the spans are as expected.
pub(super) fn difference(spans: &[SpanData], expected: &[ExpectedSpan]) -> Option<String> {
    let actual = Actual {
        spans,
        forest: forest(spans),
    };
    let mut sides = Sides::default();
    actual.write_level(expected, &actual.forest.roots, false, 1, &mut sides);
    (sides.expected != sides.actual).then(|| diff(&sides))
}

fn diff(sides: &Sides) -> String {
    let diff = TextDiff::from_lines(&sides.expected, &sides.actual);
    diff.iter_all_changes()
        .map(|change| {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            format!("{sign}{}", change.value())
        })
        .collect()
}

#[derive(Default)]
struct Sides {
    expected: String,
    actual: String,
}

struct Actual<'a> {
    spans: &'a [SpanData],
    forest: Forest,
}

impl Actual<'_> {
    fn children(&self, index: usize) -> &[usize] {
        self.forest.children.get(index).map_or(&[], Vec::as_slice)
    }

    fn matches(&self, expected: &ExpectedSpan, index: usize) -> bool {
        let Some(span) = self.spans.get(index) else {
            return false;
        };
        let children = self.children(index);
        expected.lines(0) == expected.lines_of(span, 0)
            && (expected.any_children || children.len() == expected.children.len())
            && self
                .pair_exactly(&expected.children, children)
                .iter()
                .all(Option::is_some)
    }

    /// For each expected span an actual one that matches it wholly; as many as can be.
    fn pair_exactly(&self, expected: &[ExpectedSpan], actual: &[usize]) -> Vec<Option<usize>> {
        let candidates: Vec<Vec<usize>> = expected
            .iter()
            .map(|expected| {
                let matching = actual.iter().copied();
                matching
                    .filter(|&index| self.matches(expected, index))
                    .collect()
            })
            .collect();
        let mut pairs = vec![None; expected.len()];
        for wanted in 0..expected.len() {
            take(wanted, &candidates, &mut pairs, &mut Vec::new());
        }
        pairs
    }

    fn write_level(
        &self,
        expected: &[ExpectedSpan],
        actual: &[usize],
        more_allowed: bool,
        depth: usize,
        sides: &mut Sides,
    ) {
        let mut pairs = self.pair_exactly(expected, actual);
        let mut left: Vec<usize> = actual.to_vec();
        left.retain(|index| !pairs.contains(&Some(*index)));
        // What has no exact match is shown beside a span of the same name.
        for (wanted, pair) in expected.iter().zip(&mut pairs) {
            let is_namesake = |index: &usize| {
                let span = self.spans.get(*index);
                span.is_some_and(|span| span.name == wanted.name)
            };
            if pair.is_none()
                && let Some(namesake) = left.iter().position(is_namesake)
            {
                *pair = Some(left.remove(namesake));
            }
        }
        for (wanted, pair) in expected.iter().zip(&pairs) {
            self.write_pair(wanted, *pair, depth, sides);
        }
        if !more_allowed {
            for index in left {
                self.write_unexpected(index, depth, &mut sides.actual);
            }
        }
    }

    fn write_pair(
        &self,
        expected: &ExpectedSpan,
        pair: Option<usize>,
        depth: usize,
        sides: &mut Sides,
    ) {
        sides.expected.push_str(&expected.lines(depth));
        match pair.and_then(|index| Some((index, self.spans.get(index)?))) {
            Some((index, span)) => {
                sides.actual.push_str(&expected.lines_of(span, depth));
                let children = self.children(index);
                let more_allowed = expected.any_children;
                self.write_level(&expected.children, children, more_allowed, depth + 1, sides);
            }
            None => {
                for child in &expected.children {
                    self.write_pair(child, None, depth + 1, sides);
                }
            }
        }
    }

    fn write_unexpected(&self, root: usize, depth: usize, text: &mut String) {
        let mut pending = vec![(root, depth)];
        while let Some((index, depth)) = pending.pop() {
            if let Some(span) = self.spans.get(index) {
                let kind = kind_name(&span.span_kind);
                text.push_str(&line(depth, &format!("{:?} [{kind}]", span.name)));
            }
            let children = self.children(index).iter().rev();
            pending.extend(children.map(|&child| (child, depth + 1)));
        }
    }
}

/// Finds `wanted` a partner, asking those who hold one to move on to another.
fn take(
    wanted: usize,
    candidates: &[Vec<usize>],
    pairs: &mut Vec<Option<usize>>,
    asked: &mut Vec<usize>,
) -> bool {
    for &candidate in candidates.get(wanted).into_iter().flatten() {
        if asked.contains(&candidate) {
            continue;
        }
        asked.push(candidate);
        let holder = pairs.iter().position(|pair| *pair == Some(candidate));
        if holder.is_none_or(|holder| take(holder, candidates, pairs, asked)) {
            if let Some(slot) = pairs.get_mut(wanted) {
                *slot = Some(candidate);
            }
            return true;
        }
    }
    false
}

impl ExpectedSpan {
    fn lines(&self, depth: usize) -> String {
        let mut flags = Vec::new();
        flags.extend(self.kind.as_ref().map(kind_name));
        flags.extend(self.status.map(Expected::name));
        let mut text = header(depth, &self.name, &flags);
        for (key, value) in &self.attributes {
            text.push_str(&line(depth + 2, &format!("{key} = {}", show(value))));
        }
        text.push_str(&ids(depth, self.trace, self.parent));
        for (trace, id) in self.links.iter().flatten() {
            text.push_str(&link(depth, *trace, *id));
        }
        for event in self.events.iter().flatten() {
            text.push_str(&line(depth + 2, &format!("event {event:?}")));
        }
        text
    }

    /// The actual span, as far as this one asks.
    fn lines_of(&self, span: &SpanData, depth: usize) -> String {
        let mut flags = Vec::new();
        flags.extend(self.kind.as_ref().map(|_| kind_name(&span.span_kind)));
        flags.extend(self.status.map(|_| Expected::of(&span.status).name()));
        let mut text = header(depth, &span.name, &flags);
        let listed = |key: &str| self.attributes.iter().any(|(listed, _)| listed == key);
        for (key, _) in &self.attributes {
            for attribute in span.attributes.iter().filter(|a| a.key.as_str() == key) {
                text.push_str(&line(
                    depth + 2,
                    &format!("{key} = {}", show(&attribute.value)),
                ));
            }
        }
        for attribute in &span.attributes {
            let key = attribute.key.as_str();
            let unwanted = self.only_attributes || self.absent.iter().any(|absent| absent == key);
            if unwanted && !listed(key) {
                text.push_str(&line(
                    depth + 2,
                    &format!("{key} = {}", show(&attribute.value)),
                ));
            }
        }
        let trace = self.trace.map(|_| span.span_context.trace_id());
        text.push_str(&ids(depth, trace, self.parent.map(|_| span.parent_span_id)));
        if self.links.is_some() {
            for other in span.links.iter().map(|link| &link.span_context) {
                text.push_str(&link(depth, other.trace_id(), other.span_id()));
            }
        }
        if self.events.is_some() {
            for event in span.events.iter() {
                text.push_str(&line(depth + 2, &format!("event {:?}", event.name)));
            }
        }
        text
    }
}

impl Expected {
    fn of(status: &Status) -> Self {
        match status {
            Status::Unset => Self::Unset,
            Status::Ok => Self::Ok,
            Status::Error { .. } => Self::Error,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

fn header(depth: usize, name: &str, flags: &[&str]) -> String {
    if flags.is_empty() {
        line(depth, &format!("{name:?}"))
    } else {
        line(depth, &format!("{name:?} [{}]", flags.join(", ")))
    }
}

fn ids(depth: usize, trace: Option<TraceId>, parent: Option<SpanId>) -> String {
    let trace = trace.map(|id| line(depth + 2, &format!("trace {id}")));
    let parent = parent.map(|id| line(depth + 2, &format!("parent {id}")));
    trace.into_iter().chain(parent).collect()
}

fn link(depth: usize, trace: TraceId, id: SpanId) -> String {
    line(depth + 2, &format!("link {trace}/{id}"))
}

fn line(depth: usize, text: &str) -> String {
    format!("{}{text}\n", "  ".repeat(depth))
}
