//! Messages for a subscriber are delivered whatever happens to its connections.

use std::num::NonZeroU32;

use mqtt_sansio::broker::{BrokerConfig, SharedStrategy};
use mqtt_sansio::codec::{
    Connect, ConnectProperties, Disconnect, DisconnectProperties, Packet, PubAck, PubComp, PubRec, Publish,
    PublishProperties, RetainHandling, Subscribe, Subscription,
};
use mqtt_sansio::{Overflow, QoS, SessionExpiry, Version};

use crate::broker::{BOTH, Net, SECRET, config, message, named, with_server};
use crate::server;
use crate::server::id;

/// A session whose last connection ended with unsent output receives retained messages on the next one.
#[test]
fn a_resumed_session_gets_retained_messages() {
    for version in BOTH {
        for is_taken_over in [false, true] {
            let mut net = Net::new(with_server(|server| server.transmit_limit = NonZeroU32::new(50).unwrap()));
            let publisher = net.client(version, "publisher");
            net.retain(publisher, "r/1", "kept", QoS::AtMostOnce);
            let subscriber = net.client(version, "subscriber");
            net.subscribe(subscriber, "live", QoS::AtMostOnce);
            net.set_reading(subscriber, false);
            for number in 0..20 {
                net.publish(publisher, "live", &format!("{number:04}"), QoS::AtMostOnce);
            }
            assert!(net.broker.status().stored > 0, "messages wait for output to be written");
            if !is_taken_over {
                net.lose(subscriber);
            }
            let subscriber = net.resume(&named(version, "subscriber"));
            net.received(subscriber);
            net.subscribe(subscriber, "r/#", QoS::AtMostOnce);
            assert_eq!(net.received(subscriber), ["r/1: kept retained"], "{version} {is_taken_over}");
            net.publish(publisher, "live", "still", QoS::AtMostOnce);
            assert_eq!(net.received(subscriber), ["live: still"]);
        }
    }
}

/// A message of QoS 1 that is sent at once may drop queued messages of QoS 0. The empty queue must not block retained
/// and later messages.
#[test]
fn dropped_messages_do_not_block_later_ones() {
    let limits = with_server(|server| {
        server.max_stored = 3;
        server.transmit_limit = NonZeroU32::new(40).unwrap();
        server.overflow = Overflow::DropOldest;
    });
    let mut net = Net::new(limits);
    let publisher = net.client(Version::V5, "publisher");
    net.retain(publisher, "r/1", "kept", QoS::AtMostOnce);
    let subscriber = net.client(Version::V5, "subscriber");
    net.subscribe(subscriber, "live", QoS::AtLeastOnce);
    net.hold_acks(subscriber);
    net.publish(publisher, "live", "one", QoS::AtLeastOnce);
    net.publish(publisher, "live", "two", QoS::AtLeastOnce);
    net.set_reading(subscriber, false);
    for number in 0..20 {
        net.publish(publisher, "live", &format!("{number:04}"), QoS::AtMostOnce);
    }
    // The output is written, so that the queue has room before it is looked at.
    let connection = net.id(subscriber);
    let transmit = net.broker.transmit(connection);
    bytes::Buf::advance(transmit, bytes::Buf::remaining(transmit));
    net.publish(publisher, "live", "three", QoS::AtLeastOnce);
    net.set_reading(subscriber, true);
    net.received(subscriber);
    net.subscribe(subscriber, "r/#", QoS::AtMostOnce);
    assert_eq!(net.received(subscriber), ["r/1: kept retained"]);
    net.publish(publisher, "live", "still", QoS::AtMostOnce);
    assert_eq!(net.received(subscriber), ["live: still"]);
}

