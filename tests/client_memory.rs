//! The memory a client uses, measured with a counting allocator.

#![cfg(feature = "alloc")]

use std::num::NonZeroU16;

use bytes::{Buf, Bytes};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
use mqtt_sansio::{Instant, Message, Outcome, QoS, Version};

#[path = "common/counting.rs"]
mod counting;

use self::counting::{CALLS, LIVE};

const NOW: Instant = Instant::EPOCH;

fn connected(version: Version, config: ClientConfig) -> ClientSession {
    let mut client = ClientSession::new(ClientConfig { version, client_id: "client-0001".into(), ..config });
    client.open(NOW).unwrap();
    let connect = client.transmit().remaining();
    client.transmit().advance(connect);
    let connack: &[u8] = if version == Version::V5 { b"\x20\x03\0\0\0" } else { b"\x20\x02\0\0" };
    let mut input = connack;
    assert!(matches!(client.poll(NOW, &mut input), Some(Action::Connected(_))));
    assert!(client.poll(NOW, &mut input).is_none());
    client
}

/// Moves all bytes that one client has written to the other one, which reads them.
fn carry(from: &mut ClientSession, to: &mut ClientSession, wire: &mut Vec<u8>) -> usize {
    wire.clear();
    let transmit = from.transmit();
    while transmit.has_remaining() {
        let chunk = transmit.chunk();
        wire.extend_from_slice(chunk);
        let len = chunk.len();
        transmit.advance(len);
    }
    let mut input = &wire[..];
    let mut reported = 0;
    while to.poll(NOW, &mut input).is_some() {
        reported += 1;
    }
    assert!(input.is_empty());
    reported
}

/// A QoS handshake has the same packets in both directions, so two clients can exchange messages.
#[test]
fn a_message_allocates_nothing_after_the_first_ones() {
    for version in [Version::V31, Version::V311, Version::V5] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut publisher = connected(version, ClientConfig::default());
            let mut receiver = connected(version, ClientConfig::default());
            let mut wire = Vec::with_capacity(1024);
            let mut exchange = || {
                publisher.publish(NOW, &Message::new("home/kitchen/temp", "21.5").qos(qos)).unwrap();
                let mut reported = 0;
                for _ in 0..2 {
                    reported += carry(&mut publisher, &mut receiver, &mut wire);
                    reported += carry(&mut receiver, &mut publisher, &mut wire);
                }
                assert_eq!(reported, 2, "a message here, an outcome there");
            };
            (0..40).for_each(|_| exchange());
            let before = CALLS.get();
            (0..1000).for_each(|_| exchange());
            assert_eq!(CALLS.get() - before, 0, "{version}, QoS {qos}");
        }
    }
}

/// Bytes that were written make room, also if the output never becomes empty.
#[test]
fn output_that_is_never_empty_does_not_grow() {
    let mut client = connected(Version::V5, ClientConfig::default());
    let payload = [b'x'; 1000];
    let publish = |client: &mut ClientSession| {
        client.publish(NOW, &Message::new("t", &payload[..])).unwrap();
        while client.poll(NOW, &mut &b""[..]).is_some() {}
    };
    (0..3).for_each(|_| publish(&mut client));
    let before = LIVE.get();
    for _ in 0..1000 {
        publish(&mut client);
        client.transmit().advance(1006);
        assert!(client.transmit().has_remaining());
    }
    let grown = LIVE.get() - before;
    assert!(grown < 32 * 1024, "{grown} bytes more");
}

#[test]
fn an_idle_client_uses_at_most_512_bytes() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let before = LIVE.get();
        let client = connected(version, ClientConfig::default());
        let heap = LIVE.get() - before;
        assert!(heap + size_of::<ClientSession>() as isize <= 512, "{heap} + {}", size_of::<ClientSession>());
        drop(client);
        assert_eq!(LIVE.get(), before);
    }
}

