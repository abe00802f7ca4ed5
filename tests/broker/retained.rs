//! Retained messages for a subscriber that receives a few at a time: all of them are delivered, whatever happens
//! meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use mqtt_sansio::codec::{Connect, PubAck, Publish, PublishProperties, RetainHandling, Subscribe, Subscription};
use mqtt_sansio::{QoS, Version};

use crate::broker;
use crate::broker::{BOTH, Net, Peer, message, named, with_server};
use crate::server;
use crate::server::id;

const COUNT: usize = 100;

/// A broker with small limits on queued and in-flight messages, and with retained messages of QoS 1 under `t/`; a
/// publisher; and a client `slow` with acknowledgements held back.
fn with_retained(version: Version) -> (Net, Peer, Peer) {
    with_retained_after(version, &[])
}

/// Like [`with_retained`], with these retained messages before the others.
fn with_retained_after(version: Version, first: &[Publish<'_>]) -> (Net, Peer, Peer) {
    let mut net = Net::new(with_server(|server| {
        server.max_stored = 4;
        server.max_in_flight = 2.try_into().unwrap();
    }));
    let publisher = net.client(version, "publisher");
    first.iter().for_each(|publish| net.publish_packet(publisher, publish));
    for number in 0..COUNT {
        net.retain(publisher, &format!("t/{number:03}"), "old", QoS::AtLeastOnce);
    }
    let slow = net.client(version, "slow");
    net.hold_acks(slow);
    (net, publisher, slow)
}

/// Acknowledges all received messages until no more arrive, and returns them.
fn drain(net: &mut Net, slow: Peer, version: Version) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let bytes = net.received_bytes(slow);
        let packets = server::decode(&bytes, version);
        all.extend(packets.iter().map(broker::line));
        let acks: Vec<_> = packets.iter().filter_map(|packet| Some(PubAck::new(publish_id(packet)?).into())).collect();
        if acks.is_empty() {
            return all;
        }
        net.send(slow, &acks);
        assert!(net.broker.status().stored <= 4, "not more are kept than may be");
    }
}

fn publish_id(packet: &mqtt_sansio::codec::Packet<'_>) -> Option<mqtt_sansio::PacketId> {
    match packet {
        mqtt_sansio::codec::Packet::Publish(publish) => publish.delivery.packet_id(),
        _ => None,
    }
}

/// Checks that these messages have arrived once each, as they were first retained.
#[track_caller]
fn assert_all(received: &[String], numbers: impl Iterator<Item = usize>) {
    let expected: BTreeSet<_> = numbers.map(|number| format!("t/{number:03}: old q1 retained")).collect();
    let got: BTreeSet<_> = received.iter().cloned().collect();
    assert_eq!(got, expected);
    assert_eq!(received.len(), got.len(), "each once");
}

fn subscribe(net: &mut Net, slow: Peer, subscription: &Subscription<'_>) {
    net.send(slow, &[Subscribe::new(id(9), &[*subscription]).into()]);
}

fn to(filter: &str) -> Subscription<'_> {
    Subscription::new(filter, QoS::AtLeastOnce).unwrap()
}

/// [3.1.1: MQTT-3.3.1-6; 5.0: MQTT-3.3.1-9]
#[test]
fn all_retained_messages_arrive() {
    for version in BOTH {
        let (mut net, publisher, slow) = with_retained(version);
        net.subscribe(slow, "t/+", QoS::AtLeastOnce);
        // Other clients are not delayed, and neither are other messages for this one.
        net.publish(publisher, "t/new", "x", QoS::AtMostOnce);
        let received = net.received(slow);
        assert_eq!(received.len(), 3, "{received:?}");
        assert_eq!(received[2], "t/new: x");
        net.send(slow, &[PubAck::new(id(1)).into(), PubAck::new(id(2)).into()]);
        let mut all = received[..2].to_vec();
        all.extend(drain(&mut net, slow, version));
        assert_all(&all, 0..COUNT);
        assert_eq!((net.broker.counters().dropped.total(), net.broker.status().stored), (0, 0));
    }
}

/// After a lost connection the remaining messages are sent on the next one.
#[test]
fn remaining_messages_are_sent_on_the_next_connection() {
    for version in BOTH {
        let (mut net, _, slow) = with_retained(version);
        net.subscribe(slow, "t/+", QoS::AtLeastOnce);
        net.received(slow);
        net.lose(slow);
        net.wait(100);
        let slow = net.resume(&named(version, "slow"));
        net.hold_acks(slow);
        let mut all = drain(&mut net, slow, version);
        all.iter_mut().for_each(|line| *line = line.replace(" again", ""));
        assert_all(&all, 0..COUNT);

        // They are not sent if the session is a new one.
        let (mut net, _, slow) = with_retained(version);
        net.subscribe(slow, "t/+", QoS::AtLeastOnce);
        net.lose(slow);
        let slow = net.connect(&Connect { clean_start: true, ..named(version, "slow") });
        assert!(drain(&mut net, slow, version).is_empty());
    }
}

