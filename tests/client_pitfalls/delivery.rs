//! Rows 1 to 6: packet identifiers, quota, outcomes, duplicates, retransmission, session present.

use super::*;
use mqtt_sansio::{AckError, SessionExpiry};

/// All operations take their packet identifiers from one allocator. As many identifiers are in use as operations are in
/// flight, and none once the session has ended.
#[test]
fn pitfall_01_identifiers_do_not_collide() {
    for version in BOTH {
        let mut wire = Wire::connected(lasting(version));
        // The operations in flight: by packet identifier, the type of the packet that completes each.
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
            // Complete another operation, so that the free identifiers are scattered.
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
            assert_eq!(wire.client.operations_in_flight(), open.len());
        }
        wire.lose();
        wire.connect(connack());
        let requests = open.values().filter(|&&kind| kind > 1).count();
        assert_eq!(wire.client.operations_in_flight(), requests, "those that were asked again, and nothing else");
    }
}

/// When all identifiers are in use, requests wait without keeping the caller busy.
#[test]
fn pitfall_01_requests_wait_when_all_identifiers_are_in_use() {
    let mut wire = Wire::connected(ClientConfig { max_stored: 70_000, ..v5() });
    for _ in 0..65_535 {
        wire.subscribe();
        wire.take();
    }
    assert_eq!(wire.client.operations_in_flight(), 65_535);
    let waits = wire.subscribe();
    wire.assert_silent();
    assert_eq!(wire.poll(), []);
    assert_eq!((wire.client.operations_in_flight(), wire.client.queued()), (65_535, 1));
    let message = wire.publish("x", QOS_1);
    assert_eq!(wire.poll(), []);
    wire.assert_silent();
    // Identifiers that become free are given to the waiting requests in order.
    wire.receive(&[suback(40_000)]);
    assert_eq!(sent_ids(&mut wire), [40_000]);
    assert_eq!(wire.receive(&[suback(40_000)]), [Event::Done(waits, Done::Subscribed(vec![0]))]);
    assert_eq!(sent_ids(&mut wire), [40_000]);
    assert_eq!(wire.receive(&[PubAck::new(id(40_000)).into()]), [success(message)]);
    assert_eq!((wire.client.operations_in_flight(), wire.client.queued()), (65_534, 0));
}

/// However a delivery ends, it returns its quota, and a new connection starts with the full quota.
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
        assert_eq!((wire.client.in_flight(), wire.client.queued()), (WINDOW, 1));
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
        assert_eq!((wire.client.in_flight(), wire.client.operations_in_flight()), (0, 0));
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

