//! The server's reactions to each packet.

use mqtt_sansio::Utf8Str;
use mqtt_sansio::codec::{
    self, Auth, AuthProperties, AuthReasonCode, ConnAck, ConnAckProperties, ConnAckReasonCode, Connect, Decoded,
    Delivery, Limits, Packet, PubAck, PubAckReasonCode, PubComp, PubRec, PubRelReasonCode, Publish, QoS, SubAck,
    SubAckReasonCode, Subscribe, UnsubAck, UnsubAckReasonCode, Unsubscribe, Version,
};

use super::{Delivered, ModelServer, Peer, Session, State};

impl ModelServer {
    /// Takes whole packets out of the input.
    pub(super) fn take_packets(&mut self, input: &mut &[u8]) {
        while matches!(self.state, State::Opened | State::Connected) {
            match codec::decode(input, self.version, Limits::from_client()) {
                Ok(Decoded::Packet { packet, size }) => {
                    *input = &input[size..];
                    self.take(&packet);
                }
                Ok(Decoded::Incomplete { .. }) => return,
                Err(error) => panic!("the server has received a malformed packet: {error}"),
            }
        }
        *input = &[];
    }

    fn take(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Connect(connect) if self.state == State::Opened => self.connect(connect),
            _ if self.state == State::Opened => panic!("the first packet is {packet:?} [MQTT-3.1.0-1]"),
            Packet::Publish(publish) => self.publish_received(publish),
            Packet::PubAck(ack) => self.settled(ack.id, !ack.reason_code.is_error(), QoS::AtLeastOnce),
            Packet::PubRec(ack) if ack.reason_code.is_error() => self.settled(ack.id, false, QoS::ExactlyOnce),
            Packet::PubRec(ack) => self.release(ack.id),
            Packet::PubComp(ack) => self.settled(ack.id, true, QoS::ExactlyOnce),
            Packet::PubRel(ack) => {
                let is_known = self.session().received.remove(&ack.id.get());
                let not_found = !is_known && self.version == Version::V5;
                let reason_code =
                    if not_found { PubRelReasonCode::PacketIdentifierNotFound } else { PubRelReasonCode::Success };
                self.answer(PubComp { reason_code, ..PubComp::new(ack.id) });
            }
            Packet::Subscribe(subscribe) => self.subscribe(subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe),
            Packet::PingReq => self.send(Packet::PingResp),
            Packet::Disconnect(disconnect) => {
                self.expiry_interval = disconnect.properties.session_expiry_interval.unwrap_or(self.expiry_interval);
                self.state = State::Over;
            }
            Packet::Auth(auth) => {
                let properties = AuthProperties { authentication_data: None, ..auth.properties };
                self.send(Auth { reason_code: AuthReasonCode::Success, properties });
            }
            other => panic!("a client must not send {other:?}"),
        }
    }

    pub(super) fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("there is a session as long as there is a connection")
    }

    fn connect(&mut self, connect: &Connect<'_>) {
        let properties = &connect.properties;
        self.version = connect.version;
        if self.refused_connections > 0 {
            self.refused_connections -= 1;
            self.state = State::Over;
            return self.send(ConnAck { reason_code: ConnAckReasonCode::ServerUnavailable, ..ConnAck::default() });
        }
        if connect.clean_start {
            self.forget();
        }
        let session_present = self.session.is_some();
        if !session_present {
            self.session = Some(Session::default());
            self.sessions += 1;
        }
        self.expires_at = None;
        self.expiry_interval = match self.version {
            Version::V5 => properties.session_expiry_interval.unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => u32::MAX,
        };
        self.peer = Peer {
            receive_maximum: properties.receive_maximum.map_or(u16::MAX, Into::into),
            maximum_packet_size: properties.maximum_packet_size.map_or(u32::MAX, Into::into),
            topic_alias_maximum: properties.topic_alias_maximum.unwrap_or(0),
            authentication_method: properties.authentication_method.map(|method| method.as_str().to_string()),
            ..Peer::default()
        };
        self.state = State::Connected;
        self.established = true;
        self.send_connack(session_present, connect.client_identifier.is_empty());
        self.resume();
    }

    fn send_connack(&mut self, session_present: bool, is_nameless: bool) {
        let name = format!("client-{}", self.sessions);
        let method = self.peer.authentication_method.clone();
        let is_v5 = self.version == Version::V5;
        let properties = ConnAckProperties {
            receive_maximum: self.receive_maximum.filter(|_| is_v5),
            maximum_packet_size: self.maximum_packet_size.filter(|_| is_v5),
            topic_alias_maximum: Some(self.topic_alias_maximum).filter(|&maximum| is_v5 && maximum > 0),
            assigned_client_identifier: Utf8Str::new(&name).ok().filter(|_| is_v5 && is_nameless),
            authentication_method: method.as_deref().and_then(|method| Utf8Str::new(method).ok()),
            ..ConnAckProperties::default()
        };
        let session_present = session_present && self.version != Version::V31;
        self.send(ConnAck { session_present, reason_code: ConnAckReasonCode::Success, properties });
    }

    fn publish_received(&mut self, publish: &Publish<'_>) {
        let mut topic = publish.topic.as_str().to_string();
        if let Some(alias) = publish.properties.topic_alias {
            if topic.is_empty() {
                topic.clone_from(&self.peer.aliases[&alias.get()]);
            } else {
                self.peer.aliases.insert(alias.get(), topic.clone());
            }
        }
        let is_known = match publish.delivery {
            Delivery::ExactlyOnce { id, .. } => self.session().received.contains(&id.get()),
            _ => false,
        };
        let is_refused = publish.delivery.qos() != QoS::AtMostOnce && !is_known && self.refuses_this();
        if !is_known && !is_refused {
            let (payload, qos) = (publish.payload.to_vec(), publish.delivery.qos());
            self.delivered.push(Delivered { topic, payload, qos });
        }
        let reason_code = if is_refused { PubAckReasonCode::QuotaExceeded } else { PubAckReasonCode::Success };
        match publish.delivery {
            Delivery::AtMostOnce => {}
            Delivery::AtLeastOnce { id, .. } => self.answer(PubAck { reason_code, ..PubAck::new(id) }),
            Delivery::ExactlyOnce { id, .. } => {
                if !is_refused {
                    self.session().received.insert(id.get());
                }
                self.answer(PubRec { reason_code, ..PubRec::new(id) });
            }
        }
    }

    fn refuses_this(&mut self) -> bool {
        self.version == Version::V5 && self.random.percent(self.refuses)
    }

    fn subscribe(&mut self, subscribe: &Subscribe<'_>) {
        let mut codes = Vec::new();
        for subscription in subscribe.subscriptions {
            if self.refuses_this() {
                codes.push(SubAckReasonCode::NotAuthorized);
                continue;
            }
            codes.push(match subscription.qos {
                QoS::AtMostOnce => SubAckReasonCode::GrantedQoS0,
                QoS::AtLeastOnce => SubAckReasonCode::GrantedQoS1,
                QoS::ExactlyOnce => SubAckReasonCode::GrantedQoS2,
            });
            let filter = subscription.filter.as_str().to_string();
            self.session().subscriptions.insert(filter, subscription.qos);
        }
        self.answer(SubAck::new(subscribe.id, &codes));
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>) {
        let mut codes = Vec::new();
        for filter in unsubscribe.filters {
            let existed = self.session().subscriptions.remove(filter.as_str()).is_some();
            codes.push(if existed { UnsubAckReasonCode::Success } else { UnsubAckReasonCode::NoSubscriptionExisted });
        }
        codes.truncate(if self.version == Version::V5 { codes.len() } else { 0 });
        self.answer(UnsubAck::new(unsubscribe.id, &codes));
    }
}
