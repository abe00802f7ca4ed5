//! The whole example without its command line, tested with clients over sockets.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mqtt_sansio::StdClock;
use mqtt_sansio::broker::{Broker, BrokerConfig};
use mqtt_sansio::server::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::access::{Access, Rights};
use crate::acl::Acl;
use crate::driver::{Driver, Limits};
use crate::listener::{Listener, Transport};
use crate::log;
use crate::origin::OriginLimits;
use crate::rate::Rates;
use crate::tls;
use crate::tls::tests::testdata;
use crate::users::Users;

/// The time after which a test that hangs is given up. A test on a busy machine takes far less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// DISCONNECT of 5.0 with Malformed Packet, and CONNACKs of 5.0 and 3.1.1 with Bad User Name or Password.
const MALFORMED: &[u8] = b"\xe0\x01\x81";
const BAD_PASSWORD: &[u8] = b"\x20\x03\x00\x86\x00";
const BAD_PASSWORD_311: &[u8] = b"\x20\x02\x00\x04";
pub(crate) const CONNACK_311: &[u8] = b"\x20\x02\x00\x00";
const NOT_AUTHORIZED_311: &[u8] = b"\x20\x02\x00\x05";

/// The limits of the driver, high enough for a test that is not about them.
pub(crate) fn limits() -> Limits {
    let origins =
        OriginLimits { max_handshakes: None, max_connecting: None, max_connections: None, max_incomplete: 1 << 30 };
    Limits { origins, rates: Rates::default(), checks: 1, max_wait: PATIENCE }
}

/// Runs a test with a broker.
pub(crate) fn with<F: Future<Output = ()>>(config: ServerConfig, rights: Rights, test: impl FnOnce(Rc<Driver>) -> F) {
    with_limits(limits(), config, rights, test);
}

/// Runs a test with a broker and with limits of its driver.
pub(crate) fn with_limits<F: Future<Output = ()>>(
    limits: Limits,
    config: ServerConfig,
    rights: Rights,
    test: impl FnOnce(Rc<Driver>) -> F,
) {
    // One thread for passwords, so that a test can keep it busy.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    let config = BrokerConfig { server: config, ..BrokerConfig::default() };
    let driver = Rc::new(Driver::new(Broker::new(config, Access::new(rights)), limits, StdClock::new()));
    let run = async {
        tokio::task::spawn_local(Driver::run(Rc::clone(&driver)));
        tokio::time::timeout(PATIENCE, test(Rc::clone(&driver))).await.unwrap();
        driver.broker.borrow().assert_consistent();
    };
    runtime.block_on(LocalSet::new().run_until(run));
    runtime.shutdown_background();
}

pub(crate) async fn listen(driver: &Rc<Driver>, transport: Transport) -> SocketAddr {
    let listener = Listener::on_a_free_port(transport).await;
    let address = listener.address();
    tokio::task::spawn_local(listener.run(Rc::clone(driver)));
    address
}

/// The users of a file written by mosquitto_passwd, see `testdata/passwd`.
pub(crate) fn users() -> Rights {
    Rights { users: Some(Users::read(&testdata("passwd")).unwrap()), ..Rights::default() }
}

fn acl(text: &str) -> Option<Acl> {
    Some(Acl::parse(text).unwrap())
}

pub(crate) fn acceptor(client_ca: bool) -> Transport {
    let ca = client_ca.then(|| testdata("ca.pem"));
    Transport::Tls(tls::acceptor(&testdata("server.pem"), &testdata("server.key"), ca.as_deref()).unwrap())
}

/// Connects over TLS, with the certificate of this name.
pub(crate) async fn connect_tls(
    address: SocketAddr,
    certificate: Option<&str>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(testdata("ca.pem")).unwrap()).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = vec![CertificateDer::from_pem_file(testdata(&format!("{name}.pem"))).unwrap()];
            let key = PrivateKeyDer::from_pem_file(testdata(&format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::from(address.ip()), stream).await
}

/// Connects over WebSocket and completes the handshake.
pub(crate) async fn connect_websocket(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    stream
}

