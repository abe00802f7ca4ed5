//! What the server's end is sent.

use core::num::{NonZeroU16, NonZeroU32};
use std::vec::Vec;

use ::arbitrary::Result;

use super::Ops;
use crate::arbitrary::with_packet;
use crate::codec::{
    Connect, ConnectProperties, Delivery, Disconnect, Packet, PacketId, PacketType, PubAck, PubComp, PubRec, PubRel,
    Publish, PublishProperties, QoS, Sender, Subscribe, SubscribeProperties, Subscription, Unsubscribe,
    UnsubscribeProperties, Version, Will,
};
use crate::topic::{TopicFilter, TopicName};

impl Ops<'_> {
    /// CONNECT, mostly one that is welcome.
    pub(super) fn receive_connect(&mut self) -> Result<()> {
        let u = &mut self.u;
        self.version = *u.choose(&Version::ALL)?;
        let mut properties = ConnectProperties::default();
        if self.version == Version::V5 {
            properties.receive_maximum = NonZeroU16::new(u.int_in_range(0..=4)?);
            properties.maximum_packet_size = NonZeroU32::new(*u.choose(&[0, 0, 3, 5, 20, 100])?);
            properties.topic_alias_maximum = Some(u.int_in_range(0..=3)?);
            properties.session_expiry_interval = *u.choose(&[None, Some(0), Some(2), Some(u32::MAX)])?;
            properties.request_problem_information = u.arbitrary()?;
            properties.authentication_method = u.ratio(1, 4)?.then(|| "m".try_into()).transpose().expect("a text");
        }
        let will = Will { topic: TopicName::new("w").expect("a topic"), payload: b"gone", ..Will::default() };
        let connect = Connect {
            version: self.version,
            clean_start: u.ratio(1, 3)?,
            keep_alive: u.int_in_range(0..=3)?,
            client_identifier: if u.ratio(1, 8)? { "" } else { "c" }.try_into().expect("a text"),
            will: u.ratio(1, 2)?.then_some(will),
            properties,
            ..Connect::default()
        };
        let mut bytes = Vec::new();
        // 3.1.1 has no client without a name that keeps its session, and 3.1 none at all.
        if connect.encode(self.version, &mut bytes).is_ok() {
            self.receive(&bytes);
        }
        Ok(())
    }

    /// Something that a client sends to a server that has sent something.
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
            PacketType::Subscribe,
            PacketType::Unsubscribe,
            PacketType::PingReq,
            PacketType::Disconnect,
        ];
        match *u.choose(&kinds)? {
            PacketType::Publish => {
                let qos = *u.choose(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])?;
                let delivery = Delivery::new(qos, id, u.arbitrary::<bool>()? && qos != QoS::AtMostOnce);
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
            PacketType::PubComp => self.receive_packet(PubComp::new(id)),
            PacketType::Subscribe => {
                let filters = ["a", "b/#"].map(|it| Subscription::new(it, QoS::AtLeastOnce).expect("a filter"));
                let count = u.int_in_range(1..=2)?;
                let properties = SubscribeProperties::default();
                self.receive_packet(Subscribe { id, subscriptions: (&filters[..count]).into(), properties });
            }
            PacketType::Unsubscribe => {
                let filters = ["a", "b/#"].map(|it| TopicFilter::new(it).expect("a filter"));
                let properties = UnsubscribeProperties::default();
                self.receive_packet(Unsubscribe { id, filters: (&filters[..]).into(), properties });
            }
            PacketType::Disconnect => self.receive_packet(Disconnect::default()),
            _ => self.receive_packet(Packet::PingReq),
        }
        Ok(())
    }

    /// Any packet, or any bytes.
    pub(super) fn receive_any(&mut self) -> Result<()> {
        if self.u.arbitrary()? {
            let (mut bytes, version) = (Vec::new(), self.version);
            let encoded =
                with_packet(&mut self.u, version, Sender::Client, |packet| packet.encode(version, &mut bytes))?;
            encoded.expect("a generated packet can be encoded");
            self.receive(&bytes);
        } else {
            let len = self.u.int_in_range(0..=20)?;
            let bytes = self.u.bytes(usize::min(len, self.u.len()))?;
            self.receive(bytes);
        }
        Ok(())
    }

    fn receive_packet<'p>(&mut self, packet: impl Into<Packet<'p>>) {
        let mut bytes = Vec::new();
        packet.into().encode(self.version, &mut bytes).expect("it can be encoded");
        self.receive(&bytes);
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }
}
