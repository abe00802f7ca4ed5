//! Long sorted lists that change: subscribers, and groups.

use alloc::vec::Vec;

/// What is in a sorted list.
pub(super) trait Item: Copy {
    /// What the list is sorted by.
    type Key: Copy + Ord;

    fn key(&self) -> Self::Key;
}

/// Items in the order of their keys, each key once: a sorted array, and above [`FEW`] a list of chunks, so that nothing long is
/// moved because one comes or goes.
///
/// A position in this order is a key. It means the same whatever was added or removed meanwhile.
#[derive(Clone)]
pub(super) struct Ordered<T> {
    list: Chunks<T>,
    len: u32,
    /// Number of items that there is memory for.
    capacity: usize,
}

#[derive(Clone)]
enum Chunks<T> {
    One(Vec<T>),
    /// None of them is empty.
    Several(Vec<Vec<T>>),
}

/// The length up to which there is one array.
const FEW: usize = 64;

/// The length of a chunk above which it is split.
const CHUNK: usize = 512;

/// A sorted list that is read.
#[derive(Clone, Copy)]
pub(super) enum OrderedList<'t, T> {
    One(&'t [T]),
    Several(&'t [Vec<T>], u32),
}

impl<'t, T: Item> OrderedList<'t, T> {
    pub(super) const EMPTY: Self = Self::One(&[]);

    /// Number of items.
    #[inline]
    pub(super) const fn len(self) -> usize {
        match self {
            Self::One(list) => list.len(),
            Self::Several(_, len) => len as usize,
        }
    }

    /// All items, in arrays.
    #[inline]
    pub(super) fn runs(self) -> impl Iterator<Item = &'t [T]> {
        let (one, several): (&[_], &[_]) = match self {
            Self::One(list) => (list, &[]),
            Self::Several(chunks, _) => (&[], chunks),
        };
        core::iter::once(one).chain(several.iter().map(Vec::as_slice))
    }

    /// The items from this key on, in arrays.
    pub(super) fn runs_from(self, key: T::Key) -> impl Iterator<Item = &'t [T]> {
        let (first, others): (&[_], &[_]) = match self {
            Self::One(list) => (list, &[]),
            Self::Several(chunks, _) => {
                let at = chunk_of(chunks, key);
                let (first, others) = chunks.get(at..).and_then(<[_]>::split_first).map_or((&[][..], &[][..]), |it| {
                    let (first, others) = it;
                    (&first[..], others)
                });
                (first, others)
            }
        };
        let first = first.get(first.partition_point(|it| it.key() < key)..).unwrap_or_default();
        core::iter::once(first).chain(others.iter().map(Vec::as_slice)).filter(|run| !run.is_empty())
    }

    /// The first item from this key on.
    pub(super) fn first_from(self, key: T::Key) -> Option<&'t T> {
        self.runs_from(key).next()?.first()
    }

    /// The first item behind this key, or the first one of all.
    pub(super) fn first_behind(self, key: Option<T::Key>) -> Option<&'t T> {
        let Some(key) = key else { return self.runs().flatten().next() };
        self.runs_from(key).flatten().find(|it| it.key() != key)
    }
}

/// The chunk that a key is in, or would be.
fn chunk_of<T: Item>(chunks: &[Vec<T>], key: T::Key) -> usize {
    let begins = |chunk: &Vec<T>| chunk.first().is_some_and(|first| first.key() <= key);
    chunks.partition_point(begins).saturating_sub(1)
}

fn find<T: Item>(list: &[T], key: T::Key) -> Result<usize, usize> {
    list.binary_search_by_key(&key, T::key)
}

impl<T: Item> Ordered<T> {
    pub(super) const fn new() -> Self {
        Self { list: Chunks::One(Vec::new()), len: 0, capacity: 0 }
    }