/// A frame of a client with this first byte and payload. The mask is zero, so that the payload is readable.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | 127];
    bytes.extend((payload.len() as u64).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A CONNECT, with a user name and a password if there are any.
pub(crate) fn connect(version: u8, client: &str, user: Option<&str>, password: Option<&str>) -> Vec<u8> {
    let flags = 0x02 | u8::from(user.is_some()) << 7 | u8::from(password.is_some()) << 6;
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', version, flags, 0, 60];
    if version == 5 {
        body.push(0);
    }
    for text in [Some(client), user, password].into_iter().flatten() {
        body.extend((text.len() as u16).to_be_bytes());
        body.extend(text.as_bytes());
    }
    packet(0x10, &body)
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    while length > 127 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(body);
    bytes
}

pub(crate) fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let topic_length = (topic.len() as u16).to_be_bytes();
    packet(0x30, &[&topic_length, topic.as_bytes(), payload].concat())
}

pub(crate) fn subscribe(filter: &str) -> Vec<u8> {
    packet(0x82, &[&[0, 1], &(filter.len() as u16).to_be_bytes()[..], filter.as_bytes(), &[0]].concat())
}

/// Sends all these bytes before it reads, and then reads up to the end, which must not be a reset.
pub(crate) async fn talk<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, first: &[u8], after: usize) -> Vec<u8> {
    stream.write_all(first).await.unwrap();
    for _ in 0..after {
        stream.write_all(&[0x5a; 1 << 16]).await.expect("it is taken although it means nothing any more");
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the end is no reset");
    stream.shutdown().await.unwrap();
    answer
}

/// Waits until the broker has closed all streams.
pub(crate) async fn all_closed(driver: &Rc<Driver>) {
    while driver.streams() != 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn pitfall_36_a_client_that_still_sends_receives_the_reason() {
    with(ServerConfig::default(), users(), async |driver| {
        let (plain, secure) = (listen(&driver, Transport::Tcp).await, listen(&driver, acceptor(false)).await);
        let websocket = listen(&driver, Transport::WebSocket).await;
        let refused = connect(5, "c", Some("ann"), Some("wrong"));
        // A packet with reserved flags after CONNECT.
        let accepted = [&connect(5, "c", Some("ann"), Some("secret"))[..], b"\xc1\x00"].concat();
        for (first, expected) in [(&refused, BAD_PASSWORD), (&accepted, MALFORMED)] {
            let mut stream = TcpStream::connect(plain).await.unwrap();
            let answer = talk(&mut stream, first, 64).await;
            assert!(answer.ends_with(expected), "{answer:x?}");
            let mut stream = connect_tls(secure, None).await.unwrap();
            let answer = talk(&mut stream, first, 64).await;
            assert!(answer.ends_with(expected), "{answer:x?}");
            // Then CLOSE follows, with 1000.
            let mut stream = connect_websocket(websocket).await;
            let mut whole = first.clone();
            whole.resize(first.len() + (64 << 16), 0);
            let beginning = frame(0x82, &whole)[..14 + first.len()].to_vec();
            let answer = talk(&mut stream, &beginning, 64).await;
            let (rest, close) = answer.split_at(answer.len() - 4);
            assert_eq!(close, b"\x88\x02\x03\xe8");
            assert!(rest.ends_with(expected), "{answer:x?}");
        }
        all_closed(&driver).await;
    });
}

#[test]
fn a_client_that_violates_websocket_receives_the_status() {
    with(ServerConfig::default(), Rights::default(), async |driver| {
        let address = listen(&driver, Transport::WebSocket).await;
        let mut stream = connect_websocket(address).await;
        let first = [frame(0x82, &connect(4, "c", None, None)), frame(0x81, b"text")].concat();
        let answer = talk(&mut stream, &first, 64).await;
        assert_eq!(answer, [b"\x82\x04", CONNACK_311, b"\x88\x02\x03\xeb"].concat());
        // PING is answered before CLOSE is.
        let mut stream = connect_websocket(address).await;
        stream.write_all(&frame(0x89, b"ping")).await.unwrap();
        let mut pong = [0; 6];
        stream.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"\x8a\x04ping");
        stream.write_all(&frame(0x88, b"")).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"\x88\x02\x03\xe8");
        drop(stream);
        all_closed(&driver).await;
    });
}

