//! `Debug` output ends up in logs, so it contains no password and no authentication data.

#![cfg(feature = "broker")]

use std::fmt::Debug;

use mqtt_sansio::broker::{
    Admission, Answer, AuthStep, Broker, BrokerConfig, Decision, Notice, Origin, Policy, Secret,
};
use mqtt_sansio::client::{self, ClientConfig, ClientSession};
use mqtt_sansio::codec::{
    self, Auth, AuthProperties, AuthReasonCode, ConnAck, ConnAckProperties, ConnAckReasonCode, Connect,
    ConnectProperties, Limits, Packet,
};
use mqtt_sansio::server::{self, Accept, Acceptor, ServerConfig};
use mqtt_sansio::{Instant, Utf8Str, Version};

/// Bytes that occur nowhere else in this test: one secret is text, the other is not.
const SECRETS: [&[u8]; 2] = [b"Zq7^kW2~", b"\xF1\x02\xE3\x04\xD5\x06\xC7\x08"];

const NOW: Instant = Instant::from_micros(7);

/// Checks that the secret does not occur in the output in any format. The output may show that there is one.
#[track_caller]
fn assert_hidden(value: &dyn Debug) {
    assert_hidden_in(value, true);
}

#[track_caller]
fn assert_hidden_in(value: &dyn Debug, is_seen: bool) {
    let formats = [
        format!("{value:?}"),
        format!("{value:#?}"),
        format!("{value:x?}"),
        format!("{value:#x?}"),
        format!("{value:X?}"),
        format!("{value:02x?}"),
    ];
    for printed in formats {
        assert_eq!(found_in(&printed), None, "{printed}");
        assert!(!is_seen || printed.contains("<8 bytes>"), "it says nothing of it: {printed}");
    }
}

/// The format in which a secret occurs in the output.
fn found_in(printed: &str) -> Option<String> {
    let printed: String = printed.chars().filter(|c| !c.is_whitespace()).collect();
    SECRETS.into_iter().find_map(|secret| {
        let bytes = |form: &dyn Fn(&u8) -> String, between: &str| {
            // A part of the secret is too much as well.
            secret[..4].iter().map(form).collect::<Vec<_>>().join(between)
        };
        let forms = [
            String::from_utf8_lossy(&secret[..4]).into_owned(),
            secret[..4].escape_ascii().to_string(),
            bytes(&|byte| byte.to_string(), ","),
            bytes(&|byte| format!("{byte:x}"), ","),
            bytes(&|byte| format!("{byte:02x}"), ","),
            bytes(&|byte| format!("{byte:X}"), ","),
            bytes(&|byte| format!("{byte:#x}"), ","),
            bytes(&|byte| format!("{byte:02x}"), ""),
            bytes(&|byte| format!("{byte:02X}"), ""),
        ];
        forms.into_iter().find(|form| printed.contains(form))
    })
}

fn text(text: &str) -> Utf8Str<'_> {
    Utf8Str::new(text).unwrap()
}

fn connect(secret: &[u8], has_method: bool) -> Connect<'_> {
    let properties = if has_method {
        ConnectProperties {
            authentication_method: Some(text("M")),
            authentication_data: Some(secret),
            ..ConnectProperties::default()
        }
    } else {
        ConnectProperties::default()
    };
    Connect {
        client_identifier: text("c"),
        user_name: Some(text("ann")),
        password: (!has_method).then_some(secret),
        properties,
        ..Connect::default()
    }
}

fn packets(secret: &[u8]) -> [Packet<'_>; 4] {
    let connack = ConnAckProperties {
        authentication_method: Some(text("M")),
        authentication_data: Some(secret),
        ..ConnAckProperties::default()
    };
    let auth = AuthProperties {
        authentication_method: Some(text("M")),
        authentication_data: Some(secret),
        ..AuthProperties::default()
    };
    [
        connect(secret, false).into(),
        connect(secret, true).into(),
        ConnAck { properties: connack, ..ConnAck::default() }.into(),
        Auth { reason_code: AuthReasonCode::ContinueAuthentication, properties: auth }.into(),
    ]
}

fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(Version::V5, &mut bytes).unwrap();
    bytes
}

/// The search finds the output of a derived `Debug`.
#[test]
fn the_search_finds_secrets() {
    for secret in SECRETS {
        for printed in [
            format!("{secret:?}"),
            format!("{secret:#?}"),
            format!("{secret:x?}"),
            format!("{secret:#x?}"),
            format!("{secret:X?}"),
            format!("{secret:02x?}"),
            format!("\"{}\"", secret.escape_ascii()),
            format!("{:?}", bytes::Bytes::from_static(secret)),
        ] {
            assert!(found_in(&printed).is_some(), "{printed}");
        }
    }
}

