//! Processing of received messages, and of acknowledgements of sent messages.

use core::num::NonZeroU16;

use super::command_error::AckError;
use super::deliveries::ack::OrderedAck;
use super::deliveries::inbound::{Arrival, BadReceipt, Receipt};
use super::deliveries::outbound::{Ack, Acknowledged, Stage};
use super::engine::{Engine, Phase, Rules, SessionAction, Side, Stop, halt};
use super::error::ProtocolError;
use super::message::{ReceivedMessage, SharedTopic, Topic};
use super::outcome::{AbandonReason, Done, Outcome};
use super::store::journal::Record;
use crate::codec::{
    AckProperties, Delivery, Packet, PacketId, PacketType, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel,
    PubRelReasonCode, Publish, PublishProperties, QoS, ReasonCode, Short, Version,
};
use crate::topic::TopicName;

impl Engine {
    /// Processes a [`Short`] packet.
    #[inline(always)]
    pub(super) fn receive_short<'a, A: SessionAction<'a>>(
        &mut self,
        side: &mut impl Side,
        rules: &Rules,
        packet: Short<'a>,
        stop: &mut Option<Stop>,
    ) -> Option<A> {
        let properties = AckProperties::default();
        match packet {
            Short::Publish { delivery, retain, topic, payload } => {
                if let Err(protocol_error) = side.admits(delivery.qos(), retain) {
                    return halt(stop, protocol_error);
                }
                let receipt = match self.take_over(rules, delivery) {
                    Ok(receipt) => receipt,
                    Err(end) => return halt(stop, end?),
                };
                let topic = Topic::Named(topic);
                let message = ReceivedMessage::new(topic, payload, delivery, retain, PublishProperties::default());
                Some(ReceivedMessage { receipt, ..message }.into())
            }
            Short::Ack(PacketType::PubRec, id) => self.receive_pubrec(PubRec::new(id), stop),
            Short::Ack(PacketType::PubRel, id) => {
                self.receive_pubrel(id);
                None
            }
            Short::Ack(packet, id) => {
                // One call for both, so that it is compiled into this place.
                let ack = if packet == PacketType::PubAck { Ack::PubAck } else { Ack::PubComp };
                self.settle(rules, id, ack, packet, ReasonCode::Success, properties, stop)
            }
        }
    }

    /// Processes a PUBLISH or an acknowledgement of one. Any other packet is ignored.
    #[inline(never)]
    pub(super) fn receive<'a, A: SessionAction<'a>>(
        &mut self,
        side: &mut impl Side,
        rules: &Rules,
        packet: Packet<'a>,
        stop: &mut Option<Stop>,
    ) -> Option<A> {
        match packet {
            Packet::Publish(publish) => self.receive_publish(side, rules, publish, stop),
            Packet::PubAck(ack) => {
                let code = ack.reason_code.into();
                self.settle(rules, ack.id, Ack::PubAck, PacketType::PubAck, code, ack.properties, stop)
            }
            Packet::PubRec(ack) => self.receive_pubrec(ack, stop),
            Packet::PubRel(ack) => {
                self.receive_pubrel(ack.id);
                None
            }
            Packet::PubComp(ack) => {
                let code = ack.reason_code.into();
                self.settle(rules, ack.id, Ack::PubComp, PacketType::PubComp, code, ack.properties, stop)
            }
            _ => None,
        }
    }

    #[inline]
    fn receive_publish<'a, A: SessionAction<'a>>(
        &mut self,
        side: &mut impl Side,
        rules: &Rules,
        publish: Publish<'a>,
        stop: &mut Option<Stop>,
    ) -> Option<A> {
        let topic = match self.topic_of(side, rules, &publish) {
            Ok(topic) => topic,
            Err(protocol_error) => return halt(stop, protocol_error),
        };
        let Publish { delivery, retain, payload, properties, .. } = publish;
        let receipt = match self.take_over(rules, delivery) {
            Ok(receipt) => receipt,
            Err(end) => return halt(stop, end?),
        };
        let message = ReceivedMessage::new(topic, payload, delivery, retain, properties);
        Some(ReceivedMessage { receipt, ..message }.into())
    }

