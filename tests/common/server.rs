//! An acceptor and a server session with a wire under the test's control: the bytes sent are taken out and compared,
//! the client's packets are put in, and the test sets the time.

#![allow(dead_code)] // each test uses only some of these items

use std::sync::Arc;

use bytes::Buf as _;
use mqtt_sansio::codec::{
    Auth, AuthProperties, AuthReasonCode, ConnAck, ConnAckProperties, ConnAckReasonCode, Connect, ConnectProperties,
    Disconnect, DisconnectReasonCode, Packet, ReasonCode, Sender, Subscribe, Subscription, Unsubscribe, Will,
    WillProperties,
};
use mqtt_sansio::server::{Accept, Acceptor, AcceptorAction, Action, Close, RequestId, ServerConfig, ServerSession};
use mqtt_sansio::{
    AbandonReason, AckHandle, Instant, Message, ProtocolError, QoS, Token, TopicFilter, TopicName, Utf8Str, Version,
};

#[allow(clippy::duplicate_mod)] // a test that has both ends has it twice
#[path = "packets.rs"]
pub(crate) mod packets;

#[allow(unused_imports)] // each test uses only some of these items
pub(crate) use self::packets::{
    Done, QOS_0, QOS_1, QOS_2, again, delivery, encoded_all, filter, id, publish, published, take,
};

/// An owned copy of an action of the acceptor or the session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// A client with this client identifier asks to be accepted.
    Connect(String),
    Auth(AuthReasonCode, Vec<u8>),
    Message {
        topic: String,
        payload: String,
        qos: QoS,
        dup: bool,
    },
    Subscribe(RequestId, Vec<String>),
    Unsubscribe(RequestId, Vec<String>),
    Done(Token, Done),
    Close(Why),
    /// The will with this payload is to be published.
    Will(String),
    Expired,
}

/// An owned copy of the reason why a connection was closed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Why {
    Requested,
    Disconnected(DisconnectReasonCode),
    Malformed(ReasonCode),
    ProtocolError(ProtocolError),
    Refused(ReasonCode),
    ConnectTimeout,
    KeepAliveTimeout,
}

impl From<&Close<'_>> for Why {
    fn from(close: &Close<'_>) -> Self {
        match close {
            Close::Requested => Self::Requested,
            Close::Disconnected(disconnect) => Self::Disconnected(disconnect.reason_code),
            Close::Malformed(error) => Self::Malformed(error.reason_code()),
            Close::ProtocolError(protocol_error) => Self::ProtocolError(*protocol_error),
            Close::Refused(code) => Self::Refused(*code),
            Close::ConnectTimeout => Self::ConnectTimeout,
            Close::KeepAliveTimeout => Self::KeepAliveTimeout,
            other => panic!("an end that is not known here: {other:?}"),
        }
    }
}

impl From<&AcceptorAction<'_>> for Event {
    fn from(action: &AcceptorAction<'_>) -> Self {
        match action {
            AcceptorAction::Connect(connect) => Self::Connect(connect.client_identifier.as_str().into()),
            AcceptorAction::Auth(auth) => auth.into(),
            AcceptorAction::Close(close) => Self::Close(close.into()),
        }
    }
}

impl From<&Auth<'_>> for Event {
    fn from(auth: &Auth<'_>) -> Self {
        let data = auth.properties.authentication_data.map(<[u8]>::to_vec).unwrap_or_default();
        Self::Auth(auth.reason_code, data)
    }
}

