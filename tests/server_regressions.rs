//! Regression tests of the server session and the acceptor.

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

fn disconnected_session() -> ServerSession {
    let mut session = asked(1000).accept(NOW, None, Accept::default()).unwrap();
    session.closed(NOW);
    session.publish(NOW, &Message::new("t", "x").qos(QoS::ExactlyOnce)).unwrap();
    session
}

/// The client limits the size of CONNACK. If CONNACK is too large, the stored session is returned with the error.
#[test]
fn a_failed_acceptance_returns_the_session() {
    let mut acceptor = asked(6);
    let refused = acceptor.accept(NOW, disconnected_session(), Accept::default()).unwrap_err();
    assert_eq!(refused.reason, AcceptError::TooLarge { limit: 6 });
    assert_eq!(refused.to_string(), refused.reason.to_string());
    let session = *refused.session.unwrap();
    assert_eq!((session.queued(), session.is_connected()), (1, false));
    assert!(!acceptor.transmit().has_remaining());
    // The client is still connected and can be refused.
    acceptor.refuse(NOW, mqtt_sansio::codec::ConnAckReasonCode::PacketTooLarge).unwrap();
    assert_eq!(acceptor.transmit().chunk(), [0x20, 3, 0, 0x95, 0]);
    // The session can be handed to another acceptor.
    let session = asked(1000).accept(NOW, session, Accept::default()).unwrap();
    assert!(session.is_resumed());
    assert_eq!(session.queued(), 1);
}

/// A session with a connection is returned unchanged: its connection continues.
#[test]
fn a_failed_acceptance_returns_a_connected_session_connected() {
    let in_use = asked(1000).accept(NOW, None, Accept::default()).unwrap();
    let refused = asked(6).accept(NOW, in_use, Accept::default()).unwrap_err();
    assert!(refused.session.unwrap().is_connected());
}

/// A packet that is too large, or whose length is malformed, is not answered because its version is not known.
#[test]
fn a_connect_of_unknown_version_is_not_answered() {
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
    // A CONNECT whose version is known is answered in that version.
    let mut acceptor = Acceptor::new(ServerConfig::default(), NOW);
    let mut input = &b"\x10\x0c\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x00"[..]; // a reserved flag
    assert!(acceptor.poll(NOW, &mut input).is_some());
    assert_eq!(acceptor.transmit().chunk(), [0x20, 3, 0, 0x81, 0]);
}

/// A message of QoS 0 that was not written when the connection ended does not wait for the next connection.
#[test]
fn an_unsent_qos_0_message_is_lost_with_its_connection() {
    let config = ServerConfig { transmit_limit: NonZeroU32::MIN, ..ServerConfig::default() };
    let mut session = accepted(config, 100);
    let waits = session.publish(NOW, &Message::new("t", "x")).unwrap();
    session.closed(NOW);
    assert_eq!(session.queued(), 0);
    let reported = session.poll_timeout(NOW);
    assert_eq!(reported, Some(Action::Done { token: waits, outcome: Outcome::Abandoned(AbandonReason::Connection) }));
}

/// DISCONNECT cannot extend the Session Expiry Interval beyond the granted one.
#[test]
fn disconnect_cannot_extend_the_granted_expiry_interval() {
    let accept = Accept { session_expiry_interval: Some(SessionExpiry::after(60)), ..Accept::default() };
    let mut session = asked(1000).accept(NOW, None, accept).unwrap();
    let disconnect = b"\xe0\x07\x00\x05\x11\xff\xff\xff\xff";
    assert!(matches!(session.poll(NOW, &mut &disconnect[..]), Some(Action::Close(Close::Disconnected(_)))));
    assert_eq!(session.session_expiry_interval(), SessionExpiry::after(60));
}

/// The timeout for the answer to a challenge starts once the challenge has been written. Writing it shows that the
/// client is alive.
#[test]
fn the_challenge_timeout_starts_when_the_challenge_has_left() {
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
fn an_empty_client_identifier_cannot_be_assigned() {
    let mut acceptor = Acceptor::new(ServerConfig::default(), NOW);
    let mut input = &b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00"[..];
    assert!(matches!(acceptor.poll(NOW, &mut input), Some(AcceptorAction::Connect(_))));
    let accept = Accept { assigned_client_id: Some(String::new()), ..Accept::default() };
    assert_eq!(acceptor.accept(NOW, None, accept).unwrap_err().reason, AcceptError::NoClientIdentifier);
}

#[test]
fn a_server_cannot_send_disconnect_with_will() {
    let mut session = accepted(ServerConfig::default(), 100);
    let disconnect =
        Disconnect { reason_code: DisconnectReasonCode::DisconnectWithWillMessage, ..Disconnect::default() };
    assert_eq!(session.disconnect(NOW, &disconnect), Err(DisconnectError::ClientReasonCode));
    assert!(session.is_connected());
}

/// A session that no client will resume can be ended: its will is published, and its messages have an outcome.
#[test]
fn ending_a_session_publishes_its_will_and_reports_its_messages() {
    let mut session = disconnected_session();
    session.end_session(NOW);
    assert!(matches!(
        session.poll_timeout(NOW),
        Some(Action::Done { outcome: Outcome::Abandoned(AbandonReason::Session), .. })
    ));
    assert_eq!(session.poll_timeout(NOW), Some(Action::Expired));
    assert_eq!(session.poll_timeout(NOW), None);
}

/// A session with the Session Expiry Interval that the client asked for.
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

/// The client's limits hold for one connection: once that has ended, reported or not, no command is refused because of
/// them.
#[test]
fn limits_of_an_ended_connection_refuse_nothing() {
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