/// The limits of a client hold for one connection: messages for an absent client are stored, and a connection with
/// other limits receives them [5.0: MQTT-3.1.2-24].
#[test]
fn limits_belong_to_the_connection() {
    let connect = |maximum_packet_size: Option<u32>| Connect {
        properties: ConnectProperties {
            maximum_packet_size: maximum_packet_size.and_then(|size| size.try_into().ok()),
            receive_maximum: maximum_packet_size.and_then(|_| 1.try_into().ok()),
            session_expiry_interval: Some(100),
            ..ConnectProperties::default()
        },
        ..named(Version::V5, "subscriber")
    };
    let large = "x".repeat(100);
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut net = Net::plain();
        let publisher = net.client(Version::V5, "publisher");
        let subscriber = net.connect(&connect(Some(50)));
        net.subscribe(subscriber, "a", QoS::ExactlyOnce);
        net.lose(subscriber);
        net.publish(publisher, "a", &large, qos);
        net.publish(publisher, "a", "small", qos);
        assert_eq!((net.broker.status().stored, net.broker.counters().dropped.total()), (2, 0));
        let subscriber = net.resume(&connect(None));
        net.hold_acks(subscriber);
        assert_eq!(net.received(subscriber)[..2], [format!("a: {large} q{qos}"), format!("a: small q{qos}")]);
        // A message above the limit of the next connection is dropped then and counted [MQTT-3.1.2-25].
        net.lose(subscriber);
        net.publish(publisher, "a", "third", qos);
        let subscriber = net.resume(&connect(Some(50)));
        net.set_reading(subscriber, true);
        let received = net.received(subscriber);
        assert!(received.contains(&format!("a: third q{qos}")), "{received:?}");
        assert!(!received.iter().any(|line| line.contains(&large)), "{received:?}");
    }
}

/// No Local that is removed while retained messages are still to be sent applies to the following ones only: the first
/// subscription must not deliver the client's own messages [5.0: MQTT-3.8.3-3].
#[test]
fn removing_no_local_does_not_deliver_own_retained_messages() {
    let with = |no_local: bool, retain_handling: RetainHandling| Subscription {
        no_local,
        retain_handling,
        ..Subscription::new("t/#", QoS::AtLeastOnce).unwrap()
    };
    for handling in [RetainHandling::SendIfNew, RetainHandling::DoNotSend] {
        for first_has_no_local in [true, false] {
            for in_one_packet in [true, false] {
                let mut net = Net::new(with_server(|server| server.max_in_flight = 1.try_into().unwrap()));
                let other = net.client(Version::V5, "other");
                let client = net.client(Version::V5, "client");
                net.retain(other, "t/0", "foreign", QoS::AtLeastOnce);
                net.retain(client, "t/1", "own", QoS::AtLeastOnce);
                net.retain(other, "t/2", "foreign", QoS::AtLeastOnce);
                net.set_reading(client, false);
                let first = with(first_has_no_local, RetainHandling::SendAtSubscribe);
                let second = with(!first_has_no_local, handling);
                if in_one_packet {
                    net.send(client, &[Subscribe::new(id(1), &[first, second]).into()]);
                } else {
                    net.send(client, &[Subscribe::new(id(1), &[first]).into()]);
                    net.send(client, &[Subscribe::new(id(2), &[second]).into()]);
                }
                net.set_reading(client, true);
                let mut received = net.received(client);
                received.retain(|line| line.starts_with("t/"));
                received.sort();
                let expected = ["t/0: foreign q1 retained", "t/2: foreign q1 retained"];
                assert_eq!(received, expected, "{handling:?} {first_has_no_local} {in_one_packet}");
            }
        }
    }
}

