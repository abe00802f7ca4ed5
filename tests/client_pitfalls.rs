//! What users of MQTT clients struggle with, and what this client does instead: numbered as in the collection that they
//! were taken from. Then what a hostile server may send.

#![cfg(feature = "alloc")]

use core::num::{NonZeroU16, NonZeroU32};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, Bytes};
use mqtt_sansio::client::{Action, Authentication, ClientConfig, ClientSession, Close, Loss, Outcome, Resumption};
use mqtt_sansio::codec::{
    self, AckProperties, AuthReasonCode, ConnAck, ConnAckProperties, ConnAckReasonCode, Disconnect,
    DisconnectProperties, DisconnectReasonCode, Limits, List, MaximumQoS, Packet, PubAck, PubAckReasonCode, PubComp,
    PubRec, PubRel, PubRelReasonCode, Publish, PublishProperties, ReasonCode, Sender, SubAck, SubAckReasonCode,
    Subscription, UnsubAck, UnsubAckReasonCode, UserProperty,
};
use mqtt_sansio::{Breach, CommandError, Instant, Message, Overflow, QoS, Token, TopicName, Utf8Str, Version};

#[path = "common/client.rs"]
mod client;

use self::client::{
    Done, Event, QOS_0, QOS_1, QOS_2, Why, Wire, again, auth, breach, connack, connack_with, decode, delivery, filter,
    id, lasting, lost, present, present_with, publish, published, suback, success, told, unsuback, v5, v311,
};

const BOTH: [Version; 2] = [Version::V311, Version::V5];

fn receive_maximum(number: u16) -> ConnAckProperties<'static> {
    ConnAckProperties { receive_maximum: NonZeroU16::new(number), ..Default::default() }
}

fn packet_size(bytes: u32) -> ConnAckProperties<'static> {
    ConnAckProperties { maximum_packet_size: NonZeroU32::new(bytes), ..Default::default() }
}

fn manual(version: Version) -> ClientConfig {
    ClientConfig { manual_acks: true, ..lasting(version) }
}

/// A message that expires after so many seconds.
fn expiring(payload: &str, qos: QoS, seconds: u32) -> Message<'_> {
    let properties = PublishProperties { message_expiry_interval: Some(seconds), ..Default::default() };
    Message::new("t", payload).qos(qos).properties(properties)
}

fn encode(packets: &[Packet<'_>], version: Version, bytes: &mut Vec<u8>) {
    for packet in packets {
        packet.encode(version, bytes).unwrap();
    }
}

fn sent_ids(wire: &mut Wire) -> Vec<u16> {
    let sent = wire.take();
    decode(&sent, wire.version).iter().filter_map(Packet::packet_id).map(|id| id.get()).collect()
}

/// One allocator for all operations; identifiers in use are as many as open operations; none after the session is lost.
#[test]
fn pitfall_01_identifiers_do_not_collide() {
    for version in BOTH {
        let mut wire = Wire::connected(lasting(version));
        // By the number of the operation, what it needs to be settled.
        let mut open: BTreeMap<u16, u8> = BTreeMap::new();
        let mut state = 7u32;
        for round in 0..5000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let kind = (state >> 16) as u8 % 4;
            match kind {
                0 => drop(wire.publish("", QOS_1)),
                1 => drop(wire.publish("", QOS_2)),
                2 => drop(wire.subscribe()),
                _ => drop(wire.unsubscribe()),
            }
            let [number] = sent_ids(&mut wire)[..] else { panic!("one packet") };
            assert_eq!(open.insert(number, kind), None, "{number} is in use");
            // Settle some other one, so that the free ones are all over the place.
            if round > 200 {
                let (&number, &kind) = open.iter().nth((state >> 8) as usize % open.len()).unwrap();
                open.remove(&number);
                let last = match kind {
                    0 => PubAck::new(id(number)).into(),
                    1 => {
                        wire.receive(&[PubRec::new(id(number)).into()]);
                        wire.take();
                        PubComp::new(id(number)).into()
                    }
                    2 => suback(number),
                    _ => unsuback(number, version),
                };
                assert_eq!(wire.receive(&[last]).len(), 1);
            }
            assert_eq!(wire.client.open_operations(), open.len());
        }
        wire.lose();
        wire.connect(connack());
        let requests = open.values().filter(|&&kind| kind > 1).count();
        assert_eq!(wire.client.open_operations(), requests, "those that were asked again, and nothing else");
    }
}

/// When none is left, requests wait for one without keeping anybody busy.
#[test]
fn pitfall_01_all_identifiers_are_in_use() {
    let mut wire = Wire::connected(ClientConfig { max_kept: 70_000, ..v5() });
    for _ in 0..65_535 {
        wire.subscribe();
        wire.take();
    }
    assert_eq!(wire.client.open_operations(), 65_535);
    let waits = wire.subscribe();
    wire.assert_silent();
    assert_eq!(wire.poll(), []);
    assert_eq!((wire.client.open_operations(), wire.client.waiting()), (65_535, 1));
    let message = wire.publish("x", QOS_1);
    assert_eq!(wire.poll(), []);
    wire.assert_silent();
    // What becomes free is given to those that wait, in order.
    wire.receive(&[suback(40_000)]);
    assert_eq!(sent_ids(&mut wire), [40_000]);
    assert_eq!(wire.receive(&[suback(40_000)]), [Event::Done(waits, Done::Subscribed(vec![0]))]);
    assert_eq!(sent_ids(&mut wire), [40_000]);
    assert_eq!(wire.receive(&[PubAck::new(id(40_000)).into()]), [success(message)]);
    assert_eq!((wire.client.open_operations(), wire.client.waiting()), (65_534, 0));
}

/// However messages end, their place in the window is free again; and a connection begins with an empty window.
#[test]
fn pitfall_02_quota_does_not_leak() {
    const WINDOW: usize = 3;
    let mut wire = Wire::connected_by(v5(), connack_with(receive_maximum(WINDOW as u16)));
    let refused = PubAckReasonCode::QuotaExceeded;
    let unknown = PubRelReasonCode::PacketIdentifierNotFound;
    for round in 0..300u16 {
        let qos = if round % 3 == 0 { QOS_1 } else { QOS_2 };
        let first = wire.publish("x", qos);
        wire.publish("y", QOS_2);
        wire.publish("z", QOS_1);
        wire.publish("waits", QOS_1);
        let sent = sent_ids(&mut wire);
        let [x, y, z] = sent[..] else { panic!("{round}: {sent:?}") };
        assert_eq!((wire.client.in_flight(), wire.client.waiting()), (WINDOW, 1));
        let events = match round % 3 {
            0 => wire.receive(&[PubAck { reason_code: refused, ..PubAck::new(id(x)) }.into()]),
            1 => wire.receive(&[PubRec { reason_code: refused, ..PubRec::new(id(x)) }.into()]),
            _ => wire
                .receive(&[PubRec::new(id(x)).into(), PubComp { reason_code: unknown, ..PubComp::new(id(x)) }.into()]),
        };
        assert!(matches!(events[..], [Event::Done(token, Done::Acknowledged(_))] if token == first), "{events:?}");
        let sent = wire.take();
        let packets = decode(&sent, Version::V5);
        let released = packets.iter().filter(|packet| matches!(packet, Packet::PubRel(_))).count();
        assert_eq!(released, usize::from(round % 3 == 2), "a refusal is not followed by PUBREL");
        let Some(Packet::Publish(last)) = packets.last() else { panic!("{packets:?}") };
        let last = last.delivery.packet_id().unwrap();
        wire.receive(&[PubRec::new(id(y)).into(), PubComp::new(id(y)).into(), PubAck::new(id(z)).into()]);
        wire.receive(&[PubAck::new(last).into()]);
        wire.take();
        assert_eq!((wire.client.in_flight(), wire.client.open_operations()), (0, 0));
    }
    for payload in ["1", "2", "3"] {
        wire.publish(payload, QOS_1);
    }
    wire.take();
    assert_eq!(wire.client.in_flight(), WINDOW);
    wire.lose();
    assert_eq!(wire.client.in_flight(), 0);
    wire.connect(connack_with(receive_maximum(2)));
    for payload in ["4", "5", "6"] {
        wire.publish(payload, QOS_1);
    }
    assert_eq!((sent_ids(&mut wire).len(), wire.client.in_flight()), (2, 2));
}

/// Each token has one outcome, whatever happens: here is one of every kind.
#[test]
fn pitfall_03_each_token_has_one_outcome() {
    let config = ClientConfig { overflow: Overflow::DropOldest, max_kept: 4, ..v5() };
    let mut wire = Wire::new(ClientConfig { session_expiry_interval: 0, ..config });
    let mut outcomes: BTreeMap<Token, Vec<Done>> = BTreeMap::new();
    let mut expected: Vec<(Token, Done)> = Vec::new();
    let mut note = |events: Vec<Event>| {
        for event in events {
            if let Event::Done(token, done) = event {
                outcomes.entry(token).or_default().push(done);
            }
        }
    };
    // Waiting when the connection comes: expired, not supported, made room for.
    let made_room = wire.publish("1", QOS_1);
    let expired = wire.client.publish(&expiring("2", QOS_1, 1)).unwrap();
    let not_supported = wire.client.publish(&Message::new("t", "3").qos(QOS_1).retain(true)).unwrap();
    let asked = wire.subscribe();
    let waits = wire.publish("4", QOS_1);
    note(wire.poll());
    wire.later(2000);
    let no_retain = ConnAckProperties { retain_available: Some(false), ..Default::default() };
    note(wire.connect(connack_with(no_retain)));
    expected.push((made_room, Done::Lost(Loss::Overflow)));
    expected.push((expired, Done::Lost(Loss::Expired)));
    expected.push((not_supported, Done::Lost(Loss::NotSupported(ReasonCode::RetainNotSupported))));
    let ids = sent_ids(&mut wire);
    assert_eq!(ids.len(), 2);
    note(wire.receive(&[suback(ids[0]), PubAck::new(id(ids[1])).into()]));
    // Again: nobody waits for it.
    note(wire.receive(&[suback(ids[0]), PubAck::new(id(ids[1])).into()]));
    expected.push((asked, Done::Subscribed(vec![0])));
    expected.push((waits, Done::Acknowledged(ReasonCode::Success)));
    // Sent as QoS 0, and acknowledged as QoS 2.
    let sent = wire.publish("5", QOS_0);
    let exactly = wire.publish("6", QOS_2);
    let ended = wire.unsubscribe();
    let ids = sent_ids(&mut wire);
    note(wire.receive(&[PubRec::new(id(ids[0])).into()]));
    wire.take();
    let last = [PubComp::new(id(ids[0])).into(), unsuback(ids[1], Version::V5)];
    note(wire.receive(&last));
    note(wire.receive(&last));
    expected.push((sent, Done::Sent));
    expected.push((exactly, Done::Acknowledged(ReasonCode::Success)));
    expected.push((ended, Done::Unsubscribed(vec![0])));
    // In flight when the session ends with its connection; QoS 0 that was not written; one that was not sent at all.
    let in_flight = wire.publish("7", QOS_1);
    wire.take();
    let unwritten = wire.publish("8", QOS_0);
    let unsent = wire.publish("9", QOS_2);
    note(wire.lose());
    note(wire.lose());
    expected.push((in_flight, Done::Lost(Loss::Session)));
    expected.push((unwritten, Done::Lost(Loss::Connection)));
    note(wire.connect(connack()));
    let ids = sent_ids(&mut wire);
    let reason_code = PubAckReasonCode::NotAuthorized;
    note(wire.receive(&[PubRec { reason_code, ..PubRec::new(id(ids[0])) }.into()]));
    expected.push((unsent, Done::Acknowledged(ReasonCode::NotAuthorized)));
    wire.lose();

    let expected: BTreeMap<_, _> = expected.into_iter().map(|(token, done)| (token, vec![done])).collect();
    assert_eq!(outcomes, expected);
}

