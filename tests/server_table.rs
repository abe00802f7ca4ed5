//! The fate of a session, its messages and its will: every way in which a connection can end, against every time at
//! which the client can reconnect. The expected results are computed from the rules of the specification.

#![cfg(feature = "alloc")]

use mqtt_sansio::codec::{
    ConnectProperties, Disconnect, DisconnectReasonCode, Packet, PubAck, PubComp, PubRec, PubRel, QoS,
};
use mqtt_sansio::server::{Accept, ServerConfig};
use mqtt_sansio::{AbandonReason, Instant, Message, ProtocolError, SessionExpiry, Token, Version};

#[path = "server_table/acceptor.rs"]
mod acceptor;
#[path = "server_table/commands.rs"]
mod commands;
#[path = "server_table/first_packet.rs"]
mod first_packet;
#[path = "common/server.rs"]
mod server;
#[path = "server_table/versions.rs"]
mod versions;

use self::server::{
    Done, Door, Event, QOS_1, QOS_2, Why, Wire, abandoned, again, at, config, decode, delivered, delivery, disconnect,
    disconnected, id, lasting, protocol_error, publish, success, take, will,
};

/// How the first connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    NormalDisconnection,
    DisconnectWithWill,
    Lost,
    KeepAliveTimeout,
    ProtocolError,
    ServerDisconnect,
    /// Session taken over: another connection of the same client while this one is open, announced to the session
    /// before.
    TakeOver,
    /// Session taken over without announcement.
    Replaced,
}

impl End {
    const ALL: [Self; 8] = [
        Self::NormalDisconnection,
        Self::DisconnectWithWill,
        Self::Lost,
        Self::KeepAliveTimeout,
        Self::ProtocolError,
        Self::ServerDisconnect,
        Self::TakeOver,
        Self::Replaced,
    ];
}

/// One combination. Times are seconds since the first connection was closed.
#[derive(Clone, Copy, Debug)]
struct Case {
    version: Version,
    /// The Session Expiry Interval. Before 5.0 it is 0 with Clean Session and `FOR_EVER` without.
    expiry: u32,
    end: End,
    /// The Will Delay Interval, if there is a will.
    delay: Option<u32>,
    /// When the client reconnects.
    back: Option<u64>,
    /// Whether the client then asks for a new session.
    clean_start: bool,
    /// Whether the session is polled at each of its deadlines, or only when the client reconnects.
    watched: bool,
    /// Whether the first connection resumed an earlier session.
    resumed: bool,
}

const FOR_EVER: u32 = u32::MAX;

/// The length of the first connection in seconds: one and a half times its Keep Alive of 10 seconds.
const CLOSED: u64 = 15;

/// The expected results.
#[derive(Debug, PartialEq)]
struct Expected {
    /// When the will is published.
    will: Option<u64>,
    /// Whether the session is resumed when the client reconnects.
    continues: bool,
    /// When the expiry of the session is reported, if it is.
    expired: Option<u64>,
}

impl Case {
    fn expected(&self) -> Expected {
        // The session ends when its expiry interval has passed since the connection was closed. With 0 it ends with the
        // connection, and with 0xFFFFFFFF never (section 3.1.2.11.2).
        let ends = (self.expiry != FOR_EVER).then_some(u64::from(self.expiry));
        let is_over_by = |time: u64| ends.is_some_and(|ends| ends <= time);
        // DISCONNECT with 0x00 removes the will, and nothing else does [MQTT-3.1.2-8, MQTT-3.1.2-10, MQTT-3.14.4-3].
        let delay = self.delay.filter(|_| self.end != End::NormalDisconnection).map(u64::from);
        // It is due when its delay has passed or the session ends, whichever happens first (section 3.1.3.2.2).
        let due = delay.map(|delay| ends.map_or(delay, |ends| ends.min(delay)));
        let Some(back) = self.back else {
            return Expected { will: due, continues: false, expired: ends };
        };
        // With Clean Start the session ends when the client reconnects [MQTT-3.1.2-4], and the will is due then at the
        // latest.
        let continues = !self.clean_start && !is_over_by(back);
        let will = due.filter(|&due| due <= back).or(delay.filter(|_| !continues).map(|_| back));
        // If the client reconnects before the delay has passed, and the session is resumed, the will is not published
        // [MQTT-3.1.3-9]. A session that is not polled in between reports the will when the client reconnects.
        let will = will.map(|time| if self.watched { time } else { back });
        let expired = ends.filter(|&ends| self.watched && ends <= back && !self.is_taken_over());
        Expected { will, continues, expired }
    }

