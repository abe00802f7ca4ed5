//! The configuration of a client.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::num::{NonZeroU8, NonZeroU16, NonZeroU32};

use crate::codec::{DisallowedCodePoints, Limits, MAX_PACKET_SIZE, Sender, Version};
use crate::redacted::Redacted;
use crate::session::{MAX_UNCOMMITTED, Overflow, SessionExpiry, TRANSMIT_LIMIT, Will};

/// The configuration of a client. Every field has a default.
///
/// `version` and `durable` are fixed when the session is created; the other fields can be changed between two
/// connections, with [`reconfigure`](super::ClientSession::reconfigure).
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct ClientConfig {
    /// The protocol version. Default: 5.0.
    pub version: Version,
    /// The client identifier (Client Identifier of CONNECT). Default: empty, which lets the server assign one; the
    /// session uses the assigned client identifier from then on.
    pub client_id: String,
    /// Whether the first connection asks for a new session (Clean Start of CONNECT). Default: true. Later connections
    /// resume the session that the first one has begun, if that session outlives its connection. Before 5.0 (Clean
    /// Session), if this is set, every connection asks for a new session, which ends with the connection.
    ///
    /// A [restored](super::ClientSession::restore) session has had its first connection if that is stored: in
    /// 5.0 it resumes the session of the server, whatever this is. Before 5.0 a durable session needs `false`.
    ///
    /// If this is false, the first connection resumes a session that the server has stored, even if the state of the
    /// client is new. The caller then asserts that the client knows the state of that session, or that nothing is in
    /// flight in it.
    pub clean_start: bool,
    /// How long the session outlives a connection (Session Expiry Interval of CONNECT); 5.0 only. Default:
    /// [`SessionExpiry::WITH_CONNECTION`], the session ends with the connection, and messages in flight are lost. Before
    /// 5.0 a session without `clean_start` does not expire.
    pub session_expiry_interval: SessionExpiry,
    /// Maximum interval between two packets to the server, in seconds (Keep Alive of CONNECT). Default: 60. `None`: no
    /// limit, and the session sends no PINGREQ. The server may override it with Server Keep Alive.
    pub keep_alive: Option<NonZeroU16>,
    /// The will: the message that the server publishes when the connection ends without a DISCONNECT that discards the
    /// will (Will fields of CONNECT). Default: `None`.
    pub will: Option<Box<Will>>,
    /// The user name (User Name of CONNECT). Default: `None`.
    pub user_name: Option<Box<str>>,
    /// The password or another credential (Password of CONNECT). Default: `None`. `Debug` prints its length alone.
    #[cfg_attr(feature = "serde", serde(with = "crate::codec::serialize::optional_binary"))]
    pub password: Option<Box<[u8]>>,
    /// The start of an enhanced authentication (Authentication Method and Authentication Data of CONNECT); 5.0 only.
    /// Default: `None`.
    pub authentication: Option<Box<Authentication>>,
    /// Names and values of the user properties of CONNECT (User Property); 5.0 only. Default: none.
    pub user_properties: Vec<(String, String)>,
    /// Whether the client asks for Response Information in CONNACK (Request Response Information of CONNECT); 5.0 only.
    /// Default: false.
    pub request_response_information: bool,
    /// Whether the server may send reason strings and user properties in every packet type that has them (Request
    /// Problem Information of CONNECT); 5.0 only. Default: true.
    pub request_problem_information: bool,

    /// Maximum number of QoS 1 and QoS 2 messages from the server that may be in flight at a time (Receive Maximum of
    /// CONNECT). Default: 65,535. A server of 5.0 that exceeds it causes a Protocol Error. It is neither sent nor
    /// enforced before 5.0.
    pub receive_maximum: NonZeroU16,
    /// Size of the largest accepted packet, in bytes (Maximum Packet Size of CONNECT). Default: 16 MiB. It is sent in
    /// 5.0 only, and enforced in every version: a larger packet ends the connection. `None`: no limit is sent, and that
    /// of the protocol applies, 268,435,460 bytes.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Size of the largest accepted packet of another type than PUBLISH, and of the properties of a PUBLISH, in bytes.
    /// Default: 256 KiB. A larger one ends the connection, with Quota exceeded (0x97): a limit that is not announced.
    /// `maximum_packet_size` applies too.
    pub max_control_size: NonZeroU32,
    /// Highest topic alias that the server may use (Topic Alias Maximum of CONNECT); sent in 5.0 only. Default: 0, no
    /// topic aliases. The session stores one topic name for each alias.
    pub topic_alias_maximum: u16,
    /// Maximum number of user properties in a received packet. Default: 256. A packet with more ends the connection. It
    /// is not announced.
    pub max_user_properties: u16,
    /// Whether strings from the server may contain control characters and non-characters. Default: accepted. It is not
    /// announced.
    pub disallowed_code_points: DisallowedCodePoints,

    /// Packet size, in bytes, above which an incomplete message is delivered in parts as they arrive, so that the
    /// caller need not collect the payload. Default: `None`, every message is delivered whole. With
    /// [`NonZeroU32::MIN`] every incomplete message is delivered in parts. A packet that is complete in the input is
    /// delivered whole.
    pub deliver_in_parts: Option<NonZeroU32>,
    /// Whether the caller acknowledges QoS 1 and QoS 2 messages, with [`ack`](super::ClientSession::ack). Default:
    /// false, the session acknowledges them.
    pub manual_acks: bool,
    /// Maximum number of topic aliases in outgoing messages; 5.0 only. Default: 0, no topic aliases. The lower of this
    /// and the server's Topic Alias Maximum applies.
    pub topic_aliases: u16,
    /// Maximum number of outgoing QoS 1 and QoS 2 messages in flight. Default: 65,535. The lower of this and the
    /// server's Receive Maximum applies; further messages are queued.
    pub max_in_flight: NonZeroU16,
    /// Maximum number of queued and in-flight messages and requests. Default: 10,000. At the limit `overflow` applies.
    ///
    /// On a connection on which no message is in flight yet, requests need no room beside queued messages, so that a
    /// program that has lost its session can [subscribe](super::ClientSession::subscribe) again before the first of them is
    /// sent: the limit then applies to the requests alone, and the sum may reach twice the limit. The same is true for
    /// `max_stored_bytes`.
    pub max_stored: u32,
    /// Maximum size of the queued and in-flight messages and requests, in bytes. Default: 64 MiB. At the limit
    /// `overflow` applies. An empty session stores one message of any size.
    pub max_stored_bytes: u32,
    /// Policy for messages and requests that would exceed `max_stored` or `max_stored_bytes`. Default: they are refused.
    /// Only messages are dropped for newer ones, requests are not.
    pub overflow: Overflow,
    /// Maximum number of connections on which a SUBSCRIBE or UNSUBSCRIBE is sent without an answer. Default: 10;
    /// `None`: no limit. At the limit the request ends with
    /// [`AbandonReason::Unanswered`](crate::AbandonReason::Unanswered). A connection counts if at least one byte of the
    /// packet was written. QoS 1 and QoS 2 messages have no such limit: they are sent again until the session ends
    /// \[MQTT-4.4.0-1\] or they are [withdrawn](super::ClientSession::withdraw).
    pub max_request_tries: Option<NonZeroU8>,
    /// Whether PUBACK ends the delivery of a QoS 2 message, with [`Outcome::AtLeastOnce`](crate::Outcome::AtLeastOnce).
    /// Default: true, because servers without QoS 2 answer with PUBACK, on every connection again. If false, PUBACK is
    /// a Protocol Error, as section 4.3.3 requires: the connection ends, and the delivery ends with
    /// [`AbandonReason::Mismatched`](crate::AbandonReason::Mismatched).
    pub puback_ends_qos_2: bool,
    /// Maximum number of bytes in `transmit()`, the soft limit on output. Default: 64 KiB. One packet
    /// may exceed the limit. At the limit messages and requests are queued, within `max_stored` and `max_stored_bytes`.
    /// Input is still accepted, so that acknowledgements and pings continue, up to `answer_limit`.
    pub transmit_limit: NonZeroU32,
    /// Maximum number of bytes of answers in `transmit()`, the hard limit on output: PUBACK, PUBREC, PUBREL, PUBCOMP
    /// and AUTH. Default: 64 KiB. One packet may exceed the limit. At the limit no input is accepted
    /// until the server reads some of the answers; meanwhile the server's silence does not count against it as long as
    /// bytes are written.
    pub answer_limit: NonZeroU32,
    /// Maximum time that the server may take to answer CONNECT, or an AUTH before CONNACK, in seconds. Default: 30.
    /// `None`: no limit. At the limit the connection ends with [`Close::ConnectTimeout`](super::Close::ConnectTimeout).
    ///
    /// The time starts when the last byte of the packet has been taken out of `transmit()`, as noticed by the next
    /// [`poll`](super::ClientSession::poll). Until then it restarts whenever bytes are taken, so a connection on which
    /// no byte is written for this time ends too.
    pub connect_timeout: Option<NonZeroU16>,
    /// Maximum time that the server may take to answer PINGREQ, in seconds; any packet counts as an answer. Default:
    /// 15. `None`: no limit. At the limit the connection ends with
    /// [`Close::KeepAliveTimeout`](super::Close::KeepAliveTimeout).
    ///
    /// The time starts as that of `connect_timeout` does. The session does not know how many bytes the transport has
    /// buffered: a transport with large buffers on a slow link needs a longer time.
    pub ping_timeout: Option<NonZeroU16>,
    /// Shortest pause that [`backoff`](super::ClientSession::backoff) suggests, in seconds. Default: 1. With 0 there is
    /// never a pause, because the pause is doubled each time.
    pub min_backoff: u16,
    /// Longest pause that [`backoff`](super::ClientSession::backoff) suggests, in seconds. Default: 120. A value below
    /// `min_backoff` counts as `min_backoff`.
    pub max_backoff: u16,
    /// How long a connection has to last, in seconds, so that the next pause is the shortest again. Default: 30. With
    /// 0, every connection that the server has accepted is sufficient.
    pub backoff_reset: u16,
    /// Seed of the random part of the pauses that [`backoff`](super::ClientSession::backoff) suggests. Default: 0. The
    /// random part also depends on the client identifier, so clients with different identifiers need no seed. Set the
    /// seed in tests, and for clients whose identifiers the server assigns, which are all empty until then.
    pub seed: u32,
    /// Whether the session is durable: it reports its [changes](super::ClientSession::changes) to be stored, and sends
    /// nothing that depends on changes that are not stored, so that it survives a crash. Default: false.
    pub durable: bool,
    /// Size of the changes that are not committed, in bytes, above which no QoS 1 and QoS 2 messages of the server are
    /// accepted. Default: 4 MiB. It applies to a durable session only. One step may exceed it.
    pub max_uncommitted: NonZeroU32,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            version: Version::V5,
            client_id: String::new(),
            clean_start: true,
            session_expiry_interval: SessionExpiry::WITH_CONNECTION,
            keep_alive: NonZeroU16::new(60),
            will: None,
            user_name: None,
            password: None,
            authentication: None,
            user_properties: Vec::new(),
            request_response_information: false,
            request_problem_information: true,
            receive_maximum: NonZeroU16::MAX,
            maximum_packet_size: NonZeroU32::new(16 * 1024 * 1024),
            max_control_size: const { NonZeroU32::new(256 * 1024).unwrap() },
            topic_alias_maximum: 0,
            max_user_properties: 256,
            disallowed_code_points: DisallowedCodePoints::Accept,
            deliver_in_parts: None,
            manual_acks: false,
            topic_aliases: 0,
            max_in_flight: NonZeroU16::MAX,
            max_stored: 10_000,
            max_stored_bytes: 64 * 1024 * 1024,
            overflow: Overflow::Refuse,
            max_request_tries: NonZeroU8::new(10),
            puback_ends_qos_2: true,
            transmit_limit: TRANSMIT_LIMIT,
            answer_limit: TRANSMIT_LIMIT,
            connect_timeout: NonZeroU16::new(30),
            ping_timeout: NonZeroU16::new(15),
            min_backoff: 1,
            max_backoff: 120,
            backoff_reset: 30,
            seed: 0,
            durable: false,
            max_uncommitted: MAX_UNCOMMITTED,
        }
    }
}

