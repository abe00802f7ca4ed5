//! Row 17: recovery after a crash.

use super::*;

/// A server that conforms to the specification: it accepts ownership of messages, sends its own and loses none.
#[derive(Clone, Default)]
struct Server {
    version: Version,
    /// Received bytes of an incomplete packet.
    unfinished: Vec<u8>,
    has_session: bool,
    /// Identifiers of received messages of QoS 2 that wait for PUBREL.
    received: BTreeSet<u16>,
    /// Payloads of the messages that it has accepted ownership of.
    taken: Vec<String>,
    /// Its own unacknowledged messages, and whether PUBREL was sent.
    open: BTreeMap<u16, (QoS, &'static str, bool)>,
    /// The number of messages it has sent.
    sent: u16,
    /// Bytes on their way to the client.
    output: Vec<u8>,
}

impl Server {
    fn put(&mut self, packet: Packet<'_>) {
        packet.encode(self.version, &mut self.output).unwrap();
    }

    fn send(&mut self, payload: &'static str, qos: QoS) {
        self.sent += 1;
        // An identifier is reused as soon as it is free.
        let number = (1..).find(|number| !self.open.contains_key(number)).unwrap();
        self.open.insert(number, (qos, payload, false));
        self.put(published(payload, delivery(qos, number)));
    }

    fn disconnected(&mut self) {
        self.unfinished.clear();
        self.output.clear();
    }

    fn take(&mut self, byte: u8) {
        self.unfinished.push(byte);
        let bytes = self.unfinished.clone();
        let limits = Limits { sender: Some(Sender::Client), ..Limits::default() };
        for packet in codec::packets(&bytes, self.version, limits) {
            self.handle(packet.unwrap());
            self.unfinished.clear();
        }
    }

