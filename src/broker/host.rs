//! A broker with the transports of its connections.

use alloc::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BytesMut};

use super::Broker;
use super::policy::{ConnectionId, Policy};
use super::principal::Origin;
use crate::session::Transmit;
use crate::time::Instant;

/// A [`Broker`] with the transports of its connections: the loop of a program that serves all of them itself.
///
/// The program gives it what its transports have read, and calls [`serve`](Self::serve) after that, and at the
/// [`deadline`](Self::deadline). The host keeps incomplete packets, gives them to the broker when it takes input again, writes
/// what waits to be written, and ends connections that are over. `T` is what the program writes to: a socket, a channel, a
/// number of its own. The program decides how it waits and reads.
///
/// ```
/// use std::sync::mpsc::{Sender, channel};
///
/// use bytes::Bytes;
/// use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Host, Origin};
/// use mqtt_sansio::Instant;
///
/// let now = Instant::from_micros(7);
/// let mut host = Host::<_, Sender<Bytes>>::new(Broker::new(BrokerConfig::default(), AllowAll));
/// let (to_client, from_broker) = channel();
/// let id = host.open(now, Origin::UNKNOWN, to_client); // a client has come
/// for bytes in [&b"\x10\x13\x00\x04MQTT\x05\x02"[..], b"\x00\x3c\x00\x00\x06thermo"] {
///     host.receive(now, id, bytes); // what was read, in any pieces
///     host.serve(now, |to_client, output| to_client.send(output.take_all()));
/// }
/// assert_eq!(from_broker.recv()?[0], 0x20); // CONNACK
/// host.receive(now, id, b"\xe0\x00"); // DISCONNECT
/// host.serve(now, |to_client, output| to_client.send(output.take_all()));
/// assert!(from_broker.recv().is_err()); // the transport was dropped
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// A driver that serves each connection in a task of its own, as on a runtime, uses the [`Broker`] alone.
pub struct Host<P, T> {
    broker: Broker<P>,
    connections: BTreeMap<ConnectionId, Connection<T>>,
    /// Connections that have had their turn, and have more to write.
    unfinished: VecDeque<ConnectionId>,
    /// Whether the last call has ended before all ready connections were served.
    has_ready: bool,
}

struct Connection<T> {
    transport: T,
    /// What the broker has not taken: the beginning of a packet, or all that came while it did not take input.
    received: BytesMut,
}

/// Number of turns of connections in a call of [`Host::serve`].
const TURNS: usize = 1024;

/// Number of bytes after which a connection has had its turn.
const WRITE: usize = 64 * 1024;

impl<P: Policy, T> Host<P, T> {
    /// Makes a host without connections. The broker has none either: one that was restored has its sessions.
    ///
    /// ```
    /// use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Host, Secret};
    ///
    /// let broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll);
    /// let host = Host::<_, std::net::TcpStream>::new(broker);
    /// # let _ = host;
    /// ```
    pub const fn new(broker: Broker<P>) -> Self {
        Self { broker, connections: BTreeMap::new(), unfinished: VecDeque::new(), has_ready: false }
    }

