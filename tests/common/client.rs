//! A client session with a wire under the test's control: the bytes it sends are taken out and compared, the server's
//! packets are put in, and the test sets the time.

#![allow(dead_code)] // each test uses only some of these items

use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Close, Resumption};
use mqtt_sansio::codec::{
    self, Auth, AuthReasonCode, ConnAck, ConnAckProperties, ConnAckReasonCode, Connect, DisconnectReasonCode, Packet,
    ReasonCode, Sender, SubAck, SubAckReasonCode, Subscription, UnsubAck, UnsubAckReasonCode,
};
use mqtt_sansio::store::Pairs;
use mqtt_sansio::{AbandonReason, AckHandle, Instant, Message, ProtocolError, QoS, SessionExpiry, Token, Version};

#[allow(clippy::duplicate_mod)] // a test that has both ends has it twice
#[path = "packets.rs"]
pub(crate) mod packets;

#[allow(unused_imports)] // each test uses only some of these items
pub(crate) use self::packets::{
    Done, QOS_0, QOS_1, QOS_2, again, delivery, filter, id, publish, publish_to, published,
};

/// Stores the changes of a durable client.
pub(crate) fn store(client: &mut ClientSession, pairs: &mut Pairs) {
    while let Some(batch) = client.changes() {
        pairs.apply(&batch);
        client.committed(Instant::EPOCH, batch.number());
    }
}

/// The pairs of a new store that begins with a snapshot.
pub(crate) fn snapshot(client: &mut ClientSession) -> Pairs {
    let mut pairs = Pairs::default();
    pairs.apply(&client.snapshot().expect("the client is durable"));
    pairs
}

/// An owned copy of an action of the client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Connected(Resumption),
    Message { topic: String, payload: String, qos: QoS, dup: bool },
    Done(Token, Done),
    Auth(AuthReasonCode),
    Close(Why),
}

/// An owned copy of the reason why a connection was closed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Why {
    Requested,
    Refused(ConnAckReasonCode),
    Disconnected(DisconnectReasonCode),
    Malformed(ReasonCode),
    ProtocolError(ProtocolError),
    ConnectTimeout,
    KeepAliveTimeout,
}

impl From<&Close<'_>> for Why {
    fn from(close: &Close<'_>) -> Self {
        match close {
            Close::Requested => Self::Requested,
            Close::Refused(connack) => Self::Refused(connack.reason_code),
            Close::Disconnected(disconnect) => Self::Disconnected(disconnect.reason_code),
            Close::Malformed(error) => Self::Malformed(error.reason_code()),
            Close::ProtocolError(protocol_error) => Self::ProtocolError(*protocol_error),
            Close::ConnectTimeout => Self::ConnectTimeout,
            Close::KeepAliveTimeout => Self::KeepAliveTimeout,
            other => panic!("an end that is not known here: {other:?}"),
        }
    }
}

/// A message of the topic `t`, as [`Wire::receive`] returns it.
pub(crate) fn delivered(payload: &str, qos: QoS) -> Event {
    Event::Message { topic: "t".into(), payload: payload.into(), qos, dup: false }
}

pub(crate) fn success(token: Token) -> Event {
    Event::Done(token, Done::Acknowledged(ReasonCode::Success))
}

pub(crate) fn abandoned(token: Token, reason: AbandonReason) -> Event {
    Event::Done(token, Done::Abandoned(reason))
}

pub(crate) fn protocol_error(protocol_error: ProtocolError) -> Event {
    Event::Close(Why::ProtocolError(protocol_error))
}

/// A SUBACK with one reason code for one filter.
pub(crate) fn suback(number: u16) -> Packet<'static> {
    SubAck::new(id(number), &[SubAckReasonCode::GrantedQoS0]).into()
}

/// An UNSUBACK for one filter.
pub(crate) fn unsuback(number: u16, version: Version) -> Packet<'static> {
    const ONE: &[UnsubAckReasonCode] = &[UnsubAckReasonCode::Success];
    UnsubAck::new(id(number), if version == Version::V5 { ONE } else { &[] }).into()
}

