//! Mistakes that the server's end has made once.

#![cfg(feature = "alloc")]

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Buf;
use mqtt_sansio::codec::{Connect, ConnectProperties, Disconnect, DisconnectReasonCode};
use mqtt_sansio::server::{Accept, AcceptError, Acceptor, AcceptorAction, Action, Close, ServerConfig, ServerSession};
use mqtt_sansio::{AbandonReason, DisconnectError, Instant, Message, Outcome, QoS, SessionExpiry, Utf8Str, Version};

const NOW: Instant = Instant::from_micros(5_000_000);

fn asked(maximum_packet_size: u32) -> Acceptor {
    let connect = Connect {
        version: Version::V5,
        client_identifier: Utf8Str::new("c").unwrap(),
        properties: ConnectProperties {
            session_expiry_interval: Some(100),
            maximum_packet_size: maximum_packet_size.try_into().ok(),
            ..ConnectProperties::default()
        },
        ..Connect::default()
    };
    let mut bytes = Vec::new();
    connect.encode(Version::V5, &mut bytes).unwrap();
    let mut acceptor = Acceptor::new(ServerConfig::default(), NOW);
    assert!(matches!(acceptor.poll(NOW, &mut &bytes[..]), Some(AcceptorAction::Connect(_))));
    acceptor
}

fn kept() -> ServerSession {
    let mut session = asked(1000).accept(NOW, None, Accept::default()).unwrap();
    session.closed(NOW);
    session.publish(NOW, &Message::new("t", "x").qos(QoS::ExactlyOnce)).unwrap();
    session
}

/// A client decides how large CONNACK may be. If it is too large, what was kept for it is not lost.
#[test]
fn a_session_that_cannot_be_accepted_into_is_given_back() {
    let mut acceptor = asked(6);
    let refused = acceptor.accept(NOW, kept(), Accept::default()).unwrap_err();
    assert_eq!(refused.reason, AcceptError::TooLarge { limit: 6 });
    assert_eq!(refused.to_string(), refused.reason.to_string());
    let session = *refused.kept.unwrap();
    assert_eq!((session.waiting(), session.is_connected()), (1, false));
    assert!(!acceptor.transmit().has_remaining());
    // The client is still there, and can be told.
    acceptor.refuse(NOW, mqtt_sansio::codec::ConnAckReasonCode::PacketTooLarge).unwrap();
    assert_eq!(acceptor.transmit().chunk(), [0x20, 3, 0, 0x95, 0]);
    // Another one is accepted into it.
    let session = asked(1000).accept(NOW, session, Accept::default()).unwrap();
    assert!(session.is_resumed());
    assert_eq!(session.waiting(), 1);
}

/// A session in use is given back as it is: its connection goes on.
#[test]
fn a_session_in_use_is_given_back_in_use() {
    let in_use = asked(1000).accept(NOW, None, Accept::default()).unwrap();
    let refused = asked(6).accept(NOW, in_use, Accept::default()).unwrap_err();
    assert!(refused.kept.unwrap().is_connected());
}

/// A packet that is too large, or whose length is wrong, is not answered: nobody knows in which form.
#[test]
fn a_connect_whose_version_is_not_known() {
    let config = ServerConfig { max_connect_size: NonZeroU32::new(20).unwrap(), ..ServerConfig::default() };
    for bytes in [&b"\x10\x7f\x00\x04MQTT\x04"[..], b"\x10\xff\xff\xff\xff", b"\x10\x80\x00"] {
        let mut acceptor = Acceptor::new(config.clone(), NOW);
        let mut input = bytes;
        assert!(
            matches!(acceptor.poll(NOW, &mut input), Some(AcceptorAction::Close(Close::Malformed(_)))),
            "{bytes:?}"
        );
        assert!(!acceptor.transmit().has_remaining(), "{bytes:?}");
    }
    // One that says which version it is, in a form for that.
    let mut acceptor = Acceptor::new(ServerConfig::default(), NOW);
    let mut input = &b"\x10\x0c\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x00"[..]; // a reserved flag
    assert!(acceptor.poll(NOW, &mut input).is_some());
    assert_eq!(acceptor.transmit().chunk(), [0x20, 3, 0, 0x81, 0]);
}

/// A message of QoS 0 that a slow client has not taken does not wait for its next connection.
#[test]
fn a_message_of_qos_0_that_waits_when_the_connection_ends() {
    let config = ServerConfig { transmit_limit: NonZeroU32::MIN, ..ServerConfig::default() };
    let mut session = accepted(config, 100);
    let waits = session.publish(NOW, &Message::new("t", "x")).unwrap();
    session.closed(NOW);
    assert_eq!(session.waiting(), 0);
    let told = session.poll_timeout(NOW);
    assert_eq!(told, Some(Action::Done { token: waits, outcome: Outcome::Abandoned(AbandonReason::Connection) }));
}

