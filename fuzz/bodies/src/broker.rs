//! A broker with several clients whose bytes, decisions and times come from the fuzzer.

use core::num::{NonZeroU16, NonZeroU32};

use arbitrary::{Result, Unstructured};
use bytes::Buf as _;
use mqtt_sansio::broker::{
    Admission, Answer, AuthStep, Broker, BrokerConfig, Client, ConnectionId, Cursor, Decision, DecisionId,
    LocalSubscription, MountPoint, Notice, Origin, Policy, Secret, SharedStrategy, SubscribeOptions, TakeOver,
};
use mqtt_sansio::codec::{
    self, ConnAckReasonCode, Connect, Decoded, DisconnectReasonCode, Field, Limits, Packet, PacketType,
    PubAckReasonCode, QoS, SubAckReasonCode, Subscription, Version,
};
use mqtt_sansio::server::{Accept, ServerConfig};
use mqtt_sansio::{Instant, Message, Overflow, ReceivedMessage, SessionExpiry, TopicFilter, Will};
use mqtt_sansio_testkit::Random;

use super::from_server::Sent;
use super::{from_client, nonzero};

/// Runs a broker as the data say.
pub fn broker_ops(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok((config, seed)) = config(&mut u) else { return };
    let policy = RandomPolicy {
        random: Random::new(u64::from(seed)),
        at_once: seed & 1 == 0,
        decisions: Vec::new(),
        connected: 0,
        has_mounts: seed & 16 != 0,
    };
    let mut ops = Ops {
        broker: Broker::new(config.clone(), policy),
        config,
        u,
        now: Instant::EPOCH,
        latest: Instant::EPOCH,
        peers: Vec::new(),
        subscriptions: Vec::new(),
        polls: 0,
        is_patient: seed & 8 != 0,
    };
    // Exhausted data yields zeros without end.
    while !ops.u.is_empty() && ops.step().is_ok() {
        ops.check();
    }
    ops.finish();
}

/// Small limits, so that they are reached, and the number from which the policy's decisions follow.
fn config(u: &mut Unstructured<'_>) -> Result<(BrokerConfig, u8)> {
    let flags = u.arbitrary::<u16>()?;
    let set = |bit: u16| flags >> bit & 1 != 0;
    let small = |u: &mut Unstructured<'_>| Ok(NonZeroU16::MIN.saturating_add(u.int_in_range(0..=3)?));
    let usual = BrokerConfig::new(Secret::new([0; 16]));
    let seed: u8;
    let config = BrokerConfig {
        server: ServerConfig {
            connect_timeout: NonZeroU16::new(u.int_in_range(0..=3)?),
            max_keep_alive: NonZeroU16::new(if set(0) { 2 } else { 0 }),
            max_session_expiry_interval: SessionExpiry::after(if set(1) { 2 } else { u32::MAX }),
            receive_maximum: if set(2) { small(u)? } else { NonZeroU16::MAX },
            topic_alias_maximum: if set(3) { 3 } else { 0 },
            topic_aliases: if set(4) { 2 } else { 0 },
            max_in_flight: if set(5) { small(u)? } else { NonZeroU16::MAX },
            max_stored: if set(6) { u.int_in_range(0..=5)? } else { 1000 },
            max_stored_bytes: if set(7) { u.int_in_range(0..=200)? } else { 1 << 24 },
            overflow: if set(8) { Overflow::DropOldest } else { Overflow::Refuse },
            store_qos_0: set(9),
            transmit_limit: nonzero(if set(10) { u.int_in_range(0..=200)? } else { 1 << 16 }),
            answer_limit: nonzero(if set(10) { u.int_in_range(0..=200)? } else { 1 << 16 }),
            ..ServerConfig::default()
        },
        secret: {
            seed = u.arbitrary()?;
            Secret::new([seed; 16])
        },
        max_connections: if set(11) { 2 } else { usual.max_connections },
        max_sessions: if set(12) { 2 } else { usual.max_sessions },
        max_subscriptions: if set(13) { 3 } else { usual.max_subscriptions },
        max_topic_levels: if set(14) { 3 } else { usual.max_topic_levels },
        max_retained: if set(15) { 2 } else { usual.max_retained },
        max_memory: *u.choose(&[0, 200, 5000, usual.max_memory])?,
        reserved_memory: *u.choose(&[0, 300, usual.reserved_memory])?,
        shared_strategy: *u.choose(&[
            SharedStrategy::RoundRobin,
            SharedStrategy::Random,
            SharedStrategy::LeastLoaded,
        ])?,
        sys_interval: NonZeroU32::new(u.int_in_range(0..=2)?),
        // Each item a call of its own, or a few.
        work_per_call: if seed & 2 != 0 {
            NonZeroU32::MIN.saturating_add(u32::from(seed) & 4)
        } else {
            usual.work_per_call
        },
        ..usual
    };
    Ok((config, seed))
}

