//! The journal: what must survive a crash, as small records.
//!
//! A record is a tag of one byte and what belongs to it; integers are big-endian, and bytes have their length before
//! them in four bytes.
//!
//! | tag | | what it says |
//! |---|---|---|
//! | `V` | protocol level (1) | the version that packets are encoded in; comes first |
//! | `K` | token (8) | tokens up to this one have been given |
//! | `C` | bytes | the client identifier that the server has assigned |
//! | `B` | | there is a session |
//! | `N` | | the session is gone: no message is in flight, none is half received |
//! | `Q` | token (8), PUBLISH (bytes), payload (bytes) | a message was accepted; a payload here replaces that of the packet |
//! | `D` | token (8) | an accepted message was dropped |
//! | `S` | token (8), packet identifier (2) | it is being sent |
//! | `T` | packet identifier (2) | it has not been sent after all, and waits again |
//! | `R` | packet identifier (2), reason code (1) | PUBREC has come |
//! | `H` | token (8), packet identifier (2), reason code (1) | as `Q`, `S` and `R` together |
//! | `F` | packet identifier (2) | its delivery is finished |
//! | `X` | packet identifier (2) | its delivery was given up, but the identifier stays in use; `R` and `F` may follow |
//! | `I` | packet identifier (2) | a message of QoS 2 was taken over |
//! | `O` | packet identifier (2) | its PUBREL has come |

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bytes::Buf;
use thiserror::Error;

use super::engine::Engine;
use super::outbound::{Flow, Outbound, Stage};
use super::queue::{Kind, Waiting};
use super::stored::Stored;
use super::token::Token;
use crate::codec::{Delivery, Packet, PacketId, Version};
use crate::time::Instant;

/// Records that are to be stored before anything else leaves: a [`bytes::Buf`].
///
/// As long as it has something remaining, the stream to the transport appears to be empty.
#[derive(Clone, Debug)]
pub struct Journal {
    version: Version,
    /// Whether there has been a record.
    has_begun: bool,
    bytes: Vec<u8>,
    start: usize,
}

impl Buf for Journal {
    fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// What has been stored is taken out. To take more than there is takes everything.
    fn advance(&mut self, count: usize) {
        self.start = self.start.saturating_add(count);
        if self.start >= self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }
}

/// A record.
pub(crate) enum Record<'a> {
    LastToken(Token),
    ClientIdentifier(&'a [u8]),
    SessionBegun,
    SessionGone,
    Accepted(Token, &'a Stored),
    Dropped(Token),
    Sent(Token, PacketId),
    TakenBack(PacketId),
    HalfDone(Token, PacketId, u8),
    Received(PacketId, u8),
    Finished(PacketId),
    GivenUp(PacketId),
    TakenOver(PacketId),
    Released(PacketId),
}

impl Journal {
    pub(crate) const fn new(version: Version) -> Self {
        Self { version, has_begun: false, bytes: Vec::new(), start: 0 }
    }

    /// How many bytes of a journal that was stored are whole records. What a crash has left behind them is to be cut off
    /// before anything is appended.
    pub fn whole_len(journal: &[u8]) -> usize {
        Restored::whole_len(journal)
    }

    /// A journal of these records alone, as it is begun anew.
    pub(crate) fn of<'a>(version: Version, records: impl Iterator<Item = Record<'a>>) -> Self {
        let mut journal = Self::new(version);
        records.for_each(|record| journal.write(record));
        journal
    }

    pub(crate) fn write(&mut self, record: Record<'_>) {
        if !core::mem::replace(&mut self.has_begun, true) {
            self.bytes.extend([b'V', self.version.level()]);
        }
        match record {
            Record::LastToken(token) => self.write_token(b'K', token),
            Record::ClientIdentifier(id) => {
                self.bytes.push(b'C');
                self.write_bytes(id);
            }
            Record::SessionBegun => self.bytes.push(b'B'),
            Record::SessionGone => self.bytes.push(b'N'),
            Record::Accepted(token, stored) => {
                self.write_token(b'Q', token);
                self.write_bytes(stored.bytes());
                self.write_bytes(stored.payload().map_or(&[], |payload| payload));
            }
            Record::Dropped(token) => self.write_token(b'D', token),
            Record::Sent(token, id) => {
                self.write_token(b'S', token);
                self.bytes.extend(id.get().to_be_bytes());
            }
            Record::Received(id, code) => {
                self.write_id(b'R', id);
                self.bytes.push(code);
            }
            Record::TakenBack(id) => self.write_id(b'T', id),
            Record::HalfDone(token, id, code) => {
                self.write_token(b'H', token);
                self.bytes.extend(id.get().to_be_bytes());
                self.bytes.push(code);
            }
            Record::Finished(id) => self.write_id(b'F', id),
            Record::GivenUp(id) => self.write_id(b'X', id),
            Record::TakenOver(id) => self.write_id(b'I', id),
            Record::Released(id) => self.write_id(b'O', id),
        }
    }

    fn write_token(&mut self, tag: u8, token: Token) {
        self.bytes.push(tag);
        self.bytes.extend(token.get().to_be_bytes());
    }

    fn write_id(&mut self, tag: u8, id: PacketId) {
        self.bytes.push(tag);
        self.bytes.extend(id.get().to_be_bytes());
    }

    /// No packet is longer than four bytes can say, and no payload longer than its packet.
    fn write_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend((bytes.len() as u32).to_be_bytes());
        self.bytes.extend(bytes);
    }
}

