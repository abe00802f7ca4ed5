//! The broker, its clock, and the tasks of its connections.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use mqtt_sansio::broker::{Admission, Answer, Broker, ConnectionId, DecisionId};
use mqtt_sansio::codec::{ConnAckReasonCode, DisconnectReasonCode};
use mqtt_sansio::store::Batch;
use mqtt_sansio::{Instant, StdClock};
use tokio::sync::Notify;
use tokio::time::Sleep;
use tracing::error;

use crate::access::{Access, PasswordCheck, Peer};
use crate::checks::{CheckTurn, Checks};
use crate::fair::MemberIndex;
use crate::origin::{OriginLimits, Origins, Principal};
use crate::rate::{Meter, Rates};
use crate::store::StoreError;
use crate::store::committer::Committer;
use crate::turns::Turns;

/// The number of bytes read in one turn. All connections use one buffer in turns, so that an idle one needs little memory.
pub(crate) const READ: usize = 64 * 1024;

/// The limits that the driver enforces itself.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) origins: OriginLimits,
    pub(crate) rates: Rates,
    /// Maximum number of passwords that are checked at the same time.
    pub(crate) checks: usize,
    /// Maximum time that a client waits until the check of its password begins.
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
    /// Commits the changes of a durable broker to its database.
    committer: Option<Committer<Batch>>,
    /// When changes that no packet waits for are committed, if there are some.
    commits_at: Cell<Option<Instant>>,
    /// The tasks of the connections, by connection index.
    tasks: RefCell<Vec<Option<(ConnectionId, MemberIndex)>>>,
    /// The time until which [`run`](Self::run) sleeps, if there is one. It is woken if the broker has an earlier deadline.
    wakes_at: Cell<Option<Instant>>,
    /// Number of streams that are not closed yet.
    streams: Cell<usize>,
    closed: Notify,
}

/// A connection with a task. When the task ends, also by a panic, this removes the connection from the broker.
pub(crate) struct Opened {
    driver: Rc<Driver>,
    id: ConnectionId,
}

impl Opened {
    /// Opens the connection of an accepted transport. The running task is woken when the connection is ready.
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
            error!(id = %self.id, "the connection could not be removed from the broker");
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
            // A time that the runtime cannot represent is replaced by a wait of one year.
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

/// Returns the earlier one of two deadlines.
fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

impl Driver {
    /// Creates the driver of a broker that is not durable.
    pub(crate) fn new(broker: Broker<Access>, limits: Limits, clock: StdClock) -> Self {
        Self::with(broker, limits, clock, None)
    }

    /// Creates the driver of a durable broker.
    pub(crate) fn durable(
        broker: Broker<Access>,
        limits: Limits,
        clock: StdClock,
        committer: Committer<Batch>,
    ) -> Self {
        Self::with(broker, limits, clock, Some(committer))
    }

    fn with(broker: Broker<Access>, limits: Limits, clock: StdClock, committer: Option<Committer<Batch>>) -> Self {
        Self {
            broker: RefCell::new(broker),
            buffer: RefCell::new(vec![0; READ].into()),
            origins: Origins::new(limits.origins),
            checks: Checks::new(limits.checks, limits.max_wait),
            turns: Turns::new(),
            rates: limits.rates,
            clock,
            committer,
            commits_at: Cell::new(None),
            tasks: RefCell::default(),
            wakes_at: Cell::new(None),
            streams: Cell::new(0),
            closed: Notify::new(),
        }
    }

    /// Returns the time. Within a turn this is the time at which the turn began, which saves a look at the clock.
    pub(crate) fn now(&self) -> Instant {
        self.turns.now().unwrap_or_else(|| self.clock.now())
    }

    /// Registers the running task, to be woken when this connection is ready.
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

    /// Removes a connection from the broker. Its stream may still be open.
    pub(crate) fn detach(&self, id: ConnectionId) {
        {
            let mut broker = self.broker.borrow_mut();
            broker.closed(self.now(), id);
            broker.policy_mut().remove_peer(id);
        }
        if let Some(task) = self.tasks.borrow_mut().get_mut(id.index())
            && task.as_ref().is_some_and(|(known, _)| *known == id)
        {
            *task = None;
        }
        self.wake(None);
    }

    /// Starts a task that opens and serves a connection.
    pub(crate) fn spawn(&self, principal: Principal, task: impl Future<Output = ()> + 'static) {
        self.turns.spawn(principal, task);
    }

    /// Moves the running task to another principal.
    pub(crate) fn belongs_to(&self, principal: Principal) {
        self.turns.reassign_current(principal);
    }

    /// Creates the meter of a new client, if there is a rate limit.
    pub(crate) fn meter(&self) -> Option<Meter> {
        Meter::new(self.rates, self.now())
    }

    /// Waits until a time of the driver's clock.
    pub(crate) fn sleep_until(&self, at: Instant) -> Sleep {
        tokio::time::sleep(self.clock.until(at))
    }

    /// Passes the answer to a client to the broker, unless the connection has ended.
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

