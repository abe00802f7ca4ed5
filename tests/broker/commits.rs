//! A durable broker tells whether its changes are to be stored at once, or may wait for others.

use bytes::Buf as _;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin, Secret};
use mqtt_sansio::{Instant, Message};

const NOW: Instant = Instant::from_micros(1);

/// CONNECT of 5.0 with a Session Expiry Interval.
const CONNECT: &[u8] = b"\x10\x13\x00\x04MQTT\x05\x00\x00\x3c\x05\x11\x00\x00\x00\x09\x00\x01c";
const SUBSCRIBE: &[u8] = b"\x82\x07\x00\x01\x00\x00\x01t\x01";
const PUBLISH: &[u8] = b"\x32\x07\x00\x01t\x00\x01\x00!";
const PUBACK: &[u8] = b"\x40\x02\x00\x01";
const DISCONNECT: &[u8] = b"\xe0\x00";

struct World {
    broker: Broker<AllowAll>,
    client: ConnectionId,
}

impl World {
    fn new(durable: bool) -> Self {
        let config = BrokerConfig { durable, ..BrokerConfig::new(Secret::new([7; 16])) };
        let mut broker = Broker::new(config, AllowAll);
        let client = broker.open(NOW, Origin::UNKNOWN);
        Self { broker, client }
    }

    /// Takes a packet, and returns whether there are changes, and whether they are awaited.
    fn receive(&mut self, packet: &[u8]) -> (bool, bool) {
        let mut input = packet;
        self.broker.receive(NOW, self.client, &mut input);
        assert!(input.is_empty());
        (self.broker.has_changes(), self.broker.awaits_commit())
    }

    /// Stores all changes, and returns the bytes of the output before and after that.
    fn commit(&mut self) -> (usize, usize) {
        let before = self.write();
        while let Some(batch) = self.broker.changes() {
            self.broker.committed(NOW, batch.number());
        }
        assert!(!self.broker.has_changes() && !self.broker.awaits_commit());
        (before, self.write())
    }

    fn write(&mut self) -> usize {
        let transmit = self.broker.transmit(self.client);
        let count = transmit.remaining();
        transmit.advance(count);
        count
    }
}

#[test]
fn changes_that_a_packet_waits_for_are_told_from_others() {
    let mut world = World::new(true);
    assert_eq!(world.receive(CONNECT), (true, true));
    assert!(matches!(world.commit(), (0, 1..)), "CONNACK has waited");
    assert_eq!(world.receive(SUBSCRIBE), (true, true));
    assert!(matches!(world.commit(), (0, 1..)), "SUBACK has waited");
    assert_eq!(world.receive(PUBLISH), (true, true));
    assert!(matches!(world.commit(), (1.., 1..)), "PUBACK has waited, and the copy has not");
    // The message is delivered: it would be sent again after a crash, so no packet depends on its removal.
    assert_eq!(world.receive(PUBACK), (true, false));
    assert_eq!(world.receive(b"\xc0\x00"), (true, false));
    // The next message waits for its own batch, which removes the last one.
    assert_eq!(world.receive(PUBLISH), (true, true));
    assert!(matches!(world.commit(), (1.., 1..)));
    assert_eq!(world.receive(DISCONNECT), (true, false), "the session counts as cut after a crash");
    assert_eq!(world.commit(), (0, 0));
}

/// No packet waits for messages of the embedding program, but many of them are large.
#[test]
fn large_changes_are_to_be_stored() {
    let mut world = World::new(true);
    let mut count = 0;
    while !world.broker.awaits_commit() {
        count += 1;
        assert!(count < 100_000, "the changes of {count} messages are not to be stored yet");
        let topic = format!("retained/{count}/{}", "x".repeat(1000));
        let message = Message::new(&topic, "!").retain(true);
        world.broker.publish(NOW, &message).unwrap();
        while world.broker.deadline().is_some_and(|at| at <= NOW) {
            world.broker.poll(NOW);
        }
    }
    assert!((900..1100).contains(&count), "{count} messages of 1 KB are about 1 MiB");
}

#[test]
fn a_broker_that_is_not_durable_has_no_changes() {
    let mut world = World::new(false);
    for packet in [CONNECT, SUBSCRIBE, PUBLISH, PUBACK, DISCONNECT] {
        assert_eq!(world.receive(packet), (false, false));
        assert!(world.broker.changes().is_none());
    }
}
