//! What the handles, the events and the driver of a client share.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use mqtt_sansio::client::ClientSession;
use mqtt_sansio::{Instant, OwnedOutcome, Token};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::error::{Closed, DriverError};
use crate::event::Event;
use crate::options::Options;
use crate::pipe::Pipe;
use crate::state::{Over, Phase, State};

/// Maximum number of actions that are handled before the lock is released for a moment.
const BATCH: usize = 256;

/// The session and what belongs to it, under one lock. It is held for short steps only: no transport, no waker and no code
/// of the application is called while it is held.
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) clock: Clock,
    /// Notified when the session may have room for more messages.
    pub(crate) room: Notify,
    /// Notified when no operation is without an outcome, and when the driver has ended.
    pub(crate) drained: Notify,
    /// Notified when the driver has ended.
    pub(crate) ended: Notify,
}

/// The result of a step of the driver.
pub(crate) struct Step {
    /// The connection is over.
    pub(crate) close: Option<Over>,
    /// Whether there is more to do at once.
    pub(crate) has_more: bool,
    /// Whether the driver may read from the transport.
    pub(crate) reads: bool,
    /// Whether received bytes wait until the application takes events.
    pub(crate) is_withheld: bool,
    /// Whether the session takes no input before more of its output is written.
    pub(crate) is_held: bool,
    /// When the next step is due even if nothing happens.
    pub(crate) deadline: Option<Instant>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(session: ClientSession, options: Options) -> Self {
        Self {
            state: Mutex::new(State::new(session, options)),
            clock: Clock::new(),
            room: Notify::new(),
            drained: Notify::new(),
            ended: Notify::new(),
        }
    }

