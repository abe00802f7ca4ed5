//! Packets, messages and configurations in the data model of `serde`, here as JSON.

#![cfg(feature = "serde")]

use mqtt_sansio::broker::{BrokerConfig, SharedStrategy};
use mqtt_sansio::client::{Authentication, ClientConfig};
use mqtt_sansio::codec::{self, Decoded, Limits, Packet, PacketBuf, PayloadFormat, PublishProperties};
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{Instant, Message, Overflow, OwnedMessage, QoS, SessionExpiry, TopicName, Version, Will, client};
use serde_json::{Value, from_value, json, to_value};

fn packet(bytes: &[u8]) -> Value {
    let Ok(Decoded::Packet { packet, .. }) = codec::decode(bytes, Version::V5, Limits::default()) else { panic!() };
    to_value(packet).unwrap()
}

#[test]
fn packets_are_serialized_with_the_numbers_of_the_wire() {
    let publish = packet(b"\x32\x13\x00\x03a/b\x00\x0a\x07\x03\x00\x01t\x23\x00\x0321.5");
    let expected = json!({ "Publish": {
        "delivery": { "AtLeastOnce": { "id": 10, "dup": false } },
        "retain": false,
        "topic": "a/b",
        "payload": "21.5",
        "properties": { "topic_alias": 3, "content_type": "t" },
    } });
    assert_eq!(publish, expected);

    let suback = packet(b"\x90\x05\x00\x01\x00\x01\x87");
    assert_eq!(suback, json!({ "SubAck": { "id": 1, "reason_codes": [1, 135], "properties": {} } }));
    assert_eq!(packet(b"\xc0\x00"), json!("PingReq"));
    let disconnect = packet(b"\xe0\x0b\x8b\x09\x26\x00\x01k\x00\x03v\xc3\xa4");
    let properties = json!({ "user_properties": [{ "name": "k", "value": "vä" }] });
    assert_eq!(disconnect, json!({ "Disconnect": { "reason_code": 139, "properties": properties } }));
}

/// Each packet of every type has a form, and binary payloads are numbers.
#[test]
fn bytes_that_are_no_text_are_numbers() {
    let publish = packet(b"\x30\x06\x00\x01a\x00\xff\x00");
    assert_eq!(publish["Publish"]["payload"], json!([255, 0]));
    assert!(matches!(
        codec::decode(b"\xd0\0", Version::V5, Limits::default()),
        Ok(Decoded::Packet { packet: Packet::PingResp, .. })
    ));
}

#[test]
fn received_messages_are_serialized() {
    let mut session = client::ClientSession::new(ClientConfig::default());
    session.open(Instant::EPOCH).unwrap();
    let mut input = &b"\x20\x03\0\0\0\x30\x08\x00\x01a\x03\x09\x00\x001"[..];
    while let Some(action) = session.poll(Instant::EPOCH, &mut input) {
        if let client::Action::Message(message) = action {
            let value = to_value(&message).unwrap();
            assert_eq!((&value["topic"], &value["payload"], &value["qos"]), (&json!("a"), &json!("1"), &json!(0)));
            assert_eq!(to_value(Message::from(&message)).unwrap()["topic"], json!("a"));
            return;
        }
    }
    panic!("no message");
}

