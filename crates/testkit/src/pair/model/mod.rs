//! A small server, written from the specification on top of the codec alone.

mod outgoing;
mod receive;

use core::num::{NonZeroU16, NonZeroU32};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BytesMut};
use mqtt_sansio::Instant;
use mqtt_sansio::codec::{Packet, QoS, Version};

use self::outgoing::Outgoing;
use super::server::Server;
use crate::random::Random;

/// A server for one client: it receives messages, answers requests, stores a session, and sends the messages given to
/// [`publish`](Self::publish).
///
/// Its fields set its limits and the mistakes that it makes; they can be changed at any time.
///
/// ```
/// # use mqtt_sansio::client::ClientConfig;
/// # use mqtt_sansio::{Message, QoS, SessionExpiry};
/// # use mqtt_sansio_testkit::{Pair, accept_all};
/// # use core::num::NonZeroU16;
/// use mqtt_sansio_testkit::ModelServer;
///
/// let mut server = ModelServer::seeded(7);
/// server.receive_maximum = NonZeroU16::new(1);
/// let mut net = Pair::seeded(42).client(ClientConfig::default()).server(server);
/// let now = net.now();
/// net.client().publish(now, &Message::new("a", "1").qos(QoS::AtLeastOnce))?;
/// net.client().publish(now, &Message::new("a", "2").qos(QoS::AtLeastOnce))?; // waits for the first one
/// net.run_until_quiet();
/// assert_eq!(net.server().delivered(), ["1", "2"]);
/// assert!(net.server().deliveries().iter().all(|message| message.topic == "a"));
/// # Ok::<(), mqtt_sansio::PublishError>(())
/// ```
#[derive(Debug)]
pub struct ModelServer {
    /// The Receive Maximum. Default: none is announced.
    pub receive_maximum: Option<NonZeroU16>,
    /// The Maximum Packet Size. Default: none is announced.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The Topic Alias Maximum. Default: 0.
    pub topic_alias_maximum: u16,
    /// The percentage of messages and filters that it refuses with a reason code, in 5.0 only. Default: 0.
    pub refuses: u8,
    /// The number of connections that it refuses from now on. Default: 0.
    pub refused_connections: u32,
    /// The maximum delay of an acknowledgement. Default: zero.
    pub ack_delay: Duration,
    /// Whether acknowledgements may be sent in another order. Default: no.
    pub shuffles_acks: bool,

    random: Random,
    version: Version,
    state: State,
    /// Whether this connection was accepted.
    established: bool,
    now: Instant,
    /// The session, and when it expires if the client stays away.
    session: Option<Session>,
    expires_at: Option<Instant>,
    expiry_interval: u32,
    forgets: bool,
    peer: Peer,
    transmit: BytesMut,
    /// Delayed acknowledgements.
    later: Vec<(Instant, Vec<u8>)>,
    delivered: Vec<Delivered>,
    acknowledged: Vec<String>,
    sessions: u32,
}

/// A message that the server has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The topic; an alias has been resolved.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The QoS.
    pub qos: QoS,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// CONNECT has not arrived.
    Opened,
    Connected,
    /// The connection is to be closed.
    Over,
}

/// The state that outlives a connection (section 4.1).
#[derive(Debug, Default)]
struct Session {
    /// Identifiers of received messages of QoS 2 that were not released.
    received: BTreeSet<u16>,
    outgoing: Outgoing,
    subscriptions: BTreeMap<String, QoS>,
}

/// The fields of CONNECT, and the topic aliases of the connection.
#[derive(Debug, Default)]
struct Peer {
    receive_maximum: u16,
    maximum_packet_size: u32,
    topic_alias_maximum: u16,
    authentication_method: Option<String>,
    aliases: BTreeMap<u16, String>,
    own_aliases: Vec<String>,
}

impl Default for ModelServer {
    fn default() -> Self {
        Self::seeded(0)
    }
}

impl ModelServer {
    /// Creates a server that acknowledges everything at once. The seed is for the random choices that its fields
    /// enable.
    pub fn seeded(seed: u64) -> Self {
        Self {
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            refuses: 0,
            refused_connections: 0,
            ack_delay: Duration::ZERO,
            shuffles_acks: false,
            random: Random::new(seed),
            version: Version::V5,
            state: State::Closed,
            established: false,
            now: Instant::EPOCH,
            session: None,
            expires_at: None,
            expiry_interval: 0,
            forgets: false,
            peer: Peer::default(),
            transmit: BytesMut::new(),
            later: Vec::new(),
            delivered: Vec::new(),
            acknowledged: Vec::new(),
            sessions: 0,
        }
    }

