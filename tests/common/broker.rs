//! A broker and scripted clients around it. Each client's packets go in as bytes, the bytes it receives are decoded,
//! and the test sets the time. The invariants that must always hold are checked after every step.

#![allow(dead_code)] // each test uses only some of these items

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Buf;
use mqtt_sansio::broker::{
    Admission, AllowAll, AuthStep, Broker, BrokerConfig, Client, ConnectionId, Decision, DecisionId, Ended, MountPoint,
    Notice, Origin, Policy, Secret, TakeOver,
};
use mqtt_sansio::codec::{
    ConnAckReasonCode, Connect, Delivery, Disconnect, DisconnectReasonCode, Packet, PubAck, PubAckReasonCode, PubComp,
    PubRec, PubRel, Publish, ReasonCode, SubAckReasonCode, Subscribe, SubscribeProperties, Subscription,
    SubscriptionIdentifier, Unsubscribe,
};
use mqtt_sansio::server::{Close, ServerConfig};
use mqtt_sansio::store::Pairs;
use mqtt_sansio::{Instant, Message, QoS, ReceivedMessage, TopicFilter, TopicName, Version};

use crate::server::{at, decode, delivery, encoded_all, filter, id, lasting, take, text};

/// The versions in which most rules are the same.
pub(crate) const BOTH: [Version; 2] = [Version::V311, Version::V5];

/// The index of a client in [`Net`].
pub(crate) type Peer = usize;

/// A broker and its clients.
pub(crate) struct Net {
    pub(crate) broker: Broker<Witness>,
    pub(crate) now: Instant,
    /// Where connections that are opened come from.
    pub(crate) origin: Origin,
    ends: Vec<End>,
    config: BrokerConfig,
    /// What a durable broker has stored.
    pub(crate) stored: Pairs,
    /// Whether the changes of a durable broker are stored at once.
    pub(crate) stores: bool,
}

/// The client's end of a connection.
struct End {
    id: ConnectionId,
    version: Version,
    /// Bytes the client has sent and the broker has not taken yet.
    unsent: Vec<u8>,
    /// Bytes the client has received and the test has not looked at yet.
    received: Vec<u8>,
    /// How many of the received bytes the client has already answered.
    answered: usize,
    /// Whether the client reads what the broker has to write.
    reads: bool,
    /// Whether the client acknowledges the messages it receives.
    acknowledges: bool,
    is_over: bool,
}

impl Net {
    /// A broker without sessions, subscriptions or retained messages.
    pub(crate) fn new(config: BrokerConfig) -> Self {
        let broker = Broker::new(config.clone(), Witness::default());
        let (stored, stores) = (Pairs::default(), true);
        Self { broker, now: at(0), origin: Origin::UNKNOWN, ends: Vec::new(), config, stored, stores }
    }

    /// A broker whose CONNACK has no properties.
    pub(crate) fn plain() -> Self {
        Self::new(config())
    }

    /// Opens a transport connection to the broker.
    pub(crate) fn open(&mut self, version: Version) -> Peer {
        let peer = self.open_unserved(version);
        self.flush();
        peer
    }

    /// As [`open`](Self::open), and nothing is read or written.
    pub(crate) fn open_unserved(&mut self, version: Version) -> Peer {
        let id = self.broker.open(self.now, self.origin);
        self.ends.push(End {
            id,
            version,
            unsent: Vec::new(),
            received: Vec::new(),
            answered: 0,
            reads: true,
            acknowledges: true,
            is_over: false,
        });
        self.ends.len() - 1
    }

    /// Connects a client. The broker's answer is left for the test to look at.
    #[track_caller]
    pub(crate) fn try_connect(&mut self, connect: &Connect<'_>) -> Peer {
        let peer = self.open(connect.version);
        self.send(peer, &[(*connect).into()]);
        peer
    }

