//! A durable broker whose packets do not wait for commits; and messages that are over early.

use std::num::NonZeroU32;

use mqtt_sansio::broker::{BrokerConfig, Secret};
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::codec::Subscription;
use mqtt_sansio::store::Change;
use mqtt_sansio::{Message, QoS};

use super::world::World;

fn client(client_id: &str) -> ClientConfig {
    ClientConfig { client_id: client_id.into(), ..ClientConfig::default() }
}

/// A broker with a publisher and a subscriber, whose state so far is committed.
fn world() -> World {
    let config = BrokerConfig { waits_for_commits: false, ..BrokerConfig::new(Secret::new([7; 16])) };
    let mut world = World::new(config);
    for client_id in ["publisher", "subscriber"] {
        let peer = world.add(client(client_id));
        world.connect(peer);
    }
    let now = world.now;
    world.peers[1].session.subscribe(now, &[Subscription::new("a/#", QoS::ExactlyOnce).unwrap()]).unwrap();
    world.settle();
    world
}

fn publish(world: &mut World, payload: &str, qos: QoS) {
    let now = world.now;
    world.peers[0].session.publish(now, &Message::new("a/b", payload).qos(qos)).unwrap();
}

/// Returns the number of messages and deliveries that the batches under way put.
fn puts(world: &World) -> usize {
    let changes = world.under_way.iter().flat_map(|batch| batch.changes());
    changes.filter(|change| matches!(change, Change::Put { key, .. } if [0x10, 0x24].contains(&key[0]))).count()
}

/// Acknowledgements and messages of QoS 2 leave at once, and what was delivered since the last batch leaves nothing in the next
/// one.
#[test]
fn nothing_waits_and_what_is_delivered_leaves_nothing() {
    let mut world = world();
    for (number, qos) in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce].into_iter().enumerate() {
        publish(&mut world, &number.to_string(), qos);
    }
    world.work();
    assert_eq!(world.peers[0].done.len(), 3);
    assert!(world.peers[0].done.iter().all(|&(_, is_success)| is_success));
    assert_eq!(world.peers[1].got.len(), 3);
    assert!(!world.broker.awaits_commit());
    world.changes();
    assert_eq!(puts(&world), 0);
    world.broker.assert_consistent();
}

/// A crash takes the broker back to an earlier time, as a whole: what was committed is there, and nothing of what came later.
#[test]
fn a_crash_loses_what_is_not_committed() {
    let mut world = world();
    world.lose(1);
    for (payload, qos) in [("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce)] {
        publish(&mut world, payload, qos);
    }
    world.work();
    assert!(world.changes());
    assert_eq!(puts(&world), 4);
    publish(&mut world, "3", QoS::AtLeastOnce);
    world.work();
    assert_eq!(world.peers[0].done.len(), 3, "the third is acknowledged too");
    world.crash(1);
    world.connect(0);
    world.connect(1);
    world.settle();
    let got: Vec<&str> = world.peers[1].got.iter().map(|got| &got.payload[..]).collect();
    assert_eq!(got, ["1", "2"]);
    // The restored broker does not wait either.
    publish(&mut world, "4", QoS::ExactlyOnce);
    world.work();
    assert_eq!(world.peers[1].got.len(), 3);
}

/// However much comes and goes between two batches: they do not grow with it.
#[test]
fn batches_do_not_grow_with_what_was_delivered() {
    let mut world = world();
    let payload = "x".repeat(1000);
    for _ in 0..4000 {
        publish(&mut world, &payload, QoS::AtLeastOnce);
        world.work();
    }
    assert_eq!((world.peers[1].got.len(), world.broker.awaits_commit()), (4000, false));
    world.changes();
    let size: usize = world.under_way.iter().map(|batch| batch.size()).sum();
    assert!(size < 2000, "{size}");
    // One that stays there is in the batch, with the latest of many values of its stage.
    world.lose(1);
    publish(&mut world, "last", QoS::AtLeastOnce);
    world.work();
    world.changes();
    assert_eq!(puts(&world), 2);
}

/// A message that nobody is to get any more by the time that it has gone to all leaves nothing in the store.
#[test]
fn a_message_whose_receiver_ends_before_it_has_gone_to_all() {
    let work_per_call = NonZeroU32::MIN;
    let mut world = World::new(BrokerConfig { work_per_call, ..BrokerConfig::new(Secret::new([7; 16])) });
    for number in 0..30 {
        let peer = world.add(client(&number.to_string()));
        world.connect(peer);
        world.settle();
        let (now, qos) = (world.now, if number == 0 { QoS::AtLeastOnce } else { QoS::AtMostOnce });
        world.peers[peer].session.subscribe(now, &[Subscription::new("a", qos).unwrap()]).unwrap();
        world.settle();
    }
    let is_busy = |world: &World| world.broker.deadline().is_some_and(|deadline| deadline <= world.now);
    world.broker.publish(world.now, &Message::new("a", "x").qos(QoS::AtLeastOnce)).unwrap();
    while world.broker.status().stored == 0 {
        assert!(is_busy(&world));
        world.broker.poll(world.now);
    }
    assert!(is_busy(&world), "the message is on its way to others");
    world.broker.end_session(world.now, "0");
    while is_busy(&world) {
        world.broker.poll(world.now);
    }
    world.broker.assert_consistent();
    world.changes();
    world.commit(usize::MAX);
    let left: Vec<_> = world.committed.iter().filter(|(key, _)| matches!(key[0], 0x10 | 0x11)).collect();
    assert!(left.is_empty(), "{left:02x?}");
}
