//! Sessions with thousands of subscriptions that are resumed and lose their connections: a call does a bounded amount of that.

use bytes::Buf;
use mqtt_sansio::broker::{
    Answer, Broker, BrokerConfig, Client, ConnectionId, Decision, DecisionId, Notice, Origin, Policy, Secret,
};
use mqtt_sansio::codec::{
    Connect, ConnectProperties, Decoded, Limits, Packet, PacketId, SubAckReasonCode, Subscribe, Subscription, decode,
};
use mqtt_sansio::{Instant, Message, QoS, Version};

const NOW: Instant = Instant::from_micros(1_000_000);
const WORK: u32 = 20;
/// What an item may be more than the budget: the packet itself, with a few parts.
const ITEM: u64 = 60;
/// The number of subscriptions of a session.
const MANY: usize = 150;

/// Decides about stored subscriptions: those to `later/…` later, those to `no/…` are not granted any more.
#[derive(Default)]
struct Rights {
    asked: usize,
    waiting: Vec<DecisionId>,
    connected: Vec<ConnectionId>,
    refused: usize,
}

impl Policy for Rights {
    fn resubscribe(&mut self, id: DecisionId, _: Client<'_>, it: &Subscription<'_>) -> Decision<SubAckReasonCode> {
        self.asked += 1;
        match it.filter.as_str().split('/').next() {
            Some("no") => Decision::Now(SubAckReasonCode::NotAuthorized),
            Some("later") => {
                self.waiting.push(id);
                Decision::Later
            }
            _ => Decision::Now(SubAckReasonCode::GrantedQoS2),
        }
    }

    fn notice(&mut self, notice: Notice<'_>) {
        match notice {
            Notice::Connected { client, .. } => self.connected.push(client.connection),
            Notice::SubscribeRefused { .. } => self.refused += 1,
            _ => {}
        }
    }
}

struct Stage {
    broker: Broker<Rights>,
    /// The most units of a call.
    longest: u64,
    /// Whether the broker is checked after each call.
    is_checked: bool,
}

impl Stage {
    fn new(work_per_call: u32) -> Self {
        let config = BrokerConfig {
            work_per_call: work_per_call.try_into().unwrap(),
            ..BrokerConfig::new(Secret::new([7; 16]))
        };
        Self { broker: Broker::new(config, Rights::default()), longest: 0, is_checked: false }
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Broker<Rights>) -> T) -> T {
        let before = self.broker.work_done();
        let done = call(&mut self.broker);
        self.longest = self.longest.max(self.broker.work_done() - before);
        if self.is_checked {
            self.broker.assert_consistent();
        }
        done
    }

    /// Does one budget of what is left; returns whether there was something.
    fn poll(&mut self) -> bool {
        let is_due = self.broker.deadline().is_some_and(|at| at <= NOW);
        if is_due {
            self.call(|broker| broker.poll(NOW));
        }
        is_due
    }

    fn finish(&mut self) {
        while self.poll() {}
    }

    fn poll_times(&mut self, times: u32) {
        for _ in 0..times {
            self.poll();
        }
    }

    /// Gives a packet that is taken at once, or when it is the turn of its connection.
    fn give<'p>(&mut self, id: ConnectionId, packet: impl Into<Packet<'p>>) {
        let mut bytes = Vec::new();
        packet.into().encode(Version::V5, &mut bytes).unwrap();
        let mut input = &bytes[..];
        loop {
            self.call(|broker| broker.receive(NOW, id, &mut input));
            if input.is_empty() {
                return;
            }
            assert!(self.poll(), "it is the turn of others");
        }
    }

    /// Begins to connect.
    fn come(&mut self, client_id: &str) -> ConnectionId {
        let id = self.broker.open(NOW, Origin::UNKNOWN);
        let properties = ConnectProperties { session_expiry_interval: Some(u32::MAX), ..ConnectProperties::default() };
        let client_identifier = client_id.try_into().unwrap();
        let version = Version::V5;
        self.give(id, Connect { version, client_identifier, clean_start: false, properties, ..Connect::default() });
        id
    }

    fn connect(&mut self, client_id: &str) -> ConnectionId {
        let id = self.come(client_id);
        self.finish();
        assert!(self.connack(id).is_some());
        id
    }

    fn subscribe(&mut self, id: ConnectionId, filters: impl Iterator<Item = String>) {
        for filter in filters {
            let subscriptions = [Subscription::new(&filter, QoS::ExactlyOnce).unwrap()];
            let properties = Default::default();
            self.give(id, Subscribe { id: PacketId::MIN, subscriptions: (&subscriptions).into(), properties });
            self.finish();
            self.received(id);
        }
    }

    fn received(&mut self, id: ConnectionId) -> Vec<u8> {
        let mut received = Vec::new();
        loop {
            let transmit = self.broker.transmit(id);
            if !transmit.has_remaining() {
                return received;
            }
            received.extend(transmit.copy_to_bytes(transmit.remaining()));
        }
    }

    /// The topics of the messages that a client has received.
    fn topics(&mut self, id: ConnectionId) -> Vec<String> {
        let (bytes, mut topics) = (self.received(id), Vec::new());
        let mut rest = &bytes[..];
        while let Ok(Decoded::Packet { packet, size }) = decode(rest, Version::V5, Limits::DEFAULT) {
            rest = &rest[size..];
            if let Packet::Publish(publish) = packet {
                topics.push(publish.topic.as_str().to_owned());
            }
        }
        topics
    }

    /// Whether CONNACK has come, and with Session Present.
    fn connack(&mut self, id: ConnectionId) -> Option<bool> {
        let bytes = self.received(id);
        match decode(&bytes, Version::V5, Limits::DEFAULT) {
            Ok(Decoded::Packet { packet: Packet::ConnAck(connack), .. }) => Some(connack.session_present),
            _ => None,
        }
    }

    /// A client with many subscriptions, and its connection.
    fn with_subscriptions(work_per_call: u32, kind: &str) -> (Self, ConnectionId) {
        let mut stage = Self::new(work_per_call);
        let id = stage.connect("c");
        stage.subscribe(id, (0..MANY).map(|number| format!("{kind}/{number}")));
        (stage.longest, stage.is_checked) = (0, true);
        (stage, id)
    }

    fn publish(&mut self, topic: &str) {
        self.call(|broker| broker.publish(NOW, &Message::new(topic, ""))).unwrap();
        self.finish();
    }
}

