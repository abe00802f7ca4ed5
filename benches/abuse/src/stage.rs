//! The stage of one attack: the broker, the time, and what the attackers count.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use mqtt_bench_brokers::Process;

use crate::arguments::Arguments;
use crate::attacks::Attack;
use crate::broker::{Addresses, Broker};
use crate::peer::{Stopped, is_over};
use crate::random::Random;

/// The addresses of the attackers and of other clients: a broker may share its work and memory by address.
const ATTACKERS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const INNOCENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Maximum time for the preparations of an attack.
const PREPARATION: Duration = Duration::from_secs(60);

/// Maximum time for a short attack to send its minimum. A broker that slows the attackers down has passed.
const ENOUGH: Duration = Duration::from_secs(5);

/// Time for which the innocent client runs undisturbed before an attack.
const QUIET: Duration = Duration::from_millis(100);

pub(crate) struct Stage {
    pub(crate) broker: Addresses,
    /// The broker's process, for its processor time.
    pub(crate) process: Process,
    pub(crate) is_short: bool,
    /// The address of the innocent client.
    pub(crate) innocent: IpAddr,
    pub(crate) tally: Tally,
    /// Number of messages of the innocent client that have not come back.
    pub(crate) outstanding: AtomicU64,
    seed: u64,
    duration: Duration,
    /// Number of bytes that attackers send before a short attack ends.
    minimum: u64,
    created: Instant,
    begun: OnceLock<Instant>,
    is_over: AtomicBool,
    is_left: AtomicBool,
    notes: Mutex<Vec<String>>,
}

impl Stage {
    pub(crate) fn new(broker: &Broker, arguments: &Arguments, attack: &Attack) -> Self {
        Self {
            broker: broker.addresses,
            process: broker.process,
            is_short: arguments.short,
            innocent: if arguments.one_address { ATTACKERS } else { INNOCENT },
            tally: Tally::default(),
            outstanding: AtomicU64::new(0),
            seed: arguments.seed,
            duration: arguments.duration(),
            minimum: if arguments.short { attack.minimum << 20 } else { 0 },
            created: Instant::now(),
            begun: OnceLock::new(),
            is_over: AtomicBool::new(false),
            is_left: AtomicBool::new(false),
            notes: Mutex::default(),
        }
    }

    /// Returns the size of the attack in the full or in the short form.
    pub(crate) const fn size(&self, full: usize, short: usize) -> usize {
        if self.is_short { short } else { full }
    }

    pub(crate) const fn random(&self, part: usize) -> Random {
        Random::new(self.seed.wrapping_add(part as u64))
    }