    const fn is_taken_over(&self) -> bool {
        matches!(self.end, End::TakeOver | End::Replaced)
    }
}

/// A case, its session, and the events reported so far.
struct Run {
    case: Case,
    wire: Wire,
    reported: Vec<(u64, Event)>,
}

impl Run {
    /// Runs the first connection up to its end. Messages are in flight, half delivered and queued.
    fn new(case: Case) -> Self {
        let config = ServerConfig { max_in_flight: 3.try_into().unwrap(), ..config() };
        let session_expiry_interval = Some(case.expiry).filter(|_| case.version == Version::V5);
        let connect = mqtt_sansio::codec::Connect {
            clean_start: case.expiry == 0,
            keep_alive: if case.end == End::KeepAliveTimeout { 10 } else { 0 },
            will: case.delay.map(|delay| will("first", delay)),
            properties: ConnectProperties { session_expiry_interval, ..Default::default() },
            ..lasting(case.version)
        };
        let mut wire = Wire::connected(config, &connect);
        if case.resumed {
            // DISCONNECT discards this will: the second connection, which opens before its delay has passed, has a will
            // of its own.
            wire.receive(&[disconnect(DisconnectReasonCode::NormalDisconnection)]);
            wire.lose();
            wire.reconnect(&connect);
            wire.take();
        }
        Self { case, wire, reported: Vec::new() }
    }

    fn poll(&mut self) {
        let time = self.wire.now.since(at(CLOSED)).as_secs();
        let events = self.wire.poll();
        self.reported.extend(events.into_iter().map(|event| (time, event)));
    }

    /// Advances the time to this many seconds after the end of the first connection.
    fn wait_until(&mut self, seconds: u64) {
        let until = at(CLOSED + seconds);
        while self.case.watched
            && let Some(deadline) = self.wire.server.deadline()
            && deadline <= until
        {
            assert!(deadline >= self.wire.now || deadline == Instant::EPOCH, "it was due before");
            self.wire.now = self.wire.now.max(deadline);
            self.poll();
        }
        self.wire.now = until;
    }

    /// Ends the connection in the way of the case.
    fn end(&mut self) {
        let wire = &mut self.wire;
        wire.now = at(CLOSED);
        let events = match self.case.end {
            End::NormalDisconnection => wire.receive(&[disconnect(DisconnectReasonCode::NormalDisconnection)]),
            End::DisconnectWithWill => wire.receive(&[disconnect(DisconnectReasonCode::DisconnectWithWillMessage)]),
            End::ProtocolError => wire.receive(&[lasting(wire.version).into()]),
            End::ServerDisconnect => {
                let reason_code = DisconnectReasonCode::ServerShuttingDown;
                wire.server.disconnect(wire.now, &Disconnect { reason_code, ..Disconnect::default() }).unwrap();
                wire.poll()
            }
            End::TakeOver => {
                wire.server.take_over(wire.now).unwrap();
                wire.poll()
            }
            End::KeepAliveTimeout => wire.poll(),
            End::Lost | End::Replaced => vec![],
        };
        let expected = match self.case.end {
            End::NormalDisconnection => vec![disconnected(DisconnectReasonCode::NormalDisconnection)],
            End::DisconnectWithWill => vec![disconnected(DisconnectReasonCode::DisconnectWithWillMessage)],
            End::ProtocolError => vec![protocol_error(ProtocolError::SecondConnect)],
            End::ServerDisconnect | End::TakeOver => vec![Event::Close(Why::Requested)],
            End::KeepAliveTimeout => vec![Event::Close(Why::KeepAliveTimeout)],
            End::Lost | End::Replaced => vec![],
        };
        assert_eq!(events, expected, "{:?}", self.case);
        if self.case.end != End::Replaced {
            wire.server.closed(wire.now);
        }
    }
}

