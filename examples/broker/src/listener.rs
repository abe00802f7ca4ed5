//! Listening sockets.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::access::{Identity, Peer};
use crate::address::Address;
use crate::arguments::Arguments;
use crate::driver::Driver;
use crate::origin::{Principal, Stage};
use crate::throttle::Throttle;
use crate::websocket::{self, WebSocket};
use crate::{connection, linger, tls};

/// The protocol below MQTT.
#[derive(Clone)]
pub(crate) enum Transport {
    Tcp,
    Tls(TlsAcceptor),
    WebSocket,
}

impl Transport {
    const fn scheme(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls(_) => "tls",
            Self::WebSocket => "ws",
        }
    }
}

/// A listening socket.
pub(crate) struct Listener {
    socket: TcpListener,
    transport: Transport,
}

/// The timeout of the TLS and WebSocket handshakes.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The pause in accepting when the system has no room for more connections.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens on all addresses, and prints a line for each.
pub(crate) async fn bind_all(arguments: &Arguments) -> Result<Vec<Listener>> {
    let mut wanted: Vec<_> = arguments.tcp().into_iter().map(|address| (address, Transport::Tcp)).collect();
    if let (false, Some(cert), Some(key)) = (arguments.tls.is_empty(), &arguments.cert, &arguments.key) {
        let acceptor = tls::acceptor(cert, key, arguments.client_ca.as_deref())?;
        wanted.extend(arguments.tls.iter().map(|address| (address.clone(), Transport::Tls(acceptor.clone()))));
    }
    wanted.extend(arguments.ws.iter().map(|address| (address.clone(), Transport::WebSocket)));
    let mut listeners = Vec::new();
    let mut lines = String::new();
    for (address, transport) in wanted {
        for socket in bind(&address).await.with_context(|| format!("cannot listen on {address}"))? {
            lines += &format!("listening on {}://{}\n", transport.scheme(), socket.local_addr()?);
            listeners.push(Listener { socket, transport: transport.clone() });
        }
    }
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(lines.as_bytes()).and_then(|()| out.flush()) {
        warn!(%error, "nothing can be written to standard output");
    }
    Ok(listeners)
}

/// Listens on all addresses of a host name. Addresses that this machine does not have, for example of IPv6, are skipped
/// if another one works.
async fn bind(address: &Address) -> io::Result<Vec<TcpListener>> {
    let mut sockets = Vec::new();
    let mut left_out = None;
    for socket_address in address.resolve().await? {
        match TcpListener::bind(socket_address).await {
            Ok(socket) => sockets.push(socket),
            Err(error)
                if error.kind() == io::ErrorKind::AddrNotAvailable || error.kind() == io::ErrorKind::Unsupported =>
            {
                left_out = Some((socket_address, error));
            }
            Err(error) => return Err(error),
        }
    }
    match left_out {
        Some((_, error)) if sockets.is_empty() => return Err(error),
        Some((left_out, error)) => warn!(address = %left_out, %error, "this address is not listened on"),
        None => {}
    }
    Ok(sockets)
}

impl Listener {
    #[cfg(test)]
    pub(crate) async fn on_a_free_port(transport: Transport) -> Self {
        Self { socket: TcpListener::bind("127.0.0.1:0").await.unwrap(), transport }
    }

    #[cfg(test)]
    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Accepts connections without end.
    pub(crate) async fn run(self, driver: Rc<Driver>) {
        let mut has_failed = false;
        loop {
            match self.socket.accept().await {
                Ok((stream, address)) => {
                    has_failed = false;
                    // Output is sent at once, because the broker has coalesced it already.
                    if let Err(error) = stream.set_nodelay(true) {
                        debug!(%error, "packets may be held back");
                    }
                    serve(&driver, stream, address, self.transport.clone());
                    // The tasks of connections run between two accepted connections.
                    tokio::task::yield_now().await;
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

/// Starts to serve a connection. Each transport has its own type of task, so that each task is as small as possible. A connection
/// beyond the limits of its address is closed at once, because its protocol version is not known yet.
fn serve(driver: &Rc<Driver>, stream: TcpStream, address: SocketAddr, transport: Transport) {
    let stage = if matches!(transport, Transport::Tcp) { Stage::Connecting } else { Stage::Handshake };
    let Some(mut guest) = driver.origins.enter(address.ip(), stage) else {
        debug!(%address, "too many connections from this address are not accepted yet");
        return;
    };
    let principal = Principal::Origin(guest.origin());
    let owner = Rc::clone(driver);
    match transport {
        Transport::Tcp => {
            driver.spawn(principal, connection::run(owner, stream, guest, Peer::new(address, Identity::Unproven)));
        }
        Transport::Tls(acceptor) => driver.spawn(principal, async move {
            let accept = acceptor
                .accept_with(Throttle::new(stream), |connection| connection.set_buffer_limit(Some(tls::BUFFER)));
            match tokio::time::timeout(HANDSHAKE, accept.into_fallible()).await {
                Ok(Ok(stream)) => {
                    guest.advance(Stage::Connecting);
                    let peer = Peer::new(address, tls::identity(stream.get_ref().1));
                    connection::run(owner, stream, guest, peer).await;
                }
                Ok(Err((error, mut stream))) => {
                    info!(%address, %error, "no TLS");
                    // The client should receive the alert with the reason.
                    stream.lift_limits();
                    linger::close(&mut stream, &owner.buffer, linger::STRANGER).await;
                }
                Err(_) => info!(%address, "TLS was not set up in time"),
            }
        }),
        Transport::WebSocket => driver.spawn(principal, async move {
            let mut stream = stream;
            match tokio::time::timeout(HANDSHAKE, websocket::accept(&mut stream)).await {
                Ok(Ok(())) => {
                    guest.advance(Stage::Connecting);
                    let peer = Peer::new(address, Identity::Unproven);
                    connection::run(owner, WebSocket::new(stream), guest, peer).await;
                }
                Ok(Err(error)) => {
                    info!(%address, %error, "no WebSocket");
                    linger::close(&mut stream, &owner.buffer, linger::STRANGER).await;
                }
                Err(_) => info!(%address, "the WebSocket was not set up in time"),
            }
        }),
    }
}
