//! The two limits on output, on both endpoints and in the broker. Above the soft limit an endpoint originates nothing more;
//! input is still taken. Input stops only when the answers that the peer causes pass the hard limit. A peer is judged only
//! by time in which its input was taken, and bytes that leave are a sign of life.

#![cfg(feature = "broker")]

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Buf;
use mqtt_sansio::broker::{Admission, Decision};
use mqtt_sansio::client::{Authentication, ClientConfig};
use mqtt_sansio::codec::{self, AuthReasonCode, Connect, Limits, Packet, PubAckReasonCode};
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{Message, PublishError, QoS, Transmit, Version};

#[path = "common/broker.rs"]
mod broker;
#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use self::broker::{BOTH, Net, with_server};
use self::client::Wire as ClientWire;
use self::server::{Door, Wire as ServerWire, auth, authenticating, delivery, encoded, encoded_all, published};

const PINGREQ: [u8; 2] = [0xC0, 0];

/// A limit that cannot be 0.
fn nonzero(limit: u32) -> NonZeroU32 {
    NonZeroU32::new(limit).unwrap()
}

/// Takes up to `count` bytes of the output.
fn read(transmit: &mut Transmit, count: usize) -> Vec<u8> {
    let count = transmit.remaining().min(count);
    transmit.copy_to_bytes(count).to_vec()
}

