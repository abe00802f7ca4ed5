//! What a server sends once there is a connection, or before.

use core::num::NonZeroU16;

use super::action::{Action, Close, Outcome};
use super::session::{ClientSession, State};
use crate::codec::{
    AckProperties, Delivery, Packet, PacketId, PacketType, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel,
    PubRelReasonCode, Publish, PublishProperties, QoS, ReasonCode, Short, SubAck, UnsubAck, Version,
};
use crate::session::{
    Ack, Acknowledged, Arrival, BadReceipt, Breach, CommandError, OrderedAck, Receipt, ReceivedMessage, Record,
    SharedTopic, Stage, Topic,
};
use crate::topic::TopicName;

impl ClientSession {
    /// Takes a packet; what there is to tell about it.
    #[inline(never)]
    pub(super) fn receive<'a>(&mut self, packet: Packet<'a>) -> Option<Action<'a>> {
        if self.state == State::Connecting {
            return self.receive_first(packet);
        }
        match packet {
            Packet::Publish(publish) => self.receive_publish(publish),
            Packet::PubAck(ack) => {
                self.settle(ack.id, Ack::PubAck, PacketType::PubAck, ack.reason_code.into(), ack.properties)
            }
            Packet::PubRec(ack) => self.receive_pubrec(ack),
            Packet::PubRel(ack) => {
                self.receive_pubrel(ack.id);
                None
            }
            Packet::PubComp(ack) => {
                self.settle(ack.id, Ack::PubComp, PacketType::PubComp, ack.reason_code.into(), ack.properties)
            }
            Packet::PingResp => None,
            Packet::SubAck(ack) => self.receive_suback(ack),
            Packet::UnsubAck(ack) => self.receive_unsuback(ack),
            Packet::Disconnect(disconnect) => Some(self.over(Close::Disconnected(disconnect))),
            Packet::Auth(auth) => Some(self.receive_auth(auth)),
            Packet::ConnAck(_) => Some(self.breach(Breach::SecondConnAck)),
            // The decoder knows which end it listens to, and lets nothing else through.
            Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => None,
        }
    }

    /// Takes a packet of the usual form, once there is a connection.
    #[inline(always)]
    pub(super) fn receive_short<'a>(&mut self, packet: Short<'a>) -> Option<Action<'a>> {
        let properties = AckProperties::default();
        match packet {
            Short::Publish { delivery, retain, topic, payload } => {
                let topic = Topic::Named(topic);
                let receipt = match self.take_over(delivery) {
                    Ok(receipt) => receipt,
                    Err(end) => return end.map(|breach| self.breach(breach)),
                };
                let message = ReceivedMessage::new(topic, payload, delivery, retain, PublishProperties::default());
                Some(Action::Message(ReceivedMessage { receipt, ..message }))
            }
            Short::Ack(PacketType::PubAck, id) => {
                self.settle(id, Ack::PubAck, PacketType::PubAck, ReasonCode::Success, properties)
            }
            Short::Ack(PacketType::PubRec, id) => self.receive_pubrec(PubRec::new(id)),
            Short::Ack(PacketType::PubRel, id) => {
                self.receive_pubrel(id);
                None
            }
            Short::Ack(_, id) => self.settle(id, Ack::PubComp, PacketType::PubComp, ReasonCode::Success, properties),
        }
    }

    /// The first packet of a server is CONNACK, or AUTH in an enhanced authentication (section 3.2).
    #[cold]
    fn receive_first<'a>(&mut self, packet: Packet<'a>) -> Option<Action<'a>> {
        Some(match packet {
            Packet::ConnAck(connack) => self.receive_connack(connack),
            Packet::Auth(auth) => self.receive_auth(auth),
            other => self.breach(Breach::BeforeConnAck(other.packet_type())),
        })
    }

    #[inline(never)]
    fn receive_publish<'a>(&mut self, publish: Publish<'a>) -> Option<Action<'a>> {
        let Publish { delivery, retain, payload, properties, .. } = publish;
        let topic = match self.topic_of(&publish) {
            Ok(topic) => topic,
            Err(breach) => return Some(self.breach(breach)),
        };
        let receipt = match self.take_over(delivery) {
            Ok(receipt) => receipt,
            Err(end) => return end.map(|breach| self.breach(breach)),
        };
        let message = ReceivedMessage::new(topic, payload, delivery, retain, properties);
        Some(Action::Message(ReceivedMessage { receipt, ..message }))
    }

    /// What a message is about, if it keeps the rules of this connection.
    pub(super) fn topic_of<'a>(&mut self, publish: &Publish<'a>) -> Result<Topic<'a>, Breach> {
        if !publish.properties.subscription_identifiers.is_empty() && !self.knows_all(publish) {
            return Err(Breach::UnknownSubscriptionIdentifier);
        }
        match publish.properties.topic_alias {
            Some(alias) => self.resolve_alias(publish.topic, alias),
            None => Ok(Topic::Named(publish.topic)),
        }
    }

    /// Takes over a message, and acknowledges it if that is due and not the application's business. It is not to be
    /// delivered if this returns an error: because it was before, or because of a breach.
    #[inline(always)]
    pub(super) fn take_over(&mut self, delivery: Delivery) -> Result<Option<Receipt>, Option<Breach>> {
        match delivery {
            Delivery::AtMostOnce => Ok(None),
            Delivery::AtLeastOnce { id, .. } => self.arrive(id, QoS::AtLeastOnce),
            Delivery::ExactlyOnce { id, .. } => self.arrive(id, QoS::ExactlyOnce),
        }
    }

    #[inline]
    fn arrive(&mut self, id: PacketId, qos: QoS) -> Result<Option<Receipt>, Option<Breach>> {
        // Before 5.0 the server knows of no Receive Maximum, and is bound by the packet identifiers alone.
        let maximum = if self.version == Version::V5 { self.config.receive_maximum.get() } else { u16::MAX };
        match self.inbound.arrive(id, qos, maximum) {
            Arrival::New if self.config.manual_acks => Ok(Some(self.inbound.expect(OrderedAck::waiting(id, qos)))),
            Arrival::New => {
                if qos == QoS::ExactlyOnce {
                    self.record(Record::TakenOver(id));
                }
                self.acknowledge(id, qos, PubAckReasonCode::Success);
                Ok(None)
            }
            Arrival::Duplicate => {
                if self.inbound.is_pending() {
                    self.inbound.expect(OrderedAck::duplicate(id));
                } else {
                    self.acknowledge(id, qos, PubAckReasonCode::Success);
                }
                Err(None)
            }
            Arrival::TooMany => Err(Some(Breach::ReceiveMaximumExceeded)),
        }
    }

    /// Puts PUBACK or PUBREC into the stream.
    #[inline]
    fn acknowledge(&mut self, id: PacketId, qos: QoS, reason_code: PubAckReasonCode) {
        let (version, properties) = (self.version, AckProperties::default());
        // Five bytes at most: they always fit, see `MaximumPacketSizeTooSmall`.
        let _ = match qos {
            QoS::ExactlyOnce => {
                if reason_code.is_error() {
                    self.inbound.refuse(id);
                    self.inbound.acked();
                }
                self.transmit.encode(u32::MAX, |out| PubRec { id, reason_code, properties }.encode(version, out))
            }
            _ => {
                self.inbound.acked();
                self.transmit.encode(u32::MAX, |out| PubAck { id, reason_code, properties }.encode(version, out))
            }
        };
    }

    /// Acknowledges a message, with [manual](super::ClientConfig::manual_acks) acknowledgements. Acknowledgements go
    /// out in the order in which the messages came: an early one waits for those before it \[MQTT-4.6.0-2,
    /// MQTT-4.6.0-3\].
    ///
    /// With a reason code of 0x80 or above the message is refused; that is known to 5.0 only, before it is acknowledged
    /// like any other.
    ///
    /// # Errors
    ///
    /// [`CommandError::EarlierConnection`] if the message came on an earlier connection: it will be delivered again, if
    /// the session goes on. [`CommandError::AlreadyAcknowledged`] if this is not the first time.
    /// [`CommandError::NotConnected`] if the connection is about to be closed.
    pub fn ack(&mut self, receipt: Receipt, reason_code: PubAckReasonCode) -> Result<(), CommandError> {
        self.ack_with(receipt, reason_code, &AckProperties::default())
    }

    /// As [`ack`](Self::ack), with properties; 5.0 only. Those that would make the packet too large for the server are
    /// left out \[MQTT-3.4.2-2, MQTT-3.4.2-3, MQTT-3.5.2-2, MQTT-3.5.2-3\].
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack), and [`CommandError::Encode`] if the properties cannot be sent.
    pub fn ack_with(
        &mut self,
        receipt: Receipt,
        reason_code: PubAckReasonCode,
        properties: &AckProperties<'_>,
    ) -> Result<(), CommandError> {
        let reason_code = if self.version == Version::V5 { reason_code } else { PubAckReasonCode::Success };
        let ack = self.inbound.pending(receipt).map_err(|bad| match bad {
            BadReceipt::EarlierConnection => CommandError::EarlierConnection,
            BadReceipt::Used => CommandError::AlreadyAcknowledged,
        })?;
        if self.state != State::Connected {
            return Err(CommandError::NotConnected); // nothing follows DISCONNECT
        }
        ack.decide(reason_code, properties, self.version, self.server.maximum_packet_size)?;
        let (id, qos) = (ack.id, ack.qos);
        if qos == QoS::ExactlyOnce && !reason_code.is_error() {
            self.record(Record::TakenOver(id));
        }
        while let Some(ack) = self.inbound.next_ready() {
            match ack.packet() {
                Some(packet) => self.acknowledge_with(&ack, packet),
                // A second copy of a message that was refused.
                None if ack.is_duplicate() && !self.inbound.has(ack.id) => {
                    self.acknowledge(ack.id, ack.qos, PubAckReasonCode::UnspecifiedError);
                }
                None => self.acknowledge(ack.id, ack.qos, ack.reason_code()),
            }
        }
        Ok(())
    }

    /// As [`acknowledge`](Self::acknowledge), with a packet that is ready.
    fn acknowledge_with(&mut self, ack: &OrderedAck, packet: &[u8]) {
        let is_refused = ack.reason_code().is_error();
        if ack.qos == QoS::ExactlyOnce && is_refused {
            self.inbound.refuse(ack.id);
        }
        if ack.qos == QoS::AtLeastOnce || is_refused {
            self.inbound.acked();
        }
        self.transmit.append(packet);
    }

    /// What a message with a topic alias is about (section 3.3.2.3.4).
    #[cold]
    fn resolve_alias<'a>(&mut self, topic: TopicName<'a>, alias: NonZeroU16) -> Result<Topic<'a>, Breach> {
        if alias.get() > self.config.topic_alias_maximum {
            return Err(Breach::TopicAliasInvalid);
        }
        let aliases = self.inbound_aliases.get_or_insert_default();
        if topic.is_empty() {
            let topic = aliases.get(alias).ok_or(Breach::UnknownTopicAlias)?;
            return Ok(Topic::Aliased(SharedTopic(topic)));
        }
        aliases.set(alias, topic.as_bytes());
        Ok(Topic::Named(topic))
    }

    /// Whether all subscription identifiers of a message may have been used (section 3.3.2.3.8).
    #[cold]
    fn knows_all(&self, publish: &Publish<'_>) -> bool {
        let is_known = |id: u32| self.identifiers.as_ref().is_some_and(|known| known.contains(&id));
        !self.knows_identifiers || publish.properties.subscription_identifiers.iter().all(|id| is_known(id.get()))
    }

    fn receive_pubrel(&mut self, id: PacketId) {
        // One that is not known is no error: the PUBCOMP may have been lost with an earlier connection.
        let reason_code = if self.inbound.release(id) {
            self.record(Record::Released(id));
            PubRelReasonCode::Success
        } else {
            self.not_found()
        };
        let comp = PubComp { id, reason_code, properties: AckProperties::default() };
        // Five bytes at most: they always fit.
        let _ = self.transmit.encode(u32::MAX, |out| comp.encode(self.version, out));
    }

    fn receive_pubrec<'a>(&mut self, ack: PubRec<'a>) -> Option<Action<'a>> {
        let reason_code = match self.outbound.acknowledge(ack.id, Ack::PubRec(ack.reason_code.value())) {
            Acknowledged::Finished { token, freed, .. } => {
                self.record(Record::Finished(ack.id));
                self.release(freed);
                let outcome = Outcome::Acknowledged { reason_code: ack.reason_code.into(), properties: ack.properties };
                return Some(Action::Done { token, outcome });
            }
            Acknowledged::Release { first, freed } => {
                if first {
                    self.record(Record::Received(ack.id, ack.reason_code.value()));
                    self.kept_bytes = self.kept_bytes.saturating_sub(freed as u32);
                }
                PubRelReasonCode::Success
            }
            Acknowledged::Unknown if ack.reason_code.is_error() => return None, // nothing is to be released
            Acknowledged::Unknown => self.not_found(),
            Acknowledged::Mismatch => return Some(self.breach(Breach::MismatchedAck(PacketType::PubRec))),
        };
        let rel = PubRel { id: ack.id, reason_code, properties: AckProperties::default() };
        // Five bytes at most: they always fit.
        let _ = self.transmit.encode(u32::MAX, |out| rel.encode(self.version, out));
        None
    }

    /// The answer to something with a packet identifier that is not in use.
    const fn not_found(&self) -> PubRelReasonCode {
        match self.version {
            Version::V5 => PubRelReasonCode::PacketIdentifierNotFound,
            Version::V31 | Version::V311 => PubRelReasonCode::Success,
        }
    }

    /// PUBACK or PUBCOMP ends a delivery.
    #[inline]
    fn settle<'a>(
        &mut self,
        id: PacketId,
        ack: Ack,
        packet: PacketType,
        reason_code: ReasonCode,
        properties: AckProperties<'a>,
    ) -> Option<Action<'a>> {
        match self.outbound.acknowledge(id, ack) {
            Acknowledged::Finished { token, stage, freed } => {
                self.record(Record::Finished(id));
                self.release(freed);
                let reason_code = match stage {
                    // What PUBREC has said. That PUBCOMP does not know the identifier is no error: an earlier one, which
                    // did not arrive, has ended the delivery (section 3.7.2.1).
                    Stage::PubComp(code) => PubAckReasonCode::from_value(code).map_or(reason_code, Into::into),
                    _ => reason_code,
                };
                Some(Action::Done { token, outcome: Outcome::Acknowledged { reason_code, properties } })
            }
            // Nobody waits for it: no harm is done.
            Acknowledged::Unknown | Acknowledged::Release { .. } => None,
            Acknowledged::Mismatch => Some(self.breach(Breach::MismatchedAck(packet))),
        }
    }

    fn receive_suback<'a>(&mut self, ack: SubAck<'a>) -> Option<Action<'a>> {
        match self.outbound.stage(ack.id)? {
            Stage::SubAck(filters) if filters as usize == ack.reason_codes.len() => {}
            Stage::SubAck(_) => return Some(self.breach(Breach::WrongReasonCodeCount(PacketType::SubAck))),
            _ => return Some(self.breach(Breach::MismatchedAck(PacketType::SubAck))),
        }
        let flow = self.outbound.remove(ack.id)?;
        self.release(flow.stored.len());
        let outcome = Outcome::Subscribed { reason_codes: ack.reason_codes, properties: ack.properties };
        Some(Action::Done { token: flow.token, outcome })
    }

    fn receive_unsuback<'a>(&mut self, ack: UnsubAck<'a>) -> Option<Action<'a>> {
        match self.outbound.stage(ack.id)? {
            // Before 5.0 there are no reason codes.
            Stage::UnsubAck(filters) if self.version != Version::V5 || filters as usize == ack.reason_codes.len() => {}
            Stage::UnsubAck(_) => return Some(self.breach(Breach::WrongReasonCodeCount(PacketType::UnsubAck))),
            _ => return Some(self.breach(Breach::MismatchedAck(PacketType::UnsubAck))),
        }
        let flow = self.outbound.remove(ack.id)?;
        self.release(flow.stored.len());
        let outcome = Outcome::Unsubscribed { reason_codes: ack.reason_codes, properties: ack.properties };
        Some(Action::Done { token: flow.token, outcome })
    }
}
