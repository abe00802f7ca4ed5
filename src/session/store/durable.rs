//! The changes of a session's state that must survive a crash, and the packets that wait for them.

use alloc::vec::Vec;
use core::num::NonZeroU32;

use super::records::{DeliveryRecord, MessageHead, StoredStage, WillRecord, write_content};
use super::stored::Stored;
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
use crate::time::Instant;

/// What a durable session has beyond other sessions: the changes that are not committed, and the packets that wait for
/// them.
///
/// A packet waits for the last batch in which the session has changed: what the packet says, and what the peer can
/// conclude from it, is stored then. An acknowledgement of something that the application stores waits for the open
/// batch, with which the application stores it.
#[derive(Clone)]
pub(crate) struct Durable {
    log: ChangeLog,
    held: HeldPackets,
    /// The version in which messages are encoded.
    version: Version,
    /// The number of the batch for which CONNACK waits, with all output behind it; 0 for none.
    connack_waits_for: u64,
    /// Whether the session is stored: that of a server is, if it outlives its connection.
    is_stored: bool,
    max_uncommitted: u32,
    /// The time that is added to the time of the caller, in microseconds: the clock of this process may be behind that
    /// of the process before.
    skew: u64,
    /// The tokens below this number are covered by the stored high-water mark.
    high_water: u64,
    /// The order of the next PUBREL.
    next_order: u32,
    /// The numbers of the stored wills, in the order in which they are due. At most the last one is not due yet.
    wills: Vec<u64>,
    /// The value of the session's record.
    session: Vec<u8>,
    scratch: Vec<u8>,
}

/// The number of the session in keys: a store of one session contains no other.
pub(super) const SESSION: u64 = 0;

/// Tokens are covered by a high-water mark in blocks of this size.
const BLOCK: u64 = 1024;

