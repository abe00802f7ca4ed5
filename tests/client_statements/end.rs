//! A client as one end of the deliveries that clients and servers share.

use core::num::{NonZeroU16, NonZeroU32};

use mqtt_sansio::client::{ClientConfig, Resumption};
use mqtt_sansio::codec::{
    AckProperties, ConnAckProperties, Disconnect, Packet, PubAckReasonCode, Sender, Subscribe, Subscription,
    Unsubscribe,
};
use mqtt_sansio::{AckError, Message, Token, Version};

use crate::client::{
    self, Done, QOS_0, Why, Wire, connack, connack_with, filter, id, lasting, present_with, suback, unsuback,
};
use crate::ends::{Announced, End, Event, Setup};

impl From<client::Event> for Event {
    fn from(event: client::Event) -> Self {
        match event {
            client::Event::Message { topic, payload, qos, dup } => Self::Message { topic, payload, qos, dup },
            client::Event::Done(token, done) => Self::Done(token, done),
            client::Event::Close(Why::ProtocolError(why)) => Self::ProtocolError(why),
            client::Event::Close(Why::Malformed(code)) => Self::Malformed(code),
            client::Event::Close(Why::Requested) => Self::Requested,
            other => panic!("an action that is not about deliveries: {other:?}"),
        }
    }
}

fn events(events: Vec<client::Event>) -> Vec<Event> {
    events.into_iter().map(Event::from).collect()
}

impl Announced {
    /// The properties of the server's CONNACK.
    fn properties(self) -> ConnAckProperties<'static> {
        ConnAckProperties {
            receive_maximum: self.receive_maximum.and_then(NonZeroU16::new),
            maximum_packet_size: self.maximum_packet_size.and_then(NonZeroU32::new),
            topic_alias_maximum: self.topic_alias_maximum,
            ..Default::default()
        }
    }
}

impl End for Wire {
    const SENDER: Sender = Sender::Client;

    fn open(setup: Setup) -> Self {
        let defaults = lasting(setup.version);
        let config = ClientConfig {
            manual_acks: setup.manual_acks,
            receive_maximum: NonZeroU16::new(setup.receive_maximum).unwrap(),
            maximum_packet_size: setup.maximum_packet_size.and_then(NonZeroU32::new),
            topic_alias_maximum: setup.topic_alias_maximum,
            topic_aliases: setup.topic_aliases,
            max_in_flight: NonZeroU16::new(setup.max_in_flight).unwrap(),
            max_stored: if setup.is_roomy { 70_000 } else { defaults.max_stored },
            transmit_limit: if setup.is_roomy { NonZeroU32::MAX } else { defaults.transmit_limit },
            ..defaults
        };
        Self::connected_by(config, connack_with(setup.peer.properties()))
    }

    fn version(&self) -> Version {
        self.version
    }

    fn send(&mut self, message: &Message<'_>) -> Token {
        self.client.publish(self.now, message).unwrap()
    }

    fn receive_bytes(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut input = bytes;
        let events = events(self.poll_with(&mut input));
        assert!(input.is_empty() || !self.client.is_connected(), "{} bytes were not taken", input.len());
        events
    }

    fn ack_with(
        &mut self,
        index: usize,
        code: PubAckReasonCode,
        properties: &AckProperties<'_>,
    ) -> Result<(), AckError> {
        self.client.ack_with(self.now, self.ack_handles[index], code, properties)
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
        Self::later(self, 59_000);
        assert_eq!(Self::poll(self), []);
        Self::assert_sent(self, &[Packet::PingReq]);
        assert_eq!(Self::receive(self, &[Packet::PingResp]), []);
    }

    fn lose(&mut self) -> Vec<Event> {
        events(Self::lose(self))
    }

    fn reconnect(&mut self, peer: Announced) {
        let events = self.connect(present_with(peer.properties()));
        assert_eq!(events, [client::Event::Connected(Resumption::Resumed)]);
    }

    fn resume_without_a_session(&mut self) {
        Self::lose(self);
        self.connect(connack());
    }

    fn exchange_others(&mut self) {
        let (asked, ended) = (self.subscribe(), self.unsubscribe());
        let sent = Self::take(self);
        let packets = client::decode(&sent, self.version);
        let numbers: Vec<_> = packets.iter().map(|packet| packet.packet_id().unwrap().get()).collect();
        let [subscribe, unsubscribe] = numbers[..] else { panic!("{packets:?}") };
        assert_eq!(
            packets,
            [
                Subscribe::new(id(subscribe), &[Subscription::new("t", QOS_0).unwrap()]).into(),
                Unsubscribe::new(id(unsubscribe), &[filter("t")]).into(),
            ]
        );
        assert_eq!(
            Self::receive(self, &[suback(subscribe), unsuback(unsubscribe, self.version)]),
            [
                client::Event::Done(asked, Done::Subscribed(vec![0])),
                client::Event::Done(ended, Done::Unsubscribed(vec![0])),
            ]
        );
        Self::later(self, 60_000);
        Self::poll(self);
        Self::assert_sent(self, &[Packet::PingReq]);
        assert_eq!(Self::receive(self, &[Packet::PingResp]), []);
    }

    fn disconnect(&mut self) {
        self.client.disconnect(self.now, &Disconnect::default()).unwrap();
        Self::assert_sent(self, &[Disconnect::default().into()]);
    }

    fn in_use(&self) -> usize {
        self.client.operations_in_flight()
    }

    fn in_flight(&self) -> usize {
        self.client.in_flight()
    }

    fn queued(&self) -> usize {
        self.client.queued()
    }

    fn is_connected(&self) -> bool {
        self.client.is_connected()
    }
}
