//! Every numbered statement of the specifications that binds a client in a session, and those without a number: one
//! test for each, named after it.
//!
//! How single packets look is not shown here: an encoder that cannot build them wrong, and a decoder that refuses them,
//! have vectors of their own.

#![cfg(feature = "alloc")]

use core::num::{NonZeroU16, NonZeroU32};
use std::collections::BTreeSet;

use mqtt_sansio::client::{Authentication, ClientConfig, Loss, Resumption};
use mqtt_sansio::codec::{
    AckProperties, AuthReasonCode, ConnAck, ConnAckProperties, ConnAckReasonCode, Disconnect, DisconnectProperties,
    DisconnectReasonCode, List, MaximumQoS, Packet, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel,
    PubRelReasonCode, Publish, PublishProperties, ReasonCode, Subscribe, SubscribeProperties, Subscription,
    SubscriptionIdentifier, Unsubscribe, UserProperty,
};
use mqtt_sansio::{Breach, CommandError, Message, QoS, TopicName, Utf8Str, Version};

#[path = "common/client.rs"]
mod client;

use self::client::{
    Done, Event, QOS_0, QOS_1, QOS_2, Why, Wire, again, auth, breach, connack, connack_with, connect_of, decode,
    delivery, filter, id, lost, present, present_with, publish, published, suback, success, told, unsuback, v5,
};

/// A maximum that CONNACK or a configuration holds.
fn maximum(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

/// CONNACK with a Receive Maximum.
fn receive_maximum(number: u16) -> ConnAckProperties<'static> {
    ConnAckProperties { receive_maximum: Some(maximum(number)), ..Default::default() }
}

/// CONNACK with a Maximum Packet Size.
fn packet_size(bytes: u32) -> ConnAckProperties<'static> {
    ConnAckProperties { maximum_packet_size: NonZeroU32::new(bytes), ..Default::default() }
}

/// CONNACK with a Topic Alias Maximum.
fn alias_maximum(number: u16) -> ConnAckProperties<'static> {
    ConnAckProperties { topic_alias_maximum: Some(number), ..Default::default() }
}

/// A configuration with an authentication by the method `M`.
fn authenticating() -> ClientConfig {
    let authentication = Authentication { method: "M".into(), data: None };
    ClientConfig { authentication: Some(authentication.into()), ..v5() }
}

/// CONNACK that repeats the method `M`.
fn authenticated() -> ConnAck<'static> {
    let method = Some(Utf8Str::new("M").unwrap());
    connack_with(ConnAckProperties { authentication_method: method, ..Default::default() })
}

/// A configuration by which messages are acknowledged by hand.
fn manual() -> ClientConfig {
    ClientConfig { manual_acks: true, ..v5() }
}

/// A PUBLISH that a topic alias stands in, or is set by.
fn aliased<'a>(topic: &'a str, payload: &'a str, alias: u16, delivery: mqtt_sansio::codec::Delivery) -> Publish<'a> {
    let properties = PublishProperties { topic_alias: NonZeroU16::new(alias), ..Default::default() };
    let topic = if topic.is_empty() { TopicName::default() } else { TopicName::new(topic).unwrap() };
    Publish { topic, properties, ..publish(payload, delivery) }
}

/// A message that expires after so many seconds.
fn expiring(payload: &str, qos: QoS, seconds: u32) -> Message<'_> {
    let properties = PublishProperties { message_expiry_interval: Some(seconds), ..Default::default() };
    Message::new("t", payload).qos(qos).properties(properties)
}

/// The identifiers of the packets that were sent.
fn sent_ids(wire: &mut Wire) -> Vec<u16> {
    let sent = wire.take();
    decode(&sent, wire.version).iter().map(|packet| packet.packet_id().unwrap().get()).collect()
}

/// The messages that were sent, by their payloads.
fn sent_payloads(wire: &mut Wire) -> Vec<String> {
    let sent = wire.take();
    let payload = |packet: &Packet<'_>| match packet {
        Packet::Publish(publish) => String::from_utf8(publish.payload.into()).unwrap(),
        other => panic!("{other:?}"),
    };
    decode(&sent, wire.version).iter().map(payload).collect()
}

// Section 2.2: packet identifiers.

#[test]
fn mqtt_2_2_1_3_new_operations_take_an_unused_identifier() {
    let mut wire = Wire::connected(v5());
    wire.publish("1", QOS_1);
    wire.publish("2", QOS_2);
    wire.subscribe();
    wire.unsubscribe();
    let sent = wire.take();
    let open: BTreeSet<_> = decode(&sent, Version::V5).iter().filter_map(Packet::packet_id).collect();
    assert_eq!((open.len(), wire.client.open_operations()), (4, 4));
    // Round the whole range more than once: what is open is left out.
    for _ in 0..70_000 {
        let token = wire.publish("more", QOS_1);
        let [number] = sent_ids(&mut wire)[..] else { panic!("one packet") };
        assert!(number != 0 && !open.contains(&id(number)), "{number} is in use");
        assert_eq!(wire.receive(&[PubAck::new(id(number)).into()]), [success(token)]);
    }
}

#[test]
fn mqtt_2_2_1_5_acknowledgements_repeat_the_identifier() {
    let mut wire = Wire::connected(v5());
    for number in [1, 0x00FF, 0x0100, 0x1234, 0xFFFF] {
        let at = id(number);
        wire.receive(&[published("a", delivery(QOS_1, number))]);
        wire.assert_sent(&[PubAck::new(at).into()]);
        wire.receive(&[published("b", delivery(QOS_2, number))]);
        wire.assert_sent(&[PubRec::new(at).into()]);
        wire.receive(&[PubRel::new(at).into()]);
        wire.assert_sent(&[PubComp::new(at).into()]);
    }
    wire.publish("c", QOS_1);
    wire.publish("d", QOS_2);
    let [_, second] = sent_ids(&mut wire)[..] else { panic!("two packets") };
    wire.receive(&[PubRec::new(id(second)).into()]);
    wire.assert_sent(&[PubRel::new(id(second)).into()]);
}

// Section 3.1: CONNECT.

#[test]
fn mqtt_3_1_0_1_the_first_packet_is_connect() {
    let mut wire = Wire::new(v5());
    wire.publish("0", QOS_0);
    wire.publish("1", QOS_1);
    wire.subscribe();
    wire.unsubscribe();
    wire.poll();
    wire.assert_silent();
    let sent = wire.open();
    assert_eq!(sent[0], 0x10);
    wire.publish("2", QOS_2);
    wire.later(29_000);
    wire.poll();
    wire.assert_silent();
}

#[test]
fn mqtt_3_1_2_4_clean_start_begins_anew() {
    let mut wire = Wire::new(ClientConfig { session_expiry_interval: 0, ..v5() });
    let connect = wire.open();
    assert!(connect_of(&connect, Version::V5).clean_start);
    wire.receive(&[connack().into()]);
    let token = wire.publish("old", QOS_1);
    wire.receive(&[published("half", delivery(QOS_2, 1))]);
    wire.take();
    // The session ends with its connection, and nothing of it is left on this side either.
    assert_eq!(wire.lose(), [lost(token, Loss::Session)]);
    assert_eq!(wire.client.open_operations(), 0);
    let connect = wire.open();
    assert!(connect_of(&connect, Version::V5).clean_start);
    assert_eq!(wire.receive(&[connack().into()]), [Event::Connected(Resumption::New)]);
    wire.assert_silent();
    // The same identifier is a new message in a new session.
    assert_eq!(wire.receive(&[published("new", delivery(QOS_2, 1))]), [told("new", QOS_2)]);
}

/// Drives a client by its deadlines alone, and returns after how many milliseconds each PINGREQ was sent.
fn pings(wire: &mut Wire, until: u64) -> Vec<u64> {
    let (start, mut pings) = (wire.now, Vec::new());
    while let Some(deadline) = wire.client.deadline()
        && deadline.since(start).as_millis() <= u128::from(until)
    {
        wire.now = deadline;
        assert_eq!(wire.poll(), []);
        wire.assert_sent(&[Packet::PingReq]);
        pings.push(wire.now.since(start).as_millis() as u64);
        assert_eq!(wire.receive(&[Packet::PingResp]), []);
    }
    pings
}

#[test]
fn mqtt_3_1_2_20_an_idle_client_sends_pingreq() {
    for keep_alive in [1, 2, 10, 60, 65_535] {
        let mut wire = Wire::connected(ClientConfig { keep_alive, ..v5() });
        let (interval, mut before) = (u64::from(keep_alive) * 1000, 0);
        let pings = pings(&mut wire, interval * 10);
        assert!((10..=13).contains(&pings.len()), "{pings:?}");
        for at in pings {
            assert!(at > before && at - before <= interval, "{at} comes {} ms after {before}", at - before);
            before = at;
        }
    }
    // Without a Keep Alive there is none, and nothing to wait for.
    let mut wire = Wire::connected(ClientConfig { keep_alive: 0, ..v5() });
    assert_eq!(wire.client.deadline(), None);
    wire.later(1_000_000_000);
    assert_eq!(wire.poll(), []);
    wire.assert_silent();
}

#[test]
fn mqtt_3_1_2_21_and_mqtt_3_2_2_21_server_keep_alive_wins() {
    let server = |seconds| connack_with(ConnAckProperties { server_keep_alive: Some(seconds), ..Default::default() });
    for (ours, theirs) in [(60, 5), (5, 60), (0, 5)] {
        let mut wire = Wire::connected_by(ClientConfig { keep_alive: ours, ..v5() }, server(theirs));
        let first = pings(&mut wire, 120_000)[0];
        let latest = u64::from(theirs) * 1000;
        assert!(first <= latest && first >= latest / 2, "{ours}, {theirs}: {first}");
    }
    let wire = Wire::connected_by(ClientConfig { keep_alive: 5, ..v5() }, server(0));
    assert_eq!(wire.client.deadline(), None);
}

#[test]
fn mqtt_3_1_2_23_an_expiry_interval_keeps_the_session() {
    let mut wire = Wire::connected(ClientConfig { session_expiry_interval: 1, ..v5() });
    let token = wire.publish("kept", QOS_1);
    wire.receive(&[published("half", delivery(QOS_2, 9))]);
    wire.take();
    assert_eq!(wire.lose(), []);
    assert_eq!(wire.client.open_operations(), 1);
    let connect = wire.open();
    assert!(!connect_of(&connect, Version::V5).clean_start);
    assert_eq!(wire.receive(&[present().into()]), [Event::Connected(Resumption::Resumed)]);
    wire.assert_sent(&[published("kept", again(QOS_1, 1))]);
    assert_eq!(wire.receive(&[published("half", again(QOS_2, 9))]), []);
    assert_eq!(wire.receive(&[PubAck::new(id(1)).into()]), [success(token)]);
    // What counts is what the server has granted.
    let none = ConnAckProperties { session_expiry_interval: Some(0), ..Default::default() };
    let mut wire = Wire::connected_by(v5(), connack_with(none));
    let token = wire.publish("not kept", QOS_1);
    wire.take();
    assert_eq!(wire.lose(), [lost(token, Loss::Session)]);
}

#[test]
fn mqtt_3_1_2_30_only_auth_or_disconnect_before_connack() {
    let mut wire = Wire::new(authenticating());
    wire.subscribe();
    wire.open();
    wire.publish("0", QOS_0);
    wire.publish("1", QOS_1);
    wire.unsubscribe();
    wire.assert_silent();
    assert_eq!(
        wire.receive(&[auth(AuthReasonCode::ContinueAuthentication, "M", b"1").into()]),
        [Event::Auth(AuthReasonCode::ContinueAuthentication)]
    );
    wire.later(20_000);
    assert_eq!(wire.poll(), []);
    wire.assert_silent();
    wire.client.authenticate(b"2").unwrap();
    wire.assert_sent(&[auth(AuthReasonCode::ContinueAuthentication, "M", b"2").into()]);
    wire.client.disconnect(&Disconnect::default()).unwrap();
    wire.assert_sent(&[Disconnect::default().into()]);
}

#[test]
fn mqtt_3_1_3_2_the_client_identifier_keys_the_session() {
    // The one that the server has chosen is the one to come back with.
    let mut wire = Wire::new(ClientConfig { client_id: String::new(), ..v5() });
    let connect = wire.open();
    assert_eq!(connect_of(&connect, Version::V5).client_identifier, "");
    let assigned = Some(Utf8Str::new("chosen").unwrap());
    let properties = ConnAckProperties { assigned_client_identifier: assigned, ..Default::default() };
    wire.receive(&[connack_with(properties).into()]);
    wire.lose();
    let connect = wire.open();
    assert_eq!(connect_of(&connect, Version::V5).client_identifier, "chosen");
    assert_eq!(wire.client.config().client_id, "chosen");
}

/// State that is held under one identifier has nothing to do with a session of another one.
#[test]
fn mqtt_3_1_3_2_another_client_identifier_is_another_session() {
    let mut wire = Wire::connected(v5());
    wire.publish("of the first", QOS_1);
    wire.take();
    wire.lose();
    let another = ClientConfig { client_id: "another".into(), ..v5() };
    wire.client.reconfigure(another).unwrap();
    let connect = wire.open();
    let clean_start = connect_of(&connect, Version::V5).clean_start;
    let events = wire.receive(&[if clean_start { connack() } else { present() }.into()]);
    // Be it that the client asks for a new session, be it that it refuses a session it knows nothing of: a message that
    // may have been delivered in one session is not sent again in another, under an identifier that means nothing there.
    let sent = wire.take();
    let packets = decode(&sent, Version::V5);
    let repeated = packets.iter().any(|packet| matches!(packet, Packet::Publish(publish) if publish.delivery.dup()));
    assert!(!repeated, "{events:?}, then {packets:?}");
}

// Section 3.2: CONNACK.

