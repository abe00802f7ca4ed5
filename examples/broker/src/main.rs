//! A broker on tokio, over TCP, TLS and WebSocket.
//!
//! ```console
//! $ cargo run --release -p mqtt-sansio-broker -- --listen 127.0.0.1:1883
//! ```
//!
//! One thread does all the work except for writing the log and computing password hashes: the broker is a state machine
//! that cannot use more threads, and messages of several publishers for one subscriber are sent with one write.

mod access;
mod acl;
mod address;
mod arguments;
mod checks;
mod connection;
#[cfg(test)]
#[path = "../../../tests/common/counting.rs"]
mod counting;
mod driver;
mod drops;
mod durable;
mod fair;
mod frames;
#[cfg(test)]
mod hostile;
mod lines;
mod linger;
mod listener;
mod log;
mod origin;
mod password;
mod rate;
mod store;
#[cfg(test)]
mod tests;
mod throttle;
mod tls;
mod turns;
mod users;
mod websocket;

use std::io::Write as _;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use mqtt_sansio::StdClock;
use mqtt_sansio::broker::Broker;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, JoinSet, LocalSet};
use tracing::{error, info, warn};

use crate::access::Access;
use crate::arguments::Arguments;
use crate::driver::Driver;
use crate::drops::Drops;
use crate::store::StoreError;

/// The time that clients have to read the last bytes when the broker shuts down.
const FAREWELL: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // eprintln would panic if standard error is closed.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            error.downcast_ref().map_or(ExitCode::FAILURE, StoreError::exit_code)
        }
    }
}

fn start(arguments: Arguments) -> Result<()> {
    let _flush = log::start()?;
    log::take_panics();
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!(%error, "the limit of open files was not raised");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(LocalSet::new().run_until(run(arguments)));
    // The result of a password check that still runs is not needed any more.
    runtime.shutdown_background();
    done
}

async fn run(arguments: Arguments) -> Result<()> {
    let access = Access::new(arguments.rights()?);
    let (config, limits, clock) = (arguments.config(), arguments.limits(), StdClock::new());
    let driver = Rc::new(match &arguments.data {
        None => Driver::new(Broker::new(config, access), limits, clock),
        Some(dir) => {
            let (broker, committer) = durable::open(dir, arguments.sync, config, access, clock.now())?;
            Driver::durable(broker, limits, clock, committer)
        }
    });
    // A program that reads the addresses may send a signal at once, so the handlers are installed first.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut status = signal(SignalKind::user_defined1())?;
    let mut listeners = JoinSet::new();
    for listener in listener::bind_all(&arguments).await? {
        listeners.spawn_local(listener.run(Rc::clone(&driver)));
    }
    let mut services = JoinSet::new();
    services.spawn_local(Driver::run(Rc::clone(&driver)));
    let mut drops = Drops::default();
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + drops::INTERVAL, drops::INTERVAL);
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = status.recv() => drops::log_status(&driver),
            _ = ticks.tick() => {
                drops.log(&driver);
            }
            // A broker that does not serve connections, does not accept any or cannot store its state must not go on.
            Some(end) = services.join_next() => fail(end)?,
            Some(end) = listeners.join_next() => fail(end.map(Ok))?,
        }
    }
    info!("shutting down");
    listeners.shutdown().await; // no more connections are accepted
    driver.shut_down();
    tokio::select! {
        _ = tokio::time::timeout(FAREWELL, driver.all_closed()) => {}
        Some(end) = services.join_next() => fail(end)?,
    }
    services.shutdown().await;
    if !drops.log(&driver) {
        drops::log_status(&driver);
    }
    Ok(driver.close()?)
}

/// Returns why a task has ended that should not: an error of the database, or a panic.
fn fail(end: Result<Result<(), StoreError>, JoinError>) -> Result<()> {
    match end {
        Ok(end) => end?,
        Err(error) => error!(%error, "a task has failed"),
    }
    bail!("an essential task has ended");
}
