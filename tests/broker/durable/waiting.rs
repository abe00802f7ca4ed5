//! What waits for which changes, line by line: each packet leaves when what it promises is stored, and not before.

use std::num::NonZeroU32;

use mqtt_sansio::broker::BrokerConfig;
use mqtt_sansio::codec::{
    Connect, DisconnectReasonCode, Packet, PubAck, PubComp, PubRec, PubRel, Publish, Subscription,
};
use mqtt_sansio::{Message, QoS, Version};

use crate::broker::{BOTH, Net, config, message, named};
use crate::server::{delivery, id, text, will};

/// A durable broker whose changes are not stored until the test says so.
fn net() -> Net {
    net_with(BrokerConfig { durable: true, ..config() })
}

fn net_with(config: BrokerConfig) -> Net {
    let mut net = Net::new(config);
    net.stores = false;
    net
}

/// Stores all changes so far, and lets what has waited for them be received.
fn store(net: &mut Net) {
    while net.store() {
        net.flush();
    }
}

/// A CONNECT whose session ends with its connection.
fn clean(name: &str) -> Connect<'_> {
    Connect { client_identifier: text(name), clean_start: true, ..Connect::default() }
}

/// Connects a client, with all changes stored.
fn client(net: &mut Net, version: Version, name: &str) -> usize {
    connect(net, &named(version, name))
}

fn connect(net: &mut Net, connect: &Connect<'_>) -> usize {
    let peer = net.try_connect(connect);
    store(net);
    assert_eq!(net.received(peer), ["CONNACK 00"]);
    peer
}

/// Subscribes, with all changes stored.
fn subscribe(net: &mut Net, peer: usize, filter: &str, qos: QoS) {
    net.subscribe_all(peer, &[(filter, qos)]);
    store(net);
    net.received(peer);
}

/// CONNACK waits until the session is stored as connected, and nothing leaves before it.
#[test]
fn connack_waits_and_nothing_is_before_it() {
    for version in BOTH {
        let mut net = net();
        let peer = net.try_connect(&named(version, "client"));
        net.subscribe_all(peer, &[("a", QoS::AtMostOnce)]);
        net.send(peer, &[Packet::PingReq]);
        net.publish_own(&Message::new("a", "0"));
        assert!(net.received(peer).is_empty());
        store(&mut net);
        assert_eq!(net.received(peer), ["CONNACK 00", "PINGRESP", "a: 0", "SUBACK 1 00"]);
        // When it comes back its session is there.
        net.lose(peer);
        store(&mut net);
        let peer = net.try_connect(&named(version, "client"));
        assert!(net.received(peer).is_empty());
        store(&mut net);
        assert_eq!(net.received(peer), ["CONNACK 00 present"]);
    }
}

/// A session that ends with its connection is not stored, and its CONNACK waits for nothing; but it does wait for the removal
/// of the session in whose place it comes.
#[test]
fn sessions_that_end_with_their_connections_are_not_stored() {
    let mut net = net();
    let first = net.try_connect(&clean("x"));
    assert_eq!(net.received(first), ["CONNACK 00"]);
    store(&mut net);
    assert_eq!(net.restored(net.now).status().sessions, 0);
    let stored = client(&mut net, Version::V5, "y");
    net.lose(stored);
    store(&mut net);
    assert_eq!(net.restored(net.now).status().sessions, 1);
    let peer = net.try_connect(&clean("y"));
    assert!(net.received(peer).is_empty(), "that there is no session any more is not stored");
    store(&mut net);
    assert_eq!(net.received(peer), ["CONNACK 00"]);
    assert_eq!(net.restored(net.now).status().sessions, 0);
}

/// Whatever clients do whose sessions end with their connections, nothing is stored of it: no subscription, no message on its
/// way, no will, no stage of QoS 2, and no count.
#[test]
fn nothing_is_stored_of_sessions_that_end_with_their_connections() {
    for version in BOTH {
        let mut net = net_with(BrokerConfig { durable: true, sys_interval: NonZeroU32::new(1), ..config() });
        let subscribers =
            [("a", QoS::AtMostOnce), ("a", QoS::AtLeastOnce), ("a", QoS::ExactlyOnce), ("$SYS/#", QoS::ExactlyOnce)];
        for (number, (filter, qos)) in subscribers.into_iter().enumerate() {
            let name = number.to_string();
            let peer = net.try_connect(&Connect { version, will: Some(will("gone", 0)), ..clean(&name) });
            net.subscribe_all(peer, &[(filter, qos), ("$share/g/a", qos), ("will", qos)]);
        }
        let publisher = net.try_connect(&Connect { version, ..clean("publisher") });
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            net.publish(publisher, "a", "1", qos);
            net.publish_own(&Message::new("a", "2").qos(qos));
        }
        net.wait(10);
        net.lose(0);
        net.wait(10);
        net.end_all_connections();
        net.wait(10);
        net.broker.assert_consistent();
        let counters = net.broker.counters();
        assert!(counters.wills != 0 && counters.messages_received != 0 && counters.messages_forwarded != 0);
        // A new store begins with the version of its format, and each batch has its time.
        let changes = std::iter::from_fn(|| net.broker.changes()).flat_map(|batch| {
            let changes = batch.changes().map(|change| format!("{change:02x?}"));
            changes.filter(|text| !text.contains("key: [00]") && !text.contains("key: [01]")).collect::<Vec<_>>()
        });
        assert_eq!(changes.collect::<Vec<_>>(), Vec::<String>::new());
    }
}