/// N copies of a message give N PUBRECs and one delivery, on one connection and on the next.
#[test]
fn pitfall_04_qos2_duplicates() {
    for version in BOTH {
        for by_hand in [false, true] {
            let mut wire = Wire::connected(ClientConfig { manual_acks: by_hand, ..lasting(version) });
            let mut copies = vec![published("x", delivery(QOS_2, 7))];
            copies.extend([published("x", again(QOS_2, 7)); 9]);
            assert_eq!(wire.receive(&copies), [told("x", QOS_2)]);
            if by_hand {
                wire.client.ack(wire.receipts[0], PubAckReasonCode::Success).unwrap();
            }
            wire.assert_sent(&[PubRec::new(id(7)).into(); 10]);
            for _ in 0..3 {
                wire.resume();
                assert_eq!(wire.receive(&copies), []);
                wire.assert_sent(&[PubRec::new(id(7)).into(); 10]);
            }
            wire.receive(&[PubRel::new(id(7)).into()]);
            wire.assert_sent(&[PubComp::new(id(7)).into()]);
            assert_eq!(wire.receive(&[published("new", delivery(QOS_2, 7))]), [told("new", QOS_2)]);
        }
    }
}

/// A copy that waits behind a message which is refused is refused with it: it is the same message.
#[test]
fn pitfall_04_a_duplicate_of_a_refused_message() {
    let mut wire = Wire::connected(ClientConfig { journal: true, ..manual(Version::V5) });
    let mut stored = Vec::new();
    store(&mut wire.client, &mut stored);
    assert_eq!(wire.receive(&[published("x", delivery(QOS_2, 7)), published("x", again(QOS_2, 7))]).len(), 1);
    wire.client.ack(wire.receipts[0], PubAckReasonCode::QuotaExceeded).unwrap();
    store(&mut wire.client, &mut stored);
    let sent = wire.take();
    for packet in decode(&sent, Version::V5) {
        assert!(matches!(packet, Packet::PubRec(ack) if ack.id == id(7) && ack.reason_code.is_error()), "{packet:?}");
    }
    // Nothing is left of it that would stand in the way of a new message, here or after a crash.
    let mut restored = Wire::of(ClientSession::restore(manual(Version::V5), &stored).unwrap());
    restored.connect(present());
    for wire in [&mut wire, &mut restored] {
        assert_eq!(wire.receive(&[published("new", delivery(QOS_2, 7))]), [told("new", QOS_2)]);
    }
}

/// A copy that waits for its turn until the message is released: its PUBREC must not make anybody believe that there is
/// something to release.
#[test]
fn pitfall_04_a_duplicate_that_outlives_its_message() {
    for version in BOTH {
        let mut wire = Wire::connected(ClientConfig { journal: true, ..manual(version) });
        let mut stored = Vec::new();
        store(&mut wire.client, &mut stored);
        wire.receive(&[
            published("1", delivery(QOS_2, 1)),
            published("2", delivery(QOS_2, 2)),
            published("1", again(QOS_2, 1)),
        ]);
        wire.client.ack(wire.receipts[0], PubAckReasonCode::Success).unwrap();
        store(&mut wire.client, &mut stored);
        wire.assert_sent(&[PubRec::new(id(1)).into()]);
        wire.receive(&[PubRel::new(id(1)).into()]);
        store(&mut wire.client, &mut stored);
        wire.assert_sent(&[PubComp::new(id(1)).into()]);
        wire.client.ack(wire.receipts[1], PubAckReasonCode::Success).unwrap();
        store(&mut wire.client, &mut stored);
        wire.take();
        // `1` is done; the identifier means a new message, here and after a crash.
        let mut restored = Wire::of(ClientSession::restore(manual(version), &stored).unwrap());
        restored.connect(present());
        for wire in [&mut wire, &mut restored] {
            assert_eq!(wire.receive(&[published("new", delivery(QOS_2, 1))]), [told("new", QOS_2)]);
        }
    }
}

/// In the order in which they were sent, with DUP; what was received goes on with PUBREL; all of it before anything new.
#[test]
fn pitfall_05_replay() {
    for version in BOTH {
        let mut wire = Wire::connected(lasting(version));
        for (payload, qos) in [("1", QOS_1), ("2", QOS_2), ("3", QOS_1), ("4", QOS_2), ("5", QOS_2), ("6", QOS_1)] {
            wire.publish(payload, qos);
        }
        wire.take();
        wire.receive(&[PubRec::new(id(5)).into(), PubAck::new(id(3)).into(), PubRec::new(id(2)).into()]);
        wire.take();
        wire.lose();
        wire.publish("asked for without a connection", QOS_1);
        wire.client.open(wire.now).unwrap();
        wire.take();
        let mut bytes = Vec::new();
        present().encode(version, &mut bytes).unwrap();
        let mut input = &bytes[..];
        // As early as it can be.
        assert!(matches!(wire.client.poll(wire.now, &mut input), Some(Action::Connected(_))));
        wire.publish("as soon as there is one", QOS_1);
        assert_eq!(wire.poll(), []);
        let sent = wire.take();
        let sent = decode(&sent, version);
        let (replayed, new) = sent.split_at(5);
        assert_eq!(
            replayed,
            [
                PubRel::new(id(5)).into(),
                PubRel::new(id(2)).into(),
                published("1", again(QOS_1, 1)),
                published("4", again(QOS_2, 4)),
                published("6", again(QOS_1, 6)),
            ]
        );
        let payloads = new.iter().map(|packet| match packet {
            Packet::Publish(Publish { payload, delivery, .. }) if !delivery.dup() => str::from_utf8(payload).unwrap(),
            other => panic!("{other:?}"),
        });
        assert!(payloads.eq(["asked for without a connection", "as soon as there is one"]));
    }
}

/// A message that is published before anything else is done goes behind the replay, too; nothing else waits there.
#[test]
fn pitfall_05_nothing_overtakes_the_replay() {
    for qos in [QOS_1, QOS_2] {
        let mut wire = Wire::connected(v5());
        wire.publish("old", QOS_1);
        wire.take();
        wire.lose();
        wire.open();
        let mut bytes = Vec::new();
        encode(&[present().into()], Version::V5, &mut bytes);
        assert!(matches!(wire.client.poll(wire.now, &mut &bytes[..]), Some(Action::Connected(_))));
        wire.publish("new", qos);
        wire.poll();
        wire.assert_sent(&[published("old", again(QOS_1, 1)), published("new", delivery(qos, 2))]);
    }
}

/// Requests without an answer are asked again by the next connection, and in order.
#[test]
fn pitfall_05_requests_are_asked_again() {
    for session in [present(), connack()] {
        let mut wire = Wire::connected(v5());
        let tokens = ["a", "b", "c", "d"].map(|topic| match topic {
            "c" => wire.client.unsubscribe(&[filter(topic)]).unwrap(),
            _ => wire.client.subscribe(&[Subscription::new(topic, QOS_0).unwrap()]).unwrap(),
        });
        wire.take();
        wire.receive(&[suback(2)]);
        wire.lose();
        wire.connect(session);
        let sent = wire.take();
        let [Packet::Subscribe(a), Packet::Unsubscribe(c), Packet::Subscribe(d)] = decode(&sent, Version::V5)[..]
        else {
            panic!("three requests")
        };
        assert_eq!(a.subscriptions.iter().next().unwrap().filter, filter("a"));
        assert_eq!(c.filters.iter().next().unwrap(), filter("c"));
        assert_eq!(d.subscriptions.iter().next().unwrap().filter, filter("d"));
        let answers = [suback(a.id.get()), unsuback(c.id.get(), Version::V5), suback(d.id.get())];
        let done = |token, done| Event::Done(token, done);
        let expected = [
            done(tokens[0], Done::Subscribed(vec![0])),
            done(tokens[2], Done::Unsubscribed(vec![0])),
            done(tokens[3], Done::Subscribed(vec![0])),
        ];
        assert_eq!(wire.receive(&answers), expected);
    }
}

/// Resumed, new and lost are told apart, and nothing of a lost session gets into another one.
#[test]
fn pitfall_06_session_present() {
    for version in BOTH {
        let mut wire = Wire::new(manual(version));
        assert_eq!(wire.connect(connack()), [Event::Connected(Resumption::New)]);
        wire.receive(&[published("1", delivery(QOS_1, 1)), published("2", delivery(QOS_2, 2))]);
        wire.lose();
        assert_eq!(wire.connect(present()), [Event::Connected(Resumption::Resumed)]);
        wire.receive(&[published("1", again(QOS_1, 1)), published("2", again(QOS_2, 2))]);
        // Given, and not sent before the connection ended.
        wire.client.ack(wire.receipts[2], PubAckReasonCode::Success).unwrap();
        wire.lose();
        assert_eq!(wire.connect(connack()), [Event::Connected(Resumption::Lost)]);
        for receipt in wire.receipts.clone() {
            let result = wire.client.ack(receipt, PubAckReasonCode::Success);
            assert_eq!(result, Err(CommandError::EarlierConnection));
        }
        wire.assert_silent();
        wire.lose();
        assert_eq!(wire.connect(present()), [Event::Connected(Resumption::Resumed)]);
        wire.assert_silent();
    }
    // A connection that was refused changes nothing about the session.
    let mut wire = Wire::connected(v5());
    let token = wire.publish("x", QOS_1);
    wire.take();
    wire.lose();
    let reason_code = ConnAckReasonCode::ServerBusy;
    let refused = ConnAck { reason_code, ..ConnAck::default() };
    assert_eq!(wire.connect(refused), [Event::Close(Why::Refused(reason_code))]);
    wire.lose();
    assert_eq!(wire.connect(present()), [Event::Connected(Resumption::Resumed)]);
    wire.assert_sent(&[published("x", again(QOS_1, 1))]);
    assert_eq!(wire.receive(&[PubAck::new(id(1)).into()]), [success(token)]);
}