/// The Message Expiry Interval starts when the message arrives, also in a session that was idle for long.
/// [5.0: MQTT-3.3.2-5, MQTT-3.3.2-6]
#[test]
fn an_expiry_interval_starts_when_the_message_arrives() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut net = Net::plain();
        let publisher = net.client(Version::V5, "publisher");
        let subscriber = net.client(Version::V5, "subscriber");
        net.subscribe(subscriber, "a", qos);
        net.lose(subscriber);
        net.wait(100);
        let properties = PublishProperties { message_expiry_interval: Some(30), ..PublishProperties::default() };
        net.publish_packet(publisher, &Publish { properties, ..message("a", "x", qos) });
        net.wait(10);
        let subscriber = net.resume(&named(Version::V5, "subscriber"));
        net.hold_acks(subscriber);
        let bytes = net.received_bytes(subscriber);
        let packets = server::decode(&bytes, Version::V5);
        let Some(Packet::Publish(publish)) = packets.first() else { panic!("{packets:?}") };
        assert_eq!(publish.properties.message_expiry_interval, Some(20));
    }
}

/// How the session of a member ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Expiry,
    CleanStart,
    Disconnect,
    Command,
}

impl End {
    const ALL: [Self; 4] = [Self::Expiry, Self::CleanStart, Self::Disconnect, Self::Command];

    fn end(self, net: &mut Net, member: usize, name: &str, version: Version) {
        match self {
            Self::Expiry => {
                net.lose(member);
                net.wait(4000);
            }
            Self::CleanStart => {
                net.connect(&Connect { clean_start: true, ..named(version, name) });
            }
            Self::Disconnect => {
                let properties =
                    DisconnectProperties { session_expiry_interval: Some(0), ..DisconnectProperties::default() };
                net.send(member, &[Disconnect { properties, ..Disconnect::default() }.into()]);
            }
            Self::Command => {
                net.broker.end_session(net.now, name);
                net.flush();
            }
        }
    }
}

/// A share of three members, the first of which acknowledges nothing and has a Receive Maximum of two.
fn share(qos: QoS) -> (Net, usize, usize, usize) {
    let limits = with_server(|server| {
        server.max_in_flight = 2.try_into().unwrap();
        server.max_session_expiry_interval = SessionExpiry::after(3600);
    });
    let mut net = Net::new(BrokerConfig { shared_strategy: SharedStrategy::RoundRobin, ..limits });
    let publisher = net.client(Version::V5, "publisher");
    let first = net.client(Version::V5, "first");
    net.subscribe_on(first, &Subscription::new("$share/g/t/#", qos).unwrap(), 11);
    net.hold_acks(first);
    let second = net.client(Version::V5, "second");
    net.subscribe_on(second, &Subscription::new("$share/g/t/#", QoS::ExactlyOnce).unwrap(), 22);
    net.hold_acks(second);
    (net, publisher, first, second)
}

/// [5.0: U-4.8.2-b]
#[test]
fn pitfall_35_messages_of_an_ended_member_go_to_another_member() {
    for end in End::ALL {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let (mut net, publisher, first, second) = share(QoS::ExactlyOnce);
            for number in 0..10 {
                net.publish(publisher, "t/1", &number.to_string(), qos);
            }
            let own = net.received(first);
            assert_eq!(own.len(), 2, "the others wait: {own:?}");
            let mut got = net.received(second);
            end.end(&mut net, first, "first", Version::V5);
            // The Receive Maximum is two: further messages arrive as the client acknowledges.
            for _ in 0..10 {
                let ids: Vec<_> = (1..=10).map(id).collect();
                let answers: Vec<Packet<'_>> = match qos {
                    QoS::AtLeastOnce => ids.iter().map(|&id| PubAck::new(id).into()).collect(),
                    _ => ids.iter().flat_map(|&id| [PubRec::new(id).into(), PubComp::new(id).into()]).collect(),
                };
                net.send(second, &answers);
                got.extend(net.received(second).into_iter().filter(|line| line.starts_with("t/")));
            }
            let numbers: Vec<_> = got.iter().map(|line| line.as_bytes()[5] - b'0').collect();
            // The first member had every second message. Its messages of QoS 2 in flight are delivered to no other
            // client [MQTT-4.8.2-5].
            let expected: &[u8] =
                if qos == QoS::AtLeastOnce { &[1, 3, 5, 7, 9, 0, 2, 4, 6, 8] } else { &[1, 3, 5, 7, 9, 4, 6, 8] };
            assert_eq!(numbers, expected, "{end:?} {qos}");
            assert!(got.iter().all(|line| line.ends_with(&format!("q{qos} #22"))), "{got:?}");
            let lost = 10 - expected.len() as u64;
            assert_eq!(net.broker.counters().dropped.total(), lost, "{end:?} {qos}");
            assert_eq!(net.broker.counters().dropped.session_ended, lost);
        }
    }
}

