//! The memory a server session uses, measured with a counting allocator.

#![cfg(feature = "alloc")]

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Buf;
use mqtt_sansio::codec::{Connect, ConnectProperties, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel};
use mqtt_sansio::server::{Accept, Acceptor, AcceptorAction, Action, ServerConfig, ServerSession};
use mqtt_sansio::{Instant, Message, QoS, Version};

#[path = "common/server.rs"]
mod server;

use self::server::{again, delivery, encoded, encoded_all, id, lasting, published, text, will};

#[path = "common/counting.rs"]
mod counting;

use self::counting::{CALLS, LIVE};

const NOW: Instant = Instant::EPOCH;

/// A CONNECT with the client identifier `client-0001` and a session that does not expire.
fn connect(version: Version) -> Connect<'static> {
    Connect { client_identifier: text("client-0001"), keep_alive: 60, ..lasting(version) }
}

fn accept(config: &Arc<ServerConfig>, bytes: &[u8]) -> ServerSession {
    let mut acceptor = Acceptor::new(Arc::clone(config), NOW);
    assert!(matches!(acceptor.poll(NOW, &mut { bytes }), Some(AcceptorAction::Connect(_))));
    let mut session = acceptor.accept(NOW, None, Accept::default()).unwrap();
    drop(acceptor);
    write(&mut session);
    assert!(session.poll_timeout(NOW).is_none());
    session
}

/// Takes all bytes that are to be written.
fn write(session: &mut ServerSession) {
    let len = session.transmit().remaining();
    session.transmit().advance(len);
}

/// An acceptor buffers nothing, whatever length a packet claims and however slowly it arrives.
#[test]
fn an_acceptor_holds_nothing_before_connect_is_complete() {
    let config = Arc::new(ServerConfig::default());
    let whole =
        encoded(&Connect { will: Some(will(&"w".repeat(1000), 5)), ..connect(Version::V5) }.into(), Version::V5);
    let before = (CALLS.get(), LIVE.get());
    for size in 0..whole.len() {
        let mut acceptor = Acceptor::new(Arc::clone(&config), NOW);
        let mut input = &whole[..size];
        assert!(acceptor.poll(NOW, &mut input).is_none());
        assert_eq!(input.len(), size);
        assert_eq!(acceptor.transmit().remaining(), 0);
    }
    // 256 MiB less a byte, of which no byte arrives, or only as many as determine the version of the answer; and a
    // packet that is not a CONNECT.
    let huge = b"\x10\xFF\xFF\xFF\x7F\x00\x04MQTT\x05";
    assert!(Acceptor::new(ServerConfigIn(&config), NOW).poll(NOW, &mut &huge[..5]).is_none());
    for bytes in [&huge[..], b"\x30\xFF\xFF\xFF\x7F", b"\x00", b"GET / HTTP/1.1\r\n"] {
        let mut acceptor = Acceptor::new(ServerConfigIn(&config), NOW);
        assert!(matches!(acceptor.poll(NOW, &mut { bytes }), Some(AcceptorAction::Close(_))));
        drop(acceptor);
    }
    assert_eq!(LIVE.get(), before.1, "nothing is left");
    assert!(CALLS.get() - before.0 <= 8, "CONNACK for what is too large, and nothing else: {}", CALLS.get() - before.0);
}

/// A shared configuration.
struct ServerConfigIn<'c>(&'c Arc<ServerConfig>);

impl From<ServerConfigIn<'_>> for Arc<ServerConfig> {
    fn from(config: ServerConfigIn<'_>) -> Self {
        Self::clone(config.0)
    }
}

#[test]
fn an_acceptor_is_small() {
    assert!(size_of::<Acceptor>() <= 128, "{}", size_of::<Acceptor>());
}

