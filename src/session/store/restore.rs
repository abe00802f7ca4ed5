//! Restoring a session from its journal.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::journal::JournalError;
use super::stored::Stored;
use crate::codec::{Delivery, PacketId, Version};
use crate::session::deliveries::Deliveries;
use crate::session::deliveries::outbound::Flow;
use crate::session::deliveries::queue::{Kind, Waiting};
use crate::session::deliveries::stage::Stage;
use crate::session::token::Token;
use crate::time::Instant;

/// The session that a journal describes.
#[derive(Default)]
pub(crate) struct Restored {
    pub(crate) client_identifier: Option<Vec<u8>>,
    pub(crate) has_session: bool,
    /// Messages that were accepted and not sent.
    queued: BTreeMap<Token, Stored>,
    /// Messages that were sent, by packet identifier, with a number that ascends in the order of their last step. The
    /// token is `None` if the outcome has been reported.
    in_flight: BTreeMap<u16, (u64, Option<Token>, Stage, Stored)>,
    received: BTreeSet<PacketId>,
    steps: u64,
    last_token: u64,
}

impl Restored {
    /// Returns the number of bytes of complete records at the start of a journal.
    pub(super) fn whole_len(journal: &[u8]) -> usize {
        let mut rest = journal;
        while let Some((&tag, mut record)) = rest.split_first() {
            if skip(tag, &mut record).is_err() {
                break;
            }
            rest = record;
        }
        journal.len().saturating_sub(rest.len())
    }

    /// Reads a journal from its beginning. An incomplete record at the end is ignored: it was not stored, so no output
    /// that depends on it has been sent.
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

impl Restored {
    /// Returns the deliveries. Waiting times count from `now`, since a journal contains no times.
    pub(crate) fn into_deliveries(self, now: Instant, version: Version) -> Deliveries {
        let mut in_flight: Vec<_> = self.in_flight.into_iter().collect();
        in_flight.sort_by_key(|(_, (step, ..))| *step);
        let in_flight = in_flight.into_iter().filter_map(|(id, (_, token, stage, stored))| {
            let mut flow = Flow::new(token.unwrap_or(Token::FIRST), stage, now, 0, stored);
            flow.is_reported = token.is_none();
            Some((PacketId::new(id).ok()?, flow))
        });
        let queued = self.queued.into_iter().filter_map(|(token, stored)| {
            let publish = stored.as_publish(version)?;
            let kind = Kind::Message(publish.delivery.qos());
            let expires_after = publish.properties.message_expiry_interval.unwrap_or(u32::MAX);
            Some(Waiting { token, since: now, kind, expires_after, mark: 0, tries: 0, stored })
        });
        let next_token = Token::from_number(self.last_token).map_or(Token::FIRST, Token::next);
        Deliveries::restored(in_flight, queued, self.received, next_token)
    }
}

/// The reason why a record cannot be read.
enum Bad {
    CutShort,
    NoRecord,
}

/// Returns the stage of a message that has been sent; `None` unless the packet is a PUBLISH of QoS 1 or 2.
fn stage_of(stored: &Stored, version: Version) -> Option<Stage> {
    match stored.as_publish(version)?.delivery {
        Delivery::AtMostOnce => None,
        Delivery::AtLeastOnce { .. } => Some(Stage::PubAck),
        Delivery::ExactlyOnce { .. } => Some(Stage::PubRec),
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Bad> {
    let (bytes, behind) = rest.split_first_chunk::<N>().ok_or(Bad::CutShort)?;
    *rest = behind;
    Ok(*bytes)
}

/// Skips the fields of the record with this tag.
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
