//! What the wires of a client and of a server have in common: packets of deliveries, and outcomes.

#![allow(dead_code)] // each test uses only some of these items

use bytes::Buf;
use mqtt_sansio::codec::{self, Delivery, Limits, Packet, Publish, ReasonCode, Sender};
use mqtt_sansio::{AbandonReason, Outcome, PacketId, QoS, TopicFilter, TopicName, Version};

pub(crate) const QOS_0: QoS = QoS::AtMostOnce;
pub(crate) const QOS_1: QoS = QoS::AtLeastOnce;
pub(crate) const QOS_2: QoS = QoS::ExactlyOnce;

/// An owned copy of an outcome.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Done {
    Sent,
    Acknowledged(ReasonCode),
    AtLeastOnce(ReasonCode),
    Subscribed(Vec<u8>),
    Unsubscribed(Vec<u8>),
    Abandoned(AbandonReason),
}

impl From<&Outcome<'_>> for Done {
    fn from(outcome: &Outcome<'_>) -> Self {
        let codes = || outcome.codes().map(ReasonCode::value).collect();
        match outcome {
            Outcome::Sent => Self::Sent,
            Outcome::Acknowledged { reason_code, .. } => Self::Acknowledged(*reason_code),
            Outcome::AtLeastOnce { reason_code, .. } => Self::AtLeastOnce(*reason_code),
            Outcome::Subscribed { .. } => Self::Subscribed(codes()),
            Outcome::Unsubscribed { .. } => Self::Unsubscribed(codes()),
            Outcome::Abandoned(reason) => Self::Abandoned(*reason),
            other => panic!("an outcome that is not known here: {other:?}"),
        }
    }
}

pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

/// The delivery of a first transmission with this QoS.
pub(crate) fn delivery(qos: QoS, number: u16) -> Delivery {
    match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { id: id(number), dup: false },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { id: id(number), dup: false },
    }
}

/// The delivery of a retransmission with this QoS.
pub(crate) fn again(qos: QoS, number: u16) -> Delivery {
    match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { id: id(number), dup: true },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { id: id(number), dup: true },
    }
}

/// A PUBLISH to the topic `t`, without properties.
pub(crate) fn publish(payload: &str, delivery: Delivery) -> Publish<'_> {
    publish_to("t", payload, delivery)
}

pub(crate) fn publish_to<'a>(topic: &'a str, payload: &'a str, delivery: Delivery) -> Publish<'a> {
    Publish { delivery, topic: TopicName::new(topic).unwrap(), payload: payload.as_bytes(), ..Publish::default() }
}

/// Like [`publish`], as a [`Packet`].
pub(crate) fn published(payload: &str, delivery: Delivery) -> Packet<'_> {
    publish(payload, delivery).into()
}

pub(crate) fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::new(text).unwrap()
}

/// Encodes packets one after the other.
#[track_caller]
pub(crate) fn encoded_all(packets: &[Packet<'_>], version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet in packets {
        packet.encode(version, &mut bytes).unwrap();
    }
    bytes
}

/// The packets that an endpoint has sent.
#[track_caller]
pub(crate) fn decode_of(bytes: &[u8], version: Version, sender: Sender) -> Vec<Packet<'_>> {
    let limits = Limits { sender: Some(sender), ..Limits::default() };
    let mut packets = codec::packets(bytes, version, limits);
    let decoded = packets.by_ref().map(|packet| packet.expect("nothing that is malformed is sent")).collect();
    assert!(packets.rest().is_empty(), "whole packets are sent");
    decoded
}

/// Takes all bytes that are to be written.
pub(crate) fn take(transmit: &mut impl Buf) -> Vec<u8> {
    let mut sent = Vec::new();
    while transmit.has_remaining() {
        let chunk = transmit.chunk();
        assert!(!chunk.is_empty(), "something remains, and there is no chunk of it");
        sent.extend_from_slice(chunk);
        let size = chunk.len();
        transmit.advance(size);
    }
    sent
}