/// How many packets of this kind are in a stream, and how many in all.
fn count(bytes: &[u8], version: Version, limits: Limits, is_it: impl Fn(&Packet<'_>) -> bool) -> (usize, usize) {
    let mut packets = codec::packets(bytes, version, limits);
    let all: Vec<_> = packets.by_ref().map(Result::unwrap).collect();
    (all.iter().filter(|packet| is_it(packet)).count(), all.len())
}

/// A slow reader is given 14 MB in messages of these sizes, and takes 205 kB each second.
const BEHIND: [(usize, usize); 2] = [(1, 14_000_000), (140, 100_000)];
const PER_SECOND: usize = 205_000;

/// A client that is 14 MB behind and pings is alive: its pings are taken and answered, and every message arrives.
#[test]
fn a_server_session_keeps_a_slow_reader_that_pings() {
    for (version, (messages, size)) in BOTH.into_iter().flat_map(|version| BEHIND.map(|behind| (version, behind))) {
        let connect = Connect { keep_alive: 2, ..server::lasting(version) };
        let mut wire = ServerWire::connected(server::config(), &connect);
        let payload = "x".repeat(size);
        for _ in 0..messages {
            wire.publish(&payload, QoS::AtMostOnce);
        }
        assert!(wire.server.transmit().remaining() < 64 * 1024 + 2 * size, "the rest waits in the queue");
        let mut sent = Vec::new();
        for second in 0..70 {
            wire.later(1000);
            let events = wire.receive_bytes(&PINGREQ);
            assert!(!events.iter().any(|event| matches!(event, server::Event::Close(_))), "{second}: {events:?}");
            let mut left = PER_SECOND;
            while left > 0 && wire.server.transmit().has_remaining() {
                let some = read(wire.server.transmit(), left);
                left -= some.len();
                sent.extend(some);
                wire.poll();
            }
        }
        let pings = count(&sent, version, Limits::from_server(), |packet| matches!(packet, Packet::PingResp));
        assert_eq!(pings, (70, 70 + messages));
    }
}

/// A server that is 14 MB behind is alive as long as bytes leave, and then as long as it answers the PINGREQ that comes
/// behind the messages.
#[test]
fn a_client_session_keeps_a_server_that_reads_slowly() {
    for (version, (messages, size)) in BOTH.into_iter().flat_map(|version| BEHIND.map(|behind| (version, behind))) {
        let config = ClientConfig {
            keep_alive: NonZeroU16::new(2),
            ping_timeout: NonZeroU16::new(3),
            ..client::lasting(version)
        };
        let mut wire = ClientWire::connected(config);
        let payload = "x".repeat(size);
        for _ in 0..messages {
            wire.publish(&payload, QoS::AtMostOnce);
        }
        let (mut sent, mut asked) = (Vec::new(), 0);
        for second in 0..75 {
            wire.later(1000);
            let mut left = PER_SECOND;
            let before = sent.len();
            wire.poll();
            while left > 0 && wire.client.transmit().has_remaining() {
                let some = read(wire.client.transmit(), left);
                left -= some.len();
                sent.extend(some);
                wire.poll();
            }
            assert!(wire.client.is_connected(), "{second}: {before} bytes of 14 MB had left");
            let limits = Limits { sender: None, max_packet_size: u32::MAX, ..Limits::default() };
            let (pings, _) = count(&sent, version, limits, |packet| matches!(packet, Packet::PingReq));
            wire.receive_bytes(&[0xD0, 0].repeat(pings - asked));
            asked = pings;
        }
        assert!(asked > 1 && sent.len() > messages * size, "{asked} pings in {} bytes", sent.len());
        // And when nothing leaves any more, it is dead.
        while wire.client.is_connected() {
            wire.now = wire.client.deadline().expect("it pings").max(wire.now);
            if wire.poll().iter().any(|event| matches!(event, client::Event::Close(_))) {
                break;
            }
        }
        assert!(!wire.client.is_connected());
    }
}

/// A client that receives a large message slowly does not take the server for dead: PINGRESP comes behind the message.
#[test]
fn a_client_session_waits_for_the_answer_behind_a_large_message() {
    let mut wire = ClientWire::connected(ClientConfig {
        keep_alive: NonZeroU16::new(2),
        ping_timeout: NonZeroU16::new(2),
        ..client::v5()
    });
    let mut bytes = Vec::new();
    client::published(&"x".repeat(14_000_000), client::delivery(QoS::AtMostOnce, 1))
        .encode(Version::V5, &mut bytes)
        .unwrap();
    for came in (PER_SECOND..bytes.len()).step_by(PER_SECOND) {
        wire.later(1000);
        let mut input = &bytes[..came];
        assert_eq!(wire.poll_with(&mut input), [], "{came} bytes have come");
        wire.take();
    }
    let mut input = &bytes[..];
    assert!(matches!(wire.poll_with(&mut input)[..], [client::Event::Message { .. }]));
}

/// At the soft limit messages wait, a message of QoS 0 beyond the queue is refused, and input is taken.
#[test]
fn at_the_soft_limit_nothing_more_is_originated() {
    let payload = "0123456789";
    let mut wire = ServerWire::connected(
        ServerConfig { transmit_limit: nonzero(100), max_stored: 20, ..server::config() },
        &server::lasting(Version::V311),
    );
    let message = Message::new("t", payload);
    let accepted = (0..100).filter(|_| wire.server.publish(wire.now, &message).is_ok()).count();
    assert!((25..35).contains(&accepted), "{accepted}");
    assert_eq!(wire.server.publish(wire.now, &message), Err(PublishError::QueueFull));
    let soft = wire.server.transmit().remaining();
    assert!((100..120).contains(&soft) && wire.server.queued() == 20, "{soft}");
    assert_eq!(wire.receive_bytes(&PINGREQ.repeat(500)), []);
    assert_eq!(wire.server.transmit().remaining(), soft + 1000, "answers have a limit of their own");
    assert!(wire.server.takes_input());

    let mut wire =
        ClientWire::connected(ClientConfig { transmit_limit: nonzero(100), max_stored: 20, ..client::v311() });
    let accepted = (0..100).filter(|_| wire.client.publish(wire.now, &message).is_ok()).count();
    assert!((25..35).contains(&accepted), "{accepted}");
    assert_eq!(wire.client.publish(wire.now, &message), Err(PublishError::QueueFull));
    let soft = wire.client.transmit().remaining();
    assert!((100..120).contains(&soft) && wire.client.queued() == 20, "{soft}");
    for number in 1..=250 {
        wire.receive(&[client::published("x", client::delivery(QoS::AtLeastOnce, number))]);
    }
    assert_eq!(wire.client.transmit().remaining(), soft + 1000, "answers have a limit of their own");
    assert!(wire.client.takes_input());
}

/// Each limit is that of its own field, whichever is lower.
#[test]
fn the_hard_limit_is_that_of_answers() {
    for (transmit_limit, answer_limit) in [(10, 400), (4000, 400)] {
        let mut wire = ServerWire::connected(
            ServerConfig {
                transmit_limit: nonzero(transmit_limit),
                answer_limit: nonzero(answer_limit),
                ..server::config()
            },
            &server::lasting(Version::V311),
        );
        let pings = PINGREQ.repeat(1000);
        let mut input = &pings[..];
        wire.poll_with(&mut input);
        assert!(!wire.server.takes_input() && !input.is_empty());
        assert_eq!(wire.server.transmit().remaining(), 400, "soft {transmit_limit}");
        wire.take();
        assert!(wire.server.takes_input());

        let config = ClientConfig {
            transmit_limit: nonzero(transmit_limit),
            answer_limit: nonzero(answer_limit),
            ..client::v311()
        };
        let mut wire = ClientWire::connected(config);
        let mut bytes = Vec::new();
        for number in 1..=1000 {
            client::published("x", client::delivery(QoS::AtLeastOnce, number))
                .encode(Version::V311, &mut bytes)
                .unwrap();
        }
        let mut input = &bytes[..];
        assert_eq!(wire.poll_with(&mut input).len(), 100);
        assert!(!wire.client.takes_input() && !input.is_empty());
        assert_eq!(wire.client.transmit().remaining(), 400, "soft {transmit_limit}");
        wire.take();
        assert!(wire.client.takes_input());
    }
}

/// AUTH is an answer: a peer that authenticates again and again, and reads nothing, costs the hard limit and no more.
#[test]
fn steps_of_an_authentication_are_answers() {
    const LIMIT: usize = 1000;
    let data = [7; 100];
    let again = |wire: &mut ServerWire| {
        wire.server.authenticated(wire.now, &data).unwrap();
    };
    let config = || ServerConfig { answer_limit: nonzero(LIMIT as u32), ..server::config() };
    let mut wire = ServerWire::connected(config(), &authenticating());
    let step = encoded(&auth(AuthReasonCode::ReAuthenticate, "M", b"again"), Version::V5);
    let mut taken = 0;
    while wire.server.takes_input() {
        assert!(matches!(wire.receive_bytes(&step)[..], [server::Event::Auth(..)]));
        again(&mut wire);
        taken += 1;
        assert!(taken < 100, "{} bytes wait", wire.server.transmit().remaining());
    }
    assert!((LIMIT..LIMIT + 200).contains(&wire.server.transmit().remaining()));
    wire.take();
    assert!(wire.server.takes_input());

    // Before the client is accepted.
    let mut door = Door::asked(config(), &authenticating());
    let step = encoded(&auth(AuthReasonCode::ContinueAuthentication, "M", b"more"), Version::V5);
    door.acceptor.challenge(door.now, &data).unwrap();
    let mut steps = 0;
    loop {
        let (events, rest) = door.receive_bytes(&step);
        if !rest.is_empty() {
            assert_eq!((events, rest.len()), (vec![], step.len()));
            break;
        }
        door.acceptor.challenge(door.now, &data).unwrap();
        steps += 1;
        assert!(steps < 100, "{} bytes wait", door.acceptor.transmit().remaining());
    }
    assert!((LIMIT..LIMIT + 200).contains(&door.acceptor.transmit().remaining()));
    // The client is not late as long as it reads, and is heard again when it has read.
    for _ in 0..5 {
        door.later(8000);
        door.acceptor.transmit().advance(10);
        assert_eq!(door.poll(), []);
    }
    door.take();
    assert!(matches!(door.receive_bytes(&step), (events, []) if events.len() == 1));

    // A client that the server challenges again and again.
    let authentication = Authentication { method: "M".into(), data: None };
    let config = ClientConfig {
        authentication: Some(Box::new(authentication)),
        answer_limit: nonzero(LIMIT as u32),
        ..client::v5()
    };
    let mut wire = ClientWire::new(config);
    wire.open();
    let step = encoded(&auth(AuthReasonCode::ContinueAuthentication, "M", b"?"), Version::V5);
    let mut taken = 0;
    while wire.client.takes_input() {
        wire.receive_bytes(&step);
        wire.client.authenticate(wire.now, &data).unwrap();
        taken += 1;
        assert!(taken < 100, "{} bytes wait", wire.client.transmit().remaining());
    }
    assert!((LIMIT..LIMIT + 200).contains(&wire.client.transmit().remaining()));
}

/// As above, through the broker: before and after the client is accepted. It is reported when input is taken again.
#[test]
fn the_broker_bounds_the_steps_of_an_authentication() {
    let challenge = || Decision::Now(Admission::Challenge(vec![7; 100]));
    for is_accepted in [false, true] {
        let mut net = Net::new(with_server(|server| server.answer_limit = nonzero(1000)));
        let admissions = &mut net.broker.policy_mut().admissions;
        if is_accepted {
            admissions.push_back(Decision::Now(Admission::accept()));
        }
        admissions.extend((0..1000).map(|_| challenge()));
        let peer = net.try_connect(&authenticating());
        net.set_reading(peer, false);
        if is_accepted {
            net.send(peer, &[auth(AuthReasonCode::ReAuthenticate, "M", b"again")]);
        }
        let step = auth(AuthReasonCode::ContinueAuthentication, "M", b"more");
        let conn = net.id(peer);
        let steps = encoded_all(&vec![step; 900], Version::V5);
        let mut input = &steps[..];
        net.broker.receive(net.now, conn, &mut input);
        assert!(!net.is_over(peer) && !net.broker.takes_input(conn), "accepted: {is_accepted}");
        let waits = net.broker.transmit(conn).remaining();
        assert!((1000..1200).contains(&waits), "{waits} bytes wait");
        while net.broker.next_ready().is_some() {}
        net.broker.transmit(conn).advance(waits);
        assert!(!net.broker.transmit(conn).has_remaining() && net.broker.takes_input(conn));
        assert_eq!(net.broker.next_ready(), Some(conn), "it takes input again");
        net.set_reading(peer, true);
        let rest = input.to_vec();
        net.send_bytes(peer, &rest);
        assert!(net.unsent(peer) == 0 && net.broker.policy().admissions.len() <= 100, "it goes on to the end");
    }
}

/// A writer that never reads, and is subscribed to what it writes, is not blocked: what exceeds its queue is dropped and
/// counted, and others get all of it.
#[test]
fn a_writer_of_40_mb_to_itself_is_never_blocked() {
    for version in BOTH {
        let mut net = Net::new(with_server(|server| server.max_stored_bytes = 4 << 20));
        let (writer, other) = (net.client(version, "writer"), net.client(version, "other"));
        for peer in [writer, other] {
            net.subscribe(peer, "a", QoS::AtMostOnce);
        }
        net.set_reading(writer, false);
        let payload = "x".repeat(40_000);
        let mut bytes = 0;
        for number in 0..1000 {
            net.publish(writer, "a", &payload, QoS::AtMostOnce);
            assert_eq!(net.unsent(writer), 0, "message {number} was not taken");
            bytes += net.received_bytes(other).len();
        }
        assert!(bytes > 40_000_000, "{bytes}");
        let dropped = net.broker.counters().dropped;
        assert!(dropped.queue_full > 800 && dropped.total() == dropped.queue_full, "{dropped:?}");
        assert!(net.broker.status().stored_bytes <= 4 << 20);
        net.set_reading(writer, true);
        assert_eq!(net.received(writer).len() as u64, 1000 - dropped.total());
        net.publish(writer, "a", "at last", QoS::AtMostOnce);
        assert_eq!(net.received(writer), ["a: at last"]);
    }
}

/// While no input is taken, time counts against the peer only if nothing leaves; and then its silence counts from when its
/// input is taken again.
#[test]
fn silence_counts_only_while_input_is_taken() {
    let messages: Vec<_> = (1..=30).map(|number| published("x", delivery(QoS::AtLeastOnce, number))).collect();
    for reads in [true, false] {
        // A client that must send something every three seconds. Its 30 messages are acknowledged at once.
        let config = ServerConfig { answer_limit: nonzero(50), manual_acks: true, ..server::config() };
        let mut wire = ServerWire::connected(config, &Connect { keep_alive: 2, ..server::lasting(Version::V5) });
        wire.receive(&messages);
        for ack_handle in std::mem::take(&mut wire.ack_handles) {
            wire.server.ack(wire.now, ack_handle, PubAckReasonCode::Success).unwrap();
        }
        assert!(!wire.server.takes_input());
        let mut closed_after = None;
        for second in 1..=20 {
            wire.later(1000);
            wire.server.transmit().advance(usize::from(reads));
            if !wire.poll().is_empty() {
                closed_after = closed_after.or(Some(second));
            }
        }
        assert_eq!(closed_after, (!reads).then_some(3));
        if reads {
            wire.take();
            wire.later(2999);
            assert_eq!(wire.poll(), []);
            wire.later(2999);
            assert_eq!(wire.poll(), [], "its time began when its input was taken again");
            wire.later(1);
            assert!(matches!(wire.poll()[..], [server::Event::Close(server::Why::KeepAliveTimeout)]));
        }

        // A server that must answer PINGREQ, which the client sends after 1.75 seconds, within two seconds.
        let config = ClientConfig {
            answer_limit: nonzero(50),
            manual_acks: true,
            keep_alive: NonZeroU16::new(2),
            ping_timeout: NonZeroU16::new(2),
            ..client::v5()
        };
        let mut wire = ClientWire::connected(config);
        wire.receive(&messages);
        for ack_handle in std::mem::take(&mut wire.ack_handles) {
            wire.client.ack(wire.now, ack_handle, PubAckReasonCode::Success).unwrap();
        }
        assert!(!wire.client.takes_input());
        let is_over = |events: &[client::Event]| events.iter().any(|it| matches!(it, client::Event::Close(_)));
        let mut closed_after = None;
        for second in 1..=20 {
            wire.later(1000);
            wire.client.transmit().advance(usize::from(reads));
            if is_over(&wire.poll()) {
                closed_after = closed_after.or(Some(second));
            }
        }
        assert_eq!(closed_after, (!reads).then_some(4));
        if reads {
            wire.take();
            wire.poll();
            wire.later(1750);
            wire.poll();
            assert_eq!(wire.take(), PINGREQ, "its time began when its input was taken again");
            wire.poll();
            wire.later(1999);
            assert!(!is_over(&wire.poll()));
            wire.later(1);
            assert!(is_over(&wire.poll()));
        }
    }
}

/// A client that makes the server answer all the time, and reads slowly, is stopped again and again and never for good.
#[test]
fn a_reader_at_the_hard_limit_goes_on() {
    let config = ServerConfig { answer_limit: nonzero(50), transmit_limit: nonzero(50), ..server::config() };
    let mut wire = ServerWire::connected(config, &server::lasting(Version::V311));
    let (mut unsent, mut sent, mut pings, mut was_stopped) = (Vec::new(), Vec::new(), 0, false);
    for _ in 0..5000 {
        if unsent.len() < 100 {
            unsent.extend(PINGREQ.repeat(10));
            pings += 10;
        }
        wire.publish("x", QoS::AtMostOnce);
        sent.extend(read(wire.server.transmit(), 7));
        let mut input = &unsent[..];
        wire.poll_with(&mut input);
        was_stopped |= !wire.server.takes_input();
        let taken = unsent.len() - input.len();
        unsent.drain(..taken);
        assert!(wire.server.transmit().remaining() <= 50 + 50 + 6);
    }
    sent.extend(wire.take());
    assert!(was_stopped);
    while !unsent.is_empty() {
        let mut input = &unsent[..];
        wire.poll_with(&mut input);
        let taken = unsent.len() - input.len();
        unsent.drain(..taken);
        sent.extend(wire.take());
    }
    let is_ping = |packet: &Packet<'_>| matches!(packet, Packet::PingResp);
    let (answers, all) = count(&sent, Version::V311, Limits::from_server(), is_ping);
    assert!(answers == pings && pings > 2000 && all - answers > 500, "{answers} of {pings} pings, {all} packets");
}
