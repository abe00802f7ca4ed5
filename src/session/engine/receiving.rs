//! Processing of received messages, and of acknowledgements of sent messages.

use super::Engine;
use crate::codec::{
    AckProperties, DecodeError, Delivery, Packet, PacketId, PacketType, PubAckReasonCode, PubRec, PubRelReasonCode,
    Publish, PublishProperties, QoS, ReasonCode, Short, Version,
};
use crate::session::command_error::AckError;
use crate::session::deliveries::ack::encode_ack;
use crate::session::deliveries::inbound::{AckHandle, Arrival, NotOwed};
use crate::session::deliveries::outbound::Acknowledged;
use crate::session::deliveries::stage::{Ack, Stage};
use crate::session::endpoint::{Peer, SessionAction, Stop, halt};
use crate::session::error::ProtocolError;
use crate::session::limits::ConnectionLimits;
use crate::session::link::held::{HeldPacket, WaitsFor};
use crate::session::link::partial::Partial;
use crate::session::outcome::{Done, Outcome};
use crate::session::received::{PayloadPart, ReceivedMessage};
use crate::session::received_topic::Topic;

impl Engine {
    /// Notes that no input is left.
    #[inline(always)]
    pub(in crate::session) const fn input_taken(&mut self) {
        self.link.input_taken();
    }

    /// Returns whether a packet can be taken out of the input, which is not empty.
    #[inline(always)]
    pub(in crate::session) fn takes_input(&mut self, limits: &ConnectionLimits, input: &[u8]) -> bool {
        if let Some(durable) = self.effects.durable()
            && durable.leaves(input, limits.answer_limit)
            && !self.link.is_partial()
        {
            self.link.leave_input(input);
            return false;
        }
        self.link.takes_input(limits, input)
    }

