//! The texts of errors of commands name the field that is wrong.

#![cfg(feature = "std")]

use mqtt_sansio::client::{Authentication, ClientConfig, ClientSession};
use mqtt_sansio::codec::{
    ConnAckProperties, ConnAckReasonCode, Disconnect, DisconnectProperties, PublishProperties, SubscribeProperties,
    Subscription, SubscriptionIdentifier,
};
use mqtt_sansio::server::{Accept, Acceptor, ServerConfig};
use mqtt_sansio::{Instant, Message, QoS, TopicName, Version, Will};

const NOW: Instant = Instant::EPOCH;

/// The text of an error that there must be.
#[track_caller]
fn text<T, E: core::fmt::Display>(result: Result<T, E>) -> String {
    result.err().expect("an error").to_string()
}

fn connected(properties: &[u8]) -> ClientSession {
    let mut client = ClientSession::new(ClientConfig::default());
    client.open(NOW).unwrap();
    let mut connack = vec![0x20, properties.len() as u8 + 3, 0, 0, properties.len() as u8];
    connack.extend_from_slice(properties);
    client.poll(NOW, &mut &connack[..]).unwrap();
    client
}

/// [5.0: MQTT-3.2.2-11, MQTT-3.2.2-14, MQTT-3.2.2-15, MQTT-3.3.4-6]
#[test]
fn a_message() {
    let mut client = connected(b"\x24\x01\x25\x00\x27\x00\x00\x00\x20");
    let qos_1 = |topic| Message::new(topic, "x").qos(QoS::AtLeastOnce);
    assert_eq!(text(client.publish(NOW, &qos_1("a/+"))), "topic contains the wildcard '+' (at byte 2)");
    assert_eq!(text(client.publish(NOW, &qos_1(""))), "topic is empty (at byte 0)");
    assert_eq!(
        text(client.publish(NOW, &Message::new("a", "x").qos(QoS::ExactlyOnce))),
        "qos is above the Maximum QoS of the server, 1 [MQTT-3.2.2-11]"
    );
    assert_eq!(
        text(client.publish(NOW, &Message::new("a", "x").retain(true))),
        "retain is set, but the server does not retain messages [MQTT-3.2.2-14]"
    );
    assert_eq!(
        text(client.publish(NOW, &qos_1("a topic that takes up all the room"))),
        "PUBLISH is larger than the 32 bytes that are accepted [MQTT-3.2.2-15, MQTT-3.1.2-24]"
    );
    let with = |properties| Message::new("a", "x").properties(properties);
    let topic_alias = 1.try_into().ok();
    assert_eq!(
        text(client.publish(NOW, &with(PublishProperties { topic_alias, ..Default::default() }))),
        "topic alias is set, but the session assigns topic aliases"
    );
    let identifiers = [SubscriptionIdentifier::new(1).unwrap()];
    let subscription_identifiers = (&identifiers).into();
    assert_eq!(
        text(client.publish(NOW, &with(PublishProperties { subscription_identifiers, ..Default::default() }))),
        "subscription identifiers are set, but a client sends none [MQTT-3.3.4-6]"
    );
    let response_topic = Some(TopicName::new("r").unwrap());
    let mut old = ClientSession::new(ClientConfig { version: Version::V311, ..ClientConfig::default() });
    let asking = with(PublishProperties { response_topic, ..Default::default() }).qos(QoS::AtLeastOnce);
    assert_eq!(text(old.publish(NOW, &asking)), "properties of PUBLISH cannot be encoded in MQTT 3.1.1");
}

/// [5.0: MQTT-3.8.3-2]
#[test]
fn a_subscription() {
    let mut client = connected(b"\x28\x00\x29\x00\x2a\x00");
    let subscription = |filter| Subscription::new(filter, QoS::AtMostOnce).unwrap();
    assert_eq!(
        text(client.subscribe(NOW, &[subscription("a/#")])),
        "topic filter is not supported by the server: 0xa2 (Wildcard Subscriptions not supported)"
    );
    assert_eq!(
        text(client.subscribe(NOW, &[subscription("$share/a/b")])),
        "topic filter is not supported by the server: 0x9e (Shared Subscriptions not supported)"
    );
    let subscription_identifier = SubscriptionIdentifier::new(1).ok();
    let properties = SubscribeProperties { subscription_identifier, ..Default::default() };
    assert_eq!(
        text(client.subscribe_with(NOW, &[subscription("a")], &properties)),
        "subscription identifier is not supported by the server: 0xa1 (Subscription Identifiers not supported)"
    );
    assert!(text(client.subscribe(NOW, &[])).starts_with("SUBSCRIBE: payload "), "a list of filters is not empty");
}

