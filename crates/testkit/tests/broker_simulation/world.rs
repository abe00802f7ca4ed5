//! The broker, the clients, and random events.

use std::num::NonZeroU32;

use bytes::Buf;
use mqtt_sansio::broker::{
    Answer, Broker, BrokerConfig, Client as Who, ConnectionId, Decision, DecisionId, DropReason, Notice, Origin,
    Policy, Secret, SharedStrategy,
};
use mqtt_sansio::codec::{PubAckReasonCode, SubAckReasonCode, Subscription};
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{Instant, Message, QoS, ReceivedMessage, TopicFilter};
use mqtt_sansio_testkit::Random;

use super::clients::{Client, Link, Request};
use super::model::{GROUP, Model};

/// The kind of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: usize,
    /// Whether the policy sometimes defers decisions.
    pub(crate) later: bool,
    /// Whether the limits on stored messages are small.
    pub(crate) little_room: bool,
    /// Whether the clock jumps, so that clients are taken for dead.
    pub(crate) jumps: bool,
    /// The work of a call, if it is to be less than usual.
    pub(crate) work: Option<u32>,
}

/// The events at the broker, in order: the policy sees each message and each subscription just before it takes effect.
enum Event {
    Message {
        topic: String,
        payload: String,
        qos: QoS,
        retain: bool,
    },
    Subscription {
        client: usize,
        filter: String,
        qos: QoS,
    },
    /// A stored subscription continues: nothing has changed.
    Resubscription {
        qos: QoS,
    },
    SessionEnded {
        client: usize,
    },
    Dropped {
        is_by_limit: bool,
    },
}

#[derive(Default)]
struct Witness {
    events: Vec<Event>,
    /// Pending decisions, and the event that each causes when it is made.
    questions: Vec<(DecisionId, Event)>,
    patience: Option<Random>,
}

impl Witness {
    fn decide<T>(&mut self, id: DecisionId, event: Event, answer: T) -> Decision<T> {
        if self.patience.as_mut().is_some_and(|random| random.percent(20)) {
            self.questions.push((id, event));
            return Decision::Later;
        }
        self.events.push(event);
        Decision::Now(answer)
    }
}

fn place_of(client_id: &str) -> usize {
    client_id.strip_prefix("client-").unwrap().parse().unwrap()
}

impl Policy for Witness {
    fn publish(&mut self, id: DecisionId, _: Who<'_>, message: &ReceivedMessage<'_>) -> Decision<PubAckReasonCode> {
        let event = Event::Message {
            topic: message.topic.as_str().into(),
            payload: String::from_utf8(message.payload.into()).unwrap(),
            qos: message.qos,
            retain: message.retain,
        };
        self.decide(id, event, PubAckReasonCode::Success)
    }

    fn subscribe(&mut self, id: DecisionId, client: Who<'_>, asked: &Subscription<'_>) -> Decision<SubAckReasonCode> {
        let (client, filter) = (place_of(client.id), asked.filter.as_str().into());
        self.decide(id, Event::Subscription { client, filter, qos: asked.qos }, asked.qos.into())
    }

    fn resubscribe(&mut self, id: DecisionId, _: Who<'_>, stored: &Subscription<'_>) -> Decision<SubAckReasonCode> {
        self.decide(id, Event::Resubscription { qos: stored.qos }, stored.qos.into())
    }

    fn notice(&mut self, notice: Notice<'_>) {
        match notice {
            // A new session ends the previous one of the client.
            Notice::Connected { client, session_present: false } => {
                self.events.push(Event::SessionEnded { client: place_of(client.id) });
            }
            Notice::SessionEnded { client_id } => {
                self.events.push(Event::SessionEnded { client: place_of(client_id) });
            }
            Notice::Dropped { reason, .. } => {
                let is_by_limit = matches!(reason, DropReason::QueueFull | DropReason::Memory);
                self.events.push(Event::Dropped { is_by_limit });
            }
            _ => {}
        }
    }
}

pub(crate) struct World {
    random: Random,
    plan: Plan,
    now: Instant,
    broker: Broker<Witness>,
    clients: Vec<Client>,
    /// Connections whose loss the broker has not noticed, with the bytes still on their way.
    ghosts: Vec<(ConnectionId, Vec<u8>)>,
    pub(crate) model: Model,
}

const TOPICS: [&str; 8] = ["a/b", "a/c", "b/b", "b/c", "a", "r/1", "r/2", "s/x/1"];
const FILTERS: [&str; 9] = ["a/b", "a/+", "a/#", "+/b", "b/+", "+", "r/#", "r/1", "$share/g/s/#"];
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