/// A policy that decides at random and sometimes defers the decision.
struct RandomPolicy {
    random: Random,
    /// Whether it always decides at once.
    at_once: bool,
    decisions: Vec<DecisionId>,
    connected: u32,
    /// Whether clients have mount points.
    has_mounts: bool,
}

impl RandomPolicy {
    fn decide<T>(&mut self, id: DecisionId, answers: [T; 3]) -> Decision<T> {
        if !self.at_once && self.random.percent(30) {
            self.decisions.push(id);
            return Decision::Later;
        }
        let place = if self.at_once { 0 } else { self.random.index(12).min(2) };
        let place = if place == 2 { 0 } else { place.saturating_add(1) };
        answers.into_iter().nth(place).map_or(Decision::Later, Decision::Now)
    }

    fn admission(&mut self, id: DecisionId, can_challenge: bool) -> Decision<Admission> {
        let user = if self.random.percent(50) { "u" } else { "v" };
        let other = if can_challenge { Admission::Challenge(b"?".to_vec()) } else { Admission::accept_as(user) };
        self.decide(id, [Admission::accept(), ConnAckReasonCode::NotAuthorized.into(), other])
    }
}

impl Policy for RandomPolicy {
    fn connect(&mut self, id: DecisionId, connect: &Connect<'_>) -> Decision<Admission> {
        self.admission(id, connect.properties.authentication_method.is_some())
    }

    fn authenticate(&mut self, id: DecisionId, _: &AuthStep<'_>) -> Decision<Admission> {
        self.admission(id, true)
    }

    fn publish(&mut self, id: DecisionId, _: Client<'_>, _: &ReceivedMessage<'_>) -> Decision<PubAckReasonCode> {
        let refused = PubAckReasonCode::NotAuthorized;
        self.decide(id, [PubAckReasonCode::Success, refused, PubAckReasonCode::Success])
    }

    fn subscribe(&mut self, id: DecisionId, _: Client<'_>, _: &Subscription<'_>) -> Decision<SubAckReasonCode> {
        let granted = SubAckReasonCode::GrantedQoS2;
        self.decide(id, [granted, SubAckReasonCode::NotAuthorized, SubAckReasonCode::GrantedQoS1])
    }

    fn take_over(&mut self, id: DecisionId, _: &TakeOver<'_>) -> Decision<ConnAckReasonCode> {
        let refused = ConnAckReasonCode::NotAuthorized;
        self.decide(id, [ConnAckReasonCode::Success, refused, ConnAckReasonCode::Success])
    }

    /// By client identifier, so that a client has the same one nearly always.
    fn mount_point(&mut self, client: Client<'_>) -> Option<MountPoint> {
        if !self.has_mounts || self.random.percent(5) {
            return None;
        }
        MountPoint::new(if client.id == "a" { "a" } else { "b" }).ok()
    }

    fn will(&mut self, _: &str, _: &Will) -> PubAckReasonCode {
        if self.random.percent(20) { PubAckReasonCode::NotAuthorized } else { PubAckReasonCode::Success }
    }

    fn notice(&mut self, notice: Notice<'_>) {
        match notice {
            Notice::Connected { .. } => self.connected += 1,
            Notice::Disconnected { .. } => self.connected -= 1,
            _ => {}
        }
    }
}

/// A connection from the client's point of view.
struct Peer {
    id: ConnectionId,
    version: Version,
    /// Whether its first packet was looked at.
    is_known: bool,
    /// Received bytes that the broker has not taken.
    received: Vec<u8>,
    sent: Sent,
}

struct Ops<'a> {
    u: Unstructured<'a>,
    config: BrokerConfig,
    broker: Broker<RandomPolicy>,
    now: Instant,
    /// The latest time given to the broker.
    latest: Instant,
    peers: Vec<Peer>,
    /// The subscriptions of the program.
    subscriptions: Vec<LocalSubscription>,
    /// How often the broker was polled for work that is left.
    polls: u32,
    /// Whether other calls come in between while work is left.
    is_patient: bool,
}

