//! Two endpoints without a network: the output of one is given to the other, packet by packet, and the time is a
//! number.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Buf;
use mqtt_sansio::client::{self, ClientConfig, ClientSession};
use mqtt_sansio::codec::{self, Decoded, Limits, PacketType, ReasonCode, SubAckReasonCode, UnsubAckReasonCode};
use mqtt_sansio::server::{self, Accept, Acceptor, ServerConfig, ServerSession};
use mqtt_sansio::{Instant, Outcome, ReceivedMessage, Token, Version};

use crate::{tree, words};

/// The time a packet is on its way.
const LATENCY: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

pub(crate) struct Stage<'o, W> {
    out: &'o mut W,
    colour: bool,
    pub(crate) now: Instant,
    pub(crate) client: ClientSession,
    config: ServerConfig,
    /// The acceptor, until the client is accepted.
    acceptor: Option<Acceptor>,
    /// The server session from then on, also without a connection.
    session: Option<ServerSession>,
    /// Bytes that each endpoint has written and the other one has not read.
    from_client: Vec<u8>,
    from_server: Vec<u8>,
    /// The topics of all messages that the applications have received.
    received: Vec<String>,
    /// Whether the last line was not followed by an empty one.
    is_in_list: bool,
}

impl<'o, W: Write> Stage<'o, W> {
    pub(crate) fn new(out: &'o mut W, colour: bool, client: ClientConfig, server: ServerConfig) -> Self {
        Self {
            out,
            colour,
            now: Instant::EPOCH,
            client: ClientSession::new(client),
            config: server,
            acceptor: None,
            session: None,
            from_client: Vec::new(),
            from_server: Vec::new(),
            received: Vec::new(),
            is_in_list: false,
        }
    }

    /// The server session.
    pub(crate) fn session(&mut self) -> Result<&mut ServerSession> {
        self.session.as_mut().context("the client has never been accepted")
    }

    /// How often an application has received a message with this topic.
    pub(crate) fn times_received(&self, topic: &str) -> usize {
        self.received.iter().filter(|received| *received == topic).count()
    }

    pub(crate) fn chapter(&mut self, title: &str) -> Result<()> {
        self.end_list()?;
        let line = format!("── {title} {}", "─".repeat(90_usize.saturating_sub(title.chars().count())));
        Ok(writeln!(self.out, "{}\n", self.bold(&line))?)
    }

    pub(crate) fn say(&mut self, words: &str) -> Result<()> {
        self.end_list()?;
        Ok(writeln!(self.out, "{words}")?)
    }

    /// Prints an event other than a packet.
    fn tell(&mut self, words: impl fmt::Display) -> Result<()> {
        self.is_in_list = true;
        Ok(writeln!(self.out, "{:>9}  • {words}", self.time())?)
    }

