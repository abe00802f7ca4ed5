//! Tests with hostile clients: the memory that they make the broker hold, and the delay that they cause for others.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;

use mqtt_sansio::server::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::access::Rights;
use crate::counting::LIVE;
use crate::driver::{Driver, Limits};
use crate::listener::Transport;
use crate::origin::OriginLimits;
use crate::rate::Rates;
use crate::tests::{
    CONNACK_311, acceptor, all_closed, connect, connect_tls, connect_websocket, frame, limits, listen, packet, publish,
    talk, users, with, with_limits,
};

const MIB: usize = 1 << 20;

/// Connects from an address of this machine.
async fn connect_from(last: u8, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket.connect(address).await.unwrap()
}

/// Connects a client from an address of this machine, and waits until it is accepted.
async fn client_from(last: u8, address: SocketAddr, name: &str) -> TcpStream {
    let mut stream = connect_from(last, address).await;
    stream.write_all(&connect(4, name, None, None)).await.unwrap();
    expect(&mut stream, CONNACK_311).await;
    stream
}

async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, bytes);
}

/// Runs other tasks until the condition holds.
async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

/// Writes pings and reads nothing. Returns the maximum growth of the memory in use, in bytes.
async fn flood(stream: &mut TcpStream, bytes: usize) -> isize {
    let pings = frame(0x89, &[b'x'; 125]).repeat(400);
    let before = LIVE.get();
    let mut most = 0;
    for _ in 0..bytes / pings.len() {
        stream.write_all(&pings).await.unwrap();
        most = most.max(LIVE.get() - before);
        tokio::task::yield_now().await;
    }
    most
}

#[test]
fn pings_of_a_client_that_reads_nothing_cost_no_memory() {
    with(ServerConfig { max_stored: 1, ..ServerConfig::default() }, Rights::default(), async |driver| {
        let (address, plain) = (listen(&driver, Transport::WebSocket).await, listen(&driver, Transport::Tcp).await);
        let mut stream = connect_websocket(address).await;
        let request = [connect(4, "c", None, None), packet(0x82, b"\0\x01\0\x01t\0")].concat();
        stream.write_all(&frame(0x82, &request)).await.unwrap();
        until(|| driver.broker.borrow().status().subscriptions == 1).await;
        // The sockets are filled first, so that the answers have to wait.
        let mut publisher = client_from(1, plain, "publisher").await;
        let message = [publish("t", &[b'x'; 60_000]), packet(0xc0, b"")].concat();
        while driver.broker.borrow().counters().dropped.queue_full == 0 {
            publisher.write_all(&message).await.unwrap();
            expect(&mut publisher, b"\xd0\x00").await;
        }
        let growth = flood(&mut stream, 32 * MIB).await;
        assert!(growth < 16 * 1024, "{growth} bytes");
        // The client is still served: there are PONGs, and then the answer to PINGREQ.
        stream.write_all(&frame(0x82, b"\xc0\x00")).await.unwrap();
        let mut data = Vec::new();
        loop {
            let first = stream.read_u8().await.unwrap();
            let length = match stream.read_u8().await.unwrap() {
                126 => stream.read_u16().await.unwrap().into(),
                length => length.into(),
            };
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.unwrap();
            if first == 0x82 {
                data.extend(payload);
                // A message that had to wait may come after the answer.
                if data.windows(2).any(|it| it == b"\xd0\x00") {
                    break;
                }
                data.drain(..data.len() - 1);
                continue;
            }
            assert_eq!((first, &payload[..]), (0x8a, &[b'x'; 125][..]));
        }
    });
}

