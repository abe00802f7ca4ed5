//! Packets other than PUBLISH, and the properties of a PUBLISH, have a size limit of their own: a broker and a client refuse what
//! exceeds it before it has arrived.

#![cfg(feature = "broker")]

use bytes::Buf;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin, Secret};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Close};
use mqtt_sansio::codec::{Connect, Violation};
use mqtt_sansio::{Instant, Version};

const NOW: Instant = Instant::from_micros(1);

fn broker(version: Version) -> (Broker<AllowAll>, ConnectionId) {
    let mut broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll);
    let id = broker.open(NOW, Origin::UNKNOWN);
    let mut bytes = Vec::new();
    let connect = Connect { version, client_identifier: "c".try_into().unwrap(), ..Connect::default() };
    connect.encode(version, &mut bytes).unwrap();
    give(&mut broker, id, &bytes);
    output(&mut broker, id);
    (broker, id)
}

fn give(broker: &mut Broker<AllowAll>, id: ConnectionId, bytes: &[u8]) {
    let mut input = bytes;
    for _ in 0..1000 {
        broker.receive(NOW, id, &mut input);
        broker.poll(NOW);
    }
}

fn output(broker: &mut Broker<AllowAll>, id: ConnectionId) -> Vec<u8> {
    let transmit = broker.transmit(id);
    transmit.copy_to_bytes(transmit.remaining()).to_vec()
}

/// 256 KiB are `10 80 80 10` as a Variable Byte Integer, without the five bytes of the fixed header `FB FF FF 0F`.
#[test]
fn a_broker_refuses_a_large_packet_by_its_header() {
    for version in [Version::V311, Version::V5] {
        for first in [0x82, 0xA2, 0x62, 0x40] {
            let (mut server, id) = broker(version);
            give(&mut server, id, &[first, 0xFB, 0xFF, 0x0F]);
            assert!(!server.is_over(id), "{first:x}: 256 KiB are accepted");
            let (mut server, id) = broker(version);
            give(&mut server, id, &[first, 0xFD, 0xFF, 0x0F]);
            assert!(server.is_over(id), "{first:x}");
            let expected: &[u8] = if version == Version::V5 { b"\xE0\x02\x97\x00" } else { b"" };
            let sent = output(&mut server, id);
            assert!(sent == expected || sent == b"\xE0\x01\x97", "{first:x}: {sent:x?}");
        }
    }
}

#[test]
fn a_broker_refuses_large_properties_of_a_message_when_their_length_has_come() {
    let head = |length: [u8; 3]| [&b"\x30\xFF\xFF\x7F\x00\x01a"[..], &length].concat();
    let (mut server, id) = broker(Version::V5);
    give(&mut server, id, &head([0x80, 0x80, 0x10]));
    assert!(!server.is_over(id), "256 KiB are accepted");
    let (mut server, id) = broker(Version::V5);
    give(&mut server, id, &head([0x81, 0x80, 0x10]));
    assert!(server.is_over(id));
    // Without properties a message may be larger.
    for version in [Version::V311, Version::V5] {
        let (mut server, id) = broker(version);
        let mut bytes = b"\x32\xFF\xFF\x7F\x00\x01a\x00\x07".to_vec();
        bytes.push(0);
        bytes.resize(4 + 0x1F_FFFF, b'x');
        give(&mut server, id, &bytes);
        let puback: &[u8] = if version == Version::V5 { b"\x40\x03\x00\x07\x10" } else { b"\x40\x02\x00\x07" };
        let sent = output(&mut server, id);
        assert!(sent == puback || sent == b"\x40\x02\x00\x07", "{sent:x?}");
    }
}

#[test]
fn a_client_refuses_a_large_packet_by_its_header() {
    let mut client = ClientSession::new(ClientConfig { client_id: "c".into(), ..ClientConfig::default() });
    client.open(NOW).unwrap();
    let mut input = &b"\x20\x03\x00\x00\x00\x90\xFD\xFF\x0F"[..];
    let closed = core::iter::from_fn(|| client.poll(NOW, &mut input)).find_map(|action| match action {
        Action::Close(close) => Some(match close {
            Close::Malformed(error) => error.violation(),
            other => panic!("{other:?}"),
        }),
        _ => None,
    });
    assert_eq!(closed, Some(Violation::ControlTooLarge));
}
