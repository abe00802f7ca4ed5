//! The broker, and the tasks that wait for it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use mqtt_sansio::broker::{Admission, Answer, Broker, ConnectionId, DecisionId};
use mqtt_sansio::codec::{ConnAckReasonCode, DisconnectReasonCode};
use mqtt_sansio::{Instant, StdClock};
use tokio::sync::Notify;
use tokio::time::Sleep;
use tracing::error;

use crate::access::{Access, PasswordCheck, Peer};
use crate::checks::{CheckTurn, Checks};
use crate::fair::MemberIndex;
use crate::origin::{OriginLimits, Origins, Principal};
use crate::rate::{Meter, Rates};
use crate::turns::Turns;

/// The number of bytes read in one turn. All connections use one buffer in turns, so that an idle one needs little memory.
pub(crate) const READ: usize = 64 * 1024;

/// The limits that are not the broker's but the driver's.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) origins: OriginLimits,
    pub(crate) rates: Rates,
    /// The maximum number of passwords that are checked at a time.
    pub(crate) checks: usize,
    /// The maximum time a client waits for the check of its password to begin.
    pub(crate) max_wait: Duration,
}

/// The broker, the tasks of its connections, and its clock.
pub(crate) struct Driver {
    pub(crate) broker: RefCell<Broker<Access>>,
    pub(crate) buffer: RefCell<Box<[u8]>>,
    pub(crate) origins: Rc<Origins>,
    pub(crate) checks: Rc<Checks>,
    turns: Turns,
    rates: Rates,
    clock: StdClock,
    /// The tasks of the connections, by connection index.
    tasks: RefCell<Vec<Option<(ConnectionId, MemberIndex)>>>,
    /// When [`run`](Self::run) wakes up, if it sleeps until some time. It is notified if that is too late.
    wakes_at: Cell<Option<Instant>>,
    /// Number of streams that are not closed yet.
    streams: Cell<usize>,
    closed: Notify,
}

/// A connection with a task. However the task ends, also by a panic, the broker is told that the connection has ended.
pub(crate) struct Opened {
    driver: Rc<Driver>,
    id: ConnectionId,
}

impl Opened {
    /// Opens the connection of an accepted transport. The task that has its turn is woken when the connection is ready.
    pub(crate) fn new(driver: Rc<Driver>, peer: Peer) -> Self {
        let id = {
            let mut broker = driver.broker.borrow_mut();
            let id = broker.open(driver.now(), peer.origin());
            broker.policy_mut().came_from(id, peer);
            id
        };
        driver.register(id);
        driver.streams.set(driver.streams.get() + 1);
        Self { driver, id }
    }

    pub(crate) const fn id(&self) -> ConnectionId {
        self.id
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.driver.streams.set(self.driver.streams.get() - 1);
        // A second panic while the task unwinds from a first one would abort the program.
        if catch_unwind(AssertUnwindSafe(|| self.driver.detach(self.id))).is_err() {
            error!(id = %self.id, "the broker does not know that the connection is gone");
        }
        self.driver.closed.notify_waiters();
    }
}

/// Wakes a task at a time that may change.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    at: Option<Instant>,
}

impl Timer {
    fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), at: None }
    }

    /// Waits until the deadline, or until an earlier one that there was before.
    fn poll(&mut self, clock: &StdClock, deadline: Option<Instant>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(deadline) = deadline.filter(|&deadline| self.at.is_none_or(|at| deadline < at)) {
            // Timers are not exact to the microsecond: a little later is in time.
            let wait = clock.until(deadline) + Duration::from_millis(1);
            let now = tokio::time::Instant::now();
            // Further off than the runtime can tell is once a year.
            let then = now.checked_add(wait).unwrap_or(now + Duration::from_secs(365 * 24 * 3600));
            self.sleep.as_mut().reset(then);
            self.at = Some(deadline);
        }
        if self.at.is_none() {
            return Poll::Pending;
        }
        let due = self.sleep.as_mut().poll(context);
        if due.is_ready() {
            self.at = None;
        }
        due
    }
}

impl Driver {
    pub(crate) fn new(broker: Broker<Access>, limits: Limits) -> Self {
        Self {
            broker: RefCell::new(broker),
            buffer: RefCell::new(vec![0; READ].into()),
            origins: Origins::new(limits.origins),
            checks: Checks::new(limits.checks, limits.max_wait),
            turns: Turns::new(),
            rates: limits.rates,
            clock: StdClock::new(),
            tasks: RefCell::default(),
            wakes_at: Cell::new(None),
            streams: Cell::new(0),
            closed: Notify::new(),
        }
    }

    /// Returns the time; within a turn it is the time at which the turn began, which saves reading the clock.
    pub(crate) fn now(&self) -> Instant {
        self.turns.now().unwrap_or_else(|| self.clock.now())
    }

    /// Registers the task that has its turn, to be woken when this connection is ready.
    fn register(&self, id: ConnectionId) {
        let Some(task) = self.turns.current() else { return };
        let mut tasks = self.tasks.borrow_mut();
        if tasks.len() <= id.index() {
            tasks.resize(id.index() + 1, None);
        }
        tasks[id.index()] = Some((id, task));
    }

