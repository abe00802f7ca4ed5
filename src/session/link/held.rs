//! Packets that wait for a batch to be committed, beside the output.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::codec::{PacketId, PubAckReasonCode, PubRelReasonCode, QoS};
use crate::heap_size;
use crate::session::token::Token;

/// The packets of a connection that wait until what they promise is stored, in the order in which they are sent.
#[derive(Clone, Default)]
pub(crate) struct HeldPackets {
    packets: VecDeque<(u64, HeldPacket)>,
    /// Size of the held answers, in bytes.
    answer_bytes: u32,
    /// Number and size of the held messages, in bytes.
    messages: u32,
    message_bytes: u32,
    /// Number of held acknowledgements that complete a delivery.
    completing: u16,
    /// Number of held SUBACKs and UNSUBACKs.
    requests: u16,
}

/// What a packet waits for, besides the packets that wait before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// Nothing: the packet promises nothing.
    Nothing,
    /// The changes of the session so far.
    Changes,
    /// The changes so far and, in a store that is shared, the end of the publication of the message with this number.
    Message(u64),
    /// The batch that is open now: the application stores with it what the packet acknowledges. In a store that is
    /// shared, the changes so far: they contain what the packet acknowledges.
    Batch,
}

/// A packet that waits.
#[derive(Clone)]
pub(crate) enum HeldPacket {
    /// PUBACK or, for QoS 2, PUBREC.
    Ack {
        id: PacketId,
        qos: QoS,
        reason_code: PubAckReasonCode,
    },
    /// An encoded SUBACK or UNSUBACK.
    Request(Box<[u8]>),
    /// An encoded acknowledgement; `completes` says whether it completes a delivery.
    Encoded {
        packet: Box<[u8]>,
        completes: bool,
    },
    PubRel {
        id: PacketId,
        reason_code: PubRelReasonCode,
    },
    /// PUBREL that is sent again, so that no packet of the peer has caused it.
    PubRelAgain(PacketId),
    PubComp {
        id: PacketId,
        reason_code: PubRelReasonCode,
    },
    /// The message with this packet identifier and token, of this size in bytes.
    Publish {
        id: PacketId,
        token: Token,
        size: u32,
    },
}

impl HeldPacket {
    /// Returns the size as an answer, about; 0 if the packet is not an answer.
    fn answer_size(&self) -> u32 {
        match self {
            Self::Ack { .. } | Self::PubRel { .. } | Self::PubComp { .. } => 5,
            Self::Encoded { packet, .. } | Self::Request(packet) => packet.len() as u32,
            Self::PubRelAgain(_) | Self::Publish { .. } => 0,
        }
    }

    const fn is_message(&self) -> bool {
        matches!(self, Self::Publish { .. })
    }

    const fn message_size(&self) -> u32 {
        if let Self::Publish { size, .. } = self { *size } else { 0 }
    }

    /// Returns whether the packet completes the delivery of a message of the peer.
    const fn completes(&self) -> bool {
        match self {
            Self::Ack { qos: QoS::ExactlyOnce, reason_code, .. } => reason_code.is_error(),
            Self::Ack { .. } | Self::PubComp { .. } => true,
            Self::Encoded { completes, .. } => *completes,
            Self::PubRel { .. } | Self::PubRelAgain(_) | Self::Publish { .. } | Self::Request(_) => false,
        }
    }
}

impl HeldPackets {
    pub(crate) const fn new() -> Self {
        Self { packets: VecDeque::new(), answer_bytes: 0, messages: 0, message_bytes: 0, completing: 0, requests: 0 }
    }

    /// Returns the number that the first packet waits for.
    pub(crate) fn first(&self) -> Option<u64> {
        self.packets.front().map(|&(awaited, _)| awaited)
    }

    /// Returns the size in bytes on the heap, without encoded packets.
    pub(crate) fn heap(&self) -> usize {
        heap_size::queue(&self.packets)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Adds a packet that waits for the packets before it, and for what has this number: see `Journal::wait`.
    pub(crate) fn push(&mut self, awaited: u64, packet: HeldPacket) {
        self.answer_bytes = self.answer_bytes.saturating_add(packet.answer_size());
        self.messages = self.messages.saturating_add(u32::from(packet.is_message()));
        self.message_bytes = self.message_bytes.saturating_add(packet.message_size());
        self.completing = self.completing.saturating_add(u16::from(packet.completes()));
        self.requests = self.requests.saturating_add(u16::from(matches!(packet, HeldPacket::Request(_))));
        self.packets.push_back((awaited, packet));
    }

    /// Removes and returns the first packet, if what it waits for is committed.
    pub(crate) fn pop(&mut self, is_committed: impl FnOnce(u64) -> bool) -> Option<HeldPacket> {
        let &(awaited, _) = self.packets.front()?;
        if !is_committed(awaited) {
            return None;
        }
        let (_, packet) = self.packets.pop_front()?;
        self.answer_bytes = self.answer_bytes.saturating_sub(packet.answer_size());
        self.messages = self.messages.saturating_sub(u32::from(packet.is_message()));
        self.message_bytes = self.message_bytes.saturating_sub(packet.message_size());
        self.completing = self.completing.saturating_sub(u16::from(packet.completes()));
        self.requests = self.requests.saturating_sub(u16::from(matches!(packet, HeldPacket::Request(_))));
        Some(packet)
    }

    /// Releases unused memory.
    pub(crate) fn shrink(&mut self) {
        self.packets.shrink_to_fit();
    }

    /// Returns the size of the answers, in bytes.
    pub(crate) const fn answer_bytes(&self) -> u32 {
        self.answer_bytes
    }

    /// Returns whether there is a SUBACK or UNSUBACK.
    pub(crate) const fn has_requests(&self) -> bool {
        self.requests != 0
    }

    /// Returns whether there are messages.
    pub(crate) const fn has_messages(&self) -> bool {
        self.messages != 0
    }

    /// Returns the size of the messages, in bytes.
    pub(crate) const fn message_bytes(&self) -> u32 {
        self.message_bytes
    }

    /// Returns the number of acknowledgements that complete a delivery.
    pub(crate) const fn completing(&self) -> u16 {
        self.completing
    }
}
