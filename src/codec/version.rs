//! The versions of the protocol, and the two endpoints of a connection.

use core::fmt;
use core::str::FromStr;

use thiserror::Error;

/// A version of the protocol. The default is 5.0.
///
/// ```
/// # use mqtt_sansio::Version;
/// assert_eq!((Version::V311.protocol_name(), Version::V311.level()), ("MQTT", 4));
/// assert_eq!(Version::from_level(5), Some(Version::V5));
/// assert_eq!(Version::V31.to_string(), "3.1");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Version {
    /// MQTT 3.1: protocol name `MQIsdp`, protocol level 3.
    V31,
    /// MQTT 3.1.1: protocol name `MQTT`, protocol level 4.
    V311,
    /// MQTT 5.0: protocol name `MQTT`, protocol version 5.
    #[default]
    V5,
}

impl Version {
    /// All versions, oldest first.
    pub const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];

    /// Returns the Protocol Name of CONNECT.
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }

    /// Returns the Protocol Level (5.0: Protocol Version) of CONNECT.
    pub const fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// Returns the version with this protocol level.
    pub const fn from_level(level: u8) -> Option<Self> {
        match level {
            3 => Some(Self::V31),
            4 => Some(Self::V311),
            5 => Some(Self::V5),
            _ => None,
        }
    }
}

impl FromStr for Version {
    type Err = UnknownVersion;

    /// Parses `3.1`, `3.1.1`, `5.0` or `5`.
    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        match text {
            "3.1" => Ok(Self::V31),
            "3.1.1" => Ok(Self::V311),
            "5.0" | "5" => Ok(Self::V5),
            _ => Err(UnknownVersion),
        }
    }
}

/// The error of a string that is not the name of a [`Version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("the versions of MQTT are 3.1, 3.1.1 and 5.0")]
#[non_exhaustive]
pub struct UnknownVersion;

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// The endpoint of a connection that has sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Sender {
    /// The endpoint that opened the connection with CONNECT.
    Client,
    /// The endpoint that answered with CONNACK.
    Server,
}