/// The other member receives the message as if it had been chosen first: with its own QoS and subscription options, and
/// with the remaining Message Expiry Interval.
/// [5.0: MQTT-4.8.2-3, U-4.8.2-b]
#[test]
fn pitfall_35_another_member_receives_it_with_its_own_options() {
    let (mut net, publisher, first, second) = share(QoS::AtLeastOnce);
    net.lose(first);
    net.lose(second);
    let properties = PublishProperties { message_expiry_interval: Some(100), ..PublishProperties::default() };
    let short = PublishProperties { message_expiry_interval: Some(10), ..PublishProperties::default() };
    for (payload, properties) in [("a", properties), ("b", properties), ("c", short)] {
        let publish = Publish { properties, retain: true, ..message("t/1", payload, QoS::ExactlyOnce) };
        net.publish_packet(publisher, &publish);
    }
    net.wait(40);
    net.broker.end_session(net.now, "first");
    net.flush();
    assert_eq!(net.broker.counters().dropped.expired, 1, "it had expired before");
    net.wait(10);
    let second = net.resume(&named(Version::V5, "second"));
    net.hold_acks(second);
    let left = PublishProperties { message_expiry_interval: Some(50), ..PublishProperties::default() };
    let bytes = net.received_bytes(second);
    let packets = server::decode(&bytes, Version::V5);
    let got: Vec<_> = packets
        .iter()
        .filter_map(|packet| match packet {
            Packet::Publish(publish) => Some((publish.payload, publish.delivery.qos(), publish.retain)),
            _ => None,
        })
        .collect();
    assert_eq!(got, [(&b"b"[..], QoS::ExactlyOnce, false), (&b"a"[..], QoS::ExactlyOnce, false)]);
    for packet in &packets {
        if let Packet::Publish(publish) = packet {
            assert_eq!(publish.properties.message_expiry_interval, left.message_expiry_interval);
        }
    }
}

/// The other member gets the identifier of its own subscription, if that has one \[MQTT-3.3.4-3\].
#[test]
fn pitfall_35_another_member_receives_it_with_its_own_identifier() {
    for own in [0, 9] {
        let mut net = Net::plain();
        let publisher = net.client(Version::V5, "publisher");
        let (first, second) = (net.client(Version::V5, "first"), net.client(Version::V5, "second"));
        let subscription = Subscription::new("$share/g/t", QoS::AtLeastOnce).unwrap();
        net.subscribe_on(first, &subscription, 7);
        net.lose(first);
        net.publish(publisher, "t", "x", QoS::AtLeastOnce);
        net.subscribe_on(second, &subscription, own);
        net.received(second);
        net.broker.end_session(net.now, "first");
        net.flush();
        let bytes = net.received_bytes(second);
        let packets = server::decode(&bytes, Version::V5);
        let [Packet::Publish(publish)] = &packets[..] else { panic!("{packets:?}") };
        let identifiers = publish.properties.subscription_identifiers.iter().map(|it| it.get());
        assert_eq!(identifiers.collect::<Vec<_>>(), if own == 0 { vec![] } else { vec![own] });
    }
}

#[test]
fn pitfall_35_without_another_member_the_message_is_dropped() {
    let (mut net, publisher, first, second) = share(QoS::AtLeastOnce);
    net.unsubscribe(second, &["$share/g/t/#"]);
    for number in 0..5 {
        net.publish(publisher, "t/1", &number.to_string(), QoS::AtLeastOnce);
    }
    net.notices();
    End::CleanStart.end(&mut net, first, "first", Version::V5);
    assert_eq!(net.broker.counters().dropped.session_ended, 5);
    assert_eq!(net.notices().iter().filter(|notice| *notice == "first dropped: SessionEnded").count(), 5);
    assert_eq!(net.broker.status().stored, 0);
}

