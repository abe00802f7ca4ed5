//! What is due when.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use super::retained::Reference;
use super::slab::Key;
use crate::time::Instant;

/// What has to be looked at when its time has come. It may have been put off by then, or be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Connection(Key),
    Session(Key),
    Retained(Reference),
    Status,
}

/// What is due, the next one first.
#[derive(Clone, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Due)>>,
    /// So many there may be before the ones that mean nothing any more are looked for.
    crowded: usize,
}

/// It is not worth looking for fewer.
const FEW: usize = 1024;

impl Timers {
    pub(super) fn push(&mut self, at: Instant, due: Due) {
        if at != Instant::NEVER {
            self.heap.push(Reverse((at, due)));
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next one that is due at this time, and when it was.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Due)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(timer)| timer)
    }

    /// Forgets those that mean nothing any more, when there may be many of them: timers cannot pile up.
    pub(super) fn tidy(&mut self, is_needed: impl Fn(Instant, Due) -> bool) {
        if self.heap.len() > self.crowded.max(FEW) {
            self.heap.retain(|Reverse((at, due))| is_needed(*at, *due));
            self.crowded = self.heap.len().saturating_mul(2);
        }
    }
}
