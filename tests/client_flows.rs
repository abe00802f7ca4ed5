//! Tables: every stage of a delivery against every packet that may answer it, and every command in every state of a
//! connection.

#![cfg(feature = "alloc")]

use core::num::{NonZeroU16, NonZeroU32};

use bytes::Buf;
use mqtt_sansio::client::{
    Authentication, ClientConfig, ClientSession, OpenError, ReconfigureError, Resumption, SubscribeError,
};
use mqtt_sansio::codec::{
    AuthReasonCode, ConnAckProperties, Disconnect, DisconnectProperties, DisconnectReasonCode, List, MaximumQoS,
    Packet, PacketType, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel, PubRelReasonCode, PublishProperties,
    ReasonCode, SubscribeProperties, Subscription, SubscriptionIdentifier,
};
use mqtt_sansio::store::Pairs;
use mqtt_sansio::{
    AbandonReason, AckError, AckHandle, AuthenticateError, DisconnectError, Instant, Message, Overflow, ProtocolError,
    PublishError, QoS, SessionExpiry, Token, Utf8Str, Version,
};

#[path = "common/client.rs"]
mod client;

use self::client::{
    Done, Event, QOS_0, QOS_1, QOS_2, Why, Wire, abandoned, again, auth, connack, connack_with, decode, delivered,
    delivery, filter, id, lasting, present, present_with, protocol_error, published, snapshot, store, suback, unsuback,
    v5, v311,
};

const BOTH: [Version; 2] = [Version::V311, Version::V5];

// Outgoing deliveries.

/// The stage of a delivery or request with the packet identifier 1.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// A PUBLISH of QoS 1 was sent.
    Sent1,
    /// A PUBLISH of QoS 2 was sent.
    Sent2,
    /// A PUBREC with this code has arrived, and PUBREL was sent.
    Released(PubAckReasonCode),
    /// A message of QoS 1 was sent and acknowledged.
    Done1,
    /// A message of QoS 2 was sent and its delivery completed.
    Done2,
    Subscribing,
    Unsubscribing,
    /// The packet identifier was never used.
    Unknown,
}

/// A packet from the server, with its reason code in 5.0.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    PubAck(PubAckReasonCode),
    PubRec(PubAckReasonCode),
    PubRel(PubRelReasonCode),
    PubComp(PubRelReasonCode),
    SubAck,
    UnsubAck,
}

/// The effect of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Effect {
    /// No effect.
    Nothing,
    /// PUBREL is sent, the delivery continues.
    Release,
    /// The delivery has ended with this code, nothing is sent.
    Acknowledged(PubAckReasonCode),
    /// The delivery has ended with this code, but without the guarantee of exactly once.
    AtLeastOnce(PubAckReasonCode),
    /// The request has been answered.
    Answered,
    /// PUBREL with Packet Identifier not found, in 5.0.
    ReleaseUnknown,
    /// PUBCOMP with Packet Identifier not found, in 5.0.
    CompleteUnknown,
    /// A Protocol Error: the acknowledgement is not of the type that the packet requires \[MQTT-2.2.1-5\]. The delivery
    /// or request ends as well, because the server would answer in the same way on every connection.
    Mismatch,
}

const OK: PubAckReasonCode = PubAckReasonCode::Success;
const NOBODY: PubAckReasonCode = PubAckReasonCode::NoMatchingSubscribers;
const REFUSED: PubAckReasonCode = PubAckReasonCode::NotAuthorized;
const FOUND: PubRelReasonCode = PubRelReasonCode::Success;
const NOT_FOUND: PubRelReasonCode = PubRelReasonCode::PacketIdentifierNotFound;

const ANSWERS: [Answer; 12] = [
    Answer::PubAck(OK),
    Answer::PubAck(NOBODY),
    Answer::PubAck(REFUSED),
    Answer::PubRec(OK),
    Answer::PubRec(NOBODY),
    Answer::PubRec(REFUSED),
    Answer::PubRel(FOUND),
    Answer::PubRel(NOT_FOUND),
    Answer::PubComp(FOUND),
    Answer::PubComp(NOT_FOUND),
    Answer::SubAck,
    Answer::UnsubAck,
];

/// The expected effects: a row for each stage, a column for each answer.
#[rustfmt::skip]
fn effects(stage: Stage) -> [Effect; 12] {
    use Effect::{
        Acknowledged as Ack, Answered, AtLeastOnce as One, CompleteUnknown as Comp, Mismatch as Bad, Nothing as Zero, Release as Rel,
        ReleaseUnknown as Rel92,
    };
    match stage {
        //                       PUBACK ok    0x10         0x87          PUBREC ok 0x10  0x87          PUBREL      PUBCOMP ok  0x92      SUBACK    UNSUBACK
        Stage::Sent1         => [Ack(OK),     Ack(NOBODY), Ack(REFUSED), Bad,     Bad,   Bad,          Comp, Comp, Bad,        Bad,      Bad,      Bad],
        // A PUBREC with an error ends the delivery without PUBREL [MQTT-4.4.0-2]; below 0x80 PUBREL follows
        // [MQTT-4.3.3-4]. Servers without QoS 2 answer with PUBACK.
        Stage::Sent2         => [One(OK),     One(NOBODY), One(REFUSED),      Rel,     Rel,   Ack(REFUSED), Comp, Comp, Bad,        Bad,      Bad,      Bad],
        // PUBREL is unacknowledged until PUBCOMP [MQTT-4.3.3-5], whatever the code of a second PUBREC. Packet
        // Identifier not found means that the server has completed the delivery.
        Stage::Released(code) => [Bad,        Bad,         Bad,          Rel,     Rel,   Rel,          Comp, Comp, Ack(code),  Ack(code), Bad,     Bad],
        Stage::Subscribing   => [Bad,         Bad,         Bad,          Bad,     Bad,   Bad,          Comp, Comp, Bad,        Bad,      Answered, Bad],
        Stage::Unsubscribing => [Bad,         Bad,         Bad,          Bad,     Bad,   Bad,          Comp, Comp, Bad,        Bad,      Bad,      Answered],
        // Packet Identifier not found is no error (section 3.6.2.1). A refused message needs no PUBREL.
        Stage::Done1 | Stage::Done2 | Stage::Unknown
                             => [Zero,        Zero,        Zero,         Rel92,   Rel92, Zero,         Comp, Comp, Zero,       Zero,     Zero,     Zero],
    }
}

