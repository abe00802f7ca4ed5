//! Delivery of large messages in parts, as they arrive.

#![cfg(feature = "alloc")]

use std::num::NonZeroU32;

use bytes::Buf;
use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Close};
use mqtt_sansio::codec::{Delivery, PubAckReasonCode, Publish, PublishProperties};
use mqtt_sansio::{Instant, PacketId, QoS, SessionExpiry, TopicName, Version};

const NOW: Instant = Instant::EPOCH;

/// A connected client that delivers in parts every message that does not arrive at once. CONNECT has been taken.
fn connected(version: Version, config: ClientConfig) -> ClientSession {
    let config = ClientConfig {
        version,
        deliver_in_parts: Some(NonZeroU32::MIN),
        session_expiry_interval: SessionExpiry::after(100),
        ..config
    };
    let mut client = ClientSession::new(ClientConfig { client_id: "c".into(), ..config });
    connect(&mut client, false);
    client
}

fn connect(client: &mut ClientSession, session_present: bool) {
    client.open(NOW).unwrap();
    written(client);
    let connack = match client.config().version {
        Version::V5 => vec![0x20, 3, session_present.into(), 0, 0],
        _ => vec![0x20, 2, session_present.into(), 0],
    };
    assert!(matches!(client.poll(NOW, &mut &connack[..]), Some(Action::Connected(_))));
    assert_eq!(client.poll_timeout(NOW), None);
}

fn written(client: &mut ClientSession) -> Vec<u8> {
    let transmit = client.transmit();
    transmit.copy_to_bytes(transmit.remaining()).into()
}

fn publish(version: Version, delivery: Delivery, payload: &[u8]) -> Vec<u8> {
    let properties = PublishProperties {
        message_expiry_interval: (version == Version::V5).then_some(7),
        ..PublishProperties::default()
    };
    let topic = TopicName::new("a/b").unwrap();
    let mut packet = Vec::new();
    Publish { delivery, topic, payload, properties, ..Publish::default() }.encode(version, &mut packet).unwrap();
    packet
}

fn deliveries(id: u16) -> [Delivery; 3] {
    let id = PacketId::new(id).unwrap();
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| Delivery::new(qos, id, false))
}

/// The payloads that a client delivers from a stream that is split at two positions. Checks that no input is left.
fn collect(client: &mut ClientSession, stream: &[u8], splits: [usize; 2]) -> Vec<Vec<u8>> {
    let (mut messages, mut open) = (Vec::<Vec<u8>>::new(), 0);
    let mut buffer = Vec::new();
    let ends = [splits[0], splits[1], stream.len()];
    for (start, end) in [0, splits[0], splits[1]].into_iter().zip(ends) {
        buffer.extend_from_slice(&stream[start..end]);
        let mut input = &buffer[..];
        while let Some(action) = client.poll(NOW, &mut input) {
            match action {
                Action::Message(message) => {
                    assert_eq!(open, 0);
                    assert_eq!(message.topic, "a/b");
                    messages.push(message.payload.to_vec());
                    open = message.missing;
                }
                Action::Payload(part) => {
                    assert_eq!(open - part.bytes.len() as u32, part.missing);
                    messages.last_mut().unwrap().extend_from_slice(part.bytes);
                    open = part.missing;
                }
                other => panic!("{other:?}"),
            }
        }
        buffer = input.to_vec();
    }
    assert_eq!((open, buffer), (0, vec![]));
    messages
}

/// The parts make up the message wherever the stream is split, and the message is acknowledged as usual.
#[test]
fn the_parts_make_up_the_message_for_every_split() {
    for version in [Version::V311, Version::V5] {
        for delivery in deliveries(9) {
            let payload: Vec<u8> = (0..40).collect();
            let mut stream = publish(version, delivery, &payload);
            stream.extend(publish(version, Delivery::AtMostOnce, b"next"));
            for first in 0..=stream.len() {
                for second in first..=stream.len() {
                    let mut client = connected(version, ClientConfig::default());
                    let messages = collect(&mut client, &stream, [first, second]);
                    assert_eq!(messages, [&payload[..], b"next"], "{version} {delivery:?} {first} {second}");
                    let acks: &[u8] = match delivery {
                        Delivery::AtMostOnce => b"",
                        Delivery::AtLeastOnce { .. } => b"\x40\x02\x00\x09",
                        Delivery::ExactlyOnce { .. } => b"\x50\x02\x00\x09",
                    };
                    assert_eq!(written(&mut client), acks);
                }
            }
        }
    }
}

