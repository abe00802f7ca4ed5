//! The link: bytes on their way.

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

/// An arrival at one endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    Bytes(Vec<u8>),
    /// The peer has closed the connection. This arrives after everything that the peer has written.
    End,
}

/// Bytes on their way in both directions. They arrive late, in pieces, and in order.
#[derive(Debug)]
pub(super) struct Link {
    random: Random,
    /// The minimum and maximum delay of a piece.
    pub(super) delay: (Duration, Duration),
    /// Whether bytes that are written together may arrive in several pieces.
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

    /// Sends bytes.
    pub(super) fn send(&mut self, now: Instant, way: Way, mut bytes: &[u8]) {
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

    /// The time and direction of the next arrival.
    pub(super) fn next(&self) -> Option<(Instant, Way)> {
        let first = |way, pipe: &VecDeque<(Instant, Arrival)>| pipe.front().map(|&(at, _)| (at, way));
        let ways = [first(Way::ToServer, &self.to_server), first(Way::ToClient, &self.to_client)];
        ways.into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// Takes the next arrival in this direction.
    pub(super) fn arrive(&mut self, way: Way) -> Option<Arrival> {
        self.pipe(way).pop_front().map(|(_, arrival)| arrival)
    }

    /// Loses everything on its way in this direction.
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
