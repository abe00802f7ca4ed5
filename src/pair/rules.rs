//! The rules that a client has to keep, seen from outside. What is wrong is a panic that says what, and by which
//! clause.

use std::collections::BTreeMap;
use std::string::{String, ToString as _};
use std::vec::Vec;

use super::flows::Flows;
use crate::codec::{self, ConnAck, Connect, Decoded, Limits, Packet, Publish, QoS, Version};
use crate::time::Instant;

/// Looks at all that a client writes, and at what it has read.
#[derive(Debug)]
pub(super) struct Rules {
    version: Version,
    pub(super) flows: Flows,
    /// The beginning of a packet that has not been written to its end.
    unfinished: Vec<u8>,
    /// The beginning of a packet that has not been read to its end.
    unread: Vec<u8>,
    stage: Stage,
    keep_alive: u16,
    last_sent: Instant,
    server: Taken,
    aliases: BTreeMap<u16, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was written.
    Opened,
    /// CONNECT was.
    Connecting {
        asked_clean: bool,
    },
    Connected,
    /// DISCONNECT was written.
    Disconnected,
}

/// What the server takes.
#[derive(Debug, Default)]
struct Taken {
    maximum_packet_size: Option<u32>,
    topic_alias_maximum: u16,
    maximum_qos: QoS,
    retain: bool,
}

impl Rules {
    pub(super) fn new(version: Version) -> Self {
        Self {
            version,
            flows: Flows::default(),
            unfinished: Vec::new(),
            unread: Vec::new(),
            stage: Stage::Opened,
            keep_alive: 0,
            last_sent: Instant::EPOCH,
            server: Taken::default(),
            aliases: BTreeMap::new(),
        }
    }

    /// The client's transport is connected.
    pub(super) fn opened(&mut self) {
        self.stage = Stage::Opened;
        self.keep_alive = 0;
        self.aliases.clear();
        self.unread.clear();
    }

    /// The connection is gone.
    pub(super) fn closed(&mut self) {
        self.flows.end(&core::mem::take(&mut self.unfinished));
    }

    /// The client has written this.
    pub(super) fn written(&mut self, now: Instant, bytes: &[u8]) {
        self.unfinished.extend_from_slice(bytes);
        let stream = core::mem::take(&mut self.unfinished);
        let mut rest = &stream[..];
        loop {
            match codec::decode(rest, self.version, Limits::from_client()) {
                Ok(Decoded::Packet { packet, size }) => {
                    self.packet(now, &packet, size);
                    rest = &rest[size..];
                }
                Ok(Decoded::Incomplete { .. }) => break,
                Err(error) => panic!("the client has sent something that is no packet: {error}"),
            }
        }
        self.unfinished = rest.to_vec();
    }

