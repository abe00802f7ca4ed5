//! A server that follows a script, over pipes or sockets.

#![allow(dead_code)] // each test uses only some of these items

use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};

use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::codec::{self, Decoded, Limits, Packet};
use mqtt_sansio::{SessionExpiry, Version};
use mqtt_sansio_std::Transport;

/// CONNACK of 5.0 with Success, without and with Session Present.
pub(crate) const NEW: &[u8] = b"\x20\x03\x00\x00\x00";
pub(crate) const RESUMED: &[u8] = b"\x20\x03\x01\x00\x00";

/// The server's end of a connection.
pub(crate) struct Peer<R = PipeReader, W = PipeWriter> {
    pub(crate) reader: R,
    pub(crate) writer: W,
    input: Vec<u8>,
}

impl Peer<TcpStream, TcpStream> {
    pub(crate) fn over(socket: TcpStream) -> Self {
        Self { reader: socket.try_clone().unwrap(), writer: socket, input: Vec::new() }
    }
}

impl<R: Read, W: Write> Peer<R, W> {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).unwrap();
    }

    /// Returns the text of the next packet: its type, and what the tests compare; or `the end`.
    pub(crate) fn next(&mut self) -> String {
        loop {
            let decoded = codec::decode(&self.input, Version::V5, Limits::from_client()).unwrap();
            if let Decoded::Packet { packet, size } = decoded {
                let text = describe(&packet);
                self.input.drain(..size);
                return text;
            }
            let mut piece = [0; 4096];
            match self.reader.read(&mut piece).unwrap() {
                0 => return "the end".into(),
                count => self.input.extend_from_slice(&piece[..count]),
            }
        }
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &[&str]) {
        expected.iter().for_each(|text| assert_eq!(self.next(), *text));
    }

    /// Reads CONNECT, and answers with these bytes.
    #[track_caller]
    pub(crate) fn accept(&mut self, expected: &str, answer: &[u8]) {
        self.expect(&[expected]);
        self.write(answer);
    }
}

fn describe(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Connect(connect) => {
            let password = connect.password.map(|it| format!(" password={}", String::from_utf8_lossy(it)));
            format!("CONNECT clean={}{}", connect.clean_start, password.unwrap_or_default())
        }
        Packet::Publish(publish) => {
            let id = publish.delivery.packet_id().map_or(0, |id| id.get());
            let payload = String::from_utf8_lossy(publish.payload);
            format!("PUBLISH {id} {payload} dup={}", publish.delivery.dup())
        }
        Packet::PubRel(pubrel) => format!("PUBREL {}", pubrel.id),
        Packet::PubAck(puback) => format!("PUBACK {} {:?}", puback.id, puback.reason_code),
        Packet::Subscribe(subscribe) => {
            let filters: Vec<_> = subscribe.subscriptions.iter().map(|it| it.filter.as_str().to_owned()).collect();
            format!("SUBSCRIBE {} {}", subscribe.id, filters.join(" "))
        }
        Packet::Unsubscribe(unsubscribe) => format!("UNSUBSCRIBE {}", unsubscribe.id),
        Packet::Auth(auth) => format!("AUTH {:?}", auth.properties.authentication_data.unwrap_or_default()),
        Packet::Disconnect(disconnect) => format!("DISCONNECT {:?}", disconnect.reason_code),
        other => other.packet_type().to_string(),
    }
}

/// Two transports that are connected by pipes: the first for a client, the second one is a script.
pub(crate) fn piped() -> (Transport, Peer) {
    let (reader, writer) = pipe().unwrap();
    let (client_reader, client_writer) = pipe().unwrap();
    (Transport::new(client_reader, writer), Peer { reader, writer: client_writer, input: Vec::new() })
}

/// A function that connects to the scripts that are sent to it.
pub(crate) fn scripts() -> (Sender<Transport>, impl FnMut() -> io::Result<Transport> + Send + 'static) {
    let (sender, receiver): (_, Receiver<Transport>) = channel();
    (sender, move || receiver.recv().map_err(|_| io::ErrorKind::ConnectionRefused.into()))
}

/// A session that outlives its connections, without pauses between them.
pub(crate) fn config() -> ClientConfig {
    ClientConfig {
        client_id: "c".into(),
        session_expiry_interval: SessionExpiry::after(1000),
        min_backoff: 0,
        ..ClientConfig::default()
    }
}
