//! Durable sessions of a server: what waits for which changes, and what is there after a restart.

#![cfg(feature = "alloc")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use mqtt_sansio::codec::{
    Connect, ConnectProperties, Disconnect, DisconnectProperties, Packet, PacketType, PubAck, PubComp, PubRec, PubRel,
    SubAckReasonCode, Subscribe, Subscription,
};
use mqtt_sansio::server::{Accept, Acceptor, AcceptorAction, Action, Close, ServerConfig, ServerSession};
use mqtt_sansio::store::{Pairs, RestoreErrorKind, batches};
use mqtt_sansio::{Instant, Message, OperationKind, OperationStage, QoS, Version};

#[path = "common/server.rs"]
mod server;

use self::server::{again, decode, delivery, encoded, id, published, text, will};

/// 2026, in Unix time.
const NOW: Instant = Instant::from_micros(1_780_000_000_000_000);

const SECOND: Duration = Duration::from_secs(1);

fn config() -> Arc<ServerConfig> {
    Arc::new(ServerConfig { durable: true, ..ServerConfig::default() })
}

/// A CONNECT whose session outlives its connection by this number of seconds.
fn connect(expiry: u32) -> Connect<'static> {
    let session_expiry_interval = Some(expiry).filter(|&seconds| seconds != 0);
    let properties = ConnectProperties { session_expiry_interval, ..ConnectProperties::default() };
    Connect { client_identifier: text("c1"), properties, ..Connect::default() }
}

/// A session and its store.
struct World {
    session: ServerSession,
    stored: Pairs,
    file: Vec<u8>,
}

impl World {
    fn new(connect: Connect<'_>) -> Self {
        Self { session: accept(None, connect, NOW), stored: Pairs::default(), file: Vec::new() }
    }

    /// Stores the changes and confirms them.
    fn store(&mut self) -> bool {
        let mut has_stored = false;
        while let Some(batch) = self.session.changes() {
            self.file.extend(batch.to_bytes());
            self.stored.apply(&batch);
            self.session.committed(NOW, batch.number());
            has_stored = true;
        }
        has_stored
    }

    /// Takes the packets that may leave.
    fn sent(&mut self) -> Vec<PacketType> {
        let bytes = self.take();
        decode(&bytes, Version::V5).iter().map(Packet::packet_type).collect()
    }

    fn take(&mut self) -> Vec<u8> {
        let transmit = self.session.transmit();
        transmit.copy_to_bytes(transmit.remaining()).into()
    }

