//! Rules of 5.0 without a number, by section.

use super::*;

/// Checks the reaction to a Protocol Error of the server: one action, one DISCONNECT with this code, and nothing more.
#[track_caller]
fn closes(wire: &mut Wire, packets: &[Packet<'_>], why: ProtocolError, reason_code: DisconnectReasonCode) {
    wire.take();
    assert_eq!(wire.receive(packets).last(), Some(&protocol_error(why)));
    let sent = wire.take();
    let last = decode(&sent, Version::V5).pop();
    assert_eq!(last, Some(Disconnect { reason_code, ..Disconnect::default() }.into()));
    assert!(!wire.client.is_connected());
}

const PROTOCOL_ERROR: DisconnectReasonCode = DisconnectReasonCode::ProtocolError;

/// [5.0: U-3.1.2.11.4-b]
#[test]
fn section_3_1_2_11_4_b_a_packet_above_the_client_maximum() {
    ends::a_packet_above_the_own_maximum_closes::<Wire>(Version::V5);
}

/// `None` is no limit. A limit of 0, which would refuse every packet, cannot be written.
#[test]
fn section_3_1_2_11_4_without_an_own_maximum_none_is_announced_and_every_packet_accepted() {
    let config = ClientConfig { maximum_packet_size: NonZeroU32::new(0), ..v5() };
    let connect = Wire::new(config.clone()).open();
    assert_eq!(connect_of(&connect, Version::V5).properties.maximum_packet_size, None);
    let mut wire = Wire::connected(config);
    wire.take();
    assert_eq!(wire.poll_with(&mut &b"\x30\xff\xff\xff\x7f"[..]), [], "the largest packet of the protocol begins");
    wire.assert_silent();
    assert!(wire.client.is_connected());
}

/// [5.0: U-3.2]
#[test]
fn section_3_2_connack_comes_once_and_first() {
    closes(&mut Wire::connected(v5()), &[connack().into()], ProtocolError::SecondConnAck, PROTOCOL_ERROR);
    let packets = [
        published("x", delivery(QOS_0, 0)),
        published("x", delivery(QOS_1, 1)),
        PubAck::new(id(1)).into(),
        PubRec::new(id(1)).into(),
        PubRel::new(id(1)).into(),
        PubComp::new(id(1)).into(),
        suback(1),
        unsuback(1, Version::V5),
        Packet::PingResp,
        Disconnect::default().into(),
    ];
    for packet in packets {
        let mut wire = Wire::new(v5());
        wire.open();
        closes(&mut wire, &[packet], ProtocolError::BeforeConnAck(packet.packet_type()), PROTOCOL_ERROR);
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

/// [5.0: U-3.3.2.3.8-b]
#[test]
fn section_3_3_2_3_8_b_a_subscription_identifier_that_was_never_used() {
    let subscribed = |number| {
        let identifier = SubscriptionIdentifier::new(number).unwrap();
        let mut wire = Wire::connected(v5());
        let properties = SubscribeProperties { subscription_identifier: Some(identifier), ..Default::default() };
        wire.client.subscribe_with(wire.now, &[Subscription::new("t", QOS_0).unwrap()], &properties).unwrap();
        wire.receive(&[suback(1)]);
        wire
    };
    let both = [7, 8].map(|number| SubscriptionIdentifier::new(number).unwrap());
    let (known, unknown) = both.split_at(1);
    let with = |identifiers| {
        let properties = PublishProperties { subscription_identifiers: List::from(identifiers), ..Default::default() };
        Packet::from(Publish { properties, ..publish("x", delivery(QOS_0, 0)) })
    };
    assert_eq!(subscribed(7).receive(&[with(known)]), [delivered("x", QOS_0)]);
    for identifiers in [unknown, &both] {
        let why = ProtocolError::UnknownSubscriptionIdentifier;
        closes(&mut subscribed(7), &[with(identifiers)], why, PROTOCOL_ERROR);
    }
    // The subscription identifiers end with the session.
    let mut wire = subscribed(7);
    wire.lose();
    wire.connect(connack());
    closes(&mut wire, &[with(known)], ProtocolError::UnknownSubscriptionIdentifier, PROTOCOL_ERROR);
    // A session that an earlier connection began may have subscriptions that the client does not know of.
    let mut wire = subscribed(7);
    wire.resume();
    assert_eq!(wire.receive(&[with(known)]), [delivered("x", QOS_0)]);
    let mut wire = Wire::new(ClientConfig { clean_start: false, ..v5() });
    wire.connect(present());
    assert_eq!(wire.receive(&[with(unknown)]), [delivered("x", QOS_0)]);
}

/// [5.0: U-3.3.4-a]
#[test]
fn section_3_3_4_a_more_than_the_client_receive_maximum() {
    ends::more_than_the_own_receive_maximum_closes::<Wire>();
}

/// Each connection starts with the server's full quota, and a PUBREL takes none of it: packets of an earlier connection
/// do not count.
#[test]
fn section_3_3_4_a_packets_of_an_earlier_connection_do_not_count() {
    ends::packets_of_an_earlier_connection_do_not_count::<Wire>();
}

/// [5.0: U-3.6.2]
#[test]
fn section_3_6_2_an_unknown_identifier_is_no_error() {
    ends::an_unknown_identifier_is_no_error::<Wire>(Version::V5);
}

/// [5.0: U-3.14.2.2.2-b]
#[test]
fn section_3_14_2_2_2_b_a_server_sends_no_expiry_interval() {
    let mut wire = Wire::connected(v5());
    let properties = DisconnectProperties { session_expiry_interval: Some(5), ..Default::default() };
    let events = wire.receive(&[Disconnect { properties, ..Disconnect::default() }.into()]);
    assert_eq!(events, [Event::Close(Why::Malformed(ReasonCode::ProtocolError))]);
    wire.assert_sent(&[Disconnect { reason_code: PROTOCOL_ERROR, ..Disconnect::default() }.into()]);
}

/// [5.0: U-3.15.1]
#[test]
fn section_3_15_1_unrequested_auth_is_a_protocol_error() {
    for code in [AuthReasonCode::Success, AuthReasonCode::ContinueAuthentication, AuthReasonCode::ReAuthenticate] {
        let step = auth(code, "M", b"").into();
        // Without a method, before and after CONNACK.
        let mut wire = Wire::new(v5());
        wire.open();
        closes(&mut wire, &[step], ProtocolError::UnexpectedAuth, PROTOCOL_ERROR);
        closes(&mut Wire::connected(v5()), &[step], ProtocolError::UnexpectedAuth, PROTOCOL_ERROR);
        // With a method, when no exchange is in progress.
        let mut wire = Wire::connected_by(authenticating(), authenticated());
        closes(&mut wire, &[step], ProtocolError::UnexpectedAuth, PROTOCOL_ERROR);
        // Before CONNACK, success is expressed by CONNACK, and a server never starts a re-authentication.
        if code != AuthReasonCode::ContinueAuthentication {
            let mut wire = Wire::new(authenticating());
            wire.open();
            closes(&mut wire, &[step], ProtocolError::UnexpectedAuth, PROTOCOL_ERROR);
        }
    }
}

/// [5.0: U-4.9]
#[test]
fn section_4_9_the_quota_returns_to_its_maximum_and_no_further() {
    ends::the_quota_returns_to_its_maximum_and_no_further::<Wire>();
}

/// A resumed connection starts with its full quota, which retransmissions take like new messages.
/// [5.0: U-4.9-b]
#[test]
fn section_4_9_b_the_quota_of_a_resumed_connection() {
    ends::the_quota_of_a_resumed_connection::<Wire>();
}

/// [5.0: U-4.13.1]
#[test]
fn section_4_13_1_an_error_is_reported_and_the_connection_closed() {
    // A malformed packet, a packet that is a Protocol Error, and a packet that is one at this point of the exchange.
    let cases: [(&[u8], DisconnectReasonCode); 4] = [
        (b"\x00\x00", DisconnectReasonCode::MalformedPacket),
        (b"\x40\x02\x00\x00", DisconnectReasonCode::MalformedPacket),
        (b"\x30\x03\x00\x00\x00", PROTOCOL_ERROR),
        (b"\x20\x03\x00\x00\x00", PROTOCOL_ERROR),
    ];
    for (bytes, reason_code) in cases {
        let mut wire = Wire::connected(v5());
        let events = wire.receive_bytes(bytes);
        assert!(matches!(events[..], [Event::Close(_)]), "{bytes:x?}: {events:?}");
        wire.assert_sent(&[Disconnect { reason_code, ..Disconnect::default() }.into()]);
        assert!(!wire.client.is_connected());
        // Nothing is taken from this connection any more.
        assert_eq!(wire.receive(&[published("x", delivery(QOS_1, 1))]), []);
        wire.assert_silent();
    }
}
