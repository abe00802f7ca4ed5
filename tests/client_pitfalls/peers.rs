//! Rows 27, 33, 34, 37 and 38: slow links, and servers that do not conform to the specification.

use core::num::NonZeroU8;
use std::collections::BTreeSet;

use mqtt_sansio::codec::PacketType;
use mqtt_sansio::{UnknownToken, Will};

use super::*;

/// Bytes per second that the transport takes.
const UPLINK: usize = 20_000;

/// Lets the transport take bytes until none is left. Returns how many seconds that took.
fn drain_slowly(wire: &mut Wire) -> u64 {
    let mut seconds = 0;
    while wire.client.transmit().has_remaining() {
        wire.later(1000);
        let transmit = wire.client.transmit();
        let count = transmit.remaining().min(UPLINK);
        transmit.advance(count);
        let events = wire.poll();
        assert!(
            events.iter().all(|event| matches!(event, Event::Done(_, Done::Sent))),
            "after {seconds} s: {events:?}"
        );
        seconds += 1;
    }
    seconds
}

#[test]
fn pitfall_27_a_slow_uplink_is_not_dead() {
    let config = ClientConfig { keep_alive: NonZeroU16::new(10), ping_timeout: NonZeroU16::new(15), ..v5() };
    let mut wire = Wire::connected(config.clone());
    wire.client.publish(wire.now, &Message::new("t", Bytes::from(vec![0; 1 << 20]))).unwrap();
    assert!(drain_slowly(&mut wire) > 50);
    // PINGREQ was the last packet to leave. The timeout for its answer starts here.
    wire.later(14_999);
    assert_eq!(wire.poll(), []);
    wire.later(1);
    assert_eq!(wire.poll(), [Event::Close(Why::KeepAliveTimeout)]);

    // A link that takes nothing is dead, whenever it stops.
    for taken in [0, 1, UPLINK] {
        let mut wire = Wire::connected(config.clone());
        wire.client.publish(wire.now, &Message::new("t", Bytes::from(vec![0; 1 << 20]))).unwrap();
        wire.now = wire.client.deadline().unwrap();
        assert_eq!(wire.poll(), []);
        wire.later(10_000);
        wire.client.transmit().advance(taken);
        assert_eq!(wire.poll(), []);
        wire.later(if taken == 0 { 5000 } else { 15_000 });
        assert_eq!(wire.poll(), [Event::Close(Why::KeepAliveTimeout)], "{taken}");
    }
    // Bytes that leave after PINGREQ show nothing: see `a_server_that_reads_and_never_answers_is_dead`.
}

#[test]
fn pitfall_27_the_connect_timeout_starts_when_connect_has_left() {
    for version in BOTH {
        let payload = vec![0; 60_000];
        let will = Will { topic: "w".into(), payload: payload.clone(), ..Will::default() };
        let authentication =
            (version == Version::V5).then(|| Authentication { method: "M".into(), data: Some(vec![0; 60_000]) }.into());
        let config = ClientConfig {
            connect_timeout: NonZeroU16::new(2),
            will: Some(will.into()),
            authentication,
            ..lasting(version)
        };
        let mut wire = Wire::new(config);
        wire.client.open(wire.now).unwrap();
        assert!(drain_slowly(&mut wire) >= 4);
        assert_eq!(wire.client.deadline(), Some(wire.now + Duration::from_secs(2)));
        if version == Version::V5 {
            let step = auth(AuthReasonCode::ContinueAuthentication, "M", b"");
            assert_eq!(wire.receive(&[step.into()]), [Event::Auth(AuthReasonCode::ContinueAuthentication)]);
            // The timeout for CONNACK starts once CONNECT has left.
            wire.later(60_000);
            assert_eq!(wire.poll(), []);
            wire.later(60_000);
            wire.client.authenticate(wire.now, &payload).unwrap();
            assert!(drain_slowly(&mut wire) >= 4);
        }
        wire.later(1999);
        assert_eq!(wire.poll(), []);
        wire.later(1);
        assert_eq!(wire.poll(), [Event::Close(Why::ConnectTimeout)]);
        // A CONNECT that does not leave times out as well.
        wire.lose();
        wire.client.open(wire.now).unwrap();
        wire.later(2000);
        assert_eq!(wire.poll(), [Event::Close(Why::ConnectTimeout)]);
    }
}

