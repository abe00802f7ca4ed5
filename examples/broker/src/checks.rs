//! The order in which passwords are checked.
//!
//! A hash may take seconds to be computed, by one of a few threads. Places take turns: many wrong passwords from one place
//! make others wait for one of them at a time, not for all. A client that leaves takes its password out of the queue.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::fair::{Fair, MemberIndex, QUANTUM};
use crate::origin::Origin;

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
    /// The task is woken when its turn has come, if it has asked.
    Asleep(Option<Waker>),
    Granted,
}

/// A place in the queue, given up when it is dropped.
pub(crate) struct Place {
    checks: Rc<Checks>,
    index: MemberIndex,
}

/// The turn of one check; the next one begins when it is dropped.
pub(crate) struct CheckTurn(Rc<Checks>);

impl Checks {
    /// Lets as many checks run at a time. A client should not wait longer than `max_wait` for its turn.
    pub(crate) fn new(at_a_time: usize, max_wait: Duration) -> Rc<Self> {
        let state = State { fair: Fair::new(), waiting: HashMap::new(), free: at_a_time };
        Rc::new(Self { state: RefCell::new(state), max_wait })
    }

    pub(crate) const fn max_wait(&self) -> Duration {
        self.max_wait
    }

    /// Adds a client to the queue.
    pub(crate) fn enqueue(self: &Rc<Self>, origin: Origin) -> Place {
        let mut state = self.state.borrow_mut();
        let index = state.fair.join(origin);
        state.waiting.insert(index, Waiting::Asleep(None));
        state.fair.wake(index);
        state.grant();
        Place { checks: Rc::clone(self), index }
    }

    /// Number of clients that wait.
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

impl Place {
    /// Waits for the turn. It is taken once.
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

impl Drop for Place {
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
        Origin::of([127, 0, 0, last].into())
    }

    fn poll(place: &Place) -> Option<CheckTurn> {
        match place.poll(&Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn places_take_turns_and_those_that_leave_have_none() {
        let checks = Checks::new(1, Duration::MAX);
        let mut places: Vec<_> = (0..1000).map(|_| checks.enqueue(origin(1))).collect();
        let mut turn = places.iter().find_map(poll);
        assert!(turn.is_some() && places.iter().all(|place| poll(place).is_none()), "one at a time");
        let other = checks.enqueue(origin(2));
        turn = None;
        assert!(turn.is_none() && poll(&other).is_some(), "the other place has the next one");
        // All others leave, the one whose turn it is too.
        let last = places.remove(500);
        places.clear();
        assert!(poll(&last).is_some());
        drop((last, other));
        assert_eq!((checks.len(), checks.state.borrow().free, checks.state.borrow().fair.principals()), (0, 1, 0));
    }
}