/// A batch says what has changed, and no count of it: a message that is delivered leaves nothing behind, however many there are.
#[test]
fn batches_contain_no_counts() {
    let mut net = net_with(BrokerConfig { durable: true, sys_interval: NonZeroU32::new(1), ..config() });
    let [subscriber, publisher] = ["subscriber", "publisher"].map(|name| client(&mut net, Version::V5, name));
    subscribe(&mut net, subscriber, "a", QoS::AtLeastOnce);
    net.publish(publisher, "a", "1", QoS::AtLeastOnce);
    store(&mut net);
    let without_clock = |net: &Net| -> Vec<_> {
        net.stored.iter().filter(|(key, _)| *key != [1]).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    };
    let before = without_clock(&net);
    for number in 0..100 {
        net.publish(publisher, "a", &number.to_string(), QoS::AtLeastOnce);
        net.wait(1);
        store(&mut net);
    }
    assert!(net.broker.counters().messages_forwarded > 100);
    assert_eq!(without_clock(&net), before);
}

/// SUBACK and UNSUBACK wait for the subscriptions.
#[test]
fn suback_and_unsuback_wait() {
    for version in BOTH {
        let mut net = net();
        let peer = client(&mut net, version, "client");
        net.subscribe_all(peer, &[("a", QoS::AtLeastOnce), ("b/#", QoS::ExactlyOnce)]);
        assert!(net.received(peer).is_empty());
        assert_eq!(net.restored(net.now).status().subscriptions, 0);
        store(&mut net);
        assert_eq!(net.received(peer), ["SUBACK 1 01 02"]);
        assert_eq!(net.restored(net.now).status().subscriptions, 2);
        net.unsubscribe(peer, &["a"]);
        assert!(net.received(peer).is_empty());
        store(&mut net);
        assert_eq!(net.received(peer).len(), 1);
        assert_eq!(net.restored(net.now).status().subscriptions, 1);
    }
}

/// PUBACK and PUBREC wait until the message is stored for the sessions that get it, or is retained. If nothing of it is
/// stored, they wait for nothing.
#[test]
fn acknowledgements_wait_for_what_is_stored() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut net = net();
        let publisher = client(&mut net, Version::V5, "publisher");
        let ack = if qos == QoS::AtLeastOnce { "PUBACK 1" } else { "PUBREC 1" };
        net.hold_acks(publisher);
        net.send(publisher, &[message("nobody", "0", qos).into()]);
        if qos == QoS::AtLeastOnce {
            assert_eq!(net.received(publisher), [format!("{ack} 10")], "nothing is stored");
        } else {
            assert!(net.received(publisher).is_empty(), "the identifier is stored");
            store(&mut net);
            assert_eq!(net.received(publisher), [format!("{ack} 10")]);
            net.send(publisher, &[PubRel::new(id(1)).into()]);
            store(&mut net);
            net.received(publisher);
        }
        let subscriber = client(&mut net, Version::V5, "subscriber");
        subscribe(&mut net, subscriber, "a", qos);
        net.lose(subscriber);
        store(&mut net);
        net.send(publisher, &[message("a", "1", qos).into()]);
        assert!(net.received(publisher).is_empty());
        assert_eq!(net.restored(net.now).status().stored, 0);
        store(&mut net);
        assert_eq!(net.received(publisher), [format!("{ack} 00")]);
        assert_eq!(net.restored(net.now).status().stored, 1);
        // A message that is retained.
        net.send(publisher, &[Publish { retain: true, delivery: delivery(qos, 2), ..message("r", "2", qos) }.into()]);
        assert!(net.received(publisher).is_empty());
        store(&mut net);
        assert_eq!(net.received(publisher).len(), 1);
        assert_eq!(net.restored(net.now).status().retained, 1);
    }
}

