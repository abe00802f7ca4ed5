//! The thread that writes batches to the database while the broker goes on.
//!
//! One commit is under way at a time. What the broker hands over meanwhile waits, and is the next commit together: the more
//! there is to do, the more batches share the time that the disk needs.

// The thread waits for batches and for the disk, so that the broker need not.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::{Change, Store, StoreError};

/// With [`Sync::Every`], batches are reported before they are on the disk while no more than this many bytes wait. It bounds the
/// memory for them, and what a crash may lose.
const MAX_EARLY: usize = 32 * 1024 * 1024;

/// With [`Sync::Every`], a commit begins before its time when this many bytes wait.
const FULL: usize = 8 * 1024 * 1024;

/// The time for which changes that no packet waits for gather in the broker, at most: those of a message that is delivered soon
/// leave nothing.
const LINGER: Duration = Duration::from_millis(100);

/// The pause between two attempts to write to a disk that is full.
const RETRY: Duration = Duration::from_secs(1);

/// The pause is at least this many times as long as the attempt, which reads all of the database: the broker needs the processor.
const REST: u32 = 4;

/// A set of changes that is in the database as a whole or not at all.
pub(crate) trait Batch: Send + 'static {
    /// The number of the batch, which is not 0. Batches are handed over in ascending order.
    fn number(&self) -> u64;

    /// The size of all keys and values in bytes.
    fn size(&self) -> usize;

    /// The changes, in any order if no key occurs twice, and for each whether its key has had no value before, as far as that is
    /// certain.
    fn changes(&self) -> impl Iterator<Item = (Change<'_>, bool)>;
}

impl Batch for mqtt_sansio::store::Batch {
    fn number(&self) -> u64 {
        self.number()
    }

    fn size(&self) -> usize {
        self.size()
    }

    fn changes(&self) -> impl Iterator<Item = (Change<'_>, bool)> {
        use mqtt_sansio::store::Change;
        self.changes().map(|change| match change {
            Change::Put { key, value, is_new } => ((key, Some(value)), is_new),
            Change::Remove { key } => ((key, None), false),
        })
    }
}

/// When a batch is reported as committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// When it is on the disk. What is acknowledged survives a crash of the program and of the machine.
    Always,
    /// At once; it is on the disk after this time at the latest, and what was acknowledged in it may be lost in a crash of the
    /// program or of the machine. What is there after a crash is the state at an earlier time, as a whole.
    Every(Duration),
}

impl Sync {
    fn linger(self) -> Duration {
        match self {
            Self::Always => LINGER,
            Self::Every(interval) => LINGER.min(interval / 2),
        }
    }
}

impl FromStr for Sync {
    type Err = String;

    /// Reads `always`, or a number of seconds that may have decimals.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "always" {
            return Ok(Self::Always);
        }
        let seconds = text.parse().ok().filter(|seconds| (0.001..=3600.0).contains(seconds));
        match seconds {
            Some(seconds) => Ok(Self::Every(Duration::from_secs_f64(seconds))),
            None => Err(format!("{text:?} is neither \"always\" nor a number of seconds between 0.001 and 3600")),
        }
    }
}

impl fmt::Display for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Every(interval) => write!(f, "{}", interval.as_secs_f64()),
        }
    }
}

/// The thread that writes batches, as the thread of the broker sees it.
///
/// The thread of the broker does this after each step of the broker:
///
/// ```ignore
/// if let Some(report) = committer.take_report() {
///     broker.committed(now, report?);     // the broker must not go on after an error
/// }
/// if committer.is_idle() {                // otherwise changes gather in the broker, where later ones replace earlier ones
///     while let Some(batch) = broker.changes() {
///         committer.submit(batch);
///     }
/// }
/// ```
///
/// Before it sleeps it calls [`poll_report`](Self::poll_report), which wakes it. At the end it hands over the last changes and
/// calls [`close`](Self::close).
pub(crate) struct Committer<B> {
    shared: Arc<Shared<B>>,
    /// The last number that was reported.
    reported: Cell<u64>,
    thread: Cell<Option<JoinHandle<()>>>,
}

struct Shared<B> {
    sync: Sync,
    linger: Duration,
    /// The pause between two attempts to write to a disk that is full.
    retry: Duration,
    queue: Mutex<Queue<B>>,
    /// Tells the thread that the queue has changed.
    changed: Condvar,
    /// The number of the last batch that may be reported. It changes only while the queue is locked, as the next two do.
    committed: AtomicU64,
    /// The size of the batches that are not on the disk, in bytes.
    size: AtomicUsize,
    has_failed: AtomicBool,
}

