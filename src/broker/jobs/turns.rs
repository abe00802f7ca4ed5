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
    /// The embedding program, with what the broker itself publishes.
    pub(in crate::broker) const BROKER: Self = Self(0);
    /// The broker itself, with the ends of sessions: they do not hold up what the embedding program publishes.
    pub(in crate::broker) const ENDS: Self = Self(1);

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
    /// A connection with output that was held back.
    Output(ConnectionId),
    Job(JobId),
}

/// The principals that have something waiting, by deficit round robin: each round gives a principal one quantum, and what its
/// work takes more is subtracted from the next.
///
/// A principal that had nothing waiting in the last round joins in front, once: it is served before those that wait for their
/// next round. One without entries is taken out of its list when its turn comes; the quanta of the rounds that it misses from
/// there on are given when it comes back. So no entry waits for the search to pass principals without entries.
pub(in crate::broker) struct Turns {
    principals: Slab<Principal>,
    by_name: BTreeMap<PrincipalName, PrincipalIndex>,
    /// Principals that come in front.
    new: List,
    /// The others, in turn.
    old: List,
    /// What a round gives a principal, in units.
    quantum: i64,
    /// Number of entries of all principals.
    waiting: u32,
    /// The size of the names and queues of principals, in bytes.
    heap: usize,
    /// Number of principals that are gone, and have to pay first for what they have done.
    gone: u32,
    /// Number of rounds so far.
    round: u64,
    /// Number of principals in `old` that are still to come in this round.
    left: u32,
    /// The units that input and output that were granted may take beyond their estimates, until more is granted.
    spare: i64,
    /// Whether something was granted, and whether something granted was taken, since the last call of [`end`](Self::end).
    has_granted: bool,
    has_taken: bool,
}

struct Principal {
    /// `None` for the broker itself.
    name: Option<PrincipalName>,
    /// Number of connections, sessions, jobs and retained messages of the principal.
    users: u32,
    /// The units that are left of the quantum; negative if the last turn took more.
    credit: i64,
    /// The round in which the credit was right, while the principal is in no list.
    round: u64,
    queue: VecDeque<Entry>,
    place: Place,
    /// Whether nothing of the principal is left but its debt.
    is_gone: bool,
    /// Whether the principal had nothing waiting for a round, and no debt.
    is_rested: bool,
    /// The neighbours in the list.
    previous: Option<PrincipalIndex>,
    next: Option<PrincipalIndex>,
    /// When it last got a quantum without waiting for it.
    since: Instant,
}

/// The list that a principal is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Out,
    New,
    Old,
}

/// Principals one behind the other, linked, so that nothing moves when there are many.
#[derive(Clone, Copy, Default)]
struct List {
    first: Option<PrincipalIndex>,
    last: Option<PrincipalIndex>,
    len: u32,
}

/// A time in which all principals have had turns: several times what a call takes.
const LONG_AGO: Duration = Duration::from_millis(1);

impl Turns {
    pub(super) fn new(quantum: u64) -> Self {
        let quantum = i64::try_from(quantum).unwrap_or(i64::MAX);
        let mut principals = Slab::new();
        for index in [PrincipalIndex::BROKER, PrincipalIndex::ENDS] {
            let key = principals.insert(Principal::new(None, quantum, 0));
            if key.is_none_or(|key| key.index != index.0) {
                bug!("the first indices are taken one after the other");
            }
        }
        Self {
            principals,
            by_name: BTreeMap::new(),
            new: List::default(),
            old: List::default(),
            quantum,
            waiting: 0,
            heap: 0,
            gone: 0,
            round: 0,
            left: 0,
            spare: 0,
            has_granted: false,
            has_taken: false,
        }
    }

    /// Whether something waits for its turn, or a principal is to be forgotten.
    #[inline]
    pub(super) const fn is_waiting(&self) -> bool {
        self.waiting != 0 || self.gone != 0
    }

    #[inline]
    fn get_mut(&mut self, principal: PrincipalIndex) -> Option<&mut Principal> {
        self.principals.get_mut(principal.0)
    }

