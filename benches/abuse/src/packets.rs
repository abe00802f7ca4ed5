//! The packets that attackers write, and a reader for the packets of the broker.

use std::num::{NonZeroU16, NonZeroU32};

use anyhow::Result;
use mqtt_sansio::codec::{
    Connect, ConnectProperties, Delivery, PacketId, PacketType, Publish, PublishProperties, QoS, Subscribe,
    SubscribeProperties, Subscription, SubscriptionIdentifier, Unsubscribe, UserProperty, Version, Will,
    WillProperties,
};
use mqtt_sansio::{TopicFilter, TopicName, Utf8Str};

pub(crate) const PINGREQ: &[u8] = &[0xc0, 0];
pub(crate) const DISCONNECT: &[u8] = &[0xe0, 0];

/// The fields of a CONNECT of 5.0 that attackers set.
#[derive(Clone, Copy, Default)]
pub(crate) struct ConnectOptions<'a> {
    pub(crate) client_id: &'a str,
    /// Clean Start is 0: a stored session with this client identifier is resumed.
    pub(crate) resumes: bool,
    /// Keep Alive, in seconds; 0 for none.
    pub(crate) keep_alive: u16,
    /// Session Expiry Interval, in seconds.
    pub(crate) expiry: u32,
    /// Topic and payload of a will.
    pub(crate) will: Option<(&'a str, &'a [u8])>,
    /// User Properties of the will.
    pub(crate) will_properties: &'a [UserProperty<'a>],
    /// Will Delay Interval, in seconds.
    pub(crate) will_delay: Option<u32>,
    pub(crate) receive_maximum: Option<NonZeroU16>,
    pub(crate) login: Option<(&'a str, &'a str)>,
    pub(crate) authentication_method: Option<&'a str>,
}

impl<'a> ConnectOptions<'a> {
    /// Returns the options of an ordinary client.
    pub(crate) fn new(client_id: &'a str) -> Self {
        Self { client_id, ..Self::default() }
    }

    /// Returns the options of a client whose session outlives its connection.
    pub(crate) fn stored(client_id: &'a str) -> Self {
        Self { client_id, resumes: true, expiry: 3600, ..Self::default() }
    }

    pub(crate) fn packet(&self) -> Result<Vec<u8>> {
        let will = match self.will {
            Some((topic, payload)) => Some(Will {
                topic: TopicName::new(topic)?,
                payload,
                qos: QoS::AtMostOnce,
                retain: false,
                properties: WillProperties {
                    user_properties: self.will_properties.into(),
                    will_delay_interval: self.will_delay,
                    ..Default::default()
                },
            }),
            None => None,
        };
        let connect = Connect {
            version: Version::V5,
            clean_start: !self.resumes,
            keep_alive: self.keep_alive,
            client_identifier: Utf8Str::new(self.client_id)?,
            will,
            user_name: self.login.map(|(name, _)| Utf8Str::new(name)).transpose()?,
            password: self.login.map(|(_, password)| password.as_bytes()),
            properties: ConnectProperties {
                session_expiry_interval: Some(self.expiry),
                receive_maximum: self.receive_maximum,
                authentication_method: self.authentication_method.map(Utf8Str::new).transpose()?,
                ..Default::default()
            },
            ..Default::default()
        };
        let mut packet = Vec::new();
        connect.encode(Version::V5, &mut packet)?;
        Ok(packet)
    }
}

fn delivery(qos: u8, id: u16) -> Result<Delivery> {
    Ok(match qos {
        0 => Delivery::AtMostOnce,
        1 => Delivery::AtLeastOnce { id: PacketId::new(id)?, dup: false },
        _ => Delivery::ExactlyOnce { id: PacketId::new(id)?, dup: false },
    })
}

/// A PUBLISH; the packet identifier of a message of QoS 0 is ignored.
pub(crate) fn publish(topic: &str, payload: &[u8], qos: u8, id: u16) -> Result<Vec<u8>> {
    publish_with(topic, payload, qos, id, PublishProperties::default())
}

/// A PUBLISH with properties.
pub(crate) fn publish_with(
    topic: &str,
    payload: &[u8],
    qos: u8,
    id: u16,
    properties: PublishProperties<'_>,
) -> Result<Vec<u8>> {
    let topic = TopicName::new(topic)?;
    encode_publish(&Publish { delivery: delivery(qos, id)?, retain: false, topic, payload, properties })
}

/// A PUBLISH of QoS 0 that is to be retained.
pub(crate) fn retain(topic: &str, payload: &[u8]) -> Result<Vec<u8>> {
    encode_publish(&Publish { retain: true, topic: TopicName::new(topic)?, payload, ..Default::default() })
}

/// A PUBLISH of QoS 0 that is to be retained until it expires.
pub(crate) fn retain_expiring(topic: &str, payload: &[u8], seconds: u32) -> Result<Vec<u8>> {
    let properties = PublishProperties { message_expiry_interval: Some(seconds), ..Default::default() };
    encode_publish(&Publish { retain: true, topic: TopicName::new(topic)?, payload, properties, ..Default::default() })
}

/// A PUBLISH of QoS 0 that gives its topic an alias.
pub(crate) fn publish_alias(topic: &str, alias: u16) -> Result<Vec<u8>> {
    let properties = PublishProperties { topic_alias: NonZeroU16::new(alias), ..Default::default() };
    publish_with(topic, b"alias", 0, 0, properties)
}

