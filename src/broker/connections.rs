//! The connections: each is connecting, attached to a session, or over.

use alloc::boxed::Box;

use super::index::SessionIndex;
use super::jobs::input::InputTurn;
use super::jobs::turns::PrincipalIndex;
use super::pending_decisions::PendingDecision;
use super::policy::{ConnectionId, DecisionId};
use super::principal::Origin;
use super::ready::KnownOutput;
use super::slab::Slab;
use crate::server::{Acceptor, ServerConfig};
use crate::session::Transmit;
use crate::sync::Arc;
use crate::time::Instant;

/// The connections of a broker.
pub(super) struct Connections {
    slab: Slab<Connection>,
    /// The size of connections on the heap, as they were last counted.
    heap: u64,
    /// The number of the newest [`DecisionId`].
    last_decision: u32,
    /// The output of connections that do not exist any more.
    nothing: Transmit,
}

/// A connection.
struct Connection {
    state: State,
    /// The decision of the policy that the connection waits for. Its input is not taken meanwhile.
    pending: Option<Box<PendingDecision>>,
    turn: InputTurn,
    /// The size on the heap when it was last counted.
    counted: u32,
}

enum State {
    /// The client is not accepted yet.
    Connecting(Box<Connecting>),
    /// The client was accepted into a session.
    Attached(SessionIndex),
    /// The connection is over, and this is still to be written.
    Over(Transmit),
}

/// A client that is not accepted yet.
pub(super) struct Connecting {
    acceptor: Acceptor,
    /// When the timer of the connection runs.
    scheduled: Instant,
    origin: Origin,
    /// Whether input was left because too many challenges wait to be written.
    is_held: bool,
    /// How much of the output the caller knows.
    known_output: KnownOutput,
}

impl Connection {
    /// The size on the heap, in bytes.
    #[inline]
    fn bytes(&self) -> usize {
        let state = match &self.state {
            State::Connecting(connecting) => {
                core::mem::size_of::<Connecting>().saturating_add(connecting.acceptor.heap())
            }
            State::Attached(_) => 0,
            State::Over(rest) => rest.capacity(),
        };
        let pending = self.pending.as_ref();
        state.saturating_add(
            pending.map_or(0, |pending| core::mem::size_of::<PendingDecision>().saturating_add(pending.heap())),
        )
    }

    /// What the principal is charged, in bytes.
    fn charge(&self) -> u64 {
        (Slab::<Self>::SLOT_SIZE as u64).saturating_add(self.counted.into())
    }
}

impl Connecting {
    /// Notes whether input is left because too many challenges wait to be written.
    pub(super) fn note_left(&mut self, is_left: bool) {
        self.is_held = is_left && self.acceptor.is_full();
    }

    /// Whether input that was left because too many challenges waited would be taken now. Returns it once.
    fn take_released(&mut self) -> bool {
        let is_released = self.is_held && !self.acceptor.is_full();
        self.is_held &= !is_released;
        is_released
    }

    /// Whether output waits to be written that the caller does not know of. From here on it does.
    pub(super) fn has_new_output(&mut self) -> bool {
        self.known_output.update(self.acceptor.transmit())
    }

    pub(super) const fn acceptor(&mut self) -> &mut Acceptor {
        &mut self.acceptor
    }

    pub(super) const fn origin(&self) -> Origin {
        self.origin
    }

    /// The timer of the connection is set to another time.
    pub(super) const fn postpone(&mut self, at: Instant) {
        self.scheduled = at;
    }

    /// The time of the acceptor's deadline, if the timer of the connection is set to another.
    pub(super) fn reschedule(&mut self) -> Option<Instant> {
        let at = self.acceptor.deadline().unwrap_or(Instant::NEVER);
        (core::mem::replace(&mut self.scheduled, at) != at).then_some(at)
    }
}

/// The state of a connection, for the next step.
pub(super) enum Step<'a> {
    /// The connection is over, or does not exist any more.
    Over,
    /// The connection waits for a decision of the policy.
    Waiting,
    Connecting(&'a mut Connecting),
    Attached(SessionIndex),
}

/// The state that a connection had before it was closed or ended.
pub(super) enum Before {
    Connecting(Box<Connecting>),
    Attached(SessionIndex),
    Over,
}

/// Where the output of a connection is.
pub(super) enum Output<'a> {
    /// With the connection, which is ready if it takes input again.
    Connection {
        transmit: &'a mut Transmit,
        is_released: bool,
    },
    Session(SessionIndex),
}

impl Connections {
    /// The size of a connection before CONNECT, in bytes.
    pub(super) const SIZE_BEFORE_CONNECT: u64 =
        (Slab::<Connection>::SLOT_SIZE as u64).saturating_add(core::mem::size_of::<Connecting>() as u64);

    pub(super) fn new() -> Self {
        Self { slab: Slab::new(), heap: 0, last_decision: 0, nothing: Transmit::default() }
    }

    /// Number of connections, with those that are over and not closed.
    pub(super) const fn len(&self) -> u32 {
        self.slab.len()
    }

