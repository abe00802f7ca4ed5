//! A broker as a process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The time after which a test that hangs is given up. A test on a busy machine takes far less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c";
const CONNACK: &[u8] = b"\x20\x02\0\0";

/// A broker that runs until this is dropped.
pub(crate) struct Broker {
    pub(crate) child: Child,
    address: SocketAddr,
    _stdout: BufReader<ChildStdout>,
}

impl Broker {
    pub(crate) fn start(arguments: &[&str], level: &str) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_broker")), arguments, level)
    }

    /// Starts a broker none of whose files can be longer than so many KiB.
    pub(crate) fn start_with_file_limit(kib: u64, arguments: &[&str], level: &str) -> Self {
        let mut shell = Command::new("bash");
        // The broker gets an error instead of a signal.
        let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_broker")]);
        Self::start_by(shell, arguments, level)
    }

    fn start_by(mut program: Command, arguments: &[&str], level: &str) -> Self {
        let mut child = program
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .env("RUST_LOG", level)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on tcp://").unwrap().parse().unwrap();
        Self { child, address, _stdout: stdout }
    }

    pub(crate) fn stderr(&mut self) -> ChildStderr {
        self.child.stderr.take().unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn assert_serves(&self) {
        let mut stream = self.connect();
        stream.write_all(&[CONNECT, b"\xc0\x00"].concat()).unwrap();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..], [CONNACK, b"\xd0\x00"].concat());
    }

    /// Sends a signal by name, with the program that does that.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
