//! The state of a client's connection.

use super::server::ServerLimits;
use crate::session::{Exchange, KeepAlive};

/// The state of the connection of a client, with the data that exist in this state only.
#[derive(Clone)]
pub(super) enum State {
    /// There is no connection.
    Closed,
    /// CONNECT has been sent, and the server has not accepted the connection yet.
    Connecting {
        /// Whether CONNECT has asked for a new session.
        asked_clean: bool,
        exchange: Exchange,
        /// The time for the next step of the server.
        keep_alive: KeepAlive,
    },
    /// The server has accepted the connection: messages can be exchanged.
    Connected { acceptance: Acceptance, exchange: Exchange, keep_alive: KeepAlive },
    /// DISCONNECT is in the output; the action that reports the end of the connection is still due.
    Closing(Option<Acceptance>),
    /// The connection is over: the caller must close the transport.
    Over(Option<Acceptance>),
}

/// The server's acceptance of the connection.
#[derive(Clone, Copy)]
pub(super) struct Acceptance {
    pub(super) server: ServerLimits,
    /// The time of CONNACK, in seconds; wraps.
    pub(super) at: u32,
}

impl State {
    /// Returns the server's acceptance of the connection; `None` without one.
    #[inline(always)]
    pub(super) const fn acceptance(&self) -> Option<&Acceptance> {
        match self {
            Self::Connected { acceptance, .. } => Some(acceptance),
            Self::Closing(acceptance) | Self::Over(acceptance) => acceptance.as_ref(),
            Self::Closed | Self::Connecting { .. } => None,
        }
    }

    /// Returns whether packets of the server are processed.
    #[inline]
    pub(super) const fn takes_input(&self) -> bool {
        matches!(self, Self::Connecting { .. } | Self::Connected { .. })
    }

    /// Returns the state of the enhanced authentication; `None` if packets of the server are not processed.
    pub(super) const fn exchange_mut(&mut self) -> Option<&mut Exchange> {
        match self {
            Self::Connecting { exchange, .. } | Self::Connected { exchange, .. } => Some(exchange),
            Self::Closed | Self::Closing(_) | Self::Over(_) => None,
        }
    }

    /// Returns the Keep Alive state; `None` if packets of the server are not processed.
    #[inline]
    pub(super) const fn keep_alive_mut(&mut self) -> Option<&mut KeepAlive> {
        match self {
            Self::Connecting { keep_alive, .. } | Self::Connected { keep_alive, .. } => Some(keep_alive),
            Self::Closed | Self::Closing(_) | Self::Over(_) => None,
        }
    }
}

/// Prints the name of the state.
impl core::fmt::Debug for State {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Closed => "Closed",
            Self::Connecting { .. } => "Connecting",
            Self::Connected { .. } => "Connected",
            Self::Closing(_) => "Closing",
            Self::Over(_) => "Over",
        })
    }
}