/// Bytes that are no journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no record of a journal for this version of MQTT at byte {at}")]
pub struct JournalError {
    /// The byte at which the first record begins that is none, or names another version of the protocol.
    pub at: usize,
}

/// What a journal tells.
#[derive(Default)]
pub(crate) struct Restored {
    pub(crate) client_identifier: Option<Vec<u8>>,
    pub(crate) has_session: bool,
    /// Accepted and not sent.
    queued: BTreeMap<Token, Stored>,
    /// Sent, with a number that ascends with every step.
    /// Without a token, its outcome was reported.
    in_flight: BTreeMap<u16, (u64, Option<Token>, Stage, Stored)>,
    received: BTreeSet<PacketId>,
    steps: u64,
    last_token: u64,
}

impl Restored {
    /// How many bytes of a journal are whole records.
    fn whole_len(journal: &[u8]) -> usize {
        let mut rest = journal;
        while let Some((&tag, mut record)) = rest.split_first() {
            if skip(tag, &mut record).is_err() {
                break;
            }
            rest = record;
        }
        journal.len().saturating_sub(rest.len())
    }

    /// Reads a journal from its beginning. A record that is cut short at the end was not stored, so nothing that
    /// depends on it has left.
    pub(crate) fn read(journal: &[u8], version: Version) -> Result<Self, JournalError> {
        let mut restored = Self::default();
        let mut rest = journal;
        while let Some((&tag, mut record)) = rest.split_first() {
            let at = journal.len().saturating_sub(rest.len());
            match restored.read_record(tag, &mut record, version) {
                Ok(()) => rest = record,
                Err(Bad::CutShort) => break,
                Err(Bad::NoRecord) => return Err(JournalError { at }),
            }
        }
        Ok(restored)
    }

    fn read_record(&mut self, tag: u8, rest: &mut &[u8], version: Version) -> Result<(), Bad> {
        self.steps = self.steps.saturating_add(1);
        match tag {
            b'V' => {
                let [level] = take(rest)?;
                if level != version.level() {
                    return Err(Bad::NoRecord);
                }
            }
            b'K' => self.last_token = self.last_token.max(take_token(rest)?.get()),
            b'C' => self.client_identifier = Some(take_bytes(rest)?.into()),
            b'B' => self.has_session = true,
            b'N' => {
                self.has_session = false;
                self.in_flight.clear();
                self.received.clear();
            }
            b'Q' => {
                let (token, packet, payload) = (take_token(rest)?, take_bytes(rest)?, take_bytes(rest)?);
                let stored = Stored::restored(packet, payload);
                stage_of(&stored, version).ok_or(Bad::NoRecord)?;
                self.last_token = self.last_token.max(token.get());
                self.queued.insert(token, stored);
            }
            b'D' => {
                self.queued.remove(&take_token(rest)?);
            }
            b'S' => {
                let (token, id) = (take_token(rest)?, take_id(rest)?);
                let stored = self.queued.remove(&token).ok_or(Bad::NoRecord)?;
                let stage = stage_of(&stored, version).ok_or(Bad::NoRecord)?;
                self.in_flight.insert(id.get(), (self.steps, Some(token), stage, stored));
            }
            b'T' => {
                let (_, token, _, stored) = self.in_flight.remove(&take_id(rest)?.get()).ok_or(Bad::NoRecord)?;
                self.queued.insert(token.ok_or(Bad::NoRecord)?, stored);
            }
            b'H' => {
                let (token, id, [code]) = (take_token(rest)?, take_id(rest)?, take(rest)?);
                self.last_token = self.last_token.max(token.get());
                self.in_flight.insert(id.get(), (self.steps, Some(token), Stage::PubComp(code), Stored::default()));
            }
            b'R' => {
                let (id, [code]) = (take_id(rest)?, take(rest)?);
                let flow = self.in_flight.get_mut(&id.get()).ok_or(Bad::NoRecord)?;
                *flow = (self.steps, flow.1, Stage::PubComp(code), Stored::default());
            }
            b'F' => {
                self.in_flight.remove(&take_id(rest)?.get());
            }
            b'X' => {
                let flow = (self.steps, None, Stage::GivenUp, Stored::default());
                self.in_flight.insert(take_id(rest)?.get(), flow);
            }
            b'I' => {
                self.received.insert(take_id(rest)?);
            }
            b'O' => {
                self.received.remove(&take_id(rest)?);
            }
            _ => return Err(Bad::NoRecord),
        }
        Ok(())
    }
}

