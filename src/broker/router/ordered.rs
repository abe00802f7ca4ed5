//! Subscribers in the order of their sessions.

use alloc::vec::Vec;

use super::subscribers::Subscriber;
use crate::broker::index::SessionIndex;

/// Subscribers in the order of their session indices, each session once: a sorted array, and above [`FEW`] a list of chunks,
/// so that nothing long is moved because one comes or goes.
///
/// A position in this order is the index of a session. It means the same whatever was added or removed meanwhile.
#[derive(Clone)]
pub(super) struct Ordered {
    list: Chunks,
    len: u32,
    /// Number of subscribers that there is memory for.
    capacity: usize,
}

#[derive(Clone)]
enum Chunks {
    One(Vec<Subscriber>),
    /// None of them is empty.
    Several(Vec<Vec<Subscriber>>),
}

/// The length up to which there is one array.
const FEW: usize = 64;

/// The length of a chunk above which it is split.
const CHUNK: usize = 512;

/// A list of subscribers that is read.
#[derive(Clone, Copy)]
pub(super) enum OrderedList<'t> {
    One(&'t [Subscriber]),
    Several(&'t [Vec<Subscriber>], u32),
}

impl<'t> OrderedList<'t> {
    pub(super) const EMPTY: Self = Self::One(&[]);

    /// Number of subscribers.
    #[inline]
    pub(super) const fn len(self) -> usize {
        match self {
            Self::One(list) => list.len(),
            Self::Several(_, len) => len as usize,
        }
    }

    /// All subscribers, in arrays.
    #[inline]
    pub(super) fn runs(self) -> impl Iterator<Item = &'t [Subscriber]> {
        let (one, several): (&[_], &[_]) = match self {
            Self::One(list) => (list, &[]),
            Self::Several(chunks, _) => (&[], chunks),
        };
        core::iter::once(one).chain(several.iter().map(Vec::as_slice))
    }

    /// The subscribers from this session on, in arrays.
    pub(super) fn runs_from(self, session: SessionIndex) -> impl Iterator<Item = &'t [Subscriber]> {
        let (first, others): (&[_], &[_]) = match self {
            Self::One(list) => (list, &[]),
            Self::Several(chunks, _) => {
                let at = chunk_of(chunks, session);
                let (first, others) = chunks.get(at..).and_then(<[_]>::split_first).map_or((&[][..], &[][..]), |it| {
                    let (first, others) = it;
                    (&first[..], others)
                });
                (first, others)
            }
        };
        let first = first.get(first.partition_point(|it| it.session < session)..).unwrap_or_default();
        core::iter::once(first).chain(others.iter().map(Vec::as_slice)).filter(|run| !run.is_empty())
    }

    /// The first subscriber from this session on.
    pub(super) fn first_from(self, session: SessionIndex) -> Option<&'t Subscriber> {
        self.runs_from(session).next()?.first()
    }
}

/// The chunk that a session is in, or would be.
fn chunk_of(chunks: &[Vec<Subscriber>], session: SessionIndex) -> usize {
    let begins = |chunk: &Vec<Subscriber>| chunk.first().is_some_and(|first| first.session <= session);
    chunks.partition_point(begins).saturating_sub(1)
}

fn find(list: &[Subscriber], session: SessionIndex) -> Result<usize, usize> {
    list.binary_search_by_key(&session, |it| it.session)
}

impl Ordered {
    pub(super) const fn new() -> Self {
        Self { list: Chunks::One(Vec::new()), len: 0, capacity: 0 }
    }

