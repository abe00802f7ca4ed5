//! The rules for an endpoint, checked from outside. A violation is a panic that names the rule and its clause.

mod client;
mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use mqtt_sansio::Instant;
use mqtt_sansio::codec::{
    self, AckProperties, Auth, AuthReasonCode, Decoded, Limits, Packet, Publish, QoS, Sender, Version,
};

use crate::flows::Flows;

/// Checks all packets that an endpoint writes, in the light of those that it has read.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The endpoint.
    end: Sender,
    version: Version,
    pub(crate) flows: Flows,
    /// The beginning of a packet that was not written completely.
    unfinished: Vec<u8>,
    /// The beginning of a packet that was not read completely.
    unread: Vec<u8>,
    stage: Stage,
    keep_alive: u16,
    last_sent: Instant,
    /// The limits of the peer.
    peer: Taken,
    /// The Authentication Method of CONNECT.
    method: Option<String>,
    aliases: BTreeMap<u16, String>,
    /// The server resumes an earlier session, unless the client asks for a new one.
    pub(crate) resumes: bool,
    /// The number of PINGREQs received and not answered.
    pings: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// CONNECT was not written, or not read.
    Opened,
    /// CONNECT was written or read.
    Connecting { asked_clean: bool },
    /// CONNACK was written or read, and it has accepted the client.
    Connected,
    /// The endpoint has written its last packet.
    Disconnected,
}

/// The limits of a peer.
#[derive(Debug)]
struct Taken {
    maximum_packet_size: u32,
    topic_alias_maximum: u16,
    receive_maximum: u16,
    maximum_qos: QoS,
    retain: bool,
    /// Whether all packets may have a Reason String and User Properties.
    problem_information: bool,
    /// Whether CONNACK may have Response Information.
    response_information: bool,
    /// Whether the client has an empty client identifier.
    needs_client_id: bool,
}

/// The limits before any are known.
const UNKNOWN: Taken = Taken {
    maximum_packet_size: u32::MAX,
    topic_alias_maximum: 0,
    receive_maximum: u16::MAX,
    maximum_qos: QoS::ExactlyOnce,
    retain: true,
    problem_information: true,
    response_information: false,
    needs_client_id: false,
};

impl Rules {
    pub(crate) fn new(end: Sender, version: Version) -> Self {
        Self {
            end,
            version,
            flows: Flows::default(),
            unfinished: Vec::new(),
            unread: Vec::new(),
            stage: Stage::Opened,
            keep_alive: 0,
            last_sent: Instant::EPOCH,
            peer: UNKNOWN,
            method: None,
            aliases: BTreeMap::new(),
            resumes: false,
            pings: 0,
        }
    }

    /// The transport is connected.
    pub(crate) fn opened(&mut self) {
        self.stage = Stage::Opened;
        self.keep_alive = 0;
        self.peer = UNKNOWN;
        self.method = None;
        self.pings = 0;
        self.aliases.clear();
        self.unread.clear();
    }

    /// The connection has ended.
    pub(crate) fn closed(&mut self) {
        self.flows.end(&core::mem::take(&mut self.unfinished));
    }

    /// The endpoint has written these bytes.
    pub(crate) fn written(&mut self, now: Instant, bytes: &[u8]) {
        self.unfinished.extend_from_slice(bytes);
        let stream = core::mem::take(&mut self.unfinished);
        let rest = self.for_each(&stream, self.end, |rules, packet, size| rules.packet(now, packet, size));
        self.unfinished = rest.to_vec();
    }

