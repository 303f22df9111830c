//! The longest chain: which span the trace was waiting for at every moment.
//!
//! Walked backwards from the end. Within a span, the child that ended last is what the
//! span waited for; before that child's start, the child that had ended last by then;
//! and so on. What no child covers is the span's own time. Siblings that ran beside a
//! chosen one made nobody wait and are not on the chain.

use std::cmp::Reverse;

use super::hang::hung_on_what_runs;
use crate::forest::Forest;

/// When a span ran, in nanoseconds since the start of its trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The own time of each span on the chain, in nanoseconds; `None` off the chain.
pub(super) fn longest_chain(windows: &[Window], forest: &Forest) -> Vec<Option<u64>> {
    let mut own = vec![None; windows.len()];
    let forest = hung_on_what_runs(windows, forest);
    let trace = Window {
        start: windows.iter().map(|window| window.start).min().unwrap_or(0),
        end: windows.iter().map(|window| window.end).max().unwrap_or(0),
    };
    let mut pending = vec![Frame::new(None, trace, &forest.roots, windows)];
    while let Some(frame) = pending.pop() {
        frame.walk(&mut own, |child, window| {
            let children = forest.children.get(child).map_or(&[][..], Vec::as_slice);
            pending.push(Frame::new(Some(child), window, children, windows));
        });
    }
    own
}

/// A span on the chain, and the part of its time for which it is.
struct Frame {
    /// `None` for the trace as a whole.
    span: Option<usize>,
    window: Window,
    /// Children with their time cut to this window, the last to end at the back.
    children: Vec<(Window, usize)>,
}

impl Frame {
    fn new(span: Option<usize>, window: Window, children: &[usize], windows: &[Window]) -> Self {
        let cut = |&child: &usize| {
            let ran = windows.get(child)?;
            let start = ran.start.max(window.start);
            let end = ran.end.min(window.end);
            (start < end).then_some((Window { start, end }, child))
        };
        let mut children: Vec<_> = children.iter().filter_map(cut).collect();
        children
            .sort_by_key(|(window, child)| (window.end, Reverse(window.start), Reverse(*child)));
        Self {
            span,
            window,
            children,
        }
    }