/// Acknowledges every message as a client does until there are no more. Returns payload and DUP of each message
/// received.
fn serve(wire: &mut Wire, events: &mut Vec<Event>) -> Vec<(String, bool)> {
    let mut got = Vec::new();
    loop {
        let sent = wire.take();
        if sent.is_empty() {
            return got;
        }
        for packet in decode(&sent, wire.version) {
            let answer: Packet<'_> = match packet {
                Packet::Publish(publish) => {
                    got.push((String::from_utf8(publish.payload.into()).unwrap(), publish.delivery.dup()));
                    let id = packet.packet_id().unwrap();
                    if publish.delivery.qos() == QoS::AtLeastOnce {
                        PubAck::new(id).into()
                    } else {
                        PubRec::new(id).into()
                    }
                }
                Packet::PubRel(ack) => PubComp::new(ack.id).into(),
                _ => continue,
            };
            events.extend(wire.receive(&[answer]));
        }
    }
}

fn check(case: Case) {
    let expected = case.expected();
    let mut run = Run::new(case);
    // Three messages are in flight, one of them received. Two are queued for want of quota, one of them published
    // without a connection.
    let wire = &mut run.wire;
    let mut tokens: Vec<Token> =
        [("1", QOS_1), ("2", QOS_2), ("3", QOS_2), ("4", QOS_2)].map(|(text, qos)| wire.publish(text, qos)).into();
    wire.receive(&[PubRec::new(id(3)).into(), publish("in", delivery(QOS_2, 9)).into()]);
    wire.take();
    run.end();
    if !case.is_taken_over() {
        tokens.push(run.wire.publish("5", QOS_1));
    }
    let Some(back) = case.back else {
        run.wait_until(10_000);
        run.poll();
        return check_end(run, &expected, &tokens);
    };
    if !case.is_taken_over() {
        run.wait_until(back);
    }
    let expired = run.reported.iter().any(|(_, event)| *event == Event::Expired);
    // The client reconnects with another will.
    let session_expiry_interval = Some(100).filter(|_| case.version == Version::V5);
    let connect = mqtt_sansio::codec::Connect {
        clean_start: case.clean_start,
        will: Some(will("second", 0)),
        properties: ConnectProperties { session_expiry_interval, ..Default::default() },
        ..lasting(case.version)
    };
    if expired {
        // The embedding program has dropped the expired session.
        let mut door = Door::at(std::sync::Arc::clone(&run.wire.config), case.version, run.wire.now);
        door.receive(&[connect.into()]);
        run.wire.server = door.acceptor.accept(door.now, None, Accept::default()).unwrap();
    } else {
        run.wire.reconnect(&connect);
    }
    assert_eq!((run.wire.server.client_id(), run.wire.server.is_connected()), ("c", true));

    // CONNACK says whether a session is present [MQTT-3.2.2-2, MQTT-3.2.2-3]; 3.1 cannot say it.
    let says_so = expected.continues && case.version != Version::V31;
    let mut connack = server::encoded(&server::connack(says_so), case.version);
    let sent = take(&mut bytes::Buf::take(run.wire.server.transmit(), connack.len()));
    assert_eq!(sent, std::mem::take(&mut connack), "{case:?}");
    run.poll();
    let mut events = Vec::new();
    let got = serve(&mut run.wire, &mut events);
    let outcomes: Vec<_> = run.reported.iter().map(|(_, event)| event.clone()).chain(events.clone()).collect();
    if expected.continues {
        // The messages in flight are sent again, with DUP or as PUBREL, and then the queued ones [MQTT-4.4.0-1].
        let mut all = vec![("1".to_string(), true), ("2".into(), true), ("4".into(), false)];
        if tokens.len() > 4 {
            all.push(("5".into(), false));
        }
        assert_eq!(got, all, "{case:?}");
        assert!(tokens.iter().all(|&token| outcomes.contains(&success(token))), "{case:?}: {outcomes:?}");
    } else {
        // The messages are lost with their session [MQTT-4.1.0-2], and the new session sends none of them.
        assert_eq!(got, [], "{case:?}");
        assert!(
            tokens.iter().all(|&token| outcomes.contains(&abandoned(token, AbandonReason::Session))),
            "{case:?}: {outcomes:?}"
        );
    }
    let done = outcomes.iter().filter(|event| matches!(event, Event::Done(..))).count();
    assert_eq!(done, tokens.len(), "one outcome for each: {case:?}: {outcomes:?}");
    // The identifier of a message received before is known exactly if the session was resumed [MQTT-4.3.3-10].
    let copies = run.wire.receive(&[publish("in", again(QOS_2, 9)).into()]);
    assert_eq!(copies.len(), usize::from(!expected.continues), "{case:?}: {copies:?}");

    // The second connection ends, and its own will is published.
    let lasts = match case.version {
        Version::V5 => Some(100),
        _ if case.clean_start => Some(0),
        _ => None,
    };
    run.wait_until(back + 5);
    run.wire.server.closed(run.wire.now);
    run.case.watched = true;
    let before = run.reported.len();
    run.wait_until(back + 10_000);
    let mut after = vec![(back + 5, Event::Will("second".into()))];
    after.extend(lasts.map(|lasts: u64| (back + 5 + lasts, Event::Expired)));
    assert_eq!(run.reported[before..], after, "{case:?}");
    run.reported.truncate(before);
    check_end(run, &expected, &tokens);
}

