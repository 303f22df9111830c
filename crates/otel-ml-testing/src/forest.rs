//! Parents and children of a set of spans, whatever state it is in.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// Positions of spans, as trees. Every span is in exactly one of them: one whose
/// parent is not in the set is a root, and a ring of parents is cut at its first span.
#[derive(Debug)]
pub(crate) struct Forest {
    pub(crate) roots: Vec<usize>,
    pub(crate) children: Vec<Vec<usize>>,
    /// Roots made by cutting a ring of parents.
    pub(crate) cut: Vec<usize>,
}

impl Forest {
    /// Builds the trees from `(id, parent)` pairs. Siblings keep the given order. Of
    /// several spans with one id, the first gets the children.
    pub(crate) fn new<Id: Copy + Eq + Hash>(spans: &[(Id, Option<Id>)]) -> Self {
        let mut position = HashMap::with_capacity(spans.len());
        for (index, (id, _)) in spans.iter().enumerate() {
            position.entry(*id).or_insert(index);
        }
        let mut forest = Self {
            roots: Vec::new(),
            children: vec![Vec::new(); spans.len()],
            cut: Vec::new(),
        };
        for (index, (_, parent)) in spans.iter().enumerate() {
            match parent.and_then(|id| position.get(&id).copied()) {
                Some(parent) => forest.adopt(parent, index),
                None => forest.roots.push(index),
            }
        }
        forest.cut_rings(spans.len());
        forest
    }

    fn adopt(&mut self, parent: usize, child: usize) {
        if let Some(children) = self.children.get_mut(parent) {
            children.push(child);
        }
    }

    /// What no root leads to hangs below a ring of parents.
    fn cut_rings(&mut self, count: usize) {
        let mut reached = vec![false; count];
        self.mark(self.roots.clone(), &mut reached);
        let mut lost = self.parents_of_unreached(&reached);
        for start in 0..count {
            if reached.get(start).copied().unwrap_or(true) {
                continue;
            }
            let root = ring_member(start, &lost);
            if let Some(parent) = lost.remove(&root)
                && let Some(children) = self.children.get_mut(parent)
            {
                children.retain(|&child| child != root);
            }
            self.roots.push(root);
            self.cut.push(root);
            self.mark(vec![root], &mut reached);
        }
        self.roots.sort_unstable();
    }

    fn mark(&self, mut pending: Vec<usize>, reached: &mut [bool]) {
        while let Some(index) = pending.pop() {
            if let Some(seen) = reached.get_mut(index)
                && !std::mem::replace(seen, true)
            {
                pending.extend(self.children.get(index).into_iter().flatten());
            }
        }
    }

    fn parents_of_unreached(&self, reached: &[bool]) -> HashMap<usize, usize> {
        let mut parents = HashMap::new();
        for (parent, children) in self.children.iter().enumerate() {
            for &child in children {
                if !reached.get(child).copied().unwrap_or(true) {
                    parents.insert(child, parent);
                }
            }
        }
        parents
    }
}

/// The lowest position on the ring that the parents of `start` run into.
fn ring_member(start: usize, parents: &HashMap<usize, usize>) -> usize {
    let step = |index: usize| parents.get(&index).copied().unwrap_or(index);
    let mut passed = HashSet::from([start]);
    let mut on_ring = step(start);
    while passed.insert(on_ring) {
        on_ring = step(on_ring);
    }
    let mut lowest = on_ring;
    let mut index = step(on_ring);
    while index != on_ring {
        lowest = lowest.min(index);
        index = step(index);
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_keep_their_order_and_strangers_are_roots() {
        let forest = Forest::new(&[(1, None), (2, Some(1)), (3, Some(9)), (4, Some(1))]);
        assert_eq!(forest.roots, [0, 2]);
        assert_eq!(forest.children[0], [1, 3]);
        assert!(forest.cut.is_empty());
    }

    #[test]
    fn e25_a_ring_of_parents_is_cut_once_and_keeps_all_spans() {
        // 1 → 2 → 3 → 1, and 4 hangs below 2; 5 is its own parent.
        let spans = [
            (4, Some(2)),
            (1, Some(3)),
            (2, Some(1)),
            (3, Some(2)),
            (5, Some(5)),
        ];
        let forest = Forest::new(&spans);
        assert_eq!(forest.roots, [1, 4]);
        assert_eq!(forest.cut, [1, 4]);
        assert_eq!(forest.children[1], [2]);
        assert_eq!(forest.children[2], [0, 3]);
        assert!(forest.children[3].is_empty());
        assert!(forest.children[4].is_empty());
    }

    #[test]
    fn the_first_of_two_equal_ids_gets_the_children() {
        let forest = Forest::new(&[(1, None), (1, None), (2, Some(1))]);
        assert_eq!(forest.roots, [0, 1]);
        assert_eq!(forest.children[0], [2]);
    }

    #[test]
    fn e25_a_long_chain_does_not_overflow_the_stack() {
        let spans: Vec<(u32, Option<u32>)> =
            (0..100_000_u32).map(|id| (id, id.checked_sub(1))).collect();
        let forest = Forest::new(&spans);
        assert_eq!(forest.roots, [0]);
        let ring: Vec<(u32, Option<u32>)> = (0..100_000)
            .map(|id| (id, Some((id + 1) % 100_000)))
            .collect();
        assert_eq!(Forest::new(&ring).roots, [0]);
    }
}
