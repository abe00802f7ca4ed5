//! Tokens, which identify operations.

use core::fmt;
use core::num::NonZeroU64;

/// Identifies an operation: returned by `publish`, `subscribe` and `unsubscribe`, and repeated with the outcome. Each
/// token has exactly one outcome.
///
/// Tokens of a session ascend in the order in which the operations were requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(NonZeroU64);

impl Token {
    pub(crate) const FIRST: Self = Self(NonZeroU64::MIN);

    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1)) // five centuries at a thousand a microsecond
    }

    /// Returns the number of the token. The number is stored, so that a message of a durable session has the same token
    /// after a restart.
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// let first = client.publish(now, &Message::new("a", "1").qos(QoS::AtLeastOnce))?;
    /// let second = client.publish(now, &Message::new("a", "2").qos(QoS::AtLeastOnce))?;
    /// assert!(first.get() < second.get());
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    pub(crate) fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
