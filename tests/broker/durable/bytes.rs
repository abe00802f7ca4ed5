//! How many bytes a durable broker writes for a message.

use mqtt_sansio::broker::{BrokerConfig, Secret};
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::codec::Subscription;
use mqtt_sansio::{Message, QoS};

use super::world::World;

/// Takes the changes so far and commits them; returns their size in a file of batches.
fn commit(world: &mut World) -> usize {
    world.changes();
    let size = world.under_way.iter().map(|batch| batch.to_bytes().len()).sum();
    world.commit(usize::MAX);
    size
}

/// Returns the bytes that are written for a message of this size, of QoS 1 to one session that is stored: from the message
/// to the acknowledgement of the subscriber, with this number of messages in each batch.
fn bytes_per_message(payload: usize, in_batch: usize) -> usize {
    let mut world = World::new(BrokerConfig::new(Secret::new([7; 16])));
    for client_id in ["publisher", "subscriber"] {
        let peer = world.add(ClientConfig { client_id: client_id.into(), ..ClientConfig::default() });
        world.connect(peer);
    }
    let (now, payload) = (world.now, "x".repeat(payload));
    world.peers[1].session.subscribe(now, &[Subscription::new("a/+", QoS::AtLeastOnce).unwrap()]).unwrap();
    world.settle();
    let (mut bytes, rounds) = (0, 50);
    for _ in 0..rounds {
        for _ in 0..in_batch {
            world.peers[0].session.publish(now, &Message::new("a/b", &payload[..]).qos(QoS::AtLeastOnce)).unwrap();
        }
        // The broker has the messages, and commits them before the subscriber acknowledges them.
        while world.work_once(&[0]) {}
        let stored = commit(&mut world);
        assert!(stored > payload.len() * in_batch, "the messages are stored");
        world.work();
        bytes += stored + commit(&mut world);
    }
    world.settle();
    assert_eq!(world.peers[1].got.len(), rounds * in_batch);
    assert_eq!(world.peers[0].done.len(), rounds * in_batch);
    assert!(world.committed.iter().all(|(key, _)| ![0x10, 0x24].contains(&key[0])), "nothing is left of the messages");
    bytes / (rounds * in_batch)
}

/// The bytes for a message in the form of a file are at most three times its size and 200 more.
#[test]
fn bytes_for_a_message() {
    for payload in [64, 2048] {
        for in_batch in [1, 20] {
            let bytes = bytes_per_message(payload, in_batch);
            println!("{bytes} bytes for a message of {payload}, {in_batch} in a batch");
            assert!(bytes <= 3 * payload + 200, "{bytes} bytes for a message of {payload}, {in_batch} in a batch");
        }
    }
}