    fn receive(&mut self, packets: &[Packet<'_>]) -> Vec<String> {
        let bytes: Vec<u8> = packets.iter().flat_map(|packet| encoded(packet, Version::V5)).collect();
        let mut input = &bytes[..];
        let mut actions = Vec::new();
        while let Some(action) = self.session.poll(NOW, &mut input) {
            actions.push(format!("{action:?}"));
        }
        assert!(input.is_empty());
        actions
    }

    /// Restores the session from its store, and from the file of its batches.
    fn restored(&self, now: Instant) -> Option<ServerSession> {
        let mut pairs = Pairs::default();
        for batch in batches(&self.file) {
            pairs.apply(&batch.unwrap());
        }
        assert_eq!(pairs, self.stored);
        ServerSession::restore(config(), now, pairs.iter()).unwrap()
    }
}

fn accept(stored: Option<ServerSession>, connect: Connect<'_>, now: Instant) -> ServerSession {
    let mut acceptor = Acceptor::new(config(), now);
    let bytes = encoded(&connect.into(), Version::V5);
    assert!(matches!(acceptor.poll(now, &mut &bytes[..]), Some(AcceptorAction::Connect(_))));
    acceptor.accept(now, stored, Accept::default()).unwrap()
}

/// CONNACK waits until the session is stored, and nothing leaves before it.
#[test]
fn connack_waits_for_the_session() {
    let mut world = World::new(connect(100));
    world.session.publish(NOW, &Message::new("t", "0")).unwrap();
    world.receive(&[Packet::PingReq]);
    assert_eq!(world.session.transmit().remaining(), 0);
    assert!(world.store());
    assert_eq!(world.sent(), [PacketType::ConnAck, PacketType::Publish, PacketType::PingResp]);
}

/// A session that ends with its connection is not stored, and nothing waits. What was stored of an earlier one is
/// removed before CONNACK says that there is none.
#[test]
fn a_session_that_ends_with_its_connection_is_not_stored() {
    let mut world = World::new(connect(0));
    assert_eq!(world.sent(), [PacketType::ConnAck]);
    world.session.publish(NOW, &Message::new("t", "2").qos(QoS::ExactlyOnce)).unwrap();
    assert_eq!(world.sent(), [PacketType::Publish]);
    assert!(!world.store());

    let mut world = World::new(Connect { will: Some(will("gone", 50)), ..connect(100) });
    world.session.publish(NOW, &Message::new("t", "2").qos(QoS::ExactlyOnce)).unwrap();
    world.store();
    world.session.closed(NOW);
    world.store();
    assert!(world.restored(NOW).is_some());
    world.session = accept(Some(world.session), Connect { clean_start: true, ..connect(0) }, NOW);
    assert_eq!(world.session.transmit().remaining(), 0);
    world.store();
    assert_eq!(world.sent(), [PacketType::ConnAck]);
    assert_eq!(world.stored.iter().filter(|(key, _)| key[0] >= 0x10).count(), 0, "{:02x?}", world.stored);
}

/// What depends on changes waits for them, and nothing else does.
#[test]
fn packets_wait_for_the_changes_before_them() {
    let mut world = World::new(connect(100));
    world.store();
    world.sent();
    let subscriptions = [Subscription::new("a", QoS::AtMostOnce).unwrap()];
    let subscribe = Subscribe { id: id(9), subscriptions: (&subscriptions).into(), properties: Default::default() };
    let bytes = encoded(&subscribe.into(), Version::V5);
    let mut input = &bytes[..];
    let Some(Action::Subscribe(request)) = world.session.poll(NOW, &mut input) else { panic!("a request") };
    // Nothing has changed in the session, but the application stores the subscription and the message with the batch.
    world.session.suback(NOW, request.id, &[SubAckReasonCode::GrantedQoS0]).unwrap();
    assert_eq!(world.sent(), []);
    let batch = world.session.changes().expect("SUBACK waits for it");
    assert_eq!(world.receive(&[published("1", delivery(QoS::AtLeastOnce, 1))]).len(), 1);
    world.session.committed(NOW, batch.number());
    world.stored.apply(&batch);
    world.file.extend(batch.to_bytes());
    assert_eq!(world.sent(), [PacketType::SubAck]);
    assert!(world.store());
    assert_eq!(world.sent(), [PacketType::PubAck]);
    // A received message of QoS 2 changes it.
    assert_eq!(world.receive(&[published("2", delivery(QoS::ExactlyOnce, 2))]).len(), 1);
    assert_eq!(world.receive(&[published("3", delivery(QoS::AtLeastOnce, 3)), Packet::PingReq]).len(), 1);
    let mut input = &bytes[..];
    let Some(Action::Subscribe(request)) = world.session.poll(NOW, &mut input) else { panic!("a request") };
    world.session.suback(NOW, request.id, &[SubAckReasonCode::GrantedQoS0]).unwrap();
    assert_eq!(world.sent(), [PacketType::PingResp]);
    assert!(world.store());
    assert_eq!(world.sent(), [PacketType::PubRec, PacketType::PubAck, PacketType::SubAck]);
    assert_eq!(world.receive(&[PubRel::new(id(2)).into()]).len(), 0);
    assert_eq!(world.sent(), []);
    world.store();
    assert_eq!(world.sent(), [PacketType::PubComp]);
    // Refusals and what ends the connection do not wait.
    world.receive(&[published("2", delivery(QoS::ExactlyOnce, 2))]);
    world.session.disconnect(NOW, &Disconnect::default()).unwrap();
    assert_eq!(world.sent(), [PacketType::Disconnect]);
    // Nothing follows DISCONNECT, even if the changes are stored now.
    world.store();
    assert_eq!(world.sent(), []);
}

/// Messages in every stage are there after a restart, with their tokens, and are sent again in order.
#[test]
fn messages_survive_a_restart() {
    let mut world = World::new(connect(100));
    world.store();
    let tokens: Vec<_> = [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce, QoS::AtLeastOnce]
        .into_iter()
        .zip(["1", "2", "3", "4"])
        .map(|(qos, payload)| world.session.publish(NOW, &Message::new("t", payload).qos(qos).retain(true)).unwrap())
        .collect();
    world.store();
    world.take();
    world.receive(&[PubRec::new(id(3)).into(), published("in", delivery(QoS::ExactlyOnce, 7))]);
    world.store();
    world.session.closed(NOW);
    let queued = world.session.publish(NOW, &Message::new("u", "5").qos(QoS::ExactlyOnce)).unwrap();
    world.store();

    let session = world.restored(NOW).unwrap();
    let kind = |topic: &'static str, qos| OperationKind::Publish {
        topic: (!topic.is_empty()).then(|| topic.try_into().unwrap()),
        qos,
    };
    let operations: Vec<_> = session.operations().map(|it| (it.token, it.kind, it.stage)).collect();
    assert_eq!(
        operations,
        [
            (tokens[2], kind("", QoS::ExactlyOnce), OperationStage::Released),
            (tokens[0], kind("t", QoS::AtLeastOnce), OperationStage::Sent),
            (tokens[1], kind("t", QoS::ExactlyOnce), OperationStage::Sent),
            (tokens[3], kind("t", QoS::AtLeastOnce), OperationStage::Sent),
            (queued, kind("u", QoS::ExactlyOnce), OperationStage::Queued),
        ]
    );
    world.session = accept(Some(session), connect(100), NOW);
    assert!(world.session.is_resumed());
    let mut actions = 0;
    while world.session.poll_timeout(NOW).is_some() {
        actions += 1;
    }
    assert_eq!(actions, 0);
    world.store();
    let bytes = world.take();
    let sent = decode(&bytes, Version::V5);
    let Packet::Publish(first) = sent[1] else { panic!("{sent:?}") };
    assert!(first.retain && first.delivery == again(QoS::AtLeastOnce, 1));
    let ids: Vec<_> = sent.iter().filter_map(|packet| packet.packet_id()).map(|id| id.get()).collect();
    // PUBREL waits for the change "connected", and the messages of QoS 2 do.
    assert_eq!(ids, [1, 3, 2, 4, 5], "{sent:?}");
    // The received message was delivered before.
    assert_eq!(world.receive(&[published("in", again(QoS::ExactlyOnce, 7))]).len(), 0);
    let done = world.receive(&[PubComp::new(id(3)).into(), PubAck::new(id(1)).into()]);
    assert_eq!(done.len(), 2);
    assert!(done[0].contains(&format!("{:?}", tokens[2])) && done[1].contains(&format!("{:?}", tokens[0])), "{done:?}");
}

