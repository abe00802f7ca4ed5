//! A client whose commands, input and times come from the fuzzer.

mod commands;
mod input;
mod sent;

use core::num::{NonZeroU16, NonZeroU32};
use std::collections::{BTreeSet, VecDeque};

use arbitrary::{Result, Unstructured};
use bytes::Buf as _;
use mqtt_sansio::client::{Action, Authentication, ClientConfig, ClientSession};
use mqtt_sansio::codec::{self, Decoded, Limits, Sender, Version};
use mqtt_sansio::generators::with_packet;
use mqtt_sansio::store::{Batch, Pairs};
use mqtt_sansio::{AckHandle, Instant, Overflow, SessionExpiry, Token};

use self::sent::Sent;
use super::{nonzero, pubrecs};

/// Runs a client as the data say.
pub fn client_ops(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(config) = config(&mut u) else { return };
    let mut ops = Ops {
        sent: Sent::new(config.version),
        version: config.version,
        client: ClientSession::new(config.clone()),
        config,
        u,
        now: Instant::EPOCH,
        latest: Instant::EPOCH,
        received: Vec::new(),
        stored: Pairs::default(),
        under_way: VecDeque::new(),
        ack_handles: Vec::new(),
        open: BTreeSet::new(),
        done: BTreeSet::new(),
        has_crashed: false,
        restored: 0,
        is_over: false,
    };
    // Exhausted data yields zeros without end.
    while !ops.u.is_empty() && ops.step().is_ok() {
        ops.check();
    }
    ops.finish();
}

/// Small limits, so that they are reached.
fn config(u: &mut Unstructured<'_>) -> Result<ClientConfig> {
    let version = *u.choose(&Version::ALL)?;
    let is_v5 = version == Version::V5;
    let flags = u.arbitrary::<u16>()?;
    let set = |bit: u16| flags >> bit & 1 != 0;
    let small = |u: &mut Unstructured<'_>| Ok(NonZeroU16::MIN.saturating_add(u.int_in_range(0..=5)?));
    let config = ClientConfig {
        version,
        client_id: if set(0) { "c".into() } else { "".into() },
        clean_start: set(1),
        session_expiry_interval: SessionExpiry::after(if is_v5 && set(2) { 3600 } else { 0 }),
        keep_alive: NonZeroU16::new(if set(3) { u.int_in_range(1..=3)? } else { 0 }),
        authentication: (is_v5 && set(4)).then(|| Authentication { method: "m".into(), data: None }.into()),
        receive_maximum: if set(5) { small(u)? } else { NonZeroU16::MAX },
        maximum_packet_size: NonZeroU32::new(if set(6) { u.int_in_range(0..=200)? } else { 65_536 }),
        topic_alias_maximum: if set(7) { 3 } else { 0 },
        manual_acks: set(8),
        topic_aliases: if set(9) { u.int_in_range(1..=3)? } else { 0 },
        max_in_flight: if set(10) { small(u)? } else { NonZeroU16::MAX },
        max_stored: if set(11) { u.int_in_range(0..=5)? } else { 10_000 },
        max_stored_bytes: if set(12) { u.int_in_range(0..=200)? } else { u32::MAX },
        overflow: if set(13) { Overflow::DropOldest } else { Overflow::Refuse },
        transmit_limit: NonZeroU32::new(if set(14) { u.int_in_range(0..=200)? } else { 65_536 })
            .unwrap_or(NonZeroU32::MIN),
        max_request_tries: if set(13) { core::num::NonZeroU8::new(2) } else { None },
        puback_ends_qos_2: set(12),
        durable: set(15),
        deliver_in_parts: if u.arbitrary()? { Some(nonzero(u.int_in_range(0..=50)?)) } else { None },
        connect_timeout: NonZeroU16::new(u.int_in_range(0..=2)?),
        ping_timeout: NonZeroU16::new(u.int_in_range(0..=2)?),
        ..ClientConfig::default()
    };
    Ok(ClientConfig { answer_limit: config.transmit_limit, ..config })
}

