//! What the other end has sent and this end has not yet settled: messages of QoS 1 and 2 (sections 4.3 and 4.5).

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::ack::OrderedAck;
use super::id_set::IdSet;
use crate::codec::{PacketId, QoS};

/// The messages that have arrived and are not settled.
#[derive(Clone, Default)]
pub(crate) struct Inbound {
    /// Messages of QoS 2 that have been delivered, and whose PUBREL has not come \[MQTT-4.3.3-10\].
    received: IdSet,
    /// Those of them that an earlier connection has left behind, and that have not come again: they do not count against
    /// the Receive Maximum of this one (section 4.9).
    carried: Option<Box<IdSet>>,
    /// How many acknowledgements that end a delivery have been put into the stream, of which nothing has left since.
    unsent_acks: u16,
    /// Whether no input was taken when that was last looked at, because too many answers wait to be written.
    pub(in crate::session) is_held: bool,
    /// The connection, for receipts.
    connection: u32,
    /// Acknowledgements that are the application's business, in the order of reception.
    pending: Option<Box<Pending>>,
}

/// Acknowledgements that wait for the application, or for an earlier one.
#[derive(Clone, Default)]
struct Pending {
    /// The number of the first one.
    first: u32,
    acks: VecDeque<OrderedAck>,
    /// How many of them are of QoS 1, or for a second copy; the others are counted elsewhere.
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

/// What is to be done with a message of QoS 1 or 2.
pub(crate) enum Arrival {
    /// It is new.
    New,
    /// It was delivered before.
    Duplicate,
    /// It is one more than the Receive Maximum allows.
    TooMany,
}

/// Why a receipt is refused.
pub(crate) enum BadReceipt {
    EarlierConnection,
    Used,
}

impl Inbound {
    /// A message of QoS 1 or 2 has come.
    #[inline]
    pub(crate) fn arrive(&mut self, id: PacketId, qos: QoS, receive_maximum: u16) -> Arrival {
        let is_duplicate = qos == QoS::ExactlyOnce && self.received.contains(id);
        let takes_quota = !is_duplicate || self.is_pending();
        if takes_quota && self.open() >= usize::from(receive_maximum) {
            return Arrival::TooMany;
        }
        if is_duplicate {
            // One whose acknowledgement has to wait counts by that.
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

    /// How many messages the other end has to regard as open, at least.
    fn open(&self) -> usize {
        let carried = self.carried.as_ref().map_or(0, |carried| carried.len());
        let received = self.received.len().saturating_sub(carried);
        let pending = self.pending.as_ref().map_or(0, |pending| usize::from(pending.extra));
        received.saturating_add(pending).saturating_add(usize::from(self.unsent_acks))
    }

    /// An acknowledgement that ends a delivery was put into the stream.
    #[inline]
    pub(crate) const fn acked(&mut self) {
        self.unsent_acks = self.unsent_acks.saturating_add(1);
    }

    /// Something of the stream has left.
    #[inline]
    pub(crate) const fn sent(&mut self) {
        self.unsent_acks = 0;
    }

    /// Whether an earlier connection has left the message behind; it counts from here on, or is settled.
    fn no_longer_carried(&mut self, id: PacketId) -> bool {
        let Some(carried) = &mut self.carried else { return false };
        let was_carried = carried.remove(id);
        if carried.len() == 0 {
            self.carried = None;
        }
        was_carried
    }

    /// PUBREL has come; whether there is a message for it.
    pub(crate) fn release(&mut self, id: PacketId) -> bool {
        let is_there = self.received.remove(id);
        if is_there && !self.no_longer_carried(id) {
            self.acked(); // by the PUBCOMP that is going to be sent
        }
        is_there
    }

    /// The message was refused: its identifier means a new message from here on \[MQTT-4.3.3-9\].
    pub(crate) fn refuse(&mut self, id: PacketId) {
        self.received.remove(id);
    }

    /// An acknowledgement waits for the application. It is one by itself for a duplicate.
    pub(crate) fn expect(&mut self, ack: OrderedAck) -> Receipt {
        let connection = self.connection;
        let pending = self.pending.get_or_insert_default();
        let number = pending.first.wrapping_add(pending.acks.len() as u32);
        pending.extra = pending.extra.saturating_add(u16::from(ack.is_extra()));
        pending.acks.push_back(ack);
        Receipt { connection, number }
    }

    /// Whether acknowledgements wait for the application, so that others have to queue up behind them.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| !pending.acks.is_empty())
    }

    /// The acknowledgement that a receipt stands for, if it has not been given yet.
    pub(crate) fn pending(&mut self, receipt: Receipt) -> Result<&mut OrderedAck, BadReceipt> {
        if receipt.connection != self.connection {
            return Err(BadReceipt::EarlierConnection);
        }
        let pending = self.pending.as_mut().ok_or(BadReceipt::Used)?;
        let place = receipt.number.wrapping_sub(pending.first) as usize;
        pending.acks.get_mut(place).filter(|ack| !ack.is_ready()).ok_or(BadReceipt::Used)
    }

    /// Removes the acknowledgement that a receipt stands for if it is the first in the order of reception, so that it can go
    /// out at once; returns whether it was.
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

    /// The next acknowledgement that can go out, in the order of reception \[MQTT-4.6.0-2, MQTT-4.6.0-3\].
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

    /// Whether a message of QoS 2 has been delivered and not been refused.
    pub(crate) fn has(&self, id: PacketId) -> bool {
        self.received.contains(id)
    }

    /// The connection is gone. A message that the application has not acknowledged, or has refused, is not taken over:
    /// it will be sent again, and delivered again.
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
        self.is_held = false;
        self.carried = (self.received.len() != 0).then(|| Box::new(self.received.clone()));
    }

    /// The session is gone.
    pub(crate) fn forget(&mut self) {
        self.received.clear();
        self.carried = None;
    }

    /// How many messages of QoS 2 have been delivered and not been released.
    pub(crate) const fn unreleased(&self) -> usize {
        self.received.len()
    }

    /// The messages of QoS 2 that have been delivered, and whose PUBREL has not come.
    pub(crate) fn received(&self) -> impl Iterator<Item = PacketId> {
        self.received.iter()
    }

    /// As it was before a restart.
    pub(crate) fn restore(&mut self, ids: impl IntoIterator<Item = PacketId>) {
        for id in ids {
            self.received.insert(id);
        }
        self.carried = (self.received.len() != 0).then(|| Box::new(self.received.clone()));
    }
}
