//! Running a pair, event by event.

use core::time::Duration;
use std::io::IoSlice;

use bytes::Buf;
use mqtt_sansio::Instant;
use mqtt_sansio::client::Action;

use super::{Pair, Server};
use crate::link::{Arrival, Way};
use crate::timeline::{self, Timeline};

/// The next event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Next {
    Open,
    Arrival(Way),
    Write,
    Client,
    Server,
}

/// After this many events without a quiet moment the endpoints make no progress.
const MANY_EVENTS: u32 = 200_000;

impl<S: Server> Timeline for Pair<S> {
    type Event = Next;

    fn next(&mut self) -> Option<(Instant, Next)> {
        if self.polls_again {
            return Some((self.now, Next::Client));
        }
        if self.receives_again {
            return Some((self.now, Next::Server));
        }
        if self.has_output() {
            let pause = Duration::from_micros(self.random.below(300));
            self.writes_at.get_or_insert(self.now + pause);
        } else {
            self.writes_at = None;
        }
        let all = [
            self.opens_at.map(|at| (at, Next::Open)),
            self.link.next().map(|(at, way)| (at, Next::Arrival(way))),
            self.client.deadline().map(|at| (at, Next::Client)),
            self.writes_at.map(|at| (at, Next::Write)),
            self.server.deadline().map(|at| (at, Next::Server)),
        ];
        all.into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    fn execute(&mut self, event: Next) {
        match event {
            Next::Open => self.begin(),
            Next::Arrival(way) => self.arrive(way),
            Next::Write => self.write(),
            Next::Client => self.poll_client(),
            Next::Server => self.run_server(),
        }
        self.check();
    }

    fn is_at_rest(&mut self) -> bool {
        let client_due = self.polls_again || self.client.deadline().is_some_and(|at| at <= self.now);
        let nothing_due = !client_due && !self.receives_again;
        if !self.client_is_open && !self.server_is_open {
            let server_due = self.server.deadline().is_some_and(|at| at <= self.now);
            return self.opens_at.is_none() && nothing_due && !server_due;
        }
        self.client.is_connected()
            && nothing_due
            && self.server_is_open
            && self.server.is_idle(self.now)
            && self.link.is_empty()
            && !self.has_output()
    }

    fn clock(&mut self) -> &mut Instant {
        &mut self.now
    }
}

impl<S: Server> Pair<S> {
    /// Executes the next event. Returns `false` if there is none. The client reports one action at a time, so that
    /// commands can be given in between.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// net.client().publish(now, &Message::new("a", "1").qos(QoS::AtLeastOnce))?;
    /// while net.delivered_to_server().is_empty() {
    ///     assert!(net.step());
    /// }
    /// # Ok::<(), mqtt_sansio::PublishError>(())
    /// ```
    pub fn step(&mut self) -> bool {
        timeline::step(self)
    }

    /// Executes all events within this time.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// net.run_for(Duration::from_secs(3600)); // an hour with nothing but PINGREQ and PINGRESP
    /// assert!(net.client().is_connected());
    /// assert_eq!(net.now().since(now), Duration::from_secs(3600));
    /// ```
    pub fn run_for(&mut self, time: Duration) {
        timeline::run_for(self, time);
    }

    /// Executes the next event if it happens before this time. Otherwise advances the time to `end` and returns
    /// `false`.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// let end = now + Duration::from_secs(10);
    /// while net.step_until(end) {
    ///     assert!(net.client().is_connected()); // after each event of these ten seconds
    /// }
    /// ```
    pub fn step_until(&mut self, end: Instant) -> bool {
        timeline::step_until(self, end)
    }

