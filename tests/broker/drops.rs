//! Every message that is not delivered is reported with its reason and counted, and no delivered message is. The net
//! checks that the notices agree with the counters.

use std::num::NonZeroU32;

use mqtt_sansio::broker::{BrokerConfig, DropReason, Dropped};
use mqtt_sansio::codec::{
    Connect, ConnectProperties, DisconnectReasonCode, PubAck, PubAckReasonCode, PubRec, Publish, PublishProperties,
};
use mqtt_sansio::{Message, Overflow, QoS, Version};

use crate::broker::{BOTH, Net, Peer, config, message, named, with_server};
use crate::server::id;

/// A publisher, and a subscriber to `a` with acknowledgements held back.
fn pair(config: BrokerConfig, subscriber: &Connect<'_>) -> (Net, Peer, Peer) {
    let mut net = Net::new(config);
    let publisher = net.client(subscriber.version, "publisher");
    let subscriber = net.connect(subscriber);
    net.hold_acks(subscriber);
    net.subscribe(subscriber, "a", QoS::ExactlyOnce);
    net.notices();
    (net, publisher, subscriber)
}

/// Checks that this many copies for `subscriber` were dropped since `before`, all of them for this reason.
#[track_caller]
fn assert_dropped(net: &mut Net, before: Dropped, reason: DropReason, count: u64) {
    let notices = net.notices();
    let drops: Vec<_> = notices.iter().filter(|notice| notice.contains("dropped")).collect();
    assert_eq!(drops, vec![&format!("subscriber dropped: {reason:?}"); count as usize]);
    let mut expected = before;
    *match reason {
        DropReason::QueueFull => &mut expected.queue_full,
        DropReason::Memory => &mut expected.memory,
        DropReason::Expired => &mut expected.expired,
        DropReason::NotSupported => &mut expected.not_supported,
        DropReason::SessionEnded => &mut expected.session_ended,
        DropReason::ConnectionLost => &mut expected.connection_lost,
        DropReason::RefusedByClient => &mut expected.refused_by_client,
        other => panic!("a reason that is not known here: {other:?}"),
    } += count;
    assert_eq!(net.broker.counters().dropped, expected);
    assert_eq!(expected.total(), before.total() + count);
}

fn payloads(received: &[String]) -> Vec<&str> {
    received.iter().map(|line| line.split(' ').nth(1).unwrap()).collect()
}

/// New messages are refused, or queued ones make room for them. Messages in flight are not dropped.
#[test]
fn dropped_when_the_queue_is_full() {
    for version in BOTH {
        for (overflow, left) in [(Overflow::Refuse, ["0", "1", "2", "3"]), (Overflow::DropOldest, ["0", "1", "6", "7"])]
        {
            let limits = with_server(|server| {
                server.max_stored = 4;
                server.max_in_flight = 2.try_into().unwrap();
                server.overflow = overflow;
            });
            let (mut net, publisher, subscriber) = pair(limits, &named(version, "subscriber"));
            for number in 0..8 {
                net.publish(publisher, "a", &number.to_string(), QoS::AtLeastOnce);
                assert!(net.broker.status().stored <= 4);
            }
            let mut received = net.received(subscriber);
            assert_dropped(&mut net, Dropped::default(), DropReason::QueueFull, 4);
            net.send(subscriber, &[PubAck::new(id(1)).into(), PubAck::new(id(2)).into()]);
            received.extend(net.received(subscriber));
            assert_eq!(payloads(&received), left, "{overflow:?}");
        }
    }
}

