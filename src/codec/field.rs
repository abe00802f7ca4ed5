//! Names of fields, for errors.

use core::fmt;

use super::property_id::{PropertyId, write_words};

/// A field of a packet, as errors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// The packet type: the upper four bits of the first byte.
    PacketType,
    /// The flags: the lower four bits of the first byte.
    Flags,
    /// Remaining Length.
    RemainingLength,
    /// Protocol Name, of CONNECT.
    ProtocolName,
    /// Protocol Version (5.0) or Protocol Level (3.1, 3.1.1), of CONNECT.
    ProtocolVersion,
    /// Connect Flags.
    ConnectFlags,
    /// Keep Alive.
    KeepAlive,
    /// Client Identifier.
    ClientIdentifier,
    /// The Property Length of a will.
    WillPropertyLength,
    /// Will Topic.
    WillTopic,
    /// Will Payload (5.0) or Will Message (3.1, 3.1.1).
    WillPayload,
    /// User Name.
    UserName,
    /// Password.
    Password,
    /// Connect Acknowledge Flags.
    AcknowledgeFlags,
    /// Reason Code, or return code in 3.1 and 3.1.1.
    ReasonCode,
    /// Topic Name.
    TopicName,
    /// Packet Identifier.
    PacketIdentifier,
    /// Topic Filter.
    TopicFilter,
    /// Subscription Options, or the requested QoS in 3.1 and 3.1.1.
    SubscriptionOptions,
    /// The payload as a whole.
    Payload,
    /// Property Length.
    PropertyLength,
    /// The identifier of an unknown property.
    PropertyIdentifier,
    /// All properties as a whole.
    Properties,
    /// All properties of a will as a whole.
    WillProperties,
    /// A property.
    Property(PropertyId),
}

impl Field {
    /// Returns the name in the specification, in `snake_case`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PacketType => "packet_type",
            Self::Flags => "flags",
            Self::RemainingLength => "remaining_length",
            Self::ProtocolName => "protocol_name",
            Self::ProtocolVersion => "protocol_version",
            Self::ConnectFlags => "connect_flags",
            Self::KeepAlive => "keep_alive",
            Self::ClientIdentifier => "client_identifier",
            Self::WillPropertyLength => "will_property_length",
            Self::WillTopic => "will_topic",
            Self::WillPayload => "will_payload",
            Self::UserName => "user_name",
            Self::Password => "password",
            Self::AcknowledgeFlags => "acknowledge_flags",
            Self::ReasonCode => "reason_code",
            Self::TopicName => "topic_name",
            Self::PacketIdentifier => "packet_identifier",
            Self::TopicFilter => "topic_filter",
            Self::SubscriptionOptions => "subscription_options",
            Self::Payload => "payload",
            Self::PropertyLength => "property_length",
            Self::PropertyIdentifier => "property_identifier",
            Self::Properties => "properties",
            Self::WillProperties => "will_properties",
            Self::Property(id) => id.name(),
        }
    }
}

impl fmt::Display for Field {
    /// Writes the name with spaces: `topic name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_words(self.name(), f)
    }
}