/// CONNACK comes when all subscriptions are done, and the connection takes no input before.
#[test]
fn a_session_with_many_subscriptions_is_resumed_in_budgets() {
    for kind in ["yes", "no", "later"] {
        let (mut stage, old) = Stage::with_subscriptions(WORK, kind);
        let back = stage.come("c");
        assert!(!stage.broker.takes_input(back));
        assert!(!stage.broker.is_over(old), "nothing is taken over before the policy was asked about all");
        assert!(!stage.broker.takes_input(old), "its subscriptions do not change meanwhile");
        let refused = if kind == "no" { MANY } else { 0 };
        let (mut calls, mut connack) = (0, None);
        while stage.poll() {
            connack = connack.or_else(|| stage.connack(back));
            let subscriptions = stage.broker.status().subscriptions as usize;
            assert!(connack.is_none() || subscriptions == MANY - refused, "CONNACK comes when all are done");
            assert!(connack.is_some() || !stage.broker.takes_input(back));
            calls += 1;
        }
        assert!(calls > MANY / WORK as usize, "it takes {calls} calls");
        if kind == "later" {
            assert!(connack.is_none() && stage.broker.takes_input(old));
            for id in stage.broker.policy_mut().waiting.split_off(0) {
                let answer = Answer::Subscribe(SubAckReasonCode::GrantedQoS1);
                stage.call(|broker| broker.answer(NOW, id, answer)).unwrap();
            }
            stage.finish();
        }
        assert!(stage.longest <= u64::from(WORK) + ITEM, "{} units in one call", stage.longest);
        assert_eq!(connack.or_else(|| stage.connack(back)), Some(true), "{kind}");
        assert!(stage.broker.is_over(old) && stage.broker.takes_input(back));
        let (rights, status) = (stage.broker.policy(), stage.broker.status());
        assert_eq!(rights.asked, MANY, "about each subscription once");
        assert_eq!((rights.refused, status.subscriptions as usize), (refused, MANY - refused));
        stage.publish(&format!("{kind}/1"));
        assert_eq!(stage.topics(back).len(), usize::from(kind != "no"));
    }
}

/// `next_ready` tells that a client was accepted by a job.
#[test]
fn a_client_that_was_accepted_later_is_ready() {
    let (mut stage, old) = Stage::with_subscriptions(WORK, "yes");
    stage.call(|broker| broker.closed(NOW, old));
    while stage.broker.next_ready().is_some() {}
    let back = stage.come("c");
    stage.finish();
    assert_eq!(stage.broker.next_ready(), Some(back));
    assert_eq!(stage.connack(back), Some(true));
}

/// Whatever becomes of the client meanwhile, the session is as it was.
#[test]
fn a_client_that_gives_up_changes_nothing() {
    for polls in 0..30 {
        let (mut stage, old) = Stage::with_subscriptions(WORK, "yes");
        let back = stage.come("c");
        stage.poll_times(polls);
        let is_taken_over = stage.broker.is_over(old);
        stage.call(|broker| broker.closed(NOW, back));
        stage.finish();
        assert_eq!(stage.broker.status().subscriptions as usize, MANY);
        if !is_taken_over {
            assert!(stage.broker.takes_input(old), "its input is taken again");
            stage.publish("yes/7");
            assert_eq!(stage.topics(old), ["yes/7"]);
        }
        let again = stage.connect("c");
        stage.publish("yes/8");
        assert_eq!(stage.topics(again), ["yes/8"]);
    }
}