#[test]
fn mqtt_3_2_2_4_a_session_that_is_not_known_closes() {
    for config in [v5(), ClientConfig { version: Version::V311, ..v5() }] {
        let mut wire = Wire::new(config);
        let connect = wire.open();
        assert!(connect_of(&connect, wire.version).clean_start);
        assert_eq!(wire.receive(&[present().into()]), [breach(Breach::UnexpectedSession)]);
        assert!(!wire.client.is_connected());
    }
}

#[test]
fn mqtt_3_2_2_5_without_a_session_the_state_is_discarded() {
    let mut wire = Wire::connected(v5());
    let (first, second) = (wire.publish("1", QOS_1), wire.publish("2", QOS_2));
    let third = wire.publish("3", QOS_2);
    wire.receive(&[published("half", delivery(QOS_2, 9)), PubRec::new(id(3)).into()]);
    wire.take();
    wire.lose();
    let mut events = wire.connect(connack());
    assert_eq!(events.remove(0), Event::Connected(Resumption::Lost));
    events.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(events, [first, second, third].map(|token| lost(token, Loss::Session)));
    wire.assert_silent();
    assert_eq!((wire.client.open_operations(), wire.client.waiting()), (0, 0));
    // Neither is anything known of what had been received.
    assert_eq!(wire.receive(&[published("new", delivery(QOS_2, 9))]), [told("new", QOS_2)]);
}

#[test]
fn mqtt_3_2_2_11_no_qos_above_the_maximum() {
    for maximum in [MaximumQoS::AtMostOnce, MaximumQoS::AtLeastOnce] {
        let limit = ConnAckProperties { maximum_qos: Some(maximum), ..Default::default() };
        let allowed = |qos: QoS| qos <= QoS::from(maximum);
        let mut wire = Wire::new(v5());
        // Before it is known: what is too high is given up when it is.
        let waiting = [QOS_0, QOS_1, QOS_2].map(|qos| (qos, wire.publish("waiting", qos)));
        let events = wire.connect(connack_with(limit));
        for (qos, token) in waiting {
            let refused = events.contains(&lost(token, Loss::NotSupported(ReasonCode::QoSNotSupported)));
            assert_eq!(refused, !allowed(qos), "{qos}");
        }
        // As soon as it is known: refused.
        for qos in [QOS_0, QOS_1, QOS_2] {
            let result = wire.client.publish(&Message::new("t", "x").qos(qos));
            let expected = CommandError::QoSNotSupported { maximum };
            assert_eq!(result.err(), (!allowed(qos)).then_some(expected), "{qos}");
        }
        let sent = wire.take();
        for packet in decode(&sent, Version::V5) {
            assert!(matches!(packet, Packet::Publish(publish) if allowed(publish.delivery.qos())), "{packet:?}");
        }
        // And what an earlier server took is not sent again to one that does not.
        let mut wire = Wire::connected(v5());
        let token = wire.publish("in flight", QOS_2);
        wire.take();
        wire.lose();
        let events = wire.connect(present_with(limit));
        assert_eq!(events[1..], [lost(token, Loss::NotSupported(ReasonCode::QoSNotSupported))]);
        wire.assert_silent();
    }
}

#[test]
fn mqtt_3_2_2_14_no_retain_where_it_is_not_available() {
    let limit = ConnAckProperties { retain_available: Some(false), ..Default::default() };
    let retained = Message::new("t", "r").qos(QOS_1).retain(true);
    let mut wire = Wire::new(v5());
    let waiting = wire.client.publish(&retained).unwrap();
    let events = wire.connect(connack_with(limit));
    assert_eq!(events[1..], [lost(waiting, Loss::NotSupported(ReasonCode::RetainNotSupported))]);
    assert_eq!(wire.client.publish(&retained), Err(CommandError::RetainNotSupported));
    assert_eq!(wire.client.publish(&Message::new("t", "r").retain(true)), Err(CommandError::RetainNotSupported));
    wire.assert_silent();

    let mut wire = Wire::connected(v5());
    let token = wire.client.publish(&retained).unwrap();
    wire.take();
    wire.lose();
    let events = wire.connect(present_with(limit));
    assert_eq!(events[1..], [lost(token, Loss::NotSupported(ReasonCode::RetainNotSupported))]);
    wire.assert_silent();
}

#[test]
fn mqtt_3_2_2_15_nothing_above_the_maximum_packet_size() {
    const LIMIT: u32 = 40;
    let too_large = Loss::NotSupported(ReasonCode::PacketTooLarge);
    let long = "x".repeat(60);
    let long_filter = filter(&long);
    let long_subscription = Subscription::with_filter(long_filter, QOS_0);
    let long_pair = [UserProperty::new("k", &long).unwrap()];
    let mut wire = Wire::new(ClientConfig { manual_acks: true, topic_aliases: 8, ..authenticating() });
    // Asked for before it is known.
    let waiting = [
        wire.publish(&long, QOS_0),
        wire.publish(&long, QOS_1),
        wire.publish(&long, QOS_2),
        wire.client.subscribe(&[long_subscription]).unwrap(),
        wire.client.unsubscribe(&[long_filter]).unwrap(),
    ];
    let properties = ConnAckProperties { topic_alias_maximum: Some(8), ..packet_size(LIMIT) };
    let method = authenticated().properties.authentication_method;
    let properties = ConnAckProperties { authentication_method: method, ..properties };
    let mut events = wire.connect(connack_with(properties));
    events.remove(0);
    events.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(events, waiting.map(|token| lost(token, too_large)));
    assert_eq!(wire.client.open_operations(), 0);
    // Asked for when it is.
    let refused = Err(CommandError::TooLarge { limit: LIMIT });
    for qos in [QOS_0, QOS_1, QOS_2] {
        assert_eq!(wire.client.publish(&Message::new("t", &long).qos(qos)), refused);
        assert_eq!(wire.client.publish(&Message::new(&long, "t").qos(qos)), refused);
    }
    assert_eq!(wire.client.subscribe(&[long_subscription]), refused);
    assert_eq!(wire.client.unsubscribe(&[long_filter]), refused);
    assert_eq!(wire.client.reauthenticate(long.as_bytes()), Err(CommandError::TooLarge { limit: LIMIT }));
    wire.assert_silent();
    assert_eq!((wire.client.open_operations(), wire.client.waiting()), (0, 0));
    // Every size about the limit, with an alias that makes it larger and one that makes it smaller.
    for size in 20..45 {
        for topic in ["a topic", "another", "a topic"] {
            let taken = wire.client.publish(&Message::new(topic, &long[..size])).is_ok();
            let sent = wire.take();
            assert!(sent.len() <= LIMIT as usize && taken != sent.is_empty(), "{size}: {} bytes", sent.len());
        }
    }
    wire.poll();
    // What is sent without being asked for.
    wire.receive(&[published("1", delivery(QOS_1, 1)), published("2", delivery(QOS_2, 2))]);
    let properties = AckProperties { user_properties: List::from(&long_pair), ..Default::default() };
    for receipt in wire.receipts.clone() {
        wire.client.ack_with(receipt, PubAckReasonCode::Success, &properties).unwrap();
    }
    wire.assert_sent(&[PubAck::new(id(1)).into(), PubRec::new(id(2)).into()]);
    let properties = DisconnectProperties { user_properties: List::from(&long_pair), ..Default::default() };
    wire.client.disconnect(&Disconnect { properties, ..Disconnect::default() }).unwrap();
    wire.assert_sent(&[Disconnect::default().into()]);
}

/// What was sent to a server that takes more is not sent again to one that takes less.
#[test]
fn mqtt_3_2_2_15_nothing_above_the_maximum_packet_size_is_sent_again() {
    let mut wire = Wire::connected(v5());
    let tokens = [QOS_1, QOS_2].map(|qos| wire.publish("a payload of some length", qos));
    let short = wire.publish("short", QOS_1);
    wire.take();
    wire.lose();
    let mut events = wire.connect(present_with(packet_size(20)));
    events.remove(0);
    let too_large = Loss::NotSupported(ReasonCode::PacketTooLarge);
    assert_eq!(events, tokens.map(|token| lost(token, too_large)));
    wire.assert_sent(&[published("short", again(QOS_1, 3))]);
    assert_eq!(wire.receive(&[PubAck::new(id(3)).into()]), [success(short)]);
}

/// A limit that no packet but PINGREQ and the shortest DISCONNECT keep: not even the end is told by a larger one.
#[test]
fn mqtt_3_2_2_15_not_even_by_the_last_packet() {
    for limit in 1..=8 {
        let mut wire = Wire::new(v5());
        wire.open();
        wire.receive(&[connack_with(packet_size(limit)).into()]);
        if wire.client.is_connected() {
            wire.receive(&[connack().into()]); // a second one
        }
        let sent = wire.take();
        assert!(sent.len() <= limit as usize, "{limit}: {sent:x?}");
    }
}

#[test]
fn mqtt_3_2_2_17_and_mqtt_3_3_2_9_aliases_stay_within_the_maximum() {
    for (ours, theirs) in [(10, 3), (3, 10), (0, 10), (65_535, 1)] {
        let mut wire =
            Wire::connected_by(ClientConfig { topic_aliases: ours, ..v5() }, connack_with(alias_maximum(theirs)));
        let mut topics: Vec<Option<String>> = vec![None; 16];
        let mut used = 0;
        for round in 0..200 {
            let topic = format!("topic {}", round * 7 % 11 * (round % 3));
            wire.client.publish(&Message::new(&topic, "x")).unwrap();
            let sent = wire.take();
            let [Packet::Publish(sent)] = decode(&sent, Version::V5)[..] else { panic!("one message") };
            let Some(alias) = sent.properties.topic_alias else {
                assert_eq!(sent.topic, topic[..]);
                continue;
            };
            assert!(alias.get() <= ours.min(theirs), "{alias}");
            used += 1;
            // The topic arrives whichever way.
            let entry = &mut topics[usize::from(alias.get())];
            if !sent.topic.is_empty() {
                *entry = Some(sent.topic.as_str().into());
            }
            assert_eq!(entry.as_deref(), Some(&topic[..]));
        }
        assert_eq!(used, if ours == 0 { 0 } else { 200 });
        wire.poll();
    }
}

#[test]
fn mqtt_3_2_2_18_no_aliases_unless_the_server_takes_them() {
    let mut wire = Wire::connected(ClientConfig { topic_aliases: 10, ..v5() });
    for qos in [QOS_0, QOS_1, QOS_2, QOS_0] {
        wire.publish("x", qos);
    }
    wire.assert_sent(&[
        published("x", delivery(QOS_0, 0)),
        published("x", delivery(QOS_1, 1)),
        published("x", delivery(QOS_2, 2)),
        published("x", delivery(QOS_0, 0)),
    ]);
}

// Section 3.3: PUBLISH.

#[test]
fn mqtt_3_3_1_1_what_is_sent_again_has_dup() {
    let mut wire = Wire::connected(v5());
    wire.publish("1", QOS_1);
    wire.publish("2", QOS_2);
    wire.take();
    for _ in 0..3 {
        wire.resume();
        wire.assert_sent(&[published("1", again(QOS_1, 1)), published("2", again(QOS_2, 2))]);
    }
    // Of this one not a byte has ever left: it is sent for the first time.
    wire.publish("3", QOS_1);
    wire.resume();
    let first_time = published("3", delivery(QOS_1, 4)); // 3 was free, and rests
    wire.assert_sent(&[published("1", again(QOS_1, 1)), published("2", again(QOS_2, 2)), first_time]);
}

#[test]
fn mqtt_3_3_2_7_aliases_end_with_the_connection() {
    // Those of the server.
    let config = ClientConfig { topic_alias_maximum: 5, topic_aliases: 5, ..v5() };
    let mut wire = Wire::connected_by(config, connack_with(alias_maximum(5)));
    let events = wire
        .receive(&[aliased("t", "1", 5, delivery(QOS_0, 0)).into(), aliased("", "2", 5, delivery(QOS_0, 0)).into()]);
    assert_eq!(events, [told("1", QOS_0), told("2", QOS_0)]);
    // Our own.
    wire.publish("a", QOS_1);
    wire.publish("b", QOS_1);
    wire.assert_sent(&[
        aliased("t", "a", 1, delivery(QOS_1, 1)).into(),
        aliased("", "b", 1, delivery(QOS_1, 2)).into(),
    ]);
    wire.lose();
    wire.connect(present_with(alias_maximum(5)));
    wire.assert_sent(&[aliased("t", "a", 1, again(QOS_1, 1)).into(), aliased("", "b", 1, again(QOS_1, 2)).into()]);
    wire.lose();
    wire.connect(present());
    wire.assert_sent(&[published("a", again(QOS_1, 1)), published("b", again(QOS_1, 2))]);
    let events = wire.receive(&[aliased("", "3", 5, delivery(QOS_0, 0)).into()]);
    assert_eq!(events, [breach(Breach::UnknownTopicAlias)]);
}

#[test]
fn mqtt_3_3_2_10_every_alias_up_to_the_maximum_is_taken() {
    const MAXIMUM: u16 = 300;
    let mut wire = Wire::connected(ClientConfig { topic_alias_maximum: MAXIMUM, ..v5() });
    for alias in 1..=MAXIMUM {
        let topic = format!("topic/{alias}");
        wire.receive(&[aliased(&topic, "", alias, delivery(QOS_0, 0)).into()]);
    }
    for alias in 1..=MAXIMUM {
        let events = wire.receive(&[aliased("", "", alias, delivery(QOS_0, 0)).into()]);
        assert!(
            matches!(&events[..], [Event::Message { topic, .. }] if *topic == format!("topic/{alias}")),
            "{events:?}"
        );
    }
    wire.assert_silent();
}

#[test]
fn mqtt_3_3_4_1_each_qos_has_its_answer() {
    let mut wire = Wire::connected(v5());
    assert_eq!(wire.receive(&[published("0", delivery(QOS_0, 0))]), [told("0", QOS_0)]);
    wire.assert_silent();
    assert_eq!(wire.receive(&[published("1", delivery(QOS_1, 1))]), [told("1", QOS_1)]);
    wire.assert_sent(&[PubAck::new(id(1)).into()]);
    assert_eq!(wire.receive(&[published("2", delivery(QOS_2, 2))]), [told("2", QOS_2)]);
    wire.assert_sent(&[PubRec::new(id(2)).into()]);
}