/// A PUBLISH that expires.
pub(crate) fn publish_expiring(topic: &str, payload: &[u8], qos: u8, id: u16, seconds: u32) -> Result<Vec<u8>> {
    let properties = PublishProperties { message_expiry_interval: Some(seconds), ..Default::default() };
    publish_with(topic, payload, qos, id, properties)
}

fn encode_publish(publish: &Publish<'_>) -> Result<Vec<u8>> {
    let mut packet = Vec::new();
    publish.encode(Version::V5, &mut packet)?;
    Ok(packet)
}

/// A SUBSCRIBE, with a Subscription Identifier unless it is 0.
pub(crate) fn subscribe(id: u16, filters: &[impl AsRef<str>], qos: u8, identifier: u32) -> Result<Vec<u8>> {
    let qos = QoS::from_value(qos).unwrap_or_default();
    let subscriptions: Result<Vec<_>, _> =
        filters.iter().map(|filter| Subscription::new(filter.as_ref(), qos)).collect();
    let subscriptions = subscriptions?;
    let identifier = NonZeroU32::new(identifier).map(|it| SubscriptionIdentifier::new(it.get())).transpose()?;
    let mut subscribe = Subscribe::new(PacketId::new(id)?, &subscriptions[..]);
    subscribe.properties = SubscribeProperties { subscription_identifier: identifier, ..Default::default() };
    let mut packet = Vec::new();
    subscribe.encode(Version::V5, &mut packet)?;
    Ok(packet)
}

pub(crate) fn unsubscribe(id: u16, filters: &[impl AsRef<str>]) -> Result<Vec<u8>> {
    let filters: Result<Vec<_>, _> = filters.iter().map(|filter| TopicFilter::new(filter.as_ref())).collect();
    let filters = filters?;
    let mut packet = Vec::new();
    Unsubscribe::new(PacketId::new(id)?, &filters[..]).encode(Version::V5, &mut packet)?;
    Ok(packet)
}

/// A packet with a raw body, for packets that the codec refuses to write.
pub(crate) fn raw(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = header(first, body.len());
    packet.extend_from_slice(body);
    packet
}

/// The fixed header of a packet.
pub(crate) fn header(first: u8, mut length: usize) -> Vec<u8> {
    let mut packet = vec![first];
    loop {
        let byte = (length & 0x7f) as u8;
        length >>= 7;
        packet.push(byte | if length == 0 { 0 } else { 0x80 });
        if length == 0 {
            return packet;
        }
    }
}

/// A complete packet of the broker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    pub(crate) first: u8,
    pub(crate) body: &'a [u8],
}

impl<'a> Received<'a> {
    /// Takes the first packet from bytes if it is complete.
    pub(crate) fn take(input: &mut &'a [u8]) -> Option<Self> {
        let (&first, rest) = input.split_first()?;
        let size = rest.iter().take(4).position(|&byte| byte < 0x80)? + 1;
        let length = rest[..size].iter().rev().fold(0, |length, &byte| length << 7 | usize::from(byte & 0x7f));
        let body = rest.get(size..size + length)?;
        *input = &rest[size + length..];
        Some(Self { first, body })
    }

    pub(crate) fn is(&self, packet_type: PacketType) -> bool {
        self.first >> 4 == packet_type as u8
    }

    pub(crate) const fn qos(&self) -> u8 {
        self.first >> 1 & 3
    }

    /// Topic, packet identifier and payload of a PUBLISH of 5.0.
    pub(crate) fn publish(&self) -> Option<(&'a [u8], u16, &'a [u8])> {
        let (length, rest) = self.body.split_first_chunk()?;
        let (topic, mut rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let mut id = 0;
        if self.qos() != 0 {
            let (bytes, behind) = rest.split_first_chunk()?;
            (id, rest) = (u16::from_be_bytes(*bytes), behind);
        }
        let size = rest.iter().take(4).position(|&byte| byte < 0x80)? + 1;
        let properties = rest[..size].iter().rev().fold(0, |length, &byte| length << 7 | usize::from(byte & 0x7f));
        Some((topic, id, rest.get(size + properties..)?))
    }

    /// Returns the reason codes of 5.0 that are errors.
    pub(crate) fn errors(&self) -> impl Iterator<Item = u8> {
        let codes = match self.first >> 4 {
            2 => self.body.get(1..2),                          // CONNACK
            4..=7 => self.body.get(2..3),                      // PUBACK, PUBREC, PUBREL, PUBCOMP
            9 | 11 => self.body.get(2..).map(skip_properties), // SUBACK, UNSUBACK
            14 => self.body.get(..1),                          // DISCONNECT
            _ => None,
        };
        codes.unwrap_or_default().iter().copied().filter(|&code| code >= 0x80)
    }
}

fn skip_properties(body: &[u8]) -> &[u8] {
    let size = body.iter().take(4).position(|&byte| byte < 0x80).map_or(0, |last| last + 1);
    let length = body[..size].iter().rev().fold(0, |length, &byte| length << 7 | usize::from(byte & 0x7f));
    body.get(size + length..).unwrap_or_default()
}
