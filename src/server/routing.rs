//! The interface between sessions and a router: the operations of a broker on a [`ServerSession`] or an
//! [`Acceptor`](super::Acceptor) beyond their public commands.
//!
//! This code is compiled the same way with and without a broker, and does not depend on one.
//!
//! | operation | purpose |
//! |---|---|
//! | [`Copies`], [`ServerSession::forward`], [`ServerSession::forward_plain`] | deliver one message to many sessions, and encode it once |
//! | [`ServerSession::advance_output`], [`ServerSession::has_work`] | do the work of [`poll`](ServerSession::poll), without input |
//! | [`ServerSession::accept_ownership`] | a message that is acknowledged later, whatever becomes of the connection |
//! | [`ServerSession::timeout`], [`ServerSession::reset_keep_alive`] | the time of the next timeout, and its postponement |
//! | [`ServerSession::takes_qos_0`], [`ServerSession::is_ready_for`], [`ServerSession::has_open_window`], [`ServerSession::has_room_for`], [`ServerSession::has_spare_room`] | whether the session accepts a message now |
//! | [`ServerSession::stored`], [`ServerSession::has_queued`], [`ServerSession::buffers`], [`ServerSession::heap_without_buffers`], [`ServerSession::received_heap`], [`ServerSession::bytes_sent`], [`ServerSession::is_full`] | the messages and bytes that the session stores and has sent |
//! | [`ServerSession::without_client`], [`ServerSession::take_message`], [`ServerSession::has_room_to_queue`] | a session of the router's own, which takes its messages itself |
//! | [`ServerSession::detach`], [`ServerSession::take_apart`] | the end of a connection or session: the rest of the output, and messages for other sessions |
//! | [`ServerSession::make_durable`], [`ServerSession::swap_journal`], [`ServerSession::newly_awaited`], [`ServerSession::release`] | a durable router: all sessions share its journal, which is lent to a session while it is called |
//! | [`ServerSession::restore_routed`], [`ServerSession::set_restored`] | a session of a router is restored |
//! | `Acceptor::{check, client, asks_clean_start, new_session, is_written, is_full, heap}` | the state of a client before it is accepted |

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use super::action::Action;
use super::config::ServerConfig;
use super::session::{Marked, ServerSession};
use super::state::{DueWills, State};
use crate::codec::{Delivery, EncodeError, PacketId, PublishProperties, QoS, SubscriptionIdentifier, Version};
use crate::heap_size;
use crate::session::{
    AckHandle, Admission, Deliveries, Durable, Endpoint, Engine, Journal, LARGE, MessageRef, PayloadAccount,
    PublishError, RestoredDeliveries, ServerRecord, StoredWill, Transmit, Waiting, Will,
};
use crate::sync::Arc;
use crate::time::Instant;
use crate::topic::TopicName;

/// A message that is delivered to many sessions. A packet that is the same for several of them is encoded once.
pub(crate) struct Copies<'a> {
    now: Instant,
    /// The message. Its payload is empty if the payload is large: then the payload is in `large`.
    message: MessageRef<'a>,
    large: Option<Bytes>,
    /// Remaining lifetime of the message, in seconds; `u32::MAX`: the message does not expire.
    expires_after: u32,
    /// Mark of the copies that are stored, see [`Marked`]; 0 for none.
    mark: u32,
    /// The account in which a large payload is counted.
    account: Option<Arc<PayloadAccount>>,
    encoded: &'a mut Encoded,
}

/// Size of a subscription identifier, a packet identifier and the length fields.
const MORE: usize = 16;

/// Buffers for the QoS 0 packets with and without properties, retained and not, which are reused to save allocations.
/// An empty buffer contains no packet yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Encoded([Vec<u8>; 4]);

impl<'a> Copies<'a> {
    /// Prepares a message for the delivery to many sessions. All copies share a large payload; a payload that is not
    /// shared and counted already is copied once for that.
    pub(crate) fn new(
        now: Instant,
        message: &MessageRef<'a>,
        shared: Option<Bytes>,
        expires_after: u32,
        account: &Arc<PayloadAccount>,
        encoded: &'a mut Encoded,
    ) -> Self {
        encoded.0.iter_mut().for_each(Vec::clear);
        let copied = || PayloadAccount::share(account, Bytes::copy_from_slice(message.payload));
        let large = shared.or_else(|| (message.payload.len() >= LARGE).then(copied));
        let payload = if large.is_some() { &[] } else { message.payload };
        let account = large.as_ref().map(|_| Arc::clone(account));
        Self { now, message: MessageRef { payload, ..*message }, large, expires_after, mark: 0, account, encoded }
    }

