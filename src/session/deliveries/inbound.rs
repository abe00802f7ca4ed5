//! Received messages of QoS 1 and 2 whose delivery is not complete (sections 4.3 and 4.5).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::ack::OrderedAck;
use super::id_set::IdSet;
use crate::codec::{PacketId, PubAckReasonCode, QoS};
use crate::heap_size;

/// The received messages whose delivery is not complete.
#[derive(Clone, Default)]
pub(crate) struct Inbound {
    /// Messages of QoS 2 that have been delivered, and whose PUBREL has not arrived \[MQTT-4.3.3-10\].
    received: IdSet,
    /// Number of acknowledgements that complete a delivery and were made since bytes were last taken from the output.
    unsent_acks: u16,
    /// Number of the connection, by which handles of earlier connections are refused.
    connection: u32,
    /// Number of the handle that is issued next.
    next_number: u32,
    /// The message that arrived last, if the application has not acknowledged it and nothing has arrived since. An
    /// application that acknowledges each message at once needs no other memory.
    latest: Option<Owed>,
    rare: Option<Box<Rare>>,
}

/// A message that the application has not acknowledged.
#[derive(Clone, Copy)]
struct Owed {
    id: PacketId,
    qos: QoS,
}

/// State that most sessions do not have.
#[derive(Clone, Default)]
struct Rare {
    /// The messages in `received` that arrived on an earlier connection, and not again on this one: they do not count
    /// against the Receive Maximum of this connection (section 4.9).
    carried: IdSet,
    /// Acknowledgements that wait for the application, or for earlier ones, in the order of reception; `latest` follows
    /// them.
    acks: VecDeque<OrderedAck>,
    /// Number of acknowledgements in `acks` that are for QoS 1 or for a duplicate; the others are counted in
    /// `received`.
    extra: u16,
}

/// Identifies a received message that the application must acknowledge with the command `ack`.
///
/// A handle is valid for the session and for the connection on which the message arrived. The session refuses a
/// handle of an earlier connection; a handle of another session is not detected, and may acknowledge another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AckHandle {
    connection: u32,
    number: u32,
}

/// The classification of an arriving message of QoS 1 or 2.
pub(crate) enum Arrival {
    /// The message is new.
    New,
    /// The message was delivered before.
    Duplicate,
    /// The message exceeds the Receive Maximum.
    ConnectionLimit,
}

/// The reason why a handle is refused.
pub(crate) enum NotOwed {
    EarlierConnection,
    Used,
}

impl Inbound {
    /// Returns whether something is on the heap.
    #[inline]
    pub(crate) const fn has_heap(&self) -> bool {
        self.received.has_heap() | self.rare.is_some()
    }

    /// Returns the size in bytes on the heap.
    pub(crate) fn heap(&self) -> usize {
        self.received.heap().saturating_add(self.rare.as_ref().map_or(0, |rare| {
            let acks = heap_size::queue(&rare.acks).saturating_add(rare.carried.heap());
            acks.saturating_add(core::mem::size_of::<Rare>())
        }))
    }

    /// Registers an arriving message of QoS 1 or 2.
    #[inline]
    pub(crate) fn arrive(&mut self, id: PacketId, qos: QoS, receive_maximum: u16) -> Arrival {
        let is_duplicate = qos == QoS::ExactlyOnce && self.received.contains(id);
        let takes_quota = !is_duplicate || self.is_pending();
        if takes_quota && self.open() >= usize::from(receive_maximum) {
            return Arrival::ConnectionLimit;
        }
        if is_duplicate {
            // A duplicate whose acknowledgement has to wait is counted by that acknowledgement.
            if !takes_quota {
                self.no_longer_carried(id);
            }
            return Arrival::Duplicate;
        }
        if qos == QoS::ExactlyOnce {
            self.received.insert(id);
        }
        Arrival::New
    }

    /// Returns the least number of messages that the peer must count against the Receive Maximum.
    fn open(&self) -> usize {
        let (carried, extra) = self.rare.as_ref().map_or((0, 0), |rare| (rare.carried.len(), usize::from(rare.extra)));
        let latest = usize::from(self.latest.is_some_and(|latest| latest.qos == QoS::AtLeastOnce));
        let received = self.received.len().saturating_sub(carried);
        received.saturating_add(extra).saturating_add(latest).saturating_add(usize::from(self.unsent_acks))
    }

