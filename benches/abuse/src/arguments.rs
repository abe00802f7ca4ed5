//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

/// Attacks the example broker, and measures what an innocent client notices.
///
/// The exit code is 1 if a limit is exceeded or the broker does not live on. With --mosquitto the attacks are made on
/// mosquitto too, for comparison: its rows are not judged.
#[derive(Parser)]
pub(crate) struct Arguments {
    /// Duration of each attack
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_seconds)]
    seconds: Duration,
    /// Make only this attack; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// An attack that is known to succeed: its objections are told, and do not change the exit code; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) known: Vec<String>,
    /// Make small attacks, several at a time, for half a second each, or until enough is sent; memory, counters and life are
    /// judged, time is not
    #[arg(long)]
    pub(crate) short: bool,
    /// Print the names of the attacks
    #[arg(long)]
    pub(crate) list: bool,
    /// Seed of all that is random
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The program of our broker; without it the example is built
    #[arg(long, value_name = "PATH")]
    pub(crate) ours: Option<PathBuf>,
    /// One more argument for our broker; may be repeated
    #[arg(long = "our-option", value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) our_options: Vec<String>,
    /// Attack mosquitto as well: this program, or the one that is found
    #[arg(long, value_name = "PATH", num_args = 0..=1)]
    pub(crate) mosquitto: Option<Option<PathBuf>>,
    /// Greatest 99th percentile of the innocent client's latency
    #[arg(long, value_name = "MILLISECONDS", default_value = "10", value_parser = parse_milliseconds)]
    pub(crate) max_p99: Duration,
    /// Greatest latency of the innocent client
    #[arg(long, value_name = "MILLISECONDS", default_value = "50", value_parser = parse_milliseconds)]
    pub(crate) max_latency: Duration,
    /// The memory that our broker is told it may use: two fifths are --max-memory, one each --reserved-memory,
    /// --max-state-memory and --max-incomplete-bytes; 160, and 32 with --short, if nothing else is said
    #[arg(long, value_name = "MIB")]
    memory_limit: Option<u64>,
    /// Memory beyond 1.1 times the limit that is no objection: the system's allocator takes whole pages and keeps some. 0, and 4
    /// with --short, if nothing else is said
    #[arg(long, value_name = "MIB")]
    memory_allowance: Option<u64>,
    /// Let the innocent client come from the address of the attackers: for a broker that shares its work and memory by
    /// address, all of them are one then
    #[arg(long)]
    pub(crate) one_address: bool,
    /// Time that the broker is given to answer after an attack; 10 s, and 30 s with --short, if nothing else is said
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    patience: Option<Duration>,
    /// Number of attacks at a time, on one broker each; 4 with --short, otherwise 1
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..))]
    jobs: Option<u8>,
    /// Print all $SYS topics after each attack
    #[arg(long)]
    pub(crate) show_counters: bool,
    /// Let the brokers write to standard error
    #[arg(long)]
    pub(crate) show_logs: bool,
}

impl Arguments {
    pub(crate) fn duration(&self) -> Duration {
        if self.short { self.seconds.min(Duration::from_millis(500)) } else { self.seconds }
    }

    /// Returns how long the innocent client is watched after the attack, because what an attacker leaves behind may hurt too.
    pub(crate) const fn aftermath(&self) -> Duration {
        Duration::from_millis(if self.short { 100 } else { 1000 })
    }

    /// Returns the memory limit in bytes.
    pub(crate) fn memory_limit(&self) -> u64 {
        self.memory_limit.unwrap_or(if self.short { 32 } else { 160 }) << 20
    }

    /// Returns the greatest growth of the memory, in bytes.
    pub(crate) fn memory_bound(&self) -> u64 {
        let allowance = self.memory_allowance.unwrap_or(if self.short { 4 } else { 0 });
        self.memory_limit() / 10 * 11 + (allowance << 20)
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience.unwrap_or(Duration::from_secs(if self.short { 30 } else { 10 }))
    }

    pub(crate) fn jobs(&self) -> u8 {
        self.jobs.unwrap_or(if self.short { 4 } else { 1 })
    }
}

fn parse_seconds(text: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(text.parse()?).context("not a duration")
}

fn parse_milliseconds(text: &str) -> Result<Duration> {
    Ok(parse_seconds(text)? / 1000)
}