/// The memory of a burst is freed when nothing was sent for the length of the Keep Alive.
#[test]
fn memory_of_a_burst_is_freed() {
    let config = ClientConfig { keep_alive: NonZeroU16::new(10), ..ClientConfig::default() };
    let mut client = connected(Version::V5, config.clone());
    let mut server = connected(Version::V5, config);
    let idle = LIVE.get();
    for _ in 0..500 {
        client.publish(NOW, &Message::new("a", &[7; 200]).qos(QoS::ExactlyOnce)).unwrap();
    }
    let mut wire = Vec::new();
    while carry(&mut client, &mut server, &mut wire) + carry(&mut server, &mut client, &mut wire) > 0 {}
    assert_eq!(client.operations_in_flight(), 0);
    drop(wire);
    drop(server);
    client.poll_timeout(Instant::from_micros(11_000_000));
    let ping = client.transmit().remaining();
    client.transmit().advance(ping);
    assert!(LIVE.get() <= idle + 64, "{} bytes more than before", LIVE.get() - idle);
}

#[test]
fn a_large_shared_payload_is_not_copied() {
    let payload = Bytes::from(vec![7; 1 << 20]);
    let shared = payload.clone();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut client = connected(Version::V5, ClientConfig::default());
        let before = LIVE.get();
        client.publish(NOW, &Message::new("firmware", shared.clone()).qos(qos)).unwrap();
        assert!(LIVE.get() - before < 1000, "{} bytes for a payload by reference", LIVE.get() - before);
        let head = client.transmit().chunk().len();
        client.transmit().advance(head);
        assert_eq!(client.transmit().chunk().as_ptr(), payload.as_ptr());
        // A payload that is queued or sent again is not copied either.
        if qos != QoS::AtMostOnce {
            client.transmit().advance(1000);
            client.publish(NOW, &Message::new("firmware", shared.clone()).qos(qos)).unwrap();
            assert!(LIVE.get() - before < 2000);
        }
    }
}

/// The peer never acknowledges, and the application goes on publishing.
#[test]
fn queued_and_in_flight_messages_are_limited() {
    let config = ClientConfig { max_stored: 100, max_stored_bytes: 50_000, ..ClientConfig::default() };
    let mut client = connected(Version::V5, config);
    let before = LIVE.get();
    let mut accepted = 0;
    for _ in 0..10_000 {
        accepted += usize::from(client.publish(NOW, &Message::new("a", &[7; 1000]).qos(QoS::AtLeastOnce)).is_ok());
        let len = client.transmit().remaining();
        client.transmit().advance(len);
    }
    assert_eq!(accepted, 49, "49 packets of 1,007 bytes and no more");
    assert!(LIVE.get() - before < 80_000, "{} bytes", LIVE.get() - before);
}

/// Messages of QoS 2 that are never released: the number of their packet identifiers is limited.
#[test]
fn a_flood_of_unreleased_messages_costs_eight_kilobytes() {
    let mut client = connected(Version::V311, ClientConfig::default());
    let before = LIVE.get();
    for id in 1..=u16::MAX {
        let [high, low] = id.to_be_bytes();
        let publish = [0x34, 6, 0, 1, b'a', high, low, b'x'];
        let mut input = &publish[..];
        assert!(matches!(client.poll(NOW, &mut input), Some(Action::Message(_))));
        assert!(client.poll(NOW, &mut input).is_none());
        let len = client.transmit().remaining();
        client.transmit().advance(len);
    }
    assert!(LIVE.get() - before <= 8 * 1024 + 64, "{} bytes", LIVE.get() - before);
}

/// The outcome "sent" is reported once the last byte has left, and not before.
#[test]
fn sent_is_reported_after_the_last_byte() {
    let mut client = connected(Version::V5, ClientConfig::default());
    let token = client.publish(NOW, &Message::new("a", "b")).unwrap();
    let len = client.transmit().remaining();
    client.transmit().advance(len - 1);
    assert_eq!(client.poll_timeout(NOW), None);
    client.transmit().advance(1);
    assert_eq!(client.poll_timeout(NOW), Some(Action::Done { token, outcome: Outcome::Sent }));
    assert_eq!(client.poll_timeout(NOW), None);
}