struct Ops<'a> {
    u: Unstructured<'a>,
    config: ClientConfig,
    version: Version,
    client: ClientSession,
    /// The current time, and the latest time given to the client.
    now: Instant,
    latest: Instant,
    /// Received bytes that the client has not taken.
    received: Vec<u8>,
    sent: Sent,
    /// What is stored, and the batches that were handed out and are not confirmed.
    stored: Pairs,
    under_way: VecDeque<Batch>,
    ack_handles: Vec<AckHandle>,
    /// The tokens without an outcome, and those with one, both since the last crash.
    open: BTreeSet<Token>,
    done: BTreeSet<Token>,
    has_crashed: bool,
    /// The maximum number of operations restored after the last crash.
    restored: usize,
    is_over: bool,
}

impl Ops<'_> {
    fn step(&mut self) -> Result<()> {
        let (before, maximum) = (self.client.in_flight(), |client: &ClientSession| client.server().receive_maximum);
        match self.u.int_in_range(0..=31)? {
            0..=4 => self.publish()?,
            5 => self.subscribe()?,
            6 => self.unsubscribe()?,
            7..=8 => self.acknowledge()?,
            9 => {
                if self.u.arbitrary()? {
                    self.disconnect()?;
                } else {
                    self.withdraw()?;
                }
            }
            10 => self.authenticate()?,
            11 => self.close(),
            12 => self.crash()?,
            13..=14 => self.open(),
            15..=16 => self.receive_connack()?,
            17..=21 => self.receive_likely()?,
            22..=23 => {
                let mut bytes = Vec::new();
                let version = self.version;
                let encoded =
                    with_packet(&mut self.u, version, Sender::Server, |packet| packet.encode(version, &mut bytes))?;
                encoded.expect("a generated packet can be encoded");
                self.receive(&bytes);
            }
            24 => {
                let len = self.u.int_in_range(0..=20)?;
                let bytes = self.u.bytes(usize::min(len, self.u.len()))?;
                self.receive(bytes);
            }
            25 => self.now = Instant::from_micros(self.u.int_in_range(0..=10_000_000)?),
            // Not up to the maximum of the clock, where an expired timer would stay due for ever.
            26 => self.now = Instant::from_micros(self.u.arbitrary::<u64>()? / 2),
            27 => self.now = self.client.deadline().unwrap_or(self.now),
            28 => self.store()?,
            29..=30 => self.write(usize::MAX),
            _ => {
                let count = self.u.int_in_range(0..=60)?;
                self.write(count);
            }
        }
        // PUBREC advances a message that waits for retransmission, so that more is in flight without a PUBLISH.
        let more = pubrecs(&self.received, self.version);
        self.poll();
        let maximum = usize::from(maximum(&self.client));
        assert!(self.client.in_flight() <= before.max(maximum) + more, "the Receive Maximum is kept [MQTT-3.3.4-7]");
        Ok(())
    }

    fn open(&mut self) {
        let now = self.now;
        if self.command(|client, now| client.open(now)).is_some() {
            self.latest = self.latest.max(now);
            self.sent.open();
            self.received.clear();
            self.is_over = false;
        }
    }

    fn close(&mut self) {
        self.client.closed(self.now);
        self.latest = self.latest.max(self.now);
        self.sent.close();
        self.received.clear();
        assert_eq!(self.client.transmit().remaining(), 0, "nothing is left over for the next connection");
    }

    /// Crashes the client's program: changes that are not stored are lost, and batches that are not confirmed may be.
    fn crash(&mut self) -> Result<()> {
        if !self.config.durable {
            return Ok(());
        }
        self.under_way.extend(core::iter::from_fn(|| self.client.changes()));
        let count = self.u.int_in_range(0..=self.under_way.len())?;
        for batch in self.under_way.drain(..).take(count) {
            self.stored.apply(&batch);
        }
        self.client = self.restored();
        self.latest = self.now;
        self.sent.close();
        self.received.clear();
        self.ack_handles.clear();
        self.open.clear();
        self.done.clear();
        self.has_crashed = true;
        self.restored = self.client.operations_in_flight() + self.client.queued();
        // A snapshot restores the same state.
        let snapshot = self.client.snapshot().expect("the client is durable");
        self.stored = Pairs::default();
        self.stored.apply(&snapshot);
        self.client.committed(self.now, snapshot.number());
        let mut same = self.restored();
        same.committed(self.now, 0); // expired messages leave the queue
        assert_eq!(same.operations_in_flight(), self.client.operations_in_flight(), "the snapshot is complete");
        assert_eq!(same.queued(), self.client.queued(), "the snapshot is complete");
        assert_eq!(same.operations().count(), self.client.operations().count(), "the snapshot is complete");
        Ok(())
    }

    fn restored(&self) -> ClientSession {
        ClientSession::restore(self.config.clone(), self.now, self.stored.iter()).expect("the pairs can be read")
    }

    /// Hands out batches, and confirms some or all of them.
    fn store(&mut self) -> Result<()> {
        let all: bool = self.u.arbitrary()?;
        self.under_way.extend(core::iter::from_fn(|| self.client.changes()));
        let len = self.under_way.len();
        let count = if all { len } else { self.u.int_in_range(0..=len)? };
        for batch in self.under_way.drain(..count) {
            self.stored.apply(&batch);
            self.client.committed(self.now, batch.number());
            self.latest = self.latest.max(self.now);
        }
        Ok(())
    }

    /// Calls `poll` until there is no action.
    fn poll(&mut self) {
        self.latest = self.latest.max(self.now);
        // Each action takes a byte, or gives an operation its outcome, or closes the connection.
        let bound = self.received.len() + self.open.len() + self.restored + 2;
        let mut input = &self.received[..];
        let mut count = 0;
        while let Some(action) = self.client.poll(self.now, &mut input) {
            count += 1;
            assert!(count <= bound, "poll goes on for ever: {action:?}");
            match action {
                Action::Message(message) => self.ack_handles.extend(message.ack_handle),
                Action::Payload(part) => self.ack_handles.extend(part.ack_handle),
                Action::Done { token, .. } => {
                    // Only the store knows operations from before a crash.
                    assert!(self.open.remove(&token) || self.has_crashed, "{token} was asked for");
                    assert!(self.done.insert(token), "{token} has one outcome");
                }
                Action::Close(_) => {
                    assert!(!self.is_over, "a connection ends once");
                    self.is_over = true;
                }
                Action::Connected(_) | Action::Auth(_) => {}
                unknown => panic!("this body does not know the action {unknown:?}"),
            }
        }
        let output = self.client.transmit().remaining();
        assert_eq!(self.client.poll(self.now, &mut input), None, "what has been said is said");
        assert_eq!(self.client.transmit().remaining(), output, "to poll more often does no harm");
        // Otherwise the caller would be woken again and again.
        let is_later = self.client.deadline().is_none_or(|at| at > self.latest);
        assert!(is_later, "everything that is due is done");
        if !input.is_empty() && self.client.takes_input() && !self.config.durable {
            let decoded = codec::decode(input, self.version, Limits::from_server());
            assert!(matches!(decoded, Ok(Decoded::Incomplete { .. })), "a packet is left: {decoded:?}");
        }
        let used = self.received.len() - input.len();
        self.received.drain(..used);
    }

    /// Writes up to this many bytes.
    fn write(&mut self, count: usize) {
        let output = self.client.transmit();
        let bytes = output.copy_to_bytes(usize::min(count, output.remaining()));
        self.sent.write(&bytes, self.client.server().maximum_packet_size);
    }

    /// Checks the invariants that must always hold.
    fn check(&mut self) {
        self.client.assert_consistent();
        // Operations that wait for retransmission are in flight as well.
        let (open, waiting) = (self.client.operations_in_flight(), self.client.queued());
        let kept = self.open.len();
        assert!(open.max(waiting) <= kept || self.has_crashed, "{open} open and {waiting} wait, of {kept}");
    }

    /// Checks that the output ends with a whole packet, and that every operation has an outcome or is stored.
    fn finish(&mut self) {
        self.under_way.extend(core::iter::from_fn(|| self.client.changes()));
        for batch in self.under_way.drain(..) {
            self.client.committed(self.now, batch.number());
        }
        self.write(usize::MAX);
        self.sent.finish();
        self.close();
        self.poll();
        let (open, waiting) = (self.client.operations_in_flight(), self.client.queued());
        let kept = self.open.len();
        assert!(self.has_crashed || (open.max(waiting) <= kept && kept <= open + waiting), "{kept} are kept");
        self.client.assert_consistent();
    }
}
