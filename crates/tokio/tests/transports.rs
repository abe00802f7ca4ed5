//! The ready-made connectors, over 127.0.0.1 and a Unix socket, with the server's end of this crate.

#![cfg(all(feature = "tls", feature = "websocket", unix))]

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::codec::{Packet, SubAckReasonCode};
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{Message, QoS};
use mqtt_sansio_tokio::rustls::pki_types::pem::PemObject;
use mqtt_sansio_tokio::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use mqtt_sansio_tokio::rustls::{self, RootCertStore};
use mqtt_sansio_tokio::{
    Client, ConnectionError, Decision, Driver, Event, Events, ServerEvent, ServerUrl, UrlError, accept, connect, tcp,
    tls, unix, websocket,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// A server that sends each message back, large ones included.
async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut connection = accept(stream, ServerConfig::default(), async |_| Decision::accept()).await.unwrap();
    while let Some(event) = connection.next().await {
        match event {
            ServerEvent::Message(message) => {
                connection.command(|session, now| session.publish(now, &Message::from(&message))).unwrap();
            }
            ServerEvent::Subscribe { id, packet } => {
                assert!(matches!(packet.packet(), Packet::Subscribe(subscribe) if subscribe.subscriptions.len() == 1));
                let granted = [SubAckReasonCode::GrantedQoS2];
                connection.command(|session, now| session.suback(now, id, &granted)).unwrap();
            }
            _ => {}
        }
    }
    assert_eq!(connection.end().unwrap().to_string(), "the client disconnects: 0x00 (Normal disconnection)");
}

/// A client that gets back what it sends.
async fn converse((client, mut events, driver): (Client, Events, Driver)) {
    let driver = tokio::spawn(driver);
    client.subscribe("t", QoS::ExactlyOnce).await.unwrap();
    for (size, qos) in [(1, QoS::AtMostOnce), (5000, QoS::AtLeastOnce), (3_000_000, QoS::ExactlyOnce)] {
        let payload: Vec<_> = (0..size).map(|index: u32| index as u8).collect();
        let sent = client.queue(Message::new("t", payload.clone()).qos(qos)).await.unwrap();
        let received = loop {
            if let Event::Message(message) = events.next().await.unwrap() {
                break message;
            }
        };
        assert_eq!((received.qos(), &received.payload()[..]), (qos, &payload[..]));
        assert!(sent.await.unwrap().is_success());
    }
    client.disconnect().await.unwrap();
    driver.await.unwrap().unwrap();
}

fn config() -> ClientConfig {
    ClientConfig { client_id: "thermo-7".into(), ..ClientConfig::default() }
}

#[tokio::test]
async fn over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = converse(connect(config(), tcp(listener.local_addr().unwrap().to_string())));
    tokio::join!(client, async { echo(listener.accept().await.unwrap().0).await });
}

#[tokio::test]
async fn an_address_without_a_port_is_named_in_the_error() {
    let error = tcp("127.0.0.1")().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().starts_with(r#"the address is "127.0.0.1", and HOST:PORT is expected"#), "{error}");
}

#[tokio::test]
async fn an_address_without_a_server_is_named_in_the_error() {
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = reserved.local_addr().unwrap(); // nothing can listen there meanwhile
    let error = tcp(address.to_string())().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(error.to_string().starts_with(&format!("{address}: ")), "{error}");

    let error = unix("/nowhere/socket")().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().starts_with("/nowhere/socket: "), "{error}");
}