    /// Sets the mark of the copies that are stored from now on.
    pub(crate) const fn set_mark(&mut self, mark: u32) {
        self.mark = mark;
    }

    /// Delivers the message as a client under a mount point sees it: without that at the beginning of the topic and of the
    /// Response Topic. `None` if the message is not under it, or if its topic begins with `$` behind it.
    #[cold]
    pub(crate) fn mounted<T>(&mut self, mount: &[u8], deliver: impl FnOnce(&Copies<'_>) -> T) -> Option<T> {
        let own = |topic: TopicName<'a>| topic.as_bytes().strip_prefix(mount).filter(|own| !own.is_empty());
        let topic = TopicName::validated(own(self.message.topic).filter(|own| own.first() != Some(&b'$'))?);
        let response_topic = self.message.properties.response_topic.and_then(own).map(TopicName::validated);
        let properties = PublishProperties { response_topic, ..*self.message.properties };
        let Self { now, ref message, ref large, expires_after, mark, ref account, ref mut encoded } = *self;
        let message = MessageRef { topic, properties: &properties, ..*message };
        let (large, account) = (large.clone(), account.clone());
        Some(deliver(&Copies { now, message, large, expires_after, mark, account, encoded }))
    }

    /// Returns the QoS with which the message was published.
    #[inline]
    pub(crate) const fn qos(&self) -> QoS {
        self.message.qos
    }

    /// Returns the RETAIN flag with which the message was published.
    #[inline]
    pub(crate) const fn retain(&self) -> bool {
        self.message.retain
    }

    /// Returns the number of additional bytes that a stored copy takes, apart from small fields. A large payload does
    /// not count, because it is shared.
    pub(crate) const fn size(&self) -> u64 {
        let (topic, payload) = (self.message.topic.as_bytes().len(), self.message.payload.len());
        (topic as u64).saturating_add(payload as u64)
    }

    /// Returns the encoded QoS 0 packet.
    #[inline]
    fn plain(&mut self, version: Version, retain: bool) -> Result<&[u8], EncodeError> {
        let is_v5 = version == Version::V5;
        let index = usize::from(is_v5).wrapping_mul(2).wrapping_add(usize::from(retain));
        let Some(packet) = self.encoded.0.get_mut(index) else { return Ok(&[]) };
        if packet.is_empty() {
            encode_plain(&self.message, version, retain, packet)?;
        }
        Ok(packet)
    }
}

#[cold]
fn encode_plain(
    message: &MessageRef<'_>,
    version: Version,
    retain: bool,
    packet: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let none = PublishProperties::default();
    let properties = if version == Version::V5 { message.properties } else { &none };
    let message = MessageRef { retain, properties, ..*message };
    message.as_publish(Delivery::AtMostOnce, message.payload).encode(version, packet).map(drop)
}

/// A message of a session that has ended.
pub(crate) enum Remains {
    /// Another session may deliver the message.
    Marked(Marked),
    /// The message is lost.
    Abandoned,
    /// The message was given up before, and that was reported.
    Reported,
}

impl ServerSession {
    /// Appends the shared encoding of a message to the output, if the copy is of QoS 0 and needs no encoding of its
    /// own. Returns whether it was appended, and if so, whether the buffer of the output has grown. The copy has no token and
    /// no outcome.
    #[inline(always)]
    pub(crate) fn forward_plain(
        &mut self,
        copies: &mut Copies<'_>,
        qos: QoS,
        retain: bool,
        identifiers: &[SubscriptionIdentifier],
    ) -> Option<bool> {
        if qos != QoS::AtMostOnce || !identifiers.is_empty() || copies.large.is_some() {
            return None;
        }
        let limits = self.limits();
        if !self.engine.takes_encoded(&limits) {
            return None;
        }
        let Ok(packet) = copies.plain(self.engine.version(), retain) else { return None };
        let fits = packet.len() <= limits.max_packet_size as usize;
        fits.then(|| self.engine.append_encoded(packet))
    }