/// Maximum size of an encoded message that has room in one value, in bytes.
const MAX_WHOLE: usize = MAX_CONTENT - MessageHead::SIZE;

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
    /// Creates the state of a session that is not [stored](Self::set_stored) yet.
    pub(crate) fn new(version: Version, max_uncommitted: NonZeroU32) -> Self {
        Self { is_stored: false, ..Self::after(ChangeLog::new(), version, max_uncommitted, 0) }
    }

    fn after(log: ChangeLog, version: Version, max_uncommitted: NonZeroU32, skew: u64) -> Self {
        Self {
            log,
            held: HeldPackets::default(),
            version,
            connack_waits_for: 0,
            is_stored: true,
            max_uncommitted: max_uncommitted.get(),
            skew,
            high_water: 1,
            next_order: 0,
            wills: Vec::new(),
            session: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Continues a session that was last stored at `stored_at`, at the present time `now`.
    pub(super) fn restored(
        log: ChangeLog,
        version: Version,
        max_uncommitted: NonZeroU32,
        (stored_at, now): (Instant, Instant),
        session: &[u8],
    ) -> Self {
        // Time goes on from where it was, and does not stand still until a clock that was set back has caught up.
        let skew = stored_at.as_micros().saturating_sub(now.as_micros());
        Self { session: session.into(), ..Self::after(log, version, max_uncommitted, skew) }
    }

    /// Sets the numbers of a restored session.
    pub(super) fn set_counters(&mut self, high_water: u64, next_order: u32, wills: Vec<u64>) {
        (self.high_water, self.next_order, self.wills) = (high_water, next_order, wills);
    }

    /// Removes the pairs that mean nothing.
    pub(super) fn remove_garbage(&mut self, garbage: &Garbage) {
        for &key in &garbage.keys {
            self.log.remove(key);
        }
        for &(number, size) in &garbage.messages {
            remove_message(&mut self.log, number, size);
        }
    }

    // Time.

    /// Returns the time of the session at this time of the caller.
    pub(crate) fn inside(&self, now: Instant) -> Instant {
        Instant::from_micros(now.as_micros().saturating_add(self.skew))
    }

    /// Returns the time of the caller at this time of the session.
    pub(crate) fn outside(&self, at: Instant) -> Instant {
        if at == Instant::NEVER { at } else { Instant::from_micros(at.as_micros().saturating_sub(self.skew)) }
    }

    // Batches.

    /// Begins a step: a command, or a call of `poll`, at this time of the caller. Returns the time of the session.
    /// `before` is that of the step before.
    #[cold]
    #[inline(never)]
    pub(crate) fn begin_step(&mut self, before: Instant, now: Instant) -> Instant {
        self.log.begin_step(before);
        self.inside(now)
    }

    /// Returns whether input is not taken, because it would make more changes or answers than may wait.
    #[cold]
    #[inline(never)]
    pub(crate) fn leaves(&self, input: &[u8], answer_limit: u32) -> bool {
        self.held.answer_bytes() >= answer_limit || (self.is_full() && makes_changes(input))
    }

    /// Returns the next batch to store; `None` if nothing has changed. `next_token` is the token that is assigned next.
    pub(crate) fn changes(&mut self, now: Instant, next_token: Token) -> Option<Batch> {
        // No token may be assigned again after a crash, whether its message is stored or not.
        if self.is_stored && next_token.get() > self.high_water {
            self.high_water = next_token.get().saturating_add(BLOCK);
            let value = self.high_water.to_be_bytes();
            self.log.put(Key::high_water(Counter::Token), &value);
        }
        self.log.next_batch(now)
    }

    /// Returns a batch with the present state.
    pub(crate) fn snapshot<'w>(
        &mut self,
        now: Instant,
        deliveries: &Deliveries,
        wills: impl Iterator<Item = &'w Will>,
    ) -> Batch {
        self.high_water = self.high_water.max(deliveries.next_token().get());
        let (high_water, session, numbers) = (self.high_water, &self.session, &self.wills);
        let (scratch, version, is_stored) = (&mut self.scratch, self.version, self.is_stored);
        self.log.snapshot(now, |put| {
            put(Key::high_water(Counter::Token), &high_water.to_be_bytes());
            if !is_stored {
                return;
            }
            put(Key::session(SESSION), session);
            for (&number, will) in numbers.iter().zip(wills) {
                put_will(number, will, now, scratch, put);
            }
            put_deliveries(deliveries, version, scratch, put);
        })
    }

    /// Notes that the batches up to this number are stored.
    pub(crate) fn committed(&mut self, number: u64) {
        self.log.committed(number);
    }

    /// Returns whether the changes that are not committed exceed their maximum size, so that no input is taken that
    /// makes more of them.
    pub(crate) fn is_full(&self) -> bool {
        self.log.uncommitted() > self.max_uncommitted as usize
    }

    // Packets that wait.

    /// Returns whether changes are not committed.
    pub(crate) fn is_waiting(&self) -> bool {
        self.log.uncommitted() != 0
    }

    /// Returns whether input is taken, which is `left` or not, by the answers and the changes that wait.
    #[cold]
    #[inline(never)]
    pub(crate) fn takes_input(&self, answer_limit: u32, is_left: bool) -> bool {
        self.held.answer_bytes() < answer_limit && !(is_left && self.is_full())
    }

    /// Returns whether a packet has to wait, and holds it if so.
    pub(crate) fn holds(&mut self, packet: HeldPacket, waits_for: WaitsFor) -> bool {
        if !self.is_stored {
            return false;
        }
        let batch = match waits_for {
            WaitsFor::Nothing => 0,
            WaitsFor::Changes => self.log.wait(),
            WaitsFor::Batch => self.log.wait_for_open(),
        };
        if self.held.is_empty() && self.log.is_committed(batch) {
            return false;
        }
        self.held.push(batch, packet);
        true
    }

    /// Returns whether a packet that depends on all changes so far has to wait.
    pub(crate) fn must_wait(&mut self) -> bool {
        let batch = self.log.wait();
        self.is_stored && !(self.held.is_empty() && self.log.is_committed(batch))
    }

    /// Returns the next packet that need not wait any longer.
    pub(crate) fn next_released(&mut self) -> Option<HeldPacket> {
        let log = &self.log;
        self.held.pop(|batch| log.is_committed(batch))
    }

    pub(crate) const fn held(&self) -> &HeldPackets {
        &self.held
    }

    /// Holds CONNACK, and all output behind it, until all changes so far are committed. Returns whether it has to wait.
    pub(crate) fn hold_connack(&mut self) -> bool {
        let batch = self.log.wait();
        self.connack_waits_for = if self.log.is_committed(batch) { 0 } else { batch };
        self.connack_waits_for != 0
    }

    /// Returns whether CONNACK does not have to wait any longer.
    pub(crate) fn release_connack(&mut self) -> bool {
        let is_released = self.connack_waits_for != 0 && self.log.is_committed(self.connack_waits_for);
        if is_released {
            self.connack_waits_for = 0;
        }
        is_released
    }

    /// Drops the packets that wait, because the connection has ended: nothing of what they say was said.
    pub(crate) fn close(&mut self) {
        self.held = HeldPackets::default();
        self.connack_waits_for = 0;
    }

    /// Releases unused memory.
    pub(crate) fn shrink(&mut self) {
        self.held.shrink();
        self.scratch = Vec::new();
    }

    // Changes of the session.

    /// Sets whether the session is stored from now on, and stores its deliveries when that begins. When it ends, the
    /// record of the session and its wills are removed; its deliveries have ended before. Returns whether it begins.
    pub(crate) fn set_stored(&mut self, is_stored: bool, deliveries: &Deliveries) -> bool {
        let was_stored = core::mem::replace(&mut self.is_stored, is_stored);
        let begins = is_stored && !was_stored;
        if begins {
            let Self { log, scratch, version, .. } = self;
            put_deliveries(deliveries, *version, scratch, &mut |key, value| log.put(key, value));
        } else if !is_stored {
            for number in core::mem::take(&mut self.wills) {
                self.log.remove(Key::will(SESSION, number));
                self.log.remove(Key::message(number));
            }
            self.remove_session();
        }
        begins
    }

    /// Sets the version in which messages are encoded from now on.
    pub(crate) const fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Stores the record of the session.
    pub(crate) fn set_session(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.scratch.clear();
        write(&mut self.scratch);
        if self.is_stored && self.scratch != self.session {
            core::mem::swap(&mut self.scratch, &mut self.session);
            self.log.put(Key::session(SESSION), &self.session);
        }
    }

    /// Removes the record of the session, which has ended.
    pub(crate) fn remove_session(&mut self) {
        if !core::mem::take(&mut self.session).is_empty() {
            self.log.remove(Key::session(SESSION));
        }
    }

    // Wills.

    /// Stores a will, which becomes due after all others.
    pub(crate) fn add_will(&mut self, token: Token, will: &Will, now: Instant) {
        if self.is_stored {
            let Self { log, scratch, wills, .. } = self;
            wills.push(token.get());
            put_will(token.get(), will, now, scratch, &mut |key, value| log.insert(key, value));
        }
    }

    /// Removes the will that is due first.
    pub(crate) fn remove_first_will(&mut self, will: &Will) {
        if !self.wills.is_empty() {
            let number = self.wills.remove(0);
            self.remove_will(number, will.heap());
        }
    }

    /// Removes the will that is due last.
    pub(crate) fn remove_last_will(&mut self, will: &Will) {
        if let Some(number) = self.wills.pop() {
            self.remove_will(number, will.heap());
        }
    }

    fn remove_will(&mut self, number: u64, size: usize) {
        self.log.remove(Key::will(SESSION, number));
        remove_message(&mut self.log, number, size);
    }

    // Deliveries.

    /// Stores a message that was accepted and is not sent yet.
    pub(crate) fn accepted(&mut self, waiting: &Waiting) {
        if self.is_stored {
            let Self { log, scratch, version, .. } = self;
            put_message(waiting, *version, scratch, &mut |key, value| log.insert(key, value));
            write_delivery(&queued_record(waiting, *version), scratch);
            log.insert(Key::delivery(SESSION, waiting.token.get()), scratch);
        }
    }

    /// Stores that a message is not sent yet.
    pub(crate) fn queued(&mut self, waiting: &Waiting) {
        if self.is_stored {
            let Self { log, scratch, version, .. } = self;
            write_delivery(&queued_record(waiting, *version), scratch);
            log.put(Key::delivery(SESSION, waiting.token.get()), scratch);
        }
    }

    /// Stores the stage of a message that was sent.
    pub(crate) fn sent(&mut self, id: PacketId, flow: &Flow) {
        if self.is_stored {
            let Self { log, scratch, version, .. } = self;
            let Some(record) = flow_record(id, flow, *version) else { return };
            write_delivery(&record, scratch);
            log.put(Key::delivery(SESSION, flow.token.get()), scratch);
        }
    }

    /// Removes a delivery that has ended, with its message if that is still stored: `size` is its size, or 0.
    pub(crate) fn ended(&mut self, token: Token, size: usize) {
        if self.is_stored {
            self.log.remove(Key::delivery(SESSION, token.get()));
            self.message_ended(token, size);
        }
    }

    /// Removes the message of a delivery that continues without it: `size` is its size, or 0 if it was removed before.
    pub(crate) fn message_ended(&mut self, token: Token, size: usize) {
        if self.is_stored && size != 0 {
            remove_message(&mut self.log, token.get(), size);
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
            self.log.insert(Key::received(SESSION, id), &[]);
        }
    }

    /// Stores that a received message of QoS 2 was released.
    pub(crate) fn released(&mut self, id: PacketId) {
        if self.is_stored {
            self.log.remove(Key::received(SESSION, id));
        }
    }
}

