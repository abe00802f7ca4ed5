//! Recognizes other protocols by the first bytes of a connection, for a helpful message when the port is wrong.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mqtt_sansio_std::Transport;

/// A protocol that is not MQTT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OtherProtocol {
    /// TLS, by its records.
    Tls,
    /// HTTP/1, with its first line.
    Http(String),
    /// A protocol with a first line of text, which is this one.
    Text(String),
}

/// The number of bytes that [`OtherProtocol::recognise`] looks at.
const RECOGNISABLE: usize = 80;

impl OtherProtocol {
    /// Returns the protocol that begins with these bytes, or `None` if it may be MQTT or is not known.
    ///
    /// MQTT is never mistaken for another protocol: a client begins with CONNECT (0x10), and a server with CONNACK
    /// (0x20) or AUTH (0xF0).
    fn recognise(first: &[u8]) -> Option<Self> {
        let first = first.get(..RECOGNISABLE).unwrap_or(first);
        // Content type, and a version that is 3 in its first byte from SSL 3.0 to TLS 1.3 (RFC 8446, section 5.1).
        if matches!(first, [0x14..=0x17, 0x03, ..]) {
            return Some(Self::Tls);
        }
        let line = first.split(|&byte| matches!(byte, b'\r' | b'\n')).next()?;
        let begins_as_text = line.len() >= 4 && line.first() != Some(&b' ');
        if !begins_as_text || !line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return None;
        }
        let line = String::from_utf8_lossy(line).into_owned();
        Some(if line.contains("HTTP/") { Self::Http(line) } else { Self::Text(line) })
    }
}

/// The first bytes that were received on a connection.
#[derive(Clone, Default)]
pub(crate) struct FirstBytes(Arc<Mutex<Vec<u8>>>);

impl FirstBytes {
    /// Returns the transport over a socket whose first bytes are noted here.
    ///
    /// # Errors
    ///
    /// The error of the system if it refuses a setting of the socket.
    pub(crate) fn transport(&self, socket: TcpStream) -> io::Result<Transport> {
        socket.set_nodelay(true)?; // the session coalesces its output
        let reader = Noting { reader: socket.try_clone()?, first: self.clone() };
        Ok(Transport::new(reader, socket.try_clone()?).closed_by(socket))
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[allow(dead_code)] // a server does not ask
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Returns the protocol that begins with these bytes, as [`OtherProtocol::recognise`] does.
    pub(crate) fn recognise(&self) -> Option<OtherProtocol> {
        OtherProtocol::recognise(&self.bytes())
    }
}

/// A reader that notes its first bytes.
struct Noting {
    reader: TcpStream,
    first: FirstBytes,
}

impl Read for Noting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let mut first = self.first.bytes();
        let room = RECOGNISABLE.saturating_sub(first.len()).min(count);
        first.extend_from_slice(buffer.get(..room).unwrap_or_default());
        Ok(count)
    }
}
