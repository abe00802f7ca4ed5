//! Packets for the client.

use core::num::{NonZeroU16, NonZeroU32};

use arbitrary::Result;
use mqtt_sansio::codec::{
    ConnAck, ConnAckProperties, Delivery, Packet, PacketId, PacketType, PubAck, PubComp, PubRec, PubRel, Publish,
    PublishProperties, QoS, SubAck, SubAckReasonCode, UnsubAck, UnsubAckReasonCode, Version,
};

use super::Ops;

impl Ops<'_> {
    /// Gives the client a CONNACK, usually an acceptable one.
    pub(super) fn receive_connack(&mut self) -> Result<()> {
        let mut properties = ConnAckProperties::default();
        if self.version == Version::V5 {
            let u = &mut self.u;
            properties.receive_maximum = NonZeroU16::new(u.int_in_range(0..=4)?);
            properties.maximum_packet_size = NonZeroU32::new(*u.choose(&[0, 0, 3, 5, 20, 100])?);
            properties.topic_alias_maximum = Some(u.int_in_range(0..=3)?);
            properties.maximum_qos = u.arbitrary()?;
            properties.retain_available = u.arbitrary::<bool>()?.then_some(false);
            properties.authentication_method =
                self.config.authentication.as_deref().map(|_| "m".try_into()).transpose().expect("a text");
        }
        let session_present = self.version != Version::V31 && self.u.arbitrary()?;
        self.receive_packet(ConnAck { session_present, properties, ..ConnAck::default() });
        Ok(())
    }

    /// Gives the client a packet that a server might send in its state.
    pub(super) fn receive_likely(&mut self) -> Result<()> {
        let u = &mut self.u;
        let id = PacketId::new(u.int_in_range(1..=6)?).expect("it is not 0");
        let is_v5 = self.version == Version::V5;
        let kinds = [
            PacketType::Publish,
            PacketType::PubAck,
            PacketType::PubRec,
            PacketType::PubRel,
            PacketType::PubComp,
            PacketType::SubAck,
            PacketType::UnsubAck,
            PacketType::PingResp,
        ];
        match *u.choose(&kinds)? {
            PacketType::Publish => {
                let qos = *u.choose(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])?;
                let dup = u.arbitrary()?;
                let delivery = match qos {
                    QoS::AtMostOnce => Delivery::AtMostOnce,
                    QoS::AtLeastOnce => Delivery::AtLeastOnce { id, dup },
                    QoS::ExactlyOnce => Delivery::ExactlyOnce { id, dup },
                };
                let alias = if is_v5 { NonZeroU16::new(u.int_in_range(0..=3)?) } else { None };
                let topic = if alias.is_some() && u.arbitrary()? { "" } else { "t" };
                let topic = if topic.is_empty() { Default::default() } else { topic.try_into().expect("a topic") };
                let properties = PublishProperties { topic_alias: alias, ..PublishProperties::default() };
                let payload = &[b'y'; 60][..u.int_in_range(0..=60)?];
                self.receive_packet(Publish { delivery, topic, payload, properties, retain: false });
            }
            PacketType::PubAck => self.receive_packet(PubAck::new(id)),
            PacketType::PubRec => {
                let reason_code = if is_v5 { u.arbitrary()? } else { Default::default() };
                self.receive_packet(PubRec { reason_code, ..PubRec::new(id) });
            }
            PacketType::PubRel => self.receive_packet(PubRel::new(id)),
            PacketType::PubComp => {
                let reason_code = if is_v5 { u.arbitrary()? } else { Default::default() };
                self.receive_packet(PubComp { reason_code, ..PubComp::new(id) });
            }
            PacketType::SubAck => {
                let codes = [SubAckReasonCode::GrantedQoS0, SubAckReasonCode::UnspecifiedError];
                let count = u.int_in_range(1..=2)?;
                self.receive_packet(SubAck::new(id, &codes[..count]));
            }
            PacketType::UnsubAck => {
                let codes = [UnsubAckReasonCode::Success, UnsubAckReasonCode::NotAuthorized];
                let count = if is_v5 { u.int_in_range(1..=2)? } else { 0 };
                self.receive_packet(UnsubAck::new(id, &codes[..count]));
            }
            _ => self.receive_packet(Packet::PingResp),
        }
        Ok(())
    }

    fn receive_packet<'p>(&mut self, packet: impl Into<Packet<'p>>) {
        let mut bytes = Vec::new();
        packet.into().encode(self.version, &mut bytes).expect("it can be encoded");
        self.receive(&bytes);
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }
}