impl From<&Action<'_>> for Event {
    fn from(action: &Action<'_>) -> Self {
        match action {
            Action::Auth(auth) => auth.into(),
            Action::Message(message) => Self::Message {
                topic: message.topic.as_str().into(),
                payload: String::from_utf8(message.payload.into()).unwrap(),
                qos: message.qos,
                dup: message.dup,
            },
            Action::Subscribe(request) => Self::Subscribe(
                request.id,
                request.subscriptions.iter().map(|subscription| subscription.filter.as_str().into()).collect(),
            ),
            Action::Unsubscribe(request) => {
                Self::Unsubscribe(request.id, request.filters.iter().map(|filter| filter.as_str().into()).collect())
            }
            Action::Done { token, outcome } => Self::Done(*token, outcome.into()),
            Action::Close(close) => Self::Close(close.into()),
            Action::Will(will) => Self::Will(String::from_utf8(will.payload.clone()).unwrap()),
            Action::Expired => Self::Expired,
            other => panic!("an action that is not known here: {other:?}"),
        }
    }
}

/// A message of the topic `t`, as [`Wire::receive`] returns it.
pub(crate) fn delivered(payload: &str, qos: QoS) -> Event {
    Event::Message { topic: "t".into(), payload: payload.into(), qos, dup: false }
}

/// Like [`delivered`], with DUP.
pub(crate) fn delivered_again(payload: &str, qos: QoS) -> Event {
    Event::Message { topic: "t".into(), payload: payload.into(), qos, dup: true }
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

pub(crate) fn disconnected(reason_code: DisconnectReasonCode) -> Event {
    Event::Close(Why::Disconnected(reason_code))
}

pub(crate) fn text(text: &str) -> Utf8Str<'_> {
    Utf8Str::new(text).unwrap()
}

pub(crate) fn subscription(filter: &str) -> Subscription<'_> {
    Subscription::new(filter, QOS_1).unwrap()
}

/// A SUBSCRIBE to some filters.
pub(crate) fn subscribe<'a>(number: u16, subscriptions: &'a [Subscription<'a>]) -> Packet<'a> {
    Subscribe::new(id(number), subscriptions).into()
}

/// An UNSUBSCRIBE from some filters.
pub(crate) fn unsubscribe<'a>(number: u16, filters: &'a [TopicFilter<'a>]) -> Packet<'a> {
    Unsubscribe::new(id(number), filters).into()
}

/// A DISCONNECT with this reason code.
pub(crate) fn disconnect(reason_code: DisconnectReasonCode) -> Packet<'static> {
    Disconnect { reason_code, ..Disconnect::default() }.into()
}

/// An AUTH with this method and this data.
pub(crate) fn auth<'a>(reason_code: AuthReasonCode, method: &'a str, data: &'a [u8]) -> Packet<'a> {
    let authentication_data = (!data.is_empty()).then_some(data);
    let properties =
        AuthProperties { authentication_method: Some(text(method)), authentication_data, ..AuthProperties::default() };
    Auth { reason_code, properties }.into()
}

/// A CONNACK with this reason code and nothing else.
pub(crate) fn refused(reason_code: ConnAckReasonCode) -> Packet<'static> {
    ConnAck { reason_code, ..ConnAck::default() }.into()
}

/// A successful CONNACK with these properties.
pub(crate) fn accepted(properties: ConnAckProperties<'_>) -> Packet<'_> {
    ConnAck { properties, ..ConnAck::default() }.into()
}

/// A successful CONNACK with this Session Present flag.
pub(crate) fn connack(session_present: bool) -> Packet<'static> {
    ConnAck { session_present, ..ConnAck::default() }.into()
}

/// A server without limits that CONNACK would have to announce.
pub(crate) fn config() -> ServerConfig {
    ServerConfig { maximum_packet_size: None, ..ServerConfig::default() }
}

/// A CONNECT with the client identifier `c` that resumes the session if there is one, has a session that does not
/// expire, and has no Keep Alive.
pub(crate) fn lasting(version: Version) -> Connect<'static> {
    let properties = match version {
        Version::V5 => ConnectProperties { session_expiry_interval: Some(3600), ..Default::default() },
        _ => ConnectProperties::default(),
    };
    Connect {
        version,
        clean_start: false,
        keep_alive: 0,
        client_identifier: text("c"),
        properties,
        ..Connect::default()
    }
}