    /// Publishes a copy of a message, with this QoS and RETAIN flag and these subscription identifiers.
    pub(crate) fn forward(
        &mut self,
        copies: &Copies<'_>,
        qos: QoS,
        retain: bool,
        identifiers: &[SubscriptionIdentifier],
    ) -> Result<(), PublishError> {
        if matches!(self.state, State::Expired) {
            return Err(PublishError::NotConnected);
        }
        // The expiry interval counts from now, not from the session's last event. Many queues may have expired, and the message
        // that goes to all of them finds room in each when one message is gone.
        self.engine.advance_in_steps(copies.now, 1);
        let properties = match self.engine.version() {
            Version::V5 => {
                PublishProperties { subscription_identifiers: identifiers.into(), ..*copies.message.properties }
            }
            Version::V31 | Version::V311 => PublishProperties::default(),
        };
        let message = MessageRef { qos, retain, properties: &properties, ..copies.message };
        if copies.mark == 0 {
            return self.forward_message(copies, &message);
        }
        self.set_mark(copies.mark);
        let done = self.forward_message(copies, &message);
        self.set_mark(0);
        done
    }

    /// Sets the mark with which a durable session stores messages.
    fn set_mark(&mut self, mark: u32) {
        if let Some(durable) = self.engine.durable_mut() {
            durable.set_mark(mark);
        }
    }

    /// Publishes a copy, which has its own QoS, RETAIN flag and subscription identifiers.
    fn forward_message(&mut self, copies: &Copies<'_>, message: &MessageRef<'_>) -> Result<(), PublishError> {
        let limits = self.limits();
        let engine = &mut self.engine;
        let token = match engine.publish_checked(&limits, message, copies.large.as_ref(), copies.expires_after) {
            Err(PublishError::QueueFull) => return self.forward_without_expired(copies, message),
            published => published?,
        };
        if copies.mark != 0 || copies.account.is_some() {
            engine.label_last(token, copies.mark, copies.account.as_ref());
        }
        Ok(())
    }

    /// Publishes a copy again, for which there was no room in the queue: a long message may need the room of many that have
    /// expired.
    #[cold]
    #[inline(never)]
    fn forward_without_expired(&mut self, copies: &Copies<'_>, message: &MessageRef<'_>) -> Result<(), PublishError> {
        self.engine.advance(copies.now);
        let limits = self.limits();
        let engine = &mut self.engine;
        let token = engine.publish_checked(&limits, message, copies.large.as_ref(), copies.expires_after)?;
        engine.label_last(token, copies.mark, copies.account.as_ref());
        Ok(())
    }

    /// Does the work of [`poll`](Self::poll) without input: sends `most` units of queued messages, where each is one, and one
    /// more for each 256 bytes that are copied and each eight user properties. Adds the units to `done`, and one for each
    /// message that has expired. An incomplete packet of the client stays as it is, and the keep-alive timeout is not checked.
    ///
    /// Without a connection, no more than `most` expired messages are dropped.
    pub(crate) fn advance_output<'a>(&mut self, now: Instant, most: u32, done: &mut u64) -> Option<Action<'a>> {
        let (queued, is_detached) = (self.engine.deliveries().queued(), self.state.is_detached());
        self.engine.advance_in_steps(now, if is_detached { most } else { u32::MAX });
        if queued != 0 {
            let expired = queued.saturating_sub(self.engine.deliveries().queued());
            *done = done.saturating_add(expired as u64);
        }
        if is_detached {
            return self.poll_detached();
        }
        self.note_sent();
        if !self.engine.has_report() && self.engine.deliveries().has_backlog() {
            *done = done.saturating_add(self.send_backlog(most));
        }
        if self.engine.has_report() {
            return self.engine.next_report();
        }
        if self.due_wills.is_some() || self.state.is_closing() { self.finish_closing() } else { None }
    }

    /// Returns whether [`advance_output`](Self::advance_output) has something to do.
    #[inline(always)]
    pub(crate) fn has_work(&self) -> bool {
        self.engine.has_report()
            || self.due_wills.is_some()
            || self.state.is_closing()
            || (self.engine.deliveries().has_backlog() && self.engine.can_send_more(&self.limits()))
    }

    /// Accepts ownership of a message that is acknowledged later: if the connection is lost before, a message of QoS 2 counts
    /// as received all the same, and is not delivered again. Returns the packet identifier of such a message.
    pub(crate) fn accept_ownership(&mut self, ack_handle: AckHandle) -> Option<PacketId> {
        self.engine.promise_ack(ack_handle)
    }

    /// Makes a new session of a durable router durable: its journal is [lent](Self::swap_journal) to it.
    pub(crate) fn make_durable(&mut self) {
        self.engine.set_durable(Some(Durable::shared(self.engine.version())));
    }