    fn handle(&mut self, packet: Packet<'_>) {
        match packet {
            Packet::Connect(connect) => {
                let session_present = self.has_session && !connect.clean_start;
                assert_eq!(session_present, self.has_session, "nobody has asked for a new session");
                self.has_session = true;
                self.put(ConnAck { session_present, ..ConnAck::default() }.into());
                for (number, (qos, payload, released)) in self.open.clone() {
                    self.put(if released {
                        PubRel::new(id(number)).into()
                    } else {
                        published(payload, again(qos, number))
                    });
                }
            }
            Packet::Publish(publish) => {
                let number = publish.delivery.packet_id().map_or(0, |id| id.get());
                if publish.delivery.qos() != QOS_2 || self.received.insert(number) {
                    self.taken.push(str::from_utf8(publish.payload).unwrap().into());
                }
                match publish.delivery.qos() {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => self.put(PubAck::new(id(number)).into()),
                    QoS::ExactlyOnce => self.put(PubRec::new(id(number)).into()),
                }
            }
            Packet::PubRel(ack) => {
                self.received.remove(&ack.id.get());
                self.put(PubComp::new(ack.id).into());
            }
            Packet::PubAck(ack) => drop(self.open.remove(&ack.id.get())),
            Packet::PubComp(ack) => drop(self.open.remove(&ack.id.get())),
            Packet::PubRec(ack) => {
                if let Some((.., released)) = self.open.get_mut(&ack.id.get()) {
                    *released = true;
                }
                self.put(PubRel::new(ack.id).into());
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The simulated crash of the program.
struct Crash;

/// A durable client, its store and a server. The application stores its own state in the same transactions.
struct World {
    config: ClientConfig,
    client: ClientSession,
    server: Server,
    stored: Pairs,
    /// The number of the last batch that is stored, and of the last one that was handed out.
    last_stored: u64,
    last: u64,
    now: Instant,
    /// The number of steps before the crash: each stored batch, each confirmation, each sent byte and each read is a step.
    steps: usize,
    /// The published messages, each with the number of the batch that contains it.
    accepted: Vec<(&'static str, QoS, u64)>,
    /// The messages delivered and acknowledged, each with the number of the batch that contains the acknowledgement.
    delivered: Vec<(String, u64)>,
    /// The tokens that have an outcome.
    done: BTreeSet<Token>,
    ack_handles: Vec<(mqtt_sansio::AckHandle, String)>,
}

impl World {
    fn new(version: Version, manual_acks: bool) -> Self {
        let config = ClientConfig { durable: true, manual_acks, clean_start: false, ..lasting(version) };
        let server = Server { version, ..Server::default() };
        let client = ClientSession::new(config.clone());
        Self {
            config,
            client,
            server,
            stored: Pairs::default(),
            last_stored: 0,
            last: 0,
            now: Instant::EPOCH,
            steps: usize::MAX,
            accepted: Vec::new(),
            delivered: Vec::new(),
            done: BTreeSet::new(),
            ack_handles: Vec::new(),
        }
    }

    fn step(&mut self) -> Result<(), Crash> {
        self.steps = self.steps.checked_sub(1).ok_or(Crash)?;
        Ok(())
    }

    /// The number of the batch that contains the changes of now.
    fn end(&mut self) -> u64 {
        self.last + 1
    }

    /// Stores the changes, and the state of the application with them.
    fn store(&mut self) -> Result<(), Crash> {
        while let Some(batch) = self.client.changes() {
            self.last = batch.number();
            self.step()?;
            self.stored.apply(&batch);
            self.last_stored = batch.number();
            self.step()?;
            self.client.committed(self.now, batch.number());
        }
        // Without a change of the session, the application stores its own state alone.
        self.delivered.iter_mut().for_each(|(_, end)| *end = 0);
        Ok(())
    }

    fn publish(&mut self, payload: &'static str, qos: QoS) {
        self.client.publish(self.now, &Message::new("t", payload).qos(qos)).unwrap();
        let end = self.end();
        self.accepted.push((payload, qos, end));
    }

    fn open(&mut self) {
        self.server.disconnected();
        self.client.open(self.now).unwrap();
    }

    /// Stores batches and moves bytes one by one until nothing is left to move, or for at most this many rounds.
    fn run(&mut self, rounds: usize) -> Result<(), Crash> {
        for _ in 0..rounds {
            self.store()?;
            let mut has_moved = false;
            while let Some(&byte) = self.client.transmit().chunk().first() {
                self.step()?;
                self.client.transmit().advance(1);
                self.server.take(byte);
                has_moved = true;
            }
            let input = core::mem::take(&mut self.server.output);
            has_moved |= !input.is_empty();
            self.step()?;
            self.read(&input);
            for (ack_handle, payload) in core::mem::take(&mut self.ack_handles).into_iter().rev() {
                if self.client.ack(self.now, ack_handle, PubAckReasonCode::Success).is_ok() {
                    let end = self.end();
                    self.delivered.push((payload, end));
                }
            }
            if !has_moved && self.client.changes().is_none() && !self.client.transmit().has_remaining() {
                break;
            }
        }
        Ok(())
    }

    fn read(&mut self, mut input: &[u8]) {
        while let Some(action) = self.client.poll(self.now, &mut input) {
            match action {
                Action::Connected(_) => {}
                Action::Message(message) => {
                    let payload = String::from_utf8(message.payload.into()).unwrap();
                    match message.ack_handle {
                        Some(ack_handle) => self.ack_handles.push((ack_handle, payload)),
                        None => {
                            let end = self.end();
                            self.delivered.push((payload, end));
                        }
                    }
                }
                Action::Done { token, outcome } => {
                    assert_eq!(Done::from(&outcome), Done::Acknowledged(ReasonCode::Success));
                    self.done.insert(token);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(input.is_empty());
        self.client.assert_consistent();
    }

    /// Messages in both directions, in every stage when the connection is lost, twice.
    fn script(&mut self, compact: bool) -> Result<(), Crash> {
        self.publish("out 1", QOS_1);
        self.publish("out 2", QOS_2);
        self.open();
        self.run(1)?;
        self.server.send("in 1", QOS_1);
        self.server.send("in 2", QOS_2);
        self.publish("out 3", QOS_2);
        self.run(2)?;
        self.publish("out 4", QOS_1);
        self.server.send("in 3", QOS_2);
        self.run(1)?;
        self.client.closed(self.now);
        self.publish("out 5", QOS_2);
        self.open();
        self.run(2)?;
        if compact {
            self.compact();
        }
        self.server.send("in 4", QOS_2);
        self.publish("out 6", QOS_2);
        self.run(2)?;
        // No byte of these leaves before the connection is lost.
        self.publish("out 7", QOS_1);
        self.publish("out 8", QOS_2);
        self.client.closed(self.now);
        self.open();
        self.run(usize::MAX)
    }

    /// Begins a new store with a snapshot.
    fn compact(&mut self) {
        let snapshot = self.client.snapshot().unwrap();
        self.stored = Pairs::default();
        self.stored.apply(&snapshot);
        (self.last, self.last_stored) = (snapshot.number(), snapshot.number());
        self.client.committed(self.now, snapshot.number());
        // Stored messages remain stored.
        self.accepted.iter_mut().for_each(|(.., end)| *end = 0);
        self.delivered.iter_mut().for_each(|(_, end)| *end = 0);
    }

    /// Restarts the program with the store.
    fn restart(&mut self) {
        let stored = self.last_stored;
        // A message that is not in the store was never confirmed to the application.
        self.accepted.retain(|&(payload, qos, end)| {
            let is_known = end <= stored;
            let has_left = self.server.taken.iter().any(|taken| taken == payload);
            assert!(is_known || !has_left || qos == QOS_1, "{payload} left too early");
            is_known
        });
        self.delivered.retain(|&(_, end)| end <= stored);
        self.accepted.iter_mut().for_each(|(.., end)| *end = 0);
        self.delivered.iter_mut().for_each(|(_, end)| *end = 0);
        self.ack_handles.clear();
        self.last = stored;
        self.client = ClientSession::restore(self.config.clone(), NOW, self.stored.iter()).unwrap();
        self.client.assert_consistent();
    }

    /// Checks that no message was lost and that none of QoS 2 was delivered twice.
    fn check(&self, why: &str) {
        for &(payload, qos, _) in &self.accepted {
            let count = self.server.taken.iter().filter(|taken| *taken == payload).count();
            assert!(count == 1 || (count > 1 && qos == QOS_1), "{why}: {payload} was sent {count} times");
        }
        for (payload, qos) in [("in 1", QOS_1), ("in 2", QOS_2), ("in 3", QOS_2), ("in 4", QOS_2)] {
            let is_sent = (1..=self.server.sent).any(|number| payload == format!("in {number}"));
            let count = self.delivered.iter().filter(|(delivered, _)| delivered == payload).count();
            let fits = if is_sent { count == 1 || (count > 1 && qos == QOS_1) } else { count == 0 };
            assert!(fits, "{why}: {payload} was delivered {count} times");
        }
        assert!(self.server.open.is_empty(), "{why}: {:?}", self.server.open);
        assert!(self.server.received.is_empty(), "{why}: {:?}", self.server.received);
        assert_eq!((self.client.operations_in_flight(), self.client.queued()), (0, 0), "{why}");
    }
}

/// A crash before or after any batch is stored, after any sent byte and any read: no message is lost, and none of QoS 2 is delivered twice.
/// Then a second crash during the recovery.
#[test]
fn pitfall_17_a_crash_loses_nothing() {
    for version in BOTH {
        for (manual_acks, compact) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut steps = 0;
            loop {
                let mut world = World::new(version, manual_acks);
                world.steps = steps;
                let crashed = world.script(compact).is_err();
                let why = format!("{version}, {manual_acks}, {compact}, crash after {steps} steps");
                if crashed {
                    world.restart();
                    if steps % 7 == 0 {
                        world.steps = steps * 13 % 200;
                        world.open();
                        if world.run(usize::MAX).is_err() {
                            world.restart();
                        } else {
                            world.client.closed(world.now);
                        }
                    }
                    world.steps = usize::MAX;
                    world.open();
                    assert!(world.run(usize::MAX).is_ok());
                }
                world.check(&why);
                if !crashed {
                    break;
                }
                steps += 1;
            }
            assert!(steps > 200, "{steps}");
        }
    }
}

/// What depends on changes that are not stored waits for them, and nothing else does.
#[test]
fn pitfall_17_what_is_promised_is_stored_before() {
    let mut wire = Wire::connected(v5());
    assert!(wire.client.changes().is_none(), "nobody has asked for it");
    wire.publish("x", QOS_2);
    assert!(wire.client.transmit().has_remaining());

    let mut wire = Wire::new(ClientConfig { durable: true, ..v5() });
    wire.open();
    wire.receive(&[connack().into()]);
    wire.publish("1", QOS_1);
    wire.publish("2", QOS_2);
    // A message that would be sent again after the one that waits is not sent before it [MQTT-4.6.0-1].
    wire.publish("3", QOS_1);
    wire.publish("0", QOS_0);
    wire.subscribe();
    wire.receive(&[published("in", delivery(QOS_2, 7))]);
    let sent = wire.take();
    let sent = decode(&sent, Version::V5);
    assert_eq!(sent[..2], [published("1", delivery(QOS_1, 1)), published("0", Delivery::AtMostOnce)]);
    assert!(matches!(sent[2..], [Packet::Subscribe(_)]), "{sent:?}");
    let batch = wire.client.changes().unwrap();
    assert_eq!(wire.client.transmit().remaining(), 0);
    // What changes while the batch is under way belongs to the next one.
    wire.receive(&[PubRel::new(id(7)).into()]);
    wire.client.committed(NOW, batch.number());
    wire.assert_sent(&[
        published("2", delivery(QOS_2, 2)),
        published("3", delivery(QOS_1, 3)),
        PubRec::new(id(7)).into(),
    ]);
    wire.receive(&[PubRec::new(id(2)).into()]);
    wire.assert_silent();
    let batch = wire.client.changes().unwrap();
    wire.client.committed(NOW, batch.number());
    wire.assert_sent(&[PubComp::new(id(7)).into(), PubRel::new(id(2)).into()]);
}

/// A restored message has the token of before.
#[test]
fn pitfall_17_tokens_survive_a_restart() {
    let config = ClientConfig { durable: true, ..v5() };
    let mut wire = Wire::new(config.clone());
    let mut stored = Pairs::default();
    let tokens = [QOS_1, QOS_2].map(|qos| wire.publish("x", qos));
    store(&mut wire.client, &mut stored);
    let mut wire = Wire::of(ClientSession::restore(config, NOW, stored.iter()).unwrap());
    assert_eq!(wire.client.queued(), 2);
    let third = wire.publish("y", QOS_1);
    assert!(tokens.iter().all(|&token| token < third));
    store(&mut wire.client, &mut stored);
    wire.open();
    wire.receive(&[connack().into()]);
    store(&mut wire.client, &mut stored);
    wire.take();
    let reason_code = PubAckReasonCode::NotAuthorized;
    let events = wire.receive(&[
        PubAck::new(id(1)).into(),
        PubRec { reason_code, ..PubRec::new(id(2)) }.into(),
        PubAck::new(id(3)).into(),
    ]);
    let refused = Event::Done(tokens[1], Done::Acknowledged(ReasonCode::NotAuthorized));
    assert_eq!(events, [success(tokens[0]), refused, success(third)]);
}

/// A message with an outcome does not come back after a restart: acknowledged, refused, expired, dropped to make room,
/// lost with its session, not supported.
#[test]
fn pitfall_17_messages_with_an_outcome_are_not_restored() {
    type Change = fn(&mut ClientConfig);
    type Scenario = fn(&mut Wire, &mut Pairs);
    let keep: Change = |_| {};
    let scenarios: [(&str, Change, Scenario); 8] = [
        ("PUBACK", keep, |wire, _| {
            wire.publish("x", QOS_1);
            wire.receive(&[PubAck::new(id(1)).into()]);
        }),
        ("PUBCOMP", keep, |wire, _| {
            wire.publish("x", QOS_2);
            wire.receive(&[PubRec::new(id(1)).into(), PubComp::new(id(1)).into()]);
        }),
        ("PUBREC", keep, |wire, _| {
            wire.publish("x", QOS_2);
            let reason_code = PubAckReasonCode::NotAuthorized;
            wire.receive(&[PubRec { reason_code, ..PubRec::new(id(1)) }.into()]);
        }),
        ("expired", keep, |wire, stored| {
            wire.lose();
            wire.client.publish(wire.now, &expiring("x", QOS_1, 1)).unwrap();
            wire.poll();
            wire.later(5000);
            wire.poll();
            store(&mut wire.client, stored);
            wire.connect(present());
        }),
        (
            "made room for",
            |config| (config.max_stored, config.overflow) = (1, Overflow::DropOldest),
            |wire, _| {
                wire.lose();
                wire.publish("x", QOS_1);
                wire.publish("this one is of QoS 0, and not stored", QOS_0);
            },
        ),
        ("not supported", keep, |wire, stored| {
            wire.lose();
            wire.publish("x", QOS_1);
            let none = ConnAckProperties { maximum_qos: Some(MaximumQoS::AtMostOnce), ..Default::default() };
            store(&mut wire.client, stored);
            wire.connect(present_with(none));
        }),
        ("lost", keep, |wire, stored| {
            wire.publish("x", QOS_1);
            wire.publish("y", QOS_2);
            wire.publish("z", QOS_2);
            wire.receive(&[PubRec::new(id(3)).into(), published("half", delivery(QOS_2, 7))]);
            store(&mut wire.client, stored);
            wire.take();
            wire.lose();
            store(&mut wire.client, stored);
            wire.connect(connack());
        }),
        ("half received", keep, |wire, _| {
            wire.receive(&[published("half", delivery(QOS_2, 7)), PubRel::new(id(7)).into()]);
        }),
    ];
    for version in BOTH {
        for (name, change, scenario) in scenarios {
            if version != Version::V5 && matches!(name, "PUBREC" | "expired" | "not supported") {
                continue; // 5.0 only
            }
            let mut config = ClientConfig { durable: true, ..lasting(version) };
            change(&mut config);
            let mut wire = Wire::connected(config.clone());
            let mut stored = Pairs::default();
            store(&mut wire.client, &mut stored);
            scenario(&mut wire, &mut stored);
            wire.poll();
            store(&mut wire.client, &mut stored);
            let snapshot = snapshot(&mut wire.client);
            check_restored(name, &config, &stored);
            check_restored(name, &config, &snapshot);
        }
    }
}

/// Checks that the pairs restore an empty session.
fn check_restored(name: &str, config: &ClientConfig, pairs: &Pairs) {
    let mut wire = Wire::of(ClientSession::restore(config.clone(), NOW, pairs.iter()).unwrap());
    assert_eq!((wire.client.operations_in_flight(), wire.client.queued()), (0, 0), "{name}");
    assert_eq!(wire.connect(present()), [Event::Connected(Resumption::Resumed)], "{name}");
    store(&mut wire.client, &mut Pairs::default());
    wire.assert_silent();
    assert_eq!(wire.receive(&[published("new", delivery(QOS_2, 7))]), [delivered("new", QOS_2)], "{name}");
}

/// After a restart as after any other loss of the connection: PUBRELs in the order of the PUBRECs, messages in the
/// order in which they were sent, with their identifiers, then queued messages.
#[test]
fn pitfall_17_retransmission_after_a_restart() {
    for version in BOTH {
        let config = ClientConfig { durable: true, ..lasting(version) };
        let mut wire = Wire::connected(config.clone());
        let mut stored = Pairs::default();
        store(&mut wire.client, &mut stored);
        for (payload, qos) in [("1", QOS_1), ("2", QOS_2), ("3", QOS_2), ("4", QOS_2), ("5", QOS_2)] {
            wire.publish(payload, qos);
        }
        wire.receive(&[PubRec::new(id(4)).into(), PubRec::new(id(2)).into(), PubAck::new(id(1)).into()]);
        wire.publish("6", QOS_1);
        store(&mut wire.client, &mut stored);
        wire.take();
        wire.lose();
        let waits = wire.publish("7", QOS_1);
        store(&mut wire.client, &mut stored);
        for pairs in [stored, snapshot(&mut wire.client)] {
            let mut wire = Wire::of(ClientSession::restore(config.clone(), NOW, pairs.iter()).unwrap());
            assert_eq!(wire.connect(present()), [Event::Connected(Resumption::Resumed)]);
            store(&mut wire.client, &mut Pairs::default());
            wire.assert_sent(&[
                PubRel::new(id(4)).into(),
                PubRel::new(id(2)).into(),
                published("3", again(QOS_2, 3)),
                published("5", again(QOS_2, 5)),
                published("6", again(QOS_1, 6)),
                published("7", delivery(QOS_1, 7)),
            ]);
            assert_eq!(wire.receive(&[PubAck::new(id(7)).into()]), [success(waits)]);
        }
    }
}

/// An Assigned Client Identifier is part of the session. It does not overrule a client identifier that the caller has
/// configured since.
#[test]
fn pitfall_17_the_client_identifier_survives_a_restart() {
    let config = |client_id: &str| ClientConfig { durable: true, client_id: client_id.into(), ..v5() };
    let assigned = Some(Utf8Str::new("chosen").unwrap());
    let properties = ConnAckProperties { assigned_client_identifier: assigned, ..Default::default() };
    let mut wire = Wire::new(config(""));
    let mut stored = Pairs::default();
    wire.connect(connack_with(properties));
    store(&mut wire.client, &mut stored);
    let restored = ClientSession::restore(config(""), NOW, stored.iter()).unwrap();
    assert_eq!(restored.config().client_id, "chosen");
    wire.lose();
    wire.client.reconfigure(config("mine")).unwrap();
    store(&mut wire.client, &mut stored);
    wire.connect(connack());
    store(&mut wire.client, &mut stored);
    let restored = ClientSession::restore(config("mine"), NOW, stored.iter()).unwrap();
    assert_eq!(restored.config().client_id, "mine");
    // The same with a snapshot.
    let snapshot = snapshot(&mut wire.client);
    assert_eq!(ClientSession::restore(config("mine"), NOW, snapshot.iter()).unwrap().config().client_id, "mine");
}
