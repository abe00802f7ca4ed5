//! The brokers: how they are found, started and stopped.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use anyhow::{Context, Result, bail, ensure};

use crate::arguments::Arguments;
use crate::process::{self, Process};

/// The time that a broker has to start.
const START: Duration = Duration::from_secs(10);

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

/// The addresses at which a broker listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) tcp: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) websocket: SocketAddr,
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
    /// Finds the programs; builds ours unless it is given.
    pub(crate) fn find(arguments: &Arguments) -> Result<Self> {
        let mosquitto = match &arguments.mosquitto {
            None => None,
            Some(Some(path)) => Some(path.clone()),
            Some(None) => Some(find_mosquitto().context("there is no mosquitto: name one by --mosquitto PATH")?),
        };
        let ours = match &arguments.ours {
            Some(path) => path.clone(),
            None => build_example(arguments.short)?,
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
        let mut command = Command::new(&self.ours);
        command.args(["--listen", "127.0.0.1:0", "--tls", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--sys-interval", "1"]);
        command.arg("--cert").arg(testdata("server.pem")).arg("--key").arg(testdata("server.key"));
        command.arg("--max-memory").arg((self.memory_limit - 3 * fifth).to_string());
        for option in ["--reserved-memory", "--max-state-memory", "--max-incomplete-bytes"] {
            command.arg(option).arg(fifth.to_string());
        }
        if needs_passwords {
            command.arg("--users").arg(testdata("passwd")).arg("--allow-anonymous");
        }
        command.args(&self.our_options).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(&mut command)?;
        let panics = self.watch(child.0.stderr.take().context("it has no standard error")?);
        let stdout = child.0.stdout.take().context("it has no standard output")?;
        let addresses = announced_addresses(stdout)?;
        Broker::new(child, addresses, panics)
    }

    fn start_mosquitto(&self, needs_passwords: bool) -> Result<Broker> {
        let mosquitto = self.mosquitto.as_ref().context("there is no mosquitto")?;
        // It cannot choose a port by itself. Between here and its start another program may take this one.
        let ports = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
        let mut addresses = ports.iter().map(|port| match port {
            Ok(listener) => listener.local_addr().context("it has no address"),
            Err(error) => bail!("no port is free: {error}"),
        });
        let mut next = || addresses.next().context("three ports were asked for")?;
        let addresses = Addresses { tcp: next()?, tls: next()?, websocket: next()? };
        drop(ports);
        let mut command = Command::new(mosquitto);
        command.args(["-c", "/dev/stdin"]).stdin(Stdio::piped()).stdout(Stdio::null());
        command.stderr(if self.shows_logs { Stdio::inherit() } else { Stdio::null() });
        let mut child = spawn(&mut command)?;
        let mut stdin = child.0.stdin.take().context("it has no standard input")?;
        stdin.write_all(mosquitto_configuration(addresses, needs_passwords).as_bytes())?;
        drop(stdin);
        let begin = Instant::now();
        while TcpStream::connect(addresses.tcp).is_err() {
            if let Some(status) = child.0.try_wait()? {
                bail!("it has ended: {status}; --show-logs shows what it says");
            }
            ensure!(begin.elapsed() < START, "it does not listen on {}", addresses.tcp);
            thread::sleep(Duration::from_millis(10));
        }
        Broker::new(child, addresses, Arc::default())
    }

    /// Reads the log, and collects panics: the task of one connection may panic while the broker goes on.
    fn watch(&self, log: ChildStderr) -> Arc<Mutex<Vec<String>>> {
        let panics = Arc::new(Mutex::new(Vec::new()));
        let (found, shows_logs) = (Arc::clone(&panics), self.shows_logs);
        thread::spawn(move || {
            process::lower_priority();
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

fn spawn(command: &mut Command) -> Result<Running> {
    let path = command.get_program().to_owned();
    Ok(Running(command.spawn().with_context(|| format!("cannot run {}", Path::new(&path).display()))?))
}

/// Returns the path of a file with which the example broker is tested.
fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/broker/testdata").join(name)
}

fn find_mosquitto() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Where Debian has it, which is not on everybody's path.
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    folders.map(|folder| folder.join("mosquitto")).find(|program| program.is_file())
}

/// The defaults, but that many connections and an innocent client with many messages in flight are allowed.
fn mosquitto_configuration(addresses: Addresses, needs_passwords: bool) -> String {
    let tls = format!("certfile {}\nkeyfile {}", testdata("server.pem").display(), testdata("server.key").display());
    let mut text = String::new();
    let listeners = [(addresses.tcp, ""), (addresses.websocket, "protocol websockets"), (addresses.tls, tls.as_str())];
    for (address, more) in listeners {
        text += &format!("listener {} {}\n{more}\n", address.port(), address.ip());
    }
    if needs_passwords {
        text += &format!("password_file {}\n", testdata("passwd").display());
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

/// Builds the example of this repository, and asks cargo where it is. The short form asks nothing of its speed, and has it built
/// as the tests have: with the checks of a debug build.
fn build_example(is_short: bool) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("building the example broker");
    let output = Command::new(cargo)
        .args(["build", "--locked", "--package", "mqtt-sansio-broker", "--bin", "broker"])
        .args(if is_short { None } else { Some("--release") })
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

/// Waits for the three lines `listening on SCHEME://ADDRESS:PORT`, and reads whatever comes after them, so that the broker never
/// waits for a reader.
fn announced_addresses(stdout: ChildStdout) -> Result<Addresses> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        while stdout.read_line(&mut line).is_ok_and(|count| count > 0) {
            let _ = sender.send(line.trim_end().to_owned());
            line.clear();
        }
        let _ = io::copy(&mut stdout, &mut io::sink());
    });
    let (mut tcp, mut tls, mut websocket) = (None, None, None);
    let begin = Instant::now();
    while tcp.is_none() || tls.is_none() || websocket.is_none() {
        let Ok(line) = receiver.recv_timeout(START.saturating_sub(begin.elapsed())) else {
            bail!("it does not say where it is listening; --show-logs shows what it says");
        };
        let Some((scheme, address)) = line.strip_prefix("listening on ").and_then(|line| line.split_once("://")) else {
            continue;
        };
        let address = Some(address.parse().context("the address it announces is none")?);
        match scheme {
            "tcp" => tcp = address,
            "tls" => tls = address,
            "ws" => websocket = address,
            _ => {}
        }
    }
    let missing = "it does not listen";
    Ok(Addresses { tcp: tcp.context(missing)?, tls: tls.context(missing)?, websocket: websocket.context(missing)? })
}

/// A broker that runs until this is dropped.
pub(crate) struct Broker {
    pub(crate) addresses: Addresses,
    pub(crate) process: Process,
    running: Running,
    panics: Arc<Mutex<Vec<String>>>,
}

impl Broker {
    fn new(running: Running, addresses: Addresses, panics: Arc<Mutex<Vec<String>>>) -> Result<Self> {
        Ok(Self { addresses, process: Process::new(running.0.id())?, running, panics })
    }

    /// Returns the first panic that the log tells of.
    pub(crate) fn panic(&self) -> Option<String> {
        self.panics.lock().ok()?.first().cloned()
    }

    /// Returns how the process has ended; `None` while it runs.
    pub(crate) fn end(&mut self) -> Option<String> {
        self.running.0.try_wait().ok().flatten().map(|status| status.to_string())
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Without a farewell: a broker that is still at work could take minutes to hear of it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