    fn walk(mut self, own: &mut [Option<u64>], mut descend: impl FnMut(usize, Window)) {
        // Two hosts' clocks are never quite equal: siblings that ran one after the other
        // may seem to overlap a little.
        let tolerance = (self.window.end - self.window.start) / 100;
        let mut cursor = self.window.end;
        let mut own_time = 0;
        while let Some((window, child)) = self.children.pop() {
            let end = window.end.min(cursor);
            if window.end > cursor + tolerance || window.start >= end {
                continue;
            }
            own_time += cursor - end;
            cursor = window.start;
            descend(
                child,
                Window {
                    start: window.start,
                    end,
                },
            );
        }
        own_time += cursor - self.window.start;
        if let Some(slot) = self.span.and_then(|span| own.get_mut(span)) {
            *slot = Some(own_time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spans as `(id, parent, start, end)`, in; own times on the chain, out.
    fn chain<const N: usize>(spans: [(u32, Option<u32>, u64, u64); N]) -> [Option<u64>; N] {
        let ids = spans.map(|(id, parent, ..)| (id, parent));
        let windows = spans.map(|(.., start, end)| Window { start, end });
        let own = longest_chain(&windows, &Forest::new(&ids));
        own.try_into().expect("one a span")
    }

    /// Each the child of the one before, with the times that `ran` has for it.
    fn generations(count: u64, ran: impl Fn(u64) -> (u64, u64)) -> (Vec<Window>, Forest) {
        let ids: Vec<_> = (0..count).map(|id| (id, id.checked_sub(1))).collect();
        let windows = (0..count).map(ran);
        let windows = windows.map(|(start, end)| Window { start, end }).collect();
        (windows, Forest::new(&ids))
    }

    #[test]
    fn the_last_to_end_is_what_its_parent_waited_for() {
        // 2 and 3 run side by side, then 4; 5 runs within 3.
        let own = chain([
            (1, None, 0, 100),
            (2, Some(1), 10, 40),
            (3, Some(1), 10, 60),
            (4, Some(1), 70, 90),
            (5, Some(3), 20, 50),
        ]);
        assert_eq!(own, [Some(30), None, Some(20), Some(20), Some(30)]);
    }

    #[test]
    fn e25_siblings_without_a_gap_are_both_on_it() {
        let own = chain([
            (1, None, 0, 100),
            (2, Some(1), 0, 50),
            (3, Some(1), 50, 100),
        ]);
        assert_eq!(own, [Some(0), Some(50), Some(50)]);
    }

    #[test]
    fn of_two_that_end_together_the_longer_was_waited_for() {
        let own = chain([
            (1, None, 0, 100),
            (2, Some(1), 50, 100),
            (3, Some(1), 20, 100),
            (4, Some(1), 60, 100),
        ]);
        assert_eq!(own, [Some(20), None, Some(80), None]);
    }

    #[test]
    fn e25_an_overlap_of_up_to_a_hundredth_is_the_clocks() {
        let own = chain([
            (1, None, 0, 1000),
            (2, Some(1), 0, 510),
            (3, Some(1), 500, 1000),
        ]);
        assert_eq!(own, [Some(0), Some(500), Some(500)]);
        let own = chain([
            (1, None, 0, 1000),
            (2, Some(1), 0, 511),
            (3, Some(1), 500, 1000),
        ]);
        assert_eq!(own, [Some(500), None, Some(500)]);
    }

    #[test]
    fn e25_a_child_outside_its_parent_counts_as_far_as_it_is_inside() {
        let late = chain([(1, None, 0, 100), (2, Some(1), 60, 150)]);
        assert_eq!(late, [Some(60), Some(40)]);
        let early = chain([(1, None, 50, 100), (2, Some(1), 20, 70)]);
        assert_eq!(early, [Some(30), Some(20)]);
    }

    #[test]
    fn work_that_starts_after_its_parent_carries_the_chain_on() {
        let own = chain([
            (1, None, 0, 100),
            (2, Some(1), 150, 200),
            (3, Some(2), 160, 180),
        ]);
        assert_eq!(own, [Some(100), Some(30), Some(20)]);
        // A child far before its parent is another clock's, and on no chain.
        let own = chain([(1, None, 100, 200), (2, Some(1), 0, 50)]);
        assert_eq!(own, [Some(100), None]);
    }

    #[test]
    fn work_that_starts_after_its_parent_is_waited_for_by_an_ancestor_that_still_runs() {
        let own = chain([
            (1, None, 0, 100),
            (2, Some(1), 10, 15),
            (3, Some(2), 16, 60),
        ]);
        assert_eq!(own, [Some(51), Some(5), Some(44)]);
        // The same through ancestors that are over, and from one such child to the next.
        let own = chain([
            (1, None, 0, 100),
            (2, Some(1), 5, 16),
            (3, Some(2), 10, 15),
            (4, Some(3), 16, 60),
            (5, Some(4), 60, 70),
        ]);
        assert_eq!(own, [Some(35), Some(6), Some(5), Some(44), Some(10)]);
        // It outlasts the ancestor, too: as far as it is inside.
        let own = chain([
            (1, None, 0, 100),
            (2, Some(1), 10, 15),
            (3, Some(2), 16, 150),
        ]);
        assert_eq!(own, [Some(11), Some(5), Some(84)]);
    }

    #[test]
    fn e25_a_child_that_starts_a_hundredth_before_its_parent_ends_starts_after_it() {
        let own = chain([
            (1, None, 0, 1000),
            (2, Some(1), 100, 204),
            (3, Some(2), 200, 600),
        ]);
        assert_eq!(own, [Some(500), Some(100), Some(400)]);
        // A little more, and only what is inside its parent counts.
        let own = chain([
            (1, None, 0, 1000),
            (2, Some(1), 100, 205),
            (3, Some(2), 200, 600),
        ]);
        assert_eq!(own, [Some(895), Some(100), Some(5)]);
    }

    #[test]
    fn e25_what_starts_after_a_skewed_parent_does_not_hang_on_what_is_to_come() {
        // 2's clock is behind: 3, after it, ran before 1 began.
        let own = chain([
            (1, None, 100, 200),
            (2, Some(1), 0, 10),
            (3, Some(2), 20, 50),
        ]);
        assert_eq!(own, [Some(100), None, Some(30)]);
    }

    #[test]
    fn e25_ten_thousand_successors_do_not_overflow_the_stack() {
        let (mut windows, forest) = generations(10_000, |id| (id, id + 1));
        let own = longest_chain(&windows, &forest);
        assert!(own.iter().all(|own| *own == Some(1)));
        // All of them while the first still runs.
        windows[0].end = 10_000;
        let own = longest_chain(&windows, &forest);
        assert!(own.iter().all(|own| *own == Some(1)));
    }

    #[test]
    fn e25_two_roots_follow_each_other() {
        let own = chain([(1, None, 0, 40), (2, None, 50, 100), (3, None, 60, 90)]);
        assert_eq!(own, [Some(40), Some(50), None]);
    }

    #[test]
    fn e25_a_ring_of_parents_ends() {
        let own = chain([(1, Some(2), 0, 100), (2, Some(1), 10, 90)]);
        assert_eq!(own, [Some(20), Some(80)]);
    }

    #[test]
    fn spans_that_took_no_time_are_not_waited_for() {
        let own = chain([
            (1, None, 0, 100),
            (2, Some(1), 100, 100),
            (3, Some(1), 50, 50),
        ]);
        assert_eq!(own, [Some(100), None, None]);
        assert_eq!(chain([(1, None, 0, 0)]), [None]);
    }

    #[test]
    fn e25_ten_thousand_generations_do_not_overflow_the_stack() {
        let (windows, forest) = generations(10_000, |id| (id, 20_000 - id));
        let own = longest_chain(&windows, &forest);
        assert!(own.iter().all(Option::is_some));
        assert_eq!(own.iter().flatten().sum::<u64>(), 20_000);
    }

    proptest::proptest! {
        #[test]
        fn the_parts_of_the_chain_never_exceed_the_trace(
            spans in proptest::collection::vec((0_u32..30, 0_u32..40, 0_u64..1000, 0_u64..1000), 1..30)
        ) {
            let ids: Vec<_> = spans.iter().map(|&(id, parent, ..)| (id, Some(parent))).collect();
            let windows: Vec<_> = spans
                .iter()
                .map(|&(.., start, duration)| Window { start, end: start + duration })
                .collect();
            let own = longest_chain(&windows, &Forest::new(&ids));
            let start = windows.iter().map(|w| w.start).min().unwrap_or(0);
            let end = windows.iter().map(|w| w.end).max().unwrap_or(0);
            proptest::prop_assert!(own.iter().flatten().sum::<u64>() <= end - start);
            for (own, window) in own.iter().zip(&windows) {
                proptest::prop_assert!(own.unwrap_or(0) <= window.end - window.start);
            }
        }
    }
}