#[test]
fn pitfall_07_a_dead_link_is_noticed() {
    let config = ClientConfig { keep_alive: 20, ping_timeout: 5, ..v5() };
    let mut wire = Wire::connected(config);
    wire.now = wire.client.deadline().unwrap();
    assert_eq!(wire.poll(), []);
    wire.assert_sent(&[Packet::PingReq]);
    assert_eq!(wire.client.deadline(), Some(wire.now + Duration::from_secs(5)));
    wire.later(4999);
    assert_eq!(wire.poll(), []);
    wire.later(1);
    assert_eq!(wire.poll(), [Event::Close(Why::PingTimeout)]);
    assert_eq!(wire.client.deadline(), None);
    // It comes once.
    wire.later(100_000);
    assert_eq!(wire.poll(), []);
}

#[test]
fn pitfall_07_a_link_under_load_is_not_dead() {
    let config = ClientConfig { keep_alive: 20, ping_timeout: 5, ..v5() };
    // Much goes out, and comes in: no ping is needed, and so no answer either.
    let mut wire = Wire::connected(config.clone());
    for _ in 0..600 {
        wire.later(1000);
        wire.poll();
        wire.publish("x", QOS_0);
        wire.assert_sent(&[published("x", delivery(QOS_0, 0))]);
        wire.receive(&[published("y", delivery(QOS_0, 0))]);
    }
    // Much comes in: that does not tell the server that this end is alive.
    let mut wire = Wire::connected(config.clone());
    let mut pings = 0;
    for _ in 0..600 {
        wire.later(1000);
        assert_eq!(wire.receive(&[published("x", delivery(QOS_0, 0))]), [told("x", QOS_0)]);
        // PINGRESP waits behind it all, and whatever comes shows that the link is alive.
        pings += decode(&wire.take(), Version::V5).len();
    }
    assert!((30..=40).contains(&pings), "{pings}");
    // What has arrived counts before what is due, however late the call.
    let mut wire = Wire::connected(config.clone());
    wire.now = wire.client.deadline().unwrap();
    wire.poll();
    wire.take();
    wire.later(60_000);
    assert_eq!(wire.receive(&[Packet::PingResp]), []);
    assert!(wire.client.is_connected());
    // A large packet on a slow link is a sign of life in each of its parts.
    let mut wire = Wire::connected(config);
    wire.now = wire.client.deadline().unwrap();
    wire.poll();
    wire.take();
    let mut bytes = Vec::new();
    published(&"x".repeat(50), delivery(QOS_0, 0)).encode(Version::V5, &mut bytes).unwrap();
    for end in 1..bytes.len() {
        wire.later(2000);
        let mut input = &bytes[..end];
        assert_eq!(wire.poll_with(&mut input), []);
        assert_eq!(input.len(), end);
        wire.take();
    }
    // As soon as it stops it is not.
    wire.now = wire.client.deadline().unwrap();
    let mut input = &bytes[..bytes.len() - 1];
    wire.poll_with(&mut input);
    wire.later(5000);
    assert_eq!(wire.poll_with(&mut input), [Event::Close(Why::PingTimeout)]);
}

#[test]
fn pitfall_07_the_server_keep_alive_wins() {
    let server_keep_alive = Some(10);
    let properties = ConnAckProperties { server_keep_alive, ..Default::default() };
    let mut wire = Wire::connected_by(ClientConfig { keep_alive: 1000, ..v5() }, connack_with(properties));
    assert_eq!(wire.client.server().keep_alive, 10);
    let start = wire.now;
    wire.now = wire.client.deadline().unwrap();
    assert!(wire.now.since(start) <= Duration::from_secs(10));
    wire.poll();
    wire.assert_sent(&[Packet::PingReq]);
}

#[test]
fn pitfall_08_clock_jumps() {
    // Backwards: the same as if no time had passed.
    let mut wire = Wire::connected(ClientConfig { keep_alive: 20, ping_timeout: 5, ..v5() });
    let (now, deadline) = (wire.now, wire.client.deadline());
    for earlier in [0, now.as_micros() - 1, now.as_micros()] {
        assert_eq!(wire.client.poll(Instant::from_micros(earlier), &mut &[][..]), None);
        assert_eq!(wire.client.deadline(), deadline);
    }
    wire.assert_silent();
    // Forwards: each deadline once. First PINGREQ is due, and only then can its answer be late.
    wire.later(365 * 24 * 3600 * 1000);
    assert_eq!(wire.poll(), []);
    wire.assert_sent(&[Packet::PingReq]);
    assert_eq!(wire.poll(), []);
    wire.assert_silent();
    wire.later(365 * 24 * 3600 * 1000);
    assert_eq!(wire.poll(), [Event::Close(Why::PingTimeout)]);
    assert_eq!(wire.poll(), []);
    wire.assert_silent();
    // A message that is published while the clock is behind has not waited since then.
    let mut wire = Wire::connected_by(v5(), connack_with(receive_maximum(1)));
    wire.later(100_000);
    wire.poll();
    wire.publish("first", QOS_1);
    wire.client.poll(Instant::from_micros(wire.now.as_micros() / 2), &mut &[][..]);
    wire.client.publish(&expiring("second", QOS_1, 10)).unwrap();
    wire.client.poll(Instant::EPOCH, &mut &[][..]); // from here on it waits
    wire.later(4000);
    wire.receive(&[PubAck::new(id(1)).into()]);
    let sent = wire.take();
    let sent = decode(&sent, Version::V5).pop();
    let Some(Packet::Publish(second)) = sent else { panic!("{sent:?}") };
    assert_eq!(second.properties.message_expiry_interval, Some(6));
    // To the end of time.
    let mut wire = Wire::connected(v5());
    wire.now = Instant::from_micros(u64::MAX);
    assert_eq!(wire.client.poll(wire.now, &mut &[][..]), None);
    wire.assert_sent(&[Packet::PingReq]);
    // A connection that begins with an earlier time begins when the last one ended.
    let mut wire = Wire::connected(ClientConfig { connect_timeout: 30, ..v5() });
    wire.later(100_000);
    wire.lose();
    let last = wire.now;
    wire.now = Instant::EPOCH;
    wire.client.open(wire.now).unwrap();
    assert_eq!(wire.client.deadline(), Some(last + Duration::from_secs(30)));
}

/// Commands can be given between two actions and while one is held; what cannot be taken is still the caller's.
#[test]
fn pitfall_09_nothing_blocks() {
    let mut wire = Wire::connected(ClientConfig { max_kept: 5, ..v5() });
    let mut bytes = Vec::new();
    for payload in ["1", "2", "3"] {
        published(payload, delivery(QOS_1, 1)).encode(Version::V5, &mut bytes).unwrap();
    }
    let mut input = &bytes[..];
    while let Some(action) = wire.client.poll(wire.now, &mut input) {
        let Action::Message(message) = &action else { continue };
        // An echo, from the very bytes that have arrived.
        wire.client.publish(&Message::new(&message.topic, message.payload).qos(QOS_1)).unwrap();
    }
    let sent = wire.take();
    let sent = decode(&sent, Version::V5);
    let echoes = sent.iter().filter(|packet| matches!(packet, Packet::Publish(_))).count();
    assert_eq!((sent.len(), echoes), (6, 3));
    // Full: the message is handed back, and its place is free again as soon as another one is settled.
    wire.publish("4", QOS_1);
    wire.publish("5", QOS_1);
    let message = Message::new("t", "6").qos(QOS_1);
    assert_eq!(wire.client.publish(&message), Err(CommandError::QueueFull));
    wire.receive(&[PubAck::new(id(2)).into()]);
    wire.client.publish(&message).unwrap();
}

/// When much waits to be written no input is taken, and output drains all the same; nothing is lost or stuck.
#[test]
fn pitfall_09_output_drains_while_input_waits() {
    let mut wire = Wire::connected(ClientConfig { transmit_limit: 100, ..v5() });
    let mut bytes = Vec::new();
    for number in 1..=200 {
        published("x", delivery(QOS_1, number)).encode(Version::V5, &mut bytes).unwrap();
    }
    let (mut input, mut messages, mut acks) = (&bytes[..], 0, Vec::new());
    for _ in 0..200 {
        messages += wire.poll_with(&mut input).len();
        assert!(wire.client.transmit().remaining() <= 100 + 4, "{}", wire.client.transmit().remaining());
        if messages == 200 {
            break;
        }
        assert!(!input.is_empty(), "it was stopped");
        // Not before there is room, and then at once.
        assert_eq!(wire.poll_with(&mut input), []);
        let ids: Vec<_> = sent_ids(&mut wire);
        assert!(!ids.is_empty());
        acks.extend(ids);
        assert_eq!(wire.client.deadline(), Some(Instant::EPOCH));
    }
    acks.extend(sent_ids(&mut wire));
    assert!(acks.into_iter().eq(1..=200));
    // What is published in the meantime waits its turn.
    let mut wire = Wire::connected(ClientConfig { transmit_limit: 100, max_kept: 1000, ..v5() });
    let tokens: Vec<_> = (0..500).map(|_| wire.publish("0123456789", QOS_0)).collect();
    let mut done = Vec::new();
    while done.len() < tokens.len() {
        assert!(!wire.take().is_empty(), "stuck after {}", done.len());
        done.extend(wire.poll());
    }
    assert!(done.into_iter().eq(tokens.into_iter().map(|token| Event::Done(token, Done::Sent))));
}

/// A conversation: what the server says, and by which point the client's commands are given.
struct Script {
    config: ClientConfig,
    steps: Vec<(Vec<u8>, Give)>,
}

/// A command, or several.
type Give = fn(&mut ClientSession);

fn script(version: Version) -> Script {
    let bytes = |packets: &[Packet<'_>]| {
        let mut bytes = Vec::new();
        encode(packets, version, &mut bytes);
        bytes
    };
    let command = |client: &mut ClientSession| {
        client.publish(&Message::new("a", "0")).unwrap();
        client.publish(&Message::new("b", "1").qos(QOS_1)).unwrap();
        client.publish(&Message::new("c", Bytes::from(vec![b'2'; 3000])).qos(QOS_2)).unwrap();
        client.subscribe(&[Subscription::new("t", QOS_2).unwrap()]).unwrap();
    };
    let steps: Vec<(Vec<u8>, Give)> = vec![
        (bytes(&[connack().into()]), command),
        (
            bytes(&[
                suback(3),
                published("first", delivery(QOS_0, 0)),
                published("second", delivery(QOS_1, 10)),
                PubRec::new(id(2)).into(),
                published("third", delivery(QOS_2, 11)),
                PubAck::new(id(1)).into(),
                PubComp::new(id(2)).into(),
                PubRel::new(id(11)).into(),
                PubRel::new(id(12)).into(),
            ]),
            |client| client.disconnect(&Disconnect::default()).unwrap(),
        ),
    ];
    Script { config: lasting(version), steps }
}

