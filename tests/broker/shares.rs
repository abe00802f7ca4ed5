//! Each principal has a share of the memory: what one takes leaves something to others, and a newcomer always gets something.

use std::num::NonZeroU64;

use bytes::Buf;
use mqtt_sansio::broker::{BrokerConfig, DropReason, Origin};
use mqtt_sansio::codec::{Connect, ConnectProperties, Packet, Publish, PublishProperties};
use mqtt_sansio::{Message, QoS, Version};

use crate::broker::{BOTH, Net, config, message, named, with_server};
use crate::server::text;

/// A limit of the state that the tables of a broker, with few entries, are a small part of.
const STATE: u64 = 3 << 20;

fn with_state(limit: u64) -> BrokerConfig {
    BrokerConfig { max_state_memory: NonZeroU64::new(limit), max_subscriptions_per_session: u32::MAX, ..config() }
}

/// What clients take from the state, until the broker refuses more.
type Hoarding = (&'static str, fn(&mut Net));

/// Connects a client, and loses its connection; returns whether it was accepted. Nothing else waits.
fn leave_session(net: &mut Net, client_id: &str) -> bool {
    let mut bytes = Vec::new();
    Packet::from(named(Version::V5, client_id)).encode(Version::V5, &mut bytes).unwrap();
    let id = net.broker.open(net.now, net.origin);
    net.broker.receive(net.now, id, &mut &bytes[..]);
    while net.broker.deadline().is_some_and(|deadline| deadline <= net.now) {
        net.broker.poll(net.now);
        net.broker.receive(net.now, id, &mut &bytes[..]);
    }
    // Its reason code is behind the header and the flags.
    let code = net.broker.transmit(id).chunk().get(3).copied();
    net.broker.closed(net.now, id);
    code == Some(0)
}

const HOARDING: [Hoarding; 4] = [
    ("connections", |net| {
        loop {
            let peer = net.open_unserved(Version::V5);
            if net.broker.is_over(net.id(peer)) {
                break net.lose(peer);
            }
        }
    }),
    ("sessions", |net| {
        let origin = net.origin;
        let _ = (0..).find(|number| !leave_session(net, &format!("{number} of {origin:?}")));
    }),
    ("long client identifiers", |net| {
        let (origin, end) = (net.origin, "i".repeat(60_000));
        let _ = (0..).find(|number| !leave_session(net, &format!("{number} of {origin:?} {end}")));
    }),
    ("long filters", |net| {
        let (origin, end) = (net.origin, "f".repeat(60_000));
        let peer = net.try_connect(&named(Version::V5, &format!("hoarder of {origin:?}")));
        for number in 0.. {
            net.received(peer);
            if net.is_over(peer) {
                break;
            }
            net.subscribe_all(peer, &[(&format!("{number} of {origin:?}/{end}"), QoS::AtLeastOnce)]);
            if net.received(peer) != ["SUBACK 1 01"] {
                break;
            }
        }
    }),
];

fn state(net: &Net) -> u64 {
    let memory = net.broker.status().memory;
    memory.total() - memory.stored - memory.retained
}

/// A client of an origin that has nothing else does what clients do.
fn serve_newcomer(net: &mut Net, number: u32) {
    net.origin = Origin::new(1000 + u128::from(number));
    let name = format!("newcomer {number}");
    let peer = net.client(Version::V5, &name);
    net.subscribe(peer, &name, QoS::AtLeastOnce);
    net.publish(peer, &name, "hello", QoS::AtLeastOnce);
    assert_eq!(net.received(peer), [format!("{name}: hello q1")]);
    net.retain(peer, &format!("{name}/state"), "on", QoS::AtLeastOnce);
}

#[test]
fn a_principal_that_takes_all_it_can_get_leaves_half() {
    for (what, hoard) in HOARDING {
        let mut net = Net::new(with_state(STATE));
        net.origin = Origin::new(1);
        hoard(&mut net);
        let used = state(&net);
        assert!(used <= STATE * 58 / 100, "{what}: {used} bytes");
        assert!(used >= STATE * 40 / 100, "{what}: {used} bytes, the share is reached");
        for number in 0..100 {
            serve_newcomer(&mut net, number);
        }
        // Those of the hoarder are as they were: nothing more.
        net.origin = Origin::new(1);
        hoard(&mut net);
        assert!(state(&net) <= STATE * 60 / 100, "{what}: {} bytes", state(&net));
        net.broker.assert_consistent();
    }
}

#[test]
fn several_that_take_all_they_can_get_leave_something() {
    for (what, hoard) in HOARDING {
        let mut net = Net::new(with_state(STATE));
        for number in 1..=4 {
            net.origin = Origin::new(number);
            hoard(&mut net);
        }
        let used = state(&net);
        assert!(used <= STATE, "{what}: {used} bytes");
        serve_newcomer(&mut net, 0);
        net.broker.assert_consistent();
    }
}

#[test]
fn what_has_ended_is_charged_no_more() {
    for (what, hoard) in HOARDING {
        let mut net = Net::new(with_state(STATE));
        net.origin = Origin::new(1);
        let mut peaks = Vec::new();
        for _ in 0..2 {
            hoard(&mut net);
            peaks.push(state(&net));
            net.end_all();
            assert_eq!((net.broker.status().sessions, net.broker.status().connections), (0, 0), "{what}");
            net.broker.assert_consistent();
        }
        assert!(peaks[1] * 10 >= peaks[0] * 9, "{what}: {peaks:?}");
    }
}

/// A message for absent subscribers of an origin, until its share is used up; returns the number of bytes that are stored.
fn hoard_messages(net: &mut Net, number: u32) -> u64 {
    net.origin = Origin::new(u128::from(number));
    let (name, topic) = (format!("absent {number}"), format!("hoard/{number}"));
    let peer = net.client(Version::V5, &name);
    net.subscribe(peer, &topic, QoS::AtLeastOnce);
    net.lose(peer);
    let publisher = net.client(Version::V5, &format!("publisher {number}"));
    let before = net.broker.status().stored_bytes;
    let payload = "x".repeat(500);
    while net.broker.counters().dropped.memory == 0 {
        net.publish(publisher, &topic, &payload, QoS::AtLeastOnce);
    }
    net.broker.status().stored_bytes - before
}

#[test]
fn messages_for_one_principal_leave_room_for_those_of_others() {
    const LIMIT: u64 = 100_000;
    let mut net = Net::new(BrokerConfig { max_memory: LIMIT, reserved_memory: 0, ..config() });
    let hoarded = hoard_messages(&mut net, 1);
    assert!((LIMIT * 45 / 100..=LIMIT / 2).contains(&hoarded), "{hoarded} bytes");
    // Those of another principal are stored, and retained.
    net.origin = Origin::new(2);
    let absent = net.client(Version::V5, "other");
    net.subscribe(absent, "other", QoS::AtLeastOnce);
    net.lose(absent);
    let publisher = net.client(Version::V5, "other publisher");
    let payload = "y".repeat(500);
    for _ in 0..20 {
        net.publish(publisher, "other", &payload, QoS::AtLeastOnce);
    }
    for number in 0..20 {
        net.retain(publisher, &format!("other/{number}"), &payload, QoS::AtLeastOnce);
    }
    assert_eq!((net.broker.status().retained, net.broker.counters().dropped.memory), (20, 1));
    // And the hoarder gets nothing more, neither stored nor retained.
    net.origin = Origin::new(1);
    let hoarder = net.client(Version::V5, "hoarder");
    let retained = Publish { retain: true, ..message("hoard", &payload, QoS::AtLeastOnce) };
    net.send(hoarder, &[retained.into()]);
    assert_eq!(net.received(hoarder), ["PUBACK 1 97"]);
    net.broker.assert_consistent();
}

/// A publisher that has left is charged for the messages that are retained, also when it comes again.
#[test]
fn retained_messages_are_charged_to_whoever_has_published_them() {
    const LIMIT: u64 = 100_000;
    let mut net = Net::new(BrokerConfig { max_memory: LIMIT, ..config() });
    let payload = "r".repeat(500);
    let mut codes = Vec::new();
    for number in 0..200 {
        net.origin = Origin::new(1);
        let connect = Connect { properties: ConnectProperties::default(), ..named(Version::V5, "publisher") };
        let publisher = net.connect(&connect);
        let topic = format!("state/{number}");
        net.send(publisher, &[Publish { retain: true, ..message(&topic, &payload, QoS::AtLeastOnce) }.into()]);
        codes.extend(net.received(publisher));
        net.lose(publisher);
        assert_eq!(net.broker.status().sessions, 0);
    }
    let accepted = net.broker.status().retained;
    assert!((70..=90).contains(&accepted), "{accepted} messages of about 600 bytes");
    assert_eq!(codes.iter().filter(|code| *code == "PUBACK 1 97").count() as u32, 200 - accepted);
    net.broker.assert_consistent();
    // Another one may retain, also in place of those, which are charged no more.
    net.origin = Origin::new(2);
    let other = net.client(Version::V5, "other");
    for number in 0..40 {
        net.retain(other, &format!("state/{number}"), &payload, QoS::AtLeastOnce);
    }
    assert_eq!(net.broker.status().retained, accepted);
    net.origin = Origin::new(1);
    let publisher = net.client(Version::V5, "publisher");
    net.retain(publisher, "state/more", &payload, QoS::AtLeastOnce);
    assert_eq!(net.broker.status().retained, accepted + 1);
    for number in 0..200 {
        net.retain(other, &format!("state/{number}"), "", QoS::AtLeastOnce);
    }
    net.retain(other, "state/more", "", QoS::AtLeastOnce);
    assert_eq!((net.broker.status().retained, net.broker.status().retained_bytes), (0, 0));
    net.broker.assert_consistent();
}

/// However much there is, and whoever has it: a client that is connected and acknowledges gets its messages.
#[test]
fn a_full_memory_does_not_stop_deliveries_to_those_who_acknowledge() {
    for version in BOTH {
        let mut net = Net::new(BrokerConfig { max_memory: 50_000, reserved_memory: 20_000, ..config() });
        // A hundred clients of one principal do not acknowledge.
        net.origin = Origin::new(1);
        for number in 0..100 {
            let idle = net.client(version, &format!("idle {number}"));
            net.hold_acks(idle);
            net.subscribe(idle, "hoard", QoS::AtLeastOnce);
        }
        let publisher = net.client(version, "publisher");
        let payload = "x".repeat(200);
        for _ in 0..20 {
            net.publish(publisher, "hoard", &payload, QoS::AtLeastOnce);
        }
        let window = net.broker.status().stored_bytes;
        assert!((30_000..=35_500).contains(&window), "{window} bytes: half of all that there is");
        // Those for absent clients of four others take what is left.
        for number in 2..6 {
            net.origin = Origin::new(number);
            let absent = net.client(version, &format!("absent {number}"));
            net.subscribe(absent, "more", QoS::AtLeastOnce);
            net.lose(absent);
        }
        for _ in 0..100 {
            net.publish(publisher, "more", &payload, QoS::AtLeastOnce);
        }
        let full = net.broker.status().stored_bytes;
        assert!((40_000..=50_000).contains(&full), "{full} bytes");
        // Another principal gets its messages.
        let dropped = net.broker.counters().dropped.memory;
        for name in ["honest", "neighbour"] {
            net.origin = Origin::new(7);
            let honest = net.client(version, name);
            net.subscribe(honest, name, QoS::AtLeastOnce);
            for _ in 0..100 {
                net.publish(publisher, name, &payload, QoS::AtLeastOnce);
                assert_eq!(net.received(honest).len(), 1, "{name}");
            }
        }
        assert_eq!(net.broker.counters().dropped.memory, dropped);
        net.broker.assert_consistent();
    }
}

#[test]
fn a_principal_may_have_a_limit_of_its_own() {
    let limit = NonZeroU64::new(200_000);
    let mut net = Net::new(BrokerConfig { max_memory_per_principal: limit, ..config() });
    net.origin = Origin::new(1);
    let absent = net.client(Version::V5, "absent");
    net.subscribe(absent, "a", QoS::AtLeastOnce);
    net.lose(absent);
    let publisher = net.client(Version::V5, "publisher");
    let payload = "x".repeat(1000);
    for _ in 0..300 {
        net.publish(publisher, "a", &payload, QoS::AtLeastOnce);
    }
    let stored = net.broker.status().stored_bytes;
    assert!((150_000..=200_000).contains(&stored), "{stored} bytes");
    net.notices();
    net.publish(publisher, "a", &payload, QoS::AtLeastOnce);
    assert_eq!(
        net.notices(),
        ["publisher publish refused: a 97".to_owned(), format!("absent dropped: {:?}", DropReason::Memory)]
    );
    // Nor is there room for a session, and there is for another principal, and for the embedding program.
    let more = "s".repeat(30_000);
    let refused = net.try_connect(&named(Version::V5, &more));
    assert!(net.is_over(refused));
    net.origin = Origin::new(2);
    net.client(Version::V5, &more);
    let own = "o".repeat(300_000);
    net.broker.publish(net.now, &Message::new("own", &own).retain(true)).unwrap();
    net.broker.assert_consistent();
}

/// A session that is taken over from another origin is charged to the principal of its new connection, with all that it has.
#[test]
fn a_session_is_charged_to_the_principal_of_its_last_connection() {
    let mut net = Net::new(with_state(STATE));
    net.origin = Origin::new(1);
    let hoarder = net.client(Version::V5, "hoarder");
    let end = "f".repeat(60_000);
    let mut number = 0;
    loop {
        net.subscribe_all(hoarder, &[(&format!("{number}/{end}"), QoS::AtLeastOnce)]);
        if net.received(hoarder) != ["SUBACK 1 01"] {
            break;
        }
        number += 1;
    }
    net.lose(hoarder);
    net.origin = Origin::new(2);
    let moved = net.resume(&named(Version::V5, "hoarder"));
    net.broker.assert_consistent();
    net.subscribe_all(moved, &[(&format!("more/{end}"), QoS::AtLeastOnce)]);
    assert_eq!(net.received(moved), ["SUBACK 1 97"], "the share of the second is used up now");
    net.origin = Origin::new(1);
    let other = net.client(Version::V5, "other");
    net.subscribe(other, &format!("more/{end}"), QoS::AtLeastOnce);
    // Who the user is counts more than where the client comes from.
    let user = Connect { user_name: Some(text("user")), ..named(Version::V5, "hoarder of a user") };
    let peer = net.connect(&user);
    net.subscribe(peer, &format!("user/{end}"), QoS::AtLeastOnce);
    net.broker.assert_consistent();
}

/// What clients take after they were accepted: by topic aliases, and by messages that they do not acknowledge.
#[test]
fn sessions_that_grow_are_held_to_the_share() {
    for has_aliases in [true, false] {
        let limits = with_server(|server| {
            server.topic_alias_maximum = 50;
            server.max_stored = 10_000;
        });
        let mut net = Net::new(BrokerConfig { max_state_memory: NonZeroU64::new(STATE), ..limits });
        net.origin = Origin::new(1);
        let hoarders: Vec<_> = (0..50)
            .map(|number| {
                let hoarder = net.try_connect(&named(Version::V5, &format!("hoarder {number}")));
                net.received(hoarder);
                net.hold_acks(hoarder);
                net.subscribe(hoarder, "hoard", QoS::AtLeastOnce);
                hoarder
            })
            .collect();
        let publisher = net.try_connect(&named(Version::V5, "publisher"));
        net.received(publisher);
        if has_aliases {
            let end = "t".repeat(3000);
            for &hoarder in &hoarders {
                for alias in 1..=50 {
                    let topic = format!("{alias}/{end}");
                    let properties = PublishProperties { topic_alias: alias.try_into().ok(), ..Default::default() };
                    if !net.is_over(hoarder) {
                        let packet = Publish { properties, ..message(&topic, "", QoS::AtMostOnce) };
                        net.send(hoarder, &[packet.into()]);
                    }
                }
            }
            assert!(hoarders.iter().any(|&hoarder| net.is_over(hoarder)), "some are disconnected");
        } else {
            for _ in 0..1500 {
                net.publish(publisher, "hoard", "", QoS::AtLeastOnce);
            }
            assert_ne!(net.broker.counters().dropped.memory, 0);
        }
        let used = state(&net);
        assert!(used <= STATE * 60 / 100, "{used} bytes, aliases {has_aliases}");
        serve_newcomer(&mut net, 0);
        net.broker.assert_consistent();
    }
}
