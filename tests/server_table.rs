//! What becomes of a session, of its messages and of its will: every way in which a connection can end, and every time
//! at which the client can be back. What is expected is written down as rules of the specification, not as cases.

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
    Done, Door, Event, QOS_1, QOS_2, Why, Wire, again, at, config, decode, delivery, disconnect, disconnected, id,
    lasting, lost, protocol_error, publish, success, take, told, will,
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
    /// Another connection of the same client, while this one is still there; it was told so before.
    TakeOver,
    /// The same, and it was not told.
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
    /// The session expiry interval; before 5.0 it is 0 with Clean Session and `FOR_EVER` without.
    expiry: u32,
    end: End,
    /// The will delay, if there is a will.
    delay: Option<u32>,
    /// When the client is back.
    back: Option<u64>,
    /// Whether it asks for a new session then.
    clean_start: bool,
    /// Whether the session is polled whenever it is due, or only when the client is back.
    watched: bool,
    /// Whether the first connection has itself gone on with a session from before.
    resumed: bool,
}

const FOR_EVER: u32 = u32::MAX;

/// When the first connection is closed, in seconds. 10 seconds of Keep Alive are over then, and half as many again.
const CLOSED: u64 = 15;

/// What has to come of it.
#[derive(Debug, PartialEq)]
struct Expected {
    /// When the will is published.
    will: Option<u64>,
    /// Whether the session is there when the client is back.
    goes_on: bool,
    /// When it is told that the session has expired, if it is.
    expired: Option<u64>,
}

impl Case {
    fn expected(&self) -> Expected {
        // The session ends when its expiry interval has passed since the connection was closed; with 0 it ends with the
        // connection, and with 0xFFFFFFFF never (section 3.1.2.11.2).
        let ends = (self.expiry != FOR_EVER).then_some(u64::from(self.expiry));
        let is_over_by = |time: u64| ends.is_some_and(|ends| ends <= time);
        // DISCONNECT with 0x00 removes the will, and nothing else does [MQTT-3.1.2-8, MQTT-3.1.2-10, MQTT-3.14.4-3].
        let delay = self.delay.filter(|_| self.end != End::NormalDisconnection).map(u64::from);
        // It is due when its delay has passed or the session ends, whichever happens first (section 3.1.3.2.2).
        let due = delay.map(|delay| ends.map_or(delay, |ends| ends.min(delay)));
        let Some(back) = self.back else {
            return Expected { will: due, goes_on: false, expired: ends };
        };
        // With Clean Start the session ends as the client is back [MQTT-3.1.2-4], and the will is due then at the latest.
        let goes_on = !self.clean_start && !is_over_by(back);
        let will = due.filter(|&due| due <= back).or(delay.filter(|_| !goes_on).map(|_| back));
        // If the client is back before the delay has passed, and the session goes on, there is none [MQTT-3.1.3-9].
        // Somebody who does not look at the session in between learns of all that when the client is back.
        let will = will.map(|time| if self.watched { time } else { back });
        let expired = ends.filter(|&ends| self.watched && ends <= back && !self.is_taken_over());
        Expected { will, goes_on, expired }
    }

    const fn is_taken_over(&self) -> bool {
        matches!(self.end, End::TakeOver | End::Replaced)
    }
}

/// What has come of it.
struct Run {
    case: Case,
    wire: Wire,
    told: Vec<(u64, Event)>,
}

impl Run {
    /// The first connection, up to its end. Messages are in flight, half delivered, and waiting.
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
            // Its will is not that of the second connection, which begins before the delay of the first one has passed.
            wire.receive(&[disconnect(DisconnectReasonCode::NormalDisconnection)]);
            wire.lose();
            wire.back(&connect);
            wire.take();
        }
        Self { case, wire, told: Vec::new() }
    }

    fn poll(&mut self) {
        let time = self.wire.now.since(at(CLOSED)).as_secs();
        let events = self.wire.poll();
        self.told.extend(events.into_iter().map(|event| (time, event)));
    }

    /// Time goes on to so many seconds after the end of the first connection.
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

    /// What is expected to end the connection, and does.
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

