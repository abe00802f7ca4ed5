//! The broker, its driver, and the clients around it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use bytes::Buf;
use mqtt_sansio::Instant;
use mqtt_sansio::broker::{Broker, BrokerConfig, ConnectionId, DropReason, Origin, Secret, SharedStrategy};
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio_testkit::Random;

use super::honest::{Honest, Role};
use super::model::{Model, Turn};
use super::nasty::{self, Nasty, Reads};
use super::policy::{Event, Gate};

/// What kind of run it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) steps: usize,
    /// How many nasty clients there are.
    pub(crate) nasty: usize,
    /// Whether all messages together may take little memory.
    pub(crate) little_memory: bool,
    /// The work of a call, if it is to be less than usual.
    pub(crate) work: Option<u32>,
    /// In how many driver turns an honest client has to be served at the latest, and to get a message.
    pub(crate) most_turns: Turn,
}

impl Plan {
    /// How often a driver polls in a turn at the most.
    fn polls(self) -> u32 {
        self.work.map_or(1, |work| 1 + 600 / work)
    }
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug)]
enum Peer {
    Honest(usize),
    Nasty(usize),
}

pub(crate) struct World {
    random: Random,
    plan: Plan,
    now: Instant,
    /// How many driver turns there have been.
    turn: Turn,
    broker: Broker<Gate>,
    config: BrokerConfig,
    peers: BTreeMap<ConnectionId, Peer>,
    honest: Vec<Honest>,
    nasty: Vec<Nasty>,
    pub(crate) model: Model,
    /// How many connections of nasty clients there were.
    pub(crate) attacks: usize,
    /// For how many turns the broker has left input of an honest client alone at the most.
    pub(crate) longest_wait: Turn,
}

const ROLES: [Role; 7] =
    [Role::Steady, Role::Steady, Role::Steady, Role::Sleeper, Role::Churner, Role::Mortal, Role::Mortal];

/// The largest packet that the broker accepts, in bytes.
const LARGEST: u32 = 1 << 18;

