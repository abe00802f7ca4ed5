//! Rules of 5.0 that bind a server and have no number: each test is named after its section.

use std::num::NonZeroU32;

use mqtt_sansio::codec::{
    AuthReasonCode, Connect, ConnectProperties, Disconnect, DisconnectProperties, DisconnectReasonCode, PayloadFormat,
    PubAck, PubAckReasonCode, PubRec, PubRel, Publish, PublishProperties, ReasonCode, Subscribe, SubscribeProperties,
    SubscriptionIdentifier,
};
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{ProtocolError, QoS, Version};

use crate::ends;
use crate::server::{
    Event, QOS_0, QOS_1, QOS_2, Wire, auth, authenticating, config, delivery, disconnect, disconnected, id,
    protocol_error, publish, published, subscription, v5, will,
};

/// [5.0: U-3.2.2.3.4-b]
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

/// [5.0: U-3.2.2.3.5-b]
#[test]
fn section_3_2_2_3_5_b_a_retained_message_without_retain_available() {
    for qos in [QOS_0, QOS_1, QOS_2] {
        let mut wire = Wire::connected(ServerConfig { retain_available: false, ..config() }, &v5());
        let message = Publish { retain: true, ..publish("x", delivery(qos, 1)) };
        assert_eq!(wire.receive(&[message.into()]), [protocol_error(ProtocolError::RetainNotSupported)]);
        wire.assert_sent(&[disconnect(DisconnectReasonCode::RetainNotSupported)]);
    }
}

/// [5.0: U-3.2.2.3.6]
#[test]
fn section_3_2_2_3_6_a_packet_above_the_server_maximum() {
    ends::a_packet_above_the_own_maximum_closes::<Wire>(Version::V5);
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

/// [5.0: U-3.2.2.3.11]
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

/// [5.0: U-3.2.2.3.12]
#[test]
fn section_3_2_2_3_12_a_subscription_identifier_where_not_available() {
    let without = || ServerConfig { subscription_identifiers_available: false, ..config() };
    not_available(without(), &["a"], Some(1), Some(ReasonCode::SubscriptionIdentifiersNotSupported));
    not_available(without(), &["a/#", "$share/g/a"], None, None);
    not_available(config(), &["a"], Some(1), None);
}

/// [5.0: U-3.2.2.3.13]
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
/// [5.0: U-3.3.2.3.2]
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

/// [5.0: U-3.3.2.3.4-a]
#[test]
fn section_3_3_2_3_4_a_an_alias_out_of_range() {
    ends::an_alias_out_of_range_closes::<Wire>();
}

/// [5.0: U-3.3.2.3.4-b]
#[test]
fn section_3_3_2_3_4_b_an_alias_that_was_never_set() {
    ends::an_alias_that_was_never_set_closes::<Wire>();
}

/// [5.0: U-3.3.2.3.4-c]
#[test]
fn section_3_3_2_3_4_c_an_alias_can_be_set_again() {
    ends::an_alias_can_be_set_again::<Wire>();
}

/// [5.0: U-3.3.4-a]
#[test]
fn section_3_3_4_a_more_than_the_server_receive_maximum() {
    ends::more_than_the_own_receive_maximum_closes::<Wire>();
}

/// PUBCOMP frees quota when it is written: the client cannot know of it before. [5.0: U-3.3.4-a]
#[test]
fn section_3_3_4_a_pubcomp_frees_quota_when_it_is_written() {
    let config = ServerConfig { receive_maximum: 2.try_into().unwrap(), ..config() };
    let mut wire = Wire::connected(config, &v5());
    assert_eq!(wire.receive(&[1, 2].map(|number| published("x", delivery(QOS_2, number)))).len(), 2);
    wire.take();
    assert_eq!(wire.receive(&[PubRel::new(id(1)).into()]), []);
    let events = wire.receive(&[published("x", delivery(QOS_2, 3))]);
    assert_eq!(events, [protocol_error(ProtocolError::ReceiveMaximumExceeded)]);
}

/// [5.0: U-3.3.4-a]
#[test]
fn section_3_3_4_a_packets_of_an_earlier_connection_do_not_count() {
    ends::packets_of_an_earlier_connection_do_not_count::<Wire>();
}

/// [5.0: U-3.6.2]
#[test]
fn section_3_6_2_an_unknown_identifier_is_no_error() {
    ends::an_unknown_identifier_is_no_error::<Wire>(Version::V5);
}

/// [5.0: U-3.14.2.2.2-a]
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

/// [5.0: U-3.15.1]
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

/// [5.0: U-4.9]
#[test]
fn section_4_9_the_quota_returns_to_its_maximum_and_no_further() {
    ends::the_quota_returns_to_its_maximum_and_no_further::<Wire>();
}

/// [5.0: U-4.9-b]
#[test]
fn section_4_9_b_the_quota_of_a_resumed_connection() {
    ends::the_quota_of_a_resumed_connection::<Wire>();
}
