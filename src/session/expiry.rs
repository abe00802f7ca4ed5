//! The Session Expiry Interval.

use core::fmt;

use crate::time::Instant;

/// How long a session outlives its connection (Session Expiry Interval, section 3.1.2.11.2). The default is that the
/// session ends with its connection.
///
/// ```
/// # use mqtt_sansio::SessionExpiry;
/// assert!(SessionExpiry::after(3600) < SessionExpiry::NEVER);
/// assert_eq!(SessionExpiry::after(0), SessionExpiry::WITH_CONNECTION);
/// assert_eq!(SessionExpiry::after(60).to_string(), "after 60 s");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct SessionExpiry(u32);

impl SessionExpiry {
    /// The session ends with its connection.
    pub const WITH_CONNECTION: Self = Self(0);
    /// The session does not expire.
    pub const NEVER: Self = Self(u32::MAX);

    /// The session expires this number of seconds after its connection has ended. 0 is
    /// [`WITH_CONNECTION`](Self::WITH_CONNECTION), and `u32::MAX` is [`NEVER`](Self::NEVER), as in a packet.
    pub const fn after(seconds: u32) -> Self {
        Self(seconds)
    }

    /// Returns the value in a packet: the number of seconds, 0 for [`WITH_CONNECTION`](Self::WITH_CONNECTION) and
    /// `u32::MAX` for [`NEVER`](Self::NEVER).
    pub const fn value(self) -> u32 {
        self.0
    }

    /// Returns the time when a session expires whose connection has ended at this time.
    pub(crate) fn counted_from(self, closed: Instant) -> Instant {
        match self {
            Self::NEVER => Instant::NEVER,
            Self(seconds) => closed.after_seconds(seconds),
        }
    }

    /// Returns whether the session outlives its connection.
    pub const fn outlives_connection(self) -> bool {
        self.0 != 0
    }
}

impl fmt::Display for SessionExpiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::WITH_CONNECTION => f.pad("with the connection"),
            Self::NEVER => f.pad("never"),
            Self(seconds) => write!(f, "after {seconds} s"),
        }
    }
}