    /// Checks a password in another thread, because the computation of a hash may take seconds. [`Checks`] limits the number of
    /// these threads, so that a processor is left for the broker's own thread.
    pub(crate) fn check_password(self: &Rc<Self>, mut check: PasswordCheck, principal: Principal, turn: CheckTurn) {
        let (id, driver) = (check.id, Rc::clone(self));
        let (slow, password) = (check.slow.clone(), std::mem::take(&mut check.password));
        let computed = tokio::task::spawn_blocking(move || slow.fits(&password));
        self.spawn(principal, async move {
            // A check that has panicked counts as a wrong password.
            let is_right = computed.await.unwrap_or(false);
            drop(turn);
            driver.answer(id, check.admission(is_right));
        });
    }

    /// Refuses a client whose password could not be checked in time.
    pub(crate) fn give_up_check(&self, id: DecisionId) {
        self.answer(id, ConnAckReasonCode::ServerUnavailable.into());
    }

    /// Runs the tasks of the connections and the broker's unfinished work and timers, until the database fails.
    ///
    /// Between two turns of tasks comes one [call](Broker::poll) of the broker if its deadline has passed, as is the case while
    /// the broker has unfinished work. After each slice of turns the runtime polls for events, so that the transports that have
    /// become ready take part. Both are bounded, so unfinished work delays a transport by one call and the turns of a slice. The changes of a slice are committed together.
    ///
    /// # Errors
    ///
    /// The error of the database. The broker must end: nothing that it would acknowledge is certain any more.
    pub(crate) async fn run(self: Rc<Self>) -> Result<(), StoreError> {
        let mut timer = Timer::new();
        loop {
            // No wake-up is necessary: this task is running.
            self.wakes_at.set(Some(Instant::EPOCH));
            let has_more = self.turns.work(&self.clock, |now| self.keep_time(now));
            if self.exchange()? || has_more || self.is_due(self.now()) {
                // The runtime polls for events before this returns.
                tokio::task::yield_now().await;
                continue;
            }
            poll_fn(|context| {
                let deadline = earliest(self.broker.borrow().deadline(), self.commit_deadline());
                let due = timer.poll(&self.clock, deadline, context);
                self.wakes_at.set(timer.at);
                let has_report = self.committer.as_ref().is_some_and(|it| it.poll_report(context).is_ready());
                if has_report || self.turns.poll_woken(context).is_ready() { Poll::Ready(()) } else { due }
            })
            .await;
        }
    }

    /// Returns whether the deadline of the broker has passed. While the broker has unfinished work, it has.
    fn is_due(&self, now: Instant) -> bool {
        self.broker.borrow().deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Calls the broker once if its deadline has passed.
    fn keep_time(&self, now: Instant) {
        if !self.is_due(now) {
            return;
        }
        // A panic, which the panic hook logs, must not stop the timers and the work of all other clients.
        let _ = catch_unwind(AssertUnwindSafe(|| self.broker.borrow_mut().poll(now)));
        self.wake(None);
    }

    /// Submits the changes of a durable broker if no commit is under way, and reports commits to the broker. Returns whether
    /// there was one to report.
    fn exchange(&self) -> Result<bool, StoreError> {
        let Some(committer) = &self.committer else { return Ok(false) };
        // While a commit is under way, changes gather in the broker, where later ones replace earlier ones.
        if committer.is_idle() && self.is_time_to_commit() {
            self.submit_changes(committer);
        }
        let Some(number) = committer.take_report().transpose()? else { return Ok(false) };
        self.broker.borrow_mut().committed(self.now(), number);
        self.wake(None);
        Ok(true)
    }

    /// Returns whether the changes are to be committed now. Those that no packet waits for, such as the removal of a message that
    /// was delivered, wait for a while: they share the commit of other changes, and do not delay it by one of their own.
    fn is_time_to_commit(&self) -> bool {
        let broker = self.broker.borrow();
        if broker.awaits_commit() {
            return true;
        }
        let linger = || self.committer.as_ref().map_or(Duration::ZERO, Committer::linger);
        let at = broker.has_changes().then(|| self.commits_at.get().unwrap_or_else(|| self.now() + linger()));
        self.commits_at.set(at);
        at.is_some_and(|at| at <= self.now())
    }

    /// When changes have to be committed, unless a commit is under way.
    fn commit_deadline(&self) -> Option<Instant> {
        self.commits_at.get().filter(|_| self.committer.as_ref().is_some_and(Committer::is_idle))
    }

    fn submit_changes(&self, committer: &Committer<Batch>) {
        self.commits_at.set(None);
        let mut broker = self.broker.borrow_mut();
        while let Some(batch) = broker.changes() {
            committer.submit(batch);
        }
    }

    /// Commits all changes of a durable broker, and closes its database.
    ///
    /// # Errors
    ///
    /// Some changes could not be committed. With [`Sync::Always`](crate::store::committer::Sync::Always) they were not
    /// acknowledged either.
    pub(crate) fn close(&self) -> Result<(), StoreError> {
        let Some(committer) = &self.committer else { return Ok(()) };
        self.submit_changes(committer);
        committer.close()
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
