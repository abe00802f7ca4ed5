//! Rules for servers only: the beginning of a connection, and packets that are answers to others.

use mqtt_sansio::codec::{ConnAck, ConnAckReasonCode, Connect, Packet, Version};

use super::{Rules, Stage, Taken, UNKNOWN};

impl Rules {
    pub(crate) fn connect_received(&mut self, connect: &Connect<'_>) {
        let properties = &connect.properties;
        self.version = connect.version;
        self.stage = Stage::Connecting { asked_clean: connect.clean_start };
        self.peer = Taken {
            maximum_packet_size: properties.maximum_packet_size.map_or(u32::MAX, Into::into),
            topic_alias_maximum: properties.topic_alias_maximum.unwrap_or(0),
            receive_maximum: properties.receive_maximum.map_or(u16::MAX, Into::into),
            problem_information: properties.request_problem_information.unwrap_or(true),
            response_information: properties.request_response_information.unwrap_or(false),
            needs_client_id: connect.client_identifier.is_empty(),
            ..UNKNOWN
        };
        self.method = properties.authentication_method.map(|method| method.as_str().into());
    }

    /// Checks a packet of the server. Returns whether it is one to which no limit applies; there is none.
    pub(crate) fn server_writes(&mut self, packet: &Packet<'_>) -> bool {
        match (self.stage, packet) {
            (Stage::Opened, _) => panic!("before CONNECT the server has sent {packet:?} [MQTT-3.2.0-1]"),
            (Stage::Disconnected, _) => panic!("after its last packet the server has sent {packet:?} [MQTT-3.14.4-1]"),
            (Stage::Connecting { asked_clean }, Packet::ConnAck(connack)) => self.connack_written(asked_clean, connack),
            (Stage::Connecting { .. }, Packet::Auth(_)) => {}
            (Stage::Connecting { .. }, _) => panic!("before CONNACK the server has sent {packet:?} [MQTT-3.2.0-1]"),
            (Stage::Connected, Packet::ConnAck(_)) => panic!("a second CONNACK [MQTT-3.2.0-2]"),
            (Stage::Connected, Packet::PingResp) => {
                assert!(self.pings > 0, "PINGRESP without PINGREQ [MQTT-3.12.4-1]");
                self.pings -= 1;
            }
            (Stage::Connected, Packet::Disconnect(_)) => {
                assert_eq!(self.version, Version::V5, "a server must not send DISCONNECT in {:?}", self.version);
            }
            (Stage::Connected, _) => {}
        }
        false
    }

    fn connack_written(&mut self, asked_clean: bool, connack: &ConnAck<'_>) {
        if connack.reason_code != ConnAckReasonCode::Success {
            assert!(!connack.session_present, "Session Present for a refused client [MQTT-3.2.2-6]");
            self.stage = Stage::Disconnected;
            return;
        }
        self.stage = Stage::Connected;
        let can_resume = self.resumes && !asked_clean;
        assert!(can_resume || !connack.session_present, "Session Present without a session [MQTT-3.2.2-2]");
        let properties = &connack.properties;
        assert!(
            properties.response_information.is_none() || self.peer.response_information,
            "Response Information that was not requested [MQTT-3.1.2-28]"
        );
        assert!(
            properties.assigned_client_identifier.is_some()
                || !self.peer.needs_client_id
                || self.version != Version::V5,
            "no Assigned Client Identifier for a client without one [MQTT-3.1.3-7]"
        );
        let method = properties.authentication_method.map(|method| method.as_str());
        assert_eq!(
            method,
            self.method.as_deref(),
            "the Authentication Method of CONNACK [MQTT-4.12.0-5, MQTT-4.12.0-6]"
        );
        // 3.1 has no Session Present flag.
        let session_present = connack.session_present || (self.version == Version::V31 && can_resume);
        self.flows.begin(session_present, self.peer.receive_maximum);
    }
}
