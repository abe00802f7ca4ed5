//! The brokers: finding, starting and stopping them.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, io, thread};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};

use crate::arguments::BrokerArguments;
use crate::crowd::PATIENCE;
use crate::process::Process;

/// The brokers that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Mosquitto,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Mosquitto => "mosquitto",
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
            None => build_example()?,
        };
        let our_options = arguments.our_options.clone();
        Ok(Self { ours, our_options, mosquitto, shows_logs: arguments.show_logs })
    }

    pub(crate) const fn has_mosquitto(&self) -> bool {
        self.mosquitto.is_some()
    }

    pub(crate) fn start(&self, kind: Kind) -> Result<Broker> {
        match kind {
            Kind::Ours => self.start_ours(),
            Kind::Mosquitto => self.start_mosquitto(),
        }
        .with_context(|| format!("cannot start {}", kind.name()))
    }

    fn start_ours(&self) -> Result<Broker> {
        let mut command = Command::new(&self.ours);
        command.args(["--listen", "127.0.0.1:0"]).args(&self.our_options).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = self.spawn(&mut command)?;
        let stdout = child.0.stdout.take().context("it has no standard output")?;
        let address = announced_address(stdout)?;
        Broker::new(child, address)
    }

    fn start_mosquitto(&self) -> Result<Broker> {
        let mosquitto = self.mosquitto.as_ref().context(NO_MOSQUITTO)?;
        // mosquitto cannot choose a port itself. Another program may take this one before mosquitto starts.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(mosquitto);
        command.args(["-c", "/dev/stdin"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = self.spawn(&mut command)?;
        let mut stdin = child.0.stdin.take().context("it has no standard input")?;
        stdin.write_all(mosquitto_configuration(address).as_bytes())?;
        drop(stdin);
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = child.0.try_wait()? {
                bail!("it has ended: {status}; --show-logs shows what it says");
            }
            ensure!(begin.elapsed() < PATIENCE, "it does not listen on {address}");
            thread::sleep(Duration::from_millis(10));
        }
        Broker::new(child, address)
    }

    fn spawn(&self, command: &mut Command) -> Result<Running> {
        command.stderr(if self.shows_logs { Stdio::inherit() } else { Stdio::null() });
        let path = command.get_program().to_owned();
        Ok(Running(command.spawn().with_context(|| format!("cannot run {}", Path::new(&path).display()))?))
    }
}

pub(crate) const NO_MOSQUITTO: &str = "there is no mosquitto to compare with: install it (Debian and Ubuntu: apt-get install mosquitto) or name one by --mosquitto";

fn find_mosquitto() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // The folder in which Debian installs it, which is not in every user's path.
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    folders.map(|folder| folder.join("mosquitto")).find(|program| program.is_file())
}

/// Features that cost time are switched off, and no limit makes mosquitto drop a message. (With a limit of messages in
/// flight, mosquitto 2.0 disconnects a client of 3.x that exceeds it.)
fn mosquitto_configuration(address: SocketAddr) -> String {
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

/// Builds the example of this repository, and asks cargo for its path.
fn build_example() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("building the example broker");
    let output = Command::new(cargo)
        .args(["build", "--locked", "--release", "--package", "mqtt-sansio-broker", "--bin", "broker"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(&root)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the example broker cannot be built");
    let messages = output.stdout.split(|&byte| byte == b'\n');
    messages
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "broker")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo does not say where the example broker is")
}

/// Waits for `listening on tcp://ADDRESS:PORT`. Further output is read and dropped, so that the broker never waits for
/// a reader.
fn announced_address(stdout: ChildStdout) -> Result<SocketAddr> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        while stdout.read_line(&mut line).is_ok_and(|count| count > 0) {
            if let Some(address) = line.trim_end().strip_prefix("listening on ") {
                let _ = sender.send(address.trim_start_matches("tcp://").parse());
                break;
            }
            line.clear();
        }
        drop(sender);
        let _ = io::copy(&mut stdout, &mut io::sink());
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(address) => address.context("the address it announces is none"),
        Err(_) => bail!("it does not say where it is listening; --show-logs shows what it says"),
    }
}

/// A running broker, stopped on drop.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    _running: Running,
}

impl Broker {
    fn new(running: Running, address: SocketAddr) -> Result<Self> {
        Ok(Self { address, process: Process::new(running.0.id())?, _running: running })
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(process) = Process::new(self.0.id()) {
            let _ = kill(process.pid(), Signal::SIGTERM);
            let begin = Instant::now();
            while begin.elapsed() < PATIENCE / 2 {
                if !matches!(self.0.try_wait(), Ok(None)) {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