    /// Wakes the tasks of the connections that are ready, except for the running one.
    pub(crate) fn wake(&self, awake: Option<ConnectionId>) {
        let mut broker = self.broker.borrow_mut();
        let tasks = self.tasks.borrow();
        while let Some(id) = broker.next_ready() {
            if Some(id) != awake
                && let Some(&Some((known, task))) = tasks.get(id.index())
                && known == id
            {
                self.turns.wake(task);
            }
        }
        let wakes_at = self.wakes_at.get();
        if broker.deadline().is_some_and(|deadline| wakes_at.is_none_or(|at| deadline < at)) {
            self.turns.nudge();
        }
    }

    /// Tells the broker that a connection has ended. Its stream may still be open.
    pub(crate) fn detach(&self, id: ConnectionId) {
        {
            let mut broker = self.broker.borrow_mut();
            broker.closed(self.now(), id);
            broker.policy_mut().is_gone(id);
        }
        if let Some(task) = self.tasks.borrow_mut().get_mut(id.index())
            && task.as_ref().is_some_and(|(known, _)| *known == id)
        {
            *task = None;
        }
        self.wake(None);
    }

    /// Starts the task of a connection, or of one that will be.
    pub(crate) fn spawn(&self, principal: Principal, task: impl Future<Output = ()> + 'static) {
        self.turns.spawn(principal, task);
    }

    /// The task that has its turn works for somebody else from now on.
    pub(crate) fn belongs_to(&self, principal: Principal) {
        self.turns.reassign_current(principal);
    }

    /// What holds a client's input back, if something does.
    pub(crate) fn meter(&self) -> Option<Meter> {
        Meter::new(self.rates, self.now())
    }

    /// Waits until some time that comes from the driver's clock.
    pub(crate) fn sleep_until(&self, at: Instant) -> Sleep {
        tokio::time::sleep(self.clock.until(at))
    }

    /// Gives the broker the answer to a client, unless its connection has ended.
    fn answer(&self, id: DecisionId, admission: Admission) {
        {
            let mut broker = self.broker.borrow_mut();
            if broker.is_over(id.connection()) {
                return;
            }
            let _ = broker.answer(self.now(), id, Answer::Connect(admission));
        }
        self.wake(None);
    }

    /// Checks a password in a thread of its own: to compute a hash may take seconds. There are so few of these threads that
    /// the broker's own has a processor left.
    pub(crate) fn check_password(self: &Rc<Self>, mut check: PasswordCheck, principal: Principal, turn: CheckTurn) {
        let (id, driver) = (check.id, Rc::clone(self));
        let (slow, password) = (check.slow.clone(), std::mem::take(&mut check.password));
        let computed = tokio::task::spawn_blocking(move || slow.fits(&password));
        self.spawn(principal, async move {
            // A password whose check has failed with an error is not right.
            let is_right = computed.await.unwrap_or(false);
            drop(turn);
            driver.answer(id, check.admission(is_right));
        });
    }

    /// Refuses a client whose password could not be checked in time.
    pub(crate) fn give_up_check(&self, id: DecisionId) {
        self.answer(id, ConnAckReasonCode::ServerUnavailable.into());
    }

    /// Runs the tasks of connections and the broker's timers for ever.
    ///
    /// Between two turns the broker has one of its own when something is due, and whenever some turns are over the runtime
    /// looks for events, so that one who has something to do is known.
    pub(crate) async fn run(self: Rc<Self>) {
        let mut timer = Timer::new();
        loop {
            // Nothing has to be woken: it is awake.
            self.wakes_at.set(Some(Instant::EPOCH));
            if self.turns.work(&self.clock, |now| self.keep_time(now)) || self.is_due(self.now()) {
                // This comes back after the runtime has looked for events, not before.
                tokio::task::yield_now().await;
                continue;
            }
            poll_fn(|context| {
                let deadline = self.broker.borrow().deadline();
                let due = timer.poll(&self.clock, deadline, context);
                self.wakes_at.set(timer.at);
                if self.turns.poll_woken(context).is_ready() { Poll::Ready(()) } else { due }
            })
            .await;
        }
    }

    /// Whether the broker has something to do. While it has work that one call does not finish, that is always so.
    fn is_due(&self, now: Instant) -> bool {
        self.broker.borrow().deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Lets the broker do what is due, for one call.
    fn keep_time(&self, now: Instant) {
        if !self.is_due(now) {
            return;
        }
        // A fault in what one client is owed must not end what all others are owed. The panic hook logs it.
        let _ = catch_unwind(AssertUnwindSafe(|| self.broker.borrow_mut().poll(now)));
        self.wake(None);
    }

    /// Disconnects all clients.
    pub(crate) fn shut_down(&self) {
        let ids: Vec<_> = self.tasks.borrow().iter().flatten().map(|(id, _)| *id).collect();
        for id in ids {
            self.broker.borrow_mut().disconnect(self.now(), id, DisconnectReasonCode::ServerShuttingDown);
        }
        self.wake(None);
    }

    /// Number of open streams, including those that are being closed.
    pub(crate) const fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Waits until all streams are closed.
    pub(crate) async fn all_closed(&self) {
        while self.streams() != 0 {
            self.closed.notified().await;
        }
    }
}