impl Ops<'_> {
    fn step(&mut self) -> Result<()> {
        match self.u.int_in_range(0..=31)? {
            0..=2 => self.open(),
            3..=6 => {
                let (version, bytes) = from_client::connect(&mut self.u, &["a", "b", "c"])?;
                self.receive(Some(version), &bytes)?;
            }
            7..=16 => {
                let version = self.any_peer()?.map_or(Version::V5, |place| self.peers[place].version);
                let bytes = from_client::likely(&mut self.u, version)?;
                self.receive(Some(version), &bytes)?;
            }
            17 => {
                let version = self.any_peer()?.map_or(Version::V5, |place| self.peers[place].version);
                let bytes = from_client::any(&mut self.u, version)?;
                self.receive(None, &bytes)?;
            }
            18 => self.close()?,
            19..=20 => self.answer()?,
            21 => self.publish()?,
            22 => self.command()?,
            23 => self.now = Instant::from_micros(self.u.int_in_range(0..=10_000_000)?),
            // Not up to the maximum of the clock, where an expired timer would stay due for ever.
            24 => self.now = Instant::from_micros(self.u.arbitrary::<u64>()? / 2),
            25 => self.now = self.broker.deadline().unwrap_or(self.now),
            26..=29 => self.write(usize::MAX)?,
            _ => {
                let count = self.u.int_in_range(0..=60)?;
                self.write(count)?;
            }
        }
        Ok(())
    }

    fn any_peer(&mut self) -> Result<Option<usize>> {
        match self.peers.len() {
            0 => Ok(None),
            len => Ok(Some(self.u.int_in_range(0..=len - 1)?)),
        }
    }

    fn open(&mut self) {
        if self.peers.len() < 5 {
            let (id, sent) =
                (self.broker.open(self.now, Origin::new(self.peers.len() as u128 / 2)), Sent::new(Version::V5));
            assert!(self.peers.iter().all(|peer| peer.id != id && peer.id.index() != id.index()), "{id} is in use");
            self.peers.push(Peer { id, version: Version::V5, is_known: false, received: Vec::new(), sent });
        }
    }

    fn receive(&mut self, version: Option<Version>, bytes: &[u8]) -> Result<()> {
        let Some(place) = self.any_peer()? else { return Ok(()) };
        let peer = &mut self.peers[place];
        peer.received.extend_from_slice(bytes);
        if !peer.is_known {
            let limits =
                Limits { max_user_properties: self.config.server.max_user_properties, ..Limits::from_client() };
            match codec::decode(&peer.received, Version::V5, limits) {
                Ok(Decoded::Packet { packet: Packet::Connect(connect), .. }) => {
                    let maximum = connect.properties.maximum_packet_size.map_or(u32::MAX, Into::into);
                    peer.version = connect.version;
                    peer.sent.connect(connect.version, maximum);
                    peer.is_known = true;
                }
                Ok(Decoded::Packet { .. }) => peer.is_known = true,
                Ok(Decoded::Incomplete { .. }) => {}
                Err(error) => {
                    peer.sent.answer_in(error.version());
                    peer.is_known = true;
                }
            }
        }
        let _ = version;
        let mut input = &peer.received[..];
        self.broker.receive(self.now, peer.id, &mut input);
        let used = peer.received.len() - input.len();
        peer.received.drain(..used);
        if !peer.received.is_empty() && self.broker.takes_input(peer.id) {
            let decoded = codec::decode(&peer.received, peer.version, Limits::from_client());
            let is_left = match decoded {
                Ok(Decoded::Incomplete { .. }) => true,
                // A CONNECT with a malformed length is buffered until its protocol level determines the form of the
                // answer.
                Err(error) => error.packet() == Some(PacketType::Connect) && error.field() == Field::RemainingLength,
                Ok(Decoded::Packet { .. }) => false,
            };
            assert!(is_left, "a packet is left: {decoded:?}");
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let Some(place) = self.any_peer()? else { return Ok(()) };
        let peer = self.peers.swap_remove(place);
        self.broker.closed(self.now, peer.id);
        // The identifier of a closed connection matches none.
        assert!(self.broker.is_over(peer.id) && !self.broker.takes_input(peer.id));
        assert_eq!(self.broker.transmit(peer.id).remaining(), 0);
        let before = self.broker.status();
        self.broker.receive(self.now, peer.id, &mut &b"\xC0\0"[..]);
        self.broker.disconnect(self.now, peer.id, DisconnectReasonCode::ServerBusy);
        self.broker.closed(self.now, peer.id);
        assert_eq!(self.broker.status(), before);
        Ok(())
    }

    fn answer(&mut self) -> Result<()> {
        let decisions = &self.broker.policy().decisions;
        let Some(last) = decisions.len().checked_sub(1) else { return Ok(()) };
        // Sometimes answers a decision a second time.
        let place = self.u.int_in_range(0..=last)?;
        let keep = self.u.ratio(1, 8)?;
        let id = decisions[place];
        if !keep {
            self.broker.policy_mut().decisions.swap_remove(place);
        }
        let answers = [
            Answer::Connect(Accept::default().into()),
            Answer::Connect(ConnAckReasonCode::ServerBusy.into()),
            Answer::Connect(Admission::Challenge(Vec::new())),
            Answer::Publish(PubAckReasonCode::Success),
            Answer::Publish(PubAckReasonCode::QuotaExceeded),
            Answer::Subscribe(SubAckReasonCode::GrantedQoS1),
            Answer::Subscribe(SubAckReasonCode::NotAuthorized),
            Answer::TakeOver(ConnAckReasonCode::Success),
            Answer::TakeOver(ConnAckReasonCode::ClientIdentifierNotValid),
            Answer::Connect(Admission::accept_as("u")),
        ];
        // Only one kind of answer is accepted.
        let first = self.u.int_in_range(0..=answers.len() - 1)?;
        let mut right = 0;
        for answer in answers.iter().cycle().skip(first).take(answers.len()) {
            right += usize::from(self.broker.answer(self.now, id, answer.clone()).is_ok());
            if right != 0 {
                break;
            }
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<()> {
        let topic = *self.u.choose(&["a", "b/c", "$SYS/x", "", "#"])?;
        let qos = *self.u.choose(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])?;
        let size = *self.u.choose(&[0, 1, 100, 3000])?;
        let message = Message::new(topic, vec![b'z'; size]).qos(qos).retain(self.u.arbitrary()?);
        let _ = self.broker.publish(self.now, &message);
        Ok(())
    }

    fn command(&mut self) -> Result<()> {
        // The lowest bit alone is what older inputs say.
        let choice = self.u.arbitrary::<u8>()?;
        if choice & 2 != 0 {
            return self.command_of_program(choice >> 2);
        }
        if choice & 1 != 0 {
            let name = *self.u.choose(&["a", "b", "c", "d"])?;
            self.broker.end_session(self.now, name);
        } else if let Some(place) = self.any_peer()? {
            self.broker.disconnect(self.now, self.peers[place].id, self.u.arbitrary()?);
        }
        Ok(())
    }

    /// The program subscribes, takes messages, lists and removes.
    fn command_of_program(&mut self, choice: u8) -> Result<()> {
        match choice % 8 {
            0..=2 => {
                let filter = *self.u.choose(&["#", "a", "+/c", "$share/g/a", "$SYS/#", "a/#/b", "a/b/c/d"])?;
                let options = SubscribeOptions {
                    qos: *self.u.choose(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])?,
                    no_local: self.u.arbitrary()?,
                    retain_as_published: self.u.arbitrary()?,
                    retain_handling: self.u.arbitrary()?,
                };
                self.subscriptions.extend(self.broker.subscribe(self.now, filter, options));
            }
            3 => {
                if let Some(last) = self.subscriptions.len().checked_sub(1) {
                    let place = self.u.int_in_range(0..=last)?;
                    let subscription = self.subscriptions.swap_remove(place);
                    assert!(self.broker.unsubscribe(self.now, subscription));
                    assert!(!self.broker.unsubscribe(self.now, subscription), "its id matches no other");
                }
            }
            4 | 5 => self.take_messages(choice & 8 != 0),
            6 => self.list(),
            _ => {
                let topic = *self.u.choose(&["a", "b/c", "$SYS/broker/version", "#"])?;
                let was_there = self.broker.retained_message(topic).is_some();
                assert!(self.broker.remove_retained(self.now, topic) || !was_there);
                assert!(self.broker.retained_message(topic).is_none());
                let name = *self.u.choose(&["a", "b"])?;
                let had_session = self.broker.session(name).is_some();
                assert_eq!(self.broker.end_session_with(self.now, name, self.u.arbitrary()?), had_session);
            }
        }
        Ok(())
    }

    fn take_messages(&mut self, is_all: bool) {
        while let Some((subscription, message)) = self.broker.next_message() {
            assert!(self.subscriptions.contains(&subscription), "it is subscribed");
            assert!(message.message().checked().is_ok() && !message.topic().is_empty());
            if !is_all {
                break;
            }
        }
    }

    /// Lists all sessions with their subscriptions, and all retained messages.
    fn list(&mut self) {
        let (mut sessions, mut next) = (0, Some(Cursor::START));
        while let Some(from) = next {
            let page = self.broker.list_sessions(from);
            for session in &page.items {
                let (mut subscriptions, mut next) = (0, Some(Cursor::START));
                while let Some(from) = next {
                    let page = self.broker.list_subscriptions(&session.client_id, from);
                    subscriptions += page.items.len();
                    next = page.next;
                }
                assert_eq!(subscriptions, session.subscriptions as usize);
            }
            sessions += page.items.len();
            next = page.next;
        }
        assert_eq!(sessions, self.broker.status().sessions as usize);
        let (mut retained, mut next) = (0, Some(Cursor::START));
        while let Some(from) = next {
            let page = self.broker.list_retained(TopicFilter::new("#").expect("a filter"), from);
            retained += page.items.len();
            next = page.next;
        }
        assert!(retained <= self.broker.status().retained as usize);
    }

    /// Writes up to this many bytes of each connection with output, and closes connections that are over.
    fn write(&mut self, count: usize) -> Result<()> {
        // Closing a connection may cause output on another one, for example its will.
        let (mut told, bound) = (0, 3 * self.peers.len());
        while let Some(id) = self.broker.next_ready() {
            told += 1;
            assert!(told <= bound, "it ends");
            let Some(place) = self.peers.iter().position(|peer| peer.id == id) else { panic!("{id} is closed") };
            let mut left = count;
            loop {
                let transmit = self.broker.transmit(id);
                let size = transmit.chunk().len().min(left);
                if size == 0 {
                    break;
                }
                let bytes = transmit.copy_to_bytes(size);
                left -= size;
                self.peers[place].sent.write(&bytes);
            }
            let is_written = self.broker.transmit(id).remaining() == 0;
            if is_written && self.broker.is_over(id) {
                self.peers[place].sent.finish();
                self.peers.swap_remove(place);
                self.broker.closed(self.now, id);
            }
        }
        Ok(())
    }

    /// Checks the invariants that must always hold.
    fn check(&mut self) {
        self.broker.poll(self.now);
        self.latest = self.latest.max(self.now);
        self.polls += 1;
        let is_patient = self.is_patient && !self.polls.is_multiple_of(8);
        let mut polls = 0;
        while !is_patient && self.broker.deadline().is_some_and(|at| at <= self.latest) {
            self.broker.poll(self.now);
            polls += 1;
            assert!(polls < 100_000, "what is due comes to an end");
        }
        self.broker.assert_consistent();
        let status = self.broker.status();
        assert_eq!(status.connections as usize, self.peers.len());
        assert_eq!(status.clients, self.broker.policy().connected, "who connects and disconnects is told");
        assert!(status.sessions <= self.config.max_sessions && status.retained <= self.config.max_retained);
        assert!(status.subscriptions <= self.config.max_subscriptions);
        assert_eq!(status.local_subscriptions as usize, self.subscriptions.len());
        let queues = u64::from(status.sessions) + u64::from(status.local_subscriptions);
        assert!(status.stored <= queues * u64::from(self.config.server.max_stored));
        // A single message is stored whatever its size.
        let each = self
            .config
            .server
            .maximum_packet_size
            .map_or(u32::MAX, |size| size.get().max(self.config.server.max_stored_bytes));
        assert!(status.stored_bytes <= queues * u64::from(each));
    }

    /// Closes all connections, lets every interval pass, and checks that only permanent state is left.
    fn finish(&mut self) {
        for peer in core::mem::take(&mut self.peers) {
            self.broker.closed(self.now, peer.id);
        }
        (0..8).for_each(|_| self.check());
        assert_eq!(self.broker.next_ready(), None);
        for name in ["a", "b", "c"] {
            self.broker.end_session(self.now, name);
        }
        self.check();
    }
}