/// The reason is in a TLS alert.
#[test]
fn a_client_without_a_certificate_receives_an_alert() {
    with(ServerConfig::default(), Rights::default(), async |driver| {
        let address = listen(&driver, acceptor(true)).await;
        for certificate in [None, Some("stranger")] {
            // With TLS 1.3 the client receives the alert only after its first data.
            let mut stream = connect_tls(address, certificate).await.unwrap();
            let mut error = None;
            for _ in 0..64 {
                error = stream.write_all(&[0; 1 << 16]).await.err();
            }
            let error = match error {
                Some(error) => error,
                None => stream.read_u8().await.unwrap_err(),
            };
            assert!(error.to_string().contains("alert"), "{certificate:?}: {error}");
        }
    });
}

#[test]
fn a_certificate_is_a_user() {
    let rights = || Rights { acl: acl("user ann\nread %u/#\n"), ..Rights::default() };
    with(ServerConfig::default(), rights(), async |driver| {
        let address = listen(&driver, acceptor(true)).await;
        for (certificate, claimed, expected) in [
            ("ann", None, CONNACK_311),
            ("ann", Some("ann"), CONNACK_311),
            ("ann", Some("bob"), BAD_PASSWORD_311),
            ("nameless", None, NOT_AUTHORIZED_311),
            ("nameless", Some("ann"), NOT_AUTHORIZED_311),
        ] {
            let mut stream = connect_tls(address, Some(certificate)).await.unwrap();
            stream.write_all(&connect(4, "c", claimed, None)).await.unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, expected, "{certificate} {claimed:?}");
            if expected == CONNACK_311 {
                stream.write_all(&[subscribe("ann/a"), subscribe("bob/a")].concat()).await.unwrap();
                let mut answer = [0; 10];
                stream.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"\x90\x03\0\x01\x00\x90\x03\0\x01\x80");
            }
        }
    });
}

/// Returns the answers to CONNECT and to a SUBSCRIBE.
async fn ask(address: SocketAddr, user: Option<&str>, password: Option<&str>, filter: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let disconnect = b"\xe0\x00";
    let first = [&connect(4, "c", user, password)[..], &subscribe(filter), disconnect].concat();
    talk(&mut stream, &first, 0).await
}

#[test]
fn only_a_verified_user_name_counts() {
    let granted = [CONNACK_311, b"\x90\x03\0\x01\x00"].concat();
    let denied = [CONNACK_311, b"\x90\x03\0\x01\x80"].concat();
    // Without users no user name is verified: all clients are anonymous.
    let rights = Rights { acl: acl("anonymous\nread free\n"), ..Rights::default() };
    with(ServerConfig::default(), rights, async |driver| {
        let address = listen(&driver, Transport::Tcp).await;
        assert_eq!(ask(address, None, None, "free").await, granted);
        assert_eq!(ask(address, Some("ann"), None, "free").await, granted);
        assert_eq!(ask(address, Some("ann"), None, "ann").await, denied);
    });
    let rules = "anonymous\nread free\nuser ann\nread ann\n";
    for allow_anonymous in [true, false] {
        let rights = Rights { acl: acl(rules), allow_anonymous, ..users() };
        with(ServerConfig::default(), rights, async |driver| {
            let address = listen(&driver, Transport::Tcp).await;
            assert_eq!(ask(address, Some("ann"), Some("secret"), "ann").await, granted);
            assert_eq!(ask(address, Some("ann"), Some("secret"), "free").await, denied);
            assert_eq!(ask(address, Some("ann"), Some("wrong"), "free").await, BAD_PASSWORD_311);
            assert_eq!(ask(address, Some("zoe"), Some("secret"), "free").await, BAD_PASSWORD_311);
            assert_eq!(ask(address, Some("ann"), None, "free").await, BAD_PASSWORD_311);
            let expected = if allow_anonymous { &granted } else { BAD_PASSWORD_311 };
            assert_eq!(ask(address, None, None, "free").await, expected);
        });
    }
}

/// A password is checked beside the broker, on a thread that the test keeps busy until another client was served.
#[test]
fn a_slow_password_does_not_delay_others() {
    let mut rights = users();
    let slow = format!("slow:$7$1000$AAAA${}==", "A".repeat(86));
    rights.users.as_mut().unwrap().add(&slow).unwrap();
    with(ServerConfig::default(), rights, async |driver| {
        let address = listen(&driver, Transport::Tcp).await;
        let (release, released) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || released.recv());
        let order = Rc::new(RefCell::new(Vec::new()));
        let slow = {
            let order = Rc::clone(&order);
            tokio::task::spawn_local(async move {
                assert_eq!(ask(address, Some("slow"), Some("x"), "t").await, BAD_PASSWORD_311);
                order.borrow_mut().push("slow");
            })
        };
        // One client disconnects while its password waits for its turn, and another one is refused at once.
        let mut hasty = TcpStream::connect(address).await.unwrap();
        hasty.write_all(&connect(4, "d", Some("slow"), Some("x"))).await.unwrap();
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(&connect(4, "e", None, None)).await.unwrap();
        let mut answer = Vec::new();
        other.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, BAD_PASSWORD_311);
        order.borrow_mut().push("other");
        drop((hasty, other, release));
        slow.await.unwrap();
        assert_eq!(*order.borrow(), ["other", "slow"]);
    });
}

