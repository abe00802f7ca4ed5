//! What a server is to be.

use core::num::NonZeroU16;

use crate::codec::{DisallowedCodePoints, Limits, MAX_PACKET_SIZE, MaximumQoS, QoS, Sender, Version};
use crate::session::{BudgetLimits, Overflow, Rules};

/// What a server is to be, the same for all its connections: they share it behind an `Arc`. Every field can be left at
/// its default.
///
/// What is announced is announced in CONNACK, to clients of 5.0. It is held against them; clients of 3.1 and 3.1.1 cannot
/// know, and what they cannot know is not held against them, but for the largest packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// How long a client may take until its CONNECT is complete, in seconds, and for each step of an authentication until it
    /// is accepted; 10 by default, 0 for ever. A client that takes longer is not answered: there is no CONNECT to answer.
    pub connect_timeout: u16,
    /// The largest CONNECT that is taken, in bytes; 256 KiB by default.
    pub max_connect_size: u32,
    /// The longest keep-alive interval that a client may have, in seconds; 0, the default, for no limit. A client of 5.0
    /// that asks for more, or for none, is told to use this one \[MQTT-3.2.2-21\].
    ///
    /// A client of 3.1 or 3.1.1 cannot be told, and a shorter interval that it does not know of would cut it off while it
    /// does nothing wrong. It is refused with return code 0x02 (identifier rejected), as mosquitto does: the action is
    /// [`Close::Refused`](super::Close::Refused).
    pub max_keep_alive: u16,
    /// How long a session may outlive its connection, in seconds; `u32::MAX`, for ever, by default. A client of 5.0 that
    /// asks for more is told so; to one of an earlier version it happens.
    pub max_session_expiry_interval: u32,

    /// How many messages of QoS 1 and 2 a client may have open at a time; 65,535 by default. Announced.
    pub receive_maximum: NonZeroU16,
    /// The highest QoS at which a client may publish; 2 by default. Announced.
    pub maximum_qos: QoS,
    /// Whether messages can be retained; they can by default. Announced.
    pub retain_available: bool,
    /// The largest packet that is taken, in bytes; 16 MiB by default. Announced.
    pub maximum_packet_size: u32,
    /// The highest topic alias that a client may use; 0 by default. Announced.
    pub topic_alias_maximum: u16,
    /// Whether filters may have wildcards; they may by default. Announced.
    pub wildcard_subscription_available: bool,
    /// Whether subscriptions may have identifiers; they may by default. Announced.
    pub subscription_identifiers_available: bool,
    /// Whether subscriptions may be shared; they may by default. Announced.
    pub shared_subscription_available: bool,
    /// How many user properties a packet may have; 256 by default.
    pub max_user_properties: u16,
    /// Whether strings from a client may contain control characters and non-characters; they may by default.
    pub disallowed_code_points: DisallowedCodePoints,

    /// How many SUBSCRIBE and UNSUBSCRIBE of a client may be unanswered at a time; 1,000 by default.
    pub max_requests: u16,
    /// A message whose packet is larger than this, in bytes, is delivered in parts as they come, so that nobody has to
    /// collect it; `u32::MAX`, never, by default.
    pub deliver_in_parts: u32,
    /// Whether messages of QoS 1 and 2 are acknowledged by [`ack`](super::ServerSession::ack), and not by themselves.
    pub manual_acks: bool,
    /// For how many topics, at most, a topic alias is used in messages to a client; 0 by default. The client decides how
    /// many there can be.
    pub topic_aliases: u16,
    /// How many messages of QoS 1 and 2 may be under way to a client at a time, if it would take more; 65,535 by default.
    pub max_in_flight: NonZeroU16,
    /// How many messages are kept for a client, at most: those that wait to be sent and those that wait to be acknowledged.
    /// 1,000 by default.
    pub max_kept: u32,
    /// Maximum size of them together, in bytes; 64 MiB by default. A payload counts in full for each client, shared or not.
    ///
    /// One message is always stored where no other one is, whatever its size: each message that is taken (see
    /// `maximum_packet_size`) can be delivered. How many more can be on their way at a time is what this limit decides, so it
    /// should be several times `maximum_packet_size`.
    pub max_kept_bytes: u32,
    /// What happens to a message that would be too much.
    pub overflow: Overflow,
    /// Whether PUBACK ends the delivery of a message of QoS 2, with
    /// [`Outcome::AtLeastOnce`](crate::Outcome::AtLeastOnce). Default: true, because clients without QoS 2
    /// answer so, on every connection anew. If not, PUBACK is the Protocol Error that section 4.3.3 makes of it: the
    /// connection ends, and the delivery with [`AbandonReason::Mismatched`](crate::AbandonReason::Mismatched).
    pub puback_ends_qos_2: bool,
    /// Whether messages of QoS 0 are kept for a client that is not connected; they are not by default.
    pub keep_qos_0: bool,
    /// Maximum number of bytes that wait to be written before messages are kept back; they wait within `max_kept` and
    /// `max_kept_bytes`, and what exceeds those is refused. Input is taken nevertheless, so that acknowledgements and pings go
    /// on: see `answer_limit`. Default: 64 KiB. One packet may exceed it.
    pub transmit_limit: u32,
    /// Maximum number of bytes of answers that wait to be written: of PUBACK, PUBREC, PUBCOMP, PUBREL, PINGRESP, SUBACK, UNSUBACK. At the
    /// limit no input is taken, until the client reads what it has made this end send. Default: 64 KiB. One packet may
    /// exceed it; 0 counts as 1.
    pub answer_limit: u32,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            connect_timeout: 10,
            max_connect_size: 256 * 1024,
            max_keep_alive: 0,
            max_session_expiry_interval: u32::MAX,
            receive_maximum: NonZeroU16::MAX,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: 16 * 1024 * 1024,
            topic_alias_maximum: 0,
            wildcard_subscription_available: true,
            subscription_identifiers_available: true,
            shared_subscription_available: true,
            max_user_properties: 256,
            disallowed_code_points: DisallowedCodePoints::Accept,
            max_requests: 1000,
            deliver_in_parts: u32::MAX,
            manual_acks: false,
            topic_aliases: 0,
            max_in_flight: NonZeroU16::MAX,
            max_kept: 1000,
            max_kept_bytes: 64 * 1024 * 1024,
            overflow: Overflow::Refuse,
            puback_ends_qos_2: true,
            keep_qos_0: false,
            transmit_limit: 64 * 1024,
            answer_limit: 64 * 1024,
        }
    }
}