/// Over TCP no more bytes than the largest CONNECT are taken before the client is accepted; the same holds over WebSocket.
#[test]
fn frames_before_connect_are_limited() {
    with(ServerConfig::default(), Rights::default(), async |driver| {
        let address = listen(&driver, Transport::WebSocket).await;
        let floods: [&[u8]; 3] = [&frame(0x89, &[b'x'; 125]), &frame(0x8a, b""), b"\x02\x80\0\0\0\0\x80\x80\0\0\0\0"];
        for unit in floods {
            let mut stream = connect_websocket(address).await;
            let answer = talk(&mut stream, &unit.repeat(MIB / unit.len()), 0).await;
            assert!(answer.ends_with(b"\x88\x02\x03\xf0"), "the status is 1008: {:x?}", answer.last_chunk::<4>());
            assert!(answer.len() < MIB);
        }
        // A client that has sent some frames before CONNECT is accepted.
        let mut stream = connect_websocket(address).await;
        stream.write_all(&frame(0x89, b"").repeat(1000)).await.unwrap();
        stream.write_all(&frame(0x82, &connect(4, "c", None, None))).await.unwrap();
        stream.write_all(&frame(0x88, b"")).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.windows(6).any(|it| it == [b"\x82\x04", CONNACK_311].concat()), "{answer:x?}");
        drop(stream);
        all_closed(&driver).await;
    });
}

/// For a client that does not read, WebSocket holds one frame, and TLS as many bytes as its limit allows.
#[test]
fn output_for_a_client_that_does_not_read_is_limited() {
    for is_tls in [false, true] {
        let config = ServerConfig { max_stored_bytes: 8 << 20, ..ServerConfig::default() };
        with(config, Rights::default(), async |driver| {
            let transport = if is_tls { acceptor(false) } else { Transport::WebSocket };
            let (address, plain) = (listen(&driver, transport).await, listen(&driver, Transport::Tcp).await);
            let request = [connect(4, "reader", None, None), packet(0x82, b"\0\x01\0\x01t\x01")].concat();
            // The stream stays open, and is not read from.
            let mut streams = (None, None);
            if is_tls {
                let stream = streams.0.insert(connect_tls(address, None).await.unwrap());
                stream.write_all(&request).await.unwrap();
            } else {
                let stream = streams.1.insert(connect_websocket(address).await);
                stream.write_all(&frame(0x82, &request)).await.unwrap();
            }
            until(|| driver.broker.borrow().status().subscriptions == 1).await;
            let mut publisher = client_from(1, plain, "publisher").await;
            // Each message is larger than the output that is written ahead.
            let message = publish("t", &vec![b'x'; 2 * MIB]);
            let before = LIVE.get();
            for _ in 0..20 {
                publisher.write_all(&message).await.unwrap();
            }
            publisher.write_all(b"\xc0\x00").await.unwrap();
            expect(&mut publisher, b"\xd0\x00").await;
            let stored = driver.broker.borrow().status().stored_bytes as isize;
            let more = LIVE.get() - before - stored;
            // One message is in the output, and is not stored any more.
            assert!(more < (2 * MIB + MIB / 2) as isize, "{more} bytes beside the {stored} stored ones, TLS: {is_tls}");
        });
    }
}

#[test]
fn http_requests_get_http_responses() {
    with(ServerConfig::default(), Rights::default(), async |driver| {
        let address = listen(&driver, Transport::WebSocket).await;
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "426 "),
            ("GET / HTTP/1.0\r\n\r\n", "505 "),
            ("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405 "),
            (&format!("GET / HTTP/1.1\r\n{upgrade}\r\n"), "400 "),
            ("\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0", "400 "),
            (&long, "431 "),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let answer = talk(&mut stream, request.as_bytes(), 0).await;
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:.40}: {answer}");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.to_lowercase().contains(&format!("content-length: {}", body.len())), "{answer}");
            assert_eq!(status == "426 ", head.contains("\r\nUpgrade: websocket\r\n"), "{answer}");
        }
    });
}