/// A server that closes the connection whenever it receives a certain request.
#[test]
fn pitfall_33_a_request_that_closes_every_connection_is_abandoned() {
    for version in BOTH {
        for withdraws in [false, true] {
            let max_request_tries = if withdraws { None } else { NonZeroU8::new(3) };
            let mut wire = Wire::connected(ClientConfig { max_request_tries, ..lasting(version) });
            let (harmful, other) = (wire.subscribe(), wire.publish("x", QOS_1));
            for tries in 1..=3 {
                let sent = wire.take();
                assert_eq!(decode(&sent, version).iter().filter(|it| matches!(it, Packet::Subscribe(_))).count(), 1);
                assert_eq!(wire.client.tries(harmful), Some(tries));
                if tries < 3 {
                    wire.resume();
                    assert_eq!(wire.client.tries(harmful), Some(tries), "nothing has left on this connection");
                }
            }
            if withdraws {
                wire.client.withdraw(wire.now, harmful).unwrap();
                assert_eq!(wire.poll(), [abandoned(harmful, AbandonReason::Withdrawn)]);
                wire.lose();
            } else {
                assert_eq!(wire.lose(), [abandoned(harmful, AbandonReason::Unanswered { tries: 3 })]);
            }
            assert_eq!((wire.client.tries(harmful), wire.client.tries(other)), (None, Some(3)));
            assert_eq!(wire.client.withdraw(wire.now, harmful), Err(UnknownToken), "it has its outcome");
            wire.connect(present());
            // Messages are not abandoned.
            wire.assert_sent(&[published("x", again(QOS_1, 2))]);
        }
        // A connection on which the request was not sent does not count.
        let config = ClientConfig { max_request_tries: NonZeroU8::new(1), ..lasting(version) };
        let mut wire = Wire::connected(config);
        let token = wire.subscribe();
        for _ in 0..5 {
            wire.resume();
            assert_eq!(wire.client.tries(token), Some(0));
        }
        wire.take();
        assert_eq!(wire.lose(), [abandoned(token, AbandonReason::Unanswered { tries: 1 })]);
    }
}

#[test]
fn pitfall_33_queued_operations_can_be_withdrawn() {
    for version in BOTH {
        let mut wire = Wire::new(lasting(version));
        let tokens = [QOS_0, QOS_1, QOS_2].map(|qos| [wire.publish("a", qos), wire.publish("b", qos)]);
        let requests = [wire.subscribe(), wire.unsubscribe()];
        let withdrawn = [tokens[0][0], tokens[1][1], tokens[2][0], requests[0]];
        for token in withdrawn {
            wire.client.withdraw(wire.now, token).unwrap();
        }
        assert_eq!(wire.poll(), withdrawn.map(|token| abandoned(token, AbandonReason::Withdrawn)));
        assert_eq!(wire.client.queued(), 4);
        wire.connect(connack());
        let sent = wire.take();
        let sent: Vec<_> = decode(&sent, version).iter().map(Packet::packet_type).collect();
        use PacketType::{Publish, Unsubscribe};
        assert_eq!(sent, [Publish, Publish, Publish, Unsubscribe]);
        // A packet in the output buffer cannot be withdrawn.
        let now = wire.publish("now", QOS_0);
        assert_eq!(wire.client.withdraw(wire.now, now), Err(UnknownToken));
    }
}

/// A message that was sent keeps its packet identifier and its quota until the server has completed the delivery.
#[test]
fn pitfall_33_a_sent_message_keeps_its_identifier() {
    for version in BOTH {
        for qos in [QOS_1, QOS_2] {
            let mut wire = Wire::connected(ClientConfig { durable: true, ..lasting(version) });
            let mut stored = Pairs::default();
            let mut store = |wire: &mut Wire| {
                store(&mut wire.client, &mut stored);
                stored.clone()
            };
            let settle: &[Packet<'_>] = &match qos {
                QOS_1 => vec![PubAck::new(id(1)).into()],
                _ => vec![PubRec::new(id(1)).into(), PubComp::new(id(1)).into()],
            };
            let token = wire.publish("x", qos);
            store(&mut wire);
            wire.take();
            wire.client.withdraw(wire.now, token).unwrap();
            assert_eq!(wire.poll(), [abandoned(token, AbandonReason::Withdrawn)]);
            assert_eq!((wire.client.in_flight(), wire.client.operations_in_flight()), (1, 0));
            let crashed = store(&mut wire);
            // The delivery completes on this connection: nothing is left.
            let mut settled = Wire::of(wire.client.clone());
            assert_eq!(settled.receive(settle), [], "it has its outcome");
            assert_eq!(settled.client.in_flight(), 0);
            // The delivery does not complete: the message is not sent again, neither on the next connection nor after a
            // crash, and its identifier is not reused.
            wire.lose();
            let restored =
                ClientSession::restore(ClientConfig { durable: true, ..lasting(version) }, NOW, crashed.iter())
                    .unwrap();
            for mut wire in [wire, Wire::of(restored)] {
                wire.connect(present());
                wire.assert_silent();
                assert_eq!((wire.client.in_flight(), wire.client.operations_in_flight()), (0, 0));
                for _ in 0..100 {
                    wire.publish("new", QOS_1);
                }
                self::store(&mut wire.client, &mut Pairs::default());
                assert!(!sent_ids(&mut wire).contains(&1));
            }
        }
        // After PUBREC the message is released in any case.
        let mut wire = Wire::connected(lasting(version));
        let token = wire.publish("x", QOS_2);
        wire.receive(&[PubRec::new(id(1)).into()]);
        wire.take();
        wire.client.withdraw(wire.now, token).unwrap();
        assert_eq!(wire.lose(), [abandoned(token, AbandonReason::Withdrawn)]);
        wire.connect(present());
        wire.assert_sent(&[PubRel::new(id(1)).into()]);
        assert_eq!(wire.receive(&[PubComp::new(id(1)).into()]), []);
        assert_eq!(wire.client.in_flight(), 0);
        // A request that is answered nevertheless.
        let mut wire = Wire::connected(lasting(version));
        let token = wire.subscribe();
        wire.take();
        wire.client.withdraw(wire.now, token).unwrap();
        assert_eq!(wire.receive(&[suback(1)]), [abandoned(token, AbandonReason::Withdrawn)]);
        assert!(wire.client.is_connected());
    }
}