#[tokio::test]
async fn over_a_unix_socket() {
    let folder = std::env::temp_dir().join(format!("mqtt-sansio-tokio-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder); // of a process with the same identifier that was killed
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let client = converse(connect(config(), unix(&path)));
    tokio::join!(client, async { echo(listener.accept().await.unwrap().0).await });
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn over_a_pipe_in_memory() {
    let (own, other) = duplex(100);
    let mut own = Some(own);
    let connector = move || std::future::ready(own.take().ok_or(std::io::ErrorKind::NotConnected.into()));
    tokio::join!(converse(connect(config(), connector)), echo(other));
}

fn testdata(name: &str) -> String {
    format!("{}/../../examples/broker/testdata/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A server's TLS, and the configuration of a client that trusts the authority in this file.
fn certificates(authority: &str) -> (TlsAcceptor, rustls::ClientConfig) {
    let chain = CertificateDer::pem_file_iter(testdata("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(testdata("server.key")).unwrap();
    let server = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(testdata(authority)).unwrap()).unwrap();
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (TlsAcceptor::from(Arc::new(server)), client)
}

#[tokio::test]
async fn over_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (acceptor, trust) = certificates("ca.pem");
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    tokio::join!(converse(connect(config(), tls(address, trust))), async {
        echo(acceptor.accept(listener.accept().await.unwrap().0).await.unwrap()).await;
    });
}

#[tokio::test]
async fn a_server_with_an_unknown_authority_is_not_trusted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (acceptor, trust) = certificates("stranger.pem");
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let (_client, mut events, driver) = connect(config(), tls(address.clone(), trust));
    let driver = tokio::spawn(driver);
    assert!(acceptor.accept(listener.accept().await.unwrap().0).await.is_err());
    let Some(Event::Disconnected { why: ConnectionError::Transport(why), retry_in: Some(_) }) = events.next().await
    else {
        panic!("not refused")
    };
    assert!(why.to_string().starts_with(&format!("{address}: invalid peer certificate")), "{why}");
    driver.abort();
}

/// The server's end of a WebSocket, as a stream: frames of odd sizes, and pings.
async fn websocket_server(stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) {
    #[allow(clippy::result_large_err, reason = "the signature is that of the library")]
    let check = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        assert_eq!(request.headers()["Sec-WebSocket-Protocol"], "mqtt");
        assert_eq!((request.uri().path(), &request.headers()["Host"]), ("/mqtt", &host.parse().unwrap()));
        response.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, check).await.unwrap();
    let (own, mut other) = duplex(100_000);
    let echo = tokio::spawn(echo(own));
    let mut buffer = vec![0; 70_000];
    let mut sizes = [1, 2, 3, 7, 70_000].into_iter().cycle();
    loop {
        let size = sizes.next().unwrap();
        tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(tungstenite::Message::Binary(bytes))) => other.write_all(&bytes).await.unwrap(),
                Some(Ok(tungstenite::Message::Close(_))) | None => break,
                Some(other) => assert!(other.unwrap().is_pong()),
            },
            count = tokio::io::AsyncReadExt::read(&mut other, &mut buffer[..size]) => {
                let bytes = buffer[..count.unwrap()].to_vec();
                socket.send(tungstenite::Message::Ping(Default::default())).await.unwrap();
                socket.send(tungstenite::Message::Binary(bytes.into())).await.unwrap();
            }
        }
    }
    echo.await.unwrap();
}

#[tokio::test]
async fn over_a_websocket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = websocket("ws://broker.local/mqtt", tcp(listener.local_addr().unwrap().to_string()));
    tokio::join!(converse(connect(config(), connector)), async {
        websocket_server(listener.accept().await.unwrap().0, "broker.local").await;
    });
}

#[tokio::test]
async fn a_text_frame_ends_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = websocket("ws://broker.local/mqtt", tcp(listener.local_addr().unwrap().to_string()));
    let (_client, mut events, driver) = connect(config(), connector);
    let driver = tokio::spawn(driver);
    #[allow(clippy::result_large_err, reason = "the signature is that of the library")]
    let check = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        response.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
        Ok(response)
    };
    let mut socket = accept_hdr_async(listener.accept().await.unwrap().0, check).await.unwrap();
    socket.send(tungstenite::Message::Text("\u{20}\u{3}\0\0\0".into())).await.unwrap();
    let Some(Event::Disconnected { why, .. }) = events.next().await else { panic!("still connected") };
    assert!(why.to_string().contains("MQTT-6.0.0-1"), "{why}");
    driver.abort();
}