    /// The size in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.heap.saturating_add(self.slab.bytes() as u64)
    }

    /// Counts a connection again: returns its principal, and what that is charged, in bytes, before and now.
    pub(super) fn recount(&mut self, id: ConnectionId) -> Option<(PrincipalIndex, u64, u64)> {
        let connection = self.slab.get_mut_by_key(id.key())?;
        let new = u32::try_from(connection.bytes()).unwrap_or(u32::MAX);
        let before = connection.charge();
        let old = core::mem::replace(&mut connection.counted, new);
        // What is taken away was added before.
        self.heap = self.heap.wrapping_sub(old.into()).wrapping_add(new.into());
        Some((connection.turn.principal(), before, connection.charge()))
    }

    /// A connection is that of another principal from now on. Returns the principal before, and what either is charged.
    pub(super) fn set_principal(
        &mut self,
        id: ConnectionId,
        principal: PrincipalIndex,
    ) -> Option<(PrincipalIndex, u64)> {
        let connection = self.slab.get_mut_by_key(id.key())?;
        Some((connection.turn.set_principal(principal), connection.charge()))
    }

    /// The connections' principals, and what they are charged, in bytes. For tests.
    pub(super) fn charges(&self) -> impl Iterator<Item = (PrincipalIndex, u64)> {
        self.slab.iter().map(|(_, connection)| (connection.turn.principal(), connection.charge()))
    }

    /// Adds a connection that waits for CONNECT; without a configuration it is over at once.
    pub(super) fn open(
        &mut self,
        server: Option<&Arc<ServerConfig>>,
        now: Instant,
        origin: Origin,
        principal: PrincipalIndex,
    ) -> ConnectionId {
        let state = match server {
            Some(server) => State::Connecting(Box::new(Connecting {
                acceptor: Acceptor::new(Arc::clone(server), now),
                scheduled: Instant::NEVER,
                origin,
                is_held: false,
                known_output: KnownOutput::NONE,
            })),
            None => State::Over(Transmit::default()),
        };
        match self.slab.insert(Connection { state, pending: None, turn: InputTurn::new(principal), counted: 0 }) {
            Some(key) => ConnectionId::new(key),
            // The slab is full (2^32 connections): return an id that matches no connection.
            None => ConnectionId::NONE,
        }
    }

    /// Whether a connection exists, that is: was not closed.
    #[inline]
    pub(super) fn contains(&self, id: ConnectionId) -> bool {
        self.slab.get_by_key(id.key()).is_some()
    }

    #[inline]
    pub(super) fn step(&mut self, id: ConnectionId) -> Step<'_> {
        match self.slab.get_mut_by_key(id.key()) {
            None | Some(Connection { state: State::Over(_), .. }) => Step::Over,
            Some(Connection { pending: Some(_), .. }) => Step::Waiting,
            Some(Connection { state: State::Connecting(connecting), .. }) => Step::Connecting(connecting),
            Some(Connection { state: State::Attached(index), .. }) => Step::Attached(*index),
        }
    }

    /// The timer of a connection runs; returns the connection if its client is not accepted yet.
    pub(super) fn take_timer(&mut self, index: u32) -> Option<ConnectionId> {
        let id = ConnectionId::new(self.slab.key(index)?);
        self.connecting(id)?.scheduled = Instant::NEVER;
        Some(id)
    }

    /// The client of a connection, if it is not accepted yet, whether or not the connection waits for a decision.
    pub(super) fn connecting(&mut self, id: ConnectionId) -> Option<&mut Connecting> {
        match &mut self.slab.get_mut_by_key(id.key())?.state {
            State::Connecting(connecting) => Some(connecting),
            State::Attached(_) | State::Over(_) => None,
        }
    }

    /// The session of a connection.
    #[inline]
    pub(super) fn session(&self, id: ConnectionId) -> Option<SessionIndex> {
        match self.slab.get_by_key(id.key())?.state {
            State::Attached(index) => Some(index),
            State::Connecting(_) | State::Over(_) => None,
        }
    }

    pub(super) fn is_over(&self, id: ConnectionId) -> bool {
        self.slab.get_by_key(id.key()).is_none_or(|connection| matches!(connection.state, State::Over(_)))
    }

    /// Where the output of a connection is.
    #[inline]
    pub(super) fn output(&mut self, id: ConnectionId) -> Output<'_> {
        match self.slab.get_mut_by_key(id.key()).map(|connection| &mut connection.state) {
            Some(State::Connecting(connecting)) => {
                let is_released = connecting.take_released();
                connecting.has_new_output(); // the caller knows it from here on
                Output::Connection { transmit: connecting.acceptor.transmit(), is_released }
            }
            Some(State::Attached(index)) => Output::Session(*index),
            Some(State::Over(rest)) => Output::Connection { transmit: rest, is_released: false },
            None => Output::Connection { transmit: &mut self.nothing, is_released: false },
        }
    }

    /// The client of a connection was accepted into a session.
    pub(super) fn attach(&mut self, id: ConnectionId, index: SessionIndex) {
        match self.slab.get_mut_by_key(id.key()) {
            Some(connection) => connection.state = State::Attached(index),
            None => bug!("a connection exists while its client is accepted"),
        }
    }

    /// Ends a connection. What is still to be written can be, and a decision of the policy is not waited for any more.
    pub(super) fn end(&mut self, id: ConnectionId, rest: Transmit) -> Before {
        let Some(connection) = self.slab.get_mut_by_key(id.key()) else {
            bug!("a connection that ends exists");
            return Before::Over;
        };
        connection.pending = None;
        core::mem::replace(&mut connection.state, State::Over(rest)).into()
    }

    /// Removes a connection whose transport is closed, and returns its principal and what that was charged; `None` if that was
    /// done before.
    pub(super) fn close(&mut self, id: ConnectionId) -> Option<(Before, PrincipalIndex, u64)> {
        let connection = self.slab.remove_by_key(id.key())?;
        self.heap = self.heap.saturating_sub(connection.counted.into());
        let (principal, charge) = (connection.turn.principal(), connection.charge());
        Some((connection.state.into(), principal, charge))
    }

    /// The id of the next decision that the policy is asked for.
    pub(super) const fn next_decision(&mut self, id: ConnectionId) -> DecisionId {
        self.last_decision = self.last_decision.wrapping_add(1);
        DecisionId::new(id, self.last_decision)
    }

    /// The id of the first of several decisions that the policy is asked for; their numbers are one after the other.
    pub(super) const fn next_decisions(&mut self, id: ConnectionId, count: u32) -> DecisionId {
        let first = self.last_decision.wrapping_add(1);
        self.last_decision = self.last_decision.wrapping_add(count);
        DecisionId::new(id, first)
    }

    /// The decision that a connection waits for.
    pub(super) fn pending_mut(&mut self, id: ConnectionId) -> Option<&mut PendingDecision> {
        self.slab.get_mut_by_key(id.key())?.pending.as_deref_mut()
    }

    /// Whether a connection takes no input because too many challenges of its client wait to be written.
    pub(super) fn is_full(&self, id: ConnectionId) -> bool {
        let state = self.slab.get_by_key(id.key()).map(|connection| &connection.state);
        matches!(state, Some(State::Connecting(connecting)) if connecting.acceptor.is_full())
    }

    /// Whether a connection waits for a decision of the policy.
    pub(super) fn is_waiting(&self, id: ConnectionId) -> bool {
        self.slab.get_by_key(id.key()).is_some_and(|connection| connection.pending.is_some())
    }

    /// What input of a connection needs: its turn, and the session that takes it, if the client is accepted and no decision of
    /// the policy is waited for. `None` if the connection is over.
    #[inline]
    pub(super) fn input(&mut self, id: ConnectionId) -> Option<(&mut InputTurn, Option<SessionIndex>)> {
        match self.slab.get_mut_by_key(id.key())? {
            Connection { state: State::Attached(index), pending: None, turn, .. } => Some((turn, Some(*index))),
            Connection { state: State::Over(_), .. } => None,
            Connection { turn, .. } => Some((turn, None)),
        }
    }

    /// The turn of the input of a connection; `None` if the connection is over.
    pub(super) fn turn_mut(&mut self, id: ConnectionId) -> Option<&mut InputTurn> {
        match self.slab.get_mut_by_key(id.key()) {
            None | Some(Connection { state: State::Over(_), .. }) => None,
            Some(connection) => Some(&mut connection.turn),
        }
    }

    /// The principal of a connection, which may be over.
    pub(super) fn principal(&self, id: ConnectionId) -> Option<PrincipalIndex> {
        self.slab.get_by_key(id.key()).map(|connection| connection.turn.principal())
    }

    /// Whether the input of a connection waits for its turn.
    pub(super) fn waits_for_turn(&self, id: ConnectionId) -> bool {
        self.slab.get_by_key(id.key()).is_some_and(|connection| connection.turn.is_waiting())
    }

    /// Lets a connection wait for a decision of the policy.
    pub(super) fn wait(&mut self, id: ConnectionId, pending: PendingDecision) {
        match self.slab.get_mut_by_key(id.key()) {
            Some(connection) => connection.pending = Some(Box::new(pending)),
            None => bug!("a connection exists while the policy is asked about it"),
        }
    }

    /// The decision that a connection waits for, if it is this one. The connection waits no more.
    pub(super) fn take_pending(
        &mut self,
        id: ConnectionId,
        is_it: impl FnOnce(&PendingDecision) -> bool,
    ) -> Option<PendingDecision> {
        let pending = &mut self.slab.get_mut_by_key(id.key())?.pending;
        pending.take_if(|pending| is_it(pending)).map(|pending| *pending)
    }
}

impl From<State> for Before {
    fn from(state: State) -> Self {
        match state {
            State::Connecting(connecting) => Self::Connecting(connecting),
            State::Attached(index) => Self::Attached(index),
            State::Over(_) => Self::Over,
        }
    }
}
