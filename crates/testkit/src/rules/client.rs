//! Rules for clients only: the first packet, and the time between packets.

use mqtt_sansio::Instant;
use mqtt_sansio::codec::{ConnAck, Connect, Packet, QoS, Version};

use super::{Rules, Stage, Taken, UNKNOWN};

impl Rules {
    /// Checks a packet of the client. Returns whether it is CONNECT, to which limits that are not known yet do not
    /// apply.
    pub(crate) fn client_writes(&mut self, now: Instant, packet: &Packet<'_>) -> bool {
        match (self.stage, packet) {
            (Stage::Opened, Packet::Connect(connect)) => {
                self.connect_written(now, connect);
                return true;
            }
            (Stage::Opened, _) => panic!("the first packet is not CONNECT but {packet:?} [MQTT-3.1.0-1]"),
            (_, Packet::Connect(_)) => panic!("a second CONNECT [MQTT-3.1.0-2]"),
            (Stage::Disconnected, _) => panic!("after DISCONNECT the client has sent {packet:?} [MQTT-3.14.4-1]"),
            (Stage::Connecting { .. }, Packet::Disconnect(_) | Packet::Auth(_)) => {
                // It is the server's turn, or the application's, so no PINGREQ is due.
                self.last_sent = now;
                return false;
            }
            (Stage::Connected, _) => {}
            // The specification allows packets before CONNACK, but the client does not know the session and the
            // server's limits yet.
            (Stage::Connecting { .. }, _) => panic!("before CONNACK the client has sent {packet:?} [MQTT-3.1.2-30]"),
        }
        let silence = now.since(self.last_sent).as_secs_f64();
        let keep_alive = f64::from(self.keep_alive);
        assert!(keep_alive == 0.0 || silence <= keep_alive, "the client was silent for {silence} s [MQTT-3.1.2-20]");
        self.last_sent = now;
        false
    }

    fn connect_written(&mut self, now: Instant, connect: &Connect<'_>) {
        self.version = connect.version;
        self.stage = Stage::Connecting { asked_clean: connect.clean_start };
        self.keep_alive = connect.keep_alive;
        self.last_sent = now;
        self.peer = UNKNOWN;
        self.method = connect.properties.authentication_method.map(|method| method.as_str().into());
    }

    pub(crate) fn connack_received(&mut self, connack: &ConnAck<'_>) {
        let Stage::Connecting { asked_clean } = self.stage else { return };
        let properties = &connack.properties;
        self.stage = Stage::Connected;
        self.keep_alive = properties.server_keep_alive.unwrap_or(self.keep_alive);
        self.peer = Taken {
            maximum_packet_size: properties.maximum_packet_size.map_or(u32::MAX, Into::into),
            topic_alias_maximum: properties.topic_alias_maximum.unwrap_or(0),
            receive_maximum: properties.receive_maximum.map_or(u16::MAX, Into::into),
            maximum_qos: properties.maximum_qos.map_or(QoS::ExactlyOnce, Into::into),
            retain: properties.retain_available.unwrap_or(true),
            ..UNKNOWN
        };
        // 3.1 has no Session Present flag.
        let session_present = connack.session_present || (self.version == Version::V31 && !asked_clean);
        self.flows.begin(session_present, self.peer.receive_maximum);
    }
}