/// Each token has exactly one outcome. The test produces one of every kind.
#[test]
fn pitfall_03_each_token_has_one_outcome() {
    let config = ClientConfig { overflow: Overflow::DropOldest, max_stored: 4, ..v5() };
    let mut wire = Wire::new(ClientConfig { session_expiry_interval: SessionExpiry::WITH_CONNECTION, ..config });
    let mut outcomes: BTreeMap<Token, Vec<Done>> = BTreeMap::new();
    let mut expected: Vec<(Token, Done)> = Vec::new();
    let mut note = |events: Vec<Event>| {
        for event in events {
            if let Event::Done(token, done) = event {
                outcomes.entry(token).or_default().push(done);
            }
        }
    };
    // Queued when the connection opens: expired, not supported, dropped to make room.
    let made_room = wire.publish("1", QOS_1);
    let expired = wire.client.publish(wire.now, &expiring("2", QOS_1, 1)).unwrap();
    let not_supported = wire.client.publish(wire.now, &Message::new("t", "3").qos(QOS_1).retain(true)).unwrap();
    let asked = wire.subscribe();
    let waits = wire.publish("4", QOS_1);
    note(wire.poll());
    wire.later(2000);
    let no_retain = ConnAckProperties { retain_available: Some(false), ..Default::default() };
    note(wire.connect(connack_with(no_retain)));
    expected.push((made_room, Done::Abandoned(AbandonReason::Overflow)));
    expected.push((expired, Done::Abandoned(AbandonReason::Expired)));
    expected.push((not_supported, Done::Abandoned(AbandonReason::NotSupported(ReasonCode::RetainNotSupported))));
    let ids = sent_ids(&mut wire);
    assert_eq!(ids.len(), 2);
    note(wire.receive(&[suback(ids[0]), PubAck::new(id(ids[1])).into()]));
    // Acknowledgements of tokens that have their outcome already.
    note(wire.receive(&[suback(ids[0]), PubAck::new(id(ids[1])).into()]));
    expected.push((asked, Done::Subscribed(vec![0])));
    expected.push((waits, Done::Acknowledged(ReasonCode::Success)));
    // A message sent with QoS 0, and one acknowledged with QoS 2.
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
    // In flight when the session ends with its connection; a QoS 0 message that was not written; a message that was not
    // sent at all.
    let in_flight = wire.publish("7", QOS_1);
    wire.take();
    let unwritten = wire.publish("8", QOS_0);
    let unsent = wire.publish("9", QOS_2);
    note(wire.lose());
    note(wire.lose());
    expected.push((in_flight, Done::Abandoned(AbandonReason::Session)));
    expected.push((unwritten, Done::Abandoned(AbandonReason::Connection)));
    note(wire.connect(connack()));
    let ids = sent_ids(&mut wire);
    let reason_code = PubAckReasonCode::NotAuthorized;
    note(wire.receive(&[PubRec { reason_code, ..PubRec::new(id(ids[0])) }.into()]));
    expected.push((unsent, Done::Acknowledged(ReasonCode::NotAuthorized)));
    wire.lose();

    let expected: BTreeMap<_, _> = expected.into_iter().map(|(token, done)| (token, vec![done])).collect();
    assert_eq!(outcomes, expected);
}

/// N copies of a message lead to N PUBRECs and one delivery, on one connection and across two.
#[test]
fn pitfall_04_qos_2_duplicates_are_delivered_once() {
    for version in BOTH {
        for by_hand in [false, true] {
            let mut wire = Wire::connected(ClientConfig { manual_acks: by_hand, ..lasting(version) });
            let mut copies = vec![published("x", delivery(QOS_2, 7))];
            copies.extend([published("x", again(QOS_2, 7)); 9]);
            assert_eq!(wire.receive(&copies), [delivered("x", QOS_2)]);
            if by_hand {
                wire.client.ack(wire.now, wire.ack_handles[0], PubAckReasonCode::Success).unwrap();
            }
            wire.assert_sent(&[PubRec::new(id(7)).into(); 10]);
            for _ in 0..3 {
                wire.resume();
                assert_eq!(wire.receive(&copies), []);
                wire.assert_sent(&[PubRec::new(id(7)).into(); 10]);
            }
            wire.receive(&[PubRel::new(id(7)).into()]);
            wire.assert_sent(&[PubComp::new(id(7)).into()]);
            assert_eq!(wire.receive(&[published("new", delivery(QOS_2, 7))]), [delivered("new", QOS_2)]);
        }
    }
}

/// A duplicate that waits for an earlier message which is then refused is refused as well: it is the same message.
#[test]
fn pitfall_04_a_duplicate_of_a_refused_message_is_refused() {
    let mut wire = Wire::connected(ClientConfig { durable: true, ..manual(Version::V5) });
    let mut stored = Pairs::default();
    store(&mut wire.client, &mut stored);
    assert_eq!(wire.receive(&[published("x", delivery(QOS_2, 7)), published("x", again(QOS_2, 7))]).len(), 1);
    wire.client.ack(wire.now, wire.ack_handles[0], PubAckReasonCode::QuotaExceeded).unwrap();
    store(&mut wire.client, &mut stored);
    let sent = wire.take();
    for packet in decode(&sent, Version::V5) {
        assert!(matches!(packet, Packet::PubRec(ack) if ack.id == id(7) && ack.reason_code.is_error()), "{packet:?}");
    }
    // The identifier is free for a new message, here and after a restart.
    let mut restored = Wire::of(ClientSession::restore(manual(Version::V5), wire.now, stored.iter()).unwrap());
    restored.connect(present());
    for wire in [&mut wire, &mut restored] {
        assert_eq!(wire.receive(&[published("new", delivery(QOS_2, 7))]), [delivered("new", QOS_2)]);
    }
}