#[test]
fn mqtt_3_3_4_7_at_most_receive_maximum() {
    let mut wire = Wire::connected_by(v5(), connack_with(receive_maximum(3)));
    for payload in ["1", "2", "3", "4", "5", "6"] {
        wire.publish(payload, if payload == "2" { QOS_2 } else { QOS_1 });
    }
    assert_eq!(sent_payloads(&mut wire), ["1", "2", "3"]);
    assert_eq!((wire.client.in_flight(), wire.client.waiting()), (3, 3));
    // PUBREC alone does not make room, and neither does time.
    wire.receive(&[PubRec::new(id(2)).into()]);
    wire.assert_sent(&[PubRel::new(id(2)).into()]);
    wire.later(1000);
    wire.poll();
    wire.assert_silent();
    wire.receive(&[PubComp::new(id(2)).into()]);
    assert_eq!(sent_payloads(&mut wire), ["4"]);
    wire.receive(&[PubAck::new(id(1)).into(), PubAck::new(id(3)).into()]);
    assert_eq!(sent_payloads(&mut wire), ["5", "6"]);
    // As many as 65,535 if the server does not say anything.
    let mut wire = Wire::connected(ClientConfig { max_kept: 70_000, transmit_limit: u32::MAX, ..v5() });
    for _ in 0..65_535 {
        wire.publish("", QOS_1);
    }
    assert_eq!(wire.client.in_flight(), 65_535);
}

#[test]
fn mqtt_3_3_4_8_a_full_window_delays_messages_alone() {
    let mut wire = Wire::connected_by(v5(), connack_with(receive_maximum(1)));
    wire.publish("1", QOS_1);
    wire.publish("waits", QOS_1);
    wire.take();
    wire.subscribe();
    wire.unsubscribe();
    wire.receive(&[published("a", delivery(QOS_1, 7)), published("b", delivery(QOS_2, 8)), PubRel::new(id(8)).into()]);
    wire.publish("0", QOS_0);
    let filters = [filter("t")];
    let subscriptions = [Subscription::new("t", QOS_0).unwrap()];
    wire.assert_sent(&[
        Subscribe::new(id(2), &subscriptions).into(),
        Unsubscribe::new(id(3), &filters).into(),
        PubAck::new(id(7)).into(),
        PubRec::new(id(8)).into(),
        PubComp::new(id(8)).into(),
        published("0", delivery(QOS_0, 0)),
    ]);
    wire.poll();
    wire.later(60_000);
    wire.poll();
    wire.assert_sent(&[Packet::PingReq]);
    wire.client.disconnect(&Disconnect::default()).unwrap();
    wire.assert_sent(&[Disconnect::default().into()]);
}

// Sections 3.4 to 3.7: acknowledgements.

/// An acknowledgement by hand under every Maximum Packet Size about its own: properties are left out, the packet is
/// not. `bare`, and then with the reason string, are the sizes it has.
fn acks_fit(qos: QoS, packet: impl for<'a> Fn(PubAckReasonCode, AckProperties<'a>) -> Packet<'a>) {
    let pairs = [UserProperty::new("key", "value").unwrap()];
    let reason_string = Some(Utf8Str::new("because").unwrap());
    let full = AckProperties { reason_string, user_properties: List::from(&pairs) };
    let reason_only = AckProperties { reason_string, ..AckProperties::default() };
    let user_only = AckProperties { user_properties: List::from(&pairs), ..AckProperties::default() };
    let code = PubAckReasonCode::NotAuthorized;
    let size = |properties| packet(code, properties).encoded_len(Version::V5).unwrap() as u32;
    for limit in 5..=size(full) + 1 {
        let mut wire = Wire::connected_by(manual(), connack_with(packet_size(limit)));
        wire.receive(&[published("x", delivery(qos, 7))]);
        wire.client.ack_with(wire.receipts[0], code, &full).unwrap();
        // No property is sent that makes it too large; one that fits need not be left out for another's sake.
        let allowed: Vec<_> = [full, reason_only, user_only, AckProperties::default()]
            .into_iter()
            .filter(|&properties| size(properties) <= limit)
            .map(|properties| packet(code, properties))
            .collect();
        let sent = wire.take();
        let [sent] = decode(&sent, Version::V5)[..] else { panic!("one packet") };
        assert!(allowed.contains(&sent), "{limit}: {sent:?}");
        assert!(limit < size(full) || sent == packet(code, full), "{limit}: {sent:?}");
    }
}

#[test]
fn mqtt_3_4_2_2_and_mqtt_3_4_2_3_puback_leaves_out_what_is_too_large() {
    acks_fit(QOS_1, |reason_code, properties| PubAck { id: id(7), reason_code, properties }.into());
}

#[test]
fn mqtt_3_5_2_2_and_mqtt_3_5_2_3_pubrec_leaves_out_what_is_too_large() {
    acks_fit(QOS_2, |reason_code, properties| PubRec { id: id(7), reason_code, properties }.into());
}

/// They never carry a reason string or user properties at all: not when all is well, not when an identifier is unknown,
/// not when they are sent again.
#[test]
fn mqtt_3_6_2_2_mqtt_3_6_2_3_mqtt_3_7_2_2_and_mqtt_3_7_2_3_pubrel_and_pubcomp_are_bare() {
    for limit in [5, 8, 1000] {
        let mut wire = Wire::connected_by(v5(), connack_with(packet_size(limit)));
        if limit >= 8 {
            wire.publish("", QOS_2);
            wire.publish("", QOS_2);
            wire.take();
            for _ in 0..2 {
                wire.receive(&[PubRec::new(id(1)).into()]);
                wire.assert_sent(&[PubRel::new(id(1)).into()]);
            }
            wire.lose();
            wire.connect(present_with(packet_size(limit)));
            wire.assert_sent(&[PubRel::new(id(1)).into(), published("", again(QOS_2, 2))]);
        }
        let (reason_code, properties) = (PubRelReasonCode::PacketIdentifierNotFound, AckProperties::default());
        wire.receive(&[PubRec::new(id(50)).into(), PubRel::new(id(60)).into()]);
        wire.assert_sent(&[
            PubRel { id: id(50), reason_code, properties }.into(),
            PubComp { id: id(60), reason_code, properties }.into(),
        ]);
        wire.receive(&[published("x", delivery(QOS_2, 9)), PubRel::new(id(9)).into()]);
        wire.assert_sent(&[PubRec::new(id(9)).into(), PubComp::new(id(9)).into()]);
    }
}

// Section 3.14: DISCONNECT.

#[test]
fn mqtt_3_14_2_3_and_mqtt_3_14_2_4_disconnect_leaves_out_what_is_too_large() {
    let pairs = [UserProperty::new("key", "value").unwrap()];
    let reason_string = Some(Utf8Str::new("because").unwrap());
    let full = DisconnectProperties { reason_string, user_properties: List::from(&pairs), ..Default::default() };
    let reason_only = DisconnectProperties { reason_string, ..Default::default() };
    let user_only = DisconnectProperties { user_properties: List::from(&pairs), ..Default::default() };
    let with = |properties| Disconnect { reason_code: DisconnectReasonCode::DisconnectWithWillMessage, properties };
    let size = |properties| with(properties).encoded_len(Version::V5).unwrap() as u32;
    for limit in 5..=size(full) + 1 {
        let mut wire = Wire::connected_by(v5(), connack_with(packet_size(limit)));
        wire.client.disconnect(&with(full)).unwrap();
        let candidates = [full, reason_only, user_only, Default::default()];
        let allowed: Vec<_> =
            candidates.into_iter().filter(|&it| size(it) <= limit).map(|it| with(it).into()).collect();
        let sent = wire.take();
        let [sent] = decode(&sent, Version::V5)[..] else { panic!("one packet") };
        assert!(allowed.contains(&sent), "{limit}: {sent:?}");
        assert!(limit < size(full) || sent == with(full).into(), "{limit}: {sent:?}");
    }
}

/// Everything that would make a connected client send something, and a long time.
fn tempt(wire: &mut Wire) {
    wire.publish("0", QOS_0);
    wire.publish("1", QOS_1);
    wire.subscribe();
    wire.unsubscribe();
    for receipt in wire.receipts.clone() {
        let _ = wire.client.ack(receipt, PubAckReasonCode::Success);
    }
    let _ = wire.client.reauthenticate(b"x");
    let _ = wire.client.authenticate(b"x");
    let _ = wire.client.disconnect(&Disconnect::default());
    wire.poll();
    wire.receive(&[
        published("m", delivery(QOS_1, 90)),
        published("n", delivery(QOS_2, 91)),
        PubRel::new(id(92)).into(),
        PubRec::new(id(93)).into(),
        Packet::PingResp,
    ]);
    wire.later(1_000_000);
    wire.poll();
}

#[test]
fn mqtt_3_14_4_1_nothing_follows_disconnect() {
    // Of our own will, or because of an error of the server's.
    for by_error in [false, true] {
        let mut wire = Wire::connected(manual());
        wire.receive(&[published("x", delivery(QOS_1, 1)), published("y", delivery(QOS_2, 2))]);
        if by_error {
            wire.receive(&[connack().into()]);
        } else {
            wire.client.disconnect(&Disconnect::default()).unwrap();
        }
        let sent = wire.take();
        assert!(matches!(decode(&sent, Version::V5)[..], [Packet::Disconnect(_)]));
        tempt(&mut wire);
        wire.assert_silent();
    }
}

#[test]
fn mqtt_3_14_4_2_the_connection_is_closed_after_disconnect() {
    let mut wire = Wire::connected(v5());
    wire.client.disconnect(&Disconnect::default()).unwrap();
    assert_eq!(wire.client.deadline(), Some(mqtt_sansio::Instant::EPOCH), "the caller is to be told at once");
    assert_eq!(wire.poll(), [Event::Close(Why::Requested)]);
    assert!(!wire.client.is_connected());
    // The end is told once, whatever comes after.
    wire.later(100_000);
    assert_eq!(wire.receive(&[published("late", delivery(QOS_1, 1))]), []);
    let mut wire = Wire::connected(v5());
    assert_eq!(wire.receive(&[connack().into()]), [breach(Breach::SecondConnAck)]);
    assert_eq!(wire.receive(&[connack().into()]), []);
}

// Section 3.15: AUTH.

/// They carry a method and data, and never a reason string or user properties.
#[test]
fn mqtt_3_15_2_2_and_mqtt_3_15_2_3_auth_is_bare() {
    let mut wire = Wire::new(authenticating());
    wire.open();
    wire.receive(&[auth(AuthReasonCode::ContinueAuthentication, "M", b"1").into()]);
    wire.client.authenticate(b"2").unwrap();
    wire.receive(&[authenticated().into()]);
    wire.client.reauthenticate(b"3").unwrap();
    wire.assert_sent(&[
        auth(AuthReasonCode::ContinueAuthentication, "M", b"2").into(),
        auth(AuthReasonCode::ReAuthenticate, "M", b"3").into(),
    ]);
}

// Section 4.1: session state.

#[test]
fn mqtt_4_1_0_1_the_session_lasts_as_long_as_the_connection() {
    let mut wire = Wire::connected(ClientConfig { session_expiry_interval: 0, keep_alive: 0, ..v5() });
    wire.publish("1", QOS_1);
    wire.publish("2", QOS_2);
    wire.receive(&[published("half", delivery(QOS_2, 5)), PubRec::new(id(2)).into()]);
    wire.take();
    wire.later(10_000_000_000);
    assert_eq!(wire.poll(), []);
    assert_eq!(wire.client.open_operations(), 2);
    assert_eq!(wire.receive(&[published("half", again(QOS_2, 5))]), []);
    wire.assert_sent(&[PubRec::new(id(5)).into()]);
    let events = wire.receive(&[PubAck::new(id(1)).into(), PubComp::new(id(2)).into()]);
    assert!(matches!(events[..], [Event::Done(..), Event::Done(..)]), "{events:?}");
}

// Section 4.3: delivery.

#[test]
fn mqtt_4_3_1_1_qos_0_has_no_dup() {
    let mut wire = Wire::new(v5());
    wire.publish("waits", QOS_0);
    wire.connect(connack());
    wire.publish("now", QOS_0);
    wire.assert_sent(&[published("waits", delivery(QOS_0, 0)), published("now", delivery(QOS_0, 0))]);
    // One that did not get through is lost, and never sent again.
    let token = wire.publish("lost", QOS_0);
    let events = wire.lose();
    assert!(events.contains(&lost(token, Loss::Connection)), "{events:?}");
    wire.connect(present());
    wire.assert_silent();
}

#[test]
fn mqtt_4_3_2_1_and_mqtt_4_3_2_2_qos_1_begins_with_an_unused_identifier_and_without_dup() {
    let mut wire = Wire::new(v5());
    wire.publish("a", QOS_1);
    wire.connect(connack());
    wire.publish("b", QOS_1);
    wire.assert_sent(&[published("a", delivery(QOS_1, 1)), published("b", delivery(QOS_1, 2))]);
    // `a` is open, `b` is not any more; with a third one there is no doubt.
    wire.receive(&[PubAck::new(id(2)).into()]);
    wire.publish("c", QOS_1);
    wire.publish("d", QOS_1);
    let ids = sent_ids(&mut wire);
    assert!(ids.len() == 2 && ids[0] != ids[1] && !ids.contains(&1), "{ids:?}");
}

#[test]
fn mqtt_4_3_2_3_qos_1_is_open_until_puback() {
    let mut wire = Wire::connected(v5());
    let token = wire.publish("x", QOS_1);
    wire.take();
    for _ in 0..3 {
        wire.later(10_000);
        assert_eq!((wire.poll(), wire.client.open_operations()), (vec![], 1));
        wire.resume();
        wire.assert_sent(&[published("x", again(QOS_1, 1))]);
    }
    assert_eq!(wire.receive(&[PubAck::new(id(1)).into()]), [success(token)]);
    assert_eq!(wire.client.open_operations(), 0);
    wire.resume();
    wire.assert_silent();
}