    /// Takes the packet at the start of the input, if it is a complete short one.
    #[inline(always)]
    pub(in crate::session) fn take_short<'a>(
        &mut self,
        limits: &ConnectionLimits,
        input: &mut &'a [u8],
    ) -> Option<Short<'a>> {
        self.link.take_short(limits, input)
    }

    /// Takes the packet at the start of the input, if it is complete.
    pub(in crate::session) fn take_packet<'a>(
        &mut self,
        limits: &ConnectionLimits,
        input: &mut &'a [u8],
    ) -> Result<Option<Packet<'a>>, DecodeError> {
        self.link.take_packet(limits, input)
    }

    /// Processes more of a message that is delivered in parts, or a packet of a delivery that is not short or not
    /// complete.
    pub(in crate::session) fn receive_unusual<'a, A: SessionAction<'a>>(
        &mut self,
        peer: &mut impl Peer,
        limits: &ConnectionLimits,
        input: &mut &'a [u8],
        stop: &mut Option<Stop>,
    ) -> Option<A> {
        if self.link.is_partial() {
            return self.continue_message(limits, input, stop).map(A::from);
        }
        if !limits.is_open || !is_about_deliveries(input) {
            *stop = Some(Stop::Other);
            return None;
        }
        match self.link.take_packet(limits, input) {
            Ok(Some(packet)) => self.receive(peer, limits, packet, stop),
            Ok(None) if limits.deliver_in_parts == u32::MAX => None,
            Ok(None) => self.begin_message(peer, limits, input, stop).map(A::from),
            Err(error) => {
                *stop = Some(Stop::Malformed(error));
                None
            }
        }
    }

    /// Processes a [`Short`] packet.
    #[inline(always)]
    pub(in crate::session) fn receive_short<'a, A: SessionAction<'a>>(
        &mut self,
        peer: &mut impl Peer,
        limits: &ConnectionLimits,
        packet: Short<'a>,
        stop: &mut Option<Stop>,
    ) -> Option<A> {
        let properties = AckProperties::default();
        match packet {
            Short::Publish { delivery, retain, topic, payload } => {
                if let Err(protocol_error) = peer.may_send(delivery.qos(), retain) {
                    return halt(stop, protocol_error);
                }
                let ack_handle = match self.accept_ownership(limits, delivery) {
                    Ok(ack_handle) => ack_handle,
                    Err(end) => return halt(stop, end?),
                };
                let topic = Topic::Named(topic);
                let message = ReceivedMessage::new(topic, payload, delivery, retain, PublishProperties::default());
                Some(ReceivedMessage { ack_handle, ..message }.into())
            }
            Short::Ack(PacketType::PubRec, id) => self.receive_pubrec(PubRec::new(id), stop),
            Short::Ack(PacketType::PubRel, id) => {
                self.receive_pubrel(id);
                None
            }
            Short::Ack(packet, id) => {
                // One call for both, so that it is compiled into this place.
                let ack = if packet == PacketType::PubAck { Ack::PubAck } else { Ack::PubComp };
                self.complete(limits, id, ack, packet, ReasonCode::Success, properties, stop)
            }
        }
    }

    /// Processes a PUBLISH or an acknowledgement of one. Any other packet is ignored.
    #[inline(never)]
    fn receive<'a, A: SessionAction<'a>>(
        &mut self,
        peer: &mut impl Peer,
        limits: &ConnectionLimits,
        packet: Packet<'a>,
        stop: &mut Option<Stop>,
    ) -> Option<A> {
        match packet {
            Packet::Publish(publish) => self.receive_publish(peer, limits, publish, stop),
            Packet::PubAck(ack) => {
                let code = ack.reason_code.into();
                self.complete(limits, ack.id, Ack::PubAck, PacketType::PubAck, code, ack.properties, stop)
            }
            Packet::PubRec(ack) => self.receive_pubrec(ack, stop),
            Packet::PubRel(ack) => {
                self.receive_pubrel(ack.id);
                None
            }
            Packet::PubComp(ack) => {
                let code = ack.reason_code.into();
                self.complete(limits, ack.id, Ack::PubComp, PacketType::PubComp, code, ack.properties, stop)
            }
            _ => None,
        }
    }

    #[inline]
    fn receive_publish<'a, A: SessionAction<'a>>(
        &mut self,
        peer: &mut impl Peer,
        limits: &ConnectionLimits,
        publish: Publish<'a>,
        stop: &mut Option<Stop>,
    ) -> Option<A> {
        let topic = match self.topic_of(peer, limits, &publish) {
            Ok(topic) => topic,
            Err(protocol_error) => return halt(stop, protocol_error),
        };
        let Publish { delivery, retain, payload, properties, .. } = publish;
        let ack_handle = match self.accept_ownership(limits, delivery) {
            Ok(ack_handle) => ack_handle,
            Err(end) => return halt(stop, end?),
        };
        let message = ReceivedMessage::new(topic, payload, delivery, retain, properties);
        Some(ReceivedMessage { ack_handle, ..message }.into())
    }

    /// Checks a message against the limits of this connection, and returns its topic with a topic alias resolved.
    fn topic_of<'a>(
        &mut self,
        peer: &mut impl Peer,
        limits: &ConnectionLimits,
        publish: &Publish<'a>,
    ) -> Result<Topic<'a>, ProtocolError> {
        peer.may_send(publish.delivery.qos(), publish.retain)?;
        if !publish.properties.subscription_identifiers.is_empty() {
            peer.may_send_identifiers(publish)?;
        }
        match publish.properties.topic_alias {
            Some(alias) => self.link.resolve_alias(limits, publish.topic, alias),
            None => Ok(Topic::Named(publish.topic)),
        }
    }

    /// Registers a received message, and acknowledges it unless the application does so. An error means that the
    /// message must not be delivered: because it was delivered before (`None`), or because of a Protocol Error.
    #[inline(always)]
    fn accept_ownership(
        &mut self,
        limits: &ConnectionLimits,
        delivery: Delivery,
    ) -> Result<Option<AckHandle>, Option<ProtocolError>> {
        match delivery {
            Delivery::AtMostOnce => Ok(None),
            Delivery::AtLeastOnce { id, .. } => {
                self.arrive(id, QoS::AtLeastOnce, limits.receive_maximum, limits.manual_acks)
            }
            Delivery::ExactlyOnce { id, .. } => {
                self.arrive(id, QoS::ExactlyOnce, limits.receive_maximum, limits.manual_acks)
            }
        }
    }

    #[inline(always)]
    fn arrive(
        &mut self,
        id: PacketId,
        qos: QoS,
        receive_maximum: u16,
        manual_acks: bool,
    ) -> Result<Option<AckHandle>, Option<ProtocolError>> {
        match self.deliveries.inbound_mut().arrive(id, qos, receive_maximum) {
            Arrival::New if manual_acks => Ok(Some(self.deliveries.inbound_mut().expect(id, qos))),
            Arrival::New => {
                if self.effects.durable().is_some() {
                    self.store_and_acknowledge(id, qos);
                } else {
                    // As `acknowledge` does, which is too large for this place.
                    if qos == QoS::AtLeastOnce {
                        self.deliveries.inbound_mut().acked();
                    }
                    self.link.put_ack(id, qos, PubAckReasonCode::Success);
                }
                Ok(None)
            }
            Arrival::Duplicate => {
                self.acknowledge_duplicate(id);
                Err(None)
            }
            Arrival::ConnectionLimit => Err(Some(ProtocolError::ReceiveMaximumExceeded)),
        }
    }

    /// Stores that ownership of a message was accepted, if it has QoS 2, and acknowledges it.
    #[cold]
    #[inline(never)]
    fn store_and_acknowledge(&mut self, id: PacketId, qos: QoS) {
        if let (QoS::ExactlyOnce, Some(durable)) = (qos, self.effects.durable_mut()) {
            durable.received(id);
        }
        self.acknowledge(id, qos, PubAckReasonCode::Success);
    }

    /// Acknowledges a duplicate of a message of QoS 2, after the acknowledgements that wait for the application.
    fn acknowledge_duplicate(&mut self, id: PacketId) {
        if self.deliveries.inbound().is_pending() {
            self.deliveries.inbound_mut().expect_duplicate(id);
        } else if self.deliveries.inbound().has(id) {
            self.acknowledge(id, QoS::ExactlyOnce, PubAckReasonCode::Success);
        } else {
            // The message was refused after its duplicate began to arrive.
            self.acknowledge(id, QoS::ExactlyOnce, PubAckReasonCode::UnspecifiedError);
        }
    }

    /// Puts PUBACK or PUBREC into the output, unless it has to wait.
    fn acknowledge(&mut self, id: PacketId, qos: QoS, reason_code: PubAckReasonCode) {
        if qos == QoS::AtLeastOnce {
            self.deliveries.inbound_mut().acked();
        } else if reason_code.is_error() {
            self.deliveries.inbound_mut().refuse(id);
            self.deliveries.inbound_mut().acked();
            if self.version() != Version::V5 {
                // Only a duplicate reaches this point, after the message was released: PUBREC of 3.1.1 cannot say that
                // there is nothing to release, and PUBCOMP has been sent already.
                return;
            }
        }
        if !self.effects.holds(waits_for(reason_code), || HeldPacket::Ack { id, qos, reason_code }) {
            self.link.put_ack(id, qos, reason_code);
        }
    }

    /// Returns the packet identifier of a message that the application has not acknowledged.
    pub(crate) fn unacknowledged_id(&self, ack_handle: AckHandle) -> Option<PacketId> {
        self.deliveries.inbound().owed(ack_handle).ok().map(|(id, _)| id)
    }

    /// Acknowledges a message for the application. Acknowledgements are sent in the order of reception.
    pub(crate) fn ack(
        &mut self,
        limits: &ConnectionLimits,
        ack_handle: AckHandle,
        reason_code: PubAckReasonCode,
        properties: &AckProperties<'_>,
    ) -> Result<(), AckError> {
        let version = self.version();
        let reason_code = if version == Version::V5 { reason_code } else { PubAckReasonCode::Success };
        let (id, qos) = self.deliveries.inbound().owed(ack_handle).map_err(|bad| match bad {
            NotOwed::EarlierConnection => AckError::EarlierConnection,
            NotOwed::Used => AckError::AlreadyAcknowledged,
        })?;
        if !limits.is_open {
            return Err(AckError::NotConnected); // nothing follows DISCONNECT
        }
        let packet = if properties.is_empty() {
            None
        } else {
            Some(encode_ack(id, qos, reason_code, properties, version, limits.max_packet_size)?)
        };
        if let (QoS::ExactlyOnce, Some(durable)) = (qos, self.effects.durable_mut())
            && !reason_code.is_error()
            && self.deliveries.inbound().has(id)
        {
            durable.received(id);
        }
        if !self.deliveries.inbound_mut().take_first(ack_handle) {
            self.deliveries.inbound_mut().decide(ack_handle, reason_code, packet);
            return Ok(());
        }
        match packet {
            None => self.acknowledge(id, qos, reason_code),
            Some(packet) => self.acknowledge_with(id, qos, reason_code, &packet),
        }
        while let Some(ack) = self.deliveries.inbound_mut().next_ready() {
            let (id, qos) = (ack.id, ack.qos);
            match ack.packet() {
                Some(packet) => self.acknowledge_with(id, qos, ack.reason_code(), packet),
                // A duplicate of a message that was refused.
                None if ack.is_duplicate() && !self.deliveries.inbound().has(id) => {
                    self.acknowledge(id, qos, PubAckReasonCode::UnspecifiedError);
                }
                None => self.acknowledge(id, qos, ack.reason_code()),
            }
        }
        Ok(())
    }

    /// As [`acknowledge`](Self::acknowledge), with an encoded packet.
    fn acknowledge_with(&mut self, id: PacketId, qos: QoS, reason_code: PubAckReasonCode, packet: &[u8]) {
        if qos == QoS::ExactlyOnce && reason_code.is_error() {
            self.deliveries.inbound_mut().refuse(id);
        }
        let completes = qos == QoS::AtLeastOnce || reason_code.is_error();
        if completes {
            self.deliveries.inbound_mut().acked();
        }
        let held = || HeldPacket::Encoded { packet: packet.into(), completes };
        if !self.effects.holds(waits_for(reason_code), held) {
            self.link.append_ack(packet);
        }
    }

    fn receive_pubrel(&mut self, id: PacketId) {
        // An unknown packet identifier is no error: PUBCOMP may have been lost with an earlier connection.
        let reason_code = if self.deliveries.inbound_mut().release(id) {
            if let Some(durable) = self.effects.durable_mut() {
                durable.released(id);
            }
            PubRelReasonCode::Success
        } else {
            self.not_found()
        };
        if !self.effects.holds(WaitsFor::Changes, || HeldPacket::PubComp { id, reason_code }) {
            self.link.put_pubcomp(id, reason_code);
        }
    }

    fn receive_pubrec<'a, A: SessionAction<'a>>(&mut self, ack: PubRec<'a>, stop: &mut Option<Stop>) -> Option<A> {
        let received = Ack::PubRec(ack.reason_code.value());
        let reason_code = match self.deliveries.acknowledge(ack.id, received, false, &mut self.effects) {
            Acknowledged::Finished { token, .. } => {
                let outcome = Outcome::Acknowledged { reason_code: ack.reason_code.into(), properties: ack.properties };
                return Some(Done { token: token?, outcome }.into());
            }
            Acknowledged::Release { .. } => PubRelReasonCode::Success,
            Acknowledged::Unknown if ack.reason_code.is_error() => return None, // nothing is to be released
            Acknowledged::Unknown => self.not_found(),
            Acknowledged::Mismatch => return halt(stop, self.mismatched(ack.id, PacketType::PubRec)),
        };
        if !self.effects.holds(WaitsFor::Changes, || HeldPacket::PubRel { id: ack.id, reason_code }) {
            self.link.put_pubrel(ack.id, reason_code);
        }
        None
    }

    /// Returns the reason code for a packet identifier that is not in use.
    const fn not_found(&self) -> PubRelReasonCode {
        match self.version() {
            Version::V5 => PubRelReasonCode::PacketIdentifierNotFound,
            Version::V31 | Version::V311 => PubRelReasonCode::Success,
        }
    }

    /// Processes PUBACK or PUBCOMP, which completes a delivery.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)] // the fields of a packet
    fn complete<'a, A: SessionAction<'a>>(
        &mut self,
        limits: &ConnectionLimits,
        id: PacketId,
        ack: Ack,
        packet: PacketType,
        reason_code: ReasonCode,
        properties: AckProperties<'a>,
        stop: &mut Option<Stop>,
    ) -> Option<A> {
        match self.deliveries.acknowledge(id, ack, limits.puback_ends_qos_2, &mut self.effects) {
            Acknowledged::Finished { token, stage, .. } => {
                let token = token?;
                if stage == Stage::PubRec {
                    return Some(Done { token, outcome: Outcome::AtLeastOnce { reason_code, properties } }.into());
                }
                let reason_code = match stage {
                    // The reason code in PUBREC. An unknown packet identifier in PUBCOMP is no error: an earlier
                    // PUBCOMP, which did not arrive, has completed the delivery (section 3.7.2.1).
                    Stage::PubComp { code, .. } => PubAckReasonCode::from_value(code).map_or(reason_code, Into::into),
                    _ => reason_code,
                };
                Some(Done { token, outcome: Outcome::Acknowledged { reason_code, properties } }.into())
            }
            // No operation waits for the acknowledgement, which is ignored.
            Acknowledged::Unknown | Acknowledged::Release { .. } => None,
            Acknowledged::Mismatch => halt(stop, self.mismatched(id, packet)),
        }
    }

    /// Gives up an operation whose answer has the wrong type; see
    /// [`Deliveries::mismatched`](crate::session::deliveries::Deliveries::mismatched).
    #[cold]
    pub(super) fn mismatched(&mut self, id: PacketId, packet: PacketType) -> ProtocolError {
        self.deliveries.mismatched(id, packet, &mut self.effects);
        ProtocolError::MismatchedAck(packet)
    }

    /// Begins to deliver the message at the start of the input, if it is to be delivered in parts.
    fn begin_message<'a>(
        &mut self,
        peer: &mut impl Peer,
        limits: &ConnectionLimits,
        input: &mut &'a [u8],
        stop: &mut Option<Stop>,
    ) -> Option<ReceivedMessage<'a>> {
        let (publish, missing) = match self.link.take_head(limits, input) {
            Ok(head) => head?,
            Err(error) => {
                *stop = Some(Stop::Malformed(error));
                return None;
            }
        };
        let topic = match self.topic_of(peer, limits, &publish) {
            Ok(topic) => topic,
            Err(protocol_error) => return halt(stop, protocol_error),
        };
        let delivery = publish.delivery;
        let is_duplicate = match delivery {
            Delivery::ExactlyOnce { id, .. } => self.deliveries.inbound().has(id),
            Delivery::AtMostOnce | Delivery::AtLeastOnce { .. } => false,
        };
        self.link.begin_parts(Partial::new(delivery, missing, is_duplicate));
        let message = ReceivedMessage::new(topic, publish.payload, delivery, publish.retain, publish.properties);
        (!is_duplicate).then_some(ReceivedMessage { missing, ..message })
    }

    /// Takes more of a message that is delivered in parts. The session accepts ownership of the message, and
    /// acknowledges it, with the last part.
    #[cold]
    fn continue_message<'a>(
        &mut self,
        limits: &ConnectionLimits,
        input: &mut &'a [u8],
        stop: &mut Option<Stop>,
    ) -> Option<PayloadPart<'a>> {
        let (bytes, partial) = self.link.take_part(input)?;
        let (delivery, missing, is_duplicate) = (partial.delivery(), partial.missing(), partial.is_duplicate());
        let mut ack_handle = None;
        if missing == 0 {
            if let (true, Delivery::ExactlyOnce { id, .. }) = (is_duplicate, delivery) {
                self.acknowledge_duplicate(id);
                return None;
            }
            ack_handle = match self.accept_ownership(limits, delivery) {
                Ok(ack_handle) => ack_handle,
                Err(end) => return halt(stop, end?),
            };
        }
        (!is_duplicate).then_some(PayloadPart { bytes, missing, ack_handle })
    }
}

/// Returns whether the packet is a PUBLISH or an acknowledgement of one.
const fn is_about_deliveries(packet: &[u8]) -> bool {
    matches!(packet.first(), Some(0x30..=0x7F))
}

/// Returns what PUBACK or PUBREC with this reason code waits for. A refusal promises nothing.
const fn waits_for(reason_code: PubAckReasonCode) -> WaitsFor {
    if reason_code.is_error() { WaitsFor::Nothing } else { WaitsFor::Batch }
}
