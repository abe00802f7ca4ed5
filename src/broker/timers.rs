//! Timers.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use super::router::retained::Reference;
use super::slab::Key;
use crate::time::Instant;

/// What a timer is for. It may have been put off or removed by the time that the timer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Connection(Key),
    Session(Key),
    Retained(Reference),
    Status,
}

/// The timers, the next one first.
#[derive(Clone, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Due)>>,
    /// Stale timers are swept once the heap exceeds this length.
    sweep_above: usize,
}

/// Shorter heaps are not swept.
const MIN_SWEEP: usize = 1024;

impl Timers {
    pub(super) fn push(&mut self, at: Instant, due: Due) {
        if at != Instant::NEVER {
            self.heap.push(Reverse((at, due)));
        }
    }

    /// When the next timer runs.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next timer that is due, and the time that it was set to.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Due)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(timer)| timer)
    }

    /// Removes stale timers if the heap is long, so that they cannot pile up.
    pub(super) fn sweep(&mut self, is_needed: impl Fn(Instant, Due) -> bool) {
        if self.heap.len() > self.sweep_above.max(MIN_SWEEP) {
            self.heap.retain(|Reverse((at, due))| is_needed(*at, *due));
            self.sweep_above = self.heap.len().saturating_mul(2);
        }
    }
}