/// A duplicate that waits for its turn until the message is released: its PUBREC must not make the server send another
/// PUBREL.
#[test]
fn pitfall_04_a_duplicate_answered_after_the_release() {
    for version in BOTH {
        let mut wire = Wire::connected(ClientConfig { durable: true, ..manual(version) });
        let mut stored = Pairs::default();
        store(&mut wire.client, &mut stored);
        wire.receive(&[
            published("1", delivery(QOS_2, 1)),
            published("2", delivery(QOS_2, 2)),
            published("1", again(QOS_2, 1)),
        ]);
        wire.client.ack(wire.now, wire.ack_handles[0], PubAckReasonCode::Success).unwrap();
        store(&mut wire.client, &mut stored);
        wire.assert_sent(&[PubRec::new(id(1)).into()]);
        wire.receive(&[PubRel::new(id(1)).into()]);
        store(&mut wire.client, &mut stored);
        wire.assert_sent(&[PubComp::new(id(1)).into()]);
        wire.client.ack(wire.now, wire.ack_handles[1], PubAckReasonCode::Success).unwrap();
        store(&mut wire.client, &mut stored);
        wire.take();
        // The delivery of `1` is complete. The identifier means a new message, here and after a restart.
        let mut restored = Wire::of(ClientSession::restore(manual(version), wire.now, stored.iter()).unwrap());
        restored.connect(present());
        for wire in [&mut wire, &mut restored] {
            assert_eq!(wire.receive(&[published("new", delivery(QOS_2, 1))]), [delivered("new", QOS_2)]);
        }
    }
}

/// PUBLISH packets are sent again in their order with DUP, PUBREL packets where PUBREC had arrived, and all of them
/// before anything new.
#[test]
fn pitfall_05_unacknowledged_packets_are_sent_again_in_order() {
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
        // At the first opportunity.
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

/// A message published right after CONNACK is sent after the retransmissions.
#[test]
fn pitfall_05_new_messages_follow_the_retransmissions() {
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

/// Unanswered requests are sent again, in order, on the next connection.
#[test]
fn pitfall_05_unanswered_requests_are_sent_again() {
    for session in [present(), connack()] {
        let mut wire = Wire::connected(v5());
        let tokens = ["a", "b", "c", "d"].map(|topic| match topic {
            "c" => wire.client.unsubscribe(wire.now, &[filter(topic)]).unwrap(),
            _ => wire.client.subscribe(wire.now, &[Subscription::new(topic, QOS_0).unwrap()]).unwrap(),
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

/// Resumed, new and lost sessions are distinguished, and no state of a lost session gets into another one.
#[test]
fn pitfall_06_resumed_new_and_lost_sessions() {
    for version in BOTH {
        let mut wire = Wire::new(manual(version));
        assert_eq!(wire.connect(connack()), [Event::Connected(Resumption::New)]);
        wire.receive(&[published("1", delivery(QOS_1, 1)), published("2", delivery(QOS_2, 2))]);
        wire.lose();
        assert_eq!(wire.connect(present()), [Event::Connected(Resumption::Resumed)]);
        wire.receive(&[published("1", again(QOS_1, 1)), published("2", again(QOS_2, 2))]);
        // Acknowledged by the application, and not sent before the connection ended.
        wire.client.ack(wire.now, wire.ack_handles[2], PubAckReasonCode::Success).unwrap();
        wire.lose();
        assert_eq!(wire.connect(connack()), [Event::Connected(Resumption::Lost)]);
        for ack_handle in wire.ack_handles.clone() {
            let result = wire.client.ack(wire.now, ack_handle, PubAckReasonCode::Success);
            assert_eq!(result, Err(AckError::EarlierConnection));
        }
        wire.assert_silent();
        wire.lose();
        assert_eq!(wire.connect(present()), [Event::Connected(Resumption::Resumed)]);
        wire.assert_silent();
    }
    // A refused connection changes nothing in the session.
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
