//! What clients and servers share: the deliveries of messages in both directions. Each body is written once, for either
//! end of a connection, and run by the tests of both.

#![allow(dead_code)] // each end uses only some of these items

mod flow;
mod limits;
mod receiver;
mod sender;

pub(crate) use self::flow::*;
pub(crate) use self::limits::*;
pub(crate) use self::receiver::*;
pub(crate) use self::sender::*;

use mqtt_sansio::codec::{
    AckProperties, Disconnect, DisconnectReasonCode, Packet, PubAckReasonCode, ReasonCode, Sender,
};
use mqtt_sansio::{AckError, Message, ProtocolError, QoS, Token, Version};

use crate::packets::{Done, decode_of, encoded_all};

/// The settings of a session, and what its peer announces.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) version: Version,
    pub(crate) manual_acks: bool,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet_size: Option<u32>,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) topic_aliases: u16,
    pub(crate) max_in_flight: u16,
    /// Whether 70,000 messages can be stored, and any number of bytes be in the output.
    pub(crate) is_roomy: bool,
    pub(crate) peer: Announced,
}

/// The properties with which a peer announces its limits.
#[derive(Clone, Copy, Default)]
pub(crate) struct Announced {
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) maximum_packet_size: Option<u32>,
    pub(crate) topic_alias_maximum: Option<u16>,
}

impl Setup {
    /// A session of this version without limits, which acknowledges messages itself.
    pub(crate) fn of(version: Version) -> Self {
        Self {
            version,
            manual_acks: false,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            topic_aliases: 0,
            max_in_flight: u16::MAX,
            is_roomy: false,
            peer: Announced::default(),
        }
    }

    /// The application acknowledges messages.
    pub(crate) fn manual(version: Version) -> Self {
        Self { manual_acks: true, ..Self::of(version) }
    }

    /// A session of 5.0 whose peer has this Receive Maximum.
    pub(crate) fn windowed(receive_maximum: u16) -> Self {
        let peer = Announced { receive_maximum: Some(receive_maximum), ..Announced::default() };
        Self { peer, ..Self::of(Version::V5) }
    }
}

/// An owned copy of an action that both ends have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Message { topic: String, payload: String, qos: QoS, dup: bool },
    Done(Token, Done),
    ProtocolError(ProtocolError),
    Malformed(ReasonCode),
    Requested,
}

/// A message of the topic `t`.
fn delivered(payload: &str, qos: QoS) -> Event {
    Event::Message { topic: "t".into(), payload: payload.into(), qos, dup: false }
}

/// Like [`delivered`], with DUP.
fn delivered_again(payload: &str, qos: QoS) -> Event {
    Event::Message { topic: "t".into(), payload: payload.into(), qos, dup: true }
}

fn success(token: Token) -> Event {
    Event::Done(token, Done::Acknowledged(ReasonCode::Success))
}

/// A session whose session state outlives its connections, with its wire.
pub(crate) trait End: Sized {
    /// Who sends the packets of this end.
    const SENDER: Sender;

    /// A session on its first connection. All packets of its beginning have been taken.
    fn open(setup: Setup) -> Self;

    fn version(&self) -> Version;