/// A publisher whose session is not stored waits all the same: its acknowledgement promises what others store.
#[test]
fn a_publisher_without_a_stored_session_waits() {
    let mut net = net();
    let subscriber = client(&mut net, Version::V5, "subscriber");
    subscribe(&mut net, subscriber, "a", QoS::AtLeastOnce);
    net.lose(subscriber);
    store(&mut net);
    let publisher = net.try_connect(&clean("publisher"));
    net.received(publisher);
    net.send(publisher, &[message("a", "1", QoS::AtLeastOnce).into()]);
    net.send(publisher, &[Packet::PingReq]);
    assert_eq!(net.received(publisher), ["PINGRESP"]);
    store(&mut net);
    assert_eq!(net.received(publisher), ["PUBACK 1 00"]);
}

/// PUBLISH of QoS 2 and PUBREL wait for identifier and stage; of QoS 1, and of QoS 0, PUBLISH does not wait.
#[test]
fn messages_of_qos_2_wait_and_others_do_not() {
    for version in BOTH {
        let mut net = net();
        let subscriber = client(&mut net, version, "subscriber");
        subscribe(&mut net, subscriber, "#", QoS::ExactlyOnce);
        net.hold_acks(subscriber);
        net.publish_own(&Message::new("a", "1").qos(QoS::AtLeastOnce));
        net.publish_own(&Message::new("a", "2").qos(QoS::ExactlyOnce));
        net.publish_own(&Message::new("a", "0"));
        assert_eq!(net.received(subscriber), ["a: 1 q1", "a: 0"]);
        store(&mut net);
        assert_eq!(net.received(subscriber), ["a: 2 q2"]);
        net.send(subscriber, &[PubRec::new(id(2)).into()]);
        assert!(net.received(subscriber).is_empty(), "PUBREL waits until the stage is stored");
        store(&mut net);
        assert_eq!(net.received(subscriber), ["PUBREL 2 00"]);
        // A message of QoS 1 waits behind one of QoS 2, because messages are sent again in the order of sending.
        net.publish_own(&Message::new("a", "3").qos(QoS::ExactlyOnce));
        net.publish_own(&Message::new("a", "4").qos(QoS::AtLeastOnce));
        assert!(net.received(subscriber).is_empty());
        store(&mut net);
        assert_eq!(net.received(subscriber), ["a: 3 q2", "a: 4 q1"]);
        net.send(subscriber, &[PubAck::new(id(1)).into(), PubComp::new(id(2)).into()]);
        store(&mut net);
        assert_eq!(net.restored(net.now).status().stored, 2);
    }
}

/// PUBCOMP waits until it is stored that the identifier is released, and a repeated one until the first is.
#[test]
fn pubcomp_waits() {
    let mut net = net();
    let publisher = client(&mut net, Version::V5, "publisher");
    net.hold_acks(publisher);
    net.send(publisher, &[message("a", "1", QoS::ExactlyOnce).into()]);
    store(&mut net);
    assert_eq!(net.received(publisher), ["PUBREC 1 10"]);
    net.send(publisher, &[PubRel::new(id(1)).into(), PubRel::new(id(1)).into()]);
    assert!(net.received(publisher).is_empty());
    store(&mut net);
    assert_eq!(net.received(publisher), ["PUBCOMP 1 00", "PUBCOMP 1 92"]);
}

/// Refusals, PINGRESP and DISCONNECT promise nothing: they do not wait, not even behind what waits.
#[test]
fn refusals_do_not_wait() {
    let mut net = net();
    let peer = client(&mut net, Version::V5, "client");
    net.hold_acks(peer);
    net.subscribe_all(peer, &[("a", QoS::AtLeastOnce)]);
    net.send(
        peer,
        &[Publish { delivery: delivery(QoS::AtLeastOnce, 9), ..message("$SYS/x", "", QoS::AtLeastOnce) }.into()],
    );
    net.send(peer, &[Packet::PingReq]);
    // Acknowledgements keep their order, so that the refusal comes behind SUBACK if that waits.
    assert_eq!(net.received(peer), ["PINGRESP"]);
    net.disconnect(peer, DisconnectReasonCode::ServerBusy);
    assert_eq!(net.received(peer), ["DISCONNECT 89"]);
    let mut net = self::net();
    let peer = client(&mut net, Version::V5, "client");
    net.send(
        peer,
        &[Publish { delivery: delivery(QoS::AtLeastOnce, 9), ..message("$SYS/x", "", QoS::AtLeastOnce) }.into()],
    );
    assert_eq!(net.received(peer), ["PUBACK 9 87"]);
}

