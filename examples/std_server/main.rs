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
//! the client comes back. They do not outlive the program, which a signal ends at once.
//!
//! `connection.rs` and `sessions.rs` are the parts to take to another program: a socket and a session, and where the
//! session is when there is no socket. What the clients get is in `service.rs`.

// The crate itself knows no sockets, threads and clocks. Whoever uses it does.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod arguments;
mod connection;
mod service;
mod sessions;

use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use crate::arguments::Arguments;
use crate::sessions::Sessions;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let listener =
        TcpListener::bind(&arguments.listen).with_context(|| format!("cannot listen on {}", arguments.listen))?;
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;

    let sessions = Arc::new(Sessions::new(arguments));
    let keeper = Arc::clone(&sessions);
    thread::Builder::new().spawn(move || keeper.keep())?;
    for socket in listener.incoming() {
        let sessions = Arc::clone(&sessions);
        let started = socket.and_then(|socket| {
            thread::Builder::new().spawn(move || {
                if let Err(error) = connection::serve(socket, &sessions) {
                    eprintln!("a connection has failed: {error:#}");
                }
            })
        });
        if let Err(error) = started {
            // Too many sockets or threads: that passes, and until then there is no use in trying again at once.
            eprintln!("no connection: {error}");
            thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}