/// A server without QoS 2 answers with PUBACK on every connection.
#[test]
fn pitfall_37_a_server_that_answers_qos_2_with_puback() {
    for version in BOTH {
        let mut wire = Wire::connected(lasting(version));
        let token = wire.publish("x", QOS_2);
        assert_eq!(
            wire.receive(&[PubAck::new(id(1)).into()]),
            [Event::Done(token, Done::AtLeastOnce(ReasonCode::Success))]
        );
        assert!(wire.client.is_connected());
        wire.take();
        wire.resume();
        wire.assert_silent();
        // An application that wants exactly once or nothing gets one outcome that says so.
        let mut wire = Wire::connected(ClientConfig { puback_ends_qos_2: false, ..lasting(version) });
        let token = wire.publish("x", QOS_2);
        wire.take();
        let mismatch = PacketType::PubAck;
        assert_eq!(
            wire.receive(&[PubAck::new(id(1)).into()]),
            [
                protocol_error(ProtocolError::MismatchedAck(mismatch)),
                abandoned(token, AbandonReason::Mismatched(mismatch))
            ]
        );
        wire.take();
        wire.resume();
        wire.assert_silent();
    }
}

/// A wrong answer of the server has its effect once.
#[test]
fn pitfall_37_no_wrong_answer_blocks_a_session() {
    let answers: [Packet<'_>; 5] = [
        PubAck::new(id(1)).into(),
        PubRec::new(id(1)).into(),
        PubComp::new(id(1)).into(),
        suback(1),
        unsuback(1, Version::V5),
    ];
    let begin: [fn(&mut Wire) -> Token; 5] = [
        |wire| wire.publish("x", QOS_1),
        |wire| wire.publish("x", QOS_2),
        |wire| {
            let token = wire.publish("x", QOS_2);
            wire.receive(&[PubRec::new(id(1)).into()]);
            token
        },
        Wire::subscribe,
        Wire::unsubscribe,
    ];
    for (stage, begin) in begin.into_iter().enumerate() {
        for answer in &answers {
            let mut wire = Wire::connected(ClientConfig { max_request_tries: None, ..v5() });
            begin(&mut wire);
            let mut ends = 0;
            for _ in 0..5 {
                let sent = wire.take();
                if decode(&sent, Version::V5).iter().any(|packet| packet.packet_id() == Some(id(1))) {
                    wire.receive(core::slice::from_ref(answer));
                }
                ends += usize::from(!wire.client.is_connected());
                wire.resume();
            }
            assert!(ends <= 1, "stage {stage}, {answer:?}");
        }
    }
}

/// CONNACK alone does not reset the back-off: a server that accepts and closes is not flooded with connections.
#[test]
fn pitfall_34_only_a_lasting_connection_resets_the_back_off() {
    let mut wire = Wire::new(ClientConfig { min_backoff: 1, max_backoff: 60, ..v5() });
    let mut last = Duration::ZERO;
    for _ in 0..5 {
        wire.connect(connack());
        assert!(wire.client.is_connected());
        wire.later(29_000);
        wire.poll();
        wire.lose();
        assert!(wire.client.backoff() >= last, "it grows");
        last = wire.client.backoff();
    }
    assert!(last >= Duration::from_secs(8), "{last:?}");
    wire.connect(connack());
    wire.later(31_000);
    wire.lose();
    assert!(wire.client.backoff() <= Duration::from_secs(1));
}

#[test]
fn pitfall_38_clients_reconnect_at_different_times() {
    let pauses: BTreeSet<_> = (0..1000)
        .map(|number| {
            let mut client = ClientSession::new(ClientConfig { client_id: format!("client-{number}"), ..v5() });
            client.closed(Instant::EPOCH);
            client.backoff().as_millis()
        })
        .collect();
    assert!(pauses.len() > 400, "{} of 501 milliseconds", pauses.len());
    assert!(pauses.iter().all(|pause| (500..=1000).contains(pause)));
    // Clients with the same client identifier differ by the seed alone.
    let pause = |seed| {
        let mut client = ClientSession::new(ClientConfig { seed, ..v5() });
        client.closed(Instant::EPOCH);
        client.backoff()
    };
    assert_eq!(pause(1), pause(1));
    assert_ne!(pause(1), pause(2));
}
