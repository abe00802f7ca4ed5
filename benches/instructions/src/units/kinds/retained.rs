//! Retained messages.

use super::*;
use crate::units::Kind;

pub const KINDS: &[Kind] = &[
    ("retain 1,000 messages", |world| {
        let id = world.connect("publisher");
        world.count(|world| world.send(id, &all(&flat(), b"x")));
    }),
    ("replace 1,000 retained messages", |world| {
        let id = world.connect("publisher");
        world.send(id, &all(&flat(), b"x"));
        world.count(|world| world.send(id, &all(&flat(), b"y")));
    }),
    ("remove 1,000 retained messages", |world| {
        let id = world.connect("publisher");
        world.send(id, &all(&flat(), b"x"));
        world.count(|world| world.send(id, &all(&flat(), b"")));
    }),
    ("remove 1,000 that are not there", |world| {
        let id = world.connect("publisher");
        world.count(|world| world.send(id, &all(&flat(), b"")));
    }),
    ("retain 100 of deep topics", |world| {
        let id = world.connect("publisher");
        world.count(|world| world.send(id, &all(&deep_ones(), b"x")));
    }),
    ("replace 100 of deep topics", |world| {
        let id = world.connect("publisher");
        world.send(id, &all(&deep_ones(), b"x"));
        world.count(|world| world.send(id, &all(&deep_ones(), b"x")));
    }),
    ("remove 100 of deep topics", |world| {
        let id = world.connect("publisher");
        world.send(id, &all(&deep_ones(), b"x"));
        world.count(|world| world.send(id, &all(&deep_ones(), b"")));
    }),
    ("retain long payloads", |world| {
        let id = world.connect("publisher");
        world.count(|world| world.send(id, &all(&numbered(10, |number| number.to_string()), &[b'x'; LONG])));
    }),
    ("retained messages expire", |world| {
        let id = world.connect("publisher");
        let properties = PublishProperties { message_expiry_interval: Some(10), ..PublishProperties::default() };
        let packets = flat()
            .into_iter()
            .flat_map(|topic| encoded(Publish { retain: true, properties, ..publish(&topic, b"x", ZERO) }));
        world.send(id, &packets.collect::<Vec<_>>());
        world.count(|world| world.pass(11));
    }),
    ("walk over 1,000 that match", |world| walk(world, "#", ZERO)),
    ("walk over 1,000 that match, QoS 1", |world| walk(world, "#", ONE)),
    ("walk over 1,000 that do not match", |world| walk(world, "+/none", ZERO)),
    ("walk over 1,000 with one that matches", |world| walk(world, "+/device-7", ZERO)),
    ("walk over 100 deep topics", |world| {
        let (id, publisher) = (world.connect("client"), world.connect("publisher"));
        world.send(publisher, &all(&deep_ones(), b"x"));
        world.count(|world| world.send(id, &subscribe(&["#".to_owned()], ZERO)));
    }),
    ("walk over 100 with 256 user properties", |world| {
        let (id, publisher) = (world.connect("client"), world.connect("publisher"));
        for topic in numbered(100, |number| number.to_string()) {
            world.send(publisher, &with_pairs(Publish { retain: true, ..publish(&topic, b"x", ZERO) }));
        }
        world.count(|world| world.send(id, &subscribe(&["#".to_owned()], ZERO)));
    }),
    ("retain 100 with 256 user properties", |world| {
        let id = world.connect("publisher");
        world.count(|world| {
            for topic in numbered(100, |number| number.to_string()) {
                world.send(id, &with_pairs(Publish { retain: true, ..publish(&topic, b"x", ZERO) }));
            }
        });
    }),
    ("walks of 200 filters", |world| {
        let (id, publisher) = (world.connect("client"), world.connect("publisher"));
        world.send(publisher, &all(&flat(), b"x"));
        let filters = numbered(200, |number| format!("+/device-{number}"));
        world.count(|world| world.send(id, &subscribe(&filters, ZERO)));
    }),
    ("walks of 20 deep filters", |world| {
        let (id, publisher) = (world.connect("client"), world.connect("publisher"));
        world.send(publisher, &all(&["a/b".to_owned()], b"x"));
        let filters = numbered(20, |number| format!("+/{}/{number}", deep(120)));
        world.send(id, &subscribe(&filters, ZERO));
        world.count(|world| world.send(id, &subscribe(&filters, ZERO)));
    }),
];

/// Retains a message for each of some topics.
fn all(topics: &[String], payload: &[u8]) -> Vec<u8> {
    topics.iter().flat_map(|topic| retained(topic, payload)).collect()
}

/// A client subscribes where 1,000 messages are retained.
fn walk(world: &mut World, filter: &str, qos: QoS) {
    let (id, publisher) = (world.connect("client"), world.connect("publisher"));
    let topics = numbered(1000, |number| format!("site/device-{number}"));
    let packets: Vec<u8> =
        topics.iter().flat_map(|topic| encoded(Publish { retain: true, ..publish(topic, &[b'x'; 64], qos) })).collect();
    world.send(publisher, &packets);
    world.count(|world| world.send(id, &subscribe(&[filter.to_owned()], qos)));
}

fn flat() -> Vec<String> {
    numbered(1000, |number| format!("{number}/device-{number}"))
}

fn deep_ones() -> Vec<String> {
    numbered(100, |number| format!("{number}/{}", deep(120)))
}
