//! Messages that an end receives.

use mqtt_sansio::codec::{
    AckProperties, Packet, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel, PubRelReasonCode, Publish,
    PublishProperties, UserProperty,
};
use mqtt_sansio::{AckError, QoS, Utf8Str, Version};

use super::{Announced, End, Setup, delivered, delivered_again};
use crate::packets::{QOS_0, QOS_1, QOS_2, again, decode_of, delivery, id, publish, published};

pub(crate) fn acknowledgements_repeat_the_identifier<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    for number in [1, 0x00FF, 0x0100, 0x1234, 0xFFFF] {
        let at = id(number);
        end.receive(&[published("a", delivery(QOS_1, number))]);
        end.assert_sent(&[PubAck::new(at).into()]);
        end.receive(&[published("b", delivery(QOS_2, number))]);
        end.assert_sent(&[PubRec::new(at).into()]);
        end.receive(&[PubRel::new(at).into()]);
        end.assert_sent(&[PubComp::new(at).into()]);
    }
    end.publish("c", QOS_1);
    end.publish("d", QOS_2);
    let [_, second] = end.sent_ids()[..] else { panic!("two packets") };
    end.receive(&[PubRec::new(id(second)).into()]);
    end.assert_sent(&[PubRel::new(id(second)).into()]);
}

pub(crate) fn each_qos_has_its_acknowledgement<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    assert_eq!(end.receive(&[published("0", delivery(QOS_0, 0))]), [delivered("0", QOS_0)]);
    end.assert_silent();
    assert_eq!(end.receive(&[published("1", delivery(QOS_1, 1))]), [delivered("1", QOS_1)]);
    end.assert_sent(&[PubAck::new(id(1)).into()]);
    assert_eq!(end.receive(&[published("2", delivery(QOS_2, 2))]), [delivered("2", QOS_2)]);
    end.assert_sent(&[PubRec::new(id(2)).into()]);
}

/// The application ignores the messages.
pub(crate) fn ignored_messages_are_acknowledged<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    end.receive(&[published("1", delivery(QOS_1, 1)), published("2", delivery(QOS_2, 2)), PubRel::new(id(2)).into()]);
    end.assert_sent(&[PubAck::new(id(1)).into(), PubRec::new(id(2)).into(), PubComp::new(id(2)).into()]);
}

/// The acknowledgement of a message, PUBACK or PUBREC.
fn ack(qos: QoS, number: u16) -> Packet<'static> {
    if qos == QOS_1 { PubAck::new(id(number)).into() } else { PubRec::new(id(number)).into() }
}

pub(crate) fn a_message_is_acknowledged_after_ownership_is_accepted<E: End>(version: Version, qos: QoS) {
    let mut end = E::open(Setup::manual(version));
    assert_eq!(end.receive(&[published("x", delivery(qos, 77))]), [delivered("x", qos)]);
    end.later(10_000);
    end.poll();
    end.assert_silent();
    end.ack(0, PubAckReasonCode::Success);
    end.assert_sent(&[ack(qos, 77)]);
}

pub(crate) fn after_puback_the_identifier_is_a_new_message<E: End>(version: Version) {
    for setup in [Setup::of(version), Setup::manual(version)] {
        let mut end = E::open(setup);
        for (payload, dup) in [("1", false), ("2", true), ("3", false)] {
            let how = if dup { again(QOS_1, 5) } else { delivery(QOS_1, 5) };
            let reported = if dup { delivered_again(payload, QOS_1) } else { delivered(payload, QOS_1) };
            assert_eq!(end.receive(&[published(payload, how)]), [reported]);
            end.ack_last(PubAckReasonCode::Success);
            end.assert_sent(&[PubAck::new(id(5)).into()]);
        }
    }
}

pub(crate) fn after_a_refusal_the_identifier_is_a_new_message<E: End>() {
    let mut end = E::open(Setup::manual(Version::V5));
    for payload in ["1", "2"] {
        assert_eq!(end.receive(&[published(payload, delivery(QOS_2, 5))]), [delivered(payload, QOS_2)]);
        let reason_code = PubAckReasonCode::QuotaExceeded;
        end.ack_last(reason_code);
        end.assert_sent(&[PubRec { reason_code, ..PubRec::new(id(5)) }.into()]);
    }
}

