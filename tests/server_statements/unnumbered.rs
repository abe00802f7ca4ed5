//! Rules of 5.0 that bind a server and have no number: each test is named after its section.

use std::num::NonZeroU32;

use mqtt_sansio::codec::{
    AckProperties, AuthReasonCode, Connect, ConnectProperties, Disconnect, DisconnectProperties, DisconnectReasonCode,
    Packet, PayloadFormat, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel, PubRelReasonCode, Publish,
    PublishProperties, ReasonCode, Subscribe, SubscribeProperties, SubscriptionIdentifier,
};
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{ProtocolError, QoS, TopicName, Version};

use crate::server::{
    Event, QOS_0, QOS_1, QOS_2, Why, Wire, again, auth, authenticating, config, delivered, delivery, disconnect,
    disconnected, id, protocol_error, publish, published, subscription, v5, v5_with, will,
};

#[test]
fn section_3_2_2_3_4_b_a_message_above_the_maximum_qos() {
    for (maximum_qos, qos) in [(QOS_0, QOS_1), (QOS_0, QOS_2), (QOS_1, QOS_2)] {
        let mut wire = Wire::connected(ServerConfig { maximum_qos, ..config() }, &v5());
        assert_eq!(wire.receive(&[published("x", delivery(maximum_qos, 1))]).len(), 1);
        wire.take();
        assert_eq!(wire.receive(&[published("x", delivery(qos, 2))]), [protocol_error(ProtocolError::QoSNotSupported)]);
        wire.assert_sent(&[disconnect(DisconnectReasonCode::QoSNotSupported)]);
    }
}

#[test]
fn section_3_2_2_3_5_b_a_retained_message_without_retain_available() {
    for qos in [QOS_0, QOS_1, QOS_2] {
        let mut wire = Wire::connected(ServerConfig { retain_available: false, ..config() }, &v5());
        let message = Publish { retain: true, ..publish("x", delivery(qos, 1)) };
        assert_eq!(wire.receive(&[message.into()]), [protocol_error(ProtocolError::RetainNotSupported)]);
        wire.assert_sent(&[disconnect(DisconnectReasonCode::RetainNotSupported)]);
    }
}

#[test]
fn section_3_2_2_3_6_a_packet_above_the_server_maximum() {
    let large = "x".repeat(100);
    let mut wire = Wire::connected(ServerConfig { maximum_packet_size: NonZeroU32::new(100), ..config() }, &v5());
    let packet = crate::server::encoded(&published(&large, delivery(QOS_1, 1)), Version::V5);
    // The fixed header is enough to refuse it.
    assert_eq!(wire.receive_bytes(&packet[..2]), [Event::Close(Why::Malformed(ReasonCode::PacketTooLarge))]);
    wire.assert_sent(&[disconnect(DisconnectReasonCode::PacketTooLarge)]);
    let mut wire = Wire::connected(ServerConfig { maximum_packet_size: NonZeroU32::new(100), ..config() }, &v5());
    assert_eq!(wire.receive(&[published(&large[..94], delivery(QOS_0, 0))]).len(), 1);
}

/// `None` is no limit. A limit of 0, which would refuse every packet, cannot be written.
#[test]
fn section_3_2_2_3_6_without_an_own_maximum_none_is_announced_and_every_packet_accepted() {
    let config = ServerConfig { maximum_packet_size: NonZeroU32::new(0), ..config() };
    let mut wire = Wire::open(config, &v5());
    wire.assert_sent(&[crate::server::connack(false)]);
    assert_eq!(wire.poll_with(&mut &b"\x30\xff\xff\xff\x7f"[..]), [], "the largest packet of the protocol begins");
    wire.assert_silent();
    assert!(wire.server.is_connected());
}

/// A subscription that this configuration does not support closes the connection with this reason code.
fn not_available(config: ServerConfig, filters: &[&str], identifier: Option<u32>, code: Option<ReasonCode>) {
    let properties = SubscribeProperties {
        subscription_identifier: identifier.map(|number| SubscriptionIdentifier::new(number).unwrap()),
        ..Default::default()
    };
    let subscriptions: Vec<_> = filters.iter().map(|filter| subscription(filter)).collect();
    let subscribe = Subscribe { properties, ..Subscribe::new(id(1), &subscriptions) };
    let mut wire = Wire::connected(config, &v5());
    let events = wire.receive(&[subscribe.into()]);
    match code {
        None => assert!(matches!(events[..], [Event::Subscribe(..)]), "{filters:?}: {events:?}"),
        Some(code) => {
            assert_eq!(events, [protocol_error(ProtocolError::NotAvailable(code))], "{filters:?}");
            wire.assert_sent(&[disconnect(code.try_into().unwrap())]);
        }
    }
}