/// Unsubscribing does not end the session: messages stored for the subscription are still delivered, or go to another
/// member if the session ends.
#[test]
fn pitfall_35_a_member_that_unsubscribes_receives_its_stored_messages() {
    let (mut net, publisher, first, second) = share(QoS::AtLeastOnce);
    for number in 0..8 {
        net.publish(publisher, "t/1", &number.to_string(), QoS::AtLeastOnce);
    }
    net.unsubscribe(first, &["$share/g/t/#"]);
    assert_eq!(net.received(first), ["t/1: 0 q1 #11", "t/1: 2 q1 #11", "UNSUBACK 1 00"]);
    net.send(first, &[PubAck::new(id(1)).into()]);
    assert_eq!(net.received(first), ["t/1: 4 q1 #11"], "it is still delivered");
    net.received(second);
    End::Command.end(&mut net, first, "first", Version::V5);
    net.lose(second);
    let second = net.resume(&named(Version::V5, "second"));
    let mut got: Vec<_> = net.received(second).into_iter().filter(|line| line.starts_with("t/")).collect();
    got.dedup();
    let payloads: Vec<_> = got.iter().map(|line| &line[5..6]).collect();
    assert_eq!(payloads, ["1", "3", "5", "7", "2", "4", "6"], "{got:?}");
    assert_eq!(net.broker.counters().dropped.total(), 0);
}

/// A message of a share goes to members of that share only, and not to other subscribers to the topic.
#[test]
fn pitfall_35_shares_of_one_filter_are_independent() {
    let (mut net, publisher, first, second) = share(QoS::AtLeastOnce);
    let third = net.client(Version::V5, "third");
    net.subscribe(third, "$share/h/t/#", QoS::AtLeastOnce);
    let fourth = net.client(Version::V5, "fourth");
    net.subscribe(fourth, "t/#", QoS::AtLeastOnce);
    for number in 0..4 {
        net.publish(publisher, "t/1", &number.to_string(), QoS::AtLeastOnce);
    }
    let of_others = [net.received(third).len(), net.received(fourth).len()];
    net.received(second);
    End::Command.end(&mut net, first, "first", Version::V5);
    net.send(second, &[PubAck::new(id(1)).into(), PubAck::new(id(2)).into()]);
    assert_eq!(net.received(second), ["t/1: 0 q1 #22", "t/1: 2 q1 #22"]);
    assert_eq!((of_others, net.received(third).len(), net.received(fourth).len()), ([4, 4], 0, 0));
}

/// Members may have versions before 5.0, and a message stored without properties for such a member has none for another
/// one.
#[test]
fn pitfall_35_members_of_different_versions() {
    for versions in [[Version::V311, Version::V5], [Version::V5, Version::V311]] {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut net = Net::plain();
            let publisher = net.client(Version::V5, "publisher");
            let [first, second] = [0, 1].map(|place| {
                let member = net.client(versions[place], ["first", "second"][place]);
                net.subscribe(member, "$share/g/t", QoS::ExactlyOnce);
                member
            });
            net.lose(first);
            net.lose(second);
            let properties = PublishProperties { message_expiry_interval: Some(30), ..PublishProperties::default() };
            for payload in ["a", "b"] {
                net.publish_packet(publisher, &Publish { properties, ..message("t", payload, qos) });
            }
            net.wait(10);
            net.broker.end_session(net.now, "first");
            net.flush();
            let second = net.resume(&named(versions[1], "second"));
            let bytes = net.received_bytes(second);
            let interval = (versions[1] == Version::V5).then_some(20);
            let got: Vec<_> = server::decode(&bytes, versions[1])
                .iter()
                .filter_map(|packet| match packet {
                    Packet::Publish(publish) => {
                        Some((publish.payload.to_vec(), publish.properties.message_expiry_interval))
                    }
                    _ => None,
                })
                .collect();
            assert_eq!(got, [(b"b".to_vec(), interval), (b"a".to_vec(), interval)]);
        }
    }
}