    /// The endpoint has read these bytes.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        let stream = core::mem::take(&mut self.unread);
        let sender = if self.end == Sender::Client { Sender::Server } else { Sender::Client };
        let rest = self.for_each(&stream, sender, |rules, packet, _| rules.received(packet));
        self.unread = rest.to_vec();
    }

    /// Checks the packets of a stream. The beginning of an incomplete packet is left in the buffer.
    fn for_each<'s>(
        &mut self,
        mut stream: &'s [u8],
        sender: Sender,
        look: impl Fn(&mut Self, &Packet<'s>, usize),
    ) -> &'s [u8] {
        let limits = Limits { sender: Some(sender), ..Limits::DEFAULT };
        loop {
            match codec::decode(stream, self.version, limits) {
                Ok(Decoded::Packet { packet, size }) => {
                    look(self, &packet, size);
                    stream = &stream[size..];
                }
                Ok(Decoded::Incomplete { .. }) => return stream,
                Err(error) => panic!("the {sender:?} has sent a malformed packet: {error}"),
            }
        }
    }

    fn packet(&mut self, now: Instant, packet: &Packet<'_>, size: usize) {
        let is_first = match self.end {
            Sender::Client => self.client_writes(now, packet),
            Sender::Server => self.server_writes(packet),
        };
        if is_first {
            return;
        }
        let (end, maximum) = (self.end, self.peer.maximum_packet_size as usize);
        assert!(
            size <= maximum,
            "{end:?}: a packet of {size} bytes exceeds the Maximum Packet Size {maximum} [MQTT-3.1.2-24, MQTT-3.2.2-15]"
        );
        match packet {
            Packet::Publish(publish) => self.publish(publish),
            Packet::PubAck(ack) => self.flows.puback(ack.id.get()),
            Packet::PubRec(ack) => self.flows.pubrec(ack.id.get()),
            Packet::PubRel(ack) => self.flows.pubrel(ack.id.get()),
            Packet::PubComp(ack) => self.flows.pubcomp(ack.id.get()),
            Packet::Subscribe(subscribe) => self.flows.request(subscribe.id.get()),
            Packet::Unsubscribe(unsubscribe) => self.flows.request(unsubscribe.id.get()),
            Packet::SubAck(ack) => self.flows.answer(true, ack.id.get()),
            Packet::UnsubAck(ack) => self.flows.answer(false, ack.id.get()),
            Packet::Auth(auth) => self.auth(auth),
            Packet::Disconnect(_) => self.stage = Stage::Disconnected,
            _ => {}
        }
        assert!(
            self.peer.problem_information || !explains(packet),
            "{packet:?} although the client has declined problem information [MQTT-3.1.2-29]"
        );
    }

    fn auth(&mut self, auth: &Auth<'_>) {
        let Some(method) = &self.method else {
            panic!("AUTH without an Authentication Method in CONNECT [MQTT-4.12.0-6, MQTT-4.12.0-7]")
        };
        let is_same = auth.properties.authentication_method.is_some_and(|own| own.as_str() == method);
        assert!(is_same, "AUTH has another Authentication Method than CONNECT [MQTT-4.12.0-5, MQTT-4.12.1-1]");
        let is_step = auth.reason_code == AuthReasonCode::ContinueAuthentication;
        assert!(is_step || self.stage == Stage::Connected, "{auth:?} before CONNACK [MQTT-4.12.0-2, MQTT-4.12.0-3]");
    }

    /// Checks that nothing that has arrived waits for an answer which the endpoint gives by itself, in any case.
    pub(crate) fn assert_answered(&self) {
        assert_eq!(self.pings, 0, "PINGREQ without PINGRESP [MQTT-3.12.4-1]");
        self.flows.assert_answered();
    }

    fn publish(&mut self, publish: &Publish<'_>) {
        assert!(
            publish.delivery.qos() <= self.peer.maximum_qos,
            "the QoS is above the peer's Maximum QoS [MQTT-3.2.2-11]"
        );
        assert!(
            !publish.retain || self.peer.retain,
            "RETAIN is set although the server does not support it [MQTT-3.2.2-14]"
        );
        if let Some(alias) = publish.properties.topic_alias.map(|alias| alias.get()) {
            let maximum = self.peer.topic_alias_maximum;
            assert!(alias <= maximum, "topic alias {alias} is above {maximum} [MQTT-3.1.2-26, MQTT-3.3.2-9]");
            if publish.topic.is_empty() {
                assert!(self.aliases.contains_key(&alias), "topic alias {alias} was never set [MQTT-3.3.2-7]");
            } else {
                self.aliases.insert(alias, publish.topic.as_str().to_string());
            }
        }
        self.flows.publish(publish);
    }

    fn received(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Connect(connect) => self.connect_received(connect),
            Packet::ConnAck(connack) => self.connack_received(connack),
            Packet::Publish(publish) => self.flows.received(publish.delivery),
            Packet::PubAck(ack) => self.flows.settled(ack.id.get()),
            Packet::PubRec(ack) => self.flows.received_pubrec(ack.id.get(), ack.reason_code.is_error()),
            Packet::PubRel(ack) => self.flows.received_pubrel(ack.id.get()),
            Packet::PubComp(ack) => self.flows.settled(ack.id.get()),
            Packet::Subscribe(subscribe) => self.flows.received_request(true, subscribe.id.get()),
            Packet::Unsubscribe(unsubscribe) => self.flows.received_request(false, unsubscribe.id.get()),
            Packet::SubAck(ack) => self.flows.answered(ack.id.get()),
            Packet::UnsubAck(ack) => self.flows.answered(ack.id.get()),
            Packet::PingReq => self.pings += 1,
            _ => {}
        }
    }
}

/// Whether a packet has a Reason String or User Properties that explain an outcome.
fn explains(packet: &Packet<'_>) -> bool {
    let explain =
        |properties: &AckProperties<'_>| properties.reason_string.is_some() || !properties.user_properties.is_empty();
    match packet {
        Packet::PubAck(ack) => explain(&ack.properties),
        Packet::PubRec(ack) => explain(&ack.properties),
        Packet::PubRel(ack) => explain(&ack.properties),
        Packet::PubComp(ack) => explain(&ack.properties),
        Packet::SubAck(ack) => explain(&ack.properties),
        Packet::UnsubAck(ack) => explain(&ack.properties),
        Packet::Auth(auth) => auth.properties.reason_string.is_some() || !auth.properties.user_properties.is_empty(),
        _ => false,
    }
}
