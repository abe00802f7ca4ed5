//! A client for the command line: publishes and subscribes over TCP, with the standard library alone.
//!
//! ```text
//! cargo run --example std_client -- subscribe --filter 'home/#' --qos 1
//! cargo run --example std_client -- publish --topic home/kitchen/temp --message 21.5 --qos 1 --retain
//! sensor | cargo run --example std_client -- publish --topic home/kitchen/temp --lines --qos 2 --reconnect \
//!     --client-id thermo-7 --no-clean-start --session-expiry 3600
//! ```
//!
//! `connection.rs` is the part to take to another program: it brings a session together with a socket, a clock and
//! whatever there is to do.

// The crate itself knows no sockets, threads and clocks. Whoever uses it does.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod arguments;
mod connection;
mod publisher;
mod subscriber;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use mqtt_sansio::client::ClientSession;

use crate::arguments::{Arguments, Command};
use crate::publisher::Publisher;
use crate::subscriber::Subscriber;

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything went as it was asked for.
fn run(command: &Command) -> Result<bool> {
    match command {
        Command::Publish(arguments) => {
            let mut client = ClientSession::new(arguments.connection.config());
            let properties = arguments.user_properties()?;
            let mut publisher = Publisher::new(arguments, &properties)?;
            let end = connection::run(&arguments.connection, &mut client, &mut publisher);
            publisher.report_what_is_open();
            end.map(|()| publisher.has_succeeded())
        }
        Command::Subscribe(arguments) => {
            let mut client = ClientSession::new(arguments.connection.config());
            let mut subscriber = Subscriber::new(arguments, &mut client)?;
            connection::run(&arguments.connection, &mut client, &mut subscriber)?;
            Ok(subscriber.has_succeeded())
        }
    }
}