    /// The size on the heap, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let chunks = match &self.list {
            Chunks::One(_) => 0,
            Chunks::Several(chunks) => chunks.capacity().saturating_mul(core::mem::size_of::<Vec<T>>()),
        };
        self.capacity.saturating_mul(core::mem::size_of::<T>()).saturating_add(chunks)
    }

    #[inline]
    pub(super) const fn read(&self) -> OrderedList<'_, T> {
        match &self.list {
            Chunks::One(list) => OrderedList::One(list.as_slice()),
            Chunks::Several(chunks) => OrderedList::Several(chunks.as_slice(), self.len),
        }
    }

    pub(super) fn get_mut(&mut self, key: T::Key) -> Option<&mut T> {
        let list = match &mut self.list {
            Chunks::One(list) => list,
            Chunks::Several(chunks) => {
                let at = chunk_of(chunks, key);
                chunks.get_mut(at)?
            }
        };
        let at = find(list, key).ok()?;
        list.get_mut(at)
    }

    /// Adds an item whose key is not in the list.
    pub(super) fn insert(&mut self, item: T) {
        self.len = self.len.saturating_add(1);
        let chunks = match &mut self.list {
            Chunks::One(list) => {
                insert(list, item);
                self.capacity = list.capacity();
                if list.len() > FEW {
                    let list = core::mem::take(list);
                    self.list = Chunks::Several(alloc::vec![list]);
                }
                return;
            }
            Chunks::Several(chunks) => chunks,
        };
        let at = chunk_of(chunks, item.key());
        let is_last = at.saturating_add(1) >= chunks.len();
        let Some(chunk) = chunks.get_mut(at) else { return bug!("there is a chunk for each key") };
        self.capacity = self.capacity.saturating_sub(chunk.capacity());
        if chunk.len() < CHUNK {
            insert(chunk, item);
            self.capacity = self.capacity.saturating_add(chunk.capacity());
            return;
        }
        // Items often come in the order of their keys: then the chunks become full.
        let is_behind = is_last && chunk.last().is_some_and(|last| last.key() < item.key());
        let mut behind = if is_behind { Vec::new() } else { chunk.split_off(CHUNK / 2) };
        let is_lower = behind.first().is_some_and(|first| item.key() < first.key());
        insert(if is_lower { chunk } else { &mut behind }, item);
        self.capacity = self.capacity.saturating_add(chunk.capacity()).saturating_add(behind.capacity());
        chunks.insert(at.saturating_add(1).min(chunks.len()), behind);
    }

    /// Removes an item.
    pub(super) fn remove(&mut self, key: T::Key) {
        match &mut self.list {
            Chunks::One(list) => {
                if !remove(list, key) {
                    return bug!("an item is in the list that it is said to be in");
                }
                self.capacity = list.capacity();
            }
            Chunks::Several(chunks) => {
                let at = chunk_of(chunks, key);
                // The chunks that may change: this one, and those beside it.
                let (begin, end) = (at.saturating_sub(1), at.saturating_add(2).min(chunks.len()));
                let (before, behind) = (capacity(chunks, begin, end), chunks.len().saturating_sub(end));
                if !chunks.get_mut(at).is_some_and(|chunk| remove(chunk, key)) {
                    return bug!("an item is in the list that it is said to be in");
                }
                join(chunks, at);
                let after = capacity(chunks, begin, chunks.len().saturating_sub(behind));
                self.capacity = self.capacity.saturating_sub(before).saturating_add(after);
            }
        }
        self.len = self.len.saturating_sub(1);
        if let Chunks::Several(chunks) = &mut self.list
            && self.len as usize <= FEW / 2
        {
            let list: Vec<_> = core::mem::take(chunks).into_iter().flatten().collect();
            self.capacity = list.capacity();
            self.list = Chunks::One(list);
        }
    }
}

/// Number of items that there is memory for in these chunks.
fn capacity<T>(chunks: &[Vec<T>], begin: usize, end: usize) -> usize {
    chunks.get(begin..end).unwrap_or_default().iter().map(Vec::capacity).fold(0, usize::saturating_add)
}

fn insert<T: Item>(list: &mut Vec<T>, item: T) {
    match find(list, item.key()) {
        Ok(_) => bug!("a key is in a list once"),
        Err(at) => list.insert(at.min(list.len()), item),
    }
}

/// Removes an item; returns whether it was there.
fn remove<T: Item>(list: &mut Vec<T>, key: T::Key) -> bool {
    let Ok(at) = find(list, key) else { return false };
    if at < list.len() {
        list.remove(at);
    }
    if list.capacity() > 16 && list.len() < list.capacity() / 4 {
        list.shrink_to(list.len().saturating_mul(2));
    }
    true
}

