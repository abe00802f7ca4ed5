//! The thread that drives the session of a client, across all its connections.

use std::io;
use std::sync::Arc;

use mqtt_sansio::client::{Action, Close};
use mqtt_sansio::codec::AuthReasonCode;
use mqtt_sansio::{Instant, StdClock};

use crate::event::{Closed, Event};
use crate::link::{Link, park};
use crate::state::{Shared, State};
use crate::store::Store;
use crate::transport::Transport;

/// Answers a step of an enhanced authentication.
pub(crate) type Authenticator = dyn FnMut(&[u8]) -> Vec<u8> + Send;

/// Establishes a connection.
type Connect = dyn FnMut() -> io::Result<Transport> + Send;

pub(crate) struct Driver {
    shared: Arc<Shared>,
    connect: Box<Connect>,
    store: Option<Box<dyn Store>>,
    authenticator: Option<Box<Authenticator>>,
    reconnects: bool,
}

/// The end of a connection.
struct End {
    closed: Closed,
    may_retry: bool,
    /// Whether the transport is alive, so that the rest of the output can be written.
    lingers: bool,
}

impl End {
    /// The transport was lost. Another connection may succeed.
    fn lost(error: &io::Error) -> Self {
        Self { closed: Closed::new(error), may_retry: true, lingers: false }
    }

    /// The client ends the connection for good.
    fn given_up(why: impl std::fmt::Display, lingers: bool) -> Self {
        Self { closed: Closed::new(why), may_retry: false, lingers }
    }

