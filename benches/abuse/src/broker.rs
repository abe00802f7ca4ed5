//! The brokers that are attacked: the example with its limits, and a mosquitto with its defaults.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result};
use mqtt_bench_brokers::{Kind, NO_MOSQUITTO, Process, Running, build_example, find_mosquitto};

use crate::arguments::Arguments;
use crate::priority;

/// The addresses at which a broker listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) tcp: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) websocket: SocketAddr,
}

impl From<[SocketAddr; 3]> for Addresses {
    fn from([tcp, tls, websocket]: [SocketAddr; 3]) -> Self {
        Self { tcp, tls, websocket }
    }
}

/// The programs, and how they are started.
pub(crate) struct Brokers {
    ours: PathBuf,
    our_options: Vec<String>,
    mosquitto: Option<PathBuf>,
    shows_logs: bool,
    memory_limit: u64,
}

impl Brokers {
    /// Finds the programs; builds ours unless it is given. The short form does not judge its speed, and has it built as the
    /// tests have: with the checks of a debug build.
    pub(crate) fn find(arguments: &Arguments) -> Result<Self> {
        let mosquitto = match &arguments.mosquitto {
            None => None,
            Some(Some(path)) => Some(path.clone()),
            Some(None) => Some(find_mosquitto().context(NO_MOSQUITTO)?),
        };
        let ours = match &arguments.ours {
            Some(path) => path.clone(),
            None => build_example(!arguments.short)?,
        };
        Ok(Self {
            ours,
            our_options: arguments.our_options.clone(),
            mosquitto,
            shows_logs: arguments.show_logs,
            memory_limit: arguments.memory_limit(),
        })
    }

    pub(crate) fn start(&self, kind: Kind, needs_passwords: bool) -> Result<Broker> {
        match kind {
            Kind::Ours => self.start_ours(needs_passwords),
            Kind::Mosquitto => self.start_mosquitto(needs_passwords),
        }
        .with_context(|| format!("cannot start {}", kind.name()))
    }

    fn start_ours(&self, needs_passwords: bool) -> Result<Broker> {
        // A fifth each for the reserve, for connections with sessions and subscriptions, and for incomplete packets.
        let fifth = self.memory_limit / 5;
        let limit = |name: &str, bytes: u64| [name.into(), bytes.to_string()];
        let mut arguments: Vec<String> = Vec::new();
        for scheme in ["--listen", "--tls", "--ws"] {
            arguments.extend([scheme.into(), "127.0.0.1:0".into()]);
        }
        arguments.extend(["--sys-interval".into(), "1".into()]);
        arguments.extend(limit("--max-memory", self.memory_limit - 3 * fifth));
        for name in ["--reserved-memory", "--max-state-memory", "--max-incomplete-bytes"] {
            arguments.extend(limit(name, fifth));
        }
        for (name, file) in [("--cert", "server.pem"), ("--key", "server.key")] {
            arguments.extend([name.into(), testdata(file)]);
        }
        if needs_passwords {
            arguments.extend(["--users".into(), testdata("passwd"), "--allow-anonymous".into()]);
        }
        arguments.extend(self.our_options.iter().cloned());
        let mut running = Running::start_ours(&self.ours, arguments, Stdio::piped())?;
        let panics = self.watch(running.take_log().context("it has no standard error")?);
        let addresses = running.announced_addresses(["tcp", "tls", "ws"])?;
        Broker::new(running, addresses, panics)
    }

    fn start_mosquitto(&self, needs_passwords: bool) -> Result<Broker> {
        let mosquitto = self.mosquitto.as_ref().context(NO_MOSQUITTO)?;
        let log = if self.shows_logs { Stdio::inherit() } else { Stdio::null() };
        let configuration = |addresses: [SocketAddr; 3]| mosquitto_configuration(addresses.into(), needs_passwords);
        let (running, addresses) = Running::start_mosquitto(mosquitto, configuration, log)?;
        Broker::new(running, addresses, Arc::default())
    }

    /// Reads the log, and collects panics: the task of one connection may panic while the broker goes on.
    fn watch(&self, log: ChildStderr) -> Arc<Mutex<Vec<String>>> {
        let panics = Arc::new(Mutex::new(Vec::new()));
        let (found, shows_logs) = (Arc::clone(&panics), self.shows_logs);
        thread::spawn(move || {
            priority::lower();
            let mut log = BufReader::new(log);
            let mut line = Vec::new();
            while log.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&line);
                if shows_logs {
                    eprint!("{text}");
                }
                if text.contains("panicked at")
                    && let Ok(mut found) = found.lock()
                {
                    found.push(text.trim_end().to_owned());
                }
                line.clear();
            }
        });
        panics
    }
}

/// Returns the path of a file with which the example broker is tested.
fn testdata(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/broker/testdata").join(name).display().to_string()
}

/// The defaults, but that many connections and an innocent client with many messages in flight are allowed.
fn mosquitto_configuration(addresses: Addresses, needs_passwords: bool) -> String {
    let tls = format!("certfile {}\nkeyfile {}", testdata("server.pem"), testdata("server.key"));
    let mut text = String::new();
    let listeners = [(addresses.tcp, ""), (addresses.websocket, "protocol websockets"), (addresses.tls, tls.as_str())];
    for (address, more) in listeners {
        text += &format!("listener {} {}\n{more}\n", address.port(), address.ip());
    }
    if needs_passwords {
        text += &format!("password_file {}\n", testdata("passwd"));
    }
    text + "user root\n\
            allow_anonymous true\n\
            persistence false\n\
            max_inflight_messages 0\n\
            max_connections -1\n\
            set_tcp_nodelay true\n\
            sys_interval 1\n\
            log_type none\n"
}

/// A broker that runs until this is dropped. It is killed then: a broker that is still at work could take minutes to end.
pub(crate) struct Broker {
    pub(crate) addresses: Addresses,
    pub(crate) process: Process,
    running: Running,
    panics: Arc<Mutex<Vec<String>>>,
}

impl Broker {
    fn new(running: Running, addresses: [SocketAddr; 3], panics: Arc<Mutex<Vec<String>>>) -> Result<Self> {
        Ok(Self { addresses: addresses.into(), process: running.process()?, running, panics })
    }

    /// Returns the first panic in the log.
    pub(crate) fn panic(&self) -> Option<String> {
        self.panics.lock().ok()?.first().cloned()
    }

    /// Returns the exit status of a process that has ended.
    pub(crate) fn end(&mut self) -> Option<String> {
        self.running.end().map(|status| status.to_string())
    }
}