/// A PUBLISH to `a` with a payload of this size.
fn large(size: usize, number: u16, qos: QoS) -> Vec<u8> {
    let payload = vec![b'x'; size];
    let publish = Publish { payload: &payload, delivery: server::delivery(qos, number), ..message("a", "", qos) };
    server::encoded(&publish.into(), Version::V5)
}

/// With the default limits, a subscriber that reads receives all large messages, also when they arrive at once.
#[test]
fn pitfall_31_large_messages_that_fit_the_limits_are_delivered() {
    let larger = with_server(|server| server.maximum_packet_size = NonZeroU32::new(104_857_600));
    for (limits, qos, count, size) in
        [(BrokerConfig::new(SECRET), QoS::AtLeastOnce, 5, 9 << 20), (larger, QoS::ExactlyOnce, 1, 20_000_000)]
    {
        let mut net = Net::new(limits);
        let [publisher, subscriber] = ["publisher", "subscriber"].map(|name| {
            let client = net.try_connect(&named(Version::V5, name));
            net.received(client); // CONNACK with properties
            client
        });
        net.subscribe(subscriber, "a", qos);
        let bytes: Vec<_> = (1..=count).flat_map(|number| large(size, number, qos)).collect();
        net.send_bytes(publisher, &bytes);
        assert_eq!(net.broker.counters().dropped.total(), 0);
        assert!(net.received_bytes(subscriber).len() > usize::from(count) * size);
    }
}

/// A message of the largest size that the server accepts can be stored, however small the limit of a session is.
#[test]
fn pitfall_31_one_message_can_always_be_stored() {
    for there in [true, false] {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut net = Net::new(with_server(|server| server.max_stored_bytes = 10_000));
            let publisher = net.client(Version::V5, "publisher");
            let mut subscriber = net.client(Version::V5, "subscriber");
            net.subscribe(subscriber, "a", qos);
            if !there {
                net.lose(subscriber);
            }
            for number in 1..=3 {
                net.send_bytes(publisher, &large(20_000, number, qos));
                if there {
                    assert!(
                        net.received_bytes(subscriber).len() > 20_000,
                        "it is acknowledged, and the next one comes"
                    );
                }
            }
            if !there {
                assert_eq!((net.broker.status().stored, net.broker.counters().dropped.queue_full), (1, 2));
                subscriber = net.resume(&named(Version::V5, "subscriber"));
                assert!(net.received_bytes(subscriber).len() > 20_000);
            }
        }
    }
}

/// A message of which no copy could be stored is refused. 3.1.1 has no code for that: the message is acknowledged, and
/// the policy is notified.
#[test]
fn pitfall_31_a_message_that_could_not_be_stored_is_refused() {
    for version in [Version::V5, Version::V311, Version::V31] {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for (limits, filter) in [
                (with_server(|server| server.max_stored = 1), "a"),
                (with_server(|server| server.max_stored = 1), "$share/g/a"),
                (BrokerConfig { max_memory: 40, ..config() }, "a"),
            ] {
                let mut net = Net::new(limits);
                let publisher = net.client(version, "publisher");
                net.hold_acks(publisher);
                let subscriber = net.client(Version::V5, "subscriber");
                net.subscribe(subscriber, filter, QoS::ExactlyOnce);
                net.lose(subscriber);
                net.publish(publisher, "a", "0123456789012345", qos);
                assert_eq!(net.broker.status().stored, 1);
                net.notices();
                let name = if qos == QoS::AtLeastOnce { "PUBACK" } else { "PUBREC" };
                let second = Publish { delivery: server::delivery(qos, 2), ..message("a", "0123456789012345", qos) };
                net.send(publisher, &[second.into()]);
                let code = if version == Version::V5 { "97" } else { "00" };
                assert_eq!(net.received(publisher), [format!("{name} 2 {code}")], "{version} {filter}");
                assert_eq!((net.broker.counters().messages_refused, net.broker.counters().dropped.total()), (1, 1));
                let mut notices = net.notices();
                notices.retain(|notice| !notice.contains("dropped"));
                assert_eq!(notices, ["publisher publish refused: a 97"], "{version} {filter}");
            }
        }
    }
}

