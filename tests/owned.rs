//! Owned messages, packets and outcomes: nothing is lost on the way from the borrowed form and back, and what came in
//! shared bytes is shared.

#![cfg(feature = "alloc")]

use core::num::NonZeroU16;

use bytes::{Buf, Bytes};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession, OwnedConnected, Resumption};
use mqtt_sansio::codec::{
    AckProperties, ConnAck, ConnAckProperties, Delivery, Limits, List, PacketBuf, PayloadFormat, Publish,
    PublishProperties, SubAckReasonCode, Subscription, SubscriptionIdentifier, UnsubAckReasonCode, UserProperty,
};
use mqtt_sansio::{
    AbandonReason, Instant, Message, Outcome, OwnedMessage, OwnedOutcome, PacketId, QoS, ReasonCode, ReceivedMessage,
    TopicFilter, TopicName, Utf8Str, Version,
};

const NOW: Instant = Instant::EPOCH;

/// A client that is connected with manual acknowledgements and topic aliases.
fn connected(version: Version) -> ClientSession {
    let config = ClientConfig { version, manual_acks: true, topic_alias_maximum: 3, ..ClientConfig::default() };
    let mut client = ClientSession::new(config);
    client.open(NOW).unwrap();
    let connack: &[u8] = if version == Version::V5 { b"\x20\x03\0\0\0" } else { b"\x20\x02\0\0" };
    assert!(matches!(client.poll(NOW, &mut &connack[..]), Some(Action::Connected(_))));
    let taken = client.transmit().remaining();
    client.transmit().advance(taken);
    client
}

fn bytes_of(publish: &Publish<'_>, version: Version) -> Bytes {
    PacketBuf::encode(&(*publish).into(), version).unwrap().into_bytes()
}

/// Gives the input to a client, and returns what `judge` makes of the one message in it.
fn receive<T>(version: Version, input: &[u8], judge: impl FnOnce(ReceivedMessage<'_>) -> T) -> T {
    let mut client = connected(version);
    let mut rest = input;
    let Some(Action::Message(message)) = client.poll(NOW, &mut rest) else { panic!("no message") };
    judge(message)
}

fn full_properties<'a>(user: &'a [UserProperty<'a>], ids: &'a [SubscriptionIdentifier]) -> PublishProperties<'a> {
    PublishProperties {
        payload_format_indicator: Some(PayloadFormat::Utf8),
        message_expiry_interval: Some(60),
        content_type: Some(Utf8Str::new("text/plain").unwrap()),
        response_topic: Some(TopicName::new("answers/1").unwrap()),
        correlation_data: Some(b"\x00\x01"),
        subscription_identifiers: List::from(ids),
        topic_alias: None,
        user_properties: List::from(user),
    }
}

#[test]
fn an_owned_message_has_all_that_was_received() {
    let user = [UserProperty::new("a", "1").unwrap(), UserProperty::new("a", "2").unwrap()];
    let ids = [7, 268_435_455].map(|id| SubscriptionIdentifier::new(id).unwrap());
    for version in [Version::V311, Version::V5] {
        for (qos, dup, retain) in [(QoS::AtMostOnce, false, true), (QoS::ExactlyOnce, true, false)] {
            let properties = if version == Version::V5 {
                // Without a SUBSCRIBE of this client no subscription identifier is expected.
                PublishProperties { subscription_identifiers: List::EMPTY, ..full_properties(&user, &ids) }
            } else {
                PublishProperties::default()
            };
            let delivery = Delivery::new(qos, PacketId::MIN, dup);
            let topic = TopicName::new("home/küche").unwrap();
            let input = bytes_of(&Publish { delivery, retain, topic, payload: b"21.5", properties }, version);
            let owned = receive(version, &input, |message| {
                let owned = message.to_owned();
                assert_eq!(owned, message.to_owned_in(&input));
                assert_eq!(owned.ack_handle(), message.ack_handle);
                assert_eq!(owned.ack_handle().is_some(), qos != QoS::AtMostOnce);
                owned
            });
            assert_eq!((owned.topic(), &owned.payload()[..]), (topic, &b"21.5"[..]));
            assert_eq!((owned.qos(), owned.dup(), owned.retain(), owned.missing()), (qos, dup, retain, 0));
            assert_eq!(owned.properties(), properties);
            let message = Message::from(&owned);
            assert_eq!((message.get_topic(), message.get_payload()), (topic.as_bytes(), &b"21.5"[..]));
            assert_eq!((message.get_qos(), message.get_retain()), (qos, retain));
            assert_eq!(*message.get_properties(), properties);
        }
    }
}

#[test]
fn subscription_identifiers_are_held_and_not_passed_on() {
    let ids = [7, 268_435_455].map(|id| SubscriptionIdentifier::new(id).unwrap());
    let properties = full_properties(&[], &ids);
    let owned = OwnedMessage::try_from(Message::new("a", "1").properties(properties)).unwrap();
    assert_eq!(owned.properties().subscription_identifiers, List::from(&ids));
    let forwarded = Message::from(&owned);
    assert_eq!(*forwarded.get_properties(), PublishProperties { subscription_identifiers: List::EMPTY, ..properties });
}

