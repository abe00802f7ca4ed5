//! Sessions that go on, and that end.

use mqtt_sansio::Version;
use mqtt_sansio::codec::Connect;

use super::*;
use crate::units::Kind;
use crate::units::world::lasting;

/// The messages in a queue.
const QUEUE: usize = 900;

pub const KINDS: &[Kind] = &[
    ("a session with a queue goes on", |world| {
        queue(world, TOPIC, None);
        world.count(|world| _ = world.connect("client"));
    }),
    ("a session with a queue of 2,000 bytes each goes on", |world| {
        let id = world.connect("client");
        world.send(id, &subscribe(&[TOPIC.to_owned()], ONE));
        world.close(id);
        let publisher = world.connect("publisher");
        let packet = encoded(publish(TOPIC, &[b'x'; 2000], ONE));
        (0..200).for_each(|_| world.send(publisher, &packet));
        world.count(|world| _ = world.connect("client"));
    }),
    ("a session with a queue of 64 KiB each goes on", |world| {
        let id = world.connect("client");
        world.send(id, &subscribe(&[TOPIC.to_owned()], ONE));
        world.close(id);
        let publisher = world.connect("publisher");
        let packet = encoded(publish(TOPIC, &[b'x'; 1 << 16], ONE));
        (0..50).for_each(|_| world.send(publisher, &packet));
        world.count(|world| _ = world.connect("client"));
    }),
    ("acknowledgements of a window", |world| {
        let id = in_flight(world, 100);
        let all: Vec<u8> = (1..=100).flat_map(|id: u8| [0x40, 2, 0, id]).collect();
        world.count(|world| world.send(id, &all));
    }),
    ("a session with a queue goes on in another version", |world| {
        queue(world, TOPIC, None);
        let connect = Connect { client_identifier: "client".try_into().unwrap(), ..lasting() };
        let connect = Connect { version: Version::V311, properties: Default::default(), ..connect };
        world.count(|world| _ = world.connect_as(connect));
    }),
    ("a session with a queue with user properties goes on", |world| {
        let id = world.connect("client");
        world.send(id, &subscribe(&[TOPIC.to_owned()], ONE));
        world.close(id);
        let publisher = world.connect("publisher");
        (0..100).for_each(|_| world.send(publisher, &with_pairs(publish(TOPIC, b"x", ONE))));
        world.count(|world| _ = world.connect("client"));
    }),
    ("a session with 900 messages in flight is taken over", |world| {
        in_flight(world, 900);
        world.count(|world| _ = world.connect("client"));
    }),
    ("a session with 900 messages in flight is lost", |world| {
        let id = in_flight(world, 900);
        world.count(|world| world.close(id));
    }),
    ("a session with 900 messages in flight ends", |world| {
        let id = in_flight(world, 900);
        world.close(id);
        world.count(|world| world.end_session("client"));
    }),
    ("acknowledgements of a window, the last first", |world| {
        let id = in_flight(world, 900);
        let all: Vec<u8> = (1..=900_u16).rev().flat_map(|id| [0x40, 2, (id >> 8) as u8, id as u8]).collect();
        world.count(|world| world.send(id, &all));
    }),
    ("a session with messages in flight goes on", |world| {
        let id = in_flight(world, 100);
        world.close(id);
        world.count(|world| _ = world.connect("client"));
    }),
    ("messages in queues expire, and the session goes on", |world| {
        queue(world, TOPIC, Some(10));
        world.pass(11);
        world.count(|world| _ = world.connect("client"));
    }),
    ("messages in queues expire, and others come", |world| {
        let ids = subscribers(world, 20, TOPIC, ONE);
        ids.into_iter().for_each(|id| world.close(id));
        let publisher = world.connect("publisher");
        let properties = PublishProperties { message_expiry_interval: Some(10), ..PublishProperties::default() };
        let packet = encoded(Publish { properties, ..publish(TOPIC, &[b'x'; 64], ONE) });
        (0..100).for_each(|_| world.send(publisher, &packet));
        world.pass(11);
        world.count(|world| world.send(publisher, &small(TOPIC, ONE)));
    }),
    ("a session with a queue ends", |world| {
        queue(world, TOPIC, None);
        world.count(|world| world.end_session("client"));
    }),
    ("a session with a queue expires", |world| {
        queue(world, TOPIC, None);
        world.count(|world| world.pass(1001));
    }),
    ("a member with a queue ends", |world| {
        queue(world, "$share/group/site/#", None);
        let id = world.connect("other");
        world.send(id, &subscribe(&["$share/group/site/#".to_owned()], ONE));
        world.count(|world| world.end_session("client"));
    }),
    ("a session with 1,000 subscriptions goes on", |world| {
        let id = world.connect("client");
        world.send(id, &subscribe(&flat(), ONE));
        world.close(id);
        world.count(|world| _ = world.connect("client"));
    }),
    ("a session with 100 deep subscriptions goes on", |world| {
        let id = world.connect("client");
        world.send(id, &subscribe(&deep_common(), ONE));
        world.close(id);
        world.count(|world| _ = world.connect("client"));
    }),
    ("a session with 1,000 subscriptions ends", |world| {
        let id = world.connect("client");
        world.send(id, &subscribe(&flat(), ONE));
        world.count(|world| world.end_session("client"));
    }),
    ("a session with 100 deep subscriptions ends", |world| {
        let id = world.connect("client");
        world.send(id, &subscribe(&deep_common(), ONE));
        world.count(|world| world.end_session("client"));
    }),
    ("sessions expire", |world| {
        let ids: Vec<_> = (0..500).map(|number| world.connect(&number.to_string())).collect();
        ids.into_iter().for_each(|id| world.close(id));
        world.count(|world| world.pass(1001));
    }),
    ("sessions with a subscription expire", |world| {
        let ids = subscribers(world, 500, "site/+/#", ONE);
        ids.into_iter().for_each(|id| world.close(id));
        world.count(|world| world.pass(1001));
    }),
];

/// A client that does not acknowledge so many messages.
fn in_flight(world: &mut World, count: usize) -> ConnectionId {
    world.set_acknowledges(false);
    let id = world.connect("client");
    world.send(id, &subscribe(&[TOPIC.to_owned()], ONE));
    let publisher = world.connect("publisher");
    (0..count).for_each(|_| world.send(publisher, &small(TOPIC, ONE)));
    id
}

/// A client that is away, with messages in its queue.
fn queue(world: &mut World, filter: &str, expiry: Option<u32>) {
    let id = world.connect("client");
    world.send(id, &subscribe(&[filter.to_owned()], ONE));
    world.close(id);
    let publisher = world.connect("publisher");
    let properties = PublishProperties { message_expiry_interval: expiry, ..PublishProperties::default() };
    let packet = encoded(Publish { properties, ..publish(TOPIC, &[b'x'; 64], ONE) });
    (0..QUEUE).for_each(|_| world.send(publisher, &packet));
}

fn flat() -> Vec<String> {
    numbered(1000, |number| format!("filter-{number}"))
}

fn deep_common() -> Vec<String> {
    numbered(100, |number| format!("{}/{number}", deep(120)))
}
