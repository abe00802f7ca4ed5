//! Running a world, event by event.

use core::time::Duration;

use bytes::Buf;
use mqtt_sansio::Instant;
use mqtt_sansio::broker::{Broker, ConnectionId, Origin, Policy};

use super::BrokerWorld;
use super::participant::Member;
use crate::link::{Arrival, Way};

/// The next event.
#[derive(Clone, Copy, Debug)]
enum Next {
    Open(usize),
    Arrival(usize, Way),
    Client(usize),
    Broker,
    Commit,
    Intruder(usize),
}

/// After this many events without a quiet moment there is no progress.
const MANY_EVENTS: u32 = 2_000_000;

impl<P: Policy> BrokerWorld<P> {
    /// Executes the next event. Returns `false` if there is none.
    pub fn step(&mut self) -> bool {
        self.pass_output();
        let Some((at, next)) = self.next() else { return false };
        self.now = self.now.max(at);
        match next {
            Next::Open(place) => self.begin(place),
            Next::Arrival(place, way) => self.arrive(place, way),
            Next::Client(place) => self.members[place].poll(self.now),
            Next::Broker => self.broker.poll(self.now),
            Next::Commit => self.commit(),
            Next::Intruder(place) => self.intrude(place),
        }
        self.pass_output();
        true
    }

