//! Sizes of collections on the heap, for accounts of memory.

use alloc::collections::VecDeque;

/// Returns about how many bytes a `BTreeMap` or `BTreeSet` takes with `len` entries of this size. The nodes of the standard
/// library have room for eleven entries, and one to two thirds of that are in use once there is more than one node.
#[allow(dead_code, reason = "for a router: see `server::routing`")]
pub(crate) const fn tree(len: usize, entry: usize) -> usize {
    /// Number of entries that a node has room for, and that it has on average.
    const ROOM: usize = 11;
    const USED: usize = 7;
    /// What a node has besides, and its share of the nodes above.
    const MORE: usize = 32;
    let nodes = if len <= ROOM { len.div_ceil(ROOM) } else { len.div_ceil(USED) };
    nodes.saturating_mul(entry.saturating_mul(ROOM).saturating_add(MORE))
}

/// Returns how many bytes a queue takes.
pub(crate) fn queue<T>(queue: &VecDeque<T>) -> usize {
    queue.capacity().saturating_mul(core::mem::size_of::<T>())
}

/// Returns how many bytes the counts of an `Arc` take.
pub(crate) const ARC: usize = 2 * core::mem::size_of::<usize>();
