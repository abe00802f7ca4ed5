//! A tree of topic levels, with a value at each node.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::broker::jobs::work::Work;
use crate::broker::pool::Pool;
use crate::broker::secret::LevelHash;
use crate::broker::table::Table;

/// A node of a [`Trie`].
pub(super) type NodeId = u32;

/// The node that all topics begin at.
pub(super) const ROOT: NodeId = 0;

/// No node: the root is the child of no node.
pub(super) const NONE: NodeId = 0;

/// A tree of topic levels. A node without children also holds the levels that follow its own.
///
/// Nodes are found in one table for the whole tree, by a hash of all levels down to theirs, so that a node with a million
/// children is as quick as one with two. That hash is known before the node above has been looked at: in a large tree most
/// of the time goes into waiting for memory, and like this the levels of a topic are waited for all at once. It is keyed
/// with a secret, so that no client can choose topics that collide.
#[derive(Clone)]
pub(super) struct Trie<V> {
    nodes: Pool<Node<V>, 1024, 16>,
    by_path: Table,
    hash: LevelHash,
    /// The size of the texts that are on the heap, in bytes.
    long_texts: usize,
    /// The work of changes that was not [taken](Self::take_work) yet, in units.
    work: u64,
}

/// With the value of a tree of subscriptions a node fills a cache line.
#[derive(Clone)]
#[repr(align(64))]
struct Node<V> {
    parent: NodeId,
    /// The number of children.
    children: u32,
    /// The hash of the levels down to this one.
    path: Path,
    text: Text,
    value: V,
}

/// The hash of a sequence of levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path(u32);

impl Path {
    /// The path of the root.
    pub(super) const ROOT: Self = Self(0);

    /// The path with one level more. The hash of a level is as good as random, and the product makes the order count.
    #[inline]
    pub(super) fn then(self, level: Wanted<'_>) -> Self {
        let mixed = level.hash.wrapping_add(u64::from(self.0));
        Self((u128::from(mixed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as u32)
    }

    /// The hash for a table, random in its last bits and in the middle.
    #[inline]
    const fn hash(self) -> u64 {
        (self.0 as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32)
    }
}

/// The text of a level, and of the levels that follow it and that no other node shares. Nearly all texts are short.
#[derive(Clone)]
enum Text {
    Short { head: u8, len: u8, text: [u8; 21] },
    Long { head: u16, text: Box<[u8]> },
}

impl Text {
    /// A level, and the levels that follow behind a slash.
    fn new(head: &[u8], tail: Option<&[u8]>) -> Self {
        let behind = tail.map_or(0, |tail| tail.len().saturating_add(1));
        let len = head.len().saturating_add(behind);
        let mut short = [0; 21];
        if len > short.len() {
            let mut text = Vec::with_capacity(len);
            text.extend_from_slice(head);
            if let Some(tail) = tail {
                text.push(b'/');
                text.extend_from_slice(tail);
            }
            return Self::Long { head: head.len() as u16, text: text.into() };
        }
        let (to_head, rest) = short.split_at_mut(head.len());
        to_head.copy_from_slice(head);
        if let (Some(tail), Some((slash, rest))) = (tail, rest.split_first_mut()) {
            *slash = b'/';
            rest.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
        }
        Self::Short { head: head.len() as u8, len: len as u8, text: short }
    }

    /// The size on the heap, in bytes.
    const fn bytes(&self) -> usize {
        match self {
            Self::Short { .. } => 0,
            Self::Long { text, .. } => text.len(),
        }
    }

    /// The size of the levels, in bytes.
    const fn len(&self) -> usize {
        match self {
            Self::Short { len, .. } => *len as usize,
            Self::Long { text, .. } => text.len(),
        }
    }

    #[inline]
    fn head(&self) -> &[u8] {
        match self {
            Self::Short { head, text, .. } => text.get(..usize::from(*head)).unwrap_or_default(),
            Self::Long { head, text } => text.get(..usize::from(*head)).unwrap_or_default(),
        }
    }

    #[inline]
    fn tail(&self) -> Option<&[u8]> {
        let (head, text) = match self {
            Self::Short { head, len, .. } if head == len => return None,
            Self::Short { head, len, text } => (usize::from(*head), text.get(..usize::from(*len))?),
            Self::Long { head, text } => (usize::from(*head), &**text),
        };
        text.get(head.saturating_add(1)..).filter(|_| head < text.len())
    }
}

impl<V: Default> Node<V> {
    /// A node without children.
    fn new(path: Path, parent: NodeId, text: Text) -> Self {
        Self { parent, children: 0, path, text, value: V::default() }
    }
}

/// The first of some levels, and the others.
pub(super) fn split_level(levels: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = levels.splitn(2, |&byte| byte == b'/');
    (parts.next().unwrap_or_default(), parts.next())
}

/// The levels of a topic.
#[derive(Clone, Debug, Default)]
pub(super) struct Levels(Vec<LevelOf>);

/// A level of a topic: its hash, the hash of the levels down to it, and its position in the topic.
#[derive(Clone, Debug)]
struct LevelOf {
    hash: u64,
    path: Path,
    start: u32,
    len: u32,
}

impl LevelOf {
    #[inline]
    fn wanted<'t>(&self, topic: &'t [u8]) -> Wanted<'t> {
        let rest = topic.get(self.start as usize..).unwrap_or_default();
        Wanted { text: rest.get(..self.len as usize).unwrap_or_default(), hash: self.hash }
    }
}

