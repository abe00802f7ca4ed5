//! What the database costs: time, processor time and bytes written for each message, and how long a restart takes.
//!
//! ```console
//! $ cargo bench -p mqtt-sansio-broker --bench store
//! ```
//!
//! It needs a directory on a disk, not in memory: `STORE_BENCH_DIR`, or `target`. Each measurement runs in a process of its own.

// Threads, clocks and files are what is measured.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[allow(dead_code, unused_imports, reason = "the broker and the tests use more of it")]
#[path = "../src/store/mod.rs"]
mod store;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use store::committer::{Batch, Committer, Sync};
use store::redb::RedbStore;
use store::{Change, Store};

/// The number of subscribers, which are sessions with a subscription.
const SESSIONS: u64 = 100;

/// The number of pairs that are in the database before the load: retained messages.
const RETAINED: u64 = 100_000;

/// The kinds of keys, as their first byte.
mod kind {
    pub(super) const SESSION: u8 = 1;
    pub(super) const MESSAGE: u8 = 2;
    pub(super) const DELIVERY: u8 = 4;
    pub(super) const RECEIVED: u8 = 5;
    pub(super) const RETAINED: u8 = 6;
}

fn key(kind: u8, numbers: &[u64]) -> Vec<u8> {
    let mut key = vec![kind];
    numbers.iter().for_each(|number| key.extend(number.to_be_bytes()));
    key
}

/// A value that does not consist of one byte only.
fn value(size: usize, seed: u64) -> Vec<u8> {
    (0..size as u64).map(|at| (at.wrapping_mul(31) ^ seed.wrapping_mul(7) ^ (at >> 3)) as u8).collect()
}

struct Changes {
    number: u64,
    changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch for Changes {
    fn number(&self) -> u64 {
        self.number
    }

    fn size(&self) -> usize {
        self.changes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
    }

    fn changes(&self) -> impl Iterator<Item = (Change<'_>, bool)> {
        self.changes.iter().map(|(key, value)| {
            // The value of a delivery becomes longer with its stage.
            let is_first = |value: &Vec<u8>| key[0] != kind::DELIVERY || value.len() == 12;
            ((&key[..], value.as_deref()), value.as_ref().is_some_and(is_first))
        })
    }
}

/// The changes of some messages at a time. Each message has a head and a delivery to one of the subscribers, which are removed
/// when the subscriber has acknowledged it, with the next messages. Every second one has QoS 2: its publisher's packet identifier is
/// stored and removed, and the stage of its delivery changes before it is removed.
struct Load {
    size: usize,
    next: u64,
    /// What the next batch does first.
    due: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    number: u64,
}

impl Load {
    fn batch(&mut self, messages: u64) -> Changes {
        let mut changes = std::mem::take(&mut self.due);
        for message in self.next..self.next + messages {
            let session = message % SESSIONS;
            let delivery = key(kind::DELIVERY, &[session, message]);
            // What stands before the payload: topic, properties, time.
            changes.push((key(kind::MESSAGE, &[message]), Some(value(40 + self.size, message))));
            changes.push((delivery.clone(), Some(value(12, message))));
            if message % 2 == 1 {
                let received = key(kind::RECEIVED, &[session, message % 64]);
                changes.push((received.clone(), Some(value(8, message))));
                // The subscriber's PUBREC and PUBCOMP.
                self.due.push((delivery.clone(), Some(value(14, message))));
                self.due.push((received, None));
            }
            self.due.push((delivery, None));
            self.due.push((key(kind::MESSAGE, &[message]), None));
        }
        // Of each key the last change counts, as in the broker's batches.
        let mut last = std::collections::HashMap::new();
        for (at, (key, _)) in changes.iter().enumerate() {
            last.insert(key.clone(), at);
        }
        let mut at = 0;
        changes.retain(|(key, _)| {
            at += 1;
            last[key] == at - 1
        });
        self.next += messages;
        self.number += 1;
        Changes { number: self.number, changes }
    }
}

/// A number of the process's files in `/proc/self`.
fn proc(file: &str, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_matches(|character: char| !character.is_ascii_digit()).parse().unwrap()
}

fn peak_memory() -> u64 {
    proc("status", "VmHWM:") / 1024
}

/// The processor time of all threads but the first, in microseconds: those that write to the database.
fn processor_time() -> u64 {
    let main = std::process::id().to_string();
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap());
    let others = threads.filter(|thread| thread.file_name() != *main);
    let times = others.map(|thread| fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default());
    times.map(|times| times.split(' ').next().unwrap().parse::<u64>().unwrap_or(0)).sum::<u64>() / 1000
}

