//! Packets from a client, plausible or not.

use core::num::{NonZeroU16, NonZeroU32};

use arbitrary::{Result, Unstructured};
use mqtt_sansio::codec::{
    Connect, ConnectProperties, Delivery, Disconnect, Packet, PacketId, PacketType, PubAck, PubComp, PubRec, PubRel,
    Publish, PublishProperties, QoS, Sender, Subscribe, SubscribeProperties, Subscription, Unsubscribe,
    UnsubscribeProperties, Version, Will, WillProperties,
};
use mqtt_sansio::generators::with_packet;
use mqtt_sansio::{TopicFilter, TopicName};

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A CONNECT, usually an acceptable one, with one of these client identifiers, and its version.
pub(super) fn connect(u: &mut Unstructured<'_>, names: &[&str]) -> Result<(Version, Vec<u8>)> {
    let version = *u.choose(&Version::ALL)?;
    let (mut properties, mut will_properties) = (ConnectProperties::default(), WillProperties::default());
    if version == Version::V5 {
        properties.receive_maximum = NonZeroU16::new(u.int_in_range(0..=4)?);
        properties.maximum_packet_size = NonZeroU32::new(*u.choose(&[0, 0, 3, 5, 20, 100])?);
        properties.topic_alias_maximum = Some(u.int_in_range(0..=3)?);
        properties.session_expiry_interval = *u.choose(&[None, Some(0), Some(2), Some(u32::MAX)])?;
        properties.request_problem_information = u.arbitrary()?;
        properties.authentication_method = u.ratio(1, 4)?.then(|| "m".try_into()).transpose().expect("a text");
        will_properties.will_delay_interval = *u.choose(&[None, Some(1), Some(3)])?;
        will_properties.message_expiry_interval = *u.choose(&[None, Some(2)])?;
    }
    let will = Will {
        topic: topic(u)?,
        payload: b"gone",
        qos: *u.choose(&QOS)?,
        retain: u.arbitrary()?,
        properties: will_properties,
    };
    let connect = Connect {
        version,
        is_bridge: u.ratio(1, 8)?,
        clean_start: u.ratio(1, 3)?,
        keep_alive: u.int_in_range(0..=3)?,
        client_identifier: if u.ratio(1, 8)? { "" } else { *u.choose(names)? }.try_into().expect("a text"),
        will: u.ratio(1, 2)?.then_some(will),
        properties,
        ..Connect::default()
    };
    let mut bytes = Vec::new();
    // 3.1.1 has no empty client identifier without Clean Session, and 3.1 has none at all.
    let _ = connect.encode(version, &mut bytes);
    Ok((version, bytes))
}

fn topic(u: &mut Unstructured<'_>) -> Result<TopicName<'static>> {
    let topic: &str = u.choose(&["t", "t", "a", "b/c", "b/", "$SYS/x", "a/b/c/d/e"])?;
    Ok(topic.try_into().expect("a topic"))
}

fn filter(u: &mut Unstructured<'_>) -> Result<&'static str> {
    const FILTERS: [&str; 10] =
        ["a", "b/#", "#", "+", "+/+", "b/c", "$share/g/t", "$share/g/#", "$share/h/b/+", "a/b/c/d/e"];
    Ok(u.choose(&FILTERS)?)
}

/// A packet that a client might send to a server that has sent packets.
pub(super) fn likely(u: &mut Unstructured<'_>, version: Version) -> Result<Vec<u8>> {
    let id = PacketId::new(u.int_in_range(1..=6)?).expect("it is not 0");
    let is_v5 = version == Version::V5;
    let kinds = [
        PacketType::Publish,
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
    let encoded = |packet: Packet<'_>| {
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).expect("it can be encoded");
        bytes
    };
    Ok(match *u.choose(&kinds)? {
        PacketType::Publish => {
            let qos = *u.choose(&QOS)?;
            let delivery = Delivery::new(qos, id, u.arbitrary::<bool>()? && qos != QoS::AtMostOnce);
            let alias = if is_v5 { NonZeroU16::new(u.int_in_range(0..=3)?) } else { None };
            let topic = if alias.is_some() && u.arbitrary()? { TopicName::default() } else { topic(u)? };
            let message_expiry_interval = if is_v5 { *u.choose(&[None, None, Some(1), Some(5)])? } else { None };
            let properties =
                PublishProperties { topic_alias: alias, message_expiry_interval, ..PublishProperties::default() };
            let large = [b'y'; 3000];
            let payload = &large[..*u.choose(&[0, 1, 10, 60, 3000])?];
            encoded(Publish { delivery, topic, payload, properties, retain: u.ratio(1, 3)? }.into())
        }
        PacketType::PubAck => encoded(PubAck::new(id).into()),
        PacketType::PubRec => {
            let reason_code = if is_v5 { u.arbitrary()? } else { Default::default() };
            encoded(PubRec { reason_code, ..PubRec::new(id) }.into())
        }
        PacketType::PubRel => encoded(PubRel::new(id).into()),
        PacketType::PubComp => encoded(PubComp::new(id).into()),
        PacketType::Subscribe => {
            let mut subscriptions = Vec::new();
            for _ in 0..u.int_in_range(1..=3)? {
                let mut subscription = Subscription::new(filter(u)?, *u.choose(&QOS)?).expect("a filter");
                if is_v5 {
                    subscription.no_local = subscription.filter.share_name().is_none() && u.arbitrary()?;
                    subscription.retain_as_published = u.arbitrary()?;
                    subscription.retain_handling = u.arbitrary()?;
                }
                subscriptions.push(subscription);
            }
            let subscription_identifier = if is_v5 && u.arbitrary()? { Some(u.int_in_range(1..=3_u32)?) } else { None };
            let properties = SubscribeProperties {
                subscription_identifier: subscription_identifier.map(|it| it.try_into().expect("it is not 0")),
                ..SubscribeProperties::default()
            };
            encoded(Subscribe { id, subscriptions: (&subscriptions).into(), properties }.into())
        }
        PacketType::Unsubscribe => {
            let filters = [filter(u)?, filter(u)?].map(|it| TopicFilter::new(it).expect("a filter"));
            let properties = UnsubscribeProperties::default();
            encoded(Unsubscribe { id, filters: (&filters[..]).into(), properties }.into())
        }
        PacketType::Disconnect => encoded(Disconnect::default().into()),
        _ => encoded(Packet::PingReq),
    })
}

/// Any packet, or any bytes.
pub(super) fn any(u: &mut Unstructured<'_>, version: Version) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if u.arbitrary()? {
        let encoded = with_packet(u, version, Sender::Client, |packet| packet.encode(version, &mut bytes))?;
        encoded.expect("a generated packet can be encoded");
    } else {
        let len = u.int_in_range(0..=20)?;
        bytes.extend_from_slice(u.bytes(usize::min(len, u.len()))?);
    }
    Ok(bytes)
}
