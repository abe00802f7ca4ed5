//! What a world of a broker and its clients does, and that its seed decides it.

use std::collections::BTreeMap;
use std::time::Duration;

use mqtt_sansio::broker::{AllowAll, BrokerConfig, Secret};
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::codec::{self, Decoded, Limits};
use mqtt_sansio::{Message, QoS, SessionExpiry, Version, Will};
use mqtt_sansio_testkit::{BrokerWorld, Event, Hostile, Participant, Random, Reconnect, with_fault};

fn named(name: &str) -> ClientConfig {
    ClientConfig {
        client_id: name.into(),
        session_expiry_interval: SessionExpiry::after(100_000),
        ..ClientConfig::default()
    }
}

fn durable(seed: u64) -> BrokerWorld<AllowAll> {
    let config = BrokerConfig { durable: true, ..BrokerConfig::new(Secret::new([7; 16])) };
    BrokerWorld::with(seed, config, AllowAll)
}

/// Publishes messages of every QoS from everyone to everyone, while links are cut and, if asked for, the broker crashes.
fn exchange(mut world: BrokerWorld<AllowAll>, seed: u64, crashes: bool) -> (BrokerWorld<AllowAll>, Vec<Participant>) {
    let mut random = Random::new(seed);
    let clients: Vec<_> = (0..4).map(|number| world.client(named(&format!("c{number}")))).collect();
    for &client in &clients {
        world.subscribe(client, "all/#", QoS::ExactlyOnce);
    }
    world.run_until_quiet();
    let mut sent = Vec::new();
    for number in 0..30 {
        let client = clients[random.index(4)];
        let (topic, payload) = (format!("all/{}", number % 3), number.to_string());
        let token = world.publish(client, &Message::new(&topic, &payload).qos(QoS::ExactlyOnce));
        sent.push((client, token, payload));
        match random.below(6) {
            0 => world.cut(clients[random.index(4)]),
            1 => world.cut_after(clients[random.index(4)], random.index(200)),
            2 if crashes => world.crash(),
            _ => {}
        }
        for _ in 0..random.below(40) {
            world.step();
        }
    }
    world.run_until_quiet();
    for (client, token, payload) in sent {
        assert!(world.fate(client, token).is_some_and(|fate| fate.is_success()), "{payload} has an outcome");
        for &reader in &clients {
            let times = world.delivered_to(reader).iter().filter(|&&delivered| delivered == payload).count();
            assert_eq!(times, 1, "{payload} comes once to {reader:?}");
        }
    }
    (world, clients)
}

/// [5.0: MQTT-2.2.1-4, MQTT-2.2.1-5, MQTT-2.2.1-6, MQTT-3.2.0-1, MQTT-3.2.0-2, MQTT-3.3.1-1, MQTT-3.3.1-3,
/// MQTT-3.3.4-1, MQTT-3.3.4-9, MQTT-3.8.4-1, MQTT-3.8.4-2, MQTT-4.3.3-1, MQTT-4.3.3-2, MQTT-4.3.3-4, MQTT-4.3.3-6,
/// MQTT-4.3.3-10, MQTT-4.3.3-11, MQTT-4.4.0-1, MQTT-4.5.0-1, MQTT-4.6.0-1, MQTT-4.6.0-4, MQTT-4.9.0-2]
#[test]
fn messages_of_qos_2_come_once_whatever_is_cut() {
    for seed in 0..40 {
        exchange(BrokerWorld::seeded(seed), seed, false);
        exchange(BrokerWorld::seeded(seed).overlooking(50), seed, false);
    }
}

#[test]
fn messages_of_qos_2_come_once_whenever_a_durable_broker_crashes() {
    for seed in 0..40 {
        exchange(durable(seed), seed, true);
    }
}

/// A broker that stores nothing forgets its sessions: clients notice.
#[test]
fn a_crash_of_another_broker_loses_its_sessions() {
    let mut world = BrokerWorld::seeded(3);
    let client = world.client(named("c"));
    world.subscribe(client, "a", QoS::AtLeastOnce);
    world.run_until_quiet();
    world.crash();
    world.run_until_quiet();
    let sessions: Vec<_> = world.events(client).iter().filter(|event| matches!(event, Event::Connected(_))).collect();
    assert_eq!(format!("{sessions:?}"), "[Connected(New), Connected(Lost)]");
    assert_eq!(world.broker().status().subscriptions, 0);
}

