//! An acceptor and a server session whose commands, input and times come from the fuzzer.

mod commands;

use core::num::{NonZeroU16, NonZeroU32};
use std::collections::BTreeSet;
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use bytes::Buf as _;
use mqtt_sansio::codec::{self, Decoded, Limits, Packet, QoS, Version};
use mqtt_sansio::server::{Acceptor, AcceptorAction, Action, Close, RequestId, ServerConfig, ServerSession};
use mqtt_sansio::{AckHandle, Instant, Overflow, SessionExpiry, Token};

use super::from_server::Sent;
use super::{from_client, nonzero, pubrecs};

/// Runs an acceptor and a session as the data say.
pub fn server_ops(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let (Ok(config), Ok(&version)) = (config(&mut u), u.choose(&Version::ALL)) else { return };
    let mut ops = Ops {
        u,
        config: Arc::new(config),
        version,
        acceptor: None,
        session: None,
        now: Instant::EPOCH,
        acceptor_latest: Instant::EPOCH,
        session_latest: Instant::EPOCH,
        received: Vec::new(),
        sent: Sent::new(version),
        ack_handles: Vec::new(),
        requests: Vec::new(),
        open: BTreeSet::new(),
        done: BTreeSet::new(),
        asked: Asked::default(),
        wills: 0,
        receive_maximum: u16::MAX,
        is_over: false,
        is_attached: false,
    };
    // Exhausted data yields zeros without end.
    while !ops.u.is_empty() && ops.step().is_ok() {
        ops.check();
    }
    ops.finish();
}

/// Small limits, so that they are reached.
fn config(u: &mut Unstructured<'_>) -> Result<ServerConfig> {
    let flags = u.arbitrary::<u16>()?;
    let set = |bit: u16| flags >> bit & 1 != 0;
    let small = |u: &mut Unstructured<'_>| Ok(NonZeroU16::MIN.saturating_add(u.int_in_range(0..=5)?));
    Ok(ServerConfig {
        connect_timeout: NonZeroU16::new(u.int_in_range(0..=2)?),
        max_connect_size: nonzero(if set(0) { u.int_in_range(0..=200)? } else { 65_536 }),
        max_keep_alive: NonZeroU16::new(if set(1) { 3 } else { 0 }),
        max_session_expiry_interval: SessionExpiry::after(if set(2) { u.int_in_range(0..=5)? } else { u32::MAX }),
        receive_maximum: if set(3) { small(u)? } else { NonZeroU16::MAX },
        maximum_qos: *u.choose(&[QoS::ExactlyOnce, QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::AtMostOnce])?,
        retain_available: !set(4),
        maximum_packet_size: NonZeroU32::new(if set(5) { u.int_in_range(0..=200)? } else { 65_536 }),
        topic_alias_maximum: if set(6) { 3 } else { 0 },
        wildcard_subscription_available: !set(7),
        subscription_identifiers_available: !set(7),
        max_requests: if set(8) { u.int_in_range(0..=3)? } else { 1000 },
        deliver_in_parts: if set(9) { Some(nonzero(u.int_in_range(0..=50)?)) } else { None },
        manual_acks: set(10),
        topic_aliases: if set(11) { u.int_in_range(1..=3)? } else { 0 },
        max_in_flight: if set(12) { small(u)? } else { NonZeroU16::MAX },
        max_stored: if set(13) { u.int_in_range(0..=5)? } else { 1000 },
        max_stored_bytes: if set(13) { u.int_in_range(0..=200)? } else { u32::MAX },
        overflow: if set(14) { Overflow::DropOldest } else { Overflow::Refuse },
        store_qos_0: set(15),
        transmit_limit: nonzero(*u.choose(&[65_536, 65_536, 0, 20, 200])?),
        answer_limit: nonzero(*u.choose(&[65_536, 65_536, 0, 20, 200])?),
        ..ServerConfig::default()
    })
}

/// The requests in the last CONNECT.
#[derive(Clone, Copy, Default)]
struct Asked {
    /// Whether the current acceptor has reported it.
    is_reported: bool,
    receive_maximum: u16,
    maximum_packet_size: u32,
    has_will: bool,
}