    /// Connects a client and checks that it is accepted with a new session.
    #[track_caller]
    pub(crate) fn connect(&mut self, connect: &Connect<'_>) -> Peer {
        let peer = self.try_connect(connect);
        assert_eq!(self.received(peer), ["CONNACK 00"]);
        peer
    }

    /// Connects a client and checks that its session is resumed. Packets after CONNACK are left for the test to look
    /// at.
    #[track_caller]
    pub(crate) fn resume(&mut self, connect: &Connect<'_>) -> Peer {
        let peer = self.try_connect(connect);
        let received = &mut self.ends[peer].received;
        assert_eq!(received.get(..3), Some(&[0x20, if connect.version == Version::V5 { 3 } else { 2 }, 1][..]));
        let size = usize::from(received[1]) + 2;
        received.drain(..size);
        self.ends[peer].answered = self.ends[peer].answered.saturating_sub(size);
        peer
    }

    /// Connects a client with this client identifier and a session that does not expire.
    #[track_caller]
    pub(crate) fn client(&mut self, version: Version, name: &str) -> Peer {
        self.connect(&named(version, name))
    }

    /// The connection's identifier in the broker.
    pub(crate) fn id(&self, peer: Peer) -> ConnectionId {
        self.ends[peer].id
    }

    /// The client sends these packets.
    #[track_caller]
    pub(crate) fn send(&mut self, peer: Peer, packets: &[Packet<'_>]) {
        let bytes = encoded_all(packets, self.ends[peer].version);
        self.send_bytes(peer, &bytes);
    }

    /// The client sends these bytes.
    #[track_caller]
    pub(crate) fn send_bytes(&mut self, peer: Peer, bytes: &[u8]) {
        self.ends[peer].unsent.extend_from_slice(bytes);
        self.give(peer);
        self.flush();
    }

    /// The number of bytes the client has sent and the broker has not taken.
    pub(crate) fn unsent(&self, peer: Peer) -> usize {
        self.ends[peer].unsent.len()
    }

    /// Sets whether the client reads what the broker has to write.
    pub(crate) fn set_reading(&mut self, peer: Peer, reads: bool) {
        self.ends[peer].reads = reads;
        if reads {
            self.serve(peer);
            self.flush();
        }
    }

    /// Stops the client's acknowledgements.
    pub(crate) fn hold_acks(&mut self, peer: Peer) {
        self.ends[peer].acknowledges = false;
    }

    /// The client's transport connection is lost.
    #[track_caller]
    pub(crate) fn lose(&mut self, peer: Peer) {
        assert!(!self.ends[peer].is_over, "it is over already");
        self.ends[peer].is_over = true;
        self.broker.closed(self.now, self.ends[peer].id);
        self.flush();
    }

    /// Loses all connections.
    pub(crate) fn end_all_connections(&mut self) {
        for peer in 0..self.ends.len() {
            if !std::mem::replace(&mut self.ends[peer].is_over, true) {
                self.broker.closed(self.now, self.ends[peer].id);
            }
        }
        self.flush();
    }

    /// Loses all connections and ends all sessions that the notices since the last look tell of.
    pub(crate) fn end_all(&mut self) {
        for peer in 0..self.ends.len() {
            if !std::mem::replace(&mut self.ends[peer].is_over, true) {
                self.broker.closed(self.now, self.ends[peer].id);
            }
        }
        self.ends.clear();
        for notice in self.notices() {
            if let Some(client_id) = notice.strip_suffix(" connected") {
                self.broker.end_session(self.now, client_id);
            }
        }
        self.poll();
    }

    /// The client sends DISCONNECT with this reason code.
    #[track_caller]
    pub(crate) fn leave(&mut self, peer: Peer, reason_code: DisconnectReasonCode) {
        self.send(peer, &[Disconnect { reason_code, ..Disconnect::default() }.into()]);
        assert!(self.is_over(peer));
    }

    /// Whether the client's connection has been closed, by the broker or by the loss of its transport.
    pub(crate) fn is_over(&self, peer: Peer) -> bool {
        self.ends[peer].is_over
    }

    /// Subscribes and checks that the subscription is granted. SUBACK is removed from the received bytes, retained
    /// messages are not.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, peer: Peer, filter: &str, qos: QoS) {
        self.subscribe_on(peer, &Subscription::new(filter, qos).unwrap(), 0);
    }