impl ClientConfig {
    /// Returns the limits for the decoder.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            max_packet_size: self.maximum_packet_size.map_or(MAX_PACKET_SIZE, NonZeroU32::get).min(MAX_PACKET_SIZE),
            max_control_size: self.max_control_size.get(),
            max_user_properties: self.max_user_properties,
            disallowed_code_points: self.disallowed_code_points,
            sender: Some(Sender::Server),
        }
    }
}

/// Prints the fields that identify the client and its session. The password and the authentication data are redacted,
/// because the output of `Debug` ends up in logs.
impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("clean_start", &self.clean_start)
            .field("session_expiry_interval", &self.session_expiry_interval)
            .field("keep_alive", &self.keep_alive)
            .field("will", &self.will)
            .field("user_name", &self.user_name)
            .field("password", &self.password.as_deref().map(Redacted))
            .field("authentication", &self.authentication)
            .finish_non_exhaustive()
    }
}

/// The start of an enhanced authentication (section 4.12). The session does not interpret the data. The default has an
/// empty method.
///
/// The server answers CONNECT with [`challenge`](crate::server::Acceptor::challenge), which the client answers with
/// [`authenticate`](super::ClientSession::authenticate), until the server accepts or refuses the client. The last data
/// of the server are in [`Accept::authentication_data`](crate::server::Accept::authentication_data), which the client
/// gets with [`Connected`](super::Connected).
///
/// Each CONNECT of a session has the data of the configuration. In a method whose first data must be fresh, as the nonce of SCRAM
/// must, the program [reconfigures](super::ClientSession::reconfigure) the session between two connections.
///
/// ```
/// # use bytes::Buf;
/// # use mqtt_sansio::client::{Action, Authentication, ClientConfig, ClientSession};
/// # use mqtt_sansio::server::{Accept, Acceptor, AcceptorAction, ServerConfig};
/// # use mqtt_sansio::{Instant, Transmit};
/// # fn main() -> Result<(), Box<dyn core::error::Error>> {
/// # let now = Instant::EPOCH;
/// # fn written(transmit: &mut Transmit) -> Vec<u8> { transmit.copy_to_bytes(transmit.remaining()).to_vec() }
/// let authentication = Authentication { method: "ADD-ONE".into(), data: None };
/// let config = ClientConfig { authentication: Some(Box::new(authentication)), ..ClientConfig::default() };
/// let mut client = ClientSession::new(config);
/// client.open(now)?; // CONNECT
///
/// let mut acceptor = Acceptor::new(ServerConfig::default(), now);
/// let received = written(client.transmit());
/// let Some(AcceptorAction::Connect(connect)) = acceptor.poll(now, &mut &received[..]) else { panic!("not CONNECT") };
/// assert!(connect.properties.authentication_method.is_some_and(|method| method == "ADD-ONE"));
/// acceptor.challenge(now, &[7])?; // AUTH
///
/// let received = written(acceptor.transmit());
/// let Some(Action::Auth(auth)) = client.poll(now, &mut &received[..]) else { panic!("not AUTH") };
/// let challenge = auth.properties.authentication_data.unwrap_or_default();
/// client.authenticate(now, &[challenge[0] + 1])?; // AUTH
///
/// let received = written(client.transmit());
/// let Some(AcceptorAction::Auth(auth)) = acceptor.poll(now, &mut &received[..]) else { panic!("not AUTH") };
/// assert_eq!(auth.properties.authentication_data, Some(&[8][..]));
/// let accept = Accept { assigned_client_id: Some("c1".into()), ..Accept::default() };
/// let mut session = acceptor.accept(now, None, accept)?; // CONNACK, or `acceptor.refuse(...)`
///
/// let received = written(session.transmit());
/// let Some(Action::Connected(_)) = client.poll(now, &mut &received[..]) else { panic!("not CONNACK") };
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Authentication {
    /// The name of the method (Authentication Method). Default: empty.
    pub method: String,
    /// The data that CONNECT contains (Authentication Data). Default: `None`, no data. `Debug` prints their length alone.
    #[cfg_attr(feature = "serde", serde(with = "crate::codec::serialize::optional_binary"))]
    pub data: Option<Vec<u8>>,
}

/// Prints only the length of the data, because the output of `Debug` ends up in logs.
impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, data } = self;
        let data = data.as_deref().map(Redacted);
        f.debug_struct("Authentication").field("method", method).field("data", &data).finish()
    }
}
