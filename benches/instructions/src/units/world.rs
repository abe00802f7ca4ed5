//! A broker whose calls are counted, and its clients, which are connections only.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::Duration;

use bytes::Buf;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin, Secret};
use mqtt_sansio::codec::{Connect, ConnectProperties, DisconnectReasonCode, Packet};
use mqtt_sansio::{Instant, Message, Version};

/// The pattern of the name of [`counted_call`].
pub const COUNTED: &str = "*counted_call*";

/// A call whose instructions are counted.
#[inline(never)]
fn counted_call(call: &mut dyn FnMut()) {
    black_box(call)();
    black_box(()); // the call above is no jump
}

pub struct World {
    broker: Broker<AllowAll>,
    now: Instant,
    /// What clients have sent, and the broker has not taken yet.
    sent: BTreeMap<ConnectionId, Vec<u8>>,
    /// What clients have received of an unfinished packet.
    received: BTreeMap<ConnectionId, Vec<u8>>,
    /// Connections whose clients do not read.
    deaf: BTreeSet<ConnectionId>,
    /// Whether clients acknowledge what they receive.
    acknowledges: bool,
    is_counting: bool,
    units: u64,
}

impl World {
    pub fn new() -> Self {
        let mut world = Self {
            broker: Broker::new(Self::config(), AllowAll),
            now: Instant::from_micros(1),
            sent: BTreeMap::new(),
            received: BTreeMap::new(),
            deaf: BTreeSet::new(),
            acknowledges: true,
            is_counting: false,
            units: 0,
        };
        world.settle();
        world
    }

    pub fn config() -> BrokerConfig {
        let mut config = BrokerConfig::new(Secret::new([7; 16]));
        config.server.topic_alias_maximum = 10;
        config
    }

    /// Begins anew, with another configuration.
    pub fn configure(&mut self, change: impl FnOnce(&mut BrokerConfig)) {
        let mut config = Self::config();
        change(&mut config);
        self.broker = Broker::new(config, AllowAll);
    }

    /// Counts the work that this does.
    pub fn count(&mut self, work: impl FnOnce(&mut Self)) {
        self.is_counting = true;
        work(self);
        self.is_counting = false;
    }

    /// The units that were counted.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Clients acknowledge what they receive from now on, or do not.
    pub fn set_acknowledges(&mut self, acknowledges: bool) {
        self.acknowledges = acknowledges;
    }

