//! The command line.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use mqtt_sansio::{QoS, Version};

/// Measures the example broker and mosquitto under the same load, on this machine.
///
/// The exit code is 1 if something has failed, or if a message did not arrive as often as its QoS demands.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) compare: CompareArguments,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Connections(ConnectionsArguments),
    Durable(DurableArguments),
    Restart(RestartArguments),
    Round(RoundArguments),
}

#[derive(Args)]
pub(crate) struct CompareArguments {
    /// Number of measurements with each broker
    #[arg(long, value_name = "NUMBER", default_value = "3", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: u16,
    /// Measure only this shape; may be repeated, like the following two
    #[arg(long = "shape")]
    shapes: Vec<Shape>,
    /// Measure only this version of the protocol; default: 3.1.1 and 5.0
    #[arg(long = "version", value_name = "VERSION")]
    versions: Vec<Version>,
    /// Measure only this QoS
    #[arg(long = "qos")]
    qos: Vec<QoS>,
    #[command(flatten)]
    pub(crate) load: LoadArguments,
    #[command(flatten)]
    pub(crate) brokers: BrokerArguments,
}

impl CompareArguments {
    /// The cases to measure.
    pub(crate) fn cases(&self) -> Vec<Case> {
        fn or<T: Clone>(chosen: &[T], all: &[T]) -> Vec<T> {
            if chosen.is_empty() { all.to_vec() } else { chosen.to_vec() }
        }
        let versions = or(&self.versions, &[Version::V311, Version::V5]);
        let qos = or(&self.qos, &[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
        let mut cases = Vec::new();
        for shape in or(&self.shapes, Shape::value_variants()) {
            for &version in &versions {
                cases.extend(qos.iter().map(|&qos| Case { shape, version, qos }));
            }
        }
        cases
    }
}

/// Opens many connections at once and sends a message to each.
#[derive(Args)]
pub(crate) struct ConnectionsArguments {
    /// Number of connections
    #[arg(default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) count: u32,
    /// Version of the protocol
    #[arg(long, default_value_t)]
    pub(crate) version: Version,
    /// Time for which the connections stay open and idle
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = parse_seconds)]
    pub(crate) hold: Duration,
    #[command(flatten)]
    pub(crate) brokers: BrokerArguments,
}

/// Measures brokers that store their state, and the same brokers without that.
#[derive(Args)]
pub(crate) struct DurableArguments {
    /// Number of measurements of each broker
    #[arg(long, value_name = "NUMBER", default_value = "3", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: u16,
    /// Version of the protocol
    #[arg(long, default_value_t)]
    pub(crate) version: Version,
    /// QoS of the messages
    #[arg(long, default_value = "1")]
    pub(crate) qos: QoS,
    #[command(flatten)]
    pub(crate) load: LoadArguments,
    #[command(flatten)]
    pub(crate) directory: DirectoryArguments,
    #[command(flatten)]
    pub(crate) brokers: BrokerArguments,
}

/// Measures how long the example needs to start with a large state.
#[derive(Args)]
pub(crate) struct RestartArguments {
    /// Number of retained messages
    #[arg(long, value_name = "NUMBER", default_value = "1000000")]
    pub(crate) retained: u32,
    /// Number of sessions, each with a subscription
    #[arg(long, value_name = "NUMBER", default_value = "100000")]
    pub(crate) sessions: u32,
    /// Number of messages that wait in each session
    #[arg(long, value_name = "NUMBER", default_value = "10")]
    pub(crate) messages: u32,
    /// Size of a payload
    #[arg(long, value_name = "BYTES", default_value = "64")]
    pub(crate) payload: u32,
    #[command(flatten)]
    pub(crate) directory: DirectoryArguments,
    #[command(flatten)]
    pub(crate) brokers: BrokerArguments,
}

#[derive(Args)]
pub(crate) struct DirectoryArguments {
    /// Directory for the state of the brokers, on a disk and not in memory; it is created and removed
    #[arg(long, value_name = "PATH", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/durable"))]
    pub(crate) data: PathBuf,
}

/// Measures one case with a broker that is already running.
#[derive(Args)]
pub(crate) struct RoundArguments {
    /// Address of the broker, which must be a loopback address
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_loopback)]
    pub(crate) broker: SocketAddr,
    /// Process identifier of the broker, to measure its processor time
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Who publishes to whom
    #[arg(long, default_value_t = Shape::Pairs)]
    shape: Shape,
    /// Version of the protocol
    #[arg(long, default_value_t)]
    version: Version,
    /// QoS of the messages
    #[arg(long, default_value = "0")]
    qos: QoS,
    #[command(flatten)]
    pub(crate) load: LoadArguments,
}

impl RoundArguments {
    pub(crate) const fn case(&self) -> Case {
        Case { shape: self.shape, version: self.version, qos: self.qos }
    }
}

#[derive(Args, Clone)]
pub(crate) struct LoadArguments {
    /// Number of subscribers
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) subscribers: u16,
    /// Maximum number of messages that a publisher is ahead of its slowest subscriber
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) window: u64,
    /// Maximum number of unacknowledged messages of QoS 1 and 2 of a publisher
    #[arg(long, value_name = "NUMBER", default_value = "20", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) in_flight: u16,
    /// Size of a payload
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = clap::value_parser!(u32).range(16..=65_536))]
    pub(crate) payload: u32,
    /// Let the sessions of the subscribers outlive their connections
    #[arg(long)]
    pub(crate) persistent: bool,
    /// Duration of the measurement
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = parse_seconds)]
    pub(crate) seconds: Duration,
    /// Time for which the load runs before the measurement
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = parse_seconds)]
    pub(crate) warm_up: Duration,
}

#[derive(Args)]
pub(crate) struct BrokerArguments {
    /// Program of this repository's broker; by default the example is built
    #[arg(long, value_name = "PATH")]
    pub(crate) ours: Option<PathBuf>,
    /// Additional argument for it; may be repeated
    #[arg(long = "our-option", value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) our_options: Vec<String>,
    /// Program of mosquitto; by default it is searched for
    #[arg(long, value_name = "PATH")]
    pub(crate) mosquitto: Option<PathBuf>,
    /// Let the brokers write to standard error
    #[arg(long)]
    pub(crate) show_logs: bool,
}

/// A case to measure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) shape: Shape,
    pub(crate) version: Version,
    pub(crate) qos: QoS,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, MQTT {}, QoS {}", self.shape, self.version, self.qos.value())
    }
}

/// Who publishes to whom.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// One publisher and one topic for each subscriber
    Pairs,
    /// One publisher to all subscribers
    FanOut,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pairs => "pairs",
            Self::FanOut => "fan-out",
        })
    }
}

fn parse_seconds(text: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(text.parse()?).context("it is no time")
}

/// Only loopback addresses are accepted: nobody should load a broker of others by mistake.
fn parse_loopback(text: &str) -> Result<SocketAddr> {
    let address: SocketAddr = text.parse()?;
    ensure!(address.ip().is_loopback(), "only brokers on this machine are measured, on a loopback address");
    Ok(address)
}
