//! The link: bytes that are under way.

use core::time::Duration;
use std::collections::VecDeque;

use mqtt_sansio::Instant;

use crate::random::Random;

/// The two directions of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToServer,
    ToClient,
}

/// What arrives at one end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    Bytes(Vec<u8>),
    /// The other end has closed the connection, and this is behind all that it has written.
    End,
}

/// Bytes under way in both directions: they arrive late, in pieces, and in order.
#[derive(Debug)]
pub(super) struct Link {
    random: Random,
    /// How long a piece is under way, at least and at most.
    pub(super) delay: (Duration, Duration),
    /// Whether what is written together may arrive in pieces.
    pub(super) split: bool,
    to_server: VecDeque<(Instant, Arrival)>,
    to_client: VecDeque<(Instant, Arrival)>,
}

impl Link {
    pub(super) const fn new(random: Random) -> Self {
        Self {
            random,
            delay: (Duration::from_micros(100), Duration::from_millis(20)),
            split: true,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
        }
    }

    /// Takes what is written now.
    pub(super) fn send(&mut self, now: Instant, way: Way, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // Pieces of a few bytes are what finds mistakes; whole ones are what happens.
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

    /// One end closes the connection.
    pub(super) fn end(&mut self, now: Instant, way: Way) {
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

    /// When the next piece arrives, and where.
    pub(super) fn next(&self) -> Option<(Instant, Way)> {
        let first = |way, pipe: &VecDeque<(Instant, Arrival)>| pipe.front().map(|&(at, _)| (at, way));
        let ways = [first(Way::ToServer, &self.to_server), first(Way::ToClient, &self.to_client)];
        ways.into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// Takes out what arrives next in this direction.
    pub(super) fn arrive(&mut self, way: Way) -> Option<Arrival> {
        self.pipe(way).pop_front().map(|(_, arrival)| arrival)
    }

    /// Loses what is under way in this direction.
    pub(super) fn lose(&mut self, way: Way) {
        self.pipe(way).clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.to_server.is_empty() && self.to_client.is_empty()
    }

    fn pipe(&mut self, way: Way) -> &mut VecDeque<(Instant, Arrival)> {
        match way {
            Way::ToServer => &mut self.to_server,
            Way::ToClient => &mut self.to_client,
        }
    }
}