    /// Opens a connection for a transport that was accepted, and comes from this origin; see [`Broker::open`].
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Host, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, config) = (Instant::from_micros(1), BrokerConfig::new(Secret::new([7; 16])));
    /// # let mut host = Host::<_, Vec<u8>>::new(Broker::new(config, AllowAll));
    /// let id = host.open(now, Origin::UNKNOWN, Vec::new());
    /// assert!(host.broker().takes_input(id));
    /// ```
    pub fn open(&mut self, now: Instant, origin: Origin, transport: T) -> ConnectionId {
        let id = self.broker.open(now, origin);
        self.connections.insert(id, Connection { transport, received: BytesMut::new() });
        id
    }

    /// Takes what the transport of a connection has read; nothing happens if the connection has ended. Call
    /// [`serve`](Self::serve) after that.
    ///
    /// What the broker does not take is kept, and given to it again. That is a packet at most, if nothing more is read while the
    /// connection does not [take input](Broker::takes_input); otherwise it grows.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Host, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, config) = (Instant::from_micros(1), BrokerConfig::new(Secret::new([7; 16])));
    /// # let mut host = Host::<_, Vec<u8>>::new(Broker::new(config, AllowAll));
    /// # let id = host.open(now, Origin::UNKNOWN, Vec::new());
    /// host.receive(now, id, b"\x10\x13\x00\x04MQTT\x05"); // the beginning of a packet
    /// host.receive(now, id, b"\x02\x00\x3c\x00\x00\x06thermo");
    /// assert_eq!(host.broker().client_id(id), Some("thermo"));
    /// ```
    pub fn receive(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) {
        let Some(Connection { received, .. }) = self.connections.get_mut(&id) else { return };
        if received.is_empty() {
            let mut input = bytes;
            self.broker.receive(now, id, &mut input);
            received.extend_from_slice(input);
        } else {
            received.extend_from_slice(bytes);
            give(&mut self.broker, now, id, received);
        }
    }

    /// Ends a connection whose transport is closed, or was lost, and returns the transport; `None` if it has ended before.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Host, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, config) = (Instant::from_micros(1), BrokerConfig::new(Secret::new([7; 16])));
    /// # let mut host = Host::<_, Vec<u8>>::new(Broker::new(config, AllowAll));
    /// # let id = host.open(now, Origin::UNKNOWN, Vec::new());
    /// assert!(host.closed(now, id).is_some() && host.closed(now, id).is_none());
    /// ```
    pub fn closed(&mut self, now: Instant, id: ConnectionId) -> Option<T> {
        let connection = self.connections.remove(&id)?;
        self.broker.closed(now, id);
        Some(connection.transport)
    }

    /// Writes to the transports what waits for them, gives the broker what is left of their input, and lets it
    /// [go on](Broker::poll) if its deadline has come.
    ///
    /// `write` takes as much of the output as the transport takes without waiting. If that is not all, call
    /// [`writable`](Self::writable) when the transport takes bytes again. If it returns an error, the transport counts as lost,
    /// and is dropped. The transport of a connection that is [over](Broker::is_over) is dropped when its output is written.
    ///
    /// A call writes about 64 KiB to a transport, and has at most 1,024 turns of connections. If there is more to do, the
    /// deadline is at once.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Host, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, config) = (Instant::from_micros(1), BrokerConfig::new(Secret::new([7; 16])));
    /// # let mut host = Host::<_, Vec<u8>>::new(Broker::new(config, AllowAll));
    /// # let id = host.open(now, Origin::UNKNOWN, Vec::new());
    /// host.receive(now, id, b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo");
    /// host.serve(now, |sent: &mut Vec<u8>, output: &mut mqtt_sansio::Transmit| {
    ///     sent.extend(output.take_all());
    ///     Ok::<(), core::convert::Infallible>(())
    /// });
    /// assert_eq!(host.transport_mut(id).map(|sent| sent[0]), Some(0x20)); // CONNACK
    /// ```
    pub fn serve<E>(&mut self, now: Instant, mut write: impl FnMut(&mut T, &mut Transmit) -> Result<(), E>) {
        if self.broker.deadline().is_some_and(|at| at <= now) {
            self.broker.poll(now);
        }
        for id in core::mem::take(&mut self.unfinished) {
            self.turn(now, id, &mut write);
        }
        for _ in 0..TURNS {
            let Some(id) = self.broker.next_ready() else { return self.has_ready = false };
            self.turn(now, id, &mut write);
        }
        self.has_ready = true;
    }

    /// As [`serve`](Self::serve), for one connection: its transport takes bytes again.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Host, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, config) = (Instant::from_micros(1), BrokerConfig::new(Secret::new([7; 16])));
    /// # let mut host = Host::<_, Vec<u8>>::new(Broker::new(config, AllowAll));
    /// # let id = host.open(now, Origin::UNKNOWN, Vec::new());
    /// let write = |sent: &mut Vec<u8>, output: &mut mqtt_sansio::Transmit| {
    ///     sent.extend(output.take_all());
    ///     Ok::<(), core::convert::Infallible>(())
    /// };
    /// host.writable(now, id, write); // the socket of this connection takes bytes again
    /// ```
    pub fn writable<E>(
        &mut self,
        now: Instant,
        id: ConnectionId,
        mut write: impl FnMut(&mut T, &mut Transmit) -> Result<(), E>,
    ) {
        self.turn(now, id, &mut write);
    }

    fn turn<E>(
        &mut self,
        now: Instant,
        id: ConnectionId,
        write: &mut impl FnMut(&mut T, &mut Transmit) -> Result<(), E>,
    ) {
        let Self { broker, connections, unfinished, .. } = self;
        // It may have ended since it was ready.
        let Some(Connection { transport, received }) = connections.get_mut(&id) else { return };
        let mut written = 0_usize;
        let is_lost = loop {
            // The broker adds to an output when that is asked for.
            let output = broker.transmit(id);
            let waits = output.remaining();
            if waits == 0 {
                break false;
            }
            if written >= WRITE {
                unfinished.push_back(id);
                break false;
            }
            if write(transport, output).is_err() {
                break true;
            }
            let count = waits.saturating_sub(output.remaining());
            if count == 0 {
                break false;
            }
            written = written.saturating_add(count);
        };
        if is_lost || (broker.is_over(id) && !broker.transmit(id).has_remaining()) {
            self.closed(now, id);
        } else if !received.is_empty() {
            give(broker, now, id, received);
        }
    }

    /// When [`serve`](Self::serve) has to be called at the latest; [`Instant::EPOCH`] if there is something to do at once.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Host, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, config) = (Instant::from_micros(1), BrokerConfig::new(Secret::new([7; 16])));
    /// # let host = Host::<_, Vec<u8>>::new(Broker::new(config, AllowAll));
    /// # let clock = mqtt_sansio::StdClock::new();
    /// let wait = host.deadline().map_or(core::time::Duration::MAX, |deadline| clock.until(deadline));
    /// # assert_eq!((wait, now), (core::time::Duration::MAX, Instant::from_micros(1)));
    /// # let _ = Origin::UNKNOWN;
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        if self.has_ready || !self.unfinished.is_empty() { Some(Instant::EPOCH) } else { self.broker.deadline() }
    }

    /// The broker.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Host, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, config) = (Instant::from_micros(1), BrokerConfig::new(Secret::new([7; 16])));
    /// # let mut host = Host::<_, Vec<u8>>::new(Broker::new(config, AllowAll));
    /// # let id = host.open(now, Origin::UNKNOWN, Vec::new());
    /// assert_eq!(host.broker().status().connections, 1);
    /// # let _ = id;
    /// ```
    pub const fn broker(&self) -> &Broker<P> {
        &self.broker
    }

    /// The broker, for the commands and messages of the program. Call [`serve`](Self::serve) after a command.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Host, Origin, Secret};
    /// # use mqtt_sansio::{Instant, Message};
    /// # let (now, config) = (Instant::from_micros(1), BrokerConfig::new(Secret::new([7; 16])));
    /// # let mut host = Host::<_, Vec<u8>>::new(Broker::new(config, AllowAll));
    /// host.broker_mut().publish(now, &Message::new("gateway/started", "yes"))?;
    /// # let _ = Origin::UNKNOWN;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub const fn broker_mut(&mut self) -> &mut Broker<P> {
        &mut self.broker
    }

    /// The transport of a connection; `None` if the connection has ended.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Host, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, config) = (Instant::from_micros(1), BrokerConfig::new(Secret::new([7; 16])));
    /// # let mut host = Host::<_, Vec<u8>>::new(Broker::new(config, AllowAll));
    /// # let id = host.open(now, Origin::UNKNOWN, Vec::new());
    /// if let Some(transport) = host.transport_mut(id) {
    ///     transport.clear();
    /// }
    /// ```
    pub fn transport_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        self.connections.get_mut(&id).map(|connection| &mut connection.transport)
    }

    /// The connections, with their transports.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Host, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, config) = (Instant::from_micros(1), BrokerConfig::new(Secret::new([7; 16])));
    /// # let mut host = Host::<_, Vec<u8>>::new(Broker::new(config, AllowAll));
    /// # let id = host.open(now, Origin::UNKNOWN, Vec::new());
    /// for (id, transport) in host.transports() {
    ///     println!("{id}: {} bytes", transport.len());
    /// }
    /// # let _ = id;
    /// ```
    pub fn transports(&self) -> impl Iterator<Item = (ConnectionId, &T)> {
        self.connections.iter().map(|(&id, connection)| (id, &connection.transport))
    }
}

/// Gives the broker the input that was kept.
fn give<P: Policy>(broker: &mut Broker<P>, now: Instant, id: ConnectionId, received: &mut BytesMut) {
    let mut input = &received[..];
    broker.receive(now, id, &mut input);
    let taken = received.len().saturating_sub(input.len());
    if taken == received.len() {
        *received = BytesMut::new(); // an idle connection has no buffer
    } else {
        received.advance(taken);
    }
}

impl<P, T> core::fmt::Debug for Host<P, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Host").field("broker", &self.broker).finish_non_exhaustive()
    }
}