/// Like [`lasting`], for 5.0.
pub(crate) fn v5() -> Connect<'static> {
    lasting(Version::V5)
}

/// A CONNECT of 5.0 with a session that does not expire and these properties.
pub(crate) fn v5_with(properties: ConnectProperties<'_>) -> Connect<'_> {
    let session_expiry_interval = properties.session_expiry_interval.or(Some(3600));
    Connect { properties: ConnectProperties { session_expiry_interval, ..properties }, ..v5() }
}

/// A CONNECT of 5.0 with the authentication method `M`.
pub(crate) fn authenticating() -> Connect<'static> {
    v5_with(ConnectProperties { authentication_method: Some(text("M")), ..Default::default() })
}

/// A will with this payload and this Will Delay Interval in seconds.
pub(crate) fn will(payload: &str, delay: u32) -> Will<'_> {
    Will {
        topic: TopicName::new("will").unwrap(),
        payload: payload.as_bytes(),
        properties: WillProperties { will_delay_interval: (delay != 0).then_some(delay), ..Default::default() },
        ..Will::default()
    }
}

/// Encodes a packet.
#[track_caller]
pub(crate) fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).unwrap();
    bytes
}

/// The packets a server has sent.
#[track_caller]
pub(crate) fn decode(bytes: &[u8], version: Version) -> Vec<Packet<'_>> {
    packets::decode_of(bytes, version, Sender::Server)
}

/// The time this many seconds after the start of the test.
pub(crate) const fn at(seconds: u64) -> Instant {
    Instant::from_micros((START + seconds) * 1_000_000)
}

/// The start of the test, in seconds after the clock's epoch.
const START: u64 = 1000;

/// An acceptor and its wire.
pub(crate) struct Door {
    pub(crate) acceptor: Acceptor,
    pub(crate) version: Version,
    pub(crate) now: Instant,
}

impl Door {
    pub(crate) fn new(config: impl Into<Arc<ServerConfig>>, version: Version) -> Self {
        Self::at(config, version, at(0))
    }

    pub(crate) fn at(config: impl Into<Arc<ServerConfig>>, version: Version, now: Instant) -> Self {
        Self { acceptor: Acceptor::new(config, now), version, now }
    }

    /// An acceptor that waits for a decision about this client.
    #[track_caller]
    pub(crate) fn asked(config: impl Into<Arc<ServerConfig>>, connect: &Connect<'_>) -> Self {
        let mut door = Self::new(config, connect.version);
        assert_eq!(door.receive(&[(*connect).into()]), [Event::Connect(connect.client_identifier.as_str().into())]);
        door
    }

    pub(crate) fn later(&mut self, millis: u64) {
        self.now = self.now + core::time::Duration::from_millis(millis);
    }

    #[track_caller]
    pub(crate) fn poll_with(&mut self, input: &mut &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(action) = self.acceptor.poll(self.now, input) {
            events.push((&action).into());
        }
        let deadline = self.acceptor.deadline();
        assert!(deadline.is_none_or(|deadline| deadline > self.now), "due at {deadline:?}, and it is {:?}", self.now);
        events
    }

    /// The client sends these bytes. The bytes that are not taken are returned.
    #[track_caller]
    pub(crate) fn receive_bytes<'a>(&mut self, bytes: &'a [u8]) -> (Vec<Event>, &'a [u8]) {
        let mut input = bytes;
        let events = self.poll_with(&mut input);
        (events, input)
    }

    /// The client sends these packets.
    #[track_caller]
    pub(crate) fn receive(&mut self, packets: &[Packet<'_>]) -> Vec<Event> {
        let bytes = encoded_all(packets, self.version);
        self.poll_with(&mut &bytes[..])
    }

    #[track_caller]
    pub(crate) fn poll(&mut self) -> Vec<Event> {
        self.poll_with(&mut &[][..])
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        take(self.acceptor.transmit())
    }

    #[track_caller]
    pub(crate) fn assert_sent(&mut self, expected: &[Packet<'_>]) {
        let sent = self.take();
        assert_eq!(decode(&sent, self.version), expected);
    }

    #[track_caller]
    pub(crate) fn assert_silent(&mut self) {
        self.assert_sent(&[]);
    }
}

/// A server session and its wire.
pub(crate) struct Wire {
    pub(crate) server: ServerSession,
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) version: Version,
    pub(crate) now: Instant,
    /// The last CONNECT.
    pub(crate) connect: Vec<u8>,
    /// The handles of all messages that are to be acknowledged manually, in the order of arrival.
    pub(crate) ack_handles: Vec<AckHandle>,
}