    fn by(close: &Close<'_>) -> Self {
        let lingers = !matches!(close, Close::ConnectTimeout | Close::KeepAliveTimeout);
        Self { closed: Closed::by(close), may_retry: close.may_retry(), lingers }
    }
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        connect: Box<Connect>,
        store: Option<Box<dyn Store>>,
        authenticator: Option<Box<Authenticator>>,
        reconnects: bool,
    ) -> Self {
        Self { shared, connect, store, authenticator, reconnects }
    }

    /// Opens one connection after another, until no further one is needed.
    pub(crate) fn run(mut self) {
        loop {
            let End { mut closed, mut may_retry, .. } = self.converse();
            let clock = self.clock();
            let mut state = self.shared.lock();
            state.session.closed(clock.now());
            take_reports(&mut state, &clock);
            drop(state);
            if let Err(error) = self.commit() {
                (closed, may_retry) = (Closed::new(error), false);
            }
            let mut state = self.shared.lock();
            let goes_on = may_retry && self.reconnects && !state.is_leaving();
            closed.retry_after = goes_on.then(|| state.session.backoff());
            let pause = closed.retry_after;
            state.push(Event::Closed(closed));
            drop(state);
            self.shared.notify();
            let Some(pause) = pause else { return };
            if let Err(error) = self.pause(clock.now() + pause) {
                self.shared.lock().push(Event::Closed(Closed::new(error)));
                return; // `drop` wakes those who wait
            }
        }
    }

    /// Waits for the next attempt, and stores meanwhile what the application publishes.
    fn pause(&mut self, end: Instant) -> io::Result<()> {
        let clock = self.clock();
        while clock.now() < end && !self.shared.lock().is_leaving() {
            self.commit()?;
            self.shared.wait(Some(end), |deadline| park(deadline, &clock));
        }
        Ok(())
    }

    fn clock(&self) -> StdClock {
        self.shared.clock
    }

    /// Runs one connection from its beginning to its end.
    fn converse(&mut self) -> End {
        if !self.shared.lock().begin_to_connect() {
            return End::given_up(Close::Requested, false);
        }
        let clock = self.clock();
        let transport = (self.connect)();
        self.shared.lock().has_connected();
        let mut link = match transport.and_then(|transport| Link::new(transport, clock)) {
            Ok(link) => link,
            Err(error) => return End::lost(&error),
        };
        if let Err(error) = self.shared.lock().session.open(clock.now()) {
            return End::given_up(error, false);
        }
        let end = self.exchange(&mut link);
        if end.lingers {
            // The session is not locked while this thread waits.
            link.flush(|link| link.write(self.shared.lock().session.transmit()));
            link.finish();
        }
        end
    }

    /// Reads, writes and waits, until the connection has ended.
    fn exchange(&mut self, link: &mut Link) -> End {
        let (shared, clock) = (Arc::clone(&self.shared), self.clock());
        let mut has_left = false;
        loop {
            let mut state = shared.lock();
            if state.is_leaving() && !has_left {
                has_left = true;
                if state.disconnect(&clock).is_err() {
                    return End::given_up(Close::Requested, false);
                }
            }
            // Input that is left has its turn before more is received: there is never more of it than one receipt.
            let mut close = self.take_actions(&mut state, link, &clock);
            let mut lost = None;
            if close.is_none() && !state.is_full() && state.session.takes_input() {
                lost = link.receive();
                close = self.take_actions(&mut state, link, &clock);
            } else if close.is_none() && !state.is_full() {
                lost = link.write_error();
            }
            let is_full = state.is_full();
            drop(state);
            shared.notify();
            if let Err(error) = self.commit() {
                let _ = shared.lock().disconnect(&clock); // so that the server does not publish the will
                return End::given_up(error, true);
            }
            if let Some(end) = close {
                return end; // `flush` writes the rest of the output
            }
            let mut state = shared.lock();
            link.write(state.session.transmit());
            let deadline = state.session.deadline();
            drop(state);
            match lost {
                Some(error) if !is_full => return End::lost(&error),
                _ => shared.wait(deadline, |deadline| link.wait(deadline)),
            }
        }
    }

    /// Handles the actions of the session on received bytes and on the time, until the application has enough events.
    fn take_actions(&mut self, state: &mut State, link: &mut Link, clock: &StdClock) -> Option<End> {
        let mut input = link.input();
        let end = self.take_all(state, &mut input, clock);
        let left = input.len();
        link.keep(left);
        state.resubscribe(clock); // what found no room before
        end
    }

    fn take_all(&mut self, state: &mut State, input: &mut &[u8], clock: &StdClock) -> Option<End> {
        loop {
            // While the application does not take its events, the server may not be judged by its silence.
            let action = match state.is_full() {
                true => state.session.poll_held(clock.now()),
                false => state.session.poll(clock.now(), input),
            };
            match action? {
                Action::Connected(connected) => state.connected(clock, &connected),
                Action::Message(message) => state.push(Event::Message(message.to_owned())),
                Action::Done { token, outcome } => state.done(token, &outcome),
                Action::Auth(auth) if auth.reason_code == AuthReasonCode::ContinueAuthentication => {
                    let Some(answer) = &mut self.authenticator else {
                        let _ = state.disconnect(clock); // so that the server does not publish the will
                        return Some(End::given_up("there is no authenticator", true));
                    };
                    let answer = answer(auth.properties.authentication_data.unwrap_or_default());
                    if let Err(error) = state.session.authenticate(clock.now(), &answer) {
                        let _ = state.disconnect(clock); // as above
                        return Some(End::given_up(error, true));
                    }
                }
                Action::Close(close) => return Some(End::by(&close)),
                _ => {} // a re-authentication is complete; there are no parts of payloads
            }
        }
    }

    /// Stores the changes of a durable session. The session is not locked meanwhile.
    fn commit(&mut self) -> io::Result<()> {
        let wanted = self.shared.lock().wanted();
        if let Some(store) = &mut self.store {
            loop {
                let Some(batch) = self.shared.lock().session.changes() else { break };
                store.commit(&batch)?;
                self.shared.lock().session.committed(self.shared.clock.now(), batch.number());
            }
            if store.is_long()
                && let Some(snapshot) = self.shared.lock().session.snapshot()
            {
                store.replace(&snapshot)?;
                self.shared.lock().session.committed(self.shared.clock.now(), snapshot.number());
            }
        }
        if self.shared.lock().set_stored(wanted) {
            self.shared.notify();
        }
        Ok(())
    }
}

/// Notes the end of the client, also after a panic of a function that the application has given.
impl Drop for Driver {
    fn drop(&mut self) {
        self.store = None; // a client that has ended has released its store
        self.shared.end();
    }
}

/// Passes on the outcomes that the end of a connection has caused.
fn take_reports(state: &mut State, clock: &StdClock) {
    while let Some(action) = state.session.poll_timeout(clock.now()) {
        if let Action::Done { token, outcome } = action {
            state.done(token, &outcome);
        }
    }
}
