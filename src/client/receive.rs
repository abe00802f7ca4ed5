//! Received packets other than messages and their acknowledgements.

use super::action::{Action, Close};
use super::session::ClientSession;
use crate::codec::{AckProperties, Packet, PacketId, PacketType, PubAckReasonCode, SubAck, UnsubAck, Version};
use crate::session::{AckError, End, Outcome, Phase, ProtocolError, Receipt, Side, Stage};
use crate::time::Instant;

impl ClientSession {
    /// Handles a packet, and returns the action to report, if any.
    #[inline(never)]
    pub(super) fn receive<'a>(&mut self, packet: Packet<'a>) -> Option<Action<'a>> {
        if self.engine.phase == Phase::Opening {
            return self.receive_first(packet);
        }
        match packet {
            Packet::PingResp => None,
            Packet::SubAck(ack) => self.receive_suback(ack),
            Packet::UnsubAck(ack) => self.receive_unsuback(ack),
            Packet::Disconnect(disconnect) => Some(self.over(Close::Disconnected(disconnect))),
            Packet::Auth(auth) => Some(self.receive_auth(auth)),
            Packet::ConnAck(_) => Some(self.protocol_error(ProtocolError::SecondConnAck)),
            // The engine has handled the packets of deliveries, and a server sends no others.
            _ => None,
        }
    }

    /// Handles the first packet of a server: CONNACK, or AUTH in an enhanced authentication (section 3.2).
    #[cold]
    fn receive_first<'a>(&mut self, packet: Packet<'a>) -> Option<Action<'a>> {
        Some(match packet {
            Packet::ConnAck(connack) => self.receive_connack(connack),
            Packet::Auth(auth) => self.receive_auth(auth),
            other => self.protocol_error(ProtocolError::BeforeConnAck(other.packet_type())),
        })
    }

    /// Acknowledges a message, with [manual](super::ClientConfig::manual_acks) acknowledgements. Acknowledgements are
    /// sent in the order in which the messages arrived: an early one waits for the acknowledgements before it
    /// \[MQTT-4.6.0-2, MQTT-4.6.0-3\].
    ///
    /// A reason code of 0x80 or above refuses the message in 5.0. Before 5.0 no reason code is sent, and the message is
    /// acknowledged like any other.
    ///
    /// # Errors
    ///
    /// [`AckError::EarlierConnection`] if the message arrived on an earlier connection: the server sends it again
    /// if the session is resumed. [`AckError::AlreadyAcknowledged`] if the message is acknowledged already.
    /// [`AckError::NotConnected`] if the connection is about to be closed.
    pub fn ack(&mut self, now: Instant, receipt: Receipt, reason_code: PubAckReasonCode) -> Result<(), AckError> {
        self.ack_with(now, receipt, reason_code, &AckProperties::default())
    }

    /// Acknowledges a message as [`ack`](Self::ack) does, with properties; 5.0 only. Properties that would make the
    /// packet too large for the server are omitted \[MQTT-3.4.2-2, MQTT-3.4.2-3, MQTT-3.5.2-2, MQTT-3.5.2-3\].
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack), and [`AckError::Encode`] if the properties cannot be encoded.
    pub fn ack_with(
        &mut self,
        now: Instant,
        receipt: Receipt,
        reason_code: PubAckReasonCode,
        properties: &AckProperties<'_>,
    ) -> Result<(), AckError> {
        self.engine.advance(now);
        let (engine, side) = self.split();
        engine.ack(&side.rules(), receipt, reason_code, properties)
    }

    /// Ends the connection because of a SUBACK or UNSUBACK that answers no such request, or that has another number of
    /// reason codes than the request has filters.
    #[cold]
    fn mismatched<'a>(&mut self, id: PacketId, packet: PacketType, is_counted: bool) -> Action<'a> {
        let protocol_error = self.engine.mismatched(id, packet);
        self.protocol_error(if is_counted { ProtocolError::WrongReasonCodeCount(packet) } else { protocol_error })
    }

    fn receive_suback<'a>(&mut self, ack: SubAck<'a>) -> Option<Action<'a>> {
        match self.engine.outbound.stage(ack.id)? {
            Stage::SubAck(filters) if filters as usize == ack.reason_codes.len() => {}
            stage => {
                let is_counted = matches!(stage, Stage::SubAck(_));
                return Some(self.mismatched(ack.id, PacketType::SubAck, is_counted));
            }
        }
        let flow = self.engine.outbound.remove(ack.id).filter(|flow| !flow.is_reported)?;
        self.engine.budget.remove(flow.stored.len());
        let outcome = Outcome::Subscribed { reason_codes: ack.reason_codes, properties: ack.properties };
        Some(Action::Done { token: flow.token, outcome })
    }

    fn receive_unsuback<'a>(&mut self, ack: UnsubAck<'a>) -> Option<Action<'a>> {
        match self.engine.outbound.stage(ack.id)? {
            // Before 5.0 there are no reason codes.
            Stage::UnsubAck(filters)
                if self.engine.version != Version::V5 || filters as usize == ack.reason_codes.len() => {}
            stage => {
                let is_counted = matches!(stage, Stage::UnsubAck(_));
                return Some(self.mismatched(ack.id, PacketType::UnsubAck, is_counted));
            }
        }
        let flow = self.engine.outbound.remove(ack.id).filter(|flow| !flow.is_reported)?;
        self.engine.budget.remove(flow.stored.len());
        let outcome = Outcome::Unsubscribed { reason_codes: ack.reason_codes, properties: ack.properties };
        Some(Action::Done { token: flow.token, outcome })
    }
}