/// A retained message that is replaced, deleted or expired before it is sent is not sent.
#[test]
fn replaced_deleted_and_expired_messages_are_not_sent() {
    // The order is not specified, so more messages expire than are sent at first.
    let topics = ["e/0", "e/1", "e/2"].map(|topic| format!("t/{topic}"));
    let properties = PublishProperties { message_expiry_interval: Some(10), ..PublishProperties::default() };
    let short = |topic| Publish { retain: true, properties, ..message(topic, "short", QoS::AtLeastOnce) };
    let (mut net, publisher, slow) = with_retained_after(Version::V5, &topics.each_ref().map(|topic| short(topic)));
    net.subscribe(slow, "t/#", QoS::AtLeastOnce);
    let mut all = net.received(slow);
    assert_eq!(all.len(), 2);
    let has_come = |number: &usize| all.iter().any(|line| line.starts_with(&format!("t/{number:03}")));
    let coming: Vec<_> = (0..COUNT).filter(|number| !has_come(number)).collect();
    net.retain(publisher, &format!("t/{:03}", coming[0]), "new", QoS::AtMostOnce);
    net.retain(publisher, &format!("t/{:03}", coming[1]), "", QoS::AtMostOnce);
    // The broker looks for the next message without a poll after the expiry.
    net.now = net.now + Duration::from_secs(10);
    net.send(slow, &[PubAck::new(id(1)).into(), PubAck::new(id(2)).into()]);
    let received = drain(&mut net, slow, Version::V5);
    let news = [format!("t/{:03}: new", coming[0]), format!("t/{:03}: ", coming[1])];
    assert_eq!(received[..2], news, "they were forwarded as they came");
    assert!(received.iter().all(|line| !line.starts_with("t/e/")), "these have expired");
    all.extend(received[2..].iter().cloned());
    all.retain(|line| !line.starts_with("t/e/"));
    assert_all(&all, (0..COUNT).filter(|number| !coming[..2].contains(number)));
}

/// A second SUBSCRIBE with the same filter loses no message that is still to be sent [3.1.1:
/// MQTT-3.8.4-3; 5.0: MQTT-3.8.4-4].
#[test]
fn a_second_subscribe_loses_no_retained_message() {
    for retain_handling in [RetainHandling::SendIfNew, RetainHandling::DoNotSend] {
        let (mut net, _, slow) = with_retained(Version::V5);
        net.subscribe(slow, "t/+", QoS::AtLeastOnce);
        let mut all = net.received(slow);
        let again = Subscription { retain_handling, ..to("t/+") };
        net.send(slow, &[Subscribe::new(id(9), &[again]).into(), PubAck::new(id(1)).into(), PubAck::new(id(2)).into()]);
        all.extend(drain(&mut net, slow, Version::V5));
        all.retain(|line| !line.starts_with("SUBACK"));
        assert_all(&all, 0..COUNT);
    }
    // With Retain Handling 0 all of them are sent again, with the new subscription options.
    let (mut net, _, slow) = with_retained(Version::V5);
    net.subscribe(slow, "t/+", QoS::AtLeastOnce);
    let first = net.received(slow);
    subscribe(&mut net, slow, &Subscription::new("t/+", QoS::AtMostOnce).unwrap());
    let acks = [PubAck::new(id(1)).into(), PubAck::new(id(2)).into()];
    net.send(slow, &acks);
    let rest = drain(&mut net, slow, Version::V5);
    assert_eq!((first.len(), rest.len()), (2, 1 + COUNT));
    assert!(rest[1..].iter().all(|line| line.ends_with(": old retained")), "with QoS 0 now");
}

/// After UNSUBSCRIBE no more of them are sent.
/// [3.1.1: MQTT-3.10.4-2; 5.0: MQTT-3.10.4-2]
#[test]
fn no_retained_message_after_unsubscribe() {
    for version in BOTH {
        let (mut net, _, slow) = with_retained(version);
        net.subscribe(slow, "t/+", QoS::AtLeastOnce);
        assert_eq!(net.received(slow).len(), 2);
        net.unsubscribe(slow, &["t/+"]);
        net.send(slow, &[PubAck::new(id(1)).into(), PubAck::new(id(2)).into()]);
        assert_eq!(net.received(slow).len(), 1, "UNSUBACK alone");
    }
}

/// Each subscription receives its own retained messages.
/// [5.0: MQTT-3.3.1-9]
#[test]
fn each_subscription_receives_its_retained_messages() {
    let (mut net, _, slow) = with_retained(Version::V5);
    net.subscribe(slow, "t/+", QoS::AtLeastOnce);
    subscribe(&mut net, slow, &to("t/001"));
    subscribe(&mut net, slow, &to("#"));
    let mut all = net.received(slow);
    net.send(slow, &[PubAck::new(id(1)).into(), PubAck::new(id(2)).into()]);
    all.extend(drain(&mut net, slow, Version::V5));
    all.retain(|line| !line.starts_with("SUBACK"));
    assert_eq!(all.len(), COUNT + 1 + COUNT);
    assert_eq!(all.iter().filter(|line| line.starts_with("t/001:")).count(), 3);
}
