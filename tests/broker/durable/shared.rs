//! Messages to shared subscriptions: what a member has when its session ends goes to other members, whenever the broker crashes.

use std::num::NonZeroU32;

use bytes::Buf;
use mqtt_sansio::broker::BrokerConfig;
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::{Message, QoS, SessionExpiry, Subscription, Will};

use super::world::World;
use crate::broker::config;

const PAYLOADS: [&str; 5] = ["0", "1", "2", "3", "4"];
const MEMBERS: [&str; 2] = ["m1", "m2"];

/// A broker that does one item of work in a call, and two members of a group. The first one is chosen for all messages, and has
/// them with everything stored: sent, or queued.
fn members_with_messages(qos: QoS, is_sent: bool) -> World {
    let work_per_call = NonZeroU32::new(1).unwrap();
    let mut world = World::new(BrokerConfig { work_per_call, ..config() });
    for name in MEMBERS {
        let peer = world.add(ClientConfig { client_id: name.into(), ..ClientConfig::default() });
        world.connect(peer);
        world.settle();
        world.peers[peer].session.subscribe(world.now, &[Subscription::new("$share/g/a", qos).unwrap()]).unwrap();
        world.settle();
    }
    world.lose(1);
    world.settle();
    for payload in PAYLOADS {
        world.broker.publish(world.now, &Message::new("a", payload).qos(qos)).unwrap();
        work(&mut world);
    }
    if is_sent {
        let id = world.peers[0].connection.unwrap();
        for _ in PAYLOADS {
            world.changes();
            world.commit(usize::MAX);
            assert!(world.broker.transmit(id).has_remaining(), "the client does not read");
            work(&mut world);
        }
    } else {
        world.lose(0);
        work(&mut world);
    }
    world.changes();
    world.commit(usize::MAX);
    assert_eq!(world.broker.status().stored as usize, PAYLOADS.len());
    world
}

/// Lets the broker work until it has nothing more to do, with a batch after each call.
fn work(world: &mut World) {
    while world.broker.deadline().is_some_and(|deadline| deadline <= world.now) {
        world.broker.poll(world.now);
        world.broker.assert_consistent();
        world.changes();
    }
}

/// What the second member has got when all is done. No message is left in the store then.
fn got_by_the_other(mut world: World) -> Vec<String> {
    world.connect(1);
    world.settle();
    let left: Vec<_> =
        world.committed.iter().filter(|(key, _)| key[0] >= 0x10 && !matches!(key[0], 0x20 | 0x22)).collect();
    assert!(left.is_empty(), "{left:02x?}");
    let mut got: Vec<_> = world.peers[1].got.iter().map(|it| it.payload.clone()).collect();
    got.sort();
    got.dedup();
    got
}

/// Tries every number of batches that are stored of those that `end` leads to. `then` happens after the crash.
fn crash_at_each_batch(make: impl Fn() -> World, end: impl Fn(&mut World), then: impl Fn(&mut World)) {
    for stored in 0.. {
        let mut world = make();
        end(&mut world);
        work(&mut world);
        let is_last = stored >= world.under_way.len();
        world.crash(stored);
        // The session of the first member has ended, or is to end after the crash.
        then(&mut world);
        work(&mut world);
        assert_eq!(world.broker.status().sessions, 1);
        // Another crash changes nothing.
        world.commit(usize::MAX);
        world.crash(0);
        assert_eq!(got_by_the_other(world), PAYLOADS, "after {stored} batches");
        if is_last {
            assert!(stored > PAYLOADS.len(), "each message is an item of work");
            return;
        }
    }
}

/// Ends the session of the first member, if it has not ended.
fn end(world: &mut World) {
    world.broker.end_session(world.now, MEMBERS[0]);
}

/// The session is ended while it has no connection, with messages that are queued.
#[test]
fn queued_messages_go_to_another_member() {
    crash_at_each_batch(|| members_with_messages(QoS::AtLeastOnce, false), end, end);
    crash_at_each_batch(|| members_with_messages(QoS::ExactlyOnce, false), end, end);
}

/// The session is ended with messages of QoS 1 that were sent and are not acknowledged.
#[test]
fn sent_messages_of_qos_1_go_to_another_member() {
    crash_at_each_batch(|| members_with_messages(QoS::AtLeastOnce, true), end, end);
}

/// Of QoS 2 the client may have accepted ownership: no other member gets the message [5.0: MQTT-4.8.2-5].
#[test]
fn sent_messages_of_qos_2_go_to_no_other_member() {
    for stored in [0, 1, usize::MAX] {
        let mut world = members_with_messages(QoS::ExactlyOnce, true);
        end(&mut world);
        work(&mut world);
        world.crash(stored);
        end(&mut world);
        work(&mut world);
        world.commit(usize::MAX);
        assert!(got_by_the_other(world).is_empty());
    }
}

/// The client resumes its session, which is to end with this connection: it is stored until then, because of its messages.
#[test]
fn a_session_that_comes_to_end_with_its_connection_is_stored_until_then() {
    let make = || {
        let mut world = members_with_messages(QoS::AtLeastOnce, false);
        let session = &mut world.peers[0].session;
        let session_expiry_interval = SessionExpiry::WITH_CONNECTION;
        let config = ClientConfig { session_expiry_interval, manual_acks: true, ..session.config().clone() };
        session.reconfigure(config).unwrap();
        world.connect(0);
        world.settle();
        assert_eq!(world.peers[0].got.len(), PAYLOADS.len(), "it is resumed");
        world
    };
    crash_at_each_batch(make, |world| world.lose(0), |_| {});
}

/// A will of a session that is taken apart is published once, and nothing is left of the session but messages elsewhere.
#[test]
fn a_will_goes_out_while_the_session_is_taken_apart() {
    let make = || {
        let mut world = members_with_messages(QoS::AtLeastOnce, false);
        let reader = world.add(ClientConfig { client_id: "m3".into(), ..ClientConfig::default() });
        world.connect(reader);
        world.settle();
        world.peers[reader].session.subscribe(world.now, &[Subscription::new("w", QoS::AtLeastOnce).unwrap()]).unwrap();
        world.settle();
        let will = Will { topic: "w".into(), qos: QoS::AtLeastOnce, delay_interval: 9, ..Will::default() };
        let session = &mut world.peers[0].session;
        let (will, manual_acks) = (Some(Box::new(will)), true);
        session.reconfigure(ClientConfig { will, manual_acks, ..session.config().clone() }).unwrap();
        world.connect(0);
        world.settle();
        world.lose(0);
        world.lose(reader);
        world.settle();
        world
    };
    for stored in 0..20 {
        let mut world = make();
        end(&mut world);
        work(&mut world);
        world.crash(stored);
        end(&mut world);
        world.connect(2);
        world.settle();
        assert_eq!(world.peers[2].got.iter().filter(|it| it.topic == "w").count(), 1, "after {stored} batches");
        assert_eq!(got_by_the_other(world), PAYLOADS, "after {stored} batches");
    }
}
