//! Known pitfalls of MQTT clients and the behaviour of this client, numbered as in the collection that the pitfalls
//! were taken from. Then input from hostile servers.

#![cfg(feature = "alloc")]

use core::num::{NonZeroU16, NonZeroU32};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, Bytes};
use mqtt_sansio::client::{Action, Authentication, ClientConfig, ClientSession, Close, Resumption};
use mqtt_sansio::codec::{
    self, AckProperties, AuthReasonCode, ConnAck, ConnAckProperties, ConnAckReasonCode, Delivery, Disconnect,
    DisconnectProperties, DisconnectReasonCode, Limits, List, MaximumQoS, Packet, PubAck, PubAckReasonCode, PubComp,
    PubRec, PubRel, PubRelReasonCode, Publish, PublishProperties, ReasonCode, Sender, SubAck, SubAckReasonCode,
    Subscription, UnsubAck, UnsubAckReasonCode, UserProperty,
};
use mqtt_sansio::store::Pairs;
use mqtt_sansio::{
    AbandonReason, Instant, Message, Outcome, Overflow, ProtocolError, QoS, Token, TopicName, Utf8Str, Version,
};

#[path = "../common/client.rs"]
mod client;
mod content;
mod delivery;
mod durable;
mod hostile;
mod limits;
mod link;
mod peers;

use self::client::{
    Done, Event, QOS_0, QOS_1, QOS_2, Why, Wire, abandoned, again, auth, connack, connack_with, decode, delivered,
    delivery, filter, id, lasting, present, present_with, protocol_error, publish, published, snapshot, store, suback,
    success, unsuback, v5, v311,
};

/// The start time of clients without a wire.
const NOW: Instant = Instant::from_micros(1_000_000);

const BOTH: [Version; 2] = [Version::V311, Version::V5];

fn receive_maximum(number: u16) -> ConnAckProperties<'static> {
    ConnAckProperties { receive_maximum: NonZeroU16::new(number), ..Default::default() }
}

fn packet_size(bytes: u32) -> ConnAckProperties<'static> {
    ConnAckProperties { maximum_packet_size: NonZeroU32::new(bytes), ..Default::default() }
}

fn manual(version: Version) -> ClientConfig {
    ClientConfig { manual_acks: true, ..lasting(version) }
}

/// A message with this Message Expiry Interval in seconds.
fn expiring(payload: &str, qos: QoS, seconds: u32) -> Message<'_> {
    let properties = PublishProperties { message_expiry_interval: Some(seconds), ..Default::default() };
    Message::new("t", payload).qos(qos).properties(properties)
}

fn encode(packets: &[Packet<'_>], version: Version, bytes: &mut Vec<u8>) {
    for packet in packets {
        packet.encode(version, bytes).unwrap();
    }
}

fn sent_ids(wire: &mut Wire) -> Vec<u16> {
    let sent = wire.take();
    decode(&sent, wire.version).iter().filter_map(Packet::packet_id).map(|id| id.get()).collect()
}