/// What a client may have seen the effect of is stored before it is told anything that depends on it: the removal of a
/// subscription, of a session, or of a retained message.
#[test]
fn a_reader_waits_for_what_it_has_read() {
    type Removal<'a> = &'a dyn Fn(&mut Net, usize);
    let removals: [Removal<'_>; 3] = [
        &|net, peer| net.unsubscribe(peer, &["a"]),
        &|net, _| assert!(net.broker.end_session(net.now, "other")),
        &|net, peer| net.send(peer, &[Publish { retain: true, ..message("r", "", QoS::AtMostOnce) }.into()]),
    ];
    for (index, removal) in removals.into_iter().enumerate() {
        let mut net = net();
        let other = client(&mut net, Version::V5, "other");
        subscribe(&mut net, other, "a", QoS::AtLeastOnce);
        net.retain(other, "r", "1", QoS::AtMostOnce);
        store(&mut net);
        net.received(other);
        let publisher = client(&mut net, Version::V5, "publisher");
        removal(&mut net, other);
        // The message goes to nobody, because of what is removed.
        net.send(publisher, &[message("nobody", "1", QoS::AtLeastOnce).into()]);
        assert!(net.received(publisher).is_empty(), "removal {index}");
        store(&mut net);
        assert_eq!(net.received(publisher), ["PUBACK 1 10"], "removal {index}");
        // What is only added to need not be waited for.
        subscribe(&mut net, publisher, "mine", QoS::AtLeastOnce);
        let third = client(&mut net, Version::V5, "third");
        net.subscribe_all(third, &[("b", QoS::AtLeastOnce)]);
        net.send(publisher, &[message("nobody", "1", QoS::AtLeastOnce).into()]);
        assert_eq!(net.received(publisher), ["PUBACK 1 10"], "removal {index}");
    }
}

/// The changes of one client are not waited for by others.
#[test]
fn nobody_waits_for_the_changes_of_others() {
    let mut net = net();
    let [first, second] = ["first", "second"].map(|name| client(&mut net, Version::V5, name));
    subscribe(&mut net, second, "a", QoS::AtLeastOnce);
    net.subscribe_all(first, &[("b", QoS::AtLeastOnce)]);
    net.unsubscribe(second, &["unknown"]);
    assert_eq!(net.received(second), ["UNSUBACK 1 11"]);
    assert!(net.received(first).is_empty());
}

/// Batches are committed in their order, and a commit lets go what waits for it alone.
#[test]
fn a_commit_lets_go_what_waits_for_it() {
    let mut net = net();
    let [first, second] = ["first", "second"].map(|name| client(&mut net, Version::V5, name));
    net.subscribe_all(first, &[("a", QoS::AtLeastOnce)]);
    let one = net.broker.changes().unwrap();
    net.subscribe_all(second, &[("a", QoS::AtLeastOnce)]);
    let two = net.broker.changes().unwrap();
    assert_eq!(two.number(), one.number() + 1);
    assert!(net.broker.changes().is_none());
    net.broker.committed(net.now, one.number());
    net.flush();
    assert_eq!((net.received(first).len(), net.received(second).len()), (1, 0));
    // A number that was not handed out counts as the last one that was.
    net.broker.committed(net.now, u64::MAX);
    net.flush();
    assert_eq!((net.received(first).len(), net.received(second).len()), (0, 1));
    net.subscribe_all(second, &[("b", QoS::AtLeastOnce)]);
    net.flush();
    assert_eq!(net.received(second).len(), 0);
}

/// What waits when the connection ends is dropped: the client repeats it.
#[test]
fn what_waits_ends_with_the_connection() {
    let mut net = net();
    let publisher = client(&mut net, Version::V5, "publisher");
    net.hold_acks(publisher);
    net.send(publisher, &[message("a", "1", QoS::ExactlyOnce).into()]);
    net.lose(publisher);
    let publisher = net.try_connect(&named(Version::V5, "publisher"));
    net.hold_acks(publisher);
    store(&mut net);
    assert_eq!(net.received(publisher), ["CONNACK 00 present"]);
    let received = net.broker.counters().messages_received;
    net.send(publisher, &[message("a", "1", QoS::ExactlyOnce).into()]);
    assert_eq!(net.received(publisher), ["PUBREC 1 00"], "it is stored that the message was received");
    assert_eq!(net.broker.counters().messages_received, received, "and it does not come twice");
}