/// One stored copy is enough, and so is a retained message. A message above a subscriber's Maximum Packet Size is not
/// refused for that [5.0: MQTT-3.1.2-25]. QoS 0 is never answered.
#[test]
fn pitfall_31_a_message_stored_at_least_once_is_not_refused() {
    let mut net = Net::new(with_server(|server| server.max_stored = 1));
    let publisher = net.client(Version::V311, "publisher");
    for name in ["one", "two"] {
        let subscriber = net.client(Version::V5, name);
        net.subscribe(subscriber, "#", QoS::AtLeastOnce);
        net.lose(subscriber);
        net.publish(publisher, if name == "one" { "a" } else { "b" }, "x", QoS::AtLeastOnce);
    }
    assert_eq!((net.broker.status().stored, net.broker.counters().messages_refused), (2, 0));
    net.publish_packet(publisher, &Publish { retain: true, ..message("a", "x", QoS::AtLeastOnce) });
    net.publish(publisher, "a", "x", QoS::AtMostOnce);
    assert_eq!((net.broker.counters().messages_refused, net.broker.counters().dropped.queue_full), (0, 3));
    net.publish(publisher, "a", "x", QoS::AtLeastOnce);
    assert_eq!(net.broker.counters().messages_refused, 1);
    let properties = ConnectProperties { maximum_packet_size: 50.try_into().ok(), ..ConnectProperties::default() };
    let mut net = Net::plain();
    let publisher = net.client(Version::V5, "publisher");
    let subscriber = net.connect(&Connect { properties, ..named(Version::V5, "subscriber") });
    net.subscribe(subscriber, "a", QoS::AtLeastOnce);
    net.send_bytes(publisher, &large(100, 1, QoS::AtLeastOnce));
    assert_eq!(net.received(publisher), ["PUBACK 1 00"]);
    assert_eq!(net.broker.counters().dropped.not_supported, 1);
}

/// A large payload is stored once, however many clients it is stored for.
#[test]
fn pitfall_31_a_large_payload_is_stored_once() {
    let mut net = Net::new(BrokerConfig { max_memory: 200_000, reserved_memory: 0, ..config() });
    let publisher = net.client(Version::V5, "publisher");
    for number in 0..20 {
        let subscriber = net.client(Version::V5, &format!("subscriber-{number}"));
        net.subscribe(subscriber, "a", QoS::AtLeastOnce);
        net.lose(subscriber);
    }
    for round in 0..3 {
        net.send_bytes(publisher, &large(60_000, 1, QoS::AtLeastOnce));
        assert_eq!(net.received(publisher), ["PUBACK 1 00"], "round {round}");
        assert_eq!(net.broker.status().stored, 20);
        assert!(net.broker.status().stored_bytes > 20 * 60_000, "it counts for each of them");
        // No other large payload can be stored, neither for a client nor as a retained message.
        net.send_bytes(publisher, &large(60_000, 2, QoS::AtLeastOnce));
        assert_eq!(net.received(publisher), ["PUBACK 2 97"]);
        let payload = "x".repeat(60_000);
        let retained = Publish { retain: true, ..message("b", &payload, QoS::AtLeastOnce) };
        net.send(publisher, &[retained.into()]);
        assert_eq!(net.received(publisher), ["PUBACK 1 97"]);
        // After the last client has acknowledged the message, one can.
        for number in 0..20 {
            let subscriber = net.resume(&named(Version::V5, &format!("subscriber-{number}")));
            assert!(net.received_bytes(subscriber).len() > 60_000);
            net.lose(subscriber);
        }
        assert_eq!(net.broker.status().stored, 0);
    }
    // A retained message replaces another one, and shares its payload with the copies stored for clients.
    let payload = "x".repeat(60_000);
    for _ in 0..3 {
        let retained = Publish { retain: true, ..message("a", &payload, QoS::AtLeastOnce) };
        net.send(publisher, &[retained.into()]);
        assert_eq!(net.received(publisher), ["PUBACK 1 00"]);
        assert_eq!((net.broker.status().stored, net.broker.status().retained), (20, 1));
        for number in 0..20 {
            let subscriber = net.resume(&named(Version::V5, &format!("subscriber-{number}")));
            assert!(net.received_bytes(subscriber).len() > 60_000);
            net.lose(subscriber);
        }
    }
    assert_eq!(net.broker.counters().dropped.memory, 3 * 20);
}

