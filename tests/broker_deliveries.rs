//! What is due to a subscriber reaches it, whatever becomes of its connections.

#![cfg(feature = "broker")]

use mqtt_sansio::codec::{Connect, ConnectProperties, RetainHandling, Subscribe, Subscription};
use mqtt_sansio::{Overflow, QoS, Version};

#[path = "common/broker.rs"]
mod broker;
#[path = "common/server.rs"]
mod server;

use self::broker::{BOTH, Net, named, with_server};
use self::server::id;

/// A session whose last connection ended with unread output gets retained messages on the next one.
#[test]
fn a_resumed_session_gets_retained_messages() {
    for version in BOTH {
        for is_taken_over in [false, true] {
            let mut net = Net::new(with_server(|server| server.transmit_limit = 50));
            let publisher = net.client(version, "publisher");
            net.retain(publisher, "r/1", "kept", QoS::AtMostOnce);
            let subscriber = net.client(version, "subscriber");
            net.subscribe(subscriber, "live", QoS::AtMostOnce);
            net.set_reading(subscriber, false);
            for number in 0..20 {
                net.publish(publisher, "live", &format!("{number:04}"), QoS::AtMostOnce);
            }
            assert!(net.broker.status().kept > 0, "messages wait for output to be written");
            if !is_taken_over {
                net.lose(subscriber);
            }
            let subscriber = net.resume(&named(version, "subscriber"));
            net.heard(subscriber);
            net.subscribe(subscriber, "r/#", QoS::AtMostOnce);
            assert_eq!(net.heard(subscriber), ["r/1: kept retained"], "{version} {is_taken_over}");
            net.publish(publisher, "live", "still", QoS::AtMostOnce);
            assert_eq!(net.heard(subscriber), ["live: still"]);
        }
    }
}

/// A message of QoS 1 that is sent at once can make those of QoS 0 that wait give way. Nothing waits then, and retained
/// messages and live ones go on.
#[test]
fn messages_that_gave_way_hold_nothing_up() {
    let limits = with_server(|server| {
        server.max_kept = 3;
        server.transmit_limit = 40;
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
    // The output is written, so that there is room before the queue is looked at.
    let connection = net.id(subscriber);
    let transmit = net.broker.transmit(connection);
    bytes::Buf::advance(transmit, bytes::Buf::remaining(transmit));
    net.publish(publisher, "live", "three", QoS::AtLeastOnce);
    net.set_reading(subscriber, true);
    net.heard(subscriber);
    net.subscribe(subscriber, "r/#", QoS::AtMostOnce);
    assert_eq!(net.heard(subscriber), ["r/1: kept retained"]);
    net.publish(publisher, "live", "still", QoS::AtMostOnce);
    assert_eq!(net.heard(subscriber), ["live: still"]);
}

/// The limits that a client announces hold for one connection: what comes while it is away is kept, and a connection with
/// other limits gets it [MQTT-3.1.2-24].
#[test]
fn limits_of_an_earlier_connection_do_not_outlive_it() {
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
        assert_eq!((net.broker.status().kept, net.broker.counters().dropped.total()), (2, 0));
        let subscriber = net.resume(&connect(None));
        net.hold_acks(subscriber);
        assert_eq!(net.heard(subscriber)[..2], [format!("a: {large} q{qos}"), format!("a: small q{qos}")]);
        // What does not fit into the packets of the next connection is dropped then, and counted [MQTT-3.1.2-25].
        net.lose(subscriber);
        net.publish(publisher, "a", "third", qos);
        let subscriber = net.resume(&connect(Some(50)));
        net.set_reading(subscriber, true);
        let heard = net.heard(subscriber);
        assert!(heard.contains(&format!("a: third q{qos}")), "{heard:?}");
        assert!(!heard.iter().any(|line| line.contains(&large)), "{heard:?}");
    }
}

/// A No Local that is taken back while retained messages wait counts for those to come: what the client had published
/// itself was not to be sent by the subscription that asked for it [MQTT-3.8.3-3].
#[test]
fn a_no_local_that_changes_does_not_bring_the_own_retained_messages() {
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
                let mut heard = net.heard(client);
                heard.retain(|line| line.starts_with("t/"));
                heard.sort();
                let expected = ["t/0: foreign q1 retained", "t/2: foreign q1 retained"];
                assert_eq!(heard, expected, "{handling:?} {first_has_no_local} {in_one_packet}");
            }
        }
    }
}
