//! The innocent client, which sends itself a message of QoS 1 every 20 ms and measures the latency of each.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mqtt_bench_brokers::Process;
use mqtt_sansio::codec::PacketType;
use socket2::{Domain, Protocol, Socket, Type};

use crate::packets::{self, ConnectOptions, Received};
use crate::stage::Stage;

const INTERVAL: Duration = Duration::from_millis(20);

const TOPIC: &str = "innocent/self";

/// Observations of the innocent client since the attack began.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    /// The latency of each message, in ascending order. A message that has not come back counts with the time since it was sent.
    pub(crate) latencies: Vec<Duration>,
    /// Maximum processor time that the broker has spent between the sending of a message and its return.
    pub(crate) work: Duration,
    pub(crate) lost: u64,
    pub(crate) refused: u64,
    /// Violations: a message twice or out of order, a refused message, a lost connection.
    pub(crate) faults: Vec<String>,
}

impl Observations {
    /// Returns a percentile, by nearest rank.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.latencies.len() * percent).div_ceil(100);
        self.latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub(crate) fn max(&self) -> Duration {
        self.latencies.last().copied().unwrap_or_default()
    }
}

/// A message on its way.
struct Sent {
    number: u64,
    at: Instant,
    cpu: Duration,
}

/// Sends and receives until the innocent client is to leave the stage, and then waits for the messages that are on their way.
pub(crate) fn run(stage: &Stage, process: Process, patience: Duration) -> Observations {
    let mut noticed = Observations::default();
    if let Err(error) = attempt(stage, process, patience, &mut noticed) {
        noticed.faults.push(format!("{error:#}"));
    }
    noticed.latencies.sort();
    noticed
}

fn attempt(stage: &Stage, process: Process, patience: Duration, noticed: &mut Observations) -> Result<()> {
    let mut client = Client::connect(stage, "innocent", patience)?;
    client.subscribe(TOPIC, patience)?;
    let mut sent: VecDeque<Sent> = VecDeque::new();
    let mut number = 0_u64;
    let mut next = Instant::now();
    let mut left = None;
    let result = loop {
        let now = Instant::now();
        if stage.is_left() {
            let left = *left.get_or_insert(now);
            if sent.is_empty() || now - left > patience {
                break Ok(());
            }
            next = now + INTERVAL;
        } else if now >= next {
            next += INTERVAL;
            // Packet identifiers are used again after more messages than can be outstanding.
            let id = (number % 60_000) as u16 + 1;
            let packet = packets::publish(TOPIC, &number.to_le_bytes(), 1, id)?;
            // The processor time is read before the write: the broker may run as soon as the bytes are written.
            let cpu = process.cpu().unwrap_or_default();
            sent.push_back(Sent { number, at: Instant::now(), cpu });
            number += 1;
            stage.outstanding.store(sent.len() as u64, Ordering::Relaxed);
            if let Err(error) = client.socket.write_all(&packet) {
                break Err(error).context("the innocent client's connection is lost");
            }
        }
        let wait = next.saturating_duration_since(Instant::now()).max(Duration::from_micros(100));
        let events = match client.read(wait) {
            Ok(events) => events,
            Err(error) => break Err(error.context("the innocent client's connection is lost")),
        };
        let (at, cpu) = (Instant::now(), process.cpu().unwrap_or_default());
        for event in events {
            match event {
                Event::Refused(code) => {
                    noticed.refused += 1;
                    // The message that was refused counts as lost when a later one arrives, or at the end.
                    noticed.faults.push(format!("the innocent client was refused with 0x{code:02X}"));
                }
                Event::Message(number) => {
                    let Some(index) = sent.iter().position(|it| it.number == number) else {
                        noticed
                            .faults
                            .push(format!("message {number} of the innocent client came twice or out of order"));
                        continue;
                    };
                    // Messages of QoS 1 are in order: those sent before this one are lost.
                    for sent in sent.drain(..=index) {
                        if sent.number != number {
                            noticed.lost += 1;
                        }
                        if is_counted(stage, &sent) {
                            noticed.latencies.push(at - sent.at);
                            noticed.work = noticed.work.max(cpu.saturating_sub(sent.cpu));
                        }
                    }
                }
            }
        }
        stage.outstanding.store(sent.len() as u64, Ordering::Relaxed);
    };
    let (now, cpu) = (Instant::now(), process.cpu().unwrap_or_default());
    for sent in &sent {
        noticed.lost += 1;
        if is_counted(stage, sent) {
            noticed.latencies.push(now - sent.at);
            noticed.work = noticed.work.max(cpu.saturating_sub(sent.cpu));
        }
    }
    noticed.faults.dedup();
    result
}

fn is_counted(stage: &Stage, sent: &Sent) -> bool {
    stage.begun().is_some_and(|begun| sent.at >= begun)
}

