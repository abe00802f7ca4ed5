//! What damage of a store does: an error that names the key, or a loss that is documented, never a panic or a wrong message.

use std::collections::BTreeSet;

use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig};
use mqtt_sansio::client::{ClientConfig, ClientSession};
use mqtt_sansio::codec::{Connect, Packet, PubRec, Publish};
use mqtt_sansio::store::{Pairs, RestoreError, RestoreErrorKind};
use mqtt_sansio::{Message, QoS, Version};

use super::world::{NOW, Random};
use crate::broker::{Net, SECRET, config, message, named};
use crate::server::{decode, delivery, id, will};

type Pair = (Vec<u8>, Vec<u8>);

/// A store with each kind of pair.
fn store() -> Vec<Pair> {
    let mut net = Net::new(BrokerConfig { durable: true, ..config() });
    net.wait_until(NOW);
    let [peer, other] = ["c", "other"].map(|name| net.client(Version::V5, name));
    net.subscribe(peer, "a/#", QoS::ExactlyOnce);
    net.subscribe(other, "$share/g/a/#", QoS::AtLeastOnce);
    net.hold_acks(peer);
    net.hold_acks(other);
    for (topic, qos) in [("a/1", QoS::ExactlyOnce), ("a/2", QoS::ExactlyOnce), ("a/3", QoS::AtLeastOnce)] {
        net.publish_own(&Message::new(topic, topic).qos(qos));
    }
    net.send(peer, &[PubRec::new(id(1)).into()]);
    net.send(
        other,
        &[Publish { delivery: delivery(QoS::ExactlyOnce, 77), ..message("b", "", QoS::ExactlyOnce) }.into()],
    );
    net.lose(peer);
    net.retain(other, "r/1", "r/1", QoS::AtLeastOnce);
    net.publish_own(&Message::new("r/2", "r/2".repeat(22_000)).retain(true));
    net.connect(&Connect { will: Some(will("gone", 9)), ..named(Version::V5, "with will") });
    let pairs: Vec<Pair> = net.stored.iter().map(|(key, value)| (key.into(), value.into())).collect();
    let kinds: BTreeSet<u8> = pairs.iter().map(|(key, _)| key[0]).collect();
    assert_eq!(kinds, [0, 1, 2, 0x10, 0x11, 0x18, 0x20, 0x21, 0x22, 0x23, 0x24].into());
    pairs
}

fn restore(pairs: &[Pair]) -> Result<Broker<AllowAll>, RestoreError> {
    let pairs = pairs.iter().map(|(key, value)| (key, value));
    let restored = Broker::restore(BrokerConfig::new(SECRET), AllowAll, NOW, pairs);
    if let Ok(broker) = &restored {
        broker.assert_consistent();
    }
    restored
}

/// Restores what can be restored, as a caller does that goes on without what is damaged. Returns the broker, and the keys
/// that were left out.
fn salvage(pairs: &[Pair]) -> Option<(Broker<AllowAll>, Vec<Vec<u8>>)> {
    let (mut pairs, mut lost) = (pairs.to_vec(), Vec::new());
    loop {
        match restore(&pairs) {
            Ok(broker) => return Some((broker, lost)),
            Err(error) if error.kind() == RestoreErrorKind::Format => return None,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                let before = pairs.len();
                pairs.retain(|(key, _)| key != error.key());
                assert!(pairs.len() < before, "{error:?} names a pair");
                lost.push(error.key().to_vec());
            }
        }
    }
}

/// Lets all clients of a broker get what there is for them; returns the messages.
fn read(broker: Broker<AllowAll>) -> Vec<(String, Vec<u8>)> {
    use bytes::Buf;
    let mut broker = broker;
    let mut messages = Vec::new();
    for name in ["c", "other", "reader"] {
        let connection = broker.open(NOW, mqtt_sansio::broker::Origin::UNKNOWN);
        let mut bytes = crate::server::encoded(&named(Version::V5, name).into(), Version::V5);
        if name == "reader" {
            let all = [mqtt_sansio::Subscription::new("r/#", QoS::AtMostOnce).unwrap()];
            bytes.extend(crate::server::encoded(&mqtt_sansio::codec::Subscribe::new(id(1), &all).into(), Version::V5));
        }
        broker.receive(NOW, connection, &mut &bytes[..]);
        let mut received = Vec::new();
        for _ in 0..10 {
            while let Some(batch) = broker.changes() {
                broker.committed(NOW, batch.number());
            }
            broker.poll(NOW);
            while broker.transmit(connection).has_remaining() {
                received.extend(crate::server::take(broker.transmit(connection)));
            }
        }
        broker.assert_consistent();
        for packet in decode(&received, Version::V5) {
            if let Packet::Publish(publish) = packet {
                messages.push((publish.topic.as_str().to_owned(), publish.payload.to_vec()));
            }
        }
    }
    messages
}

/// Checks that all messages of a broker are ones that were published.
fn assert_no_wrong_message(broker: Broker<AllowAll>) {
    for (topic, payload) in read(broker) {
        let expected = if topic == "r/2" { "r/2".repeat(22_000) } else { topic.clone() };
        assert_eq!(payload, expected.as_bytes(), "{topic}");
    }
}