#[test]
fn packets_and_their_parts() {
    for secret in SECRETS {
        for packet in packets(secret) {
            assert_hidden(&packet);
            let printed = packet.to_string();
            assert_eq!(found_in(&printed), None, "{printed}");
            let bytes = encoded(&packet);
            assert_hidden(&codec::decode(&bytes, Version::V5, Limits::DEFAULT));
            let mut iterator = codec::packets(&bytes, Version::V5, Limits::DEFAULT);
            assert_hidden_in(&iterator, false);
            assert_hidden(&iterator.next());
            // A packet that can't be decoded is not printed either.
            for size in 0..bytes.len() {
                let mut rest = codec::packets(&bytes[..size], Version::V5, Limits::DEFAULT);
                assert_hidden_in(&codec::decode(&bytes[..size], Version::V5, Limits::DEFAULT), false);
                assert_hidden_in(&rest.next(), false);
                assert_hidden_in(&rest, false);
            }
            match packet {
                Packet::Connect(connect) => assert_hidden(&connect),
                Packet::ConnAck(connack) => {
                    assert_hidden(&connack);
                    assert_hidden(&connack.properties);
                }
                Packet::Auth(auth) => {
                    assert_hidden(&auth);
                    assert_hidden(&auth.properties);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn the_client() {
    for secret in SECRETS {
        let authentication = client::Authentication { method: "M".into(), data: Some(secret.to_vec()) };
        assert_hidden(&authentication);
        let config = ClientConfig {
            user_name: Some("ann".into()),
            password: Some(secret.into()),
            authentication: Some(Box::new(authentication)),
            ..ClientConfig::default()
        };
        assert_hidden(&config);
        let [_, _, connack, auth] = packets(secret);
        for (packets, count) in [([&auth, &connack], 2), ([&connack, &auth], 2)] {
            let mut client = ClientSession::new(config.clone());
            assert_hidden(&client);
            client.open(NOW).unwrap();
            assert_hidden(&client);
            assert_hidden_in(client.transmit(), false);
            let bytes: Vec<_> = packets.into_iter().flat_map(encoded).collect();
            let (mut input, mut actions) = (&bytes[..], 0);
            while let Some(action) = client.poll(NOW, &mut input) {
                assert_hidden_in(&action, !matches!(action, client::Action::Close(client::Close::ProtocolError(_))));
                if let client::Action::Connected(connected) = &action {
                    assert_hidden(&connected.to_owned());
                }
                actions += 1;
                if matches!(action, client::Action::Auth(_)) {
                    client.authenticate(NOW, secret).unwrap();
                    assert_hidden(&client);
                    assert_hidden_in(client.transmit(), false);
                }
            }
            assert_eq!(actions, count);
        }
        // A server that refuses the client, with authentication data.
        let mut client = ClientSession::new(config);
        client.open(NOW).unwrap();
        let Packet::ConnAck(connack) = connack else { panic!("it is one") };
        let bytes = encoded(&ConnAck { reason_code: ConnAckReasonCode::NotAuthorized, ..connack }.into());
        let action = client.poll(NOW, &mut &bytes[..]).unwrap();
        assert!(matches!(action, client::Action::Close(client::Close::Refused(_))));
        assert_hidden(&action);
    }
}

#[test]
fn the_server() {
    for secret in SECRETS {
        for has_method in [false, true] {
            let bytes = encoded(&connect(secret, has_method).into());
            let mut acceptor = Acceptor::new(ServerConfig::default(), NOW);
            let action = acceptor.poll(NOW, &mut &bytes[..]).unwrap();
            assert_hidden(&action);
            assert_hidden_in(&acceptor, false);
            if has_method {
                acceptor.challenge(NOW, secret).unwrap();
                assert_hidden_in(acceptor.transmit(), false);
                let auth = encoded(&packets(secret)[3]);
                let action = acceptor.poll(NOW, &mut &auth[..]).unwrap();
                assert!(matches!(action, server::AcceptorAction::Auth(_)));
                assert_hidden(&action);
                assert_hidden_in(&acceptor, false);
            }
            let accept = Accept { authentication_data: Some(secret.to_vec()), ..Accept::default() };
            assert_hidden(&accept);
            let mut session = acceptor.accept(NOW, None, accept.clone()).unwrap();
            assert_hidden_in(&session, false);
            assert_hidden_in(session.transmit(), false);
            let not_accepted = acceptor.accept(NOW, session, accept).unwrap_err();
            assert_hidden_in(&not_accepted, false);
        }
    }
}

/// Prints every decision and notice.
struct PrintingPolicy(Vec<u8>);

impl Policy for PrintingPolicy {
    fn connect(&mut self, _: mqtt_sansio::broker::DecisionId, connect: &Connect<'_>) -> Decision<Admission> {
        assert_hidden(connect);
        let has_method = connect.properties.authentication_method.is_some();
        let answer = if has_method { Admission::Challenge(self.0.clone()) } else { Admission::accept() };
        assert_hidden_in(&answer, has_method);
        Decision::Now(answer)
    }

    fn authenticate(&mut self, _: mqtt_sansio::broker::DecisionId, step: &AuthStep<'_>) -> Decision<Admission> {
        assert_hidden(step);
        Decision::Later
    }

    fn notice(&mut self, notice: Notice<'_>) {
        assert_hidden_in(&notice, false);
    }
}

#[test]
fn the_broker() {
    for secret in SECRETS {
        let accept = Accept { authentication_data: Some(secret.to_vec()), ..Accept::default() };
        for admission in [
            Admission::Accept(Box::new(accept.clone())),
            Admission::AcceptAs { user_name: Some("ann".into()), accept: Box::new(accept) },
            Admission::Challenge(secret.to_vec()),
        ] {
            assert_hidden(&admission);
            assert_hidden(&Decision::Now(admission.clone()));
            assert_hidden(&Answer::Connect(admission));
        }
        let mut broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), PrintingPolicy(secret.to_vec()));
        for has_method in [false, true] {
            let id = broker.open(NOW, Origin::UNKNOWN);
            let mut bytes = encoded(&connect(secret, has_method).into());
            if has_method {
                bytes.extend(encoded(&packets(secret)[3]));
            }
            broker.receive(NOW, id, &mut &bytes[..]);
            assert_hidden_in(&broker, false);
            assert_hidden_in(broker.transmit(id), false);
            broker.closed(NOW, id);
        }
    }
}
