//! Input that the caller withholds because its application is busy: `poll_held`.

#![cfg(feature = "alloc")]

use bytes::Buf;
use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Close};
use mqtt_sansio::server::{self, Accept, Acceptor, AcceptorAction, ServerConfig, ServerSession};
use mqtt_sansio::{Instant, Transmit};

const fn seconds(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

fn written(transmit: &mut Transmit) -> Vec<u8> {
    transmit.copy_to_bytes(transmit.remaining()).to_vec()
}

/// A client with a Keep Alive of 60 seconds, connected at 0.
fn client() -> ClientSession {
    let mut client = ClientSession::new(ClientConfig::default());
    client.open(seconds(0)).unwrap();
    written(client.transmit());
    assert!(matches!(client.poll(seconds(0), &mut &b"\x20\x03\0\0\0"[..]), Some(Action::Connected(_))));
    client
}

#[test]
fn a_client_that_withholds_input_does_not_give_up_the_server() {
    let mut client = client();
    let mut pings = 0;
    while let Some(deadline) = client.deadline().filter(|&at| at < seconds(3600)) {
        assert_eq!(client.poll_held(deadline), None);
        pings += written(client.transmit()).chunks(2).filter(|packet| *packet == b"\xc0\x00").count();
        // It is told of the bytes that were written, as every session is.
        assert_eq!(client.poll_held(deadline), None);
    }
    assert!((60..=62).contains(&pings), "{pings} pings in an hour with a Keep Alive of a minute");
    // From now on the silence counts.
    let mut last = None;
    while let Some(deadline) = client.deadline().filter(|_| last.is_none()) {
        assert!(deadline < seconds(3600 + 60 + 20), "the server is given up in time");
        last = client.poll_timeout(deadline);
        written(client.transmit());
    }
    assert_eq!(last, Some(Action::Close(Close::KeepAliveTimeout)));
}

#[test]
fn withheld_input_is_processed_later() {
    let mut client = client();
    let mut input = &b"\x30\x05\x00\x01q\x007"[..];
    assert_eq!(client.poll_held(seconds(30)), None);
    assert!(matches!(client.poll(seconds(31), &mut input), Some(Action::Message(m)) if m.topic == "q"));
}

fn server() -> ServerSession {
    let mut acceptor = Acceptor::new(ServerConfig::default(), seconds(0));
    let mut connect = &b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04rose"[..];
    assert!(matches!(acceptor.poll(seconds(0), &mut connect), Some(AcceptorAction::Connect(_))));
    acceptor.accept(seconds(0), None, Accept::default()).unwrap()
}

#[test]
fn a_server_that_withholds_input_does_not_give_up_the_client() {
    let mut server = server();
    for minute in 1..60 {
        assert_eq!(server.poll_held(seconds(minute * 60)), None);
    }
    assert_eq!(server.poll_timeout(seconds(59 * 60 + 89)), None);
    let close = server.poll_timeout(seconds(59 * 60 + 91));
    assert_eq!(close, Some(server::Action::Close(server::Close::KeepAliveTimeout)));
}

/// The beginning of a packet shows that the client is alive, also if as many bytes of an earlier one were left before.
#[test]
fn the_beginning_of_each_packet_is_a_sign_of_life() {
    let mut server = server();
    for (at, mut input, left) in [(50, &b"\xc0"[..], 1), (51, b"\xc0\x00", 0), (100, b"\xc0", 1)] {
        assert_eq!(server.poll(seconds(at), &mut input), None);
        assert_eq!(input.len(), left);
        written(server.transmit());
    }
    assert_eq!(server.poll_timeout(seconds(189)), None);
    let close = server.poll_timeout(seconds(191));
    assert_eq!(close, Some(server::Action::Close(server::Close::KeepAliveTimeout)));
}
