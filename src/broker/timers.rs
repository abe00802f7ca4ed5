//! Timers.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::index::SessionIndex;
use super::pieces::Pieces;
use crate::time::Instant;

/// What a timer is for, by the index that it has: there is one timer for each. What had the index when the timer was set may
/// be gone by the time that the timer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The index of a connection.
    Connection(u32),
    Session(SessionIndex),
    /// The index of a topic that has a retained message.
    Retained(u32),
    Status,
}

/// The timers, the next one first: a heap, and where in the heap each timer is. A timer that is set again moves, so there are
/// never more timers than there are things to wait for.
#[derive(Clone)]
pub(super) struct Timers {
    heap: Pieces<Timer, 1024>,
    /// By the kind of what the timers are for.
    positions: [Positions; 4],
}

/// Timers for the same time run in the order of what they are for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    at: Instant,
    kind: u32,
    index: u32,
}

/// The position in the heap of the timer for each index of a kind. A piece is allocated when it gets its first position.
#[derive(Clone, Default)]
struct Positions {
    pieces: Vec<Option<Box<[u32; PIECE]>>>,
    /// The size in bytes.
    size: usize,
}

const PIECE: usize = 1024;

/// There is no timer.
const NONE: u32 = u32::MAX;

impl Due {
    const fn split(self) -> (u32, u32) {
        match self {
            Self::Connection(index) => (0, index),
            Self::Session(index) => (1, index.get()),
            Self::Retained(index) => (2, index),
            Self::Status => (3, 0),
        }
    }
}

impl Timer {
    const fn due(self) -> Due {
        match self.kind {
            0 => Due::Connection(self.index),
            1 => Due::Session(SessionIndex::new(self.index)),
            2 => Due::Retained(self.index),
            _ => Due::Status,
        }
    }
}

impl Positions {
    fn get(&self, index: u32) -> Option<u32> {
        let piece = self.pieces.get(index as usize / PIECE)?.as_ref()?;
        piece.get(index as usize % PIECE).copied().filter(|&position| position != NONE)
    }

    #[inline]
    fn set(&mut self, index: u32, position: u32) {
        let (number, place) = (index as usize / PIECE, index as usize % PIECE);
        match self.pieces.get_mut(number) {
            Some(Some(piece)) => {
                if let Some(to) = piece.get_mut(place) {
                    *to = position;
                }
            }
            _ => self.allocate(number, place, position),
        }
    }

    /// Allocates a piece for its first position.
    #[cold]
    fn allocate(&mut self, number: usize, place: usize, position: u32) {
        let before = self.pieces.capacity();
        if number >= self.pieces.len() {
            self.pieces.resize(number.saturating_add(1), None);
        }
        let more = self.pieces.capacity().saturating_sub(before);
        let directory = more.saturating_mul(core::mem::size_of::<Option<Box<[u32; PIECE]>>>());
        self.size = self.size.saturating_add(directory).saturating_add(core::mem::size_of::<[u32; PIECE]>());
        let Some(piece) = self.pieces.get_mut(number) else { return bug!("there is a piece for each index") };
        let piece = piece.get_or_insert_with(|| Box::new([NONE; PIECE]));
        if let Some(to) = piece.get_mut(place) {
            *to = position;
        }
    }
}

impl Timers {
    pub(super) fn new() -> Self {
        Self { heap: Pieces::new(), positions: Default::default() }
    }

    /// Sets the timer for this to a time, whether or not it was set before; there is none for [`Instant::NEVER`].
    pub(super) fn set(&mut self, at: Instant, due: Due) {
        if at == Instant::NEVER {
            return self.remove(due);
        }
        let (kind, index) = due.split();
        let timer = Timer { at, kind, index };
        match self.position(due) {
            Some(position) => self.place(position, timer),
            None => {
                // With 2^32 timers the newest is not set.
                let Some(position) = self.heap.push(timer) else { return };
                let gap = self.rise(position, timer);
                self.put(gap, timer);
            }
        }
    }

    /// Removes the timer for this, if it is set.
    pub(super) fn remove(&mut self, due: Due) {
        // Few things that end have a timer.
        let Some(position) = self.position(due) else { return };
        let (kind, index) = due.split();
        self.set_position(kind, index, NONE);
        let Some(last) = self.heap.pop() else { return bug!("a timer with a position is in the heap") };
        if position < self.heap.len() {
            self.place(position, last);
        }
    }