/// Struct and heap together, with the client identifier.
#[test]
fn an_idle_session_uses_at_most_384_bytes() {
    let config = Arc::new(ServerConfig::default());
    for version in Version::ALL {
        let bytes = encoded(&connect(version).into(), version);
        let before = LIVE.get();
        let mut session = accept(&config, &bytes);
        let size = size_of::<ServerSession>() as isize;
        let heap = LIVE.get() - before;
        assert!(heap + size <= 384, "{version}: {heap} + {size}");
        // The same without a connection.
        session.closed(NOW);
        assert!(session.poll_timeout(NOW).is_none());
        let heap = LIVE.get() - before;
        assert!(heap + size <= 384, "{version}, detached: {heap} + {size}");
        drop(session);
        assert_eq!(LIVE.get(), before);
    }
}

#[test]
fn a_message_allocates_nothing_after_the_first_ones() {
    let config = Arc::new(ServerConfig::default());
    for version in Version::ALL {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut session = accept(&config, &encoded(&connect(version).into(), version));
            // The client's packets are prepared in advance: a message of its own, and its acknowledgements.
            let received: Vec<Vec<u8>> = vec![
                encoded(&published("21.5", delivery(qos, 7)), version),
                encoded(&PubRel::new(id(7)).into(), version),
            ];
            let answers: Vec<[Vec<u8>; 3]> = (1..=u16::MAX)
                .map(|number| {
                    [
                        encoded(&PubAck::new(id(number)).into(), version),
                        encoded(&PubRec::new(id(number)).into(), version),
                        encoded(&PubComp::new(id(number)).into(), version),
                    ]
                })
                .collect();
            let mut exchange = || {
                let mut reported = 0;
                for packet in &received[..if qos == QoS::ExactlyOnce { 2 } else { 1 }] {
                    let mut input = &packet[..];
                    while session.poll(NOW, &mut input).is_some() {
                        reported += 1;
                    }
                    write(&mut session);
                }
                session.publish(NOW, &Message::new("home/kitchen/temp", "21.5").qos(qos)).unwrap();
                // The packet identifier follows the topic.
                let transmit = session.transmit();
                let number = u16::from_be_bytes([transmit.chunk()[21], transmit.chunk()[22]]);
                write(&mut session);
                let answers = match qos {
                    QoS::AtMostOnce => &[][..],
                    QoS::AtLeastOnce => &answers[usize::from(number) - 1][..1],
                    QoS::ExactlyOnce => &answers[usize::from(number) - 1][1..],
                };
                for packet in answers {
                    let mut input = &packet[..];
                    while session.poll(NOW, &mut input).is_some() {
                        reported += 1;
                    }
                    write(&mut session);
                }
                while session.poll_timeout(NOW).is_some() {
                    reported += 1;
                }
                assert_eq!(reported, 2, "a message here, an outcome there");
            };
            (0..40).for_each(|_| exchange());
            let before = CALLS.get();
            (0..1000).for_each(|_| exchange());
            assert_eq!(CALLS.get() - before, 0, "{version}, {qos:?}");
        }
    }
}

/// A subscription request costs its entry in the list of unanswered requests, which is freed by the answer.
#[test]
fn answered_requests_use_no_memory() {
    let config = Arc::new(ServerConfig::default());
    let mut session = accept(&config, &encoded(&connect(Version::V5).into(), Version::V5));
    let idle = LIVE.get();
    let bytes = b"\x82\x07\x00\x01\x00\x00\x01t\x01";
    for _ in 0..100 {
        let mut input = &bytes[..];
        let Some(Action::Subscribe(request)) = session.poll(NOW, &mut input) else { panic!("a request") };
        session.suback(NOW, request.id, &[mqtt_sansio::codec::SubAckReasonCode::GrantedQoS0]).unwrap();
        write(&mut session);
    }
    assert!(LIVE.get() <= idle + 64, "{} bytes more than before", LIVE.get() - idle);
}

