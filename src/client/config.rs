//! What a client is to be.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::num::{NonZeroU8, NonZeroU16};

use crate::codec::{DisallowedCodePoints, Limits, MAX_PACKET_SIZE, Sender, Version};
use crate::redacted::Redacted;
use crate::session::{Overflow, Will};

/// What a client is to be. Every field can be left at its default.
///
/// `version` and `journal` are settled when the session is made; the other fields can be changed between two
/// connections, by [`reconfigure`](super::ClientSession::reconfigure).
#[derive(Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// The version of the protocol; 5.0 by default.
    pub version: Version,
    /// The name of the session. Empty, as it is by default: the server chooses one, which is used from then on.
    pub client_id: String,
    /// Whether the first connection asks for a new session (Clean Start); it does by default.
    ///
    /// A client that does not ask for a new one vouches for knowing the old one, be it that nothing is open in it: a
    /// session that the server has kept is resumed then. Later connections resume what this one has begun. Before 5.0
    /// (Clean Session) every connection asks for a new session that ends with the connection, if this is set.
    pub clean_start: bool,
    /// How long the session outlives a connection, in seconds: 0, the default, not at all, so that a lost connection loses
    /// what is in flight; `u32::MAX` for ever. 5.0
    /// only; before, a session without `clean_start` lives for ever.
    pub session_expiry_interval: u32,
    /// The longest time without a packet to the server, in seconds; 60 by default, 0 for no limit. The server may
    /// choose another one.
    pub keep_alive: u16,
    /// A message that the server publishes when the connection ends without DISCONNECT.
    pub will: Option<Box<Will>>,
    /// The user's name.
    pub user_name: Option<String>,
    /// The password, or anything else that proves who the client is. `Debug` prints its length alone.
    pub password: Option<Box<[u8]>>,
    /// An enhanced authentication; 5.0 only.
    pub authentication: Option<Box<Authentication>>,
    /// User properties of CONNECT; 5.0 only.
    pub user_properties: Vec<(String, String)>,
    /// Whether the server is asked for Response Information; 5.0 only.
    pub request_response_information: bool,
    /// Whether the server may add reason strings and user properties to any packet, as it may by default; 5.0 only.
    pub request_problem_information: bool,

    /// How many messages of QoS 1 and 2 the server may have open at a time; 65,535 by default. Announced in 5.0,
    /// and held against a server of 5.0 only.
    pub receive_maximum: NonZeroU16,
    /// The largest packet that is taken, in bytes; 16 MiB by default. Announced in 5.0.
    pub maximum_packet_size: u32,
    /// The highest topic alias that the server may use; 0 by default. Each may cost as much memory as a topic name is
    /// long. Announced in 5.0.
    pub topic_alias_maximum: u16,
    /// How many user properties a packet may have; 256 by default.
    pub max_user_properties: u16,
    /// Whether strings from the server may contain control characters and non-characters; they may by default.
    pub disallowed_code_points: DisallowedCodePoints,

    /// A message whose packet is larger than this, in bytes, is delivered in parts as they come, so that nobody has to
    /// collect it; `u32::MAX`, never, by default.
    pub deliver_in_parts: u32,
    /// Whether messages of QoS 1 and 2 are acknowledged by [`ack`](super::ClientSession::ack), and not by themselves.
    pub manual_acks: bool,
    /// For how many topics, at most, a topic alias is used in outgoing messages; 0 by default. The server decides how
    /// many there can be. 5.0 only.
    pub topic_aliases: u16,
    /// How many messages of QoS 1 and 2 may be under way to the server at a time, if it would take more; 65,535 by
    /// default.
    pub max_in_flight: NonZeroU16,
    /// How many messages and requests are kept, at most: those that wait to be sent and those that wait to be
    /// acknowledged. 10,000 by default.
    pub max_kept: u32,
    /// Maximum size of them together, in bytes; 64 MiB by default. One message is always stored where no other one is,
    /// whatever its size.
    pub max_kept_bytes: u32,
    /// What happens to a message that would be too much.
    pub overflow: Overflow,
    /// Maximum number of connections on which a SUBSCRIBE or UNSUBSCRIBE is sent without an answer; after that it ends with
    /// [`AbandonReason::Unanswered`](crate::AbandonReason::Unanswered). Default: 10; `None`: no limit. A connection counts if a byte of the
    /// packet was written. Messages of QoS 1 and 2 have no such limit: they are sent again as long as the session
    /// lives \[MQTT-4.4.0-1\], or until they are [withdrawn](super::ClientSession::withdraw).
    pub max_request_tries: Option<NonZeroU8>,
    /// Whether PUBACK ends the delivery of a message of QoS 2, with
    /// [`Outcome::AtLeastOnce`](crate::Outcome::AtLeastOnce). Default: true, because servers without QoS 2
    /// answer so, on every connection anew. If not, PUBACK is the Protocol Error that section 4.3.3 makes of it: the
    /// connection ends, and the delivery with [`AbandonReason::Mismatched`](crate::AbandonReason::Mismatched).
    pub puback_ends_qos_2: bool,
    /// Maximum number of bytes that wait to be written before messages and requests are kept back; they wait within `max_kept`
    /// and `max_kept_bytes`, and what exceeds those is refused. Input is taken nevertheless, so that acknowledgements and
    /// pings go on, until as many bytes of answers alone (PUBACK, PUBREC, PUBREL, PUBCOMP) wait to be written. Default:
    /// 64 KiB; 0 counts as 1. One packet may exceed it.
    pub transmit_limit: u32,
    /// How long a server may take to answer CONNECT, or an AUTH before CONNACK, in seconds. Default: 30; 0: no limit. The time
    /// begins when the last byte of the packet has been taken out of `transmit()`, as noticed by the next
    /// [`poll`](super::ClientSession::poll). As long as the packet is leaving, it begins again with each byte: a connection
    /// of which nothing leaves for so long is over as well.
    pub connect_timeout: u16,
    /// How long a server may take to answer PINGREQ, in seconds, if nothing else comes. Default: 15; 0: no limit. The time
    /// begins as that of `connect_timeout` does. What the transport itself has buffered is not known here: a transport
    /// with large buffers on a slow link needs a longer time.
    pub ping_timeout: u16,
    /// The shortest and the longest pause that [`backoff`](super::ClientSession::backoff) suggests, in seconds; 1 and
    /// 120 by default. A shortest one of 0 stays 0, as it is doubled each time.
    pub backoff: (u16, u16),
    /// How long a connection has to last, in seconds, for the next pause to be the shortest again. Default: 30; with 0 it is
    /// enough that the server has accepted the connection.
    pub backoff_reset: u16,
    /// Mixed into the random part of those pauses, which is made from the client identifier: clients with different
    /// identifiers differ without it. Default: 0. For tests, and for clients that let the server choose their identifiers,
    /// which are all alike until it has.
    pub seed: u64,
    /// Whether there is a [`journal`](super::ClientSession::journal), so that the session survives a crash.
    pub journal: bool,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            version: Version::V5,
            client_id: String::new(),
            clean_start: true,
            session_expiry_interval: 0,
            keep_alive: 60,
            will: None,
            user_name: None,
            password: None,
            authentication: None,
            user_properties: Vec::new(),
            request_response_information: false,
            request_problem_information: true,
            receive_maximum: NonZeroU16::MAX,
            maximum_packet_size: 16 * 1024 * 1024,
            topic_alias_maximum: 0,
            max_user_properties: 256,
            disallowed_code_points: DisallowedCodePoints::Accept,
            deliver_in_parts: u32::MAX,
            manual_acks: false,
            topic_aliases: 0,
            max_in_flight: NonZeroU16::MAX,
            max_kept: 10_000,
            max_kept_bytes: 64 * 1024 * 1024,
            overflow: Overflow::Refuse,
            max_request_tries: NonZeroU8::new(10),
            puback_ends_qos_2: true,
            transmit_limit: 64 * 1024,
            connect_timeout: 30,
            ping_timeout: 15,
            backoff: (1, 120),
            backoff_reset: 30,
            seed: 0,
            journal: false,
        }
    }
}

impl ClientConfig {
    /// What the decoder lets through.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            max_packet_size: self.maximum_packet_size.clamp(1, MAX_PACKET_SIZE),
            max_user_properties: self.max_user_properties,
            disallowed_code_points: self.disallowed_code_points,
            sender: Some(Sender::Server),
        }
    }
}

/// Who the client is and what it asks for, but for the password and authentication data: what is printed ends up in logs.
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

/// How an enhanced authentication begins (section 4.12). What it means is the caller's business.
#[derive(Clone, PartialEq, Eq)]
pub struct Authentication {
    /// The name of the method.
    pub method: String,
    /// What CONNECT carries of its data.
    pub data: Option<Vec<u8>>,
}

/// Of the data the length alone: what is printed ends up in logs.
impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, data } = self;
        let data = data.as_deref().map(Redacted);
        f.debug_struct("Authentication").field("method", method).field("data", &data).finish()
    }
}