/// A session that was connected counts as cut when it is restored; the times of others are what they were.
#[test]
fn times_of_sessions_and_wills() {
    let later = |seconds| NOW + SECOND * seconds;
    let next = |session: &mut ServerSession, now| session.poll_timeout(now).map(|action| format!("{action:.0?}"));
    let connect = || Connect { will: Some(will("gone", 5)), ..connect(100) };
    // Connected.
    let mut world = World::new(connect());
    world.store();
    let mut session = world.restored(later(60)).unwrap();
    assert_eq!(next(&mut session, later(64)), None);
    assert!(matches!(session.poll_timeout(later(65)), Some(Action::Will(will)) if will.payload == b"gone"));
    assert_eq!(next(&mut session, later(159)), None);
    assert!(matches!(session.poll_timeout(later(160)), Some(Action::Expired)));
    // The will and the session are removed when that was reported.
    while let Some(batch) = session.changes() {
        world.stored.apply(&batch);
    }
    assert_eq!(world.stored.iter().filter(|(key, _)| key[0] >= 0x10).count(), 0, "{:02x?}", world.stored);
    // Cut before the crash: the times do not begin again.
    let mut world = World::new(connect());
    world.session.closed(later(10));
    world.store();
    let mut session = world.restored(later(60)).unwrap();
    assert!(matches!(session.poll_timeout(later(60)), Some(Action::Will(_))));
    assert_eq!(next(&mut session, later(109)), None);
    assert!(matches!(session.poll_timeout(later(110)), Some(Action::Expired)));
    // A second crash does not begin them again either.
    let mut world = World::new(connect());
    world.store();
    let mut session = world.restored(later(60)).unwrap();
    let batch = session.changes().expect("the end of the connection");
    world.stored.apply(&batch);
    let mut session = ServerSession::restore(config(), later(120), world.stored.iter()).unwrap().unwrap();
    assert!(matches!(session.poll_timeout(later(120)), Some(Action::Will(_))));
    assert!(matches!(session.poll_timeout(later(160)), Some(Action::Expired)));
    // A will that was discarded is not published.
    let mut world = World::new(connect());
    world.receive(&[Disconnect::default().into()]);
    world.store();
    let mut session = world.restored(NOW).unwrap();
    assert!(matches!(session.poll_timeout(later(100)), Some(Action::Expired)));
    // A session whose DISCONNECT ends it.
    let mut world = World::new(connect());
    let properties = DisconnectProperties { session_expiry_interval: Some(0), ..Default::default() };
    world.receive(&[Disconnect { properties, ..Disconnect::default() }.into()]);
    world.session.closed(NOW);
    world.store();
    let mut session = world.restored(NOW).unwrap();
    assert!(matches!(session.poll_timeout(NOW), Some(Action::Expired)));
}

