//! Messages on their way.

use std::num::{NonZeroU16, NonZeroU32};

use mqtt_sansio::Message;
use mqtt_sansio::broker::SharedStrategy;
use mqtt_sansio::codec::{SubscribeProperties, SubscriptionIdentifier};

use super::*;
use crate::units::Kind;

/// A small budget of a call: work is interrupted often.
const STEP: NonZeroU32 = NonZeroU32::new(50).unwrap();

pub const KINDS: &[Kind] = &[
    ("PUBLISH without a subscriber", |world| {
        let id = world.connect("publisher");
        world.count(|world| world.send(id, &small(TOPIC, ZERO).repeat(1000)));
    }),
    ("PUBLISH QoS 1 without a subscriber", |world| {
        let id = world.connect("publisher");
        world.count(|world| (0..500).for_each(|_| world.send(id, &small(TOPIC, ONE))));
    }),
    ("PUBLISH with a long topic", |world| {
        let id = world.connect("publisher");
        world.count(|world| world.send(id, &small(&"x".repeat(LONG), ZERO).repeat(10)));
    }),
    ("PUBLISH with a deep topic", |world| {
        let id = world.connect("publisher");
        world.count(|world| world.send(id, &small(&deep(120), ZERO).repeat(100)));
    }),
    ("PUBLISH with a topic alias", aliases),
    ("PUBLISH of the embedding program", |world| {
        subscribers(world, 1, "site/#", ZERO);
        world.count(|world| (0..500).for_each(|_| world.publish(&Message::new(TOPIC, &[b'x'; 64]))));
    }),
    ("one to one QoS 0", |world| fan_out(world, 1, ZERO, 500, &small(TOPIC, ZERO))),
    ("one to one QoS 1", |world| fan_out(world, 1, ONE, 500, &small(TOPIC, ONE))),
    ("one to one QoS 2", |world| fan_out(world, 1, TWO, 500, &small(TOPIC, TWO))),
    ("one to 1,000 QoS 0", |world| fan_out(world, 1000, ZERO, 5, &small(TOPIC, ZERO))),
    ("one to 1,000 QoS 1", |world| fan_out(world, 1000, ONE, 2, &small(TOPIC, ONE))),
    ("one to 1,000 QoS 2", |world| fan_out(world, 1000, TWO, 2, &small(TOPIC, TWO))),
    ("one to 1,000 with subscription identifiers", identifiers),
    ("one to 1,000 in steps of 50 units, QoS 0", |world| {
        world.configure(|config| config.work_per_call = STEP);
        fan_out(world, 1000, ZERO, 3, &small(TOPIC, ZERO));
    }),
    ("one to 1,000 in steps of 50 units, QoS 1", |world| {
        world.configure(|config| config.work_per_call = STEP);
        fan_out(world, 1000, ONE, 2, &small(TOPIC, ONE));
    }),
    ("64 KiB to 100 QoS 0", |world| fan_out(world, 100, ZERO, 3, &encoded(publish(TOPIC, &[b'x'; 1 << 16], ZERO)))),
    ("64 KiB to 100 QoS 1", |world| fan_out(world, 100, ONE, 3, &encoded(publish(TOPIC, &[b'x'; 1 << 16], ONE)))),
    ("1 MiB to 20 QoS 1", |world| fan_out(world, 20, ONE, 2, &encoded(publish(TOPIC, &[b'x'; 1 << 20], ONE)))),
    ("2,000 bytes to 100 QoS 0", |world| fan_out(world, 100, ZERO, 5, &encoded(publish(TOPIC, &[b'x'; 2000], ZERO)))),
    ("2,000 bytes to 100 QoS 1", |world| fan_out(world, 100, ONE, 5, &encoded(publish(TOPIC, &[b'x'; 2000], ONE)))),
    ("200 KiB of user properties to 10 QoS 0", |world| fan_out(world, 10, ZERO, 2, &long_properties(ZERO))),
    ("200 KiB of user properties to 10 QoS 1", |world| fan_out(world, 10, ONE, 2, &long_properties(ONE))),
    ("256 user properties to 10 QoS 1", |world| fan_out(world, 10, ONE, 5, &with_pairs(publish(TOPIC, b"x", ONE)))),
    ("one to 100 with an expiry, QoS 1", |world| {
        let properties = PublishProperties { message_expiry_interval: Some(60), ..PublishProperties::default() };
        fan_out(world, 100, ONE, 5, &encoded(Publish { properties, ..publish(TOPIC, b"x", ONE) }));
    }),
    ("overlapping filters of one client", |world| overlapping(world, 1, false)),
    ("overlapping filters of one client, with identifiers", |world| overlapping(world, 1, true)),
    ("overlapping filters of many clients", |world| overlapping(world, 256, false)),
    ("overlapping filters in steps of 50 units", |world| {
        world.configure(|config| config.work_per_call = STEP);
        overlapping(world, 16, false);
    }),
    ("filters that do not match", |world| {
        let id = world.connect("client");
        // For each of the levels `+` as well, and a last level that the topic does not have.
        world.send(id, &subscribe(&numbered(1024, |number| format!("{}/y", choices(number))), ZERO));
        world.count(|world| world.send(id, &small(&format!("{}/x", choices(0)), ZERO).repeat(5)));
    }),
    ("copies for clients that are away", |world| {
        let ids = subscribers(world, 500, TOPIC, ONE);
        ids.into_iter().for_each(|id| world.close(id));
        let id = world.connect("publisher");
        world.count(|world| (0..5).for_each(|_| world.send(id, &small(TOPIC, ONE))));
    }),
    ("copies for queues that are full", |world| {
        world.configure(|config| config.server.max_stored = 1);
        let ids = subscribers(world, 500, TOPIC, ONE);
        ids.into_iter().for_each(|id| world.close(id));
        let id = world.connect("publisher");
        world.send(id, &small(TOPIC, ONE));
        world.count(|world| (0..5).for_each(|_| world.send(id, &small(TOPIC, ONE))));
    }),
    ("QoS 0 for clients that are away", |world| {
        let ids = subscribers(world, 500, TOPIC, ONE);
        ids.into_iter().for_each(|id| world.close(id));
        let id = world.connect("publisher");
        world.count(|world| (0..5).for_each(|_| world.send(id, &small(TOPIC, ZERO))));
    }),
    ("QoS 0 for clients that do not read", |world| {
        let ids = subscribers(world, 100, TOPIC, ZERO);
        ids.into_iter().for_each(|id| world.set_reads(id, false));
        let id = world.connect("publisher");
        world.send(id, &small(TOPIC, ZERO).repeat(2000));
        world.count(|world| world.send(id, &small(TOPIC, ZERO).repeat(10)));
    }),
    ("a message to one of 1,000 members", |world| {
        subscribers(world, 1000, "$share/group/site/#", ONE);
        let id = world.connect("publisher");
        world.count(|world| (0..500).for_each(|_| world.send(id, &small(TOPIC, ONE))));
    }),
    ("a message to members that are full", |world| {
        world.configure(|config| config.server.max_stored = 1);
        world.set_acknowledges(false);
        subscribers(world, 20, "$share/group/site/#", ONE);
        let id = world.connect("publisher");
        (0..20).for_each(|_| world.send(id, &small(TOPIC, ONE)));
        world.count(|world| (0..200).for_each(|_| world.send(id, &small(TOPIC, ONE))));
    }),
    ("a message to the member with the least load", |world| {
        world.configure(|config| config.shared_strategy = SharedStrategy::LeastLoaded);
        subscribers(world, 1000, "$share/group/site/#", ONE);
        let id = world.connect("publisher");
        world.count(|world| (0..500).for_each(|_| world.send(id, &small(TOPIC, ONE))));
    }),
    ("QoS 2 that is never released", |world| {
        world.set_acknowledges(false);
        let id = world.connect("publisher");
        let packets: Vec<u8> = (1..=2000)
            .flat_map(|number| {
                let delivery = Delivery::new(TWO, PacketId::new(number).unwrap(), false);
                encoded(Publish { delivery, ..publish(TOPIC, b"x", TWO) })
            })
            .collect();
        world.count(|world| world.send(id, &packets));
    }),
    ("a message to 1,000 groups", |world| {
        let ids = (0..1000).map(|number| world.connect(&format!("{number}"))).collect::<Vec<_>>();
        for (number, id) in ids.into_iter().enumerate() {
            world.send(id, &subscribe(&[format!("$share/{number}/site/#")], ONE));
        }
        let id = world.connect("publisher");
        world.count(|world| (0..2).for_each(|_| world.send(id, &small(TOPIC, ONE))));
    }),
];

