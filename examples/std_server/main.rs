//! A server for the command line, over TCP and with the standard library alone: it publishes the time, and echoes.
//!
//! ```text
//! cargo run --example std_server -- --listen 127.0.0.1:1883
//! cargo run --example std_client -- subscribe --filter clock --qos 1
//! ```
//!
//! A client that subscribes to `clock` receives a message there every second. It also receives its own messages if they
//! match one of its subscriptions, and a response to a message with a response topic. The program serves each client by
//! itself and is not a broker: no message goes from one client to another, and none is retained. CONNACK announces both
//! to clients of 5.0; before 5.0 that is not possible, and RETAIN flags are ignored. Wills are only logged.
//!
//! Sessions outlive their connections: the clock continues, and its messages of QoS 1 and 2 are sent when the client
//! reconnects. They do not outlive the program: Ctrl-C and SIGTERM end it, and clients of 5.0 receive a DISCONNECT. A
//! second signal ends it at once.
//!
//! `connection.rs` and `sessions.rs` are the parts to copy to another program: a socket and a session, and the storage
//! of sessions without a socket. The messages for the clients are in `service.rs`.

// The crate itself uses no sockets, threads and clocks. A program that embeds it does.
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

/// The time that clients have to read the last bytes when the program ends.
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
    // A program that reads the address may send a signal at once, so the handler is installed first.
    let (sender, first_signal) = channel();
    let leave = move || sender.send(()).unwrap_or_default(); // the program may be ending already
    signals::on_first_signal(leave).context("signals cannot be handled")?;
    let listener =
        TcpListener::bind(&arguments.listen[..]).with_context(|| format!("cannot listen on {:?}", arguments.listen))?;
    let address = listener.local_addr()?;
    let _ = writeln!(io::stdout(), "listening on {address}"); // standard output may be closed

    let sessions = Arc::new(Sessions::new(arguments));
    let keeper = Arc::clone(&sessions);
    thread::Builder::new().spawn(move || keeper.keep())?;
    let accepting = Arc::clone(&sessions);
    thread::Builder::new().spawn(move || accept(&listener, &accepting))?;

    first_signal.recv().unwrap_or_else(|_| {
        loop {
            thread::park()
        }
    }); // without signals the program never ends
    log("shutting down");
    sessions.shut_down(FAREWELL);
    Ok(())
}

/// Accepts connections without end, and starts a thread for each.
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
            // Too many sockets or threads: that is temporary, and an immediate retry would fail as well.
            log(format_args!("no connection: {error}"));
            thread::sleep(Duration::from_millis(100));
        }
    }
}