    /// A connection, a session or a job is that of this principal from now on. It is that of the broker itself if no index is
    /// left.
    pub(in crate::broker) fn enter(&mut self, name: PrincipalName) -> PrincipalIndex {
        let index = match self.by_name.get(&name) {
            Some(&index) => index,
            None => {
                let principal = Principal::new(Some(name.clone()), self.quantum, self.round);
                let Some(key) = self.principals.insert(principal) else { return PrincipalIndex::BROKER };
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

    /// A connection, a session or a job more is that of a principal.
    pub(in crate::broker) fn enter_again(&mut self, index: PrincipalIndex) {
        if let Some(principal) = self.get_mut(index) {
            let was_gone = core::mem::take(&mut principal.is_gone);
            principal.users = principal.users.saturating_add(1);
            self.gone = self.gone.saturating_sub(u32::from(was_gone));
        }
    }

    /// A connection, a session or a job of a principal is gone.
    pub(in crate::broker) fn leave(&mut self, index: PrincipalIndex) {
        let Some(principal) = self.get_mut(index) else { return bug!("a principal exists while it is used") };
        principal.users = principal.users.saturating_sub(1);
        if principal.users == 0 && principal.queue.is_empty() && principal.name.is_some() {
            self.retire(index);
        }
    }

    /// Forgets a principal that has no connections, sessions, jobs and entries. While others wait, one that owes work stays
    /// until it has paid: it would come back without the debt.
    fn retire(&mut self, index: PrincipalIndex) {
        self.refresh(index);
        let is_quiet = self.waiting == 0;
        let Some(principal) = self.get_mut(index) else { return };
        if is_quiet || principal.credit >= 0 {
            return self.forget(index);
        }
        principal.is_gone = true;
        let place = principal.place;
        self.gone = self.gone.saturating_add(1);
        if place == Place::Out {
            self.add(index, Place::Old);
        }
    }

    fn forget(&mut self, index: PrincipalIndex) {
        self.take_out(index);
        if let Some(Principal { name: Some(name), is_gone, queue, .. }) = self.principals.remove(index.0) {
            self.gone = self.gone.saturating_sub(u32::from(is_gone));
            self.by_name.remove(&name);
            self.heap = self.heap.saturating_sub(name.heap()).saturating_sub(heap_size::queue(&queue));
        }
    }

    /// The size in bytes.
    pub(super) fn bytes(&self) -> usize {
        let names = heap_size::tree(self.by_name.len(), core::mem::size_of::<(PrincipalName, PrincipalIndex)>());
        self.principals.bytes().saturating_add(names).saturating_add(self.heap)
    }

    /// Gives a principal in no list the quanta of the rounds that it has missed.
    #[inline]
    fn refresh(&mut self, index: PrincipalIndex) {
        let (round, quantum) = (self.round, self.quantum);
        let Some(principal) = self.get_mut(index) else { return };
        if principal.round != round && principal.place == Place::Out {
            let rounds = i64::try_from(round.wrapping_sub(principal.round)).unwrap_or(i64::MAX);
            let credit = principal.credit.saturating_add(rounds.saturating_mul(quantum));
            principal.is_rested = credit >= quantum;
            principal.credit = credit.min(quantum);
            principal.round = round;
        }
    }

    /// Whether a principal may work at once: nothing of it waits, and its quantum is not used up. What was used up long ago
    /// does not count: there was time for others since.
    #[inline]
    pub(super) fn may_work(&mut self, index: PrincipalIndex, now: Instant) -> bool {
        let (quantum, round) = (self.quantum, self.round);
        let Some(principal) = self.principals.get_mut(index.0) else {
            bug!("a principal exists while it is used");
            return true;
        };
        if principal.credit > 0 && principal.round == round && principal.queue.is_empty() {
            return true; // most of the time
        }
        if !principal.queue.is_empty() {
            return false;
        }
        self.refresh(index);
        let Some(principal) = self.principals.get_mut(index.0) else { return true };
        if principal.credit <= 0 && now.since(principal.since) >= LONG_AGO {
            principal.since = now;
            principal.credit = quantum;
        }
        principal.credit > 0
    }

    /// Adds an entry behind the others of its principal.
    pub(super) fn push(&mut self, index: PrincipalIndex, entry: Entry) {
        self.push_to(index, |queue| queue.push_back(entry));
    }

    /// Adds an entry before the others of its principal.
    pub(super) fn push_front(&mut self, index: PrincipalIndex, entry: Entry) {
        self.push_to(index, |queue| queue.push_front(entry));
    }

    fn push_to(&mut self, index: PrincipalIndex, push: impl FnOnce(&mut VecDeque<Entry>)) {
        self.refresh(index);
        let quantum = self.quantum;
        let Some(principal) = self.get_mut(index) else { return bug!("a principal exists while it is used") };
        let before = heap_size::queue(&principal.queue);
        push(&mut principal.queue);
        let more = heap_size::queue(&principal.queue).saturating_sub(before);
        if principal.place == Place::Out {
            if principal.credit <= 0 {
                // Its turn is over, and this is for the next.
                principal.credit = principal.credit.saturating_add(quantum);
                principal.is_rested = false;
            }
            let place = if principal.is_rested { Place::New } else { Place::Old };
            self.add(index, place);
        }
        self.heap = self.heap.saturating_add(more);
        self.waiting = self.waiting.saturating_add(1);
    }

    /// Counts work that was done for a principal; negative if less was done than was counted before.
    #[inline]
    pub(super) fn charge(&mut self, index: PrincipalIndex, units: i64) {
        // A principal may be gone by the time that its work is known.
        if let Some(principal) = self.get_mut(index) {
            principal.credit = principal.credit.saturating_sub(units);
        }
    }

    /// Something gets its turn, and will take about so many units when the driver comes with it.
    pub(super) fn grant(&mut self, index: PrincipalIndex, estimate: u32) {
        self.has_granted = true;
        self.charge(index, i64::from(estimate));
    }

    /// What was granted comes: takes the estimate back, and returns what it may take. That is what was reserved for it, and what
    /// is to spare. `None` if others have taken more than that, so that no estimate does harm: it waits again.
    pub(super) fn take_grant(&mut self, index: PrincipalIndex, estimate: u32, reserved: u32) -> Option<u64> {
        self.charge(index, i64::from(estimate).saturating_neg());
        self.has_taken = true;
        let most = self.spare.saturating_add(i64::from(reserved));
        (most > 0).then_some(most.unsigned_abs())
    }

    /// Counts work that was granted: what goes beyond its part.
    pub(super) fn spend_granted(&mut self, units: i64, reserved: u32) {
        self.spare = self.spare.saturating_sub(units.saturating_sub(i64::from(reserved)).max(0));
    }

    /// Entries have had their turns, and what was granted may take as much as a call beyond what is reserved. A driver may
    /// call several times before it takes what was granted.
    pub(super) fn end(&mut self) {
        /// What an item may be more than a budget, most of the time.
        const ITEM: i64 = 64;
        /// Number of calls, at most.
        const CALLS: i64 = 8;
        if core::mem::take(&mut self.has_taken) {
            self.spare = 0;
        }
        if core::mem::take(&mut self.has_granted) {
            let call = self.quantum.saturating_add(ITEM);
            self.spare = self.spare.saturating_add(call).min(call.saturating_mul(CALLS));
        }
    }

    const fn list_mut(&mut self, place: Place) -> &mut List {
        match place {
            Place::New => &mut self.new,
            Place::Out | Place::Old => &mut self.old,
        }
    }

    /// Adds a principal at the end of a list.
    fn add(&mut self, index: PrincipalIndex, place: Place) {
        let list = self.list_mut(place);
        list.len = list.len.saturating_add(1);
        let previous = list.last.replace(index);
        if previous.is_none() {
            list.first = Some(index);
        }
        if let Some(previous) = previous.and_then(|previous| self.get_mut(previous)) {
            previous.next = Some(index);
        }
        let Some(principal) = self.get_mut(index) else { return bug!("a principal in a list exists") };
        (principal.place, principal.previous, principal.next) = (place, previous, None);
    }

    /// Takes a principal out of its list, if it is in one.
    fn take_out(&mut self, index: PrincipalIndex) {
        let Some(principal) = self.get_mut(index) else { return bug!("a principal in a list exists") };
        let place = core::mem::replace(&mut principal.place, Place::Out);
        principal.is_rested = false;
        let (previous, next) = (principal.previous.take(), principal.next.take());
        if place == Place::Out {
            return;
        }
        let list = self.list_mut(place);
        list.len = list.len.saturating_sub(1);
        if previous.is_none() {
            list.first = next;
        }
        if next.is_none() {
            list.last = previous;
        }
        if let Some(previous) = previous.and_then(|previous| self.get_mut(previous)) {
            previous.next = next;
        }
        if let Some(next) = next.and_then(|next| self.get_mut(next)) {
            next.previous = previous;
        }
        if place == Place::Old {
            self.pass();
        }
        // What it misses from here on is given later.
        let round = self.round;
        if let Some(principal) = self.get_mut(index) {
            principal.round = round;
        }
    }

    /// A principal has had its turn in the round.
    const fn pass(&mut self) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.round = self.round.wrapping_add(1);
            self.left = self.old.len;
        }
    }

    /// Goes to the principal whose turn it is: one with an entry and a part of its quantum left. Returns `None` while the
    /// search is not at its end: a step looks at one principal.
    fn step(&mut self) -> Option<PrincipalIndex> {
        let place = if self.new.first.is_some() { Place::New } else { Place::Old };
        let index = self.list_mut(place).first?;
        let is_alone = self.new.len.saturating_add(self.old.len) == 1;
        let (quantum, is_quiet) = (self.quantum, self.waiting == 0);
        let Some(principal) = self.principals.get_mut(index.0) else {
            bug!("a principal in a list exists");
            return None;
        };
        if !principal.queue.is_empty() {
            if principal.credit > 0 {
                return Some(index);
            }
            if is_alone {
                // No other principal waits, so all rounds until the debt is paid are over at once. Others get their quanta too.
                let rounds = principal.credit.unsigned_abs().checked_div(quantum.unsigned_abs()).unwrap_or(0);
                let rounds = rounds.saturating_add(1);
                let quanta = i64::try_from(rounds).unwrap_or(i64::MAX).saturating_mul(quantum);
                principal.credit = principal.credit.saturating_add(quanta);
                self.round = self.round.wrapping_add(rounds);
                return Some(index);
            }
        }
        let (is_idle, is_gone) = (principal.queue.is_empty(), principal.is_gone);
        if !is_idle || is_gone {
            principal.credit = principal.credit.saturating_add(quantum);
        }
        let is_paid = is_quiet || principal.credit >= 0;
        self.take_out(index);
        if !is_idle || (is_gone && !is_paid) {
            self.add(index, Place::Old);
        } else if is_gone {
            self.forget(index);
        }
        None
    }

    /// Takes the next entry out, with its principal and what is left of the quantum. `spend` counts a principal that was
    /// looked at, and returns whether the search may go on. The principal stays until the entry was [served](Self::served).
    pub(super) fn pop(&mut self, mut spend: impl FnMut() -> bool) -> Option<(PrincipalIndex, Entry, u64)> {
        while self.is_waiting() {
            if let Some(index) = self.step() {
                self.enter_again(index);
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

    /// An entry that was taken out has had its turn, and its work is counted.
    pub(super) fn served(&mut self, index: PrincipalIndex) {
        self.leave(index);
    }

    /// Panics if an unused principal is left, or a list is wrong. For tests. `users` is the number of connections,
    /// sessions and jobs.
    pub(in crate::broker) fn assert_consistent(&self, users: u64) {
        let (mut waiting, mut known, mut gone) = (0_usize, 0_u64, 0_u32);
        for (index, principal) in self.principals.iter().filter(|(_, principal)| principal.name.is_some()) {
            let is_owing = principal.is_gone && principal.place != Place::Out;
            assert!(principal.users != 0 || is_owing || !principal.queue.is_empty(), "principal {index} is gone");
            known = known.saturating_add(u64::from(principal.users));
            gone = gone.saturating_add(u32::from(principal.is_gone));
        }
        for (_, principal) in self.principals.iter() {
            assert!(principal.queue.is_empty() || principal.place != Place::Out, "what waits is found");
            waiting = waiting.saturating_add(principal.queue.len());
        }
        assert_eq!(waiting, self.waiting as usize, "entries are counted right");
        assert_eq!(gone, self.gone, "principals that are gone are counted right");
        assert!(known <= users, "connections, sessions and jobs are counted right");
        let mut len = 0_u32;
        for list in [self.new, self.old] {
            let mut next = list.first;
            while let Some(index) = next {
                len = len.saturating_add(1);
                next = self.principals.get(index.0).and_then(|principal| principal.next);
            }
        }
        assert_eq!(len, self.new.len.saturating_add(self.old.len), "the lists are linked right");
    }
}

impl Principal {
    const fn new(name: Option<PrincipalName>, credit: i64, round: u64) -> Self {
        Self {
            name,
            users: 0,
            credit,
            round,
            queue: VecDeque::new(),
            place: Place::Out,
            is_gone: false,
            is_rested: true,
            previous: None,
            next: None,
            since: Instant::EPOCH,
        }
    }
}
