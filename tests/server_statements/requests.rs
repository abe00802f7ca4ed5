//! Sections 2.2 and 3.8 to 3.12: SUBSCRIBE, UNSUBSCRIBE and PINGREQ.

use mqtt_sansio::Version;
use mqtt_sansio::codec::{
    AckProperties, ConnectProperties, Packet, SubAck, SubAckReasonCode, UnsubAck, UnsubAckReasonCode, UserProperty,
};
use mqtt_sansio::server::AnswerError;

use crate::server::{Event, Wire, config, decode, id, subscribe, subscription, text, v5_with};

const GRANTED: SubAckReasonCode = SubAckReasonCode::GrantedQoS0;
const ENDED: UnsubAckReasonCode = UnsubAckReasonCode::Success;

/// [5.0: MQTT-2.2.1-6]
#[test]
fn mqtt_2_2_1_6_suback_and_unsuback_repeat_the_identifier() {
    let mut wire = Wire::lasting(Version::V5);
    for number in [1, 0x00FF, 0x0100, 0x1234, 0xFFFF] {
        let request = wire.subscribe(number, &["t"]);
        wire.server.suback(wire.now, request, &[GRANTED]).unwrap();
        wire.assert_sent(&[SubAck::new(id(number), &[GRANTED]).into()]);
        let request = wire.unsubscribe(number, &["t"]);
        wire.server.unsuback(wire.now, request, &[ENDED]).unwrap();
        wire.assert_sent(&[UnsubAck::new(id(number), &[ENDED]).into()]);
    }
    // Answered in another order than requested.
    let requests = [9, 3, 7].map(|number| (number, wire.subscribe(number, &["t"])));
    for (number, request) in [requests[2], requests[0], requests[1]] {
        wire.server.suback(wire.now, request, &[GRANTED]).unwrap();
        wire.assert_sent(&[SubAck::new(id(number), &[GRANTED]).into()]);
    }
}

/// Each SUBSCRIBE is reported and answered by the caller. A SUBSCRIBE that cannot be reported is answered by the
/// session.
/// [5.0: MQTT-3.8.4-1, MQTT-3.8.4-2]
#[test]
fn mqtt_3_8_4_1_and_mqtt_3_8_4_2_every_subscribe_has_its_suback() {
    for version in Version::ALL {
        let mut wire = Wire::lasting(version);
        let subscriptions = [subscription("a"), subscription("b")];
        let first = wire.subscribe(1, &["a", "b"]);
        // The identifier is in use: the session answers the second request, and the first remains unanswered.
        assert_eq!(wire.receive(&[subscribe(1, &subscriptions)]), []);
        let code = match version {
            Version::V5 => SubAckReasonCode::PacketIdentifierInUse,
            _ => SubAckReasonCode::UnspecifiedError,
        };
        wire.assert_sent(&[SubAck::new(id(1), &[code, code]).into()]);
        wire.server.suback(wire.now, first, &[GRANTED, GRANTED]).unwrap();
        wire.assert_sent(&[SubAck::new(id(1), &[GRANTED, GRANTED]).into()]);
        assert_eq!(wire.server.suback(wire.now, first, &[GRANTED, GRANTED]), Err(AnswerError::AlreadyAnswered));
        // Many requests at once, with as many answers.
        let requests: Vec<_> = (1..=1000).map(|number| wire.subscribe(number, &["t"])).collect();
        for &request in &requests {
            wire.server.suback(wire.now, request, &[GRANTED]).unwrap();
        }
        assert_eq!(wire.sent_ids(), Vec::from_iter(1..=1000));
    }
}

/// [5.0: MQTT-3.8.4-6]
#[test]
fn mqtt_3_8_4_6_one_code_for_each_filter() {
    let mut wire = Wire::lasting(Version::V5);
    let request = wire.subscribe(1, &["a", "b", "c"]);
    for count in [0, 1, 2, 4] {
        let result = wire.server.suback(wire.now, request, &[GRANTED; 4][..count]);
        assert_eq!(result, Err(AnswerError::WrongReasonCodeCount));
    }
    wire.assert_silent();
    wire.server.suback(wire.now, request, &[GRANTED; 3]).unwrap();
    wire.assert_sent(&[SubAck::new(id(1), &[GRANTED; 3]).into()]);
}

/// [5.0: MQTT-3.8.4-7]
#[test]
fn mqtt_3_8_4_7_each_code_grants_or_refuses() {
    let mut wire = Wire::lasting(Version::V5);
    for &code in SubAckReasonCode::ALL {
        let request = wire.subscribe(1, &["t"]);
        wire.server.suback(wire.now, request, &[code]).unwrap();
        wire.assert_sent(&[SubAck::new(id(1), &[code]).into()]);
    }
}

/// A SUBACK or UNSUBACK with properties under every Maximum Packet Size around its own size: the properties are left
/// out, the packet is not.
fn answers_fit(
    packet: impl for<'a> Fn(AckProperties<'a>) -> Packet<'a>,
    answer: impl Fn(&mut Wire, &AckProperties<'_>),
) {
    let pairs = [UserProperty::new("key", "value").unwrap()];
    let reason_string = Some(text("because"));
    let full = AckProperties { reason_string, user_properties: (&pairs).into() };
    let reason_only = AckProperties { reason_string, ..AckProperties::default() };
    let user_only = AckProperties { user_properties: (&pairs).into(), ..AckProperties::default() };
    let size = |properties| packet(properties).encoded_len(Version::V5).unwrap() as u32;
    for limit in size(AckProperties::default())..=size(full) + 1 {
        let connect = v5_with(ConnectProperties { maximum_packet_size: limit.try_into().ok(), ..Default::default() });
        let mut wire = Wire::connected(config(), &connect);
        answer(&mut wire, &full);
        let allowed: Vec<_> = [full, reason_only, user_only, AckProperties::default()]
            .into_iter()
            .filter(|&properties| size(properties) <= limit)
            .map(&packet)
            .collect();
        let sent = wire.take();
        let [sent] = decode(&sent, Version::V5)[..] else { panic!("one packet") };
        assert!(allowed.contains(&sent), "{limit}: {sent:?}");
        assert!(limit < size(full) || sent == packet(full), "{limit}: {sent:?}");
    }
}

