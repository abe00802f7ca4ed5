//! The changes of a session's state that must survive a crash, and the packets that wait for them.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use super::journal::{BLOCK, Journal, WillInStore};
use super::records::{DeliveryRecord, MessageHead, StoredStage, WillRecord, write_content};
use super::stored::{InStore, Stored};
use crate::codec::{PacketId, QoS, SubscriptionIdentifier, Version};
use crate::session::deliveries::Deliveries;
use crate::session::deliveries::outbound::Flow;
use crate::session::deliveries::queue::{Kind, Waiting};
use crate::session::deliveries::stage::Stage;
use crate::session::link::held::{HeldPacket, HeldPackets, WaitsFor};
use crate::session::message::Message;
use crate::session::message_ref::MessageRef;
use crate::session::token::Token;
use crate::session::will::Will;
use crate::store::{Batch, ChangeLog, Counter, Key, MAX_CONTENT};
use crate::sync::Arc;
use crate::time::Instant;

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
    /// The user who has begun the session.
    owner: Option<Arc<str>>,
    /// The order of the next PUBREL.
    next_order: u32,
    /// The version in which messages are encoded.
    version: Version,
    /// Whether the session is stored: that of a server is, if it outlives its connection.
    is_stored: bool,
    /// Whether the journal is shared with other sessions.
    is_shared: bool,
}

// Each byte counts: a router has many sessions.
const _: () = assert!(size_of::<usize>() != 8 || size_of::<Durable>() <= 96);

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
pub(super) const SESSION: u64 = 0;

/// Maximum size of an encoded message that has room in one value, in bytes.
const MAX_WHOLE: usize = MAX_CONTENT - MessageHead::SIZE;

/// No packet waits.
const NOTHING_HELD: &HeldPackets = &HeldPackets::new();

/// Pairs of a store that mean nothing, because others are missing.
#[derive(Default)]
pub(super) struct Garbage {
    pub(super) keys: Vec<Key>,
    /// The numbers of messages, with their sizes in bytes.
    pub(super) messages: Vec<(u64, usize)>,
}

