//! The filters that match a topic, found in steps (section 4.7).

use alloc::vec::Vec;

use super::list_id::ListId;
use super::tree::{Entry, Fit, Matches, Tree, fit};
use super::trie::{Levels, NONE, NodeId, Path, ROOT, Trie};
use crate::broker::jobs::work::Work;
use crate::topic::TopicName;

/// Buffers of a search, reused to avoid allocations.
#[derive(Clone, Default)]
pub(super) struct Search {
    levels: Levels,
    /// The nodes whose levels are those of the topic, without any wildcard, from the root on.
    literal: Vec<(NodeId, Path)>,
    /// Nodes that are still to be visited, the next one last, with how many levels of the topic they stand for.
    branches: Vec<(NodeId, Path, u32)>,
}

/// Where a search goes on: behind the filter that was visited last. Filters are visited in a fixed order, each before those
/// that begin with it, and the level of the topic itself before `+`. A filter is named by its choice for each level, not by
/// its node: whatever was added to the tree or removed from it, the search meets each filter that stays once.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    /// For each level whether it is `+`, and not the level of the topic.
    choices: Vec<bool>,
    /// Whether all filters that begin with these levels were visited too.
    is_past_longer: bool,
}

impl Cursor {
    /// The size on the heap, in bytes.
    pub(super) const fn heap(&self) -> usize {
        self.choices.capacity()
    }
}

/// The bytes of a topic from which on they and their levels are counted: nearly all topics are shorter.
const LONG: usize = 64;

impl Search {
    /// Finds the filters that match a topic, from a position on, without recursion. No node is visited twice, so there are
    /// never more steps than there are filters, whatever the topic is. Returns where to go on if the budget is used up; at
    /// least one node is visited.
    pub(super) fn run(
        &mut self,
        tree: &Tree,
        topic: TopicName<'_>,
        from: Option<&Cursor>,
        work: &mut Work,
        found: &mut Matches,
    ) -> Option<Cursor> {
        let (trie, Self { levels, literal, branches }) = (tree.trie(), self);
        found.clear();
        branches.clear();
        trie.read_levels(topic.as_bytes(), levels);
        let is_long = topic.as_bytes().len() >= LONG;
        if is_long {
            work.spend(Work::more_units_of_text(topic.as_bytes().len(), levels.len() as usize));
        }
        // A wildcard in the first level does not stand for what begins with `$` [MQTT-4.7.2-1].
        let is_hidden = topic.as_bytes().first() == Some(&b'$');
        // Returns the bytes that are compared with those of a long topic.
        let mut visit = |node: NodeId, path: Path, depth: u32, branches: &mut Vec<_>| {
            let Some(entry) = trie.value(node) else {
                bug!("a node that was found exists");
                return 0;
            };
            let is_passed = !entry.has_multi_level() && !entry.has_own() && entry.plus() == NONE; // most of them
            if is_passed || (is_hidden && depth == 0) {
                return 0;
            }
            let (tail, rest) = (trie.tail(node), levels.rest(topic.as_bytes(), depth));
            let fit = fit(tail, rest);
            // `a/#` stands for `a` too (section 4.7.1.2).
            if fit != Fit::No && entry.has_multi_level() {
                found.push(ListId::of_node(node, true));
            }
            if fit == Fit::Whole && entry.has_own() {
                found.push(ListId::of_node(node, false));
            }
            if fit == Fit::Beginning && entry.plus() != NONE {
                branches.push((entry.plus(), path.then(trie.wanted(b"+")), depth.saturating_add(1)));
            }
            if is_long { tail.map_or(0, <[u8]>::len).min(rest.map_or(0, <[u8]>::len)) } else { 0 }
        };
        match from {
            Some(cursor) => {
                work.spend(cursor.choices.len() as u64);
                resume(trie, topic, levels, cursor, is_hidden, branches);
            }
            None => {
                trie.find_along(topic.as_bytes(), levels, literal);
                // One at least, and all of them most of the time.
                let count = usize::try_from(work.left()).unwrap_or(usize::MAX).clamp(1, literal.len().max(1));
                let mut compared = 0;
                for (&(node, path), depth) in literal.iter().take(count).zip(0..) {
                    compared = visit(node, path, depth, branches); // only the last one has levels behind its own
                }
                work.spend_each(count as u64, 1);
                if is_long {
                    work.spend_more_bytes(compared);
                }
                if work.is_spent()
                    && (count < literal.len() || !branches.is_empty())
                    && let Some(&(last, _)) = literal.get(count.wrapping_sub(1))
                {
                    return Some(Cursor::behind(trie, last));
                }
            }
        }
        let (mut count, left) = (0_u64, work.left());
        while let Some((node, path, depth)) = branches.pop() {
            let mut compared = visit(node, path, depth, branches);
            if trie.tail(node).is_none()
                && let Some(level) = levels.get(topic.as_bytes(), depth)
            {
                let path = path.then(level);
                if let Some(child) = trie.child(node, path, level) {
                    compared = level.text().len();
                    branches.push((child, path, depth.saturating_add(1)));
                }
            }
            count = count.wrapping_add(Work::units_of(compared));
            if count >= left && !branches.is_empty() {
                work.spend_each(count, 1);
                return Some(Cursor::behind(trie, node));
            }
        }
        work.spend_each(count, 1);
        None
    }
}

/// Finds the nodes that are to be visited behind a cursor: on the way down to it those for `+`, where it goes on with the
/// level of the topic.
fn resume(
    trie: &Trie<Entry>,
    topic: TopicName<'_>,
    levels: &Levels,
    cursor: &Cursor,
    is_hidden: bool,
    branches: &mut Vec<(NodeId, Path, u32)>,
) {
    let plus = trie.wanted(b"+");
    let (mut node, mut path, mut depth) = (ROOT, Path::ROOT, 0_u32);
    let below = |node: NodeId, path: Path, depth: u32| {
        let child = trie.value(node).map_or(NONE, Entry::plus);
        let is_there = child != NONE && !(is_hidden && depth == 0) && trie.tail(node).is_none();
        // A topic without more levels has none for `+`.
        let is_there = is_there && levels.get(topic.as_bytes(), depth).is_some();
        is_there.then_some((child, path.then(plus), depth.saturating_add(1)))
    };
    let literal = |node: NodeId, path: Path, depth: u32| {
        if trie.tail(node).is_some() {
            return None;
        }
        let level = levels.get(topic.as_bytes(), depth)?;
        let path = path.then(level);
        Some((trie.child(node, path, level)?, path, depth.saturating_add(1)))
    };
    for &is_plus in &cursor.choices {
        let behind = below(node, path, depth);
        let next = if is_plus {
            behind
        } else {
            branches.extend(behind);
            literal(node, path, depth)
        };
        match next {
            Some(next) => (node, path, depth) = next,
            // The filters that began like this are gone; new ones need not be met.
            None => return,
        }
    }
    if !cursor.is_past_longer {
        branches.extend(below(node, path, depth));
        branches.extend(literal(node, path, depth));
    }
}

impl Cursor {
    /// Behind the filters at a node.
    fn behind(trie: &Trie<Entry>, node: NodeId) -> Self {
        let mut choices = Vec::new();
        let mut at = node;
        while at != ROOT {
            choices.push(trie.level(at) == b"+");
            at = trie.parent(at);
        }
        choices.reverse();
        // Where a node has several levels, no other filter begins with the first of them.
        Self { choices, is_past_longer: trie.tail(node).is_some() }
    }
}