    /// Records that an acknowledgement that completes a delivery was made.
    #[inline]
    pub(crate) const fn acked(&mut self) {
        self.unsent_acks = self.unsent_acks.saturating_add(1);
    }

    /// Records that bytes have been taken from the output; `held` is the number of acknowledgements that complete a
    /// delivery and are not in the output yet.
    #[inline]
    pub(crate) const fn sent(&mut self, held: u16) {
        self.unsent_acks = held;
    }

    /// Removes a message from `carried`, because the message has arrived again or its delivery is complete; returns
    /// whether it was in there.
    fn no_longer_carried(&mut self, id: PacketId) -> bool {
        self.rare.as_mut().is_some_and(|rare| rare.carried.remove(id))
    }

    /// Processes PUBREL; returns whether there is a message with this identifier.
    pub(crate) fn release(&mut self, id: PacketId) -> bool {
        let is_there = self.received.remove(id);
        if is_there && !self.no_longer_carried(id) {
            self.acked(); // by the PUBCOMP that is going to be sent
        }
        is_there
    }

    /// Removes a refused message: a further PUBLISH with its identifier is a new message \[MQTT-4.3.3-9\].
    pub(crate) fn refuse(&mut self, id: PacketId) {
        self.received.remove(id);
    }

    /// Adds a message that the application has to acknowledge.
    #[inline]
    pub(crate) fn expect(&mut self, id: PacketId, qos: QoS) -> AckHandle {
        if let Some(older) = self.latest.replace(Owed { id, qos }) {
            self.push(OrderedAck::waiting(older.id, older.qos));
        }
        self.issue()
    }

    /// Adds the acknowledgement of a duplicate, which waits for earlier ones.
    pub(crate) fn expect_duplicate(&mut self, id: PacketId) {
        if let Some(older) = self.latest.take() {
            self.push(OrderedAck::waiting(older.id, older.qos));
        }
        self.push(OrderedAck::duplicate(id));
        self.issue();
    }

    const fn issue(&mut self) -> AckHandle {
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        AckHandle { connection: self.connection, number }
    }

    #[cold]
    fn push(&mut self, ack: OrderedAck) {
        let rare = self.rare.get_or_insert_default();
        rare.extra = rare.extra.saturating_add(u16::from(ack.is_extra()));
        rare.acks.push_back(ack);
    }