/// Joins a chunk with the one before or behind it if both are short, and removes it if it is empty.
fn join<T>(chunks: &mut Vec<Vec<T>>, at: usize) {
    /// Chunks below this length are joined.
    const SHORT: usize = CHUNK / 4;
    let len_of = |at: usize| chunks.get(at).map_or(usize::MAX, Vec::len);
    if len_of(at) >= SHORT {
        return;
    }
    let behind = at.saturating_add(1);
    let (lower, upper) = if len_of(behind) < SHORT {
        (at, behind)
    } else if at > 0 && len_of(at.saturating_sub(1)) < SHORT {
        (at.saturating_sub(1), at)
    } else {
        if len_of(at) == 0 {
            chunks.remove(at);
        }
        return;
    };
    let mut moved = chunks.remove(upper);
    if let Some(lower) = chunks.get_mut(lower) {
        lower.append(&mut moved);
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in numbers that are here
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    use crate::broker::router::ordered::{CHUNK, Chunks, Item, Ordered, capacity};
    use crate::random::Random;

    #[derive(Clone, Copy)]
    struct Pair {
        key: u32,
        value: u32,
    }

    impl Item for Pair {
        type Key = u32;

        fn key(&self) -> u32 {
            self.key
        }
    }

    fn assert_same(list: &Ordered<Pair>, model: &BTreeMap<u32, u32>, from: u32) {
        let pairs = |runs: &mut dyn Iterator<Item = &[Pair]>| -> Vec<_> {
            runs.flatten().map(|it| (it.key, it.value)).collect()
        };
        let all: Vec<_> = model.iter().map(|(&key, &value)| (key, value)).collect();
        assert_eq!(pairs(&mut list.read().runs()), all);
        assert_eq!(list.read().len(), model.len());
        let behind: Vec<_> = model.range(from..).map(|(&key, &value)| (key, value)).collect();
        assert_eq!(pairs(&mut list.read().runs_from(from)), behind);
        let capacity = match &list.list {
            Chunks::One(list) => list.capacity(),
            Chunks::Several(chunks) => capacity(chunks, 0, chunks.len()),
        };
        assert_eq!(list.capacity, capacity, "memory is counted right");
        let first = list.read().first_from(from).map(|it| it.key);
        assert_eq!(first, behind.first().map(|&(key, _)| key));
        let next = list.read().first_behind(Some(from)).map(|it| it.key);
        assert_eq!(next, behind.iter().map(|&(key, _)| key).find(|&key| key != from));
        assert_eq!(list.read().first_behind(None).map(|it| it.key), model.keys().next().copied());
    }

    /// Random insertions and removals, growing to thousands and back, compared with a `BTreeMap`.
    #[test]
    fn items_are_in_order_whatever_comes_and_goes() {
        let (mut list, mut model, mut random) = (Ordered::new(), BTreeMap::new(), Random::new(7));
        for (steps, percent_inserted) in [(200, 70), (9000, 80), (12000, 15), (500, 50)] {
            for step in 0..steps {
                let key = random.index(6000) as u32;
                if random.index(100) < percent_inserted {
                    match model.insert(key, step) {
                        None => list.insert(Pair { key, value: step }),
                        Some(_) => {
                            let known = list.get_mut(key);
                            assert!(known.map(|known| known.value = step).is_some(), "it is found");
                        }
                    }
                } else if model.remove(&key).is_some() {
                    list.remove(key);
                }
                if step % 97 == 0 {
                    assert_same(&list, &model, random.index(6100) as u32);
                }
            }
            if let Chunks::Several(chunks) = &list.list {
                assert!(chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK), "chunks are bounded");
            }
        }
        for (key, _) in core::mem::take(&mut model) {
            list.remove(key);
        }
        assert_same(&list, &model, 0);
        for key in 0..5000 {
            list.insert(Pair { key, value: key });
            model.insert(key, key);
        }
        assert_same(&list, &model, 4095);
        let count = if let Chunks::Several(chunks) = &list.list { chunks.len() } else { 1 };
        assert_eq!(count, 5000_usize.div_ceil(CHUNK), "in the order of indices the chunks become full");
    }
}