/// Plays a script, with input in pieces of these sizes and output in pieces of those; what was told, and what was sent.
fn play(script: &Script, input_pieces: &[usize], output_pieces: &[usize]) -> (Vec<Event>, Vec<u8>) {
    let mut wire = Wire::new(script.config.clone());
    wire.client.open(wire.now).unwrap();
    let (mut events, mut sent) = (Vec::new(), Vec::new());
    let mut output_pieces = output_pieces.iter().copied().cycle();
    let mut write_some = |wire: &mut Wire, sent: &mut Vec<u8>| {
        let transmit = wire.client.transmit();
        let piece = output_pieces.next().unwrap().min(transmit.remaining());
        // A write that is begun and given up, and one that succeeds.
        let chunk = transmit.chunk();
        assert_eq!(chunk, transmit.chunk());
        sent.extend_from_slice(&transmit.copy_to_bytes(piece));
    };
    let mut input_pieces = input_pieces.iter().copied().cycle();
    for (bytes, command) in &script.steps {
        let (mut start, mut end) = (0, 0);
        while end < bytes.len() {
            end = bytes.len().min(end.saturating_add(input_pieces.next().unwrap()));
            let mut input = &bytes[start..end];
            events.extend(wire.poll_with(&mut input));
            start = end - input.len();
            write_some(&mut wire, &mut sent);
        }
        assert_eq!(start, bytes.len());
        command(&mut wire.client);
    }
    events.extend(wire.poll());
    while wire.client.transmit().has_remaining() {
        write_some(&mut wire, &mut sent);
    }
    // When a message of QoS 0 has left depends on the pieces indeed.
    events.retain(|event| !matches!(event, Event::Done(_, Done::Sent)));
    (events, sent)
}

/// The same stream comes out, and the same is told, however input arrives and output is taken.
#[test]
fn pitfall_10_no_split_and_no_abort_changes_anything() {
    for version in BOTH {
        let script = script(version);
        let whole = play(&script, &[usize::MAX], &[usize::MAX]);
        assert_eq!(whole.0.len(), 8, "{:?}", whole.0);
        for size in 1..60 {
            assert_eq!(play(&script, &[size], &[usize::MAX]), whole, "pieces of {size}");
            assert_eq!(play(&script, &[size, 1], &[0, 1, 2, size, 5000]), whole, "pieces of {size}");
        }
        for at in 1..script.steps[1].0.len() {
            assert_eq!(play(&script, &[script.steps[0].0.len(), at, usize::MAX], &[at]), whole, "split at {at}");
        }
    }
}

/// What is too large for the server costs no identifier and is not tried again on each connection.
#[test]
fn pitfall_11_oversize_packets() {
    let too_large = Loss::NotSupported(ReasonCode::PacketTooLarge);
    let mut wire = Wire::connected_by(v5(), connack_with(packet_size(30)));
    let long = "x".repeat(100);
    let refused = wire.client.publish(&Message::new("t", &long).qos(QOS_1));
    assert_eq!(refused, Err(CommandError::TooLarge { limit: 30 }));
    wire.publish("x", QOS_1);
    wire.assert_sent(&[published("x", delivery(QOS_1, 1))]);
    wire.receive(&[PubAck::new(id(1)).into()]);
    // While there is no connection nobody knows.
    wire.lose();
    let [first, second] = [QOS_1, QOS_0].map(|qos| wire.publish(&long, qos));
    let small = wire.publish("small", QOS_1);
    let events = wire.connect(present_with(packet_size(30)));
    assert_eq!(events[1..], [lost(first, too_large), lost(second, too_large)]);
    let [number] = sent_ids(&mut wire)[..] else { panic!("one message") };
    assert_eq!(wire.receive(&[PubAck::new(id(number)).into()]), [success(small)]);
    wire.resume();
    wire.assert_silent();
    assert_eq!(wire.client.waiting(), 0);
}

/// An incoming packet that is too large ends the connection as soon as its size is known.
#[test]
fn pitfall_11_inbound_by_the_fixed_header() {
    for version in BOTH {
        let mut wire = Wire::connected(ClientConfig { maximum_packet_size: 1000, ..lasting(version) });
        // 3 + 997 bytes are 1000; 998 are too many.
        assert_eq!(wire.poll_with(&mut &b"\x30\xe5\x07"[..]), []);
        let events = wire.receive_bytes_of_the_end(b"\x30\xe6\x07");
        assert_eq!(events, [Event::Close(Why::Malformed(ReasonCode::PacketTooLarge))]);
        let reason_code = DisconnectReasonCode::PacketTooLarge;
        match version {
            Version::V5 => wire.assert_sent(&[Disconnect { reason_code, ..Disconnect::default() }.into()]),
            _ => wire.assert_silent(),
        }
    }
}

/// What waits, and what is sent again, has its full topic; an alias belongs to a connection.
#[test]
fn pitfall_12_aliases_and_reconnects() {
    let aliases = ConnAckProperties { topic_alias_maximum: Some(1), ..Default::default() };
    let mut wire = Wire::connected_by(ClientConfig { topic_aliases: 1, ..v5() }, connack_with(aliases));
    wire.publish("1", QOS_1);
    wire.publish("2", QOS_2);
    let alias = |topic, payload, delivery| {
        let properties = PublishProperties { topic_alias: NonZeroU16::new(1), ..Default::default() };
        Packet::from(Publish { topic, properties, ..publish(payload, delivery) })
    };
    let (topic, none) = (TopicName::new("t").unwrap(), TopicName::default());
    wire.assert_sent(&[alias(topic, "1", delivery(QOS_1, 1)), alias(none, "2", delivery(QOS_2, 2))]);
    wire.lose();
    // Waits without a connection.
    wire.publish("3", QOS_1);
    wire.connect(present());
    wire.assert_sent(&[
        published("1", again(QOS_1, 1)),
        published("2", again(QOS_2, 2)),
        published("3", delivery(QOS_1, 3)),
    ]);
    wire.lose();
    wire.connect(present_with(aliases));
    wire.assert_sent(&[
        alias(topic, "1", again(QOS_1, 1)),
        alias(none, "2", again(QOS_2, 2)),
        alias(none, "3", again(QOS_1, 3)),
    ]);
    // An alias that did not get out stands for nothing.
    wire.publish("4", QOS_0);
    wire.lose();
    wire.connect(connack_with(aliases));
    wire.publish("5", QOS_0);
    wire.assert_sent(&[alias(topic, "5", delivery(QOS_0, 0))]);
}

#[test]
fn pitfall_13_manual_acks() {
    let mut wire = Wire::connected(manual(Version::V5));
    let packets = [(QOS_1, 1), (QOS_2, 2), (QOS_1, 3), (QOS_2, 4)];
    wire.receive(&packets.map(|(qos, number)| published("x", delivery(qos, number))));
    let receipts = wire.receipts.clone();
    // QoS 0 needs none.
    wire.receive(&[published("0", delivery(QOS_0, 0))]);
    assert_eq!(wire.receipts.len(), 4);
    let (refused, fine) = (PubAckReasonCode::NotAuthorized, PubAckReasonCode::NoMatchingSubscribers);
    wire.client.ack(receipts[3], refused).unwrap();
    wire.client.ack(receipts[1], fine).unwrap();
    wire.assert_silent();
    assert_eq!(wire.client.ack(receipts[1], fine), Err(CommandError::AlreadyAcknowledged));
    wire.client.ack(receipts[0], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubAck::new(id(1)).into(), PubRec { reason_code: fine, ..PubRec::new(id(2)) }.into()]);
    wire.client.ack(receipts[2], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubAck::new(id(3)).into(), PubRec { reason_code: refused, ..PubRec::new(id(4)) }.into()]);
    for &receipt in &receipts {
        assert_eq!(wire.client.ack(receipt, fine), Err(CommandError::AlreadyAcknowledged));
    }
    // On another connection: refused, and the message comes again.
    wire.receive(&[published("late", delivery(QOS_1, 9))]);
    let late = wire.receipts[4];
    wire.lose();
    assert_eq!(wire.client.ack(late, fine), Err(CommandError::EarlierConnection));
    wire.connect(present());
    assert_eq!(wire.receive(&[published("late", again(QOS_1, 9))]).len(), 1);
    assert_eq!(wire.client.ack(late, fine), Err(CommandError::EarlierConnection));
    wire.assert_silent();
    wire.client.ack(wire.receipts[5], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubAck::new(id(9)).into()]);
    // Before 5.0 there are no reasons.
    let mut wire = Wire::connected(manual(Version::V311));
    wire.receive(&[published("1", delivery(QOS_1, 1)), published("2", delivery(QOS_2, 2))]);
    for receipt in wire.receipts.clone() {
        wire.client.ack(receipt, refused).unwrap();
    }
    wire.assert_sent(&[PubAck::new(id(1)).into(), PubRec::new(id(2)).into()]);
    // So the message counts as taken over.
    assert_eq!(wire.receive(&[published("2", again(QOS_2, 2))]), []);
    wire.receive(&[PubRel::new(id(2)).into()]);
    wire.assert_sent(&[PubRec::new(id(2)).into(), PubComp::new(id(2)).into()]);
}

#[test]
fn pitfall_14_stray_acknowledgements() {
    for version in BOTH {
        let reason_code = match version {
            Version::V5 => PubRelReasonCode::PacketIdentifierNotFound,
            _ => PubRelReasonCode::Success,
        };
        let mut wire = Wire::connected(lasting(version));
        let strays = [
            PubRel::new(id(1)).into(),
            PubAck::new(id(1)).into(),
            PubComp::new(id(1)).into(),
            PubRec::new(id(1)).into(),
            suback(1),
            unsuback(1, version),
            Packet::PingResp,
        ];
        assert_eq!(wire.receive(&strays), []);
        assert!(wire.client.is_connected());
        let comp = PubComp { reason_code, ..PubComp::new(id(1)) };
        let rel = PubRel { reason_code, ..PubRel::new(id(1)) };
        wire.assert_sent(&[comp.into(), rel.into()]);
    }
}

#[test]
fn pitfall_15_limits_by_count_and_by_bytes() {
    // By count: what waits and what is in flight together.
    let mut wire = Wire::connected_by(ClientConfig { max_kept: 4, ..v5() }, connack_with(receive_maximum(2)));
    for payload in ["1", "2", "3", "4"] {
        wire.publish(payload, QOS_1);
    }
    assert_eq!((wire.client.open_operations(), wire.client.waiting()), (2, 2));
    assert_eq!(wire.client.publish(&Message::new("t", "5").qos(QOS_1)), Err(CommandError::QueueFull));
    assert_eq!(wire.client.subscribe(&[Subscription::new("t", QOS_0).unwrap()]), Err(CommandError::QueueFull));
    assert_eq!(wire.client.unsubscribe(&[filter("t")]), Err(CommandError::QueueFull));
    // What needs not be kept can go.
    wire.publish("0", QOS_0);
    // By bytes, with a payload that is copied and one that is not.
    for shared in [false, true] {
        let payload = Bytes::from(vec![b'x'; 4000]);
        let message = || match shared {
            true => Message::new("t", payload.clone()).qos(QOS_1),
            false => Message::new("t", &payload[..]).qos(QOS_1),
        };
        let mut wire = Wire::connected(ClientConfig { max_kept_bytes: 10_000, ..v5() });
        wire.client.publish(&message()).unwrap();
        wire.lose();
        wire.client.publish(&message()).unwrap();
        assert_eq!(wire.client.publish(&message()), Err(CommandError::QueueFull));
        wire.publish("small", QOS_1);
        wire.connect(connack());
    }
}