/// [5.0: MQTT-1.5.4-2, MQTT-3.1.3-4, MQTT-3.1.3-11, MQTT-3.1.3-12, MQTT-3.3.2-13, MQTT-3.3.2-19]
#[test]
fn a_configuration_of_a_client() {
    let bad = || "a\0".to_owned();
    let authentication = Some(Box::new(Authentication { method: bad(), data: None }));
    let will = |will| ClientConfig { will: Some(Box::new(will)), ..ClientConfig::default() };
    for (config, field) in [
        (ClientConfig { client_id: bad(), ..ClientConfig::default() }, "client identifier"),
        (ClientConfig { user_name: Some(bad().into()), ..ClientConfig::default() }, "user name"),
        (ClientConfig { authentication, ..ClientConfig::default() }, "authentication method"),
        (ClientConfig { user_properties: vec![("a".into(), bad())], ..ClientConfig::default() }, "user property"),
        (will(Will::new(bad(), "x")), "will topic"),
        (will(Will { content_type: Some(bad()), ..Will::new("a", "x") }), "content type"),
        (will(Will { response_topic: Some(bad()), ..Will::new("a", "x") }), "response topic"),
        (will(Will { user_properties: vec![(bad(), "a".into())], ..Will::new("a", "x") }), "user property"),
    ] {
        let text = text(ClientSession::new(config).open(NOW));
        assert_eq!(text, format!("{field} contains U+0000 (at byte 1)"));
    }
    let wildcard = will(Will::new("a/#", "x"));
    assert_eq!(text(ClientSession::new(wildcard).open(NOW)), "will topic contains the wildcard '#' (at byte 2)");
}

#[test]
fn an_acceptance_and_a_refusal() {
    let mut acceptor = Acceptor::new(ServerConfig::default(), NOW);
    assert_eq!(text(acceptor.refuse(NOW, ConnAckReasonCode::Banned)), "there is no CONNECT to be answered");
    let connect = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00";
    acceptor.poll(NOW, &mut &connect[..]).unwrap();
    assert_eq!(
        text(acceptor.accept(NOW, None, Accept::default())),
        "assigned client identifier is missing: the client has no client identifier [MQTT-3.1.3-6]"
    );
    let bad = || Some("a\0".to_owned());
    for (accept, field) in [
        (Accept { assigned_client_id: bad(), ..Accept::default() }, "assigned client identifier"),
        (Accept { server_reference: bad(), ..Accept::default() }, "server reference"),
        (Accept { reason_string: bad(), ..Accept::default() }, "reason string"),
    ] {
        let accept = Accept { assigned_client_id: accept.assigned_client_id.or(Some("c".into())), ..accept };
        assert_eq!(text(acceptor.accept(NOW, None, accept)), format!("{field} contains U+0000 (at byte 1)"));
    }
    assert_eq!(
        text(acceptor.refuse(NOW, ConnAckReasonCode::Success)),
        "reason code is below 0x80, which is no refusal"
    );
    let properties = ConnAckProperties { maximum_qos: None, server_keep_alive: Some(1), ..Default::default() };
    assert!(acceptor.refuse_with(NOW, ConnAckReasonCode::Banned, &properties).is_ok());
}

#[test]
fn an_acknowledgement_and_a_disconnection() {
    let config = ClientConfig { manual_acks: true, ..ClientConfig::default() };
    let mut client = ClientSession::new(config);
    assert_eq!(text(client.disconnect(NOW, &Disconnect::default())), "not connected");
    client.open(NOW).unwrap();
    client.poll(NOW, &mut &b"\x20\x03\x00\x00\x00"[..]).unwrap();
    let mut input = &b"\x32\x07\x00\x01a\x00\x01\x00x"[..];
    let Some(mqtt_sansio::client::Action::Message(message)) = client.poll(NOW, &mut input) else { panic!("a message") };
    let ack_handle = message.ack_handle.unwrap();
    client.ack(NOW, ack_handle, Default::default()).unwrap();
    assert_eq!(text(client.ack(NOW, ack_handle, Default::default())), "the message has been acknowledged already");
    let properties = DisconnectProperties { session_expiry_interval: Some(1), ..Default::default() };
    assert_eq!(
        text(client.disconnect(NOW, &Disconnect { properties, ..Disconnect::default() })),
        "session expiry interval is set, but CONNECT had none, or this is a server (section 3.14.2.2.2)"
    );
    let token = client.publish(NOW, &Message::new("a", "x")).unwrap();
    assert_eq!(text(client.withdraw(NOW, token)), "the token belongs to no operation that can be withdrawn");
}