/// A session that ends meanwhile is not resumed: the client gets a new one.
#[test]
fn a_session_may_end_while_it_is_resumed() {
    for polls in 0..30 {
        let (mut stage, _) = Stage::with_subscriptions(WORK, "yes");
        let back = stage.come("c");
        stage.poll_times(polls);
        let is_accepted = stage.connack(back).is_some();
        assert!(stage.call(|broker| broker.end_session(NOW, "c")));
        stage.finish();
        if !is_accepted {
            assert_eq!(stage.connack(back), Some(false), "after {polls} polls");
            assert!(stage.broker.takes_input(back));
        }
        let status = stage.broker.status();
        assert_eq!((status.subscriptions, status.sessions), (0, u32::from(!is_accepted)));
    }
}

/// Two clients with the same identifier: the newer one has the session in the end, the older one is taken over.
/// [5.0: MQTT-3.1.4-3]
#[test]
fn two_clients_resume_one_session() {
    for polls in 0..40 {
        let (mut stage, _) = Stage::with_subscriptions(WORK, "yes");
        let first = stage.come("c");
        stage.poll_times(polls);
        let second = stage.come("c");
        stage.finish();
        assert!(stage.broker.is_over(first));
        assert_eq!(stage.connack(second), Some(true));
        assert_eq!(stage.broker.policy().connected[1..], [first, second]);
        assert_eq!(stage.broker.status().subscriptions as usize, MANY);
    }
}

/// The time that the broker takes does not count against the client.
#[test]
fn no_timeout_runs_while_a_session_is_resumed() {
    let (mut stage, old) = Stage::with_subscriptions(1, "yes");
    stage.call(|broker| broker.closed(NOW, old));
    let back = stage.come("c");
    let mut now = NOW;
    while stage.broker.connection("c").is_none() {
        now = Instant::from_micros(now.as_micros() + 1_000_000);
        stage.call(|broker| broker.poll(now));
        assert!(!stage.broker.is_over(back));
        assert!(now.as_micros() < 10_000 * NOW.as_micros(), "it comes to an end");
    }
    assert_eq!(stage.connack(back), Some(true));
}

/// Two clients that share many subscriptions, the first of which loses its connection and comes back.
#[test]
fn a_member_of_many_groups_comes_and_goes_in_budgets() {
    let mut stage = Stage::new(WORK);
    let [ann, bob] = ["ann", "bob"].map(|name| {
        let id = stage.connect(name);
        stage.subscribe(id, (0..MANY).map(|number| format!("$share/{number}/t/{number}")));
        id
    });
    (stage.longest, stage.is_checked) = (0, true);
    stage.call(|broker| broker.closed(NOW, ann));
    let (mut calls, mut expected) = (0, Vec::new());
    loop {
        // Wherever the job is: a message is for the member that is connected.
        let topic = format!("t/{}", (calls * 37) % MANY);
        let message = Message::new(&topic, "").qos(QoS::AtLeastOnce);
        stage.call(|broker| broker.publish(NOW, &message)).unwrap();
        expected.push(topic);
        if !stage.poll() {
            break;
        }
        calls += 1;
    }
    assert!(calls > 3, "it takes {calls} calls");
    let mut received = stage.topics(bob);
    received.sort();
    expected.sort();
    assert_eq!(received, expected);
    // It is not connected everywhere before it has come and gone again.
    let back = stage.come("ann");
    while stage.broker.connection("ann").is_none() {
        assert!(stage.poll());
    }
    stage.poll();
    stage.call(|broker| broker.closed(NOW, back));
    stage.finish();
    let back = stage.come("ann");
    let mut calls = 0;
    while stage.poll() {
        calls += 1;
    }
    assert!(calls > 3, "it takes {calls} calls");
    assert!(stage.longest <= u64::from(WORK) + ITEM, "{} units in one call", stage.longest);
    stage.received(back);
    stage.call(|broker| broker.closed(NOW, bob));
    stage.finish();
    for number in 0..MANY {
        stage.publish(&format!("t/{number}"));
    }
    assert_eq!(stage.topics(back).len(), MANY, "it is found in each group");
    // Sessions end in all states.
    for polls in 0..15 {
        stage.call(|broker| broker.end_session(NOW, "ann"));
        stage.finish();
        let id = stage.connect("ann");
        stage.is_checked = false;
        stage.subscribe(id, (0..MANY).map(|number| format!("$share/{number}/t/{number}")));
        stage.is_checked = true;
        stage.call(|broker| broker.closed(NOW, id));
        stage.poll_times(polls);
    }
    stage.finish();
}
