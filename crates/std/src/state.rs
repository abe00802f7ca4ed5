//! The state that the handles, the events and the driving thread of a client share.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use mqtt_sansio::client::{ClientSession, Connected, Resumption, SubscribeError};
use mqtt_sansio::codec::Disconnect;
use mqtt_sansio::{DisconnectError, Instant, Outcome, OwnedOutcome, StdClock, Token, Version};

use crate::error::Ended;
use crate::event::Event;
use crate::subscriptions::{Request, Subscriptions};

/// The state of a client, and what wakes the threads that wait for it.
pub(crate) struct Shared {
    pub(crate) clock: StdClock,
    state: Mutex<State>,
    /// Notified when an event arrives, and when the client has ended.
    arrived: Condvar,
    /// Notified when an operation has its outcome, and when the client has ended.
    done: Condvar,
    /// The driving thread.
    driver: OnceLock<Thread>,
    /// Whether the driving thread was woken since it last waited. A store or an authenticator that waits on that thread, for
    /// example on a channel, may use up the `unpark`.
    is_woken: AtomicBool,
}

pub(crate) struct State {
    pub(crate) session: ClientSession,
    /// The events that were not taken yet.
    events: VecDeque<Event>,
    max_events: usize,
    /// Whether somebody can take the events.
    has_events: bool,
    /// Number of handles.
    handles: usize,
    /// What is done with the outcomes of the operations.
    waiting: HashMap<Token, Waiting>,
    subscriptions: Subscriptions,
    resubscribes: bool,
    /// Whether the client is to disconnect and end.
    is_leaving: bool,
    /// Whether the driving thread waits for a transport to connect.
    is_connecting: bool,
    /// Whether the client has ended: the driving thread does nothing more.
    has_ended: bool,
    /// Number of times that somebody has asked to have everything stored.
    wanted: u64,
    /// The number of those that are answered: what was done before is stored.
    stored: u64,
}

/// What is done with the outcome of an operation.
pub(crate) enum Waiting {
    Publish(SyncSender<OwnedOutcome>),
    Subscribe(SyncSender<OwnedOutcome>, Request),
    Unsubscribe(SyncSender<OwnedOutcome>, Vec<String>),
    Resubscribe(Request),
}

