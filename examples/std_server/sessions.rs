//! Where the sessions are: each with a connection, or kept for its client to come back.

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
    /// Wakes those who wait for a session, and the keeper.
    changed: Condvar,
    /// The threads that have a connection, each under a number of its own.
    visitors: Mutex<Visitors>,
    /// Wakes whoever waits for the last of them.
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

/// Where a session is.
enum Place {
    Connected(Arc<Owner>),
    Kept(Box<Client>),
}

/// The thread that has a session.
struct Owner {
    thread: Thread,
    has_to_leave: AtomicBool,
}

/// The right to a session. Whoever drops it gives the session up.
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

    /// Notes that the calling thread has a connection, until the visit is dropped.
    pub(crate) fn visit(&self) -> Visit<'_> {
        let mut visitors = self.visitors();
        let number = visitors.next;
        visitors.next = number.wrapping_add(1);
        visitors.threads.insert(number, thread::current());
        Visit { sessions: self, number }
    }

    /// Whether the program is about to end. Each thread with a connection is woken when that begins.
    pub(crate) fn is_shutting_down(&self) -> bool {
        self.is_shutting_down.load(Ordering::Acquire)
    }

    /// Ends all connections, and waits until they are closed, but no longer than this.
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

    /// Accepts a client into its session: the one that is kept, that of another connection, or a new one.
    pub(crate) fn accept(&self, acceptor: &mut Acceptor, connect: &Connect<'_>) -> Result<(Seat<'_>, Client)> {
        let (client_id, assigned_client_id) = match connect.client_identifier.as_str() {
            "" => {
                // The random number of the standard library: nobody else can guess the name, and so take the session.
                let assigned = format!("auto-{:016x}", RandomState::new().build_hasher().finish());
                (assigned.clone(), Some(assigned))
            }
            own => (own.to_owned(), None),
        };
        let (seat, kept) = self.claim(client_id);
        let (session, wishes) = kept.map(|kept| (kept.session, kept.wishes)).unzip();
        let wishes = wishes.filter(|_| !connect.clean_start); // what else is left of the session then, `accept` ends
        let what = if wishes.is_some() { "resumed" } else { "new" };
        let wishes = wishes.unwrap_or_default();
        match acceptor.accept(self.clock.now(), session, Accept { assigned_client_id, ..Accept::default() }) {
            Ok(session) => {
                log(format_args!("{}: connected with MQTT {}, {what} session", seat.client_id, session.version()));
                Ok((seat, Client { session, wishes }))
            }
            Err(refused) => {
                // A client that has no room for our CONNACK, for one. What was kept for it is kept on.
                if let Some(session) = refused.kept {
                    seat.leave(Client { session: *session, wishes });
                }
                Err(refused.reason.into())
            }
        }
    }

    /// Takes the place of this client, and what was kept there. If another connection has the session, it has to leave
    /// first.
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

    /// Does what is due in a session without a connection. Whether it goes on.
    fn look_after(&self, client: &mut Client) -> bool {
        let goes_on = matches!(client.advance(self.clock.now(), &mut &[][..], &self.arguments), Ok(State::Open));
        if !goes_on {
            log(format_args!("{}: the session has ended", client.session.client_id()));
        }
        goes_on
    }

    /// Looks after the sessions that have no connection, for ever.
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

    /// Whether another connection wants the session. Whoever asks for it wakes this thread.
    pub(crate) fn has_to_leave(&self) -> bool {
        self.owner.has_to_leave.load(Ordering::Acquire)
    }

    /// The connection is gone: the session waits for the next one, if it does not end with this one.
    pub(crate) fn leave(self, mut client: Client) {
        client.session.closed(self.sessions.clock.now());
        if self.sessions.look_after(&mut client) {
            self.sessions.places().insert(self.client_id.clone(), Place::Kept(client.into()));
        } // and else dropping the seat frees the place
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
