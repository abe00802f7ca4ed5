//! A server as one end of the deliveries that clients and servers share.

use std::num::NonZeroU32;

use mqtt_sansio::codec::{
    AckProperties, Connect, ConnectProperties, Disconnect, DisconnectReasonCode, Packet, PubAckReasonCode, Sender,
    SubAck, SubAckReasonCode, UnsubAck, UnsubAckReasonCode,
};
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{AckError, Message, Token, Version};

use crate::ends::{Announced, End, Event, Setup};
use crate::server::{self, Why, Wire, config, disconnect, id, lasting};

impl From<server::Event> for Event {
    fn from(event: server::Event) -> Self {
        match event {
            server::Event::Message { topic, payload, qos, dup } => Self::Message { topic, payload, qos, dup },
            server::Event::Done(token, done) => Self::Done(token, done),
            server::Event::Close(Why::ProtocolError(why)) => Self::ProtocolError(why),
            server::Event::Close(Why::Malformed(code)) => Self::Malformed(code),
            server::Event::Close(Why::Requested) => Self::Requested,
            other => panic!("an action that is not about deliveries: {other:?}"),
        }
    }
}

fn events(events: Vec<server::Event>) -> Vec<Event> {
    events.into_iter().map(Event::from).collect()
}

/// The CONNECT of a client with a session that outlives its connections and with these limits.
fn connect(version: Version, peer: Announced) -> Connect<'static> {
    let connect = lasting(version);
    let properties = ConnectProperties {
        receive_maximum: peer.receive_maximum.and_then(|number| number.try_into().ok()),
        maximum_packet_size: peer.maximum_packet_size.and_then(|size| size.try_into().ok()),
        topic_alias_maximum: peer.topic_alias_maximum,
        ..connect.properties
    };
    Connect { properties, ..connect }
}

impl End for Wire {
    const SENDER: Sender = Sender::Server;

    fn open(setup: Setup) -> Self {
        let defaults = config();
        let config = ServerConfig {
            manual_acks: setup.manual_acks,
            receive_maximum: setup.receive_maximum.try_into().unwrap(),
            maximum_packet_size: setup.maximum_packet_size.and_then(NonZeroU32::new),
            topic_alias_maximum: setup.topic_alias_maximum,
            topic_aliases: setup.topic_aliases,
            max_in_flight: setup.max_in_flight.try_into().unwrap(),
            max_stored: if setup.is_roomy { 70_000 } else { defaults.max_stored },
            transmit_limit: if setup.is_roomy { NonZeroU32::MAX } else { defaults.transmit_limit },
            store_qos_0: true,
            ..defaults
        };
        Self::connected(config, &connect(setup.version, setup.peer))
    }

    fn version(&self) -> Version {
        self.version
    }

    fn send(&mut self, message: &Message<'_>) -> Token {
        self.server.publish(self.now, message).unwrap()
    }

    fn receive_bytes(&mut self, bytes: &[u8]) -> Vec<Event> {
        events(Self::receive_bytes(self, bytes))
    }

    fn ack_with(
        &mut self,
        index: usize,
        code: PubAckReasonCode,
        properties: &AckProperties<'_>,
    ) -> Result<(), AckError> {
        self.server.ack_with(self.now, self.ack_handles[index], code, properties)
    }

    fn arrived(&self) -> usize {
        self.ack_handles.len()
    }

    fn take(&mut self) -> Vec<u8> {
        Self::take(self)
    }

    fn later(&mut self, millis: u64) {
        Self::later(self, millis);
    }

    fn poll(&mut self) -> Vec<Event> {
        events(Self::poll(self))
    }

    fn idle(&mut self) {
        Self::later(self, 1_000_000);
        assert_eq!(Self::receive(self, &[Packet::PingReq]), []);
        Self::assert_sent(self, &[Packet::PingResp]);
    }

    fn lose(&mut self) -> Vec<Event> {
        events(Self::lose(self))
    }

    fn reconnect(&mut self, peer: Announced) {
        Self::reconnect(self, &connect(self.version, peer));
        self.take_connack_alone(self.version != Version::V31);
        assert_eq!(Self::poll(self), []);
    }

    fn resume_without_a_session(&mut self) {
        Self::lose(self);
        Self::reconnect(self, &Connect { clean_start: true, ..lasting(self.version) });
        self.take_connack_alone(false);
        Self::poll(self);
    }

    fn exchange_others(&mut self) {
        assert_eq!(Self::receive(self, &[Packet::PingReq]), []);
        let (first, second) = (self.subscribe(9, &["t"]), self.unsubscribe(10, &["t"]));
        self.server.suback(self.now, first, &[SubAckReasonCode::GrantedQoS0]).unwrap();
        self.server.unsuback(self.now, second, &[UnsubAckReasonCode::Success]).unwrap();
        Self::assert_sent(
            self,
            &[
                Packet::PingResp,
                SubAck::new(id(9), &[SubAckReasonCode::GrantedQoS0]).into(),
                UnsubAck::new(id(10), &[UnsubAckReasonCode::Success]).into(),
            ],
        );
    }

    fn disconnect(&mut self) {
        let reason_code = DisconnectReasonCode::SessionTakenOver;
        self.server.disconnect(self.now, &Disconnect { reason_code, ..Disconnect::default() }).unwrap();
        Self::assert_sent(self, &[disconnect(reason_code)]);
    }

    fn in_use(&self) -> usize {
        self.server.packet_ids_in_use()
    }

    fn in_flight(&self) -> usize {
        self.server.in_flight()
    }

    fn queued(&self) -> usize {
        self.server.queued()
    }

    fn is_connected(&self) -> bool {
        self.server.is_connected()
    }
}
