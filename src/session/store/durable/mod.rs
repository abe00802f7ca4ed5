//! The changes of a session's state that must survive a crash, and the packets that wait for them.

use crate::sync::Arc;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use super::journal::{BLOCK, Journal, WillInStore};
use super::pairs::{put_deliveries, put_will, remove_message};
use crate::codec::{QoS, Version};
use crate::session::deliveries::Deliveries;
use crate::session::link::held::{HeldPacket, HeldPackets, WaitsFor};
use crate::session::token::Token;
use crate::session::will::Will;
use crate::store::{Batch, ChangeLog, Counter, Key};
use crate::time::Instant;

mod changes;

/// What a durable session has beyond other sessions: what is stored of it, and the packets that wait for changes to be
/// committed.
///
/// A packet waits for the last batch in which the session has changed, or in which something was removed or replaced
/// that others have read: what the packet says, and what the peer can conclude from it, is stored then. An
/// acknowledgement of something that the application stores waits for the open batch, with which the application stores
/// it.
///
/// The sessions of a router have one journal, which is lent to a session while it is called. All of them have this
/// state, whether they outlive their connections or not: their acknowledgements promise what other sessions store.
#[derive(Clone)]
pub(crate) struct Durable {
    /// The journal; `None` while it is not lent.
    journal: Option<Box<Journal>>,
    held: Option<Box<HeldPackets>>,
    /// The number of the session in keys: [`SESSION`] in a store of its own, or if nothing is stored.
    number: u64,
    /// The number of the last batch in which the session has changed.
    changed_in: u64,
    /// The number of the batch for which CONNACK waits, with all output behind it; 0 for none.
    connack_waits_for: u64,
    /// The number that the session waits for, as it was last returned to the router.
    announced: u64,
    /// The stored wills, in the order in which they are due. At most the last one is not due yet.
    wills: Vec<StoredWill>,
    /// What a router stores in the record of the session.
    routed: Option<Box<Routed>>,
    /// The order of the next PUBREL.
    next_order: u32,
    /// The version in which messages are encoded.
    version: Version,
    /// Whether the session is stored: that of a server is, if it outlives its connection.
    is_stored: bool,
    /// Whether the journal is shared with other sessions.
    is_shared: bool,
    /// Whether a stored message has, or had, a mark: it may go to another session when this one has ended.
    has_marked: bool,
}

// Each byte counts: a router has many sessions.
const _: () = assert!(size_of::<usize>() != 8 || size_of::<Durable>() <= 88);

/// What a router stores in the record of a session.
#[derive(Clone, Default)]
struct Routed {
    /// The user who has begun the session.
    owner: Option<Arc<str>>,
    /// What the topics of the client begin with for the router, and not for the client.
    mount_point: Option<Arc<[u8]>>,
}

/// The number of a stored will, and the size of its message in bytes, about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredWill {
    pub(crate) number: u64,
    pub(crate) size: u32,
}

impl StoredWill {
    pub(crate) fn new(number: u64, will: &Will) -> Self {
        Self { number, size: will.heap() as u32 }
    }

    const fn of(self, session: u64) -> WillInStore {
        WillInStore { session, number: self.number, size: self.size as usize }
    }
}

/// The number in keys of the session that has a store of its own.
pub(in crate::session) const SESSION: u64 = 0;

/// No packet waits.
const NOTHING_HELD: &HeldPackets = &HeldPackets::new();

/// Pairs of a store that mean nothing, because others are missing.
#[derive(Default)]
pub(super) struct Garbage {
    pub(super) keys: Vec<Key>,
    /// The numbers of messages, with their sizes in bytes.
    pub(super) messages: Vec<(u64, usize)>,
}

impl Durable {
    /// Creates the state of a session that has a store of its own, and is not [stored](Self::set_stored) yet.
    pub(crate) fn new(version: Version, max_uncommitted: NonZeroU32) -> Self {
        Self::after(ChangeLog::new(), version, max_uncommitted, 0)
    }