    fn send(&mut self, message: &Message<'_>) -> Token;

    /// The peer sends these bytes, and all of them are taken unless they close the connection.
    fn receive_bytes(&mut self, bytes: &[u8]) -> Vec<Event>;

    /// Acknowledges the message that has arrived as the number `index` of those that are acknowledged manually, from 0.
    fn ack_with(
        &mut self,
        index: usize,
        code: PubAckReasonCode,
        properties: &AckProperties<'_>,
    ) -> Result<(), AckError>;

    /// Number of the messages that have arrived to be acknowledged manually.
    fn arrived(&self) -> usize;

    /// Takes all bytes that are to be written.
    fn take(&mut self) -> Vec<u8>;

    /// Advances the time without polling.
    fn later(&mut self, millis: u64);

    /// Polls without input.
    fn poll(&mut self) -> Vec<Event>;

    /// A minute in which the peer answers no message: there is nothing but PINGREQ and PINGRESP.
    fn idle(&mut self);

    /// The connection is lost, with all bytes that have not been taken.
    fn lose(&mut self) -> Vec<Event>;

    /// The session is resumed on another connection, whose beginning has been taken.
    fn reconnect(&mut self, peer: Announced);

    /// The connection is lost, and the peer has no session any more. The beginning of the next one has been taken.
    fn resume_without_a_session(&mut self);

    /// Exchanges all packets but those of messages, and checks that each is answered.
    fn exchange_others(&mut self);

    fn disconnect(&mut self);

    /// Number of packet identifiers in use.
    fn in_use(&self) -> usize;

    fn in_flight(&self) -> usize;

    fn queued(&self) -> usize;

    fn is_connected(&self) -> bool;

    fn publish(&mut self, payload: &str, qos: QoS) -> Token {
        self.send(&Message::new("t", payload).qos(qos))
    }

    /// The peer sends these packets.
    #[track_caller]
    fn receive(&mut self, packets: &[Packet<'_>]) -> Vec<Event> {
        self.receive_bytes(&encoded_all(packets, self.version()))
    }

    #[track_caller]
    fn ack(&mut self, index: usize, code: PubAckReasonCode) {
        self.ack_with(index, code, &AckProperties::default()).unwrap();
    }

    /// Acknowledges the message that has arrived last, if it is to be acknowledged manually.
    #[track_caller]
    fn ack_last(&mut self, code: PubAckReasonCode) {
        if let Some(last) = self.arrived().checked_sub(1) {
            self.ack(last, code);
        }
    }

    /// The connection is lost, and the session is resumed on another one. Outcomes of the loss are discarded.
    #[track_caller]
    fn resume(&mut self) {
        self.lose();
        self.reconnect(Announced::default());
    }

    /// Checks the packets that were sent since the last call.
    #[track_caller]
    fn assert_sent(&mut self, expected: &[Packet<'_>]) {
        let sent = self.take();
        assert_eq!(decode_of(&sent, self.version(), Self::SENDER), expected);
    }

    #[track_caller]
    fn assert_silent(&mut self) {
        self.assert_sent(&[]);
    }

    /// The packet identifiers of the packets that were sent, of those that have one.
    #[track_caller]
    fn sent_ids(&mut self) -> Vec<u16> {
        let sent = self.take();
        let packets = decode_of(&sent, self.version(), Self::SENDER);
        packets.iter().filter_map(Packet::packet_id).map(|id| id.get()).collect()
    }

    /// The payloads of the messages that were sent.
    #[track_caller]
    fn sent_payloads(&mut self) -> Vec<String> {
        let sent = self.take();
        let payload = |packet: &Packet<'_>| match packet {
            Packet::Publish(publish) => String::from_utf8(publish.payload.into()).unwrap(),
            other => panic!("{other:?}"),
        };
        decode_of(&sent, self.version(), Self::SENDER).iter().map(payload).collect()
    }

    /// Checks that an error of the peer was reported by DISCONNECT, which only servers of 5.0 send, and that the connection
    /// is over.
    #[track_caller]
    fn assert_closed(&mut self, reason_code: DisconnectReasonCode) {
        let disconnect = Disconnect { reason_code, ..Disconnect::default() };
        let sent = self.take();
        let last = decode_of(&sent, self.version(), Self::SENDER).pop();
        assert_eq!(last, (self.version() == Version::V5).then(|| disconnect.into()));
        assert!(!self.is_connected());
    }

    /// Checks the reaction to a Protocol Error of the peer.
    #[track_caller]
    fn assert_closes(&mut self, packets: &[Packet<'_>], why: ProtocolError, reason_code: DisconnectReasonCode) {
        self.take();
        assert_eq!(self.receive(packets).last(), Some(&Event::ProtocolError(why)));
        self.assert_closed(reason_code);
    }
}