/// DISCONNECT makes no more of a session expiry interval than was granted.
#[test]
fn an_expiry_interval_that_was_granted_is_the_longest() {
    let accept = Accept { session_expiry_interval: Some(SessionExpiry::after(60)), ..Accept::default() };
    let mut session = asked(1000).accept(NOW, None, accept).unwrap();
    let disconnect = b"\xe0\x07\x00\x05\x11\xff\xff\xff\xff";
    assert!(matches!(session.poll(NOW, &mut &disconnect[..]), Some(Action::Close(Close::Disconnected(_)))));
    assert_eq!(session.session_expiry_interval(), SessionExpiry::after(60));
}

/// The time for the answer to a challenge begins when the challenge has left; while it leaves, the client is alive.
#[test]
fn a_large_challenge_has_its_time() {
    let seconds = |seconds| NOW + std::time::Duration::from_secs(seconds);
    let mut acceptor =
        Acceptor::new(ServerConfig { connect_timeout: NonZeroU16::new(5), ..ServerConfig::default() }, NOW);
    let mut input = &b"\x10\x12\x00\x04MQTT\x05\x02\x00\x00\x04\x15\x00\x01M\x00\x01c"[..];
    assert!(matches!(acceptor.poll(NOW, &mut input), Some(AcceptorAction::Connect(_))));
    acceptor.challenge(NOW, &[0; 40_000]).unwrap();
    for second in 1..=10 {
        assert_eq!(acceptor.poll_timeout(seconds(4 * second - 4)), None, "second {second}");
        acceptor.transmit().advance(4100);
        assert_eq!(acceptor.deadline(), Some(Instant::EPOCH), "it wants to know when that has left");
    }
    assert_eq!(acceptor.poll_timeout(seconds(40)), None);
    assert!(!acceptor.transmit().has_remaining());
    assert_eq!(acceptor.deadline(), Some(seconds(45)));
    assert_eq!(acceptor.poll_timeout(seconds(45)), Some(AcceptorAction::Close(Close::ConnectTimeout)));
}

#[test]
fn nobody_is_given_an_empty_name() {
    let mut acceptor = Acceptor::new(ServerConfig::default(), NOW);
    let mut input = &b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00"[..];
    assert!(matches!(acceptor.poll(NOW, &mut input), Some(AcceptorAction::Connect(_))));
    let accept = Accept { assigned_client_id: Some(String::new()), ..Accept::default() };
    assert_eq!(acceptor.accept(NOW, None, accept).unwrap_err().reason, AcceptError::NoClientIdentifier);
}

#[test]
fn a_server_does_not_ask_for_the_will() {
    let mut session = accepted(ServerConfig::default(), 100);
    let disconnect =
        Disconnect { reason_code: DisconnectReasonCode::DisconnectWithWillMessage, ..Disconnect::default() };
    assert_eq!(session.disconnect(NOW, &disconnect), Err(DisconnectError::ClientOnly));
    assert!(session.is_connected());
}

/// A session that nobody comes back to can be ended: its will is published, and what waited has an outcome.
#[test]
fn a_session_that_is_ended() {
    let mut session = kept();
    session.end(NOW);
    assert!(matches!(
        session.poll_timeout(NOW),
        Some(Action::Done { outcome: Outcome::Abandoned(AbandonReason::Session), .. })
    ));
    assert_eq!(session.poll_timeout(NOW), Some(Action::Expired));
    assert_eq!(session.poll_timeout(NOW), None);
}

/// A session of a client with this session expiry interval.
fn accepted(config: ServerConfig, session_expiry_interval: u32) -> ServerSession {
    let connect = Connect {
        version: Version::V5,
        client_identifier: Utf8Str::new("c").unwrap(),
        properties: ConnectProperties {
            session_expiry_interval: Some(session_expiry_interval),
            ..ConnectProperties::default()
        },
        ..Connect::default()
    };
    let mut bytes = Vec::new();
    connect.encode(Version::V5, &mut bytes).unwrap();
    let mut acceptor = Acceptor::new(config, NOW);
    assert!(matches!(acceptor.poll(NOW, &mut &bytes[..]), Some(AcceptorAction::Connect(_))));
    acceptor.accept(NOW, None, Accept::default()).unwrap()
}

/// What a client takes is known for one connection: when that is over, closed or not, nothing is refused for it.
#[test]
fn limits_of_a_connection_that_is_over_refuse_nothing() {
    for is_closed in [false, true] {
        let mut session = asked(50).accept(NOW, None, Accept::default()).unwrap();
        session.disconnect(NOW, &Disconnect::default()).unwrap();
        if is_closed {
            session.closed(NOW);
        }
        session.publish(NOW, &Message::new("t", vec![b'x'; 100]).qos(QoS::ExactlyOnce)).unwrap();
        session.closed(NOW);
        let mut session = asked(1000).accept(NOW, session, Accept::default()).unwrap();
        assert!(session.poll_timeout(NOW).is_none());
        assert!(session.transmit().remaining() > 100, "the next connection takes it");
    }
}