/// Checks that the will of the first connection and the expiry of its session were reported as expected.
fn check_end(run: Run, expected: &Expected, tokens: &[Token]) {
    let Run { case, reported, .. } = run;
    let all = |wanted: &Event| -> Vec<u64> {
        reported.iter().filter(|(_, event)| event == wanted).map(|&(time, _)| time).collect()
    };
    let will = all(&Event::Will("first".into()));
    assert_eq!(will, Vec::from_iter(expected.will), "the will: {case:?}: {reported:?}");
    assert_eq!(all(&Event::Expired), Vec::from_iter(expected.expired), "{case:?}: {reported:?}");
    assert!(!reported.iter().any(|(_, event)| matches!(event, Event::Close(_))), "{case:?}: {reported:?}");
    if case.back.is_none() && expected.expired.is_some() {
        for &token in tokens {
            let outcome = abandoned(token, AbandonReason::Session);
            assert_eq!(all(&outcome), Vec::from_iter(expected.expired), "{case:?}: {reported:?}");
        }
        // Expiry is the last event.
        assert_eq!(reported.last().map(|(_, event)| event), Some(&Event::Expired), "{case:?}");
    }
}

/// Times before, at and after the shorter Will Delay Interval, the Session Expiry Interval and the longer Will Delay
/// Interval.
const TIMES: [Option<u64>; 9] =
    [None, Some(0), Some(10), Some(30), Some(50), Some(100), Some(200), Some(300), Some(400)];

fn check_all(version: Version, expiries: &[u32], delays: &[Option<u32>], ends: &[End]) -> usize {
    let mut count = 0;
    for (&expiry, &delay) in expiries.iter().flat_map(|expiry| delays.iter().map(move |delay| (expiry, delay))) {
        for (&end, back) in ends.iter().flat_map(|end| TIMES.map(|back| (end, back))) {
            if matches!(end, End::TakeOver | End::Replaced) && back != Some(0) {
                continue; // the other connection is open already
            }
            for flags in 0..8 {
                let (clean_start, watched, resumed) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
                if (back.is_none() && (clean_start || !watched)) || (resumed && expiry == 0) {
                    continue; // this combination does not exist
                }
                check(Case { version, expiry, end, delay, back, clean_start, watched, resumed });
                count += 1;
            }
        }
    }
    count
}

/// [5.0: MQTT-3.1.2-4, MQTT-3.1.2-5, MQTT-3.1.2-6, MQTT-3.1.2-8, MQTT-3.1.2-10, MQTT-3.1.2-23, MQTT-3.1.3-9,
/// MQTT-3.2.2-2, MQTT-3.2.2-3, MQTT-3.14.4-3, MQTT-4.1.0-2]
#[test]
fn sessions_and_wills_of_5_0() {
    let count = check_all(Version::V5, &[0, 100, FOR_EVER], &[None, Some(0), Some(30), Some(300)], &End::ALL);
    assert!(count > 3000, "{count}");
}

