//! Real client sessions around a durable broker, on one clock; the broker can crash at any point.

use std::collections::{BTreeSet, VecDeque};

use bytes::Buf;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Resumption};
use mqtt_sansio::store::{Batch, Change, Pairs};
use mqtt_sansio::{Instant, QoS, SessionExpiry, Token};

/// 2026, in Unix time.
pub(crate) const NOW: Instant = Instant::from_micros(1_780_000_000_000_000);

/// A generator of pseudo-random numbers that follow from a seed alone: SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// A message as a client has got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

/// A client, and its connection if it has one.
pub(crate) struct Peer {
    pub(crate) session: ClientSession,
    pub(crate) connection: Option<ConnectionId>,
    /// Whether the broker has something new for the client, as far as the driver knows.
    is_ready: bool,
    to_broker: Vec<u8>,
    to_client: Vec<u8>,
    pub(crate) got: Vec<Got>,
    /// The tokens of operations that are complete, with whether they have succeeded.
    pub(crate) done: Vec<(Token, bool)>,
    /// What CONNACK said about the session, each time.
    pub(crate) resumptions: Vec<Resumption>,
}

pub(crate) struct World {
    pub(crate) config: BrokerConfig,
    pub(crate) broker: Broker<AllowAll>,
    pub(crate) now: Instant,
    pub(crate) peers: Vec<Peer>,
    /// What is stored of the batches that are committed.
    pub(crate) committed: Pairs,
    /// The batches that are handed out, and may be stored or not.
    pub(crate) under_way: VecDeque<Batch>,
}

impl World {
    pub(crate) fn new(config: BrokerConfig) -> Self {
        let config = BrokerConfig { durable: true, ..config };
        let broker = Broker::new(config.clone(), AllowAll);
        let (committed, under_way) = (Pairs::default(), VecDeque::new());
        Self { config, broker, now: NOW, peers: Vec::new(), committed, under_way }
    }

    /// Adds a client whose session lasts a day, without a connection.
    pub(crate) fn add(&mut self, config: ClientConfig) -> usize {
        let session_expiry_interval = SessionExpiry::after(86_400);
        let config = ClientConfig { session_expiry_interval, keep_alive: None, clean_start: false, ..config };
        self.peers.push(Peer {
            session: ClientSession::new(config),
            connection: None,
            is_ready: false,
            to_broker: Vec::new(),
            to_client: Vec::new(),
            got: Vec::new(),
            done: Vec::new(),
            resumptions: Vec::new(),
        });
        self.peers.len() - 1
    }

    pub(crate) fn connect(&mut self, peer: usize) {
        let connection = self.broker.open(self.now, Origin::UNKNOWN);
        let Peer { session, connection: own, to_broker, to_client, .. } = &mut self.peers[peer];
        session.open(self.now).unwrap();
        *own = Some(connection);
        to_broker.clear();
        to_client.clear();
    }

    /// The connection of a client is lost, with all that is on the way.
    pub(crate) fn lose(&mut self, peer: usize) {
        let peer = &mut self.peers[peer];
        if let Some(connection) = peer.connection.take() {
            self.broker.closed(self.now, connection);
            peer.session.closed(self.now);
        }
    }

    /// Notes which connections the broker has something new for.
    pub(crate) fn note_ready(&mut self) {
        while let Some(id) = self.broker.next_ready() {
            if let Some(peer) = self.peers.iter_mut().find(|peer| peer.connection == Some(id)) {
                peer.is_ready = true;
            }
        }
    }

