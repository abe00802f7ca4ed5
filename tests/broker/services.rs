//! A client waits for a bounded amount of work of others between two of its turns, whatever number of connections another
//! principal has. The work is counted in units, not timed.

use bytes::Buf;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin, Secret};
use mqtt_sansio::codec::{
    Connect, ConnectProperties, Delivery, Packet, PacketId, Publish, Subscribe, Subscription, Will,
};
use mqtt_sansio::{Instant, Message, QoS, TopicName, Version};

/// The budget of a call.
const WORK: u64 = 200;

/// Maximum units between two services of a client that says little: the work of one call of `poll`, what the other principal
/// may do at once, and what it is granted.
const BOUND: u64 = 3 * WORK;

/// What the connections of one principal do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// Messages that nobody has subscribed to.
    Publish,
    /// Messages to each other.
    FanOut,
    /// Messages wait in all sessions, because there was no room in the output. All begin to read at once.
    Backlog,
    Ping,
    /// SUBSCRIBE with many filters, over many retained messages.
    Subscribe,
    /// One connection is closed after the other, sessions end, and wills go to many.
    Ends,
}

struct Hall {
    broker: Broker<AllowAll>,
    now: Instant,
    victim: ConnectionId,
    attackers: Vec<ConnectionId>,
    attack: Attack,
    /// What each attacker sends, again and again.
    input: Vec<u8>,
    /// How many clients there were.
    clients: usize,
    /// The units when the victim was served last.
    served: u64,
    /// The most units between two services.
    longest: u64,
}

fn encoded(packets: &[Packet<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet in packets {
        packet.encode(Version::V5, &mut bytes).unwrap();
    }
    bytes
}

fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
    Publish { topic: TopicName::new(topic).unwrap(), payload, delivery: Delivery::AtMostOnce, ..Publish::default() }
}