#[test]
fn a_topic_alias_is_resolved() {
    let mut client = connected(Version::V5);
    let mut input = &b"\x30\x08\x00\x01a\x03\x23\x00\x01b\x30\x07\x00\x00\x03\x23\x00\x01c"[..];
    let mut topics = Vec::new();
    while let Some(Action::Message(message)) = client.poll(NOW, &mut input) {
        let owned = message.to_owned();
        assert!(owned.properties().is_empty());
        topics.push((owned.topic().to_string(), owned.into_payload()));
    }
    assert_eq!(topics, [("a".into(), Bytes::from("b")), ("a".into(), Bytes::from("c"))]);
}

/// As [`Message::reply_to`]: the topic and the correlation data of the request and its QoS, and nothing else of it.
#[test]
fn an_owned_request_is_answered() {
    let user = [UserProperty::new("a", "1").unwrap()];
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let message = Message::new("questions", "6 * 7").retain(true).qos(qos);
        let request = OwnedMessage::try_from(message.properties(full_properties(&user, &[]))).unwrap();
        let reply = OwnedMessage::try_from(request.reply("42").unwrap()).unwrap();
        assert_eq!((reply.topic().as_str(), &reply.payload()[..], reply.qos()), ("answers/1", &b"42"[..], qos));
        let expected = PublishProperties { correlation_data: Some(b"\x00\x01"), ..PublishProperties::default() };
        assert_eq!((reply.properties(), reply.retain()), (expected, false));
        let unanswerable = OwnedMessage::try_from(Message::new("questions", "?").qos(qos)).unwrap();
        assert!(unanswerable.reply("42").is_none(), "it has no Response Topic");
    }
}

#[test]
fn a_payload_in_shared_bytes_is_not_copied() {
    for len in [1, 5000] {
        let payload = vec![7; len];
        let topic = TopicName::new("a").unwrap();
        let input = bytes_of(&Publish { topic, payload: &payload, ..Publish::default() }, Version::V5);
        receive(Version::V5, &input, |message| {
            let owned = message.to_owned_in(&input);
            assert!(std::ptr::eq(&owned.payload()[..], message.payload));
            let copied = message.to_owned_in(&Bytes::from(input.to_vec()));
            assert!(!std::ptr::eq(&copied.payload()[..], message.payload));
            assert_eq!(owned, copied);
            // Bytes that begin inside or end inside the payload do not contain it.
            for part in [input.slice(input.len() - len + 1..), input.slice(..input.len() - 1)] {
                assert_eq!(message.to_owned_in(&part), owned);
            }
        });
    }
    let shared = Bytes::from(vec![7; 100]);
    let owned = OwnedMessage::try_from(Message::new("a", shared.clone())).unwrap();
    assert_eq!(owned.payload().as_ptr(), shared.as_ptr());
}

#[test]
fn an_invalid_message_is_refused() {
    for topic in ["", "a/+", "a\0"] {
        assert!(OwnedMessage::try_from(Message::new(topic, "1")).is_err(), "{topic:?}");
    }
    let alias = PublishProperties { topic_alias: core::num::NonZeroU16::new(1), ..PublishProperties::default() };
    assert!(OwnedMessage::try_from(Message::new("a", "1").properties(alias)).is_err());
    let data = vec![0; 65_536];
    let too_long = PublishProperties { correlation_data: Some(&data), ..PublishProperties::default() };
    assert!(OwnedMessage::try_from(Message::new("a", "1").properties(too_long)).is_err());
}

#[test]
fn the_topic_of_a_message_is_compared_with_text() {
    for version in [Version::V311, Version::V5] {
        let publish = Publish { topic: TopicName::new("a/b").unwrap(), ..Publish::default() };
        receive(version, &bytes_of(&publish, version), |message| {
            assert!(message.topic == "a/b" && message.topic == *"a/b");
            assert!(message.topic != "a/c" && message.topic != *"a/c");
            assert!(message.topic == message.topic.clone());
        });
    }
}

#[test]
fn a_topic_of_any_length_is_found() {
    for len in [1, 126, 127, 128, 16_380, 65_535] {
        let topic = "t".repeat(len);
        let owned = OwnedMessage::try_from(Message::new(&topic, "1")).unwrap();
        assert_eq!(owned.topic(), *topic.as_str());
        assert!(owned.properties().is_empty());
    }
}

#[test]
fn owned_values_cross_threads() {
    fn check<T: Send + Sync + Clone + 'static>() {}
    check::<OwnedConnected>();
    check::<OwnedMessage>();
    check::<OwnedOutcome>();
    check::<PacketBuf>();
}

