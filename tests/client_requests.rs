//! SUBSCRIBE and UNSUBSCRIBE go out before messages, so that a program that has lost its session can subscribe again before
//! what it has queued causes a response.

#![cfg(feature = "alloc")]

#[path = "common/client.rs"]
mod common;

use common::*;
use mqtt_sansio::client::{Action, ClientConfig, Resumption, SubscribeError};
use mqtt_sansio::codec::{Packet, PubAck, Subscribe, Subscription, Unsubscribe};
use mqtt_sansio::{AbandonReason, Message, Overflow, PublishError, Token, Version};

fn subscription(filter: &str) -> Subscription<'_> {
    Subscription::new(filter, QOS_1).unwrap()
}

/// Opens a connection whose CONNACK has no Session Present flag, and stops at the action that reports it, as a program does
/// that gives commands then.
fn connect_until_connected(wire: &mut Wire, expected: Resumption) {
    wire.open();
    let mut bytes = Vec::new();
    Packet::from(connack()).encode(wire.version, &mut bytes).unwrap();
    match wire.client.poll(wire.now, &mut &bytes[..]) {
        Some(Action::Connected(connected)) => assert_eq!(connected.session, expected),
        other => panic!("{other:?}"),
    }
}

/// The types of the packets that were sent since the last call, with their packet identifiers.
fn sent(wire: &mut Wire) -> Vec<String> {
    let sent = wire.take();
    let packets = decode(&sent, wire.version);
    packets.iter().map(|it| format!("{} {}", it.packet_type(), it.packet_id().map_or(0, |id| id.get()))).collect()
}

/// The session is lost with messages of each QoS in the queue. Requests that are made upon the report of that are all sent
/// before the messages, which keep their order.
#[test]
fn requests_for_a_new_session_are_sent_before_queued_messages() {
    for version in [Version::V311, Version::V5] {
        let mut wire = Wire::connected(lasting(version));
        wire.lose();
        for (payload, qos) in [("1", QOS_1), ("2", QOS_0), ("3", QOS_2), ("4", QOS_1)] {
            wire.publish(payload, qos);
        }
        connect_until_connected(&mut wire, Resumption::Lost);
        for filter in ["a", "b"] {
            wire.client.subscribe(wire.now, &[subscription(filter)]).unwrap();
        }
        wire.client.unsubscribe(wire.now, &[filter("c")]).unwrap();
        assert_eq!(wire.poll(), []);
        wire.assert_sent(&[
            Subscribe::new(id(1), &[subscription("a")]).into(),
            Subscribe::new(id(2), &[subscription("b")]).into(),
            Unsubscribe::new(id(3), &[filter("c")]).into(),
            published("1", delivery(QOS_1, 4)),
            published("2", delivery(QOS_0, 0)),
            published("3", delivery(QOS_2, 5)),
            published("4", delivery(QOS_1, 6)),
        ]);
    }
}

/// Requests that are made without a connection keep their places among the messages. Once they were sent, they are sent
/// before messages on the next connection, also before those that are sent again: 3.1 does not say whether the session is
/// new.
#[test]
fn requests_that_were_sent_before_are_sent_before_messages() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut wire = Wire::new(lasting(version));
        wire.publish("1", QOS_1);
        wire.subscribe();
        wire.publish("2", QOS_0);
        wire.unsubscribe();
        wire.connect(connack());
        assert_eq!(sent(&mut wire), ["PUBLISH 1", "SUBSCRIBE 2", "PUBLISH 0", "UNSUBSCRIBE 3"], "{version:?}");
        wire.lose();
        wire.publish("3", QOS_1);
        wire.connect(if version == Version::V31 { connack() } else { present() });
        assert_eq!(sent(&mut wire), ["SUBSCRIBE 4", "UNSUBSCRIBE 5", "PUBLISH 1", "PUBLISH 6"], "{version:?}");
    }
}