struct Queue<B> {
    /// The batches for the next commit.
    batches: Vec<B>,
    /// When the first of them was handed over.
    since: Option<Instant>,
    is_closed: bool,
    /// Why the thread has ended, until that is reported.
    failure: Option<StoreError>,
    /// The task that waits for a report.
    waker: Option<Waker>,
}

impl<B: Batch> Committer<B> {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system has no more threads.
    pub(crate) fn start(store: impl Store, sync: Sync) -> io::Result<Self> {
        Self::start_with(store, sync, sync.linger(), RETRY)
    }

    /// Starts the thread, with the time that changes may [linger](Self::linger), and a pause between two attempts to write to a
    /// disk that is full.
    pub(crate) fn start_with(store: impl Store, sync: Sync, linger: Duration, retry: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            sync,
            linger,
            retry,
            queue: Mutex::new(Queue { batches: Vec::new(), since: None, is_closed: false, failure: None, waker: None }),
            changed: Condvar::new(),
            committed: AtomicU64::new(0),
            size: AtomicUsize::new(0),
            has_failed: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("committer".to_owned()).spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| of_thread.run(store)));
            if let Err(error) = result.unwrap_or(Err(StoreError::Panicked)) {
                of_thread.fail(error);
            }
        })?;
        Ok(Self { shared, reported: Cell::new(0), thread: Cell::new(Some(thread)) })
    }

    /// Returns whether the next batch should be handed over now. While a commit is under way it should not: what changes meanwhile
    /// makes one batch then.
    pub(crate) fn is_idle(&self) -> bool {
        let size = self.shared.size.load(Ordering::Acquire);
        match self.shared.sync {
            Sync::Always => size == 0,
            Sync::Every(_) => size <= MAX_EARLY,
        }
    }

    /// Returns how long changes that no packet waits for are to gather in the broker. With [`Sync::Every`] this is a part of the
    /// time after which they are on the disk.
    pub(crate) fn linger(&self) -> Duration {
        self.shared.linger
    }

    /// Hands over a batch. Batches that wait together are committed together.
    pub(crate) fn submit(&self, batch: B) {
        self.shared.submit(batch);
    }

    /// Returns the number of the last committed batch, if that has not been reported: all batches up to this one are committed.
    ///
    /// # Errors
    ///
    /// No more batches are committed. This is reported once. The broker must end: what it has not acknowledged was not promised.
    pub(crate) fn take_report(&self) -> Option<Result<u64, StoreError>> {
        if self.shared.has_failed.load(Ordering::Acquire)
            && let Some(error) = self.shared.lock().failure.take()
        {
            return Some(Err(error));
        }
        let committed = self.shared.committed.load(Ordering::Acquire);
        (self.reported.replace(committed) != committed).then_some(Ok(committed))
    }

    /// Waits until there is a [report](Self::take_report).
    pub(crate) fn poll_report(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.shared.lock();
        let committed = self.shared.committed.load(Ordering::Acquire);
        if queue.failure.is_some() || committed != self.reported.get() {
            return Poll::Ready(());
        }
        if !queue.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            queue.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Commits the submitted batches, and closes the database. No batch may be submitted after that.
    ///
    /// # Errors
    ///
    /// Not all was committed: the disk is full, or it has failed. A failure that was [reported](Self::take_report) before is not
    /// reported again.
    pub(crate) fn close(&self) -> Result<(), StoreError> {
        self.end();
        let failure = self.shared.lock().failure.take();
        failure.map_or(Ok(()), Err)
    }
}

impl<B> Committer<B> {
    /// Lets the thread commit what was handed over, and end.
    fn end(&self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread has caught its panic and reported it.
            let _ = thread.join();
        }
    }
}

impl<B> Drop for Committer<B> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<B> Shared<B> {
    fn lock(&self) -> MutexGuard<'_, Queue<B>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Batch> Shared<B> {
    fn submit(&self, batch: B) {
        let mut queue = self.lock();
        if self.has_failed.load(Ordering::Relaxed) {
            return;
        }
        let (number, added) = (batch.number(), size(&batch));
        let size = self.size.fetch_add(added, Ordering::AcqRel) + added;
        if matches!(self.sync, Sync::Every(_)) && size <= MAX_EARLY {
            self.committed.store(number, Ordering::Release);
        }
        let is_first = queue.since.is_none();
        if is_first {
            queue.since = Some(Instant::now());
        }
        queue.batches.push(batch);
        drop(queue);
        // Otherwise the thread need not know of it yet.
        if is_first || size >= FULL {
            self.changed.notify_one();
        }
    }

