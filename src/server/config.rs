//! The configuration of a server.
//!
//! The limits are enforced where the packets pass:
//!
//! | limit | enforced in |
//! |---|---|
//! | of single packets | the decoder, by [`ServerConfig::limits`] |
//! | of CONNECT | [`Acceptor`](super::Acceptor), as it arrives; announced by CONNACK in `accept` |
//! | of messages, in both directions | the engine, by the `ConnectionLimits` that `peer` makes of the configuration, and `ClientPeer::may_send` |
//! | of requests | [`ServerSession`](super::ServerSession), as they arrive |

use core::num::{NonZeroU16, NonZeroU32};

use crate::codec::{DisallowedCodePoints, Limits, MAX_PACKET_SIZE, MaximumQoS, QoS, Sender};
use crate::session::{MAX_UNCOMMITTED, Overflow, SessionExpiry, TRANSMIT_LIMIT};

/// The configuration of a server. All connections share it behind an `Arc`. Every field has a default.
///
/// A field that is *announced* is sent in CONNACK to clients of 5.0, unless it has the default of the specification,
/// and enforced against them. Clients of 3.1 and 3.1.1 receive no announcement, and none of these limits is enforced
/// against them, except `maximum_packet_size`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct ServerConfig {
    /// Maximum time until a client's CONNECT is complete, and for each step of an authentication before the client is
    /// accepted, in seconds. Default: 10. `None`: no limit. The time for a step counts from when the challenge has been
    /// written. At the limit the connection ends with [`Close::ConnectTimeout`](super::Close::ConnectTimeout), and no
    /// packet is sent.
    pub connect_timeout: Option<NonZeroU16>,
    /// Size of the largest accepted packet before the client is accepted (CONNECT, and AUTH of an authentication), in
    /// bytes. Default: 256 KiB. A larger packet ends the connection. It is not announced.
    pub max_connect_size: NonZeroU32,
    /// Maximum keep-alive interval of a client, in seconds. Default: `None`, no limit. A client of 5.0 that asks for a
    /// longer interval, or for none, is sent this one (Server Keep Alive) \[MQTT-3.2.2-21\].
    ///
    /// No packet of 3.1 or 3.1.1 can announce another interval, and a shorter one that the client does not know would
    /// disconnect it without fault. Such a client is therefore refused, with return code 0x02 (identifier rejected), as
    /// mosquitto does: the action is [`Close::Refused`](super::Close::Refused).
    pub max_keep_alive: Option<NonZeroU16>,
    /// Maximum time that a session outlives its connection (Session Expiry Interval). Default:
    /// [`SessionExpiry::NEVER`], no limit. A longer interval is reduced to this one; CONNACK reports that to a client of
    /// 5.0, but no packet reports it to a client of an earlier version.
    pub max_session_expiry_interval: SessionExpiry,

    /// Maximum number of QoS 1 and QoS 2 messages from a client that may be in flight at a time. Default: 65,535.
    /// Announced (Receive Maximum); a client of 5.0 that exceeds it causes a Protocol Error.
    pub receive_maximum: NonZeroU16,
    /// Highest QoS at which a client may publish. Default: 2. Announced (Maximum QoS).
    pub maximum_qos: QoS,
    /// Whether clients may publish retained messages. Default: true. Announced (Retain Available).
    pub retain_available: bool,
    /// Size of the largest accepted packet, in bytes. Default: 16 MiB. Announced (Maximum Packet Size), and enforced in
    /// every version: a larger packet ends the connection. `None`: no limit is announced, and that of the protocol
    /// applies, 268,435,460 bytes.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Size of the largest accepted packet of another type than PUBLISH, and of the properties of a PUBLISH, in bytes.
    /// Default: 256 KiB. A larger one ends the connection, with Quota exceeded (0x97): a limit that is not announced.
    /// `maximum_packet_size` applies too.
    pub max_control_size: NonZeroU32,
    /// Highest topic alias that a client may use. Default: 0, no topic aliases. Announced (Topic Alias Maximum). A
    /// session stores one topic name for each alias.
    pub topic_alias_maximum: u16,
    /// Whether topic filters may contain wildcards. Default: true. Announced (Wildcard Subscription Available).
    pub wildcard_subscription_available: bool,
    /// Whether subscriptions may have subscription identifiers. Default: true. Announced (Subscription Identifiers
    /// Available).
    pub subscription_identifiers_available: bool,
    /// Whether clients may use shared subscriptions. Default: true. Announced (Shared Subscription Available).
    pub shared_subscription_available: bool,
    /// Maximum number of user properties in a received packet, and in the will of a CONNECT. Default: 256. A packet
    /// with more ends the connection. It is not announced.
    pub max_user_properties: u16,
    /// Whether strings from a client may contain control characters and non-characters. Default: accepted. It is not
    /// announced.
    pub disallowed_code_points: DisallowedCodePoints,

    /// Maximum number of unanswered SUBSCRIBE and UNSUBSCRIBE packets of a client. Default: 1,000. A further one ends
    /// the connection, with Quota exceeded. It is not announced.
    pub max_requests: u16,
    /// Packet size, in bytes, above which an incomplete message is delivered in parts as they arrive, so that the
    /// caller need not collect the payload. Default: `None`, every message is delivered whole. With
    /// [`NonZeroU32::MIN`] every incomplete message is delivered in parts. A packet that is complete in the input is
    /// delivered whole.
    pub deliver_in_parts: Option<NonZeroU32>,
    /// Whether the caller acknowledges QoS 1 and QoS 2 messages, with [`ack`](super::ServerSession::ack). Default:
    /// false, the session acknowledges them.
    pub manual_acks: bool,
    /// Maximum number of topic aliases in messages to a client; 5.0 only. Default: 0, no topic aliases. The lower of
    /// this and the client's Topic Alias Maximum applies.
    pub topic_aliases: u16,
    /// Maximum number of QoS 1 and QoS 2 messages in flight to a client. Default: 65,535. The lower of this and the
    /// client's Receive Maximum applies; further messages are queued.
    pub max_in_flight: NonZeroU16,
    /// Maximum number of queued and in-flight messages to a client. Default: 1,000. At the limit `overflow` applies.
    pub max_stored: u32,
    /// Maximum size of the queued and in-flight messages to a client, in bytes. Default: 64 MiB. At the limit
    /// `overflow` applies. A payload counts in full for each client, whether it is shared or not.
    ///
    /// An empty session stores one message of any size, so that each accepted message (see `maximum_packet_size`) can
    /// be delivered. The limit determines how many further messages can be stored at a time: it should be several times
    /// `maximum_packet_size`.
    pub max_stored_bytes: u32,
    /// Policy for messages that would exceed `max_stored` or `max_stored_bytes`. Default: they are refused.
    pub overflow: Overflow,
    /// Whether PUBACK ends the delivery of a QoS 2 message, with [`Outcome::AtLeastOnce`](crate::Outcome::AtLeastOnce).
    /// Default: true, because clients without QoS 2 answer with PUBACK, on every connection again. If false, PUBACK is
    /// a Protocol Error, as section 4.3.3 requires: the connection ends, and the delivery ends with
    /// [`AbandonReason::Mismatched`](crate::AbandonReason::Mismatched).
    pub puback_ends_qos_2: bool,
    /// Whether QoS 0 messages are queued for a client that is not connected. Default: false: they are refused, and
    /// those in the queue are dropped when the connection ends.
    pub store_qos_0: bool,
    /// Maximum number of bytes in `transmit()`, the soft limit on output. Default: 64 KiB. One packet
    /// may exceed the limit. At the limit messages are queued, within `max_stored` and `max_stored_bytes`. Input is still
    /// accepted, so that acknowledgements and pings continue, up to `answer_limit`.
    pub transmit_limit: NonZeroU32,
    /// Maximum number of bytes of answers in `transmit()`, the hard limit on output: PUBACK, PUBREC, PUBCOMP, PUBREL,
    /// PINGRESP, SUBACK, UNSUBACK and AUTH. Default: 64 KiB. One packet may exceed the limit. At the
    /// limit no input is accepted until the client reads some of the answers; meanwhile the client's silence does not
    /// count against it as long as bytes are written. The limit holds for an acceptor too.
    pub answer_limit: NonZeroU32,
    /// Whether sessions that outlive their connection are durable: such a session reports its
    /// [changes](super::ServerSession::changes) to be stored, and sends nothing that depends on changes that are not
    /// stored, so that it survives a crash. Default: false. A broker ignores it.
    pub durable: bool,
    /// Size of the changes of a session that are not committed, in bytes, above which no QoS 1 and QoS 2 messages,
    /// SUBSCRIBE and UNSUBSCRIBE of the client are accepted. Default: 4 MiB. It applies to durable sessions only. One
    /// step may exceed it.
    pub max_uncommitted: NonZeroU32,
}

