//! The broker, and the tasks that wait for it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use mqtt_sansio::broker::{Admission, Answer, Broker, ConnectionId, DecisionId};
use mqtt_sansio::codec::{ConnAckReasonCode, DisconnectReasonCode};
use mqtt_sansio::{Instant, StdClock};
use tokio::sync::{Notify, Semaphore, mpsc};
use tracing::error;

use crate::access::{Access, Identity, PasswordCheck};

/// The size of a read. All connections use one buffer in turns, so that an idle one needs little memory.
const READ: usize = 64 * 1024;

/// The maximum time a client waits for the check of its password to begin.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The broker, the tasks of its connections, and its clock.
pub(crate) struct Driver {
    pub(crate) broker: RefCell<Broker<Access>>,
    pub(crate) buffer: RefCell<Box<[u8]>>,
    clock: StdClock,
    /// The task of each connection.
    tasks: RefCell<Vec<Option<(ConnectionId, Waker)>>>,
    /// When the timer task wakes up, if it does. It is notified if that is too late.
    wakes_at: Cell<Option<Instant>>,
    too_late: Notify,
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
    /// Opens the connection of an accepted transport.
    pub(crate) fn new(driver: Rc<Driver>, address: SocketAddr, identity: Identity) -> Self {
        let id = {
            let mut broker = driver.broker.borrow_mut();
            let id = broker.open(driver.now());
            broker.policy_mut().came_from(id, address, identity);
            id
        };
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

impl Driver {
    pub(crate) fn new(broker: Broker<Access>) -> Self {
        Self {
            broker: RefCell::new(broker),
            buffer: RefCell::new(vec![0; READ].into()),
            clock: StdClock::new(),
            tasks: RefCell::default(),
            wakes_at: Cell::new(None),
            too_late: Notify::new(),
            streams: Cell::new(0),
            closed: Notify::new(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Registers the task of a connection, to be woken when the connection is ready.
    pub(crate) fn wait(&self, id: ConnectionId, context: &Context<'_>) {
        let mut tasks = self.tasks.borrow_mut();
        if tasks.len() <= id.index() {
            tasks.resize(id.index() + 1, None);
        }
        match &mut tasks[id.index()] {
            Some((known, waker)) if *known == id && waker.will_wake(context.waker()) => {}
            task => *task = Some((id, context.waker().clone())),
        }
    }

    /// Wakes the tasks of the connections that are ready, except for the running one.
    pub(crate) fn wake(&self, awake: Option<ConnectionId>) {
        let mut broker = self.broker.borrow_mut();
        let tasks = self.tasks.borrow();
        while let Some(id) = broker.next_ready() {
            if Some(id) != awake
                && let Some(Some((known, waker))) = tasks.get(id.index())
                && *known == id
            {
                waker.wake_by_ref();
            }
        }
        let wakes_at = self.wakes_at.get();
        if broker.deadline().is_some_and(|deadline| wakes_at.is_none_or(|at| deadline < at)) {
            self.too_late.notify_one();
        }
    }

    /// Tells the broker that a connection has ended. Its stream may still be open.
    pub(crate) fn detach(&self, id: ConnectionId) {
        self.broker.borrow_mut().closed(self.now(), id);
        if let Some(task) = self.tasks.borrow_mut().get_mut(id.index())
            && task.as_ref().is_some_and(|(known, _)| *known == id)
        {
            *task = None;
        }
        self.wake(None);
    }

    /// Checks passwords without end. A hash may take seconds to compute, so other threads do that, few enough to leave
    /// a processor to the broker's own thread.
    pub(crate) async fn check_passwords(self: Rc<Self>, checks: mpsc::UnboundedReceiver<PasswordCheck>) {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let turns = Rc::new(Semaphore::new(processors.saturating_sub(1).max(1)));
        self.check_passwords_in_turn(checks, turns, MAX_WAIT).await;
    }

    /// Checks passwords, at most as many at a time as there are `turns`. A client that waits longer than `max_wait` is
    /// refused: otherwise clients with many wrong passwords, which may have disconnected already, could make all others
    /// wait for hours.
    pub(crate) async fn check_passwords_in_turn(
        self: Rc<Self>,
        mut checks: mpsc::UnboundedReceiver<PasswordCheck>,
        turns: Rc<Semaphore>,
        max_wait: Duration,
    ) {
        while let Some(check) = checks.recv().await {
            let (driver, turns) = (Rc::clone(&self), Rc::clone(&turns));
            tokio::task::spawn_local(async move {
                match tokio::time::timeout(max_wait, turns.acquire()).await {
                    Ok(_turn) => driver.check_password(check).await,
                    Err(_) => driver.answer(check.id, ConnAckReasonCode::ServerUnavailable.into()),
                }
            });
        }
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

    async fn check_password(&self, mut check: PasswordCheck) {
        let id = check.id;
        if self.broker.borrow().is_over(id.connection()) {
            return;
        }
        let (slow, password) = (check.slow.clone(), std::mem::take(&mut check.password));
        // A password whose check has failed with an error is not right.
        let is_right = tokio::task::spawn_blocking(move || slow.fits(&password)).await.unwrap_or(false);
        self.answer(id, check.admission(is_right));
    }

    /// Polls the broker at each of its deadlines.
    pub(crate) async fn keep_time(self: Rc<Self>) {
        loop {
            let deadline = self.broker.borrow().deadline();
            self.wakes_at.set(deadline);
            let due = async {
                match deadline {
                    // Timers are not exact to the microsecond: waking a little later avoids waking too early.
                    Some(deadline) => tokio::time::sleep(self.clock.until(deadline) + Duration::from_millis(1)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {
                    self.broker.borrow_mut().poll(self.now());
                    self.wake(None);
                }
                () = self.too_late.notified() => {}
            }
        }
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