impl Levels {
    /// The size on the heap, in bytes.
    pub(super) const fn heap(&self) -> usize {
        self.0.capacity().saturating_mul(core::mem::size_of::<LevelOf>())
    }

    /// Number of levels.
    pub(super) const fn len(&self) -> u32 {
        self.0.len() as u32
    }

    /// The part of the topic from this level on.
    pub(super) fn rest<'t>(&self, topic: &'t [u8], position: u32) -> Option<&'t [u8]> {
        topic.get(self.0.get(position as usize)?.start as usize..)
    }

    /// A level of the topic.
    pub(super) fn get<'t>(&self, topic: &'t [u8], position: u32) -> Option<Wanted<'t>> {
        self.0.get(position as usize).map(|level| level.wanted(topic))
    }
}

/// A level that is to be looked up.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'t> {
    text: &'t [u8],
    hash: u64,
}

impl<'t> Wanted<'t> {
    pub(super) const fn text(self) -> &'t [u8] {
        self.text
    }
}

impl<V: Default> Trie<V> {
    pub(super) const NODE_SIZE: usize = core::mem::size_of::<Node<V>>();

    pub(super) fn new(hash: LevelHash) -> Self {
        let mut nodes = Pool::new();
        nodes.insert(|_| Node::new(Path::ROOT, NONE, Text::new(b"", None)));
        Self { nodes, by_path: Table::new(), hash, long_texts: 0, work: 0 }
    }

