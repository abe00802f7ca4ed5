//! Slots that are used again, in pieces that are given back when all their slots are free.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Slots with values, in pieces of `N` slots that never move; `W` is `N / 64`. A value keeps its index for as long as it is
/// in use. The lowest piece with room is filled first, and a piece without values is given back, so that the memory of a
/// pool follows what is in use.
///
/// The first piece alone grows, so that a small pool takes little memory.
#[derive(Clone)]
pub(super) struct Pool<T, const N: usize, const W: usize> {
    pieces: Vec<Piece<T, W>>,
    /// The pieces that have memory, and free slots.
    with_room: BTreeSet<u32>,
    /// The pieces that were given back.
    vacant: BTreeSet<u32>,
    /// A piece without values that has kept its memory, so that a value that comes and goes does not cost a piece each time.
    spare: Option<u32>,
    len: u32,
}

#[derive(Clone)]
struct Piece<T, const W: usize> {
    /// The slots that were used at least once since the piece got its memory.
    slots: Vec<T>,
    /// One bit for each slot, set while it is in use.
    used: [u64; W],
    /// Number of slots in use.
    count: u32,
}

impl<T, const W: usize> Piece<T, W> {
    const EMPTY: Self = Self { slots: Vec::new(), used: [0; W], count: 0 };

    /// The lowest free slot.
    fn first_free(&self) -> Option<usize> {
        let word = self.used.iter().position(|&word| word != u64::MAX)?;
        let bit = self.used.get(word)?.trailing_ones() as usize;
        Some(word.saturating_mul(64).saturating_add(bit))
    }

    /// The word of a slot, and its bit there.
    fn bit(&mut self, slot: usize) -> Option<(&mut u64, u64)> {
        let bit = 1_u64.checked_shl((slot % 64) as u32)?;
        self.used.get_mut(slot / 64).map(|word| (word, bit))
    }
}

impl<T, const N: usize, const W: usize> Pool<T, N, W> {
    const IS_WHOLE: () = assert!(N == W * 64 && N.is_power_of_two());

    pub(super) const fn new() -> Self {
        let () = Self::IS_WHOLE;
        Self { pieces: Vec::new(), with_room: BTreeSet::new(), vacant: BTreeSet::new(), spare: None, len: 0 }
    }

    /// Number of slots in use.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// An index above all that are in use.
    pub(super) fn end(&self) -> u32 {
        u32::try_from(self.pieces.len().saturating_mul(N)).unwrap_or(u32::MAX)
    }

    /// The size in bytes, without what the values themselves have on the heap.
    pub(super) fn bytes(&self) -> usize {
        // Each piece but the first gets its memory whole.
        let first = self.pieces.first().map_or(0, |piece| piece.slots.capacity());
        let others = self.pieces.len().saturating_sub(self.vacant.len());
        let others = others.saturating_sub(usize::from(!self.pieces.is_empty() && !self.vacant.contains(&0)));
        let slots = first.saturating_add(others.saturating_mul(N));
        let sets = self.with_room.len().saturating_add(self.vacant.len()).saturating_mul(SET_ENTRY);
        let directory = self.pieces.capacity().saturating_mul(core::mem::size_of::<Piece<T, W>>());
        slots.saturating_mul(core::mem::size_of::<T>()).saturating_add(directory).saturating_add(sets)
    }

    #[inline]
    const fn split(index: u32) -> Option<(usize, usize)> {
        match ((index as usize).checked_div(N), (index as usize).checked_rem(N)) {
            (Some(piece), Some(slot)) => Some((piece, slot)),
            _ => None,
        }
    }

