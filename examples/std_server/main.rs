//! A server for the command line, over TCP and with the standard library alone: it says what time it is, and echoes.
//!
//! ```text
//! cargo run --example std_server -- --listen 127.0.0.1:1883
//! cargo run --example std_client -- subscribe --filter clock --qos 1
//! ```
//!
//! A client that subscribes to `clock` gets a message there every second. And it gets back what it publishes itself,
//! where that matches one of its subscriptions; a message with a response topic is answered there as well. It is a
//! service to one client at a time and no broker: no message goes from one client to another, and none is retained.
//! Both are told to clients of 5.0; others cannot be told, and their RETAIN flags mean nothing. Wills are only logged.
//!
//! Sessions outlive their connections: the clock goes on for them, and what it has said with QoS 1 and 2 is sent when
//! the client comes back. They do not outlive the program: Ctrl-C and SIGTERM end it, and clients of 5.0 are told so. A
//! second signal ends it at once.
//!
//! `connection.rs` and `sessions.rs` are the parts to take to another program: a socket and a session, and where the
//! session is when there is no socket. What the clients get is in `service.rs`.

// The crate itself knows no sockets, threads and clocks. Whoever uses it does.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod arguments;
mod connection;
#[path = "../std_client/other_protocol.rs"]
mod other_protocol;
mod service;
mod sessions;
#[path = "../std_client/signals.rs"]
mod signals;
#[path = "../std_client/text.rs"]
mod text;

use std::io::{self, Write};
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use crate::arguments::Arguments;
use crate::sessions::Sessions;
use crate::text::log;

/// How long clients have to take what is still to be written when the program ends.
const FAREWELL: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    // Whoever reads where it listens may send a signal at once.
    let (sender, first_signal) = channel();
    let leave = move || sender.send(()).unwrap_or_default(); // the program may be ending by itself
    signals::on_first_signal(leave).context("signals cannot be handled")?;
    let listener =
        TcpListener::bind(&arguments.listen[..]).with_context(|| format!("cannot listen on {:?}", arguments.listen))?;
    let address = listener.local_addr()?;
    let _ = writeln!(io::stdout(), "listening on {address}"); // nobody has to read it

    let sessions = Arc::new(Sessions::new(arguments));
    let keeper = Arc::clone(&sessions);
    thread::Builder::new().spawn(move || keeper.keep())?;
    let accepting = Arc::clone(&sessions);
    thread::Builder::new().spawn(move || accept(&listener, &accepting))?;

    first_signal.recv().unwrap_or_else(|_| {
        loop {
            thread::park()
        }
    }); // without signals it goes on for ever
    log("shutting down");
    sessions.shut_down(FAREWELL);
    Ok(())
}

/// Accepts connections for ever, and starts a thread for each.
fn accept(listener: &TcpListener, sessions: &Arc<Sessions>) {
    for socket in listener.incoming() {
        let sessions = Arc::clone(sessions);
        let started = socket.and_then(|socket| {
            thread::Builder::new().spawn(move || {
                if let Err(error) = connection::serve(socket, &sessions) {
                    log(format_args!("a connection has failed: {error:#}"));
                }
            })
        });
        if let Err(error) = started {
            // Too many sockets or threads: that passes, and until then there is no use in trying again at once.
            log(format_args!("no connection: {error}"));
            thread::sleep(Duration::from_millis(100));
        }
    }
}
