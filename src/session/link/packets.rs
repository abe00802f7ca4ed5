//! The packets of a connection, as they are put into its output.

use bytes::Bytes;

use super::Link;
use super::alias::Alias;
use super::transmit::Transmit;
use crate::codec::{
    AckProperties, Auth, AuthProperties, AuthReasonCode, Delivery, Disconnect, DisconnectProperties,
    DisconnectReasonCode, EncodeError, Packet, PacketId, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel,
    PubRelReasonCode, PublishProperties, QoS, ReasonCode, Version,
};
use crate::session::command_error::{AuthenticateError, DisconnectError, PublishError};
use crate::session::deliveries::ack::trim;
use crate::session::message_ref::MessageRef;
use crate::session::store::stored::Stored;
use crate::text::Utf8Str;
use crate::topic::TopicName;

impl Link {
    /// Returns whether messages are sent without topic aliases.
    #[inline]
    pub(crate) const fn sends_full_topics(&self) -> bool {
        self.outbound_aliases.is_none()
    }

    /// Puts a message into the output, with a topic alias if one is available. If the packet is larger than `max`
    /// bytes, nothing changes and the result is `false`.
    #[inline]
    pub(crate) fn put_message(
        &mut self,
        message: &MessageRef<'_>,
        delivery: Delivery,
        large: Option<&Bytes>,
        max: u32,
    ) -> Result<bool, EncodeError> {
        if self.outbound_aliases.is_some() {
            self.put_under_alias(message, delivery, large, max)
        } else {
            self.put_plain(message, delivery, large, max)
        }
    }

    /// Puts a stored message into the output.
    pub(crate) fn put_stored(
        &mut self,
        message: &MessageRef<'_>,
        delivery: Delivery,
        stored: &Stored,
        limit: u32,
    ) -> Result<(), PublishError> {
        if self.put_message(message, delivery, stored.payload(), limit)? {
            Ok(())
        } else {
            Err(PublishError::TooLarge { limit })
        }
    }

    /// Puts a message into the output, without a topic alias, and returns the packet; `None` if the packet is larger
    /// than `max` bytes.
    #[inline]
    pub(crate) fn put_small(
        &mut self,
        message: &MessageRef<'_>,
        delivery: Delivery,
        max: u32,
    ) -> Result<Option<&[u8]>, EncodeError> {
        let version = self.version;
        let publish = message.as_publish(delivery, message.payload);
        self.transmit.encode(max, |out| publish.encode(version, out))
    }

    #[inline]
    fn put_plain(
        &mut self,
        message: &MessageRef<'_>,
        delivery: Delivery,
        large: Option<&Bytes>,
        max: u32,
    ) -> Result<bool, EncodeError> {
        let Some(large) = large else { return Ok(self.put_small(message, delivery, max)?.is_some()) };
        let version = self.version;
        let publish = message.as_publish(delivery, large);
        let max = max.saturating_sub(u32::try_from(large.len()).unwrap_or(u32::MAX));
        let fits = self.transmit.encode(max, |out| publish.encode_head(version, out))?.is_some();
        if fits {
            self.transmit.push_shared(large.clone());
        }
        Ok(fits)
    }

    #[inline(never)]
    fn put_under_alias(
        &mut self,
        message: &MessageRef<'_>,
        delivery: Delivery,
        large: Option<&Bytes>,
        max: u32,
    ) -> Result<bool, EncodeError> {
        let alias = self.outbound_aliases.as_ref().and_then(|aliases| aliases.of(message.topic.as_bytes()));
        let (number, topic) = match alias {
            None => return self.put_plain(message, delivery, large, max),
            Some(Alias::Known(number)) => (number, TopicName::default()),
            Some(Alias::New(number)) => (number, message.topic),
        };
        let properties = PublishProperties { topic_alias: Some(number), ..*message.properties };
        if !self.put_plain(&MessageRef { topic, properties: &properties, ..*message }, delivery, large, max)? {
            // A new alias makes the packet larger: it may fit without the alias.
            return self.put_plain(message, delivery, large, max);
        }
        if let (Some(aliases), Some(alias)) = (self.outbound_aliases.as_mut(), alias) {
            aliases.used(alias, message.topic.as_bytes());
        }
        Ok(true)
    }

    /// Puts PUBACK or, for QoS 2, PUBREC into the output. The packet has at most five bytes and always fits, see
    /// `MaximumPacketSizeTooSmall`; so do those of [`put_pubrel`](Self::put_pubrel) and
    /// [`put_pubcomp`](Self::put_pubcomp).
    #[inline]
    pub(crate) fn put_ack(&mut self, id: PacketId, qos: QoS, reason_code: PubAckReasonCode) {
        let (version, properties) = (self.version, AckProperties::default());
        let encoded = match qos {
            QoS::ExactlyOnce => self.transmit.answer(|out| PubRec { id, reason_code, properties }.encode(version, out)),
            _ => self.transmit.answer(|out| PubAck { id, reason_code, properties }.encode(version, out)),
        };
        if let Err(error) = encoded {
            bug!("an acknowledgement has nothing that cannot be encoded: {error}");
        }
    }

    /// Puts an encoded PUBACK or PUBREC into the output.
    pub(crate) fn append_ack(&mut self, packet: &[u8]) {
        self.transmit.append_answer(packet);
    }

    /// Answers PUBREC with PUBREL.
    pub(crate) fn put_pubrel(&mut self, id: PacketId, reason_code: PubRelReasonCode) {
        let (version, rel) = (self.version, PubRel { id, reason_code, properties: AckProperties::default() });
        if let Err(error) = self.transmit.answer(|out| rel.encode(version, out)) {
            bug!("PUBREL has nothing that cannot be encoded: {error}");
        }
    }