#[test]
fn the_same_seed_gives_the_same_events() {
    let events = |seed| {
        let (world, clients) = exchange(durable(seed), seed, true);
        (world.now(), clients.iter().map(|&client| world.events(client).to_vec()).collect::<Vec<_>>())
    };
    assert_eq!(events(11), events(11));
    assert_ne!(events(11), events(12));
}

/// A client that does not read holds up nobody else, and gets its messages when it reads again.
#[test]
fn a_client_that_does_not_read_gets_its_messages_later() {
    let mut world = BrokerWorld::seeded(5);
    let (slow, fast, publisher) = (world.client(named("slow")), world.client(named("fast")), world.client(named("p")));
    for reader in [slow, fast] {
        world.subscribe(reader, "a", QoS::AtLeastOnce);
    }
    world.run_until_quiet();
    world.hold(slow, true);
    let payload = "x".repeat(1000);
    for _ in 0..300 {
        world.publish(publisher, &Message::new("a", &payload).qos(QoS::AtLeastOnce));
    }
    world.run_for(Duration::from_secs(5));
    assert_eq!((world.messages(fast).count(), world.messages(slow).count()), (300, 0));
    world.hold(slow, false);
    world.run_until_quiet();
    assert_eq!(world.messages(slow).count(), 300);
}

#[test]
fn a_cut_that_nobody_repairs_publishes_the_will() {
    let mut world = BrokerWorld::seeded(8);
    let will = Will { delay_interval: 30, ..Will::new("gone", "c") };
    let client = world.client(ClientConfig { will: Some(Box::new(will)), ..named("c") });
    let reader = world.client(named("reader"));
    world.subscribe(reader, "gone", QoS::AtMostOnce);
    world.run_until_quiet();
    world.reconnect(client, Reconnect::Never);
    world.cut(client);
    world.run_for(Duration::from_secs(29));
    assert_eq!(world.delivered_to(reader).len(), 0);
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.delivered_to(reader), ["c"]);
    world.open(client);
    world.run_until_quiet();
    let connections = world.events(client).iter().filter(|event| matches!(event, Event::Connected(_))).count();
    assert_eq!(connections, 2);
}

/// A client that has ended its connection itself, and one that was refused for good, do not come again.
#[test]
fn a_client_does_not_reconnect_where_that_is_pointless() {
    let mut world = BrokerWorld::seeded(9);
    let client = world.client(named("c"));
    world.run_until_quiet();
    let now = world.now();
    world.client_mut(client).disconnect(now, &Default::default()).unwrap();
    world.run_until_quiet();
    let mut ends = BTreeMap::new();
    for event in world.events(client) {
        if let Event::Close(why) = event {
            *ends.entry(why.clone()).or_insert(0) += 1;
        }
    }
    assert_eq!(ends.len(), 1);
    assert_eq!(world.broker().status().clients, 0);
}

/// What honest clients say to each other arrives, whoever else is there.
#[test]
fn hostile_clients_hold_up_nobody() {
    for seed in 0..30 {
        let mut world = BrokerWorld::seeded(seed);
        let (reader, writer) = (world.client(named("reader")), world.client(named("writer")));
        world.subscribe(reader, "honest/#", QoS::ExactlyOnce);
        world.run_until_quiet();
        (0..3).for_each(|number| world.intruder(Hostile::seeded(seed * 3 + number)));
        for number in 0..20 {
            let payload = number.to_string();
            world.publish(writer, &Message::new("honest/a", &payload).qos(QoS::ExactlyOnce));
            world.run_for(Duration::from_millis(20));
        }
        world.end_intrusion();
        world.run_until_quiet();
        let expected: Vec<_> = (0..20).map(|number| number.to_string()).collect();
        assert_eq!(world.delivered_to(reader), expected);
        world.broker().assert_consistent();
    }
}

/// Most packets with a fault are refused, and no input does harm.
#[test]
fn faults_are_found() {
    let mut random = Random::new(1);
    let connect = b"\x10\x10\0\x04MQTT\x05\x02\0\x3c\x03\x21\0\x07\0\x00";
    let refused = (0..1000).filter(|_| {
        let faulty = with_fault(connect, &mut random);
        !matches!(codec::decode(&faulty, Version::V5, Limits::from_client()), Ok(Decoded::Packet { .. }))
    });
    let refused = refused.count();
    assert!((500..1000).contains(&refused), "{refused} of 1000");
}