/// Answers every message as a client does, until there are no more, and returns what it has got.
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
    // Three are in flight, one of them received; two wait for room in the window, one of them for a connection.
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
    let expired = run.told.iter().any(|(_, event)| *event == Event::Expired);
    // The client is back, with another will.
    let session_expiry_interval = Some(100).filter(|_| case.version == Version::V5);
    let connect = mqtt_sansio::codec::Connect {
        clean_start: case.clean_start,
        will: Some(will("second", 0)),
        properties: ConnectProperties { session_expiry_interval, ..Default::default() },
        ..lasting(case.version)
    };
    if expired {
        // Then the caller has dropped it.
        let mut door = Door::at(std::sync::Arc::clone(&run.wire.config), case.version, run.wire.now);
        door.receive(&[connect.into()]);
        run.wire.server = door.acceptor.accept(door.now, None, Accept::default()).unwrap();
    } else {
        run.wire.back(&connect);
    }
    assert_eq!((run.wire.server.client_id(), run.wire.server.is_connected()), ("c", true));

    // CONNACK says whether the session goes on [MQTT-3.2.2-2, MQTT-3.2.2-3]; 3.1 cannot say it.
    let says_so = expected.goes_on && case.version != Version::V31;
    let mut connack = server::encoded(&server::connack(says_so), case.version);
    let sent = take(&mut bytes::Buf::take(run.wire.server.transmit(), connack.len()));
    assert_eq!(sent, std::mem::take(&mut connack), "{case:?}");
    run.poll();
    let mut events = Vec::new();
    let got = serve(&mut run.wire, &mut events);
    let outcomes: Vec<_> = run.told.iter().map(|(_, event)| event.clone()).chain(events.clone()).collect();
    if expected.goes_on {
        // What is in flight is sent again, with DUP but for PUBREL, and then what was waiting [MQTT-4.4.0-1].
        let mut all = vec![("1".to_string(), true), ("2".into(), true), ("4".into(), false)];
        if tokens.len() > 4 {
            all.push(("5".into(), false));
        }
        assert_eq!(got, all, "{case:?}");
        assert!(tokens.iter().all(|&token| outcomes.contains(&success(token))), "{case:?}: {outcomes:?}");
    } else {
        // It is lost with its session [MQTT-4.1.0-2], and of another one nothing is sent.
        assert_eq!(got, [], "{case:?}");
        assert!(
            tokens.iter().all(|&token| outcomes.contains(&lost(token, AbandonReason::Session))),
            "{case:?}: {outcomes:?}"
        );
    }
    let done = outcomes.iter().filter(|event| matches!(event, Event::Done(..))).count();
    assert_eq!(done, tokens.len(), "one outcome for each: {case:?}: {outcomes:?}");
    // What had been received before is known, or it is not [MQTT-4.3.3-10].
    let copies = run.wire.receive(&[publish("in", again(QOS_2, 9)).into()]);
    assert_eq!(copies.len(), usize::from(!expected.goes_on), "{case:?}: {copies:?}");

    // The second connection ends, and its will is its own.
    let lasts = match case.version {
        Version::V5 => Some(100),
        _ if case.clean_start => Some(0),
        _ => None,
    };
    run.wait_until(back + 5);
    run.wire.server.closed(run.wire.now);
    run.case.watched = true;
    let before = run.told.len();
    run.wait_until(back + 10_000);
    let mut after = vec![(back + 5, Event::Will("second".into()))];
    after.extend(lasts.map(|lasts: u64| (back + 5 + lasts, Event::Expired)));
    assert_eq!(run.told[before..], after, "{case:?}");
    run.told.truncate(before);
    check_end(run, &expected, &tokens);
}

/// The will of the first connection, and the end of its session, were told as expected.
fn check_end(run: Run, expected: &Expected, tokens: &[Token]) {
    let Run { case, told, .. } = run;
    let all = |wanted: &Event| -> Vec<u64> {
        told.iter().filter(|(_, event)| event == wanted).map(|&(time, _)| time).collect()
    };
    let will = all(&Event::Will("first".into()));
    assert_eq!(will, Vec::from_iter(expected.will), "the will: {case:?}: {told:?}");
    assert_eq!(all(&Event::Expired), Vec::from_iter(expected.expired), "{case:?}: {told:?}");
    assert!(!told.iter().any(|(_, event)| matches!(event, Event::Close(_))), "{case:?}: {told:?}");
    if case.back.is_none() && expected.expired.is_some() {
        for &token in tokens {
            let outcome = lost(token, AbandonReason::Session);
            assert_eq!(all(&outcome), Vec::from_iter(expected.expired), "{case:?}: {told:?}");
        }
        // There is nothing to tell behind that.
        assert_eq!(told.last().map(|(_, event)| event), Some(&Event::Expired), "{case:?}");
    }
}