    /// Executes all events within this time.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step_until(end) {}
    }

    /// Executes the next event if it happens before this time. Otherwise advances the time to `end` and returns `false`.
    pub fn step_until(&mut self, end: Instant) -> bool {
        self.pass_output();
        let happens = self.next().is_some_and(|(at, _)| at <= end);
        if happens {
            self.step();
        } else {
            self.now = self.now.max(end);
        }
        happens
    }

    /// Executes events until no bytes are on their way, all clients that reconnect are connected, and nothing is to be done
    /// except keeping connections alive. What a client [does not read](Self::hold) does not count.
    ///
    /// # Panics
    ///
    /// Panics if that does not happen.
    pub fn run_until_quiet(&mut self) {
        for _ in 0..MANY_EVENTS {
            if self.is_quiet() {
                self.members.iter_mut().for_each(Member::settle);
                return;
            }
            if !self.step() {
                return;
            }
        }
        panic!("the world never becomes quiet");
    }

    /// Returns whether no bytes are on their way and nothing is to be done now.
    pub fn is_quiet(&mut self) -> bool {
        self.pass_output();
        let now = self.now;
        self.broker.deadline().is_none_or(|at| at > now)
            && self.under_way.is_empty()
            && self.members.iter_mut().all(|member| member.is_quiet(now))
    }

    fn next(&self) -> Option<(Instant, Next)> {
        let members = self.members.iter().enumerate().flat_map(|(place, member)| {
            [
                member.opens_at.map(|at| (at, Next::Open(place))),
                member.next_arrival().map(|(at, way)| (at, Next::Arrival(place, way))),
                member.client.deadline().map(|at| (at, Next::Client(place))),
            ]
        });
        let others =
            [self.broker.deadline().map(|at| (at, Next::Broker)), self.commits_at.map(|at| (at, Next::Commit))];
        let intruders = self.intruders.iter().enumerate();
        let intruders = intruders.map(|(place, intruder)| Some((intruder.sends_at, Next::Intruder(place))));
        members.chain(others).chain(intruders).flatten().min_by_key(|&(at, _)| at)
    }

    fn begin(&mut self, place: usize) {
        let id = self.broker.open(self.now, Origin::UNKNOWN);
        self.members[place].open(self.now, id);
        self.members[place].poll(self.now);
    }

    fn arrive(&mut self, place: usize, way: Way) {
        let member = &mut self.members[place];
        let mut cuts = false;
        match (member.link.arrive(way), way) {
            (Some(Arrival::Bytes(mut bytes)), Way::ToClient) => {
                cuts = member.count(&mut bytes);
                member.receive(self.now, &bytes);
            }
            (Some(Arrival::Bytes(mut bytes)), Way::ToServer) => {
                cuts = member.count(&mut bytes);
                member.at_broker.extend_from_slice(&bytes);
                self.receive(place);
            }
            (Some(Arrival::End), Way::ToClient) => member.closed(self.now),
            (Some(Arrival::End), Way::ToServer) => {
                if let Some(id) = member.id.take() {
                    member.broker_rules.closed();
                    member.link.lose(Way::ToClient);
                    self.broker.closed(self.now, id);
                }
            }
            (None, _) => {}
        }
        if cuts {
            self.members[place].cut_after = None;
            self.cut_now(place);
        }
    }

    /// Gives the broker what has arrived from a client.
    fn receive(&mut self, place: usize) {
        let Self { members, broker, now, .. } = self;
        let member = &mut members[place];
        let Some(id) = member.id else { return };
        let was_over = broker.is_over(id);
        let mut input = &member.at_broker[..];
        broker.receive(*now, id, &mut input);
        let used = member.at_broker.len() - input.len();
        // Otherwise the input was discarded.
        if !was_over {
            member.broker_rules.read(&member.at_broker[..used]);
        }
        member.at_broker.drain(..used);
        // What is left is the beginning of a packet, or has to be given again when the broker takes it.
        member.waits = !member.at_broker.is_empty() && !broker.takes_input(id);
    }

    /// Sends the output of the broker and of its clients, as far as the links have room, and takes the broker's changes.
    fn pass_output(&mut self) {
        for place in 0..self.members.len() {
            if self.members[place].client.deadline() == Some(Instant::EPOCH) || self.members[place].is_open {
                self.members[place].poll(self.now);
            }
        }
        while let Some(id) = self.broker.next_ready() {
            match self.members.iter().position(|member| member.id == Some(id)) {
                Some(place) if self.members[place].waits => self.receive(place),
                Some(_) => {} // there is output, which is written below
                None if self.intruders.iter().any(|intruder| intruder.id == Some(id)) => {} // it reads when it likes
                None => self.discard(id),
            }
        }
        for place in 0..self.members.len() {
            self.write(place);
        }
        self.under_way.extend(std::iter::from_fn(|| self.broker.changes()));
        if !self.under_way.is_empty() && self.commits_at.is_none() {
            let pause = self.random.below(self.commit_delay.as_micros() as u64 + 1);
            self.commits_at = Some(self.now + Duration::from_micros(pause));
        }
    }

    /// Writes what the broker has to say to a client.
    fn write(&mut self, place: usize) {
        let Some(id) = self.members[place].id else { return };
        loop {
            let room = self.members[place].room();
            let count = self.broker.transmit(id).remaining().min(room);
            if count == 0 {
                break;
            }
            let bytes = self.broker.transmit(id).copy_to_bytes(count);
            self.members[place].broker_rules.written(self.now, &bytes);
            if self.members[place].is_open {
                self.members[place].link.send(self.now, Way::ToClient, &bytes);
            }
        }
        if self.broker.is_over(id) && !self.broker.transmit(id).has_remaining() {
            let member = &mut self.members[place];
            member.id = None;
            member.broker_rules.closed();
            member.link.lose(Way::ToServer);
            if member.is_open {
                member.link.end(self.now, Way::ToClient);
            }
            self.broker.closed(self.now, id);
        }
    }

    /// Drops the output of a connection whose client is gone.
    fn discard(&mut self, id: ConnectionId) {
        let transmit = self.broker.transmit(id);
        transmit.advance(transmit.remaining());
        if self.broker.is_over(id) {
            self.broker.closed(self.now, id);
        }
    }

    /// A hostile client sends something, and reads or does not.
    fn intrude(&mut self, place: usize) {
        let Self { intruders, broker, random, now, .. } = self;
        let Some(intruder) = intruders.get_mut(place) else { return };
        intruder.sends_at = *now + Duration::from_micros(random.below(5_000));
        if let Some(id) = intruder.id
            && (broker.is_over(id) || random.percent(1))
        {
            broker.closed(*now, id);
            intruder.id = None;
        }
        let id = *intruder.id.get_or_insert_with(|| {
            intruder.at_broker.clear();
            intruder.hostile.reconnect();
            broker.open(*now, Origin::UNKNOWN)
        });
        // A transport holds only so much that the broker does not take.
        if intruder.at_broker.len() < 64 * 1024 {
            intruder.at_broker.extend(intruder.hostile.bytes());
        }
        let mut input = &intruder.at_broker[..];
        broker.receive(*now, id, &mut input);
        let used = intruder.at_broker.len() - input.len();
        intruder.at_broker.drain(..used);
        if random.percent(50) {
            let transmit = broker.transmit(id);
            transmit.advance(transmit.remaining());
        }
    }

    fn commit(&mut self) {
        self.commits_at = None;
        for batch in self.under_way.drain(..) {
            self.stored.apply(&batch);
            self.broker.committed(self.now, batch.number());
        }
    }

    /// Cuts the link of a client. The broker may not notice.
    pub(super) fn cut_now(&mut self, place: usize) {
        self.pass_output();
        let member = &mut self.members[place];
        member.link.lose(Way::ToClient);
        member.link.lose(Way::ToServer);
        let id = member.id.take();
        member.closed(self.now);
        member.broker_rules.closed();
        match id {
            // The broker goes on with a connection of which nobody reads the output.
            Some(_) if self.random.percent(self.overlooks) => self.members[place].broker_rules.flows.lose_sight(),
            Some(id) => self.broker.closed(self.now, id),
            None => {}
        }
    }
}

impl<P: Policy + Clone> BrokerWorld<P> {
    pub(super) fn crash_now(&mut self) {
        // Batches that are not confirmed may be stored, up to any of them.
        self.under_way.truncate(self.random.index(self.under_way.len() + 1));
        self.under_way.drain(..).for_each(|batch| self.stored.apply(&batch));
        self.commits_at = None;
        let (config, policy) = (self.config.clone(), self.broker.policy().clone());
        self.broker = if config.durable {
            let restored = Broker::restore(config, policy, self.now, self.stored.iter());
            restored.unwrap_or_else(|error| panic!("the broker cannot be restored: {error}"))
        } else {
            Broker::new(config, policy)
        };
        self.intruders.iter_mut().for_each(|intruder| intruder.id = None);
        for member in &mut self.members {
            member.link.lose(Way::ToClient);
            member.link.lose(Way::ToServer);
            member.id = None;
            member.closed(self.now);
            member.broker_rules.closed();
            member.broker_rules.flows.lose_sight();
        }
    }
}
