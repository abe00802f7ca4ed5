//! Where connections come from.

use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::arguments::Arguments;
use crate::driver::Driver;
use crate::{connection, tls, websocket};

/// What is spoken below MQTT.
#[derive(Clone)]
enum Transport {
    Tcp,
    Tls(TlsAcceptor),
    /// With the size of the largest packet.
    WebSocket(usize),
}

/// A listening socket.
pub(crate) struct Listener {
    socket: TcpListener,
    transport: Transport,
}

/// How long TLS and WebSocket have to be set up.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long nothing is accepted when the system has no room for more.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens on all addresses, and says so.
pub(crate) async fn bind_all(arguments: &Arguments) -> Result<Vec<Listener>> {
    let mut wanted: Vec<_> = arguments.tcp().into_iter().map(|address| (address, Transport::Tcp, "tcp")).collect();
    if let (false, Some(cert), Some(key)) = (arguments.tls.is_empty(), &arguments.cert, &arguments.key) {
        let acceptor = tls::acceptor(cert, key)?;
        wanted.extend(arguments.tls.iter().map(|&address| (address, Transport::Tls(acceptor.clone()), "tls")));
    }
    let max_packet_size = arguments.max_packet_size as usize;
    wanted.extend(arguments.ws.iter().map(|&address| (address, Transport::WebSocket(max_packet_size), "ws")));
    let mut listeners = Vec::new();
    let mut lines = String::new();
    for (address, transport, scheme) in wanted {
        let socket = bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        lines += &format!("listening on {scheme}://{}\n", socket.local_addr()?);
        listeners.push(Listener { socket, transport });
    }
    let mut out = std::io::stdout().lock();
    out.write_all(lines.as_bytes())?;
    out.flush()?;
    Ok(listeners)
}

async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

impl Listener {
    /// Accepts connections for ever.
    pub(crate) async fn run(self, driver: Rc<Driver>) {
        let mut has_failed = false;
        loop {
            match self.socket.accept().await {
                Ok((stream, address)) => {
                    has_failed = false;
                    // What is to be written is written at once: it was collected before.
                    if let Err(error) = stream.set_nodelay(true) {
                        debug!(%error, "packets may be held back");
                    }
                    serve(Rc::clone(&driver), stream, address, self.transport.clone());
                }
                Err(error) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        warn!(%error, "no connection can be accepted");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Begins to serve a connection. Each transport has a task of its own kind, as large as it needs.
fn serve(driver: Rc<Driver>, stream: TcpStream, address: SocketAddr, transport: Transport) {
    match transport {
        Transport::Tcp => drop(tokio::task::spawn_local(connection::run(driver, stream, address))),
        Transport::Tls(acceptor) => drop(tokio::task::spawn_local(async move {
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => connection::run(driver, stream, address).await,
                Ok(Err(error)) => info!(%address, %error, "no TLS"),
                Err(_) => info!(%address, "TLS was not set up in time"),
            }
        })),
        Transport::WebSocket(max_packet_size) => drop(tokio::task::spawn_local(async move {
            match tokio::time::timeout(HANDSHAKE, websocket::accept(stream, max_packet_size)).await {
                Ok(Ok(stream)) => connection::run(driver, stream, address).await,
                Ok(Err(error)) => info!(%address, %error, "no WebSocket"),
                Err(_) => info!(%address, "the WebSocket was not set up in time"),
            }
        })),
    }
}