    /// Like [`subscribe`](Self::subscribe), with all subscription options. The subscription identifier 0 means none.
    #[track_caller]
    pub(crate) fn subscribe_on(&mut self, peer: Peer, subscription: &Subscription<'_>, identifier: u32) {
        let properties = SubscribeProperties {
            subscription_identifier: SubscriptionIdentifier::new(identifier).ok(),
            ..SubscribeProperties::default()
        };
        assert!(
            self.ends[peer].received.is_empty(),
            "it has heard what nobody has looked at: {:?}",
            self.received(peer)
        );
        let subscriptions = [*subscription];
        self.send(peer, &[Subscribe { properties, ..Subscribe::new(id(1), &subscriptions) }.into()]);
        let end = &mut self.ends[peer];
        let size = if end.version == Version::V5 { 6 } else { 5 };
        assert_eq!(end.received.first(), Some(&0x90), "SUBACK comes first");
        assert_eq!(end.received.get(size - 1), Some(&subscription.qos.value()), "it is granted what it has asked for");
        end.received.drain(..size);
        end.answered = end.answered.saturating_sub(size);
    }

    /// Subscribes to several filters. SUBACK is left for the test to look at.
    #[track_caller]
    pub(crate) fn subscribe_all(&mut self, peer: Peer, subscriptions: &[(&str, QoS)]) {
        let subscriptions: Vec<_> =
            subscriptions.iter().map(|&(filter, qos)| Subscription::new(filter, qos).unwrap()).collect();
        self.send(peer, &[Subscribe::new(id(1), &subscriptions).into()]);
    }