impl World {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let mut random = Random::new(seed);
        let server = ServerConfig {
            max_stored: if plan.little_room { 4 } else { 100_000 },
            topic_aliases: [0, 3][random.index(2)],
            topic_alias_maximum: [0, 3][random.index(2)],
            receive_maximum: [2, u16::MAX][random.index(2)].try_into().unwrap(),
            transmit_limit: NonZeroU32::new([100, 64 * 1024][random.index(2)]).unwrap(),
            ..ServerConfig::default()
        };
        let shared_strategy =
            [SharedStrategy::RoundRobin, SharedStrategy::Random, SharedStrategy::LeastLoaded][random.index(3)];
        let usual = BrokerConfig::new(Secret::new(u128::from(seed).to_le_bytes()));
        let work_per_call = plan.work.map_or(usual.work_per_call, |work| work.try_into().unwrap());
        let config = BrokerConfig { server, shared_strategy, work_per_call, ..usual };
        let patience = plan.later.then(|| random.fork());
        let policy = Witness { patience, ..Witness::default() };
        let keep_alive = if plan.jumps { 20 } else { 0 };
        let clients = (0..2 + random.index(6)).map(|place| Client::new(place, &mut random, keep_alive)).collect();
        let (broker, now) = (Broker::new(config, policy), Instant::from_micros(1_000_000));
        Self { random, plan, now, broker, clients, ghosts: Vec::new(), model: Model::default() }
    }

    pub(crate) fn step(&mut self) {
        let place = self.random.index(self.clients.len());
        match self.random.index(20) {
            0..=4 => self.publish(place),
            5..=6 => self.subscribe(place),
            7 => self.unsubscribe(place),
            8 => {
                if self.random.percent(40) {
                    self.cut(place);
                }
            }
            9 => self.open(place),
            10 => self.end_ghost(),
            11 => self.answer(),
            12 => self.pass_time(),
            _ => self.carry(place, false),
        }
        self.poll_client(place);
        self.settle();
    }

    /// Passes the broker's events to the model, and its output to the links.
    fn settle(&mut self) {
        // Some of the work, or all of it.
        let mut polls =
            if self.plan.work.is_some() && self.random.percent(80) { self.random.index(6) } else { 1_000_000 };
        while self.broker.deadline().is_some_and(|at| at <= self.now) && polls > 0 {
            self.broker.poll(self.now);
            polls -= 1;
            self.note();
            assert!(polls > 0 || self.plan.work.is_some(), "what is due comes to an end");
        }
        while let Some(id) = self.broker.next_ready() {
            self.write(id);
        }
        self.note();
        if self.broker.deadline().is_none_or(|at| at > self.now) {
            self.model.rest();
        }
        self.broker.assert_consistent();
    }

    fn note(&mut self) {
        for event in std::mem::take(&mut self.broker.policy_mut().events) {
            match event {
                Event::Message { topic, payload, qos, retain } => self.model.route(&topic, &payload, qos, retain),
                Event::Subscription { client, filter, qos } => self.model.subscribe(client, &filter, qos),
                Event::SessionEnded { client } => self.model.session_ended(client),
                Event::Resubscription { .. } => {}
                Event::Dropped { is_by_limit } => {
                    self.model.dropped += 1;
                    self.model.dropped_by_limit += u64::from(is_by_limit);
                }
            }
        }
    }

    /// Writes output to the link, sometimes only a part.
    fn write(&mut self, id: ConnectionId) {
        let link = self.clients.iter_mut().filter_map(|client| client.link.as_mut()).find(|link| link.id == id);
        let Some(link) = link else { return };
        loop {
            let transmit = self.broker.transmit(id);
            let count = transmit.chunk().len().min(1 + self.random.index(200));
            if count == 0 {
                break;
            }
            link.down.extend_from_slice(&transmit.copy_to_bytes(count));
        }
    }

    fn poll_client(&mut self, place: usize) {
        if self.clients[place].poll(place, self.now, &mut self.model) {
            self.cut(place);
        }
    }

    /// Moves some or all bytes in both directions.
    fn carry(&mut self, place: usize, all: bool) {
        let Self { random, broker, clients, now, .. } = self;
        let Some(link) = &mut clients[place].link else { return };
        let mut some = |len: usize| if all || random.percent(50) { len } else { random.index(len + 1) };
        let count = some(link.up.len());
        link.at_broker.extend(link.up.drain(..count));
        let mut input = &link.at_broker[..];
        broker.receive(*now, link.id, &mut input);
        let taken = link.at_broker.len() - input.len();
        link.at_broker.drain(..taken);
        let count = some(link.down.len());
        link.at_client.extend(link.down.drain(..count));
        let id = link.id;
        self.note();
        self.write(id);
        if self.broker.is_over(id) && self.clients[place].link.as_ref().is_some_and(|link| link.down.is_empty()) {
            self.poll_client(place);
            self.cut(place);
        }
    }

    /// The link is cut. The broker may not notice for a while.
    fn cut(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let Some(link) = client.link.take() else { return };
        client.session.closed(self.now);
        let mut rest = link.at_broker;
        rest.extend_from_slice(&link.up);
        if self.random.percent(50) {
            self.broker.closed(self.now, link.id);
        } else {
            self.ghosts.push((link.id, rest));
        }
        self.note();
    }

    /// Bytes of a lost connection may still arrive before the broker notices the loss.
    fn end_ghost(&mut self) {
        if self.ghosts.is_empty() {
            return;
        }
        let (id, rest) = self.ghosts.swap_remove(self.random.index(self.ghosts.len()));
        let count = self.random.index(rest.len() + 1);
        self.broker.receive(self.now, id, &mut &rest[..count]);
        self.broker.closed(self.now, id);
        self.note();
    }

    fn open(&mut self, place: usize) {
        let client = &mut self.clients[place];
        if client.link.is_none() && client.session.open(self.now).is_ok() {
            let id = self.broker.open(self.now, Origin::new(place as u128 / 2));
            let (up, down, at_broker, at_client) = Default::default();
            client.link = Some(Link { id, up, down, at_broker, at_client });
        }
    }

    fn publish(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let topic = TOPICS[self.random.index(TOPICS.len())];
        let payload = format!("{place}:{}", client.count);
        let message = Message::new(topic, payload.as_bytes()).qos(QOS[self.random.index(3)]);
        let message = message.retain(topic.starts_with("r/"));
        if client.session.publish(self.now, &message).is_ok() {
            client.count += 1;
        }
    }

    fn subscribe(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let filter = FILTERS[self.random.index(FILTERS.len())];
        let qos = if filter.starts_with(GROUP) { QoS::ExactlyOnce } else { QOS[self.random.index(3)] };
        if !client.is_asking(filter) {
            let subscription = Subscription::new(filter, qos).unwrap();
            if let Ok(token) = client.session.subscribe(self.now, &[subscription]) {
                client.requests.insert(token, Request::Subscribe(filter.into()));
                // Until SUBACK arrives either set of subscription options may apply.
                self.model.unsubscribing(place, filter);
            }
        }
    }

    fn unsubscribe(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let filter = FILTERS[self.random.index(FILTERS.len())];
        if !client.is_asking(filter)
            && let Ok(token) = client.session.unsubscribe(self.now, &[TopicFilter::new(filter).unwrap()])
        {
            client.requests.insert(token, Request::Unsubscribe(filter.into()));
            self.model.unsubscribing(place, filter);
        }
    }

    /// Answers a pending decision, unless its connection has ended.
    fn answer(&mut self) {
        let questions = &mut self.broker.policy_mut().questions;
        if questions.is_empty() {
            return;
        }
        let (id, event) = questions.swap_remove(0);
        let answer = match &event {
            Event::Subscription { qos, .. } | Event::Resubscription { qos } => Answer::Subscribe((*qos).into()),
            _ => Answer::Publish(PubAckReasonCode::Success),
        };
        // The event of the decision comes before its consequences.
        let before = self.broker.policy().events.len();
        if self.broker.answer(self.now, id, answer).is_ok() {
            self.broker.policy_mut().events.insert(before, event);
        }
        self.note();
        self.write(id.connection());
    }

    fn pass_time(&mut self) {
        let longest = if self.plan.jumps && self.random.percent(10) { 100_000_000 } else { 500_000 };
        self.now = Instant::from_micros(self.now.as_micros() + self.random.below(longest));
        for place in 0..self.clients.len() {
            self.poll_client(place);
        }
    }

    /// Restores all links and gives every client all the time it needs.
    pub(crate) fn heal(&mut self) {
        while !self.ghosts.is_empty() {
            self.end_ghost();
        }
        let mut quiet = 0;
        for _ in 0..20_000 {
            let before = (self.model.delivered(), self.model.routed(), self.pending());
            while self.broker.deadline().is_some_and(|at| at <= self.now) {
                self.settle();
            }
            for place in 0..self.clients.len() {
                self.open(place);
                self.poll_client(place);
                self.carry(place, true);
                self.poll_client(place);
                self.answer();
                self.settle();
            }
            let after = (self.model.delivered(), self.model.routed(), self.pending());
            quiet = if before == after && after.2 == (0, 0) { quiet + 1 } else { 0 };
            if quiet == 3 {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.pending());
    }

    /// The number of bytes on their way, and of messages waiting in the clients.
    fn pending(&self) -> (usize, usize) {
        let links = self.clients.iter().filter_map(|client| client.link.as_ref());
        let bytes = links.map(|link| link.up.len() + link.down.len() + link.at_broker.len() + link.at_client.len());
        let waiting =
            self.clients.iter().map(|it| it.session.queued() + it.session.operations_in_flight() + it.requests.len());
        (bytes.sum(), waiting.sum())
    }
}
