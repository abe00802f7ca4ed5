//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use mqtt_sansio::codec::Connect;

/// The addresses of a host name. (A plain `Vec` would tell clap that the argument may be repeated.)
type Addresses = Vec<SocketAddr>;

/// Publishes the time, and echoes messages to the clients that publish them.
///
/// The first line on standard output is `listening on ADDRESS:PORT`. Events are written to standard error.
#[derive(Parser)]
#[command(name = "std_server")]
pub(crate) struct Arguments {
    /// The address to listen on; with port 0 the system chooses one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:1883", value_parser = parse_listen)]
    pub(crate) listen: Addresses,
    /// The interval between two messages of the clock
    #[arg(long, value_name = "MILLISECONDS", default_value = "1000", value_parser = parse_tick)]
    pub(crate) tick: Duration,
    /// The only user that is accepted; without this, every client is
    #[arg(long, value_name = "NAME:PASSWORD", value_parser = parse_user)]
    user: Option<(String, String)>,
    /// Print wills to standard output: CLIENT, TOPIC, QOS and PAYLOAD, separated by tabs
    #[arg(long)]
    pub(crate) log_wills: bool,
}

impl Arguments {
    /// Returns whether a client may connect.
    pub(crate) fn lets_in(&self, connect: &Connect<'_>) -> bool {
        self.user.as_ref().is_none_or(|(name, password)| {
            connect.user_name.is_some_and(|it| it == **name) && connect.password == Some(password.as_bytes())
        })
    }
}

/// Resolves a host name. The first address that is free is listened on.
fn parse_listen(text: &str) -> Result<Addresses> {
    let addresses = text.to_socket_addrs().context("it is to be ADDRESS:PORT, such as 127.0.0.1:1883 or [::1]:1883")?;
    Ok(addresses.collect())
}

fn parse_tick(text: &str) -> Result<Duration> {
    let millis = text.parse().ok().filter(|&millis| millis != 0);
    millis.map(Duration::from_millis).context("it is a number, and not 0")
}

fn parse_user(text: &str) -> Result<(String, String)> {
    let (name, password) = text.split_once(':').context("there is no : in it")?;
    Ok((name.into(), password.into()))
}