/// Before, at and after the time of the shorter will, of the session's end, and of the longer will.
const TIMES: [Option<u64>; 9] =
    [None, Some(0), Some(10), Some(30), Some(50), Some(100), Some(200), Some(300), Some(400)];

fn check_all(version: Version, expiries: &[u32], delays: &[Option<u32>], ends: &[End]) -> usize {
    let mut count = 0;
    for (&expiry, &delay) in expiries.iter().flat_map(|expiry| delays.iter().map(move |delay| (expiry, delay))) {
        for (&end, back) in ends.iter().flat_map(|end| TIMES.map(|back| (end, back))) {
            if matches!(end, End::TakeOver | End::Replaced) && back != Some(0) {
                continue; // then the client is back at once
            }
            for flags in 0..8 {
                let (clean_start, watched, resumed) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
                if (back.is_none() && (clean_start || !watched)) || (resumed && expiry == 0) {
                    continue; // there is no such thing
                }
                check(Case { version, expiry, end, delay, back, clean_start, watched, resumed });
                count += 1;
            }
        }
    }
    count
}

#[test]
fn sessions_and_wills_of_5_0() {
    let count = check_all(Version::V5, &[0, 100, FOR_EVER], &[None, Some(0), Some(30), Some(300)], &End::ALL);
    assert!(count > 3000, "{count}");
}

/// A will has no delay there, and DISCONNECT no reason.
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

/// A client of 3.1.1 that is back with Clean Session has a session that ends with its connection, and one that is back
/// without has one that does not: what counts is the last CONNECT [3.1.1: MQTT-3.1.2-4, MQTT-3.1.2-6].
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
        wire.back(&connect(false));
        assert_eq!(wire.poll(), []);
        assert_eq!(wire.server.deadline(), None, "the end of the earlier connection is not remembered");
        assert_eq!(wire.lose(), [Event::Expired]);
    }
}

/// DISCONNECT can change how long the session lasts (section 3.14.2.2.2), and with it when the will is due.
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
        let mut told = wire.lose();
        let due = delay.min(changed);
        let after = |wire: &Wire| wire.now.since(closed).as_secs();
        let mut wills = Vec::new();
        let mut ends = Vec::new();
        loop {
            wills.extend(told.iter().filter(|it| **it == Event::Will("first".into())).map(|_| after(&wire)));
            ends.extend(told.iter().filter(|it| **it == Event::Expired).map(|_| after(&wire)));
            let Some(deadline) = wire.server.deadline() else { break };
            wire.now = wire.now.max(deadline);
            told = wire.poll();
        }
        assert_eq!(wills, [u64::from(due)]);
        assert_eq!(ends, Vec::from_iter((changed != FOR_EVER).then_some(u64::from(changed))));
    }
}

/// A session that was told to have expired, and was kept all the same, is not there any more [MQTT-3.2.2-3].
#[test]
fn an_expired_session_does_not_come_back() {
    for version in Version::ALL {
        let mut wire = expired(version);
        wire.later(1000);
        assert_eq!(wire.poll(), []);
        wire.back(&lasting(version));
        wire.assert_sent(&[server::connack(false)]);
        assert_eq!(wire.poll(), []);
    }
}

/// What is published to a session that has expired is refused, or is lost with it.
#[test]
fn nothing_waits_for_an_expired_session() {
    for version in Version::ALL {
        let mut wire = expired(version);
        let Ok(late) = wire.server.publish(wire.now, &Message::new("t", "late").qos(QOS_1)) else { continue };
        let mut events = wire.poll();
        wire.back(&lasting(version));
        events.extend(wire.poll());
        events.retain(|event| *event != Event::Expired);
        assert_eq!(events, [lost(late, AbandonReason::Session)]);
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

/// The decision comes later than the first packet, and what has happened to the session in between counts: its
/// connection has ended, and with it the session, or the will is due. The acceptor was not told the time since.
#[test]
fn what_happens_while_a_decision_is_pending_counts() {
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
            // The first connection is at work, then it is gone.
            wire.later(10_000);
            assert_eq!(wire.receive(&[publish("x", delivery(QOS_1, 1)).into()]), [told("x", QOS_1)]);
            wire.take();
            wire.server.closed(wire.now);
            wire.later(1_000);
            let mut events = if polled { wire.poll() } else { vec![] };
            wire.server = door.acceptor.accept(door.now, wire.server.clone(), Accept::default()).unwrap();
            events.extend(wire.poll());
            let goes_on = expiry > 1 || (expiry > 0 && !polled);
            let sent = wire.take();
            let Packet::ConnAck(connack) = decode(&sent, Version::V5)[0] else { panic!("CONNACK comes first") };
            assert_eq!(connack.session_present, goes_on, "{expiry}, {delay}, {polled}: {events:?}");
            assert_eq!(
                events.contains(&lost(token, AbandonReason::Session)),
                !goes_on,
                "{expiry}, {delay}: {events:?}"
            );
            let wills = events.iter().filter(|event| **event == Event::Will("first".into())).count();
            assert_eq!(wills, usize::from(!goes_on || delay == 0), "{expiry}, {delay}, {polled}: {events:?}");
        }
    }
}