    /// Puts PUBREL into the output, as a packet that no packet of the peer has caused.
    pub(crate) fn put_pubrel_again(&mut self, id: PacketId) {
        let version = self.version;
        if let Err(error) = self.transmit.encode(u32::MAX, |out| PubRel::new(id).encode(version, out)) {
            bug!("PUBREL has nothing that cannot be encoded: {error}");
        }
    }

    /// Answers PUBREL with PUBCOMP.
    pub(crate) fn put_pubcomp(&mut self, id: PacketId, reason_code: PubRelReasonCode) {
        let (version, comp) = (self.version, PubComp { id, reason_code, properties: AckProperties::default() });
        if let Err(error) = self.transmit.answer(|out| comp.encode(version, out)) {
            bug!("PUBCOMP has nothing that cannot be encoded: {error}");
        }
    }

    /// Puts PINGREQ into the output.
    pub(crate) fn put_pingreq(&mut self) {
        let version = self.version;
        // PINGREQ has two bytes and always fits, see `MaximumPacketSizeTooSmall`.
        if let Err(error) = self.transmit.encode(u32::MAX, |out| Packet::PingReq.encode(version, out)) {
            bug!("PINGREQ has nothing that cannot be encoded: {error}");
        }
    }

    /// Answers PINGREQ with PINGRESP.
    #[inline]
    pub(crate) fn put_pingresp(&mut self) {
        let version = self.version;
        // PINGRESP has two bytes and always fits, see `MaximumPacketSizeTooSmall`.
        if let Err(error) = self.transmit.answer(|out| Packet::PingResp.encode(version, out)) {
            bug!("PINGRESP has nothing that cannot be encoded: {error}");
        }
    }

    /// Puts a packet of at most `max` bytes into the output. If the packet is larger, nothing changes and the result is
    /// `false`.
    pub(crate) fn put_packet(&mut self, packet: &Packet<'_>, max: u32) -> Result<bool, EncodeError> {
        let version = self.version;
        Ok(self.transmit.encode(max, |out| packet.encode(version, out))?.is_some())
    }

    /// As [`put_packet`](Self::put_packet), for an answer: a packet that the peer has caused this endpoint to send.
    pub(crate) fn put_answer(&mut self, packet: &Packet<'_>, max: u32) -> Result<bool, EncodeError> {
        let version = self.version;
        self.transmit.answer_within(max, |out| packet.encode(version, out))
    }

    /// Appends an encoded packet.
    #[inline]
    pub(crate) fn append(&mut self, packet: &[u8]) -> bool {
        self.transmit.append(packet)
    }

    /// Puts a DISCONNECT with this reason code into the output, in 5.0 \[MQTT-4.13.1-1\].
    pub(crate) fn put_disconnect_code(&mut self, code: ReasonCode, max: u32) {
        if self.version == Version::V5 {
            let reason_code = DisconnectReasonCode::try_from(code).unwrap_or(DisconnectReasonCode::ProtocolError);
            let disconnect = Disconnect { reason_code, ..Disconnect::default() };
            // A DISCONNECT that is larger than `max` is not sent.
            if let Err(error) = self.transmit.encode(max, |out| disconnect.encode(Version::V5, out)) {
                bug!("DISCONNECT has nothing that cannot be encoded: {error}");
            }
        }
    }

    /// Puts DISCONNECT into the output. Properties that would make the packet larger than `limit` bytes are left out
    /// \[MQTT-3.14.2-3, MQTT-3.14.2-4\].
    pub(crate) fn put_disconnect(&mut self, disconnect: &Disconnect<'_>, limit: u32) -> Result<(), DisconnectError> {
        let (version, Disconnect { reason_code, properties }) = (self.version, *disconnect);
        let has_reason = properties.reason_string.is_some();
        let fits = trim(has_reason, properties.user_properties, |with_reason, user_properties| {
            let reason_string = properties.reason_string.filter(|_| with_reason);
            let properties = DisconnectProperties { reason_string, user_properties, ..properties };
            let disconnect = Disconnect { reason_code, properties };
            self.transmit.encode(limit, |out| disconnect.encode(version, out)).map(|packet| packet.is_some())
        })?;
        if fits { Ok(()) } else { Err(DisconnectError::TooLarge { limit }) }
    }

    /// Puts an AUTH, a step of an enhanced authentication, into the output.
    pub(crate) fn put_auth(
        &mut self,
        method: &str,
        reason_code: AuthReasonCode,
        data: &[u8],
        limit: u32,
    ) -> Result<(), AuthenticateError> {
        let version = self.version;
        self.transmit.put_auth(version, method, reason_code, data, limit)
    }
}

impl Transmit {
    /// Puts an AUTH, a step of an enhanced authentication, into the output. AUTH counts as an answer: the peer
    /// decides how many steps there are.
    pub(crate) fn put_auth(
        &mut self,
        version: Version,
        method: &str,
        reason_code: AuthReasonCode,
        data: &[u8],
        limit: u32,
    ) -> Result<(), AuthenticateError> {
        let Ok(method) = Utf8Str::new(method) else {
            bug!("CONNECT has contained the authentication method");
            return Err(AuthenticateError::NoAuthentication);
        };
        let properties = AuthProperties {
            authentication_method: Some(method),
            authentication_data: (!data.is_empty()).then_some(data),
            ..AuthProperties::default()
        };
        let auth = Auth { reason_code, properties };
        let fits = self.answer_within(limit, |out| auth.encode(version, out))?;
        if fits { Ok(()) } else { Err(AuthenticateError::TooLarge { limit }) }
    }
}
