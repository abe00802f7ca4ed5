//! Whether the input and the output of a connection have their turn.

use super::turns::PrincipalIndex;

/// The turns of a connection's input and output.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker) struct InputTurn {
    /// The principal that bears the work.
    principal: PrincipalIndex,
    /// The units of the last input that was granted and taken whole: what the next is estimated to be. 0 if that is not known.
    last: u32,
    /// The estimate that was counted when the input was granted.
    granted: u32,
    state: State,
    /// The turn of output that was held back.
    output: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is left that the broker knows of.
    Idle,
    /// Something is left, and waits for the turn of its principal.
    Waiting,
    /// It has its turn, and an estimate is counted already.
    Granted,
}

impl State {
    const fn is_granted(self) -> Option<bool> {
        match self {
            Self::Idle => None,
            Self::Waiting => Some(false),
            Self::Granted => Some(true),
        }
    }
}

impl InputTurn {
    pub(in crate::broker) const fn new(principal: PrincipalIndex) -> Self {
        Self { principal, last: 0, granted: 0, state: State::Idle, output: State::Idle }
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
        self.state.is_granted()
    }

    /// Lets the input wait.
    pub(super) const fn wait(&mut self) {
        self.state = State::Waiting;
    }

    /// The units that the input is estimated to be; `None` if nothing is known.
    pub(super) const fn estimate(&self) -> Option<u32> {
        if self.last == 0 { None } else { Some(self.last) }
    }

    /// It is the turn of this input, and so many units are counted for it.
    pub(super) const fn grant(&mut self, estimate: u32) {
        (self.state, self.granted) = (State::Granted, estimate);
    }

    /// The input comes; returns the estimate, which was counted.
    pub(super) const fn take_grant(&mut self) -> u32 {
        self.state = State::Idle;
        self.granted
    }

    /// The units that the input was; `None` if it was not taken whole, so that the next may be as much as there is.
    pub(super) fn set_last(&mut self, units: Option<u64>) {
        self.last = units.map_or(0, |units| u32::try_from(units).unwrap_or(u32::MAX).max(1));
    }

    /// Whether output that was held back has its turn; `None` if none was.
    pub(super) const fn is_output_granted(&self) -> Option<bool> {
        self.output.is_granted()
    }

    /// Lets the output wait.
    pub(super) const fn wait_output(&mut self) {
        self.output = State::Waiting;
    }

    /// The output has its turn.
    pub(super) const fn grant_output(&mut self) {
        self.output = State::Granted;
    }

    /// The output is made.
    pub(super) const fn take_output(&mut self) {
        self.output = State::Idle;
    }
}