/// Messages stored for absent clients, or for clients that acknowledge nothing, do not stop deliveries to others.
#[test]
fn pitfall_31_a_client_that_acknowledges_is_not_delayed_by_others() {
    let mut net = Net::new(BrokerConfig { max_memory: 10_000, reserved_memory: 8_000, ..config() });
    let publisher = net.client(Version::V5, "publisher");
    let absent = net.client(Version::V5, "absent");
    net.subscribe(absent, "hoard", QoS::AtLeastOnce);
    net.lose(absent);
    for name in ["idle-1", "idle-2"] {
        let idle = net.client(Version::V5, name);
        net.hold_acks(idle);
        net.subscribe(idle, "hoard", QoS::AtLeastOnce);
    }
    let payload = "x".repeat(400);
    for _ in 0..100 {
        net.publish(publisher, "hoard", &payload, QoS::AtLeastOnce);
    }
    let full = net.broker.status().stored_bytes;
    assert!((6_000..13_000).contains(&full), "{full} bytes");
    let dropped = net.broker.counters().dropped.memory;
    assert!(dropped > 100, "{dropped} copies were dropped");
    let honest = net.client(Version::V5, "honest");
    net.subscribe(honest, "live", QoS::AtLeastOnce);
    for _ in 0..100 {
        net.publish(publisher, "live", &payload, QoS::AtLeastOnce);
        assert_eq!(net.received(honest).len(), 1);
    }
    assert_eq!(net.broker.counters().dropped.memory, dropped);
    assert_eq!(net.broker.status().stored_bytes, full);
}

/// A share ends with its last member. A later share of the same name is another one.
#[test]
fn pitfall_35_a_share_that_has_ended_receives_no_messages() {
    let (mut net, publisher, first, second) = share(QoS::AtLeastOnce);
    net.publish(publisher, "t/1", "0", QoS::AtLeastOnce);
    for member in [first, second] {
        net.unsubscribe(member, &["$share/g/t/#"]);
        net.received(member);
    }
    net.subscribe(second, "$share/g/t/#", QoS::AtLeastOnce);
    End::Command.end(&mut net, first, "first", Version::V5);
    assert!(net.received(second).is_empty());
    assert_eq!(net.broker.counters().dropped.session_ended, 1);
}

/// The counters say how many bytes have gone both ways.
#[test]
fn bytes_are_counted() {
    for version in BOTH {
        let mut net = Net::plain();
        let connect = named(version, "c");
        let client = net.try_connect(&connect);
        net.send(client, &[Packet::PingReq, Packet::PingReq, Packet::PingReq]);
        let received = server::encoded(&connect.into(), version).len() + 3 * 2;
        let sent = net.received_bytes(client).len();
        assert!(sent >= 4 + 3 * 2);
        let counters = net.broker.counters();
        assert_eq!((counters.bytes_received, counters.bytes_sent), (received as u64, sent as u64));
    }
}