/// A SUBSCRIBE with an identifier.
fn identified(filter: &str, number: u32) -> Vec<u8> {
    let subscription_identifier = SubscriptionIdentifier::new(number).ok();
    let properties = SubscribeProperties { subscription_identifier, ..SubscribeProperties::default() };
    encoded(Subscribe { properties, ..Subscribe::new(PacketId::MIN, &[Subscription::new(filter, ZERO).unwrap()]) })
}

/// Publishes a message some times to so many subscribers.
fn fan_out(world: &mut World, count: usize, qos: QoS, times: u32, packet: &[u8]) {
    subscribers(world, count, "site/+/device/+/reading", qos);
    let id = world.connect("publisher");
    world.count(|world| (0..times).for_each(|_| world.send(id, packet)));
}

fn aliases(world: &mut World) {
    let id = world.connect("publisher");
    let alias = PublishProperties { topic_alias: NonZeroU16::new(1), ..PublishProperties::default() };
    let packet = Publish { properties: alias, ..publish(TOPIC, b"x", ZERO) };
    world.send(id, &encoded(packet));
    let packet = encoded(Publish { topic: TopicName::default(), ..packet });
    world.count(|world| world.send(id, &packet.repeat(1000)));
}

fn identifiers(world: &mut World) {
    let ids: Vec<_> = (0..1000).map(|number| world.connect(&format!("{number}"))).collect();
    for (id, number) in ids.into_iter().zip(1..) {
        world.send(id, &identified(TOPIC, number));
    }
    let id = world.connect("publisher");
    world.count(|world| (0..5).for_each(|_| world.send(id, &small(TOPIC, ZERO))));
}