/// A message that goes to many sessions over several calls, and batches, is acknowledged with the batch that completes it.
/// Copies of QoS 1 go on at once, those of QoS 2 with that batch.
#[test]
fn a_message_on_its_way_is_stored_at_the_end() {
    let mut net = net_with(BrokerConfig { durable: true, work_per_call: 1.try_into().unwrap(), ..config() });
    let mut subscribers = Vec::new();
    for number in 0..4 {
        let peer = client(&mut net, Version::V5, &format!("subscriber {number}"));
        subscribe(&mut net, peer, "a", if number < 2 { QoS::AtLeastOnce } else { QoS::ExactlyOnce });
        net.hold_acks(peer);
        subscribers.push(peer);
    }
    let publisher = client(&mut net, Version::V5, "publisher");
    net.hold_acks(publisher);
    let bytes = crate::server::encoded(&message("a", "1", QoS::ExactlyOnce).into(), Version::V5);
    let (connection, mut stored) = (net.id(publisher), 0);
    let mut input = &bytes[..];
    // Each call is a batch of its own, and is committed at once.
    while !input.is_empty() || net.broker.deadline() == Some(net.now) {
        stored += u32::from(net.store());
        assert_eq!(net.restored(net.now).status().stored, 0, "the message is not complete");
        if !input.is_empty() {
            net.broker.receive(net.now, connection, &mut input);
        }
        net.broker.poll(net.now);
    }
    assert!(stored > 2, "{stored} batches");
    net.flush();
    let received: Vec<_> = subscribers.iter().map(|&peer| net.received(peer).len()).collect();
    assert_eq!((received, net.received(publisher).len()), (vec![1, 1, 0, 0], 0));
    store(&mut net);
    assert_eq!(net.restored(net.now).status().stored, 4);
    let received: Vec<_> = subscribers.iter().map(|&peer| net.received(peer).len()).collect();
    assert_eq!((received, net.received(publisher).len()), (vec![0, 0, 1, 1], 1));
}

/// Above the limit of changes that are not committed, input stops before the first packet that makes more of them. Others are
/// taken until then.
#[test]
fn input_stops_above_the_limit() {
    let mut net = net_with(BrokerConfig { durable: true, max_uncommitted: 2000.try_into().unwrap(), ..config() });
    let subscriber = client(&mut net, Version::V5, "subscriber");
    subscribe(&mut net, subscriber, "a", QoS::AtLeastOnce);
    net.lose(subscriber);
    store(&mut net);
    let publisher = connect(&mut net, &Connect { keep_alive: 10, ..named(Version::V5, "publisher") });
    let payload = "x".repeat(3000);
    net.send(publisher, &[message("a", &payload, QoS::AtLeastOnce).into()]);
    assert_eq!(net.unsent(publisher), 0);
    net.send(publisher, &[Packet::PingReq, message("a", "0", QoS::AtMostOnce).into()]);
    assert_eq!((net.unsent(publisher), net.received(publisher)), (0, vec!["PINGRESP".to_owned()]));
    for packet in [
        message("a", "2", QoS::AtLeastOnce).into(),
        message("a", "2", QoS::ExactlyOnce).into(),
        mqtt_sansio::codec::Subscribe::new(id(7), &[Subscription::new("b", QoS::AtMostOnce).unwrap()]).into(),
    ] {
        let peer = publisher;
        net.send(peer, &[packet]);
        assert!(net.unsent(peer) > 0 && !net.broker.takes_input(net.id(peer)));
        net.send(peer, &[Packet::PingReq]);
        // The client is not silent: its input is not taken.
        net.wait(100);
        assert!(!net.is_over(peer) && net.received(peer).is_empty());
        store(&mut net);
        assert_eq!(net.unsent(peer), 0, "the rest of the input is taken");
        store(&mut net);
        assert!(net.received(peer).contains(&"PINGRESP".to_owned()));
        net.send(publisher, &[message("a", &payload, QoS::AtLeastOnce).into()]);
        net.forget(publisher);
    }
}

/// The will of a client goes with its publication, and the acknowledgement of DISCONNECT is not waited for.
#[test]
fn a_will_is_stored_with_connack_and_removed_when_it_is_discarded() {
    let mut net = net();
    let lasting = named(Version::V5, "client");
    let peer = connect(&mut net, &Connect { will: Some(will("gone", 50)), ..lasting });
    let wills = |net: &Net| net.stored.iter().filter(|(key, _)| key[0] == 0x21).count();
    assert_eq!(wills(&net), 1);
    net.leave(peer, DisconnectReasonCode::NormalDisconnection);
    store(&mut net);
    assert_eq!(wills(&net), 0);
    assert_eq!(net.stored.iter().filter(|(key, _)| matches!(key[0], 0x10 | 0x11)).count(), 0);
}