/// Before 5.0 a will has no delay, and DISCONNECT no reason code.
/// [3.1.1: MQTT-3.1.2-4, MQTT-3.1.2-6, MQTT-3.1.2-8, MQTT-3.1.2-10, MQTT-3.2.2-1, MQTT-3.2.2-2, MQTT-3.2.2-3,
/// MQTT-3.14.4-3]
#[test]
fn sessions_and_wills_of_3_1_1_and_3_1() {
    let ends = [
        End::NormalDisconnection,
        End::Lost,
        End::KeepAliveTimeout,
        End::ProtocolError,
        End::ServerDisconnect,
        End::TakeOver,
        End::Replaced,
    ];
    for version in [Version::V311, Version::V31] {
        assert!(check_all(version, &[0, FOR_EVER], &[None, Some(0)], &ends) > 400);
    }
}

/// In 3.1.1 the last CONNECT decides: after Clean Session the session ends with its connection, and otherwise it does
/// not [3.1.1: MQTT-3.1.2-4, MQTT-3.1.2-6; 5.0: MQTT-3.1.2-23].
#[test]
fn the_last_connect_decides_how_long_a_session_lasts() {
    for version in Version::ALL {
        let connect = |lasts: bool| mqtt_sansio::codec::Connect {
            clean_start: !lasts && version != Version::V5,
            properties: ConnectProperties {
                session_expiry_interval: (lasts && version == Version::V5).then_some(7),
                ..Default::default()
            },
            ..lasting(version)
        };
        let mut wire = Wire::connected(config(), &connect(false));
        assert_eq!(wire.server.session_expiry_interval(), SessionExpiry::WITH_CONNECTION);
        assert_eq!(wire.lose(), [Event::Expired]);
        let mut wire = Wire::connected(config(), &connect(true));
        assert_eq!(wire.lose(), []);
        wire.later(5000);
        wire.reconnect(&connect(false));
        assert_eq!(wire.poll(), []);
        assert_eq!(wire.server.deadline(), None, "the end of the earlier connection is not remembered");
        assert_eq!(wire.lose(), [Event::Expired]);
    }
}

/// DISCONNECT can change the Session Expiry Interval (section 3.14.2.2.2), and with it the time at which the will is
/// due.
#[test]
fn disconnect_changes_the_session_expiry_interval() {
    for (asked, changed, delay) in
        [(100, 0, 50), (100, 10, 50), (100, 1000, 50), (100, FOR_EVER, 500), (FOR_EVER, 5, 0)]
    {
        let first = mqtt_sansio::codec::Connect {
            will: Some(will("first", delay)),
            properties: ConnectProperties { session_expiry_interval: Some(asked), ..Default::default() },
            ..lasting(Version::V5)
        };
        let mut wire = Wire::connected(config(), &first);
        let reason_code = DisconnectReasonCode::DisconnectWithWillMessage;
        let properties =
            mqtt_sansio::codec::DisconnectProperties { session_expiry_interval: Some(changed), ..Default::default() };
        wire.receive(&[Disconnect { reason_code, properties }.into()]);
        assert_eq!(wire.server.session_expiry_interval(), SessionExpiry::after(changed));
        let closed = wire.now;
        let mut reported = wire.lose();
        let due = delay.min(changed);
        let after = |wire: &Wire| wire.now.since(closed).as_secs();
        let mut wills = Vec::new();
        let mut ends = Vec::new();
        loop {
            wills.extend(reported.iter().filter(|it| **it == Event::Will("first".into())).map(|_| after(&wire)));
            ends.extend(reported.iter().filter(|it| **it == Event::Expired).map(|_| after(&wire)));
            let Some(deadline) = wire.server.deadline() else { break };
            wire.now = wire.now.max(deadline);
            reported = wire.poll();
        }
        assert_eq!(wills, [u64::from(due)]);
        assert_eq!(ends, Vec::from_iter((changed != FOR_EVER).then_some(u64::from(changed))));
    }
}