    /// Ends the preparations of the attack: from here on the innocent client's latency counts.
    pub(crate) fn begin(&self) -> Result<()> {
        let is_quiet = || self.outstanding.load(Ordering::Relaxed) <= 1;
        while !is_quiet() {
            self.check()?;
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(QUIET);
        let _ = self.begun.set(Instant::now());
        Ok(())
    }

    /// Returns when the attack began.
    pub(crate) fn begun(&self) -> Option<Instant> {
        self.begun.get().copied()
    }

    /// Returns whether the attack, or its preparations, are to go on.
    pub(crate) fn goes_on(&self) -> bool {
        let is_in_time = match self.begun() {
            None => self.created.elapsed() < PREPARATION,
            Some(begun) => {
                let elapsed = begun.elapsed();
                elapsed < self.duration || (elapsed < ENOUGH && !self.has_sent_enough())
            }
        };
        is_in_time && !self.is_over.load(Ordering::Relaxed)
    }

    fn has_sent_enough(&self) -> bool {
        self.tally.bytes.load(Ordering::Relaxed) >= self.minimum
    }

    pub(crate) fn check(&self) -> Result<(), Stopped> {
        if self.goes_on() { Ok(()) } else { Err(Stopped::Over) }
    }

    /// Returns whether the preparations have taken too long.
    pub(crate) fn is_late(&self) -> bool {
        self.begun().is_none() && self.created.elapsed() >= PREPARATION
    }

    /// Ends the attack early, because the broker has ended.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Ends the work of the innocent client.
    pub(crate) fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_left(&self) -> bool {
        self.is_left.load(Ordering::Relaxed)
    }

    /// Adds a finding of the attackers to the table.
    pub(crate) fn note(&self, note: String) {
        if let Ok(mut notes) = self.notes.lock() {
            notes.push(note);
        }
    }

    pub(crate) fn notes(&self) -> String {
        self.notes.lock().map(|notes| notes.join("; ")).unwrap_or_default()
    }

    /// Waits, but not longer than the attack lasts.
    pub(crate) fn pause(&self, duration: Duration) -> Result<(), Stopped> {
        let begin = Instant::now();
        while begin.elapsed() < duration {
            self.check()?;
            thread::sleep((duration - begin.elapsed().min(duration)).min(Duration::from_millis(20)));
        }
        self.check()
    }

    /// Repeats an action until it succeeds: a broker may limit the number of connections that it accepts at a time.
    pub(crate) fn insist<T>(&self, mut act: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match act() {
                Err(error) if matches!(error.downcast_ref(), Some(Stopped::Closed | Stopped::Refused(_))) => {
                    self.pause(Duration::from_millis(5))?;
                }
                result => return result,
            }
        }
    }

    /// Repeats an action until the attack is over, also when the broker has refused the client or closed the connection.
    pub(crate) fn repeat(&self, mut act: impl FnMut(usize) -> Result<()>) -> Result<()> {
        for round in 0.. {
            match act(round) {
                Ok(()) => {}
                Err(error) => match error.downcast_ref() {
                    Some(Stopped::Over) => break,
                    Some(Stopped::Closed | Stopped::Refused(_)) => thread::sleep(Duration::from_millis(1)),
                    None => return Err(error),
                },
            }
            if !self.goes_on() {
                break;
            }
        }
        Ok(())
    }

    /// Runs several attackers at the same time. The end of the attack is no error.
    pub(crate) fn crowd(&self, count: usize, act: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        let results: Vec<Result<()>> = thread::scope(|scope| {
            let act = &act;
            let threads: Vec<_> = (0..count).map(|index| scope.spawn(move || act(index))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail_panic())).collect()
        });
        for result in results {
            match result {
                Err(error) if !is_over(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn bail_panic() -> Result<()> {
    bail!("an attacker has panicked")
}

/// Counters of the attackers: their work, and the answers of the broker.
pub(crate) struct Tally {
    pub(crate) connections: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Connections that the broker has closed.
    pub(crate) closed: AtomicU64,
    /// Connections that could not be opened.
    pub(crate) unopened: AtomicU64,
    /// Number of packets with each reason code, 0x80 and above.
    codes: [AtomicU64; 128],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            connections: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            unopened: AtomicU64::new(0),
            codes: [const { AtomicU64::new(0) }; 128],
        }
    }
}

impl Tally {
    pub(crate) fn code(&self, code: u8) {
        if let Some(count) = code.checked_sub(0x80).and_then(|index| self.codes.get(usize::from(index))) {
            add(count, 1);
        }
    }

    /// Returns the refusals that attackers have received, as a text.
    pub(crate) fn refusals(&self) -> String {
        let mut text = String::new();
        for (code, count) in (0x80..).zip(&self.codes) {
            let count = count.load(Ordering::Relaxed);
            if count != 0 {
                let _ = write!(text, "{count} × 0x{code:02X}, ");
            }
        }
        for (count, what) in [(&self.closed, "closed"), (&self.unopened, "not accepted")] {
            let count = count.load(Ordering::Relaxed);
            if count != 0 {
                let _ = write!(text, "{count} {what}, ");
            }
        }
        text.truncate(text.len().saturating_sub(2));
        text
    }
}

pub(crate) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}