    /// Lends the journal to the session, or takes it back.
    #[inline]
    pub(crate) fn swap_journal(&mut self, journal: &mut Option<Box<Journal>>) {
        if let Some(durable) = self.engine.durable_mut() {
            durable.swap_journal(journal);
        }
    }

    /// Returns what the first packet that waits is waiting for, if that was not returned before: see
    /// [`Journal::is_committed`].
    #[inline]
    pub(crate) fn newly_awaited(&mut self) -> Option<u64> {
        self.engine.durable_mut()?.newly_awaited()
    }

    /// Sends what has waited for changes that are committed now; returns its size in bytes.
    pub(crate) fn release(&mut self, now: Instant) -> usize {
        self.engine.advance_in_steps(now, 0);
        let (limits, before) = (self.limits(), self.engine.output().len());
        if self.engine.release(&limits) {
            self.reset_keep_alive_now();
        }
        self.engine.output().len().saturating_sub(before)
    }

    /// Lets the packets that promise something wait until the batch with this number is committed: it contains what the
    /// session has published.
    pub(crate) fn depends_on(&mut self, batch: u64) {
        if let Some(durable) = self.engine.durable_mut() {
            durable.depends_on(batch);
        }
    }

    /// Stores that ownership of a message of QoS 2 was accepted, if the message was not released since.
    pub(crate) fn store_received(&mut self, id: PacketId) {
        self.engine.store_received(id);
    }

    /// Returns the number of the session in the keys of a durable store; `None` if it is not stored.
    pub(crate) fn stored_number(&self) -> Option<u64> {
        self.engine.durable()?.stored_number()
    }

    /// Returns the number of the session in the keys of a durable store; `None` if nothing was ever stored of it.
    pub(crate) fn number_in_keys(&self) -> Option<u64> {
        self.engine.durable()?.number_in_keys()
    }

    /// Sets the user who has begun the session, and stores it.
    pub(crate) fn set_owner(&mut self, owner: Option<Arc<str>>) {
        if let Some(durable) = self.engine.durable_mut() {
            durable.set_owner(owner);
            self.store_session();
        }
    }

    /// Sets what the topics of the client begin with for the router, and not for the client, and stores it if it is another.
    pub(crate) fn set_mount_point(&mut self, mount_point: Option<&Arc<[u8]>>) {
        if let Some(durable) = self.engine.durable_mut()
            && durable.mount_point() != mount_point
        {
            durable.set_mount_point(mount_point.cloned());
            self.store_session();
        }
    }

    /// Creates a session that never has a client: it does not expire, and queues messages until the router
    /// [takes](Self::take_message) them. To queue messages of QoS 0 is a setting of the configuration.
    pub(crate) fn without_client(config: Arc<ServerConfig>) -> Self {
        Self { is_routed: true, ..Self::new(config, Version::V5) }
    }

    /// Takes the oldest queued message out of a session that has no connection. Of messages that have expired, which are given
    /// up, no more than `most` and one are looked at; adds their number to `expired`.
    pub(crate) fn take_message(&mut self, now: Instant, most: u32, expired: &mut u64) -> Option<Waiting> {
        let queued = self.engine.deliveries().queued();
        self.engine.advance_in_steps(now, most);
        let gone = queued.saturating_sub(self.engine.deliveries().queued());
        *expired = expired.saturating_add(gone as u64);
        let waiting = self.engine.take_queued()?;
        if waiting.is_expired(self.engine.now()) {
            self.engine.expired(&waiting);
            *expired = expired.saturating_add(1);
            return None;
        }
        Some(waiting)
    }

    /// Returns whether one more message of about this size can be queued without dropping another. An empty session queues a
    /// message of any size.
    pub(crate) fn has_room_to_queue(&self, size: usize) -> bool {
        self.engine.deliveries().budget().fits(self.limits().budget, size.saturating_add(MORE), (0, 0))
    }

    /// Creates a session of a router that is restored, with this number in keys, without its wills and deliveries. Until
    /// these are [set](Self::set_restored) it is not to be used.
    pub(crate) fn restore_routed(
        config: Arc<ServerConfig>,
        record: &ServerRecord<'_>,
        number: u64,
        now: Instant,
    ) -> Self {
        let mut durable = Durable::restored_shared(record.version, number, record.has_ended);
        durable.set_owner(record.owner.map(Arc::from));
        durable.set_mount_point(record.mount_point.map(Arc::from));
        let engine = Engine::restored(record.version, now, durable, Deliveries::new());
        Self { is_routed: true, ..Self::with_record(config, record, engine) }
    }

