//! Every vector that a decoder rejects, sent to an endpoint: it closes the connection, and answers as its version says.

#![cfg(feature = "alloc")]

mod common;

#[path = "../../common/client.rs"]
mod client;
#[path = "../../common/server.rs"]
mod server;

use mqtt_sansio::Version;
use mqtt_sansio::codec::{Packet, PacketType, ReasonCode, Sender};
use serde::Deserialize;

use self::common::Direction;

#[derive(Deserialize)]
struct Vector {
    name: String,
    versions: Vec<String>,
    direction: Direction,
    fields: Vec<Part>,
    expect: Expect,
}

#[derive(Deserialize)]
struct Part {
    hex: String,
}

#[derive(Deserialize)]
struct Expect {
    outcome: String,
    reason_code: Option<u8>,
}

/// A rejected vector in one of its versions.
struct Rejected {
    name: String,
    version: Version,
    bytes: Vec<u8>,
    reason_code: Option<u8>,
}

impl Rejected {
    fn is(&self, packet_type: PacketType) -> bool {
        self.bytes.first().is_some_and(|first| first >> 4 == packet_type as u8)
    }

    /// Checks what an endpoint has sent: DISCONNECT with the reason code in 5.0, nothing before.
    fn check_sent(&self, sent: &[Packet<'_>]) {
        let name = &self.name;
        match (sent, self.version) {
            ([Packet::Disconnect(disconnect)], Version::V5) => self.check_code(disconnect.reason_code.into()),
            ([], version) if version != Version::V5 => {}
            _ => panic!("{name} in {}: {sent:?}", self.version),
        }
    }

    fn check_code(&self, code: ReasonCode) {
        assert!(code.is_error(), "{}: {code}", self.name);
        if let Some(expected) = self.reason_code {
            assert_eq!(code.value(), expected, "{}", self.name);
        }
    }
}

/// The rejected vectors that this sender may send.
fn rejected(sender: Sender) -> Vec<Rejected> {
    let mut all = Vec::new();
    for file in common::file_names("packets") {
        for vector in common::load::<Vec<Vector>>(&format!("packets/{file}")) {
            let is_sent = vector.direction.sender().is_none_or(|only| only == sender);
            if !is_sent || vector.expect.outcome != "reject" {
                continue;
            }
            let bytes: Vec<_> = vector.fields.iter().flat_map(|part| common::unhex(&part.hex)).collect();
            all.extend(vector.versions.iter().map(|version| Rejected {
                name: vector.name.clone(),
                version: common::version(version),
                bytes: bytes.clone(),
                reason_code: vector.expect.reason_code,
            }));
        }
    }
    assert!(all.len() > 500, "the vectors are there: {}", all.len());
    all
}

/// [3.1.1: MQTT-1.5.3-1, MQTT-1.5.3-2, MQTT-2.2.2-2, MQTT-3.3.1-4, MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.8.3-4,
/// MQTT-3.10.1-1, MQTT-3.14.1-1, MQTT-4.8.0-1; 5.0: MQTT-3.3.1-4, MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.8.3-5, MQTT-3.10.1-1,
/// MQTT-3.14.1-1, MQTT-3.15.1-1, MQTT-4.13.1-1]
#[test]
fn a_server_closes_the_connection() {
    let packets = rejected(Sender::Client).into_iter().filter(|rejected| !rejected.is(PacketType::Connect));
    let mut count = 0;
    for rejected in packets {
        let mut wire = server::Wire::lasting(rejected.version);
        let events = wire.receive_bytes(&rejected.bytes);
        assert!(matches!(events[..], [server::Event::Close(_)]), "{}: {events:?}", rejected.name);
        assert!(!wire.server.is_connected(), "{}", rejected.name);
        let sent = wire.take();
        rejected.check_sent(&server::decode(&sent, rejected.version));
        assert_eq!(wire.receive(&[Packet::PingReq]), [], "{}: nothing more is processed", rejected.name);
        wire.assert_silent();
        count += 1;
    }
    assert!(count > 300, "{count}");
}

/// The acceptor answers with CONNACK, if at all: 3.1 and 3.1.1 have return codes for an unacceptable protocol level and
/// for a client identifier that is not valid, and for nothing else that makes a CONNECT malformed.
/// [3.1.1: MQTT-3.1.2-1, MQTT-3.1.2-3, MQTT-3.1.3-8, MQTT-3.1.4-1; 5.0: MQTT-3.1.2-1, MQTT-3.1.2-3, MQTT-3.1.4-1,
/// MQTT-3.14.0-1]
#[test]
fn an_acceptor_closes_the_connection() {
    let packets = rejected(Sender::Client).into_iter().filter(|rejected| rejected.is(PacketType::Connect));
    let mut count = 0;
    for rejected in packets {
        let mut door = server::Door::new(server::config(), rejected.version);
        let (events, _) = door.receive_bytes(&rejected.bytes);
        assert!(matches!(events[..], [server::Event::Close(_)]), "{}: {events:?}", rejected.name);
        let sent = door.take();
        match sent[..] {
            [] => {}
            [0x20, 2, 0, code] => {
                let expected = match rejected.reason_code {
                    Some(0x84) => 1,
                    Some(0x85) => 2,
                    _ => panic!("{}: CONNACK with {code:#04x}", rejected.name),
                };
                assert_eq!(code, expected, "{}", rejected.name);
            }
            [0x20, 3, 0, code, 0] => rejected.check_code(ReasonCode::from_value(code).unwrap()),
            _ => panic!("{}: {sent:02x?}", rejected.name),
        }
        assert_eq!(door.receive(&[Packet::PingReq]), [], "{}: nothing more is processed", rejected.name);
        door.assert_silent();
        count += 1;
    }
    assert!(count > 100, "{count}");
}

/// [3.1.1: MQTT-1.5.3-1, MQTT-1.5.3-2, MQTT-2.2.2-2, MQTT-3.3.1-4, MQTT-3.6.1-1, MQTT-4.8.0-1; 5.0: MQTT-3.3.1-4,
/// MQTT-3.6.1-1, MQTT-3.14.1-1, MQTT-3.15.1-1, U-4.13.1]
#[test]
fn a_client_closes_the_connection() {
    let mut count = 0;
    for rejected in rejected(Sender::Server) {
        let config = client::lasting(rejected.version);
        let mut wire = client::Wire::new(config);
        wire.open();
        if !rejected.is(PacketType::ConnAck) {
            wire.receive(&[client::connack().into()]);
            assert!(wire.client.is_connected());
        }
        let events = wire.receive_bytes_and_close(&rejected.bytes);
        assert!(matches!(events[..], [client::Event::Close(_)]), "{}: {events:?}", rejected.name);
        assert!(!wire.client.is_connected(), "{}", rejected.name);
        let sent = wire.take();
        rejected.check_sent(&client::decode(&sent, rejected.version));
        assert_eq!(wire.receive_bytes_and_close(b"\xD0\x00"), [], "{}: nothing more is processed", rejected.name);
        wire.assert_silent();
        count += 1;
    }
    assert!(count > 300, "{count}");
}