/// Clients whose passwords cannot be checked in time, because there are too many of them, do not wait for ever.
#[test]
fn a_password_check_that_waits_too_long_is_refused() {
    let no_turns = Limits { checks: 0, max_wait: Duration::from_millis(50), ..limits() };
    with_limits(no_turns, ServerConfig::default(), users(), async |driver| {
        let address = listen(&driver, Transport::Tcp).await;
        for (version, busy) in [(4, &b"\x20\x02\x00\x03"[..]), (5, b"\x20\x03\x00\x88\x00")] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = connect(version, "c", Some("ann"), Some("secret"));
            let answer = talk(&mut stream, &request, 0);
            assert_eq!(tokio::time::timeout(PATIENCE, answer).await.unwrap(), busy);
        }
    });
}

/// Packets that are allowed over TCP are allowed over WebSocket: many in one frame, one in many frames, all of them in
/// one message.
#[test]
fn packets_may_share_and_span_frames() {
    let config = ServerConfig { maximum_packet_size: NonZeroU32::new(1000), ..ServerConfig::default() };
    with(config, Rights::default(), async |driver| {
        let address = listen(&driver, Transport::WebSocket).await;
        let largest = publish("t", &[b'x'; 994]);
        assert_eq!(largest.len(), 1000);
        let mut packets = [connect(4, "c", None, None), subscribe("t")].concat();
        packets.extend(largest.repeat(1000));
        packets.extend(b"\xc0\x00");
        // The payload of each frame has this size.
        for size in [packets.len(), 333] {
            let mut stream = connect_websocket(address).await;
            let mut frames = Vec::new();
            let last = packets.len().div_ceil(size) - 1;
            for (index, piece) in packets.chunks(size).enumerate() {
                let first = if index == 0 { 0x02 } else { 0x00 } | if index == last { 0x80 } else { 0x00 };
                frames.extend(frame(first, piece));
            }
            let (mut reader, mut writer) = stream.split();
            let read = async {
                // Frames of the server are not masked. The packets in them follow each other.
                let mut received = Vec::new();
                let expected = 4 + 5 + 1000 * largest.len() + 2;
                while received.len() < expected {
                    assert_eq!(reader.read_u8().await.unwrap(), 0x82);
                    let length = match reader.read_u8().await.unwrap() {
                        126 => reader.read_u16().await.unwrap().into(),
                        127 => reader.read_u64().await.unwrap(),
                        length => length.into(),
                    };
                    let start = received.len();
                    received.resize(start + length as usize, 0);
                    reader.read_exact(&mut received[start..]).await.unwrap();
                }
                assert!(received.starts_with(CONNACK_311));
                // Messages that had to wait come after the answer to PINGREQ.
                let (mut rest, mut messages) = (&received[CONNACK_311.len() + 5..], 0);
                while let Some(behind) = rest.strip_prefix(&largest[..]) {
                    (rest, messages) = (behind, messages + 1);
                }
                rest = rest.strip_prefix(b"\xd0\x00").expect("an answer to PINGREQ");
                while let Some(behind) = rest.strip_prefix(&largest[..]) {
                    (rest, messages) = (behind, messages + 1);
                }
                assert_eq!((messages, rest), (1000, &b""[..]));
            };
            let (written, ()) = tokio::join!(writer.write_all(&frames), read);
            written.unwrap();
        }
        // One byte more is too large, as over TCP.
        let mut stream = connect_websocket(address).await;
        let first = [connect(5, "c", None, None), publish("t", &[b'x'; 995])].concat();
        let answer = talk(&mut stream, &frame(0x82, &first), 0).await;
        assert!(answer.ends_with(b"\xe0\x01\x95\x88\x02\x03\xe8"), "{answer:x?}");
    });
}

