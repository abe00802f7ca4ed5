//! Input that no conforming server sends: each is answered by closing the connection, in 5.0 with a reason code.

use super::*;
use mqtt_sansio::PublishError;

/// Malformed Packet or Protocol Error: one Close, one DISCONNECT with this code in 5.0, nothing delivered.
#[track_caller]
fn ends(wire: &mut Wire, bytes: &[u8], code: u8) {
    wire.take();
    let events = wire.receive_bytes_and_close(bytes);
    let reason_code = match events[..] {
        [Event::Close(Why::Malformed(reason_code))] => reason_code,
        [Event::Close(Why::ProtocolError(protocol_error))] => protocol_error.reason_code(),
        // The packet that was answered wrongly gets its outcome as well.
        [
            Event::Close(Why::ProtocolError(protocol_error)),
            Event::Done(_, Done::Abandoned(AbandonReason::Mismatched(_))),
        ] => protocol_error.reason_code(),
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

/// Before CONNACK and after: no memory is reserved for a claimed length, and a first packet other than CONNACK is
/// refused.
#[test]
fn no_memory_is_reserved_for_a_claimed_length() {
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
fn a_length_of_more_than_four_bytes_is_malformed() {
    for bytes in [&b"\x30\xff\xff\xff\xff\x01"[..], b"\x30\x80\x80\x80\x80\x00", b"\x20\xff\xff\xff\xff"] {
        both(bytes, 0x81);
    }
    // The following whole packet is not searched for.
    both(b"\x30\x80\x80\x80\x80\x00\xd0\x00\x30\x04\x00\x01tx", 0x81);
    // Inside a packet: the property length.
    ends(&mut Wire::connected(v5()), b"\x30\x09\x00\x01t\x80\x80\x80\x80\x00x", 0x81);
}

/// Properties whose length takes two bytes, split at every position.
#[test]
fn property_lengths_of_two_bytes_may_be_split() {
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
        assert_eq!(wire.receive_bytes(&bytes), [delivered("payload", QOS_0)]);
    }
}

#[test]
fn an_empty_topic_is_refused() {
    ends(&mut Wire::connected(v311()), b"\x30\x03\x00\x00x", 0x90);
    ends(&mut Wire::connected(v5()), b"\x30\x04\x00\x00\x00x", 0x82);
    // In a command of the caller.
    let aliases = ConnAckProperties { topic_alias_maximum: Some(5), ..Default::default() };
    let mut wires = [
        Wire::connected(v311()),
        Wire::connected(v5()),
        Wire::connected_by(ClientConfig { topic_aliases: 5, ..v5() }, connack_with(aliases)),
        Wire::new(v5()),
    ];
    for wire in &mut wires {
        for qos in [QOS_0, QOS_1, QOS_2] {
            let result = wire.client.publish(wire.now, &Message::new("", "x").qos(qos));
            assert!(matches!(result, Err(PublishError::Encode(_) | PublishError::Topic(_))), "{qos}: {result:?}");
        }
        wire.assert_silent();
    }
}

#[test]
fn ill_formed_text_is_malformed() {
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
    wire.client.publish(wire.now, &Message::new("$SYS/broker", "x")).unwrap();
    wire.assert_sent(&[packet.into()]);
}

/// PUBREC is sent and never answered, or cannot be sent at all: no more messages than the Receive Maximum are stored.
#[test]
fn unreleased_qos_2_messages_are_limited() {
    let qos_2 = |number| published("x", delivery(QOS_2, number));
    for by_hand in [false, true] {
        let config = ClientConfig { manual_acks: by_hand, receive_maximum: NonZeroU16::new(10).unwrap(), ..v5() };
        let mut wire = Wire::connected(config);
        for number in 1..=10 {
            assert_eq!(wire.receive(&[qos_2(number)]), [delivered("x", QOS_2)]);
            wire.take();
        }
        assert_eq!(wire.receive(&[qos_2(11)]), [protocol_error(ProtocolError::ReceiveMaximumExceeded)]);
        let reason_code = DisconnectReasonCode::ReceiveMaximumExceeded;
        wire.assert_sent(&[Disconnect { reason_code, ..Disconnect::default() }.into()]);
    }
}

/// Copies of one message that the application has not acknowledged, each of which needs a PUBREC later.
#[test]
fn duplicates_of_an_unacknowledged_message_are_limited() {
    for version in BOTH {
        let mut wire = Wire::connected(manual(version));
        let mut bytes = Vec::new();
        for _ in 0..1000 {
            published("x", again(QOS_2, 7)).encode(version, &mut bytes).unwrap();
        }
        for _ in 0..200 {
            wire.receive_bytes_and_close(&bytes);
        }
        if wire.client.is_connected() {
            wire.client.ack(wire.now, wire.ack_handles[0], PubAckReasonCode::Success).unwrap();
        }
        // As many PUBRECs as the Receive Maximum, and no more.
        let remaining = wire.client.transmit().remaining();
        assert!(remaining <= 65_535 * 4, "{version}: {remaining} bytes");
    }
}

/// The Receive Maximum limits duplicates like new messages: each PUBLISH takes quota (section 4.9).
#[test]
fn copies_take_quota() {
    let receive_maximum = NonZeroU16::new(10).unwrap();
    let mut wire = Wire::connected(ClientConfig { receive_maximum, ..manual(Version::V5) });
    let copies = [published("x", again(QOS_2, 7)); 11];
    assert_eq!(wire.receive(&copies).last(), Some(&protocol_error(ProtocolError::ReceiveMaximumExceeded)));
}

#[test]
fn misplaced_and_repeated_properties_are_refused() {
    // (packet up to its properties, what follows them)
    let packets: [(&[u8], &[u8]); 6] = [
        (b"\x30\x00\x01t", b"x"),
        (b"\x40\x00\x01\x00", b""),
        (b"\x62\x00\x01\x00", b""),
        (b"\x90\x00\x01", b"\x00"),
        (b"\xb0\x00\x01", b"\x00"),
        (b"\xe0\x00", b""),
    ];
    // Session Expiry Interval, Server Keep Alive, Will Delay Interval, Maximum QoS, and a property identifier that does
    // not exist.
    let misplaced: [&[u8]; 5] =
        [b"\x11\x00\x00\x00\x05", b"\x13\x00\x05", b"\x18\x00\x00\x00\x05", b"\x24\x01", b"\x7f\x00"];
    for (head, rest) in packets {
        for property in misplaced {
            if head[0] == 0xE0 && property[0] == 0x11 {
                continue; // allowed in CONNACK
            }
            let (first, head) = head.split_first().unwrap();
            let body = [head, &[property.len() as u8], property, rest].concat();
            let bytes = [&[*first, body.len() as u8][..], &body].concat();
            ends(&mut Wire::connected(v5()), &bytes, 0x81);
        }
    }
    // A property that occurs twice: a Reason String, a Topic Alias, a Receive Maximum in CONNACK.
    ends(&mut Wire::connected(v5()), b"\x40\x0c\x00\x01\x00\x08\x1f\x00\x01a\x1f\x00\x01b", 0x82);
    ends(&mut Wire::connected(v5()), b"\x30\x0a\x00\x01t\x06\x23\x00\x01\x23\x00\x01", 0x82);
    let mut wire = Wire::new(v5());
    wire.open();
    ends(&mut wire, b"\x20\x09\x00\x00\x06\x21\x00\x01\x21\x00\x01", 0x82);
    // Nothing of the refused CONNACK was applied.
    assert_eq!(wire.client.server().receive_maximum, u16::MAX);
}

#[test]
fn very_many_user_properties_are_delivered() {
    let with = |count: usize| {
        let pairs = vec![UserProperty::new("", "").unwrap(); count];
        let properties = PublishProperties { user_properties: List::from(&pairs), ..Default::default() };
        let mut bytes = Vec::new();
        Publish { properties, ..publish("x", delivery(QOS_0, 0)) }.encode(Version::V5, &mut bytes).unwrap();
        bytes
    };
    let config = ClientConfig { max_user_properties: 100, ..v5() };
    assert_eq!(Wire::connected(config.clone()).receive_bytes(&with(100)), [delivered("x", QOS_0)]);
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
                .subscribe(wire.now, &[Subscription::new("a", QOS_0).unwrap(), Subscription::new("b", QOS_0).unwrap()])
                .unwrap();
            let codes = [granted, granted, granted];
            let mut bytes = Vec::new();
            SubAck::new(id(1), &codes[..count]).encode(version, &mut bytes).unwrap();
            ends(&mut wire, &bytes, 0x82);
        }
        // No reason code at all.
        let mut wire = Wire::connected(lasting(version));
        wire.subscribe();
        wire.take();
        let bytes: &[u8] = if version == Version::V5 { b"\x90\x03\x00\x01\x00" } else { b"\x90\x02\x00\x01" };
        let events = wire.receive_bytes_and_close(bytes);
        assert!(matches!(events[..], [Event::Close(_)]), "{events:?}");
    }
    for count in [1, 3] {
        let mut wire = Wire::connected(v5());
        wire.client.unsubscribe(wire.now, &[filter("a"), filter("b")]).unwrap();
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

/// Topic aliases cost memory: no more of them than the announced maximum.
#[test]
fn aliases_beyond_the_maximum_are_refused() {
    let config = ClientConfig { topic_alias_maximum: 3, ..v5() };
    let set = |alias| {
        let properties = PublishProperties { topic_alias: NonZeroU16::new(alias), ..Default::default() };
        let mut bytes = Vec::new();
        Publish { properties, ..publish("x", delivery(QOS_0, 0)) }.encode(Version::V5, &mut bytes).unwrap();
        bytes
    };
    let mut wire = Wire::connected(config.clone());
    for alias in 1..=3 {
        assert_eq!(wire.receive_bytes(&set(alias)), [delivered("x", QOS_0)]);
    }
    ends(&mut wire, &set(4), 0x94);
    ends(&mut Wire::connected(v5()), &set(1), 0x94);
}

/// A server that never answers must not hold a connection for ever.
#[test]
fn a_server_that_never_answers_times_out() {
    let mut wire = Wire::new(ClientConfig { connect_timeout: NonZeroU16::new(30), ..v5() });
    wire.open();
    wire.poll(); // CONNECT has left
    assert_eq!(wire.client.deadline(), Some(wire.now + Duration::from_secs(30)));
    wire.later(29_999);
    assert_eq!(wire.poll(), []);
    // The first byte of an answer is no answer.
    assert_eq!(wire.poll_with(&mut &b"\x20"[..]), []);
    wire.later(1);
    assert_eq!(wire.poll(), [Event::Close(Why::ConnectTimeout)]);
    // Each step of an authentication has the same timeout.
    let authentication = Some(Authentication { method: "M".into(), data: None }.into());
    let mut wire = Wire::new(ClientConfig { connect_timeout: NonZeroU16::new(30), authentication, ..v5() });
    wire.open();
    wire.poll(); // CONNECT has left
    let step = auth(AuthReasonCode::ContinueAuthentication, "M", b"");
    for _ in 0..3 {
        wire.later(29_000);
        wire.receive(&[step.into()]);
        assert_eq!(wire.client.deadline(), None, "it is the client's turn");
        wire.later(40_000);
        wire.client.authenticate(wire.now, b"").unwrap();
        assert_eq!(wire.poll(), []);
        assert_eq!(wire.client.deadline(), Some(wire.now + Duration::from_secs(30)));
        wire.take();
        wire.poll();
    }
    // An answer counts even if the caller polls late.
    let mut wire = Wire::new(v5());
    wire.open();
    wire.poll(); // CONNECT has left
    wire.later(100_000);
    assert_eq!(wire.receive(&[connack().into()]), [Event::Connected(Resumption::New)]);
}

/// Limits in CONNACK cannot make the client violate the protocol or block it for ever.
#[test]
fn extreme_limits_in_connack() {
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