fn long_properties(qos: QoS) -> Vec<u8> {
    let value = "v".repeat(50 << 10);
    let pairs = [UserProperty::new("name", &value).unwrap(); 4];
    let properties = PublishProperties { user_properties: (&pairs[..]).into(), ..PublishProperties::default() };
    encoded(Publish { properties, ..publish(TOPIC, b"x", qos) })
}

/// Ten levels, `+` where the number has a bit.
fn choices(number: usize) -> String {
    let levels: Vec<_> = (0..10).map(|at| if number >> at & 1 == 0 { "a" } else { "+" }).collect();
    levels.join("/")
}

/// A topic that is matched by 1,024 filters, which are shared out among so many clients, with or without identifiers.
fn overlapping(world: &mut World, clients: usize, has_identifiers: bool) {
    for number in 0..clients {
        let id = world.connect(&format!("{number}"));
        let filters = numbered(1024 / clients, |at| choices(at * clients + number));
        if has_identifiers {
            filters.iter().zip(1..).for_each(|(filter, number)| world.send(id, &identified(filter, number)));
        } else {
            world.send(id, &subscribe(&filters, ZERO));
        }
    }
    let id = world.connect("publisher");
    world.count(|world| (0..5).for_each(|_| world.send(id, &small(&choices(0), ZERO))));
}