#[test]
fn mqtt_4_3_2_4_qos_1_is_acknowledged_after_it_was_taken_over() {
    let mut wire = Wire::connected(manual());
    assert_eq!(wire.receive(&[published("x", delivery(QOS_1, 77))]), [told("x", QOS_1)]);
    wire.later(10_000);
    wire.poll();
    wire.assert_silent();
    wire.client.ack(wire.receipts[0], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubAck::new(id(77)).into()]);
}

#[test]
fn mqtt_4_3_2_5_after_puback_the_identifier_is_a_new_message() {
    for config in [v5(), manual()] {
        let mut wire = Wire::connected(config);
        for (payload, dup) in [("1", false), ("2", true), ("3", false)] {
            let how = if dup { again(QOS_1, 5) } else { delivery(QOS_1, 5) };
            let told = Event::Message { topic: "t".into(), payload: payload.into(), qos: QOS_1, dup };
            assert_eq!(wire.receive(&[published(payload, how)]), [told]);
            if let Some(receipt) = wire.receipts.pop() {
                wire.client.ack(receipt, PubAckReasonCode::Success).unwrap();
            }
            wire.assert_sent(&[PubAck::new(id(5)).into()]);
        }
    }
}

#[test]
fn mqtt_4_3_3_1_and_mqtt_4_3_3_2_qos_2_begins_with_an_unused_identifier_and_without_dup() {
    let mut wire = Wire::new(v5());
    wire.publish("a", QOS_2);
    wire.connect(connack());
    wire.publish("b", QOS_2);
    wire.publish("c", QOS_2);
    let first_times = [("a", 1), ("b", 2), ("c", 3)].map(|(payload, at)| published(payload, delivery(QOS_2, at)));
    wire.assert_sent(&first_times);
    // One is as it was, one is released, one is done: two identifiers are in use.
    wire.receive(&[PubRec::new(id(2)).into(), PubRec::new(id(3)).into(), PubComp::new(id(3)).into()]);
    wire.take();
    wire.publish("d", QOS_2);
    wire.publish("e", QOS_2);
    let ids = sent_ids(&mut wire);
    assert!(ids.len() == 2 && ids[0] != ids[1] && !ids.contains(&1) && !ids.contains(&2), "{ids:?}");
}

#[test]
fn mqtt_4_3_3_3_qos_2_is_unacknowledged_until_pubrec() {
    let mut wire = Wire::connected(v5());
    wire.publish("x", QOS_2);
    wire.take();
    for _ in 0..3 {
        wire.resume();
        wire.assert_sent(&[published("x", again(QOS_2, 1))]);
        assert_eq!(wire.client.open_operations(), 1);
    }
    assert_eq!(wire.receive(&[PubRec::new(id(1)).into()]), []);
    wire.take();
    wire.resume();
    wire.assert_sent(&[PubRel::new(id(1)).into()]);
}

#[test]
fn mqtt_4_3_3_4_pubrec_without_an_error_is_answered_by_pubrel() {
    for &reason_code in PubAckReasonCode::ALL {
        let mut wire = Wire::connected(v5());
        let token = wire.publish("x", QOS_2);
        wire.take();
        let events = wire.receive(&[PubRec { reason_code, ..PubRec::new(id(1)) }.into()]);
        if reason_code.is_error() {
            assert_eq!(events, [Event::Done(token, Done::Acknowledged(reason_code.into()))]);
            wire.assert_silent();
        } else {
            assert_eq!(events, []);
            wire.assert_sent(&[PubRel::new(id(1)).into()]);
        }
    }
}

#[test]
fn mqtt_4_3_3_5_pubrel_is_unacknowledged_until_pubcomp() {
    let mut wire = Wire::connected(v5());
    let token = wire.publish("x", QOS_2);
    wire.receive(&[PubRec::new(id(1)).into()]);
    wire.take();
    for _ in 0..3 {
        wire.later(10_000);
        assert_eq!((wire.poll(), wire.client.open_operations()), (vec![], 1));
        wire.resume();
        wire.assert_sent(&[PubRel::new(id(1)).into()]);
    }
    assert_eq!(wire.receive(&[PubComp::new(id(1)).into()]), [success(token)]);
    wire.resume();
    wire.assert_silent();
}

#[test]
fn mqtt_4_3_3_6_no_publish_after_pubrel() {
    let mut wire = Wire::connected(v5());
    wire.publish("x", QOS_2);
    wire.receive(&[PubRec::new(id(1)).into()]);
    wire.assert_sent(&[published("x", delivery(QOS_2, 1)), PubRel::new(id(1)).into()]);
    for _ in 0..3 {
        wire.resume();
        wire.assert_sent(&[PubRel::new(id(1)).into()]);
        wire.receive(&[PubRec::new(id(1)).into()]);
        wire.assert_sent(&[PubRel::new(id(1)).into()]);
    }
}

#[test]
fn mqtt_4_3_3_7_a_message_that_was_sent_does_not_expire() {
    let mut wire = Wire::connected(v5());
    let token = wire.client.publish(&expiring("x", QOS_2, 5)).unwrap();
    wire.take();
    wire.later(60_000);
    wire.resume();
    let sent = wire.take();
    let [Packet::Publish(sent)] = decode(&sent, Version::V5)[..] else { panic!("one message") };
    assert_eq!((sent.delivery, sent.payload), (again(QOS_2, 1), &b"x"[..]));
    wire.receive(&[PubRec::new(id(1)).into()]);
    wire.later(60_000);
    wire.assert_sent(&[PubRel::new(id(1)).into()]);
    assert_eq!(wire.receive(&[PubComp::new(id(1)).into()]), [success(token)]);
}

#[test]
fn mqtt_4_3_3_8_qos_2_is_acknowledged_after_it_was_taken_over() {
    let mut wire = Wire::connected(manual());
    assert_eq!(wire.receive(&[published("x", delivery(QOS_2, 77))]), [told("x", QOS_2)]);
    wire.later(10_000);
    wire.poll();
    wire.assert_silent();
    wire.client.ack(wire.receipts[0], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubRec::new(id(77)).into()]);
}

#[test]
fn mqtt_4_3_3_9_after_a_refusal_the_identifier_is_a_new_message() {
    let mut wire = Wire::connected(manual());
    for payload in ["1", "2"] {
        assert_eq!(wire.receive(&[published(payload, delivery(QOS_2, 5))]), [told(payload, QOS_2)]);
        let reason_code = PubAckReasonCode::QuotaExceeded;
        wire.client.ack(wire.receipts.pop().unwrap(), reason_code).unwrap();
        wire.assert_sent(&[PubRec { reason_code, ..PubRec::new(id(5)) }.into()]);
    }
}

#[test]
fn mqtt_4_3_3_10_before_pubrel_a_copy_has_a_pubrec_and_is_not_delivered() {
    let mut wire = Wire::connected(v5());
    assert_eq!(wire.receive(&[published("x", delivery(QOS_2, 5))]), [told("x", QOS_2)]);
    assert_eq!(wire.receive(&[published("x", again(QOS_2, 5)), published("x", delivery(QOS_2, 5))]), []);
    wire.assert_sent(&[PubRec::new(id(5)).into(), PubRec::new(id(5)).into(), PubRec::new(id(5)).into()]);
    wire.resume();
    assert_eq!(wire.receive(&[published("x", again(QOS_2, 5))]), []);
    wire.assert_sent(&[PubRec::new(id(5)).into()]);
}

/// What the application has taken over is not delivered again, even if PUBREC had to wait for its turn and the
/// connection ended before it came.
#[test]
fn mqtt_4_3_3_10_what_was_acknowledged_is_not_delivered_again() {
    let mut wire = Wire::connected(manual());
    wire.receive(&[published("1", delivery(QOS_2, 1)), published("2", delivery(QOS_2, 2))]);
    wire.client.ack(wire.receipts[1], PubAckReasonCode::Success).unwrap();
    wire.assert_silent();
    wire.resume();
    let events = wire.receive(&[published("1", again(QOS_2, 1)), published("2", again(QOS_2, 2))]);
    let first = Event::Message { topic: "t".into(), payload: "1".into(), qos: QOS_2, dup: true };
    assert_eq!(events, [first]);
    wire.client.ack(wire.receipts[2], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubRec::new(id(1)).into(), PubRec::new(id(2)).into()]);
}

#[test]
fn mqtt_4_3_3_11_pubrel_is_answered_by_pubcomp() {
    let mut wire = Wire::connected(v5());
    wire.receive(&[published("x", delivery(QOS_2, 4000))]);
    wire.take();
    assert_eq!(wire.receive(&[PubRel::new(id(4000)).into()]), []);
    wire.assert_sent(&[PubComp::new(id(4000)).into()]);
}

#[test]
fn mqtt_4_3_3_12_after_pubcomp_the_identifier_is_a_new_message() {
    let mut wire = Wire::connected(v5());
    for payload in ["1", "2", "3"] {
        assert_eq!(wire.receive(&[published(payload, delivery(QOS_2, 5))]), [told(payload, QOS_2)]);
        wire.receive(&[PubRel::new(id(5)).into()]);
        wire.assert_sent(&[PubRec::new(id(5)).into(), PubComp::new(id(5)).into()]);
    }
}

#[test]
fn mqtt_4_3_3_13_an_expired_message_is_settled_all_the_same() {
    let properties = PublishProperties { message_expiry_interval: Some(1), ..Default::default() };
    let mut wire = Wire::connected(manual());
    wire.receive(&[Publish { properties, ..publish("x", delivery(QOS_2, 5)) }.into()]);
    wire.later(30_000);
    wire.client.ack(wire.receipts[0], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubRec::new(id(5)).into()]);
    wire.receive(&[PubRel::new(id(5)).into()]);
    wire.assert_sent(&[PubComp::new(id(5)).into()]);
}

// Sections 4.4 to 4.6: what is sent again, what is answered, and in which order.

#[test]
fn mqtt_4_4_0_1_resent_on_resumption_alone_and_with_the_same_identifiers() {
    let mut wire = Wire::connected(v5());
    for payload in ["1", "2", "3", "4"] {
        wire.publish(payload, QOS_2);
    }
    wire.receive(&[PubAck::new(id(50)).into(), PubRec::new(id(2)).into(), PubRec::new(id(4)).into()]);
    wire.take();
    // As long as the connection lasts nothing is sent again, however long nothing comes.
    for _ in 0..10 {
        wire.later(59_000);
        wire.poll();
        wire.assert_sent(&[Packet::PingReq]);
        wire.receive(&[Packet::PingResp]);
    }
    wire.resume();
    wire.assert_sent(&[
        PubRel::new(id(2)).into(),
        PubRel::new(id(4)).into(),
        published("1", again(QOS_2, 1)),
        published("3", again(QOS_2, 3)),
    ]);
    // Nor when the connection that is resumed turns out to have no session.
    wire.lose();
    wire.connect(connack());
    wire.assert_silent();
}

#[test]
fn mqtt_4_4_0_2_a_refusal_ends_the_delivery() {
    let mut wire = Wire::connected(v5());
    let tokens = [wire.publish("1", QOS_1), wire.publish("2", QOS_2)];
    wire.take();
    let reason_code = PubAckReasonCode::NotAuthorized;
    let events = wire.receive(&[
        PubAck { reason_code, ..PubAck::new(id(1)) }.into(),
        PubRec { reason_code, ..PubRec::new(id(2)) }.into(),
    ]);
    let refused = Done::Acknowledged(ReasonCode::NotAuthorized);
    assert_eq!(events, tokens.map(|token| Event::Done(token, refused.clone())));
    assert_eq!(wire.client.open_operations(), 0);
    wire.resume();
    wire.assert_silent();
}

#[test]
fn mqtt_4_5_0_2_what_the_application_ignores_is_acknowledged() {
    let mut wire = Wire::connected(v5());
    // Nobody has subscribed to anything, and nobody looks at what is told.
    wire.receive(&[published("1", delivery(QOS_1, 1)), published("2", delivery(QOS_2, 2)), PubRel::new(id(2)).into()]);
    wire.assert_sent(&[PubAck::new(id(1)).into(), PubRec::new(id(2)).into(), PubComp::new(id(2)).into()]);
}

#[test]
fn mqtt_4_6_0_1_publishes_are_sent_again_in_order() {
    let mut wire = Wire::connected(v5());
    // Identifiers that are free again are used in between, so that their order is not that of the messages.
    for payload in ["1", "2", "3", "4", "5"] {
        wire.publish(payload, QOS_1);
    }
    wire.receive(&[PubAck::new(id(1)).into(), PubAck::new(id(4)).into(), PubAck::new(id(2)).into()]);
    wire.later(60_000);
    wire.poll();
    for payload in ["6", "7", "8", "9"] {
        wire.publish(payload, if payload == "7" { QOS_2 } else { QOS_1 });
    }
    wire.take();
    for _ in 0..2 {
        wire.resume();
        assert_eq!(sent_payloads(&mut wire), ["3", "5", "6", "7", "8", "9"]);
    }
}

/// Acknowledgements that are given in the wrong order go out in the right one.
fn acks_in_order(qos: QoS) -> Vec<u16> {
    let mut wire = Wire::connected(manual());
    let order = [5, 3, 9, 1, 7];
    wire.receive(&order.map(|number| published("x", delivery(qos, number))));
    let mut sent = Vec::new();
    for place in [2, 0, 4, 3, 1] {
        wire.client.ack(wire.receipts[place], PubAckReasonCode::Success).unwrap();
        sent.extend(sent_ids(&mut wire));
    }
    assert_eq!(sent, order);
    // And when they are given by themselves.
    let mut wire = Wire::connected(v5());
    wire.receive(&order.map(|number| published("x", delivery(qos, number))));
    sent_ids(&mut wire)
}

