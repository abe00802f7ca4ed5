//! Whoever has published a message.

use crate::broker::index::SessionIndex;

/// Whoever has published a message, as far as its way depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum PublishedBy {
    /// A client, by this session.
    Session(SessionIndex),
    /// A client whose session has ended since.
    Gone,
    /// The broker itself, or the embedding program.
    Broker,
}

impl PublishedBy {
    /// The session that the message came by, if it exists.
    #[inline]
    pub(in crate::broker) const fn session(self) -> Option<SessionIndex> {
        match self {
            Self::Session(index) => Some(index),
            Self::Gone | Self::Broker => None,
        }
    }

    /// Whether a client has published the message.
    #[inline]
    pub(super) const fn is_client(self) -> bool {
        !matches!(self, Self::Broker)
    }
}