/// The clock comes back early, late or right.
#[test]
fn clocks_that_were_set() {
    const YEARS: Duration = Duration::from_secs(56 * 365 * 24 * 3600);
    let mut world = World::new(connect(100));
    world.session.closed(NOW);
    world.session.publish(NOW, &Message::new("t", "1").qos(QoS::AtLeastOnce)).unwrap();
    world.store();
    // 56 years back: time goes on from where it was.
    let early = Instant::from_micros(NOW.as_micros() - YEARS.as_micros() as u64);
    let mut session = world.restored(early).unwrap();
    assert_eq!(session.deadline(), Some(early + SECOND * 100));
    assert_eq!(session.poll_timeout(early + SECOND * 99), None);
    let resumed = accept(Some(session.clone()), connect(100), early + SECOND * 99);
    assert!(resumed.is_resumed() && resumed.queued() == 1);
    assert!(session.poll_timeout(early + SECOND * 100).is_some(), "the message is abandoned");
    assert!(matches!(session.poll_timeout(early + SECOND * 100), Some(Action::Expired)));
    // The same clock.
    let mut session = world.restored(NOW).unwrap();
    assert_eq!(session.deadline(), Some(NOW + SECOND * 100));
    assert_eq!(session.poll_timeout(NOW + SECOND * 99), None);
    // 56 years on: it has expired.
    let mut session = world.restored(NOW + YEARS).unwrap();
    assert!(session.poll_timeout(NOW + YEARS).is_some(), "the message is abandoned");
    assert!(matches!(session.poll_timeout(NOW + YEARS), Some(Action::Expired)));
}