/// The connection is lost again before the server has answered the requests: the next one begins with them too.
#[test]
fn requests_for_a_session_that_is_lost_twice_are_sent_first_again() {
    let mut wire = Wire::connected(ClientConfig { max_stored: 2, ..v5() });
    wire.lose();
    wire.publish("1", QOS_1);
    wire.publish("2", QOS_1);
    connect_until_connected(&mut wire, Resumption::Lost);
    wire.client.subscribe(wire.now, &[subscription("a")]).unwrap();
    assert_eq!(sent(&mut wire), ["SUBSCRIBE 1"]);
    wire.lose();
    connect_until_connected(&mut wire, Resumption::Lost);
    wire.client.subscribe(wire.now, &[subscription("b")]).unwrap();
    wire.poll();
    assert_eq!(sent(&mut wire), ["SUBSCRIBE 2", "SUBSCRIBE 3", "PUBLISH 4", "PUBLISH 5"]);
}

/// Without a free packet identifier a request waits, and messages that need none go on.
#[test]
fn requests_without_a_packet_identifier_hold_up_no_message() {
    let mut wire = Wire::connected(ClientConfig { max_stored: u32::MAX, ..v5() });
    for _ in 0..u16::MAX {
        wire.publish("", QOS_1);
        wire.take();
    }
    wire.subscribe();
    wire.publish("0", QOS_0);
    wire.poll();
    assert_eq!(sent(&mut wire), ["PUBLISH 0"]);
    wire.publish("1", QOS_1);
    wire.receive(&[PubAck::new(id(7)).into()]);
    assert_eq!(sent(&mut wire), ["SUBSCRIBE 7"]);
    wire.receive(&[suback(7)]);
    assert_eq!(sent(&mut wire), ["PUBLISH 7"]);
}

/// A full queue refuses no subscription of a new session, whose requests come before the queued messages; the limits apply
/// to the requests alone. Once messages are in flight, they take room again.
#[test]
fn a_full_queue_has_room_for_the_requests_of_a_new_session() {
    let full = Err(SubscribeError::QueueFull);
    for overflow in [Overflow::Refuse, Overflow::DropOldest] {
        for (max_stored, max_stored_bytes) in [(3, u32::MAX), (u32::MAX, 60)] {
            let mut wire = Wire::connected(ClientConfig { max_stored, max_stored_bytes, overflow, ..v5() });
            wire.lose();
            let payload = "x".repeat(12);
            let messages: Vec<Token> = (0..3).map(|_| wire.publish(&payload, QOS_1)).collect();
            connect_until_connected(&mut wire, Resumption::Lost);
            let filter = "f".repeat(12);
            for number in 1..=3 {
                wire.client.subscribe(wire.now, &[subscription(&filter)]).unwrap();
                assert_eq!(sent(&mut wire), [format!("SUBSCRIBE {number}")]);
            }
            let is_by_number = max_stored == 3;
            if is_by_number && overflow == Overflow::Refuse {
                assert_eq!(wire.client.subscribe(wire.now, &[subscription(&filter)]), full);
                let message = Message::new("t", "").qos(QOS_1);
                assert_eq!(wire.client.publish(wire.now, &message), Err(PublishError::QueueFull));
            }
            assert_eq!(wire.poll(), [], "no message is dropped");
            assert_eq!(sent(&mut wire), ["PUBLISH 4", "PUBLISH 5", "PUBLISH 6"]);
            let requests = [suback(1), suback(2), suback(3)];
            assert_eq!(wire.receive(&requests).len(), 3);
            if is_by_number {
                assert_eq!(wire.client.subscribe(wire.now, &[subscription(&filter)]), full, "messages are in flight");
            }
            let acks = [4, 5, 6].map(|number| PubAck::new(id(number)).into());
            assert_eq!(wire.receive(&acks), messages.iter().map(|&token| success(token)).collect::<Vec<_>>());
        }
    }
}

/// Without a connection, requests and messages share the limits: the oldest message makes room for a request, or the
/// request is refused.
#[test]
fn without_a_connection_requests_and_messages_share_the_limits() {
    for overflow in [Overflow::Refuse, Overflow::DropOldest] {
        let mut wire = Wire::new(ClientConfig { max_stored: 2, overflow, ..v5() });
        let first = wire.publish("1", QOS_1);
        wire.publish("2", QOS_1);
        let asked = wire.client.subscribe(wire.now, &[subscription("a")]);
        if overflow == Overflow::Refuse {
            assert_eq!(asked, Err(SubscribeError::QueueFull));
            assert_eq!(wire.poll(), []);
        } else {
            assert!(asked.is_ok());
            assert_eq!(wire.poll(), [abandoned(first, AbandonReason::Overflow)]);
        }
    }
}