/// A session that has reported its expiry cannot be resumed, even if the embedding program still holds it
/// [3.1.1: MQTT-3.2.2-3; 5.0: MQTT-3.2.2-3, MQTT-4.1.0-2].
#[test]
fn an_expired_session_does_not_come_back() {
    for version in Version::ALL {
        let mut wire = expired(version);
        wire.later(1000);
        assert_eq!(wire.poll(), []);
        wire.reconnect(&lasting(version));
        wire.assert_sent(&[server::connack(false)]);
        assert_eq!(wire.poll(), []);
    }
}

/// A message published to an expired session is refused or lost.
#[test]
fn messages_to_an_expired_session_are_refused_or_lost() {
    for version in Version::ALL {
        let mut wire = expired(version);
        let Ok(late) = wire.server.publish(wire.now, &Message::new("t", "late").qos(QOS_1)) else { continue };
        let mut events = wire.poll();
        wire.reconnect(&lasting(version));
        events.extend(wire.poll());
        events.retain(|event| *event != Event::Expired);
        assert_eq!(events, [abandoned(late, AbandonReason::Session)]);
        wire.assert_sent(&[server::connack(false)]);
    }
}

fn expired(version: Version) -> Wire {
    let ends = mqtt_sansio::codec::Connect {
        clean_start: version != Version::V5,
        properties: ConnectProperties::default(),
        ..lasting(version)
    };
    let mut wire = Wire::connected(config(), &ends);
    assert_eq!(wire.lose(), [Event::Expired]);
    wire
}

/// The state of the session at the time of the decision counts: meanwhile its connection may have ended, and with it
/// the session, or its will may be due. The acceptor was not polled since.
#[test]
fn changes_while_a_decision_is_pending_count() {
    for polled in [false, true] {
        for (expiry, delay) in [(0, 0), (0, 20), (100, 0), (100, 5), (3, 20)] {
            let first = mqtt_sansio::codec::Connect {
                will: Some(will("first", delay)),
                properties: ConnectProperties { session_expiry_interval: Some(expiry), ..Default::default() },
                ..lasting(Version::V5)
            };
            let mut wire = Wire::connected(config(), &first);
            let token = wire.publish("1", QOS_1);
            wire.take();
            let mut door = Door::asked(config(), &lasting(Version::V5));
            // The first connection is used, and is then lost.
            wire.later(10_000);
            assert_eq!(wire.receive(&[publish("x", delivery(QOS_1, 1)).into()]), [delivered("x", QOS_1)]);
            wire.take();
            wire.server.closed(wire.now);
            wire.later(1_000);
            let mut events = if polled { wire.poll() } else { vec![] };
            wire.server = door.acceptor.accept(door.now, wire.server.clone(), Accept::default()).unwrap();
            events.extend(wire.poll());
            let continues = expiry > 1 || (expiry > 0 && !polled);
            let sent = wire.take();
            let Packet::ConnAck(connack) = decode(&sent, Version::V5)[0] else { panic!("CONNACK comes first") };
            assert_eq!(connack.session_present, continues, "{expiry}, {delay}, {polled}: {events:?}");
            assert_eq!(
                events.contains(&abandoned(token, AbandonReason::Session)),
                !continues,
                "{expiry}, {delay}: {events:?}"
            );
            let wills = events.iter().filter(|event| **event == Event::Will("first".into())).count();
            assert_eq!(wills, usize::from(!continues || delay == 0), "{expiry}, {delay}, {polled}: {events:?}");
        }
    }
}

/// The same, with a connection that is still open when the decision is made and is taken over then.
#[test]
fn a_late_decision_takes_the_session_over() {
    for (expiry, delay) in [(0, 0), (0, 20), (100, 0), (100, 5)] {
        let first = mqtt_sansio::codec::Connect {
            will: Some(will("first", delay)),
            properties: ConnectProperties { session_expiry_interval: Some(expiry), ..Default::default() },
            ..lasting(Version::V5)
        };
        let mut wire = Wire::connected(config(), &first);
        let mut door = Door::asked(config(), &lasting(Version::V5));
        wire.later(10_000);
        wire.poll();
        wire.server = door.acceptor.accept(door.now, wire.server.clone(), Accept::default()).unwrap();
        let continues = expiry > 0;
        wire.assert_sent(&[server::connack(continues)]);
        let events = wire.poll();
        let is_due = !continues || delay == 0;
        assert_eq!(events, Vec::from_iter(is_due.then(|| Event::Will("first".into()))), "{expiry}, {delay}");
    }
}