    /// Locks the state. Nothing panics while the lock is held, so that a poisoned lock is as good as another.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.lock())
    }

    /// Gives a command to the session, and wakes the driver, which writes what the command has put into the output.
    ///
    /// # Errors
    ///
    /// [`Closed`] if no more commands are accepted.
    pub(crate) fn command<T>(&self, command: impl FnOnce(&mut State, Instant) -> T) -> Result<T, Closed> {
        let now = self.clock.now();
        let (result, waker) = {
            let mut state = self.lock();
            if !matches!(state.phase, Phase::Running) {
                return Err(Closed);
            }
            let result = command(&mut state, now);
            (result, state.driver.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(result)
    }

    /// Asks the driver to end.
    pub(crate) fn leave(&self, phase: Phase) {
        let waker = {
            let mut state = self.lock();
            match (&state.phase, &phase) {
                (Phase::Running, _) | (Phase::Draining, Phase::Leaving) => state.phase = phase,
                _ => return,
            }
            state.driver.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Notes that no handle is left.
    pub(crate) fn drop_clients(&self) {
        let has_events = self.with(|state| {
            state.has_clients = false;
            state.events_open
        });
        if !has_events {
            self.leave(Phase::Draining);
        }
    }

    /// Notes that the application takes no events any more.
    pub(crate) fn drop_events(&self) {
        let (events, has_clients, waker) = self.with(|state| {
            state.events_open = false;
            (std::mem::take(&mut state.events), state.has_clients, state.driver.take())
        });
        drop(events);
        if let Some(waker) = waker {
            waker.wake();
        }
        if !has_clients {
            self.leave(Phase::Draining);
        }
    }

    /// Takes all events; ready without events when the driver has ended.
    pub(crate) fn poll_events(&self, into: &mut VecDeque<Event>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = {
            let mut state = self.lock();
            if state.events.is_empty() {
                if matches!(state.phase, Phase::Ended(_)) {
                    return Poll::Ready(());
                }
                state.events_waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let was_full = !state.has_room();
            state.take_events(into);
            if was_full { state.driver.take() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Poll::Ready(())
    }

    /// Returns the outcome of an operation once it is known.
    pub(crate) fn poll_outcome(&self, token: Token, cx: &mut Context<'_>) -> Poll<Result<OwnedOutcome, Closed>> {
        let mut state = self.lock();
        if let Some(outcome) = state.operations.poll(token, cx.waker()) {
            return Poll::Ready(Ok(outcome));
        }
        if matches!(state.phase, Phase::Ended(_)) { Poll::Ready(Err(Closed)) } else { Poll::Pending }
    }

    /// Makes one step without a connection: handles reports and timeouts.
    pub(crate) fn step_alone(&self, waker: &Waker, wakers: &mut Vec<Waker>) -> Step {
        let now = self.clock.now();
        let mut state = self.lock();
        state.set_driver(waker);
        let (mut close, mut count) = (None, 0);
        while count < BATCH
            && let Some(action) = state.session.poll_timeout(now)
        {
            close = close.or(state.handle(now, action, &Bytes::new(), wakers));
            count += 1;
        }
        if count == BATCH {
            waker.wake_by_ref(); // there may be more
        }
        state.collect_changes();
        let deadline = state.session.deadline();
        self.release(state, wakers);
        Step { close, has_more: false, reads: false, is_withheld: false, is_held: false, deadline }
    }

    /// Makes one step of a connection: gives received bytes to the session, handles its actions, and takes its output.
    pub(crate) fn step<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        pipe: &mut Pipe<S>,
        waker: &Waker,
        wakers: &mut Vec<Waker>,
    ) -> Step {
        let now = self.clock.now();
        let mut state = self.lock();
        state.set_driver(waker);
        pipe.report(state.session.transmit());
        let mut step =
            Step { close: None, has_more: true, reads: false, is_withheld: false, is_held: false, deadline: None };
        let input = if pipe.has_input() { pipe.take_input() } else { Bytes::new() };
        let mut rest = &input[..];
        let mut has_room = true;
        for _ in 0..BATCH {
            has_room = state.has_room();
            let action = if has_room { state.session.poll(now, &mut rest) } else { state.session.poll_held(now) };
            let Some(action) = action else {
                step.has_more = false;
                break;
            };
            step.close = state.handle(now, action, &input, wakers);
            if step.close.is_some() {
                break;
            }
        }
        let rest = rest.len();
        if !input.is_empty() {
            pipe.put_back(input, rest);
        }
        state.resubscribe(now);
        if step.close.is_none() {
            step.has_more |= state.disconnect_if_due(now);
        }
        state.collect_changes();
        pipe.fill(state.session.transmit());
        let may_read = has_room && !step.has_more;
        step.reads = may_read && state.session.takes_input();
        step.is_held = may_read && !step.reads;
        step.is_withheld = !has_room && rest > 0;
        step.deadline = state.session.deadline();
        self.release(state, wakers);
        step
    }

    /// Notes that the connection is gone, and handles what follows from it.
    pub(crate) fn closed(&self, wakers: &mut Vec<Waker>) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.session.closed(now);
        while let Some(action) = state.session.poll_timeout(now) {
            state.handle(now, action, &Bytes::new(), wakers);
        }
        state.collect_changes();
        self.release(state, wakers);
    }

    /// Adds an event.
    pub(crate) fn push_event(&self, event: Event) {
        let waker = self.with(|state| {
            state.push_event(event);
            state.events_waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends everything.
    pub(crate) fn end(&self, result: Result<(), DriverError>) {
        let mut wakers = Vec::new();
        {
            let mut state = self.lock();
            if matches!(state.phase, Phase::Ended(_)) {
                return;
            }
            state.unfinished += state.session.operations().count();
            state.phase = Phase::Ended(result);
            state.operations.take_wakers(&mut wakers);
            wakers.extend(state.events_waker.take());
        }
        wakers.into_iter().for_each(Waker::wake);
        self.room.notify_waiters();
        self.room.notify_one();
        self.drained.notify_waiters();
        self.ended.notify_waiters();
    }

    /// Unlocks the state, and wakes those whose outcomes and events have arrived.
    fn release(&self, mut state: MutexGuard<'_, State>, wakers: &mut Vec<Waker>) {
        let has_outcome = std::mem::take(&mut state.has_outcome);
        let is_drained = has_outcome && state.is_idle();
        if !state.events.is_empty() {
            wakers.extend(state.events_waker.take());
        }
        drop(state);
        wakers.drain(..).for_each(Waker::wake);
        if has_outcome {
            self.room.notify_one();
        }
        if is_drained {
            self.drained.notify_waiters();
        }
    }
}