/// A client with a delivery in this stage, and the token if the delivery is in flight.
fn in_stage(stage: Stage, version: Version) -> (Wire, Option<Token>) {
    let mut wire = Wire::connected(lasting(version));
    let token = match stage {
        Stage::Sent1 | Stage::Done1 => Some(wire.publish("x", QOS_1)),
        Stage::Sent2 | Stage::Released(_) | Stage::Done2 => Some(wire.publish("x", QOS_2)),
        Stage::Subscribing => Some(wire.subscribe()),
        Stage::Unsubscribing => Some(wire.unsubscribe()),
        Stage::Unknown => None,
    };
    match stage {
        Stage::Done1 => drop(wire.receive(&[PubAck::new(id(1)).into()])),
        Stage::Done2 => drop(wire.receive(&[PubRec::new(id(1)).into(), PubComp::new(id(1)).into()])),
        Stage::Released(code) => drop(wire.receive(&[answer(Answer::PubRec(code), version)])),
        _ => {}
    }
    wire.take();
    (wire, token)
}

fn answer(answer: Answer, version: Version) -> Packet<'static> {
    let at = id(1);
    match answer {
        Answer::PubAck(reason_code) => PubAck { reason_code, ..PubAck::new(at) }.into(),
        Answer::PubRec(reason_code) => PubRec { reason_code, ..PubRec::new(at) }.into(),
        Answer::PubRel(reason_code) => PubRel { reason_code, ..PubRel::new(at) }.into(),
        Answer::PubComp(reason_code) => PubComp { reason_code, ..PubComp::new(at) }.into(),
        Answer::SubAck => suback(1),
        Answer::UnsubAck => unsuback(1, version),
    }
}

/// Whether the version has this reason code for the packet.
fn exists(reason_code: impl Into<ReasonCode>, version: Version) -> bool {
    version == Version::V5 || reason_code.into() == ReasonCode::Success
}

/// [3.1.1: MQTT-4.3.2-1, MQTT-4.3.3-1; 5.0: MQTT-4.3.2-3, MQTT-4.3.3-3, MQTT-4.3.3-4, MQTT-4.3.3-5, MQTT-4.4.0-2]
#[test]
fn every_stage_and_every_answer() {
    let stages = [
        Stage::Sent1,
        Stage::Sent2,
        Stage::Released(OK),
        Stage::Released(NOBODY),
        Stage::Done1,
        Stage::Done2,
        Stage::Subscribing,
        Stage::Unsubscribing,
        Stage::Unknown,
    ];
    let mut rows = 0;
    for version in BOTH {
        for stage in stages {
            if matches!(stage, Stage::Released(code) if !exists(code, version)) {
                continue;
            }
            for (packet, effect) in ANSWERS.into_iter().zip(effects(stage)) {
                let is_there = match packet {
                    Answer::PubAck(code) | Answer::PubRec(code) => exists(code, version),
                    Answer::PubRel(code) | Answer::PubComp(code) => exists(code, version),
                    Answer::SubAck | Answer::UnsubAck => true,
                };
                if is_there {
                    check(version, stage, packet, effect);
                    rows += 1;
                }
            }
        }
    }
    assert_eq!(rows, 9 * 12 + 8 * 6);
}

fn check(version: Version, stage: Stage, packet: Answer, effect: Effect) {
    let (mut wire, token) = in_stage(stage, version);
    let why = format!("{version}: {stage:?}, {packet:?}");
    let open_before = wire.client.operations_in_flight();
    assert_eq!(open_before, usize::from(!matches!(stage, Stage::Done1 | Stage::Done2 | Stage::Unknown)), "{why}");
    let events = wire.receive(&[answer(packet, version)]);
    let sent = wire.take();
    let sent = decode(&sent, version);

    // The packets sent.
    let unknown = if version == Version::V5 { NOT_FOUND } else { FOUND };
    let kind = answer(packet, version).packet_type();
    let goodbye = Disconnect { reason_code: DisconnectReasonCode::ProtocolError, ..Disconnect::default() };
    let expected: &[Packet<'_>] = match effect {
        Effect::Nothing | Effect::Acknowledged(_) | Effect::AtLeastOnce(_) | Effect::Answered => &[],
        Effect::Release => &[PubRel::new(id(1)).into()],
        Effect::ReleaseUnknown => &[PubRel { reason_code: unknown, ..PubRel::new(id(1)) }.into()],
        Effect::CompleteUnknown => &[PubComp { reason_code: unknown, ..PubComp::new(id(1)) }.into()],
        Effect::Mismatch if version == Version::V5 => &[goodbye.into()],
        Effect::Mismatch => &[],
    };
    assert_eq!(sent, expected, "{why}");

    // The outcomes reported.
    let done = |done| vec![Event::Done(token.unwrap(), done)];
    let reported = match effect {
        Effect::Nothing | Effect::Release | Effect::ReleaseUnknown | Effect::CompleteUnknown => vec![],
        Effect::Acknowledged(code) => done(Done::Acknowledged(code.into())),
        Effect::AtLeastOnce(code) => done(Done::AtLeastOnce(code.into())),
        Effect::Answered if packet == Answer::SubAck => done(Done::Subscribed(vec![0])),
        Effect::Answered if version == Version::V5 => done(Done::Unsubscribed(vec![0])),
        Effect::Answered => done(Done::Unsubscribed(vec![])),
        Effect::Mismatch => {
            vec![
                protocol_error(ProtocolError::MismatchedAck(kind)),
                abandoned(token.unwrap(), AbandonReason::Mismatched(kind)),
            ]
        }
    };
    assert_eq!(events, reported, "{why}");

    // The state of the connection, and the number of operations in flight.
    let is_over =
        !matches!(effect, Effect::Nothing | Effect::Release | Effect::ReleaseUnknown | Effect::CompleteUnknown);
    assert_eq!(wire.client.is_connected(), effect != Effect::Mismatch, "{why}");
    assert_eq!(wire.client.operations_in_flight(), open_before - usize::from(is_over), "{why}");
    assert_eq!(wire.client.queued(), 0, "{why}");
    // The packets of a resumed session show that no stage was skipped.
    wire.resume();
    let sent = wire.take();
    let sent = decode(&sent, version);
    let released = [PubRel::new(id(1)).into()];
    match (stage, effect) {
        (Stage::Subscribing | Stage::Unsubscribing, Effect::CompleteUnknown) => {
            assert!(matches!(sent[..], [Packet::Subscribe(_) | Packet::Unsubscribe(_)]), "{why}: {sent:?}");
        }
        (Stage::Sent1, Effect::CompleteUnknown) => assert_eq!(sent, [published("x", again(QOS_1, 1))], "{why}"),
        (Stage::Sent2, Effect::CompleteUnknown) => assert_eq!(sent, [published("x", again(QOS_2, 1))], "{why}"),
        (Stage::Released(_), Effect::CompleteUnknown) | (_, Effect::Release) => assert_eq!(sent, released, "{why}"),
        _ => assert_eq!(sent, [], "{why}"),
    }
}

