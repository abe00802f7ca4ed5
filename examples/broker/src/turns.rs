//! An executor for the tasks of connections, which runs one turn at a time in a [fair](crate::fair) order.
//!
//! The runtime's own queue is first in, first out, and the runtime polls for events only when the queue is empty: a thousand
//! busy connections would delay all others by a thousand turns. Here the runtime polls for events after every [`SLICE`].
//!
//! The core shares its own work between principals as well, by units (`BrokerConfig::work_per_call`). It does not know the cost
//! of system calls, TLS and WebSocket, nor which transports are ready, and these turns are about nothing else: they decide
//! whose transport is read and written next.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use mqtt_sansio::{Instant, StdClock};

use crate::fair::{Fair, MemberIndex};
use crate::origin::Principal;

/// The time for which turns follow one another until the runtime polls for events.
const SLICE: Duration = Duration::from_micros(250);

/// The tasks.
pub(crate) struct Turns {
    tasks: RefCell<Vec<Option<Task>>>,
    fair: RefCell<Fair<Principal>>,
    /// The task that is running.
    current: Cell<Option<MemberIndex>>,
    /// The time at which the current turn began, while [`work`](Self::work) runs.
    now: Cell<Option<Instant>>,
    inbox: Arc<Inbox>,
    /// The woken tasks, while they are entered into `fair`. The list is reused.
    woken: RefCell<Vec<MemberIndex>>,
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    alarm: Arc<Alarm>,
    waker: Waker,
}

/// The waker of a task.
struct Alarm {
    index: MemberIndex,
    /// Whether `index` is in the inbox.
    is_queued: AtomicBool,
    inbox: Arc<Inbox>,
}

/// The tasks woken by their wakers since the last turn.
#[derive(Default)]
struct Inbox {
    woken: Mutex<Woken>,
    /// Whether the queue in `woken` has an index. It changes only while `woken` is locked, and is read without the lock
    /// before each turn.
    has_woken: AtomicBool,
}

