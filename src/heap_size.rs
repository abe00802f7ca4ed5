//! Sizes of collections on the heap, for accounts of memory.

use alloc::collections::VecDeque;

/// Returns about how many bytes a `BTreeMap` or `BTreeSet` takes with `len` entries of this size. The nodes of the standard
/// library have room for eleven entries, and one to two thirds of that are in use once there is more than one node.
#[allow(dead_code, reason = "for a router: see `server::routing`")]
pub(crate) const fn tree(len: usize, entry: usize) -> usize {
    /// Number of entries that a node has room for, and that it has on average if there are several.
    const ROOM: usize = 11;
    const USED: usize = 7;
    /// What a node has besides entries, and what one has that is not a leaf.
    const MORE: usize = 16;
    const CHILDREN: usize = (ROOM + 1) * size_of::<usize>();
    let node = entry.saturating_mul(ROOM).saturating_add(MORE);
    if len <= ROOM {
        return if len == 0 { 0 } else { node };
    }
    // The nodes above the leaves are fewer from level to level.
    let above = node.saturating_add(CHILDREN).div_ceil(USED.saturating_sub(1));
    len.div_ceil(USED).saturating_mul(node.saturating_add(above))
}

/// Returns how many bytes a queue takes.
pub(crate) fn queue<T>(queue: &VecDeque<T>) -> usize {
    queue.capacity().saturating_mul(core::mem::size_of::<T>())
}

/// Returns how many bytes the counts of an `Arc` take.
pub(crate) const ARC: usize = 2 * core::mem::size_of::<usize>();
