//! A broker on tokio, over TCP, TLS and WebSocket.
//!
//! ```console
//! $ cargo run --release -p mqtt-sansio-broker -- --listen 127.0.0.1:1883
//! ```
//!
//! One thread does everything: the broker is a state machine that has no use for more, and whatever several publishers have
//! for a subscriber goes out in one write.

mod access;
mod acl;
mod arguments;
mod connection;
mod driver;
mod drops;
mod listener;
mod tls;
mod users;
mod websocket;

use std::io::IsTerminal as _;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use mqtt_sansio::broker::Broker;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, LocalSet};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::arguments::Arguments;
use crate::driver::Driver;
use crate::drops::Drops;

/// How long clients have to take what is still to be written when the broker ends.
const FAREWELL: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(is_terminal).with_writer(std::io::stderr).init();
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!(%error, "as many files may be open as before");
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(LocalSet::new().run_until(run(arguments)))
}

async fn run(arguments: Arguments) -> Result<()> {
    let broker = Broker::new(arguments.config(), arguments.access()?);
    let driver = Rc::new(Driver::new(broker));
    // Whoever reads where it listens may send a signal at once.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut listeners = JoinSet::new();
    for listener in listener::bind_all(&arguments).await? {
        listeners.spawn_local(listener.run(Rc::clone(&driver)));
    }
    tokio::task::spawn_local(Driver::keep_time(Rc::clone(&driver)));
    let mut drops = Drops::default();
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = tokio::time::sleep(drops::INTERVAL) => drops.tell(&driver),
        }
    }
    info!("shutting down");
    listeners.shutdown().await; // nobody else is let in
    driver.shut_down();
    let _ = tokio::time::timeout(FAREWELL, driver.all_closed()).await;
    drops.tell(&driver);
    Ok(())
}
