//! Checks that the output of a client is a sequence of packets.

use mqtt_sansio::codec::{self, Decoded, Limits, Packet, Version};

/// The output of one connection.
pub(super) struct Sent {
    version: Version,
    /// The beginning of an incomplete packet.
    unfinished: Vec<u8>,
    packets: u32,
    has_disconnected: bool,
}

impl Sent {
    pub(super) const fn new(version: Version) -> Self {
        Self { version, unfinished: Vec::new(), packets: 0, has_disconnected: false }
    }

    pub(super) fn open(&mut self) {
        *self = Self::new(self.version);
    }

    /// The connection has ended, perhaps in the middle of a packet.
    pub(super) fn close(&mut self) {
        self.unfinished.clear();
    }

    /// Checks bytes written under this Maximum Packet Size of the server.
    pub(super) fn write(&mut self, bytes: &[u8], max: u32) {
        self.unfinished.extend_from_slice(bytes);
        let mut rest = &self.unfinished[..];
        loop {
            match codec::decode(rest, self.version, Limits::from_client()) {
                Ok(Decoded::Packet { packet, size }) => {
                    let is_connect = matches!(packet, Packet::Connect(_));
                    assert_eq!(is_connect, self.packets == 0, "CONNECT is the first packet [MQTT-3.1.0-1]: {packet:?}");
                    assert!(!self.has_disconnected, "nothing follows DISCONNECT [MQTT-3.14.4-1]: {packet:?}");
                    // The limit is not known before CONNACK.
                    let is_bound = !matches!(packet, Packet::Connect(_) | Packet::Auth(_) | Packet::Disconnect(_));
                    assert!(!is_bound || size <= max as usize, "larger than the server takes [MQTT-3.2.2-15]");
                    self.has_disconnected = matches!(packet, Packet::Disconnect(_));
                    self.packets += 1;
                    rest = &rest[size..];
                }
                Ok(Decoded::Incomplete { .. }) => break,
                Err(error) => panic!("the client sends what is no packet: {error}"),
            }
        }
        self.unfinished = rest.to_vec();
    }

    /// Checks that no incomplete packet is left.
    pub(super) fn finish(&self) {
        assert!(self.unfinished.is_empty(), "the last packet is not complete");
    }
}