    /// Unsubscribes from filters. UNSUBACK is left for the test to look at.
    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, peer: Peer, filters: &[&str]) {
        let filters: Vec<TopicFilter<'_>> = filters.iter().map(|text| filter(text)).collect();
        self.send(peer, &[Unsubscribe::new(id(1), &filters).into()]);
    }

    /// The client publishes a message. Its acknowledgements are removed from the received bytes.
    #[track_caller]
    pub(crate) fn publish(&mut self, peer: Peer, topic: &str, payload: &str, qos: QoS) {
        self.publish_packet(peer, &message(topic, payload, qos));
    }

    /// Like [`publish`](Self::publish), with RETAIN set.
    #[track_caller]
    pub(crate) fn retain(&mut self, peer: Peer, topic: &str, payload: &str, qos: QoS) {
        self.publish_packet(peer, &Publish { retain: true, ..message(topic, payload, qos) });
    }

    /// Like [`publish`](Self::publish), with every field of the packet.
    #[track_caller]
    pub(crate) fn publish_packet(&mut self, peer: Peer, publish: &Publish<'_>) {
        self.send(peer, &[(*publish).into()]);
        self.forget_acks(peer);
    }

    /// Publishes a message of the broker's own.
    #[track_caller]
    pub(crate) fn publish_own(&mut self, message: &Message<'_>) -> u64 {
        let before = self.broker.counters().messages_forwarded;
        self.broker.publish(self.now, message).unwrap();
        let count = self.broker.counters().messages_forwarded - before;
        self.flush();
        count
    }

    /// The packets the client has received since the last call, see [`line`].
    #[track_caller]
    pub(crate) fn received(&mut self, peer: Peer) -> Vec<String> {
        let bytes = self.received_bytes(peer);
        decode(&bytes, self.ends[peer].version).iter().map(line).collect()
    }

    /// The same as [`received`](Self::received), as bytes.
    pub(crate) fn received_bytes(&mut self, peer: Peer) -> Vec<u8> {
        self.ends[peer].answered = 0;
        std::mem::take(&mut self.ends[peer].received)
    }

    /// Checks the packets the client has received since the last call.
    #[track_caller]
    pub(crate) fn assert_received(&mut self, peer: Peer, expected: &[Packet<'_>]) {
        let bytes = self.received_bytes(peer);
        assert_eq!(decode(&bytes, self.ends[peer].version), expected);
    }

    /// The policy's notices since the last call.
    pub(crate) fn notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.broker.policy_mut().notices)
    }

    /// The embedding program disconnects a client.
    pub(crate) fn disconnect(&mut self, peer: Peer, reason_code: DisconnectReasonCode) {
        self.broker.disconnect(self.now, self.ends[peer].id, reason_code);
        self.flush();
    }

    /// Advances the time by this many seconds and polls the broker at each of its deadlines.
    #[track_caller]
    pub(crate) fn wait(&mut self, seconds: u64) {
        self.wait_until(self.now + Duration::from_secs(seconds));
    }

    #[track_caller]
    pub(crate) fn wait_until(&mut self, end: Instant) {
        while let Some(deadline) = self.broker.deadline().filter(|&deadline| deadline <= end) {
            self.now = self.now.max(deadline);
            self.poll();
        }
        self.now = self.now.max(end);
        self.poll();
    }

    /// Polls the broker once at the current time, without regard to deadlines that have passed before it.
    #[track_caller]
    pub(crate) fn poll(&mut self) {
        self.broker.poll(self.now);
        let mut polls = 0;
        while self.broker.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.broker.poll(self.now);
            polls += 1;
            // A deadline that has passed would make a driver poll again without sleeping.
            assert!(polls < 1_000_000, "due at {:?}, and it is {:?}", self.broker.deadline(), self.now);
        }
        self.flush();
    }

    /// Serves ready connections until none is ready, as a driver does.
    #[track_caller]
    pub(crate) fn flush(&mut self) {
        /// A broker that still has ready connections after this many turns makes no progress.
        const TURNS: u32 = 1_000_000;
        let mut turns = 0;
        loop {
            while let Some(id) = self.broker.next_ready() {
                turns += 1;
                assert!(turns < TURNS, "{id} is ready again and again");
                if let Some(peer) = self.ends.iter().position(|end| end.id == id && !end.is_over) {
                    self.serve(peer);
                }
            }
            // A client whose packet is still worked on, or whose input waits for its turn.
            let Self { broker, now, ends, .. } = self;
            let waits = |end: &End| !end.is_over && !broker.takes_input(end.id);
            // Other unfinished work, such as retained messages that are still to be sent, is due now, and not earlier.
            let is_due = if ends.iter().any(waits) {
                broker.deadline().is_some_and(|deadline| deadline <= *now)
            } else {
                broker.deadline() == Some(*now)
            };
            if !is_due {
                if self.stores && self.store() {
                    continue;
                }
                break;
            }
            broker.poll(*now);
            turns += 1;
            assert!(turns < TURNS, "unfinished work does not come to an end");
        }
        self.check();
    }

    /// Stores the changes of a durable broker; returns whether there were some.
    pub(crate) fn store(&mut self) -> bool {
        let mut has_stored = false;
        while let Some(batch) = self.broker.changes() {
            self.stored.apply(&batch);
            self.broker.committed(self.now, batch.number());
            has_stored = true;
        }
        has_stored
    }

    /// The broker that is described by what is stored.
    pub(crate) fn restored(&self, now: Instant) -> Broker<Witness> {
        Broker::restore(self.config.clone(), Witness::default(), now, self.stored.iter()).unwrap()
    }

    /// The broker crashes, and is restored; its clients lose their connections.
    pub(crate) fn crash(&mut self, now: Instant) {
        self.broker = self.restored(now);
        self.now = now;
        self.ends.clear();
    }

    /// Moves bytes both ways.
    #[track_caller]
    fn serve(&mut self, peer: Peer) {
        let Self { broker, now, ends, .. } = self;
        let end = &mut ends[peer];
        if end.reads {
            while broker.transmit(end.id).has_remaining() {
                end.received.extend(take(broker.transmit(end.id)));
            }
        }
        if broker.is_over(end.id) {
            end.is_over = true;
            end.unsent.clear();
            broker.closed(*now, end.id);
            return;
        }
        if end.acknowledges {
            let answers = answers(&end.received[end.answered..], end.version);
            end.answered = end.received.len();
            end.unsent.extend(answers);
        }
        self.give(peer);
    }

    fn give(&mut self, peer: Peer) {
        let Self { broker, now, ends, .. } = self;
        let end = &mut ends[peer];
        if !end.unsent.is_empty() && !end.is_over {
            let mut input = &end.unsent[..];
            broker.receive(*now, end.id, &mut input);
            let taken = end.unsent.len() - input.len();
            end.unsent.drain(..taken);
        }
    }

    /// Stops looking at what a client has received so far.
    pub(crate) fn forget(&mut self, peer: Peer) {
        self.received_bytes(peer);
    }

    /// Removes the acknowledgements of the client's own messages from the received bytes.
    fn forget_acks(&mut self, peer: Peer) {
        let end = &mut self.ends[peer];
        let mut kept = Vec::new();
        for packet in decode(&end.received, end.version) {
            if !matches!(packet, Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_)) {
                packet.encode(end.version, &mut kept).unwrap();
            }
        }
        end.received = kept;
        end.answered = end.received.len();
    }

    /// Checks the invariants that must always hold.
    #[track_caller]
    fn check(&mut self) {
        self.broker.assert_consistent();
        let mut connected = BTreeSet::new();
        for end in self.ends.iter().filter(|end| !end.is_over) {
            assert!(!self.broker.is_over(end.id), "nobody was told that it is over");
            if end.reads {
                assert!(
                    !self.broker.transmit(end.id).has_remaining(),
                    "nobody was told that there is something to write"
                );
            }
            if let Some(name) = self.broker.client_id(end.id) {
                assert_eq!(self.broker.connection(name), Some(end.id), "a client is found by its name");
                connected.insert(end.id);
            }
        }
        let (status, counters, witness) = (self.broker.status(), self.broker.counters(), self.broker.policy());
        assert_eq!(witness.connected, connected, "each client that has come and not gone is there");
        assert_eq!(status.clients as usize, connected.len());
        assert_eq!(witness.drops, counters.dropped.total(), "each drop is told, and counted");
    }
}