/// Wills of earlier connections that are due and not reported yet survive, too.
#[test]
fn wills_that_are_due_survive() {
    let mut world = World::new(Connect { will: Some(will("first", 50)), ..connect(100) });
    world.session.closed(NOW);
    let second = Connect { will: Some(will("second", 5)), clean_start: true, ..connect(100) };
    world.session = accept(Some(world.session), second, NOW);
    world.store();
    let mut session = world.restored(NOW).unwrap();
    let payload = |action| match action {
        Some(Action::Will(will)) => will.payload,
        other => panic!("{other:?}"),
    };
    assert_eq!(payload(session.poll_timeout(NOW)), b"first");
    assert_eq!(session.poll_timeout(NOW), None);
    assert_eq!(payload(session.poll_timeout(NOW + SECOND * 5)), b"second");
}

/// A try is a connection on which a byte of the message was written.
#[test]
fn the_tries_of_a_message() {
    let mut world = World::new(connect(100));
    world.store();
    let token = world.session.publish(NOW, &Message::new("t", "1").qos(QoS::AtLeastOnce)).unwrap();
    assert_eq!(world.session.tries(token), Some(0));
    for tries in [1, 2] {
        world.store();
        world.take();
        assert_eq!(world.session.tries(token), Some(tries));
        world.session.closed(NOW);
        assert_eq!(world.session.tries(token), Some(tries));
        world.session = accept(Some(world.session), connect(100), NOW);
    }
    world.store();
    world.take();
    world.receive(&[PubAck::new(id(1)).into()]);
    assert_eq!(world.session.tries(token), None, "the message is acknowledged");
}

/// A snapshot describes the whole session as it is now, with what no batch has described yet and the wills.
#[test]
fn a_snapshot_is_the_whole_session() {
    let mut world = World::new(Connect { will: Some(will("bye", 50)), ..connect(100) });
    world.store();
    world.session.publish(NOW, &Message::new("t", "1").qos(QoS::ExactlyOnce)).unwrap();
    world.store();
    world.session.publish(NOW, &Message::new("t", "2").qos(QoS::AtLeastOnce)).unwrap();
    let snapshot = world.session.snapshot().unwrap();
    world.session.committed(NOW, snapshot.number());
    assert!(world.session.changes().is_none(), "the snapshot takes the place of the batches");
    let mut copy = Pairs::default();
    copy.apply(&snapshot);
    let mut restored = ServerSession::restore(config(), NOW, copy.iter()).unwrap().unwrap();
    let tokens = |session: &ServerSession| -> Vec<_> { session.operations().map(|it| it.token).collect() };
    assert_eq!(tokens(&restored), tokens(&world.session));
    assert_eq!(tokens(&restored).len(), 2);
    let at = NOW + SECOND * 50;
    assert!(matches!(restored.poll_timeout(at), Some(Action::Will(will)) if will.payload == b"bye"));
    // A session that is not durable has nothing to be stored.
    let config = Arc::new(ServerConfig { durable: false, ..ServerConfig::default() });
    let mut acceptor = Acceptor::new(config, NOW);
    let bytes = encoded(&connect(100).into(), Version::V5);
    assert!(matches!(acceptor.poll(NOW, &mut &bytes[..]), Some(AcceptorAction::Connect(_))));
    assert!(acceptor.accept(NOW, None, Accept::default()).unwrap().snapshot().is_none());
}

