//! Connections that come and go, and packets that lead to no other work.

use std::num::NonZeroU32;

use mqtt_sansio::codec::{
    AckProperties, Connect, ConnectProperties, Disconnect, DisconnectProperties, PubRel, Will, WillProperties,
};

use super::*;
use crate::units::Kind;
use crate::units::world::lasting;

pub const KINDS: &[Kind] = &[
    ("connections without CONNECT", |world| {
        world.count(|world| {
            let ids: Vec<_> = (0..500).map(|_| world.open()).collect();
            ids.into_iter().for_each(|id| world.close(id));
        });
    }),
    ("connections that send no CONNECT in time", |world| {
        (0..500).for_each(|_| _ = world.open());
        world.count(|world| world.pass(100));
    }),
    ("CONNECT of new clients", |world| {
        world.count(|world| (0..500).for_each(|number| _ = world.connect(&format!("client-{number}"))));
    }),
    ("CONNECT of clients with long identifiers", |world| {
        let names = numbered(10, |number| format!("{number}-{}", "x".repeat(LONG)));
        world.count(|world| names.iter().for_each(|name| _ = world.connect(name)));
    }),
    ("CONNECT with a will of 60 KB", |world| {
        let payload = vec![b'x'; LONG];
        world.count(|world| {
            (0..10).for_each(|number| _ = world.connect_as(with_will(&number.to_string(), &payload, 5)))
        });
    }),
    ("CONNECT with user properties of 60 KB", |world| {
        let value = "x".repeat(LONG);
        let pairs = [UserProperty::new("name", &value).unwrap()];
        let properties = ConnectProperties { user_properties: (&pairs[..]).into(), ..lasting().properties };
        world.count(|world| {
            (0..10).for_each(|_| _ = world.connect_as(Connect { properties, ..Connect::default() }));
        });
    }),
    ("CONNECT with 256 user properties", |world| {
        let pairs = pairs();
        let properties = ConnectProperties { user_properties: (&pairs[..]).into(), ..lasting().properties };
        world.count(|world| (0..100).for_each(|_| _ = world.connect_as(Connect { properties, ..Connect::default() })));
    }),
    ("CONNECT with a will with 256 user properties", |world| {
        let pairs = pairs();
        let connect = with_will("client", b"x", 5);
        let properties = WillProperties { user_properties: (&pairs[..]).into(), ..WillProperties::default() };
        let will = connect.will.map(|will| Will { properties, ..will });
        world.count(|world| (0..100).for_each(|_| _ = world.connect_as(Connect { will, ..connect })));
    }),
    ("DISCONNECT with 256 user properties", |world| {
        let pairs = pairs();
        let properties =
            DisconnectProperties { user_properties: (&pairs[..]).into(), ..DisconnectProperties::default() };
        let packet = encoded(Disconnect { properties, ..Disconnect::default() });
        let ids: Vec<_> = (0..100).map(|number| world.connect(&number.to_string())).collect();
        world.count(|world| ids.iter().for_each(|&id| world.send(id, &packet)));
    }),
    ("PUBREL with 256 user properties", |world| {
        let id = world.connect("client");
        let pairs = pairs();
        let properties = AckProperties { user_properties: (&pairs[..]).into(), ..AckProperties::default() };
        let packet = encoded(PubRel { properties, ..PubRel::new(PacketId::MIN) });
        world.count(|world| (0..100).for_each(|_| world.send(id, &packet)));
    }),
    ("wills with 256 user properties that were delayed", |world| {
        let pairs = pairs();
        let properties = WillProperties {
            user_properties: (&pairs[..]).into(),
            will_delay_interval: Some(5),
            ..WillProperties::default()
        };
        for number in 0..100 {
            let name = number.to_string();
            let connect = with_will(&name, b"x", 5);
            let will = connect.will.map(|will| Will { properties, ..will });
            let id = world.connect_as(Connect { will, ..connect });
            world.close(id);
        }
        world.count(|world| world.pass(6));
    }),
    ("the embedding program disconnects clients", |world| {
        let ids: Vec<_> = (0..300).map(|number| world.connect(&number.to_string())).collect();
        world.count(|world| ids.iter().for_each(|&id| world.disconnect(id)));
    }),
    ("the status is published", |world| {
        world.configure(|config| config.sys_interval = NonZeroU32::new(1));
        world.connect("client");
        world.count(|world| (0..20).for_each(|_| world.pass(1)));
    }),
    ("CONNECT of new clients of as many users", |world| {
        world.count(|world| {
            for name in numbered(500, |number| format!("user-{number}")) {
                let client_identifier = name.as_str().try_into().unwrap();
                let user_name = Some(name.as_str().try_into().unwrap());
                world.connect_as(Connect { client_identifier, user_name, ..lasting() });
            }
        });
    }),
    ("clients come and go", |world| {
        world.count(|world| {
            for _ in 0..300 {
                let id =
                    world.connect_as(Connect { client_identifier: "client".try_into().unwrap(), ..Connect::default() });
                world.send(id, &[0xE0, 0]);
            }
        });
    }),
    ("clients are lost, and their sessions stay", |world| {
        let ids: Vec<_> = (0..500).map(|number| world.connect(&number.to_string())).collect();
        world.count(|world| ids.iter().for_each(|&id| world.close(id)));
    }),
    ("a session is taken over", |world| {
        world.connect("client");
        world.count(|world| (0..300).for_each(|_| _ = world.connect("client")));
    }),
    ("a session is taken over, with a clean start", |world| {
        world.connect("client");
        let clean = Connect { client_identifier: "client".try_into().unwrap(), clean_start: true, ..lasting() };
        world.count(|world| (0..300).for_each(|_| _ = world.connect_as(clean)));
    }),
    ("PINGREQ, many at a time", |world| {
        let id = world.connect("client");
        world.count(|world| world.send(id, &[0xC0, 0].repeat(5000)));
    }),
    ("PINGREQ one by one", |world| {
        let id = world.connect("client");
        world.count(|world| (0..1000).for_each(|_| world.send(id, &[0xC0, 0])));
    }),
    ("a byte at a time", |world| {
        let id = world.connect("publisher");
        let packet = small(TOPIC, ZERO).repeat(10);
        world.count(|world| packet.iter().for_each(|&byte| world.send(id, &[byte])));
    }),
    ("clients that send nothing for too long", |world| {
        for number in 0..500 {
            world.connect_as(Connect {
                client_identifier: number.to_string().as_str().try_into().unwrap(),
                keep_alive: 10,
                ..lasting()
            });
        }
        world.count(|world| world.pass(20));
    }),
    ("wills of clients that are lost", |world| wills(world, 0, b"x")),
    ("wills that were delayed", |world| wills(world, 5, b"x")),
    ("wills of 60 KB that were delayed", |world| wills(world, 5, &[b'x'; LONG])),
];

/// The CONNECT of a client with a will.
fn with_will<'a>(client_id: &'a str, payload: &'a [u8], delay: u32) -> Connect<'a> {
    let properties = WillProperties { will_delay_interval: Some(delay), ..WillProperties::default() };
    let will = Will { topic: TopicName::new("will").unwrap(), payload, qos: ZERO, retain: false, properties };
    Connect { client_identifier: client_id.try_into().unwrap(), will: Some(will), ..lasting() }
}

fn wills(world: &mut World, delay: u32, payload: &[u8]) {
    let clients = if payload.len() > 1 { 10 } else { 300 };
    let ids: Vec<_> =
        (0..clients).map(|number| world.connect_as(with_will(&number.to_string(), payload, delay))).collect();
    if delay == 0 {
        return world.count(|world| ids.into_iter().for_each(|id| world.close(id)));
    }
    ids.into_iter().for_each(|id| world.close(id));
    world.count(|world| world.pass(u64::from(delay) + 1));
}