/// The secret of the brokers of the tests, so that each run is the same.
pub(crate) const SECRET: Secret = Secret::new([7; 16]);

/// A broker without limits that CONNACK would have to announce.
pub(crate) fn config() -> BrokerConfig {
    with_server(|_| {})
}

/// Like [`config`], with changes to the configuration of the server sessions.
pub(crate) fn with_server(change: impl FnOnce(&mut ServerConfig)) -> BrokerConfig {
    let mut server = crate::server::config();
    change(&mut server);
    BrokerConfig { server, ..BrokerConfig::new(SECRET) }
}

/// A CONNECT with this client identifier that resumes the session if there is one, has a session that does not expire,
/// and has no Keep Alive.
pub(crate) fn named(version: Version, name: &str) -> Connect<'_> {
    Connect { client_identifier: text(name), ..lasting(version) }
}

/// A message. Its packet identifier fits if it is the only one of its QoS in flight.
pub(crate) fn message<'a>(topic: &'a str, payload: &'a str, qos: QoS) -> Publish<'a> {
    let topic = TopicName::new(topic).unwrap();
    Publish { delivery: delivery(qos, 1), topic, payload: payload.as_bytes(), ..Publish::default() }
}

/// The acknowledgements a client sends for these packets.
fn answers(bytes: &[u8], version: Version) -> Vec<u8> {
    let answer = |packet: &Packet<'_>| -> Option<Packet<'static>> {
        match packet {
            Packet::Publish(publish) => match publish.delivery {
                Delivery::AtMostOnce => None,
                Delivery::AtLeastOnce { id, .. } => Some(PubAck::new(id).into()),
                Delivery::ExactlyOnce { id, .. } => Some(PubRec::new(id).into()),
            },
            Packet::PubRec(pubrec) if !pubrec.reason_code.is_error() => Some(PubRel::new(pubrec.id).into()),
            Packet::PubRel(pubrel) => Some(PubComp::new(pubrel.id).into()),
            _ => None,
        }
    };
    let answers: Vec<_> = decode(bytes, version).iter().filter_map(answer).collect();
    encoded_all(&answers, version)
}

