//! Received messages of QoS 1 and 2 whose delivery is not complete (sections 4.3 and 4.5).

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::ack::OrderedAck;
use super::id_set::IdSet;
use crate::codec::{PacketId, QoS};

/// The received messages whose delivery is not complete.
#[derive(Clone, Default)]
pub(crate) struct Inbound {
    /// Messages of QoS 2 that have been delivered, and whose PUBREL has not arrived \[MQTT-4.3.3-10\].
    received: IdSet,
    /// The messages in `received` that arrived on an earlier connection, and not again on this one: they do not count
    /// against the Receive Maximum of this connection (section 4.9).
    carried: Option<Box<IdSet>>,
    /// Number of acknowledgements that complete a delivery and were put into the output since bytes were last taken
    /// from it.
    unsent_acks: u16,
    /// Number of the connection, by which receipts of earlier connections are refused.
    connection: u32,
    /// Acknowledgements that the application owes, in the order of reception.
    pending: Option<Box<Pending>>,
}

/// Acknowledgements that wait for the application, or for earlier ones.
#[derive(Clone, Default)]
struct Pending {
    /// The number of the first acknowledgement in `acks`.
    first: u32,
    acks: VecDeque<OrderedAck>,
    /// Number of acknowledgements in `acks` that are for QoS 1 or for a duplicate; the others are counted in
    /// `received`.
    extra: u16,
}

/// Identifies a received message that the application must acknowledge with the command `ack`.
///
/// A receipt is valid for the session and for the connection on which the message arrived. The session refuses a
/// receipt of an earlier connection; a receipt of another session is not detected, and may acknowledge another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
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
    TooMany,
}

/// The reason why a receipt is refused.
pub(crate) enum BadReceipt {
    EarlierConnection,
    Used,
}

impl Inbound {
    /// Registers an arriving message of QoS 1 or 2.
    #[inline]
    pub(crate) fn arrive(&mut self, id: PacketId, qos: QoS, receive_maximum: u16) -> Arrival {
        let is_duplicate = qos == QoS::ExactlyOnce && self.received.contains(id);
        let takes_quota = !is_duplicate || self.is_pending();
        if takes_quota && self.open() >= usize::from(receive_maximum) {
            return Arrival::TooMany;
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
        let carried = self.carried.as_ref().map_or(0, |carried| carried.len());
        let received = self.received.len().saturating_sub(carried);
        let pending = self.pending.as_ref().map_or(0, |pending| usize::from(pending.extra));
        received.saturating_add(pending).saturating_add(usize::from(self.unsent_acks))
    }

    /// Records that an acknowledgement that completes a delivery was put into the output.
    #[inline]
    pub(crate) const fn acked(&mut self) {
        self.unsent_acks = self.unsent_acks.saturating_add(1);
    }

    /// Records that bytes have been taken from the output.
    #[inline]
    pub(crate) const fn sent(&mut self) {
        self.unsent_acks = 0;
    }

    /// Removes a message from `carried`, because the message has arrived again or its delivery is complete; returns
    /// whether it was in there.
    fn no_longer_carried(&mut self, id: PacketId) -> bool {
        let Some(carried) = &mut self.carried else { return false };
        let was_carried = carried.remove(id);
        if carried.len() == 0 {
            self.carried = None;
        }
        was_carried
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

    /// Adds an acknowledgement that waits for the application; that of a duplicate waits only for earlier ones.
    pub(crate) fn expect(&mut self, ack: OrderedAck) -> Receipt {
        let connection = self.connection;
        let pending = self.pending.get_or_insert_default();
        let number = pending.first.wrapping_add(pending.acks.len() as u32);
        pending.extra = pending.extra.saturating_add(u16::from(ack.is_extra()));
        pending.acks.push_back(ack);
        Receipt { connection, number }
    }

    /// Returns whether acknowledgements wait, so that further ones have to wait behind them.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| !pending.acks.is_empty())
    }

    /// Returns the acknowledgement of a receipt, if the application has not given it yet.
    pub(crate) fn pending(&mut self, receipt: Receipt) -> Result<&mut OrderedAck, BadReceipt> {
        if receipt.connection != self.connection {
            return Err(BadReceipt::EarlierConnection);
        }
        let pending = self.pending.as_mut().ok_or(BadReceipt::Used)?;
        let place = receipt.number.wrapping_sub(pending.first) as usize;
        pending.acks.get_mut(place).filter(|ack| !ack.is_ready()).ok_or(BadReceipt::Used)
    }

    /// Removes the acknowledgement of a receipt if it is the first in the order of reception, so that it can be sent at
    /// once; returns whether it was the first.
    #[inline]
    pub(crate) fn take_first(&mut self, receipt: Receipt) -> bool {
        let Some(pending) = &mut self.pending else { return false };
        if receipt.connection != self.connection || receipt.number != pending.first {
            return false;
        }
        let Some(first) = pending.acks.pop_front() else { return false };
        pending.first = pending.first.wrapping_add(1);
        pending.extra = pending.extra.saturating_sub(u16::from(first.is_extra()));
        true
    }

    /// Removes and returns the next acknowledgement that can be sent, in the order of reception \[MQTT-4.6.0-2,
    /// MQTT-4.6.0-3\].
    pub(crate) fn next_ready(&mut self) -> Option<OrderedAck> {
        let pending = self.pending.as_mut()?;
        let ready = pending.acks.front().is_some_and(OrderedAck::is_ready);
        let ack = if ready { pending.acks.pop_front() } else { None }?;
        pending.first = pending.first.wrapping_add(1);
        pending.extra = pending.extra.saturating_sub(u16::from(ack.is_extra()));
        if ack.is_duplicate() {
            self.no_longer_carried(ack.id);
        }
        Some(ack)
    }

    /// Returns whether a message of QoS 2 has been delivered, and neither been refused nor released.
    pub(crate) fn has(&self, id: PacketId) -> bool {
        self.received.contains(id)
    }

    /// Resets the state of the connection. Ownership of a message that the application has not acknowledged, or has
    /// refused, is not accepted: the peer sends the message again, and it is delivered again.
    pub(crate) fn disconnected(&mut self) {
        if let Some(pending) = self.pending.take() {
            for ack in pending.acks {
                if ack.qos == QoS::ExactlyOnce && !ack.is_duplicate() && !ack.is_success() {
                    self.received.remove(ack.id);
                }
            }
        }
        self.connection = self.connection.wrapping_add(1);
        self.unsent_acks = 0;
        self.carried = (self.received.len() != 0).then(|| Box::new(self.received.clone()));
    }

    /// Removes all messages, because the session ended.
    pub(crate) fn forget(&mut self) {
        self.received.clear();
        self.carried = None;
    }

    /// Returns the number of messages of QoS 2 that have been delivered and not been released.
    pub(crate) const fn unreleased(&self) -> usize {
        self.received.len()
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
        self.carried = (self.received.len() != 0).then(|| Box::new(self.received.clone()));
    }
}
