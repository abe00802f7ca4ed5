use std::io::ErrorKind;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::super::Pair;
use super::super::testing::{self, Changes};
use super::*;

/// What a commit wrote: keys, and values if they are not removed.
type Written = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A store whose commits the test sees and answers. It panics if there will be no answer.
struct Seen {
    commits: Sender<Written>,
    answers: Receiver<Result<(), StoreError>>,
    closed: Sender<()>,
}

impl Store for Seen {
    fn commit<'a>(&mut self, changes: impl Iterator<Item = Change<'a>>) -> Result<(), StoreError> {
        let changes = changes.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)));
        self.commits.send(changes.collect()).unwrap();
        self.answers.recv().unwrap()
    }

    fn pairs(&self) -> Result<impl Iterator<Item = Result<Pair, StoreError>>, StoreError> {
        Ok(std::iter::empty())
    }

    fn close(self) -> Result<(), StoreError> {
        self.closed.send(()).unwrap();
        Ok(())
    }
}

/// A committer, and the other ends of what its store does. The answers are dropped first, so that the thread of a test that
/// fails does not wait for one.
struct World {
    answers: Sender<Result<(), StoreError>>,
    committer: Committer<Changes>,
    commits: Receiver<Written>,
    closed: Receiver<()>,
}

impl World {
    fn new(sync: Sync) -> Self {
        let ((commits, seen), (answers, given), (closed, is_closed)) = (channel(), channel(), channel());
        let store = Seen { commits, answers: given, closed };
        // An attempt that fails is repeated at once.
        let committer = Committer::start_with(store, sync, sync.linger(), Duration::ZERO).unwrap();
        Self { answers, committer, commits: seen, closed: is_closed }
    }

    /// The keys and values of the next commit, which have one byte.
    fn next_commit(&self) -> Vec<(u8, Option<u8>)> {
        let written = self.commits.recv().unwrap();
        written.into_iter().map(|(key, value)| (key[0], value.map(|value| value[0]))).collect()
    }

    fn answer(&self, result: Result<(), StoreError>) {
        self.answers.send(result).unwrap();
    }

    fn wait_for_report(&self) -> Result<u64, StoreError> {
        testing::wait_for_report(&self.committer)
    }
}

/// A batch that sets or removes keys of one byte.
fn batch(number: u64, changes: &[(u8, Option<u8>)]) -> Changes {
    let changes = changes.iter().map(|(key, value)| (vec![*key], value.map(|value| vec![value])));
    Changes { number, changes: changes.collect() }
}

/// A batch of this size.
fn large(number: u64, size: usize) -> Changes {
    Changes { number, changes: vec![(vec![1], Some(vec![number as u8; size - 1]))] }
}

fn full() -> StoreError {
    StoreError::Io { path: "state.redb".into(), error: ErrorKind::StorageFull.into() }
}

const LATE: Sync = Sync::Every(Duration::from_secs(3600));

#[test]
fn what_waits_for_a_commit_is_the_next_one() {
    let world = World::new(Sync::Always);
    assert!(world.committer.is_idle());
    world.committer.submit(batch(1, &[(1, Some(1)), (2, Some(1))]));
    assert_eq!(world.next_commit(), [(1, Some(1)), (2, Some(1))]);
    assert!(!world.committer.is_idle() && world.committer.take_report().is_none(), "it is not on the disk");
    world.committer.submit(batch(2, &[(1, None), (3, Some(2))]));
    world.committer.submit(batch(3, &[(3, Some(3)), (1, Some(3))]));
    world.committer.submit(batch(7, &[(2, None)]));
    world.answer(Ok(()));
    assert_eq!(world.wait_for_report().unwrap(), 1);
    assert_eq!(world.next_commit(), [(1, Some(3)), (2, None), (3, Some(3))], "the last change of each key");
    assert!(world.committer.take_report().is_none(), "a number is reported once");
    world.answer(Ok(()));
    assert_eq!(world.wait_for_report().unwrap(), 7);
    assert!(world.committer.is_idle());
    world.committer.close().unwrap();
    world.closed.recv().unwrap();
}

/// A key that is new and is removed before the commit is not written. A key that is not new, or that is removed first, is.
#[test]
fn changes_that_cancel_each_other_out_are_not_written() {
    let world = World::new(LATE);
    let (new, moved, old) = (vec![1, 1], vec![1, 2], vec![1]);
    let put = |key: &Vec<u8>| (key.clone(), Some(vec![7]));
    let remove = |key: &Vec<u8>| (key.clone(), None);
    let batches = [
        vec![put(&new), remove(&moved), put(&old)],
        vec![put(&moved)],
        vec![remove(&new), remove(&old)],
        vec![remove(&moved)],
    ];
    for (number, changes) in (1..).zip(batches) {
        world.committer.submit(Changes { number, changes });
    }
    world.answer(Ok(()));
    world.committer.close().unwrap();
    assert_eq!(world.commits.recv().unwrap(), [(old, None), (moved, None)]);
}