impl ServerConfig {
    /// What the decoder lets through.
    pub(super) fn limits(&self, max_packet_size: u32) -> Limits {
        Limits {
            max_packet_size: max_packet_size.clamp(2, MAX_PACKET_SIZE),
            max_user_properties: self.max_user_properties,
            disallowed_code_points: self.disallowed_code_points,
            sender: Some(Sender::Client),
        }
    }

    /// Whether a client may not have this keep-alive interval, in seconds; 0 is none.
    pub(super) const fn is_keep_alive_too_long(&self, keep_alive: u16) -> bool {
        self.max_keep_alive != 0 && (keep_alive == 0 || keep_alive > self.max_keep_alive)
    }

    /// The highest QoS, if it is to be announced \[MQTT-3.2.2-9\].
    pub(super) const fn announced_qos(&self) -> Option<MaximumQoS> {
        MaximumQoS::of(self.maximum_qos)
    }

    #[inline(always)]
    pub(super) fn rules(&self, version: Version, receive_maximum: u16, max_packet_size: u32) -> Rules {
        Rules {
            limits: self.limits(self.maximum_packet_size),
            // Before 5.0 the client knows of no Receive Maximum, and is bound by the packet identifiers alone.
            receive_maximum: if version == Version::V5 { self.receive_maximum.get() } else { u16::MAX },
            topic_alias_maximum: self.topic_alias_maximum,
            manual_acks: self.manual_acks,
            deliver_in_parts: self.deliver_in_parts,
            max_in_flight: receive_maximum.min(self.max_in_flight.get()),
            max_packet_size,
            budget: BudgetLimits { count: self.max_kept, bytes: self.max_kept_bytes },
            overflow: self.overflow,
            puback_ends_qos_2: self.puback_ends_qos_2,
            keeps_qos_0: self.keep_qos_0,
            transmit_limit: self.transmit_limit.max(1),
            answer_limit: self.answer_limit.max(1),
        }
    }
}