/// Messages in flight to a client that never acknowledges use memory as well.
#[test]
fn dropped_when_the_memory_limit_is_reached() {
    for version in BOTH {
        for reads in [true, false] {
            let limits = with_server(|server| server.transmit_limit = NonZeroU32::new(1000).unwrap());
            let limits = BrokerConfig { max_memory: 4000, reserved_memory: 0, ..limits };
            let (mut net, publisher, subscriber) = pair(limits, &named(version, "subscriber"));
            net.set_reading(subscriber, reads);
            let payload = "x".repeat(300);
            let mut got = 0;
            for number in 0..100 {
                let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][number % 3];
                net.publish(publisher, "a", &payload, qos);
                got += net.received(subscriber).len();
                let bytes = net.broker.status().stored_bytes;
                assert!(bytes <= 4000 + 400, "{bytes} bytes");
            }
            let dropped = net.broker.counters().dropped;
            assert!(dropped.memory > 50, "{dropped:?}");
            assert_dropped(&mut net, Dropped::default(), DropReason::Memory, dropped.memory);
            if reads {
                assert_eq!(got as u64, 100 - dropped.memory);
                assert!(got > 34, "what need not be kept still comes");
            }
            // Every message that leaves the memory makes room for another one.
            net.set_reading(subscriber, true);
            net.leave(subscriber, DisconnectReasonCode::NormalDisconnection);
            net.broker.end_session(net.now, "subscriber");
            net.flush();
            assert_eq!((net.broker.status().stored, net.broker.status().stored_bytes), (0, 0));
        }
    }
}

#[test]
fn dropped_when_expired() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (mut net, publisher, subscriber) = pair(config(), &named(Version::V5, "subscriber"));
        net.lose(subscriber);
        let properties = PublishProperties { message_expiry_interval: Some(5), ..PublishProperties::default() };
        net.publish_packet(publisher, &Publish { properties, ..message("a", "short", qos) });
        net.publish(publisher, "a", "long", qos);
        net.wait(5);
        let subscriber = net.resume(&named(Version::V5, "subscriber"));
        assert_eq!(payloads(&net.received(subscriber)[..1]), ["long"]);
        assert_dropped(&mut net, Dropped::default(), DropReason::Expired, 1);
    }
}

/// A message above the client's Maximum Packet Size is not sent, and others are [5.0: MQTT-3.1.2-24, MQTT-3.1.2-25].
#[test]
fn dropped_when_too_large_for_the_client() {
    let properties = ConnectProperties {
        maximum_packet_size: 100.try_into().ok(),
        session_expiry_interval: Some(100),
        ..ConnectProperties::default()
    };
    let connect = Connect { properties, ..named(Version::V5, "subscriber") };
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for there in [true, false] {
            let (mut net, publisher, mut subscriber) = pair(config(), &connect);
            if !there {
                if qos == QoS::AtMostOnce {
                    continue; // it would not be queued
                }
                net.lose(subscriber);
            }
            net.publish(publisher, "a", &"x".repeat(100), qos);
            net.publish(publisher, "a", "small", qos);
            if !there {
                subscriber = net.resume(&connect);
            }
            assert_eq!(payloads(&net.received(subscriber)[..1]), ["small"], "{qos}");
            assert_dropped(&mut net, Dropped::default(), DropReason::NotSupported, 1);
        }
    }
}

#[test]
fn dropped_when_the_session_ends() {
    for version in BOTH {
        type End = fn(&mut Net, Version);
        let ends: [End; 2] = [
            |net, _| {
                net.broker.end_session(net.now, "subscriber");
                net.flush();
            },
            |net, version| {
                net.connect(&Connect { clean_start: true, ..named(version, "subscriber") });
            },
        ];
        for end in ends {
            let (mut net, publisher, subscriber) = pair(config(), &named(version, "subscriber"));
            net.publish(publisher, "a", "under way", QoS::AtLeastOnce);
            net.lose(subscriber);
            net.publish(publisher, "a", "waits", QoS::ExactlyOnce);
            end(&mut net, version);
            assert_dropped(&mut net, Dropped::default(), DropReason::SessionEnded, 2);
            assert_eq!((net.broker.status().stored, net.broker.status().subscriptions), (0, 0));
        }
    }
}

