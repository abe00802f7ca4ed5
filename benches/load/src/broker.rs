//! The brokers that are measured: the example with its options, and a mosquitto without limits.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use mqtt_bench_brokers::{Kind, NO_MOSQUITTO, Process, Running, build_example, find_mosquitto};

use crate::arguments::BrokerArguments;
use crate::crowd::PATIENCE;

/// When a broker writes its state to a directory.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Storage {
    /// Never: `persistence false` of mosquitto.
    Nothing,
    /// The example: before it acknowledges anything. mosquitto: after each change that it notices, by `autosave_on_changes` with
    /// `autosave_interval 1`.
    Always(PathBuf),
    /// At most a second later: `--sync 1` of the example, `autosave_interval 1` of mosquitto.
    EverySecond(PathBuf),
}

impl Storage {
    /// Returns the options of a broker, for tables.
    pub(crate) const fn name(&self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::Nothing, Kind::Ours) => "without `--data`",
            (Self::Always(_), Kind::Ours) => "`--sync always`",
            (Self::EverySecond(_), Kind::Ours) => "`--sync 1`",
            (Self::Nothing, Kind::Mosquitto) => "`persistence false`",
            (Self::Always(_), Kind::Mosquitto) => "`autosave_on_changes true`, `autosave_interval 1`",
            (Self::EverySecond(_), Kind::Mosquitto) => "`autosave_interval 1`",
        }
    }
}

/// The paths of the brokers, and the options to start them with.
pub(crate) struct Brokers {
    ours: PathBuf,
    our_options: Vec<String>,
    mosquitto: Option<PathBuf>,
    shows_logs: bool,
}

impl Brokers {
    /// Finds the brokers, and builds the example unless its path is given.
    pub(crate) fn find(arguments: &BrokerArguments, needs_mosquitto: bool) -> Result<Self> {
        let mosquitto = arguments.mosquitto.clone().or_else(find_mosquitto);
        ensure!(mosquitto.is_some() || !needs_mosquitto, NO_MOSQUITTO);
        let ours = match &arguments.ours {
            Some(path) => path.clone(),
            None => build_example(true)?,
        };
        let our_options = arguments.our_options.clone();
        Ok(Self { ours, our_options, mosquitto, shows_logs: arguments.show_logs })
    }

    pub(crate) const fn has_mosquitto(&self) -> bool {
        self.mosquitto.is_some()
    }

    /// Starts a broker that stores nothing on disk.
    pub(crate) fn start(&self, kind: Kind) -> Result<Broker> {
        self.start_with(kind, &Storage::Nothing)
    }

    pub(crate) fn start_with(&self, kind: Kind, storage: &Storage) -> Result<Broker> {
        let started = match kind {
            Kind::Ours => self.start_ours(storage),
            Kind::Mosquitto => self.start_mosquitto(storage),
        };
        started.with_context(|| format!("cannot start {}", kind.name()))
    }

    fn start_ours(&self, storage: &Storage) -> Result<Broker> {
        let data = match storage {
            Storage::Nothing => Vec::new(),
            Storage::Always(dir) => vec!["--data".as_ref(), dir.as_os_str(), "--sync".as_ref(), "always".as_ref()],
            Storage::EverySecond(dir) => vec!["--data".as_ref(), dir.as_os_str(), "--sync".as_ref(), "1".as_ref()],
        };
        let options = ["--listen", "127.0.0.1:0"].map(OsStr::new).into_iter().chain(data);
        let options = options.chain(self.our_options.iter().map(OsStr::new));
        let mut running = Running::start_ours(&self.ours, options, self.log())?;
        let [address] = running.announced_addresses(["tcp"])?;
        Broker::new(running, address)
    }

    fn start_mosquitto(&self, storage: &Storage) -> Result<Broker> {
        let mosquitto = self.mosquitto.as_ref().context(NO_MOSQUITTO)?;
        let (running, [address]) =
            Running::start_mosquitto(mosquitto, |[address]| mosquitto_configuration(address, storage), self.log())?;
        Broker::new(running, address)
    }

    fn log(&self) -> Stdio {
        if self.shows_logs { Stdio::inherit() } else { Stdio::null() }
    }
}

/// Features that cost time are switched off, and no limit makes mosquitto drop a message. (With a limit of messages in
/// flight, mosquitto 2.0 disconnects a client of 3.x that exceeds it.)
fn mosquitto_configuration(address: SocketAddr, storage: &Storage) -> String {
    // By default mosquitto changes from root to another user, which has no permission to write to the directory.
    let stored = |dir: &Path| {
        format!("user root\npersistence true\npersistence_location {}/\nautosave_interval 1\n", dir.display())
    };
    let persistence = match storage {
        Storage::Nothing => "persistence false\n".to_owned(),
        Storage::Always(dir) => stored(dir) + "autosave_on_changes true\n",
        Storage::EverySecond(dir) => stored(dir),
    };
    format!(
        "listener {} {}\n\
         allow_anonymous true\n\
         {persistence}\
         max_queued_messages 0\n\
         max_inflight_messages 0\n\
         max_connections -1\n\
         set_tcp_nodelay true\n\
         sys_interval 0\n\
         log_type none\n",
        address.port(),
        address.ip()
    )
}

/// A running broker, stopped on drop.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    running: Running,
}

impl Broker {
    fn new(running: Running, address: SocketAddr) -> Result<Self> {
        Ok(Self { address, process: running.process()?, running })
    }

    /// Kills the broker, without asking it to end.
    pub(crate) fn kill(mut self) {
        self.running.kill();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.running.terminate(PATIENCE / 2);
    }
}