#[test]
fn mqtt_4_6_0_2_pubacks_go_in_order() {
    assert_eq!(acks_in_order(QOS_1), [5, 3, 9, 1, 7]);
}

#[test]
fn mqtt_4_6_0_3_pubrecs_go_in_order() {
    assert_eq!(acks_in_order(QOS_2), [5, 3, 9, 1, 7]);
}

#[test]
fn mqtt_4_6_0_4_pubrels_go_in_the_order_of_the_pubrecs() {
    let mut wire = Wire::connected(v5());
    for _ in 0..5 {
        wire.publish("x", QOS_2);
    }
    wire.take();
    let order = [3, 1, 5, 2, 4];
    wire.receive(&order.map(|number| PubRec::new(id(number)).into()));
    assert_eq!(sent_ids(&mut wire), order);
    for _ in 0..2 {
        wire.resume();
        assert_eq!(sent_ids(&mut wire), order);
    }
}

// Section 4.9: flow control.

#[test]
fn mqtt_4_9_0_1_the_quota_is_at_most_the_receive_maximum() {
    for (ours, theirs) in [(10, 1), (1, 10), (3, 3), (65_535, 65_535)] {
        let config = ClientConfig { max_in_flight: maximum(ours), transmit_limit: u32::MAX, max_kept: 70_000, ..v5() };
        let mut wire = Wire::connected_by(config, connack_with(receive_maximum(theirs)));
        for _ in 0..u32::from(theirs) + 1 {
            wire.publish("", QOS_1);
        }
        let sent = sent_ids(&mut wire).len();
        assert!(sent > 0 && sent == usize::from(ours.min(theirs)), "{ours}, {theirs}: {sent}");
    }
}

#[test]
fn mqtt_4_9_0_2_each_publish_takes_quota() {
    let mut wire = Wire::connected_by(v5(), connack_with(receive_maximum(2)));
    let mut open: Vec<u16> = Vec::new();
    let mut done = 0;
    for _ in 0..20 {
        wire.publish("x", QOS_1);
        wire.publish("0", QOS_0); // takes none
    }
    for _ in 0..100 {
        let sent = wire.take();
        open.extend(decode(&sent, Version::V5).iter().filter_map(Packet::packet_id).map(|id| id.get()));
        assert!(open.len() <= 2 && wire.client.in_flight() == open.len(), "{open:?}");
        let Some(number) = open.pop() else { break };
        wire.receive(&[PubAck::new(id(number)).into()]);
        done += 1;
    }
    assert_eq!((done, wire.client.waiting()), (20, 0));
}

#[test]
fn mqtt_4_9_0_3_without_quota_all_else_is_handled() {
    let mut wire = Wire::connected_by(v5(), connack_with(receive_maximum(1)));
    let token = wire.publish("1", QOS_2);
    wire.publish("waits", QOS_2);
    let asked = wire.subscribe();
    let ended = wire.unsubscribe();
    wire.take();
    let events = wire.receive(&[
        published("in", delivery(QOS_1, 1)),
        PubRec::new(id(1)).into(),
        PubRel::new(id(9)).into(),
        suback(2),
        unsuback(3, Version::V5),
        Packet::PingResp,
    ]);
    assert_eq!(
        events,
        [
            told("in", QOS_1),
            Event::Done(asked, Done::Subscribed(vec![0])),
            Event::Done(ended, Done::Unsubscribed(vec![0]))
        ]
    );
    let comp = PubComp { reason_code: PubRelReasonCode::PacketIdentifierNotFound, ..PubComp::new(id(9)) };
    wire.assert_sent(&[PubAck::new(id(1)).into(), PubRel::new(id(1)).into(), comp.into()]);
    assert_eq!(wire.receive(&[PubComp::new(id(1)).into()]), [success(token)]);
    assert_eq!(sent_payloads(&mut wire), ["waits"]);
}

// Section 4.12: enhanced authentication.

#[test]
fn mqtt_4_12_0_3_the_answer_has_continue_authentication() {
    let mut wire = Wire::new(authenticating());
    wire.open();
    for step in [&b"1"[..], b"2", b""] {
        wire.receive(&[auth(AuthReasonCode::ContinueAuthentication, "M", b"?").into()]);
        wire.client.authenticate(step).unwrap();
        wire.assert_sent(&[auth(AuthReasonCode::ContinueAuthentication, "M", step).into()]);
    }
    assert_eq!(wire.receive(&[authenticated().into()]), [Event::Connected(Resumption::New)]);
    wire.client.reauthenticate(b"3").unwrap();
    wire.take();
    wire.receive(&[auth(AuthReasonCode::ContinueAuthentication, "M", b"?").into()]);
    wire.client.authenticate(b"4").unwrap();
    wire.assert_sent(&[auth(AuthReasonCode::ContinueAuthentication, "M", b"4").into()]);
}

#[test]
fn mqtt_4_12_0_5_the_method_stays_the_same() {
    let changed = [breach(Breach::AuthenticationMethodChanged)];
    let other = Some(Utf8Str::new("other").unwrap());
    let by_another = connack_with(ConnAckProperties { authentication_method: other, ..Default::default() });
    // In CONNACK: another one, none, and one where there was none.
    for (config, connack) in [(authenticating(), by_another), (authenticating(), connack()), (v5(), by_another)] {
        let mut wire = Wire::new(config);
        assert_eq!(wire.connect(connack), changed);
    }
    // In AUTH, before and after CONNACK.
    let step = auth(AuthReasonCode::ContinueAuthentication, "other", b"");
    let mut wire = Wire::new(authenticating());
    wire.open();
    assert_eq!(wire.receive(&[step.into()]), changed);
    let mut wire = Wire::connected_by(authenticating(), authenticated());
    wire.client.reauthenticate(b"").unwrap();
    assert_eq!(wire.receive(&[step.into()]), changed);
}

#[test]
fn mqtt_4_12_0_7_without_a_method_no_auth() {
    let mut wire = Wire::new(v5());
    assert_eq!(wire.client.authenticate(b"x"), Err(CommandError::NoAuthentication));
    wire.open();
    assert_eq!(wire.client.authenticate(b"x"), Err(CommandError::NoAuthentication));
    wire.receive(&[connack().into()]);
    assert_eq!(wire.client.authenticate(b"x"), Err(CommandError::NoAuthentication));
    assert_eq!(wire.client.reauthenticate(b"x"), Err(CommandError::NoAuthentication));
    wire.assert_silent();
}

#[test]
fn mqtt_4_12_1_1_re_authentication_by_the_original_method() {
    let mut wire = Wire::connected_by(authenticating(), authenticated());
    for _ in 0..2 {
        wire.client.reauthenticate(b"x").unwrap();
        wire.assert_sent(&[auth(AuthReasonCode::ReAuthenticate, "M", b"x").into()]);
        let events = wire.receive(&[auth(AuthReasonCode::Success, "M", b"").into()]);
        assert_eq!(events, [Event::Auth(AuthReasonCode::Success)]);
    }
}

/// A method that the configuration names from now on is for another connection, and cannot get into this one.
#[test]
fn mqtt_4_12_1_1_a_change_of_the_configuration_is_for_the_next_connection() {
    let authentication = Some(Authentication { method: "N".into(), data: None }.into());
    let other = ClientConfig { authentication, ..v5() };
    let mut wire = Wire::connected_by(authenticating(), authenticated());
    assert_eq!(wire.client.reconfigure(other.clone()), Err(CommandError::AlreadyOpen));
    wire.client.reauthenticate(b"x").unwrap();
    wire.assert_sent(&[auth(AuthReasonCode::ReAuthenticate, "M", b"x").into()]);
    wire.lose();
    wire.client.reconfigure(other).unwrap();
    let connect = wire.open();
    assert_eq!(connect_of(&connect, Version::V5).properties.authentication_method.unwrap(), "N");
}

#[test]
fn mqtt_4_12_1_2_a_failed_re_authentication_closes() {
    // The server does not accept it.
    let mut wire = Wire::connected_by(authenticating(), authenticated());
    wire.client.reauthenticate(b"x").unwrap();
    let reason_code = DisconnectReasonCode::NotAuthorized;
    let events = wire.receive(&[Disconnect { reason_code, ..Disconnect::default() }.into()]);
    assert_eq!(events, [Event::Close(Why::Disconnected(reason_code))]);
    assert!(!wire.client.is_connected());
    // This end does not accept what the server has proved.
    let mut wire = Wire::connected_by(authenticating(), authenticated());
    wire.client.reauthenticate(b"x").unwrap();
    wire.take();
    wire.receive(&[auth(AuthReasonCode::ContinueAuthentication, "M", b"false").into()]);
    let disconnect = Disconnect { reason_code, ..Disconnect::default() };
    wire.client.disconnect(&disconnect).unwrap();
    assert_eq!(wire.poll(), [Event::Close(Why::Requested)]);
    wire.assert_sent(&[disconnect.into()]);
}

// Section 4.13: errors.

#[test]
fn mqtt_4_13_2_1_an_error_code_ends_the_connection() {
    for &reason_code in ConnAckReasonCode::ALL {
        let mut wire = Wire::new(v5());
        let events = wire.connect(ConnAck { reason_code, ..ConnAck::default() });
        if reason_code.is_error() {
            assert_eq!(events, [Event::Close(Why::Refused(reason_code))]);
        }
        assert_eq!(wire.client.is_connected(), !reason_code.is_error());
    }
    for &reason_code in DisconnectReasonCode::ALL {
        let disconnect = Disconnect { reason_code, ..Disconnect::default() };
        let mut wire = Wire::connected(v5());
        assert_eq!(wire.receive(&[disconnect.into()]), [Event::Close(Why::Disconnected(reason_code))]);
        assert!(!wire.client.is_connected());
        // From this end, and whether it gets out or not.
        let mut wire = Wire::connected(v5());
        wire.client.disconnect(&disconnect).unwrap();
        assert_eq!(wire.poll(), [Event::Close(Why::Requested)]);
        assert!(!wire.client.is_connected());
    }
}

/// Rules of 5.0 that have no number, by the section in which they stand.
mod unnumbered {
    use super::*;

    /// After a breach of the server's: one action, one DISCONNECT with this code, and nothing more.
    #[track_caller]
    fn closes(wire: &mut Wire, packets: &[Packet<'_>], why: Breach, reason_code: DisconnectReasonCode) {
        wire.take();
        assert_eq!(wire.receive(packets).last(), Some(&breach(why)));
        let sent = wire.take();
        let last = decode(&sent, Version::V5).pop();
        assert_eq!(last, Some(Disconnect { reason_code, ..Disconnect::default() }.into()));
        assert!(!wire.client.is_connected());
    }

    const PROTOCOL_ERROR: DisconnectReasonCode = DisconnectReasonCode::ProtocolError;

    #[test]
    fn section_3_1_2_11_4_b_a_packet_above_the_own_maximum() {
        let mut wire = Wire::connected(ClientConfig { maximum_packet_size: 100, ..v5() });
        let fitting = "x".repeat(100 - 2 - 3 - 1);
        assert_eq!(wire.receive(&[published(&fitting, delivery(QOS_0, 0))]), [told(&fitting, QOS_0)]);
        let larger = fitting + "x";
        let events = wire.receive(&[published(&larger, delivery(QOS_0, 0))]);
        assert_eq!(events, [Event::Close(Why::Malformed(ReasonCode::PacketTooLarge))]);
        let reason_code = DisconnectReasonCode::PacketTooLarge;
        wire.assert_sent(&[Disconnect { reason_code, ..Disconnect::default() }.into()]);
    }

    #[test]
    fn section_3_2_connack_comes_once_and_first() {
        closes(&mut Wire::connected(v5()), &[connack().into()], Breach::SecondConnAck, PROTOCOL_ERROR);
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
            closes(&mut wire, &[packet], Breach::BeforeConnAck(packet.packet_type()), PROTOCOL_ERROR);
        }
    }

    #[test]
    fn section_3_3_2_3_4_a_an_alias_out_of_range() {
        let aliases = |maximum| ClientConfig { topic_alias_maximum: maximum, ..v5() };
        for (maximum, alias) in [(0, 1), (5, 6), (5, 65_535), (65_534, 65_535)] {
            let packet = aliased("t", "x", alias, delivery(QOS_0, 0)).into();
            let code = DisconnectReasonCode::TopicAliasInvalid;
            closes(&mut Wire::connected(aliases(maximum)), &[packet], Breach::TopicAliasInvalid, code);
        }
        // 0, which cannot be built.
        let mut wire = Wire::connected(aliases(5));
        let events = wire.receive_bytes(b"\x30\x07\x00\x01t\x03\x23\x00\x00");
        assert_eq!(events, [Event::Close(Why::Malformed(ReasonCode::TopicAliasInvalid))]);
        let reason_code = DisconnectReasonCode::TopicAliasInvalid;
        wire.assert_sent(&[Disconnect { reason_code, ..Disconnect::default() }.into()]);
    }

    #[test]
    fn section_3_3_2_3_4_b_an_alias_that_stands_for_nothing() {
        let mut wire = Wire::connected(ClientConfig { topic_alias_maximum: 5, ..v5() });
        wire.receive(&[aliased("t", "x", 1, delivery(QOS_0, 0)).into()]);
        let packet = aliased("", "x", 2, delivery(QOS_1, 1)).into();
        closes(&mut wire, &[packet], Breach::UnknownTopicAlias, PROTOCOL_ERROR);
    }

    #[test]
    fn section_3_3_2_3_4_c_an_alias_can_be_set_again() {
        let mut wire = Wire::connected(ClientConfig { topic_alias_maximum: 5, ..v5() });
        let mut topics = Vec::new();
        for topic in ["first", "", "second", "", "second", ""] {
            let events = wire.receive(&[aliased(topic, "", 3, delivery(QOS_0, 0)).into()]);
            let [Event::Message { topic, .. }] = &events[..] else { panic!("{events:?}") };
            topics.push(topic.clone());
        }
        assert_eq!(topics, ["first", "first", "second", "second", "second", "second"]);
    }