/// The default of `max_connect_size` and `max_control_size`: 256 KiB.
const MAX_CONTROL_SIZE: NonZeroU32 = NonZeroU32::MIN.saturating_add(256 * 1024 - 1);

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            connect_timeout: NonZeroU16::new(10),
            max_connect_size: MAX_CONTROL_SIZE,
            max_keep_alive: None,
            max_session_expiry_interval: SessionExpiry::NEVER,
            receive_maximum: NonZeroU16::MAX,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: NonZeroU32::new(16 * 1024 * 1024),
            max_control_size: MAX_CONTROL_SIZE,
            topic_alias_maximum: 0,
            wildcard_subscription_available: true,
            subscription_identifiers_available: true,
            shared_subscription_available: true,
            max_user_properties: 256,
            disallowed_code_points: DisallowedCodePoints::Accept,
            max_requests: 1000,
            deliver_in_parts: None,
            manual_acks: false,
            topic_aliases: 0,
            max_in_flight: NonZeroU16::MAX,
            max_stored: 1000,
            max_stored_bytes: 64 * 1024 * 1024,
            overflow: Overflow::Refuse,
            puback_ends_qos_2: true,
            store_qos_0: false,
            transmit_limit: TRANSMIT_LIMIT,
            answer_limit: TRANSMIT_LIMIT,
            durable: false,
            max_uncommitted: MAX_UNCOMMITTED,
        }
    }
}

impl ServerConfig {
    /// Returns the limits for the decoder. `None` is the limit of the protocol.
    #[inline(always)]
    pub(super) fn limits(&self, max_packet_size: Option<NonZeroU32>) -> Limits {
        Limits {
            max_packet_size: max_packet_size.map_or(MAX_PACKET_SIZE, NonZeroU32::get).min(MAX_PACKET_SIZE),
            max_control_size: self.max_control_size.get(),
            max_user_properties: self.max_user_properties,
            disallowed_code_points: self.disallowed_code_points,
            sender: Some(Sender::Client),
        }
    }

    /// Returns whether a keep-alive interval, in seconds, exceeds the maximum; 0 stands for no keep-alive.
    pub(super) fn is_keep_alive_too_long(&self, keep_alive: u16) -> bool {
        self.max_keep_alive.is_some_and(|max| keep_alive == 0 || keep_alive > max.get())
    }

    /// Returns the Maximum QoS to announce, if it is below 2 \[MQTT-3.2.2-9\].
    pub(super) const fn announced_qos(&self) -> Option<MaximumQoS> {
        MaximumQoS::of(self.maximum_qos)
    }
}
