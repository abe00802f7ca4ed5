//! A client for the command line: publishes and subscribes over TCP, with the standard library alone.
//!
//! ```text
//! cargo run --example std_client -- subscribe --filter 'home/#' --qos 1
//! cargo run --example std_client -- publish --topic home/kitchen/temp --message 21.5 --qos 1 --retain
//! sensor | cargo run --example std_client -- publish --topic home/kitchen/temp --lines --qos 2 --reconnect \
//!     --client-id thermo-7 --no-clean-start --session-expiry 3600 --data /var/lib/thermo-7
//! ```
//!
//! Ctrl-C and SIGTERM end it with DISCONNECT, and a second signal ends it at once.
//!
//! `connection.rs` connects a session with a link of `mqtt-sansio-std`, a clock and a task. A program that needs less control
//! uses the `Client` of that crate. With `--data` the session survives a crash of the program or of the system.

// The crate itself uses no sockets, threads and clocks. A program that embeds it does.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod arguments;
mod connection;
mod other_protocol;
mod publisher;
mod signals;
mod subscriber;
mod text;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use clap::Parser;
use mqtt_sansio::Instant;

use crate::arguments::{Arguments, Command, PublishArguments, SubscribeArguments};
use crate::connection::Driver;
use crate::publisher::Publisher;
use crate::subscriber::Subscriber;
use crate::text::log;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(mistake) = arguments.check() {
        mistake.exit();
    }
    let result = match &arguments.command {
        Command::Publish(arguments) => publish(arguments),
        Command::Subscribe(arguments) => subscribe(arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS, // `| head` has read enough
        Err(error) => {
            log(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every message was published.
fn publish(arguments: &PublishArguments) -> Result<bool> {
    let leave = leave_on_signal()?;
    let (mut client, mut store) = arguments.connection.open_session()?;
    let properties = arguments.user_properties()?;
    let mut publisher = Publisher::new(arguments, &properties)?;
    publisher.go_on(&client);
    publisher.start();
    let end = Driver::new(&arguments.connection, &mut client, store.as_mut(), &mut publisher, &leave).run();
    let has_succeeded = publisher.finish(store.is_some());
    end?;
    has_succeeded
}

/// Returns whether the subscription was granted and all expected messages have arrived.
fn subscribe(arguments: &SubscribeArguments) -> Result<bool> {
    let leave = leave_on_signal()?;
    let (mut client, mut store) = arguments.connection.open_session()?;
    let mut subscriber = Subscriber::new(arguments, &mut client, Instant::EPOCH)?;
    Driver::new(&arguments.connection, &mut client, store.as_mut(), &mut subscriber, &leave).run()?;
    Ok(subscriber.has_succeeded())
}

/// Returns a flag that the first signal sets. It then wakes the calling thread.
fn leave_on_signal() -> Result<Arc<AtomicBool>> {
    let leave = Arc::new(AtomicBool::new(false));
    let (flag, waiting) = (Arc::clone(&leave), thread::current());
    let set = move || {
        flag.store(true, Ordering::Release);
        waiting.unpark();
    };
    signals::on_first_signal(set).context("signals cannot be handled")?;
    Ok(leave)
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