#[test]
fn section_3_2_2_3_11_a_wildcard_subscription_where_not_available() {
    let without = || ServerConfig { wildcard_subscription_available: false, ..config() };
    let code = Some(ReasonCode::WildcardSubscriptionsNotSupported);
    for filters in [&["#"][..], &["a", "b/+"], &["+", "c"], &["a/+/b"], &["$share/g/a/#"]] {
        not_available(without(), filters, None, code);
        not_available(config(), filters, None, None);
    }
    not_available(without(), &["a", "b/c", "$share/g/a"], Some(1), None);
}

#[test]
fn section_3_2_2_3_12_a_subscription_identifier_where_not_available() {
    let without = || ServerConfig { subscription_identifiers_available: false, ..config() };
    not_available(without(), &["a"], Some(1), Some(ReasonCode::SubscriptionIdentifiersNotSupported));
    not_available(without(), &["a/#", "$share/g/a"], None, None);
    not_available(config(), &["a"], Some(1), None);
}

#[test]
fn section_3_2_2_3_13_a_shared_subscription_where_not_available() {
    let without = || ServerConfig { shared_subscription_available: false, ..config() };
    let code = Some(ReasonCode::SharedSubscriptionsNotSupported);
    for filters in [&["$share/g/a"][..], &["a", "$share/g/#"]] {
        not_available(without(), filters, None, code);
        not_available(config(), filters, None, None);
    }
    not_available(without(), &["a/#", "$shared/g/a", "$SYS/#"], Some(1), None);
}

/// The embedding program can refuse the message in each of two ways.
#[test]
fn section_3_3_2_3_2_a_payload_that_is_not_utf_8_can_be_refused() {
    let properties = PublishProperties { payload_format_indicator: Some(PayloadFormat::Utf8), ..Default::default() };
    for qos in [QOS_1, QOS_2] {
        let mut wire = Wire::connected(ServerConfig { manual_acks: true, ..config() }, &v5());
        wire.receive(&[Publish { properties, ..publish("x", delivery(qos, 1)) }.into()]);
        let reason_code = PubAckReasonCode::PayloadFormatInvalid;
        wire.server.ack(wire.now, wire.ack_handles[0], reason_code).unwrap();
        wire.assert_sent(&[match qos {
            QoS::AtLeastOnce => PubAck { reason_code, ..PubAck::new(id(1)) }.into(),
            _ => PubRec { reason_code, ..PubRec::new(id(1)) }.into(),
        }]);
        let reason_code = DisconnectReasonCode::PayloadFormatInvalid;
        wire.server.disconnect(wire.now, &Disconnect { reason_code, ..Disconnect::default() }).unwrap();
        wire.assert_sent(&[disconnect(reason_code)]);
    }
}

fn aliased<'a>(topic: &'a str, payload: &'a str, alias: u16) -> Packet<'a> {
    let properties = PublishProperties { topic_alias: alias.try_into().ok(), ..Default::default() };
    let topic = if topic.is_empty() { TopicName::default() } else { TopicName::new(topic).unwrap() };
    Publish { topic, properties, ..publish(payload, delivery(QOS_0, 0)) }.into()
}

#[test]
fn section_3_3_2_3_4_a_an_alias_out_of_range() {
    for maximum in [0, 1, 10] {
        let mut wire = Wire::connected(ServerConfig { topic_alias_maximum: maximum, ..config() }, &v5());
        assert_eq!(wire.receive(&[aliased("t", "x", maximum + 1)]), [protocol_error(ProtocolError::TopicAliasInvalid)]);
        wire.assert_sent(&[disconnect(DisconnectReasonCode::TopicAliasInvalid)]);
    }
    // Without Topic Alias Maximum no alias is allowed.
    let mut wire = Wire::connected(ServerConfig { topic_alias_maximum: 10, ..config() }, &v5());
    let events = wire.receive_bytes(b"\x30\x08\x00\x01t\x03\x23\x00\x00x");
    assert_eq!(events, [Event::Close(Why::Malformed(ReasonCode::TopicAliasInvalid))]);
    wire.assert_sent(&[disconnect(DisconnectReasonCode::TopicAliasInvalid)]);
}

