//! A client of a world, and its link.

use bytes::Buf;
use mqtt_sansio::Instant;
use mqtt_sansio::broker::ConnectionId;
use mqtt_sansio::client::{Action, ClientSession};
use mqtt_sansio::codec::Sender;
use mqtt_sansio::store::Pairs;

use crate::event::Log;
use crate::link::{Link, Reconnect, Way};
use crate::random::Random;
use crate::rules::Rules;

/// A client, its link, and what has arrived over it.
pub(super) struct Member {
    pub(super) client: ClientSession,
    pub(super) log: Log,
    rules: Rules,
    /// The rules for the broker's end.
    pub(super) broker_rules: Rules,
    pub(super) link: Link,
    pub(super) reconnect: Reconnect,
    /// When the next connection opens.
    pub(super) opens_at: Option<Instant>,
    /// Whether the client has a transport.
    pub(super) is_open: bool,
    /// The broker's end of the connection.
    pub(super) id: Option<ConnectionId>,
    /// Received bytes that were not taken yet.
    at_client: Vec<u8>,
    pub(super) at_broker: Vec<u8>,
    /// Whether the broker does not take the rest of that yet.
    pub(super) waits: bool,
    /// After how many more received bytes the link is cut.
    pub(super) cut_after: Option<usize>,
    /// Whether the client does not read.
    pub(super) is_held: bool,
    /// Whether the client has reported the end of the connection, and whether a further connection may succeed.
    is_closing: bool,
    may_retry: bool,
    /// What a durable client has stored.
    stored: Pairs,
}

/// Bytes that a link holds in a direction.
const CAPACITY: usize = 64 * 1024;

impl Member {
    pub(super) fn new(client: ClientSession, random: Random, now: Instant) -> Self {
        Self {
            log: Log::default(),
            rules: Rules::new(Sender::Client, client.config().version),
            broker_rules: Rules::new(Sender::Server, client.config().version),
            client,
            link: Link::new(random),
            reconnect: Reconnect::Backoff,
            opens_at: Some(now),
            is_open: false,
            id: None,
            at_client: Vec::new(),
            at_broker: Vec::new(),
            waits: false,
            cut_after: None,
            is_held: false,
            is_closing: false,
            may_retry: true,
            stored: Pairs::default(),
        }
    }

    pub(super) fn open(&mut self, now: Instant, id: ConnectionId) {
        self.opens_at = None;
        self.id = Some(id);
        self.is_open = true;
        self.may_retry = true;
        self.at_client.clear();
        self.at_broker.clear();
        self.waits = false;
        self.rules.opened();
        self.broker_rules.opened();
        // Whether the broker has a session, CONNACK says.
        self.broker_rules.resumes = true;
        self.client.open(now).unwrap_or_else(|error| panic!("the client cannot be opened: {error}"));
    }

    /// When something happens to the client, and the direction of an arrival.
    pub(super) fn next_arrival(&self) -> Option<(Instant, Way)> {
        self.link.next_of(if self.is_held { &[Way::ToServer] } else { &[Way::ToServer, Way::ToClient] })
    }

    /// Counts arrived bytes; returns those that arrive before the link is cut, and whether it is cut then.
    pub(super) fn count(&mut self, bytes: &mut Vec<u8>) -> bool {
        let Some(left) = &mut self.cut_after else { return false };
        bytes.truncate(*left);
        *left -= bytes.len();
        *left == 0
    }

    pub(super) fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.at_client.extend_from_slice(bytes);
        self.poll(now);
    }

    /// Gives the client what it has received, and runs its timers, until it has nothing more to report; then stores what it
    /// has changed, and sends what it has to say.
    pub(super) fn poll(&mut self, now: Instant) {
        loop {
            let was_connected = self.client.is_connected();
            let mut input = &self.at_client[..];
            let action = self.client.poll(now, &mut input);
            let used = self.at_client.len() - input.len();
            let is_last = action.is_none();
            if let Some(action) = action {
                if let Action::Close(why) = &action {
                    (self.is_closing, self.may_retry) = (true, why.may_retry());
                }
                self.log.add(&action);
            }
            if was_connected || self.client.is_connected() {
                self.rules.read(&self.at_client[..used]);
            }
            self.at_client.drain(..used);
            if is_last {
                break;
            }
        }
        while let Some(batch) = self.client.changes() {
            self.stored.apply(&batch);
            self.client.committed(now, batch.number());
        }
        self.client.assert_consistent();
        self.write(now);
    }

    fn write(&mut self, now: Instant) {
        if !self.is_open {
            return;
        }
        let room = CAPACITY.saturating_sub(self.link.on_the_way(Way::ToServer));
        let count = self.client.transmit().remaining().min(room);
        if count != 0 {
            let bytes = self.client.transmit().copy_to_bytes(count);
            self.rules.written(now, &bytes);
            if self.id.is_some() {
                self.link.send(now, Way::ToServer, &bytes);
            }
            return self.poll(now);
        }
        if self.is_closing && !self.client.transmit().has_remaining() {
            if self.id.is_some() {
                self.link.end(now, Way::ToServer);
            }
            self.link.lose(Way::ToClient);
            self.closed(now);
        }
    }

    /// The client has no transport any more.
    pub(super) fn closed(&mut self, now: Instant) {
        if !core::mem::take(&mut self.is_open) {
            return;
        }
        self.client.closed(now);
        self.rules.closed();
        self.log.closed();
        self.is_closing = false;
        self.poll(now);
        self.at_client.clear();
        self.opens_at = match self.reconnect {
            _ if !self.may_retry => None,
            Reconnect::Never => None,
            Reconnect::AtOnce => Some(now),
            Reconnect::Backoff => Some(now + self.client.backoff()),
        };
    }

    /// How many bytes the broker can write.
    pub(super) fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.link.on_the_way(Way::ToClient))
    }

    /// Nothing is to be done: what has arrived at either endpoint is answered, except what an application decides.
    pub(super) fn settle(&mut self) {
        if self.is_held || !self.is_open || !self.client.is_connected() {
            return;
        }
        self.rules.assert_answered();
        if !self.client.config().manual_acks {
            self.rules.flows.assert_acknowledged();
        }
        self.broker_rules.assert_answered();
        self.broker_rules.flows.open();
    }

    /// Whether nothing is to be done now, or is on its way.
    pub(super) fn is_quiet(&mut self, now: Instant) -> bool {
        let is_due = self.client.deadline().is_some_and(|at| at <= now);
        let has_output = self.is_open && self.client.transmit().has_remaining();
        let is_settled = self.opens_at.is_none() && (!self.is_open || self.client.is_connected());
        self.next_arrival().is_none() && !is_due && !has_output && is_settled && self.is_open == self.id.is_some()
    }
}
