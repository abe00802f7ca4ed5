//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

/// Attacks the example broker, and measures what an innocent client notices.
///
/// The exit code is 1 if a limit is exceeded or the broker fails. With --mosquitto the attacks are made on mosquitto too,
/// for comparison: its rows are not judged.
#[derive(Parser)]
pub(crate) struct Arguments {
    /// Duration of each attack
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_seconds)]
    seconds: Duration,
    /// Make only this attack; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// An attack that is known to succeed: its objections are printed, and do not change the exit code; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) known: Vec<String>,
    /// Make small attacks, several at a time, for half a second each, or until enough is sent. Memory, counters and failures are
    /// judged, times are not
    #[arg(long)]
    pub(crate) short: bool,
    /// Print the names of the attacks
    #[arg(long)]
    pub(crate) list: bool,
    /// Seed of the random numbers
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The program of our broker; by default the example is built
    #[arg(long, value_name = "PATH")]
    pub(crate) ours: Option<PathBuf>,
    /// Additional argument for our broker; may be repeated
    #[arg(long = "our-option", value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) our_options: Vec<String>,
    /// Attack mosquitto as well; without a path it is searched for
    #[arg(long, value_name = "PATH", num_args = 0..=1)]
    pub(crate) mosquitto: Option<Option<PathBuf>>,
    /// Maximum 99th percentile of the innocent client's latency
    #[arg(long, value_name = "MILLISECONDS", default_value = "10", value_parser = parse_milliseconds)]
    pub(crate) max_p99: Duration,
    /// Maximum latency of the innocent client
    #[arg(long, value_name = "MILLISECONDS", default_value = "50", value_parser = parse_milliseconds)]
    pub(crate) max_latency: Duration,
    /// The memory limit of our broker: two fifths are its --max-memory, one each --reserved-memory, --max-state-memory and
    /// --max-incomplete-bytes. Default: 160, with --short 32
    #[arg(long, value_name = "MIB")]
    memory_limit: Option<u64>,
    /// Memory beyond 1.1 times the limit that is no objection, because the allocator takes whole pages and keeps some. Default:
    /// 0, with --short 4
    #[arg(long, value_name = "MIB")]
    memory_allowance: Option<u64>,
    /// Let the innocent client connect from the address of the attackers: a broker that shares its work and memory by address
    /// then takes all of them for one
    #[arg(long)]
    pub(crate) one_address: bool,
    /// Maximum time for an answer of the broker after an attack. Default: 10 s, with --short 30 s
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    patience: Option<Duration>,
    /// Number of attacks at a time, on one broker each. Default: 1, with --short 4
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

    /// Returns the time for which the innocent client is observed after the attack: sessions and messages that attackers leave
    /// behind may cause delays too.
    pub(crate) const fn aftermath(&self) -> Duration {
        Duration::from_millis(if self.short { 100 } else { 1000 })
    }

    /// Returns the memory limit in bytes.
    pub(crate) fn memory_limit(&self) -> u64 {
        self.memory_limit.unwrap_or(if self.short { 32 } else { 160 }) << 20
    }

    /// Returns the maximum growth of the memory, in bytes.
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
