//! The kinds of work, and the packets for them.

mod connections;
mod messages;
mod retained;
mod sessions;
mod subscriptions;

use mqtt_sansio::broker::ConnectionId;
use mqtt_sansio::codec::{
    Delivery, PacketId, Publish, PublishProperties, Subscribe, Subscription, Unsubscribe, UserProperty,
};
use mqtt_sansio::{QoS, TopicFilter, TopicName};

use super::Kind;
use super::world::{World, encoded};

/// All kinds of work.
pub fn all() -> impl Iterator<Item = Kind> {
    let kinds = [connections::KINDS, messages::KINDS, retained::KINDS, sessions::KINDS, subscriptions::KINDS];
    kinds.into_iter().flatten().copied()
}

const ZERO: QoS = QoS::AtMostOnce;
const ONE: QoS = QoS::AtLeastOnce;
const TWO: QoS = QoS::ExactlyOnce;

const TOPIC: &str = "site/12/device/7/reading";

/// The length of what is long, in bytes.
const LONG: usize = 60_000;

fn publish<'a>(topic: &'a str, payload: &'a [u8], qos: QoS) -> Publish<'a> {
    let delivery = Delivery::new(qos, PacketId::MIN, false);
    Publish { delivery, topic: TopicName::new(topic).unwrap(), payload, ..Publish::default() }
}

/// A PUBLISH with 64 bytes of payload.
fn small(topic: &str, qos: QoS) -> Vec<u8> {
    encoded(publish(topic, &[b'x'; 64], qos))
}

fn retained(topic: &str, payload: &[u8]) -> Vec<u8> {
    encoded(Publish { retain: true, ..publish(topic, payload, ZERO) })
}

fn subscriptions<'f>(filters: &'f [String], qos: QoS) -> Vec<Subscription<'f>> {
    filters.iter().map(|filter| Subscription::new(filter, qos).unwrap()).collect()
}

fn subscribe(filters: &[String], qos: QoS) -> Vec<u8> {
    encoded(Subscribe::new(PacketId::MIN, &subscriptions(filters, qos)[..]))
}

fn unsubscribe(filters: &[String]) -> Vec<u8> {
    let filters: Vec<_> = filters.iter().map(|filter| TopicFilter::new(filter).unwrap()).collect();
    encoded(Unsubscribe::new(PacketId::MIN, &filters[..]))
}

/// So many texts, each made of its number.
fn numbered(count: usize, text: impl Fn(usize) -> String) -> Vec<String> {
    (0..count).map(text).collect()
}

/// So many levels of one letter.
fn deep(levels: usize) -> String {
    vec!["a"; levels].join("/")
}

/// Connects so many clients with one subscription each.
fn subscribers(world: &mut World, count: usize, filter: &str, qos: QoS) -> Vec<ConnectionId> {
    let subscribe = subscribe(&[filter.to_owned()], qos);
    let ids: Vec<_> = (0..count).map(|number| world.connect(&format!("subscriber-{number}"))).collect();
    ids.iter().for_each(|&id| world.send(id, &subscribe));
    ids
}

/// As many user properties as a packet may have.
fn pairs() -> [UserProperty<'static>; 256] {
    [UserProperty::new("n", "v").unwrap(); 256]
}

/// A PUBLISH with as many user properties as it may have.
fn with_pairs(publish: Publish<'_>) -> Vec<u8> {
    let pairs = pairs();
    let properties = PublishProperties { user_properties: (&pairs[..]).into(), ..publish.properties };
    encoded(Publish { properties, ..publish })
}