    /// Executes events until no bytes are on their way and neither endpoint has anything to do except keeping the
    /// connection alive.
    ///
    /// # Panics
    ///
    /// Panics if that does not happen.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// let token = net.client().publish(now, &Message::new("a", "1").qos(QoS::ExactlyOnce))?;
    /// net.run_until_quiet(); // all four packets have arrived
    /// assert!(net.is_quiet() && net.fate(token).is_some());
    /// # Ok::<(), mqtt_sansio::PublishError>(())
    /// ```
    pub fn run_until_quiet(&mut self) {
        let is_quiet = timeline::run_until_quiet(self, MANY_EVENTS);
        assert!(is_quiet, "the pair never becomes quiet: {:?}", self.client);
    }

    /// Returns whether no bytes are on their way and nothing is to be done now.
    pub fn is_quiet(&mut self) -> bool {
        self.is_at_rest()
    }

    /// Hands out the changes of the client. Returns whether there are any that are not confirmed.
    pub(super) fn has_changes(&mut self) -> bool {
        self.under_way.extend(std::iter::from_fn(|| self.client.changes()));
        !self.under_way.is_empty()
    }

    fn has_output(&mut self) -> bool {
        self.has_changes()
            || (self.client_is_open && (self.is_closing || self.client.transmit().has_remaining()))
            || ((self.server_is_open || self.has_overlooked)
                && (self.server.is_over() || self.server.transmit().has_remaining()))
    }

    fn begin(&mut self) {
        self.opens_at = None;
        self.client_is_open = true;
        self.server_is_open = true;
        self.at_client.clear();
        self.at_server.clear();
        self.rules.opened();
        if core::mem::take(&mut self.has_overlooked) {
            self.server_rules.closed();
        }
        self.server_rules.opened();
        self.server_rules.resumes = self.server.session_number() > 0;
        self.client.open(self.now).unwrap_or_else(|error| panic!("the client cannot be opened: {error}"));
        self.server.open(self.now);
    }

    fn arrive(&mut self, way: Way) {
        match self.link.arrive(way) {
            Some(Arrival::Bytes(mut bytes)) => {
                let mut cuts = false;
                if let Some((left, end)) = &mut self.cut_after
                    && end.is_none_or(|end| end == way)
                {
                    bytes.truncate(*left);
                    *left -= bytes.len();
                    cuts = *left == 0;
                }
                match way {
                    Way::ToClient => {
                        self.at_client.extend_from_slice(&bytes);
                        self.poll_client();
                    }
                    Way::ToServer => {
                        self.at_server.extend_from_slice(&bytes);
                        self.run_server();
                    }
                }
                if cuts {
                    self.cut();
                }
            }
            Some(Arrival::End) if way == Way::ToClient => {
                self.poll_to_the_end();
                self.client_closed();
            }
            Some(Arrival::End) => self.server_closed(),
            None => {}
        }
    }

    /// Gives the client its received bytes, and runs its timers, until it reports an action.
    fn poll_client(&mut self) {
        let was_connected = self.client.is_connected();
        let mut input = &self.at_client[..];
        let action = self.client.poll(self.now, &mut input);
        let used = self.at_client.len() - input.len();
        self.polls_again = action.is_some();
        if let Some(action) = action {
            self.is_closing |= matches!(action, Action::Close(_));
            self.log.add(&action);
        }
        // Otherwise the input was discarded.
        if was_connected || self.client.is_connected() {
            self.rules.read(&self.at_client[..used]);
        }
        self.at_client.drain(..used);
        self.client.assert_consistent();
    }

    /// Polls the client until it takes no more of its received bytes.
    pub(super) fn poll_to_the_end(&mut self) {
        while self.polls_again {
            self.poll_client();
        }
    }

    /// Lets the server take its received bytes, or run its timers.
    fn run_server(&mut self) {
        let was_over = self.server_is_open && self.server.is_over();
        let mut input = if self.server_is_open { &self.at_server[..] } else { &[] };
        let (len, number) = (input.len(), self.server.session_number());
        self.receives_again = self.server.receive(self.now, &mut input);
        let used = len - input.len();
        // Otherwise the input was discarded.
        if S::IS_CHECKED && !was_over {
            self.server_rules.read(&self.at_server[..used]);
        }
        if self.server.session_number() != number {
            self.server_rules.flows.forget();
            self.server_rules.resumes = false;
        }
        self.at_server.drain(..used);
        self.server.assert_consistent();
    }

