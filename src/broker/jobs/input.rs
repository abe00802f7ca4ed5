//! Whether the input of a connection has its turn.

use super::turns::PrincipalIndex;

/// The turn of a connection's input.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker) struct InputTurn {
    /// The principal that bears the work.
    principal: PrincipalIndex,
    /// The units of the last input that was taken: what the next is estimated to be.
    last: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is left that the broker knows of.
    Idle,
    /// Input was left, and waits for the turn of its principal.
    Waiting,
    /// It is the turn of this input, and `last` is counted already.
    Granted,
}

impl InputTurn {
    pub(in crate::broker) const fn new(principal: PrincipalIndex) -> Self {
        Self { principal, last: 1, state: State::Idle }
    }

    /// The connection is that of another principal from now on; returns the one before.
    pub(in crate::broker) const fn set_principal(&mut self, principal: PrincipalIndex) -> PrincipalIndex {
        core::mem::replace(&mut self.principal, principal)
    }

    pub(in crate::broker) const fn principal(&self) -> PrincipalIndex {
        self.principal
    }

    /// Whether input waits for its turn.
    #[inline]
    pub(in crate::broker) fn is_waiting(&self) -> bool {
        self.state == State::Waiting
    }

    /// Whether it is the turn of this input; `None` if it does not wait for one.
    #[inline]
    pub(super) const fn is_granted(&self) -> Option<bool> {
        match self.state {
            State::Idle => None,
            State::Waiting => Some(false),
            State::Granted => Some(true),
        }
    }

    /// Lets the input wait.
    pub(super) const fn wait(&mut self) {
        self.state = State::Waiting;
    }

    /// It is the turn of this input; returns the units that it is estimated to be.
    pub(in crate::broker) const fn grant(&mut self) -> u32 {
        self.state = State::Granted;
        self.last
    }

    /// The input comes; returns the estimate, which was counted.
    pub(super) const fn take_grant(&mut self) -> u32 {
        self.state = State::Idle;
        self.last
    }

    /// The units that the input was.
    #[inline]
    pub(super) fn set_last(&mut self, units: u64) {
        self.last = u32::try_from(units).unwrap_or(u32::MAX).max(1);
    }
}
