//! A tree of topic levels, with a value at each node.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// A node of a [`Trie`].
pub(super) type NodeId = u32;

/// The node that all topics begin at.
pub(super) const ROOT: NodeId = 0;

/// No node: the root is nobody's child.
pub(super) const NONE: NodeId = 0;

/// A tree of topic levels.
///
/// Children are found in one table for the whole tree, by parent and level, so that a node with a million children is as
/// quick as one with two. The hash depends on a seed, so that nobody can choose topics that collide.
#[derive(Clone)]
pub(super) struct Trie<V> {
    nodes: Vec<Node<V>>,
    by_parent_and_level: HashTable<NodeId>,
    hasher: FixedState,
    /// The node that was freed last, the first of a list by `next`.
    free: NodeId,
}

/// With the value of a tree of subscriptions it fills a cache line.
#[derive(Clone)]
#[repr(align(8))]
struct Node<V> {
    value: V,
    parent: NodeId,
    first_child: NodeId,
    /// Its siblings.
    next: NodeId,
    previous: NodeId,
    level: Level,
}

/// The text of a level; nearly all are short.
#[derive(Clone)]
enum Level {
    Short(u8, [u8; 22]),
    Long(Box<[u8]>),
}

impl Level {
    fn new(text: &[u8]) -> Self {
        let mut short = [0; 22];
        match short.get_mut(..text.len()) {
            Some(start) => {
                start.copy_from_slice(text);
                Self::Short(text.len() as u8, short)
            }
            None => Self::Long(text.into()),
        }
    }

    #[inline]
    fn text(&self) -> &[u8] {
        match self {
            Self::Short(len, text) => text.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(text) => text,
        }
    }
}

/// A level that is looked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'t> {
    text: &'t [u8],
    hash: u64,
}

/// The hash of a child: the one of its level is as good as random, and the product spreads what makes it this parent's.
#[inline]
fn child_hash(parent: NodeId, level: u64) -> u64 {
    let product = u128::from(level ^ u64::from(parent)).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    (product >> 64) as u64 ^ product as u64
}

impl<V: Default> Trie<V> {
    pub(super) fn new(seed: u64) -> Self {
        let root = Node {
            value: V::default(),
            parent: NONE,
            first_child: NONE,
            next: NONE,
            previous: NONE,
            level: Level::new(b""),
        };
        Self {
            nodes: alloc::vec![root],
            by_parent_and_level: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            free: NONE,
        }
    }

    /// A level, with its hash.
    #[inline]
    pub(super) fn wanted<'t>(&self, text: &'t [u8]) -> Wanted<'t> {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(text);
        Wanted { text, hash: hasher.finish() }
    }

    #[inline]
    fn node(&self, id: NodeId) -> Option<&Node<V>> {
        self.nodes.get(id as usize)
    }

    #[inline]
    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node<V>> {
        self.nodes.get_mut(id as usize)
    }

    #[inline]
    pub(super) fn value(&self, id: NodeId) -> Option<&V> {
        self.node(id).map(|node| &node.value)
    }

    #[inline]
    pub(super) fn value_mut(&mut self, id: NodeId) -> Option<&mut V> {
        self.node_mut(id).map(|node| &mut node.value)
    }

    #[inline]
    pub(super) fn has_children(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(|node| node.first_child != NONE)
    }

    /// The text of a node's own level.
    #[inline]
    pub(super) fn level(&self, id: NodeId) -> &[u8] {
        self.node(id).map_or(&[], |node| node.level.text())
    }

    pub(super) fn parent(&self, id: NodeId) -> NodeId {
        self.node(id).map_or(NONE, |node| node.parent)
    }

    /// The child with this level, if there is one.
    #[inline]
    pub(super) fn child(&self, parent: NodeId, level: Wanted<'_>) -> Option<NodeId> {
        let is_it =
            |&id: &NodeId| self.node(id).is_some_and(|node| node.parent == parent && node.level.text() == level.text);
        self.by_parent_and_level.find(child_hash(parent, level.hash), is_it).copied()
    }

    /// The node at the end of these levels, if there is one.
    pub(super) fn find<'t>(&self, levels: impl Iterator<Item = &'t [u8]>) -> Option<NodeId> {
        let mut levels = levels;
        levels.try_fold(ROOT, |node, level| self.child(node, self.wanted(level)))
    }

    /// The child with this level, which is made if there is none; `None` if there is no number left for it.
    pub(super) fn child_or_insert(&mut self, parent: NodeId, text: &[u8]) -> Option<NodeId> {
        let wanted = self.wanted(text);
        if let Some(child) = self.child(parent, wanted) {
            return Some(child);
        }
        let next = self.node(parent)?.first_child;
        let new =
            Node { value: V::default(), parent, first_child: NONE, next, previous: NONE, level: Level::new(text) };
        let id = if self.free == NONE {
            let id = NodeId::try_from(self.nodes.len()).ok()?;
            self.nodes.push(new);
            id
        } else {
            let id = self.free;
            let node = self.node_mut(id)?;
            let next_free = core::mem::replace(node, new).next;
            self.free = next_free;
            id
        };
        if next != NONE
            && let Some(sibling) = self.node_mut(next)
        {
            sibling.previous = id;
        }
        self.node_mut(parent)?.first_child = id;
        let Self { nodes, by_parent_and_level, hasher, .. } = self;
        by_parent_and_level.insert_unique(child_hash(parent, wanted.hash), id, |&id| {
            let Some(node) = nodes.get(id as usize) else { return 0 };
            let mut state = hasher.build_hasher();
            state.write(node.level.text());
            child_hash(node.parent, state.finish())
        });
        Some(id)
    }

    /// Takes away a node that has no children.
    pub(super) fn remove_leaf(&mut self, id: NodeId) {
        let Some(node) = self.node(id) else { return };
        if id == ROOT || node.first_child != NONE {
            return;
        }
        let hash = child_hash(node.parent, self.wanted(node.level.text()).hash);
        let (parent, next, previous) = (node.parent, node.next, node.previous);
        if let Ok(entry) = self.by_parent_and_level.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        if next != NONE
            && let Some(sibling) = self.node_mut(next)
        {
            sibling.previous = previous;
        }
        let before = if previous == NONE {
            self.node_mut(parent).map(|parent| &mut parent.first_child)
        } else {
            self.node_mut(previous).map(|sibling| &mut sibling.next)
        };
        if let Some(before) = before {
            *before = next;
        }
        let free = core::mem::replace(&mut self.free, id);
        if let Some(node) = self.node_mut(id) {
            *node = Node {
                value: V::default(),
                parent: NONE,
                first_child: NONE,
                next: free,
                previous: NONE,
                level: Level::new(b""),
            };
        }
    }

    /// All nodes that are in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = NodeId> {
        core::iter::once(ROOT).chain(self.by_parent_and_level.iter().copied())
    }

    /// The first child, and by [`next_sibling`](Self::next_sibling) the others; [`NONE`] at the end.
    pub(super) fn first_child(&self, id: NodeId) -> NodeId {
        self.node(id).map_or(NONE, |node| node.first_child)
    }

    pub(super) fn next_sibling(&self, id: NodeId) -> NodeId {
        self.node(id).map_or(NONE, |node| node.next)
    }
}
