//! Transports of channels, between threads of one process.

use std::io::{self, Read, Write};
use std::sync::mpsc::Receiver;

use bytes::{Buf, Bytes};

use crate::Transport;

impl Transport {
    /// Creates a transport to a broker or a server in the same process: bytes come from a channel, and go to a function.
    ///
    /// The transport has ended when the sender of the channel is dropped, or when the function returns an error. The function
    /// gets `None` when the writing direction ends, and is dropped: the other endpoint drops its sender then, and closes the
    /// connection. The channels have no limit of their own, so that an endpoint that does not keep up stores what the other one
    /// sends.
    ///
    /// A client of a [`Host`](https://docs.rs/mqtt-sansio/latest/mqtt_sansio/broker/struct.Host.html), with the events of the
    /// program in the guide's page on embedded brokers:
    ///
    /// ```
    /// use std::io;
    /// use std::sync::mpsc::{Sender, channel};
    ///
    /// use bytes::Bytes;
    /// use mqtt_sansio::broker::ConnectionId;
    /// use mqtt_sansio_std::Transport;
    ///
    /// enum Event {
    ///     /// A client has come: where its bytes go, and where it wants to know which connection it is.
    ///     Opened(Sender<Bytes>, Sender<ConnectionId>),
    ///     Read(ConnectionId, Bytes),
    ///     Closed(ConnectionId),
    /// }
    ///
    /// /// Returns a function that connects to the broker, for `connect(config, local(events))`.
    /// fn local(events: Sender<Event>) -> impl FnMut() -> io::Result<Transport> + Send + 'static {
    ///     move || {
    ///         let ((to_client, from_broker), (reply, id), events) = (channel(), channel(), events.clone());
    ///         events.send(Event::Opened(to_client, reply)).map_err(io::Error::other)?;
    ///         let id = id.recv().map_err(io::Error::other)?;
    ///         Ok(Transport::of_channels(from_broker, move |bytes| {
    ///             events.send(bytes.map_or(Event::Closed(id), |bytes| Event::Read(id, bytes))).map_err(io::Error::other)
    ///         }))
    ///     }
    /// }
    /// ```
    pub fn of_channels(
        from_peer: Receiver<Bytes>,
        to_peer: impl FnMut(Option<Bytes>) -> io::Result<()> + Send + 'static,
    ) -> Self {
        Self::new(FromPeer { receiver: from_peer, rest: Bytes::new() }, ToPeer(to_peer))
    }
}

struct FromPeer {
    receiver: Receiver<Bytes>,
    /// What is left of the last bytes that were received.
    rest: Bytes,
}

impl Read for FromPeer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let Ok(bytes) = self.receiver.recv() else { return Ok(0) };
            self.rest = bytes;
        }
        let size = self.rest.len().min(buffer.len());
        let (read, _) = buffer.split_at_mut_checked(size).unwrap_or_default();
        self.rest.copy_to_slice(read);
        Ok(size)
    }
}

struct ToPeer<F: FnMut(Option<Bytes>) -> io::Result<()>>(F);

impl<F: FnMut(Option<Bytes>) -> io::Result<()>> Write for ToPeer<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(Some(Bytes::copy_from_slice(bytes)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<F: FnMut(Option<Bytes>) -> io::Result<()>> Drop for ToPeer<F> {
    fn drop(&mut self) {
        let _ = (self.0)(None); // fails if the peer has ended before
    }
}