    /// A level, with its hash.
    #[inline]
    pub(super) fn wanted<'t>(&self, text: &'t [u8]) -> Wanted<'t> {
        Wanted { text, hash: self.hash.hash(text) }
    }

    #[inline]
    fn node(&self, id: NodeId) -> Option<&Node<V>> {
        self.nodes.get(id)
    }

    #[inline]
    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node<V>> {
        self.nodes.get_mut(id)
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
        self.node(id).is_some_and(|node| node.children != 0)
    }

    /// The text of a node's own level.
    #[inline]
    pub(super) fn level(&self, id: NodeId) -> &[u8] {
        self.node(id).map_or(&[], |node| node.text.head())
    }

    pub(super) fn parent(&self, id: NodeId) -> NodeId {
        self.node(id).map_or(NONE, |node| node.parent)
    }

    /// The levels of a topic.
    #[inline]
    pub(super) fn read_levels(&self, topic: &[u8], levels: &mut Levels) {
        levels.0.clear();
        let (mut rest, mut start, mut path) = (Some(topic), 0_usize, Path::ROOT);
        while let Some(text) = rest {
            let len = text.iter().position(|&byte| byte == b'/').unwrap_or(text.len());
            let wanted = self.wanted(text.get(..len).unwrap_or_default());
            path = path.then(wanted);
            levels.0.push(LevelOf { hash: wanted.hash, path, start: start as u32, len: len as u32 });
            let behind = len.wrapping_add(1);
            start = start.wrapping_add(behind);
            rest = text.get(behind..);
        }
    }

    /// Finds the nodes for the first levels of a topic, from the root on, as far as they exist.
    ///
    /// A step needs from the step before only a comparison that nearly always succeeds. So the processor looks ahead, and the
    /// memory of several levels is fetched at the same time.
    #[inline]
    pub(super) fn find_along(&self, topic: &[u8], levels: &Levels, nodes: &mut Vec<(NodeId, Path)>) {
        nodes.clear();
        nodes.push((ROOT, Path::ROOT));
        let mut node = ROOT;
        for level in &levels.0 {
            let Some(child) = self.child(node, level.path, level.wanted(topic)) else { return };
            nodes.push((child, level.path));
            node = child;
        }
    }

    /// The child of a node with this level, if it exists; `path` is that of the child.
    #[inline]
    pub(super) fn child(&self, parent: NodeId, path: Path, level: Wanted<'_>) -> Option<NodeId> {
        let is_it = |id: NodeId| {
            self.node(id)
                .is_some_and(|node| node.path == path && node.parent == parent && node.text.head() == level.text)
        };
        self.by_path.find(path.hash(), is_it)
    }

    /// The child of a node with this level, if it exists, where its path is not known.
    pub(super) fn child_of(&self, parent: NodeId, level: Wanted<'_>) -> Option<NodeId> {
        let path = self.node(parent)?.path.then(level);
        self.child(parent, path, level)
    }

    /// The node at the end of these levels, if it exists.
    pub(super) fn find<'t>(&self, levels: impl Iterator<Item = &'t [u8]>) -> Option<NodeId> {
        let mut levels = levels;
        let start = (ROOT, Path::ROOT);
        let end = levels.try_fold(start, |(node, path), level| {
            let wanted = self.wanted(level);
            let path = path.then(wanted);
            self.child(node, path, wanted).map(|child| (child, path))
        });
        end.map(|(node, _)| node)
    }

    /// The levels behind a node's own that are stored in the node, because no other node shares them.
    #[inline]
    pub(super) fn tail(&self, id: NodeId) -> Option<&[u8]> {
        self.node(id)?.text.tail()
    }

    /// Writes all levels down to a node, with those stored in it; none for the root.
    pub(super) fn write_levels(&self, id: NodeId, out: &mut Vec<u8>) {
        let mut nodes = Vec::new();
        let mut at = id;
        while at != ROOT {
            nodes.push(at);
            at = self.parent(at);
        }
        for &node in nodes.iter().rev() {
            out.extend_from_slice(self.level(node));
            if let Some(tail) = self.tail(node) {
                out.push(b'/');
                out.extend_from_slice(tail);
            }
            if node != id {
                out.push(b'/');
            }
        }
    }

    /// Takes the work of the changes since the last call, in units: one for each node that was made or removed, and one for
    /// each 256 bytes of text.
    pub(super) const fn take_work(&mut self) -> u64 {
        core::mem::replace(&mut self.work, 0)
    }

    /// Counts an item of this many bytes among the changes.
    pub(super) const fn count(&mut self, bytes: usize) {
        self.work = self.work.saturating_add(Work::units_of(bytes));
    }

    /// Counts levels that were looked up for a change.
    pub(super) const fn count_levels(&mut self, levels: usize) {
        self.work = self.work.saturating_add(Work::more_units_of_text(0, levels));
    }

    /// Makes a child that does not exist yet, with the levels in `tail` stored in it; `None` if no id is left.
    pub(super) fn insert(&mut self, parent: NodeId, level: &[u8], tail: Option<&[u8]>) -> Option<NodeId> {
        self.count(level.len().saturating_add(tail.map_or(0, <[u8]>::len)));
        let path = self.node(parent)?.path.then(self.wanted(level));
        let id = self.add(Node::new(path, parent, Text::new(level, tail)))?;
        let parent = self.node_mut(parent)?;
        parent.children = parent.children.saturating_add(1);
        self.by_path.insert(path.hash(), id);
        Some(id)
    }

    /// Splits a node with several levels: new nodes for the first of them, so many as are wanted, go above it, and the first of
    /// those is returned. The lower node keeps its id, and at least its last level.
    pub(super) fn push_down(&mut self, id: NodeId, levels: usize) -> Option<NodeId> {
        let Node { path, parent, text, .. } = self.node_mut(id)?;
        let (mut path, mut parent) = (*path, *parent);
        let text = core::mem::replace(text, Text::new(b"", None));
        self.long_texts = self.long_texts.saturating_sub(text.bytes());
        self.count(text.len());
        let (mut level, mut rest) = (text.head(), text.tail());
        let mut first = None;
        for _ in 0..levels {
            let Some(behind) = rest else { break };
            let Some(upper) = self.add(Node { children: 1, ..Node::new(path, parent, Text::new(level, None)) }) else {
                break; // no id is left
            };
            self.count(level.len());
            if first.is_none() {
                first = Some(upper);
                if !self.by_path.replace(path.hash(), id, upper) {
                    bug!("each node is in the table");
                }
            } else {
                self.by_path.insert(path.hash(), upper);
            }
            (level, rest) = split_level(behind);
            path = path.then(self.wanted(level));
            parent = upper;
        }
        let lower_text = Text::new(level, rest);
        self.long_texts = self.long_texts.saturating_add(lower_text.bytes());
        let lower = self.nodes.get_mut(id)?;
        (lower.path, lower.parent, lower.text) = (path, parent, lower_text);
        if first.is_some() {
            self.by_path.insert(path.hash(), id);
        }
        first
    }

    /// Adds a node, which the table does not have yet.
    fn add(&mut self, new: Node<V>) -> Option<NodeId> {
        self.long_texts = self.long_texts.saturating_add(new.text.bytes());
        self.nodes.insert(|_| new)
    }

    /// Removes a node that has no children.
    pub(super) fn remove_leaf(&mut self, id: NodeId) {
        let Some(&Node { path, parent, children, .. }) = self.node(id) else { return bug!("a leaf is a node") };
        if id == ROOT || children != 0 {
            return bug!("a leaf has no children");
        }
        if !self.by_path.remove(path.hash(), id) {
            bug!("each node is in the table");
        }
        match self.node_mut(parent) {
            Some(parent) => parent.children = parent.children.saturating_sub(1),
            None => bug!("a node has a parent"),
        }
        if let Some(node) = self.nodes.get_mut(id) {
            let old = core::mem::replace(node, Node::new(Path::ROOT, NONE, Text::new(b"", None)));
            self.long_texts = self.long_texts.saturating_sub(old.text.bytes());
            self.count(old.text.bytes());
        }
        self.nodes.free(id, |_, _| {});
    }

    /// The size in bytes, without what the values of nodes have on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.nodes.bytes().saturating_add(self.by_path.bytes()).saturating_add(self.long_texts)
    }

    /// Number of nodes.
    pub(super) const fn len(&self) -> u32 {
        self.nodes.len()
    }

    /// A number above those of all nodes.
    pub(super) fn end(&self) -> NodeId {
        self.nodes.end()
    }

    /// All nodes that are in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = NodeId> {
        core::iter::once(ROOT).chain(self.by_path.iter())
    }
}