/// Each transport is chosen by the URL alone, in one program.
#[tokio::test]
async fn by_url() {
    let (acceptor, trust) = certificates("ca.pem");
    let trust = Arc::new(trust);
    for scheme in ["mqtt", "mqtts", "ws", "WSS"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("localhost:{}", listener.local_addr().unwrap().port());
        let path = if scheme.starts_with("mqtt") { "" } else { "/mqtt" };
        let url: ServerUrl = format!("{scheme}://{host}{path}").parse().unwrap();
        let connector = url.with_tls(Arc::clone(&trust)).connector().unwrap();
        tokio::join!(converse(connect(config(), connector)), async {
            let stream = listener.accept().await.unwrap().0;
            match scheme {
                "mqtt" => echo(stream).await,
                "mqtts" => echo(acceptor.accept(stream).await.unwrap()).await,
                "ws" => websocket_server(stream, &host).await,
                _ => websocket_server(acceptor.accept(stream).await.unwrap(), &host).await,
            }
        });
    }

    let folder = std::env::temp_dir().join(format!("mqtt-sansio-tokio-url-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let url: ServerUrl = format!("unix://{}", path.display()).parse().unwrap();
    let client = converse(connect(config(), url.connector().unwrap()));
    tokio::join!(client, async { echo(listener.accept().await.unwrap().0).await });
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Ports by default, IPv6 addresses, and what is no address of a server.
#[test]
fn the_address_of_a_url() {
    for (url, address) in [
        ("mqtt://[::1]:0x10", Err(UrlError::Address)),
        ("mqtt://host:65536", Err(UrlError::Address)),
        ("mqtt://host:0", Err(UrlError::Address)),
        ("mqtt://host:", Err(UrlError::Address)),
        ("mqtt://:1883", Err(UrlError::Address)),
        ("mqtt://", Err(UrlError::Address)),
        ("mqtt:host", Err(UrlError::Address)),
        ("mqtt://::1", Err(UrlError::Address)),
        ("mqtt://[::1", Err(UrlError::Address)),
        ("mqtt://a]:1", Err(UrlError::Address)),
        ("mqtt://[]", Err(UrlError::Address)),
        ("unix:", Err(UrlError::Address)),
        ("unix://", Err(UrlError::Address)),
        ("host:1883", Err(UrlError::Scheme)),
        ("host", Err(UrlError::Scheme)),
        ("", Err(UrlError::Scheme)),
        ("http://host", Err(UrlError::Scheme)),
        ("mqtt://ann:secret@host", Err(UrlError::Credentials)),
        ("ws://ann@host/mqtt", Err(UrlError::Credentials)),
        ("mqtt://host/mqtt", Err(UrlError::Path)),
        ("mqtts://host?a", Err(UrlError::Path)),
        ("ws://host/mqtt#a", Err(UrlError::Path)),
        ("unix:/nowhere/socket", Ok("/nowhere/socket")),
        ("unix:///nowhere/socket", Ok("/nowhere/socket")),
        ("mqtt://broker.local", Ok("broker.local:1883")),
        ("MQTT://broker.local:7/", Ok("broker.local:7")),
        ("mqtts://broker.local", Ok("broker.local:8883")),
        ("ws://broker.local?token=7", Ok("broker.local:80")),
        ("wss://broker.local/a/b@c:d", Ok("broker.local:443")),
        ("wss://broker.local:7/a", Ok("broker.local:7")),
        ("mqtt://[::1]", Ok("[::1]:1883")),
        ("mqtt://[::1]:7", Ok("[::1]:7")),
    ] {
        let parsed = url.parse::<ServerUrl>();
        assert_eq!(parsed.as_ref().map(ServerUrl::address), address.as_ref().copied(), "{url}");
    }
}

/// A program without a configuration of TLS is told at once, and a URL with a secret in its query is printed without it.
#[test]
fn what_a_url_needs_and_prints() {
    for url in ["mqtts://host", "wss://host/mqtt"] {
        assert_eq!(url.parse::<ServerUrl>().unwrap().connector().err(), Some(UrlError::NoTlsConfig), "{url}");
    }
    let url: ServerUrl = "wss://host/mqtt?token=secret".parse().unwrap();
    assert_eq!(
        (url.to_string(), format!("{url:?}")),
        ("wss://host/mqtt".into(), r#"ServerUrl("wss://host/mqtt")"#.into())
    );
}