    /// Sets the deliveries and the wills of a restored session, whose record is `record`.
    pub(crate) fn set_restored(
        &mut self,
        record: &ServerRecord<'_>,
        deliveries: RestoredDeliveries,
        received: Vec<PacketId>,
        wills: Vec<(u64, Will)>,
    ) {
        let has_marked = deliveries.has_marked();
        let (deliveries, next_order) = deliveries.finish(received, 0);
        self.engine.set_deliveries(deliveries);
        let stored_wills = wills.iter().map(|(number, will)| StoredWill::new(*number, will)).collect();
        if let Some(durable) = self.engine.durable_mut() {
            durable.set_counters(0, next_order, stored_wills);
            if has_marked {
                durable.note_marked();
            }
        }
        let wills = wills.into_iter().map(|(_, will)| will).collect();
        self.set_wills(record, wills);
        if record.ends.is_none() && !record.has_ended {
            self.store_session();
        }
    }

    /// Returns whether CONNACK waits for changes to be committed.
    pub(crate) fn holds_connack(&self) -> bool {
        self.engine.durable().is_some_and(Durable::holds_connack)
    }

    /// Returns whether input was left because too many changes are not committed, or too many answers wait.
    pub(crate) fn has_left_input(&self) -> bool {
        self.engine.has_left_input()
    }

    /// Returns whether a SUBACK waits for changes to be committed.
    pub(crate) fn holds_suback(&self) -> bool {
        self.engine.durable().is_some_and(|durable| durable.held().has_requests())
    }

    /// Returns whether input is not accepted because answers to it wait for changes to be committed.
    pub(crate) fn is_held_up(&self) -> bool {
        self.engine.durable().is_some_and(Durable::has_held) && self.is_full()
    }

    /// Returns whether a will is to be published now.
    pub(crate) const fn has_due_will(&self) -> bool {
        self.due_wills.is_some()
    }

    /// Restarts the keep-alive interval, because input of the client was not accepted until now.
    pub(crate) fn reset_keep_alive(&mut self, now: Instant) {
        self.engine.advance(now);
        self.reset_keep_alive_now();
    }

    /// Ends the connection, and returns the rest of its output. The bytes in it count as sent.
    pub(crate) fn detach(&mut self, now: Instant) -> Transmit {
        let rest = self.engine.hand_over_output();
        self.closed(now);
        rest
    }

    /// Takes the next message out of a session that has ended; `None` after the last one.
    pub(crate) fn take_apart(&mut self) -> Option<Remains> {
        let version = self.engine.version();
        let Some(message) = self.engine.take_apart() else {
            if let Some(durable) = self.engine.durable_mut() {
                durable.forget_ended();
            }
            return None;
        };
        Some(match message {
            Some(message) if message.mark != 0 => Remains::Marked(Marked { version, message }),
            Some(message) => {
                if let Some(durable) = self.engine.durable_mut() {
                    durable.message_ended(message.token, message.stored.in_store());
                }
                Remains::Abandoned
            }
            None => Remains::Reported,
        })
    }

    /// Returns whether a QoS 0 message is sent or queued. Without a connection it is refused, unless the configuration
    /// queues such messages.
    pub(crate) fn takes_qos_0(&self) -> bool {
        !matches!(self.engine.admission(&self.limits(), QoS::AtMostOnce), Admission::Refuse(_))
    }

    /// Returns the number of queued and in-flight messages, and their size in bytes.
    #[inline]
    pub(crate) const fn stored(&self) -> (u32, u32) {
        (self.engine.deliveries().budget().count(), self.engine.deliveries().budget().bytes())
    }

    /// Returns whether messages are queued, in addition to those in flight.
    #[inline]
    pub(crate) fn has_queued(&self) -> bool {
        self.engine.deliveries().has_queued()
    }

    /// Returns the size in bytes of the output and of the table of messages in flight. Stored messages do not count, nor does a
    /// shared payload in the output.
    #[inline]
    pub(crate) fn buffers(&self) -> usize {
        self.engine.buffers()
    }