    /// A client reads from now on, or does not.
    pub fn set_reads(&mut self, id: ConnectionId, reads: bool) {
        if reads {
            self.deaf.remove(&id);
            self.read(id);
            self.settle();
        } else {
            self.deaf.insert(id);
        }
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Broker<AllowAll>, Instant) -> T) -> T {
        let Self { broker, now, .. } = self;
        if !self.is_counting {
            return call(broker, *now);
        }
        let (before, mut call, mut done) = (broker.work_done(), Some(call), None);
        counted_call(&mut || done = call.take().map(|call| call(broker, *now)));
        self.units += broker.work_done() - before;
        done.unwrap()
    }

    /// Lets time pass.
    pub fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.settle();
    }

    pub fn open(&mut self) -> ConnectionId {
        self.call(|broker, now| broker.open(now, Origin::UNKNOWN))
    }

    /// Connects a client, which has a session that outlives the connection.
    pub fn connect(&mut self, client_id: &str) -> ConnectionId {
        self.connect_as(Connect { client_identifier: client_id.try_into().unwrap(), ..lasting() })
    }

    pub fn connect_as(&mut self, connect: Connect<'_>) -> ConnectionId {
        let (id, mut bytes) = (self.open(), Vec::new());
        Packet::from(connect).encode(connect.version, &mut bytes).unwrap();
        self.send(id, &bytes);
        id
    }

    /// The transport of a client is lost.
    pub fn close(&mut self, id: ConnectionId) {
        self.call(|broker, now| broker.closed(now, id));
        self.settle();
    }

    pub fn end_session(&mut self, client_id: &str) {
        assert!(self.call(|broker, now| broker.end_session(now, client_id)));
        self.settle();
    }

    /// The embedding program disconnects a client.
    pub fn disconnect(&mut self, id: ConnectionId) {
        self.call(|broker, now| broker.disconnect(now, id, DisconnectReasonCode::AdministrativeAction));
        self.settle();
    }

    /// Publishes a message of the embedding program's own.
    pub fn publish(&mut self, message: &Message<'_>) {
        self.call(|broker, now| broker.publish(now, message)).unwrap();
        self.settle();
    }

    /// A client sends packets, and all work that follows is done.
    pub fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.sent.entry(id).or_default().extend_from_slice(bytes);
        self.settle();
    }

    /// Does all that is to be done, as a driver does.
    pub fn settle(&mut self) {
        loop {
            let mut is_done = true;
            for (id, bytes) in core::mem::take(&mut self.sent) {
                let mut input = &bytes[..];
                if !self.broker.takes_input(id) {
                    self.sent.insert(id, bytes);
                    continue;
                }
                self.call(|broker, now| broker.receive(now, id, &mut input));
                is_done &= input.len() == bytes.len();
                if !input.is_empty() && !self.broker.is_over(id) {
                    self.sent.entry(id).or_default().extend_from_slice(input);
                }
            }
            while let Some(id) = self.call(|broker, _| broker.next_ready()) {
                is_done = false;
                self.read(id);
            }
            if self.broker.deadline().is_some_and(|at| at <= self.now) {
                self.call(|broker, now| broker.poll(now));
            } else if is_done {
                return;
            }
        }
    }

    /// A client reads all that there is for it.
    fn read(&mut self, id: ConnectionId) {
        if self.deaf.contains(&id) {
            return;
        }
        let mut received = self.received.remove(&id).unwrap_or_default();
        loop {
            // The bytes are written to the transport by others.
            self.call(|broker, _| _ = broker.transmit(id).has_remaining());
            let transmit = self.broker.transmit(id);
            let chunk = transmit.chunk();
            if chunk.is_empty() {
                break;
            }
            let len = chunk.len();
            received.extend_from_slice(chunk);
            self.call(|broker, _| broker.transmit(id).advance(len));
        }
        let (mut answers, mut rest) = (Vec::new(), &received[..]);
        while let Some((packet, behind)) = split_packet(rest) {
            if self.acknowledges {
                acknowledge(packet, &mut answers);
            }
            rest = behind;
        }
        if !rest.is_empty() {
            self.received.insert(id, rest.to_vec());
        }
        if !answers.is_empty() {
            self.sent.entry(id).or_default().extend(answers);
        }
        if self.broker.is_over(id) {
            self.sent.remove(&id);
            self.received.remove(&id);
            self.call(|broker, now| broker.closed(now, id));
        }
    }
}

/// The first packet of a stream, and what is behind it. The codec is not used: a count of instructions depends on what else
/// uses a function.
fn split_packet(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = remaining_length(bytes)?;
    bytes.split_at_checked(1 + len.1 + len.0)
}

/// The Remaining Length of a packet, and the bytes that it takes.
fn remaining_length(packet: &[u8]) -> Option<(usize, usize)> {
    let digits = packet.get(1..)?.iter().take(4).position(|byte| byte & 0x80 == 0)?;
    let value = (0..=digits).rev().fold(0, |value, at| value << 7 | usize::from(packet[1 + at] & 0x7F));
    Some((value, digits + 1))
}

/// Answers a packet as a client does.
fn acknowledge(packet: &[u8], answers: &mut Vec<u8>) {
    let Some((_, digits)) = remaining_length(packet) else { return };
    let (first, body) = (packet[0], &packet[1 + digits..]);
    match first >> 4 {
        3 if first & 6 != 0 => {
            let topic = usize::from(body[0]) << 8 | usize::from(body[1]);
            let acknowledgement = if first & 6 == 2 { 0x40 } else { 0x50 };
            answers.extend([acknowledgement, 2, body[2 + topic], body[3 + topic]]);
        }
        5 => answers.extend([0x62, 2, body[0], body[1]]), // PUBREC: PUBREL
        6 => answers.extend([0x70, 2, body[0], body[1]]), // PUBREL: PUBCOMP
        _ => {}
    }
}

/// The CONNECT of a client whose session outlives its connection.
pub fn lasting() -> Connect<'static> {
    let properties = ConnectProperties { session_expiry_interval: Some(1000), ..ConnectProperties::default() };
    Connect { version: Version::V5, clean_start: false, properties, ..Connect::default() }
}

pub fn encoded<'p>(packet: impl Into<Packet<'p>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.into().encode(Version::V5, &mut bytes).unwrap();
    bytes
}