/// The work for busy clients while another client waits for an answer does not depend on the number of busy clients.
#[test]
fn a_quiet_client_waits_for_a_few_turns_of_others() {
    for last in [1, 2] {
        with(ServerConfig::default(), Rights::default(), async |driver| {
            let address = listen(&driver, Transport::Tcp).await;
            for number in 0..40 {
                let mut busy = client_from(1, address, &format!("busy{number}")).await;
                tokio::task::spawn_local(async move {
                    let messages = publish("t", &[b'x'; 1000]).repeat(64);
                    while busy.write_all(&messages).await.is_ok() {}
                });
            }
            let mut quiet = client_from(last, address, "quiet").await;
            let received = || driver.broker.borrow().counters().bytes_received;
            until(|| received() > 40 * MIB as u64).await;
            let mut meanwhile = Vec::new();
            for _ in 0..21 {
                let before = received();
                stream_ping(&mut quiet).await;
                meanwhile.push(received() - before);
            }
            // The median: the system may take its time to bring the answer.
            meanwhile.sort_unstable();
            assert!(meanwhile[10] < 8 * MIB as u64, "bytes of others meanwhile, from 127.0.0.{last}: {meanwhile:?}");
        });
    }
}

async fn stream_ping(stream: &mut TcpStream) {
    stream.write_all(b"\xc0\x00").await.unwrap();
    expect(stream, b"\xd0\x00").await;
}

/// Limits with these limits of an origin.
fn origin_limits(max_handshakes: u32, max_connecting: u32, max_incomplete: usize) -> Limits {
    let origins = OriginLimits {
        max_handshakes: NonZeroU32::new(max_handshakes),
        max_connecting: NonZeroU32::new(max_connecting),
        max_connections: None,
        max_incomplete,
    };
    Limits { origins, ..limits() }
}

#[test]
fn connections_without_connect_are_limited_by_address() {
    with_limits(origin_limits(2, 3, 0), ServerConfig::default(), Rights::default(), async |driver| {
        let address = listen(&driver, Transport::Tcp).await;
        let websocket = listen(&driver, Transport::WebSocket).await;
        let secure = listen(&driver, acceptor(false)).await;
        let mut first = connect_from(1, address).await;
        let others = [connect_from(1, address).await, connect_from(1, websocket).await];
        assert!(is_closed(connect_from(1, address).await).await, "the fourth");
        assert!(is_closed(connect_from(1, secure).await).await);
        // Another address is not affected, nor is this one after a CONNECT.
        client_from(2, address, "c").await;
        first.write_all(&connect(4, "d", None, None)).await.unwrap();
        expect(&mut first, CONNACK_311).await;
        let more = connect_from(1, secure).await;
        until(|| driver.streams() == 2).await;
        assert_eq!(driver.origins.refused(), 2);
        assert!(is_closed(connect_from(1, address).await).await);
        drop((others, more));
        until(|| driver.streams() == 1).await;
        // Handshakes have a limit of their own.
        let handshakes = [connect_from(1, secure).await, connect_from(1, websocket).await];
        assert!(is_closed(connect_from(1, websocket).await).await);
        client_from(1, address, "e").await;
        assert_eq!(driver.origins.refused(), 4);
        drop((handshakes, first));
        until(|| driver.origins.len() == 0).await;
    });
}

async fn is_closed(mut stream: TcpStream) -> bool {
    matches!(stream.read_u8().await, Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof)
}

#[test]
fn packets_that_are_not_complete_are_limited() {
    with_limits(origin_limits(0, 0, MIB), ServerConfig::default(), Rights::default(), async |driver| {
        let address = listen(&driver, Transport::Tcp).await;
        let large = publish("t", &[b'x'; MIB]);
        let mut greedy = connect_from(1, address).await;
        let answer = talk(&mut greedy, &[&connect(5, "c", None, None)[..], &large[..MIB * 3 / 4]].concat(), 0).await;
        assert!(answer.ends_with(b"\xe0\x01\x97"), "{answer:x?}");
        // The limit applies before CONNECT as well, and to many connections together, each of which holds little.
        let mut many = Vec::new();
        let connect = connect(4, &"x".repeat(60_000), None, None);
        for _ in 0..100 {
            let mut stream = connect_from(1, address).await;
            let _ = stream.write_all(&connect[..50_000]).await;
            many.push(stream);
        }
        until(|| driver.origins.refused() > 50).await;
        assert!(driver.origins.held() <= MIB / 2 + 128 * 1024, "{}", driver.origins.held());
        let mut modest = client_from(2, address, "d").await;
        modest.write_all(&large[..100_000]).await.unwrap();
        until(|| driver.origins.held() > MIB / 2 + 50_000 || modest.try_read(&mut [0]).is_ok()).await;
        drop(many);
        modest.write_all(&large[100_000..200_000]).await.unwrap();
        until(|| driver.streams() == 1).await;
        assert!(driver.origins.held() >= 100_000, "the other address is not affected");
    });
}