/// The bytes that the files of a directory take on the disk.
fn size_of(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

fn fill(store: &mut impl Store, count: u64, pair: impl Fn(u64) -> Vec<(Vec<u8>, Vec<u8>)>) {
    for first in (0..count).step_by(10_000) {
        let pairs: Vec<_> = (first..count.min(first + 10_000)).flat_map(&pair).collect();
        store.commit(pairs.iter().map(|(key, value)| (&key[..], Some(&value[..])))).unwrap();
    }
}

fn retained(number: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    vec![(key(kind::RETAINED, &[number]), value(150, number))]
}

/// A session with a subscription and ten messages that wait for it.
fn session(number: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut pairs =
        vec![(key(kind::SESSION, &[number]), value(60, number)), (key(kind::SESSION, &[number, 1]), value(30, number))];
    for message in number * 10..number * 10 + 10 {
        pairs.push((key(kind::MESSAGE, &[message]), value(140, message)));
        pairs.push((key(kind::DELIVERY, &[number, message]), value(12, message)));
    }
    pairs
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// One line of the table: a publisher's messages come as fast as they are committed.
fn load<S: Store>(open: impl Fn(&Path) -> S, dir: &Path, messages: u64, size: usize, sync: Sync) {
    let mut store = open(dir);
    fill(&mut store, RETAINED, retained);
    let committer = Committer::start(store, sync).unwrap();
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let wait = || loop {
        if let Some(report) = committer.take_report() {
            break report.unwrap();
        }
        if committer.poll_report(&mut Context::from_waker(&waker)).is_pending() {
            std::thread::park();
        }
    };
    let (written, before, processor, begin) =
        (proc("io", "write_bytes:"), size_of(dir), processor_time(), Instant::now());
    let (mut load, mut making, mut times) =
        (Load { size, next: 0, due: Vec::new(), number: 0 }, Duration::ZERO, Vec::new());
    let enough = if sync == Sync::Always { Duration::from_secs(4) } else { Duration::from_secs(6) };
    while begin.elapsed() < enough {
        let start = Instant::now();
        let batch = load.batch(messages);
        making += start.elapsed();
        let (start, number) = (Instant::now(), batch.number);
        committer.submit(batch);
        while wait() < number {}
        times.push(start.elapsed());
    }
    let time = begin.elapsed() - making;
    let busy = processor_time() - processor;
    let (grown, peak) = (size_of(dir).saturating_sub(before) >> 20, peak_memory());
    committer.close().unwrap();
    let written = proc("io", "write_bytes:") - written;
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_micros();
    let count = load.next as f64;
    println!(
        "{:.0} | {} | {} | {:.1} | {:.0} | {grown} | {peak} |",
        count / time.as_secs_f64(),
        at(0.5),
        at(0.99),
        busy as f64 / count,
        written as f64 / count,
    );
}

/// One line of the table of restarts.
fn restart<S: Store>(open: impl Fn(&Path) -> S, dir: &Path, begin: Instant, count: &mut usize) -> S {
    let store = open(dir);
    let opened = begin.elapsed();
    *count = store.pairs().unwrap().filter(Result::is_ok).count();
    print!("{:.2} | {:.2} | ", opened.as_secs_f64(), (begin.elapsed() - opened).as_secs_f64());
    store
}

/// What a child process does.
fn run<S: Store>(open: impl Fn(&Path) -> S, dir: &Path, arguments: &[String]) {
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["load", messages, size, sync] => {
            load(open, dir, messages.parse().unwrap(), size.parse().unwrap(), sync.parse().unwrap());
        }
        ["fill", content, end] => {
            let mut store = open(dir);
            let begin = Instant::now();
            match *content {
                "retained" => fill(&mut store, 1_000_000, retained),
                _ => fill(&mut store, 100_000, session),
            }
            if *end == "killed" {
                let pid = std::process::id().to_string();
                let _ = Command::new("kill").args(["-KILL", &pid]).status();
            }
            store.close().unwrap();
            print!("{:.1} | {} | ", begin.elapsed().as_secs_f64(), size_of(dir) >> 20);
        }
        ["restart"] => {
            let mut count = 0;
            restart(open, dir, Instant::now(), &mut count).close().unwrap();
            print!("{} | ", peak_memory());
            assert!(count >= 1_000_000);
        }
        ["remove"] => {
            let mut store = open(dir);
            let keys: Vec<_> = store.pairs().unwrap().map(|pair| pair.unwrap().0).collect();
            let most: Vec<_> = keys.iter().enumerate().filter(|(at, _)| at % 10 != 0).collect();
            for keys in most.chunks(10_000) {
                store.commit(keys.iter().map(|(_, key)| (&key[..], None))).unwrap();
            }
            print!("{} | ", size_of(dir) >> 20);
            store.close().unwrap();
            println!("{} |", size_of(dir) >> 20);
        }
        other => panic!("{other:?}"),
    }
}

fn dir() -> PathBuf {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target");
    let parent = std::env::var_os("STORE_BENCH_DIR").map_or_else(|| PathBuf::from(target), PathBuf::from);
    parent.join("store-bench")
}

/// Runs this program again with arguments.
fn child(arguments: &[&str]) {
    std::io::stdout().flush().unwrap();
    let _ = Command::new(std::env::current_exe().unwrap()).args(arguments).status().unwrap();
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let dir = dir();
    if !arguments.is_empty() {
        run(|dir| RedbStore::open(dir).unwrap(), &dir, &arguments);
        return;
    }
    let empty = || drop(fs::remove_dir_all(&dir));
    println!(
        "| payload | sync | messages a commit | messages/s | p50 µs | p99 µs | processor µs/message | bytes written/message | growth MB | peak MB |"
    );
    println!("|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    for (size, sync, messages) in ["100", "4096"].into_iter().flat_map(|size| {
        let rows = ["always", "1"].into_iter();
        rows.flat_map(move |sync| ["1", "20", "200", "2000"].map(|messages| (size, sync, messages)))
    }) {
        empty();
        print!("| {size} | {} | {messages} | ", if sync == "always" { sync } else { "1 s" });
        child(&["load", messages, size, sync]);
    }
    println!(
        "\n| content | fill s | MB | open s | read s | peak MB | open after SIGKILL s | read s | peak MB | MB without 90 % | closed MB |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for (content, name) in [
        ("retained", "1,000,000 retained messages of 100 B"),
        ("sessions", "100,000 sessions with 10 messages of 100 B"),
    ] {
        empty();
        print!("| {name} | ");
        child(&["fill", content, "closed"]);
        child(&["restart"]);
        empty();
        child(&["fill", content, "killed"]);
        child(&["restart"]);
        child(&["remove"]);
    }
    empty();
}