/// A message of QoS 2 that the server may have received and that this connection does not support: its packet
/// identifier is used for no other message while the session lasts, and the server may still acknowledge the message.
#[test]
fn an_abandoned_qos_2_message_keeps_its_identifier() {
    for packet in ANSWERS {
        let mut wire = Wire::connected(v5());
        let token = wire.publish("x", QOS_2);
        wire.take();
        wire.lose();
        let events = wire.connect(present_with(ConnAckProperties {
            maximum_qos: Some(MaximumQoS::AtLeastOnce),
            ..Default::default()
        }));
        assert_eq!(events[1..], [abandoned(token, AbandonReason::NotSupported(ReasonCode::QoSNotSupported))]);
        for _ in 0..10 {
            wire.publish("new", QOS_1);
        }
        let sent = wire.take();
        assert!(decode(&sent, Version::V5).iter().all(|packet| packet.packet_id().is_some_and(|at| at != id(1))));
        let events = wire.receive(&[answer(packet, Version::V5)]);
        let sent = wire.take();
        let sent = decode(&sent, Version::V5);
        match packet {
            // A PUBREC below 0x80 is answered with PUBREL [MQTT-4.3.3-4].
            Answer::PubRec(code) if !code.is_error() => {
                assert_eq!(events, []);
                assert!(matches!(sent[..], [Packet::PubRel(rel)] if rel.id == id(1)), "{sent:?}");
            }
            Answer::PubRec(_) | Answer::PubComp(_) => assert_eq!((events, sent), (vec![], vec![])),
            Answer::PubRel(_) => assert!(matches!(sent[..], [Packet::PubComp(_)]), "{sent:?}"),
            Answer::PubAck(_) => assert_eq!((events, sent), (vec![], vec![])),
            _ => assert!(
                matches!(events[..], [Event::Close(Why::ProtocolError(ProtocolError::MismatchedAck(_)))]),
                "{events:?}"
            ),
        }
    }
    // A restart does not change this.
    let config = ClientConfig { durable: true, ..v5() };
    let mut wire = Wire::connected(config.clone());
    let mut stored = Pairs::default();
    let mut store = |wire: &mut Wire| {
        store(&mut wire.client, &mut stored);
        stored.clone()
    };
    wire.publish("x", QOS_2);
    store(&mut wire);
    wire.take();
    wire.lose();
    wire.connect(present_with(ConnAckProperties { maximum_qos: Some(MaximumQoS::AtMostOnce), ..Default::default() }));
    let stored = store(&mut wire);
    for pairs in [stored, snapshot(&mut wire.client)] {
        let mut wire = Wire::of(ClientSession::restore(config.clone(), Instant::EPOCH, pairs.iter()).unwrap());
        wire.connect(present());
        wire.publish("new", QOS_1);
        self::store(&mut wire.client, &mut Pairs::default());
        wire.assert_sent(&[published("new", delivery(QOS_1, 2))]);
    }
    // The packet identifier is free once the session has ended.
    let mut wire = Wire::connected(v5());
    wire.publish("x", QOS_2);
    wire.take();
    wire.lose();
    wire.connect(present_with(ConnAckProperties { maximum_qos: Some(MaximumQoS::AtMostOnce), ..Default::default() }));
    wire.lose();
    assert_eq!(wire.connect(connack()), [Event::Connected(Resumption::Lost)]);
    assert_eq!(wire.client.operations_in_flight(), 0);
}

// Incoming messages.

/// The state of a message with the packet identifier 7.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Inbound {
    /// The packet identifier is not in use.
    Nothing,
    /// A message of QoS 1 was delivered and not acknowledged. Manual acknowledgements only.
    Waiting1,
    /// A message of QoS 2 was delivered and not acknowledged. Manual acknowledgements only.
    Waiting2,
    /// A message of QoS 1 was acknowledged.
    Acknowledged1,
    /// A message of QoS 2 was acknowledged with PUBREC.
    Received2,
    /// A message of QoS 2 was refused with PUBREC. Manual acknowledgements in 5.0 only.
    Refused2,
    /// A message of QoS 2 was released.
    Released2,
    /// A message of QoS 2 was acknowledged on an earlier connection.
    Carried2,
}

fn inbound(state: Inbound, version: Version, by_hand: bool) -> Wire {
    let mut wire = Wire::connected(ClientConfig { manual_acks: by_hand, ..lasting(version) });
    let code = if state == Inbound::Refused2 { REFUSED } else { OK };
    let qos = match state {
        Inbound::Nothing => return wire,
        Inbound::Waiting1 | Inbound::Acknowledged1 => QOS_1,
        _ => QOS_2,
    };
    assert_eq!(wire.receive(&[published("x", delivery(qos, 7))]), [delivered("x", qos)]);
    if by_hand && !matches!(state, Inbound::Waiting1 | Inbound::Waiting2) {
        wire.client.ack(wire.now, wire.ack_handles[0], code).unwrap();
    }
    if state == Inbound::Released2 {
        wire.receive(&[PubRel::new(id(7)).into()]);
    }
    wire.take();
    if state == Inbound::Carried2 {
        wire.resume();
    }
    wire
}

/// Whether the packet is expected; `None` where it would be a mistake of the server for which nothing is specified.
type Verdict = Option<bool>;

/// For each state: whether a PUBLISH of QoS 1 and a PUBLISH of QoS 2 are delivered, and whether a PUBREL finds the
/// identifier.
#[rustfmt::skip]
const ARRIVALS: [(Inbound, Verdict, Verdict, Verdict); 8] = [
    (Inbound::Nothing,       Some(true), Some(true),  Some(false)),
    (Inbound::Waiting1,      Some(true), None,        Some(false)),
    (Inbound::Waiting2,      None,       Some(false), None),
    (Inbound::Acknowledged1, Some(true), Some(true),  Some(false)), // [MQTT-4.3.2-5]
    (Inbound::Received2,     None,       Some(false), Some(true)),  // [MQTT-4.3.3-10]
    (Inbound::Refused2,      Some(true), Some(true),  Some(false)), // [MQTT-4.3.3-9]
    (Inbound::Released2,     Some(true), Some(true),  Some(false)), // [MQTT-4.3.3-12]
    (Inbound::Carried2,      None,       Some(false), Some(true)),
];