#[test]
fn section_3_3_2_3_4_b_an_alias_that_was_never_set() {
    let mut wire = Wire::connected(ServerConfig { topic_alias_maximum: 10, ..config() }, &v5());
    assert_eq!(wire.receive(&[aliased("t", "x", 1)]), [delivered("x", QOS_0)]);
    assert_eq!(wire.receive(&[aliased("", "y", 2)]), [protocol_error(ProtocolError::UnknownTopicAlias)]);
    wire.assert_sent(&[disconnect(DisconnectReasonCode::ProtocolError)]);
}

#[test]
fn section_3_3_2_3_4_c_an_alias_can_be_set_again() {
    let mut wire = Wire::connected(ServerConfig { topic_alias_maximum: 10, ..config() }, &v5());
    let events = wire.receive(&[aliased("a", "1", 1), aliased("", "2", 1), aliased("b", "3", 1), aliased("", "4", 1)]);
    let topics: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::Message { topic, .. } => topic.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(topics, ["a", "a", "b", "b"]);
}

#[test]
fn section_3_3_4_a_more_than_the_server_receive_maximum() {
    let config = ServerConfig { receive_maximum: 2.try_into().unwrap(), manual_acks: true, ..config() };
    let mut wire = Wire::connected(config.clone(), &v5());
    let [one, two, three] = [1, 2, 3].map(|number| published("x", delivery(QOS_1, number)));
    assert_eq!(wire.receive(&[one, two, published("0", delivery(QOS_0, 0))]).len(), 3);
    assert_eq!(wire.receive(&[three]), [protocol_error(ProtocolError::ReceiveMaximumExceeded)]);
    wire.assert_sent(&[disconnect(DisconnectReasonCode::ReceiveMaximumExceeded)]);
    // PUBCOMP and PUBACK free quota; PUBREC does not.
    let config = ServerConfig { manual_acks: false, ..config };
    let mut wire = Wire::connected(config.clone(), &v5());
    assert_eq!(wire.receive(&[1, 2].map(|number| published("x", delivery(QOS_2, number)))).len(), 2);
    wire.take();
    wire.receive(&[PubRel::new(id(1)).into()]);
    wire.assert_sent(&[PubComp::new(id(1)).into()]);
    assert_eq!(wire.receive(&[published("x", delivery(QOS_2, 3))]).len(), 1);
    wire.take();
    let events = wire.receive(&[published("x", delivery(QOS_1, 4))]);
    assert_eq!(events, [protocol_error(ProtocolError::ReceiveMaximumExceeded)]);
    wire.assert_sent(&[disconnect(DisconnectReasonCode::ReceiveMaximumExceeded)]);
    // PUBCOMP frees quota when it is written: the client cannot know of it before.
    let mut wire = Wire::connected(config, &v5());
    assert_eq!(wire.receive(&[1, 2].map(|number| published("x", delivery(QOS_2, number)))).len(), 2);
    wire.take();
    assert_eq!(wire.receive(&[PubRel::new(id(1)).into()]), []);
    let events = wire.receive(&[published("x", delivery(QOS_2, 3))]);
    assert_eq!(events, [protocol_error(ProtocolError::ReceiveMaximumExceeded)]);
}

#[test]
fn section_3_6_2_an_unknown_identifier_is_no_error() {
    let mut wire = Wire::lasting(Version::V5);
    let events = wire.receive(&[
        PubRel::new(id(5)).into(),
        PubComp::new(id(6)).into(),
        PubAck::new(id(7)).into(),
        PubRec::new(id(8)).into(),
    ]);
    assert_eq!(events, []);
    let (reason_code, properties) = (PubRelReasonCode::PacketIdentifierNotFound, AckProperties::default());
    wire.assert_sent(&[
        PubComp { id: id(5), reason_code, properties }.into(),
        PubRel { id: id(8), reason_code, properties }.into(),
    ]);
    assert!(wire.server.is_connected());
}

#[test]
fn section_3_14_2_2_2_a_an_expiry_interval_for_a_session_without_one() {
    for asked in [None, Some(0), Some(10)] {
        for changed in [0, 1, u32::MAX] {
            let properties = ConnectProperties { session_expiry_interval: asked, ..Default::default() };
            let mut wire = Wire::connected(config(), &Connect { properties, will: Some(will("w", 0)), ..v5() });
            let properties = DisconnectProperties { session_expiry_interval: Some(changed), ..Default::default() };
            let events = wire.receive(&[Disconnect { properties, ..Disconnect::default() }.into()]);
            if changed != 0 && asked.unwrap_or(0) == 0 {
                assert_eq!(events, [protocol_error(ProtocolError::SessionExpiry)]);
                wire.assert_sent(&[disconnect(DisconnectReasonCode::ProtocolError)]);
                // The will is published, and the Session Expiry Interval is the one of CONNECT.
                assert_eq!(wire.lose(), [Event::Will("w".into()), Event::Expired]);
            } else {
                assert_eq!(events, [disconnected(DisconnectReasonCode::NormalDisconnection)]);
                wire.assert_silent();
                assert_eq!(wire.lose(), Vec::from_iter((changed == 0).then_some(Event::Expired)));
            }
        }
    }
}