    /// The slot with this index, whether or not it is in use; `None` if the pool has no such slot now.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let (piece, slot) = Self::split(index)?;
        self.pieces.get(piece)?.slots.get(slot)
    }

    /// As [`get`](Self::get).
    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (piece, slot) = Self::split(index)?;
        self.pieces.get_mut(piece)?.slots.get_mut(slot)
    }

    /// Takes a free slot into use, and returns its index; `None` if no index is left. `make` gets what was in the slot when it
    /// was last in use, unless its piece has got its memory anew.
    pub(super) fn insert(&mut self, make: impl FnOnce(Option<&T>) -> T) -> Option<u32> {
        let at = match self.with_room.first() {
            Some(&at) => at,
            None => self.add_piece()?,
        };
        let piece = self.pieces.get_mut(at as usize)?;
        let slot = piece.first_free()?;
        let value = make(piece.slots.get(slot));
        match piece.slots.get_mut(slot) {
            Some(old) => *old = value,
            None => {
                if at != 0 {
                    piece.slots.reserve_exact(N.saturating_sub(piece.slots.len()));
                }
                piece.slots.push(value);
            }
        }
        let (word, bit) = piece.bit(slot)?;
        *word |= bit;
        piece.count = piece.count.saturating_add(1);
        if piece.count as usize >= N {
            self.with_room.remove(&at);
        }
        if self.spare == Some(at) {
            self.spare = None;
        }
        self.len = self.len.saturating_add(1);
        at.checked_mul(N as u32)?.checked_add(slot as u32)
    }

    /// Gives a piece memory that has none, or adds one.
    #[cold]
    fn add_piece(&mut self) -> Option<u32> {
        let at = match self.vacant.pop_first() {
            Some(at) => at,
            None => {
                let at = u32::try_from(self.pieces.len()).ok()?;
                at.checked_add(1)?.checked_mul(N as u32)?;
                self.pieces.push(Piece::EMPTY);
                at
            }
        };
        self.with_room.insert(at);
        Some(at)
    }

    /// A slot is not in use any more. The last value of a piece goes with it: `forget` sees all of its slots then, before the
    /// memory is given back.
    pub(super) fn free(&mut self, index: u32, forget: impl FnOnce(u32, &[T])) {
        let split = Self::split(index);
        let Some((at, slot)) = split else { return bug!("a pool has a piece size") };
        let Some(piece) = self.pieces.get_mut(at) else { return bug!("a slot in use has a piece") };
        match piece.bit(slot) {
            Some((word, bit)) if *word & bit != 0 => *word &= !bit,
            _ => return bug!("a slot is freed once"),
        }
        let was_full = piece.count as usize >= N;
        piece.count = piece.count.saturating_sub(1);
        self.len = self.len.saturating_sub(1);
        let (count, at) = (piece.count, at as u32);
        if was_full {
            self.with_room.insert(at);
        }
        if count == 0 {
            match self.spare {
                None => self.spare = Some(at),
                Some(_) => {
                    if let Some(piece) = self.pieces.get_mut(at as usize) {
                        forget(at, &piece.slots);
                        piece.slots = Vec::new();
                    }
                    self.with_room.remove(&at);
                    self.vacant.insert(at);
                }
            }
        }
    }

    /// The piece of a slot.
    #[inline]
    pub(super) const fn piece_of(index: u32) -> Option<u32> {
        index.checked_div(N as u32)
    }

    /// The slots in use, with their indices.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.pieces.iter().zip(0_u32..).flat_map(|(piece, at)| {
            let slots = piece.slots.iter().zip(0_u32..);
            slots.filter_map(move |(value, slot)| {
                let is_used = piece.used.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 != 0);
                is_used.then(|| (at.saturating_mul(N as u32).saturating_add(slot), value))
            })
        })
    }
}

/// The size of an entry in a set of pieces, in bytes, about.
const SET_ENTRY: usize = 16;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in numbers that are here
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;
    use crate::random::Random;

    /// Random insertions and removals, growing and shrinking, compared with a map.
    #[test]
    fn values_stay_where_they_are_and_memory_follows_use() {
        let (mut pool, mut model, mut random) = (Pool::<u64, 64, 1>::new(), BTreeMap::new(), Random::new(3));
        for (steps, percent) in [(5_000, 70), (6_000, 20), (3_000, 60), (9_000, 10)] {
            for step in 0..steps {
                if random.index(100) < percent {
                    let index = pool.insert(|_| step).unwrap_or(u32::MAX);
                    assert_eq!(model.insert(index, step), None, "the slot was free");
                } else if !model.is_empty() {
                    let at = random.index(model.len());
                    let Some((&index, _)) = model.iter().nth(at) else { continue };
                    model.remove(&index);
                    pool.free(index, |_, _| {});
                }
            }
            assert!(pool.iter().map(|(index, &value)| (index, value)).eq(model.iter().map(|(&i, &v)| (i, v))));
            assert!(model.iter().all(|(&index, value)| pool.get(index) == Some(value)));
            assert_eq!(pool.len() as usize, model.len());
            let allocated: usize = pool.pieces.iter().map(|piece| piece.slots.capacity()).sum();
            let sets = (pool.with_room.len() + pool.vacant.len()) * SET_ENTRY;
            let directory = pool.pieces.capacity() * core::mem::size_of::<Piece<u64, 1>>();
            assert_eq!(pool.bytes(), allocated * 8 + directory + sets, "memory is counted right");
        }
        for index in model.into_keys() {
            pool.free(index, |_, _| {});
        }
        let allocated = pool.pieces.iter().filter(|piece| piece.slots.capacity() != 0).count();
        assert_eq!((pool.len(), allocated), (0, 1), "one piece is spare");
    }

    #[test]
    fn a_small_pool_is_small() {
        let mut pool = Pool::<u64, 256, 4>::new();
        pool.insert(|_| 7);
        assert!(pool.bytes() <= 4 * 64 + 4 * 8 + SET_ENTRY, "{} bytes", pool.bytes());
    }
}