#[test]
fn pitfall_15_every_drop_is_reported() {
    let config = ClientConfig { max_kept: 3, overflow: Overflow::DropOldest, ..v5() };
    let mut wire = Wire::connected(config.clone());
    let in_flight = wire.publish("1", QOS_1);
    wire.take();
    wire.lose();
    let tokens: Vec<_> = (0..10).map(|_| wire.publish("x", QOS_1)).collect();
    // What may have been sent is not dropped, and what is kept at last is the newest.
    let dropped = tokens[..8].iter().map(|&token| lost(token, Loss::Overflow));
    assert_eq!(wire.poll(), dropped.collect::<Vec<_>>());
    wire.connect(present());
    let ids = sent_ids(&mut wire);
    assert_eq!(ids.len(), 3);
    let events = wire.receive(&[1, 2, 3].map(|place| PubAck::new(id(ids[place - 1])).into()));
    assert_eq!(events, [in_flight, tokens[8], tokens[9]].map(success));
    // If there is nothing to be dropped it is refused, and nothing is dropped for it in vain.
    let mut wire = Wire::connected(config.clone());
    for _ in 0..3 {
        wire.publish("sent", QOS_1);
    }
    assert_eq!(wire.client.publish(&Message::new("t", "x").qos(QOS_1)), Err(CommandError::QueueFull));
    let mut wire = Wire::new(ClientConfig { max_kept_bytes: 100, ..config });
    wire.publish("stays", QOS_1);
    let too_large = Message::new("t", vec![0; 200]).qos(QOS_1);
    assert_eq!(wire.client.publish(&too_large), Err(CommandError::QueueFull));
    assert_eq!((wire.poll(), wire.client.waiting()), (vec![], 1));
    // Requests are not dropped for messages.
    let mut wire = Wire::new(ClientConfig { max_kept: 2, overflow: Overflow::DropOldest, ..v5() });
    let asked = wire.subscribe();
    let first = wire.publish("1", QOS_0);
    wire.publish("2", QOS_0);
    assert_eq!(wire.poll(), [lost(first, Loss::Overflow)]);
    wire.connect(connack());
    assert_eq!(wire.receive(&[suback(1)])[..1], [Event::Done(asked, Done::Subscribed(vec![0]))]);
}

/// Takes everything out of the journal.
fn store(client: &mut ClientSession, stored: &mut Vec<u8>) {
    if let Some(journal) = client.journal() {
        stored.extend_from_slice(&journal.copy_to_bytes(journal.remaining()));
    }
}

/// A server that keeps its word: it takes over messages, sends its own, and forgets nothing.
#[derive(Clone, Default)]
struct Server {
    version: Version,
    /// What has arrived and is no whole packet yet.
    unfinished: Vec<u8>,
    has_session: bool,
    /// Messages of QoS 2 that wait for PUBREL.
    received: BTreeSet<u16>,
    /// What was taken over.
    taken: Vec<String>,
    /// Its own messages that are not settled, and whether they are released.
    open: BTreeMap<u16, (QoS, &'static str, bool)>,
    /// How many it has sent.
    sent: u16,
    /// What is on its way to the client.
    output: Vec<u8>,
}

impl Server {
    fn put(&mut self, packet: Packet<'_>) {
        packet.encode(self.version, &mut self.output).unwrap();
    }