/// Text from a client stays in its own field of the log.
#[test]
fn the_log_names_refused_clients_and_escapes_their_text() {
    let log = log::tests::collect(|| {
        let rights = Rights { acl: acl("user ann\nread free\nwrite free\n"), ..users() };
        with(ServerConfig::default(), rights, async |driver| {
            let address = listen(&driver, Transport::Tcp).await;
            let mut stream = TcpStream::connect(address).await.unwrap();
            talk(&mut stream, &connect(5, "evil\n\x1b[2J", Some("zoe\r\n\"x"), Some("secret")), 0).await;
            let mut stream = TcpStream::connect(address).await.unwrap();
            // A DISCONNECT with a Reason String.
            let reason = "bye\nconnected client=\"admin\"\x1b]0;x\x07";
            let length = reason.len() as u8;
            let disconnect = [&[0xe0, length + 5, 0, length + 3, 0x1f, 0, length], reason.as_bytes()].concat();
            let mut first = connect(5, "good\n", Some("ann"), Some("secret"));
            first.extend(packet(0x82, b"\0\x01\0\0\x04a\n\x1bb\0"));
            first.extend(packet(0x30, b"\0\x04c\n\x1bd\0payload"));
            first.extend(disconnect);
            talk(&mut stream, &first, 0).await;
        });
    });
    let has = |parts: &[&str]| log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(!log.contains(|it: char| it.is_control() && it != '\n'), "{log:?}");
    assert!(
        has(&[
            "refused",
            r#"client="evil\n\u{1b}[2J""#,
            r#"user="zoe\r\n\"x""#,
            "why=\"the client is refused: 0x86 (Bad User Name or Password)\""
        ]),
        "{log}"
    );
    assert!(has(&["connected", r#"client="good\n""#, r#"user="ann""#]), "{log}");
    assert!(has(&["a subscription is refused", r#"client="good\n""#, r#"filter="a\n\u{1b}b""#]), "{log}");
    assert!(has(&["a message is refused", r#"client="good\n""#, r#"topic="c\n\u{1b}d""#]), "{log}");
    assert!(has(&["disconnected", r#"bye\nconnected client=\"admin\"\u{1b}]0;x\u{7}"#]), "{log}");
    assert!(log.lines().all(|line| line.contains("broker")), "each line is the log's own: {log}");
    assert!(!log.contains("secret"), "{log}");
}

/// Bytes after DISCONNECT are discarded, and the stream ends without a reset; over TLS with close_notify.
#[test]
fn bytes_after_disconnect_are_discarded() {
    with(ServerConfig::default(), Rights::default(), async |driver| {
        let (plain, secure) = (listen(&driver, Transport::Tcp).await, listen(&driver, acceptor(false)).await);
        let first = [&connect(5, "c", None, None)[..], b"\xe0\x00"].concat();
        let mut stream = TcpStream::connect(plain).await.unwrap();
        assert!(talk(&mut stream, &first, 16).await.starts_with(b"\x20"));
        let mut stream = connect_tls(secure, None).await.unwrap();
        assert!(talk(&mut stream, &first, 16).await.starts_with(b"\x20"));
    });
}

/// A client that closes its sending half receives the answers that still wait to be written.
#[test]
fn a_client_that_only_writes_receives_the_answers() {
    with(
        ServerConfig { transmit_limit: NonZeroU32::MAX, ..ServerConfig::default() },
        Rights::default(),
        async |driver| {
            let address = listen(&driver, Transport::Tcp).await;
            let mut stream = TcpStream::connect(address).await.unwrap();
            let message = publish("t", &[b'x'; 1 << 16]);
            let mut first = [connect(5, "c", None, None), packet(0x82, b"\0\x01\0\0\x01t\0")].concat();
            first.extend(publish5(&message, 200));
            first.extend(b"\xc1\x00");
            let answer = talk(&mut stream, &first, 200).await;
            assert!(answer.ends_with(MALFORMED) && answer.len() > 200 << 16, "{}", answer.len());
        },
    );
}

/// This many copies of a message, in 5.0, without properties.
fn publish5(message: &[u8], count: usize) -> Vec<u8> {
    // The topic is one letter, with three bytes before it.
    let start = message.iter().position(|&byte| byte == b't').unwrap() + 1;
    let body = [b"\0\x01t\0", &message[start..]].concat();
    packet(0x30, &body).repeat(count)
}
