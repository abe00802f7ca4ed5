//! A TCP proxy that prints the packets of both directions.
//!
//! ```text
//! cargo run --example proxy
//! cargo run --example proxy -- --listen 127.0.0.1:1884 --to 127.0.0.1:1883
//! ```
//!
//! Without arguments it stands between a client and a broker of its own, and ends with them: see `demo.rs`. The bytes
//! are forwarded as they come, whether or not they can be decoded.

// The crate itself uses no sockets and threads. A program that embeds it does.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod demo;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::{env, thread};

use anyhow::{Result, bail};
use mqtt_sansio::Version;
use mqtt_sansio::codec::{self, Decoded, Limits, Packet};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => demo::run(),
        ["--listen", address, "--to", server] => {
            let listener = TcpListener::bind(address)?;
            println!("listening on {}", listener.local_addr()?);
            for (number, client) in (1..).zip(listener.incoming()) {
                let (client, server) = (client?, server.to_owned());
                thread::spawn(move || {
                    if let Err(error) = relay(number, client, &server) {
                        println!("{number} {error}");
                    }
                });
            }
            Ok(())
        }
        _ => bail!("usage: proxy [--listen ADDRESS --to ADDRESS]"),
    }
}

/// Forwards a connection in both directions until both have ended.
fn relay(number: u32, client: TcpStream, server: &str) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
    }
    let version = Arc::default();
    let up = Direction::new(format!("{number} client → server"), Limits::from_client(), Arc::clone(&version));
    let down = Direction::new(format!("{number} server → client"), Limits::from_server(), version);
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    let up = thread::spawn(move || up.forward(from, to));
    let down = down.forward(server, client);
    let up = up.join().unwrap_or_else(|_| Err(io::Error::other("the other direction has panicked")));
    up.and(down)
}

/// One direction of a connection.
struct Direction {
    name: String,
    limits: Limits,
    /// The version in CONNECT, which comes before everything else.
    version: Arc<OnceLock<Version>>,
    /// The beginning of an incomplete packet.
    received: Vec<u8>,
    /// Whether all packets so far were valid. After an error the next packet cannot be found in the stream.
    is_readable: bool,
}

impl Direction {
    fn new(name: String, limits: Limits, version: Arc<OnceLock<Version>>) -> Self {
        // A larger packet is forwarded like any other, but not held in memory to be printed.
        let limits = Limits { max_packet_size: 1 << 20, ..limits };
        Self { name, limits, version, received: Vec::new(), is_readable: true }
    }

    fn forward(mut self, mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
        let mut piece = [0; 16_384];
        loop {
            // A reset ends this direction too; the other one then fails by itself.
            let count = from.read(&mut piece).unwrap_or(0);
            self.look_at(&piece[..count]);
            if count == 0 || to.write_all(&piece[..count]).is_err() {
                println!("{}  ends", self.name);
                let _ = to.shutdown(Shutdown::Write); // the other direction may go on
                return Ok(());
            }
        }
    }

    fn look_at(&mut self, piece: &[u8]) {
        if !self.is_readable {
            return;
        }
        self.received.extend_from_slice(piece);
        let mut rest = &self.received[..];
        loop {
            let version = self.version.get().copied().unwrap_or(Version::V5);
            match codec::decode(rest, version, self.limits) {
                Ok(Decoded::Packet { packet, size }) => {
                    if let Packet::Connect(connect) = packet {
                        let _ = self.version.set(connect.version); // a second CONNECT does not change it
                    }
                    println!("{}  {}, {size} bytes", self.name, packet);
                    rest = &rest[size..];
                }
                Ok(Decoded::Incomplete { .. }) => break,
                Err(error) => {
                    println!("{}  {error}; what follows is forwarded, and not printed", self.name);
                    self.is_readable = false;
                    rest = &[];
                    break;
                }
            }
        }
        let used = self.received.len() - rest.len();
        self.received.drain(..used);
    }
}
