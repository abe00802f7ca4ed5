//! An attacker's connection.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use mqtt_sansio::codec::PacketType;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use socket2::SockRef;

use crate::packets::{self, ConnectOptions, PINGREQ, Received};
use crate::stage::{Stage, add};

/// The reason why an attacker cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The attack is over.
    Over,
    /// The broker has closed the connection.
    Closed,
    /// The broker has refused the client.
    Refused(u8),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Over => f.write_str("the time is over"),
            Self::Closed => f.write_str("the broker has closed the connection"),
            Self::Refused(code) => write!(f, "the broker has refused the client with 0x{code:02X}"),
        }
    }
}

impl std::error::Error for Stopped {}

pub(crate) fn is_over(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Stopped::Over))
}

/// Maximum duration of a system call, so that the end of the attack is noticed.
const CALL: Duration = Duration::from_millis(50);

/// Maximum duration of a write, because the attacker may have to read before the broker takes more.
const WRITE: Duration = Duration::from_millis(4);

/// Maximum number of reads in a row.
const READS: usize = 64;

/// A connection of an attacker. It reads what the broker sends while it writes, unless it is deaf.
pub(crate) struct Peer<'a> {
    stage: &'a Stage,
    socket: TcpStream,
    is_deaf: bool,
    /// Whether messages of QoS 1 are acknowledged.
    acknowledges: bool,
    /// Number of received packets of each type that [`wait_for`](Self::wait_for) has not returned yet.
    come: [u64; 16],
    /// The reason code of CONNACK.
    connack: u8,
    /// The beginning of a packet.
    input: Vec<u8>,
    buffer: Box<[u8]>,
    acks: Vec<u8>,
}

impl<'a> Peer<'a> {
    /// Opens a connection, without a packet.
    pub(crate) fn open(stage: &'a Stage, address: SocketAddr) -> Result<Self, Stopped> {
        let socket = loop {
            stage.check()?;
            match TcpStream::connect_timeout(&address, 4 * CALL) {
                Ok(socket) => break socket,
                Err(_) => {
                    add(&stage.tally.unopened, 1);
                    thread::sleep(Duration::from_millis(10));
                }
            }
        };
        // Without lingering a port is free at once. Otherwise thousands of short connections would use up all ports.
        let is_set = SockRef::from(&socket).set_linger(Some(Duration::ZERO)).is_ok()
            && socket.set_nodelay(true).is_ok()
            && socket.set_read_timeout(Some(CALL)).is_ok()
            && socket.set_write_timeout(Some(WRITE)).is_ok();
        if !is_set {
            return Err(Stopped::Closed);
        }
        add(&stage.tally.connections, 1);
        Ok(Self {
            stage,
            socket,
            is_deaf: false,
            acknowledges: false,
            come: [0; 16],
            connack: 0,
            input: Vec::new(),
            buffer: Box::default(),
            acks: Vec::new(),
        })
    }

    /// Opens a connection over TCP, and connects. During the preparations of an attack this is repeated until it succeeds.
    pub(crate) fn connect(stage: &'a Stage, hello: &ConnectOptions<'_>) -> Result<Self> {
        if stage.begun().is_some() {
            return Self::connect_once(stage, hello);
        }
        stage.insist(|| Self::connect_once(stage, hello))
    }

    fn connect_once(stage: &'a Stage, hello: &ConnectOptions<'_>) -> Result<Self> {
        let mut peer = Self::open(stage, stage.broker.tcp)?;
        peer.send(&hello.packet()?)?;
        peer.wait_for(PacketType::ConnAck)?;
        Ok(peer)
    }

    /// Reads nothing from now on.
    pub(crate) fn deaf(mut self) -> Self {
        self.is_deaf = true;
        self
    }

    /// Acknowledges messages of QoS 1 from now on.
    pub(crate) const fn acknowledging(mut self) -> Self {
        self.acknowledges = true;
        self
    }