/// Opens a connection from the address of the innocent client.
pub(crate) fn open(stage: &Stage, patience: Duration) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::new(stage.innocent, 0).into())?;
    socket.connect_timeout(&stage.broker.tcp.into(), patience).context("no connection is accepted")?;
    let socket = TcpStream::from(socket);
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// An event for the innocent client.
enum Event {
    Message(u64),
    Refused(u8),
}

/// A plain client.
struct Client {
    socket: TcpStream,
    input: Vec<u8>,
}

impl Client {
    fn connect(stage: &Stage, client_id: &str, patience: Duration) -> Result<Self> {
        let socket = open(stage, patience)?;
        let mut client = Self { socket, input: Vec::new() };
        client.socket.write_all(&ConnectOptions::new(client_id).packet()?)?;
        client.wait_for(PacketType::ConnAck, patience)?;
        Ok(client)
    }

    fn subscribe(&mut self, topic: &str, patience: Duration) -> Result<()> {
        self.socket.write_all(&packets::subscribe(1, &[topic], 1, 0)?)?;
        self.wait_for(PacketType::SubAck, patience)
    }

    /// Waits for the next packet, which must have this type and no error code.
    fn wait_for(&mut self, packet_type: PacketType, patience: Duration) -> Result<()> {
        let begin = Instant::now();
        loop {
            self.fill(patience)?;
            let mut rest = &self.input[..];
            if let Some(packet) = Received::take(&mut rest) {
                ensure!(packet.is(packet_type), "another packet than was expected: {:02x}", packet.first);
                let error = packet.errors().next();
                ensure!(error.is_none(), "refused with 0x{:02X}", error.unwrap_or_default());
                self.input.drain(..self.input.len() - rest.len());
                return Ok(());
            }
            ensure!(begin.elapsed() < patience, "no answer within {patience:?}");
        }
    }

    /// Reads the bytes that arrive within a time.
    fn fill(&mut self, wait: Duration) -> Result<()> {
        self.socket.set_read_timeout(Some(wait))?;
        let mut buffer = [0; 4096];
        match self.socket.read(&mut buffer) {
            Ok(0) => bail!("the broker has closed it"),
            Ok(count) => self.input.extend_from_slice(&buffer[..count]),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => return Err(error.into()),
            },
        }
        Ok(())
    }

    /// Reads the packets that arrive within a time, and acknowledges messages.
    fn read(&mut self, wait: Duration) -> Result<Vec<Event>> {
        self.fill(wait)?;
        let mut rest = &self.input[..];
        let (mut events, mut acks) = (Vec::new(), Vec::new());
        while let Some(packet) = Received::take(&mut rest) {
            ensure!(!packet.is(PacketType::Disconnect), "the broker has disconnected it: {:02x?}", packet.body);
            events.extend(packet.errors().map(Event::Refused));
            if packet.is(PacketType::Publish)
                && let Some((_, id, payload)) = packet.publish()
            {
                acks.extend([0x40, 2]);
                acks.extend(id.to_be_bytes());
                events.push(Event::Message(u64::from_le_bytes(
                    payload.try_into().context("a message of another client")?,
                )));
            }
        }
        let taken = self.input.len() - rest.len();
        self.input.drain(..taken);
        self.socket.write_all(&acks)?;
        Ok(events)
    }
}

/// Connects a new client, which sends itself a message. Returns an error if the message does not arrive in time.
pub(crate) fn try_newcomer(stage: &Stage, patience: Duration) -> Result<()> {
    let topic = "newcomer/self";
    let mut client = Client::connect(stage, "last", patience)?;
    client.subscribe(topic, patience)?;
    client.socket.write_all(&packets::publish(topic, &0_u64.to_le_bytes(), 1, 1)?)?;
    let begin = Instant::now();
    while begin.elapsed() < patience {
        match client.read(patience)?.first() {
            Some(Event::Message(_)) => return Ok(()),
            Some(Event::Refused(code)) => bail!("its message was refused with 0x{code:02X}"),
            None => {} // the first packet may be the PUBACK
        }
    }
    bail!("its message has not come")
}

/// Interval between two newcomers.
const NEWCOMERS: Duration = Duration::from_millis(100);

/// Connects newcomers, one after the other, until the innocent client is to leave. Returns the longest wait for a CONNACK.
pub(crate) fn newcomers(stage: &Stage, patience: Duration) -> Duration {
    let mut longest = Duration::ZERO;
    while !stage.is_left() {
        let begin = Instant::now();
        // The wait of a newcomer that is refused counts as well.
        let _ = Client::connect(stage, "newcomer", patience);
        if stage.begun().is_some_and(|begun| begin >= begun) {
            longest = longest.max(begin.elapsed());
        }
        std::thread::sleep(NEWCOMERS.saturating_sub(begin.elapsed()));
    }
    longest
}
