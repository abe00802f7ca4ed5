//! Names of lists of subscribers.

use super::ordered::Item;
use super::trie::NodeId;

/// A list of subscribers: those of a filter, or the members of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::broker) struct ListId(u32);

/// The index of a group in the tree of subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupIndex(u32);

/// Set for a group: the other bits are its index.
const GROUP: u32 = 1 << 31;
/// Set for a filter that ends with `#` below the node.
const HASH: u32 = 1 << 30;

/// The highest number of a group: the mark of a message needs three of 32 bits for other things.
pub(in crate::broker) const MAX_GROUP_NUMBER: u32 = u32::MAX >> 3;

impl ListId {
    /// The number of nodes that can be named.
    pub(super) const MAX_NODES: u32 = HASH;

    /// The list of the filter that ends at a node, or of the filter that goes on from there with `#`.
    pub(super) const fn of_node(node: NodeId, is_multi_level: bool) -> Self {
        Self(if is_multi_level { node | HASH } else { node })
    }

    pub(super) const fn of_group(group: GroupIndex) -> Self {
        Self(group.0 | GROUP)
    }

    /// The node, of a list that is not that of a group.
    pub(super) const fn node(self) -> NodeId {
        self.0 & !HASH
    }

    /// Whether the filter ends with `#` below the node.
    pub(super) const fn is_multi_level(self) -> bool {
        self.0 & HASH != 0
    }

    pub(super) const fn group(self) -> Option<GroupIndex> {
        if self.is_shared() { Some(GroupIndex(self.0 & !GROUP)) } else { None }
    }

    /// Whether the list is that of a group.
    pub(in crate::broker) const fn is_shared(self) -> bool {
        self.0 & GROUP != 0
    }

    /// A number that no other list has: lists are in the order of their numbers.
    pub(in crate::broker) const fn number(self) -> u32 {
        self.0
    }
}

impl Item for GroupIndex {
    type Key = Self;

    fn key(&self) -> Self {
        *self
    }
}

impl GroupIndex {
    pub(super) const fn new(index: u32) -> Self {
        Self(index)
    }

    pub(super) const fn get(self) -> u32 {
        self.0
    }
}
