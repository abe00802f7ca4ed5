//! `Debug` shows a payload as escaped text and cuts a long one, so that no message fills a log.

#![cfg(feature = "alloc")]

use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
use mqtt_sansio::codec::{Publish, PublishProperties, Will};
use mqtt_sansio::{Instant, Message, Payload, TopicName, Version};

#[test]
fn a_short_payload_is_an_escaped_text() {
    let topic = TopicName::new("t").unwrap();
    let properties = PublishProperties { correlation_data: Some(b"\x00id"), ..Default::default() };
    let publish = Publish { topic, payload: b"21.5 \xB0C\n", properties, ..Publish::default() };
    let printed = format!("{publish:?}");
    assert!(printed.contains(r#"payload: b"21.5 \xb0C\n""#), "{printed}");
    assert!(printed.contains(r#"correlation_data: Some(b"\x00id")"#), "{printed}");
    let will = Will { topic, payload: b"gone", ..Will::default() };
    assert!(format!("{will:?}").contains(r#"payload: b"gone""#), "{will:?}");
}

#[test]
fn a_long_payload_is_cut() {
    let payload = [b'x'; 65];
    let printed = format!("b\"{}\"... (65 bytes)", "x".repeat(64));
    let whole = format!("b\"{}\"", "x".repeat(64));
    let topic = TopicName::new("t").unwrap();

    let publish = Publish { topic, payload: &payload, ..Publish::default() };
    assert!(format!("{publish:?}").contains(&printed), "{publish:?}");
    let will = Will { topic, payload: &payload, ..Will::default() };
    assert!(format!("{will:?}").contains(&printed), "{will:?}");
    let will = mqtt_sansio::Will::new("t", payload);
    assert!(format!("{will:?}").contains(&printed), "{will:?}");
    for content in [Payload::from(&payload), Payload::from(payload.to_vec())] {
        assert!(format!("{content:?}").contains(&printed), "{content:?}");
        let message = Message::new("t", content);
        assert!(format!("{message:?}").contains(&printed), "{message:?}");
    }
    let shorter = Publish { payload: &payload[1..], ..publish };
    let shown = format!("{shorter:?}");
    assert!(shown.contains(&whole) && !shown.contains("..."), "{shown}");

    let mut input = b"\x20\x03\0\0\0".to_vec();
    publish.encode(Version::V5, &mut input).unwrap();
    let mut client = ClientSession::new(ClientConfig::default());
    client.open(Instant::EPOCH).unwrap();
    let mut rest = &input[..];
    let mut messages = 0;
    while let Some(action) = client.poll(Instant::EPOCH, &mut rest) {
        if let Action::Message(message) = action {
            messages += 1;
            assert!(format!("{message:?}").contains(&printed), "{message:?}");
        }
    }
    assert_eq!(messages, 1);
}