    #[test]
    fn section_3_3_2_3_8_b_a_subscription_identifier_that_was_never_used() {
        let subscribed = |number| {
            let identifier = SubscriptionIdentifier::new(number).unwrap();
            let mut wire = Wire::connected(v5());
            let properties = SubscribeProperties { subscription_identifier: Some(identifier), ..Default::default() };
            wire.client.subscribe_with(&[Subscription::new("t", QOS_0).unwrap()], &properties).unwrap();
            wire.receive(&[suback(1)]);
            wire
        };
        let both = [7, 8].map(|number| SubscriptionIdentifier::new(number).unwrap());
        let (known, unknown) = both.split_at(1);
        let with = |identifiers| {
            let properties =
                PublishProperties { subscription_identifiers: List::from(identifiers), ..Default::default() };
            Packet::from(Publish { properties, ..publish("x", delivery(QOS_0, 0)) })
        };
        assert_eq!(subscribed(7).receive(&[with(known)]), [told("x", QOS_0)]);
        for identifiers in [unknown, &both] {
            let why = Breach::UnknownSubscriptionIdentifier;
            closes(&mut subscribed(7), &[with(identifiers)], why, PROTOCOL_ERROR);
        }
        // With the session its identifiers are gone.
        let mut wire = subscribed(7);
        wire.lose();
        wire.connect(connack());
        closes(&mut wire, &[with(known)], Breach::UnknownSubscriptionIdentifier, PROTOCOL_ERROR);
        // A session that another connection has begun may hold more than is known here.
        let mut wire = subscribed(7);
        wire.resume();
        assert_eq!(wire.receive(&[with(known)]), [told("x", QOS_0)]);
        let mut wire = Wire::new(ClientConfig { clean_start: false, ..v5() });
        wire.connect(present());
        assert_eq!(wire.receive(&[with(unknown)]), [told("x", QOS_0)]);
    }

    #[test]
    fn section_3_3_4_a_more_than_the_own_receive_maximum() {
        let (why, code) = (Breach::ReceiveMaximumExceeded, DisconnectReasonCode::ReceiveMaximumExceeded);
        let limited = |config| ClientConfig { receive_maximum: maximum(2), ..config };
        let qos_2 = |number| published("x", delivery(QOS_2, number));
        let qos_1 = |number| published("x", delivery(QOS_1, number));
        // Neither PUBREC nor an acknowledgement that has not left makes room.
        closes(&mut Wire::connected(limited(v5())), &[qos_2(1), qos_2(2), qos_2(3)], why, code);
        closes(&mut Wire::connected(limited(v5())), &[qos_1(1), qos_1(2), qos_1(3)], why, code);
        closes(&mut Wire::connected(limited(manual())), &[qos_1(1), qos_2(2), qos_1(3)], why, code);
        // What has left does: PUBACK, PUBCOMP, and PUBREC with an error.
        let mut wire = Wire::connected(limited(v5()));
        for _ in 0..10 {
            wire.receive(&[qos_1(1), qos_2(2)]);
            wire.take();
            wire.receive(&[qos_1(3), PubRel::new(id(2)).into()]);
            wire.take();
        }
        assert!(wire.client.is_connected());
        let mut wire = Wire::connected(limited(manual()));
        for _ in 0..10 {
            wire.receive(&[qos_1(1), qos_2(2)]);
            for receipt in core::mem::take(&mut wire.receipts) {
                wire.client.ack(receipt, PubAckReasonCode::QuotaExceeded).unwrap();
            }
            wire.take();
        }
        assert!(wire.client.is_connected());
    }

    /// The server's quota is a new one on each connection, and a PUBREL takes none of it: what an earlier connection has
    /// left behind is not held against this one.
    #[test]
    fn section_3_3_4_a_what_an_earlier_connection_has_left_does_not_count() {
        for (qos, later) in [(QOS_1, false), (QOS_1, true), (QOS_2, false), (QOS_2, true)] {
            let mut wire = Wire::connected(ClientConfig { receive_maximum: maximum(1), ..v5() });
            wire.receive(&[published("before", delivery(QOS_2, 1))]);
            wire.take();
            wire.resume();
            let mut events = wire.receive(&[PubRel::new(id(1)).into()]);
            if later {
                wire.take();
            }
            events.extend(wire.receive(&[published("after", delivery(qos, 2))]));
            assert_eq!(events, [told("after", qos)], "{qos}, {later}");
            assert!(wire.client.is_connected());
        }
    }

    #[test]
    fn section_3_6_2_an_unknown_identifier_is_no_error() {
        let mut wire = Wire::connected(v5());
        assert_eq!(wire.receive(&[PubRel::new(id(7)).into(), PubComp::new(id(8)).into()]), []);
        let reason_code = PubRelReasonCode::PacketIdentifierNotFound;
        wire.assert_sent(&[PubComp { reason_code, ..PubComp::new(id(7)) }.into()]);
        assert_eq!(wire.receive(&[PubRec::new(id(9)).into()]), []);
        wire.assert_sent(&[PubRel { reason_code, ..PubRel::new(id(9)) }.into()]);
        // A PUBCOMP with that code ends a delivery like any other.
        wire.publish("x", QOS_2);
        wire.receive(&[PubRec::new(id(1)).into(), PubComp { reason_code, ..PubComp::new(id(1)) }.into()]);
        assert_eq!(wire.client.open_operations(), 0);
        assert!(wire.client.is_connected());
    }

    #[test]
    fn section_3_14_2_2_2_b_a_server_sends_no_expiry_interval() {
        let mut wire = Wire::connected(v5());
        let properties = DisconnectProperties { session_expiry_interval: Some(5), ..Default::default() };
        let events = wire.receive(&[Disconnect { properties, ..Disconnect::default() }.into()]);
        assert_eq!(events, [Event::Close(Why::Malformed(ReasonCode::ProtocolError))]);
        wire.assert_sent(&[Disconnect { reason_code: PROTOCOL_ERROR, ..Disconnect::default() }.into()]);
    }

    #[test]
    fn section_3_15_1_auth_that_nobody_has_asked_for() {
        for code in [AuthReasonCode::Success, AuthReasonCode::ContinueAuthentication, AuthReasonCode::ReAuthenticate] {
            let step = auth(code, "M", b"").into();
            // Without a method, before and after CONNACK.
            let mut wire = Wire::new(v5());
            wire.open();
            closes(&mut wire, &[step], Breach::UnexpectedAuth, PROTOCOL_ERROR);
            closes(&mut Wire::connected(v5()), &[step], Breach::UnexpectedAuth, PROTOCOL_ERROR);
            // With one, when no exchange is under way.
            let mut wire = Wire::connected_by(authenticating(), authenticated());
            closes(&mut wire, &[step], Breach::UnexpectedAuth, PROTOCOL_ERROR);
            // Before CONNACK success is what CONNACK says, and the server asks for no re-authentication.
            if code != AuthReasonCode::ContinueAuthentication {
                let mut wire = Wire::new(authenticating());
                wire.open();
                closes(&mut wire, &[step], Breach::UnexpectedAuth, PROTOCOL_ERROR);
            }
        }
    }

    #[test]
    fn section_4_9_the_quota_grows_back_and_no_further() {
        let mut wire = Wire::connected_by(v5(), connack_with(receive_maximum(2)));
        for qos in [QOS_1, QOS_2, QOS_2, QOS_1, QOS_1, QOS_1, QOS_1] {
            wire.publish("x", qos);
        }
        assert_eq!(sent_ids(&mut wire), [1, 2]);
        // By PUBACK, with an error or without.
        let reason_code = PubAckReasonCode::QuotaExceeded;
        wire.receive(&[PubAck { reason_code, ..PubAck::new(id(1)) }.into()]);
        let [third] = sent_ids(&mut wire)[..] else { panic!("one message") };
        // By PUBREC with an error.
        wire.receive(&[PubRec { reason_code, ..PubRec::new(id(2)) }.into()]);
        assert_eq!(sent_ids(&mut wire).len(), 1);
        // By PUBCOMP, and not by PUBREC alone.
        wire.receive(&[PubRec::new(id(third)).into()]);
        assert_eq!(wire.client.in_flight(), 2);
        wire.assert_sent(&[PubRel::new(id(third)).into()]);
        wire.receive(&[PubComp::new(id(third)).into()]);
        assert_eq!(sent_ids(&mut wire).len(), 1);
        // Not by what was not sent.
        for number in 100..110 {
            wire.receive(&[PubAck::new(id(number)).into(), PubComp::new(id(number)).into()]);
        }
        wire.assert_silent();
        assert_eq!((wire.client.in_flight(), wire.client.waiting()), (2, 2));
    }

    /// A resumed connection begins with a quota of its own; what is sent again takes it like anything else.
    #[test]
    fn section_4_9_b_the_quota_of_a_resumed_connection() {
        let mut wire = Wire::connected(v5());
        for payload in ["1", "2", "3", "4", "5"] {
            wire.publish(payload, QOS_1);
        }
        wire.take();
        wire.lose();
        wire.connect(present_with(receive_maximum(2)));
        assert_eq!(sent_payloads(&mut wire), ["1", "2"]);
        let new = wire.publish("new", QOS_1);
        wire.assert_silent();
        for (number, payload) in [(1, "3"), (2, "4"), (3, "5")] {
            wire.receive(&[PubAck::new(id(number)).into()]);
            assert_eq!(sent_payloads(&mut wire), [payload]);
        }
        wire.receive(&[PubAck::new(id(4)).into(), PubAck::new(id(5)).into()]);
        let [number] = sent_ids(&mut wire)[..] else { panic!("one message") };
        assert_eq!(wire.receive(&[PubAck::new(id(number)).into()]), [success(new)]);
        // On another connection the server takes many at once.
        for payload in ["1", "2", "3"] {
            wire.publish(payload, QOS_1);
        }
        assert_eq!(sent_payloads(&mut wire), ["1", "2"]);
        wire.lose();
        wire.connect(present());
        assert_eq!(sent_payloads(&mut wire), ["1", "2", "3"]);
        // With more to release than the window is wide, no message is sent before there is room; but all gets through.
        let mut wire = Wire::connected(v5());
        for payload in ["1", "2", "3"] {
            wire.publish(payload, QOS_2);
        }
        wire.receive(&[1, 2, 3].map(|number| PubRec::new(id(number)).into()));
        let last = wire.publish("4", QOS_1);
        wire.take();
        wire.lose();
        wire.connect(present_with(receive_maximum(1)));
        wire.take();
        wire.receive(&[1, 2, 3].map(|number| PubComp::new(id(number)).into()));
        let [number] = sent_ids(&mut wire)[..] else { panic!("one message") };
        assert_eq!(wire.receive(&[PubAck::new(id(number)).into()]), [success(last)]);
    }

    #[test]
    fn section_4_13_1_an_error_is_told_and_the_connection_closed() {
        // Malformed, a protocol error of one packet, and a protocol error of the exchange.
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
}

/// The statements of 3.1.1, by its own numbers.
mod v311 {
    use super::client::v311;
    use super::*;

    /// Clean Session, as opposed to `v311()`.
    fn clean() -> ClientConfig {
        ClientConfig { clean_start: true, ..v311() }
    }

    #[test]
    fn mqtt_2_3_1_2_new_operations_take_an_unused_identifier() {
        let mut wire = Wire::connected(v311());
        for qos in [QOS_1, QOS_2] {
            wire.publish("x", qos);
        }
        wire.subscribe();
        wire.unsubscribe();
        let ids: BTreeSet<_> = sent_ids(&mut wire).into_iter().collect();
        assert!(ids.len() == 4 && !ids.contains(&0), "{ids:?}");
    }

    #[test]
    fn mqtt_2_3_1_3_an_identifier_is_in_use_until_the_last_acknowledgement() {
        let mut wire = Wire::connected(v311());
        wire.publish("1", QOS_1);
        wire.publish("2", QOS_2);
        wire.take();
        wire.resume();
        wire.assert_sent(&[published("1", again(QOS_1, 1)), published("2", again(QOS_2, 2))]);
        wire.receive(&[PubRec::new(id(2)).into()]);
        assert_eq!(wire.client.open_operations(), 2);
        wire.receive(&[PubAck::new(id(1)).into(), PubComp::new(id(2)).into()]);
        assert_eq!(wire.client.open_operations(), 0);
        wire.take();
        let asked = wire.subscribe();
        let ended = wire.unsubscribe();
        let [subscribe, unsubscribe] = sent_ids(&mut wire)[..] else { panic!("two requests") };
        assert_eq!(wire.client.open_operations(), 2);
        let events = wire.receive(&[suback(subscribe), unsuback(unsubscribe, Version::V311)]);
        let expected = [(asked, Done::Subscribed(vec![0])), (ended, Done::Unsubscribed(vec![]))];
        assert_eq!(events, expected.map(|(token, done)| Event::Done(token, done)));
        assert_eq!(wire.client.open_operations(), 0);
    }

    #[test]
    fn mqtt_2_3_1_6_acknowledgements_repeat_the_identifier() {
        let mut wire = Wire::connected(v311());
        wire.receive(&[published("1", delivery(QOS_1, 0x1234)), published("2", delivery(QOS_2, 0xFFFF))]);
        wire.assert_sent(&[PubAck::new(id(0x1234)).into(), PubRec::new(id(0xFFFF)).into()]);
        wire.publish("x", QOS_2);
        wire.take();
        wire.receive(&[PubRec::new(id(1)).into()]);
        wire.assert_sent(&[PubRel::new(id(1)).into()]);
    }

    #[test]
    fn mqtt_3_1_0_1_the_first_packet_is_connect() {
        let mut wire = Wire::new(v311());
        wire.publish("0", QOS_0);
        wire.subscribe();
        wire.assert_silent();
        let sent = wire.open();
        assert_eq!(&sent[..9], b"\x10\x0d\x00\x04MQTT\x04");
        wire.poll();
        wire.assert_silent();
    }