impl Wire {
    /// A session whose client was accepted. CONNACK is left to be taken.
    #[track_caller]
    pub(crate) fn open(config: impl Into<Arc<ServerConfig>>, connect: &Connect<'_>) -> Self {
        Self::accepted(config, connect, Accept::default())
    }

    #[track_caller]
    pub(crate) fn accepted(config: impl Into<Arc<ServerConfig>>, connect: &Connect<'_>, accept: Accept) -> Self {
        let config = config.into();
        let mut door = Door::asked(Arc::clone(&config), connect);
        let server = door.acceptor.accept(door.now, None, accept).unwrap();
        let now = door.now;
        let bytes = encoded(&(*connect).into(), connect.version);
        Self { server, config, version: connect.version, now, connect: bytes, ack_handles: Vec::new() }
    }

    /// A session whose client was accepted with a new session. CONNACK has been taken.
    #[track_caller]
    pub(crate) fn connected(config: impl Into<Arc<ServerConfig>>, connect: &Connect<'_>) -> Self {
        let mut wire = Self::open(config, connect);
        let sent = wire.take();
        assert!(matches!(decode(&sent, wire.version)[..], [Packet::ConnAck(_)]));
        wire
    }

    /// Like [`connected`](Self::connected), with a session that does not expire and a server without limits.
    #[track_caller]
    pub(crate) fn lasting(version: Version) -> Self {
        Self::connected(config(), &lasting(version))
    }

    /// The client reconnects and is accepted. CONNACK is left to be taken.
    #[track_caller]
    pub(crate) fn reconnect(&mut self, connect: &Connect<'_>) {
        self.reconnect_with(connect, Accept::default());
    }

    #[track_caller]
    pub(crate) fn reconnect_with(&mut self, connect: &Connect<'_>, accept: Accept) {
        self.connect = encoded(&(*connect).into(), connect.version);
        self.version = connect.version;
        self.reconnect_as_before(accept);
    }

    #[track_caller]
    fn reconnect_as_before(&mut self, accept: Accept) {
        let mut acceptor = Acceptor::new(Arc::clone(&self.config), self.now);
        let mut input = &self.connect[..];
        assert!(matches!(acceptor.poll(self.now, &mut input), Some(AcceptorAction::Connect(_))));
        self.server = acceptor.accept(self.now, self.server.clone(), accept).unwrap();
    }

    /// The connection is lost, with all bytes that have not been taken.
    pub(crate) fn lose(&mut self) -> Vec<Event> {
        self.server.closed(self.now);
        self.poll()
    }

    /// The connection is lost, and the client reconnects with the same CONNECT. CONNACK has been taken.
    #[track_caller]
    pub(crate) fn resume(&mut self) {
        assert_eq!(self.lose(), []);
        self.reconnect_as_before(Accept::default());
        self.take_connack_alone(self.version != Version::V31);
        assert_eq!(self.poll(), []);
    }

    /// Takes the CONNACK, which accepts the client. What follows it is left to be taken.
    #[track_caller]
    pub(crate) fn take_connack_alone(&mut self, session_present: bool) {
        let header = take(&mut self.server.transmit().take(2));
        let body = take(&mut self.server.transmit().take(header[1].into()));
        assert_eq!((header[0], &body[..2]), (0x20, &[session_present.into(), 0][..]));
    }