    /// The client has read this.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        let stream = core::mem::take(&mut self.unread);
        let mut packets = codec::packets(&stream, self.version, Limits::from_server());
        while let Some(Ok(packet)) = packets.next() {
            self.received(&packet);
        }
        self.unread = packets.rest().to_vec();
    }

    fn packet(&mut self, now: Instant, packet: &Packet<'_>, size: usize) {
        match (self.stage, packet) {
            (Stage::Opened, Packet::Connect(connect)) => return self.connect(now, connect),
            (Stage::Opened, _) => panic!("the first packet is not CONNECT but {packet:?} [MQTT-3.1.0-1]"),
            (_, Packet::Connect(_)) => panic!("a second CONNECT [MQTT-3.1.0-2]"),
            (Stage::Disconnected, _) => panic!("after DISCONNECT the client has sent {packet:?} [MQTT-3.14.4-1]"),
            (Stage::Connecting { .. }, Packet::Disconnect(_) | Packet::Auth(_)) | (Stage::Connected, _) => {}
            // That is not forbidden, but then neither the session nor the limits of the server are known.
            (Stage::Connecting { .. }, _) => panic!("before CONNACK the client has sent {packet:?}"),
        }
        let maximum = self.server.maximum_packet_size.unwrap_or(u32::MAX) as usize;
        assert!(size <= maximum, "a packet of {size} bytes, where the server takes {maximum} [MQTT-3.2.2-15]");
        let silence = now.since(self.last_sent).as_secs_f64();
        let keep_alive = f64::from(self.keep_alive);
        assert!(keep_alive == 0.0 || silence <= keep_alive, "the client was silent for {silence} s [MQTT-3.1.2-20]");
        self.last_sent = now;
        match packet {
            Packet::Publish(publish) => self.publish(publish),
            Packet::PubAck(ack) => self.flows.puback(ack.id.get()),
            Packet::PubRec(ack) => self.flows.pubrec(ack.id.get()),
            Packet::PubRel(ack) => self.flows.pubrel(ack.id.get()),
            Packet::PubComp(ack) => self.flows.pubcomp(ack.id.get()),
            Packet::Subscribe(subscribe) => self.flows.request(subscribe.id.get()),
            Packet::Unsubscribe(unsubscribe) => self.flows.request(unsubscribe.id.get()),
            Packet::Disconnect(_) => self.stage = Stage::Disconnected,
            _ => {}
        }
    }

    fn connect(&mut self, now: Instant, connect: &Connect<'_>) {
        self.version = connect.version;
        self.stage = Stage::Connecting { asked_clean: connect.clean_start };
        self.keep_alive = connect.keep_alive;
        self.last_sent = now;
        self.server = Taken::default();
    }

    fn publish(&mut self, publish: &Publish<'_>) {
        assert!(publish.delivery.qos() <= self.server.maximum_qos, "a QoS that the server does not take");
        assert!(!publish.retain || self.server.retain, "a RETAIN flag that the server does not take [MQTT-3.2.2-14]");
        if let Some(alias) = publish.properties.topic_alias.map(|alias| alias.get()) {
            let maximum = self.server.topic_alias_maximum;
            assert!(alias <= maximum, "topic alias {alias} is above {maximum} [MQTT-3.3.2-9]");
            if publish.topic.is_empty() {
                assert!(self.aliases.contains_key(&alias), "topic alias {alias} stands for nothing [MQTT-3.3.2-7]");
            } else {
                self.aliases.insert(alias, publish.topic.as_str().to_string());
            }
        }
        self.flows.publish(publish);
    }

    fn received(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::ConnAck(connack) => self.connack(connack),
            Packet::Publish(publish) => self.flows.received(publish.delivery),
            Packet::PubAck(ack) => self.flows.settled(ack.id.get()),
            Packet::PubRec(ack) => self.flows.received_pubrec(ack.id.get(), ack.reason_code.is_error()),
            Packet::PubRel(ack) => self.flows.received_pubrel(ack.id.get()),
            Packet::PubComp(ack) => self.flows.settled(ack.id.get()),
            Packet::SubAck(ack) => self.flows.answered(ack.id.get()),
            Packet::UnsubAck(ack) => self.flows.answered(ack.id.get()),
            _ => {}
        }
    }

    fn connack(&mut self, connack: &ConnAck<'_>) {
        let Stage::Connecting { asked_clean } = self.stage else { return };
        let properties = &connack.properties;
        self.stage = Stage::Connected;
        self.keep_alive = properties.server_keep_alive.unwrap_or(self.keep_alive);
        self.server = Taken {
            maximum_packet_size: properties.maximum_packet_size.map(Into::into),
            topic_alias_maximum: properties.topic_alias_maximum.unwrap_or(0),
            maximum_qos: properties.maximum_qos.map_or(QoS::ExactlyOnce, Into::into),
            retain: properties.retain_available.unwrap_or(true),
        };
        // 3.1 cannot say that a session is present.
        let session_present = connack.session_present || (self.version == Version::V31 && !asked_clean);
        self.flows.begin(session_present, properties.receive_maximum.map_or(u16::MAX, Into::into));
    }
}