#[test]
fn a_commit_that_may_be_late_is_reported_early() {
    let world = World::new(LATE);
    for number in 1..=3 {
        world.committer.submit(batch(number, &[(1, Some(number as u8))]));
        assert_eq!(world.committer.take_report().unwrap().unwrap(), number);
        assert!(world.committer.is_idle());
    }
    assert!(world.commits.try_recv().is_err(), "nothing is committed yet");
    world.answer(Ok(()));
    world.committer.close().unwrap();
    assert_eq!(world.commits.recv().unwrap(), [(vec![1], Some(vec![3]))], "all of it is at the end");
    world.closed.recv().unwrap();
}

#[test]
fn a_commit_is_not_late_for_ever() {
    let world = World::new(Sync::Every(Duration::from_millis(1)));
    for number in 1..=3 {
        world.committer.submit(batch(number, &[(1, Some(number as u8))]));
        assert_eq!(world.next_commit(), [(1, Some(number as u8))]);
        world.answer(Ok(()));
    }
    world.committer.close().unwrap();
}

/// The memory for what may be late has a limit.
#[test]
fn much_is_committed_before_its_time_and_too_much_is_not_reported() {
    let world = World::new(LATE);
    world.committer.submit(large(1, FULL));
    assert_eq!(world.next_commit(), [(1, Some(1))], "there is enough for a commit");
    assert_eq!(world.wait_for_report().unwrap(), 1);
    world.committer.submit(large(2, MAX_EARLY - FULL));
    assert_eq!(world.wait_for_report().unwrap(), 2);
    assert!(world.committer.is_idle());
    world.committer.submit(large(3, 2));
    assert!(world.committer.take_report().is_none() && !world.committer.is_idle(), "too much waits");
    world.answer(Ok(()));
    assert_eq!(world.wait_for_report().unwrap(), 3, "there is room again");
    assert_eq!(world.next_commit(), [(1, Some(3))]);
    world.answer(Ok(()));
    world.committer.close().unwrap();
}

#[test]
fn a_commit_is_tried_again_while_the_disk_is_full() {
    let world = World::new(Sync::Always);
    world.committer.submit(batch(1, &[(1, Some(1))]));
    for _ in 0..3 {
        assert_eq!(world.next_commit(), [(1, Some(1))]);
        assert!(world.committer.take_report().is_none());
        world.committer.submit(batch(2, &[(2, Some(2))]));
        world.answer(Err(full()));
    }
    assert_eq!(world.next_commit(), [(1, Some(1))], "the same changes");
    world.answer(Ok(()));
    assert_eq!(world.wait_for_report().unwrap(), 1);
    assert_eq!(world.next_commit(), [(2, Some(2))]);
    world.answer(Ok(()));
    world.committer.close().unwrap();
}

#[test]
fn a_disk_that_is_full_at_the_end_is_an_error() {
    let world = World::new(Sync::Always);
    world.committer.submit(batch(1, &[(1, Some(1))]));
    let World { committer, commits, answers, closed } = world;
    let end = std::thread::spawn(move || committer.close());
    while let Ok(written) = commits.recv() {
        assert_eq!(written.len(), 1);
        answers.send(Err(full())).unwrap();
    }
    assert!(end.join().unwrap().unwrap_err().may_retry());
    assert!(closed.try_recv().is_err(), "the store is dropped");
}

#[test]
fn an_error_ends_the_thread_and_is_reported_once() {
    let world = World::new(Sync::Always);
    world.committer.submit(batch(1, &[(1, Some(1))]));
    world.committer.submit(batch(2, &[(1, Some(1))]));
    world.next_commit();
    world.answer(Err(StoreError::Damaged { path: "state.redb".into(), reason: "a test".to_owned() }));
    assert!(matches!(world.wait_for_report(), Err(StoreError::Damaged { .. })));
    assert!(world.committer.take_report().is_none());
    world.committer.submit(batch(3, &[(1, Some(1))]));
    assert!(!world.committer.is_idle(), "it takes no more");
    world.committer.close().unwrap();
}

#[test]
fn a_panic_is_reported() {
    let world = World::new(LATE);
    world.committer.submit(large(1, FULL));
    assert_eq!(world.committer.take_report().unwrap().unwrap(), 1);
    world.next_commit();
    let World { committer, answers, .. } = world;
    drop(answers);
    assert!(matches!(committer.close(), Err(StoreError::Panicked)));
}

#[test]
fn what_was_handed_over_is_committed_when_the_committer_is_dropped() {
    let world = World::new(LATE);
    world.committer.submit(batch(1, &[(1, Some(1))]));
    world.answer(Ok(()));
    let World { committer, commits, closed, .. } = world;
    drop(committer);
    assert_eq!(commits.recv().unwrap(), [(vec![1], Some(vec![1]))]);
    closed.recv().unwrap();
}

#[test]
fn the_option_is_read_and_shown() {
    assert_eq!("always".parse(), Ok(Sync::Always));
    assert_eq!("1".parse(), Ok(Sync::Every(Duration::from_secs(1))));
    assert_eq!("0.25".parse(), Ok(Sync::Every(Duration::from_millis(250))));
    for wrong in ["", "never", "0", "-1", "nan", "inf", "1e9", "1s", "Always"] {
        let error = wrong.parse::<Sync>().unwrap_err();
        assert!(error.contains(&format!("{wrong:?} is neither \"always\" nor a number of seconds")), "{error}");
    }
    for shown in ["always", "1", "0.25", "3600"] {
        assert_eq!(shown.parse::<Sync>().unwrap().to_string(), shown);
    }
}