/// [3.1.1: MQTT-4.3.2-2, MQTT-4.3.3-2; 5.0: MQTT-4.3.2-5, MQTT-4.3.3-9, MQTT-4.3.3-10, MQTT-4.3.3-11, MQTT-4.3.3-12]
#[test]
fn every_inbound_state_and_every_arrival() {
    let mut rows = 0;
    for version in BOTH {
        for by_hand in [false, true] {
            for (state, qos_1, qos_2, pubrel) in ARRIVALS {
                let exists = match state {
                    Inbound::Waiting1 | Inbound::Waiting2 => by_hand,
                    Inbound::Refused2 => by_hand && version == Version::V5,
                    _ => true,
                };
                if !exists {
                    continue;
                }
                for dup in [false, true] {
                    for (qos, is_new) in [(QOS_1, qos_1), (QOS_2, qos_2)] {
                        if let Some(is_new) = is_new {
                            arrives(version, by_hand, state, qos, dup, is_new);
                            rows += 1;
                        }
                    }
                }
                if let Some(is_known) = pubrel {
                    released(version, by_hand, state, is_known);
                    rows += 1;
                }
            }
        }
    }
    assert_eq!(rows, 2 * 21 + 26 + 31);
}

/// A message that is not acknowledged comes again with the same packet identifier after a cut, and is acknowledged with the
/// handle that it comes with.
#[test]
fn an_unacknowledged_message_is_recognised_by_its_packet_identifier() {
    for version in BOTH {
        for qos in [QOS_1, QOS_2] {
            let mut wire = Wire::connected(ClientConfig { manual_acks: true, ..lasting(version) });
            wire.receive(&[published("x", delivery(qos, 7)), published("y", delivery(qos, 8))]);
            let of = |wire: &Wire, index: usize| wire.client.packet_id(wire.ack_handles[index]);
            assert_eq!([of(&wire, 0), of(&wire, 1)], [Some(id(7)), Some(id(8))]);
            // The second acknowledgement waits for the first one.
            wire.client.ack(wire.now, wire.ack_handles[1], OK).unwrap();
            assert_eq!([of(&wire, 0), of(&wire, 1)], [Some(id(7)), None]);
            wire.resume();
            assert_eq!([of(&wire, 0), of(&wire, 1)], [None, None]);
            wire.receive(&[published("x", again(qos, 7))]);
            assert_eq!([of(&wire, 0), of(&wire, 2)], [None, Some(id(7))]);
            wire.client.ack(wire.now, wire.ack_handles[2], OK).unwrap();
            assert_eq!(of(&wire, 2), None);
        }
    }
}

/// A PUBLISH arrives, of a new message or a duplicate, with or without DUP: DUP makes no difference.
fn arrives(version: Version, by_hand: bool, state: Inbound, qos: QoS, dup: bool, is_new: bool) {
    let why = format!("{version}, by hand: {by_hand}, {state:?}, {qos}, DUP: {dup}");
    let mut wire = inbound(state, version, by_hand);
    let before = wire.ack_handles.len();
    let how = if dup { again(qos, 7) } else { delivery(qos, 7) };
    let events = wire.receive(&[published("y", how)]);
    let message = Event::Message { topic: "t".into(), payload: "y".into(), qos, dup };
    assert_eq!(events, if is_new { vec![message] } else { vec![] }, "{why}");
    assert_eq!(wire.ack_handles.len() - before, usize::from(is_new && by_hand), "{why}");
    let ack = |qos| if qos == QOS_1 { Packet::from(PubAck::new(id(7))) } else { PubRec::new(id(7)).into() };
    let waits = matches!(state, Inbound::Waiting1 | Inbound::Waiting2) || (is_new && by_hand);
    if waits {
        // No acknowledgement before the application has acknowledged the first message; then all of them in order.
        assert!(wire.take().is_empty(), "{why}");
        let first = if matches!(state, Inbound::Waiting1 | Inbound::Waiting2) { 0 } else { before };
        for &ack_handle in &wire.ack_handles[first..] {
            wire.client.ack(wire.now, ack_handle, OK).unwrap();
        }
    }
    let mut expected = vec![ack(qos)];
    match state {
        Inbound::Waiting1 => expected.insert(0, ack(QOS_1)),
        Inbound::Waiting2 => expected.insert(0, ack(QOS_2)),
        _ => {}
    }
    let sent = wire.take();
    assert_eq!(decode(&sent, version), expected, "{why}");
    assert!(wire.client.is_connected(), "{why}");
    // Only a message of QoS 2 is released by a PUBREL now.
    released_from(&mut wire, qos == QOS_2, &why);
}

fn released(version: Version, by_hand: bool, state: Inbound, is_known: bool) {
    let why = format!("{version}, by hand: {by_hand}, {state:?}, PUBREL");
    let mut wire = inbound(state, version, by_hand);
    released_from(&mut wire, is_known, &why);
    // After PUBREL the identifier is not in use, and a PUBLISH with it is a new message.
    released_from(&mut wire, false, &why);
    assert_eq!(wire.receive(&[published("new", delivery(QOS_2, 7))]), [delivered("new", QOS_2)], "{why}");
}

fn released_from(wire: &mut Wire, is_known: bool, why: &str) {
    assert_eq!(wire.receive(&[PubRel::new(id(7)).into()]), [], "{why}");
    let reason_code = if is_known || wire.version != Version::V5 { FOUND } else { NOT_FOUND };
    let sent = wire.take();
    assert_eq!(decode(&sent, wire.version), [PubComp { reason_code, ..PubComp::new(id(7)) }.into()], "{why}");
    assert!(wire.client.is_connected(), "{why}");
}

/// A PUBREL for a message that the application has not acknowledged, so that no PUBREC was sent, is a mistake of the
/// server. The identifier must be free afterwards: otherwise a later message would be discarded as a duplicate, here or
/// after a restart.
#[test]
fn pubrel_before_pubrec_frees_the_identifier() {
    for version in BOTH {
        let config = || ClientConfig { manual_acks: true, durable: true, ..lasting(version) };
        let mut stored = Pairs::default();
        let mut store = |wire: &mut Wire| {
            store(&mut wire.client, &mut stored);
            stored.clone()
        };
        let mut wire = Wire::connected(config());
        wire.receive(&[published("x", delivery(QOS_2, 7)), PubRel::new(id(7)).into()]);
        store(&mut wire);
        wire.take();
        if !wire.client.is_connected() {
            continue; // the PUBREL is correct there
        }
        let _ = wire.client.ack(wire.now, wire.ack_handles[0], OK);
        let stored = store(&mut wire);
        wire.take();
        let mut restored = Wire::of(ClientSession::restore(config(), wire.now, stored.iter()).unwrap());
        restored.connect(present());
        for wire in [&mut wire, &mut restored] {
            assert_eq!(wire.receive(&[published("new", delivery(QOS_2, 7))]), [delivered("new", QOS_2)], "{version}");
        }
    }
}