    #[test]
    fn mqtt_3_1_2_4_without_clean_session_it_goes_on() {
        let mut wire = Wire::new(v311());
        let connect = wire.open();
        assert!(!connect_of(&connect, Version::V311).clean_start);
        wire.receive(&[connack().into()]);
        wire.publish("1", QOS_1);
        wire.publish("2", QOS_2);
        wire.take();
        wire.receive(&[published("half", delivery(QOS_2, 9)), PubRec::new(id(2)).into()]);
        wire.client.disconnect(&Disconnect::default()).unwrap();
        wire.poll();
        wire.take();
        // Even after a good end.
        assert_eq!(wire.lose(), []);
        let connect = wire.open();
        assert!(!connect_of(&connect, Version::V311).clean_start);
        assert_eq!(wire.receive(&[present().into()]), [Event::Connected(Resumption::Resumed)]);
        wire.assert_sent(&[PubRel::new(id(2)).into(), published("1", again(QOS_1, 1))]);
        assert_eq!(wire.receive(&[published("half", again(QOS_2, 9))]), []);
    }

    #[test]
    fn mqtt_3_1_2_6_a_clean_session_ends_with_its_connection() {
        let mut wire = Wire::new(clean());
        for _ in 0..2 {
            let connect = wire.open();
            assert!(connect_of(&connect, Version::V311).clean_start);
            assert_eq!(wire.receive(&[connack().into()]), [Event::Connected(Resumption::New)]);
            wire.assert_silent();
            let token = wire.publish("1", QOS_1);
            assert_eq!(wire.receive(&[published("half", delivery(QOS_2, 9))]), [told("half", QOS_2)]);
            wire.take();
            assert_eq!(wire.lose(), [lost(token, Loss::Session)]);
            assert_eq!(wire.client.open_operations(), 0);
        }
    }

    #[test]
    fn mqtt_3_1_2_23_an_idle_client_sends_pingreq() {
        let mut wire = Wire::connected(ClientConfig { keep_alive: 20, ..v311() });
        let pings = pings(&mut wire, 200_000);
        let mut before = 0;
        for &at in &pings {
            assert!(at - before <= 20_000, "{pings:?}");
            before = at;
        }
        assert!(pings.len() >= 10, "{pings:?}");
    }

    #[test]
    fn mqtt_3_1_3_2_the_client_identifier_keys_the_session() {
        let mut wire = Wire::new(v311());
        for connack in [connack(), present(), present()] {
            let connect = wire.open();
            assert_eq!(connect_of(&connect, Version::V311).client_identifier, "c");
            wire.receive(&[connack.into()]);
            wire.lose();
        }
    }

    #[test]
    fn mqtt_3_3_1_1_what_is_sent_again_has_dup() {
        let mut wire = Wire::connected(v311());
        wire.publish("1", QOS_1);
        wire.publish("2", QOS_2);
        wire.take();
        for _ in 0..2 {
            wire.resume();
            wire.assert_sent(&[published("1", again(QOS_1, 1)), published("2", again(QOS_2, 2))]);
        }
    }

    #[test]
    fn mqtt_3_3_4_1_each_qos_has_its_answer() {
        let mut wire = Wire::connected(v311());
        wire.receive(&[
            published("0", delivery(QOS_0, 0)),
            published("1", delivery(QOS_1, 1)),
            published("2", delivery(QOS_2, 2)),
        ]);
        wire.assert_sent(&[PubAck::new(id(1)).into(), PubRec::new(id(2)).into()]);
    }

    #[test]
    fn mqtt_3_14_4_1_and_mqtt_3_14_4_2_disconnect_is_the_end() {
        let mut wire = Wire::connected(ClientConfig { manual_acks: true, ..v311() });
        wire.receive(&[published("x", delivery(QOS_1, 1))]);
        wire.client.disconnect(&Disconnect::default()).unwrap();
        wire.assert_sent(&[Disconnect::default().into()]);
        assert_eq!(wire.poll(), [Event::Close(Why::Requested)]);
        tempt(&mut wire);
        wire.assert_silent();
    }

    #[test]
    fn mqtt_4_1_0_1_and_mqtt_4_1_0_2_the_session_lasts_as_long_as_the_connection() {
        for config in [v311(), clean()] {
            let mut wire = Wire::connected(ClientConfig { keep_alive: 0, ..config });
            wire.publish("1", QOS_1);
            wire.receive(&[published("half", delivery(QOS_2, 9))]);
            wire.take();
            wire.later(10_000_000_000);
            assert_eq!(wire.poll(), []);
            assert_eq!(wire.client.open_operations(), 1);
            assert_eq!(wire.receive(&[published("half", again(QOS_2, 9))]), []);
        }
    }

    #[test]
    fn mqtt_4_3_1_1_qos_0_has_no_dup() {
        let mut wire = Wire::new(v311());
        wire.publish("waits", QOS_0);
        wire.connect(connack());
        wire.publish("now", QOS_0);
        wire.assert_sent(&[published("waits", delivery(QOS_0, 0)), published("now", delivery(QOS_0, 0))]);
        wire.resume();
        wire.assert_silent();
    }

    #[test]
    fn mqtt_4_3_2_1_the_sender_of_qos_1() {
        let mut wire = Wire::connected(v311());
        let first = wire.publish("1", QOS_1);
        wire.publish("2", QOS_1);
        wire.assert_sent(&[published("1", delivery(QOS_1, 1)), published("2", delivery(QOS_1, 2))]);
        wire.later(100_000);
        assert_eq!(wire.client.open_operations(), 2);
        assert_eq!(wire.receive(&[PubAck::new(id(1)).into()]), [success(first)]);
        wire.resume();
        wire.assert_sent(&[published("2", again(QOS_1, 2))]);
    }

    #[test]
    fn mqtt_4_3_2_2_the_receiver_of_qos_1() {
        let mut wire = Wire::connected(v311());
        for how in [delivery(QOS_1, 5), again(QOS_1, 5), delivery(QOS_1, 5)] {
            assert_eq!(wire.receive(&[published("x", how)]).len(), 1);
            wire.assert_sent(&[PubAck::new(id(5)).into()]);
        }
    }

    #[test]
    fn mqtt_4_3_3_1_the_sender_of_qos_2() {
        let mut wire = Wire::connected(v311());
        let first = wire.publish("1", QOS_2);
        wire.publish("2", QOS_2);
        wire.assert_sent(&[published("1", delivery(QOS_2, 1)), published("2", delivery(QOS_2, 2))]);
        assert_eq!(wire.receive(&[PubRec::new(id(1)).into()]), []);
        wire.assert_sent(&[PubRel::new(id(1)).into()]);
        wire.resume();
        wire.assert_sent(&[PubRel::new(id(1)).into(), published("2", again(QOS_2, 2))]);
        assert_eq!(wire.receive(&[PubComp::new(id(1)).into()]), [success(first)]);
    }

    #[test]
    fn mqtt_4_3_3_2_the_receiver_of_qos_2() {
        let mut wire = Wire::connected(v311());
        for payload in ["1", "2"] {
            assert_eq!(wire.receive(&[published(payload, delivery(QOS_2, 5))]), [told(payload, QOS_2)]);
            assert_eq!(wire.receive(&[published(payload, again(QOS_2, 5))]), []);
            assert_eq!(wire.receive(&[PubRel::new(id(5)).into()]), []);
            wire.assert_sent(&[PubRec::new(id(5)).into(), PubRec::new(id(5)).into(), PubComp::new(id(5)).into()]);
        }
    }

    #[test]
    fn mqtt_4_4_0_1_unacknowledged_packets_are_sent_again() {
        let mut wire = Wire::connected(v311());
        wire.publish("1", QOS_1);
        wire.publish("2", QOS_2);
        wire.publish("3", QOS_2);
        wire.receive(&[PubRec::new(id(3)).into()]);
        wire.take();
        wire.resume();
        let expected = [published("1", again(QOS_1, 1)), published("2", again(QOS_2, 2))];
        wire.assert_sent(&[&[PubRel::new(id(3)).into()], &expected[..]].concat());
    }

    #[test]
    fn mqtt_4_5_0_2_what_the_application_ignores_is_acknowledged() {
        let mut wire = Wire::connected(v311());
        wire.receive(&[published("1", delivery(QOS_1, 1)), published("2", delivery(QOS_2, 2))]);
        wire.assert_sent(&[PubAck::new(id(1)).into(), PubRec::new(id(2)).into()]);
    }

    #[test]
    fn mqtt_4_6_0_1_publishes_are_sent_again_in_order() {
        let mut wire = Wire::connected(v311());
        for payload in ["1", "2", "3"] {
            wire.publish(payload, QOS_1);
        }
        wire.receive(&[PubAck::new(id(1)).into(), PubAck::new(id(2)).into()]);
        for payload in ["4", "5"] {
            wire.publish(payload, QOS_2);
        }
        wire.take();
        wire.resume();
        assert_eq!(sent_payloads(&mut wire), ["3", "4", "5"]);
    }

    /// By hand and in the wrong order, or by themselves.
    fn acks(qos: QoS) {
        for by_hand in [false, true] {
            let mut wire = Wire::connected(ClientConfig { manual_acks: by_hand, ..v311() });
            wire.receive(&[3, 1, 2].map(|number| published("x", delivery(qos, number))));
            for receipt in wire.receipts.clone().into_iter().rev() {
                wire.client.ack(receipt, PubAckReasonCode::Success).unwrap();
            }
            assert_eq!(sent_ids(&mut wire), [3, 1, 2]);
        }
    }

    #[test]
    fn mqtt_4_6_0_2_pubacks_go_in_order() {
        acks(QOS_1);
    }

    #[test]
    fn mqtt_4_6_0_3_pubrecs_go_in_order() {
        acks(QOS_2);
    }

    #[test]
    fn mqtt_4_6_0_4_pubrels_go_in_the_order_of_the_pubrecs() {
        let mut wire = Wire::connected(v311());
        for _ in 0..3 {
            wire.publish("x", QOS_2);
        }
        wire.take();
        wire.receive(&[2, 3, 1].map(|number| PubRec::new(id(number)).into()));
        assert_eq!(sent_ids(&mut wire), [2, 3, 1]);
        wire.resume();
        assert_eq!(sent_ids(&mut wire), [2, 3, 1]);
    }

    /// There is no packet that could say why.
    #[test]
    fn mqtt_4_8_0_1_a_violation_closes_the_connection() {
        let cases: [&[u8]; 6] = [
            b"\x00\x00",                  // a packet that does not exist
            b"\xe0\x00",                  // DISCONNECT, which only a client sends
            b"\xf0\x00",                  // AUTH, which this version does not have
            b"\x20\x02\x00\x00",          // a second CONNACK
            b"\x36\x05\x00\x01t\x00\x01", // QoS 3
            b"\x30\x03\x00\x01\x00",      // U+0000 in a topic
        ];
        for bytes in cases {
            let mut wire = Wire::connected(v311());
            let events = wire.receive_bytes(bytes);
            assert!(matches!(events[..], [Event::Close(_)]), "{bytes:x?}: {events:?}");
            assert!(!wire.client.is_connected());
            wire.assert_silent();
        }
        let mut wire = Wire::new(v311());
        wire.open();
        let events = wire.receive(&[Packet::PingResp]);
        assert!(matches!(events[..], [Event::Close(Why::Breach(Breach::BeforeConnAck(_)))]), "{events:?}");
    }

