//! Every numbered statement of the specifications that binds a client in a session, and the rules without a number: one
//! test for each, named after it.
//!
//! The form of single packets is not tested here: the encoder cannot build malformed packets, the decoder refuses them,
//! and both have test vectors.

#![cfg(feature = "alloc")]

use core::num::{NonZeroU16, NonZeroU32};
use std::collections::BTreeSet;

use mqtt_sansio::client::{Authentication, ClientConfig, Resumption};
use mqtt_sansio::codec::{
    AckProperties, AuthReasonCode, ConnAck, ConnAckProperties, ConnAckReasonCode, Disconnect, DisconnectProperties,
    DisconnectReasonCode, List, MaximumQoS, Packet, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel, Publish,
    PublishProperties, ReasonCode, SubscribeProperties, Subscription, SubscriptionIdentifier, UserProperty,
};
use mqtt_sansio::{AbandonReason, Message, ProtocolError, QoS, Utf8Str, Version};

mod acks;
mod auth;
mod authentication;
#[path = "../common/client.rs"]
mod client;
mod connack;
mod connect;
mod delivery;
mod disconnect;
mod end;
#[path = "../common/ends/mod.rs"]
mod ends;
mod errors;
mod flow_control;
mod order;
mod packet_id;
mod publish;
mod session_state;
mod unnumbered;
mod v311;

use self::client::packets;
use self::client::{
    Done, Event, QOS_0, QOS_1, QOS_2, Why, Wire, abandoned, again, auth, connack, connack_with, connect_of, decode,
    delivered, delivery, filter, id, present, present_with, protocol_error, publish, published, suback, success,
    unsuback, v5,
};

/// Properties of a CONNACK with a Maximum Packet Size.
fn packet_size(bytes: u32) -> ConnAckProperties<'static> {
    ConnAckProperties { maximum_packet_size: NonZeroU32::new(bytes), ..Default::default() }
}

/// Properties of a CONNACK with a Topic Alias Maximum.
fn alias_maximum(number: u16) -> ConnAckProperties<'static> {
    ConnAckProperties { topic_alias_maximum: Some(number), ..Default::default() }
}

/// A configuration with the authentication method `M`.
fn authenticating() -> ClientConfig {
    let authentication = Authentication { method: "M".into(), data: None };
    ClientConfig { authentication: Some(authentication.into()), ..v5() }
}

/// A CONNACK with the authentication method `M`.
fn authenticated() -> ConnAck<'static> {
    let method = Some(Utf8Str::new("M").unwrap());
    connack_with(ConnAckProperties { authentication_method: method, ..Default::default() })
}

/// A configuration with manual acknowledgements.
fn manual() -> ClientConfig {
    ClientConfig { manual_acks: true, ..v5() }
}

/// The packet identifiers of the packets that were sent.
fn sent_ids(wire: &mut Wire) -> Vec<u16> {
    let sent = wire.take();
    decode(&sent, wire.version).iter().map(|packet| packet.packet_id().unwrap().get()).collect()
}
