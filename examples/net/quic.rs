//! MQTT over QUIC, by the crate `quinn`: one bidirectional stream for each connection.
//!
//! ```text
//! cargo run -p mqtt-sansio-net-examples --example quic
//! ```
//!
//! The broker makes a certificate at its start, and the clients trust that one alone. MQTT 5.0 knows no QUIC; a stream of QUIC
//! is what section 4.2 asks for, an ordered and lossless stream of bytes in both directions, so nothing above it changes.

mod quic_broker;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Buf, Bytes, BytesMut};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
use mqtt_sansio::codec::Disconnect;
use mqtt_sansio::{Instant, Message, QoS, StdClock, Subscription};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

/// The protocol name in the TLS handshake.
const ALPN: &[u8] = b"mqtt";
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = CertificateDer::from(cert);
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());

    let tls =
        rustls::ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let mut tls = tls.with_no_client_auth().with_single_cert(vec![certificate.clone()], key.into())?;
    tls.alpn_protocols = vec![ALPN.into()];
    let server = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let server = Endpoint::server(server, LOCAL)?;
    let address = server.local_addr()?;
    let broker = tokio::spawn(quic_broker::serve(server.clone()));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate)?;
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.into()];
    let mut endpoint = Endpoint::client(LOCAL)?;
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)));

    let display = show(endpoint.connect(address, "localhost")?.await?, 2);
    let thermometer = measure(endpoint.connect(address, "localhost")?.await?);
    tokio::try_join!(display, thermometer)?;
    server.close(0_u32.into(), b"");
    println!("the broker has forwarded {} messages", broker.await??);
    Ok(())
}

/// Subscribes, and prints this number of messages.
async fn show(connection: Connection, mut count: u32) -> Result<()> {
    let mut client = ClientSession::new(ClientConfig { client_id: "display".into(), ..ClientConfig::default() });
    client.subscribe(StdClock::new().now(), &[Subscription::new("home/+/temp", QoS::ExactlyOnce)?])?;
    converse(&connection, client, |client, now, action| {
        if let Action::Message(message) = action {
            println!("{}: {}", message.topic, message.payload.escape_ascii());
            count -= 1;
            if count == 0 {
                client.disconnect(now, &Disconnect::default())?;
            }
        }
        Ok(())
    })
    .await
}

/// Publishes readings. They are retained, because the display may subscribe later.
async fn measure(connection: Connection) -> Result<()> {
    let now = StdClock::new().now();
    let mut client = ClientSession::new(ClientConfig { client_id: "thermometer".into(), ..ClientConfig::default() });
    for (topic, celsius) in [("home/hall/temp", "18.0"), ("home/kitchen/temp", "21.5")] {
        client.publish(now, &Message::new(topic, celsius).qos(QoS::ExactlyOnce).retain(true))?;
    }
    converse(&connection, client, |client, now, action| {
        if matches!(action, Action::Done { .. }) && client.operations_in_flight() + client.queued() == 0 {
            client.disconnect(now, &Disconnect::default())?;
        }
        Ok(())
    })
    .await
}

/// Runs a client on a stream of its own, until it has disconnected.
async fn converse(
    connection: &Connection,
    mut client: ClientSession,
    mut handle: impl FnMut(&mut ClientSession, Instant, Action<'_>) -> Result<()>,
) -> Result<()> {
    let clock = StdClock::new();
    let (mut send, mut receive) = connection.open_bi().await?;
    let mut received = BytesMut::new();
    client.open(clock.now())?;
    loop {
        let (mut input, mut is_over) = (&received[..], false);
        while let Some(action) = client.poll(clock.now(), &mut input) {
            is_over |= matches!(action, Action::Close(_));
            handle(&mut client, clock.now(), action)?;
        }
        let used = received.len() - input.len();
        received.advance(used);
        send.write_chunk(take(client.transmit())).await?;
        if is_over {
            send.finish()?;
            send.stopped().await?; // the broker has got everything
            return Ok(());
        }
        let pause = client.deadline().map_or(Duration::MAX, |deadline| clock.until(deadline));
        // Reading a chunk may be abandoned: it takes nothing before it is complete.
        if let Ok(chunk) = tokio::time::timeout(pause, receive.read_chunk(65_536, true)).await {
            received.extend_from_slice(&chunk?.context("the broker has ended the stream")?.bytes);
        }
    }
}

fn take(transmit: &mut impl Buf) -> Bytes {
    transmit.copy_to_bytes(transmit.remaining())
}