#[derive(Default)]
struct Woken {
    queue: Vec<MemberIndex>,
    /// Whether [`Turns::nudge`] was called since the last wait.
    is_nudged: bool,
    /// The runtime's task that waits in [`Turns::poll_woken`].
    waker: Option<Waker>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self {
            tasks: RefCell::default(),
            fair: RefCell::new(Fair::new()),
            current: Cell::new(None),
            now: Cell::new(None),
            inbox: Arc::default(),
            woken: RefCell::default(),
        }
    }

    /// Adds a task, which is woken at once.
    pub(crate) fn spawn(&self, principal: Principal, future: impl Future<Output = ()> + 'static) {
        let index = {
            let mut fair = self.fair.borrow_mut();
            let index = fair.join(principal);
            fair.wake(index);
            index
        };
        let alarm = Arc::new(Alarm { index, is_queued: AtomicBool::new(false), inbox: Arc::clone(&self.inbox) });
        let waker = Waker::from(Arc::clone(&alarm));
        // The length of a turn is limited here, and not by the runtime's count of operations.
        let future = Box::pin(tokio::task::unconstrained(future));
        let mut tasks = self.tasks.borrow_mut();
        let slot = index as usize;
        if tasks.len() <= slot {
            tasks.resize_with(slot + 1, || None);
        }
        tasks[slot] = Some(Task { future, alarm, waker });
        drop(tasks);
        self.nudge();
    }

    /// Returns the index of the running task.
    pub(crate) const fn current(&self) -> Option<MemberIndex> {
        self.current.get()
    }

    /// Returns the time at which the current turn began, or `None` outside of [`work`](Self::work).
    pub(crate) const fn now(&self) -> Option<Instant> {
        self.now.get()
    }

    /// Wakes a task from this thread. This is cheaper than the waker of the task, which any thread may use.
    pub(crate) fn wake(&self, index: MemberIndex) {
        self.fair.borrow_mut().wake(index);
        if self.now.get().is_none() {
            self.nudge();
        }
    }

    /// Moves the running task to another principal.
    pub(crate) fn reassign_current(&self, principal: Principal) {
        if let Some(index) = self.current.get() {
            self.fair.borrow_mut().reassign(index, principal);
        }
    }

    /// Runs turns for one [`SLICE`] at most, and calls `between` with the time before each turn. Returns whether tasks are left
    /// that may be ready.
    pub(crate) fn work(&self, clock: &StdClock, mut between: impl FnMut(Instant)) -> bool {
        let start = clock.now();
        let mut now = start;
        let has_more = loop {
            self.now.set(Some(now));
            between(now);
            self.enter_woken();
            let Some(index) = self.fair.borrow_mut().next() else { break false };
            let is_done = self.run(index);
            let begin = std::mem::replace(&mut now, clock.now());
            let mut fair = self.fair.borrow_mut();
            fair.charge(index, i64::try_from(now.since(begin).as_micros()).unwrap_or(i64::MAX).max(1));
            if is_done {
                fair.leave(index);
            }
            if now.since(start) >= SLICE {
                break true;
            }
        };
        self.now.set(None);
        has_more
    }

    /// Waits until a task is woken, or until [`nudge`](Self::nudge) is called.
    pub(crate) fn poll_woken(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut woken = self.inbox.lock();
        if std::mem::take(&mut woken.is_nudged) || !woken.queue.is_empty() {
            return Poll::Ready(());
        }
        if !woken.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            woken.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Ends the [wait](Self::poll_woken) although no task is woken.
    pub(crate) fn nudge(&self) {
        let mut woken = self.inbox.lock();
        woken.is_nudged = true;
        wake(woken);
    }

    /// Enters the woken tasks into the order of turns.
    fn enter_woken(&self) {
        if !self.inbox.has_woken.load(Ordering::Acquire) {
            return;
        }
        let mut indexes = self.woken.borrow_mut();
        {
            let mut woken = self.inbox.lock();
            std::mem::swap(&mut *indexes, &mut woken.queue);
            self.inbox.has_woken.store(false, Ordering::Release);
        }
        let (tasks, mut fair) = (self.tasks.borrow(), self.fair.borrow_mut());
        for index in indexes.drain(..) {
            // The task may have ended, and its index may have been used again: the new task then has a turn for nothing.
            if let Some(Some(task)) = tasks.get(index as usize) {
                task.alarm.is_queued.store(false, Ordering::Release);
                fair.wake(index);
            }
        }
    }

    /// Runs one turn of a task. Returns whether the task has ended. A panic ends the task, and no other.
    fn run(&self, index: MemberIndex) -> bool {
        let task = self.tasks.borrow_mut()[index as usize].take();
        let Some(mut task) = task else { return true };
        self.current.set(Some(index));
        let mut context = Context::from_waker(&task.waker);
        let outcome = catch_unwind(AssertUnwindSafe(|| task.future.as_mut().poll(&mut context)));
        let is_done = !matches!(outcome, Ok(Poll::Pending));
        if is_done {
            // The panic hook has logged a panic of the destructor.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
        } else {
            self.tasks.borrow_mut()[index as usize] = Some(task);
        }
        self.current.set(None);
        is_done
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Woken> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the runtime's task that waits, if there is one.
fn wake(mut woken: MutexGuard<'_, Woken>) {
    let waker = woken.waker.take();
    drop(woken);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            let mut woken = self.inbox.lock();
            woken.queue.push(self.index);
            self.inbox.has_woken.store(true, Ordering::Release);
            wake(woken);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::rc::Rc;

    use super::*;

    fn origin(number: u8) -> Principal {
        Principal::Origin(std::net::IpAddr::from([127, 0, 0, number]).into())
    }

    /// Returns a task that is always ready, and counts its turns.
    fn busy(turns: &Rc<Cell<u32>>) -> impl Future<Output = ()> + use<> {
        let turns = Rc::clone(turns);
        poll_fn(move |context| {
            turns.set(turns.get() + 1);
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[test]
    fn tasks_have_one_turn_each() {
        let (turns, clock) = (Turns::new(), StdClock::new());
        let counts: Vec<_> = (0..10).map(|_| Rc::new(Cell::new(0))).collect();
        counts.iter().for_each(|count| turns.spawn(origin(1), busy(count)));
        let calls = Cell::new(0);
        while counts.iter().any(|count| count.get() < 100) {
            assert!(turns.work(&clock, |_| calls.set(calls.get() + 1)), "the tasks are always ready");
        }
        let all: u32 = counts.iter().map(|count| count.get()).sum();
        assert_eq!(calls.get(), all, "`between` is called before each turn");
    }

    #[test]
    fn a_panic_ends_one_task() {
        struct CountDrops(Rc<Cell<u32>>);
        impl Drop for CountDrops {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
                panic!("and a second one");
            }
        }
        let (turns, clock) = (Turns::new(), StdClock::new());
        let (ended, others) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let held = CountDrops(Rc::clone(&ended));
        turns.spawn(origin(1), poll_fn(move |_| if held.0.get() == 0 { panic!("a fault") } else { Poll::Ready(()) }));
        turns.spawn(origin(1), busy(&others));
        while others.get() < 10 {
            turns.work(&clock, |_| {});
        }
        assert_eq!(ended.get(), 1, "the future of the task is dropped");
        // Its index is used again.
        let more = Rc::new(Cell::new(0));
        turns.spawn(origin(2), busy(&more));
        while more.get() < 10 {
            turns.work(&clock, |_| {});
        }
        assert_eq!(turns.tasks.borrow().len(), 2);
    }

    #[test]
    fn the_wait_ends_when_a_task_is_woken_and_when_it_is_nudged() {
        let (turns, clock) = (Turns::new(), StdClock::new());
        let stored = Rc::new(RefCell::new(None));
        let seen = Rc::clone(&stored);
        turns.spawn(
            origin(1),
            poll_fn(move |context| {
                *seen.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }),
        );
        let mut context = Context::from_waker(Waker::noop());
        assert!(turns.poll_woken(&mut context).is_ready(), "there is a new task");
        assert!(!turns.work(&clock, |_| {}));
        assert!(turns.poll_woken(&mut context).is_pending());
        stored.borrow().as_ref().unwrap().wake_by_ref();
        assert!(turns.poll_woken(&mut context).is_ready());
        assert!(!turns.work(&clock, |_| {}));
        assert!(turns.poll_woken(&mut context).is_pending());
        turns.nudge();
        assert!(turns.poll_woken(&mut context).is_ready());
        assert!(turns.poll_woken(&mut context).is_pending());
    }

    /// A task is woken by its index, within the turn of another task and outside of turns.
    #[test]
    fn a_task_is_woken_by_its_index() {
        let (turns, clock) = (Rc::new(Turns::new()), StdClock::new());
        let (index, count) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(0)));
        let task = {
            let (turns, index, count) = (Rc::clone(&turns), Rc::clone(&index), Rc::clone(&count));
            poll_fn(move |_| {
                assert!(turns.now().is_some(), "the time of a turn is known");
                index.set(turns.current());
                count.set(count.get() + 1);
                Poll::Pending
            })
        };
        turns.spawn(origin(1), task);
        let mut context = Context::from_waker(Waker::noop());
        let mut rest = || {
            while turns.poll_woken(&mut context).is_ready() {
                assert!(!turns.work(&clock, |_| {}));
            }
            assert_eq!((turns.current(), turns.now()), (None, None));
            count.get()
        };
        assert_eq!(rest(), 1);
        turns.wake(index.get().unwrap());
        assert_eq!(rest(), 2, "the wait has ended");
        let other = {
            let (turns, index) = (Rc::clone(&turns), Rc::clone(&index));
            async move { turns.wake(index.get().unwrap()) }
        };
        turns.spawn(origin(2), other);
        assert!(!turns.work(&clock, |_| {}));
        assert_eq!(count.get(), 3, "it has its turn in the same call");
    }
}