/// A message of QoS 0 that waits for the client to read is lost with the connection, unless the configuration stores
/// it.
#[test]
fn dropped_when_the_connection_is_lost() {
    for version in BOTH {
        for store_qos_0 in [false, true] {
            let limits = with_server(|server| {
                server.transmit_limit = NonZeroU32::new(50).unwrap();
                server.store_qos_0 = store_qos_0;
            });
            let (mut net, publisher, subscriber) = pair(limits, &named(version, "subscriber"));
            net.set_reading(subscriber, false);
            for number in 0..20 {
                net.publish(publisher, "a", &format!("{number:04}"), QoS::AtMostOnce);
            }
            let waiting = net.broker.status().stored;
            assert!(waiting > 5, "{waiting} wait");
            net.lose(subscriber);
            net.publish(publisher, "a", "away", QoS::AtMostOnce);
            let lost = if store_qos_0 { 0 } else { waiting };
            assert_dropped(&mut net, Dropped::default(), DropReason::ConnectionLost, lost);
            let subscriber = net.resume(&named(version, "subscriber"));
            let received = net.received(subscriber);
            if store_qos_0 {
                assert_eq!(received.len() as u64, waiting + 1);
                assert_eq!(payloads(&received)[waiting as usize - 1..], ["0019", "away"]);
            } else {
                assert!(received.is_empty());
            }
        }
    }
}

#[test]
fn dropped_when_refused_by_the_client() {
    let (mut net, publisher, subscriber) = pair(config(), &named(Version::V5, "subscriber"));
    net.publish(publisher, "a", "1", QoS::AtLeastOnce);
    net.publish(publisher, "a", "2", QoS::ExactlyOnce);
    let reason_code = PubAckReasonCode::ImplementationSpecificError;
    net.send(subscriber, &[PubAck { reason_code, ..PubAck::new(id(1)) }.into()]);
    net.send(subscriber, &[PubRec { reason_code, ..PubRec::new(id(2)) }.into()]);
    assert_dropped(&mut net, Dropped::default(), DropReason::RefusedByClient, 2);
    assert_eq!(net.broker.status().stored, 0);
}

/// Members of a share without room are skipped: no message is dropped while one of them has room. If none has, the
/// message counts as one drop.
#[test]
fn a_share_drops_a_message_when_no_member_has_room() {
    let limits = with_server(|server| server.max_stored = 2);
    let mut net = Net::new(limits);
    let publisher = net.client(Version::V5, "publisher");
    for name in ["subscriber", "subscriber2"] {
        let member = net.client(Version::V5, name);
        net.hold_acks(member);
        net.subscribe(member, "$share/g/a", QoS::AtLeastOnce);
        if name == "subscriber" {
            net.subscribe(member, "b", QoS::AtLeastOnce);
        }
    }
    net.notices();
    net.publish(publisher, "b", "1", QoS::AtLeastOnce);
    net.publish(publisher, "b", "2", QoS::AtLeastOnce);
    net.publish(publisher, "a", "3", QoS::AtLeastOnce);
    net.publish(publisher, "a", "4", QoS::AtLeastOnce);
    assert_eq!(net.broker.status().stored, 4, "the other one has both");
    assert_eq!((net.notices(), net.broker.counters().dropped.total()), (vec![], 0));
    net.publish(publisher, "a", "5", QoS::AtLeastOnce);
    assert_eq!(net.notices(), ["publisher publish refused: a 97", "subscriber dropped: QueueFull"]);
    assert_eq!(net.broker.counters().dropped.queue_full, 1);
}

/// A message that no subscription matches is no drop. It is counted if a client has published it.
#[test]
fn a_message_without_a_subscriber_is_counted() {
    for work in [2000, 1] {
        let mut net = Net::new(BrokerConfig { work_per_call: NonZeroU32::new(work).unwrap(), ..config() });
        let (publisher, subscriber) = (net.client(Version::V5, "publisher"), net.client(Version::V5, "subscriber"));
        net.subscribe(subscriber, "a", QoS::AtMostOnce);
        net.publish(publisher, "a", "1", QoS::AtMostOnce);
        net.publish(publisher, "b", "2", QoS::AtMostOnce);
        net.publish_own(&Message::new("b", "3"));
        let counters = net.broker.counters();
        assert_eq!((counters.messages_received, counters.messages_without_subscriber), (2, 1), "{work}");
        assert_eq!((counters.messages_forwarded, counters.dropped.total()), (1, 0), "{work}");
    }
}
