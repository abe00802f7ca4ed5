//! An array that grows without moving what it holds.

use alloc::vec::Vec;

/// An array in pieces of `N` values, which never move. The first piece alone grows, so that a short array takes little
/// memory.
#[derive(Clone)]
pub(super) struct Pieces<T, const N: usize> {
    /// Each is full but for the last.
    pieces: Vec<Vec<T>>,
    len: u32,
    /// Number of values that there is memory for.
    capacity: u32,
}

impl<T, const N: usize> Pieces<T, N> {
    const IS_POWER_OF_TWO: () = assert!(N.is_power_of_two());

    pub(super) const fn new() -> Self {
        let () = Self::IS_POWER_OF_TWO;
        Self { pieces: Vec::new(), len: 0, capacity: 0 }
    }

    /// Number of values.
    #[inline]
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// The size in bytes, without what the values themselves have on the heap.
    pub(super) fn bytes(&self) -> usize {
        let directory = self.pieces.capacity().saturating_mul(core::mem::size_of::<Vec<T>>());
        (self.capacity as usize).saturating_mul(core::mem::size_of::<T>()).saturating_add(directory)
    }

    /// The piece that has this index, and the place in it.
    #[inline]
    const fn split(index: u32) -> Option<(usize, usize)> {
        match ((index as usize).checked_div(N), (index as usize).checked_rem(N)) {
            (Some(piece), Some(place)) => Some((piece, place)),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let (piece, place) = Self::split(index)?;
        self.pieces.get(piece)?.get(place)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (piece, place) = Self::split(index)?;
        self.pieces.get_mut(piece)?.get_mut(place)
    }

    /// Adds a value behind the others and returns its index; `None` if no index is left.
    pub(super) fn push(&mut self, value: T) -> Option<u32> {
        let index = self.len;
        self.len = index.checked_add(1)?;
        let (before, after) = match self.pieces.last_mut() {
            Some(piece) if piece.len() < N => {
                let before = piece.capacity();
                piece.push(value);
                (before, piece.capacity())
            }
            last => {
                let mut piece = Vec::new();
                if last.is_some() {
                    piece.reserve_exact(N);
                }
                piece.push(value);
                let after = piece.capacity();
                self.pieces.push(piece);
                (0, after)
            }
        };
        self.capacity = self.capacity.saturating_add(after.saturating_sub(before) as u32);
        Some(index)
    }

    /// Removes the last value.
    pub(super) fn pop(&mut self) -> Option<T> {
        let piece = self.pieces.last_mut()?;
        let value = piece.pop()?;
        if piece.is_empty() {
            self.capacity = self.capacity.saturating_sub(piece.capacity() as u32);
            self.pieces.pop();
        }
        self.len = self.len.saturating_sub(1);
        Some(value)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in numbers that are here
mod tests {
    use super::*;

    #[test]
    fn values_stay_where_they_are() {
        let mut array = Pieces::<u32, 8>::new();
        assert!((0..100).all(|value| array.push(value) == Some(value)));
        let places: Vec<_> = (0..100).map(|index| array.get(index).map(core::ptr::from_ref)).collect();
        (100..1000).for_each(|value| assert_eq!(array.push(value), Some(value)));
        assert!((8..100).all(|index| array.get(index).map(core::ptr::from_ref) == places.get(index as usize).copied().flatten()));
        assert_eq!((array.len(), array.get(999), array.get(1000)), (1000, Some(&999), None));
        assert!((0..1000).all(|index| array.get(index) == Some(&index)));
        for value in (0..1000).rev() {
            assert_eq!(array.pop(), Some(value));
        }
        assert_eq!((array.pop(), array.len(), array.bytes() / 24), (None, 0, array.pieces.capacity()));
    }

    #[test]
    fn a_short_array_is_small() {
        let mut array = Pieces::<u64, 256>::new();
        array.push(7);
        assert!(array.bytes() <= 4 * 24 + 4 * 8, "{} bytes", array.bytes());
    }
}
