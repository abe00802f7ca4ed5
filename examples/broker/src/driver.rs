//! The broker, and those who wait for it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use mqtt_sansio::broker::{Broker, ConnectionId};
use mqtt_sansio::codec::DisconnectReasonCode;
use mqtt_sansio::{Instant, StdClock};
use tokio::sync::Notify;

use crate::access::Access;

/// As much is read at a time. Connections take turns with one buffer: what an idle one holds is not worth speaking of.
const READ: usize = 64 * 1024;

/// The broker, the tasks of its connections, and its clock.
pub(crate) struct Driver {
    pub(crate) broker: RefCell<Broker<Access>>,
    pub(crate) buffer: RefCell<Box<[u8]>>,
    clock: StdClock,
    /// The task of each connection.
    tasks: RefCell<Vec<Option<(ConnectionId, Waker)>>>,
    /// When the task that keeps the time wakes up, if it does; it is told when that is too late.
    wakes_at: Cell<Option<Instant>>,
    too_late: Notify,
    closed: Notify,
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
            closed: Notify::new(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// A transport was accepted.
    pub(crate) fn open(&self, address: SocketAddr) -> ConnectionId {
        let mut broker = self.broker.borrow_mut();
        let id = broker.open(self.now());
        broker.policy_mut().came_from(id, address);
        id
    }

    /// The task of a connection is to be woken when there is something for it.
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

    /// Wakes the tasks of those connections for which there is something, but for the one that is awake.
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

    /// A connection is gone.
    pub(crate) fn closed(&self, id: ConnectionId) {
        self.broker.borrow_mut().closed(self.now(), id);
        if let Some(task) = self.tasks.borrow_mut().get_mut(id.index()) {
            *task = None;
        }
        self.wake(None);
        self.closed.notify_waiters();
    }

    /// Tells the broker the time whenever something is due.
    pub(crate) async fn keep_time(self: Rc<Self>) {
        loop {
            let deadline = self.broker.borrow().deadline();
            self.wakes_at.set(deadline);
            let due = async {
                match deadline {
                    // Timers are not exact to the microsecond: a little later is in time.
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

    /// Tells all clients that it is over.
    pub(crate) fn shut_down(&self) {
        let ids: Vec<_> = self.tasks.borrow().iter().flatten().map(|(id, _)| *id).collect();
        for id in ids {
            self.broker.borrow_mut().disconnect(self.now(), id, DisconnectReasonCode::ServerShuttingDown);
        }
        self.wake(None);
    }

    /// Waits until there is no connection any more.
    pub(crate) async fn all_closed(&self) {
        while self.broker.borrow().status().connections != 0 {
            self.closed.notified().await;
        }
    }
}