    /// The size in bytes.
    pub(super) fn bytes(&self) -> usize {
        let positions = self.positions.iter().map(|positions| positions.size).fold(0, usize::saturating_add);
        self.heap.bytes().saturating_add(positions)
    }

    /// When the timer for this runs.
    pub(super) fn get(&self, due: Due) -> Option<Instant> {
        self.heap.get(self.position(due)?).map(|timer| timer.at)
    }

    /// When the next timer runs.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.get(0).map(|timer| timer.at)
    }

    /// Takes the next timer that is due, and the time that it was set to.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Due)> {
        let next = *self.heap.get(0).filter(|timer| timer.at <= now)?;
        self.remove(next.due());
        Some((next.at, next.due()))
    }

    fn position(&self, due: Due) -> Option<u32> {
        let (kind, index) = due.split();
        self.positions.get(kind as usize)?.get(index)
    }

    #[inline]
    fn set_position(&mut self, kind: u32, index: u32, position: u32) {
        match self.positions.get_mut(kind as usize) {
            Some(positions) => positions.set(index, position),
            None => bug!("there are positions for each kind"),
        }
    }

    /// Moves a gap up in the heap, as far as the order allows to put a timer there; returns its position.
    #[inline]
    fn rise(&mut self, gap: u32, timer: Timer) -> u32 {
        let mut gap = gap;
        while let Some(parent) = gap.checked_sub(1).map(|above| above / 2)
            && let Some(&upper) = self.heap.get(parent).filter(|&&upper| timer < upper)
        {
            self.put(gap, upper);
            gap = parent;
        }
        gap
    }

    /// Puts a timer where the heap has a gap, or as near to it as the order allows.
    fn place(&mut self, gap: u32, timer: Timer) {
        let mut gap = self.rise(gap, timer);
        while let Some((child, lower)) = self.first_child(gap)
            && lower < timer
        {
            self.put(gap, lower);
            gap = child;
        }
        self.put(gap, timer);
    }

    /// The earlier one of the two timers below a position.
    fn first_child(&self, position: u32) -> Option<(u32, Timer)> {
        let left = position.checked_mul(2)?.checked_add(1)?;
        let (first, right) = (*self.heap.get(left)?, left.checked_add(1)?);
        match self.heap.get(right) {
            Some(&second) if second < first => Some((right, second)),
            _ => Some((left, first)),
        }
    }

    #[inline]
    fn put(&mut self, position: u32, timer: Timer) {
        match self.heap.get_mut(position) {
            Some(place) => *place = timer,
            None => bug!("a position is one in the heap"),
        }
        self.set_position(timer.kind, timer.index, position);
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in numbers that are here
mod tests {
    use alloc::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::random::Random;

    /// The timers beside a map of what is set.
    #[test]
    fn timers_run_in_order_each_once() {
        let mut random = Random::new(3);
        let (mut timers, mut model, mut now) = (Timers::new(), BTreeMap::new(), 0);
        for _ in 0..20_000 {
            let (kind, index) = (random.below(3) as u32, random.below(300) as u32);
            let due = Timer { at: Instant::EPOCH, kind, index }.due();
            match random.below(8) {
                0 => {
                    timers.remove(due);
                    model.remove(&(kind, index));
                }
                1 => {
                    now += random.below(20);
                    let due: BTreeSet<_> =
                        model.iter().map(|(&due, &at)| (at, due)).filter(|&(at, _)| at <= now).collect();
                    for (at, due) in due {
                        let popped = timers.pop(Instant::from_micros(now));
                        assert_eq!(popped.map(|(at, due)| (at, due.split())), Some((Instant::from_micros(at), due)));
                        model.remove(&due);
                    }
                    assert_eq!(timers.pop(Instant::from_micros(now)), None);
                }
                _ => {
                    let at = now + random.below(1000);
                    timers.set(Instant::from_micros(at), due);
                    model.insert((kind, index), at);
                }
            }
            assert_eq!(timers.next(), model.values().min().map(|&at| Instant::from_micros(at)));
            assert_eq!(timers.get(due), model.get(&(kind, index)).map(|&at| Instant::from_micros(at)));
            assert_eq!(timers.heap.len() as usize, model.len(), "there is one timer for each");
        }
        timers.set(Instant::EPOCH, Due::Status);
        timers.set(Instant::NEVER, Due::Status);
        assert_eq!(timers.get(Due::Status), None);
    }
}
