//! The queue of passwords to check.
//!
//! One of a few threads computes a hash, which may take seconds. Origins take turns: many wrong passwords from one origin make
//! other clients wait for one of them, not for all. The password of a client that leaves is removed from the queue.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mqtt_sansio::broker::Origin;

use crate::fair::{Fair, MemberIndex, QUANTUM};

/// The queue of clients whose passwords are to be checked.
pub(crate) struct Checks {
    state: RefCell<State>,
    max_wait: Duration,
}

struct State {
    fair: Fair<Origin>,
    waiting: HashMap<MemberIndex, Waiting>,
    /// Number of checks that may begin.
    free: usize,
}

enum Waiting {
    /// In the queue, with the waker of the task if the task has polled for the turn.
    Asleep(Option<Waker>),
    /// The check may begin.
    Granted,
}

/// A position in the queue. Dropping it removes the client from the queue.
pub(crate) struct QueuePosition {
    checks: Rc<Checks>,
    index: MemberIndex,
}

/// The permission for one check. Dropping it lets the next check begin.
pub(crate) struct CheckTurn(Rc<Checks>);

impl Checks {
    /// Creates a queue that lets `at_a_time` checks run at the same time. A client is to wait for `max_wait` at most.
    pub(crate) fn new(at_a_time: usize, max_wait: Duration) -> Rc<Self> {
        let state = State { fair: Fair::new(), waiting: HashMap::new(), free: at_a_time };
        Rc::new(Self { state: RefCell::new(state), max_wait })
    }

    pub(crate) const fn max_wait(&self) -> Duration {
        self.max_wait
    }

    /// Adds a client to the queue.
    pub(crate) fn enqueue(self: &Rc<Self>, origin: Origin) -> QueuePosition {
        let mut state = self.state.borrow_mut();
        let index = state.fair.join(origin);
        state.waiting.insert(index, Waiting::Asleep(None));
        state.fair.wake(index);
        state.grant();
        QueuePosition { checks: Rc::clone(self), index }
    }

    /// Number of waiting clients.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.state.borrow().waiting.len()
    }
}

impl State {
    fn grant(&mut self) {
        while self.free != 0
            && let Some(index) = self.fair.next()
        {
            self.free -= 1;
            self.fair.charge(index, QUANTUM);
            if let Some(Waiting::Asleep(Some(waker))) = self.waiting.insert(index, Waiting::Granted) {
                waker.wake();
            }
        }
    }
}

impl QueuePosition {
    /// Waits for the turn, which is returned once.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<CheckTurn> {
        let mut state = self.checks.state.borrow_mut();
        match state.waiting.get_mut(&self.index) {
            Some(Waiting::Granted) => {
                state.waiting.remove(&self.index);
                Poll::Ready(CheckTurn(Rc::clone(&self.checks)))
            }
            Some(Waiting::Asleep(waker)) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for QueuePosition {
    fn drop(&mut self) {
        let mut state = self.checks.state.borrow_mut();
        if let Some(Waiting::Granted) = state.waiting.remove(&self.index) {
            state.free += 1;
        }
        state.fair.leave(self.index);
        state.grant();
    }
}

impl Drop for CheckTurn {
    fn drop(&mut self) {
        let mut state = self.0.state.borrow_mut();
        state.free += 1;
        state.grant();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(last: u8) -> Origin {
        std::net::IpAddr::from([127, 0, 0, last]).into()
    }

    fn poll(position: &QueuePosition) -> Option<CheckTurn> {
        match position.poll(&Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn origins_take_turns_and_clients_that_leave_have_none() {
        let checks = Checks::new(1, Duration::MAX);
        let mut positions: Vec<_> = (0..1000).map(|_| checks.enqueue(origin(1))).collect();
        let mut turn = positions.iter().find_map(poll);
        assert!(turn.is_some() && positions.iter().all(|position| poll(position).is_none()), "one at a time");
        let other = checks.enqueue(origin(2));
        turn = None;
        assert!(turn.is_none() && poll(&other).is_some(), "the other origin has the next turn");
        // All others leave, also the client that has the turn.
        let last = positions.remove(500);
        positions.clear();
        assert!(poll(&last).is_some());
        drop((last, other));
        assert_eq!((checks.len(), checks.state.borrow().free, checks.state.borrow().fair.principals()), (0, 1, 0));
    }
}