pub(crate) fn before_pubrel_a_duplicate_is_acknowledged_and_not_delivered<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    assert_eq!(end.receive(&[published("x", delivery(QOS_2, 5))]), [delivered("x", QOS_2)]);
    assert_eq!(end.receive(&[published("x", again(QOS_2, 5)), published("x", delivery(QOS_2, 5))]), []);
    end.assert_sent(&[PubRec::new(id(5)).into(), PubRec::new(id(5)).into(), PubRec::new(id(5)).into()]);
    end.resume();
    assert_eq!(end.receive(&[published("x", again(QOS_2, 5))]), []);
    end.assert_sent(&[PubRec::new(id(5)).into()]);
}

/// A message that the end has accepted ownership of is not delivered again, even if PUBREC had to wait for its turn and the
/// connection ended before it was sent.
pub(crate) fn an_acknowledged_message_is_not_delivered_again<E: End>(version: Version) {
    let mut end = E::open(Setup::manual(version));
    end.receive(&[published("1", delivery(QOS_2, 1)), published("2", delivery(QOS_2, 2))]);
    end.ack(1, PubAckReasonCode::Success);
    end.assert_silent();
    end.resume();
    let events = end.receive(&[published("1", again(QOS_2, 1)), published("2", again(QOS_2, 2))]);
    assert_eq!(events, [delivered_again("1", QOS_2)]);
    end.ack(2, PubAckReasonCode::Success);
    end.assert_sent(&[PubRec::new(id(1)).into(), PubRec::new(id(2)).into()]);
}

pub(crate) fn pubrel_is_answered_by_pubcomp<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    end.receive(&[published("x", delivery(QOS_2, 4000))]);
    end.take();
    assert_eq!(end.receive(&[PubRel::new(id(4000)).into()]), []);
    end.assert_sent(&[PubComp::new(id(4000)).into()]);
}

pub(crate) fn after_pubcomp_the_identifier_is_a_new_message<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    for payload in ["1", "2", "3"] {
        assert_eq!(end.receive(&[published(payload, delivery(QOS_2, 5))]), [delivered(payload, QOS_2)]);
        assert_eq!(end.receive(&[published(payload, again(QOS_2, 5))]), []);
        assert_eq!(end.receive(&[PubRel::new(id(5)).into()]), []);
        end.assert_sent(&[PubRec::new(id(5)).into(), PubRec::new(id(5)).into(), PubComp::new(id(5)).into()]);
    }
}

pub(crate) fn the_delivery_of_an_expired_message_is_completed<E: End>() {
    let properties = PublishProperties { message_expiry_interval: Some(1), ..Default::default() };
    let mut end = E::open(Setup::manual(Version::V5));
    end.receive(&[Publish { properties, ..publish("x", delivery(QOS_2, 5)) }.into()]);
    end.later(30_000);
    end.ack(0, PubAckReasonCode::Success);
    end.assert_sent(&[PubRec::new(id(5)).into()]);
    end.receive(&[PubRel::new(id(5)).into()]);
    end.assert_sent(&[PubComp::new(id(5)).into()]);
}