/// A packet in one line: a message as `topic: payload`, followed by ` q1` or ` q2`, ` retained`, ` again` (DUP) and its
/// subscription identifiers where it has them; other packets by name, packet identifier and reason codes.
pub(crate) fn line(packet: &Packet<'_>) -> String {
    let code = |code: ReasonCode| format!("{:02x}", code.value());
    match packet {
        Packet::Publish(publish) => {
            let payload = String::from_utf8_lossy(publish.payload);
            let mut line = format!("{}: {payload}", publish.topic.as_str());
            if publish.delivery.qos() != QoS::AtMostOnce {
                line += &format!(" q{}", publish.delivery.qos());
            }
            line += if publish.retain { " retained" } else { "" };
            line += if publish.delivery.dup() { " again" } else { "" };
            let mut identifiers: Vec<_> =
                publish.properties.subscription_identifiers.iter().map(SubscriptionIdentifier::get).collect();
            identifiers.sort_unstable();
            line + &identifiers.iter().map(|identifier| format!(" #{identifier}")).collect::<String>()
        }
        Packet::ConnAck(connack) => {
            let present = if connack.session_present { " present" } else { "" };
            format!("CONNACK {}{present}", code(connack.reason_code.into()))
        }
        Packet::PubAck(ack) => format!("PUBACK {} {}", ack.id, code(ack.reason_code.into())),
        Packet::PubRec(ack) => format!("PUBREC {} {}", ack.id, code(ack.reason_code.into())),
        Packet::PubRel(ack) => format!("PUBREL {} {}", ack.id, code(ack.reason_code.into())),
        Packet::PubComp(ack) => format!("PUBCOMP {} {}", ack.id, code(ack.reason_code.into())),
        Packet::SubAck(ack) => {
            let codes = ack.reason_codes.iter().map(|it| format!(" {}", code(it.into())));
            format!("SUBACK {}{}", ack.id, codes.collect::<String>())
        }
        Packet::UnsubAck(ack) => {
            let codes = ack.reason_codes.iter().map(|it| format!(" {}", code(it.into())));
            format!("UNSUBACK {}{}", ack.id, codes.collect::<String>())
        }
        Packet::Disconnect(disconnect) => format!("DISCONNECT {}", code(disconnect.reason_code.into())),
        Packet::Auth(auth) => {
            let data = auth.properties.authentication_data.unwrap_or_default();
            format!("AUTH {} {}", code(auth.reason_code.into()), String::from_utf8_lossy(data))
        }
        Packet::PingResp => "PINGRESP".into(),
        other => panic!("a server does not send {other:?}"),
    }
}