    /// Returns the payloads of the messages received, in order.
    ///
    /// # Panics
    ///
    /// Panics if a payload is not UTF-8.
    pub fn delivered(&self) -> Vec<&str> {
        self.delivered.iter().map(|it| core::str::from_utf8(&it.payload).expect("the payload is a text")).collect()
    }

    /// Returns the messages received, in order.
    pub fn deliveries(&self) -> &[Delivered] {
        &self.delivered
    }

    /// Returns the payloads of its own messages that the client has acknowledged, in the order of the acknowledgements.
    pub fn acknowledged(&self) -> &[String] {
        &self.acknowledged
    }

    /// Returns the filters that the client is subscribed to.
    pub fn subscriptions(&self) -> Vec<&str> {
        self.session.iter().flat_map(|session| session.subscriptions.keys()).map(String::as_str).collect()
    }

    /// Returns whether there is a session.
    pub const fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Returns how many sessions were created.
    pub const fn sessions(&self) -> u32 {
        self.sessions
    }

    /// Discards the session when the next connection opens.
    pub const fn lose_session(&mut self) {
        self.forgets = true;
    }

    /// Returns whether the client is connected and no message to it is queued or in flight.
    pub fn is_settled(&self) -> bool {
        self.state == State::Connected && self.session.as_ref().is_none_or(|session| session.outgoing.is_empty())
    }

    /// Writes a packet.
    fn send<'p>(&mut self, packet: impl Into<Packet<'p>>) {
        let packet = packet.into();
        let encoded = packet.encode(self.version, &mut self.transmit);
        encoded.unwrap_or_else(|error| panic!("the model server cannot send {packet:?}: {error}"));
    }

    /// Writes an acknowledgement when it is due.
    fn answer<'p>(&mut self, packet: impl Into<Packet<'p>>) {
        if self.ack_delay.is_zero() {
            return self.send(packet);
        }
        let mut bytes = Vec::new();
        packet.into().encode(self.version, &mut bytes).expect("an acknowledgement can be encoded");
        let mut at = self.now + Duration::from_micros(self.random.below(self.ack_delay.as_micros() as u64 + 1));
        if !self.shuffles_acks {
            at = self.later.iter().map(|&(other, _)| other).fold(at, Ord::max);
        }
        self.later.push((at, bytes));
    }

    /// Writes the acknowledgements that are due.
    fn send_due(&mut self) {
        let now = self.now;
        let mut due: Vec<_> = self.later.extract_if(.., |&mut (at, _)| at <= now).collect();
        due.sort_by_key(|&(at, _)| at);
        due.iter().for_each(|(_, bytes)| self.transmit.extend_from_slice(bytes));
    }

    fn forget(&mut self) {
        self.session = None;
        self.expires_at = None;
    }
}

impl Server for ModelServer {
    fn open(&mut self, now: Instant) {
        self.now = now;
        self.state = State::Opened;
        self.peer = Peer::default();
        if core::mem::take(&mut self.forgets) || self.expires_at.is_some_and(|at| at <= now) {
            self.forget();
        }
    }

    fn receive(&mut self, now: Instant, input: &mut &[u8]) -> bool {
        self.now = now;
        self.take_packets(input);
        self.send_due();
        false
    }

    fn transmit(&mut self) -> &mut impl Buf {
        &mut self.transmit
    }

    fn is_over(&self) -> bool {
        self.state == State::Over
    }

    fn closed(&mut self, now: Instant) {
        self.now = now;
        self.transmit.clear();
        self.later.clear();
        if core::mem::take(&mut self.established) {
            match self.expiry_interval {
                0 => self.forget(),
                u32::MAX => self.expires_at = None,
                seconds => self.expires_at = Some(now + Duration::from_secs(u64::from(seconds))),
            }
        }
        self.state = State::Closed;
    }

    fn deadline(&self) -> Option<Instant> {
        self.later.iter().map(|&(at, _)| at).min()
    }
}