// Commands.

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Connection {
    /// There was no connection yet.
    None,
    /// There was a connection.
    Closed,
    /// CONNECT was sent.
    Connecting,
    Connected,
    /// DISCONNECT was written, and the end of the connection has not been reported.
    Disconnecting,
    /// The connection was closed because of a Protocol Error by the server.
    Over,
}

const CONNECTIONS: [Connection; 6] = [
    Connection::None,
    Connection::Closed,
    Connection::Connecting,
    Connection::Connected,
    Connection::Disconnecting,
    Connection::Over,
];

/// A client with manual acknowledgements in this state, with one message that waits for its acknowledgement, and with
/// or without enhanced authentication.
fn in_state(state: Connection, version: Version, authentication: bool, change: fn(&mut ClientConfig)) -> Wire {
    let method = authentication.then(|| Authentication { method: "M".into(), data: None }.into());
    let mut config = ClientConfig { authentication: method, manual_acks: true, ..lasting(version) };
    change(&mut config);
    let mut wire = Wire::new(config);
    if state == Connection::None {
        return wire;
    }
    wire.open();
    let method = authentication.then(|| Utf8Str::new("M").unwrap());
    let accept = connack_with(ConnAckProperties { authentication_method: method, ..Default::default() });
    if state == Connection::Connecting {
        return wire;
    }
    wire.receive(&[accept.into(), published("in", delivery(QOS_1, 9))]);
    match state {
        Connection::Closed => drop(wire.lose()),
        Connection::Disconnecting => wire.client.disconnect(wire.now, &Disconnect::default()).unwrap(),
        Connection::Over => drop(wire.receive(&[accept.into()])),
        _ => {}
    }
    wire
}

/// The observable state of a client.
#[derive(Debug, PartialEq)]
struct Seen {
    transmit: Vec<u8>,
    operations_in_flight: usize,
    waiting: usize,
    in_flight: usize,
    deadline: Option<Instant>,
    is_connected: bool,
}

fn look(wire: &mut Wire) -> Seen {
    let transmit = wire.client.transmit();
    let chunk = transmit.chunk().to_vec();
    assert_eq!(chunk.len(), transmit.remaining());
    Seen {
        transmit: chunk,
        operations_in_flight: wire.client.operations_in_flight(),
        waiting: wire.client.queued(),
        in_flight: wire.client.in_flight(),
        deadline: wire.client.deadline(),
        is_connected: wire.client.is_connected(),
    }
}

type Outcome = Result<(), AnyError>;

/// The error of any command.
#[derive(Clone, Copy, Debug, PartialEq)]
enum AnyError {
    Open(OpenError),
    Reconfigure(ReconfigureError),
    Publish(PublishError),
    Subscribe(SubscribeError),
    Ack(AckError),
    Disconnect(DisconnectError),
    Authenticate(AuthenticateError),
}

macro_rules! any_error {
    ($( $variant:ident($error:ident) ),*) => {
        $( impl From<$error> for AnyError {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        } )*
    };
}

any_error!(
    Open(OpenError),
    Reconfigure(ReconfigureError),
    Publish(PublishError),
    Subscribe(SubscribeError),
    Ack(AckError),
    Disconnect(DisconnectError),
    Authenticate(AuthenticateError)
);

fn refused(error: impl Into<AnyError>) -> Outcome {
    Err(error.into())
}

/// A command, and its outcome in each of the [`CONNECTIONS`].
struct Command {
    name: &'static str,
    give: fn(&mut Wire) -> Outcome,
    expected: [Outcome; 6],
}

fn ack_handle(wire: &Wire) -> Option<AckHandle> {
    wire.ack_handles.first().copied()
}

/// One row for each command.
#[rustfmt::skip]
fn commands(authentication: bool) -> Vec<Command> {
    const fn all(outcome: Outcome) -> [Outcome; 6] { [outcome; 6] }
    let at_rest = |error: AnyError| [Ok(()), Ok(()), Err(error), Err(error), Err(error), Err(error)];
    let gone = refused(DisconnectError::NotConnected);
    let alive = [gone, gone, Ok(()), Ok(()), gone, gone];
    let no_step = refused(AuthenticateError::NoAuthentication);
    let mut reauthenticate = [refused(AuthenticateError::NotConnected); 6];
    reauthenticate[3] = if authentication { Ok(()) } else { no_step };
    vec![
        Command { name: "open", give: |wire| Ok(wire.client.open(wire.now)?), expected: at_rest(OpenError::AlreadyConnected.into()) },
        Command { name: "closed", give: |wire| { wire.client.closed(wire.now); Ok(()) }, expected: all(Ok(())) },
        Command {
            name: "reconfigure",
            give: |wire| { let config = wire.client.config().clone(); Ok(wire.client.reconfigure(config)?) },
            expected: at_rest(ReconfigureError::AlreadyConnected.into()),
        },
        Command { name: "publish 0", give: |wire| message(wire, QOS_0), expected: all(Ok(())) },
        Command { name: "publish 1", give: |wire| message(wire, QOS_1), expected: all(Ok(())) },
        Command { name: "publish 2", give: |wire| message(wire, QOS_2), expected: all(Ok(())) },
        Command {
            name: "publish with an alias",
            give: |wire| {
                let properties = PublishProperties { topic_alias: NonZeroU16::new(1), ..Default::default() };
                wire.client.publish(wire.now, &Message::new("t", "x").properties(properties)).map(drop).map_err(AnyError::from)
            },
            expected: all(refused(PublishError::TopicAlias)),
        },
        Command {
            name: "publish with a subscription identifier",
            give: |wire| {
                let identifiers = [SubscriptionIdentifier::new(1).unwrap()];
                let subscription_identifiers = List::from(&identifiers);
                let properties = PublishProperties { subscription_identifiers, ..Default::default() };
                wire.client.publish(wire.now, &Message::new("t", "x").properties(properties)).map(drop).map_err(AnyError::from)
            },
            expected: all(refused(PublishError::SubscriptionIdentifier)),
        },
        Command {
            name: "subscribe",
            give: |wire| wire.client.subscribe(wire.now, &[Subscription::new("t", QOS_1).unwrap()]).map(drop).map_err(AnyError::from),
            expected: all(Ok(())),
        },
        Command {
            name: "unsubscribe",
            give: |wire| wire.client.unsubscribe(wire.now, &[filter("t")]).map(drop).map_err(AnyError::from),
            expected: all(Ok(())),
        },
        Command {
            name: "ack",
            give: |wire| {
                let ack_handle = ack_handle(wire).ok_or(AckError::EarlierConnection)?;
                Ok(wire.client.ack(wire.now, ack_handle, OK)?)
            },
            expected: [
                refused(AckError::EarlierConnection), refused(AckError::EarlierConnection), refused(AckError::EarlierConnection),
                Ok(()), refused(AckError::NotConnected), refused(AckError::NotConnected),
            ],
        },
        Command { name: "disconnect", give: |wire| Ok(wire.client.disconnect(wire.now, &Disconnect::default())?), expected: alive },
        // A token of no operation.
        Command {
            name: "authenticate",
            give: |wire| Ok(wire.client.authenticate(wire.now, b"x")?),
            expected: all(no_step),
        },
        Command {
            name: "reauthenticate",
            give: |wire| Ok(wire.client.reauthenticate(wire.now, b"x")?),
            expected: reauthenticate,
        },
    ]
}

