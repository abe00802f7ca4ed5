//! The link: bytes on their way.

use core::time::Duration;
use std::collections::VecDeque;

use mqtt_sansio::Instant;

use crate::random::Random;

/// When a client reconnects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// After the back-off that the client suggests.
    Backoff,
    /// At once.
    AtOnce,
    /// Only by `open`.
    Never,
}

/// The two directions of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// An arrival at one endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Bytes(Vec<u8>),
    /// The peer has closed the connection. This arrives after everything that the peer has written.
    End,
}

/// Bytes on their way in both directions. They arrive late, in pieces, and in order.
#[derive(Debug)]
pub(crate) struct Link {
    random: Random,
    /// The minimum and maximum delay of a piece.
    pub(crate) delay: (Duration, Duration),
    /// Whether bytes that are written together may arrive in several pieces.
    pub(crate) split: bool,
    to_server: VecDeque<(Instant, Arrival)>,
    to_client: VecDeque<(Instant, Arrival)>,
}

impl Link {
    pub(crate) const fn new(random: Random) -> Self {
        Self {
            random,
            delay: (Duration::from_micros(100), Duration::from_millis(20)),
            split: true,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
        }
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, now: Instant, way: Way, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // Small pieces find faults; whole writes are the usual case.
            let size = match self.random.below(3) {
                _ if !self.split => bytes.len(),
                0 => bytes.len(),
                1 => 1 + self.random.index(bytes.len()),
                _ => bytes.len().min(1 + self.random.index(9)),
            };
            let (piece, rest) = bytes.split_at(size);
            self.put(now, way, Arrival::Bytes(piece.to_vec()));
            bytes = rest;
        }
    }

    /// One endpoint closes the connection.
    pub(crate) fn end(&mut self, now: Instant, way: Way) {
        self.put(now, way, Arrival::End);
    }

    fn put(&mut self, now: Instant, way: Way, arrival: Arrival) {
        let (least, most) = self.delay;
        let range = most.saturating_sub(least).as_micros() as u64;
        let delay = least + Duration::from_micros(self.random.below(range + 1));
        let pipe = self.pipe(way);
        let after_the_last = pipe.back().map_or(Instant::EPOCH, |&(at, _)| at);
        pipe.push_back(((now + delay).max(after_the_last), arrival));
    }

    /// The time and direction of the next arrival.
    pub(crate) fn next(&self) -> Option<(Instant, Way)> {
        self.next_of(&[Way::ToServer, Way::ToClient])
    }

    /// The time and direction of the next arrival in one of these directions.
    pub(crate) fn next_of(&self, ways: &[Way]) -> Option<(Instant, Way)> {
        let first = |&way| self.pipe_of(way).front().map(|&(at, _)| (at, way));
        ways.iter().filter_map(first).min_by_key(|&(at, _)| at)
    }

    /// Takes the next arrival in this direction.
    pub(crate) fn arrive(&mut self, way: Way) -> Option<Arrival> {
        self.pipe(way).pop_front().map(|(_, arrival)| arrival)
    }

    /// Loses everything on its way in this direction.
    pub(crate) fn lose(&mut self, way: Way) {
        self.pipe(way).clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.to_server.is_empty() && self.to_client.is_empty()
    }

    /// Number of bytes on their way in this direction.
    pub(crate) fn on_the_way(&self, way: Way) -> usize {
        self.pipe_of(way)
            .iter()
            .map(|(_, arrival)| if let Arrival::Bytes(bytes) = arrival { bytes.len() } else { 0 })
            .sum()
    }

    const fn pipe_of(&self, way: Way) -> &VecDeque<(Instant, Arrival)> {
        match way {
            Way::ToServer => &self.to_server,
            Way::ToClient => &self.to_client,
        }
    }

    fn pipe(&mut self, way: Way) -> &mut VecDeque<(Instant, Arrival)> {
        match way {
            Way::ToServer => &mut self.to_server,
            Way::ToClient => &mut self.to_client,
        }
    }
}