    /// Moves at most `most` bytes each way, and lets both endpoints work. Returns whether something happened.
    pub(crate) fn serve(&mut self, index: usize, most: usize) -> bool {
        self.note_ready();
        let Self { broker, now, peers, .. } = self;
        let peer = &mut peers[index];
        let Some(id) = peer.connection else { return false };
        let mut is_busy = false;
        let count = peer.session.transmit().remaining().min(most);
        peer.to_broker.extend(peer.session.transmit().copy_to_bytes(count));
        if !peer.to_broker.is_empty() && broker.takes_input(id) {
            let mut input = &peer.to_broker[..];
            broker.receive(*now, id, &mut input);
            let taken = peer.to_broker.len() - input.len();
            peer.to_broker.drain(..taken);
            is_busy |= taken != 0;
        }
        let mut room = most;
        while peer.is_ready && room != 0 {
            let transmit = broker.transmit(id);
            let chunk = transmit.chunk();
            let count = chunk.len().min(room);
            peer.to_client.extend(&chunk[..count]);
            transmit.advance(count);
            room -= count;
            peer.is_ready = count != 0;
            is_busy = true;
        }
        let mut input = &peer.to_client[..];
        let mut is_closed = false;
        while let Some(action) = peer.session.poll(*now, &mut input) {
            is_busy = true;
            match action {
                Action::Message(message) => peer.got.push(Got {
                    topic: message.topic.as_str().into(),
                    payload: String::from_utf8_lossy(message.payload).into_owned(),
                    qos: message.qos,
                    retain: message.retain,
                }),
                Action::Done { token, outcome } => peer.done.push((token, outcome.is_success())),
                Action::Connected(connected) => peer.resumptions.push(connected.session),
                Action::Close(why) => {
                    assert!(broker.is_over(id), "{why:?}");
                    is_closed = true;
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        let taken = peer.to_client.len() - input.len();
        peer.to_client.drain(..taken);
        is_busy |= peer.session.transmit().has_remaining();
        if is_closed || broker.is_over(id) {
            self.lose(index);
        }
        is_busy
    }

    /// Takes the changes so far as batches; returns whether there were some.
    pub(crate) fn changes(&mut self) -> bool {
        let before = self.under_way.len();
        self.under_way.extend(std::iter::from_fn(|| self.broker.changes()));
        self.under_way.len() != before
    }

    /// Commits the first batches that are under way.
    pub(crate) fn commit(&mut self, count: usize) {
        let mut number = None;
        for batch in self.under_way.drain(..count.min(self.under_way.len())) {
            apply(&mut self.committed, &batch);
            number = Some(batch.number());
        }
        if let Some(number) = number {
            self.broker.committed(self.now, number);
        }
    }

    /// The broker crashes after the first of the batches that are under way were stored, and is restored.
    pub(crate) fn crash(&mut self, stored: usize) {
        for batch in self.under_way.drain(..).take(stored) {
            apply(&mut self.committed, &batch);
        }
        self.under_way.clear();
        self.broker = Broker::restore(self.config.clone(), AllowAll, self.now, self.committed.iter()).unwrap();
        self.broker.assert_consistent();
        for peer in &mut self.peers {
            if peer.connection.take().is_some() {
                peer.session.closed(self.now);
            }
        }
    }

    /// Works until nothing is left to do, without asking for changes.
    pub(crate) fn work(&mut self) {
        let all: Vec<usize> = (0..self.peers.len()).collect();
        for round in 0.. {
            assert!(round < 100_000, "the work does not come to an end");
            if !self.work_once(&all) {
                return;
            }
        }
    }

    /// Lets these clients and the broker work; returns whether something happened.
    pub(crate) fn work_once(&mut self, peers: &[usize]) -> bool {
        let mut is_busy = false;
        for &peer in peers {
            is_busy |= self.serve(peer, usize::MAX);
        }
        if self.broker.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.broker.poll(self.now);
            is_busy = true;
        }
        is_busy
    }

    /// Works until nothing is left to do, with all changes committed.
    pub(crate) fn settle(&mut self) {
        let all: Vec<usize> = (0..self.peers.len()).collect();
        for round in 0.. {
            assert!(round < 100_000, "the work does not come to an end");
            let mut is_busy = self.work_once(&all);
            is_busy |= self.changes();
            self.commit(usize::MAX);
            self.broker.assert_consistent();
            if !is_busy {
                return;
            }
        }
    }
}

/// Applies a batch. A key that the batch calls new has no value before.
fn apply(pairs: &mut Pairs, batch: &Batch) {
    let keys: BTreeSet<_> = pairs.iter().map(|(key, _)| key.to_vec()).collect();
    for change in batch.changes() {
        if let Change::Put { key, is_new: true, .. } = change {
            assert!(!keys.contains(key), "{key:02x?} has had a value");
        }
    }
    pairs.apply(batch);
}