    /// Writes everything, however long it takes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        self.write(bytes, !self.is_deaf)
    }

    /// Writes everything, and reads nothing meanwhile.
    pub(crate) fn send_without_reading(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        self.write(bytes, false)
    }

    fn write(&mut self, mut bytes: &[u8], reads: bool) -> Result<(), Stopped> {
        while !bytes.is_empty() {
            self.stage.check()?;
            match self.socket.write(bytes) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    add(&self.stage.tally.bytes, count as u64);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => {
                        // The reason may still be in the receive buffer: a DISCONNECT.
                        let why = if reads { self.absorb().err() } else { None };
                        return Err(why.unwrap_or_else(|| self.closed()));
                    }
                },
            }
            if reads {
                self.absorb()?;
            }
        }
        Ok(())
    }

    /// Reads the bytes that have arrived, without waiting. Reason codes are counted.
    pub(crate) fn absorb(&mut self) -> Result<(), Stopped> {
        self.make_room();
        for _ in 0..READS {
            match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => self.take(count),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => return Err(self.closed()),
            }
        }
        self.acknowledge()
    }

    /// Reads until one more packet of this type has come.
    pub(crate) fn wait_for(&mut self, packet_type: PacketType) -> Result<(), Stopped> {
        self.make_room();
        let index = packet_type as usize;
        while self.come[index] == 0 {
            self.stage.check()?;
            match self.socket.read(&mut self.buffer) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => self.take(count),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(self.closed()),
                },
            }
            self.acknowledge()?;
        }
        self.come[index] -= 1;
        let is_refused = packet_type == PacketType::ConnAck && self.connack >= 0x80;
        if is_refused { Err(Stopped::Refused(self.connack)) } else { Ok(()) }
    }

    /// Reads and discards packets until the attack is over.
    pub(crate) fn listen(&mut self) -> Result<(), Stopped> {
        // The broker never sends this packet.
        self.wait_for(PacketType::PingReq)
    }

    /// Waits until the broker has answered a PINGREQ, and so has processed the packets before it.
    pub(crate) fn catch_up(&mut self) -> Result<(), Stopped> {
        self.send(PINGREQ)?;
        self.wait_for(PacketType::PingResp)
    }

    pub(crate) fn subscribe(&mut self, filters: &[impl AsRef<str>], qos: u8) -> Result<()> {
        self.send(&packets::subscribe(1, filters, qos, 0)?)?;
        Ok(self.wait_for(PacketType::SubAck)?)
    }

    /// Waits until the broker has closed the connection after a DISCONNECT that was sent already.
    pub(crate) fn leave(mut self) -> Result<(), Stopped> {
        let _ = self.socket.shutdown(Shutdown::Write);
        match self.listen() {
            Err(Stopped::Closed) => {
                self.stage.tally.closed.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            }
            other => other,
        }
    }

    /// Reads and discards packets for a while, or until the broker closes the connection.
    pub(crate) fn linger(&mut self, duration: Duration) -> Result<(), Stopped> {
        let begin = Instant::now();
        while begin.elapsed() < duration {
            self.absorb()?;
            thread::sleep(duration / 5);
        }
        Ok(())
    }

    /// Reads at most this number of bytes, for a slow reader.
    pub(crate) fn read_some(&mut self, count: usize) -> Result<(), Stopped> {
        let mut bytes = vec![0; count];
        match recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Err(self.closed()),
            Ok(_) | Err(Errno::EINTR | Errno::EAGAIN) => Ok(()),
            Err(_) => Err(self.closed()),
        }
    }

    /// Reads bytes of another protocol than MQTT until these have arrived.
    pub(crate) fn wait_for_bytes(&mut self, end: &[u8]) -> Result<(), Stopped> {
        let mut received = Vec::new();
        while !received.ends_with(end) {
            self.stage.check()?;
            let mut byte = [0];
            match self.socket.read(&mut byte) {
                Ok(0) => return Err(self.closed()),
                Ok(_) => received.push(byte[0]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(self.closed()),
                },
            }
        }
        Ok(())
    }

    /// Returns whether the broker has closed the connection.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(
            recv(self.socket.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK),
            Ok(0) | Err(Errno::ECONNRESET | Errno::EPIPE)
        )
    }

    /// Allocates the buffer. An idle connection has none, because there are thousands of them.
    fn make_room(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = vec![0; 16 * 1024].into();
        }
    }

    /// Frees the buffers.
    pub(crate) fn free_buffers(&mut self) {
        self.buffer = Box::default();
        self.input = Vec::new();
    }

    /// Takes the packets that are complete.
    fn take(&mut self, count: usize) {
        self.input.extend_from_slice(&self.buffer[..count]);
        let mut rest = &self.input[..];
        while let Some(packet) = Received::take(&mut rest) {
            self.come[usize::from(packet.first >> 4)] += 1;
            for code in packet.errors() {
                self.stage.tally.code(code);
                if packet.is(PacketType::ConnAck) {
                    self.connack = code;
                }
            }
            if self.acknowledges
                && packet.is(PacketType::Publish)
                && packet.qos() == 1
                && let Some((_, id, _)) = packet.publish()
            {
                self.acks.extend([0x40, 2]);
                self.acks.extend(id.to_be_bytes());
            }
        }
        let taken = self.input.len() - rest.len();
        self.input.drain(..taken);
    }

    fn acknowledge(&mut self) -> Result<(), Stopped> {
        if self.acks.is_empty() {
            return Ok(());
        }
        let acks = std::mem::take(&mut self.acks);
        self.write(&acks, false)
    }

    fn closed(&self) -> Stopped {
        add(&self.stage.tally.closed, 1);
        Stopped::Closed
    }
}