/// The same, and the connection is still there when the decision comes, and is replaced by it.
#[test]
fn a_late_decision_replaces_a_connection() {
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
        let goes_on = expiry > 0;
        wire.assert_sent(&[server::connack(goes_on)]);
        let events = wire.poll();
        let is_due = !goes_on || delay == 0;
        assert_eq!(events, Vec::from_iter(is_due.then(|| Event::Will("first".into()))), "{expiry}, {delay}");
    }
}

/// Every connection has a will of its own, and each of them is published if its connection ends badly, even if the
/// client comes and goes so fast that nobody has looked at the session in between [MQTT-3.1.2-8].
#[test]
fn the_wills_of_several_connections() {
    for version in Version::ALL {
        for replaced in [false, true] {
            let with = |payload| mqtt_sansio::codec::Connect { will: Some(will(payload, 0)), ..lasting(version) };
            let mut wire = Wire::connected(config(), &with("a"));
            for payload in ["b", "c", "d"] {
                if !replaced {
                    wire.server.closed(wire.now);
                }
                wire.later(1000);
                wire.back(&with(payload));
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

/// A refused client changes nothing about the session that is kept for it, and its own will is never kept.
#[test]
fn a_refusal_leaves_the_session_alone() {
    let mut wire = Wire::lasting(Version::V5);
    let token = wire.publish("1", QOS_1);
    wire.take();
    wire.lose();
    let intruder =
        mqtt_sansio::codec::Connect { clean_start: true, will: Some(will("not mine", 0)), ..lasting(Version::V5) };
    let mut door = Door::asked(config(), &intruder);
    door.acceptor.refuse(door.now, mqtt_sansio::codec::ConnAckReasonCode::NotAuthorized).unwrap();
    assert_eq!(door.poll(), [Event::Close(Why::Refused(mqtt_sansio::codec::ConnAckReasonCode::NotAuthorized.into()))]);
    wire.back(&lasting(Version::V5));
    wire.poll();
    wire.assert_sent(&[server::connack(true), publish("1", again(QOS_1, 1)).into()]);
    assert_eq!(wire.receive(&[PubAck::new(id(1)).into()]), [success(token)]);
    assert_eq!(wire.lose(), []);
}

/// Time that goes back ends nothing early and nothing twice.
#[test]
fn time_that_goes_back() {
    let first = mqtt_sansio::codec::Connect { will: Some(will("first", 20)), ..lasting(Version::V5) };
    let mut wire = Wire::connected(config(), &first);
    wire.later(10_000);
    wire.poll();
    wire.server.closed(at(5));
    for (time, expected) in
        [(11, vec![]), (3, vec![]), (29, vec![]), (30, vec![Event::Will("first".into())]), (20, vec![])]
    {
        let mut told = Vec::new();
        while let Some(action) = wire.server.poll_timeout(at(time)) {
            told.push(Event::from(&action));
        }
        assert_eq!(told, expected, "{time}");
    }
    let mut told = Vec::new();
    for time in [3610, 3609, 3611, 100_000] {
        while let Some(action) = wire.server.poll_timeout(at(time)) {
            told.push((time, Event::from(&action)));
        }
    }
    assert_eq!(told, [(3610, Event::Expired)]);
}

/// What is still open when a session that has been resumed ends is lost, once.
#[test]
fn a_pubrel_is_lost_with_its_session_too() {
    let mut wire = Wire::lasting(Version::V5);
    let token = wire.publish("1", QOS_2);
    wire.receive(&[PubRec::new(id(1)).into()]);
    wire.resume();
    wire.assert_sent(&[PubRel::new(id(1)).into()]);
    wire.server.closed(wire.now);
    wire.later(3_600_000);
    assert_eq!(wire.poll(), [Event::Done(token, Done::Abandoned(AbandonReason::Session)), Event::Expired]);
    assert_eq!((wire.server.open_operations(), wire.server.waiting()), (0, 0));
    assert_eq!(wire.server.deadline(), None);
}