    /// The size on the heap, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let chunks = match &self.list {
            Chunks::One(_) => 0,
            Chunks::Several(chunks) => chunks.capacity().saturating_mul(core::mem::size_of::<Vec<Subscriber>>()),
        };
        self.capacity.saturating_mul(core::mem::size_of::<Subscriber>()).saturating_add(chunks)
    }

    #[inline]
    pub(super) const fn read(&self) -> OrderedList<'_> {
        match &self.list {
            Chunks::One(list) => OrderedList::One(list.as_slice()),
            Chunks::Several(chunks) => OrderedList::Several(chunks.as_slice(), self.len),
        }
    }

    pub(super) fn get_mut(&mut self, session: SessionIndex) -> Option<&mut Subscriber> {
        let list = match &mut self.list {
            Chunks::One(list) => list,
            Chunks::Several(chunks) => {
                let at = chunk_of(chunks, session);
                chunks.get_mut(at)?
            }
        };
        let at = find(list, session).ok()?;
        list.get_mut(at)
    }

    /// Adds a subscriber whose session is not in the list.
    pub(super) fn insert(&mut self, subscriber: Subscriber) {
        self.len = self.len.saturating_add(1);
        let chunks = match &mut self.list {
            Chunks::One(list) => {
                insert(list, subscriber);
                self.capacity = list.capacity();
                if list.len() > FEW {
                    let list = core::mem::take(list);
                    self.list = Chunks::Several(alloc::vec![list]);
                }
                return;
            }
            Chunks::Several(chunks) => chunks,
        };
        let at = chunk_of(chunks, subscriber.session);
        let is_last = at.saturating_add(1) >= chunks.len();
        let Some(chunk) = chunks.get_mut(at) else { return bug!("there is a chunk for each session") };
        self.capacity = self.capacity.saturating_sub(chunk.capacity());
        if chunk.len() < CHUNK {
            insert(chunk, subscriber);
            self.capacity = self.capacity.saturating_add(chunk.capacity());
            return;
        }
        // Sessions often subscribe in the order of their indices: then the chunks become full.
        let is_behind = is_last && chunk.last().is_some_and(|last| last.session < subscriber.session);
        let mut behind = if is_behind { Vec::new() } else { chunk.split_off(CHUNK / 2) };
        let is_lower = behind.first().is_some_and(|first| subscriber.session < first.session);
        insert(if is_lower { chunk } else { &mut behind }, subscriber);
        self.capacity = self.capacity.saturating_add(chunk.capacity()).saturating_add(behind.capacity());
        chunks.insert(at.saturating_add(1).min(chunks.len()), behind);
    }

    /// Removes a subscriber.
    pub(super) fn remove(&mut self, session: SessionIndex) {
        match &mut self.list {
            Chunks::One(list) => {
                if !remove(list, session) {
                    return bug!("a subscriber is in the list that its session names");
                }
                self.capacity = list.capacity();
            }
            Chunks::Several(chunks) => {
                let at = chunk_of(chunks, session);
                // The chunks that may change: this one, and those beside it.
                let (begin, end) = (at.saturating_sub(1), at.saturating_add(2).min(chunks.len()));
                let (before, behind) = (capacity(chunks, begin, end), chunks.len().saturating_sub(end));
                if !chunks.get_mut(at).is_some_and(|chunk| remove(chunk, session)) {
                    return bug!("a subscriber is in the list that its session names");
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

/// Number of subscribers that there is memory for in these chunks.
fn capacity(chunks: &[Vec<Subscriber>], begin: usize, end: usize) -> usize {
    chunks.get(begin..end).unwrap_or_default().iter().map(Vec::capacity).fold(0, usize::saturating_add)
}

fn insert(list: &mut Vec<Subscriber>, subscriber: Subscriber) {
    match find(list, subscriber.session) {
        Ok(_) => bug!("a session is in a list once"),
        Err(at) => list.insert(at.min(list.len()), subscriber),
    }
}

/// Removes a subscriber; returns whether it was there.
fn remove(list: &mut Vec<Subscriber>, session: SessionIndex) -> bool {
    let Ok(at) = find(list, session) else { return false };
    if at < list.len() {
        list.remove(at);
    }
    if list.capacity() > 16 && list.len() < list.capacity() / 4 {
        list.shrink_to(list.len().saturating_mul(2));
    }
    true
}

/// Joins a chunk with the one before or behind it if both are short, and removes it if it is empty.
fn join(chunks: &mut Vec<Vec<Subscriber>>, at: usize) {
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

    use crate::broker::index::SessionIndex;
    use crate::broker::router::ordered::{CHUNK, Chunks, Ordered, capacity};
    use crate::broker::router::subscribers::{Subscriber, SubscriptionOptions};
    use crate::codec::QoS;
    use crate::random::Random;

    fn subscriber(session: u32, identifier: u32) -> Subscriber {
        let options = SubscriptionOptions { qos: QoS::AtMostOnce, no_local: false, retain_as_published: false };
        Subscriber { session: SessionIndex::new(session), identifier, options }
    }

    fn assert_same(list: &Ordered, model: &BTreeMap<u32, u32>, from: u32) {
        let pairs = |runs: &mut dyn Iterator<Item = &[Subscriber]>| -> Vec<_> {
            runs.flatten().map(|it| (it.session.get(), it.identifier)).collect()
        };
        let all: Vec<_> = model.iter().map(|(&session, &identifier)| (session, identifier)).collect();
        assert_eq!(pairs(&mut list.read().runs()), all);
        assert_eq!(list.read().len(), model.len());
        let behind: Vec<_> = model.range(from..).map(|(&session, &identifier)| (session, identifier)).collect();
        assert_eq!(pairs(&mut list.read().runs_from(SessionIndex::new(from))), behind);
        let capacity = match &list.list {
            Chunks::One(list) => list.capacity(),
            Chunks::Several(chunks) => capacity(chunks, 0, chunks.len()),
        };
        assert_eq!(list.capacity, capacity, "memory is counted right");
        let first = list.read().first_from(SessionIndex::new(from)).map(|it| it.session.get());
        assert_eq!(first, behind.first().map(|&(session, _)| session));
    }

    /// Random insertions and removals, growing to thousands and back, compared with a `BTreeMap`.
    #[test]
    fn subscribers_are_in_order_whatever_comes_and_goes() {
        let (mut list, mut model, mut random) = (Ordered::new(), BTreeMap::new(), Random::new(7));
        for (steps, percent_inserted) in [(200, 70), (9000, 80), (12000, 15), (500, 50)] {
            for step in 0..steps {
                let session = random.index(6000) as u32;
                if random.index(100) < percent_inserted {
                    match model.insert(session, step) {
                        None => list.insert(subscriber(session, step)),
                        Some(_) => {
                            let known = list.get_mut(SessionIndex::new(session));
                            assert!(known.map(|known| known.identifier = step).is_some(), "it is found");
                        }
                    }
                } else if model.remove(&session).is_some() {
                    list.remove(SessionIndex::new(session));
                }
                if step % 97 == 0 {
                    assert_same(&list, &model, random.index(6100) as u32);
                }
            }
            if let Chunks::Several(chunks) = &list.list {
                assert!(chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK), "chunks are bounded");
            }
        }
        for (session, _) in core::mem::take(&mut model) {
            list.remove(SessionIndex::new(session));
        }
        assert_same(&list, &model, 0);
        for session in 0..5000 {
            list.insert(subscriber(session, session));
            model.insert(session, session);
        }
        assert_same(&list, &model, 4095);
        let count = if let Chunks::Several(chunks) = &list.list { chunks.len() } else { 1 };
        assert_eq!(count, 5000_usize.div_ceil(CHUNK), "in the order of indices the chunks become full");
    }
}