impl Engine {
    /// Goes on where a journal ends. Waiting begins anew at this time.
    pub(crate) fn restore(&mut self, now: Instant, restored: Restored) {
        self.now = now;
        self.next_token = Token::from_number(restored.last_token).map_or(Token::FIRST, Token::next);
        self.inbound.restore(restored.received);
        let mut in_flight: Vec<_> = restored.in_flight.into_iter().collect();
        in_flight.sort_by_key(|(_, (step, ..))| *step);
        for (_, (_, token, _, stored)) in &in_flight {
            if token.is_some() {
                self.keep(stored.len());
            }
        }
        let flows = in_flight.into_iter().filter_map(|(id, (_, token, stage, stored))| {
            let mut flow = Flow::new(token.unwrap_or(Token::FIRST), stage, now, 0, stored);
            flow.is_reported = token.is_none();
            Some((PacketId::new(id).ok()?, flow))
        });
        self.outbound = Outbound::restored(flows);
        self.outbound.rewind();
        for (token, stored) in restored.queued {
            if let Some(Packet::Publish(publish)) = stored.packet(self.version) {
                let kind = Kind::Message(publish.delivery.qos());
                self.keep(stored.len());
                let expires_after = publish.properties.message_expiry_interval.unwrap_or(u32::MAX);
                self.queue.get_or_insert_default().push(Waiting {
                    token,
                    since: now,
                    kind,
                    expires_after,
                    mark: 0,
                    tries: 0,
                    stored,
                });
            }
        }
    }

    /// The records that describe what is kept as it is.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let in_flight = self.outbound.messages().flat_map(|(id, flow)| match flow.stage {
            Stage::PubComp(code) if flow.is_reported => [Some(Record::GivenUp(id)), Some(Record::Received(id, code))],
            _ if flow.is_reported => [Some(Record::GivenUp(id)), None],
            Stage::PubComp(code) => [Some(Record::HalfDone(flow.token, id, code)), None],
            _ => [Some(Record::Accepted(flow.token, &flow.stored)), Some(Record::Sent(flow.token, id))],
        });
        let queued = self.queue.iter().flat_map(|queue| queue.windowed());
        let queued = queued.map(|waiting| Record::Accepted(waiting.token, &waiting.stored));
        let given_up = self.outbound.given_up().map(Record::GivenUp);
        let received = self.inbound.received().map(Record::TakenOver);
        let token = Token::from_number(self.next_token.get().saturating_sub(1));
        token
            .map(Record::LastToken)
            .into_iter()
            .chain(in_flight.flatten())
            .chain(given_up)
            .chain(queued)
            .chain(received)
    }
}

/// Why there is no record.
enum Bad {
    CutShort,
    NoRecord,
}

/// What a message waits for when it has been sent; `None` if it is no message of QoS 1 or 2.
fn stage_of(stored: &Stored, version: Version) -> Option<Stage> {
    match stored.packet(version)? {
        Packet::Publish(publish) => match publish.delivery {
            Delivery::AtMostOnce => None,
            Delivery::AtLeastOnce { .. } => Some(Stage::PubAck),
            Delivery::ExactlyOnce { .. } => Some(Stage::PubRec),
        },
        _ => None,
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Bad> {
    let (bytes, behind) = rest.split_first_chunk::<N>().ok_or(Bad::CutShort)?;
    *rest = behind;
    Ok(*bytes)
}

/// Skips what belongs to a tag.
fn skip(tag: u8, rest: &mut &[u8]) -> Result<(), Bad> {
    match tag {
        b'B' | b'N' => Ok(()),
        b'V' => take::<1>(rest).map(drop),
        b'T' | b'F' | b'X' | b'I' | b'O' => take::<2>(rest).map(drop),
        b'R' => take::<3>(rest).map(drop),
        b'D' | b'K' => take::<8>(rest).map(drop),
        b'S' => take::<10>(rest).map(drop),
        b'H' => take::<11>(rest).map(drop),
        b'C' => take_bytes(rest).map(drop),
        b'Q' => take::<8>(rest).and_then(|_| take_bytes(rest)).and_then(|_| take_bytes(rest)).map(drop),
        _ => Err(Bad::NoRecord),
    }
}

fn take_id(rest: &mut &[u8]) -> Result<PacketId, Bad> {
    PacketId::new(u16::from_be_bytes(take(rest)?)).map_err(|_| Bad::NoRecord)
}

fn take_token(rest: &mut &[u8]) -> Result<Token, Bad> {
    Token::from_number(u64::from_be_bytes(take(rest)?)).ok_or(Bad::NoRecord)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Bad> {
    let len = u32::from_be_bytes(take(rest)?) as usize;
    let (bytes, behind) = rest.split_at_checked(len).ok_or(Bad::CutShort)?;
    *rest = behind;
    Ok(bytes)
}