struct Ops<'a> {
    u: Unstructured<'a>,
    config: Arc<ServerConfig>,
    /// The version of well-behaved clients.
    version: Version,
    acceptor: Option<Acceptor>,
    session: Option<ServerSession>,
    /// The current time, and the latest times given to the acceptor and to the session.
    now: Instant,
    acceptor_latest: Instant,
    session_latest: Instant,
    /// Received bytes that were not taken.
    received: Vec<u8>,
    sent: Sent,
    ack_handles: Vec<AckHandle>,
    requests: Vec<(RequestId, bool, usize)>,
    /// The tokens of this session without an outcome, and those with one.
    open: BTreeSet<Token>,
    done: BTreeSet<Token>,
    asked: Asked,
    /// How many wills may still be published.
    wills: u32,
    receive_maximum: u16,
    is_over: bool,
    /// Whether the session has a connection, possibly one that is over.
    is_attached: bool,
}

impl Ops<'_> {
    fn step(&mut self) -> Result<()> {
        let before = self.session.as_ref().map_or(0, ServerSession::in_flight);
        match self.u.int_in_range(0..=31)? {
            0..=3 => self.publish()?,
            4..=5 => self.acknowledge()?,
            6..=7 => self.answer()?,
            8 => self.disconnect()?,
            9 => self.authenticate()?,
            10 => self.close(),
            11..=12 => self.open(),
            13..=15 => {
                let (version, bytes) = from_client::connect(&mut self.u, &["c"])?;
                self.version = version;
                self.received.extend_from_slice(&bytes);
            }
            16..=17 => self.accept()?,
            18 => self.refuse()?,
            19..=23 => {
                let bytes = from_client::likely(&mut self.u, self.version)?;
                self.received.extend_from_slice(&bytes);
            }
            24 => {
                let bytes = from_client::any(&mut self.u, self.version)?;
                self.received.extend_from_slice(&bytes);
            }
            25 => self.now = Instant::from_micros(self.u.int_in_range(0..=10_000_000)?),
            // Not up to the maximum of the clock, where an expired timer would stay due for ever.
            26 => self.now = Instant::from_micros(self.u.arbitrary::<u64>()? / 2),
            27 => self.now = self.deadline().unwrap_or(self.now),
            28..=30 => self.write(usize::MAX),
            _ => {
                let count = self.u.int_in_range(0..=60)?;
                self.write(count);
            }
        }
        // PUBREC advances a message that waits for retransmission, so that more is in flight without a PUBLISH.
        let more = pubrecs(&self.received, self.version);
        self.poll();
        let in_flight = self.session.as_ref().map_or(0, ServerSession::in_flight);
        let maximum = usize::from(self.receive_maximum);
        assert!(in_flight <= before.max(maximum) + more, "the Receive Maximum is kept [MQTT-3.3.4-9]");
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.acceptor {
            Some(acceptor) => acceptor.deadline(),
            None => self.session.as_ref().and_then(ServerSession::deadline),
        }
    }

    /// A transport connection is opened.
    fn open(&mut self) {
        self.close();
        self.asked.is_reported = false;
        self.acceptor = Some(Acceptor::new(Arc::clone(&self.config), self.now));
        self.acceptor_latest = self.now;
        self.sent.open();
        self.is_over = false;
    }

    fn close(&mut self) {
        self.received.clear();
        self.sent.close();
        self.requests.clear();
        self.acceptor = None;
        if let Some(session) = &mut self.session {
            session.closed(self.now);
            // Without a connection the call does nothing, and does not set the time.
            if core::mem::take(&mut self.is_attached) {
                self.session_latest = self.session_latest.max(self.now);
            }
            assert_eq!(session.transmit().remaining(), 0, "nothing is left over for the next connection");
        }
    }

    /// Polls the acceptor or the session.
    fn poll(&mut self) {
        self.poll_acceptor();
        if self.acceptor.is_none() {
            self.poll_session();
        }
    }

    fn poll_acceptor(&mut self) {
        let Some(acceptor) = &mut self.acceptor else { return };
        self.acceptor_latest = self.acceptor_latest.max(self.now);
        let mut input = &self.received[..];
        while let Some(action) = acceptor.poll(self.now, &mut input) {
            match action {
                AcceptorAction::Connect(connect) => {
                    self.version = connect.version;
                    self.asked = Asked {
                        is_reported: true,
                        receive_maximum: connect.properties.receive_maximum.map_or(u16::MAX, Into::into),
                        maximum_packet_size: connect.properties.maximum_packet_size.map_or(u32::MAX, Into::into),
                        has_will: connect.will.is_some(),
                    };
                    self.sent.connect(connect.version, self.asked.maximum_packet_size);
                }
                AcceptorAction::Auth(_) => {}
                AcceptorAction::Close(why) => {
                    assert!(!self.is_over, "a connection ends once");
                    self.is_over = true;
                    // CONNECT is answered in its own version, also if it is malformed or refused without a decision.
                    match why {
                        Close::Malformed(error) => self.sent.answer_in(error.version()),
                        // A reported CONNECT is refused by a command only.
                        Close::Refused(_) if !self.asked.is_reported => {
                            let decoded = codec::decode(&self.received, Version::V5, Limits::from_client());
                            let Ok(Decoded::Packet { packet: Packet::Connect(connect), .. }) = decoded else {
                                panic!("something else than CONNECT is refused: {decoded:?}")
                            };
                            self.sent.answer_in(connect.version);
                        }
                        _ => {}
                    }
                }
            }
        }
        let left = input.len();
        assert_eq!(acceptor.poll(self.now, &mut input), None, "what has been said is said");
        assert_eq!(input.len(), left, "to poll more often does no harm");
        let is_later = acceptor.deadline().is_none_or(|at| at > self.acceptor_latest);
        assert!(is_later, "everything that is due is done");
        self.received.drain(..self.received.len() - left);
    }

    /// Calls `poll` until there is no action.
    fn poll_session(&mut self) {
        let Some(session) = &mut self.session else { return };
        self.session_latest = self.session_latest.max(self.now);
        // Each action takes a byte, or gives an operation its outcome, or ends the connection or the session; and there
        // are two wills.
        let bound = self.received.len() + self.open.len() + 4;
        let (mut input, mut count, mut is_expired) = (&self.received[..], 0, false);
        while let Some(action) = session.poll(self.now, &mut input) {
            count += 1;
            assert!(count <= bound, "poll goes on for ever: {action:?}");
            match action {
                Action::Message(message) => self.ack_handles.extend(message.ack_handle),
                Action::Payload(part) => self.ack_handles.extend(part.ack_handle),
                Action::Subscribe(request) => self.requests.push((request.id, true, request.subscriptions.len())),
                Action::Unsubscribe(request) => self.requests.push((request.id, false, request.filters.len())),
                Action::Done { token, .. } => {
                    assert!(self.open.remove(&token), "{token} was given");
                    assert!(self.done.insert(token), "{token} has one outcome");
                }
                Action::Will(_) => {
                    assert!(self.wills > 0, "a will for each connection at most [MQTT-3.1.2-8]");
                    self.wills -= 1;
                }
                Action::Close(_) => {
                    assert!(!self.is_over, "a connection ends once");
                    self.is_over = true;
                }
                Action::Expired => is_expired = true,
                Action::Auth(_) => {}
                unknown => panic!("this body does not know the action {unknown:?}"),
            }
        }
        let (output, is_connected) = (session.transmit().remaining(), session.is_connected());
        assert_eq!(session.poll(self.now, &mut input), None, "what has been said is said");
        assert_eq!(session.transmit().remaining(), output, "to poll more often does no harm");
        // Otherwise the caller would be woken again and again.
        let is_later = session.deadline().is_none_or(|at| at > self.session_latest);
        assert!(is_later, "everything that is due is done");
        if !input.is_empty() && (!is_connected || session.takes_input()) {
            assert!(is_connected, "what comes after the end is thrown away");
            let decoded = codec::decode(input, session.version(), Limits::from_client());
            assert!(matches!(decoded, Ok(Decoded::Incomplete { .. })), "a packet is left: {decoded:?}");
        }
        let used = self.received.len() - input.len();
        self.received.drain(..used);
        if is_expired {
            assert!(self.open.is_empty(), "when the session is at its end everything is told");
            assert_eq!((session.packet_ids_in_use(), session.queued()), (0, 0), "nothing is kept any more");
            self.forget();
        }
    }

    /// Drops the session.
    fn forget(&mut self) {
        self.session = None;
        self.is_attached = false;
        self.session_latest = Instant::EPOCH;
        self.ack_handles.clear();
        self.requests.clear();
        self.open.clear();
        self.done.clear();
        self.wills = 0;
        self.receive_maximum = u16::MAX;
    }

    /// Checks the invariants that must always hold.
    fn check(&self) {
        let Some(session) = &self.session else { return };
        session.assert_consistent();
        let (waiting, kept) = (session.queued(), self.open.len());
        assert!(waiting <= kept, "{waiting} wait, of {kept}");
    }

    /// Checks that the output ends with a whole packet, and that every message has an outcome or is stored.
    fn finish(&mut self) {
        self.write(usize::MAX);
        self.sent.finish();
        self.close();
        self.poll();
        let Some(session) = &self.session else { return };
        let (open, waiting, kept) = (session.packet_ids_in_use(), session.queued(), self.open.len());
        assert!(waiting <= kept && kept <= open + waiting, "{open} are open, {waiting} wait, {kept} are kept");
        session.assert_consistent();
    }
}
