//! How much work a call does.

use core::num::NonZeroU32;

/// The work of the calls of a broker, in units.
///
/// A unit is one item: a node that is visited, an entry of a queue, a filter, a subscriber, a timer, a copy of a message; and
/// one more for each 256 bytes that are validated, hashed, encoded or copied. A call looks at [`is_spent`](Self::is_spent)
/// between two items, and stops at the first one past its budget.
///
/// What takes much less than a unit is counted by eight, such as the levels of a topic, and what takes a multiple as several.
/// `benches/instructions` shows for many kinds of work how many instructions a unit is.
#[derive(Clone, Debug)]
pub(in crate::broker) struct Work {
    /// The units of all calls.
    done: u64,
    /// The call is to stop once `done` has reached this.
    limit: u64,
    /// The budget of a call.
    per_call: u64,
    /// For [`assert_bounded`](Self::assert_bounded). It is kept where debug assertions are on: in tests and fuzzing.
    bound: Bound,
}

/// What is to be checked of calls.
#[derive(Clone, Debug, Default)]
struct Bound {
    /// `done` when the call began.
    began: u64,
    /// The largest item of the call.
    largest: u64,
    /// The largest excess of a call over its budget and one item.
    excess: u64,
}

/// The bytes that make up a unit.
const BYTES: usize = 256;

impl Work {
    pub(in crate::broker) fn new(per_call: NonZeroU32) -> Self {
        let per_call = u64::from(per_call.get());
        Self { done: 0, limit: per_call, per_call, bound: Bound::default() }
    }

    /// A call begins.
    #[inline]
    pub(in crate::broker) fn begin(&mut self) {
        if cfg!(debug_assertions) {
            self.bound = Bound { began: self.done, largest: 0, excess: self.bound.excess.max(self.excess_of_call()) };
        }
        self.limit = self.done.saturating_add(self.per_call);
    }

    /// Counts an item.
    #[inline]
    pub(in crate::broker) fn spend(&mut self, units: u64) {
        self.spend_each(1, units);
    }

    /// Counts several items.
    #[inline]
    pub(in crate::broker) fn spend_each(&mut self, count: u64, units: u64) {
        self.done = self.done.saturating_add(count.saturating_mul(units));
        if cfg!(debug_assertions) {
            self.bound.largest = self.bound.largest.max(units);
        }
    }

    /// Counts an item of this many bytes.
    #[inline]
    pub(in crate::broker) fn spend_bytes(&mut self, bytes: usize) {
        self.spend(Self::units_of(bytes));
    }

    /// Counts the bytes of an item that was counted without them: nothing for a short one.
    #[inline]
    pub(in crate::broker) fn spend_more_bytes(&mut self, bytes: usize) {
        self.spend((bytes / BYTES) as u64);
    }

    /// The units of an item of this many bytes.
    #[inline]
    pub(in crate::broker) const fn units_of(bytes: usize) -> u64 {
        ((bytes / BYTES) as u64).saturating_add(1)
    }

    /// The units of a text besides the item that it belongs to: of its bytes, and of its levels, if it is a topic or a filter.
    /// To look a level up takes about an eighth of what a unit is.
    #[inline]
    pub(in crate::broker) const fn more_units_of_text(bytes: usize, levels: usize) -> u64 {
        (bytes / BYTES).saturating_add(levels / 8) as u64
    }

    /// The units of so many user properties, besides their bytes. Each takes about an eighth of what a unit is.
    #[inline]
    pub(in crate::broker) const fn units_of_pairs(pairs: usize) -> u64 {
        (pairs / 8) as u64
    }

    /// Counts an item with a topic or a filter of this many bytes, which is looked up level by level. The levels are not
    /// counted for that: each but the first takes two bytes at least, and more than 128 are refused by default.
    #[inline]
    pub(in crate::broker) fn spend_text(&mut self, bytes: usize) {
        const LEVELS: usize = 128;
        let levels = if bytes / 2 < LEVELS { bytes / 2 } else { LEVELS };
        self.spend(Self::more_units_of_text(bytes, levels).saturating_add(1));
    }

    /// Whether the budget of the call is used up.
    #[inline]
    pub(in crate::broker) const fn is_spent(&self) -> bool {
        self.done >= self.limit
    }

    /// What is left of the budget of the call.
    #[inline]
    pub(in crate::broker) const fn left(&self) -> u64 {
        self.limit.saturating_sub(self.done)
    }

    /// The units of all calls.
    pub(in crate::broker) const fn done(&self) -> u64 {
        self.done
    }

    /// Leaves only this much of the budget to a part of the call; returns the limit to [restore](Self::widen).
    pub(in crate::broker) fn narrow(&mut self, units: u64) -> u64 {
        let limit = self.done.saturating_add(units).min(self.limit);
        core::mem::replace(&mut self.limit, limit)
    }

    /// Restores the budget of the call.
    pub(in crate::broker) const fn widen(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// The units of the call beyond its budget and its largest item. An item may be counted in a few parts, and its bytes
    /// each time that they are read or written: a long topic is validated, looked up, stored and written for a subscriber.
    fn excess_of_call(&self) -> u64 {
        const PARTS: u64 = 16;
        const TIMES: u64 = 6;
        let spent = self.done.saturating_sub(self.bound.began);
        let largest = self.bound.largest.saturating_mul(TIMES);
        spent.saturating_sub(self.per_call).saturating_sub(largest).saturating_sub(PARTS)
    }

    /// Panics if a call has done more than its budget and one item. For tests with debug assertions.
    pub(in crate::broker) fn assert_bounded(&self) {
        let excess = self.bound.excess.max(self.excess_of_call());
        assert_eq!(excess, 0, "a call stops at the first item past its budget of {}", self.per_call);
    }
}