/// Returns whether the packet causes changes to be stored: PUBLISH of QoS 1 or 2, SUBSCRIBE or UNSUBSCRIBE.
const fn makes_changes(packet: &[u8]) -> bool {
    matches!(packet.first(), Some(0x32..=0x37 | 0x3A..=0x3F | 0x80..=0x8F | 0xA0..=0xAF))
}

/// Removes a message of this size in bytes, which is that of its content or more, but for a few bytes.
fn remove_message(log: &mut ChangeLog, number: u64, size: usize) {
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

fn queued_record(waiting: &Waiting, version: Version) -> DeliveryRecord {
    let qos = if let Kind::Message(qos) = waiting.kind { qos } else { QoS::AtLeastOnce };
    let (retain, identifiers) = copy_fields(&waiting.stored, version);
    let message = waiting.token.get();
    DeliveryRecord { qos, retain, is_reported: false, stage: StoredStage::Queued, message, identifiers }
}

/// Returns the record of a message in flight; `None` for a request, which is not stored.
fn flow_record(id: PacketId, flow: &Flow, version: Version) -> Option<DeliveryRecord> {
    let qos = if flow.stage == Stage::PubAck { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
    let is_reported = flow.is_reported;
    let without_message = |stage| {
        let (retain, message, identifiers) = (false, 0, Vec::new());
        DeliveryRecord { qos, retain, is_reported, stage, message, identifiers }
    };
    match flow.stage {
        Stage::PubAck | Stage::PubRec if !flow.is_reported => {
            let (retain, identifiers) = copy_fields(&flow.stored, version);
            let (stage, message) = (StoredStage::Sent(id), flow.token.get());
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

/// Puts all deliveries and their messages, and the received messages of QoS 2.
fn put_deliveries(deliveries: &Deliveries, version: Version, scratch: &mut Vec<u8>, put: &mut Put<'_>) {
    let outbound = deliveries.outbound();
    for (id, flow) in outbound.messages().chain(outbound.given_up()) {
        let Some(record) = flow_record(id, flow, version) else { continue };
        if record.message != 0 {
            let Flow { token, since, expires_after, ref stored, .. } = *flow;
            put_stored(token.get(), since, expires_after, stored, version, scratch, put);
        }
        write_delivery(&record, scratch);
        put(Key::delivery(SESSION, flow.token.get()), scratch);
    }
    for waiting in deliveries.queued_messages() {
        put_message(waiting, version, scratch, put);
        write_delivery(&queued_record(waiting, version), scratch);
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
    put_content(number, since, expires_after, &MessageRef::of(&publish), payload, scratch, put);
}

fn put_will(number: u64, will: &Will, now: Instant, scratch: &mut Vec<u8>, put: &mut Put<'_>) {
    let message = Message::try_from(will);
    match message.as_ref().map(Message::checked) {
        Ok(Ok(message)) => put_content(number, now, u32::MAX, &message, message.payload, scratch, put),
        _ => bug!("a received will is a valid message"),
    }
    let Will { qos, retain, delay_interval, .. } = *will;
    scratch.clear();
    WillRecord { qos, retain, delay_interval }.write(scratch);
    put(Key::will(SESSION, number), scratch);
}

/// Puts the head of a message and, if the message is large, its parts.
fn put_content(
    number: u64,
    since: Instant,
    expires_after: u32,
    message: &MessageRef<'_>,
    payload: &[u8],
    scratch: &mut Vec<u8>,
    put: &mut Put<'_>,
) {
    scratch.clear();
    MessageHead { since, expires_after, size: 0 }.write(scratch);
    if let Err(error) = write_content(message, payload, scratch) {
        return bug!("a stored message can be encoded: {error}");
    }
    let size = scratch.len().saturating_sub(MessageHead::SIZE);
    if let Some(field) = scratch.get_mut(MessageHead::SIZE - 4..MessageHead::SIZE) {
        field.copy_from_slice(&(size as u32).to_be_bytes());
    }
    if size <= MAX_WHOLE {
        return put(Key::message(number), scratch);
    }
    let (head, content) = scratch.split_at(MessageHead::SIZE);
    put(Key::message(number), head);
    for (part, bytes) in (0..).zip(content.chunks(MAX_CONTENT)) {
        put(Key::part(number, part), bytes);
    }
    *scratch = Vec::new();
}