/// The password of a client that has left is neither checked nor stored.
#[test]
fn the_password_of_a_client_that_leaves_is_dropped() {
    let no_turns = Limits { checks: 0, ..limits() };
    with_limits(no_turns, ServerConfig::default(), users(), async |driver| {
        let address = listen(&driver, Transport::Tcp).await;
        let before = LIVE.get();
        for _ in 0..20 {
            let password = "x".repeat(60_000);
            let mut stream = connect_from(1, address).await;
            // The broker detects that the client leaves although there is a packet behind CONNECT.
            let request = [connect(4, "c", Some("ann"), Some(&password)), packet(0xc0, b"")].concat();
            stream.write_all(&request).await.unwrap();
            until(|| driver.checks.len() == 1).await;
            drop(stream);
            until(|| driver.checks.len() == 0 && driver.streams() == 0).await;
        }
        let growth = LIVE.get() - before;
        assert!(growth < 60_000, "{growth} bytes");
    });
}

/// The input of a client that sends too fast is delayed, and that of others is not.
#[test]
fn a_fast_client_is_held_back() {
    let rate = |messages, bytes| Rates { messages: NonZeroU32::new(messages), bytes: NonZeroU32::new(bytes) };
    let size_of_packet = |size| publish("t", &vec![b'x'; size]).len() as f64;
    for (rates, size, per_second) in [
        (rate(10, 0), 1, 10.0),
        (rate(0, 100_000), 1000, 100_000.0 / size_of_packet(1000)),
        (rate(50, 100_000), 100, 50.0),
    ] {
        with_limits(Limits { rates, ..limits() }, ServerConfig::default(), Rights::default(), async |driver| {
            let address = listen(&driver, Transport::Tcp).await;
            let messages = || driver.broker.borrow().counters().messages_received as f64;
            let start = driver.now();
            let mut fast = client_from(1, address, "fast").await;
            fast.write_all(&publish("t", &vec![b'x'; size]).repeat(1000)).await.unwrap();
            // The messages of one second come at once, and half as many later.
            let wanted = per_second * 1.5;
            loop {
                let received = messages();
                let most = per_second * (driver.now().since(start).as_secs_f64() + 1.0) + 1.0;
                assert!(received <= most, "{received} of {most}, {rates:?}");
                if received >= wanted {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let mut other = client_from(1, address, "other").await;
            stream_ping(&mut other).await;
        });
    }
}

#[test]
fn connections_that_have_ended_leave_no_memory_behind() {
    with(ServerConfig::default(), Rights::default(), async |driver: Rc<Driver>| {
        let (plain, secure) = (listen(&driver, Transport::Tcp).await, listen(&driver, acceptor(false)).await);
        let websocket = listen(&driver, Transport::WebSocket).await;
        let mut growth = 0;
        for round in 0..4 {
            let before = LIVE.get();
            for _ in 0..20 {
                let request = [&connect(5, "c", None, None)[..], b"\xe0\x00"].concat();
                talk(&mut TcpStream::connect(plain).await.unwrap(), &request, 0).await;
                talk(&mut connect_tls(secure, None).await.unwrap(), &request, 0).await;
                talk(&mut connect_websocket(websocket).await, &frame(0x82, &request), 0).await;
            }
            until(|| driver.streams() == 0 && driver.origins.len() == 0).await;
            if round != 0 {
                growth = growth.max(LIVE.get() - before);
            }
        }
        assert!(growth < 16 * 1024, "{growth} bytes in sixty connections");
    });
}
