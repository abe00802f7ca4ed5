//! The state of a server session.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::request::{Kind, Requests};
use crate::codec::{MAX_PACKET_SIZE, PacketId};
use crate::heap_size;
use crate::session::{Exchange, Will};
use crate::time::Instant;

/// The state of a session, with the data that exist in this state only.
#[derive(Clone)]
pub(super) enum State {
    /// The session has a connection.
    Attached(Connection),
    /// The session has no connection.
    Detached {
        /// Time when the session expires; `NEVER` if it does not.
        expires_at: Instant,
        /// Time when the will is due, if there is one.
        will_at: Instant,
    },
    /// The session has expired.
    Expired,
}

/// The connection of a session.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) phase: Phase,
    /// Whether CONNECT has asked for a session that ends with the connection.
    pub(super) asked_no_expiry: bool,
    pub(super) client: ClientLimits,
    /// Time of the last sign of life from the client.
    pub(super) last_input_at: Instant,
    /// The enhanced authentication, if CONNECT has an Authentication Method.
    pub(super) authentication: Option<Box<Authentication>>,
    /// The requests of the client that are not answered.
    pub(super) requests: Option<Box<Requests>>,
}

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Messages can be exchanged.
    Open,
    /// The caller has ended the connection; the action that reports that is still due.
    Closing,
    /// The connection is over: the caller must close the transport.
    Over,
}

/// An enhanced authentication.
#[derive(Clone)]
pub(super) struct Authentication {
    pub(super) method: Box<str>,
    pub(super) exchange: Exchange,
}

/// Wills in the order in which they are to be published.
pub(super) type DueWills = VecDeque<Will>;

/// The limits that the client has announced in CONNECT.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientLimits {
    pub(super) receive_maximum: u16,
    pub(super) topic_alias_maximum: u16,
    pub(super) maximum_packet_size: u32,
    pub(super) wants_problem_information: bool,
}

impl ClientLimits {
    /// The limits of a client that has announced none.
    pub(super) const DEFAULT: Self = Self {
        receive_maximum: u16::MAX,
        topic_alias_maximum: 0,
        maximum_packet_size: MAX_PACKET_SIZE,
        wants_problem_information: true,
    };
}

impl State {
    /// Returns the connection, if messages can be exchanged on it.
    #[inline(always)]
    pub(super) const fn open(&self) -> Option<&Connection> {
        match self {
            Self::Attached(connection) if matches!(connection.phase, Phase::Open) => Some(connection),
            _ => None,
        }
    }

    #[inline(always)]
    pub(super) const fn open_mut(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Attached(connection) if matches!(connection.phase, Phase::Open) => Some(connection),
            _ => None,
        }
    }

    /// Returns whether the action that reports the end of a connection, which the caller has ended, is still due.
    #[inline]
    pub(super) const fn is_closing(&self) -> bool {
        matches!(self, Self::Attached(Connection { phase: Phase::Closing, .. }))
    }

    /// Returns whether there is no connection.
    #[inline]
    pub(super) const fn is_detached(&self) -> bool {
        !matches!(self, Self::Attached(_))
    }

    /// Returns whether something is on the heap.
    #[inline]
    pub(super) const fn has_heap(&self) -> bool {
        matches!(self, Self::Attached(connection) if connection.authentication.is_some() | connection.requests.is_some())
    }

    /// Returns the size in bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        match self {
            Self::Attached(Connection { authentication, requests, .. }) => {
                let authentication = authentication.as_ref().map_or(0, |authentication| {
                    authentication.method.len().saturating_add(core::mem::size_of::<Authentication>())
                });
                let requests = requests.as_ref().map_or(0, |requests| {
                    let entries = heap_size::tree(requests.len(), core::mem::size_of::<(PacketId, Kind)>());
                    entries.saturating_add(core::mem::size_of::<Requests>())
                });
                authentication.saturating_add(requests)
            }
            Self::Detached { .. } | Self::Expired => 0,
        }
    }

    /// Returns the limits of the client; those of the protocol without an open connection.
    #[inline(always)]
    pub(super) const fn client(&self) -> &ClientLimits {
        match self.open() {
            Some(connection) => &connection.client,
            None => &ClientLimits::DEFAULT,
        }
    }

    /// Sets the phase of the connection, if there is one.
    pub(super) const fn set_phase(&mut self, phase: Phase) {
        if let Self::Attached(connection) = self {
            connection.phase = phase;
        }
    }
}

/// Prints the name of the state.
impl core::fmt::Debug for State {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Attached(connection) => core::fmt::Debug::fmt(&connection.phase, f),
            Self::Detached { .. } => f.write_str("Detached"),
            Self::Expired => f.write_str("Expired"),
        }
    }
}
