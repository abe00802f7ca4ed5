//! Runs an example as a program.

#![allow(dead_code)] // each test uses only some of these items
// Threads read both outputs of a program at the same time.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The time after which a step that hangs is given up. A step on a busy machine takes far less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Returns the path of an example's program. `cargo test` has built the example already. Cargo is run only to make sure
/// that the program exists and is up to date, because `cargo test --test NAME` builds no examples; with the variable
/// `EXAMPLES_ARE_BUILT` it is not run.
pub(crate) fn path(example: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    // A test that has panicked here has not entered its example.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.entry(example.into()).or_insert_with(|| build(example)).clone()
}

fn build(example: &str) -> PathBuf {
    // The path of the test is PROFILE/deps/NAME, that of an example PROFILE/examples/NAME.
    let test = env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let program = profile.join("examples").join(format!("{example}{}", env::consts::EXE_SUFFIX));
    if env::var_os("EXAMPLES_ARE_BUILT").is_some() {
        return program;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--locked", "--offline"]);
    cargo.args(["--example", example]);
    cargo.arg("--target-dir").arg(profile.parent().unwrap());
    let name = profile.file_name().unwrap();
    cargo.arg("--profile").arg(if name == "debug" { OsStr::new("test") } else { name });
    // Build scripts and crates that read the variables cargo has set for this test would be built again.
    let is_about_test = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start));
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_about_test)) {
        cargo.env_remove(name);
    }
    let status = cargo.status().unwrap();
    assert!(status.success(), "the example {example} does not build");
    program
}

/// A running program, killed on drop.
pub(crate) struct Program {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
    readers: Vec<JoinHandle<()>>,
}

/// The exit status and the outputs of a program.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) status: ExitStatus,
    /// Standard output and standard error, without the lines that were taken before.
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Program {
    pub(crate) fn start(example: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(path(example));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::spawn(&mut command)
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut readers = Vec::new();
        let out = child.stdout.take().map(|pipe| lines(pipe, &mut readers));
        let err = child.stderr.take().map(|pipe| lines(pipe, &mut readers));
        let none = || channel().1;
        Self { child, out: out.unwrap_or_else(none), err: err.unwrap_or_else(none), readers }
    }

    /// Writes to the program's standard input.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    pub(crate) fn close_input(&mut self) {
        self.child.stdin = None;
    }

    /// Waits for the next line of standard output.
    #[track_caller]
    pub(crate) fn out_line(&self) -> String {
        self.out.recv_timeout(PATIENCE).expect("no line on standard output")
    }

    /// Waits for a line of standard error that contains this text.
    #[track_caller]
    pub(crate) fn wait_for_error(&self, text: &str) -> String {
        loop {
            let line = self.err.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nothing with {text:?} on stderr"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Sends a signal, given by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Sends SIGINT and SIGTERM while the program is stopped, because it may exit after the first one.
    pub(crate) fn signal_twice(&self) {
        ["STOP", "INT", "TERM", "CONT"].into_iter().for_each(|name| self.signal(name));
    }

    /// Waits until the program has exited.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        self.child.stdin = None;
        let out = rest(&self.out);
        let err = rest(&self.err);
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let status = self.child.wait().unwrap();
        Ended { code: status.code(), status, out, err }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(pipe: impl Read + Send + 'static, readers: &mut Vec<JoinHandle<()>>) -> Receiver<String> {
    let (sender, receiver) = channel();
    readers.push(thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
        }
    }));
    receiver
}

/// All lines up to the end of the pipe.
#[track_caller]
fn rest(lines: &Receiver<String>) -> String {
    let mut text = String::new();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => text.extend([&*line, "\n"]),
            Err(RecvTimeoutError::Disconnected) => return text,
            Err(RecvTimeoutError::Timeout) => panic!("it does not end; so far: {text:?}"),
        }
    }
}
