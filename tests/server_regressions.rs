//! Mistakes that the server's end has made once.

#![cfg(feature = "alloc")]

use bytes::Buf;
use mqtt_sansio::codec::{Connect, ConnectProperties};
use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig, ServerSession};
use mqtt_sansio::{CommandError, Instant, Message, QoS, Utf8Str, Version};

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
    assert!(matches!(acceptor.poll(NOW, &mut &bytes[..]), Some(Action::Connect(_))));
    acceptor
}

fn kept() -> ServerSession {
    let mut session = asked(1000).accept(None, Accept::default()).unwrap();
    session.closed(NOW);
    session.publish(&Message::new("t", "x").qos(QoS::ExactlyOnce)).unwrap();
    session
}

/// A client decides how large CONNACK may be. If it is too large, what was kept for it is not lost.
#[test]
fn a_session_that_cannot_be_accepted_into_is_given_back() {
    let mut acceptor = asked(6);
    let refused = acceptor.accept(kept(), Accept::default()).unwrap_err();
    assert_eq!(refused.reason, CommandError::TooLarge { limit: 6 });
    assert_eq!(refused.to_string(), refused.reason.to_string());
    let session = *refused.kept.unwrap();
    assert_eq!((session.waiting(), session.is_connected()), (1, false));
    assert!(!acceptor.transmit().has_remaining());
    // The client is still there, and can be told.
    acceptor.refuse(mqtt_sansio::codec::ConnAckReasonCode::PacketTooLarge).unwrap();
    assert_eq!(acceptor.transmit().chunk(), [0x20, 3, 0, 0x95, 0]);
    // Another one is accepted into it.
    let session = asked(1000).accept(session, Accept::default()).unwrap();
    assert!(session.is_resumed());
    assert_eq!(session.waiting(), 1);
}

/// A session in use is given back as it is: its connection goes on.
#[test]
fn a_session_in_use_is_given_back_in_use() {
    let in_use = asked(1000).accept(None, Accept::default()).unwrap();
    let refused = asked(6).accept(in_use, Accept::default()).unwrap_err();
    assert!(refused.kept.unwrap().is_connected());
}