    /// Commits batches until the committer is closed.
    fn run(&self, mut store: impl Store) -> Result<(), StoreError> {
        while let Some(group) = self.next_group() {
            self.commit(&mut store, &group)?;
            self.report(&group);
        }
        store.close()
    }

    /// Waits for the batches of the next commit. Returns `None` when the committer is closed and all is committed.
    fn next_group(&self) -> Option<Vec<B>> {
        let mut queue = self.lock();
        loop {
            let Some(since) = queue.since else {
                if queue.is_closed {
                    return None;
                }
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let wait = match self.sync {
                Sync::Every(interval) if !queue.is_closed && self.size.load(Ordering::Relaxed) < FULL => {
                    interval.saturating_sub(self.linger).saturating_sub(since.elapsed())
                }
                Sync::Every(_) | Sync::Always => Duration::ZERO,
            };
            if wait.is_zero() {
                queue.since = None;
                return Some(std::mem::take(&mut queue.batches));
            }
            queue = self.changed.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Commits batches as one, and tries again until that succeeds. When the committer is closed there is one attempt more.
    fn commit(&self, store: &mut impl Store, group: &[B]) -> Result<(), StoreError> {
        let mut has_failed = false;
        loop {
            let (is_last, begin) = (self.lock().is_closed, Instant::now());
            let committed = match group {
                [batch] => store.commit(sorted(batch.changes().map(|(change, _)| change))),
                _ => store.commit(merge(group)),
            };
            match committed {
                Ok(()) => {
                    if has_failed {
                        info!("changes are committed again");
                    }
                    return Ok(());
                }
                Err(error) if error.may_retry() && !is_last => {
                    if !std::mem::replace(&mut has_failed, true) {
                        error!(%error, "changes cannot be committed yet: clients wait for their acknowledgements");
                    }
                    let pause = self.retry.max(begin.elapsed() * REST);
                    // Only the end makes the pause shorter.
                    drop(self.changed.wait_timeout_while(self.lock(), pause, |queue| !queue.is_closed));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reports batches that are committed, and those that may be reported early now.
    fn report(&self, group: &[B]) {
        let queue = self.lock();
        let done: usize = group.iter().map(size).sum();
        let left = self.size.fetch_sub(done, Ordering::AcqRel) - done;
        let last = match (self.sync, queue.batches.last()) {
            (Sync::Every(_), Some(last)) if left <= MAX_EARLY => Some(last),
            _ => group.last(),
        };
        if let Some(last) = last {
            self.committed.fetch_max(last.number(), Ordering::AcqRel);
        }
        wake(queue);
    }

    /// Reports that the thread has ended, and why.
    fn fail(&self, error: StoreError) {
        error!(%error, "changes cannot be committed any more");
        let mut queue = self.lock();
        queue.failure = Some(error);
        queue.batches = Vec::new();
        self.has_failed.store(true, Ordering::Release);
        wake(queue);
    }
}

/// The size of a batch. No batch is so small that it does not count.
fn size(batch: &impl Batch) -> usize {
    batch.size().max(1)
}

/// Returns the changes of several batches in the order of the keys: of each key only the last one, and none of a key that was
/// new and is removed.
fn merge<B: Batch>(group: &[B]) -> impl Iterator<Item = Change<'_>> {
    // The last change of each key, and whether the key has had no value before the first one. Most keys are soon removed.
    let mut merged = HashMap::<&[u8], (Option<&[u8]>, bool)>::new();
    for ((key, value), is_new) in group.iter().flat_map(B::changes) {
        match merged.entry(key) {
            Entry::Vacant(entry) => drop(entry.insert((value, is_new))),
            Entry::Occupied(entry) if value.is_none() && entry.get().1 => drop(entry.remove()),
            Entry::Occupied(mut entry) => entry.get_mut().0 = value,
        }
    }
    sorted(merged.into_iter().map(|(key, (value, _))| (key, value)))
}

/// Returns changes in the order of their keys, so that those of neighbors in the database follow one another.
fn sorted<'a>(changes: impl Iterator<Item = Change<'a>>) -> impl Iterator<Item = Change<'a>> {
    let mut changes: Vec<_> = changes.collect();
    changes.sort_unstable_by_key(|&(key, _)| key);
    changes.into_iter()
}

/// Wakes the task that waits for a report, if there is one.
fn wake<B>(mut queue: MutexGuard<'_, Queue<B>>) {
    let waker = queue.waker.take();
    drop(queue);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests;