    fn end_list(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_in_list) {
            writeln!(self.out)?;
        }
        Ok(())
    }

    fn time(&self) -> String {
        let millis = self.now.as_micros() / 1000;
        format!("{}.{:03} s", millis / 1000, millis % 1000)
    }

    fn bold(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Opens a connection.
    pub(crate) fn open(&mut self) -> Result<()> {
        self.acceptor = Some(Acceptor::new(self.config.clone(), self.now));
        Ok(self.client.open(self.now)?)
    }

    /// The next packet of this endpoint arrives. It must have this type.
    pub(crate) fn pass(&mut self, from: End, expected: PacketType, why: &str) -> Result<()> {
        let packet = self.take(from, expected, why, "")?;
        self.now = self.now + LATENCY;
        match from {
            End::Client => self.poll_server(&packet)?,
            End::Server => self.poll_client(&packet)?,
        }
        self.poll_both()
    }

    /// The next packet of this endpoint is written, and never arrives.
    pub(crate) fn lose(&mut self, from: End, expected: PacketType, why: &str) -> Result<()> {
        self.take(from, expected, why, ", lost").map(drop)
    }

    /// The connection is cut in both directions, and both endpoints are told.
    pub(crate) fn cut(&mut self) -> Result<()> {
        self.from_client.clear();
        self.from_server.clear();
        self.closed()?;
        let pause = self.client.backoff();
        self.tell(format_args!("the connection is lost; the client reconnects in {:.1} s", pause.as_secs_f64()))?;
        self.now = self.now + pause;
        Ok(())
    }

    /// The connection has ended as intended.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.is_quiet()?;
        self.closed()?;
        let open = (self.client.operations_in_flight(), self.session()?.packet_ids_in_use());
        ensure!(open == (0, 0), "a delivery is not finished: {open:?}");
        Ok(())
    }

    fn closed(&mut self) -> Result<()> {
        let now = self.now;
        self.client.closed(now);
        self.session()?.closed(now);
        self.poll_both()
    }

    /// Advances the time until one of the endpoints has something to do.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let deadlines = [self.client.deadline(), self.session()?.deadline()];
        let next = deadlines.into_iter().flatten().min().context("there is no deadline")?;
        self.now = self.now.max(next);
        self.poll_both()
    }

    /// Checks that neither endpoint has anything to write.
    pub(crate) fn is_quiet(&mut self) -> Result<()> {
        for from in [End::Client, End::Server] {
            ensure!(self.written_by(from).is_empty(), "the {from} has unexpected output");
        }
        Ok(())
    }

    /// All bytes that this endpoint has written, including those that it has to write now.
    fn written_by(&mut self, from: End) -> &mut Vec<u8> {
        let (transmit, written) = match from {
            End::Client => (Some(self.client.transmit()), &mut self.from_client),
            End::Server => {
                let of_acceptor = self.acceptor.as_mut().map(Acceptor::transmit);
                let of_session = self.session.as_mut().map(ServerSession::transmit);
                (of_acceptor.or(of_session), &mut self.from_server)
            }
        };
        if let Some(transmit) = transmit {
            written.extend_from_slice(&transmit.copy_to_bytes(transmit.remaining()));
        }
        written
    }

    /// Takes the next packet from the output of this endpoint and prints it.
    fn take(&mut self, from: End, expected: PacketType, why: &str, fate: &str) -> Result<Vec<u8>> {
        let (limits, to) = match from {
            End::Client => (Limits::from_client(), End::Server),
            End::Server => (Limits::from_server(), End::Client),
        };
        let written = self.written_by(from);
        let packet: Vec<u8> = match codec::decode(written, Version::V5, limits)? {
            Decoded::Packet { packet, size } if packet.packet_type() == expected => written.drain(..size).collect(),
            Decoded::Packet { packet, .. } => bail!("expected {expected} from the {from}, not {packet:?}"),
            Decoded::Incomplete { .. } => bail!("expected {expected} from the {from}"),
        };
        self.end_list()?;
        let title = self.bold(&format!("{from} → {to}  {expected}{fate}"));
        writeln!(self.out, "{:>9}  {title}, {}\n           {why}", self.time(), words::count(packet.len()))?;
        let mut shown = Vec::new();
        let options = tree::Options { version: Some(Version::V5), limits, colour: self.colour };
        tree::print(&mut shown, &packet, options)?;
        let heading = shown.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1); // there is one already
        self.out.write_all(shown.get(heading..).unwrap_or_default())?;
        Ok(packet)
    }

    /// After a write, or after time has passed, the endpoints may have actions.
    fn poll_both(&mut self) -> Result<()> {
        self.poll_client(&[])?;
        self.poll_server(&[])
    }

    /// The client's application.
    fn poll_client(&mut self, mut input: &[u8]) -> Result<()> {
        while let Some(action) = self.client.poll(self.now, &mut input) {
            match action {
                client::Action::Connected(connected) => {
                    self.tell(format_args!("client: connected, {} session", connected.session))?;
                }
                client::Action::Message(message) => self.message(End::Client, &message)?,
                client::Action::Done { token, outcome } => {
                    self.done(End::Client, token, &outcome)?;
                }
                client::Action::Close(why) => self.tell(format_args!("client: {why}"))?,
                other => bail!("{other:?}"),
            }
        }
        Ok(())
    }

    /// The server's application: it accepts the client, and grants all subscriptions.
    fn poll_server(&mut self, mut input: &[u8]) -> Result<()> {
        if let Some(acceptor) = &mut self.acceptor {
            match acceptor.poll(self.now, &mut input) {
                None => return Ok(()),
                Some(server::AcceptorAction::Connect(_)) => {
                    self.session = Some(acceptor.accept(self.now, self.session.take(), Accept::default())?);
                    self.acceptor = None;
                }
                Some(other) => bail!("{other:?}"),
            }
        }
        let Some(mut session) = self.session.take() else { return Ok(()) };
        let told = self.poll_session(&mut session, input);
        self.session = Some(session);
        told
    }

    fn poll_session(&mut self, session: &mut ServerSession, mut input: &[u8]) -> Result<()> {
        while let Some(action) = session.poll(self.now, &mut input) {
            match action {
                server::Action::Subscribe(request) => {
                    let granted: Vec<_> = request.subscriptions.iter().map(|it| it.qos.into()).collect();
                    session.suback(self.now, request.id, &granted as &[SubAckReasonCode])?;
                }
                server::Action::Unsubscribe(request) => {
                    session.unsuback(
                        self.now,
                        request.id,
                        &vec![UnsubAckReasonCode::Success; request.filters.len()],
                    )?;
                }
                server::Action::Message(message) => self.message(End::Server, &message)?,
                server::Action::Done { token, outcome } => {
                    self.done(End::Server, token, &outcome)?;
                }
                server::Action::Close(why) => self.tell(format_args!("server: {why}"))?,
                other => bail!("{other:?}"),
            }
        }
        Ok(())
    }

    /// Prints the outcome of an operation.
    fn done(&mut self, end: End, token: Token, outcome: &Outcome<'_>) -> Result<()> {
        ensure!(outcome.is_success(), "{end}: operation {token} has failed: {outcome:?}");
        let codes: Vec<_> = outcome.codes().map(ReasonCode::name).collect();
        let said = if codes.is_empty() { "sent".to_owned() } else { codes.join(", ") };
        self.tell(format_args!("{end}: operation {token}: {said}"))
    }

    fn message(&mut self, to: End, message: &ReceivedMessage<'_>) -> Result<()> {
        self.received.push(message.topic.to_string());
        let payload = String::from_utf8_lossy(message.payload);
        self.tell(format_args!("{to}: the message \"{payload}\" for {} has arrived", message.topic))
    }
}