fn subscribe<'a>(subscriptions: &'a [Subscription<'a>]) -> Packet<'a> {
    Subscribe { id: PacketId::MIN, subscriptions: subscriptions.into(), properties: Default::default() }.into()
}

impl Hall {
    fn new(attack: Attack, count: usize) -> Self {
        let mut config = BrokerConfig::new(Secret::new([7; 16]));
        config.work_per_call = u32::try_from(WORK).unwrap().try_into().unwrap();
        config.server.store_qos_0 = attack == Attack::Backlog;
        config.server.transmit_limit = 2000.try_into().unwrap();
        let mut broker = Broker::new(config, AllowAll);
        let now = Instant::from_micros(1_000_000);
        let victim = broker.open(now, Origin::new(1));
        let filters: Vec<_> = (0..200).map(|number| format!("+/+/{number}/#")).collect();
        let subscriptions: Vec<_> = filters.iter().map(|it| Subscription::new(it, QoS::AtMostOnce).unwrap()).collect();
        let input = match attack {
            Attack::Publish => encoded(&[message("nobody", b"x").into()]).repeat(300),
            Attack::FanOut => encoded(&[message("a", b"x").into()]).repeat(20),
            Attack::Ping => encoded(&[Packet::PingReq]).repeat(2000),
            Attack::Subscribe => encoded(&[subscribe(&subscriptions)]),
            Attack::Backlog | Attack::Ends => Vec::new(),
        };
        let mut hall =
            Self { broker, now, victim, attackers: Vec::new(), attack, input, clients: 0, served: 0, longest: 0 };
        let own = [Subscription::new("victim", QoS::AtMostOnce).unwrap()];
        hall.settle(victim, &[Hall::connect("victim", None), subscribe(&own)]);
        if attack == Attack::Subscribe {
            for number in 0..2000 {
                hall.settle(victim, &[Publish { retain: true, ..message(&format!("r/{number}"), b"x") }.into()]);
            }
        }
        hall.fill(count);
        hall
    }

    fn connect<'a>(client_id: &'a str, will: Option<Will<'a>>) -> Packet<'a> {
        let client_identifier = client_id.try_into().unwrap();
        let properties = ConnectProperties { session_expiry_interval: Some(0), ..ConnectProperties::default() };
        Connect { version: Version::V5, client_identifier, will, properties, ..Connect::default() }.into()
    }

    /// Lets the attackers have so many connections.
    fn fill(&mut self, count: usize) {
        while self.attackers.len() < count {
            let id = self.broker.open(self.now, Origin::new(2));
            let client_id = format!("attacker-{}", self.clients);
            self.clients += 1;
            let will = Will { topic: TopicName::new("a").unwrap(), payload: b"will", ..Will::default() };
            let more: Vec<_> = (0..20).map(|number| format!("$share/g{number}/own/{client_id}")).collect();
            let mut subscriptions = Vec::new();
            match self.attack {
                Attack::FanOut | Attack::Backlog => subscriptions.push("a"),
                Attack::Ends => {
                    subscriptions.push("a");
                    subscriptions.extend(more.iter().map(String::as_str));
                }
                Attack::Publish | Attack::Ping | Attack::Subscribe => subscriptions.push("b"),
            }
            let subscriptions: Vec<_> =
                subscriptions.into_iter().map(|it| Subscription::new(it, QoS::AtMostOnce).unwrap()).collect();
            let will = (self.attack == Attack::Ends).then_some(will);
            self.settle(id, &[Self::connect(&client_id, will), subscribe(&subscriptions)]);
            self.attackers.push(id);
        }
        if self.attack == Attack::Backlog {
            for _ in 0..30 {
                self.broker.publish(self.now, &Message::new("a", &[b'x'; 500][..])).unwrap();
                while self.poll() {}
            }
        }
        while self.poll() {}
        while self.broker.next_ready().is_some() {}
        self.served = self.broker.work_done();
    }

    /// Gives packets, and lets all work be done.
    fn settle(&mut self, id: ConnectionId, packets: &[Packet<'_>]) {
        let bytes = encoded(packets);
        let mut input = &bytes[..];
        loop {
            self.broker.receive(self.now, id, &mut input);
            self.read(id);
            if !self.poll() && input.is_empty() {
                return;
            }
        }
    }

    fn poll(&mut self) -> bool {
        let is_due = self.broker.deadline().is_some_and(|at| at <= self.now);
        if is_due {
            self.broker.poll(self.now);
        }
        is_due
    }

    /// Reads all that a connection has; returns whether that was something.
    fn read(&mut self, id: ConnectionId) -> bool {
        let mut is_any = false;
        loop {
            let transmit = self.broker.transmit(id);
            if !transmit.has_remaining() {
                return is_any;
            }
            is_any = true;
            transmit.advance(transmit.remaining());
        }
    }

    /// What a driver does between two calls of `poll`. It serves the victim last.
    fn turn(&mut self) {
        self.now = Instant::from_micros(self.now.as_micros() + 100);
        self.poll();
        let ready: Vec<_> = core::iter::from_fn(|| self.broker.next_ready()).collect();
        let victim = self.victim;
        for &id in ready.iter().filter(|&&id| id != victim) {
            self.read(id);
            let mut input = &self.input[..];
            self.broker.receive(self.now, id, &mut input);
        }
        for number in 0..self.attackers.len() {
            let id = self.attackers[number];
            if self.attack == Attack::Backlog {
                self.read(id);
            }
            if self.broker.takes_input(id) {
                let mut input = &self.input[..];
                self.broker.receive(self.now, id, &mut input);
            }
        }
        if self.attack == Attack::Ends {
            // A driver notices a limited number of closed transports between two calls of `poll`.
            for id in self.attackers.drain(..self.attackers.len().min(32)) {
                self.broker.closed(self.now, id);
            }
        }
        let bytes = encoded(&[message("victim", b"x").into()]);
        let mut input = &bytes[..];
        self.broker.receive(self.now, victim, &mut input);
        assert!(input.is_empty() && self.read(victim), "the victim is served at once");
        let done = self.broker.work_done();
        self.longest = self.longest.max(done - self.served);
        self.served = done;
    }
}

#[test]
fn a_client_waits_for_no_more_work_of_a_thousand_connections_than_of_one() {
    use Attack::*;
    let mut too_much = Vec::new();
    for attack in [Publish, FanOut, Backlog, Ping, Subscribe, Ends] {
        let mut units = Vec::new();
        for count in [1, 10, 100, 1000] {
            let mut hall = Hall::new(attack, count);
            for turn in 0..100 {
                hall.turn();
                if turn % 20 == 0 && hall.attackers.is_empty() {
                    hall.fill(count);
                }
            }
            hall.broker.assert_consistent();
            units.push(hall.longest);
        }
        println!("{attack:?}: {units:?}");
        if units.iter().any(|&units| units > BOUND) {
            too_much.push((attack, units));
        }
    }
    assert!(too_much.is_empty(), "more than {BOUND} units between two services: {too_much:?}");
}