/// [5.0: MQTT-3.9.2-1, MQTT-3.9.2-2]
#[test]
fn mqtt_3_9_2_1_and_mqtt_3_9_2_2_suback_leaves_out_what_is_too_large() {
    answers_fit(
        |properties| SubAck { properties, ..SubAck::new(id(7), &[GRANTED, GRANTED]) }.into(),
        |wire, properties| {
            let request = wire.subscribe(7, &["a", "b"]);
            wire.server.suback_with(wire.now, request, &[GRANTED, GRANTED], properties).unwrap();
        },
    );
}

/// Reason codes that are all different.
const MIXED: [SubAckReasonCode; 4] = [
    SubAckReasonCode::GrantedQoS1,
    SubAckReasonCode::NotAuthorized,
    SubAckReasonCode::GrantedQoS2,
    SubAckReasonCode::QuotaExceeded,
];

/// [5.0: MQTT-3.9.3-1]
#[test]
fn mqtt_3_9_3_1_codes_follow_the_filters() {
    let mut wire = Wire::lasting(Version::V5);
    // The filters are reported in the order of the packet, and the codes are sent in the order of the caller.
    let request = wire.subscribe(1, &["b", "a", "d", "c"]);
    wire.server.suback(wire.now, request, &MIXED).unwrap();
    wire.assert_sent(&[SubAck::new(id(1), &MIXED).into()]);
}

/// [5.0: MQTT-3.10.4-4, MQTT-3.10.4-5]
#[test]
fn mqtt_3_10_4_4_and_mqtt_3_10_4_5_every_unsubscribe_has_its_unsuback() {
    let mut wire = Wire::lasting(Version::V5);
    for code in [ENDED, UnsubAckReasonCode::NoSubscriptionExisted] {
        let request = wire.unsubscribe(5, &["t"]);
        wire.server.unsuback(wire.now, request, &[code]).unwrap();
        wire.assert_sent(&[UnsubAck::new(id(5), &[code]).into()]);
    }
    // One for each unanswered request, in any order.
    let requests = [1, 2, 3].map(|number| wire.unsubscribe(number, &["t"]));
    for request in requests.into_iter().rev() {
        wire.server.unsuback(wire.now, request, &[ENDED]).unwrap();
    }
    assert_eq!(wire.sent_ids(), [3, 2, 1]);
}

/// An UNSUBSCRIBE whose identifier is in use is answered with the reason code for that (section 3.11.3).
/// [5.0: MQTT-3.10.4-4]
#[test]
fn mqtt_3_10_4_4_an_identifier_in_use_is_answered() {
    let mut wire = Wire::lasting(Version::V5);
    let first = wire.subscribe(1, &["a"]);
    let filters = [crate::server::filter("a"), crate::server::filter("b")];
    assert_eq!(wire.receive(&[crate::server::unsubscribe(1, &filters)]), []);
    wire.assert_sent(&[UnsubAck::new(id(1), &[UnsubAckReasonCode::PacketIdentifierInUse; 2]).into()]);
    wire.server.suback(wire.now, first, &[GRANTED]).unwrap();
    wire.assert_sent(&[SubAck::new(id(1), &[GRANTED]).into()]);
}

/// [5.0: MQTT-3.11.2-1, MQTT-3.11.2-2]
#[test]
fn mqtt_3_11_2_1_and_mqtt_3_11_2_2_unsuback_leaves_out_what_is_too_large() {
    answers_fit(
        |properties| UnsubAck { properties, ..UnsubAck::new(id(7), &[ENDED, ENDED]) }.into(),
        |wire, properties| {
            let request = wire.unsubscribe(7, &["a", "b"]);
            wire.server.unsuback_with(wire.now, request, &[ENDED, ENDED], properties).unwrap();
        },
    );
}

/// [5.0: MQTT-3.11.3-1]
#[test]
fn mqtt_3_11_3_1_codes_follow_the_filters() {
    let mixed = [UnsubAckReasonCode::NoSubscriptionExisted, ENDED, UnsubAckReasonCode::NotAuthorized];
    let mut wire = Wire::lasting(Version::V5);
    let filters = ["b", "a", "c"].map(crate::server::filter);
    let events = wire.receive(&[crate::server::unsubscribe(1, &filters)]);
    let [Event::Unsubscribe(request, asked)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*asked, ["b", "a", "c"]);
    wire.server.unsuback(wire.now, *request, &mixed).unwrap();
    wire.assert_sent(&[UnsubAck::new(id(1), &mixed).into()]);
}

/// [5.0: MQTT-3.12.4-1]
#[test]
fn mqtt_3_12_4_1_pingreq_is_answered() {
    for version in Version::ALL {
        let mut wire = Wire::lasting(version);
        assert_eq!(wire.receive(&[Packet::PingReq, Packet::PingReq]), []);
        wire.assert_sent(&[Packet::PingResp, Packet::PingResp]);
    }
}
