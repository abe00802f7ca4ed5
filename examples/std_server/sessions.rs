//! The sessions: each with a connection, or stored until its client reconnects.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use anyhow::Result;
use mqtt_sansio::codec::Connect;
use mqtt_sansio::server::{Accept, Acceptor, ServerConfig};
use mqtt_sansio::{SessionExpiry, StdClock};

use crate::arguments::Arguments;
use crate::service::{Client, State};
use crate::text::log;

pub(crate) struct Sessions {
    pub(crate) arguments: Arguments,
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) clock: StdClock,
    places: Mutex<HashMap<String, Place>>,
    /// Wakes the threads that wait for a session, and the keeper.
    changed: Condvar,
    /// The threads with a connection, each under its number.
    visitors: Mutex<Visitors>,
    /// Wakes the thread that waits for the last of them.
    left: Condvar,
    is_shutting_down: AtomicBool,
}

#[derive(Default)]
struct Visitors {
    threads: HashMap<u64, Thread>,
    next: u64,
}

/// A connection that the end of the program waits for.
pub(crate) struct Visit<'s> {
    sessions: &'s Sessions,
    number: u64,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.sessions.visitors().threads.remove(&self.number);
        self.sessions.left.notify_all();
    }
}

/// The state of a session.
enum Place {
    Connected(Arc<Owner>),
    Kept(Box<Client>),
}

/// The thread that has a session.
struct Owner {
    thread: Thread,
    has_to_leave: AtomicBool,
}

/// The right to use a session, given up on drop.
pub(crate) struct Seat<'s> {
    sessions: &'s Sessions,
    client_id: String,
    owner: Arc<Owner>,
}

impl Sessions {
    pub(crate) fn new(arguments: Arguments) -> Self {
        let config = ServerConfig {
            retain_available: false,
            shared_subscription_available: false,
            max_session_expiry_interval: SessionExpiry::after(24 * 60 * 60),
            ..ServerConfig::default()
        };
        Self {
            arguments,
            config: Arc::new(config),
            clock: StdClock::new(),
            places: Mutex::default(),
            changed: Condvar::new(),
            visitors: Mutex::default(),
            left: Condvar::new(),
            is_shutting_down: AtomicBool::new(false),
        }
    }

    fn visitors(&self) -> MutexGuard<'_, Visitors> {
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the calling thread has a connection, until the visit is dropped.
    pub(crate) fn visit(&self) -> Visit<'_> {
        let mut visitors = self.visitors();
        let number = visitors.next;
        visitors.next = number.wrapping_add(1);
        visitors.threads.insert(number, thread::current());
        Visit { sessions: self, number }
    }

    /// Returns whether the program is about to end. Each thread with a connection is woken when that begins.
    pub(crate) fn is_shutting_down(&self) -> bool {
        self.is_shutting_down.load(Ordering::Acquire)
    }

    /// Closes all connections, and waits until they are closed, but no longer than `patience`.
    pub(crate) fn shut_down(&self, patience: Duration) {
        let end = self.clock.now() + patience;
        let mut visitors = self.visitors();
        self.is_shutting_down.store(true, Ordering::Release);
        visitors.threads.values().for_each(Thread::unpark);
        while !visitors.threads.is_empty() && self.clock.now() < end {
            let woken = self.left.wait_timeout(visitors, self.clock.until(end));
            visitors = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn places(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a client into its session: the stored one, that of another connection, or a new one.
    pub(crate) fn accept(&self, acceptor: &mut Acceptor, connect: &Connect<'_>) -> Result<(Seat<'_>, Client)> {
        let (client_id, assigned_client_id) = match connect.client_identifier.as_str() {
            "" => {
                // The number is random, so that no other client can guess the client identifier and take the session
                // over.
                let assigned = format!("auto-{:016x}", RandomState::new().build_hasher().finish());
                (assigned.clone(), Some(assigned))
            }
            own => (own.to_owned(), None),
        };
        let (seat, kept) = self.claim(client_id);
        let (session, wishes) = kept.map(|kept| (kept.session, kept.wishes)).unzip();
        let wishes = wishes.filter(|_| !connect.clean_start); // `accept` ends the rest of the session then
        let what = if wishes.is_some() { "resumed" } else { "new" };
        let wishes = wishes.unwrap_or_default();
        match acceptor.accept(self.clock.now(), session, Accept { assigned_client_id, ..Accept::default() }) {
            Ok(session) => {
                log(format_args!("{}: connected with MQTT {}, {what} session", seat.client_id, session.version()));
                Ok((seat, Client { session, wishes }))
            }
            Err(refused) => {
                // For example a client whose Maximum Packet Size is below the size of CONNACK. The stored session
                // remains stored.
                if let Some(session) = refused.session {
                    seat.leave(Client { session: *session, wishes });
                }
                Err(refused.reason.into())
            }
        }
    }

    /// Takes the session of this client. If another connection has it, that one must leave first.
    fn claim(&self, client_id: String) -> (Seat<'_>, Option<Client>) {
        let owner = Arc::new(Owner { thread: thread::current(), has_to_leave: AtomicBool::new(false) });
        let mut places = self.places();
        while let Some(Place::Connected(other)) = places.get(&client_id) {
            other.has_to_leave.store(true, Ordering::Release);
            other.thread.unpark();
            places = self.changed.wait(places).unwrap_or_else(PoisonError::into_inner);
        }
        let kept = match places.insert(client_id.clone(), Place::Connected(Arc::clone(&owner))) {
            Some(Place::Kept(mut client)) => self.look_after(&mut client).then_some(*client),
            _ => None,
        };
        (Seat { sessions: self, client_id, owner }, kept)
    }

    /// Runs the timers of a session without a connection. Returns whether it continues.
    fn look_after(&self, client: &mut Client) -> bool {
        let goes_on = matches!(client.advance(self.clock.now(), &mut &[][..], &self.arguments), Ok(State::Open));
        if !goes_on {
            log(format_args!("{}: the session has ended", client.session.client_id()));
        }
        goes_on
    }

    /// Runs the timers of sessions without a connection, without end.
    pub(crate) fn keep(&self) {
        let mut places = self.places();
        loop {
            let mut next = None;
            places.retain(|_, place| {
                let Place::Kept(client) = place else { return true };
                let goes_on = self.look_after(client);
                next = [next, client.deadline()].into_iter().flatten().min();
                goes_on
            });
            places = match next {
                Some(deadline) => {
                    let woken = self.changed.wait_timeout(places, self.clock.until(deadline));
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(places).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Seat<'_> {
    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns whether another connection wants the session. The thread that asks for it wakes this one.
    pub(crate) fn has_to_leave(&self) -> bool {
        self.owner.has_to_leave.load(Ordering::Acquire)
    }

    /// The connection has ended: the session is stored for the next one, unless it ends with this one.
    pub(crate) fn leave(self, mut client: Client) {
        client.session.closed(self.sessions.clock.now());
        if self.sessions.look_after(&mut client) {
            self.sessions.places().insert(self.client_id.clone(), Place::Kept(client.into()));
        } // otherwise dropping the seat removes the session
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut places = self.sessions.places();
        let is_own = |place: &Place| matches!(place, Place::Connected(owner) if Arc::ptr_eq(owner, &self.owner));
        if places.get(&self.client_id).is_some_and(is_own) {
            places.remove(&self.client_id);
        }
        self.sessions.changed.notify_all();
    }
}