    /// Calls the server until it takes no more of its received bytes.
    pub(super) fn receive_to_the_end(&mut self) {
        while self.receives_again {
            self.run_server();
        }
    }

    /// Both endpoints write their output, or a part of it.
    fn write(&mut self) {
        self.writes_at = None;
        if self.has_changes() {
            // Some batches are confirmed later, and all of them before the client has nothing else to do.
            let all = self.under_way.len();
            let count = if self.random.percent(20) { self.random.index(all + 1) } else { all };
            for batch in self.under_way.drain(..count) {
                self.stored.apply(&batch);
                self.client.committed(self.now, batch.number());
            }
        }
        if self.client_is_open {
            let all = self.client.transmit().remaining();
            let is_part = self.link.split && !self.is_closing && self.random.percent(30);
            let count = if is_part { self.random.index(all + 1) } else { all };
            self.write_client(count);
            self.poll_client();
            if self.is_closing && !self.client.transmit().has_remaining() {
                self.link.end(self.now, Way::ToServer);
                self.link.lose(Way::ToClient);
                self.client_closed();
            }
        }
        if self.server_is_open || self.has_overlooked {
            let all = self.server.transmit().remaining();
            let is_part = S::IS_CHECKED && self.link.split && !self.server.is_over() && self.random.percent(30);
            let count = if is_part { self.random.index(all + 1) } else { all };
            self.write_server(count);
            self.run_server();
            if self.server.is_over() && !self.server.transmit().has_remaining() {
                self.receive_to_the_end();
                if self.server_is_open {
                    self.link.end(self.now, Way::ToClient);
                    self.link.lose(Way::ToServer);
                }
                self.server_closed();
            }
        }
    }

    /// The server writes this many bytes.
    pub(super) fn write_server(&mut self, count: usize) {
        let bytes = self.server.transmit().copy_to_bytes(count);
        if S::IS_CHECKED {
            self.server_rules.written(self.now, &bytes);
        }
        if self.server_is_open && self.client_is_open {
            self.link.send(self.now, Way::ToClient, &bytes);
        }
    }

    /// The client writes this many bytes.
    pub(super) fn write_client(&mut self, count: usize) {
        let mut chunks = [IoSlice::new(&[]); 4];
        let output = self.client.transmit();
        let filled = output.chunks_vectored(&mut chunks);
        let vectored: Vec<u8> = chunks[..filled].iter().flat_map(|chunk| chunk.iter().copied()).collect();
        let bytes = output.copy_to_bytes(count);
        let len = vectored.len().min(count);
        assert!(vectored[..len] == bytes[..len], "the vectored chunks differ from the chunks");
        self.rules.written(self.now, &bytes);
        if self.server_is_open {
            self.link.send(self.now, Way::ToServer, &bytes);
        }
    }

    /// Checks the invariants that must hold at any time.
    fn check(&mut self) {
        if S::IS_CHECKED
            && self.server_is_open
            && !self.server.transmit().has_remaining()
            && let Some(open) = self.server.packet_ids_in_use()
        {
            let seen = self.server_rules.flows.open();
            assert_eq!(open, seen, "the number of packet identifiers in use differs from the server's packets");
            if !self.receives_again {
                self.server_rules.assert_answered();
                self.server_rules.flows.assert_requests_answered();
            }
        }
        let is_written = self.client.is_connected() && !self.has_output();
        if is_written && self.client.queued() == 0 {
            let (open, seen) = (self.client.packet_ids_in_use(), self.rules.flows.open());
            assert_eq!(open, seen, "the number of packet identifiers in use differs from the client's packets");
            if !self.polls_again {
                self.rules.assert_answered();
                if !self.client.config().manual_acks {
                    self.rules.flows.assert_acknowledged();
                }
            }
        }
    }
}