fn config(plan: Plan, seed: u64, random: &mut Random) -> BrokerConfig {
    let server = ServerConfig {
        maximum_packet_size: NonZeroU32::new(LARGEST),
        topic_alias_maximum: [0, 20][random.index(2)],
        topic_aliases: [0, 5][random.index(2)],
        receive_maximum: [20, u16::MAX][random.index(2)].try_into().unwrap(),
        max_stored_bytes: 1 << 20,
        answer_limit: NonZeroU32::new([200, 64 * 1024][random.index(2)]).unwrap(),
        ..ServerConfig::default()
    };
    let shared_strategy =
        [SharedStrategy::RoundRobin, SharedStrategy::Random, SharedStrategy::LeastLoaded][random.index(3)];
    let usual = BrokerConfig::new(Secret::new(u128::from(seed).to_le_bytes()));
    let work_per_call = plan.work.map_or(usual.work_per_call, |work| work.try_into().unwrap());
    BrokerConfig {
        server,
        shared_strategy,
        work_per_call,
        max_memory: if plan.little_memory { 200_000 } else { 64 << 20 },
        reserved_memory: if plan.little_memory { 8 << 20 } else { 256 << 20 },
        sys_interval: NonZeroU32::new([0, 1][random.index(2)]),
        ..usual
    }
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let mut random = Random::new(seed);
        let config = config(plan, seed, &mut random);
        let gate = Gate::new(random.fork());
        let honest = ROLES.iter().enumerate().map(|(number, &role)| Honest::new(number, role, &mut random)).collect();
        let nasty = (0..plan.nasty).map(|number| Nasty::new(number, &mut random)).collect();
        let is_slow = |&number: &usize| ROLES[number] == Role::Churner;
        let slow = (0..ROLES.len()).filter(is_slow).collect();
        let mut world = Self {
            plan,
            now: Instant::from_micros(1_000_000),
            turn: 0,
            broker: Broker::new(config.clone(), gate),
            config,
            peers: BTreeMap::new(),
            honest,
            nasty,
            model: Model::new(slow),
            attacks: 0,
            longest_wait: 0,
            random,
        };
        for number in 0..world.honest.len() {
            world.open_honest(number);
        }
        while !world.honest.iter().all(|it| it.is_connected() && it.is_idle()) {
            assert!(world.turn < 1000 + plan.most_turns, "honest clients are not accepted");
            world.turn();
        }
        world
    }

    /// Something happens, and the driver makes a turn or several.
    pub(crate) fn step(&mut self) {
        for _ in 0..1 + self.random.index(8) {
            let number = self.random.index(self.nasty.len());
            self.provoke(number);
        }
        if self.random.percent(60) {
            let number = self.random.index(self.honest.len());
            self.act(number);
        }
        if self.random.percent(30) {
            let micros = self.random.below(500_000);
            self.pass(micros);
        }
        if self.random.percent(30) {
            self.answer();
        }
        for _ in 0..1 + self.random.index(3) {
            self.turn();
        }
        if self.is_quiet() {
            self.model.settled();
        }
    }

    fn open(&mut self, peer: Peer) -> ConnectionId {
        // Each honest client is a party of its own, and some of the others share one.
        let origin = match peer {
            Peer::Honest(number) => 1000 + number,
            Peer::Nasty(number) => number / 2,
        };
        let id = self.broker.open(self.now, Origin::new(origin as u128));
        self.peers.insert(id, peer);
        id
    }

    fn open_honest(&mut self, number: usize) {
        let id = self.open(Peer::Honest(number));
        self.honest[number].open(self.now, id);
        self.poll_honest(number, &[]);
    }

    /// An honest client does something.
    fn act(&mut self, number: usize) {
        let Self { honest, random, model, now, turn, plan, .. } = self;
        let (client, now) = (&mut honest[number], *now);
        if client.link.is_none() {
            return if random.percent(30) {
                self.open_honest(number)
            };
        }
        if !client.is_connected() {
            return;
        }
        match client.role {
            Role::Churner if random.percent(60) => client.churn(now, random, model),
            Role::Sleeper if random.percent(15) => {
                client.leave(now, model);
                self.poll_honest(number, &[]);
            }
            Role::Mortal if random.percent(30) && client.is_idle() => {
                client.die(model, *turn);
                self.lose_honest(number);
            }
            // What may be retained is shared by all: with little memory nasty clients leave none.
            _ => client.publish(now, random, model, *turn, !plan.little_memory),
        }
    }

    /// The transport of an honest client is closed.
    fn lose_honest(&mut self, number: usize) {
        if let Some(link) = &self.honest[number].link {
            self.peers.remove(&link.id);
            self.broker.closed(self.now, link.id);
        }
        self.honest[number].closed(self.now);
    }

    /// Takes what has come for an honest client.
    fn poll_honest(&mut self, number: usize, input: &[u8]) {
        let Self { honest, model, now, turn, .. } = self;
        honest[number].poll(*now, input, model, *turn);
    }

    /// A nasty client connects, goes, or does what it likes to do.
    fn provoke(&mut self, number: usize) {
        if self.nasty[number].link.is_none() {
            let id = self.open(Peer::Nasty(number));
            self.nasty[number].link = Some(nasty::Link::new(id));
            self.nasty[number].connect(&mut self.random);
            self.attacks += 1;
        } else if self.random.percent(5) {
            self.lose_nasty(number);
        } else {
            self.nasty[number].act(&mut self.random);
        }
    }

    fn lose_nasty(&mut self, number: usize) {
        if let Some(link) = self.nasty[number].link.take() {
            self.peers.remove(&link.id);
            self.broker.closed(self.now, link.id);
        }
        if self.random.percent(30) {
            self.nasty[number] = Nasty::new(number, &mut self.random);
        }
    }

    fn pass(&mut self, micros: u64) {
        self.now = Instant::from_micros(self.now.as_micros() + micros);
        self.poll_all();
    }

    /// Honest clients look at the time, and at what they have written.
    fn poll_all(&mut self) {
        for number in 0..self.honest.len() {
            if self.honest[number].link.is_some() {
                self.poll_honest(number, &[]);
            }
        }
    }

    /// The policy answers a question that it has put off.
    fn answer(&mut self) {
        if let Some((id, answer)) = self.broker.policy_mut().take_answer() {
            // The connection may be over by now.
            let _ = self.broker.answer(self.now, id, answer);
        }
    }

    /// What a driver does between two calls of `poll`: each transport that something has arrived at, and each connection
    /// that is ready, has its turn once.
    fn turn(&mut self) {
        self.turn += 1;
        self.broker.poll(self.now);
        // With little work in a call a driver polls more often; now and then somebody speaks in between.
        for _ in 1..self.plan.polls() {
            if self.broker.deadline().is_none_or(|at| at > self.now) {
                break;
            }
            self.broker.poll(self.now);
            let (honest, nasty) = (self.random.index(ROLES.len()), self.random.index(self.nasty.len()));
            match self.random.index(50) {
                0 => self.give_honest(honest),
                1 => self.give_nasty(nasty),
                _ => {}
            }
        }
        for number in 0..self.honest.len() {
            self.give_honest(number);
        }
        for number in 0..self.nasty.len() {
            self.give_nasty(number);
        }
        let mut ready = Vec::new();
        while let Some(id) = self.broker.next_ready() {
            ready.push(id);
            assert!(ready.len() <= 2 * self.peers.len() + 2, "each connection is ready once");
        }
        for id in ready {
            match self.peers.get(&id).copied() {
                Some(Peer::Honest(number)) => self.serve_honest(number),
                Some(Peer::Nasty(number)) => self.serve_nasty(number),
                None => {}
            }
        }
        for number in 0..self.nasty.len() {
            self.read_on(number);
        }
        self.poll_all();
        self.check();
    }

    /// An honest client's input goes to the broker.
    fn give_honest(&mut self, number: usize) {
        let Self { honest, broker, now, turn, longest_wait, .. } = self;
        let Some(link) = &mut honest[number].link else { return };
        if link.up.is_empty() {
            return;
        }
        let mut input = &link.up[..];
        broker.receive(*now, link.id, &mut input);
        let taken = link.up.len() - input.len();
        link.up.drain(..taken);
        let since = *link.waits_since.get_or_insert(*turn);
        *longest_wait = (*longest_wait).max(*turn - since);
        if taken > 0 {
            link.waits_since = (!link.up.is_empty()).then_some(*turn);
        }
    }

    /// Output goes to an honest client, which reads all of it.
    fn serve_honest(&mut self, number: usize) {
        let Some(id) = self.honest[number].link.as_ref().map(|link| link.id) else { return };
        loop {
            let transmit = self.broker.transmit(id);
            let bytes = transmit.copy_to_bytes(transmit.remaining());
            if bytes.is_empty() {
                break;
            }
            self.poll_honest(number, &bytes);
        }
        if self.broker.is_over(id) {
            self.lose_honest(number);
        } else if self.honest[number].link.as_ref().is_some_and(|link| link.waits_since.is_some()) {
            self.give_honest(number); // what it answers now arrives with the next turn
        }
    }

    /// What has arrived of a nasty client goes to the broker.
    fn give_nasty(&mut self, number: usize) {
        let Self { nasty, broker, now, .. } = self;
        let is_slow = nasty[number].is_slow;
        let Some(link) = &mut nasty[number].link else { return };
        let pieces = if is_slow {
            1 + link.arrived..=link.up.len().min(link.arrived + 20)
        } else {
            link.up.len()..=link.up.len()
        };
        for arrived in pieces {
            // Pieces count from the beginning of what was there at first.
            let arrived = arrived.min(link.up.len());
            let mut input = &link.up[..arrived];
            if input.is_empty() {
                break;
            }
            broker.receive(*now, link.id, &mut input);
            let left = input.len();
            let taken = arrived - left;
            link.up.drain(..taken);
            link.arrived = left;
        }
    }

    fn serve_nasty(&mut self, number: usize) {
        self.give_nasty(number);
        let Some(id) = self.nasty[number].link.as_ref().map(|link| link.id) else { return };
        // A nasty client that reads nothing does not notice at once that its connection is over; its transport is closed all
        // the same after a while.
        if self.broker.is_over(id) && (self.nasty[number].reads != Reads::Nothing || self.random.percent(50)) {
            self.lose_nasty(number);
        }
    }

    /// A nasty client reads as much as it likes to.
    fn read_on(&mut self, number: usize) {
        let Self { nasty, broker, random, config, .. } = self;
        let Some(id) = nasty[number].link.as_ref().map(|link| link.id) else { return };
        let most = match nasty[number].reads {
            Reads::Nothing => 0,
            Reads::OneByte => 1,
            Reads::Some => random.index(300),
            Reads::All => usize::MAX,
        };
        let transmit = broker.transmit(id);
        let waits = transmit.remaining();
        let server = &config.server;
        // Each limit may be exceeded by one packet: a message, or an answer. PUBREL is sent again for up to 1,000 messages.
        let limit = server.transmit_limit.get() + LARGEST + server.answer_limit.get() + 8192;
        assert!(waits <= limit as usize, "{waits} bytes wait for {:?}", nasty[number].kind);
        let count = waits.min(most);
        let bytes = transmit.copy_to_bytes(count);
        nasty[number].hear(&bytes, random);
        if broker.is_over(id) && (count == waits || random.percent(10)) {
            self.lose_nasty(number);
        }
    }

    /// What must hold at any time.
    fn check(&mut self) {
        let status = self.broker.status();
        let config = &self.config;
        assert!(status.sessions <= config.max_sessions && status.connections <= config.max_connections);
        assert!(status.retained <= config.max_retained && status.subscriptions <= config.max_subscriptions);
        if self.plan.little_memory {
            let used = status.stored_bytes + status.retained_bytes;
            let limit = config.max_memory + config.reserved_memory + u64::from(LARGEST);
            assert!(used <= limit, "{used} bytes are in use: {status:?}");
        }
        if self.turn.is_multiple_of(16) {
            self.broker.assert_consistent();
        }
        for event in std::mem::take(&mut self.broker.policy_mut().events) {
            match event {
                Event::Dropped(number, DropReason::Memory) => self.model.dropped(number),
                // It has left, and the message was not sent before that.
                Event::Dropped(number, DropReason::ConnectionLost | DropReason::SessionEnded)
                    if !self.honest[number].is_connected() => {}
                Event::Dropped(number, reason) => panic!("a copy for honest client {number} was dropped: {reason:?}"),
                Event::Harmed(number, what) => panic!("honest client {number}: {what}"),
            }
        }
    }

    /// Whether nothing is on its way between honest clients.
    fn is_quiet(&self) -> bool {
        self.broker.deadline().is_none_or(|at| at > self.now) && self.honest.iter().all(Honest::is_idle)
    }

    /// The attack is over, or goes on: honest clients come to rest in either case, and nothing is missing.
    pub(crate) fn finish(&mut self) {
        /// For so many turns nothing may come after all that must come: what would come twice comes then.
        const REST: u32 = 10;
        let turns = 2000 + 2 * self.plan.most_turns;
        if self.random.percent(50) {
            (0..self.nasty.len()).for_each(|number| self.lose_nasty(number));
        }
        let mut turns_at_rest = 0;
        for _ in 0..turns {
            for number in 0..self.honest.len() {
                if self.honest[number].link.is_none() {
                    self.open_honest(number);
                }
            }
            self.turn();
            let is_at_rest = self.honest.iter().all(|it| it.is_connected() && it.is_idle());
            turns_at_rest = if is_at_rest && self.model.missing().is_empty() { turns_at_rest + 1 } else { 0 };
            if turns_at_rest > REST {
                break;
            }
        }
        let missing = self.model.missing();
        assert!(missing.is_empty(), "missing are {missing:#?}");
        assert!(turns_at_rest > 0, "honest clients do not come to rest");
        self.broker.assert_consistent();
        let (slowest, longest) = (self.model.slowest, self.longest_wait);
        assert!(slowest <= self.plan.most_turns, "a message took {slowest} turns to an honest client");
        assert!(longest <= self.plan.most_turns, "an honest client had to wait for {longest} turns");
    }
}
