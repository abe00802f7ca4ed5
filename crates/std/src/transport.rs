//! Transports: what carries the bytes of one connection.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
#[cfg(unix)]
use std::path::PathBuf;
use std::time::Duration;

/// Maximum time that [`tcp`] waits for each address of the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A connected transport: two blocking halves, each of which is used by a thread of its own.
///
/// ```
/// # use std::io::{pipe, PipeReader, PipeWriter};
/// # use mqtt_sansio_std::Transport;
/// let (reader, their_writer) = pipe()?;
/// let (their_reader, writer) = pipe()?;
/// let transport = Transport::new(reader, writer);
/// # drop((transport, their_reader, their_writer));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Transport {
    pub(crate) reader: Box<dyn Read + Send>,
    pub(crate) writer: Box<dyn Write + Send>,
    pub(crate) closer: Box<dyn Close>,
}

/// Ends a transport while other threads may be blocked in its halves.
///
/// ```
/// # use std::net::{Shutdown, TcpStream};
/// # use mqtt_sansio_std::Close;
/// struct Socket(TcpStream); // over which another protocol carries the bytes
///
/// impl Close for Socket {
///     fn finish_writing(&mut self) {
///         let _ = self.0.shutdown(Shutdown::Write); // fails if the peer has closed already
///     }
///
///     fn close(&mut self) {
///         let _ = self.0.shutdown(Shutdown::Both); // likewise
///     }
/// }
/// ```
pub trait Close: Send {
    /// Ends the writing direction: all bytes were written, and the peer is to see the end of the stream after them. The
    /// writer is dropped as well. The default does nothing.
    fn finish_writing(&mut self) {}

    /// Ends both directions, and wakes the threads that are blocked in them.
    fn close(&mut self);
}

impl Close for TcpStream {
    fn finish_writing(&mut self) {
        let _ = self.shutdown(Shutdown::Write); // fails if the peer has closed already
    }

    fn close(&mut self) {
        let _ = self.shutdown(Shutdown::Both); // likewise
    }
}

#[cfg(unix)]
impl Close for UnixStream {
    fn finish_writing(&mut self) {
        let _ = self.shutdown(Shutdown::Write); // fails if the peer has closed already
    }

    fn close(&mut self) {
        let _ = self.shutdown(Shutdown::Both); // likewise
    }
}

/// The closer of a transport whose halves are closed when they are dropped.
struct OnDrop;

impl Close for OnDrop {
    fn close(&mut self) {}
}

impl Transport {
    /// Creates a transport of two halves that are closed when they are dropped.
    ///
    /// A read that is blocked when the connection ends goes on until it returns: use
    /// [`closed_by`](Self::closed_by), or a reader with a timeout. An error of the kind `WouldBlock`, `TimedOut` or
    /// `Interrupted` is not the end of the transport: the call is made again.
    ///
    /// ```no_run
    /// # use std::fs::File;
    /// # use mqtt_sansio_std::Transport;
    /// let port = File::options().read(true).write(true).open("/dev/ttyUSB0")?; // a serial line
    /// let transport = Transport::new(port.try_clone()?, port);
    /// # drop(transport);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(reader: impl Read + Send + 'static, writer: impl Write + Send + 'static) -> Self {
        Self { reader: Box::new(reader), writer: Box::new(writer), closer: Box::new(OnDrop) }
    }

    /// Sets what ends the transport.
    ///
    /// ```no_run
    /// # use std::net::TcpStream;
    /// # use mqtt_sansio_std::Transport;
    /// let socket = TcpStream::connect("127.0.0.1:1883")?;
    /// let transport = Transport::new(socket.try_clone()?, socket.try_clone()?).closed_by(socket);
    /// # drop(transport);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn closed_by(self, closer: impl Close + 'static) -> Self {
        Self { closer: Box::new(closer), ..self }
    }
}

/// Uses a TCP connection, without Nagle's algorithm: the sessions coalesce their output themselves.
impl TryFrom<TcpStream> for Transport {
    type Error = io::Error;

    fn try_from(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(Self::new(socket.try_clone()?, socket.try_clone()?).closed_by(socket))
    }
}

#[cfg(unix)]
impl TryFrom<UnixStream> for Transport {
    type Error = io::Error;

    fn try_from(socket: UnixStream) -> io::Result<Self> {
        Ok(Self::new(socket.try_clone()?, socket.try_clone()?).closed_by(socket))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// Returns a function that connects to a server over TCP, for [`connect`](crate::connect). The address is resolved for
/// each connection; each of its addresses is tried for at most 30 seconds. An error names the address that was tried last.
///
/// ```no_run
/// # use mqtt_sansio::client::ClientConfig;
/// # use mqtt_sansio_std::{connect, tcp};
/// let (client, events) = connect(ClientConfig::default(), tcp("broker.local:1883"))?;
/// # drop((client, events));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn tcp<A: ToSocketAddrs + Send + 'static>(address: A) -> impl FnMut() -> io::Result<Transport> + Send + 'static {
    move || {
        let mut last = Err(io::ErrorKind::AddrNotAvailable.into());
        for address in address.to_socket_addrs()? {
            last = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)
                .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")));
            if last.is_ok() {
                break;
            }
        }
        Transport::try_from(last?)
    }
}

/// Returns a function that connects to a server over this Unix socket, for [`connect`](crate::connect). An error names the
/// path.
///
/// ```no_run
/// # use mqtt_sansio::client::ClientConfig;
/// # use mqtt_sansio_std::{connect, unix};
/// let (client, events) = connect(ClientConfig::default(), unix("/run/broker.sock"))?;
/// # drop((client, events));
/// # Ok::<(), std::io::Error>(())
/// ```
#[cfg(unix)]
pub fn unix(path: impl Into<PathBuf>) -> impl FnMut() -> io::Result<Transport> + Send + 'static {
    let path = path.into();
    move || {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        Transport::try_from(UnixStream::connect(&path).map_err(named)?)
    }
}