/// A policy that records notices and decisions. It answers from a script and allows everything once the script is used
/// up.
#[derive(Default)]
pub(crate) struct Witness {
    /// The notices so far, see [`notice_line`].
    pub(crate) notices: Vec<String>,
    /// The decisions it was asked for.
    pub(crate) asked: Vec<(DecisionId, String)>,
    pub(crate) admissions: VecDeque<Decision<Admission>>,
    pub(crate) publications: VecDeque<Decision<PubAckReasonCode>>,
    pub(crate) subscriptions: VecDeque<Decision<SubAckReasonCode>>,
    /// The decisions on stored subscriptions, by filter. Other subscriptions continue, and the decision is not
    /// recorded.
    pub(crate) resubscriptions: BTreeMap<String, Decision<SubAckReasonCode>>,
    /// The decisions on sessions of other users. The policy's default holds once they are used up.
    pub(crate) take_overs: VecDeque<Decision<ConnAckReasonCode>>,
    /// The mount points of clients, by client identifier.
    pub(crate) mounts: BTreeMap<String, String>,
    /// The decisions on wills. Others are published.
    pub(crate) wills: VecDeque<PubAckReasonCode>,
    /// No Local and Retain As Published of the subscriptions that it decided on.
    pub(crate) options: Vec<(bool, bool)>,
    connected: BTreeSet<ConnectionId>,
    /// Connections whose end was reported before they were accepted.
    refused: BTreeSet<ConnectionId>,
    drops: u64,
}

impl Policy for Witness {
    fn connect(&mut self, id: DecisionId, connect: &Connect<'_>) -> Decision<Admission> {
        self.asked.push((id, format!("connect {}", connect.client_identifier)));
        self.admissions.pop_front().unwrap_or(Decision::Now(Admission::accept()))
    }

    fn authenticate(&mut self, id: DecisionId, step: &AuthStep<'_>) -> Decision<Admission> {
        let AuthStep { client_id, method, data, is_reauthentication, .. } = *step;
        let again = if is_reauthentication { " again" } else { "" };
        let data = String::from_utf8_lossy(data);
        self.asked.push((id, format!("authenticate{again} {client_id} {method} {data}")));
        self.admissions.pop_front().unwrap_or(Decision::Now(Admission::accept()))
    }

    fn publish(
        &mut self,
        id: DecisionId,
        client: Client<'_>,
        message: &ReceivedMessage<'_>,
    ) -> Decision<PubAckReasonCode> {
        self.asked.push((id, format!("publish {} {}", client.id, message.topic.as_str())));
        self.publications.pop_front().unwrap_or(Decision::Now(PubAckReasonCode::Success))
    }

    fn subscribe(
        &mut self,
        id: DecisionId,
        client: Client<'_>,
        subscription: &Subscription<'_>,
    ) -> Decision<SubAckReasonCode> {
        self.options.push((subscription.no_local, subscription.retain_as_published));
        self.asked.push((id, format!("subscribe {} {}", client.id, subscription.filter.as_str())));
        self.subscriptions.pop_front().unwrap_or(Decision::Now(subscription.qos.into()))
    }

    fn take_over(&mut self, id: DecisionId, take_over: &TakeOver<'_>) -> Decision<ConnAckReasonCode> {
        let TakeOver { client, owner, clean_start, is_connected, .. } = *take_over;
        assert_eq!(client.connection, id.connection());
        let user = |name: Option<&str>| name.map_or_else(|| "nobody".to_owned(), str::to_owned);
        let mut line = format!("take over {} of {} by {}", client.id, user(owner), user(client.user_name));
        line += if clean_start { ", clean" } else { "" };
        line += if is_connected { ", connected" } else { "" };
        self.asked.push((id, line));
        self.take_overs.pop_front().unwrap_or_else(|| AllowAll.take_over(id, take_over))
    }

    fn resubscribe(
        &mut self,
        id: DecisionId,
        client: Client<'_>,
        subscription: &Subscription<'_>,
    ) -> Decision<SubAckReasonCode> {
        assert_eq!(client.connection, id.connection());
        let Some(decision) = self.resubscriptions.get(subscription.filter.as_str()).cloned() else {
            return Decision::Now(subscription.qos.into());
        };
        let Subscription { filter, qos, .. } = subscription;
        self.asked.push((id, format!("resubscribe {} {} {qos}", client.id, filter.as_str())));
        decision
    }