#[test]
fn section_3_15_1_unrequested_auth_is_a_protocol_error() {
    use AuthReasonCode::{ContinueAuthentication, ReAuthenticate, Success};
    for reason_code in [Success, ContinueAuthentication, ReAuthenticate] {
        // CONNECT had no authentication method.
        let mut wire = Wire::lasting(Version::V5);
        assert_eq!(wire.receive(&[auth(reason_code, "M", b"")]), [protocol_error(ProtocolError::UnexpectedAuth)]);
        wire.assert_sent(&[disconnect(DisconnectReasonCode::ProtocolError)]);
    }
    // It is the server's turn to send AUTH.
    for reason_code in [Success, ContinueAuthentication] {
        let mut wire = Wire::connected(config(), &authenticating());
        assert_eq!(wire.receive(&[auth(reason_code, "M", b"")]), [protocol_error(ProtocolError::UnexpectedAuth)]);
    }
    for reason_code in [Success, ContinueAuthentication, ReAuthenticate] {
        let mut wire = Wire::connected(config(), &authenticating());
        wire.receive(&[auth(ReAuthenticate, "M", b"")]);
        assert_eq!(
            wire.receive(&[auth(reason_code, "M", b"")]),
            [protocol_error(ProtocolError::UnexpectedAuth)],
            "ours"
        );
    }
    for reason_code in [Success, ReAuthenticate] {
        let mut wire = Wire::connected(config(), &authenticating());
        wire.receive(&[auth(ReAuthenticate, "M", b"")]);
        wire.server.challenge(wire.now, b"").unwrap();
        assert_eq!(
            wire.receive(&[auth(reason_code, "M", b"")]),
            [protocol_error(ProtocolError::UnexpectedAuth)],
            "theirs"
        );
    }
}

#[test]
fn section_4_9_the_quota_returns_to_its_maximum_and_no_further() {
    let connect = v5_with(ConnectProperties { receive_maximum: 2.try_into().ok(), ..Default::default() });
    let mut wire = Wire::connected(config(), &connect);
    for payload in ["1", "2", "3", "4", "5", "6", "7"] {
        wire.publish(payload, QOS_2);
    }
    assert_eq!(wire.sent_payloads(), ["1", "2"]);
    // Acknowledgements of unused packet identifiers free no quota.
    wire.receive(&[PubAck::new(id(50)).into(), PubComp::new(id(51)).into()]);
    wire.assert_silent();
    let reason_code = PubAckReasonCode::UnspecifiedError;
    wire.receive(&[PubRec { reason_code, ..PubRec::new(id(1)) }.into()]);
    assert_eq!(wire.sent_payloads(), ["3"]);
    wire.receive(&[PubRec::new(id(2)).into()]);
    wire.assert_sent(&[PubRel::new(id(2)).into()]);
    wire.receive(&[PubComp::new(id(2)).into(), PubComp::new(id(2)).into()]);
    assert_eq!(wire.sent_payloads(), ["4"]);
    assert_eq!(wire.server.in_flight(), 2);
}

#[test]
fn section_4_9_b_the_quota_of_a_resumed_connection() {
    let mut wire = Wire::lasting(Version::V5);
    for payload in ["1", "2", "3", "4"] {
        wire.publish(payload, QOS_1);
    }
    wire.take();
    wire.lose();
    wire.reconnect(&v5_with(ConnectProperties { receive_maximum: 1.try_into().ok(), ..Default::default() }));
    wire.poll();
    wire.assert_sent(&[crate::server::connack(true), published("1", again(QOS_1, 1))]);
    for number in [1, 2, 3] {
        assert_eq!(wire.server.in_flight(), 1);
        wire.receive(&[PubAck::new(id(number)).into()]);
        assert_eq!(wire.sent_ids(), [number + 1]);
    }
    // The quota restarts at the Receive Maximum.
    wire.resume();
    assert_eq!(wire.sent_ids(), [4]);
}