fn message(wire: &mut Wire, qos: QoS) -> Outcome {
    wire.client.publish(wire.now, &Message::new("t", "x").qos(qos)).map(drop).map_err(AnyError::from)
}

#[test]
fn every_command_in_every_state() {
    for (version, authentication) in [(Version::V5, false), (Version::V5, true), (Version::V311, false)] {
        for command in commands(authentication) {
            for (state, expected) in CONNECTIONS.into_iter().zip(command.expected) {
                let why = format!("{version}, authentication: {authentication}, {} when {state:?}", command.name);
                let mut wire = in_state(state, version, authentication, |_| {});
                let before = look(&mut wire);
                assert_eq!((command.give)(&mut wire), expected, "{why}");
                let after = look(&mut wire);
                let is_idle = expected.is_err()
                    || command.name == "reconfigure"
                    || (command.name == "closed" && matches!(state, Connection::None | Connection::Closed));
                if command.name == "closed" && !is_idle {
                    assert_eq!((after.transmit, after.deadline, after.is_connected), (vec![], None, false), "{why}");
                    assert_eq!(wire.client.open(wire.now), Ok(()), "{why}");
                } else if is_idle {
                    assert_eq!(after, before, "{why}");
                    assert_eq!(probe(&mut wire), probe(&mut in_state(state, version, authentication, |_| {})), "{why}");
                } else {
                    assert_ne!(after, before, "{why}");
                }
                wire.client.assert_consistent();
            }
        }
    }
}

/// All packets and events of a client from here on, on this connection and on the next.
fn probe(wire: &mut Wire) -> (Vec<Event>, Vec<u8>) {
    let mut events = wire.poll();
    let mut sent = wire.take();
    for qos in [QOS_0, QOS_1, QOS_2] {
        wire.publish("probe", qos);
    }
    wire.subscribe();
    if let Some(ack_handle) = ack_handle(wire) {
        let _ = wire.client.ack(wire.now, ack_handle, OK);
    }
    sent.extend(wire.take());
    events.extend(wire.lose());
    wire.client.open(wire.now).unwrap();
    sent.extend(wire.take());
    let method = wire.client.config().authentication.is_some().then(|| Utf8Str::new("M").unwrap());
    let properties = ConnAckProperties { authentication_method: method, ..Default::default() };
    events.extend(wire.receive(&[connack_with(properties).into()]));
    sent.extend(wire.take());
    (events, sent)
}

/// Commands that are invalid in every state are refused and change nothing.
#[test]
fn invalid_commands_are_refused_and_change_nothing() {
    type Give = fn(&mut Wire) -> Outcome;
    let cases: [(&str, Give); 10] = [
        ("a wildcard in a name", |wire| {
            wire.client.publish(wire.now, &Message::new("a/+", "x").qos(QOS_1)).map(drop).map_err(AnyError::from)
        }),
        ("U+0000", |wire| wire.client.publish(wire.now, &Message::new("a\0", "x")).map(drop).map_err(AnyError::from)),
        ("no topic", |wire| wire.client.publish(wire.now, &Message::new("", "x")).map(drop).map_err(AnyError::from)),
        ("no topic, QoS 2", |wire| {
            wire.client.publish(wire.now, &Message::new("", "x").qos(QOS_2)).map(drop).map_err(AnyError::from)
        }),
        ("not UTF-8", |wire| {
            wire.client.publish(wire.now, &Message::new(&b"\xff"[..], "x")).map(drop).map_err(AnyError::from)
        }),
        ("a topic that is too long", |wire| {
            wire.client
                .publish(wire.now, &Message::new(&vec![b'x'; 65_536], "x").qos(QOS_1))
                .map(drop)
                .map_err(AnyError::from)
        }),
        ("a property that is too long", |wire| {
            let data = vec![0; 65_536];
            let properties = PublishProperties { correlation_data: Some(&data), ..Default::default() };
            wire.client
                .publish(wire.now, &Message::new("t", "x").qos(QOS_1).properties(properties))
                .map(drop)
                .map_err(AnyError::from)
        }),
        ("no filter", |wire| wire.client.subscribe(wire.now, &[]).map(drop).map_err(AnyError::from)),
        ("no filter to end", |wire| wire.client.unsubscribe(wire.now, &[]).map(drop).map_err(AnyError::from)),
        ("no local with a shared subscription", |wire| {
            let subscription = Subscription::new("$share/g/t", QOS_0).unwrap();
            wire.client
                .subscribe(wire.now, &[Subscription { no_local: true, ..subscription }])
                .map(drop)
                .map_err(AnyError::from)
        }),
    ];
    for (name, give) in cases {
        for version in BOTH {
            for state in CONNECTIONS {
                unchanged(name, state, version, give);
            }
        }
    }
    // Features that 3.1.1 does not have.
    let cases: [(&str, Give); 5] = [
        ("properties", |wire| {
            let properties = PublishProperties { message_expiry_interval: Some(1), ..Default::default() };
            wire.client
                .publish(wire.now, &Message::new("t", "x").properties(properties))
                .map(drop)
                .map_err(AnyError::from)
        }),
        ("properties, QoS 1", |wire| {
            let properties = PublishProperties { message_expiry_interval: Some(1), ..Default::default() };
            wire.client
                .publish(wire.now, &Message::new("t", "x").qos(QOS_1).properties(properties))
                .map(drop)
                .map_err(AnyError::from)
        }),
        ("options", |wire| {
            let subscription = Subscription::new("t", QOS_0).unwrap();
            wire.client
                .subscribe(wire.now, &[Subscription { retain_as_published: true, ..subscription }])
                .map(drop)
                .map_err(AnyError::from)
        }),
        ("a subscription identifier", |wire| {
            let subscription_identifier = Some(SubscriptionIdentifier::new(1).unwrap());
            let properties = SubscribeProperties { subscription_identifier, ..Default::default() };
            wire.client
                .subscribe_with(wire.now, &[Subscription::new("t", QOS_0).unwrap()], &properties)
                .map(drop)
                .map_err(AnyError::from)
        }),
        ("a reason", |wire| {
            let reason_code = DisconnectReasonCode::DisconnectWithWillMessage;
            Ok(wire.client.disconnect(wire.now, &Disconnect { reason_code, ..Disconnect::default() })?)
        }),
    ];
    for (name, give) in cases {
        for state in CONNECTIONS {
            unchanged(name, state, Version::V311, give);
        }
    }
}