    fn mount_point(&mut self, client: Client<'_>) -> Option<MountPoint> {
        self.mounts.get(client.id).map(|topic| MountPoint::new(topic).unwrap())
    }

    fn will(&mut self, client_id: &str, will: &mqtt_sansio::Will) -> PubAckReasonCode {
        let Some(reason_code) = self.wills.pop_front() else { return PubAckReasonCode::Success };
        self.notices.push(format!("{client_id} will: {}", will.topic));
        reason_code
    }

    fn notice(&mut self, notice: Notice<'_>) {
        match &notice {
            Notice::Connected { client, .. } => {
                assert!(self.connected.insert(client.connection), "a connection is accepted once");
            }
            Notice::Disconnected { client, .. } => {
                assert!(self.connected.remove(&client.connection), "each end has its beginning");
            }
            Notice::Refused { connection, .. } => {
                assert!(!self.connected.contains(connection), "it is refused or accepted, not both");
                assert!(self.refused.insert(*connection), "a connection is refused once");
            }
            Notice::Dropped { client_id, .. } => {
                assert!(!client_id.is_empty(), "it is known whose message was dropped");
                self.drops += 1;
            }
            Notice::LocalDropped { .. } => self.drops += 1,
            _ => {}
        }
        self.notices.push(notice_line(&notice));
    }
}

/// A notice in one line.
fn notice_line(notice: &Notice<'_>) -> String {
    match notice {
        Notice::Connected { client, session_present } => {
            format!("{} {}", client.id, if *session_present { "resumes" } else { "connected" })
        }
        Notice::Disconnected { client, why } => format!("{} disconnected: {}", client.id, ended(why)),
        Notice::Refused { client_id, user_name, why, .. } => {
            let who = client_id.map(|client_id| format!("{client_id} ")).unwrap_or_default();
            let user = user_name.map(|user_name| format!("({user_name}) ")).unwrap_or_default();
            format!("{who}{user}refused: {}", ended(why))
        }
        Notice::PublishRefused { client, topic, reason_code } => {
            format!("{} publish refused: {topic} {:02x}", client.id, ReasonCode::from(*reason_code).value())
        }
        Notice::SubscribeRefused { client, filter, reason_code } => {
            format!("{} subscribe refused: {filter} {:02x}", client.id, ReasonCode::from(*reason_code).value())
        }
        Notice::SessionEnded { client_id } => format!("{client_id} session ended"),
        Notice::Dropped { client_id, reason } => format!("{client_id} dropped: {reason:?}"),
        Notice::LocalDropped { reason, .. } => format!("for the program, dropped: {reason:?}"),
        Notice::WillRefused { client_id, topic, reason_code } => {
            format!("{client_id} will refused: {topic} {:02x}", ReasonCode::from(*reason_code).value())
        }
        other => panic!("a notice that is not known here: {other:?}"),
    }
}

fn ended(why: &Ended<'_>) -> String {
    match why {
        Ended::Close(Close::Requested) => "command".into(),
        Ended::Close(Close::Disconnected(disconnect)) => format!("DISCONNECT {:02x}", disconnect.reason_code.value()),
        Ended::Close(Close::Malformed(error)) => format!("malformed {:02x}", error.reason_code().value()),
        Ended::Close(Close::ProtocolError(protocol_error)) => {
            format!("protocol_error {:02x}", protocol_error.reason_code().value())
        }
        Ended::Close(Close::Refused(code)) => format!("CONNACK {:02x}", code.value()),
        Ended::Close(Close::ConnectTimeout) => "no CONNECT".into(),
        Ended::Close(Close::KeepAliveTimeout) => "silent".into(),
        Ended::TakenOver => "taken over".into(),
        Ended::Lost => "lost".into(),
        Ended::ConnectionLimit => "too many".into(),
        other => panic!("an end that is not known here: {other:?}"),
    }
}
