//! The diagrams of the guide are what the sessions do: each is drawn here, from an exchange, and has to be on the page.

#![cfg(feature = "alloc")]

use std::fmt::Write as _;

use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Close};
use mqtt_sansio::codec::{self, Delivery, Disconnect, Limits, Packet, SubAckReasonCode, Subscription};
use mqtt_sansio::server::{Accept, Acceptor, AcceptorAction, ServerConfig, ServerSession};
use mqtt_sansio::{Instant, Message, QoS, SessionExpiry, Version, server};

const PAGE: &str = include_str!("../src/guide/flows.md");

/// Requires that the page contains a drawing.
fn assert_drawn(name: &str, drawing: &str) {
    assert!(PAGE.contains(drawing), "src/guide/flows.md: {name} has to be\n\n{drawing}");
}

/// A packet as the diagrams name it.
fn name(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Connect(connect) => format!("CONNECT (Clean Start {})", u8::from(connect.clean_start)),
        Packet::ConnAck(connack) => format!("CONNACK (Session Present {})", u8::from(connack.session_present)),
        Packet::Publish(publish) => match publish.delivery {
            Delivery::AtMostOnce => "PUBLISH (QoS 0)".into(),
            Delivery::AtLeastOnce { id, dup } | Delivery::ExactlyOnce { id, dup } => {
                let dup = if dup { ", DUP" } else { "" };
                format!("PUBLISH ({}, id {}{dup})", short(publish.delivery.qos()), id.get())
            }
        },
        Packet::PubAck(ack) => format!("PUBACK (id {})", ack.id.get()),
        Packet::PubRec(ack) => format!("PUBREC (id {})", ack.id.get()),
        Packet::PubRel(ack) => format!("PUBREL (id {})", ack.id.get()),
        Packet::PubComp(ack) => format!("PUBCOMP (id {})", ack.id.get()),
        Packet::Subscribe(subscribe) => format!("SUBSCRIBE (id {})", subscribe.id.get()),
        Packet::SubAck(suback) => format!("SUBACK (id {})", suback.id.get()),
        other => other.packet_type().to_string(),
    }
}

fn short(qos: QoS) -> String {
    format!("QoS {}", qos as u8)
}

/// A client and a server, and the diagram of what they say.
struct Stage {
    now: Instant,
    client: ClientSession,
    acceptor: Option<Acceptor>,
    server: Option<ServerSession>,
    drawing: String,
}

impl Stage {
    fn new() -> Self {
        let config = ClientConfig {
            client_id: "c".into(),
            session_expiry_interval: SessionExpiry::after(60),
            ..ClientConfig::default()
        };
        let client = ClientSession::new(config);
        let mut drawing = String::new();
        line(&mut drawing, "client", &format!("{:^44}", ""), "server");
        Self { now: Instant::from_micros(0), client, acceptor: None, server: None, drawing }
    }

    fn open(&mut self) {
        self.client.open(self.now).unwrap();
        self.acceptor = Some(Acceptor::new(ServerConfig::default(), self.now));
    }

    /// Lets both endpoints say all that they have to say.
    fn run(&mut self) {
        while self.client_to_server() | self.server_to_client() {}
    }

    /// Passes the client's packets to the server; returns whether there were any.
    fn client_to_server(&mut self) -> bool {
        let sent = self.client.transmit().take_all();
        for packet in codec::packets(&sent, Version::V5, Limits::default()) {
            let arrow = format!("-- {:-<40}>", name(&packet.unwrap()) + " ");
            self.draw("", &arrow, "");
        }
        let mut input = &sent[..];
        let mut notes = Vec::new();
        if let Some(acceptor) = &mut self.acceptor {
            while let Some(action) = acceptor.poll(self.now, &mut input) {
                if let AcceptorAction::Connect(_) = action {
                    let server = acceptor.accept(self.now, self.server.take(), Accept::default()).unwrap();
                    self.server = Some(server);
                    self.acceptor = None;
                    break;
                }
            }
        }
        if let Some(server) = &mut self.server {
            while let Some(action) = server.poll(self.now, &mut input) {
                match action {
                    server::Action::Message(_) => notes.push("Message"),
                    server::Action::Done { .. } => notes.push("Done"),
                    server::Action::Subscribe(request) => {
                        notes.push("Subscribe");
                        server.suback(self.now, request.id, &[SubAckReasonCode::GrantedQoS2]).unwrap();
                    }
                    server::Action::Close(_) => notes.push("Close"),
                    _ => {}
                }
            }
        }
        notes.into_iter().for_each(|note| self.draw("", "", note));
        !sent.is_empty()
    }

    /// Passes the server's packets to the client; returns whether there were any.
    fn server_to_client(&mut self) -> bool {
        let Some(server) = &mut self.server else { return false };
        let sent = server.transmit().take_all();
        for packet in codec::packets(&sent, Version::V5, Limits::default()) {
            let arrow = format!("<{:->40} --", String::from(" ") + &name(&packet.unwrap()));
            self.draw("", &arrow, "");
        }
        let mut input = &sent[..];
        let mut notes = Vec::new();
        while let Some(action) = self.client.poll(self.now, &mut input) {
            match action {
                Action::Connected(_) => notes.push("Connected"),
                Action::Message(_) => notes.push("Message"),
                Action::Done { .. } => notes.push("Done"),
                Action::Close(_) => notes.push("Close"),
                _ => {}
            }
        }
        notes.into_iter().for_each(|note| self.draw(note, "", ""));
        !sent.is_empty()
    }

    /// The connection is lost, with what was written and has not arrived.
    fn cut(&mut self) {
        self.client.closed(self.now);
        self.client.transmit().take_all();
        self.server.as_mut().unwrap().closed(self.now);
        self.draw("closed()", &format!("{:^44}", "x  the connection is lost  x"), "closed()");
    }