/// A successful CONNACK without a session.
pub(crate) fn connack<'a>() -> ConnAck<'a> {
    ConnAck::default()
}

/// A successful CONNACK with a session.
pub(crate) fn present<'a>() -> ConnAck<'a> {
    ConnAck { session_present: true, ..ConnAck::default() }
}

/// A successful CONNACK with properties.
pub(crate) fn connack_with(properties: ConnAckProperties<'_>) -> ConnAck<'_> {
    ConnAck { properties, ..ConnAck::default() }
}

/// A successful CONNACK with a session and properties.
pub(crate) fn present_with(properties: ConnAckProperties<'_>) -> ConnAck<'_> {
    ConnAck { session_present: true, properties, ..ConnAck::default() }
}

/// An AUTH with this method and this data.
pub(crate) fn auth<'a>(reason_code: AuthReasonCode, method: &'a str, data: &'a [u8]) -> Auth<'a> {
    Auth {
        reason_code,
        properties: codec::AuthProperties {
            authentication_method: Some(mqtt_sansio::Utf8Str::new(method).unwrap()),
            authentication_data: (!data.is_empty()).then_some(data),
            ..Default::default()
        },
    }
}

/// 5.0, with a session that outlives its connections.
pub(crate) fn v5() -> ClientConfig {
    ClientConfig {
        client_id: "c".into(),
        session_expiry_interval: SessionExpiry::after(3600),
        ..ClientConfig::default()
    }
}

/// 3.1.1, with a session that outlives its connections.
pub(crate) fn v311() -> ClientConfig {
    ClientConfig { version: Version::V311, client_id: "c".into(), clean_start: false, ..ClientConfig::default() }
}

/// [`v5`] or [`v311`].
pub(crate) fn lasting(version: Version) -> ClientConfig {
    if version == Version::V5 { v5() } else { ClientConfig { version, ..v311() } }
}

/// A client session and its wire.
pub(crate) struct Wire {
    pub(crate) client: ClientSession,
    pub(crate) version: Version,
    pub(crate) now: Instant,
    /// The handles of all messages that are to be acknowledged manually, in the order of arrival.
    pub(crate) ack_handles: Vec<AckHandle>,
}

impl Wire {
    pub(crate) fn new(config: ClientConfig) -> Self {
        Self::of(ClientSession::new(config))
    }

    pub(crate) fn of(client: ClientSession) -> Self {
        let version = client.config().version;
        Self { client, version, now: Instant::from_micros(1_000_000), ack_handles: Vec::new() }
    }

    /// A client whose connection was accepted with a new session.
    pub(crate) fn connected(config: ClientConfig) -> Self {
        Self::connected_by(config, connack())
    }

    pub(crate) fn connected_by(config: ClientConfig, connack: ConnAck<'_>) -> Self {
        let mut wire = Self::new(config);
        assert_eq!(wire.connect(connack), [Event::Connected(Resumption::New)]);
        wire
    }

    /// Opens a connection and answers CONNECT with this CONNACK. Packets the client has sent after CONNECT are left to
    /// be taken.
    #[track_caller]
    pub(crate) fn connect(&mut self, connack: ConnAck<'_>) -> Vec<Event> {
        self.open();
        self.receive(&[connack.into()])
    }

    /// Opens a connection and takes CONNECT.
    #[track_caller]
    pub(crate) fn open(&mut self) -> Vec<u8> {
        self.client.open(self.now).unwrap();
        let sent = self.take();
        connect_of(&sent, self.version);
        sent
    }

    /// The connection is lost, with all bytes that have not been taken.
    pub(crate) fn lose(&mut self) -> Vec<Event> {
        self.client.closed(self.now);
        self.poll()
    }

    /// The connection is lost, and the session is resumed on another one. Outcomes of the loss are discarded.
    #[track_caller]
    pub(crate) fn resume(&mut self) {
        self.lose();
        let events = self.connect(present());
        assert_eq!(events, [Event::Connected(Resumption::Resumed)]);
    }

    /// Advances the time without polling.
    pub(crate) fn later(&mut self, millis: u64) {
        self.now = self.now + core::time::Duration::from_millis(millis);
    }

    /// Takes all bytes the client wants to have written.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        packets::take(self.client.transmit())
    }

    /// Checks the packets the client has sent since the last call.
    #[track_caller]
    pub(crate) fn assert_sent(&mut self, expected: &[Packet<'_>]) {
        let sent = self.take();
        assert_eq!(decode(&sent, self.version), expected);
    }

    #[track_caller]
    pub(crate) fn assert_silent(&mut self) {
        self.assert_sent(&[]);
    }

    /// The server sends these packets.
    #[track_caller]
    pub(crate) fn receive(&mut self, packets: &[Packet<'_>]) -> Vec<Event> {
        self.receive_bytes(&packets::encoded_all(packets, self.version))
    }

    /// The server sends these bytes, and the client takes all of them.
    #[track_caller]
    pub(crate) fn receive_bytes(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut input = bytes;
        let events = self.poll_with(&mut input);
        assert!(input.is_empty(), "{} bytes were not taken", input.len());
        events
    }

    /// The server sends these bytes, and an error among them closes the connection: bytes after it are not taken.
    #[track_caller]
    pub(crate) fn receive_bytes_and_close(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.poll_with(&mut { bytes })
    }

    /// Polls without input.
    #[track_caller]
    pub(crate) fn poll(&mut self) -> Vec<Event> {
        self.poll_with(&mut &[][..])
    }

    /// Polls until there is no action.
    #[track_caller]
    pub(crate) fn poll_with(&mut self, input: &mut &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(action) = self.client.poll(self.now, input) {
            events.push(match &action {
                Action::Connected(connected) => Event::Connected(connected.session),
                Action::Message(message) => {
                    self.ack_handles.extend(message.ack_handle);
                    Event::Message {
                        topic: message.topic.as_str().into(),
                        payload: String::from_utf8(message.payload.into()).unwrap(),
                        qos: message.qos,
                        dup: message.dup,
                    }
                }
                Action::Done { token, outcome } => Event::Done(*token, outcome.into()),
                Action::Auth(auth) => Event::Auth(auth.reason_code),
                Action::Close(close) => Event::Close(close.into()),
                other => panic!("an action that is not known here: {other:?}"),
            });
        }
        self.client.assert_consistent();
        // After the last action the deadline lies in the future: otherwise a driver would poll again without sleeping.
        let deadline = self.client.deadline();
        assert!(deadline.is_none_or(|deadline| deadline > self.now), "due at {deadline:?}, and it is {:?}", self.now);
        events
    }

    /// Publishes to the topic `t`.
    #[track_caller]
    pub(crate) fn publish(&mut self, payload: &str, qos: QoS) -> Token {
        self.client.publish(self.now, &Message::new("t", payload).qos(qos)).unwrap()
    }

    /// Subscribes to the topic `t`.
    #[track_caller]
    pub(crate) fn subscribe(&mut self) -> Token {
        self.client.subscribe(self.now, &[Subscription::new("t", QOS_0).unwrap()]).unwrap()
    }

    #[track_caller]
    pub(crate) fn unsubscribe(&mut self) -> Token {
        self.client.unsubscribe(self.now, &[filter("t")]).unwrap()
    }
}

/// The CONNECT that these bytes hold, and nothing else.
#[track_caller]
pub(crate) fn connect_of(bytes: &[u8], version: Version) -> Connect<'_> {
    match decode(bytes, version)[..] {
        [Packet::Connect(connect)] => connect,
        ref other => panic!("{other:?}"),
    }
}

/// The packets a client has sent.
#[track_caller]
pub(crate) fn decode(bytes: &[u8], version: Version) -> Vec<Packet<'_>> {
    packets::decode_of(bytes, version, Sender::Client)
}