    /// Returns whether the session has something on the heap besides [buffers](Self::buffers) that changes while it has a
    /// connection. Its client identifier and its will do not.
    #[inline]
    pub(crate) const fn has_more_heap(&self) -> bool {
        self.due_wills.is_some() | self.state.has_heap() | self.engine.has_more_heap()
    }

    /// As [`has_more_heap`](Self::has_more_heap), of a session that [has no work](Self::has_work), except for requests of the
    /// client that are not answered.
    #[inline]
    pub(crate) const fn has_rare_heap(&self) -> bool {
        self.engine.has_rare_heap()
    }

    /// Returns the size in bytes of what the session has on the heap besides stored messages and [buffers](Self::buffers):
    /// its client identifier, its wills, topic aliases, and tables of requests and received messages. `has_more` is
    /// [`has_more_heap`](Self::has_more_heap).
    #[inline]
    pub(crate) fn heap_without_buffers(&self, has_more: bool) -> usize {
        let will = self.will.as_ref().map_or(0, |will| will.heap().saturating_add(core::mem::size_of_val(&**will)));
        let own = self.client_id.len().saturating_add(will).saturating_add(self.engine.durable_heap());
        if has_more { own.saturating_add(self.more_heap()) } else { own }
    }

    #[inline(never)]
    fn more_heap(&self) -> usize {
        let due = self.due_wills.as_ref().map_or(0, |due| {
            let wills = due.iter().map(Will::heap).fold(heap_size::queue(due), usize::saturating_add);
            wills.saturating_add(core::mem::size_of::<DueWills>())
        });
        due.saturating_add(self.state.heap()).saturating_add(self.engine.more_heap())
    }

    /// Returns the size in bytes of what the client makes the session hold beside messages to it: topic aliases, and
    /// identifiers of messages that are not released.
    pub(crate) fn received_heap(&self) -> usize {
        self.engine.aliases().saturating_add(self.engine.deliveries().inbound().heap())
    }

    /// Returns the numbers of the stored messages in a durable store that is shared, for tests.
    pub(crate) fn numbers_in_store(&self) -> impl Iterator<Item = u64> {
        let deliveries = self.engine.deliveries();
        let in_flight = deliveries.outbound().messages().map(|(_, flow)| flow.stored.in_store().number);
        let queued = deliveries.queued_messages().map(|waiting| waiting.stored.in_store().number);
        in_flight.chain(queued).filter(|&number| number != 0)
    }

    /// Returns the number of queued and in-flight messages.
    pub(crate) fn load(&self) -> usize {
        self.engine.deliveries().budget().count() as usize
    }

    /// Returns whether one more small message would be sent at once, without queueing it.
    pub(crate) fn is_ready_for(&self, qos: QoS) -> bool {
        self.has_room_for(qos, 0)
    }

    /// Returns whether one more message, whose topic, payload and properties have about this size, would be sent at
    /// once, without queueing it. An empty session stores a message of any size until it is acknowledged.
    pub(crate) fn has_room_for(&self, qos: QoS, size: usize) -> bool {
        self.engine.sends_at_once(&self.limits(), qos, size.saturating_add(MORE))
    }

    /// Returns whether one more message, whose topic and payload have this size, would take no more memory than the session
    /// has for its output and its tables; the message itself does not count.
    pub(crate) fn has_spare_room(&self, qos: QoS, size: usize) -> bool {
        /// Size of a subscription identifier, a packet identifier, a few properties and the length fields.
        const MORE: usize = 64;
        let output = self.engine.output();
        match qos {
            QoS::AtMostOnce => size.saturating_add(MORE).saturating_add(output.len()) <= output.capacity(),
            _ => self.has_open_window() && !self.has_queued() && self.engine.deliveries().outbound().has_spare_id(),
        }
    }

    /// Returns whether one more message in flight needs no larger table than that of a few.
    #[inline]
    pub(crate) fn has_spare_id(&self) -> bool {
        self.engine.deliveries().outbound().has_spare_id()
    }

    /// Returns whether there is a connection on which one more QoS 1 or QoS 2 message can be in flight.
    pub(crate) fn has_open_window(&self) -> bool {
        self.engine.has_open_window(&self.limits())
    }

    /// Returns the number of bytes that have been written on this connection.
    #[inline]
    pub(crate) const fn bytes_sent(&self) -> u64 {
        self.engine.output().taken()
    }

    /// Returns whether input is not accepted because too many answers wait to be written.
    pub(crate) fn is_full(&self) -> bool {
        !self.engine.has_room_for_answers(&self.limits())
    }
}