/// A client accepts ownership of a message with its last part and not before.
#[test]
fn a_message_cut_short_is_delivered_again() {
    let [_, _, exactly_once] = deliveries(9);
    let packet = publish(Version::V5, exactly_once, b"0123456789");
    let mut client = connected(Version::V5, ClientConfig::default());
    let mut input = &packet[..packet.len() - 4];
    let Some(Action::Message(message)) = client.poll(NOW, &mut input) else { panic!() };
    assert_eq!((message.payload, message.missing), (&b"012345"[..], 4));
    assert_eq!(client.poll(NOW, &mut input), None);
    assert_eq!(written(&mut client), b"");
    client.closed(NOW);

    connect(&mut client, true);
    assert_eq!(collect(&mut client, &packet, [3, 20]), [b"0123456789"]);
    assert_eq!(written(&mut client), b"\x50\x02\x00\x09");
    // A duplicate is acknowledged and not delivered again, in parts or whole [MQTT-4.3.3-10].
    assert_eq!(collect(&mut client, &packet, [3, 20]), Vec::<Vec<u8>>::new());
    assert_eq!(collect(&mut client, &packet, [0, 0]), Vec::<Vec<u8>>::new());
    assert_eq!(written(&mut client), b"\x50\x02\x00\x09\x50\x02\x00\x09");
}

/// With manual acknowledgements the last part carries the handle.
#[test]
fn the_last_part_carries_the_ack_handle() {
    let [_, at_least_once, _] = deliveries(9);
    let packet = publish(Version::V5, at_least_once, b"0123456789");
    let mut client = connected(Version::V5, ClientConfig { manual_acks: true, ..ClientConfig::default() });
    let mut input = &packet[..packet.len() - 4];
    let Some(Action::Message(message)) = client.poll(NOW, &mut input) else { panic!() };
    assert_eq!(message.ack_handle, None);
    let mut input = &packet[packet.len() - 4..];
    let Some(Action::Payload(part)) = client.poll(NOW, &mut input) else { panic!() };
    assert_eq!(part.bytes, b"6789");
    assert_eq!(written(&mut client), b"");
    client.ack(NOW, part.ack_handle.unwrap(), PubAckReasonCode::Success).unwrap();
    assert_eq!(written(&mut client), b"\x40\x02\x00\x09");
}

/// A malformed beginning of a packet is reported before the rest of the packet arrives.
#[test]
fn lengths_beyond_the_packet_are_refused_at_once() {
    let mut client = connected(Version::V5, ClientConfig::default());
    // A topic of 4 bytes in a packet of 300 bytes, and a property length of 16,000.
    let head = b"\x30\xac\x02\x00\x04abcd\x80\x7d\x01\x01";
    let mut input = &head[..];
    let Some(Action::Close(Close::Malformed(error))) = client.poll(NOW, &mut input) else { panic!() };
    assert_eq!(error.reason_code().value(), 0x81);
    assert_eq!(written(&mut client), [0xe0, 1, 0x81]);
}

/// Only messages above the threshold that do not arrive at once are delivered in parts.
#[test]
fn small_messages_are_delivered_whole() {
    let config =
        ClientConfig { version: Version::V5, deliver_in_parts: NonZeroU32::new(50), ..ClientConfig::default() };
    let mut client = ClientSession::new(config);
    connect(&mut client, false);
    let small = publish(Version::V5, Delivery::AtMostOnce, &[1; 30]);
    let mut input = &small[..30];
    assert_eq!(client.poll(NOW, &mut input), None);
    assert_eq!(input.len(), 30);
    let large = publish(Version::V5, Delivery::AtMostOnce, &[1; 3000]);
    let Some(Action::Message(message)) = client.poll(NOW, &mut &large[..]) else { panic!() };
    assert_eq!((message.payload.len(), message.missing), (3000, 0));
}
