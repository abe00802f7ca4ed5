//! Checks that the output of a server is a sequence of packets.

use mqtt_sansio::codec::{self, ConnAckReasonCode, Decoded, Limits, Packet, Version};

/// The output of one connection.
pub(super) struct Sent {
    version: Version,
    maximum_packet_size: u32,
    /// The beginning of an incomplete packet.
    unfinished: Vec<u8>,
    is_accepted: bool,
    is_over: bool,
}

impl Sent {
    pub(super) const fn new(version: Version) -> Self {
        Self { version, maximum_packet_size: u32::MAX, unfinished: Vec::new(), is_accepted: false, is_over: false }
    }

    pub(super) fn open(&mut self) {
        *self = Self::new(self.version);
    }

    /// CONNECT has arrived.
    pub(super) const fn connect(&mut self, version: Version, maximum_packet_size: u32) {
        self.version = version;
        self.maximum_packet_size = maximum_packet_size;
    }

    /// CONNECT could not be decoded.
    pub(super) const fn answer_in(&mut self, version: Version) {
        self.version = version;
    }

    /// The connection has ended, perhaps in the middle of a packet.
    pub(super) fn close(&mut self) {
        self.unfinished.clear();
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.unfinished.extend_from_slice(bytes);
        let mut rest = &self.unfinished[..];
        loop {
            let packet = match codec::decode(rest, self.version, Limits::from_server()) {
                Ok(Decoded::Packet { packet, size }) => {
                    let is_bound = !matches!(packet, Packet::ConnAck(_)) || self.version == Version::V5;
                    assert!(!is_bound || size <= self.maximum_packet_size as usize, "too large [MQTT-3.1.2-24]");
                    rest = &rest[size..];
                    packet
                }
                Ok(Decoded::Incomplete { .. }) => break,
                Err(error) => panic!("the server sends what is no packet: {error}"),
            };
            assert!(!self.is_over, "nothing follows the last packet [MQTT-3.14.4-1]: {packet:?}");
            match packet {
                Packet::ConnAck(connack) => {
                    assert!(!self.is_accepted, "a second CONNACK [MQTT-3.2.0-2]");
                    self.is_accepted = connack.reason_code == ConnAckReasonCode::Success;
                    self.is_over = !self.is_accepted;
                    assert!(self.is_accepted || !connack.session_present, "[MQTT-3.2.2-6]");
                }
                Packet::Auth(_) => {}
                Packet::Disconnect(_) => {
                    assert!(self.is_accepted, "DISCONNECT before CONNACK [MQTT-3.14.0-1]");
                    self.is_over = true;
                }
                _ => assert!(self.is_accepted, "CONNACK is the first packet [MQTT-3.2.0-1]: {packet:?}"),
            }
        }
        self.unfinished = rest.to_vec();
    }

    /// Checks that no incomplete packet is left.
    pub(super) fn finish(&self) {
        assert!(self.unfinished.is_empty(), "the last packet is not complete");
    }
}