    fn send(&mut self, payload: &'static str, qos: QoS) {
        self.sent += 1;
        // An identifier is used again as soon as it can be.
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

/// The program crashes now.
struct Crash;

/// All that there is: a client with a journal, what was stored of it, and a server.
struct World {
    config: ClientConfig,
    client: ClientSession,
    server: Server,
    stored: Vec<u8>,
    now: Instant,
    /// How many steps are left until the crash: each byte that is stored, each byte that is sent, each read is one.
    steps: usize,
    /// What was published, and how long the journal is when that is in it.
    accepted: Vec<(&'static str, QoS, usize)>,
    /// What was delivered and acknowledged, and how long the journal is when that is in it.
    delivered: Vec<(String, usize)>,
    /// What has an outcome.
    done: BTreeSet<Token>,
    receipts: Vec<(mqtt_sansio::Receipt, String)>,
}

impl World {
    fn new(version: Version, manual_acks: bool) -> Self {
        let config = ClientConfig { journal: true, manual_acks, clean_start: false, ..lasting(version) };
        let server = Server { version, ..Server::default() };
        let client = ClientSession::new(config.clone());
        Self {
            config,
            client,
            server,
            stored: Vec::new(),
            now: Instant::EPOCH,
            steps: usize::MAX,
            accepted: Vec::new(),
            delivered: Vec::new(),
            done: BTreeSet::new(),
            receipts: Vec::new(),
        }
    }

    fn step(&mut self) -> Result<(), Crash> {
        self.steps = self.steps.checked_sub(1).ok_or(Crash)?;
        Ok(())
    }

    /// How long the journal will be when all that is in it now is stored.
    fn end(&mut self) -> usize {
        self.stored.len() + self.client.journal().unwrap().remaining()
    }

    fn publish(&mut self, payload: &'static str, qos: QoS) {
        self.client.publish(&Message::new("t", payload).qos(qos)).unwrap();
        let end = self.end();
        self.accepted.push((payload, qos, end));
    }

    fn open(&mut self) {
        self.server.disconnected();
        self.client.open(self.now).unwrap();
    }

    /// Everything goes where it belongs, byte by byte, until nothing moves any more; or at most so many rounds.
    fn run(&mut self, rounds: usize) -> Result<(), Crash> {
        for _ in 0..rounds {
            while let Some(&byte) = self.client.journal().unwrap().chunk().first() {
                assert!(!self.client.transmit().has_remaining(), "something leaves before it is stored");
                self.step()?;
                self.stored.push(byte);
                self.client.journal().unwrap().advance(1);
            }
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
            for (receipt, payload) in core::mem::take(&mut self.receipts).into_iter().rev() {
                if self.client.ack(receipt, PubAckReasonCode::Success).is_ok() {
                    let end = self.end();
                    self.delivered.push((payload, end));
                }
            }
            if !has_moved && !self.client.transmit().has_remaining() && !self.client.journal().unwrap().has_remaining()
            {
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
                    match message.receipt {
                        Some(receipt) => self.receipts.push((receipt, payload)),
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

    /// Messages both ways, in every stage when the connection breaks, and again.
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
        // Not a byte of these leaves before the connection is gone.
        self.publish("out 7", QOS_1);
        self.publish("out 8", QOS_2);
        self.client.closed(self.now);
        self.open();
        self.run(usize::MAX)
    }

    /// A short journal in place of a long one.
    fn compact(&mut self) {
        store(&mut self.client, &mut self.stored);
        let mut snapshot = self.client.snapshot();
        self.stored = snapshot.copy_to_bytes(snapshot.remaining()).into();
        // What was stored stays stored.
        self.accepted.iter_mut().for_each(|(.., end)| *end = 0);
        self.delivered.iter_mut().for_each(|(_, end)| *end = 0);
    }

    /// The program starts again, with what was stored.
    fn restart(&mut self) {
        let stored = self.stored.len();
        // What did not get into the journal has not happened: nobody has heard of it.
        self.accepted.retain(|&(payload, _, end)| {
            let is_known = end <= stored;
            assert!(is_known || !self.server.taken.iter().any(|taken| taken == payload), "{payload} left too early");
            is_known
        });
        self.delivered.retain(|&(_, end)| end <= stored);
        self.accepted.iter_mut().for_each(|(.., end)| *end = 0);
        self.delivered.iter_mut().for_each(|(_, end)| *end = 0);
        self.receipts.clear();
        // A record that is cut short is cut off: more is appended to what was read.
        let whole = (0..=stored).rev().find(|&end| is_whole(&self.config, &self.stored, end)).unwrap();
        self.stored.truncate(whole);
        self.client = ClientSession::restore(self.config.clone(), &self.stored).unwrap();
        self.client.assert_consistent();
    }

    /// Nothing was lost, and of QoS 2 nothing is there twice.
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
        assert_eq!((self.client.open_operations(), self.client.waiting()), (0, 0), "{why}");
    }
}

/// Whether a journal of so many bytes ends with a whole record: what is appended to it can be read.
fn is_whole(config: &ClientConfig, stored: &[u8], end: usize) -> bool {
    // `B` has nothing but its tag, and says what is known: behind a record that was cut short it would be part of that.
    let mut longer = stored[..end].to_vec();
    longer.push(b'?');
    ClientSession::restore(config.clone(), &longer).is_err_and(|error| error.at == end)
}

/// A crash after any byte that was stored, any byte that was sent, any read: nothing is lost, nothing of QoS 2 is there
/// twice. And then another crash on the way to recovery.
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
            assert!(steps > 400, "{steps}");
        }
    }
}

/// As long as something is to be stored nothing leaves, and afterwards everything does.
#[test]
fn pitfall_17_records_come_before_the_bytes_that_need_them() {
    let mut wire = Wire::connected(v5());
    assert!(wire.client.journal().is_none(), "nobody has asked for one");
    wire.publish("x", QOS_1);
    assert!(wire.client.transmit().has_remaining());

    let mut wire = Wire::new(ClientConfig { journal: true, ..v5() });
    wire.open();
    wire.receive(&[connack().into()]);
    let mut stored = Vec::new();
    store(&mut wire.client, &mut stored);
    wire.publish("x", QOS_2);
    let transmit = wire.client.transmit();
    assert_eq!((transmit.remaining(), transmit.chunk()), (0, &b""[..]));
    // Not even to somebody who does not look.
    transmit.advance(100);
    let journal = wire.client.journal().unwrap();
    journal.advance(journal.remaining() - 1);
    assert_eq!(wire.client.transmit().remaining(), 0);
    store(&mut wire.client, &mut stored);
    wire.assert_sent(&[published("x", delivery(QOS_2, 1))]);
}

/// A restored message is known by its token.
#[test]
fn pitfall_17_tokens_survive() {
    let config = ClientConfig { journal: true, ..v5() };
    let mut wire = Wire::new(config.clone());
    let mut stored = Vec::new();
    let tokens = [QOS_1, QOS_2].map(|qos| wire.publish("x", qos));
    store(&mut wire.client, &mut stored);
    let mut wire = Wire::of(ClientSession::restore(config, &stored).unwrap());
    assert_eq!(wire.client.waiting(), 2);
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

/// What has an outcome does not come back by a restart: settled, refused, expired, made room for, lost with its session,
/// not supported.
#[test]
fn pitfall_17_what_is_over_stays_over() {
    type Change = fn(&mut ClientConfig);
    type Scenario = fn(&mut Wire, &mut Vec<u8>);
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
            wire.client.publish(&expiring("x", QOS_1, 1)).unwrap();
            wire.poll();
            wire.later(5000);
            store(&mut wire.client, stored);
            wire.connect(present());
        }),
        (
            "made room for",
            |config| (config.max_kept, config.overflow) = (1, Overflow::DropOldest),
            |wire, _| {
                wire.lose();
                wire.publish("x", QOS_1);
                wire.publish("this one is of QoS 0, and not kept in a journal", QOS_0);
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
            let mut config = ClientConfig { journal: true, ..lasting(version) };
            change(&mut config);
            let mut wire = Wire::connected(config.clone());
            let mut stored = Vec::new();
            store(&mut wire.client, &mut stored);
            scenario(&mut wire, &mut stored);
            wire.poll();
            store(&mut wire.client, &mut stored);
            let mut snapshot = wire.client.snapshot();
            let snapshot = snapshot.copy_to_bytes(snapshot.remaining());
            check_restored(name, &config, &stored);
            check_restored(name, &config, &snapshot);
        }
    }
}

/// Nothing is left in this journal but a session.
fn check_restored(name: &str, config: &ClientConfig, journal: &[u8]) {
    let mut wire = Wire::of(ClientSession::restore(config.clone(), journal).unwrap());
    assert_eq!((wire.client.open_operations(), wire.client.waiting()), (0, 0), "{name}");
    assert_eq!(wire.connect(present()), [Event::Connected(Resumption::Resumed)], "{name}");
    let records = wire.client.journal().unwrap();
    records.advance(records.remaining());
    wire.assert_silent();
    assert_eq!(wire.receive(&[published("new", delivery(QOS_2, 7))]), [told("new", QOS_2)], "{name}");
}

/// After a restart as after any other end of a connection: PUBRELs in the order of the PUBRECs, messages in the order in
/// which they were sent, with their identifiers, and then what had waited.
#[test]
fn pitfall_17_replay_after_a_restart() {
    for version in BOTH {
        let config = ClientConfig { journal: true, ..lasting(version) };
        let mut wire = Wire::connected(config.clone());
        let mut stored = Vec::new();
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
        let mut snapshot = wire.client.snapshot();
        let snapshot = snapshot.copy_to_bytes(snapshot.remaining());
        for journal in [&stored[..], &snapshot] {
            let mut wire = Wire::of(ClientSession::restore(config.clone(), journal).unwrap());
            assert_eq!(wire.connect(present()), [Event::Connected(Resumption::Resumed)]);
            store(&mut wire.client, &mut Vec::new());
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

/// The identifier that the server has chosen is part of the session; one that the caller has chosen since is not
/// overruled by it.
#[test]
fn pitfall_17_the_client_identifier_survives() {
    let config = |client_id: &str| ClientConfig { journal: true, client_id: client_id.into(), ..v5() };
    let assigned = Some(Utf8Str::new("chosen").unwrap());
    let properties = ConnAckProperties { assigned_client_identifier: assigned, ..Default::default() };
    let mut wire = Wire::new(config(""));
    let mut stored = Vec::new();
    wire.connect(connack_with(properties));
    store(&mut wire.client, &mut stored);
    let restored = ClientSession::restore(config(""), &stored).unwrap();
    assert_eq!(restored.config().client_id, "chosen");
    wire.lose();
    wire.client.reconfigure(config("mine")).unwrap();
    store(&mut wire.client, &mut stored);
    wire.connect(connack());
    store(&mut wire.client, &mut stored);
    let restored = ClientSession::restore(config("mine"), &stored).unwrap();
    assert_eq!(restored.config().client_id, "mine");
    // The same by way of a snapshot.
    let mut snapshot = wire.client.snapshot();
    let snapshot = snapshot.copy_to_bytes(snapshot.remaining());
    assert_eq!(ClientSession::restore(config("mine"), &snapshot).unwrap().config().client_id, "mine");
}

/// Bytes that are no journal are refused, wherever they stop being one, and never bring anything down.
#[test]
fn pitfall_17_a_damaged_journal() {
    let mut world = World::new(Version::V5, false);
    assert!(world.script(false).is_ok());
    let config = world.config.clone();
    for at in 0..world.stored.len() {
        for damage in [0x00, 0x01, 0x80, 0xFF] {
            let mut damaged = world.stored.clone();
            damaged[at] ^= damage;
            if let Err(error) = ClientSession::restore(config.clone(), &damaged) {
                assert!(damage != 0 && error.at < damaged.len());
            }
        }
    }
    let error = ClientSession::restore(config, b"B?").map(drop).unwrap_err();
    assert_eq!((error.at, &error.to_string()[..]), (1, "no record of a journal for this version of MQTT at byte 1"));
}

/// Bytes in, bytes out: input can come byte by byte, as any transport has it, and what is unfinished stays the caller's.
#[test]
fn pitfall_18_any_fragmentation() {
    let script = script(Version::V5);
    let mut client = ClientSession::new(script.config);
    client.open(Instant::EPOCH).unwrap();
    let mut messages = 0;
    for (bytes, _) in &script.steps {
        let (mut received, mut start) = (Vec::new(), 0);
        for &byte in bytes {
            received.push(byte);
            let mut input = &received[start..];
            while let Some(action) = client.poll(Instant::EPOCH, &mut input) {
                messages += usize::from(matches!(action, Action::Message(_)));
            }
            start = received.len() - input.len();
            // To ask again does no harm, and takes nothing.
            let mut input = &received[start..];
            let unfinished = input.len();
            assert_eq!(client.poll(Instant::EPOCH, &mut input), None);
            assert_eq!(input.len(), unfinished);
        }
        assert_eq!(start, bytes.len());
    }
    assert_eq!(messages, 3);
}

/// A large payload is sent, sent again, and kept in between, without being copied.
#[test]
fn pitfall_20_large_payloads_by_reference() {
    let payload = Bytes::from(vec![b'x'; 1 << 20]);
    for aliases in [0, 5] {
        for qos in [QOS_0, QOS_1, QOS_2] {
            let maximum = ConnAckProperties { topic_alias_maximum: Some(aliases), ..Default::default() };
            let config = ClientConfig { transmit_limit: u32::MAX, topic_aliases: aliases, ..v5() };
            let mut wire = Wire::connected_by(config, connack_with(maximum));
            wire.client.publish(&Message::new("t", payload.clone()).qos(qos)).unwrap();
            wire.publish("behind", QOS_0);
            for dup in [false, true] {
                if dup && qos == QOS_0 {
                    continue;
                }
                let transmit = wire.client.transmit();
                let head = transmit.chunk().len();
                assert!(head < 30, "{head}");
                #[cfg(feature = "std")]
                {
                    let mut slices = [std::io::IoSlice::new(&[]); 8];
                    let count = transmit.chunks_vectored(&mut slices);
                    assert_eq!(count, if dup { 2 } else { 3 });
                    assert_eq!(slices[1].as_ptr(), payload.as_ptr());
                }
                transmit.advance(head);
                assert_eq!((transmit.chunk().as_ptr(), transmit.chunk().len()), (payload.as_ptr(), payload.len()));
                // In the middle of it, too.
                transmit.advance(1000);
                assert_eq!(transmit.chunk().as_ptr(), payload[1000..].as_ptr());
                transmit.advance(payload.len() - 1000);
                wire.take();
                wire.lose();
                wire.connect(present_with(maximum));
            }
        }
    }
    // What waits for a connection, and what is read by the server.
    let mut wire = Wire::new(ClientConfig { transmit_limit: u32::MAX, ..v5() });
    wire.client.publish(&Message::new("t", payload.clone()).qos(QOS_1)).unwrap();
    wire.connect(connack());
    let transmit = wire.client.transmit();
    let head = transmit.chunk().len();
    transmit.advance(head);
    assert_eq!(transmit.chunk().as_ptr(), payload.as_ptr());
    wire.resume();
    let sent = wire.take();
    assert_eq!(decode(&sent, Version::V5), [published(str::from_utf8(&payload).unwrap(), again(QOS_1, 1))]);
}

/// What the server says of an operation, or of a connection, reaches who has asked for it.
#[test]
fn pitfall_21_reasons_are_told() {
    let pairs = [UserProperty::new("site", "berlin").unwrap()];
    let reason_string = Some(Utf8Str::new("because").unwrap());
    let said = AckProperties { reason_string, user_properties: List::from(&pairs) };
    let mut wire = Wire::connected(v5());
    let one = wire.publish("1", QOS_1);
    let two = wire.publish("2", QOS_2);
    let three = wire.publish("3", QOS_2);
    let asked = wire.client.subscribe(&[
        Subscription::new("a", QOS_2).unwrap(),
        Subscription::new("b", QOS_2).unwrap(),
        Subscription::new("c", QOS_2).unwrap(),
    ]);
    let ended = wire.client.unsubscribe(&[filter("a"), filter("b")]);
    let refused = PubAckReasonCode::PayloadFormatInvalid;
    let granted =
        [SubAckReasonCode::GrantedQoS1, SubAckReasonCode::NotAuthorized, SubAckReasonCode::TopicFilterInvalid];
    let unsubscribed = [UnsubAckReasonCode::NoSubscriptionExisted, UnsubAckReasonCode::NotAuthorized];
    let packets = [
        PubAck { id: id(1), reason_code: refused, properties: said }.into(),
        PubRec { id: id(2), reason_code: refused, properties: said }.into(),
        PubRec { id: id(3), reason_code: PubAckReasonCode::NoMatchingSubscribers, ..PubRec::new(id(3)) }.into(),
        PubComp { id: id(3), reason_code: PubRelReasonCode::Success, properties: said }.into(),
        SubAck { properties: said, ..SubAck::new(id(4), &granted) }.into(),
        UnsubAck { properties: said, ..UnsubAck::new(id(5), &unsubscribed) }.into(),
    ];
    let mut bytes = Vec::new();
    encode(&packets, Version::V5, &mut bytes);
    let mut input = &bytes[..];
    let mut outcomes = Vec::new();
    while let Some(action) = wire.client.poll(wire.now, &mut input) {
        let Action::Done { token, outcome } = action else { panic!("{action:?}") };
        let (Outcome::Acknowledged { properties, .. }
        | Outcome::Subscribed { properties, .. }
        | Outcome::Unsubscribed { properties, .. }) = outcome
        else {
            panic!("{outcome:?}")
        };
        assert_eq!(properties, said);
        outcomes.push((token, outcome.codes().map(ReasonCode::value).collect::<Vec<_>>(), outcome.is_success()));
    }
    assert_eq!(
        outcomes,
        [
            (one, vec![0x99], false),
            (two, vec![0x99], false),
            (three, vec![0x10], true),
            (asked.unwrap(), vec![0x01, 0x87, 0x8F], false),
            (ended.unwrap(), vec![0x11, 0x87], false),
        ]
    );
    // Ends of connections.
    let server_reference = Some(Utf8Str::new("other.example:1883").unwrap());
    let properties = DisconnectProperties { server_reference, reason_string, ..Default::default() };
    let reason_code = DisconnectReasonCode::ServerMoved;
    let mut bytes = Vec::new();
    Disconnect { reason_code, properties }.encode(Version::V5, &mut bytes).unwrap();
    let action = wire.client.poll(wire.now, &mut &bytes[..]);
    let Some(Action::Close(close)) = action else { panic!("{action:?}") };
    assert_eq!((close.reason_code(), close.server_reference()), (Some(ReasonCode::ServerMoved), server_reference));
    assert!(matches!(close, Close::Disconnected(it) if it.properties == properties));
    let mut wire = Wire::new(v5());
    wire.open();
    let properties = ConnAckProperties { server_reference, reason_string, ..Default::default() };
    let refused = ConnAck { reason_code: ConnAckReasonCode::UseAnotherServer, properties, ..ConnAck::default() };
    let mut bytes = Vec::new();
    refused.encode(Version::V5, &mut bytes).unwrap();
    let action = wire.client.poll(wire.now, &mut &bytes[..]);
    let Some(Action::Close(close)) = action else { panic!("{action:?}") };
    assert_eq!((close.reason_code(), close.server_reference()), (Some(ReasonCode::UseAnotherServer), server_reference));
    assert_eq!(close, Close::Refused(refused));
}

/// What expires while it waits is not sent; what does not has less time left as its bytes are written.
#[test]
fn pitfall_24_message_expiry() {
    let interval_of = |wire: &mut Wire| {
        let sent = wire.take();
        decode(&sent, Version::V5)
            .iter()
            .map(|packet| match packet {
                Packet::Publish(publish) => publish.properties.message_expiry_interval,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    // Without a connection.
    for qos in [QOS_0, QOS_1, QOS_2] {
        let mut wire = Wire::new(v5());
        wire.poll();
        let expired = wire.client.publish(&expiring("x", qos, 10)).unwrap();
        wire.client.publish(&expiring("y", qos, 11)).unwrap();
        wire.client.publish(&expiring("z", qos, u32::MAX)).unwrap();
        wire.publish("for ever", qos);
        assert_eq!(wire.client.deadline(), Some(Instant::EPOCH), "it wants to know what time it is");
        wire.poll();
        wire.later(10_000);
        let events = wire.connect(connack());
        assert_eq!(events[1..], [lost(expired, Loss::Expired)], "{qos}");
        assert_eq!(interval_of(&mut wire), [Some(1), Some(u32::MAX - 10), None]);
    }
    // With a full window.
    let mut wire = Wire::connected_by(v5(), connack_with(receive_maximum(1)));
    wire.publish("first", QOS_1);
    wire.take();
    let expired = wire.client.publish(&expiring("x", QOS_1, 10)).unwrap();
    wire.client.publish(&expiring("y", QOS_2, 100)).unwrap();
    wire.poll();
    wire.later(30_000);
    assert_eq!(wire.receive(&[PubAck::new(id(1)).into()])[1..], [lost(expired, Loss::Expired)]);
    assert_eq!(interval_of(&mut wire), [Some(70)]);
    // Sent at once: nothing has been waited for. Sent again: it may have got through, so it does not expire.
    let mut wire = Wire::connected(v5());
    wire.client.publish(&expiring("x", QOS_1, 10)).unwrap();
    assert_eq!(interval_of(&mut wire), [Some(10)]);
    wire.poll();
    wire.later(4000);
    wire.resume();
    assert_eq!(interval_of(&mut wire), [Some(6)]);
    wire.later(60_000);
    wire.resume();
    assert_eq!(interval_of(&mut wire), [Some(1)], "0 would say that it has");
    // Not a byte of it had left when the connection ended: it has never been sent.
    let mut wire = Wire::connected(v5());
    let expired = wire.client.publish(&expiring("x", QOS_1, 10)).unwrap();
    wire.poll();
    wire.later(10_000);
    wire.lose();
    let events = wire.connect(present());
    assert_eq!(events[1..], [lost(expired, Loss::Expired)]);
    wire.assert_silent();
}

/// Small packets lie one behind the other, ready to be written at once and at one go.
#[test]
fn pitfall_25_one_write_for_many_packets() {
    let mut wire = Wire::connected(v5());
    for qos in [QOS_0, QOS_1, QOS_2].into_iter().cycle().take(100) {
        wire.publish("x", qos);
        let transmit = wire.client.transmit();
        assert!(transmit.has_remaining(), "nothing is held back");
        assert_eq!(transmit.chunk().len(), transmit.remaining());
    }
    wire.subscribe();
    wire.receive(&[published("x", delivery(QOS_1, 1)), published("y", delivery(QOS_2, 2))]);
    let transmit = wire.client.transmit();
    assert_eq!(transmit.chunk().len(), transmit.remaining());
    let sent = wire.take();
    assert_eq!(decode(&sent, Version::V5).len(), 103);
}

/// Input that no good server sends: each is met by an end of the connection, and 5.0 says why.
mod hostile {
    use super::*;

    /// Malformed, or a breach: one Close, one DISCONNECT with this code in 5.0, nothing delivered.
    #[track_caller]
    fn ends(wire: &mut Wire, bytes: &[u8], code: u8) {
        wire.take();
        let events = wire.receive_bytes_of_the_end(bytes);
        let reason_code = match events[..] {
            [Event::Close(Why::Malformed(reason_code))] => reason_code,
            [Event::Close(Why::Breach(breach))] => breach.reason_code(),
            ref other => panic!("{bytes:x?}: {other:?}"),
        };
        assert_eq!(reason_code.value(), code, "{bytes:x?}: {events:?}");
        let sent = wire.take();
        match decode(&sent, wire.version)[..] {
            [Packet::Disconnect(disconnect)] if wire.version == Version::V5 => {
                assert_eq!(disconnect.reason_code.value(), code);
            }
            [] if wire.version != Version::V5 => {}
            ref other => panic!("{other:?}"),
        }
        assert!(!wire.client.is_connected());
        assert_eq!(wire.receive(&[published("x", delivery(QOS_1, 1))]), []);
    }

    fn both(bytes: &[u8], code: u8) {
        for version in BOTH {
            ends(&mut Wire::connected(lasting(version)), bytes, code);
        }
    }

    /// Before CONNACK and after: nothing is collected for what is claimed, and what is not CONNACK is no beginning.
    #[test]
    fn a_header_that_claims_256_megabytes() {
        for version in BOTH {
            let mut wire = Wire::new(lasting(version));
            wire.open();
            ends(&mut wire, b"\x20\xff\xff\xff\x7f", 0x95);
            ends(&mut Wire::connected(lasting(version)), b"\x30\xff\xff\xff\x7f", 0x95);
            let mut wire = Wire::new(lasting(version));
            wire.open();
            let mut bytes = Vec::new();
            published("x", delivery(QOS_0, 0)).encode(version, &mut bytes).unwrap();
            ends(&mut wire, &bytes, 0x82);
        }
    }

    #[test]
    fn a_length_of_more_than_four_bytes() {
        for bytes in [&b"\x30\xff\xff\xff\xff\x01"[..], b"\x30\x80\x80\x80\x80\x00", b"\x20\xff\xff\xff\xff"] {
            both(bytes, 0x81);
        }
        // A whole packet that follows is not looked for.
        both(b"\x30\x80\x80\x80\x80\x00\xd0\x00\x30\x04\x00\x01tx", 0x81);
        // Inside a packet: the length of the properties.
        ends(&mut Wire::connected(v5()), b"\x30\x09\x00\x01t\x80\x80\x80\x80\x00x", 0x81);
    }

    /// A block of properties whose length takes two bytes, and every way to split it.
    #[test]
    fn long_properties() {
        for length in [100, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 129, 300, 16_380, 16_390, 40_000] {
            let value = "v".repeat(length);
            let pairs = [UserProperty::new("k", &value).unwrap()];
            let properties = PublishProperties { user_properties: List::from(&pairs), ..Default::default() };
            let mut bytes = Vec::new();
            Publish { properties, ..publish("payload", delivery(QOS_0, 0)) }.encode(Version::V5, &mut bytes).unwrap();
            let mut wire = Wire::connected(v5());
            for end in (1..bytes.len()).step_by(1 + length / 200) {
                let mut input = &bytes[..end];
                assert_eq!(wire.poll_with(&mut input), []);
                assert_eq!(input.len(), end);
            }
            assert_eq!(wire.receive_bytes(&bytes), [told("payload", QOS_0)]);
        }
    }

    #[test]
    fn an_empty_topic() {
        ends(&mut Wire::connected(v311()), b"\x30\x03\x00\x00x", 0x90);
        ends(&mut Wire::connected(v5()), b"\x30\x04\x00\x00\x00x", 0x82);
        // From the caller.
        let aliases = ConnAckProperties { topic_alias_maximum: Some(5), ..Default::default() };
        let mut wires = [
            Wire::connected(v311()),
            Wire::connected(v5()),
            Wire::connected_by(ClientConfig { topic_aliases: 5, ..v5() }, connack_with(aliases)),
            Wire::new(v5()),
        ];
        for wire in &mut wires {
            for qos in [QOS_0, QOS_1, QOS_2] {
                let result = wire.client.publish(&Message::new("", "x").qos(qos));
                assert!(matches!(result, Err(CommandError::Encode(_) | CommandError::Text(_))), "{qos}: {result:?}");
            }
            wire.assert_silent();
        }
    }

    #[test]
    fn ill_formed_text() {
        let mut texts: Vec<Vec<u8>> = vec![b"\0".into(), b"a\0b".into()];
        texts.extend([&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"].map(Vec::from));
        for text in texts {
            let length = text.len() as u8;
            let field = [&[0, length][..], &text].concat();
            let packet = |first: u8, parts: &[&[u8]]| {
                let body = parts.concat();
                [&[first, body.len() as u8][..], &body].concat()
            };
            let properties = |id: u8, rest: &[u8]| {
                let body = [&[id][..], &field, rest].concat();
                [&[body.len() as u8][..], &body].concat()
            };
            both(&packet(0x30, &[&field, b"\0"]), 0x81);
            let v5_cases = [
                packet(0x30, &[b"\x00\x01t", &properties(0x03, b"")]), // Content Type
                packet(0x30, &[b"\x00\x01t", &properties(0x08, b"")]), // Response Topic
                packet(0x30, &[b"\x00\x01t", &properties(0x26, b"\0\0")]), // User Property
                packet(0x40, &[b"\x00\x01\x00", &properties(0x1F, b"")]), // Reason String
                packet(0x90, &[b"\x00\x01", &properties(0x1F, b""), b"\0"]),
                packet(0xE0, &[b"\x00", &properties(0x1C, b"")]), // Server Reference
            ];
            for bytes in v5_cases {
                ends(&mut Wire::connected(v5()), &bytes, 0x81);
            }
            for id in [0x12, 0x15, 0x1A, 0x1C, 0x1F] {
                let mut wire = Wire::new(v5());
                wire.open();
                ends(&mut wire, &packet(0x20, &[b"\0\0", &properties(id, b"")]), 0x81);
            }
        }
    }

    #[test]
    fn topics_that_begin_with_a_dollar_sign() {
        let mut wire = Wire::connected(v5());
        let packet = client::publish_to("$SYS/broker", "x", delivery(QOS_0, 0));
        assert_eq!(wire.receive(&[packet.into()]).len(), 1);
        wire.client.publish(&Message::new("$SYS/broker", "x")).unwrap();
        wire.assert_sent(&[packet.into()]);
    }

    /// PUBREC goes out and is never answered, or cannot go out at all: no more than was agreed is ever kept.
    #[test]
    fn qos_2_without_an_end() {
        let qos_2 = |number| published("x", delivery(QOS_2, number));
        for by_hand in [false, true] {
            let config = ClientConfig { manual_acks: by_hand, receive_maximum: NonZeroU16::new(10).unwrap(), ..v5() };
            let mut wire = Wire::connected(config);
            for number in 1..=10 {
                assert_eq!(wire.receive(&[qos_2(number)]), [told("x", QOS_2)]);
                wire.take();
            }
            assert_eq!(wire.receive(&[qos_2(11)]), [breach(Breach::ReceiveMaximumExceeded)]);
            let reason_code = DisconnectReasonCode::ReceiveMaximumExceeded;
            wire.assert_sent(&[Disconnect { reason_code, ..Disconnect::default() }.into()]);
        }
    }

    /// Copies of one message that the application has not acknowledged: each would have a PUBREC one day.
    #[test]
    fn copies_without_an_end() {
        for version in BOTH {
            let mut wire = Wire::connected(manual(version));
            let mut bytes = Vec::new();
            for _ in 0..1000 {
                published("x", again(QOS_2, 7)).encode(version, &mut bytes).unwrap();
            }
            for _ in 0..200 {
                wire.receive_bytes_of_the_end(&bytes);
            }
            if wire.client.is_connected() {
                wire.client.ack(wire.receipts[0], PubAckReasonCode::Success).unwrap();
            }
            // As many as there can be messages, and no more.
            let remaining = wire.client.transmit().remaining();
            assert!(remaining <= 65_535 * 4, "{version}: {remaining} bytes");
        }
    }

    /// With as few messages as are taken at a time, so few copies are: each PUBLISH takes quota (section 4.9).
    #[test]
    fn copies_take_quota() {
        let receive_maximum = NonZeroU16::new(10).unwrap();
        let mut wire = Wire::connected(ClientConfig { receive_maximum, ..manual(Version::V5) });
        let copies = [published("x", again(QOS_2, 7)); 11];
        assert_eq!(wire.receive(&copies).last(), Some(&breach(Breach::ReceiveMaximumExceeded)));
    }

    #[test]
    fn properties_where_they_may_not_stand() {
        // (packet up to its properties, what follows them)
        let packets: [(&[u8], &[u8]); 6] = [
            (b"\x30\x00\x01t", b"x"),
            (b"\x40\x00\x01\x00", b""),
            (b"\x62\x00\x01\x00", b""),
            (b"\x90\x00\x01", b"\x00"),
            (b"\xb0\x00\x01", b"\x00"),
            (b"\xe0\x00", b""),
        ];
        // Session Expiry Interval, Server Keep Alive, Will Delay Interval, Maximum QoS, one that does not exist.
        let misplaced: [&[u8]; 5] =
            [b"\x11\x00\x00\x00\x05", b"\x13\x00\x05", b"\x18\x00\x00\x00\x05", b"\x24\x01", b"\x7f\x00"];
        for (head, rest) in packets {
            for property in misplaced {
                if head[0] == 0xE0 && property[0] == 0x11 {
                    continue; // that may be there, but not from a server
                }
                let (first, head) = head.split_first().unwrap();
                let body = [head, &[property.len() as u8], property, rest].concat();
                let bytes = [&[*first, body.len() as u8][..], &body].concat();
                ends(&mut Wire::connected(v5()), &bytes, 0x81);
            }
        }
        // Once is enough: a reason string, an alias, a receive maximum in CONNACK.
        ends(&mut Wire::connected(v5()), b"\x40\x0c\x00\x01\x00\x08\x1f\x00\x01a\x1f\x00\x01b", 0x82);
        ends(&mut Wire::connected(v5()), b"\x30\x0a\x00\x01t\x06\x23\x00\x01\x23\x00\x01", 0x82);
        let mut wire = Wire::new(v5());
        wire.open();
        ends(&mut wire, b"\x20\x09\x00\x00\x06\x21\x00\x01\x21\x00\x01", 0x82);
        // Nothing of it was kept.
        assert_eq!(wire.client.server().receive_maximum, u16::MAX);
    }

    #[test]
    fn very_many_user_properties() {
        let with = |count: usize| {
            let pairs = vec![UserProperty::new("", "").unwrap(); count];
            let properties = PublishProperties { user_properties: List::from(&pairs), ..Default::default() };
            let mut bytes = Vec::new();
            Publish { properties, ..publish("x", delivery(QOS_0, 0)) }.encode(Version::V5, &mut bytes).unwrap();
            bytes
        };
        let config = ClientConfig { max_user_properties: 100, ..v5() };
        assert_eq!(Wire::connected(config.clone()).receive_bytes(&with(100)), [told("x", QOS_0)]);
        ends(&mut Wire::connected(config.clone()), &with(101), 0x97);
        ends(&mut Wire::connected(config), &with(300_000), 0x97);
    }

    #[test]
    fn reason_codes_that_do_not_match_the_request() {
        let granted = SubAckReasonCode::GrantedQoS0;
        for version in BOTH {
            for count in [1, 3] {
                let mut wire = Wire::connected(lasting(version));
                wire.client
                    .subscribe(&[Subscription::new("a", QOS_0).unwrap(), Subscription::new("b", QOS_0).unwrap()])
                    .unwrap();
                let codes = [granted, granted, granted];
                let mut bytes = Vec::new();
                SubAck::new(id(1), &codes[..count]).encode(version, &mut bytes).unwrap();
                ends(&mut wire, &bytes, 0x82);
            }
            // None at all.
            let mut wire = Wire::connected(lasting(version));
            wire.subscribe();
            wire.take();
            let bytes: &[u8] = if version == Version::V5 { b"\x90\x03\x00\x01\x00" } else { b"\x90\x02\x00\x01" };
            let events = wire.receive_bytes_of_the_end(bytes);
            assert!(matches!(events[..], [Event::Close(_)]), "{events:?}");
        }
        for count in [1, 3] {
            let mut wire = Wire::connected(v5());
            wire.client.unsubscribe(&[filter("a"), filter("b")]).unwrap();
            let codes = [UnsubAckReasonCode::Success; 3];
            let mut bytes = Vec::new();
            UnsubAck::new(id(1), &codes[..count]).encode(Version::V5, &mut bytes).unwrap();
            ends(&mut wire, &bytes, 0x82);
        }
    }

    /// A field that runs past the end of its packet is malformed, even if more bytes follow.
    #[test]
    fn a_topic_longer_than_its_packet() {
        both(b"\x30\x05\x00\x09topic and more", 0x81);
        both(b"\x32\x04\x00\x01tx\x00\x00", 0x81);
        both(b"\x40\x01\x00\x01", 0x81);
    }

    #[test]
    fn packets_that_only_a_client_sends() {
        let packets: [&[u8]; 4] =
            [b"\xc0\x00", b"\x82\x06\x00\x01\x00\x01t\x00", b"\xa2\x05\x00\x01\x00\x01t", b"\x10\x00"];
        for bytes in packets {
            both(bytes, 0x82);
        }
    }

    /// Aliases cost memory: no more of them than was announced.
    #[test]
    fn aliases_beyond_the_maximum() {
        let config = ClientConfig { topic_alias_maximum: 3, ..v5() };
        let set = |alias| {
            let properties = PublishProperties { topic_alias: NonZeroU16::new(alias), ..Default::default() };
            let mut bytes = Vec::new();
            Publish { properties, ..publish("x", delivery(QOS_0, 0)) }.encode(Version::V5, &mut bytes).unwrap();
            bytes
        };
        let mut wire = Wire::connected(config.clone());
        for alias in 1..=3 {
            assert_eq!(wire.receive_bytes(&set(alias)), [told("x", QOS_0)]);
        }
        ends(&mut wire, &set(4), 0x94);
        ends(&mut Wire::connected(v5()), &set(1), 0x94);
    }

    /// A server that never answers does not hold a connection for ever.
    #[test]
    fn silence() {
        let mut wire = Wire::new(ClientConfig { connect_timeout: 30, ..v5() });
        wire.open();
        assert_eq!(wire.client.deadline(), Some(wire.now + Duration::from_secs(30)));
        wire.later(29_999);
        assert_eq!(wire.poll(), []);
        // A beginning is no answer.
        assert_eq!(wire.poll_with(&mut &b"\x20"[..]), []);
        wire.later(1);
        assert_eq!(wire.poll(), [Event::Close(Why::ConnectTimeout)]);
        // Each step of an authentication has the same time.
        let authentication = Some(Authentication { method: "M".into(), data: None }.into());
        let mut wire = Wire::new(ClientConfig { connect_timeout: 30, authentication, ..v5() });
        wire.open();
        let step = auth(AuthReasonCode::ContinueAuthentication, "M", b"");
        for _ in 0..3 {
            wire.later(29_000);
            wire.receive(&[step.into()]);
            assert_eq!(wire.client.deadline(), Some(wire.now + Duration::from_secs(30)));
            wire.later(20_000);
            wire.poll();
            wire.client.authenticate(b"").unwrap();
            assert_eq!(wire.client.deadline(), Some(wire.now + Duration::from_secs(30)));
        }
        // And an answer counts, however late the call.
        let mut wire = Wire::new(v5());
        wire.open();
        wire.later(100_000);
        assert_eq!(wire.receive(&[connack().into()]), [Event::Connected(Resumption::New)]);
    }

    /// What a server says of itself cannot be used to make the client break a rule, or to stop it altogether.
    #[test]
    fn strange_limits() {
        let properties = ConnAckProperties {
            receive_maximum: NonZeroU16::new(1),
            maximum_qos: Some(MaximumQoS::AtMostOnce),
            maximum_packet_size: NonZeroU32::new(u32::MAX),
            topic_alias_maximum: Some(u16::MAX),
            server_keep_alive: Some(u16::MAX),
            session_expiry_interval: Some(u32::MAX),
            ..Default::default()
        };
        let mut wire = Wire::connected_by(ClientConfig { topic_aliases: u16::MAX, ..v5() }, connack_with(properties));
        wire.publish("x", QOS_0);
        wire.subscribe();
        assert_eq!(decode(&wire.take(), Version::V5).len(), 2);
    }
}
