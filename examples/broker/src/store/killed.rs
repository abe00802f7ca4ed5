//! A process that is killed while it commits: what it has reported is in the database.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Store as _;
use super::committer::{Committer, Sync};
use super::redb::RedbStore;
use super::testing::{Changes, Random, TempDir, last_number, pairs, state, wait_for_report};

/// The directory of the database, for the process that is killed.
const DIR: &str = "STORE_TEST_DIR";

/// The number of kills for each way to commit.
const KILLS: usize = 4;

/// What the process prints before the number of a batch that is reported as committed.
const REPORT: &str = "committed ";

fn batch(number: u64) -> Changes {
    Changes::random(number, &mut Random::new(number))
}

/// Starts the test below as a process of its own, kills it, and returns the number of the last batch that it has reported.
fn run_and_kill(dir: &TempDir, sync: Sync, reports: usize) -> usize {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "store::killed::commit_until_killed"])
        .env(DIR, dir.path())
        .env("STORE_TEST_SYNC", sync.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    // The name of the test may stand before the first number.
    let mut numbers = lines.filter_map(|line| line.split(REPORT).nth(1)?.parse().ok());
    let mut last = 0;
    for _ in 0..reports {
        last = numbers.next().expect("it goes on until it is killed");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    numbers.last().unwrap_or(last)
}

/// Kills the process again and again, and returns whether something that it had reported was missing.
fn kill_often(sync: Sync) -> bool {
    let dir = TempDir::new();
    let mut random = Random::new(5);
    let mut is_missing = false;
    for _ in 0..KILLS {
        let reported = run_and_kill(&dir, sync, 1 + random.below(20));
        let store = RedbStore::open(dir.path()).unwrap();
        let found = pairs(&store);
        let last = last_number(&found);
        let all: Vec<_> = (1..=last as u64).map(batch).collect();
        assert!(found == state(&all), "batch {last} is there in part");
        is_missing |= last < reported;
        store.close().unwrap();
    }
    is_missing
}

#[test]
fn what_was_reported_survives_a_kill() {
    assert!(!kill_often(Sync::Always));
}

#[test]
fn what_may_be_late_is_there_as_a_whole_after_a_kill() {
    kill_often(Sync::Every(Duration::from_millis(50))); // some of it is there, or none, or all
    assert!(kill_often(Sync::Every(Duration::from_secs(3600))), "what was reported early is not there yet");
}

/// The directory is free once its database is closed, although other threads start processes, which share the open files for a
/// moment.
#[test]
fn a_directory_is_released_while_processes_are_started() {
    let (dir, is_over) = (TempDir::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert!(Command::new("true").status().unwrap().success());
            }
        });
        let error = (0..100).find_map(|_| RedbStore::open(dir.path()).and_then(RedbStore::close).err());
        is_over.store(true, Ordering::Relaxed);
        assert!(error.is_none(), "{error:?}");
    });
}

#[test]
#[ignore = "run by the tests above, and killed"]
fn commit_until_killed() {
    let dir = std::env::var_os(DIR).unwrap();
    let sync = std::env::var("STORE_TEST_SYNC").unwrap().parse().unwrap();
    let store = RedbStore::open(dir.as_ref()).unwrap();
    // It goes on where the one before was killed.
    let done = last_number(&pairs(&store));
    let committer = Committer::start(store, sync).unwrap();
    for first in (done as u64 + 1..).step_by(3) {
        // Some batches at a time, so that they are grouped.
        (first..first + 3).for_each(|number| committer.submit(batch(number)));
        let number = wait_for_report(&committer).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "{REPORT}{number}").unwrap();
        out.flush().unwrap();
    }
}