#[track_caller]
fn unchanged(name: &str, state: Connection, version: Version, give: fn(&mut Wire) -> Outcome) {
    unchanged_with(name, state, version, |_| {}, give);
}

#[track_caller]
fn unchanged_with(
    name: &str,
    state: Connection,
    version: Version,
    change: fn(&mut ClientConfig),
    give: fn(&mut Wire) -> Outcome,
) {
    let mut wire = in_state(state, version, false, change);
    let before = look(&mut wire);
    let result = give(&mut wire);
    assert!(result.is_err(), "{name} when {state:?}");
    assert_eq!(look(&mut wire), before, "{name} when {state:?}: {result:?}");
    let mut other = in_state(state, version, false, change);
    assert_eq!(probe(&mut wire), probe(&mut other), "{name} when {state:?}: {result:?}");
}

/// If the Session Expiry Interval in CONNECT was zero, DISCONNECT must not set another one (section 3.14.2.2.2).
#[test]
fn disconnect_cannot_set_an_expiry_interval_that_connect_did_not() {
    let give: fn(&mut Wire) -> Outcome = |wire| {
        let properties = DisconnectProperties { session_expiry_interval: Some(5), ..Default::default() };
        Ok(wire.client.disconnect(wire.now, &Disconnect { properties, ..Disconnect::default() })?)
    };
    let none: fn(&mut ClientConfig) = |config| config.session_expiry_interval = SessionExpiry::WITH_CONNECTION;
    for state in CONNECTIONS {
        unchanged_with("an expiry interval", state, Version::V5, none, give);
    }
    for state in [Connection::Connecting, Connection::Connected] {
        let mut wire = in_state(state, Version::V5, false, none);
        assert_eq!(give(&mut wire), refused(DisconnectError::SessionExpiry));
        let mut wire = in_state(state, Version::V5, false, |_| {});
        assert_eq!(give(&mut wire), Ok(()));
        // Zero, which ends the session, is always possible.
        let mut wire = in_state(state, Version::V5, false, none);
        let properties = DisconnectProperties { session_expiry_interval: Some(0), ..Default::default() };
        wire.client.disconnect(wire.now, &Disconnect { properties, ..Disconnect::default() }).unwrap();
    }
    // Zero ends the session.
    let mut wire = Wire::connected(v5());
    let token = wire.publish("x", QOS_1);
    wire.take();
    let properties = DisconnectProperties { session_expiry_interval: Some(0), ..Default::default() };
    wire.client.disconnect(wire.now, &Disconnect { properties, ..Disconnect::default() }).unwrap();
    assert_eq!(wire.poll(), [Event::Close(Why::Requested)]);
    assert_eq!(wire.lose(), [abandoned(token, AbandonReason::Session)]);
}

/// A command that the server does not support is refused and changes nothing, not even the topic aliases. Without a
/// connection the client does not know the server's limits and queues the command.
#[test]
fn commands_beyond_the_limits_of_the_server() {
    let properties = ConnAckProperties {
        maximum_qos: Some(MaximumQoS::AtLeastOnce),
        retain_available: Some(false),
        maximum_packet_size: NonZeroU32::new(60),
        topic_alias_maximum: Some(2),
        wildcard_subscription_available: Some(false),
        subscription_identifiers_available: Some(false),
        shared_subscription_available: Some(false),
        ..Default::default()
    };
    let wire = || {
        let config = ClientConfig { topic_aliases: 2, max_stored: 100, overflow: Overflow::DropOldest, ..v5() };
        let mut wire = Wire::connected_by(config, connack_with(properties));
        for topic in ["first", "second", "first"] {
            wire.client.publish(wire.now, &Message::new(topic, "x").qos(QOS_1)).unwrap();
        }
        wire
    };
    let with_identifier = |wire: &mut Wire| {
        let subscription_identifier = Some(SubscriptionIdentifier::new(1).unwrap());
        let properties = SubscribeProperties { subscription_identifier, ..Default::default() };
        wire.client
            .subscribe_with(wire.now, &[Subscription::new("t", QOS_0).unwrap()], &properties)
            .map(drop)
            .map_err(AnyError::from)
    };
    let too_large = PublishError::TooLarge { limit: 60 }.into();
    let request_too_large = SubscribeError::TooLarge { limit: 60 }.into();
    let not_supported = |code| SubscribeError::NotSupported(code).into();
    fn subscribe(wire: &mut Wire, filter: &str) -> Outcome {
        wire.client.subscribe(wire.now, &[Subscription::new(filter, QOS_0).unwrap()]).map(drop).map_err(AnyError::from)
    }
    type Give<'a> = Box<dyn Fn(&mut Wire) -> Outcome + 'a>;
    let maximum = MaximumQoS::AtLeastOnce;
    let cases: Vec<(Give<'_>, AnyError)> = vec![
        (Box::new(|wire| message(wire, QOS_2)), PublishError::QoSNotSupported { maximum }.into()),
        (
            Box::new(|wire| {
                wire.client
                    .publish(wire.now, &Message::new("third", "x").retain(true))
                    .map(drop)
                    .map_err(AnyError::from)
            }),
            PublishError::RetainNotSupported.into(),
        ),
        (
            Box::new(|wire| {
                wire.client.publish(wire.now, &Message::new("third", &[0; 60])).map(drop).map_err(AnyError::from)
            }),
            too_large,
        ),
        (
            Box::new(|wire| {
                wire.client
                    .publish(wire.now, &Message::new("third", &[0; 60]).qos(QOS_1))
                    .map(drop)
                    .map_err(AnyError::from)
            }),
            too_large,
        ),
        (
            Box::new(|wire| {
                wire.client
                    .publish(wire.now, &Message::new("third", vec![0; 5000]).qos(QOS_1))
                    .map(drop)
                    .map_err(AnyError::from)
            }),
            too_large,
        ),
        (
            Box::new(|wire| {
                wire.client.publish(wire.now, &Message::new("third", vec![0; 5000])).map(drop).map_err(AnyError::from)
            }),
            too_large,
        ),
        (Box::new(|wire| subscribe(wire, &"x".repeat(60))), request_too_large),
        (
            Box::new(|wire| {
                wire.client.unsubscribe(wire.now, &[filter(&"x".repeat(60))]).map(drop).map_err(AnyError::from)
            }),
            request_too_large,
        ),
        (Box::new(|wire| subscribe(wire, "a/+/b")), not_supported(ReasonCode::WildcardSubscriptionsNotSupported)),
        (Box::new(|wire| subscribe(wire, "#")), not_supported(ReasonCode::WildcardSubscriptionsNotSupported)),
        (Box::new(|wire| subscribe(wire, "$share/g/t")), not_supported(ReasonCode::SharedSubscriptionsNotSupported)),
        (Box::new(with_identifier), not_supported(ReasonCode::SubscriptionIdentifiersNotSupported)),
    ];
    for (place, (give, error)) in cases.iter().enumerate() {
        let (mut one, mut other) = (wire(), wire());
        let before = look(&mut one);
        assert_eq!(give(&mut one), Err(*error), "{place}");
        assert_eq!(look(&mut one), before, "{place}");
        let next = |wire: &mut Wire| {
            wire.take();
            for topic in ["third", "second", "first", "third"] {
                wire.client.publish(wire.now, &Message::new(topic, "x").qos(QOS_1)).unwrap();
            }
            wire.take()
        };
        assert_eq!(next(&mut one), next(&mut other), "{place}");
        one.lose();
        assert_eq!(give(&mut one), Ok(()), "{place}: nobody knows which server comes next");
        let token_of_loss = one.connect(present_with(properties));
        assert!(
            matches!(token_of_loss[1..], [Event::Done(_, Done::Abandoned(AbandonReason::NotSupported(_)))]),
            "{place}: {token_of_loss:?}"
        );
    }
}