    /// Memory that runs short is the transient error that an engine can know of: what an incoming packet may cost is
    /// bounded, and one beyond that closes the connection.
    #[test]
    fn mqtt_4_8_0_2_a_packet_that_is_not_taken_closes_the_connection() {
        let mut wire = Wire::connected(ClientConfig { maximum_packet_size: 50, ..v311() });
        let events = wire.receive(&[published(&"x".repeat(60), delivery(QOS_1, 1))]);
        assert!(matches!(events[..], [Event::Close(_)]), "{events:?}");
        wire.assert_silent();
        assert!(!wire.client.is_connected());
    }
}

/// Every statement, and the test that shows it, or one of them.
const STATEMENTS: [(&str, &str); 74] = [
    ("MQTT-2.2.1-3", "mqtt_2_2_1_3_new_operations_take_an_unused_identifier"),
    ("MQTT-2.2.1-5", "mqtt_2_2_1_5_acknowledgements_repeat_the_identifier"),
    ("MQTT-3.1.0-1", "mqtt_3_1_0_1_the_first_packet_is_connect"),
    ("MQTT-3.1.2-4", "mqtt_3_1_2_4_clean_start_begins_anew"),
    ("MQTT-3.1.2-20", "mqtt_3_1_2_20_an_idle_client_sends_pingreq"),
    ("MQTT-3.1.2-21", "mqtt_3_1_2_21_and_mqtt_3_2_2_21_server_keep_alive_wins"),
    ("MQTT-3.1.2-23", "mqtt_3_1_2_23_an_expiry_interval_keeps_the_session"),
    ("MQTT-3.1.2-30", "mqtt_3_1_2_30_only_auth_or_disconnect_before_connack"),
    ("MQTT-3.1.3-2", "mqtt_3_1_3_2_the_client_identifier_keys_the_session"),
    ("MQTT-3.2.2-4", "mqtt_3_2_2_4_a_session_that_is_not_known_closes"),
    ("MQTT-3.2.2-5", "mqtt_3_2_2_5_without_a_session_the_state_is_discarded"),
    ("MQTT-3.2.2-11", "mqtt_3_2_2_11_no_qos_above_the_maximum"),
    ("MQTT-3.2.2-14", "mqtt_3_2_2_14_no_retain_where_it_is_not_available"),
    ("MQTT-3.2.2-15", "mqtt_3_2_2_15_nothing_above_the_maximum_packet_size"),
    ("MQTT-3.2.2-17", "mqtt_3_2_2_17_and_mqtt_3_3_2_9_aliases_stay_within_the_maximum"),
    ("MQTT-3.2.2-18", "mqtt_3_2_2_18_no_aliases_unless_the_server_takes_them"),
    ("MQTT-3.2.2-21", "mqtt_3_1_2_21_and_mqtt_3_2_2_21_server_keep_alive_wins"),
    ("MQTT-3.3.1-1", "mqtt_3_3_1_1_what_is_sent_again_has_dup"),
    ("MQTT-3.3.2-7", "mqtt_3_3_2_7_aliases_end_with_the_connection"),
    ("MQTT-3.3.2-9", "mqtt_3_2_2_17_and_mqtt_3_3_2_9_aliases_stay_within_the_maximum"),
    ("MQTT-3.3.2-10", "mqtt_3_3_2_10_every_alias_up_to_the_maximum_is_taken"),
    ("MQTT-3.3.4-1", "mqtt_3_3_4_1_each_qos_has_its_answer"),
    ("MQTT-3.3.4-7", "mqtt_3_3_4_7_at_most_receive_maximum"),
    ("MQTT-3.3.4-8", "mqtt_3_3_4_8_a_full_window_delays_messages_alone"),
    ("MQTT-3.4.2-2", "mqtt_3_4_2_2_and_mqtt_3_4_2_3_puback_leaves_out_what_is_too_large"),
    ("MQTT-3.4.2-3", "mqtt_3_4_2_2_and_mqtt_3_4_2_3_puback_leaves_out_what_is_too_large"),
    ("MQTT-3.5.2-2", "mqtt_3_5_2_2_and_mqtt_3_5_2_3_pubrec_leaves_out_what_is_too_large"),
    ("MQTT-3.5.2-3", "mqtt_3_5_2_2_and_mqtt_3_5_2_3_pubrec_leaves_out_what_is_too_large"),
    ("MQTT-3.6.2-2", "mqtt_3_6_2_2_mqtt_3_6_2_3_mqtt_3_7_2_2_and_mqtt_3_7_2_3_pubrel_and_pubcomp_are_bare"),
    ("MQTT-3.6.2-3", "mqtt_3_6_2_2_mqtt_3_6_2_3_mqtt_3_7_2_2_and_mqtt_3_7_2_3_pubrel_and_pubcomp_are_bare"),
    ("MQTT-3.7.2-2", "mqtt_3_6_2_2_mqtt_3_6_2_3_mqtt_3_7_2_2_and_mqtt_3_7_2_3_pubrel_and_pubcomp_are_bare"),
    ("MQTT-3.7.2-3", "mqtt_3_6_2_2_mqtt_3_6_2_3_mqtt_3_7_2_2_and_mqtt_3_7_2_3_pubrel_and_pubcomp_are_bare"),
    ("MQTT-3.14.2-3", "mqtt_3_14_2_3_and_mqtt_3_14_2_4_disconnect_leaves_out_what_is_too_large"),
    ("MQTT-3.14.2-4", "mqtt_3_14_2_3_and_mqtt_3_14_2_4_disconnect_leaves_out_what_is_too_large"),
    ("MQTT-3.14.4-1", "mqtt_3_14_4_1_nothing_follows_disconnect"),
    ("MQTT-3.14.4-2", "mqtt_3_14_4_2_the_connection_is_closed_after_disconnect"),
    ("MQTT-3.15.2-2", "mqtt_3_15_2_2_and_mqtt_3_15_2_3_auth_is_bare"),
    ("MQTT-3.15.2-3", "mqtt_3_15_2_2_and_mqtt_3_15_2_3_auth_is_bare"),
    ("MQTT-4.1.0-1", "mqtt_4_1_0_1_the_session_lasts_as_long_as_the_connection"),
    ("MQTT-4.3.1-1", "mqtt_4_3_1_1_qos_0_has_no_dup"),
    ("MQTT-4.3.2-1", "mqtt_4_3_2_1_and_mqtt_4_3_2_2_qos_1_begins_with_an_unused_identifier_and_without_dup"),
    ("MQTT-4.3.2-2", "mqtt_4_3_2_1_and_mqtt_4_3_2_2_qos_1_begins_with_an_unused_identifier_and_without_dup"),
    ("MQTT-4.3.2-3", "mqtt_4_3_2_3_qos_1_is_open_until_puback"),
    ("MQTT-4.3.2-4", "mqtt_4_3_2_4_qos_1_is_acknowledged_after_it_was_taken_over"),
    ("MQTT-4.3.2-5", "mqtt_4_3_2_5_after_puback_the_identifier_is_a_new_message"),
    ("MQTT-4.3.3-1", "mqtt_4_3_3_1_and_mqtt_4_3_3_2_qos_2_begins_with_an_unused_identifier_and_without_dup"),
    ("MQTT-4.3.3-2", "mqtt_4_3_3_1_and_mqtt_4_3_3_2_qos_2_begins_with_an_unused_identifier_and_without_dup"),
    ("MQTT-4.3.3-3", "mqtt_4_3_3_3_qos_2_is_unacknowledged_until_pubrec"),
    ("MQTT-4.3.3-4", "mqtt_4_3_3_4_pubrec_without_an_error_is_answered_by_pubrel"),
    ("MQTT-4.3.3-5", "mqtt_4_3_3_5_pubrel_is_unacknowledged_until_pubcomp"),
    ("MQTT-4.3.3-6", "mqtt_4_3_3_6_no_publish_after_pubrel"),
    ("MQTT-4.3.3-7", "mqtt_4_3_3_7_a_message_that_was_sent_does_not_expire"),
    ("MQTT-4.3.3-8", "mqtt_4_3_3_8_qos_2_is_acknowledged_after_it_was_taken_over"),
    ("MQTT-4.3.3-9", "mqtt_4_3_3_9_after_a_refusal_the_identifier_is_a_new_message"),
    ("MQTT-4.3.3-10", "mqtt_4_3_3_10_before_pubrel_a_copy_has_a_pubrec_and_is_not_delivered"),
    ("MQTT-4.3.3-11", "mqtt_4_3_3_11_pubrel_is_answered_by_pubcomp"),
    ("MQTT-4.3.3-12", "mqtt_4_3_3_12_after_pubcomp_the_identifier_is_a_new_message"),
    ("MQTT-4.3.3-13", "mqtt_4_3_3_13_an_expired_message_is_settled_all_the_same"),
    ("MQTT-4.4.0-1", "mqtt_4_4_0_1_resent_on_resumption_alone_and_with_the_same_identifiers"),
    ("MQTT-4.4.0-2", "mqtt_4_4_0_2_a_refusal_ends_the_delivery"),
    ("MQTT-4.5.0-2", "mqtt_4_5_0_2_what_the_application_ignores_is_acknowledged"),
    ("MQTT-4.6.0-1", "mqtt_4_6_0_1_publishes_are_sent_again_in_order"),
    ("MQTT-4.6.0-2", "mqtt_4_6_0_2_pubacks_go_in_order"),
    ("MQTT-4.6.0-3", "mqtt_4_6_0_3_pubrecs_go_in_order"),
    ("MQTT-4.6.0-4", "mqtt_4_6_0_4_pubrels_go_in_the_order_of_the_pubrecs"),
    ("MQTT-4.9.0-1", "mqtt_4_9_0_1_the_quota_is_at_most_the_receive_maximum"),
    ("MQTT-4.9.0-2", "mqtt_4_9_0_2_each_publish_takes_quota"),
    ("MQTT-4.9.0-3", "mqtt_4_9_0_3_without_quota_all_else_is_handled"),
    ("MQTT-4.12.0-3", "mqtt_4_12_0_3_the_answer_has_continue_authentication"),
    ("MQTT-4.12.0-5", "mqtt_4_12_0_5_the_method_stays_the_same"),
    ("MQTT-4.12.0-7", "mqtt_4_12_0_7_without_a_method_no_auth"),
    ("MQTT-4.12.1-1", "mqtt_4_12_1_1_re_authentication_by_the_original_method"),
    ("MQTT-4.12.1-2", "mqtt_4_12_1_2_a_failed_re_authentication_closes"),
    ("MQTT-4.13.2-1", "mqtt_4_13_2_1_an_error_code_ends_the_connection"),
];

/// The same for rules without a number, by section.
const UNNUMBERED: [(&str, &str); 13] = [
    ("3.1.2.11.4-b", "unnumbered::section_3_1_2_11_4_b_a_packet_above_the_own_maximum"),
    ("3.2", "unnumbered::section_3_2_connack_comes_once_and_first"),
    ("3.3.2.3.4-a", "unnumbered::section_3_3_2_3_4_a_an_alias_out_of_range"),
    ("3.3.2.3.4-b", "unnumbered::section_3_3_2_3_4_b_an_alias_that_stands_for_nothing"),
    ("3.3.2.3.4-c", "unnumbered::section_3_3_2_3_4_c_an_alias_can_be_set_again"),
    ("3.3.2.3.8-b", "unnumbered::section_3_3_2_3_8_b_a_subscription_identifier_that_was_never_used"),
    ("3.3.4-a", "unnumbered::section_3_3_4_a_more_than_the_own_receive_maximum"),
    ("3.6.2", "unnumbered::section_3_6_2_an_unknown_identifier_is_no_error"),
    ("3.14.2.2.2-b", "unnumbered::section_3_14_2_2_2_b_a_server_sends_no_expiry_interval"),
    ("3.15.1", "unnumbered::section_3_15_1_auth_that_nobody_has_asked_for"),
    ("4.9", "unnumbered::section_4_9_the_quota_grows_back_and_no_further"),
    ("4.9-b", "unnumbered::section_4_9_b_the_quota_of_a_resumed_connection"),
    ("4.13.1", "unnumbered::section_4_13_1_an_error_is_told_and_the_connection_closed"),
];

/// The same for 3.1.1.
const STATEMENTS_OF_311: [(&str, &str); 27] = [
    ("MQTT-2.3.1-2", "v311::mqtt_2_3_1_2_new_operations_take_an_unused_identifier"),
    ("MQTT-2.3.1-3", "v311::mqtt_2_3_1_3_an_identifier_is_in_use_until_the_last_acknowledgement"),
    ("MQTT-2.3.1-6", "v311::mqtt_2_3_1_6_acknowledgements_repeat_the_identifier"),
    ("MQTT-3.1.0-1", "v311::mqtt_3_1_0_1_the_first_packet_is_connect"),
    ("MQTT-3.1.2-4", "v311::mqtt_3_1_2_4_without_clean_session_it_goes_on"),
    ("MQTT-3.1.2-6", "v311::mqtt_3_1_2_6_a_clean_session_ends_with_its_connection"),
    ("MQTT-3.1.2-23", "v311::mqtt_3_1_2_23_an_idle_client_sends_pingreq"),
    ("MQTT-3.1.3-2", "v311::mqtt_3_1_3_2_the_client_identifier_keys_the_session"),
    ("MQTT-3.3.1-1", "v311::mqtt_3_3_1_1_what_is_sent_again_has_dup"),
    ("MQTT-3.3.4-1", "v311::mqtt_3_3_4_1_each_qos_has_its_answer"),
    ("MQTT-3.14.4-1", "v311::mqtt_3_14_4_1_and_mqtt_3_14_4_2_disconnect_is_the_end"),
    ("MQTT-3.14.4-2", "v311::mqtt_3_14_4_1_and_mqtt_3_14_4_2_disconnect_is_the_end"),
    ("MQTT-4.1.0-1", "v311::mqtt_4_1_0_1_and_mqtt_4_1_0_2_the_session_lasts_as_long_as_the_connection"),
    ("MQTT-4.1.0-2", "v311::mqtt_4_1_0_1_and_mqtt_4_1_0_2_the_session_lasts_as_long_as_the_connection"),
    ("MQTT-4.3.1-1", "v311::mqtt_4_3_1_1_qos_0_has_no_dup"),
    ("MQTT-4.3.2-1", "v311::mqtt_4_3_2_1_the_sender_of_qos_1"),
    ("MQTT-4.3.2-2", "v311::mqtt_4_3_2_2_the_receiver_of_qos_1"),
    ("MQTT-4.3.3-1", "v311::mqtt_4_3_3_1_the_sender_of_qos_2"),
    ("MQTT-4.3.3-2", "v311::mqtt_4_3_3_2_the_receiver_of_qos_2"),
    ("MQTT-4.4.0-1", "v311::mqtt_4_4_0_1_unacknowledged_packets_are_sent_again"),
    ("MQTT-4.5.0-2", "v311::mqtt_4_5_0_2_what_the_application_ignores_is_acknowledged"),
    ("MQTT-4.6.0-1", "v311::mqtt_4_6_0_1_publishes_are_sent_again_in_order"),
    ("MQTT-4.6.0-2", "v311::mqtt_4_6_0_2_pubacks_go_in_order"),
    ("MQTT-4.6.0-3", "v311::mqtt_4_6_0_3_pubrecs_go_in_order"),
    ("MQTT-4.6.0-4", "v311::mqtt_4_6_0_4_pubrels_go_in_the_order_of_the_pubrecs"),
    ("MQTT-4.8.0-1", "v311::mqtt_4_8_0_1_a_violation_closes_the_connection"),
    ("MQTT-4.8.0-2", "v311::mqtt_4_8_0_2_a_packet_that_is_not_taken_closes_the_connection"),
];

/// The lists are complete, and what they name is there: a test whose name says which statement it is about.
#[test]
fn every_statement_has_a_test() {
    let source = include_str!("client_statements.rs");
    let lists = [(&STATEMENTS[..], 74), (&UNNUMBERED, 13), (&STATEMENTS_OF_311, 27)];
    for (list, count) in lists {
        let ids: BTreeSet<_> = list.iter().map(|(id, _)| id).collect();
        assert_eq!((list.len(), ids.len()), (count, count), "one is missing, or there twice");
        for (id, test) in list {
            let (module, name) = test.split_once("::").unwrap_or(("", test));
            assert!(
                source.contains(&format!("#[test]\n{}fn {name}() {{", if module.is_empty() { "" } else { "    " }))
            );
            let number = id.replace(['.', '-'], "_").to_lowercase();
            let words = format!("_{name}_");
            assert!(words.contains(&format!("_{number}_")), "{test} is not about {id}");
        }
    }
}