/// A place for pairs.
type Put<'a> = dyn FnMut(Key, &[u8]) + 'a;

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
            owner: None,
            next_order: 0,
            version,
            is_stored: false,
            is_shared: true,
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

    /// Continues a session with this number in a store that is shared.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn restored_shared(version: Version, number: u64, owner: Option<Arc<str>>) -> Self {
        Self { number, owner, is_stored: true, ..Self::shared(version) }
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

    pub(crate) const fn owner(&self) -> Option<&Arc<str>> {
        self.owner.as_ref()
    }

    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn set_owner(&mut self, owner: Option<Arc<str>>) {
        self.owner = owner;
    }

    /// Returns the size in bytes on the heap, with the box of this state.
    pub(crate) fn heap(&self) -> usize {
        let held = self.held.as_ref().map_or(0, |held| held.heap().saturating_add(size_of::<HeldPackets>()));
        let wills = self.wills.capacity().saturating_mul(size_of::<StoredWill>());
        held.saturating_add(wills).saturating_add(size_of::<Self>())
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

    /// Returns what a packet has to wait for; `None` if it does not have to wait, for this or for the packets before it.
    fn has_to_wait(&mut self, waits_for: WaitsFor) -> Option<u64> {
        if !self.holds_packets() {
            return None;
        }
        let Some(journal) = &mut self.journal else {
            bug!("a session is called while it has the journal");
            return None;
        };
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

    // Changes of the session.

    /// Changes pairs of the session: `change` gets the journal and the number of the session.
    fn change(&mut self, change: impl FnOnce(&mut Journal, u64)) {
        let Some(journal) = &mut self.journal else { return bug!("a session changes while it has the journal") };
        change(journal, self.number);
        self.changed_in = journal.log.number();
    }

    /// Returns whether pairs are removed: those of a session that is stored, or was.
    const fn has_pairs(&self) -> bool {
        self.is_stored || self.number != SESSION
    }

    /// Sets whether the session is stored from now on, and stores its deliveries when that begins. When it ends, the
    /// record of the session and its wills are removed. Its deliveries have ended before, or mean nothing without the
    /// record. Returns whether it begins.
    pub(crate) fn set_stored(&mut self, is_stored: bool, deliveries: &Deliveries) -> bool {
        let was_stored = self.is_stored;
        let begins = is_stored && !was_stored;
        if begins {
            self.is_stored = true;
            if self.is_shared && self.number == SESSION {
                self.number = self.journal.as_mut().map_or(SESSION, |journal| journal.new_session_number());
            }
            let (version, is_shared) = (self.version, self.is_shared);
            self.change(|Journal { log, scratch, .. }, _| {
                if is_shared {
                    return; // the session is new
                }
                put_deliveries(deliveries, version, scratch, &mut |key, value| log.put(key, value));
            });
        } else if was_stored && !is_stored {
            let wills = core::mem::take(&mut self.wills);
            self.change(|journal, session| wills.iter().for_each(|will| journal.remove_will(will.of(session))));
            self.remove_session();
        }
        self.is_stored = is_stored;
        begins
    }

    /// Sets the version in which messages are encoded from now on.
    pub(crate) const fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Stores the record of the session.
    pub(crate) fn set_session(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.is_stored {
            return;
        }
        let is_shared = self.is_shared;
        let Some(journal) = &mut self.journal else { return bug!("a session changes while it has the journal") };
        let Journal { scratch, session, .. } = &mut **journal;
        scratch.clear();
        write(scratch);
        if !is_shared {
            if scratch == session {
                return;
            }
            core::mem::swap(scratch, session);
        }
        self.change(|Journal { log, scratch, session, .. }, number| {
            log.put(Key::session(number), if is_shared { scratch } else { session });
        });
    }

    /// Removes the record of the session, which has ended. Whatever else is stored of it means nothing then.
    pub(crate) fn remove_session(&mut self) {
        let has_record = self.is_stored
            && match &mut self.journal {
                Some(journal) if !self.is_shared => !core::mem::take(&mut journal.session).is_empty(),
                _ => true,
            };
        if has_record {
            self.change(|journal, number| journal.remove(Key::session(number)));
        }
        if self.is_shared {
            self.is_stored = false;
        }
    }

    // Wills.

    /// Stores a will, which becomes due after all others.
    pub(crate) fn add_will(&mut self, token: Token, will: &Will, now: Instant) {
        if !self.is_stored {
            return;
        }
        let is_shared = self.is_shared;
        let Some(journal) = &mut self.journal else { return bug!("a session changes while it has the journal") };
        let number = if is_shared { journal.new_message_number() } else { token.get() };
        self.wills.push(StoredWill::new(number, will));
        self.change(|Journal { log, scratch, .. }, session| {
            put_will((session, number), will, now, scratch, &mut |key, value| log.insert(key, value));
        });
    }

    /// Removes the will that is due first and is going to be published.
    pub(crate) fn publish_first_will(&mut self) {
        if !self.wills.is_empty() {
            let will = self.wills.remove(0);
            self.publish_will(will);
        }
    }

    /// Removes the will that is due last and is going to be published.
    pub(crate) fn publish_last_will(&mut self) {
        if let Some(will) = self.wills.pop() {
            self.publish_will(will);
        }
    }

    /// Removes the will that would be due last and is discarded.
    pub(crate) fn discard_last_will(&mut self) {
        if let Some(will) = self.wills.pop() {
            self.change(|journal, session| journal.remove_will(will.of(session)));
        }
    }

    /// In a shared store, a will is removed with the end of its publication.
    fn publish_will(&mut self, will: StoredWill) {
        let is_shared = self.is_shared;
        self.change(|journal, session| {
            let will = will.of(session);
            if is_shared { journal.set_published_will(will) } else { journal.remove_will(will) }
        });
    }

    // Deliveries.

    /// Returns the number of the message of a delivery.
    const fn message_of(&self, token: Token, stored: InStore) -> u64 {
        if self.is_shared { stored.number } else { token.get() }
    }

    /// Stores a message that was accepted and is not sent yet. In a shared store it is the current one of the journal,
    /// which is stored when its publication is complete.
    pub(crate) fn accepted(&mut self, waiting: &mut Waiting) {
        if !self.is_stored {
            return;
        }
        let (version, is_shared) = (self.version, self.is_shared);
        self.change(|journal, session| {
            let mut number = waiting.token.get();
            if is_shared {
                number = journal.refer_to_current();
                waiting.stored.set_number(number);
            }
            let Journal { log, scratch, .. } = journal;
            if !is_shared {
                put_message(waiting, version, scratch, &mut |key, value| log.insert(key, value));
            }
            write_delivery(&queued_record(waiting, number, version), scratch);
            log.insert(Key::delivery(session, waiting.token.get()), scratch);
        });
    }

    /// Stores that a message is not sent yet.
    pub(crate) fn queued(&mut self, waiting: &Waiting) {
        if self.is_stored {
            let (version, number) = (self.version, self.message_of(waiting.token, waiting.stored.in_store()));
            self.change(|Journal { log, scratch, .. }, session| {
                write_delivery(&queued_record(waiting, number, version), scratch);
                log.put(Key::delivery(session, waiting.token.get()), scratch);
            });
        }
    }

    /// Stores the stage of a message that was sent.
    pub(crate) fn sent(&mut self, id: PacketId, flow: &Flow) {
        if self.is_stored {
            let number = self.message_of(flow.token, flow.stored.in_store());
            let Some(record) = flow_record(id, flow, number, self.version) else { return };
            self.change(|Journal { log, scratch, .. }, session| {
                write_delivery(&record, scratch);
                log.put(Key::delivery(session, flow.token.get()), scratch);
            });
        }
    }

    /// Removes a delivery that has ended, with its message if that is still stored.
    pub(crate) fn ended(&mut self, token: Token, stored: InStore) {
        if self.has_pairs() {
            self.change(|journal, session| journal.log.remove(Key::delivery(session, token.get())));
        }
        self.message_ended(token, stored);
    }

    /// Removes the message of a delivery that continues without it, unless it was removed before.
    pub(crate) fn message_ended(&mut self, token: Token, stored: InStore) {
        if self.is_shared {
            if stored.number != 0 {
                self.change(|journal, _| journal.release(stored.number));
            }
        } else if self.is_stored && stored.size != 0 {
            self.change(|journal, _| remove_message(&mut journal.log, token.get(), stored.size));
        }
    }

    /// Returns whether the changes of the session are stored.
    pub(crate) const fn is_stored(&self) -> bool {
        self.is_stored
    }

    /// Returns the order of the next PUBREL.
    pub(crate) const fn next_order(&self) -> u32 {
        self.next_order
    }

    /// Notes that the order of the next PUBREL was used.
    pub(crate) const fn order_used(&mut self) {
        self.next_order = self.next_order.wrapping_add(1);
    }

    /// Stores that ownership of a received message of QoS 2 was accepted.
    pub(crate) fn received(&mut self, id: PacketId) {
        if self.is_stored {
            self.change(|journal, session| journal.log.insert(Key::received(session, id), &[]));
        }
    }

    /// Stores that a received message of QoS 2 was released.
    pub(crate) fn released(&mut self, id: PacketId) {
        if self.has_pairs() {
            self.change(|journal, session| journal.log.remove(Key::received(session, id)));
        }
    }
}

/// Removes a message of this size in bytes, which is that of its content or more, but for a few bytes.
pub(super) fn remove_message(log: &mut ChangeLog, number: u64, size: usize) {
    /// Number of bytes by which the content may be larger: fields that the version of the session does not have.
    const MORE: usize = 64;
    log.remove(Key::message(number));
    let size = size.saturating_add(MORE);
    if size > MAX_WHOLE {
        for part in 0..size.div_ceil(MAX_CONTENT) as u32 {
            log.remove(Key::part(number, part));
        }
    }
}

fn write_delivery(record: &DeliveryRecord, scratch: &mut Vec<u8>) {
    scratch.clear();
    record.write(scratch);
}

fn queued_record(waiting: &Waiting, message: u64, version: Version) -> DeliveryRecord {
    let qos = if let Kind::Message(qos) = waiting.kind { qos } else { QoS::AtLeastOnce };
    let (retain, identifiers) = copy_fields(&waiting.stored, version);
    DeliveryRecord { qos, retain, is_reported: false, stage: StoredStage::Queued, message, identifiers }
}

/// Returns the record of a message in flight; `None` for a request, which is not stored.
fn flow_record(id: PacketId, flow: &Flow, message: u64, version: Version) -> Option<DeliveryRecord> {
    let qos = if flow.stage == Stage::PubAck { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
    let is_reported = flow.is_reported;
    let without_message = |stage| {
        let (retain, message, identifiers) = (false, 0, Vec::new());
        DeliveryRecord { qos, retain, is_reported, stage, message, identifiers }
    };
    match flow.stage {
        Stage::PubAck | Stage::PubRec if !flow.is_reported => {
            let (retain, identifiers) = copy_fields(&flow.stored, version);
            let stage = StoredStage::Sent(id);
            Some(DeliveryRecord { qos, retain, is_reported, stage, message, identifiers })
        }
        // After a crash a message that was given up is not sent again.
        Stage::PubAck | Stage::PubRec | Stage::GivenUp => Some(without_message(StoredStage::GivenUp(id))),
        Stage::PubComp { code, order } => Some(without_message(StoredStage::Released { id, code, order })),
        Stage::SubAck(_) | Stage::UnsubAck(_) => None,
    }
}

/// Returns the fields of a stored message that belong to its delivery.
fn copy_fields(stored: &Stored, version: Version) -> (bool, Vec<SubscriptionIdentifier>) {
    match stored.as_publish(version) {
        Some(publish) => (publish.retain, publish.properties.subscription_identifiers.iter().collect()),
        None => {
            bug!("a stored message cannot be read");
            (false, Vec::new())
        }
    }
}

/// Puts all deliveries of a store of one session and their messages, and the received messages of QoS 2.
fn put_deliveries(deliveries: &Deliveries, version: Version, scratch: &mut Vec<u8>, put: &mut Put<'_>) {
    let outbound = deliveries.outbound();
    for (id, flow) in outbound.messages().chain(outbound.given_up()) {
        let Some(record) = flow_record(id, flow, flow.token.get(), version) else { continue };
        if record.message != 0 {
            let Flow { token, since, expires_after, ref stored, .. } = *flow;
            put_stored(token.get(), since, expires_after, stored, version, scratch, put);
        }
        write_delivery(&record, scratch);
        put(Key::delivery(SESSION, flow.token.get()), scratch);
    }
    for waiting in deliveries.queued_messages() {
        put_message(waiting, version, scratch, put);
        write_delivery(&queued_record(waiting, waiting.token.get(), version), scratch);
        put(Key::delivery(SESSION, waiting.token.get()), scratch);
    }
    for id in deliveries.inbound().accepted() {
        put(Key::received(SESSION, id), &[]);
    }
}

fn put_message(waiting: &Waiting, version: Version, scratch: &mut Vec<u8>, put: &mut Put<'_>) {
    let Waiting { token, since, expires_after, ref stored, .. } = *waiting;
    put_stored(token.get(), since, expires_after, stored, version, scratch, put);
}

fn put_stored(
    number: u64,
    since: Instant,
    expires_after: u32,
    stored: &Stored,
    version: Version,
    scratch: &mut Vec<u8>,
    put: &mut Put<'_>,
) {
    let Some(publish) = stored.as_publish(version) else { return bug!("a stored message cannot be read") };
    let payload = stored.payload().map_or(publish.payload, |payload| &payload[..]);
    let _size = put_content(number, since, expires_after, &MessageRef::of(&publish), payload, scratch, put);
}

fn put_will((session, number): (u64, u64), will: &Will, now: Instant, scratch: &mut Vec<u8>, put: &mut Put<'_>) {
    let message = Message::try_from(will);
    match message.as_ref().map(Message::checked) {
        Ok(Ok(message)) => drop(put_content(number, now, u32::MAX, &message, message.payload, scratch, put)),
        _ => bug!("a received will is a valid message"),
    }
    let Will { qos, retain, delay_interval, .. } = *will;
    scratch.clear();
    WillRecord { qos, retain, delay_interval }.write(scratch);
    put(Key::will(session, number), scratch);
}

/// Puts the head of a message and, if the message is large, its parts. Returns the size of the content in bytes.
pub(super) fn put_content(
    number: u64,
    since: Instant,
    expires_after: u32,
    message: &MessageRef<'_>,
    payload: &[u8],
    scratch: &mut Vec<u8>,
    put: &mut Put<'_>,
) -> usize {
    scratch.clear();
    MessageHead { since, expires_after, size: 0 }.write(scratch);
    if let Err(error) = write_content(message, payload, scratch) {
        bug!("a stored message can be encoded: {error}");
        return 0;
    }
    let size = scratch.len().saturating_sub(MessageHead::SIZE);
    if let Some(field) = scratch.get_mut(MessageHead::SIZE - 4..MessageHead::SIZE) {
        field.copy_from_slice(&(size as u32).to_be_bytes());
    }
    if size <= MAX_WHOLE {
        put(Key::message(number), scratch);
        return size;
    }
    let (head, content) = scratch.split_at(MessageHead::SIZE);
    put(Key::message(number), head);
    for (part, bytes) in (0..).zip(content.chunks(MAX_CONTENT)) {
        put(Key::part(number, part), bytes);
    }
    *scratch = Vec::new();
    size
}