    /// Creates the state of a session whose journal is [lent](Self::swap_journal) to it.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) const fn shared(version: Version) -> Self {
        Self {
            journal: None,
            held: None,
            number: SESSION,
            changed_in: 0,
            connack_waits_for: 0,
            announced: 0,
            wills: Vec::new(),
            routed: None,
            next_order: 0,
            version,
            is_stored: false,
            is_shared: true,
            has_marked: false,
        }
    }

    fn after(log: ChangeLog, version: Version, max_uncommitted: NonZeroU32, skew: u64) -> Self {
        let journal = Journal::of_one(log, max_uncommitted, skew);
        Self { journal: Some(Box::new(journal)), is_shared: false, ..Self::shared(version) }
    }

    /// Continues a session that has a store of its own and was last stored at `stored_at`, at the present time `now`.
    pub(super) fn restored(
        log: ChangeLog,
        version: Version,
        max_uncommitted: NonZeroU32,
        (stored_at, now): (Instant, Instant),
        session: &[u8],
    ) -> Self {
        // Time goes on from where it was, and does not stand still until a clock that was set back has caught up.
        let skew = stored_at.as_micros().saturating_sub(now.as_micros());
        let mut durable = Self { is_stored: true, ..Self::after(log, version, max_uncommitted, skew) };
        if let Some(journal) = &mut durable.journal {
            journal.session = session.into();
        }
        durable
    }

    /// Continues a session with this number in a store that is shared, which may have ended.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn restored_shared(version: Version, number: u64, has_ended: bool) -> Self {
        Self { number, is_stored: !has_ended, has_marked: has_ended, ..Self::shared(version) }
    }

    /// Sets the numbers of a restored session.
    pub(crate) fn set_counters(&mut self, high_water: u64, next_order: u32, wills: Vec<StoredWill>) {
        (self.next_order, self.wills) = (next_order, wills);
        if let Some(journal) = &mut self.journal {
            journal.high_water = high_water;
        }
    }

    /// Removes the pairs that mean nothing.
    pub(super) fn remove_garbage(&mut self, garbage: &Garbage) {
        let Some(journal) = &mut self.journal else { return bug!("a session changes while it has the journal") };
        for &key in &garbage.keys {
            journal.log.remove(key);
        }
        for &(number, size) in &garbage.messages {
            remove_message(&mut journal.log, number, size);
        }
    }

    /// Lends the journal to the session, or takes it back.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) const fn swap_journal(&mut self, journal: &mut Option<Box<Journal>>) {
        core::mem::swap(&mut self.journal, journal);
    }

    /// Returns the number that the first held packet waits for, unless it was returned to the router before.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn newly_awaited(&mut self) -> Option<u64> {
        let held = || self.held.as_ref().and_then(|held| held.first());
        let first = if self.connack_waits_for == 0 { held()? } else { self.connack_waits_for };
        (core::mem::replace(&mut self.announced, first) != first).then_some(first)
    }

    /// Sets the mark of the messages that are stored from now on; 0 for none.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn set_mark(&mut self, mark: u32) {
        if let Some(journal) = &mut self.journal {
            journal.mark = mark;
        }
    }

    /// Notes that a stored message has a mark.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) const fn note_marked(&mut self) {
        self.has_marked = true;
    }

    /// Returns the number of the session in keys; `None` if it is not stored.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn stored_number(&self) -> Option<u64> {
        self.is_stored.then_some(self.number)
    }

    /// Returns the number of the session in keys; `None` if nothing was ever stored of it.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn number_in_keys(&self) -> Option<u64> {
        (self.number != SESSION).then_some(self.number)
    }

    /// Notes that the session depends on what is in the batch with this number.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn depends_on(&mut self, batch: u64) {
        self.changed_in = self.changed_in.max(batch);
    }

    pub(crate) fn owner(&self) -> Option<&Arc<str>> {
        self.routed.as_ref()?.owner.as_ref()
    }

    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn set_owner(&mut self, owner: Option<Arc<str>>) {
        if owner.is_some() || self.routed.is_some() {
            self.routed.get_or_insert_default().owner = owner;
        }
    }

    pub(crate) fn mount_point(&self) -> Option<&Arc<[u8]>> {
        self.routed.as_ref()?.mount_point.as_ref()
    }

    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn set_mount_point(&mut self, mount_point: Option<Arc<[u8]>>) {
        if mount_point.is_some() || self.routed.is_some() {
            self.routed.get_or_insert_default().mount_point = mount_point;
        }
    }

    /// Returns whether stored messages have numbers of their own: those of a stored session in a store that sessions share.
    pub(crate) const fn has_numbered_messages(&self) -> bool {
        self.is_shared && self.is_stored
    }

    /// Returns the size in bytes on the heap, with the box of this state.
    pub(crate) fn heap(&self) -> usize {
        let held = self.held.as_ref().map_or(0, |held| held.heap().saturating_add(size_of::<HeldPackets>()));
        let wills = self.wills.capacity().saturating_mul(size_of::<StoredWill>());
        let routed = self.routed.as_ref().map_or(0, |_| size_of::<Routed>());
        held.saturating_add(wills).saturating_add(routed).saturating_add(size_of::<Self>())
    }

    // Time.

    /// Returns the time of the session at this time of the caller.
    pub(crate) fn inside(&self, now: Instant) -> Instant {
        let skew = self.journal.as_ref().map_or(0, |journal| journal.skew);
        Instant::from_micros(now.as_micros().saturating_add(skew))
    }

    /// Returns the time of the caller at this time of the session.
    pub(crate) fn outside(&self, at: Instant) -> Instant {
        let skew = self.journal.as_ref().map_or(0, |journal| journal.skew);
        if at == Instant::NEVER { at } else { Instant::from_micros(at.as_micros().saturating_sub(skew)) }
    }

    // Batches.

    /// Begins a step: a command, or a call of `poll`, at this time of the caller. Returns the time of the session.
    /// `before` is that of the step before.
    #[cold]
    #[inline(never)]
    pub(crate) fn begin_step(&mut self, before: Instant, now: Instant) -> Instant {
        // The steps of a router are longer: it begins them itself.
        if self.is_shared {
            return now;
        }
        if let Some(journal) = &mut self.journal {
            journal.log.begin_step(before);
        }
        self.inside(now)
    }

    /// Returns whether input is not taken, because it would make more changes or answers than may wait.
    #[cold]
    #[inline(never)]
    pub(crate) fn leaves(&self, input: &[u8], answer_limit: u32) -> bool {
        self.held().answer_bytes() >= answer_limit || (self.is_full() && self.makes_changes(input))
    }

    /// Returns whether the packet causes changes to be stored: PUBLISH of QoS 1 or 2, SUBSCRIBE or UNSUBSCRIBE. A router
    /// stores retained messages of QoS 0, too.
    fn makes_changes(&self, packet: &[u8]) -> bool {
        match packet.first() {
            Some(0x31) => self.is_shared,
            first => matches!(first, Some(0x32..=0x37 | 0x3A..=0x3F | 0x80..=0x8F | 0xA0..=0xAF)),
        }
    }

    /// Returns the next batch to store; `None` if nothing has changed. `next_token` is the token that is assigned next.
    pub(crate) fn changes(&mut self, now: Instant, next_token: Token) -> Option<Batch> {
        let journal = self.journal.as_mut()?;
        // No token may be assigned again after a crash, whether its message is stored or not.
        if self.is_stored && next_token.get() > journal.high_water {
            journal.high_water = next_token.get().saturating_add(BLOCK);
            let value = journal.high_water.to_be_bytes();
            journal.log.put(Key::high_water(Counter::Token), &value);
        }
        journal.log.next_batch(now)
    }

    /// Returns a batch with the present state.
    pub(crate) fn snapshot<'w>(
        &mut self,
        now: Instant,
        deliveries: &Deliveries,
        wills: impl Iterator<Item = &'w Will>,
    ) -> Option<Batch> {
        let Journal { log, scratch, high_water, session, .. } = &mut **self.journal.as_mut()?;
        *high_water = (*high_water).max(deliveries.next_token().get());
        let (stored_wills, version, is_stored) = (&self.wills, self.version, self.is_stored);
        Some(log.snapshot(now, |put| {
            put(Key::high_water(Counter::Token), &high_water.to_be_bytes());
            if !is_stored {
                return;
            }
            put(Key::session(SESSION), session);
            for (&StoredWill { number, .. }, will) in stored_wills.iter().zip(wills) {
                put_will((SESSION, number), will, now, scratch, put);
            }
            put_deliveries(deliveries, version, scratch, put);
        }))
    }

    /// Notes that the batches up to this number are stored.
    pub(crate) fn committed(&mut self, number: u64) {
        if let Some(journal) = &mut self.journal {
            journal.log.committed(number);
        }
    }

    /// Returns whether the changes that are not committed exceed their maximum size, so that no input is taken that
    /// makes more of them.
    pub(crate) fn is_full(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.is_full())
    }

    // Packets that wait.

    /// Returns whether changes are not committed.
    pub(crate) fn is_waiting(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.log.uncommitted() != 0)
    }

    /// Returns whether input is taken, which is `left` or not, by the answers and the changes that wait.
    #[cold]
    #[inline(never)]
    pub(crate) fn takes_input(&self, answer_limit: u32, is_left: bool) -> bool {
        self.held().answer_bytes() < answer_limit && !(is_left && self.is_full())
    }

    /// Returns whether packets wait at all. In a store of its own, a session that is not stored promises nothing.
    pub(crate) const fn holds_packets(&self) -> bool {
        self.is_stored || self.is_shared
    }

    /// Returns whether a message of this QoS has to wait, of which the packet identifier is about to be stored.
    pub(crate) fn new_message_waits(&self, qos: QoS) -> bool {
        let waits = || self.journal.as_ref().is_none_or(|journal| journal.waits());
        self.is_stored && (self.held().has_messages() || (qos == QoS::ExactlyOnce && waits()))
    }

    /// Returns what a packet has to wait for; `None` if it does not have to wait, for this or for the packets before it.
    fn has_to_wait(&mut self, waits_for: WaitsFor) -> Option<u64> {
        if !self.holds_packets() {
            return None;
        }
        let Some(journal) = &mut self.journal else {
            bug!("a session is called while it has the journal");
            return None;
        };
        if !journal.waits() {
            return None;
        }
        let awaited = journal.wait(self.changed_in, waits_for);
        let is_first = self.held.as_ref().is_none_or(|held| held.is_empty());
        (!is_first || !journal.is_committed(awaited)).then_some(awaited)
    }

    /// Returns whether a packet has to wait, and holds it if so.
    pub(crate) fn holds(&mut self, packet: HeldPacket, waits_for: WaitsFor) -> bool {
        let Some(awaited) = self.has_to_wait(waits_for) else { return false };
        self.held.get_or_insert_default().push(awaited, packet);
        true
    }

    /// Returns whether a packet has to wait.
    pub(crate) fn must_wait(&mut self, waits_for: WaitsFor) -> bool {
        self.has_to_wait(waits_for).is_some()
    }

    /// Returns the next packet that need not wait any longer.
    pub(crate) fn next_released(&mut self) -> Option<HeldPacket> {
        let (held, journal) = (self.held.as_mut()?, self.journal.as_ref()?);
        let next = held.pop(|awaited| journal.is_committed(awaited));
        if held.is_empty() && self.is_shared {
            self.held = None;
        }
        next
    }

    pub(crate) fn held(&self) -> &HeldPackets {
        self.held.as_deref().unwrap_or(NOTHING_HELD)
    }

    /// Returns whether packets wait.
    #[inline]
    pub(crate) const fn has_held(&self) -> bool {
        self.held.is_some()
    }

    /// Holds CONNACK, and all output behind it, until all changes so far are committed. Returns whether it has to wait.
    pub(crate) fn hold_connack(&mut self) -> bool {
        let Some(journal) = &mut self.journal else { return false };
        if !journal.waits() {
            return false;
        }
        let batch = journal.wait(self.changed_in, WaitsFor::Changes);
        self.connack_waits_for = if journal.is_committed(batch) { 0 } else { batch };
        self.connack_waits_for != 0
    }

    /// Returns whether CONNACK waits.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) const fn holds_connack(&self) -> bool {
        self.connack_waits_for != 0
    }

    /// Returns whether CONNACK does not have to wait any longer.
    pub(crate) fn release_connack(&mut self) -> bool {
        let Some(journal) = &self.journal else { return false };
        let is_released = self.connack_waits_for != 0 && journal.is_committed(self.connack_waits_for);
        if is_released {
            self.connack_waits_for = 0;
        }
        is_released
    }

    /// Drops the packets that wait, because the connection has ended: nothing of what they say was said.
    pub(crate) fn close(&mut self) {
        self.held = None;
        self.connack_waits_for = 0;
        self.announced = 0;
    }

    /// Releases unused memory.
    pub(crate) fn shrink(&mut self) {
        if let Some(held) = &mut self.held {
            held.shrink();
        }
        if let Some(journal) = &mut self.journal {
            journal.scratch = Vec::new();
        }
    }
}