/// In an enhanced authentication client and server send by turns.
/// [5.0: MQTT-4.12.0-3, U-3.15.1]
#[test]
fn client_and_server_alternate_in_authentication() {
    let step = |data| auth(AuthReasonCode::ContinueAuthentication, "M", data).into();
    let no = Err(AuthenticateError::NoAuthentication);
    let mut wire = in_state(Connection::Connecting, Version::V5, true, |_| {});
    // CONNECT was the client's step; the next one is the server's.
    assert_eq!(wire.client.authenticate(wire.now, b"x"), no);
    wire.receive(&[step(b"1")]);
    assert_eq!(wire.client.authenticate(wire.now, b"x"), Ok(()));
    assert_eq!(wire.client.authenticate(wire.now, b"x"), no);
    assert_eq!(wire.client.reauthenticate(wire.now, b"x"), Err(AuthenticateError::NotConnected));
    let method = Some(Utf8Str::new("M").unwrap());
    let accept = connack_with(ConnAckProperties { authentication_method: method, ..Default::default() });
    wire.receive(&[accept.into()]);
    assert_eq!(wire.client.authenticate(wire.now, b"x"), no);
    assert_eq!(wire.client.reauthenticate(wire.now, b"x"), Ok(()));
    assert_eq!(wire.client.reauthenticate(wire.now, b"x"), no, "one at a time");
    assert_eq!(wire.client.authenticate(wire.now, b"x"), no);
    wire.receive(&[step(b"2")]);
    assert_eq!(wire.client.reauthenticate(wire.now, b"x"), no);
    assert_eq!(wire.client.authenticate(wire.now, b"x"), Ok(()));
    // AUTH with success may have no properties, and so no method.
    assert_eq!(wire.receive(&[mqtt_sansio::codec::Auth::default().into()]), [Event::Auth(AuthReasonCode::Success)]);
    assert_eq!(wire.client.reauthenticate(wire.now, b"x"), Ok(()));
    // A connection is lost in the middle of an exchange: the next one starts a new exchange.
    wire.lose();
    assert_eq!(wire.client.authenticate(wire.now, b"x"), no);
    wire.open();
    assert_eq!(wire.client.authenticate(wire.now, b"x"), no);
    // Two AUTH packets of the server in a row are a Protocol Error.
    wire.receive(&[step(b"3")]);
    assert_eq!(wire.receive(&[step(b"4")]), [protocol_error(ProtocolError::UnexpectedAuth)]);
    assert_eq!(wire.client.authenticate(wire.now, b"x"), no);
}

/// The transport reports the end of the connection in every state.
#[test]
fn loss_of_the_connection_in_every_state() {
    for version in BOTH {
        for state in CONNECTIONS {
            let mut wire = in_state(state, version, false, |_| {});
            let token = wire.publish("x", QOS_1);
            let was_sent = state == Connection::Connected;
            wire.take();
            assert_eq!(wire.lose(), [], "{state:?}: the session goes on, or there is none");
            wire.assert_silent();
            assert_eq!(wire.client.deadline(), None);
            let events = wire.connect(if was_sent { present() } else { connack() });
            assert!(matches!(events[..], [Event::Connected(_)]), "{state:?}: {events:?}");
            let how = if was_sent { again(QOS_1, 1) } else { delivery(QOS_1, 1) };
            wire.assert_sent(&[published("x", how)]);
            let events = wire.receive(&[PubAck::new(id(1)).into()]);
            assert_eq!(events, [Event::Done(token, Done::Acknowledged(ReasonCode::Success))]);
        }
    }
}

/// Packets from the server before a connection has begun and after it has ended.
#[test]
fn packets_before_and_after_a_connection() {
    for config in [v5(), v311()] {
        // Input is ignored while there is no connection.
        for state in [Connection::None, Connection::Closed, Connection::Disconnecting, Connection::Over] {
            let mut wire = in_state(state, config.version, false, |_| {});
            wire.take();
            let events = wire.receive(&[connack().into(), published("x", delivery(QOS_2, 1))]);
            let is_leaving = state == Connection::Disconnecting;
            assert_eq!(events, if is_leaving { vec![Event::Close(Why::Requested)] } else { vec![] }, "{state:?}");
            wire.assert_silent();
        }
        let mut wire = in_state(Connection::Connecting, config.version, false, |_| {});
        let events = wire.receive(&[published("x", delivery(QOS_2, 1))]);
        assert_eq!(events, [protocol_error(ProtocolError::BeforeConnAck(PacketType::Publish))]);
    }
}