/// Before 5.0 the answer has no reason code.
pub(crate) fn an_unknown_identifier_is_no_error<E: End>(version: Version) {
    let mut end = E::open(Setup::of(version));
    let reason_code = match version {
        Version::V5 => PubRelReasonCode::PacketIdentifierNotFound,
        _ => PubRelReasonCode::Success,
    };
    let unknown: [Packet<'_>; 3] = [PubRel::new(id(7)).into(), PubComp::new(id(8)).into(), PubAck::new(id(10)).into()];
    assert_eq!(end.receive(&unknown), []);
    end.assert_sent(&[PubComp { reason_code, ..PubComp::new(id(7)) }.into()]);
    assert_eq!(end.receive(&[PubRec::new(id(9)).into()]), []);
    end.assert_sent(&[PubRel { reason_code, ..PubRel::new(id(9)) }.into()]);
    // A PUBCOMP with that code completes a delivery like any other.
    end.publish("x", QOS_2);
    end.receive(&[PubRec::new(id(1)).into(), PubComp { reason_code, ..PubComp::new(id(1)) }.into()]);
    assert_eq!(end.in_use(), 0);
    assert!(end.is_connected());
}

/// Acknowledgements that are given in the wrong order are sent in the right one, and so are automatic ones.
pub(crate) fn acknowledgements_go_in_order<E: End>(version: Version, qos: QoS) {
    let order = [5, 3, 9, 1, 7];
    let messages = order.map(|number| published("x", delivery(qos, number)));
    let expected = order.map(|number| ack(qos, number));
    let mut end = E::open(Setup::manual(version));
    end.receive(&messages);
    for (index, sent) in [(2, &[][..]), (0, &expected[..1]), (4, &[]), (3, &[]), (1, &expected[1..])] {
        end.ack(index, PubAckReasonCode::Success);
        end.assert_sent(sent);
    }
    let mut end = E::open(Setup::of(version));
    end.receive(&messages);
    end.assert_sent(&expected);
}

/// Some are given at once, some later and in any order, while further messages arrive.
pub(crate) fn acknowledgements_go_in_order_whenever_they_are_given<E: End>() {
    for seed in 0..200_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut end = E::open(Setup::manual(Version::V5));
        let (mut owed, mut arrived, mut sent) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=30 {
            let qos = if random(2) == 0 { QOS_1 } else { QOS_2 };
            end.receive(&[published("x", delivery(qos, number))]);
            owed.push(end.arrived() - 1);
            arrived.push(number);
            while !owed.is_empty() && random(3) != 0 {
                // The last one as often as all others.
                let place = if random(2) == 0 { owed.len() - 1 } else { random(owed.len()) };
                let index = owed.remove(place);
                end.ack(index, PubAckReasonCode::Success);
                let again = end.ack_with(index, PubAckReasonCode::Success, &AckProperties::default());
                assert_eq!(again, Err(AckError::AlreadyAcknowledged), "seed {seed}");
            }
            sent.extend(end.sent_ids());
            assert!(arrived.starts_with(&sent), "seed {seed}: {sent:?}");
            assert!(!owed.is_empty() || sent.len() == arrived.len(), "seed {seed}: nothing waits for nothing");
        }
        for index in owed {
            end.ack(index, PubAckReasonCode::Success);
        }
        sent.extend(end.sent_ids());
        assert_eq!(sent, arrived, "seed {seed}");
    }
}

/// A manual acknowledgement under every Maximum Packet Size around its own size: properties are left out, the packet is
/// not.
fn acks_fit<E: End>(qos: QoS, packet: impl for<'a> Fn(PubAckReasonCode, AckProperties<'a>) -> Packet<'a>) {
    let pairs = [UserProperty::new("key", "value").unwrap()];
    let reason_string = Some(Utf8Str::new("because").unwrap());
    let full = AckProperties { reason_string, user_properties: (&pairs).into() };
    let reason_only = AckProperties { reason_string, ..AckProperties::default() };
    let user_only = AckProperties { user_properties: (&pairs).into(), ..AckProperties::default() };
    let code = PubAckReasonCode::NotAuthorized;
    let size = |properties| packet(code, properties).encoded_len(Version::V5).unwrap() as u32;
    for limit in 5..=size(full) + 1 {
        let peer = Announced { maximum_packet_size: Some(limit), ..Announced::default() };
        let mut end = E::open(Setup { peer, ..Setup::manual(Version::V5) });
        end.receive(&[published("x", delivery(qos, 7))]);
        end.ack_with(0, code, &full).unwrap();
        // No property is sent that makes the packet too large. A property that fits may be left out.
        let allowed: Vec<_> = [full, reason_only, user_only, AckProperties::default()]
            .into_iter()
            .filter(|&properties| size(properties) <= limit)
            .map(|properties| packet(code, properties))
            .collect();
        let sent = end.take();
        let [sent] = decode_of(&sent, Version::V5, E::SENDER)[..] else { panic!("one packet") };
        assert!(allowed.contains(&sent), "{limit}: {sent:?}");
        assert!(limit < size(full) || sent == packet(code, full), "{limit}: {sent:?}");
    }
}

pub(crate) fn puback_leaves_out_what_is_too_large<E: End>() {
    acks_fit::<E>(QOS_1, |reason_code, properties| PubAck { id: id(7), reason_code, properties }.into());
}

pub(crate) fn pubrec_leaves_out_what_is_too_large<E: End>() {
    acks_fit::<E>(QOS_2, |reason_code, properties| PubRec { id: id(7), reason_code, properties }.into());
}