/// A client that never acknowledges, and one without a connection.
#[test]
fn queued_and_in_flight_messages_are_limited() {
    let config = Arc::new(ServerConfig { max_stored: 100, max_stored_bytes: 50_000, ..ServerConfig::default() });
    for is_connected in [true, false] {
        let mut session = accept(&config, &encoded(&connect(Version::V5).into(), Version::V5));
        if !is_connected {
            session.closed(NOW);
        }
        let before = LIVE.get();
        let mut accepted = 0;
        for _ in 0..10_000 {
            accepted += usize::from(session.publish(NOW, &Message::new("a", &[7; 1000]).qos(QoS::AtLeastOnce)).is_ok());
            write(&mut session);
        }
        assert_eq!(accepted, 49, "49 packets of 1,007 bytes and no more");
        assert!(LIVE.get() - before < 80_000, "{} bytes", LIVE.get() - before);
    }
}

/// Messages of QoS 2 that are never released: the number of their packet identifiers is limited.
#[test]
fn a_flood_of_unreleased_messages_costs_eight_kilobytes() {
    let config = Arc::new(ServerConfig::default());
    let mut session = accept(&config, &encoded(&connect(Version::V311).into(), Version::V311));
    let before = LIVE.get();
    for number in 1..=u16::MAX {
        let [high, low] = number.to_be_bytes();
        let publish = [0x34, 6, 0, 1, b'a', high, low, b'x'];
        let mut input = &publish[..];
        assert!(matches!(session.poll(NOW, &mut input), Some(Action::Message(_))));
        assert!(session.poll(NOW, &mut input).is_none());
        write(&mut session);
    }
    assert!(LIVE.get() - before <= 8 * 1024 + 64, "{} bytes", LIVE.get() - before);
}

/// A client that sends and does not read: its requests are answered up to a limit, and then no more input is taken.
#[test]
fn answers_to_a_client_that_does_not_read_are_limited() {
    let config = Arc::new(ServerConfig { answer_limit: NonZeroU32::new(1000).unwrap(), ..ServerConfig::default() });
    let mut session = accept(&config, &encoded(&connect(Version::V5).into(), Version::V5));
    let copy = published("x", again(QoS::ExactlyOnce, 1));
    let flood = encoded_all(&[copy, mqtt_sansio::codec::Packet::PingReq, PubRel::new(id(9)).into()], Version::V5);
    let flood = flood.repeat(10_000);
    let before = LIVE.get();
    let mut input = &flood[..];
    while session.poll(NOW, &mut input).is_some() {}
    assert!(input.len() > flood.len() / 2, "{} bytes are left", input.len());
    assert!(LIVE.get() - before < 4096, "{} bytes", LIVE.get() - before);
}

/// A will and an authentication method are stored once.
#[test]
fn a_will_and_an_authentication_method_are_stored_once() {
    let config = Arc::new(ServerConfig::default());
    let properties = ConnectProperties { authentication_method: Some(text("SCRAM-SHA-256")), ..Default::default() };
    let connect = Connect { will: Some(will("gone", 5)), properties, ..connect(Version::V5) };
    let bytes = encoded(&connect.into(), Version::V5);
    let before = LIVE.get();
    let session = accept(&config, &bytes);
    let heap = LIVE.get() - before;
    assert!(heap <= 512, "{heap}");
    drop(session);
    assert_eq!(LIVE.get(), before);
}

/// An acknowledgement that the application gives at once waits for nothing, so it takes no memory.
#[test]
fn an_acknowledgement_given_at_once_is_not_stored() {
    let config = Arc::new(ServerConfig { manual_acks: true, ..ServerConfig::default() });
    for version in Version::ALL {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut session = accept(&config, &encoded(&connect(version).into(), version));
            let bytes = encoded(&published("21.5", delivery(qos, 7)), version);
            // The buffer of the output exists after the first answer.
            assert!(session.poll(NOW, &mut &[0xC0, 0][..]).is_none());
            write(&mut session);
            let before = CALLS.get();
            let mut input = &bytes[..];
            let Some(Action::Message(message)) = session.poll(NOW, &mut input) else { panic!("a message") };
            session.ack(NOW, message.ack_handle.unwrap(), PubAckReasonCode::Success).unwrap();
            assert_eq!(CALLS.get() - before, 0, "{version}, {qos}");
            assert_eq!(session.transmit().remaining(), 4);
        }
    }
}