/// Every connection has a will of its own, and each is published unless its connection ended with a normal DISCONNECT,
/// even if the session was not polled in between [3.1.1: MQTT-3.1.2-8; 5.0: MQTT-3.1.2-8].
#[test]
fn each_connection_has_its_own_will() {
    for version in Version::ALL {
        for replaced in [false, true] {
            let with = |payload| mqtt_sansio::codec::Connect { will: Some(will(payload, 0)), ..lasting(version) };
            let mut wire = Wire::connected(config(), &with("a"));
            for payload in ["b", "c", "d"] {
                if !replaced {
                    wire.server.closed(wire.now);
                }
                wire.later(1000);
                wire.reconnect(&with(payload));
            }
            let mut events = wire.poll();
            events.extend(wire.lose());
            assert_eq!(
                events,
                ["a", "b", "c", "d"].map(|payload| Event::Will(payload.into())),
                "{version}, {replaced}"
            );
        }
    }
}

/// A refused client changes nothing in the stored session, and its own will is not stored.
#[test]
fn a_refusal_does_not_change_the_session() {
    let mut wire = Wire::lasting(Version::V5);
    let token = wire.publish("1", QOS_1);
    wire.take();
    wire.lose();
    let intruder =
        mqtt_sansio::codec::Connect { clean_start: true, will: Some(will("not mine", 0)), ..lasting(Version::V5) };
    let mut door = Door::asked(config(), &intruder);
    door.acceptor.refuse(door.now, mqtt_sansio::codec::ConnAckReasonCode::NotAuthorized).unwrap();
    assert_eq!(door.poll(), [Event::Close(Why::Refused(mqtt_sansio::codec::ConnAckReasonCode::NotAuthorized.into()))]);
    wire.reconnect(&lasting(Version::V5));
    wire.poll();
    wire.assert_sent(&[server::connack(true), publish("1", again(QOS_1, 1)).into()]);
    assert_eq!(wire.receive(&[PubAck::new(id(1)).into()]), [success(token)]);
    assert_eq!(wire.lose(), []);
}

/// When the clock goes back nothing ends early or twice.
#[test]
fn nothing_ends_early_or_twice_when_the_clock_goes_back() {
    let first = mqtt_sansio::codec::Connect { will: Some(will("first", 20)), ..lasting(Version::V5) };
    let mut wire = Wire::connected(config(), &first);
    wire.later(10_000);
    wire.poll();
    wire.server.closed(at(5));
    for (time, expected) in
        [(11, vec![]), (3, vec![]), (29, vec![]), (30, vec![Event::Will("first".into())]), (20, vec![])]
    {
        let mut reported = Vec::new();
        while let Some(action) = wire.server.poll_timeout(at(time)) {
            reported.push(Event::from(&action));
        }
        assert_eq!(reported, expected, "{time}");
    }
    let mut reported = Vec::new();
    for time in [3610, 3609, 3611, 100_000] {
        while let Some(action) = wire.server.poll_timeout(at(time)) {
            reported.push((time, Event::from(&action)));
        }
    }
    assert_eq!(reported, [(3610, Event::Expired)]);
}

/// A delivery that is in flight when a resumed session ends has one outcome: lost.
#[test]
fn a_released_message_is_lost_with_its_session() {
    let mut wire = Wire::lasting(Version::V5);
    let token = wire.publish("1", QOS_2);
    wire.receive(&[PubRec::new(id(1)).into()]);
    wire.resume();
    wire.assert_sent(&[PubRel::new(id(1)).into()]);
    wire.server.closed(wire.now);
    wire.later(3_600_000);
    assert_eq!(wire.poll(), [Event::Done(token, Done::Abandoned(AbandonReason::Session)), Event::Expired]);
    assert_eq!((wire.server.packet_ids_in_use(), wire.server.queued()), (0, 0));
    assert_eq!(wire.server.deadline(), None);
}