    /// Advances the time without polling.
    pub(crate) fn later(&mut self, millis: u64) {
        self.now = self.now + core::time::Duration::from_millis(millis);
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        take(self.server.transmit())
    }

    /// Checks the packets the server has sent since the last call.
    #[track_caller]
    pub(crate) fn assert_sent(&mut self, expected: &[Packet<'_>]) {
        let sent = self.take();
        assert_eq!(decode(&sent, self.version), expected);
    }

    #[track_caller]
    pub(crate) fn assert_silent(&mut self) {
        self.assert_sent(&[]);
    }

    /// The packet identifiers of the packets that were sent.
    pub(crate) fn sent_ids(&mut self) -> Vec<u16> {
        let sent = self.take();
        decode(&sent, self.version).iter().map(|packet| packet.packet_id().unwrap().get()).collect()
    }

    /// The number of packets that were sent.
    #[track_caller]
    pub(crate) fn sent_count(&mut self) -> usize {
        let sent = self.take();
        decode(&sent, self.version).len()
    }

    /// The payloads of the messages that were sent.
    #[track_caller]
    pub(crate) fn sent_payloads(&mut self) -> Vec<String> {
        let sent = self.take();
        let payload = |packet: &Packet<'_>| match packet {
            Packet::Publish(publish) => String::from_utf8(publish.payload.into()).unwrap(),
            other => panic!("{other:?}"),
        };
        decode(&sent, self.version).iter().map(payload).collect()
    }

    /// The client sends these packets, and all of them are taken.
    #[track_caller]
    pub(crate) fn receive(&mut self, packets: &[Packet<'_>]) -> Vec<Event> {
        self.receive_bytes(&encoded_all(packets, self.version))
    }

    /// The client sends these bytes. All of them are taken, unless they close the connection.
    #[track_caller]
    pub(crate) fn receive_bytes(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut input = bytes;
        let events = self.poll_with(&mut input);
        assert!(input.is_empty() || !self.server.is_connected(), "{} bytes were not taken", input.len());
        events
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
        while let Some(action) = self.server.poll(self.now, input) {
            if let Action::Message(message) = &action {
                self.ack_handles.extend(message.ack_handle);
            }
            events.push((&action).into());
        }
        self.server.assert_consistent();
        // After the last action the deadline lies in the future: otherwise a driver would poll again without sleeping.
        let deadline = self.server.deadline();
        assert!(deadline.is_none_or(|deadline| deadline > self.now), "due at {deadline:?}, and it is {:?}", self.now);
        events
    }

    /// Publishes to the topic `t`.
    #[track_caller]
    pub(crate) fn publish(&mut self, payload: &str, qos: QoS) -> Token {
        self.server.publish(self.now, &Message::new("t", payload).qos(qos)).unwrap()
    }

    /// The client subscribes to these filters. Returns the identifier of the request.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, number: u16, filters: &[&str]) -> RequestId {
        let subscriptions: Vec<_> = filters.iter().map(|filter| subscription(filter)).collect();
        match &self.receive(&[subscribe(number, &subscriptions)])[..] {
            [Event::Subscribe(request, asked)] if *asked == filters => *request,
            other => panic!("{other:?}"),
        }
    }

    /// The client unsubscribes from these filters. Returns the identifier of the request.
    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, number: u16, filters: &[&str]) -> RequestId {
        let filters: Vec<_> = filters.iter().map(|text| filter(text)).collect();
        match &self.receive(&[unsubscribe(number, &filters)])[..] {
            [Event::Unsubscribe(request, _)] => *request,
            other => panic!("{other:?}"),
        }
    }

    /// Takes the CONNACK and checks that nothing else was sent.
    #[track_caller]
    pub(crate) fn take_connack(&mut self, expected: &ConnAck<'_>) {
        self.assert_sent(&[(*expected).into()]);
    }
}
