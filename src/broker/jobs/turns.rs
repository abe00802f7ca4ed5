//! Whose turn it is: work is shared between principals first, then between the connections and jobs of a principal.

use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use crate::broker::policy::ConnectionId;
use crate::broker::principal::PrincipalName;
use crate::broker::slab::{Key, Slab};
use crate::heap_size;
use crate::time::Instant;

/// A job in [`Jobs`](super::ring::Jobs).
pub(in crate::broker) type JobId = Key;

/// A principal in [`Turns`]: whoever bears the work of connections and jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::broker) struct PrincipalIndex(u32);

impl PrincipalIndex {
    /// The broker itself, with the embedding program.
    pub(in crate::broker) const BROKER: Self = Self(0);

    #[inline]
    pub(in crate::broker) const fn get(self) -> u32 {
        self.0
    }
}

/// What waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Entry {
    /// A connection whose input was not taken.
    Input(ConnectionId),
    Job(JobId),
}

/// The principals that have caused work lately, by deficit round robin: each round gives a principal one quantum, and what
/// its work takes more is subtracted from the next.
///
/// A principal that had nothing to do joins in front, once: it is served before those that wait for their next round.
pub(in crate::broker) struct Turns {
    principals: Slab<Principal>,
    by_name: BTreeMap<PrincipalName, PrincipalIndex>,
    /// Principals that have joined since their last round.
    new: VecDeque<PrincipalIndex>,
    /// The others, in turn.
    old: VecDeque<PrincipalIndex>,
    /// What a round gives a principal, in units.
    quantum: i64,
    /// Number of entries of all principals.
    waiting: u32,
    /// The size of the names and queues of principals, in bytes.
    heap: usize,
}

struct Principal {
    /// `None` for the broker itself.
    name: Option<PrincipalName>,
    /// Number of connections, sessions, jobs and retained messages of the principal.
    users: u32,
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
        if principals.insert(Principal::new(None)).is_none() {
            bug!("an empty slab has room");
        }
        Self {
            principals,
            by_name: BTreeMap::new(),
            new: VecDeque::new(),
            old: VecDeque::new(),
            quantum: i64::try_from(quantum).unwrap_or(i64::MAX),
            waiting: 0,
            heap: 0,
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

    /// A connection, a session or a job is that of this principal from now on. It is that of the broker itself if no index is
    /// left.
    pub(in crate::broker) fn enter(&mut self, name: PrincipalName) -> PrincipalIndex {
        let index = match self.by_name.get(&name) {
            Some(&index) => index,
            None => {
                let Some(key) = self.principals.insert(Principal::new(Some(name.clone()))) else {
                    return PrincipalIndex::BROKER;
                };
                let index = PrincipalIndex(key.index);
                self.heap = self.heap.saturating_add(name.heap());
                self.by_name.insert(name, index);
                index
            }
        };
        self.enter_again(index);
        index
    }

    /// The principal with this name, if there is something of it.
    pub(in crate::broker) fn find(&self, name: &PrincipalName) -> Option<PrincipalIndex> {
        self.by_name.get(name).copied()
    }

    /// A connection, a session or a job more is that of a principal that has some.
    pub(in crate::broker) fn enter_again(&mut self, index: PrincipalIndex) {
        if let Some(principal) = self.get_mut(index) {
            principal.users = principal.users.saturating_add(1);
        }
    }

    /// A connection, a session or a job of a principal is gone.
    pub(in crate::broker) fn leave(&mut self, index: PrincipalIndex) {
        let Some(principal) = self.get_mut(index) else { return bug!("a principal exists while it is used") };
        principal.users = principal.users.saturating_sub(1);
        if !principal.is_in_turn {
            self.remove_unused(index);
        }
    }

    /// Removes a principal that has no connections, sessions and jobs, unless it is the broker itself.
    fn remove_unused(&mut self, index: PrincipalIndex) {
        if self.get_mut(index).is_some_and(|it| it.users == 0 && it.name.is_some())
            && let Some(Principal { name: Some(name), queue, .. }) = self.principals.remove(index.0)
        {
            self.by_name.remove(&name);
            self.heap = self.heap.saturating_sub(name.heap()).saturating_sub(heap_size::queue(&queue));
        }
    }

    /// Number of principals that have caused work lately.
    pub(in crate::broker) fn in_turn(&self) -> usize {
        self.new.len().saturating_add(self.old.len())
    }

    /// The size in bytes.
    pub(super) fn bytes(&self) -> usize {
        let names = heap_size::tree(self.by_name.len(), core::mem::size_of::<(PrincipalName, PrincipalIndex)>());
        let lists = heap_size::queue(&self.new).saturating_add(heap_size::queue(&self.old));
        [self.principals.bytes(), names, lists].into_iter().fold(self.heap, usize::saturating_add)
    }

    /// Number of principals besides the broker itself.
    pub(in crate::broker) const fn principals(&self) -> u32 {
        self.principals.len().saturating_sub(1)
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
        let quantum = self.quantum;
        let Some(principal) = self.principals.get_mut(index.0) else {
            bug!("a principal exists while it is used");
            return true;
        };
        if !principal.is_in_turn {
            self.join(index);
            return true;
        }
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
            let before = heap_size::queue(&principal.queue);
            principal.queue.push_back(entry);
            let after = heap_size::queue(&principal.queue);
            self.heap = self.heap.saturating_sub(before).saturating_add(after);
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
        } else {
            self.remove_unused(index);
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
    const fn new(name: Option<PrincipalName>) -> Self {
        Self { name, users: 0, credit: 0, queue: VecDeque::new(), is_in_turn: false, since: Instant::EPOCH }
    }
}