/// The store is restored, and each message is there.
#[test]
fn the_whole_store_is_restored() {
    let (broker, lost) = salvage(&store()).unwrap();
    assert!(lost.is_empty());
    let status = broker.status();
    assert_eq!((status.sessions, status.subscriptions, status.retained, status.stored), (3, 2, 2, 6));
    let topics: BTreeSet<String> = read(broker).into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(topics, ["a/1", "a/2", "a/3", "r/1", "r/2"].map(String::from).into());
}

/// A changed bit is an error that names the pair, and the rest can be restored without it.
#[test]
fn a_changed_bit_is_found() {
    let pairs = store();
    for (index, (key, value)) in pairs.iter().enumerate() {
        // Of large values some bits are enough.
        let step = 1 + value.len() / 50;
        for byte in (0..key.len()).chain((key.len()..key.len() + value.len()).step_by(step)) {
            for bit in [0, 5, 7] {
                let mut damaged = pairs.clone();
                let (key, value) = &mut damaged[index];
                let at = byte.checked_sub(key.len());
                match at {
                    None => key[byte] ^= 1 << bit,
                    Some(at) => value[at] ^= 1 << bit,
                }
                // A caller reads the pairs in the order of their keys.
                damaged.sort();
                let error = restore(&damaged).err();
                assert!(error.is_some(), "byte {byte} of {:02x?} was changed", pairs[index].0);
                if byte % 7 == 0
                    && bit == 5
                    && let Some((broker, lost)) = salvage(&damaged)
                {
                    assert!(!lost.is_empty());
                    assert_no_wrong_message(broker);
                }
            }
        }
    }
}

/// A pair that is missing is an error that names another one, or a loss that concerns that pair alone.
#[test]
fn a_missing_pair_loses_what_it_is() {
    let pairs = store();
    let whole = restore(&pairs).unwrap().status();
    for index in 0..pairs.len() {
        let mut damaged = pairs.clone();
        let (key, _) = damaged.remove(index);
        let Some((broker, lost)) = salvage(&damaged) else {
            assert_eq!(key, [0], "without the version nothing is restored");
            continue;
        };
        let status = broker.status();
        let left = (status.sessions, status.subscriptions, status.retained, status.stored);
        let all = (whole.sessions, whole.subscriptions, whole.retained, whole.stored);
        match key[0] {
            1 | 2 | 0x21 | 0x23 => assert_eq!((left, lost.len()), (all, 0), "{key:02x?}"),
            0x18 => assert_eq!((left, lost.len()), ((all.0, all.1, all.2 - 1, all.3), 0), "{key:02x?}"),
            0x22 => assert_eq!((left, lost.len()), ((all.0, all.1 - 1, all.2, all.3), 0), "{key:02x?}"),
            0x24 => assert_eq!((left, lost.len()), ((all.0, all.1, all.2, all.3 - 1), 0), "{key:02x?}"),
            0x20 => assert!(left.0 == all.0 - 1 && left.2 == all.2 && left.3 <= all.3, "{left:?} of {all:?}"),
            0x10 | 0x11 => assert!(left.0 == all.0 && left.1 == all.1, "{left:?} of {all:?}"),
            kind => panic!("kind {kind}"),
        }
        assert_no_wrong_message(broker);
    }
}

/// Pairs in another order, twice, or of another format are errors.
#[test]
fn other_pairs_are_errors() {
    let pairs = store();
    let mut reversed = pairs.clone();
    reversed.reverse();
    assert_eq!(restore(&reversed).unwrap_err().kind(), RestoreErrorKind::Format);
    let mut twice = pairs.clone();
    twice.insert(4, twice[4].clone());
    assert_eq!(restore(&twice).unwrap_err().kind(), RestoreErrorKind::Order);
    let mut unknown = pairs.clone();
    unknown.push((vec![0x30], Vec::new()));
    assert_eq!(restore(&unknown).unwrap_err().kind(), RestoreErrorKind::UnknownKey);
    assert_eq!(restore(&[]).unwrap().status().sessions, 0);
    // Sessions and messages are counted from 1; a session that has a store of its own is session 0.
    let mut client = ClientSession::new(ClientConfig { durable: true, ..ClientConfig::default() });
    client.publish(NOW, &Message::new("a", "1").qos(QoS::AtLeastOnce)).unwrap();
    let mut own = Pairs::default();
    own.apply(&client.changes().unwrap());
    let own: Vec<Pair> = own.iter().map(|(key, value)| (key.into(), value.into())).collect();
    assert_eq!(restore(&own).unwrap_err().kind(), RestoreErrorKind::UnknownKey);
}

/// Any pairs of a store, in any number, are restored or are an error: nothing is taken for granted of the others.
#[test]
fn any_part_of_a_store_is_restored() {
    let pairs = store();
    let mut random = Random(1);
    for _ in 0..300 {
        let share = 1 + random.below(100);
        let part: Vec<Pair> =
            pairs.iter().filter(|(key, _)| key == &[0] || random.below(100) < share).cloned().collect();
        if let Some((broker, _)) = salvage(&part) {
            assert_no_wrong_message(broker);
        }
    }
}