#[test]
fn configurations_survive_the_way_there_and_back() {
    let config = ClientConfig {
        version: Version::V311,
        client_id: "thermo-7".into(),
        session_expiry_interval: SessionExpiry::after(60),
        keep_alive: None,
        will: Some(Box::new(Will {
            payload: vec![0xFF, 0],
            qos: QoS::ExactlyOnce,
            payload_format_indicator: Some(PayloadFormat::Utf8),
            correlation_data: Some(vec![1]),
            user_properties: vec![("a".into(), "b".into())],
            ..Will::new("gone", "")
        })),
        password: Some((*b"secret").into()),
        authentication: Some(Box::new(Authentication { method: "M".into(), data: Some(vec![7]) })),
        overflow: Overflow::DropOldest,
        ..ClientConfig::default()
    };
    let value = to_value(&config).unwrap();
    assert_eq!(
        (&value["version"], &value["password"], &value["overflow"]),
        (&json!("3.1.1"), &json!("secret"), &json!("drop_oldest"))
    );
    assert_eq!(from_value::<ClientConfig>(value).unwrap(), config);

    let config = ServerConfig { max_stored: 7, ..ServerConfig::default() };
    assert_eq!(from_value::<ServerConfig>(to_value(&config).unwrap()).unwrap(), config);

    let config = BrokerConfig { shared_strategy: SharedStrategy::LeastLoaded, ..BrokerConfig::default() };
    let value = to_value(&config).unwrap();
    assert_eq!(value.get("secret"), None, "a secret stays where it is");
    let restored = BrokerConfig { secret: config.secret.clone(), ..from_value(value).unwrap() };
    assert_eq!(restored, config);
}

#[test]
fn a_configuration_needs_only_what_differs_from_the_default() {
    let config: ClientConfig = from_value(json!({ "client_id": "c", "keep_alive": 10, "password": [1, 255] })).unwrap();
    let expected = ClientConfig {
        client_id: "c".into(),
        keep_alive: core::num::NonZeroU16::new(10),
        password: Some((*b"\x01\xff").into()),
        ..ClientConfig::default()
    };
    assert_eq!(config, expected);
    let broker: BrokerConfig = from_value(json!({ "server": { "maximum_qos": 1 }, "max_retained": 5 })).unwrap();
    assert_eq!((broker.server.maximum_qos, broker.max_retained), (QoS::AtLeastOnce, 5));
}

#[test]
fn what_is_no_configuration_is_an_error_that_says_where() {
    let misspelt = from_value::<ClientConfig>(json!({ "keepalive": 10 })).unwrap_err();
    assert!(misspelt.to_string().contains("unknown field `keepalive`"), "{misspelt}");
    let qos = from_value::<ServerConfig>(json!({ "maximum_qos": 3 })).unwrap_err();
    assert!(qos.to_string().contains("0, 1 or 2"), "{qos}");
    assert!(from_value::<ClientConfig>(json!({ "version": "4" })).is_err());
}

#[test]
fn owned_messages_and_packets_survive_the_way_there_and_back() {
    let properties = PublishProperties {
        response_topic: Some(TopicName::new("answers").unwrap()),
        correlation_data: Some(b"\xff7"),
        message_expiry_interval: Some(60),
        ..PublishProperties::default()
    };
    let message = Message::new("a/b", "21.5").qos(QoS::AtLeastOnce).retain(true).properties(properties);
    let message = OwnedMessage::try_from(message).unwrap();
    let value = to_value(&message).unwrap();
    let expected = json!({
        "topic": "a/b", "payload": "21.5", "qos": 1, "retain": true,
        "message_expiry_interval": 60, "response_topic": "answers", "correlation_data": [255, 55],
    });
    assert_eq!(value, expected);
    assert_eq!(from_value::<OwnedMessage>(value).unwrap(), message);
    let short: OwnedMessage = from_value(json!({ "topic": "a" })).unwrap();
    assert_eq!(short, OwnedMessage::try_from(Message::new("a", "")).unwrap());
    assert!(from_value::<OwnedMessage>(json!({ "topic": "a/#" })).is_err());

    let packet = PacketBuf::encode(&Packet::PingReq, Version::V311).unwrap();
    let value = to_value(&packet).unwrap();
    assert_eq!(value, json!(["3.1.1", [0xC0, 0]]));
    assert_eq!(from_value::<PacketBuf>(value).unwrap(), packet);
    for invalid in [json!(["3.1.1", [0xC0]]), json!(["3.1.1", [0xC0, 0, 0]]), json!(["3.1.1", [0xC0, 1]])] {
        assert!(from_value::<PacketBuf>(invalid).is_err());
    }
}