impl Shared {
    pub(crate) fn new(session: ClientSession, clock: StdClock, max_events: usize, resubscribes: bool) -> Arc<Self> {
        let state = State {
            session,
            events: VecDeque::new(),
            max_events,
            has_events: true,
            handles: 1,
            waiting: HashMap::new(),
            subscriptions: Subscriptions::default(),
            resubscribes,
            is_leaving: false,
            is_connecting: false,
            has_ended: false,
            wanted: 0,
            stored: 0,
        };
        Arc::new(Self {
            clock,
            state: Mutex::new(state),
            arrived: Condvar::new(),
            done: Condvar::new(),
            driver: OnceLock::new(),
            is_woken: AtomicBool::new(false),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the thread that is woken by [`wake`](Self::wake).
    pub(crate) fn set_driver(&self, thread: Thread) {
        let _ = self.driver.set(thread); // set once
    }

    /// Wakes the driving thread.
    pub(crate) fn wake(&self) {
        self.is_woken.store(true, Ordering::Release);
        if let Some(driver) = self.driver.get() {
            driver.unpark();
        }
    }

    /// Lets the driving thread wait until the deadline, or not at all if it was woken meanwhile.
    pub(crate) fn wait(&self, deadline: Option<Instant>, wait: impl FnOnce(Option<Instant>)) {
        let is_woken = self.is_woken.load(Ordering::Acquire);
        wait(if is_woken { Some(Instant::EPOCH) } else { deadline });
        self.is_woken.swap(false, Ordering::AcqRel); // the driving thread looks at everything now
    }

    /// Waits until an operation has its outcome or the client has ended.
    pub(crate) fn wait_for_outcome<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.done.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything that was done before is stored.
    pub(crate) fn wait_until_stored(&self) -> Result<(), Ended> {
        let mut state = self.lock();
        state.check()?;
        if !state.session.config().durable {
            return Ok(());
        }
        state.wanted = state.wanted.saturating_add(1);
        let wanted = state.wanted;
        self.wake();
        while state.stored < wanted {
            if state.has_ended {
                return Err(Ended);
            }
            state = self.wait_for_outcome(state);
        }
        Ok(())
    }

    /// Wakes the threads that wait for events and for outcomes.
    pub(crate) fn notify(&self) {
        self.arrived.notify_all();
        self.done.notify_all();
    }

    /// Takes the next event; waits for it if necessary, at most for this time. Returns `None` if there is none, or if the
    /// client has ended.
    pub(crate) fn take_event(&self, patience: Option<Duration>) -> Option<Event> {
        let end = patience.map(|patience| self.clock.now() + patience);
        let mut state = self.lock();
        loop {
            let was_full = state.is_full();
            if let Some(event) = state.events.pop_front() {
                if was_full {
                    self.wake();
                }
                return Some(event);
            }
            if state.has_ended {
                return None;
            }
            state = match end {
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(end) if self.clock.now() >= end => return None,
                Some(end) => {
                    let woken = self.arrived.wait_timeout(state, self.clock.until(end));
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Notes that the events are not taken any more.
    pub(crate) fn drop_events(&self) {
        let mut state = self.lock();
        state.has_events = false;
        let events = std::mem::take(&mut state.events);
        state.leave_if_alone();
        drop(state);
        drop(events);
        self.wake();
    }

    pub(crate) fn add_handle(&self) {
        let mut state = self.lock();
        state.handles = state.handles.saturating_add(1);
    }

    pub(crate) fn drop_handle(&self) {
        let mut state = self.lock();
        state.handles = state.handles.saturating_sub(1);
        state.leave_if_alone();
        drop(state);
        self.wake();
    }

    /// Notes that the driving thread has ended: no operation gets an outcome any more.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.has_ended = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting); // wakes each `Pending`
        self.notify();
    }
}

impl State {
    /// Returns an error if the client has ended, or is about to.
    pub(crate) const fn check(&self) -> Result<(), Ended> {
        if self.has_ended || self.is_leaving { Err(Ended) } else { Ok(()) }
    }

    /// Returns the number of the last request to store everything.
    pub(crate) const fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Notes that everything is stored that was done before this request. Returns whether somebody may wait for that.
    pub(crate) const fn set_stored(&mut self, wanted: u64) -> bool {
        let is_news = self.stored < wanted;
        self.stored = wanted;
        is_news
    }

    pub(crate) const fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Returns whether the client is about to end, and something of it is still to be written or stored.
    pub(crate) const fn is_ending(&self) -> bool {
        !self.has_ended && !self.is_connecting
    }

    /// Notes that the driving thread waits for a transport from now on. Returns whether it may: a client that is about to end
    /// opens no connection. Both are one step, since [`Client::disconnect`](crate::Client::disconnect) waits for a client that
    /// does not connect.
    pub(crate) const fn begin_to_connect(&mut self) -> bool {
        self.is_connecting = !self.is_leaving;
        self.is_connecting
    }

    /// Notes that the attempt to connect is over.
    pub(crate) const fn has_connected(&mut self) {
        self.is_connecting = false;
    }

    /// Makes the client disconnect and end.
    pub(crate) const fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// Makes the client end if it is not used any more.
    const fn leave_if_alone(&mut self) {
        if self.handles == 0 && !self.has_events {
            self.is_leaving = true;
        }
    }

    /// Puts DISCONNECT into the output.
    pub(crate) fn disconnect(&mut self, clock: &StdClock) -> Result<(), DisconnectError> {
        self.session.disconnect(clock.now(), &Disconnect::default())
    }

    /// Returns whether no more events are accepted, because the application does not take them.
    pub(crate) fn is_full(&self) -> bool {
        self.has_events && !self.is_leaving && self.events.len() >= self.max_events
    }

    pub(crate) fn push(&mut self, event: Event) {
        if self.has_events {
            self.events.push_back(event);
        }
    }

    /// Sets what is done with the outcome of an operation.
    pub(crate) fn wait_for(&mut self, token: Token, waiting: Waiting) {
        self.waiting.insert(token, waiting);
    }

    /// Passes an outcome on.
    pub(crate) fn done(&mut self, token: Token, outcome: &Outcome<'_>) {
        // Sending fails if the outcome is not waited for any more.
        match self.waiting.remove(&token) {
            Some(Waiting::Publish(sender)) => drop(sender.try_send(outcome.to_owned())),
            Some(Waiting::Subscribe(sender, request)) => {
                self.subscriptions.answered(request, outcome);
                drop(sender.try_send(outcome.to_owned()));
            }
            Some(Waiting::Unsubscribe(sender, filters)) => {
                if let Outcome::Unsubscribed { .. } = outcome {
                    self.subscriptions.unsubscribed(&filters);
                }
                drop(sender.try_send(outcome.to_owned()));
            }
            Some(Waiting::Resubscribe(request)) => {
                match outcome {
                    Outcome::Abandoned(_) => self.subscriptions.keep(request),
                    outcome => self.subscriptions.answered(request, outcome),
                }
                self.push(Event::Resubscribed(Ok(outcome.to_owned())));
            }
            None => self.push(Event::Done { token, outcome: outcome.to_owned() }),
        }
    }

    /// Reports a connection, and subscribes again if the session has no subscriptions. With 3.1 the client cannot know:
    /// CONNACK has no Session Present flag.
    pub(crate) fn connected(&mut self, clock: &StdClock, connected: &Connected<'_>) {
        let session = connected.session;
        self.push(Event::Connected(connected.to_owned()));
        let may_be_new = session != Resumption::Resumed || self.session.config().version == Version::V31;
        if may_be_new && self.resubscribes {
            self.subscriptions.renew();
        }
        self.resubscribe(clock); // now, so that the session sends the requests before what is queued
    }

    /// Sends the requests again that are due. If the session is full, the rest stays due until operations have their
    /// outcomes.
    pub(crate) fn resubscribe(&mut self, clock: &StdClock) {
        while let Some(request) = self.subscriptions.take_due() {
            match request.send(clock.now(), &mut self.session) {
                Ok(token) => self.wait_for(token, Waiting::Resubscribe(request)),
                Err(SubscribeError::QueueFull) => return self.subscriptions.put_back(request),
                Err(error) => {
                    self.subscriptions.keep(request);
                    self.push(Event::Resubscribed(Err(error)));
                }
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("session", &self.lock().session).finish_non_exhaustive()
    }
}