/// A will that has no room in one value.
#[test]
fn a_large_will_is_stored_in_parts() {
    let payload = "w".repeat(65_535);
    let mut world = World::new(Connect { will: Some(will(&payload, 5)), ..connect(100) });
    world.store();
    assert!(world.stored.iter().all(|(key, value)| key.len() <= 32 && value.len() <= 65_536));
    assert!(world.stored.iter().filter(|(key, _)| key[0] == 0x11).count() == 2);
    let mut session = world.restored(NOW).unwrap();
    assert!(
        matches!(session.poll_timeout(NOW + SECOND * 5), Some(Action::Will(will)) if will.payload == payload.as_bytes())
    );
    while let Some(batch) = session.changes() {
        world.stored.apply(&batch);
    }
    assert_eq!(world.stored.iter().filter(|(key, _)| (0x10..0x20).contains(&key[0])).count(), 0);
    // A part is missing.
    let mut world = World::new(Connect { will: Some(will(&payload, 5)), ..connect(100) });
    world.store();
    let pairs = world.stored.iter().filter(|(key, _)| *key != b"\x11\0\0\0\0\0\0\0\x01\0\0\0\x01");
    let error = ServerSession::restore(config(), NOW, pairs).unwrap_err();
    assert_eq!(error.kind(), RestoreErrorKind::Incomplete);
    assert!(error.to_string().starts_with("message is incomplete: "), "{error}");
}

/// Too much that is not committed: the client's messages are not accepted, its other packets are.
#[test]
fn input_waits_while_too_much_is_not_committed() {
    let config = Arc::new(ServerConfig { max_uncommitted: 2000.try_into().unwrap(), ..(*config()).clone() });
    let mut acceptor = Acceptor::new(config, NOW);
    let connect = Connect { keep_alive: 10, ..connect(100) };
    let bytes = encoded(&connect.into(), Version::V5);
    assert!(acceptor.poll(NOW, &mut &bytes[..]).is_some());
    let session = acceptor.accept(NOW, None, Accept::default()).unwrap();
    let mut world = World { session, stored: Pairs::default(), file: Vec::new() };
    world.store();
    world.sent();
    let messages: Vec<Vec<u8>> =
        (1..=300).map(|number| encoded(&published("x", delivery(QoS::ExactlyOnce, number)), Version::V5)).collect();
    let bytes = messages.concat();
    let mut input = &bytes[..];
    let mut count = 0;
    while world.session.poll(NOW, &mut input).is_some() {
        count += 1;
    }
    assert!((50..200).contains(&count), "{count}");
    assert!(!world.session.takes_input());
    // The client is not dead because its messages are not accepted.
    let later = NOW + SECOND * 20;
    assert_eq!(world.session.poll(later, &mut input), None);
    assert!(world.session.is_connected() && world.session.deadline().is_some_and(|at| at > later));
    // Acknowledgements are accepted.
    let mut other = &encoded(&Packet::PingReq, Version::V5)[..];
    assert_eq!(world.session.poll(later, &mut other), None);
    assert!(other.is_empty());
    assert_eq!(world.sent(), [PacketType::PingResp]);
    assert_eq!(world.session.poll(later, &mut input), None);
    let batch = world.session.changes().unwrap();
    world.session.committed(later, batch.number());
    assert_eq!(world.sent().len(), count);
    assert_eq!(world.session.deadline(), Some(Instant::EPOCH));
    while world.session.poll(later, &mut input).is_some() {
        count += 1;
    }
    assert!(count > 100);
}

/// Silence counts while the client does not read its answers, if all changes are stored: the server has not caused it.
#[test]
fn a_client_that_does_not_read_is_given_up() {
    let mut world = World::new(Connect { keep_alive: 10, ..connect(100) });
    world.store();
    world.sent();
    let flood = encoded(&Packet::PingReq, Version::V5).repeat(100_000);
    let mut input = &flood[..];
    assert_eq!(world.session.poll(NOW, &mut input), None);
    assert!(!input.is_empty(), "answers have a limit");
    assert!(!world.store(), "nothing is to be stored");
    assert_eq!(world.session.poll(NOW + 14 * SECOND, &mut input), None);
    let close = Some(Action::Close(Close::KeepAliveTimeout));
    assert_eq!(world.session.poll(NOW + 16 * SECOND, &mut input), close);
}
