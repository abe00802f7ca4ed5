//! Whose turn it is: work is shared between principals first, then between the connections and jobs of a principal.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::broker::policy::ConnectionId;
use crate::broker::slab::{Key, Slab};
use crate::time::Instant;

/// A job in [`Jobs`](super::ring::Jobs).
pub(in crate::broker) type JobId = Key;

/// A principal in [`Turns`]: whoever bears the work of connections and jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::broker) struct PrincipalIndex(u32);

impl PrincipalIndex {
    /// The broker itself, with the embedding program.
    pub(in crate::broker) const BROKER: Self = Self(0);
}

/// What waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A connection whose input was not taken.
    Input(ConnectionId),
    Job(JobId),
}

/// The principals that have caused work lately, by deficit round robin: each round gives a principal one quantum, and what
/// its work takes more is subtracted from the next.
///
/// A principal that had nothing to do joins in front, once: it is served before those that wait for their next round.
pub(super) struct Turns {
    principals: Slab<Principal>,
    /// Principals that have joined since their last round.
    new: VecDeque<PrincipalIndex>,
    /// The others, in turn.
    old: VecDeque<PrincipalIndex>,
    /// What a round gives a principal, in units.
    quantum: i64,
    /// Number of entries of all principals.
    waiting: u32,
}

struct Principal {
    /// The units that are left of the quantum; negative if the last turn took more.
    credit: i64,
    queue: VecDeque<Entry>,
    /// Whether the principal is in `new` or `old`.
    is_in_turn: bool,
    /// When it last got a quantum without waiting for it.
    since: Instant,
}

/// A time in which all principals have had turns: several times what a call takes.
const LONG_AGO: Duration = Duration::from_millis(1);

impl Turns {
    pub(super) fn new(quantum: u64) -> Self {
        let mut principals = Slab::new();
        // The broker itself has index 0.
        if principals.insert(Principal::new()).is_none() {
            bug!("an empty slab has room");
        }
        Self {
            principals,
            new: VecDeque::new(),
            old: VecDeque::new(),
            quantum: i64::try_from(quantum).unwrap_or(i64::MAX),
            waiting: 0,
        }
    }

    /// Whether something waits for its turn.
    #[inline]
    pub(super) const fn is_waiting(&self) -> bool {
        self.waiting != 0
    }

    fn get_mut(&mut self, principal: PrincipalIndex) -> Option<&mut Principal> {
        self.principals.get_mut(principal.0)
    }

    /// Lets a principal that has nothing to do join in front.
    #[inline]
    fn join(&mut self, index: PrincipalIndex) {
        let quantum = self.quantum;
        let Some(principal) = self.get_mut(index) else { return bug!("a principal exists while it is used") };
        if !principal.is_in_turn {
            principal.is_in_turn = true;
            principal.credit = quantum;
            self.new.push_back(index);
        }
    }

    /// Whether a principal may work at once: nothing of it waits, and its quantum is not used up. What was used up long ago
    /// does not count: there was time for others since.
    #[inline]
    pub(super) fn may_work(&mut self, index: PrincipalIndex, now: Instant) -> bool {
        self.join(index);
        let quantum = self.quantum;
        let Some(principal) = self.get_mut(index) else { return true };
        if !principal.queue.is_empty() {
            return false;
        }
        if principal.credit <= 0 && now.since(principal.since) >= LONG_AGO {
            principal.since = now;
            principal.credit = quantum;
        }
        principal.credit > 0
    }

    /// Adds an entry behind the others of its principal.
    pub(super) fn push(&mut self, index: PrincipalIndex, entry: Entry) {
        self.join(index);
        if let Some(principal) = self.get_mut(index) {
            principal.queue.push_back(entry);
            self.waiting = self.waiting.saturating_add(1);
        }
    }

    /// Counts work that was done for a principal; negative if less was done than was counted before.
    #[inline]
    pub(super) fn charge(&mut self, index: PrincipalIndex, units: i64) {
        if let Some(principal) = self.get_mut(index) {
            principal.credit = principal.credit.saturating_sub(units);
        }
    }

    /// Goes to the principal whose turn it is: one with an entry and a part of its quantum left. Returns `None` while the
    /// search is not at its end: a step looks at one principal.
    fn step(&mut self) -> Option<PrincipalIndex> {
        let is_new = !self.new.is_empty();
        let is_alone = self.new.len().saturating_add(self.old.len()) == 1;
        let list = if is_new { &mut self.new } else { &mut self.old };
        let index = *list.front()?;
        let quantum = self.quantum;
        let Some(principal) = self.principals.get_mut(index.0) else {
            bug!("a principal exists while it is in turn");
            list.pop_front();
            return None;
        };
        if !principal.queue.is_empty() {
            if is_alone {
                principal.credit = quantum; // nobody else waits
            }
            if principal.credit > 0 {
                return Some(index);
            }
        }
        list.pop_front();
        if principal.queue.is_empty() && !is_new {
            // One whose last turn took more than its quantum keeps the debt until it is paid.
            principal.credit = principal.credit.saturating_add(quantum).min(0);
            principal.is_in_turn = principal.credit < 0;
        } else if principal.credit <= 0 {
            principal.credit = principal.credit.saturating_add(quantum);
        }
        if principal.is_in_turn {
            self.old.push_back(index);
        }
        None
    }

    /// Takes the next entry out, with its principal and what is left of the quantum. `spend` counts a principal that was
    /// looked at, and returns whether the search may go on.
    pub(super) fn pop(&mut self, mut spend: impl FnMut() -> bool) -> Option<(PrincipalIndex, Entry, u64)> {
        while self.waiting != 0 {
            if let Some(index) = self.step() {
                let principal = self.principals.get_mut(index.0)?;
                let entry = principal.queue.pop_front()?;
                self.waiting = self.waiting.saturating_sub(1);
                return Some((index, entry, principal.credit.unsigned_abs()));
            }
            if !spend() {
                return None;
            }
        }
        None
    }
}

impl Principal {
    const fn new() -> Self {
        Self { credit: 0, queue: VecDeque::new(), is_in_turn: false, since: Instant::EPOCH }
    }
}