#[test]
fn an_owned_outcome_is_the_outcome() {
    let user = [UserProperty::new("a", "1").unwrap()];
    let properties =
        AckProperties { reason_string: Some(Utf8Str::new("because").unwrap()), user_properties: List::from(&user) };
    let granted = [SubAckReasonCode::GrantedQoS1, SubAckReasonCode::NotAuthorized];
    let removed = [UnsubAckReasonCode::Success, UnsubAckReasonCode::NoSubscriptionExisted];
    let mut outcomes = vec![Outcome::Sent, Outcome::Abandoned(AbandonReason::Unanswered { tries: 3 })];
    for properties in [AckProperties::default(), properties] {
        for reason_code in [ReasonCode::Success, ReasonCode::NoMatchingSubscribers, ReasonCode::NotAuthorized] {
            outcomes.push(Outcome::Acknowledged { reason_code, properties });
            outcomes.push(Outcome::AtLeastOnce { reason_code, properties });
        }
        outcomes.push(Outcome::Subscribed { reason_codes: List::from(&granted), properties });
        outcomes.push(Outcome::Unsubscribed { reason_codes: List::from(&removed), properties });
    }
    outcomes.push(Outcome::Unsubscribed { reason_codes: List::EMPTY, properties: AckProperties::default() });
    for outcome in &outcomes {
        let owned = outcome.to_owned();
        assert_eq!(owned.outcome(), *outcome);
        assert_eq!(owned.is_success(), outcome.is_success());
        assert_eq!(format!("{owned:?}"), format!("{outcome:?}"));
    }
}

#[test]
fn the_outcome_of_every_version_can_be_owned() {
    for (version, suback, unsuback) in [
        (Version::V311, &b"\x90\x03\x00\x01\x80"[..], &b"\xb0\x02\x00\x02"[..]),
        (Version::V5, &b"\x90\x04\x00\x01\x00\x02"[..], &b"\xb0\x04\x00\x02\x00\x11"[..]),
    ] {
        let mut client = connected(version);
        let filter = TopicFilter::new("a/#").unwrap();
        client.subscribe(NOW, &[Subscription::with_filter(filter, QoS::ExactlyOnce)]).unwrap();
        client.unsubscribe(NOW, &[filter]).unwrap();
        for mut input in [suback, unsuback] {
            let Some(Action::Done { outcome, .. }) = client.poll(NOW, &mut input) else { panic!("no outcome") };
            assert_eq!(outcome.to_owned().outcome(), outcome);
        }
    }
}

/// The report of a connection, with and without properties.
#[test]
fn an_owned_report_of_a_connection_has_all_that_was_received() {
    let pairs = [UserProperty { name: Utf8Str::new("a").unwrap(), value: Utf8Str::new("b").unwrap() }];
    let full = ConnAckProperties {
        receive_maximum: NonZeroU16::new(7),
        assigned_client_identifier: Some(Utf8Str::new("c-17").unwrap()),
        reason_string: Some(Utf8Str::new("welcome").unwrap()),
        user_properties: List::from(&pairs[..]),
        server_keep_alive: Some(9),
        ..ConnAckProperties::default()
    };
    for properties in [full, ConnAckProperties::default()] {
        let mut client = ClientSession::new(ClientConfig::default());
        client.open(NOW).unwrap();
        let connack = ConnAck { properties, ..ConnAck::default() };
        let bytes = PacketBuf::encode(&connack.into(), Version::V5).unwrap().into_bytes();
        let Some(Action::Connected(connected)) = client.poll(NOW, &mut &bytes[..]) else { panic!("not connected") };
        let owned = connected.to_owned();
        assert_eq!((owned.session, owned.server), (Resumption::New, *client.server()));
        assert_eq!(owned.properties(), properties);
        assert_eq!(owned.clone(), owned);
    }
}

#[test]
fn owned_packets_are_the_bytes_of_the_wire() {
    let connect = Bytes::from_static(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04rose\xc0\x00\x30");
    let mut input = connect.clone();
    let first = PacketBuf::decode(&mut input, Version::V5, Limits::default()).unwrap().unwrap();
    assert_eq!(first.version(), Version::V311, "CONNECT contains its version");
    assert_eq!(first.as_bytes().as_ptr(), connect.as_ptr(), "nothing is copied");
    let again = PacketBuf::encode(&first.packet(), first.version()).unwrap();
    assert_eq!(again, first);
    let second = PacketBuf::decode(&mut input, Version::V5, Limits::default()).unwrap().unwrap();
    assert_eq!(&second.into_bytes()[..], b"\xc0\x00");
    assert_eq!(PacketBuf::decode(&mut input, Version::V5, Limits::default()), Ok(None));
    assert_eq!(&input[..], b"\x30");
    let mut wrong = Bytes::from_static(b"\xc1\x00");
    assert!(PacketBuf::decode(&mut wrong, Version::V5, Limits::default()).is_err());
    assert_eq!(wrong.len(), 2);
}