    /// Returns whether acknowledgements wait, so that further ones have to wait behind them.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.latest.is_some() || self.queued_acks() != 0
    }

    #[inline]
    fn queued_acks(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.acks.len())
    }

    /// Returns the position of the acknowledgement of a handle in the order of reception: that of `latest` is behind
    /// the queued ones.
    #[inline]
    fn position(&self, ack_handle: AckHandle) -> usize {
        let waiting = (self.queued_acks() as u32).wrapping_add(u32::from(self.latest.is_some()));
        ack_handle.number.wrapping_sub(self.next_number.wrapping_sub(waiting)) as usize
    }

    /// Returns the message of a handle, if the application has not acknowledged it.
    pub(crate) fn owed(&self, ack_handle: AckHandle) -> Result<(PacketId, QoS), NotOwed> {
        if ack_handle.connection != self.connection {
            return Err(NotOwed::EarlierConnection);
        }
        let position = self.position(ack_handle);
        if let Some(latest) = self.latest
            && position == self.queued_acks()
        {
            return Ok((latest.id, latest.qos));
        }
        let ack = self.rare.as_ref().and_then(|rare| rare.acks.get(position)).filter(|ack| !ack.is_ready());
        ack.map(|ack| (ack.id, ack.qos)).ok_or(NotOwed::Used)
    }

    /// Removes the acknowledgement of a handle that is [owed](Self::owed), if it is the first in the order of
    /// reception, so that it can be sent at once; returns whether it was the first.
    #[inline]
    pub(crate) fn take_first(&mut self, ack_handle: AckHandle) -> bool {
        let is_first = self.position(ack_handle) == 0;
        if is_first && self.pop().is_none() {
            self.latest = None;
        }
        is_first
    }

    /// Accepts ownership of a message that is acknowledged later, whatever becomes of the connection. The handle may be
    /// that of an earlier connection: it has no effect then.
    pub(crate) fn accept(&mut self, ack_handle: AckHandle) {
        if self.owed(ack_handle).is_ok()
            && let Some(ack) = self.queued_ack(ack_handle)
        {
            ack.accept();
        }
    }

    /// Returns the acknowledgement of a handle that is [owed](Self::owed), which is queued from now on.
    fn queued_ack(&mut self, ack_handle: AckHandle) -> Option<&mut OrderedAck> {
        let position = self.position(ack_handle);
        if position == self.queued_acks()
            && let Some(latest) = self.latest.take()
        {
            self.push(OrderedAck::waiting(latest.id, latest.qos));
        }
        self.rare.as_mut()?.acks.get_mut(position)
    }

    /// Sets the decision of the application about a handle that is [owed](Self::owed), for an acknowledgement that
    /// waits for earlier ones. `packet` is the encoded acknowledgement, if it has properties.
    pub(crate) fn decide(&mut self, ack_handle: AckHandle, reason_code: PubAckReasonCode, packet: Option<Box<[u8]>>) {
        match self.queued_ack(ack_handle) {
            Some(ack) => ack.decide(reason_code, packet),
            None => bug!("the acknowledgement of a valid ack_handle waits"),
        }
    }

    /// Removes and returns the next acknowledgement that can be sent, in the order of reception \[MQTT-4.6.0-2,
    /// MQTT-4.6.0-3\].
    #[inline]
    pub(crate) fn next_ready(&mut self) -> Option<OrderedAck> {
        if !self.rare.as_ref()?.acks.front()?.is_ready() {
            return None;
        }
        let ack = self.pop()?;
        if ack.is_duplicate() {
            self.no_longer_carried(ack.id);
        }
        Some(ack)
    }

    /// Removes the first queued acknowledgement.
    fn pop(&mut self) -> Option<OrderedAck> {
        let rare = self.rare.as_mut()?;
        let ack = rare.acks.pop_front()?;
        rare.extra = rare.extra.saturating_sub(u16::from(ack.is_extra()));
        Some(ack)
    }

    /// Returns whether a message of QoS 2 has been delivered, and neither been refused nor released.
    pub(crate) fn has(&self, id: PacketId) -> bool {
        self.received.contains(id)
    }

    /// Resets the state of the connection. Ownership of a message that the application has not acknowledged, or has
    /// refused, is not accepted: the peer sends the message again, and it is delivered again.
    pub(crate) fn disconnected(&mut self) {
        let acks = self.rare.take().map(|rare| rare.acks).unwrap_or_default();
        let unaccepted = acks.into_iter().filter(|ack| !ack.is_duplicate() && !ack.is_success());
        let unaccepted = unaccepted.map(|ack| Owed { id: ack.id, qos: ack.qos }).chain(self.latest.take());
        for owed in unaccepted.filter(|owed| owed.qos == QoS::ExactlyOnce) {
            self.received.remove(owed.id);
        }
        self.connection = self.connection.wrapping_add(1);
        self.unsent_acks = 0;
        self.carry();
    }

    /// Marks all received messages as messages of an earlier connection.
    fn carry(&mut self) {
        if self.received.len() != 0 {
            self.rare.get_or_insert_default().carried = self.received.clone();
        }
    }

    /// Removes all messages, because the session ended.
    pub(crate) fn forget(&mut self) {
        self.received.clear();
        if let Some(rare) = &mut self.rare {
            rare.carried.clear();
        }
    }

    /// Returns the number of messages of QoS 2 that have been delivered and not been released.
    pub(crate) const fn unreleased(&self) -> usize {
        self.received.len()
    }

    /// Returns the messages of QoS 2 of which ownership was accepted, and whose PUBREL has not arrived.
    pub(crate) fn accepted(&self) -> Vec<PacketId> {
        let mut accepted = self.received.clone();
        let acks = self.rare.iter().flat_map(|rare| &rare.acks);
        let unaccepted = acks.filter(|ack| !ack.is_duplicate() && !ack.is_success()).map(|ack| (ack.id, ack.qos));
        let latest = self.latest.iter().map(|latest| (latest.id, latest.qos));
        for (id, _) in unaccepted.chain(latest).filter(|&(_, qos)| qos == QoS::ExactlyOnce) {
            accepted.remove(id);
        }
        accepted.iter().collect()
    }

    /// Returns the messages of QoS 2 that have been delivered, and whose PUBREL has not arrived.
    pub(crate) fn received(&self) -> impl Iterator<Item = PacketId> {
        self.received.iter()
    }

    /// Restores the received messages of QoS 2 of a stored session.
    pub(crate) fn restore(&mut self, ids: impl IntoIterator<Item = PacketId>) {
        for id in ids {
            self.received.insert(id);
        }
        self.carry();
    }
}
