//! Who may have waited for whom.
//!
//! Work that starts when its parent is over (a message's consumer, when the send has
//! ended) kept that parent from nothing: the nearest ancestor that still runs waited.

use super::chain::Window;
use crate::forest::Forest;

impl Window {
    /// Whether it was over when `next` began. Two hosts' clocks are never quite equal: an
    /// overlap of up to a hundredth of `next` is theirs.
    fn is_over_before(self, next: Self) -> bool {
        self.end <= next.start + (next.end - next.start) / 100
    }
}

/// The spans as trees of who may have waited for whom: below their parents, or below the
/// nearest ancestor that still ran when they began. Where none did they are roots: they
/// keep the trace going though they keep nobody waiting.
pub(super) fn hung_on_what_runs(windows: &[Window], forest: &Forest) -> Forest {
    let mut hung = Forest {
        roots: forest.roots.clone(),
        children: vec![Vec::new(); windows.len()],
        cut: Vec::new(),
    };
    let mut hooks: Vec<Option<usize>> = vec![None; windows.len()];
    let mut pending = forest.roots.clone();
    while let Some(parent) = pending.pop() {
        let children = forest.children.get(parent).map_or(&[][..], Vec::as_slice);
        for &child in children {
            let hook = hook(parent, child, windows, &hooks);
            let siblings = hook.and_then(|hook| hung.children.get_mut(hook));
            siblings.unwrap_or(&mut hung.roots).push(child);
            if let Some(slot) = hooks.get_mut(child) {
                *slot = hook;
            }
        }
        pending.extend(children);
    }
    hung
}

/// What `child` hangs on: its parent, unless that is over; `hooks` has that of every ancestor.
fn hook(parent: usize, child: usize, windows: &[Window], hooks: &[Option<usize>]) -> Option<usize> {
    let &ran = windows.get(child)?;
    let is_over = |&at: &usize| windows.get(at).is_some_and(|at| at.is_over_before(ran));
    // An ancestor that had yet to begin is another clock's.
    let is_to_come = |&at: &usize| windows.get(at).is_some_and(|at| at.start >= ran.end);
    if !is_over(&parent) {
        return Some(parent);
    }
    // What was over before an ancestor began is over for those below it, too: following the
    // hooks instead of the parents keeps a long chain of successors from being walked each time.
    let next = |at: &usize| hooks.get(*at).copied().flatten();
    std::iter::successors(Some(parent), next).find(|at| !is_over(at) && !is_to_come(at))
}
