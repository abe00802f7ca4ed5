//! Running brokers.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};

use crate::process::Process;

/// The time that a broker has to start.
const START: Duration = Duration::from_secs(10);

/// The interval at which a condition is tested.
const LOOK: Duration = Duration::from_millis(10);

/// A port that the system chooses.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A broker that is killed on drop.
pub struct Running(Child);

impl Running {
    fn spawn(command: &mut Command) -> Result<Self> {
        let path = command.get_program().to_owned();
        Ok(Self(command.spawn().with_context(|| format!("cannot run {}", Path::new(&path).display()))?))
    }

    /// Starts the example broker. Its addresses are [announced](Self::announced_addresses).
    ///
    /// # Errors
    ///
    /// If the program cannot be run.
    pub fn start_ours(
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        log: Stdio,
    ) -> Result<Self> {
        Self::spawn(Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log))
    }

    /// Waits until the example broker says `listening on SCHEME://ADDRESS:PORT` for each of these schemes, in the order `tcp`,
    /// `tls`, `ws`. Further output is read and dropped, so that the broker never waits for a reader.
    ///
    /// # Errors
    ///
    /// If it does not announce all of them in time.
    pub fn announced_addresses<const N: usize>(&mut self, schemes: [&str; N]) -> Result<[SocketAddr; N]> {
        let mut stdout = BufReader::new(self.0.stdout.take().context("it has no standard output")?);
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            while stdout.read_line(&mut line).is_ok_and(|count| count > 0) {
                let _ = sender.send(line.trim_end().to_owned());
                line.clear();
            }
            let _ = io::copy(&mut stdout, &mut io::sink());
        });
        let mut addresses = [ANY_PORT; N];
        let begin = Instant::now();
        for (address, scheme) in addresses.iter_mut().zip(schemes) {
            let start = format!("listening on {scheme}://");
            *address = loop {
                let Ok(line) = receiver.recv_timeout(START.saturating_sub(begin.elapsed())) else {
                    bail!("it does not say where it is listening; --show-logs shows what it says");
                };
                if let Some(announced) = line.strip_prefix(&start) {
                    break announced.parse().context("the address it announces is none")?;
                }
            };
        }
        Ok(addresses)
    }

    /// Starts mosquitto with the configuration for as many addresses of this machine as wanted.
    ///
    /// # Errors
    ///
    /// If the program cannot be run, ends, or does not listen on the first address in time.
    pub fn start_mosquitto<const N: usize>(
        program: &Path,
        configuration: impl FnOnce([SocketAddr; N]) -> String,
        log: Stdio,
    ) -> Result<(Self, [SocketAddr; N])> {
        // mosquitto cannot choose a port itself. Another program may take one of these before mosquitto starts.
        let mut ports = Vec::new();
        let mut addresses = [ANY_PORT; N];
        for address in &mut addresses {
            let port = TcpListener::bind(*address).context("no port is free")?;
            *address = port.local_addr()?;
            ports.push(port);
        }
        drop(ports);
        let mut command = Command::new(program);
        command.args(["-c", "/dev/stdin"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let mut running = Self::spawn(&mut command)?;
        let mut stdin = running.0.stdin.take().context("it has no standard input")?;
        stdin.write_all(configuration(addresses).as_bytes())?;
        drop(stdin);
        let begin = Instant::now();
        while let Some(address) = addresses.first()
            && TcpStream::connect(address).is_err()
        {
            if let Some(status) = running.end() {
                bail!("it has ended: {status}; --show-logs shows what it says");
            }
            ensure!(begin.elapsed() < START, "it does not listen on {address}");
            thread::sleep(LOOK);
        }
        Ok((running, addresses))
    }

    /// Returns the process, to be measured.
    ///
    /// # Errors
    ///
    /// If the broker has ended.
    pub fn process(&self) -> Result<Process> {
        Process::new(self.0.id())
    }

    /// Returns the exit status of a broker that has ended.
    pub fn end(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Takes the standard error of a broker that was started with a pipe for it.
    pub fn take_log(&mut self) -> Option<ChildStderr> {
        self.0.stderr.take()
    }

    /// Kills the broker, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Asks the broker to end, and waits for that. A broker that does not end in time is killed on drop.
    pub fn terminate(&mut self, patience: Duration) {
        let Ok(process) = self.process() else { return };
        let _ = kill(process.pid(), Signal::SIGTERM);
        let begin = Instant::now();
        while self.end().is_none() && begin.elapsed() < patience {
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
