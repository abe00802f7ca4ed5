//! Messages that are made of wills.

#![cfg(feature = "alloc")]

use bytes::{Buf, Bytes};
use mqtt_sansio::client::{ClientConfig, ClientSession};
use mqtt_sansio::codec::{List, PayloadFormat, PublishProperties, UserProperty};
use mqtt_sansio::{Instant, Message, Payload, PublishError, QoS, TopicName, Utf8Str, Will};

const NOW: Instant = Instant::EPOCH;

fn will() -> Will {
    Will {
        qos: QoS::AtLeastOnce,
        retain: true,
        delay_interval: 5,
        payload_format_indicator: Some(PayloadFormat::Utf8),
        message_expiry_interval: Some(60),
        content_type: Some("text/plain".into()),
        response_topic: Some("answers/7".into()),
        correlation_data: Some(vec![0, 7]),
        user_properties: vec![("site".into(), "berlin".into()), ("site".into(), "kiel".into())],
        ..Will::new("home/thermo-7/state", "lost")
    }
}

/// The bytes that a connected client sends for a message.
fn published(message: &Message<'_>) -> Vec<u8> {
    let mut client = ClientSession::new(ClientConfig::default());
    client.open(NOW).unwrap();
    let connect = client.transmit().remaining();
    client.transmit().advance(connect);
    while client.poll(NOW, &mut &b"\x20\x03\0\0\0"[..]).is_none() {}
    client.publish(NOW, message).unwrap();
    client.transmit().chunk().to_vec()
}

#[test]
fn the_message_of_a_will_has_its_content() {
    let will = will();
    let message = Message::try_from(&will).unwrap();
    let user_properties = ["berlin", "kiel"].map(|city| UserProperty::new("site", city).unwrap());
    let properties = PublishProperties {
        payload_format_indicator: Some(PayloadFormat::Utf8),
        message_expiry_interval: Some(60),
        content_type: Some(Utf8Str::new("text/plain").unwrap()),
        response_topic: Some(TopicName::new("answers/7").unwrap()),
        correlation_data: Some(&[0, 7]),
        user_properties: (&user_properties).into(),
        ..PublishProperties::default()
    };
    let by_hand = Message::new("home/thermo-7/state", "lost").qos(QoS::AtLeastOnce).retain(true).properties(properties);
    assert_eq!(message, by_hand);
    assert_eq!(message.get_topic(), b"home/thermo-7/state");
    assert_eq!(message.get_payload(), b"lost");
    assert_eq!((message.get_qos(), message.get_retain()), (QoS::AtLeastOnce, true));
    assert_eq!(*message.get_properties(), properties);
    assert_eq!(published(&message), published(&by_hand));
}

#[test]
fn texts_of_a_will_that_are_not_valid_are_errors() {
    let broken = [
        Will { content_type: Some("a\0".into()), ..will() },
        Will { user_properties: vec![("fine".into(), "fine".into()), ("a\0".into(), "fine".into())], ..will() },
        Will { user_properties: vec![("fine".into(), "a\0".into())], ..will() },
        Will { response_topic: Some("a\0".into()), ..will() },
        Will { response_topic: Some("a/+".into()), ..will() },
    ];
    for will in broken {
        assert!(Message::try_from(&will).is_err(), "{will:?}");
    }
    // The topic is validated when the message is published.
    let wild = Will { topic: "a/#".into(), ..will() };
    let message = Message::try_from(&wild).unwrap();
    assert!(matches!(message.checked(), Err(PublishError::Topic(_))));
}

#[test]
fn user_properties_of_owned_texts_are_a_list_like_any_other() {
    let owned = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())];
    let list = List::<UserProperty<'_>>::try_from(&owned[..]).unwrap();
    let slice = [UserProperty::new("a", "1").unwrap(), UserProperty::new("b", "").unwrap()];
    assert_eq!(list, List::from(&slice));
    assert_eq!((list.len(), list.is_empty(), list.iter().len()), (2, false, 2));
    assert_eq!(list.iter().collect::<Vec<_>>(), slice);
    let long = [("x".repeat(65_536), String::new())];
    assert!(List::<UserProperty<'_>>::try_from(&long[..]).is_err());
}

/// A payload is its bytes, wherever they are; only those that were given as shared ones are shared.
#[test]
fn payloads_of_every_kind() {
    let (bytes, text) = (Bytes::from_static(b"abc"), String::from("abc"));
    let shared: [Payload<'_>; 4] = [(&bytes).into(), bytes.clone().into(), text.clone().into(), b"abc".to_vec().into()];
    let vector = b"abc".to_vec();
    let borrowed: [Payload<'_>; 5] = ["abc".into(), (&text).into(), b"abc".into(), b"abc"[..].into(), (&vector).into()];
    assert!(shared.iter().all(|payload| matches!(payload, Payload::Shared(_))));
    assert!(borrowed.iter().all(|payload| matches!(payload, Payload::Borrowed(_))));
    for payload in shared.iter().chain(&borrowed) {
        assert_eq!(payload.as_bytes(), b"abc");
        assert_eq!(*payload, borrowed[0]);
        assert_ne!(*payload, Payload::from("abd"));
        assert_ne!(*payload, Payload::default());
    }
    assert_eq!(Payload::default().as_bytes(), b"");
}
