//! The brokers that are measured: the example with its options, and a mosquitto without limits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use mqtt_bench_brokers::{Kind, NO_MOSQUITTO, Process, Running, build_example, find_mosquitto};

use crate::arguments::BrokerArguments;
use crate::crowd::PATIENCE;

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

    pub(crate) fn start(&self, kind: Kind) -> Result<Broker> {
        let started = match kind {
            Kind::Ours => self.start_ours(),
            Kind::Mosquitto => self.start_mosquitto(),
        };
        started.with_context(|| format!("cannot start {}", kind.name()))
    }

    fn start_ours(&self) -> Result<Broker> {
        let options = ["--listen", "127.0.0.1:0"].into_iter().chain(self.our_options.iter().map(|option| &**option));
        let mut running = Running::start_ours(&self.ours, options, self.log())?;
        let [address] = running.announced_addresses(["tcp"])?;
        Broker::new(running, address)
    }

    fn start_mosquitto(&self) -> Result<Broker> {
        let mosquitto = self.mosquitto.as_ref().context(NO_MOSQUITTO)?;
        let (running, [address]) = Running::start_mosquitto(mosquitto, mosquitto_configuration, self.log())?;
        Broker::new(running, address)
    }

    fn log(&self) -> Stdio {
        if self.shows_logs { Stdio::inherit() } else { Stdio::null() }
    }
}

/// Features that cost time are switched off, and no limit makes mosquitto drop a message. (With a limit of messages in
/// flight, mosquitto 2.0 disconnects a client of 3.x that exceeds it.)
fn mosquitto_configuration([address]: [SocketAddr; 1]) -> String {
    format!(
        "listener {} {}\n\
         allow_anonymous true\n\
         persistence false\n\
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
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.running.terminate(PATIENCE / 2);
    }
}