    fn draw(&mut self, left: &str, middle: &str, right: &str) {
        line(&mut self.drawing, left, middle, right);
    }
}

fn line(drawing: &mut String, left: &str, middle: &str, right: &str) {
    let line = format!("{left:>16} | {middle:<44} | {right}");
    writeln!(drawing, "{}", line.trim_end()).unwrap();
}

/// Returns a pair whose connection is up, with an empty diagram.
fn connected() -> Stage {
    let mut stage = Stage::new();
    stage.open();
    stage.run();
    stage.drawing = Stage::new().drawing;
    stage
}

#[test]
fn a_connection_is_drawn() {
    let mut stage = Stage::new();
    stage.draw("open()", "", "");
    stage.open();
    stage.run();
    let filter = Subscription::new("a/#", QoS::ExactlyOnce).unwrap();
    stage.draw("subscribe()", "", "");
    stage.client.subscribe(stage.now, &[filter]).unwrap();
    stage.run();
    stage.draw("disconnect()", "", "");
    stage.client.disconnect(stage.now, &Disconnect::default()).unwrap();
    stage.run();
    assert_drawn("a connection", &stage.drawing);
}

#[test]
fn each_qos_is_drawn() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut stage = connected();
        stage.draw("publish()", "", "");
        stage.client.publish(stage.now, &Message::new("a", "1").qos(qos)).unwrap();
        stage.run();
        // QoS 0 is done when its last byte has left: the next poll says so.
        if stage.client.poll_timeout(stage.now).is_some() {
            stage.draw("Done", "", "");
        }
        assert_drawn(&short(qos), &stage.drawing);
    }
}

#[test]
fn a_message_to_the_client_is_drawn() {
    let mut stage = connected();
    stage.draw("", "", "publish()");
    stage.server.as_mut().unwrap().publish(stage.now, &Message::new("a", "1").qos(QoS::ExactlyOnce)).unwrap();
    while stage.server_to_client() | stage.client_to_server() {}
    assert_drawn("a message to the client", &stage.drawing);
}

#[test]
fn a_lost_connection_is_drawn() {
    let mut stage = connected();
    stage.draw("publish()", "", "");
    stage.client.publish(stage.now, &Message::new("a", "1").qos(QoS::ExactlyOnce)).unwrap();
    stage.client_to_server();
    stage.cut(); // with PUBREC on its way
    stage.draw("open()", "", "");
    stage.open();
    stage.run();
    assert_drawn("a lost connection", &stage.drawing);
    let times = stage.drawing.matches("Message").count();
    assert_eq!(times, 1, "a message of QoS 2 comes once");
}

/// The states of a client's connection, as its public methods show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    None,
    Connecting,
    Connected,
    Over,
}

impl Life {
    fn of(client: &ClientSession, now: Instant) -> Self {
        match (client.is_connected(), client.takes_input()) {
            (true, _) => Self::Connected,
            (false, true) => Self::Connecting,
            (false, false) if client.clone().open(now).is_ok() => Self::None,
            (false, false) => Self::Over,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::None => "no connection",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Over => "over",
        }
    }
}

const NOW: Instant = Instant::from_micros(5);

type Event = (&'static str, fn(&mut ClientSession) -> Result<(), String>);

/// Gives a client bytes, and returns whether an action came.
fn receive(client: &mut ClientSession, bytes: &[u8]) -> Result<(), String> {
    let mut input = bytes;
    let first = client.poll(NOW, &mut input).map(|action| matches!(action, Action::Close(Close::Requested)));
    while client.poll(NOW, &mut input).is_some() {}
    first.filter(|is_requested| !is_requested).map(drop).ok_or_else(|| "ignored".into())
}

const EVENTS: [Event; 7] = [
    ("`open()`", |client| client.open(NOW).map_err(|error| format!("error: {error}"))),
    ("CONNACK with Success", |client| receive(client, b"\x20\x03\0\0\0")),
    ("CONNACK with an error", |client| receive(client, b"\x20\x03\0\x87\0")),
    ("DISCONNECT of the server", |client| receive(client, b"\xe0\x02\x8b\0")),
    ("a deadline without an answer", |client| {
        let mut is_over = false;
        for _ in 0..3 {
            let Some(deadline) = client.deadline() else { break };
            client.transmit().take_all();
            while client.poll_timeout(deadline).is_some() {
                is_over = true;
            }
        }
        is_over.then_some(()).ok_or_else(|| "ignored".into())
    }),
    ("`disconnect()`", |client| {
        client.disconnect(NOW, &Disconnect::default()).map_err(|error| format!("error: {error}"))?;
        while client.poll_timeout(NOW).is_some() {}
        Ok(())
    }),
    ("`closed()`", |client| {
        client.closed(NOW);
        Ok(())
    }),
];

#[test]
fn the_life_of_a_connection_is_drawn() {
    let mut states = vec![(Life::None, ClientSession::new(ClientConfig::default()))];
    let mut rows = Vec::new();
    let mut at = 0;
    while let Some((life, client)) = states.get(at).cloned() {
        at += 1;
        for (event, cause) in EVENTS {
            let mut client = client.clone();
            let result = cause(&mut client);
            let next = Life::of(&client, NOW);
            if !states.iter().any(|(known, _)| *known == next) {
                states.push((next, client));
            }
            let effect = result.err().unwrap_or_else(|| next.name().into());
            if effect != "ignored" && (next != life || effect.starts_with("error")) {
                rows.push(format!("| {} | {event} | {effect} |\n", life.name()));
            }
        }
    }
    assert_eq!(states.len(), 4);
    assert_drawn("the life of a connection", &rows.concat());
}
