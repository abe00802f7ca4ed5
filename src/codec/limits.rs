//! Limits that a receiver sets.

use super::header::MAX_PACKET_SIZE;
use super::version::Sender;
use crate::text::DisallowedCodePoints;

/// The choices that the specification leaves to a receiver.
///
/// The default accepts everything that the specification allows. To set some of the fields, take the rest from
/// [`DEFAULT`](Self::DEFAULT): `Limits { max_packet_size: 65_536, ..Limits::DEFAULT }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Limits {
    /// Size of the largest accepted packet, in bytes, fixed header included. Default: 268,435,460, the largest of the
    /// protocol. A larger packet is refused with Packet too large as soon as its fixed header has arrived. No packet is
    /// smaller than two bytes.
    ///
    /// The decoder buffers nothing: the limit protects the caller that collects the bytes of a packet.
    pub max_packet_size: u32,
    /// Size of the largest accepted packet of another type than PUBLISH, fixed header included, and of the properties of
    /// a PUBLISH, in bytes. Default: 268,435,460, the largest of the protocol. A larger packet is refused with Quota
    /// exceeded as soon as that is known. `max_packet_size` applies too.
    pub max_control_size: u32,
    /// Maximum number of user properties in a packet, and in its will. Default: 65,535. A packet with more is refused
    /// with Quota exceeded.
    pub max_user_properties: u16,
    /// Whether texts may contain the Disallowed Unicode code points (section 1.5.4). Default: accepted.
    pub disallowed_code_points: DisallowedCodePoints,
    /// The endpoint that has sent the bytes, if it is known. Packets and properties that this endpoint may not send are
    /// refused. Default: `None`.
    pub sender: Option<Sender>,
}

impl Limits {
    /// The default.
    pub const DEFAULT: Self = Self {
        max_packet_size: MAX_PACKET_SIZE,
        max_control_size: MAX_PACKET_SIZE,
        max_user_properties: u16::MAX,
        disallowed_code_points: DisallowedCodePoints::Accept,
        sender: None,
    };

    /// Returns the default limits for the packets of a client.
    ///
    /// ```
    /// # use mqtt_sansio::Version;
    /// # use mqtt_sansio::codec::{self, Limits};
    /// let limits = Limits { max_packet_size: 65_536, ..Limits::from_client() };
    /// assert!(codec::decode(b"\xd0\x00", Version::V5, limits).is_err()); // PINGRESP, which only a server sends
    /// ```
    pub const fn from_client() -> Self {
        Self { sender: Some(Sender::Client), ..Self::DEFAULT }
    }

    /// Returns the default limits for the packets of a server.
    ///
    /// ```
    /// # use mqtt_sansio::Version;
    /// # use mqtt_sansio::codec::{self, Limits};
    /// let limits = Limits { max_packet_size: 65_536, ..Limits::from_server() };
    /// assert!(codec::decode(b"\xc0\x00", Version::V5, limits).is_err()); // PINGREQ, which only a client sends
    /// ```
    pub const fn from_server() -> Self {
        Self { sender: Some(Sender::Server), ..Self::DEFAULT }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