    /// Checks a message against the limits of this connection, and returns its topic with a topic alias resolved.
    pub(super) fn topic_of<'a>(
        &mut self,
        side: &mut impl Side,
        rules: &Rules,
        publish: &Publish<'a>,
    ) -> Result<Topic<'a>, ProtocolError> {
        side.admits(publish.delivery.qos(), publish.retain)?;
        if !publish.properties.subscription_identifiers.is_empty() {
            side.admits_identifiers(publish)?;
        }
        match publish.properties.topic_alias {
            Some(alias) => self.resolve_alias(rules, publish.topic, alias),
            None => Ok(Topic::Named(publish.topic)),
        }
    }

    /// Registers a received message, and acknowledges it unless the application does so. An error means that the
    /// message must not be delivered: because it was delivered before (`None`), or because of a Protocol Error.
    #[inline(always)]
    pub(super) fn take_over(
        &mut self,
        rules: &Rules,
        delivery: Delivery,
    ) -> Result<Option<Receipt>, Option<ProtocolError>> {
        match delivery {
            Delivery::AtMostOnce => Ok(None),
            Delivery::AtLeastOnce { id, .. } => self.arrive(rules, id, QoS::AtLeastOnce),
            Delivery::ExactlyOnce { id, .. } => self.arrive(rules, id, QoS::ExactlyOnce),
        }
    }

    #[inline]
    fn arrive(&mut self, rules: &Rules, id: PacketId, qos: QoS) -> Result<Option<Receipt>, Option<ProtocolError>> {
        match self.inbound.arrive(id, qos, rules.receive_maximum) {
            Arrival::New if rules.manual_acks => Ok(Some(self.inbound.expect(OrderedAck::waiting(id, qos)))),
            Arrival::New => {
                if qos == QoS::ExactlyOnce {
                    self.record(Record::TakenOver(id));
                }
                self.acknowledge(id, qos, PubAckReasonCode::Success);
                Ok(None)
            }
            Arrival::Duplicate => {
                self.acknowledge_duplicate(id);
                Err(None)
            }
            Arrival::TooMany => Err(Some(ProtocolError::ReceiveMaximumExceeded)),
        }
    }

    /// Acknowledges a duplicate of a message of QoS 2, after the acknowledgements that wait for the application.
    pub(super) fn acknowledge_duplicate(&mut self, id: PacketId) {
        if self.inbound.is_pending() {
            self.inbound.expect(OrderedAck::duplicate(id));
        } else if self.inbound.has(id) {
            self.acknowledge(id, QoS::ExactlyOnce, PubAckReasonCode::Success);
        } else {
            // The message was refused after its duplicate began to arrive.
            self.acknowledge(id, QoS::ExactlyOnce, PubAckReasonCode::UnspecifiedError);
        }
    }

    /// Puts PUBACK or PUBREC into the output.
    #[inline]
    fn acknowledge(&mut self, id: PacketId, qos: QoS, reason_code: PubAckReasonCode) {
        let (version, properties) = (self.version, AckProperties::default());
        // The packet has at most five bytes and always fits, see `MaximumPacketSizeTooSmall`.
        let encoded = match qos {
            QoS::ExactlyOnce => {
                if reason_code.is_error() {
                    self.inbound.refuse(id);
                    self.inbound.acked();
                    if version != Version::V5 {
                        // Only a duplicate reaches this point, after the message was released: PUBREC of 3.1.1 cannot
                        // say that there is nothing to release, and PUBCOMP has been sent already.
                        return;
                    }
                }
                self.transmit.answer(|out| PubRec { id, reason_code, properties }.encode(version, out))
            }
            _ => {
                self.inbound.acked();
                self.transmit.answer(|out| PubAck { id, reason_code, properties }.encode(version, out))
            }
        };
        if let Err(error) = encoded {
            bug!("an acknowledgement has nothing that cannot be encoded: {error}");
        }
    }

    /// Acknowledges a message for the application. Acknowledgements are sent in the order of reception.
    pub(crate) fn ack(
        &mut self,
        rules: &Rules,
        receipt: Receipt,
        reason_code: PubAckReasonCode,
        properties: &AckProperties<'_>,
    ) -> Result<(), AckError> {
        let reason_code = if self.version == Version::V5 { reason_code } else { PubAckReasonCode::Success };
        let ack = self.inbound.pending(receipt).map_err(|bad| match bad {
            BadReceipt::EarlierConnection => AckError::EarlierConnection,
            BadReceipt::Used => AckError::AlreadyAcknowledged,
        })?;
        if self.phase != Phase::Open {
            return Err(AckError::NotConnected); // nothing follows DISCONNECT
        }
        let (id, qos) = (ack.id, ack.qos);
        let is_plain = properties.is_empty();
        if !is_plain {
            ack.decide(reason_code, properties, self.version, rules.max_packet_size)?;
        }
        if qos == QoS::ExactlyOnce && !reason_code.is_error() && self.inbound.has(id) {
            self.record(Record::TakenOver(id));
        }
        if is_plain {
            // In the common case the acknowledgement is the next in the order of reception, and is sent without being
            // stored.
            if self.inbound.take_first(receipt) {
                self.acknowledge(id, qos, reason_code);
            } else if let Ok(ack) = self.inbound.pending(receipt) {
                ack.decide(reason_code, properties, self.version, rules.max_packet_size)?;
            } else {
                bug!("the receipt was good a moment ago");
            }
        }
        while let Some(ack) = self.inbound.next_ready() {
            match ack.packet() {
                Some(packet) => self.acknowledge_with(&ack, packet),
                // A duplicate of a message that was refused.
                None if ack.is_duplicate() && !self.inbound.has(ack.id) => {
                    self.acknowledge(ack.id, ack.qos, PubAckReasonCode::UnspecifiedError);
                }
                None => self.acknowledge(ack.id, ack.qos, ack.reason_code()),
            }
        }
        Ok(())
    }

    /// As [`acknowledge`](Self::acknowledge), with an encoded packet.
    fn acknowledge_with(&mut self, ack: &OrderedAck, packet: &[u8]) {
        let is_refused = ack.reason_code().is_error();
        if ack.qos == QoS::ExactlyOnce && is_refused {
            self.inbound.refuse(ack.id);
        }
        if ack.qos == QoS::AtLeastOnce || is_refused {
            self.inbound.acked();
        }
        self.transmit.append_answer(packet);
    }

    /// Resolves the topic alias of a message to a topic name (section 3.3.2.3.4).
    #[cold]
    fn resolve_alias<'a>(
        &mut self,
        rules: &Rules,
        topic: TopicName<'a>,
        alias: NonZeroU16,
    ) -> Result<Topic<'a>, ProtocolError> {
        if alias.get() > rules.topic_alias_maximum {
            return Err(ProtocolError::TopicAliasInvalid);
        }
        let aliases = self.inbound_aliases.get_or_insert_default();
        if topic.is_empty() {
            let topic = aliases.get(alias).ok_or(ProtocolError::UnknownTopicAlias)?;
            return Ok(Topic::Aliased(SharedTopic(topic)));
        }
        aliases.set(alias, topic.as_bytes());
        Ok(Topic::Named(topic))
    }

    fn receive_pubrel(&mut self, id: PacketId) {
        // An unknown packet identifier is no error: PUBCOMP may have been lost with an earlier connection.
        let reason_code = if self.inbound.release(id) {
            self.record(Record::Released(id));
            PubRelReasonCode::Success
        } else {
            self.not_found()
        };
        let comp = PubComp { id, reason_code, properties: AckProperties::default() };
        // The packet has at most five bytes and always fits.
        if let Err(error) = self.transmit.answer(|out| comp.encode(self.version, out)) {
            bug!("PUBCOMP has nothing that cannot be encoded: {error}");
        }
    }

    fn receive_pubrec<'a, A: SessionAction<'a>>(&mut self, ack: PubRec<'a>, stop: &mut Option<Stop>) -> Option<A> {
        let reason_code = match self.outbound.acknowledge(ack.id, Ack::PubRec(ack.reason_code.value()), false) {
            Acknowledged::Finished { token, freed, .. } => {
                self.record(Record::Finished(ack.id));
                let token = token?;
                self.budget.remove(freed);
                let outcome = Outcome::Acknowledged { reason_code: ack.reason_code.into(), properties: ack.properties };
                return Some(Done { token, outcome }.into());
            }
            Acknowledged::Release { first, freed } => {
                if first {
                    self.record(Record::Received(ack.id, ack.reason_code.value()));
                    self.budget.remove_bytes(freed);
                }
                PubRelReasonCode::Success
            }
            Acknowledged::Unknown if ack.reason_code.is_error() => return None, // nothing is to be released
            Acknowledged::Unknown => self.not_found(),
            Acknowledged::Mismatch => return halt(stop, self.mismatched(ack.id, PacketType::PubRec)),
        };
        let rel = PubRel { id: ack.id, reason_code, properties: AckProperties::default() };
        // The packet has at most five bytes and always fits.
        if let Err(error) = self.transmit.answer(|out| rel.encode(self.version, out)) {
            bug!("PUBREL has nothing that cannot be encoded: {error}");
        }
        None
    }

    /// Returns the reason code for a packet identifier that is not in use.
    const fn not_found(&self) -> PubRelReasonCode {
        match self.version {
            Version::V5 => PubRelReasonCode::PacketIdentifierNotFound,
            Version::V31 | Version::V311 => PubRelReasonCode::Success,
        }
    }

    /// Processes PUBACK or PUBCOMP, which completes a delivery.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)] // the fields of a packet
    fn settle<'a, A: SessionAction<'a>>(
        &mut self,
        rules: &Rules,
        id: PacketId,
        ack: Ack,
        packet: PacketType,
        reason_code: ReasonCode,
        properties: AckProperties<'a>,
        stop: &mut Option<Stop>,
    ) -> Option<A> {
        match self.outbound.acknowledge(id, ack, rules.puback_ends_qos_2) {
            Acknowledged::Finished { token, stage, freed } => {
                self.record(Record::Finished(id));
                let token = token?;
                self.budget.remove(freed);
                if stage == Stage::PubRec {
                    return Some(Done { token, outcome: Outcome::AtLeastOnce { reason_code, properties } }.into());
                }
                let reason_code = match stage {
                    // The reason code in PUBREC. An unknown packet identifier in PUBCOMP is no error: an earlier
                    // PUBCOMP, which did not arrive, has completed the delivery (section 3.7.2.1).
                    Stage::PubComp(code) => PubAckReasonCode::from_value(code).map_or(reason_code, Into::into),
                    _ => reason_code,
                };
                Some(Done { token, outcome: Outcome::Acknowledged { reason_code, properties } }.into())
            }
            // No operation waits for the acknowledgement, which is ignored.
            Acknowledged::Unknown | Acknowledged::Release { .. } => None,
            Acknowledged::Mismatch => halt(stop, self.mismatched(id, packet)),
        }
    }

    /// Gives up an operation whose answer has the wrong type. The peer would give the same answer on every connection,
    /// so sending the packet again would never complete the operation.
    #[cold]
    pub(crate) fn mismatched(&mut self, id: PacketId, packet: PacketType) -> ProtocolError {
        self.abandon(id, AbandonReason::Mismatched(packet));
        if self.outbound.is_message(id) {
            self.outbound.set_aside(id);
            self.record(Record::GivenUp(id));
        }
        ProtocolError::MismatchedAck(packet)
    }
}
